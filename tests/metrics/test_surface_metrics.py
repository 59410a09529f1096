"""Scores of surfaces: loops in plain Python, units, subjects, crossings, and the running metric."""

from __future__ import annotations

import itertools
import math
import statistics
from typing import Any

import numpy as np
import pytest
import torch

from heatpoint.metrics import SurfaceDistance
from heatpoint.metrics.surfaces import ScanPair, surface_errors, surface_scores

RNG = np.random.default_rng(6)
NAMES = ["top", "middle", "bottom"]


def made(width: int, axial_um: float | None, subject: str, *, seen: float = 0.8) -> ScanPair:
    target = np.sort(RNG.uniform(3, 40, (3, width)), axis=0)
    pred = target + RNG.normal(size=(3, width)) * 4
    visible = RNG.random((3, width)) < seen
    # What is not visible may hold anything.
    return np.where(visible, pred, np.nan), np.where(visible, target, 0.0), visible, axial_um, subject


SCANS = [made(7, 3.9, "a"), made(12, 2.0, "b"), made(5, 3.9, "a"), made(9, 3.0, "c", seen=0.0), made(8, 1.5, "b")]


def collected(scans: list[ScanPair], surface: int | None, *, is_um: bool = False) -> list[list[float]]:
    """For every scan its absolute distances, of one surface or of all."""
    found = []
    for pred, target, visible, axial_um, _ in scans:
        rows = range(len(target)) if surface is None else [surface]
        factor = axial_um if is_um and axial_um is not None else 1.0
        columns = range(target.shape[1])
        pairs = [(s, x) for s in rows for x in columns if visible[s, x]]
        found.append([abs(float(pred[s, x]) - float(target[s, x])) * factor for s, x in pairs])
    return found


def figures(values: list[list[float]]) -> dict[str, float]:
    pooled = [v for scan in values for v in scan]
    means = [statistics.fmean(scan) for scan in values if scan]
    if not pooled:
        return dict.fromkeys(("mad", "std", "scan_mad", "scan_std"), math.nan)
    return {
        "mad": statistics.fmean(pooled),
        "std": statistics.pstdev(pooled),
        "scan_mad": statistics.fmean(means),
        "scan_std": statistics.pstdev(means),
    }


@pytest.mark.parametrize("unit", ["px", "um"])
def test_scores_agree_with_loops(unit: str) -> None:
    scores = surface_scores(SCANS, names=NAMES)
    for name, surface in [*zip(NAMES, range(3), strict=True), ("overall", None)]:
        for key, expected in figures(collected(SCANS, surface, is_um=unit == "um")).items():
            assert scores[f"{key}_{unit}"][name] == pytest.approx(expected, rel=1e-12), (key, name)
    assert scores["mad_px"]["overall"] != scores["scan_mad_px"]["overall"]
    assert list(scores["mad_px"]) == [*NAMES, "overall"]


def test_every_scan_and_subject_on_its_own() -> None:
    scores = surface_scores(SCANS, names=NAMES)
    expected = [statistics.fmean(scan) if scan else math.nan for scan in collected(SCANS, None)]
    assert scores["per_scan"] == pytest.approx(expected, rel=1e-12, nan_ok=True)
    assert math.isnan(scores["per_scan"][3])
    assert list(scores["per_subject"]) == ["a", "b", "c"]
    for subject, found in scores["per_subject"].items():
        own = [scan for scan in SCANS if scan[4] == subject]
        assert found["num_scans"] == len(own)
        for unit, (name, surface) in itertools.product(("px", "um"), [("middle", 1), ("overall", None)]):
            values = figures(collected(own, surface, is_um=unit == "um"))
            assert found[f"mad_{unit}"][name] == pytest.approx(values["mad"], rel=1e-12, nan_ok=True)
            assert found[f"std_{unit}"][name] == pytest.approx(values["std"], rel=1e-12, abs=1e-12, nan_ok=True)


def test_counts_and_crossings() -> None:
    scores = surface_scores(SCANS, names=NAMES)
    assert scores["columns"] == sum(int(scan[2].sum()) for scan in SCANS)
    assert scores["num_scans"] == 4
    crossed = pairs = 0
    for pred, _, visible, *_ in SCANS:
        for x in range(pred.shape[1]):
            seen = [float(pred[s, x]) for s in range(3) if visible[s, x]]
            pairs += max(len(seen) - 1, 0)
            crossed += sum(below < above for above, below in itertools.pairwise(seen))
    assert 0 < crossed < pairs
    assert scores["violations"] == crossed
    assert scores["pairs"] == pairs


def test_micrometres_only_where_every_spacing_is_known() -> None:
    unknown = [*SCANS[:2], (*SCANS[2][:3], None, "a")]
    scores = surface_scores(unknown, names=NAMES)
    assert not any(key.endswith("_um") for key in (*scores, *scores["per_subject"]["a"]))
    # At equal spacings micrometres are rows times the spacing.
    equal = surface_scores([(*scan[:3], 3.5, "a") for scan in SCANS], names=NAMES)
    for key in ("mad", "std", "scan_mad", "scan_std"):
        assert equal[f"{key}_um"]["overall"] == pytest.approx(3.5 * equal[f"{key}_px"]["overall"], rel=1e-12)


def test_a_constant_error_has_no_spread() -> None:
    target = np.array([[3.0, 4.0, 6.0], [7.0, 8.0, 9.0]])
    scores = surface_scores([(target - 1.5, target, np.ones((2, 3), dtype=bool), 2.0, "a")])
    assert scores["mad_px"] == {"1": 1.5, "2": 1.5, "overall": 1.5}
    assert scores["std_px"] == {"1": 0.0, "2": 0.0, "overall": 0.0}
    assert scores["scan_std_px"]["overall"] == 0
    assert scores["mad_um"]["1"] == 3.0
    assert scores["violations"] == 0


