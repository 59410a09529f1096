"""Keypoints on clouds: published numbers, oracles as loops, paths along a cloud in closed form, classes, error texts."""

from __future__ import annotations

import heapq
import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import heatpoint.metrics
from heatpoint.metrics.cloud_scores import CloudPCK
from heatpoint.metrics.clouds import (
    THRESHOLDS,
    cloud_errors,
    cloud_pck,
    keypoint_average_precision,
    keypoint_iou,
    share_within,
)
from heatpoint.metrics.geodesics import geodesic_distances, nearest_rows

Goldens = Callable[[str], dict[str, np.ndarray]]
RNG = np.random.default_rng(11)
NUM, POINTS, CELLS = 5, 4, 37
CLOUDS = torch.tensor(RNG.normal(size=(NUM, CELLS, 3)))
TARGET = CLOUDS[:, :POINTS].clone()
PRED = TARGET + torch.tensor(RNG.normal(size=TARGET.shape) * 0.3)
VISIBLE = torch.tensor(RNG.random((NUM, POINTS)) < 0.7)
VISIBLE[1] = False
VISIBLE[3, 0] = True


@pytest.fixture
def golden(goldens: Goldens) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.asarray(value)) for name, value in goldens("06_keypointnet_pck").items()}


@pytest.mark.parametrize("kind", ["geodesic", "euclidean"])
def test_pck_is_as_published(golden: dict[str, Tensor], kind: str) -> None:
    truth, pred = golden["gt_index"], golden["pred_index"]
    model = torch.arange(len(truth))[:, None]
    errors = torch.where(truth >= 0, golden[kind][model, truth.clamp(min=0), pred], torch.nan)
    torch.testing.assert_close(share_within(errors), golden[f"pck_{kind}"], rtol=0, atol=1e-12)
    assert tuple(golden["thresholds"].tolist()) == THRESHOLDS


def test_iou_and_average_precision_are_as_published(golden: dict[str, Tensor]) -> None:
    truth, chosen = golden["gt_index"], golden["saliency_pred_index"]
    every = [paths[:, index[index >= 0]] for paths, index in zip(golden["geodesic"], truth, strict=True)]
    some = [pair[chosen[chosen[:, 0] == model, 1]] for model, pair in enumerate(every)]
    torch.testing.assert_close(keypoint_iou(some), golden["miou"], rtol=0, atol=1e-9)
    area = keypoint_average_precision(every, list(golden["saliency_scores"]), golden["map_thresholds"].tolist())
    torch.testing.assert_close(area, golden["map"], rtol=0, atol=1e-9)


def test_paths_along_a_cloud_are_as_published_where_its_parts_hang_together(golden: dict[str, Tensor]) -> None:
    apart = 0
    for points, expected in zip(golden["points"].double().numpy(), golden["geodesic"].numpy(), strict=True):
        found = geodesic_distances(points, num_neighbors=3)
        # The published distance between points that no path joins is 9; the cloud itself is stored in float32.
        is_joined = expected < 9
        apart += int((~is_joined).sum())
        np.testing.assert_allclose(found[is_joined], expected[is_joined], rtol=0, atol=2e-8)
        straight = np.linalg.norm(points[:, None] - points, axis=-1)
        assert np.isfinite(found).all()
        assert (found >= straight - 1e-12).all()
    assert apart > 0


def paths_by_loops(points: np.ndarray, source: int, num_neighbors: int) -> list[float]:
    """Dijkstra over lists, and between parts the shortest link over and over (Kruskal)."""
    number = len(points)
    apart = [[math.dist(a, b) for b in points] for a in points]
    edges = {
        frozenset((i, j))
        for i in range(number)
        for j in sorted((j for j in range(number) if j != i), key=lambda j: apart[i][j])[:num_neighbors]
    }

    def reached(start: int) -> set[int]:
        seen, waiting = {start}, [start]
        while waiting:
            here = waiting.pop()
            new = {j for j in range(number) if frozenset((here, j)) in edges} - seen
            seen |= new
            waiting += new
        return seen

    while len(part := reached(0)) < number:
        parts = [part]
        while len(set().union(*parts)) < number:
            parts.append(reached(min(set(range(number)) - set().union(*parts))))
        links = [(apart[i][j], i, j) for i in range(number) for j in range(i) if not any({i, j} <= p for p in parts)]
        _, i, j = min(links)
        edges.add(frozenset((i, j)))

    lengths = [math.inf] * number
    lengths[source] = 0.0
    waiting = [(0.0, source)]
    while waiting:
        length, here = heapq.heappop(waiting)
        for j in range(number):
            if frozenset((here, j)) in edges and length + apart[here][j] < lengths[j]:
                lengths[j] = length + apart[here][j]
                heapq.heappush(waiting, (lengths[j], j))
    return lengths


