"""Distances along a cloud: shortest paths on the graph of its nearest neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from heatpoint._checks import check_whole, message, missing_package
from heatpoint.frames import BoolArray, FloatArray

IntArray = npt.NDArray[np.int64]
NUM_NEIGHBORS = 20


def geodesic_distances(
    xyz: npt.ArrayLike, sources: npt.ArrayLike | None = None, *, num_neighbors: int = NUM_NEIGHBORS
) -> FloatArray:
    """Lengths of the shortest paths from some points of a cloud to all of its points, by steps between neighbours.

    Every point is joined to its k nearest ones, in both directions, by edges as long as they are apart. KeypointNet's benchmark
    (You et al. 2020) takes k = 20 and the same paths. It sets the distance between parts that no path joins to 0, so that a
    keypoint on the wrong part counts as found; here parts are joined by their shortest links (a minimum spanning tree of the
    parts), and every distance is finite and at least the straight one.

    Cost: O(N k log N) for the graph, then O(N (k + log N)) per source and 8 N bytes for its row: one source per keypoint of a
    cloud of 2048 points takes milliseconds, where all N would take seconds and 32 MiB.

    Args:
        xyz: (N, D), finite.
        sources: (S,) rows of the cloud to measure from; None takes all N.
        num_neighbors: k; a cloud of at most k points is joined completely.

    Returns:
        (S, N), in the unit of the cloud.

    Raises:
        ValueError: If a shape does not fit, a coordinate is not finite, or a source is no row of the cloud.
        ModuleNotFoundError: If scipy is not installed.

    >>> corner = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]
    >>> geodesic_distances(corner, [0], num_neighbors=1)
    array([[0., 1., 2.]])
    """
    points = _checked_cloud("geodesic_distances", xyz)
    check_whole("geodesic_distances", "num_neighbors", num_neighbors, "be at least 1", least=1)
    rows = np.arange(len(points)) if sources is None else np.asarray(sources)
    if rows.ndim != 1 or (rows.size and not np.issubdtype(rows.dtype, np.integer)):
        raise ValueError(
            message("geodesic_distances", "sources", "be (S,) whole numbers", f"{rows.dtype} {rows.shape}")
        )
    if rows.size and not (rows.min() >= 0 and rows.max() < len(points)):
        got = f"from {rows.min()} to {rows.max()}"
        raise ValueError(message("geodesic_distances", "sources", f"be rows from 0 to {len(points) - 1}", got))
    if not rows.size:
        return np.empty((0, len(points)))
    graph_room = _scipy("sparse.csgraph")
    graph = _joined(points, *_neighbor_edges(points, num_neighbors))
    return np.asarray(graph_room.dijkstra(graph, directed=False, indices=rows), dtype=np.float64)


def nearest_rows(xyz: npt.ArrayLike, points: npt.ArrayLike) -> IntArray:
    """Rows of the cloud's points that lie nearest to others: (K,); 0 for a point that is not finite.

    Args:
        xyz: (N, D), finite.
        points: (K, D).

    Raises:
        ValueError: If a shape does not fit or a coordinate of the cloud is not finite.
        ModuleNotFoundError: If scipy is not installed.

    >>> nearest_rows([[0.0, 0.0], [1.0, 0.0]], [[0.8, 0.3]])
    array([1])
    """
    cloud, others = _checked_cloud("nearest_rows", xyz), np.asarray(points, dtype=np.float64)
    if others.ndim != 2 or others.shape[1] != cloud.shape[1]:
        raise ValueError(message("nearest_rows", "points", f"be (K, {cloud.shape[1]})", others.shape))
    usable = np.isfinite(others).all(axis=1)
    found = np.zeros(len(others), dtype=np.int64)
    found[usable] = _scipy("spatial").KDTree(cloud).query(others[usable])[1]
    return found


def _neighbor_edges(points: FloatArray, num_neighbors: int) -> tuple[IntArray, IntArray]:
    """Both ends of the edges from every point to its nearest ones."""
    wanted = min(num_neighbors, len(points) - 1)
    # The nearest point is the point itself, or one that coincides with it.
    found = _scipy("spatial").KDTree(points).query(points, k=[*range(1, wanted + 2)])[1].astype(np.int64)
    start = np.repeat(np.arange(len(points)), found.shape[1])
    stop = found.ravel()
    return start[start != stop], stop[start != stop]


def _joined(points: FloatArray, start: IntArray, stop: IntArray) -> Any:
    """The graph of the edges, and of the shortest links between the parts that they leave apart (Boruvka's rounds)."""
    while True:
        graph = _graph(points, start, stop)
        number, part = _scipy("sparse.csgraph").connected_components(graph, directed=False)
        if number == 1:
            return graph
        links = [_shortest_link(points, part == label) for label in range(number)]
        start = np.concatenate([start, [link[0] for link in links]])
        stop = np.concatenate([stop, [link[1] for link in links]])


def _graph(points: FloatArray, start: IntArray, stop: IntArray) -> Any:
    # Each pair once: sparse arrays add up what is given twice.
    pairs = np.unique(np.stack([np.minimum(start, stop), np.maximum(start, stop)]), axis=1)
    lengths = np.linalg.norm(points[pairs[0]] - points[pairs[1]], axis=1)
    return _scipy("sparse").csr_array((lengths, (pairs[0], pairs[1])), shape=(len(points), len(points)))


def _shortest_link(points: FloatArray, inside: BoolArray) -> tuple[int, int]:
    rows, others = np.flatnonzero(inside), np.flatnonzero(~inside)
    distances, nearest = _scipy("spatial").KDTree(points[others]).query(points[rows])
    shortest = int(np.argmin(distances))
    return int(rows[shortest]), int(others[nearest[shortest]])


def _checked_cloud(function: str, xyz: npt.ArrayLike) -> FloatArray:
    points = np.asarray(xyz, dtype=np.float64)
    if points.ndim != 2 or not len(points) or not points.shape[1]:
        raise ValueError(message(function, "xyz", "be (N, D) with at least one point", points.shape))
    if not np.isfinite(points).all():
        remedy = "Leave such points out."
        wrong = int((~np.isfinite(points).all(axis=1)).sum())
        raise ValueError(message(function, "xyz", "be finite", f"{wrong} points with NaN or infinity", remedy))
    return points


def _scipy(room: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"scipy.{room}")
    except ModuleNotFoundError as error:
        raise missing_package("heatpoint.metrics", error) from None
