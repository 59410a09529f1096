"""Turned labels: as by loops over turns and points, the choice between them, scores that take it, error texts."""

from __future__ import annotations

import cmath
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from heatpoint.metrics.cloud_scores import CloudPCK
from heatpoint.metrics.clouds import cloud_errors, cloud_pck, share_within
from heatpoint.metrics.turned_labels import best_target, best_targets, turned_targets

RNG = np.random.default_rng(23)
NUM, POINTS, CELLS = 4, 5, 61
# Axes away from 0, and y far from it: what turns about another place or another axis is not found.
CELL = torch.tensor(RNG.normal(size=(NUM, CELLS, 3))) + torch.tensor([0.7, 5.0, -0.4])
TARGET = CELL[:, [3, 14, 15, 9, 26]].clone()
VISIBLE = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 1, 0, 1], [0, 1, 0, 1, 1]], dtype=torch.bool)
TARGET[~VISIBLE] = torch.nan
GROUPS: list[Any] = [[(0, 2, 4)], [(1, 4), (0, 1, 3)], [], [(1, 3)]]
CIRCLES = [False, False, False, True]
LABELS = [3, 2, 1, 36]
LOGITS = torch.tensor(RNG.normal(size=(NUM, POINTS, CELLS)))


def labels_by_loops(n: int) -> list[list[int]]:
    """Rows of the cloud, one list for each turn; -1 where hidden. x + iz turns by multiplication."""
    points = [None if not seen else tuple(p) for p, seen in zip(TARGET[n].tolist(), VISIBLE[n].tolist(), strict=True)]
    cloud = CELL[n].tolist()
    nearest = lambda place: min(range(CELLS), key=lambda row: math.dist(cloud[row], place))  # noqa: E731
    found = [[-1 if p is None else nearest(p) for p in points]]
    if not GROUPS[n]:
        return found
    members = [points[k] for k in GROUPS[n][0]]
    middle = sum(complex(p[0], p[2]) for p in members) / len(members)
    steps = 36 if CIRCLES[n] else len(members)
    for step in range(1, steps):
        row = []
        for p in points:
            if p is None:
                row.append(-1)
                continue
            turned = (complex(p[0], p[2]) - middle) * cmath.exp(2j * math.pi * step / steps) + middle
            row.append(nearest((turned.real, p[1], turned.imag)))
        found.append(row)
    return found


def at(n: int, rows: list[int]) -> Tensor:
    return torch.stack([TARGET[n, k] if row < 0 else CELL[n, row] for k, row in enumerate(rows)])


def one(n: int, **changes: Any) -> dict[str, Any]:
    values = {"target": TARGET[n], "visible": VISIBLE[n], "rotations": GROUPS[n], "cloud": CELL[n]}
    return {**values, "is_circle": CIRCLES[n], **changes}


