"""What is read from the errors of many faces: closed forms, published figures, and every argument and error text."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heatpoint.metrics.faces import (
    area_under_curve,
    by_subset,
    cumulative_error,
    error_curve,
    failure_rate,
    mtfl_errors,
    mtfl_face_errors,
    subset_mask,
)
from heatpoint.metrics.functional import nme, normalizer_distance
from oracles_metrics import auc_by_steps, read_cofw68, read_cofw68_results

Goldens = Callable[[str], dict[str, np.ndarray]]
PROPERTY = settings(max_examples=25, deadline=None, derandomize=True)
TAGS = [frozenset({"blur"}), frozenset(), frozenset({"blur", "pose"}), frozenset({"pose"})]


def faces(num: int = 5, points: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    target = rng.normal(size=(num, points, 2)) * 40
    return torch.tensor(target + rng.normal(size=target.shape)), torch.tensor(target)


@PROPERTY
@given(st.lists(st.floats(0, 0.4), min_size=1, max_size=9), st.floats(0.01, 0.3))
def test_area_failure_rate_and_curve_agree(errors: list[float], threshold: float) -> None:
    values = torch.tensor(errors, dtype=torch.float64)
    curve = cumulative_error(values, torch.linspace(0, threshold, 11, dtype=torch.float64))
    assert bool((curve.diff() >= 0).all())
    assert failure_rate(values, threshold).item() == pytest.approx(
        sum(e > threshold for e in errors) / len(errors), abs=1e-12
    )
    # The midpoint rule with n steps is off by at most one step per face.
    steps = 2000
    exact = area_under_curve(values, threshold).item()
    assert exact == pytest.approx(auc_by_steps(errors, threshold, steps), abs=1 / steps)


def test_a_nan_error_is_a_failure() -> None:
    values = torch.tensor([0.0, math.nan])
    assert failure_rate(values).item() == 0.5
    assert area_under_curve(values).item() == 0.5


def test_failure_rate_counts_the_threshold_itself_as_success() -> None:
    values = torch.tensor([0.08, 0.1], dtype=torch.float64)
    assert failure_rate(values, 0.1).item() == 0.0
    assert failure_rate(values, 0.08).item() == 0.5


def test_mtfl_pixel_scale_touches_the_absolute_error_only() -> None:
    pred, target = faces()
    scale = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)
    absolute, relative = mtfl_face_errors(pred, target, pixel_scale=scale)
    plain_absolute, plain_relative = mtfl_face_errors(pred, target)
    torch.testing.assert_close(absolute, plain_absolute * scale, rtol=1e-14, atol=0)
    torch.testing.assert_close(relative, plain_relative, rtol=1e-14, atol=0)
    other = mtfl_errors(pred, target, eyes=(2, 4))
    assert other[0] == mtfl_errors(pred, target)[0]
    assert other[1] != mtfl_errors(pred, target)[1]


def test_mtfl_golden(goldens: Goldens) -> None:
    golden = goldens("06_mtfl")
    absolute, relative = mtfl_errors(torch.tensor(golden["pred"]), torch.tensor(golden["gt"]))
    assert absolute.item() == pytest.approx(float(golden["abs_err"]), rel=1e-12)
    assert relative.item() == pytest.approx(float(golden["rel_err"]), rel=1e-12)


@pytest.mark.parametrize(
    ("method", "error_percent", "failures_percent"), [("TCDCN", 7.655, 16.174), ("CFSS", 6.283, 9.073)]
)
def test_published_cofw68_figures(data_root: Path, method: str, error_percent: float, failures_percent: float) -> None:
    folder = data_root / "faces_formats" / "cofw68"
    if not folder.exists():
        pytest.skip("the COFW-68 result files are absent")
    target = torch.tensor(read_cofw68(folder / "COFW68_Data" / "test_annotations"))
    pred = torch.tensor(read_cofw68_results(folder / "Results" / f"{method}_CFOW68.txt"))
    per_face = nme(pred, target, normalizer_distance(target, ((36,), (45,))))
    # The figures are printed to three decimals.
    assert 100 * per_face.mean().item() == pytest.approx(error_percent, abs=5e-4)
    assert 100 * failure_rate(per_face).item() == pytest.approx(failures_percent, abs=5e-4)


@PROPERTY
@given(st.lists(st.floats(0, 0.4), min_size=1, max_size=9), st.floats(0.01, 0.3), st.integers(2, 17))
def test_the_curve_counts_faces_at_even_thresholds(errors: list[float], limit: float, num: int) -> None:
    values = torch.tensor(errors, dtype=torch.float64)
    thresholds, shares = error_curve(values, limit=limit, num_thresholds=num)
    assert thresholds.shape == shares.shape == (num,)
    assert thresholds[0] == 0
    assert thresholds[-1].item() == pytest.approx(limit, rel=1e-15)
    expected = [sum(e <= t for e in errors) / len(errors) for t in thresholds.tolist()]
    assert shares.tolist() == pytest.approx(expected, abs=1e-15)
    assert 1 - shares[-1].item() == pytest.approx(failure_rate(values, thresholds[-1].item()).item(), abs=1e-15)


def test_the_area_is_that_under_the_curve() -> None:
    values = torch.tensor(np.random.default_rng(3).uniform(0, 0.2, 17))
    thresholds, shares = error_curve(values, limit=0.1, num_thresholds=5001)
    # The trapezoid rule on a staircase of 17 equal steps is off by at most half a step of the thresholds.
    area = torch.trapezoid(shares, thresholds) / 0.1
    assert area.item() == pytest.approx(area_under_curve(values, 0.1).item(), abs=0.5 / 5000)


def test_the_curve_keeps_the_dtype_and_counts_nan_as_failure() -> None:
    thresholds, shares = error_curve(torch.tensor([0.0, math.nan]), num_thresholds=3)
    assert thresholds.dtype == shares.dtype == torch.float32
    assert shares.tolist() == [0.5, 0.5, 0.5]


def test_scores_of_subsets() -> None:
    errors = torch.tensor([0.04, 0.5, 0.08, 0.2], dtype=torch.float64)
    assert by_subset(errors, TAGS) == {"blur": pytest.approx(0.06), "pose": pytest.approx(0.14)}
    assert by_subset(errors, TAGS, score=failure_rate) == {"blur": 0.0, "pose": 0.5}
    assert by_subset(errors, TAGS, score=lambda e: failure_rate(e, 0.05)) == {"blur": 0.5, "pose": 1.0}
    assert by_subset(errors, TAGS, score=area_under_curve) == {"blur": pytest.approx(0.4), "pose": pytest.approx(0.1)}
    assert by_subset(errors[:1], [frozenset()]) == {}
    assert subset_mask(TAGS, "pose").tolist() == [False, False, True, True]


def test_a_diverged_face_shows_in_its_subsets_only() -> None:
    found = by_subset(torch.tensor([0.25, 0.5, 0.25, math.nan]), TAGS)
    assert found["blur"] == 0.25
    assert math.isnan(found["pose"])


POINTS = torch.zeros(2, 3, 2)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: failure_rate(torch.zeros(0)), "cumulative_error: nme must be (N,) with at least one face, got (0,)."),
        (
            lambda: area_under_curve(torch.zeros(2, 3)),
            "area_under_curve: nme must be (N,) with at least one face, got (2, 3).",
        ),
        (lambda: area_under_curve(torch.zeros(2), 0.0), "area_under_curve: threshold must be greater than 0, got 0.0."),
        (lambda: mtfl_errors(POINTS[0], POINTS[0]), "mtfl_errors: pred must be (N, K, 2), got (3, 2)."),
        (
            lambda: mtfl_errors(POINTS, POINTS),
            "mtfl_errors: target must hold a face whose eyes are apart, got (2, 3, 2).",
        ),
        (
            lambda: mtfl_errors(POINTS, POINTS, pixel_scale=torch.ones(3)),
            "mtfl_errors: pixel_scale must be (2,), one factor per face, got (3,).",
        ),
        (
            lambda: error_curve(torch.zeros(2), limit=0.0),
            "error_curve: limit must be greater than 0, got 0.0.",
        ),
        (
            lambda: error_curve(torch.zeros(2), num_thresholds=1),
            "error_curve: num_thresholds must be at least 2, got 1.",
        ),
        (
            lambda: by_subset(torch.zeros(3), TAGS),
            "by_subset: errors must be (4,), one error for each face's tags, got (3,).",
        ),
    ],
)
def test_error_texts(call: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError) as raised:
        call()
    assert str(raised.value) == text
