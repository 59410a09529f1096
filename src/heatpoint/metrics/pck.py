"""Shares of correct points: PCK, PCKh in both published readings, their area over thresholds, and the end-point error.

All are fractions, never percentages. Hidden points never count, and may hold any number; a prediction that is NaN is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from heatpoint._checks import check_real, message, one_of
from heatpoint._numerics import full_precision, promote

# Rows of MPII's table over its 16 points; the mean leaves out pelvis and thorax, and counts the neck, which has no row.
MPII_ROWS: Mapping[str, tuple[int, ...]] = {
    "head": (9,),
    "shoulder": (12, 13),
    "elbow": (11, 14),
    "wrist": (10, 15),
    "hip": (2, 3),
    "knee": (1, 4),
    "ankle": (0, 5),
}
MPII_LEFT_OUT = (6, 7)
MPII_POINTS = 16
AUC_THRESHOLDS = tuple(step / 20 for step in range(20))


@dataclass(frozen=True)
class Reading:
    """One published way to count points as correct.

    Args:
        threshold: Share of the length within which a point is correct.
        inclusive: Whether a point at the threshold itself is correct.
    """

    threshold: float
    inclusive: bool


# HRNet's line "Mean@0.1" is entry 11 of its thresholds 0, 0.01, …, so 0.11.
READINGS: Mapping[str, Mapping[str, Reading]] = {
    "mmpose": {"0.5": Reading(0.5, False), "0.1": Reading(0.1, False)},
    "hrnet": {"0.5": Reading(0.5, True), "0.1": Reading(0.11, True)},
}


@full_precision
def relative_distances(pred: Tensor, target: Tensor, lengths: Tensor, *, visible: Tensor | None = None) -> Tensor:
    """Distance of every point from its place as a share of its sample's length: ‖(pred − target) / length‖.

    Args:
        pred: (N, K, D).
        target: (N, K, D).
        lengths: (N,), or (N, D) to divide each axis by its own.
        visible: (N, K) bool; None takes all points.

    Returns:
        (N, K); NaN where the point is hidden, or a length of its sample is not greater than 0: those are left out
        everywhere. Infinite where the prediction is NaN.

    Raises:
        ValueError: If a shape does not fit.

    >>> pred = torch.tensor([[[3.0, 4.0], [0.0, 1.0]]])
    >>> relative_distances(pred, torch.zeros(1, 2, 2), torch.tensor([10.0]), visible=torch.tensor([[True, False]]))
    tensor([[0.5000,    nan]])
    """
    _check("relative_distances", pred, target, lengths, visible)
    scale = promote(lengths).reshape(len(lengths), 1, -1)
    usable = (scale > 0).all(dim=-1)
    kept = usable.expand(pred.shape[:2]) if visible is None else usable & visible.bool()
    distances = torch.linalg.vector_norm((promote(pred) - promote(target)) / scale, dim=-1)
    wrong = torch.nan_to_num(distances, nan=torch.inf, posinf=torch.inf)
    return torch.where(kept, wrong, torch.full_like(distances, torch.nan))


def share_correct(distances: Tensor, threshold: float, *, inclusive: bool = False) -> Tensor:
    """Per kind of point the share whose distance (N, K) is below the threshold: (K,), NaN where no sample shows the kind.

    >>> share_correct(torch.tensor([[0.1, 0.5], [0.2, torch.nan]]), 0.2)
    tensor([0.5000, 0.0000])
    """
    if distances.ndim != 2:
        raise ValueError(message("share_correct", "distances", "be (N, K)", tuple(distances.shape)))
    correct = distances <= threshold if inclusive else distances < threshold
    return correct.to(distances.dtype).sum(dim=0) / (~distances.isnan()).sum(dim=0)


def pck(
    pred: Tensor,
    target: Tensor,
    lengths: Tensor,
    *,
    visible: Tensor | None = None,
    threshold: float,
    inclusive: bool = False,
) -> Tensor:
    """Percentage of correct points, as a fraction per kind of point: #(‖(pred − target) / length‖ < threshold) / #visible.

    mmpose compares strictly and prints the plain mean over the kinds that occur, `pck(…).nanmean()`. With lengths of 1 and a
    threshold of 150 it is the 3D PCK of points in millimetres.

    Args:
        pred: (N, K, D).
        target: (N, K, D).
        lengths: (N,), or (N, D) to divide each axis by its own. Samples whose length is not greater than 0 are left out.
        visible: (N, K) bool; None takes all points.
        threshold: Share of the length.
        inclusive: Whether a distance equal to the threshold is correct.

    Returns:
        (K,); NaN where no sample shows the kind of point (mmpose writes −1).

    Raises:
        ValueError: If a shape does not fit, or the threshold is not finite.

    >>> pred = torch.tensor([[[3.0, 4.0], [0.0, 1.0]]])
    >>> pck(pred, torch.zeros(1, 2, 2), torch.tensor([10.0]), threshold=0.5)
    tensor([0., 1.])
    >>> pck(pred, torch.zeros(1, 2, 2), torch.tensor([10.0]), threshold=0.5, inclusive=True)
    tensor([1., 1.])
    """
    check_real("pck", "threshold", threshold, "be a finite number")
    distances = relative_distances(pred, target, lengths, visible=visible)
    return share_correct(distances, threshold, inclusive=inclusive)


def pckh(
    pred: Tensor,
    target: Tensor,
    lengths: Tensor,
    *,
    visible: Tensor | None = None,
    reading: str = "hrnet",
    at: str = "0.5",
) -> dict[str, Tensor]:
    """MPII's PCKh: the rows head to ankle and the mean, in either published reading.

    A row is the plain mean of left and right. The mean is Σ_j n_j PCKh_j / Σ_j n_j over all points except pelvis and thorax, n_j
    the number of samples that show point j: the neck counts, though it has no row.

    Args:
        pred: (N, 16, 2) in MPII's order (right ankle first, left wrist last).
        target: (N, 16, 2).
        lengths: (N,) 0.6 times the diagonal of the head box.
        visible: (N, 16) bool; None takes all points.
        reading: "hrnet" counts distances equal to the threshold, and its "0.1" is 0.11; "mmpose" is strict, and its "0.1" is 0.1.
        at: "0.5" or "0.1".

    Returns:
        Fractions by name: the keys of `MPII_ROWS` and "mean"; NaN for a row of which nothing is visible.

    Raises:
        ValueError: If a shape does not fit, or a name is unknown.

    >>> target = torch.zeros(1, 16, 2)
    >>> scores = pckh(target + torch.tensor([3.0, 4.0]), target, torch.tensor([10.0]))
    >>> scores["head"], scores["mean"]
    (tensor(1.), tensor(1.))
    """
    rule = choose_reading("pckh", reading, at)
    distances = relative_distances(pred, target, lengths, visible=visible)
    return pckh_rows(distances, threshold=rule.threshold, inclusive=rule.inclusive)


def pckh_rows(distances: Tensor, *, threshold: float, inclusive: bool) -> dict[str, Tensor]:
    """The rows of `pckh` from distances (N, 16) as `relative_distances` gives them, at any threshold.

    >>> pckh_rows(torch.full((2, 16), 0.3), threshold=0.3, inclusive=True)["ankle"]
    tensor(1.)
    """
    if distances.ndim != 2 or distances.shape[1] != MPII_POINTS:
        raise ValueError(message("pckh", "pred", f"be (N, {MPII_POINTS}, 2), MPII's points", tuple(distances.shape)))
    shares = share_correct(distances, threshold, inclusive=inclusive)
    rows = {name: shares[list(points)].mean() for name, points in MPII_ROWS.items()}
    counts = (~distances.isnan()).sum(dim=0).to(shares.dtype)
    counts[list(MPII_LEFT_OUT)] = 0
    return {**rows, "mean": (counts * torch.nan_to_num(shares)).sum() / counts.sum()}


def pck_auc(
    pred: Tensor,
    target: Tensor,
    lengths: Tensor,
    *,
    visible: Tensor | None = None,
    thresholds: Sequence[float] = AUC_THRESHOLDS,
    inclusive: bool = False,
) -> Tensor:
    """Area under the curve of PCK: the mean over thresholds of the mean over the kinds of points that occur.

    Args:
        pred: (N, K, D).
        target: (N, K, D).
        lengths: (N,) or (N, D). mmpose takes 30 pixels for every sample.
        visible: (N, K) bool; None takes all points.
        thresholds: Shares of the length; mmpose's are 0, 0.05, …, 0.95, of which the first gives 0. For points in space the
            usual ones are 0, 5, …, 150 millimetres with lengths of 1.
        inclusive: Whether a distance equal to the threshold is correct.

    Returns:
        A scalar fraction; NaN where nothing is visible.

    Raises:
        ValueError: If a shape does not fit, or there is no threshold.

    >>> pred = torch.tensor([[[3.0, 4.0], [0.0, 1.0]]])
    >>> pck_auc(pred, torch.zeros(1, 2, 2), torch.tensor([10.0]), thresholds=(0.25, 0.75))
    tensor(0.7500)
    """
    return mean_share(
        relative_distances(pred, target, lengths, visible=visible), thresholds=thresholds, inclusive=inclusive
    )


def mean_share(distances: Tensor, *, thresholds: Sequence[float], inclusive: bool) -> Tensor:
    """What `pck_auc` computes, from distances (N, K) as `relative_distances` gives them.

    >>> mean_share(torch.tensor([[0.1, 0.6]]), thresholds=(0.5, 1.0), inclusive=False)
    tensor(0.7500)
    """
    if not len(thresholds):
        raise ValueError(message("pck_auc", "thresholds", "hold at least one number", list(thresholds)))
    shares = [share_correct(distances, float(value), inclusive=inclusive).nanmean() for value in thresholds]
    return torch.stack(shares).mean()


def epe(pred: Tensor, target: Tensor, *, visible: Tensor | None = None) -> Tensor:
    """End-point error: the mean distance over all visible points of all samples.

    Args:
        pred: (N, K, D).
        target: (N, K, D).
        visible: (N, K) bool; None takes all points.

    Returns:
        A scalar in the unit of the points; NaN where nothing is visible, infinite if a prediction is NaN.

    Raises:
        ValueError: If a shape does not fit.

    >>> epe(torch.tensor([[[3.0, 4.0], [0.0, 1.0]]]), torch.zeros(1, 2, 2))
    tensor(3.)
    """
    _check("epe", pred, target, None, visible)
    return relative_distances(pred, target, pred.new_ones(len(pred)), visible=visible).nanmean()


def choose_reading(function: str, reading: str, at: str) -> Reading:
    """The rule of a published reading of PCKh.

    >>> choose_reading("pckh", "hrnet", "0.1")
    Reading(threshold=0.11, inclusive=True)
    """
    one_of(function, "reading", reading, READINGS)
    one_of(function, "at", at, READINGS[reading])
    return READINGS[reading][at]


def _check(function: str, pred: Tensor, target: Tensor, lengths: Tensor | None, visible: Tensor | None) -> None:
    if pred.shape != target.shape or pred.ndim != 3:
        rule = f"be (N, K, D), as the target, {tuple(target.shape)}"
        raise ValueError(message(function, "pred", rule, tuple(pred.shape)))
    num, _, dimension = pred.shape
    if not num:
        raise ValueError(message(function, "pred", "hold at least one sample", tuple(pred.shape)))
    if lengths is not None and tuple(lengths.shape) not in ((num,), (num, dimension)):
        rule = f"be ({num},) or ({num}, {dimension}), one length per sample"
        raise ValueError(message(function, "lengths", rule, tuple(lengths.shape)))
    if visible is not None and visible.shape != pred.shape[:2]:
        rule = f"be {tuple(pred.shape[:2])}, one flag per point"
        raise ValueError(message(function, "visible", rule, tuple(visible.shape)))