@pytest.mark.parametrize("num_neighbors", [1, 2, 5])
def test_paths_are_those_of_loops_over_parts_that_links_join(num_neighbors: int) -> None:
    rng = np.random.default_rng(2)
    points = rng.normal(size=(23, 3))
    points[9:16] += 8.0
    points[16:] -= 9.0
    found = geodesic_distances(points, [3, 20], num_neighbors=num_neighbors)
    expected = [paths_by_loops(points, source, num_neighbors) for source in (3, 20)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(found, geodesic_distances(points, num_neighbors=num_neighbors)[[3, 20]], rtol=1e-12)


def test_paths_follow_an_arc_and_points_may_coincide() -> None:
    angles = np.linspace(0, np.pi, 181)
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # Chords of one degree: 180 · 2 sin(½°) on half a circle, whose ends are 2 apart.
    found = geodesic_distances(arc, [0], num_neighbors=1)[0]
    assert found[-1] == pytest.approx(360 * math.sin(math.radians(0.5)), rel=1e-12)
    # All twice: the nearest one of every point is its twin, at the distance 0, which is an edge like any other.
    twice = geodesic_distances(np.concatenate([arc, arc]), [0], num_neighbors=2)[0]
    np.testing.assert_allclose(twice, np.concatenate([found, found]), atol=1e-12)
    assert geodesic_distances(np.zeros((3, 3))).tolist() == [[0.0] * 3] * 3
    assert geodesic_distances(np.ones((1, 3)), [0]).tolist() == [[0.0]]
    assert geodesic_distances(arc, np.zeros(0, dtype=int)).shape == (0, 181)


def test_nearest_rows_and_points_that_are_none() -> None:
    others = np.array([[0.0, 0.0, 0.2], [np.nan, 0.0, 0.0], [5.0, 5.0, 5.0]])
    cloud = CLOUDS[0].numpy()
    expected = [min(range(CELLS), key=lambda row: math.dist(cloud[row], point)) for point in others[[0, 2]]]
    assert nearest_rows(cloud, others).tolist() == [expected[0], 0, expected[1]]


def test_errors_along_the_cloud_are_paths_and_the_steps_to_them() -> None:
    clouds = [CLOUDS[n, : CELLS - 3 * n] for n in range(NUM)]
    pred = PRED.clone()
    pred[0, 1] = clouds[0][17]
    visible = VISIBLE.clone()
    visible[0, 1] = True
    found = cloud_errors(pred, TARGET, visible=visible, distance="geodesic", clouds=clouds, num_neighbors=4)
    for n in range(NUM):
        for k in range(POINTS):
            if not visible[n, k]:
                assert found[n, k].isnan()
                continue
            points = [TARGET[n, k].tolist(), pred[n, k].tolist()]
            rows = [min(range(len(clouds[n])), key=lambda row: math.dist(clouds[n][row], p)) for p in points]
            expected = paths_by_loops(clouds[n].numpy(), rows[0], 4)[rows[1]]
            expected += sum(math.dist(clouds[n][row], p) for row, p in zip(rows, points, strict=True))
            assert found[n, k].item() == pytest.approx(expected, rel=1e-12)
    # Between points of the cloud it is the path alone, as published.
    assert found[0, 1].item() == pytest.approx(geodesic_distances(clouds[0], [1], num_neighbors=4)[0, 17], rel=1e-12)
    straight = cloud_errors(pred, TARGET, visible=visible)
    assert (found >= straight - 1e-12)[visible].all()
    fewer = cloud_errors(pred, TARGET, visible=visible, distance="geodesic", clouds=clouds, num_neighbors=1)
    assert (fewer >= found - 1e-12)[visible].all()
    assert (fewer > found + 1e-6).any()


@pytest.mark.parametrize("distance", ["euclidean", "geodesic"])
def test_hidden_keypoints_do_not_count_and_lost_ones_are_wrong(distance: str) -> None:
    pred, target = PRED.clone(), TARGET.clone()
    target[~VISIBLE] = torch.nan
    expected = cloud_pck(pred, target, VISIBLE, (0.3, 9e9), distance=distance, clouds=CLOUDS)
    assert expected[1] == 1
    pred[~VISIBLE] = torch.inf
    assert torch.equal(cloud_pck(pred, target, VISIBLE, (0.3, 9e9), distance=distance, clouds=CLOUDS), expected)
    pred[3] = torch.nan
    lost = cloud_pck(pred, target, VISIBLE, (9e9,), distance=distance, clouds=CLOUDS)
    torch.testing.assert_close(lost, torch.tensor([3 / 4], dtype=torch.float64), rtol=1e-12, atol=0)
    assert cloud_pck(pred, target, torch.zeros_like(VISIBLE), distance=distance, clouds=CLOUDS).isnan().all()


def test_the_share_is_that_of_loops_and_strict() -> None:
    errors = cloud_errors(PRED, TARGET, visible=VISIBLE)
    thresholds = (0.2, float(errors[3, 0]), 0.8)
    rows = [
        [float(e) for e, v in zip(row, flags, strict=True) if v] for row, flags in zip(errors, VISIBLE, strict=True)
    ]
    expected = [
        sum(sum(e < limit for e in row) / len(row) for row in rows if row) / sum(bool(row) for row in rows)
        for limit in thresholds
    ]
    found = cloud_pck(PRED, TARGET, VISIBLE, thresholds)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)
    above = cloud_pck(PRED, TARGET, VISIBLE, (np.nextafter(thresholds[1], 1),))
    assert above.item() > found[1].item()


