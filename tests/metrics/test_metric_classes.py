"""The torchmetrics classes: one batch or many, one process or two, the value is that of the pure function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import heatpoint.metrics
from heatpoint.metrics import (
    MPJPE,
    PCK,
    AreaUnderCurve,
    CocoKeypointAP,
    ConfidenceCorrelation,
    EndPointError,
    ErrorCurve,
    FailureRate,
    MTFLError,
    NormalizedMeanError,
    PCKAreaUnderCurve,
    PCKh,
    SubsetError,
    _gather,
    faces,
)
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


CASES: list[tuple[Callable[[], Any], tuple[Tensor, ...], Tensor, bool | None]] = [
    (NormalizedMeanError, (PRED, TARGET, NORMALIZER, VISIBLE), PER_FACE.mean(), False),
    (NormalizedMeanError, (PRED, TARGET, NORMALIZER), F.nme(PRED, TARGET, NORMALIZER).mean(), False),
    (FailureRate, (PRED, TARGET, NORMALIZER, VISIBLE), faces.failure_rate(PER_FACE), False),
    (
        lambda: FailureRate(threshold=0.05),
        (PRED, TARGET, NORMALIZER, VISIBLE),
        faces.failure_rate(PER_FACE, 0.05),
        False,
    ),
    (AreaUnderCurve, (PRED, TARGET, NORMALIZER, VISIBLE), faces.area_under_curve(PER_FACE), True),
    (
        lambda: AreaUnderCurve(threshold=0.5),
        (PRED, TARGET, NORMALIZER, VISIBLE),
        faces.area_under_curve(PER_FACE, 0.5),
        True,
    ),
    (ErrorCurve, (PRED, TARGET, NORMALIZER, VISIBLE), torch.stack(faces.error_curve(PER_FACE)), None),
    (
        lambda: ErrorCurve(limit=0.4, num_thresholds=7),
        (PRED, TARGET, NORMALIZER),
        torch.stack(faces.error_curve(F.nme(PRED, TARGET, NORMALIZER), limit=0.4, num_thresholds=7)),
        None,
    ),
    (MTFLError, (PRED, TARGET), faces.mtfl_errors(PRED, TARGET)[1], False),
    (
        lambda: MTFLError(kind="absolute"),
        (PRED, TARGET, SCALE),
        faces.mtfl_errors(PRED, TARGET, pixel_scale=SCALE)[0],
        False,
    ),
    (lambda: MTFLError(eyes=(1, 3)), (PRED, TARGET), faces.mtfl_errors(PRED, TARGET, eyes=(1, 3))[1], False),
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
    make: Callable[[], Any], inputs: tuple[Tensor, ...], expected: Tensor, higher: bool | None
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


NAMES = ("blur", "pose", "make-up")
TAGS = [frozenset(name for name, flag in zip(NAMES, row, strict=True) if flag) for row in RNG.random((NUM, 3)) < 0.6]


@pytest.mark.parametrize("score", ["mean", "failure_rate", "area_under_curve"])
def test_subsets_do_not_depend_on_batches_or_processes(score: Any) -> None:
    inputs = (PRED, TARGET, NORMALIZER)
    seen = [tags for tags, flag in zip(TAGS, SEEN.tolist(), strict=True) if flag]
    take = {"mean": torch.mean, "failure_rate": faces.failure_rate, "area_under_curve": faces.area_under_curve}[score]
    # Not every process meets every subset, and a subset may have no face at all.
    expected = {**faces.by_subset(PER_FACE, seen, score=take), "none": float("nan")}
    first, second = (SubsetError([*NAMES, "none"], score=score) for _ in range(2))
    for metric, (start, stop) in ((first, (0, 1)), (second, (1, 5)), (second, (5, NUM))):
        metric.update(*(t[start:stop] for t in inputs), TAGS[start:stop], VISIBLE[start:stop])
    for name, reduce in first._reductions.items():
        setattr(first, name, [reduce([torch.cat(getattr(m, name)) for m in (first, second)])])
    assert {n: v.item() for n, v in first.compute().items()} == pytest.approx(expected, rel=1e-13, nan_ok=True)

    whole = SubsetError(NAMES[:1], score=score)
    whole.update(*inputs, TAGS)
    every = faces.by_subset(F.nme(*inputs), TAGS, score=take)
    assert {n: v.item() for n, v in whole.compute().items()} == pytest.approx({"blur": every["blur"]}, rel=1e-13)


def test_the_threshold_of_subsets() -> None:
    found = []
    for threshold in (0.02, 0.5):
        metric = SubsetError(["blur"], score="failure_rate", threshold=threshold)
        metric.update(PRED, TARGET, NORMALIZER, TAGS)
        blurred = F.nme(PRED, TARGET, NORMALIZER)[faces.subset_mask(TAGS, "blur")]
        found.append(metric.compute()["blur"].item())
        assert found[-1] == faces.failure_rate(blurred, threshold).item()
    assert found[0] > found[1]


def test_faces_without_a_length_are_left_out_as_in_the_scores_of_a_set() -> None:
    lengths = NORMALIZER.clone()
    lengths[0], lengths[4], lengths[7] = float("nan"), 0.0, -1.0
    counts = SEEN & (lengths > 0)
    kept = F.nme(PRED[counts], TARGET[counts], lengths[counts], visible=VISIBLE[counts])
    curve = torch.stack(faces.error_curve(kept))
    expected = {NormalizedMeanError: kept.mean(), FailureRate: faces.failure_rate(kept)}
    expected |= {AreaUnderCurve: faces.area_under_curve(kept), ErrorCurve: curve}
    assert len(kept) == NUM - 4
    for make, value in expected.items():
        metric = make()
        metric.update(PRED, TARGET, lengths, VISIBLE)
        torch.testing.assert_close(metric.compute(), value, rtol=1e-13, atol=0)
        # Where none is left, there is no score, and a curve without shares.
        metric.reset()
        metric.update(PRED, TARGET, torch.full_like(lengths, torch.nan))
        assert bool(metric.compute()[-1:].isnan().all() if make is ErrorCurve else metric.compute().isnan())
    tags = [face for face, flag in zip(TAGS, counts.tolist(), strict=True) if flag]
    subsets = SubsetError(NAMES)
    subsets.update(PRED, TARGET, lengths, TAGS, VISIBLE)
    found = {name: value.item() for name, value in subsets.compute().items()}
    assert found == pytest.approx(faces.by_subset(kept, tags), rel=1e-13)


def test_samples_that_a_sampler_repeats_count_twice() -> None:
    metric = NormalizedMeanError()
    metric.update(PRED, TARGET, NORMALIZER)
    metric.update(PRED[:1], TARGET[:1], NORMALIZER[:1])
    errors = F.nme(PRED, TARGET, NORMALIZER)
    assert metric.compute().item() == pytest.approx(torch.cat([errors, errors[:1]]).mean().item(), rel=1e-13)


@pytest.mark.parametrize(
    "make",
    [
        NormalizedMeanError,
        FailureRate,
        AreaUnderCurve,
        ErrorCurve,
        MTFLError,
        ConfidenceCorrelation,
        lambda: SubsetError(["blur"]),
        PCK,
        PCKh,
        PCKAreaUnderCurve,
        EndPointError,
        MPJPE,
    ],
)
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")
def test_a_metric_without_samples_says_so(make: Callable[[], Any]) -> None:
    metric = make()
    with pytest.raises(ValueError) as raised:
        metric.compute()
    assert str(raised.value) == (
        f"{type(metric).__name__}.compute: samples must be added first, got none. "
        "Call update with the predictions of a batch before compute."
    )


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
            lambda: SubsetError([]),
            "SubsetError: subsets must be at least one name, none twice, got [].",
        ),
        (
            lambda: SubsetError(["a", "a"]),
            "SubsetError: subsets must be at least one name, none twice, got ['a', 'a'].",
        ),
        (
            lambda: SubsetError(["a"], score="failure"),
            "SubsetError: score must be one of area_under_curve, failure_rate, mean, got 'failure'. Did you mean "
            "failure_rate?",
        ),
        (
            lambda: SubsetError(["a"]).update(PRED, TARGET, NORMALIZER, TAGS[:3]),
            "SubsetError.update: tags must be 11, the subsets of each face, got 3.",
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


def test_a_process_that_has_seen_nothing_takes_the_form_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, nothing = torch.ones(3, 5, dtype=torch.float64), torch.tensor([])
    forms = [(True, rows.shape[1:], rows.dtype), (False, nothing.shape[1:], nothing.dtype)]

    def share(found: list[Any], own: Any, group: Any) -> None:
        assert own in forms
        found[:] = forms

    monkeypatch.setattr(torch.distributed, "get_world_size", lambda group: 2)
    monkeypatch.setattr(torch.distributed, "all_gather_object", share)
    monkeypatch.setattr(_gather, "gather_all_tensors", lambda values, group: [values])
    assert _gather.gather_processes(rows)[0] is rows
    (sent,) = _gather.gather_processes(nothing)
    assert (tuple(sent.shape), sent.dtype) == ((0, 5), torch.float64)
    # Rows without a sample have a form too, where nobody has one.
    forms[0] = (False, rows.shape[1:], rows.dtype)
    assert _gather.gather_processes(nothing)[0].shape == (0, 5)


def _score_half(rank: int, file: str) -> None:
    distributed = torch.distributed
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    person = {"image_id": 7, "id": 1, "area": 1250.0, "keypoints": [10, 10, 2]}
    metrics = PCK(threshold=0.5), SubsetError(["blur"]), CocoKeypointAP([person], sigmas=[0.05])
    if rank == 0:
        pred, target, lengths = torch.tensor([[[3.0, 4.0], [0.0, 1.0]]]), torch.zeros(1, 2, 2), torch.tensor([10.0])
        metrics[0].update(pred, target, lengths)
        metrics[1].update(pred, target, lengths, [frozenset({"blur"})])
        metrics[2].update(torch.tensor([[[10.0, 10.0]]]), torch.tensor([0.8]), [7])
    values = metrics[0].compute(), metrics[1].compute()["blur"], metrics[2].compute()["AP"]
    assert [round(float(value), 6) for value in values] == [0.5, 0.3, 1.0]
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_real_processes_of_which_one_has_seen_nothing(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(_score_half, (str(tmp_path / "meet"),), nprocs=2, start_method="spawn")
