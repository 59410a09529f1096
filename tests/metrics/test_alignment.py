"""Dual alignment: the published number, an oracle as loops over pairs of models, closed forms, the class, error texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from heatpoint.metrics import DualAlignmentScore
from heatpoint.metrics.alignment import dual_alignment

Goldens = Callable[[str], dict[str, np.ndarray]]
NUM, POINTS, KEYPOINTS, NAMES = 7, 4, 6, 5
RNG = np.random.default_rng(3)
PRED = torch.tensor(RNG.normal(size=(NUM, POINTS, 3)))
TARGET = torch.tensor(RNG.normal(size=(NUM, KEYPOINTS, 3)))
VISIBLE = torch.tensor(RNG.random((NUM, KEYPOINTS)) < 0.7)
VISIBLE[2] = False
# Some models have two keypoints of one name.
LABELS = torch.tensor(RNG.integers(0, NAMES, size=(NUM, KEYPOINTS)))


def by_loops(pred: Tensor, target: Tensor, visible: Tensor, names: Tensor) -> tuple[float, float]:
    """Every ordered pair of models, then every ordered pair of keypoints of one name."""
    called, taken = [], {}
    for n in range(len(pred)):
        there = [g for g in range(target.shape[1]) if visible[n, g]]
        if not there:
            continue
        apart = [[float((p - target[n, g]).square().sum()) for g in there] for p in pred[n]]
        called.append([int(names[n, there[min(range(len(there)), key=row.__getitem__)]]) for row in apart])
        for place, g in enumerate(there):
            nearest = min(range(len(apart)), key=lambda k: apart[k][place])
            taken.setdefault(int(names[n, g]), []).append(nearest)
    pairs = [sum(x == y for x, y in zip(a, b, strict=True)) / len(a) for a in called for b in called]
    shares = [sum(a == b for a in numbers for b in numbers) / len(numbers) ** 2 for numbers in taken.values()]
    return sum(pairs) / len(pairs), sum(shares) / len(shares)


def test_the_scores_are_as_published(goldens: Goldens) -> None:
    golden = {name: torch.from_numpy(np.asarray(value)) for name, value in goldens("06_das").items()}
    greatest, least = golden["nfact_max_min"].T[..., None, None]
    target = 2 * (golden["gt_xyz"] - least) / (greatest - least) - 1
    names = golden["gt_semantic_id"]
    found = dual_alignment(golden["pred_keypoints_normalised"], target, names >= 0, names=names)
    for name, value in (("forward", found.forward), ("backward", found.backward), ("das_mean_of_both", found.mean)):
        torch.testing.assert_close(value, golden[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_scores_are_those_of_loops(dtype: torch.dtype) -> None:
    pred, target = PRED.to(dtype), TARGET.to(dtype)
    found = dual_alignment(pred, target, VISIBLE, names=LABELS)
    expected = by_loops(pred, target, VISIBLE, LABELS)
    assert [v.item() for v in found] == pytest.approx([*expected, sum(expected) / 2], rel=1e-13)
    places = torch.arange(KEYPOINTS).expand(NUM, -1)
    expected = by_loops(pred, target, VISIBLE, places)
    assert [v.item() for v in dual_alignment(pred, target, VISIBLE)[:2]] == pytest.approx(expected, rel=1e-13)
    every = torch.ones_like(VISIBLE)
    expected = by_loops(pred, target, every, places)
    assert [v.item() for v in dual_alignment(pred, target)[:2]] == pytest.approx(expected, rel=1e-13)


def test_it_knows_no_order_of_the_names_nor_of_the_predictions() -> None:
    found = dual_alignment(PRED, TARGET, VISIBLE, names=LABELS)
    renamed = torch.tensor([3, 0, 9, 1, 7])[LABELS]
    order = torch.tensor([2, 0, 3, 1])
    for other in (
        dual_alignment(PRED, TARGET, VISIBLE, names=renamed),
        dual_alignment(PRED[:, order], TARGET, VISIBLE, names=LABELS),
        dual_alignment(5 * PRED - 2, 5 * TARGET - 2, VISIBLE, names=LABELS),
    ):
        torch.testing.assert_close(torch.stack(other), torch.stack(found), rtol=1e-13, atol=0)


def test_models_that_agree_in_nothing_score_one_over_their_number() -> None:
    # Prediction k lies at keypoint k + n of model n: no two of the four models agree.
    target = torch.eye(4).expand(4, 4, 4)
    pred = torch.stack([target[n].roll(-n, 0) for n in range(4)])
    assert [value.item() for value in dual_alignment(pred, target)] == [0.25, 0.25, 0.25]
    assert [value.item() for value in dual_alignment(target, target)] == [1.0, 1.0, 1.0]


def test_predictions_that_are_lost_agree_with_none_and_hidden_keypoints_hold_anything() -> None:
    target = torch.where(VISIBLE[..., None], TARGET, torch.nan)
    torch.testing.assert_close(
        torch.stack(dual_alignment(PRED, target, VISIBLE)), torch.stack(dual_alignment(PRED, TARGET, VISIBLE))
    )
    lost = dual_alignment(torch.full_like(PRED, torch.nan), TARGET, VISIBLE)
    assert [value.item() for value in lost] == [0, 0, 0]
    # One of two models is lost: of the four ordered pairs of models, one agrees, the other with itself.
    pair = torch.stack([TARGET[0], torch.full_like(TARGET[0], torch.inf)])
    assert [value.item() for value in dual_alignment(pair, TARGET[[0, 0]])] == [0.25, 0.25, 0.25]
    assert all(value.isnan() for value in dual_alignment(PRED, TARGET, torch.zeros_like(VISIBLE)))


def test_the_class_does_not_depend_on_batches_or_processes() -> None:
    inputs = (PRED, TARGET, VISIBLE, LABELS)
    expected = dual_alignment(PRED, TARGET, VISIBLE, names=LABELS)
    whole, first, second = (DualAlignmentScore(POINTS) for _ in range(3))
    whole.update(*inputs)
    first.update(*(t[:3] for t in inputs))
    second.update(*(t[3:] for t in inputs))
    for name, reduce in first._reductions.items():
        setattr(first, name, [reduce([torch.cat(getattr(m, name)) for m in (first, second)])])
    for metric in (whole, first):
        torch.testing.assert_close(metric.compute(), expected.mean, rtol=1e-13, atol=0)
        torch.testing.assert_close(torch.stack(metric.parts()), torch.stack(expected), rtol=1e-13, atol=0)
    assert whole.higher_is_better is True
    whole.reset()
    with pytest.raises(ValueError, match=r"DualAlignmentScore\.compute: samples must be added first, got none"):
        whole.parts()


ERRORS: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: dual_alignment(PRED[0], TARGET),
        "dual_alignment: pred must be (N, K, D) with K >= 1, got (4, 3).",
    ),
    (
        lambda: dual_alignment(PRED, TARGET[:3]),
        "dual_alignment: target must be (7, G, 3) with G >= 1, as pred (7, 4, 3), got (3, 6, 3).",
    ),
    (
        lambda: dual_alignment(PRED, TARGET, VISIBLE[:, :2]),
        "dual_alignment: visible must be (7, 6), one flag per keypoint, got (7, 2).",
    ),
    (
        lambda: dual_alignment(PRED, TARGET, names=LABELS.double()),
        "dual_alignment: names must be (7, 6) whole numbers, got (7, 6) torch.float64.",
    ),
    (
        lambda: dual_alignment(PRED, TARGET, names=LABELS - 1),
        "dual_alignment: names must not be below 0, got -1. Mark keypoints that are missing in `visible`.",
    ),
    (lambda: DualAlignmentScore(0), "DualAlignmentScore: num_points must be at least 1, got 0."),
    (
        lambda: DualAlignmentScore(3).update(PRED, TARGET),
        "DualAlignmentScore.update: pred must hold the metric's 3 points, got (7, 4, 3).",
    ),
]


@pytest.mark.parametrize(("call", "text"), ERRORS, ids=[text[:60] for _, text in ERRORS])
def test_error_texts(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == text


def test_names_of_hidden_keypoints_may_be_anything() -> None:
    hidden = torch.zeros(TARGET.shape[:2], dtype=torch.bool)
    for visible in (hidden, hidden.index_fill(1, torch.tensor([2]), True)):
        found = dual_alignment(PRED, TARGET, visible, names=torch.where(visible, 3, -9))
        expected = dual_alignment(PRED, TARGET, visible, names=torch.where(visible, 3, 0))
        torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=0, atol=0, equal_nan=True)