@pytest.mark.parametrize("n", range(NUM))
def test_labels_are_those_of_loops(n: int) -> None:
    expected = labels_by_loops(n)
    assert len(expected) == LABELS[n]
    assert len({tuple(rows) for rows in expected}) > LABELS[n] / 4
    found = turned_targets(**one(n))
    torch.testing.assert_close(found, torch.stack([at(n, rows) for rows in expected]), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("n", range(NUM))
def test_the_best_is_that_of_loops(n: int) -> None:
    labels = labels_by_loops(n)
    seen = [k for k in range(POINTS) if VISIBLE[n, k]]
    chosen = set()
    for turn, rows in enumerate(labels):
        pred = torch.nan_to_num(at(n, rows)) + torch.tensor(RNG.normal(size=(POINTS, 3)) * 0.4)
        sums = [sum(math.dist(at(n, other)[k], pred[k]) for k in seen) for other in labels]
        best = sums.index(min(sums))
        chosen.add(best)
        torch.testing.assert_close(best_target(pred, **one(n)), at(n, labels[best]), rtol=0, atol=0, equal_nan=True)
        exact = best_target(torch.nan_to_num(at(n, rows), nan=7.0), **one(n))
        torch.testing.assert_close(exact, at(n, labels[turn]), rtol=0, atol=0, equal_nan=True)
    assert len(chosen) > LABELS[n] / 4


@pytest.mark.parametrize("n", range(NUM))
def test_maps_choose_by_their_cross_entropy(n: int) -> None:
    labels = labels_by_loops(n)
    chosen = set()
    for turn in range(0, len(labels), 5 if n == 3 else 1):
        logits = LOGITS[n].clone()
        for k, row in enumerate(labels[turn]):
            logits[k, row] += 2.5 if row >= 0 else 99.0
        losses = [
            sum(
                math.log(sum(math.exp(v) for v in logits[k].tolist())) - float(logits[k, row])
                for k, row in enumerate(rows)
                if row >= 0
            )
            for rows in labels
        ]
        best = losses.index(min(losses))
        chosen.add(best)
        # The annotation is what the places say; the maps are what is asked.
        found = best_target(TARGET[n], **one(n), logits=logits)
        torch.testing.assert_close(found, at(n, labels[best]), rtol=0, atol=0, equal_nan=True)
    assert len(chosen) > LABELS[n] / 20
    assert n in (2, 3) or len(chosen) > 1


def test_predictions_that_are_lost_have_no_say_and_the_annotation_wins_a_draw() -> None:
    pred = turned_targets(**one(0))[2].clone()
    pred[1] = torch.nan
    pred[4, 0] = torch.inf
    assert best_target(pred, **one(0)).equal(turned_targets(**one(0))[2])
    assert best_target(torch.full_like(pred, torch.nan), **one(0)).equal(TARGET[0])
    assert best_target(pred, **one(0), logits=torch.zeros(POINTS, CELLS)).equal(TARGET[0])
    assert best_target(pred, **one(0), logits=torch.full((POINTS, CELLS), torch.nan)).equal(TARGET[0])


def test_labels_keep_their_kind() -> None:
    found = turned_targets(**one(0, target=TARGET[0].float()))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, turned_targets(**one(0)).float())


def turned_predictions() -> Tensor:
    return torch.stack([torch.nan_to_num(turned_targets(**one(n))[-1], nan=9.0) for n in range(NUM)])


@pytest.mark.parametrize("distance", ["euclidean", "geodesic"])
def test_the_share_is_of_the_best_labels_where_asked_for(distance: str) -> None:
    limits = (0.01, 0.8)
    pred = turned_predictions()
    pred[0, 3] = CELL[0, 40]
    pred[3] += 0.02
    best = torch.stack([best_target(pred[n], **one(n)) for n in range(NUM)])
    expected = share_within(cloud_errors(pred, best, visible=VISIBLE, distance=distance, clouds=CELL), limits)
    options: dict[str, Any] = {"distance": distance, "clouds": list(CELL)}
    found = cloud_pck(pred, TARGET, VISIBLE, limits, **options, rotations=GROUPS, circles=CIRCLES)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    # Four of five, all, all, and none: it lies 0.02 beside a label on all three axes.
    assert found[0].item() == pytest.approx((0.8 + 1 + 1 + 0) / 4)
    plain = cloud_pck(pred, TARGET, VISIBLE, limits, **options)
    assert plain[0] < found[0]
    torch.testing.assert_close(cloud_pck(pred, TARGET, VISIBLE, limits, **options, rotations=[()] * NUM), plain)
    # Nothing says that the last one is round: it has two labels only.
    fewer = cloud_pck(pred, TARGET, VISIBLE, (0.05,), **options, rotations=GROUPS)
    assert fewer < cloud_pck(pred, TARGET, VISIBLE, (0.05,), **options, rotations=GROUPS, circles=CIRCLES)


def test_the_class_takes_turned_labels_in_any_batches() -> None:
    pred = turned_predictions() + 0.01
    expected = cloud_pck(pred, TARGET, VISIBLE, (0.02,), clouds=CELL, rotations=GROUPS, circles=CIRCLES)[0]
    metric = CloudPCK(threshold=0.02)
    for part in (slice(0, 1), slice(1, NUM)):
        metric.update(
            pred[part], TARGET[part], VISIBLE[part], CELL[part], rotations=GROUPS[part], circles=CIRCLES[part]
        )
    assert metric.compute() == expected == 1
    plain = CloudPCK(threshold=0.02)
    plain.update(pred, TARGET, VISIBLE, CELL)
    assert plain.compute() == cloud_pck(pred, TARGET, VISIBLE, (0.02,))[0] < 1


