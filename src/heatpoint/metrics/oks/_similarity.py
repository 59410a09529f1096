"""Object keypoint similarity: how well a pose fits, as a number from 0 to 1, and what is built on it alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from heatpoint._checks import check_tensor, message, one_of, value_checks_enabled
from heatpoint._numerics import full_precision, promote
from heatpoint.metrics.functional import pearson_correlation

# COCO's evaluator adds the spacing of floating-point numbers at 1 to every area, so that an area of 0 divides.
SPACING = math.ulp(1.0)


@full_precision
def oks(
    pred: Tensor, target: Tensor, *, area: Tensor, sigmas: Tensor | Sequence[float], visible: Tensor | None = None
) -> Tensor:
    """Similarity of each predicted pose to its true one: the mean over the visible points of exp(−d² / (2 (2σ)² a)).

    d is the distance of a point in pixels, σ its sigma, a the person's area plus 2.2e-16: the similarity with which COCO
    scores poses, and the correctness that Sampling-Argmax (4.1, Table 3) correlates with the peaks of maps.

    Args:
        pred: (N, K, 2).
        target: (N, K, 2), in the same pixels.
        area: (N,) areas of the true persons in pixels²; COCO takes that of the outline, not of the box.
        sigmas: (K,), greater than 0: of each point the annotators' spread over the root of the area.
        visible: (N, K) bool, the points that are annotated; the others may hold any number. None takes all points.

    Returns:
        (N,), from 0 to 1. NaN for a pose without a visible point: it has no similarity, and is to be left out.

    Raises:
        TypeError: If pred, target or area is no tensor.
        ValueError: If a shape does not fit; if a sigma is not greater than 0, or an area is negative (under
            HEATPOINT_CHECK=1).

    >>> target = torch.tensor([[[10.0, 10.0], [30.0, 20.0]]])
    >>> pred = torch.tensor([[[10.0, 10.0], [33.0, 24.0]]])
    >>> oks(pred, target, area=torch.tensor([1250.0]), sigmas=[0.05, 0.05])
    tensor([0.6839])
    """
    for name, value in (("pred", pred), ("target", target), ("area", area)):
        check_tensor("oks", name, value)
    if pred.shape != target.shape or pred.ndim != 3:
        rule = f"have the target's shape {tuple(target.shape)}, (N, K, 2)"
        raise ValueError(message("oks", "pred", rule, tuple(pred.shape)))
    _check_lengths("oks", pred, area=area)
    if visible is not None and visible.shape != pred.shape[:2]:
        rule = f"be {tuple(pred.shape[:2])}, one flag per point"
        raise ValueError(message("oks", "visible", rule, tuple(visible.shape)))
    if value_checks_enabled() and bool((area < 0).any()):
        raise ValueError(message("oks", "area", "be at least 0", float(area.min())))
    pred, target = promote(pred), promote(target)
    if visible is not None:
        # A hidden point may hold any number, NaN included: it must touch neither the sum nor its gradient.
        hidden = ~visible.bool()[..., None]
        pred, target = pred.masked_fill(hidden, 0), target.masked_fill(hidden, 0)
    variances = _variances("oks", sigmas, pred)
    similarity = _similarity(pred - target, variances, promote(area)[:, None])
    if visible is None:
        return similarity.mean(dim=-1)
    weight = visible.to(similarity.dtype)
    return (similarity * weight).sum(dim=-1) / weight.sum(dim=-1)


@full_precision
def peak_oks_correlation(
    peaks: Tensor,
    pred: Tensor,
    target: Tensor,
    *,
    area: Tensor,
    sigmas: Tensor | Sequence[float],
    visible: Tensor | None = None,
) -> Tensor:
    """Pearson's correlation of a pose's peak value with its correctness (Sampling-Argmax, 4.1, Table 3).

    The paper takes the OKS between the predicted and the true pose for correctness, and does not say how the peaks of a
    pose's maps become one value; the released code holds nothing of this table. Here it is the mean of the peaks of
    all K points, since a confidence must not know which points are annotated. Poses without a visible point are left out.

    Args:
        peaks: (N, K), the greatest probability of each point's map.
        pred: (N, K, 2).
        target: (N, K, 2).
        area: (N,), as for `oks`.
        sigmas: (K,), as for `oks`.
        visible: (N, K) bool; None takes all points.

    Returns:
        A scalar from −1 to 1.

    Raises:
        ValueError: If a shape does not fit, or fewer than two poses are left.

    >>> target = torch.zeros(3, 1, 2)
    >>> pred = torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]], [[6.0, 8.0]]])
    >>> peaks = torch.tensor([[0.9], [0.6], [0.1]])
    >>> peak_oks_correlation(peaks, pred, target, area=torch.full((3,), 1250.0), sigmas=[0.05])
    tensor(0.9529)
    """
    similarity = oks(pred, target, area=area, sigmas=sigmas, visible=visible)
    if peaks.shape != pred.shape[:2]:
        rule = f"be {tuple(pred.shape[:2])}, one peak per point"
        raise ValueError(message("peak_oks_correlation", "peaks", rule, tuple(peaks.shape)))
    kept = slice(None) if visible is None else visible.any(dim=-1)
    return pearson_correlation(promote(peaks).mean(dim=-1)[kept], similarity[kept])


@full_precision
def oks_matrix(
    points: Tensor,
    areas: Tensor,
    *,
    sigmas: Tensor | Sequence[float],
    confidence: Tensor | None = None,
    visibility_threshold: float | None = None,
    rule: str = "both",
) -> Tensor:
    """Similarity of every pose to every other: OKS with the mean of their two areas, over all points or the confident ones.

    With a `visibility_threshold`, row i and column j compare the points whose confidence is greater in both poses, or, by
    the rule "second", in pose j alone. That is what the code of HRNet and Sampling-Argmax does, where `list and
    list` yields the second list: a slip, which mmpose has mended. Neither passes a threshold in its evaluation.

    Args:
        points: (N, K, 2).
        areas: (N,), of the boxes or crops in published pipelines.
        sigmas: (K,), greater than 0.
        confidence: (N, K); needed with a threshold.
        visibility_threshold: Points of at most this confidence are left out; None takes all points.
        rule: "both" or "second".

    Returns:
        (N, N), from 0 to 1; 0 where no point is left to compare. Symmetric, but by the rule "second".

    Raises:
        ValueError: If a shape does not fit, the rule is unknown, or there is a threshold without confidence or the
            other way round.

    >>> points = torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]]])
    >>> oks_matrix(points, torch.tensor([1000.0, 1500.0]), sigmas=[0.05])
    tensor([[1.0000, 0.3679],
            [0.3679, 1.0000]])
    """
    check_poses("oks_matrix", points, areas=areas)
    _check_visibility("oks_matrix", points, confidence, visibility_threshold, rule)
    points, areas = promote(points), promote(areas)
    mean_area = (areas[:, None] + areas[None, :]) / 2
    variances = _variances("oks_matrix", sigmas, points)
    similarity = _similarity(points[None, :] - points[:, None], variances, mean_area[..., None])
    if confidence is None or visibility_threshold is None:
        return similarity.mean(dim=-1)
    sure = confidence > visibility_threshold
    weight = (sure[None, :] if rule == "second" else sure[None, :] & sure[:, None]).to(similarity.dtype)
    return (similarity * weight).sum(dim=-1) / weight.sum(dim=-1).clamp(min=1)


def _similarity(difference: Tensor, variances: Tensor, area: Tensor) -> Tensor:
    return torch.exp(-(difference.square().sum(dim=-1) / variances / (area + SPACING) / 2))


def _variances(function: str, sigmas: Tensor | Sequence[float], points: Tensor) -> Tensor:
    """(2σ)² of each point."""
    values = torch.as_tensor(sigmas, dtype=points.dtype, device=points.device)
    if values.shape != points.shape[-2:-1]:
        rule = f"be ({points.shape[-2]},), one per point"
        raise ValueError(message(function, "sigmas", rule, tuple(values.shape)))
    if (not isinstance(sigmas, Tensor) or value_checks_enabled()) and not bool((values > 0).all()):
        raise ValueError(message(function, "sigmas", "be greater than 0", float(values.min())))
    return (2 * values).square()


def check_poses(function: str, points: Tensor, **columns: Tensor) -> None:
    """Raises unless points are (N, K, 2) and each column is (N,)."""
    check_tensor(function, "points", points)
    if points.ndim != 3:
        raise ValueError(message(function, "points", "be (N, K, 2)", tuple(points.shape)))
    for name, column in columns.items():
        check_tensor(function, name, column)
    _check_lengths(function, points, **columns)


def _check_lengths(function: str, points: Tensor, **columns: Tensor) -> None:
    for name, column in columns.items():
        if column.shape != points.shape[:1]:
            raise ValueError(message(function, name, f"be ({len(points)},), one per pose", tuple(column.shape)))


def _check_visibility(
    function: str, points: Tensor, confidence: Tensor | None, threshold: float | None, rule: str
) -> None:
    one_of(function, "rule", rule, ("both", "second"))
    if (confidence is None) != (threshold is None):
        got = "the threshold alone" if confidence is None else "confidence alone"
        rule_text = "come together with visibility_threshold"
        raise ValueError(
            message(function, "confidence", rule_text, got, "Give both, or neither to compare all points.")
        )
    if confidence is not None and confidence.shape != points.shape[:2]:
        rule_text = f"be {tuple(points.shape[:2])}, one per point"
        raise ValueError(message(function, "confidence", rule_text, tuple(confidence.shape)))