def iou_by_loops(pairs: list[np.ndarray], limit: float) -> float:
    number = sum(pair.shape[1] for pair in pairs)
    missed = sum(all(pair[i, j] > limit for i in range(len(pair))) for pair in pairs for j in range(pair.shape[1]))
    wrong = sum(all(pair[i, j] > limit for j in range(pair.shape[1])) for pair in pairs for i in range(len(pair)))
    return (number - missed) / (number + wrong)


def area_by_loops(pairs: list[np.ndarray], scores: list[np.ndarray], limit: float) -> float:
    """Precision over recall, point by point, each the best that a greater recall has."""
    order = sorted((-s, n, i) for n, values in enumerate(scores) for i, s in enumerate(values))
    number, used, curve, hits = sum(pair.shape[1] for pair in pairs), set(), [], 0
    for rank, (_, n, i) in enumerate(order, start=1):
        if pairs[n].shape[1]:
            j = min(range(pairs[n].shape[1]), key=lambda j: pairs[n][i, j])
            if pairs[n][i, j] < limit and (n, j) not in used:
                used.add((n, j))
                hits += 1
        curve.append((hits / number, hits / rank))
    area, before = 0.0, 0.0
    for recall in sorted({r for r, _ in curve}):
        area += (recall - before) * max(p for r, p in curve if r >= recall)
        before = recall
    return area


def test_unnamed_keypoints_are_scored_as_by_loops() -> None:
    rng = np.random.default_rng(5)
    pairs = [rng.random(shape) for shape in ((6, 4), (0, 3), (5, 0), (3, 2), (9, 5))]
    scores = [rng.random(len(pair)) for pair in pairs]
    thresholds = (0.0, 0.1, 0.3, 0.9)
    tensors = [torch.tensor(pair) for pair in pairs]
    for found, by_loops in (
        (keypoint_iou(tensors, thresholds), [iou_by_loops(pairs, t) for t in thresholds]),
        (
            keypoint_average_precision(tensors, [torch.tensor(s) for s in scores], thresholds),
            [area_by_loops(pairs, scores, t) for t in thresholds],
        ),
    ):
        torch.testing.assert_close(found, torch.tensor(by_loops, dtype=torch.float64), rtol=1e-12, atol=1e-15)
        assert 0 < found[2] < 1
    none = [torch.zeros(3, 0)]
    assert keypoint_iou(none).tolist() == [0.0] * len(THRESHOLDS)
    assert keypoint_average_precision(none, [torch.zeros(3)], (0.1,)).isnan().all()
    lost = [torch.full((2, 3), torch.nan)]
    assert keypoint_iou(lost, (0.5,)).item() == 0
    assert keypoint_average_precision(lost, [torch.ones(2)], (0.5,)).item() == 0


@pytest.mark.parametrize("distance", ["euclidean", "geodesic"])
def test_the_class_does_not_depend_on_batches_or_processes(distance: str) -> None:
    make = lambda: heatpoint.metrics.CloudPCK(threshold=0.4, distance=distance, num_neighbors=3)  # noqa: E731
    inputs = (PRED, TARGET, VISIBLE, CLOUDS)
    expected = cloud_pck(*inputs[:3], (0.4,), distance=distance, clouds=CLOUDS, num_neighbors=3)[0]
    whole, first, second = make(), make(), make()
    whole.update(*inputs)
    first.update(*(t[:2] for t in inputs))
    second.update(*(t[2:] for t in inputs))
    joined = torch.cat([*first.errors, *second.errors])
    first.errors = [first._reductions["errors"]([joined])]
    for metric in (whole, first):
        torch.testing.assert_close(metric.compute(), expected, rtol=1e-13, atol=0)
    curve = whole.curve((0.1, 0.4, 90.0))
    assert curve[1] == expected
    assert curve[0] <= curve[1] < curve[2] == 1
    assert whole.higher_is_better is True