def test_all_keypoints_are_taken_where_none_is_hidden() -> None:
    seen = torch.ones(1, POINTS, dtype=torch.bool)
    pred = turned_predictions()[:1]
    found = best_targets(pred, TARGET[:1], None, CELL[:1], GROUPS[:1])
    assert found.equal(best_targets(pred, TARGET[:1], seen, CELL[:1], GROUPS[:1]))
    assert not found.equal(TARGET[:1])
    assert best_targets(pred[:0], TARGET[:0], None, [], []).shape == (0, POINTS, 3)


def test_feet_of_a_swivel_chair_turn_to_one_another(data_root: Path) -> None:
    """On the published annotations: a fifth of a turn takes every foot to about the next one's place."""
    records = json.loads((data_root / "pointcloud_keypointnet/annotations/chair.json").read_text())
    swivels = [r for r in records if [len(g["kp_indexes"]) for g in r["symmetries"]["rotation"]] == [5]][:20]
    assert len(swivels) == 20
    for values in swivels:
        group = values["symmetries"]["rotation"][0]["kp_indexes"]
        points = torch.tensor([keypoint["xyz"] for keypoint in values["keypoints"]], dtype=torch.float64)
        found = turned_targets(points, torch.ones(len(points), dtype=torch.bool), [group], points[group])
        for labels in found:
            assert {tuple(p) for p in labels[group].tolist()} == {tuple(p) for p in points[group].tolist()}


def call(function: Callable[..., Any], *args: Any, **changes: Any) -> Callable[[], Any]:
    return lambda: function(*args, **changes)


HIDDEN = "turned_targets: rotations must be groups of visible keypoints, got "
COUNTS = "must be 4, one per sample, got"
ERRORS: list[tuple[Callable[[], Any], str]] = [
    (call(turned_targets, **one(0, target=TARGET[0, :, :2])), "turned_targets: target must be (K, 3), got (5, 2)."),
    (call(turned_targets, **one(0, visible=VISIBLE[0, :4])), "turned_targets: visible must be (5,), got (4,)."),
    (
        call(turned_targets, **one(0, cloud=CELL[0, :0])),
        "turned_targets: cloud must be (P, 3) with at least one point, got (0, 3).",
    ),
    (
        call(turned_targets, **one(1, visible=VISIBLE[0])),
        "turned_targets: target must be finite where visible, got NaN or infinity.",
    ),
    (call(turned_targets, **one(1, rotations=[(0, 2)])), HIDDEN + "2."),
    (call(turned_targets, **one(0, rotations=[(0, 1), (3, 5)])), HIDDEN + "5."),
    (call(turned_targets, **one(0, rotations=[(0, -1)])), HIDDEN + "-1."),
    (call(turned_targets, **one(0, rotations=[()])), HIDDEN + "an empty group."),
    (
        call(best_target, TARGET[0, :4], **one(0)),
        "best_target: pred must be (5, 3), as target, got (4, 3).",
    ),
    (
        call(best_target, TARGET[0], **one(0), logits=torch.zeros(5, 7)),
        "best_target: logits must be (5, 61), a map over the cloud for each keypoint, got (5, 7).",
    ),
    (call(best_targets, TARGET, TARGET[:2], VISIBLE, CELL, GROUPS), f"best_targets: target {COUNTS} 2."),
    (call(best_targets, TARGET, TARGET, VISIBLE[:2], CELL, GROUPS), f"best_targets: visible {COUNTS} 2."),
    (call(best_targets, TARGET, TARGET, VISIBLE, CELL[:3], GROUPS), f"best_targets: clouds {COUNTS} 3."),
    (call(best_targets, TARGET, TARGET, VISIBLE, CELL, GROUPS[:3]), f"best_targets: rotations {COUNTS} 3."),
    (call(best_targets, TARGET, TARGET, VISIBLE, CELL, GROUPS, [True]), f"best_targets: circles {COUNTS} 1."),
    (
        call(cloud_pck, TARGET, TARGET, VISIBLE, rotations=GROUPS),
        f"best_targets: clouds {COUNTS} None. Labels turn on them.",
    ),
]


@pytest.mark.parametrize(("fault", "text"), ERRORS, ids=[text[:60] for _, text in ERRORS])
def test_error_texts(fault: Callable[[], Any], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        fault()
    assert str(caught.value) == text
