"""Distances of located surfaces from the true ones, column by column, in rows of the scan and in micrometres.

A surface does not count where it is not visible, and may hold any number there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy.typing as npt
import torch
from torch import Tensor

from heatpoint._checks import message
from heatpoint.ordering import violations

Array: TypeAlias = npt.NDArray[Any] | Tensor
ScanPair: TypeAlias = tuple[Array, Array, Array, float | None, str]
OVERALL = "overall"


def surface_errors(pred: Array, target: Array, visible: Array | None = None) -> Tensor:
    """Absolute distances |pred − target| along the columns, in rows; NaN where the surface is not visible.

    Args:
        pred: (…, S, W) rows, array or tensor.
        target: (…, S, W).
        visible: (…, S, W) bool; None takes all.

    Returns:
        (…, S, W) float64; a row that is no number is no number here either.

    Raises:
        ValueError: If a shape does not fit.

    >>> surface_errors(torch.tensor([[1.0, 4.5]]), torch.tensor([[2.0, 4.0]]))
    tensor([[1.0000, 0.5000]], dtype=torch.float64)
    """
    found, true = (torch.as_tensor(rows).detach().double() for rows in (pred, target))
    if found.shape != true.shape or found.ndim < 2:
        rule = f"be (…, surfaces, columns), as the target, {tuple(true.shape)}"
        raise ValueError(message("surface_errors", "pred", rule, tuple(found.shape)))
    errors = (found - true).abs()
    if visible is None:
        return errors
    seen = torch.as_tensor(visible).bool()
    if seen.shape != true.shape:
        rule = f"be {tuple(true.shape)}, one flag per surface and column"
        raise ValueError(message("surface_errors", "visible", rule, tuple(seen.shape)))
    return torch.where(seen, errors, torch.nan)


@dataclass(frozen=True)
class Moments:
    """Number, sum and sum of squares of the distances that count, float64 of one shape: what means and spreads are made of.

    >>> pooled = Moments.of(torch.tensor([[1.0, 3.0]]), torch.tensor([[True, True]]))
    >>> pooled.mean, pooled.std
    (tensor([2.], dtype=torch.float64), tensor([1.], dtype=torch.float64))
    """

    number: Tensor
    total: Tensor
    squares: Tensor

    @classmethod
    def of(cls, errors: Tensor, visible: Array) -> Moments:
        """Over the columns of distances (…, S, W)."""
        seen = torch.as_tensor(visible).bool()
        kept = torch.where(seen, errors.double(), 0.0)
        return cls(seen.sum(-1).double(), kept.sum(-1), kept.square().sum(-1))

    def pooled(self) -> Moments:
        """Over the first dimension, the scans."""
        return Moments(self.number.sum(0), self.total.sum(0), self.squares.sum(0))

    def scaled(self, factor: Tensor) -> Moments:
        """Of distances in another unit."""
        return Moments(self.number, self.total * factor, self.squares * factor.square())

    def with_overall(self) -> Moments:
        """(…, S) to (…, S + 1): after the surfaces all of them together."""
        return Moments(*(torch.cat([x, x.sum(-1, keepdim=True)], -1) for x in (self.number, self.total, self.squares)))

    @property
    def mean(self) -> Tensor:
        """NaN where nothing counts."""
        return self.total / self.number

    @property
    def std(self) -> Tensor:
        """√(mean of squares − square of the mean); NaN where nothing counts."""
        return (self.squares / self.number - self.mean.square()).clamp(min=0).sqrt()


def surface_scores(scans: Sequence[ScanPair], *, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Scores of a set of scans: mean absolute distances and their spreads, per surface, overall, per scan and per subject.

    With e = |pred − target| at (scan n, surface s, column x), over what is visible:

    - "mad_px": {s: mean of e over all (n, x)}, and under "overall" the mean over all (n, s, x), in rows of the scan.
    - "std_px": the standard deviation of e over the same, √(mean e² − (mean e)²).
    - "scan_mad_px": mean over scans of m_n, the scan's own mean of e; it differs from "mad_px" where scans show unequally much.
    - "scan_std_px": the standard deviation over scans, √(1/N Σ (m_n − m̄)²).
    - "mad_um", "std_um", "scan_mad_um", "scan_std_um": the same of e · axial_um, where the spacing of every scan is known.
    - "per_subject": {subject: {"mad_px": …, "std_px": …, "num_scans": …}}, over the scans of each; in micrometres as above.
    - "per_scan": m_n over all surfaces, in the order given.
    - "violations": how many of the "pairs" of neighbouring visible surfaces cross in pred (`ordering.violations`).
    - "columns": the number of (n, s, x); "num_scans": of scans with something visible.

    Sampling-Argmax, Table 5, has "MAD" and "Std. Dev." without saying over what; a deviation as small beside its mean as there
    can hardly be one over columns.

    Args:
        scans: For every scan pred (S, W), target (S, W), visible (S, W), axial_um (micrometres per row, or None), subject.
        names: Of the surfaces, distinct and none of them "overall"; None counts them from 1.

    Returns:
        Plain numbers; NaN where nothing is visible.

    Raises:
        ValueError: If there is no scan, shapes or names do not fit, or a spacing is not positive.

    >>> rows, visible = torch.tensor([[1.0, 2.0], [4.0, 4.0]]), torch.ones(2, 2, dtype=torch.bool)
    >>> scores = surface_scores([(rows + torch.tensor([[0.0, 1.0], [0.5, 0.5]]), rows, visible, 4.0, "a")])
    >>> scores["mad_px"], scores["std_um"]["1"], scores["violations"]
    ({'1': 0.5, '2': 0.5, 'overall': 0.5}, 2.0, 0)
    """
    names = _names(scans, names)
    parts = [Moments.of(surface_errors(pred, true, seen), seen) for pred, true, seen, *_ in scans]
    stacked = (torch.stack([getattr(part, field) for part in parts]) for field in ("number", "total", "squares"))
    moments = Moments(*stacked).with_overall()
    spacings = [_spacing(axial_um) for *_, axial_um, _ in scans]
    units = {"px": moments}
    if None not in spacings:
        units["um"] = moments.scaled(torch.tensor(spacings, dtype=torch.float64)[:, None])
    subjects: dict[str, list[int]] = {}
    for index, (*_, subject) in enumerate(scans):
        subjects.setdefault(subject, []).append(index)
    scores: dict[str, Any] = {}
    for unit, found in units.items():
        scores |= _spreads(found, names, unit) | _over_scans(found.mean, names, unit)
    scores["per_subject"] = {
        subject: {"num_scans": len(index)}
        | {
            key: value
            for unit, found in units.items()
            for key, value in _spreads(_some(found, index), names, unit).items()
        }
        for subject, index in subjects.items()
    }
    scores["per_scan"] = moments.mean[:, -1].tolist()
    visible = [torch.as_tensor(seen).bool() for _, _, seen, *_ in scans]
    scores["violations"] = sum(
        violations(torch.as_tensor(scan[0]), seen) for scan, seen in zip(scans, visible, strict=True)
    )
    scores["pairs"] = sum(int((seen.sum(0) - 1).clamp(min=0).sum()) for seen in visible)
    scores["columns"] = int(moments.number[:, -1].sum())
    scores["num_scans"] = int((moments.number[:, -1] > 0).sum())
    return scores