def cloud_call(**changes: Any) -> Callable[[], Tensor]:
    return lambda: cloud_errors(PRED, TARGET, **changes)


ERRORS: list[tuple[Callable[[], Any], str]] = [
    (
        cloud_call(distance="manhattan"),
        "cloud_errors: distance must be one of euclidean, geodesic, got 'manhattan'.",
    ),
    (
        cloud_call(distance="geodesic"),
        "cloud_errors: clouds must be 5 clouds, one per sample, got None. They hold the paths that are measured.",
    ),
    (
        cloud_call(distance="geodesic", clouds=CLOUDS[:3]),
        "cloud_errors: clouds must be 5 clouds, one per sample, got 3. They hold the paths that are measured.",
    ),
    (
        cloud_call(distance="geodesic", clouds=[*CLOUDS[:3], CLOUDS[0][:0], CLOUDS[4]]),
        "cloud_errors: clouds must be finite (points, 3), at least one point each, got (0, 3) for sample 3.",
    ),
    (
        cloud_call(distance="geodesic", clouds=[*CLOUDS[:4], torch.tensor([[0.0, math.nan, 0.0], [0.0, 0.0, 0.0]])]),
        "cloud_errors: clouds must be finite (points, 3), at least one point each, "
        "got 1 points with NaN or infinity for sample 4. Leave such points out.",
    ),
    (
        lambda: cloud_pck(torch.zeros(0, 4, 3), torch.zeros(0, 4, 3)),
        "relative_distances: pred must hold at least one sample, got (0, 4, 3).",
    ),
    (lambda: share_within(torch.zeros(3)), "share_within: errors must be (N, K), got (3,)."),
    (lambda: share_within(torch.zeros(3, 2), ()), "share_within: thresholds must hold at least one number, got []."),
    (
        lambda: share_within(torch.zeros(3, 2), (math.inf,)),
        "share_within: thresholds must be finite numbers, got inf.",
    ),
    (lambda: keypoint_iou([]), "keypoint_iou: distances must be (P, G) for at least one model, got none."),
    (
        lambda: keypoint_iou([torch.zeros(3, 2), torch.zeros(3)]),
        "keypoint_iou: distances must be (P, G) for at least one model, got (3,).",
    ),
    (
        lambda: keypoint_average_precision([torch.zeros(3, 2)], [torch.zeros(2)]),
        "keypoint_average_precision: scores must be one per prediction, [3], got [(2,)].",
    ),
    (
        lambda: geodesic_distances(np.zeros(3)),
        "geodesic_distances: xyz must be (N, D) with at least one point, got (3,).",
    ),
    (
        lambda: geodesic_distances(np.zeros((0, 3))),
        "geodesic_distances: xyz must be (N, D) with at least one point, got (0, 3).",
    ),
    (
        lambda: geodesic_distances([[0.0, math.nan, 0.0], [0.0, 0.0, 0.0]]),
        "geodesic_distances: xyz must be finite, got 1 points with NaN or infinity. Leave such points out.",
    ),
    (
        lambda: geodesic_distances(np.zeros((3, 3)), [0, 3]),
        "geodesic_distances: sources must be rows from 0 to 2, got from 0 to 3.",
    ),
    (
        lambda: geodesic_distances(np.zeros((3, 3)), [0.5]),
        "geodesic_distances: sources must be (S,) whole numbers, got float64 (1,).",
    ),
    (
        lambda: geodesic_distances(np.zeros((3, 3)), num_neighbors=0),
        "geodesic_distances: num_neighbors must be at least 1, got 0.",
    ),
    (lambda: nearest_rows(np.zeros((3, 3)), np.zeros((2, 2))), "nearest_rows: points must be (K, 3), got (2, 2)."),
    (lambda: CloudPCK(threshold=math.nan), "CloudPCK: threshold must be a finite number, got nan."),
    (
        lambda: CloudPCK(distance="geodesics"),
        "CloudPCK: distance must be one of euclidean, geodesic, got 'geodesics'. Did you mean geodesic?",
    ),
    (lambda: CloudPCK(num_neighbors=0), "CloudPCK: num_neighbors must be at least 1, got 0."),
]


@pytest.mark.parametrize(("call", "text"), ERRORS, ids=[text[:60] for _, text in ERRORS])
def test_error_texts(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == text


def test_without_scipy_paths_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def absent(name: str, *rest: Any) -> Any:
        if name.startswith("scipy"):
            raise ModuleNotFoundError("No module named 'scipy'", name="scipy")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ModuleNotFoundError, match=r"heatpoint\.metrics needs the package 'scipy', .* pip install"):
        geodesic_distances(np.zeros((3, 3)), [0])
    assert cloud_pck(PRED, TARGET).shape == (len(THRESHOLDS),)
