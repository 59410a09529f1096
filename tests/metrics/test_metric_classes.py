"""The torchmetrics classes: one batch or many, one process or two, the value is that of the pure function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import heatpoint.metrics
from heatpoint.metrics import AreaUnderCurve, ConfidenceCorrelation, FailureRate, MTFLError, NormalizedMeanError
from heatpoint.metrics import functional as F

NUM, POINTS = 11, 5
RNG = np.random.default_rng(4)
TARGET = torch.tensor(RNG.normal(size=(NUM, POINTS, 2)) * 50)
PRED = TARGET + torch.tensor(RNG.normal(size=(NUM, POINTS, 2)) * RNG.uniform(0.5, 8, size=(NUM, 1, 1)))
VISIBLE = torch.tensor(RNG.random((NUM, POINTS)) < 0.7)
VISIBLE[2] = False
SEEN = VISIBLE.any(-1)
NORMALIZER = F.normalizer_distance(TARGET, ((0,), (1,)))
SCALE = torch.tensor(RNG.uniform(0.5, 2, NUM))
CONFIDENCE = torch.tensor(RNG.random((NUM, POINTS)))
ERRORS = F.point_errors(PRED, TARGET) / NORMALIZER[:, None]
PER_FACE = F.nme(PRED, TARGET, NORMALIZER, visible=VISIBLE)[SEEN]


def face_mean(values: Tensor) -> Tensor:
    return torch.stack([v[m].mean() for v, m in zip(values, VISIBLE, strict=True) if m.any()])


CASES: list[tuple[Callable[[], Any], tuple[Tensor, ...], Tensor, bool]] = [
    (NormalizedMeanError, (PRED, TARGET, NORMALIZER, VISIBLE), PER_FACE.mean(), False),
    (NormalizedMeanError, (PRED, TARGET, NORMALIZER), F.nme(PRED, TARGET, NORMALIZER).mean(), False),
    (FailureRate, (PRED, TARGET, NORMALIZER, VISIBLE), F.failure_rate(PER_FACE), False),
    (
        lambda: FailureRate(threshold=0.05),
        (PRED, TARGET, NORMALIZER, VISIBLE),
        F.failure_rate(PER_FACE, 0.05),
        False,
    ),
    (AreaUnderCurve, (PRED, TARGET, NORMALIZER, VISIBLE), F.area_under_curve(PER_FACE), True),
    (
        lambda: AreaUnderCurve(threshold=0.5),
        (PRED, TARGET, NORMALIZER, VISIBLE),
        F.area_under_curve(PER_FACE, 0.5),
        True,
    ),
    (MTFLError, (PRED, TARGET), F.mtfl_errors(PRED, TARGET)[1], False),
    (
        lambda: MTFLError(kind="absolute"),
        (PRED, TARGET, SCALE),
        F.mtfl_errors(PRED, TARGET, pixel_scale=SCALE)[0],
        False,
    ),
    (lambda: MTFLError(eyes=(1, 3)), (PRED, TARGET), F.mtfl_errors(PRED, TARGET, eyes=(1, 3))[1], False),
    (ConfidenceCorrelation, (CONFIDENCE, ERRORS), F.pearson_correlation(CONFIDENCE, -ERRORS), True),
    (
        ConfidenceCorrelation,
        (CONFIDENCE, ERRORS, VISIBLE),
        F.pearson_correlation(CONFIDENCE[VISIBLE], -ERRORS[VISIBLE]),
        True,
    ),
    (
        lambda: ConfidenceCorrelation(per="face"),
        (CONFIDENCE, ERRORS, VISIBLE),
        F.pearson_correlation(face_mean(CONFIDENCE), -face_mean(ERRORS)),
        True,
    ),
]


@pytest.mark.parametrize(("make", "inputs", "expected", "higher"), CASES)
def test_the_value_does_not_depend_on_batches_or_processes(
    make: Callable[[], Any], inputs: tuple[Tensor, ...], expected: Tensor, higher: bool
) -> None:
    metric = make()
    assert metric.higher_is_better is higher
    for batch in zip(*(t.split([4, 1, 6]) for t in inputs), strict=True):
        metric.update(*batch)
    # The same float64 terms in the same order, at most summed in other groups.
    torch.testing.assert_close(metric.compute(), expected, rtol=1e-13, atol=0)

    # Two processes, as torchmetrics joins them: the states gathered and concatenated.
    first, second = make(), make()
    first.update(*(t[:4] for t in inputs))
    second.update(*(t[4:] for t in inputs))
    for name, reduce in first._reductions.items():
        gathered = [torch.cat(getattr(m, name)) for m in (first, second)]
        setattr(first, name, [reduce(gathered)])
    torch.testing.assert_close(first.compute(), expected, rtol=1e-13, atol=0)

    metric.reset()
    metric.update(*inputs)
    torch.testing.assert_close(metric.compute(), expected, rtol=1e-13, atol=0)


def test_the_package_loads_classes_when_asked_and_lists_them() -> None:
    assert set(heatpoint.metrics.__all__) <= set(dir(heatpoint.metrics))
    with pytest.raises(AttributeError, match=r"module 'heatpoint.metrics' has no attribute 'Accuracy'"):
        heatpoint.metrics.__getattr__("Accuracy")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: MTFLError(kind="relativ"),
            "MTFLError: kind must be one of absolute, relative, got 'relativ'. Did you mean relative?",
        ),
        (
            lambda: ConfidenceCorrelation(per="faces"),
            "ConfidenceCorrelation: per must be one of face, point, got 'faces'. Did you mean face?",
        ),
        (
            lambda: ConfidenceCorrelation().update(torch.zeros(2, 3), torch.zeros(3, 2)),
            "ConfidenceCorrelation.update: confidence must be (N, K), as errors and visible, got (2, 3), (3, 2) and (3, 2).",
        ),
    ],
)
def test_error_texts(call: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError) as raised:
        call()
    assert str(raised.value) == text
