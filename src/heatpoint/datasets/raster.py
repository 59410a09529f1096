"""Filling polygons by the exact area they cover of every pixel: synthetic pictures whose geometry has no error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from heatpoint._checks import message
from heatpoint.frames import FloatArray

FloatImage = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.intp]
Window = tuple[slice, slice]


def coverage(polygons: Sequence[FloatArray], *, size: tuple[int, int]) -> list[tuple[FloatImage, Window]]:
    """The share of every pixel that lies in each polygon, exact, in the window of the picture that the polygon touches.

    By Green's theorem: every edge is cut where it crosses borders of pixels; a piece with height dy and mean position
    f in its pixel adds dy·(1 − f) there and dy·f to the next, and the running sum along a row is the covered area.
    Where a polygon overlaps itself the area counts once if both turns have the same sense.

    Args:
        polygons: Each (N, 2) corners in order, N >= 3, in pixels with centres at whole numbers; they may lie outside.
        size: (width, height) of the picture.

    Returns:
        Per polygon the shares in [0, 1] as float32, and the (rows, columns) of the picture where they belong.

    Raises:
        ValueError: If a polygon is not (N, 2) with N >= 3.

    >>> area, window = coverage([np.array([[0.5, 0.5], [2.0, 0.5], [2.0, 1.5], [0.5, 1.5]])], size=(4, 3))[0]
    >>> area, window
    (array([[1. , 0.5]], dtype=float32), (slice(1, 2, None), slice(1, 3, None)))
    """
    for polygon in polygons:
        if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3:
            raise ValueError(message("coverage", "polygons", "be (N, 2) each, with N >= 3", polygon.shape))
    counts = np.array([len(polygon) for polygon in polygons])
    corners = np.concatenate(polygons) + 0.5  # pixel i covers i to i + 1 here
    firsts = np.cumsum(counts) - counts
    limit = np.array(size)
    start = np.clip(np.floor(np.minimum.reduceat(corners, firsts)), 0, limit)
    stop = np.clip(np.ceil(np.maximum.reduceat(corners, firsts)), start, limit)
    points, owner = _cut(corners, counts, firsts, limit)
    # What lies beside a window moves onto its border, where it covers the same pixels of it.
    points = np.clip(points, start[owner], stop[owner]) - start[owner]
    spans = (stop - start).astype(int)
    sums = _accumulate(points, owner, spans)
    results, position = [], 0
    for (x, y), (width, height) in zip(start.astype(int).tolist(), spans.tolist(), strict=True):
        part = sums[position : position + (width + 2) * height].reshape(height, width + 2)
        area = np.minimum(np.abs(np.cumsum(part, axis=1)[:, :width]), 1).astype(np.float32)
        results.append((area, (slice(y, y + height), slice(x, x + width))))
        position += (width + 2) * height
    return results


def fill(
    picture: FloatImage,
    polygons: Sequence[FloatArray],
    colors: Sequence[FloatArray],
    opacities: Sequence[float] | None = None,
) -> None:
    """Paints polygons over a picture (H, W, 3), in place and in order, blending by coverage.

    >>> picture = np.zeros((2, 3, 3), dtype=np.float32)
    >>> fill(picture, [np.array([[-0.5, -0.5], [1.0, -0.5], [1.0, 0.5], [-0.5, 0.5]])], [np.array([1.0, 0.5, 0.0])])
    >>> picture[0, :, 1]
    array([0.5 , 0.25, 0.  ], dtype=float32)
    """
    if not polygons:
        return
    areas = coverage(polygons, size=(picture.shape[1], picture.shape[0]))
    for (area, window), color, opacity in zip(areas, colors, opacities or [1.0] * len(polygons), strict=True):
        part = picture[window]
        part += (np.float32(opacity) * area)[..., None] * (color.astype(np.float32) - part)


def _cut(corners: FloatArray, counts: IntArray, firsts: IntArray, limit: IntArray) -> tuple[FloatArray, IntArray]:
    """All corners and all crossings of pixel borders, in order along each polygon, and the polygon each belongs to."""
    following = np.arange(1, len(corners) + 1)
    following[firsts + counts - 1] = firsts
    step = corners[following] - corners
    edges, shares = [np.arange(len(corners))], [np.zeros(len(corners))]
    for axis in (0, 1):
        here, there = corners[:, axis], corners[following, axis]
        first = np.maximum(np.floor(np.minimum(here, there)) + 1, 0)
        last = np.minimum(np.ceil(np.maximum(here, there)) - 1, limit[axis])
        number = np.maximum(last - first + 1, 0).astype(int)
        edge = np.repeat(np.arange(len(corners)), number)
        rank = np.arange(len(edge)) - np.repeat(np.cumsum(number) - number, number)
        edges.append(edge)
        shares.append((first[edge] + rank - here[edge]) / step[edge, axis])
    edge, share = np.concatenate(edges), np.concatenate(shares)
    order = np.argsort(edge + np.minimum(share, 1 - 1e-9), kind="stable")
    edge, share = edge[order], share[order]
    points = corners[edge] + share[:, None] * step[edge]
    return points, np.repeat(np.arange(len(counts)), counts)[edge]


def _accumulate(points: FloatArray, owner: IntArray, spans: IntArray) -> FloatArray:
    """What every piece adds to the differences along rows; the windows (height, width + 2) follow each other, flat."""
    sizes = (spans[:, 0] + 2) * spans[:, 1]
    following = np.arange(1, len(points) + 1)
    ends = np.flatnonzero(np.append(owner[1:] != owner[:-1], True))
    following[ends] = np.concatenate([[0], ends[:-1] + 1])
    center = (points + points[following]) / 2
    rise = points[following, 1] - points[:, 1]
    column = np.floor(center[:, 0])
    row = np.clip(np.floor(center[:, 1]), 0, np.maximum(spans[owner, 1] - 1, 0))
    fraction = center[:, 0] - column
    cell = ((np.cumsum(sizes) - sizes)[owner] + row * (spans[owner, 0] + 2) + column).astype(np.intp)
    # A window without rows takes nothing.
    rise = np.where(sizes[owner] > 0, rise, 0.0)
    cell = np.minimum(cell, max(int(sizes.sum()) - 2, 0))
    weights = np.concatenate([rise * (1 - fraction), rise * fraction])
    sums = np.bincount(np.concatenate([cell, cell + 1]), weights, minlength=int(sizes.sum()) + 2)
    return sums.astype(np.float64, copy=False)