def _names(scans: Sequence[ScanPair], names: Sequence[str] | None) -> list[str]:
    """The names of the surfaces, of which every scan must have as many."""
    if not scans:
        raise ValueError(message("surface_scores", "scans", "hold at least one scan", "none"))
    numbers = [len(true) for _, true, *_ in scans]
    known = [str(i + 1) for i in range(numbers[0])] if names is None else list(names)
    if OVERALL in known or len(set(known)) < len(known):
        raise ValueError(message("surface_scores", "names", f"be distinct, none of them {OVERALL!r}", known))
    wrong = [(i, number) for i, number in enumerate(numbers) if number != len(known)]
    if wrong:
        got = f"{wrong[0][1]} in scan {wrong[0][0]}"
        raise ValueError(message("surface_scores", "scans", f"have {len(known)} surfaces", got))
    return known


def _spacing(axial_um: float | None) -> float | None:
    if axial_um is not None and not (math.isfinite(axial_um) and axial_um > 0):
        remedy = "Give None where it is not known."
        raise ValueError(message("surface_scores", "axial_um", "be greater than 0", axial_um, remedy))
    return axial_um


def _some(moments: Moments, scans: Sequence[int]) -> Moments:
    index = list(scans)
    return Moments(moments.number[index], moments.total[index], moments.squares[index])


def _spreads(moments: Moments, names: Sequence[str], unit: str) -> dict[str, dict[str, float]]:
    pooled = moments.pooled()
    return {f"mad_{unit}": _named(pooled.mean, names), f"std_{unit}": _named(pooled.std, names)}


def _over_scans(means: Tensor, names: Sequence[str], unit: str) -> dict[str, dict[str, float]]:
    """Of the means of scans (N, S + 1), NaN for a scan that does not show a surface."""
    center = means.nanmean(0)
    std = (means - center).square().nanmean(0).sqrt()
    return {f"scan_mad_{unit}": _named(center, names), f"scan_std_{unit}": _named(std, names)}


def _named(values: Tensor, names: Sequence[str]) -> dict[str, float]:
    return dict(zip([*names, OVERALL], values.tolist(), strict=True))