def test_what_is_nowhere_visible_is_no_number() -> None:
    pred, target, visible = np.zeros((2, 4)), np.ones((2, 4)), np.array([[True] * 4, [False] * 4])
    scores = surface_scores([(pred, target, visible, None, "a")])
    assert math.isnan(scores["mad_px"]["2"])
    assert math.isnan(scores["std_px"]["2"])
    assert scores["mad_px"]["overall"] == 1
    diverged = surface_scores([(np.full((2, 4), np.nan), target, visible, None, "a")])
    assert math.isnan(diverged["mad_px"]["1"])


def test_tensors_do_as_well_as_arrays() -> None:
    as_tensors: list[Any] = [(*(torch.from_numpy(np.asarray(x)) for x in scan[:3]), *scan[3:]) for scan in SCANS]
    first, second = surface_scores(SCANS, names=NAMES), surface_scores(as_tensors, names=NAMES)
    assert first["mad_um"] == second["mad_um"]
    assert first["violations"] == second["violations"]
    errors = surface_errors(SCANS[0][0], SCANS[0][1], SCANS[0][2])
    assert errors.dtype == torch.float64
    np.testing.assert_array_equal(errors.isnan().numpy(), ~np.asarray(SCANS[0][2]))


@pytest.mark.parametrize("statistic", ["mad", "std", "scan_mad", "scan_std"])
@pytest.mark.parametrize("surface", [None, 0, 2])
def test_the_running_metric_is_the_score(statistic: Any, surface: int | None) -> None:
    metric = SurfaceDistance(statistic=statistic, surface=surface)
    for scan in SCANS:
        metric.update(*(torch.from_numpy(np.asarray(x))[None] for x in scan[:3]))
    expected = surface_scores(SCANS, names=NAMES)[f"{statistic}_px"]["overall" if surface is None else NAMES[surface]]
    assert float(metric.compute()) == pytest.approx(expected, rel=1e-12)
    assert metric.higher_is_better is False


def test_the_running_metric_does_not_depend_on_batches() -> None:
    target = torch.from_numpy(RNG.uniform(0, 50, (6, 3, 10)))
    pred = target + torch.from_numpy(RNG.normal(size=(6, 3, 10)))
    whole, parts = SurfaceDistance(statistic="scan_std"), SurfaceDistance(statistic="scan_std")
    whole.update(pred, target)
    for start, stop in ((0, 1), (1, 5), (5, 6)):
        parts.update(pred[start:stop], target[start:stop])
    torch.testing.assert_close(parts.compute(), whole.compute(), rtol=1e-13, atol=0)
    by_hand = (pred - target).abs().mean(dim=(1, 2)).std(correction=0)
    torch.testing.assert_close(whole.compute(), by_hand, rtol=1e-12, atol=0)


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")
def test_errors() -> None:
    rows, visible = np.zeros((2, 4)), np.ones((2, 4), dtype=bool)
    with pytest.raises(
        ValueError,
        match=r"surface_errors: pred must be \(…, surfaces, columns\), as the target, \(2, 4\), got \(2, 3\)",
    ):
        surface_errors(rows[:, :3], rows)
    with pytest.raises(ValueError, match=r"surface_errors: pred must be \(…, surfaces, columns\)"):
        surface_errors(rows[0], rows[0])
    with pytest.raises(
        ValueError, match=r"surface_errors: visible must be \(2, 4\), one flag per surface and column, got \(4,\)"
    ):
        surface_errors(rows, rows, visible[0])
    with pytest.raises(ValueError, match="surface_scores: scans must hold at least one scan, got none"):
        surface_scores([])
    with pytest.raises(ValueError, match="surface_scores: scans must have 2 surfaces, got 1 in scan 1"):
        surface_scores([(rows, rows, visible, None, "a"), (rows[:1], rows[:1], visible[:1], None, "a")])
    with pytest.raises(ValueError, match="surface_scores: scans must have 1 surfaces, got 2 in scan 0"):
        surface_scores([(rows, rows, visible, None, "a")], names=["only"])
    for names in (["ILM", "overall"], ["ILM", "ILM"]):
        with pytest.raises(ValueError) as caught:
            surface_scores([(rows, rows, visible, None, "a")], names=names)
        assert str(caught.value) == f"surface_scores: names must be distinct, none of them 'overall', got {names}."
    for spacing in (0.0, -1.0, math.nan):
        with pytest.raises(
            ValueError, match="surface_scores: axial_um must be greater than 0, got .* Give None where it is not"
        ):
            surface_scores([(rows, rows, visible, spacing, "a")])
    with pytest.raises(
        ValueError, match="SurfaceDistance: statistic must be one of mad, scan_mad, scan_std, std, got 'rms'"
    ):
        SurfaceDistance(statistic="rms")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="SurfaceDistance: surface must be the index of a surface, got -1"):
        SurfaceDistance(surface=-1)
    with pytest.raises(ValueError, match="SurfaceDistance: surface must be below the number of surfaces, 2, got 2"):
        SurfaceDistance(surface=2).update(torch.zeros(1, 2, 4), torch.zeros(1, 2, 4))
    text = r"SurfaceDistance: target must be \(N, S, W\), scans of surfaces, got \(2, 4\)\. Give one scan as scan\[None\]\."
    with pytest.raises(ValueError, match=text):
        SurfaceDistance().update(torch.zeros(2, 4), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="SurfaceDistance.compute: samples must be added first, got none"):
        SurfaceDistance().compute()
