"""Errors of predicted points and the lengths to divide them by, as plain functions on tensors; torch is all they need.

Errors are fractions here (0.05), never percentages. What is read from the errors of many faces stands in `faces`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from heatpoint._checks import message, value_checks_enabled
from heatpoint._numerics import full_precision, promote

Normalizer = tuple[Sequence[int], Sequence[int]] | Literal["box", "box_max", "box_diagonal", "given"]
BOX_LENGTHS = ("box", "box_max", "box_diagonal")


@full_precision
def point_errors(pred: Tensor, target: Tensor) -> Tensor:
    """Euclidean distance between each predicted point and the true one.

    Args:
        pred: (…, K, D).
        target: (…, K, D), in the same pixels.

    Returns:
        (…, K).

    Raises:
        ValueError: If the shapes differ.

    >>> point_errors(torch.tensor([[3.0, 4.0], [1.0, 1.0]]), torch.tensor([[0.0, 0.0], [1.0, 3.0]]))
    tensor([5., 2.])
    """
    if pred.shape != target.shape or pred.ndim < 2:
        rule = f"have the target's shape {tuple(target.shape)}, (…, K, D)"
        raise ValueError(message("point_errors", "pred", rule, tuple(pred.shape)))
    return torch.linalg.vector_norm(promote(pred) - promote(target), dim=-1)


@full_precision
def normalizer_distance(
    target: Tensor,
    definition: Normalizer,
    *,
    box: Tensor | None = None,
    given: Tensor | None = None,
    visible: Tensor | None = None,
) -> Tensor:
    """The length by which a face's errors are divided (Randomized Rounding, 5.2).

    Inter-ocular: the outer eye corners, one index in each group. Inter-pupil: the means of the landmarks around each eye.
    Of a box of width w and height h: √(w·h), max(w, h) or √(w² + h²). Published codes mean different things by "box size":
    mmpose's `box_size` is √(w·h), its `bbox_size` max(w, h).

    Args:
        target: (N, K, D) true points.
        definition: Two groups of point indices, for the distance between the means of the groups; "box", "box_max" or
            "box_diagonal"; or "given".
        box: (N, 4) boxes (x1, y1, x2, y2) with w = x2 − x1 and h = y2 − y1, for the three lengths of a box. None takes the
            tight box around the true points.
        given: (N,) lengths that the set itself gives ("head" in MPII), for "given": they are returned as they are.
        visible: (N, K) bool, the points that are annotated; the others may hold any number. None takes all points.

    Returns:
        (N,). NaN where the length is not defined, for the face is to be left out: a point of the two groups is not
        visible, or no point at all is for the tight box. 0 where the points coincide, as in the box of a single point.

    Raises:
        ValueError: If an index or a shape does not fit, or lengths are wanted that are not given.

    >>> face = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [6.0, 0.0], [8.0, 2.0]]])
    >>> normalizer_distance(face, ((0, 1), (2,))), normalizer_distance(face, "box")
    (tensor([5.]), tensor([4.]))
    >>> normalizer_distance(face, "box_max"), normalizer_distance(face, "given", given=torch.tensor([7.0]))
    (tensor([8.]), tensor([7.]))
    >>> normalizer_distance(face, "box", visible=torch.tensor([[False, True, False, True]]))
    tensor([3.4641])
    """
    if target.ndim != 3:
        raise ValueError(message("normalizer_distance", "target", "be (N, K, D)", tuple(target.shape)))
    if visible is not None and visible.shape != target.shape[:2]:
        rule = f"be {tuple(target.shape[:2])}, one flag per point"
        raise ValueError(message("normalizer_distance", "visible", rule, tuple(visible.shape)))
    target = promote(target)
    if isinstance(definition, str) and definition in BOX_LENGTHS:
        sides = _tight_sides(target, visible) if box is None else _given_sides(box, len(target))
        length = _box_length(sides, definition)
        # Without a visible point both sides are −∞, whose product has a root.
        return torch.where((sides >= 0).all(dim=-1), length, torch.full_like(length, torch.nan))
    if definition == "given":
        if given is None or given.shape != target.shape[:1]:
            rule = f"be ({len(target)},), one length per face"
            raise ValueError(
                message("normalizer_distance", "given", rule, None if given is None else tuple(given.shape))
            )
        return promote(given)
    return _group_distance(target, definition, visible)


def _group_distance(target: Tensor, definition: Normalizer, visible: Tensor | None) -> Tensor:
    """Distance between the means of two groups of points; NaN where one of them is not visible."""
    num_points = target.shape[1]
    if (
        isinstance(definition, str)
        or len(definition) != 2
        or not all(group and all(0 <= i < num_points for i in group) for group in definition)
    ):
        names = ", ".join(map(repr, (*BOX_LENGTHS, "given")))
        rule = f"be {names} or two groups of point indices from 0 to {num_points - 1}"
        raise ValueError(message("normalizer_distance", "definition", rule, repr(definition)))
    first, second = (target[:, list(group)].mean(dim=1) for group in definition)
    length = torch.linalg.vector_norm(first - second, dim=-1)
    if visible is None:
        return length
    complete = visible[:, [i for group in definition for i in group]].bool().all(dim=-1)
    return torch.where(complete, length, torch.full_like(length, torch.nan))


def _given_sides(box: Tensor, num_faces: int) -> Tensor:
    """Width and height (N, 2) of boxes."""
    if box.shape != (num_faces, 4):
        rule = f"be ({num_faces}, 4): x1, y1, x2, y2 of each face"
        raise ValueError(message("normalizer_distance", "box", rule, tuple(box.shape)))
    return promote(box)[:, 2:] - promote(box)[:, :2]


def _tight_sides(target: Tensor, visible: Tensor | None) -> Tensor:
    """Width and height (N, 2) of the box around the visible points of each face; −∞ where there is none."""
    low = high = target
    if visible is not None:
        hidden = ~visible.bool()[..., None]
        low, high = target.masked_fill(hidden, torch.inf), target.masked_fill(hidden, -torch.inf)
    return (high.amax(dim=1) - low.amin(dim=1))[:, :2]


def _box_length(sides: Tensor, definition: str) -> Tensor:
    if definition == "box":
        return sides.prod(dim=-1).sqrt()
    if definition == "box_max":
        return sides.amax(dim=-1)
    return torch.linalg.vector_norm(sides, dim=-1)


@full_precision
def nme(pred: Tensor, target: Tensor, normalizer: Tensor, *, visible: Tensor | None = None) -> Tensor:
    """Normalised mean error of each face: (1 / |V|) Σ_{k ∈ V} ‖pred_k − target_k‖ / d (Randomized Rounding, Eq. 24).

    The published figure is the mean over faces. mmpose averages over all visible points of all faces instead, which is
    the same where every point is visible.

    Args:
        pred: (N, K, D).
        target: (N, K, D).
        normalizer: (N,) d, greater than 0.
        visible: (N, K) bool, V; None takes all points.

    Returns:
        (N,), a fraction. NaN for a face without a visible point: it has no error, and is to be left out.

    Raises:
        ValueError: If a shape does not fit; if a normalizer is not greater than 0 (under HEATPOINT_CHECK=1).

    >>> pred, target = torch.tensor([[[3.0, 4.0], [9.0, 9.0]]]), torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
    >>> nme(pred, target, torch.tensor([50.0]), visible=torch.tensor([[True, False]]))
    tensor([0.1000])
    """
    errors = point_errors(pred, target)
    if errors.ndim != 2:
        raise ValueError(message("nme", "pred", "be (N, K, D)", tuple(pred.shape)))
    if normalizer.shape != errors.shape[:1]:
        rule = f"be ({len(errors)},), one length per face"
        raise ValueError(message("nme", "normalizer", rule, tuple(normalizer.shape)))
    if value_checks_enabled() and not bool((normalizer > 0).all()):
        remedy = "The points or box that define it coincide: leave the face out."
        raise ValueError(message("nme", "normalizer", "be greater than 0", float(normalizer.detach().min()), remedy))
    return _visible_mean("nme", errors, visible) / normalizer


@full_precision
def pearson_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation: Σ (a − ā)(b − b̄) / √(Σ (a − ā)² Σ (b − b̄)²), over all entries.

    Sampling-Argmax (4.1, Table 3) correlates the peak of a map with the correctness of its point.

    Args:
        a: Any shape, at least two entries.
        b: The same shape.

    Returns:
        A scalar from −1 to 1, computed in float64; 0 where either is constant, since nothing then varies together.

    Raises:
        ValueError: If the shapes differ or hold fewer than two entries.

    >>> pearson_correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 9.0]))
    tensor(0.9707)
    """
    if a.shape != b.shape or a.numel() < 2:
        rule = f"have the shape of b, {tuple(b.shape)}, and at least two entries"
        raise ValueError(message("pearson_correlation", "a", rule, tuple(a.shape)))
    dtype = torch.promote_types(promote(a).dtype, promote(b).dtype)
    first, second = (values - values.mean() for values in (a.double().flatten(), b.double().flatten()))
    is_constant = _is_zero(first, a) | _is_zero(second, b)
    squares = first.square().sum() * second.square().sum()
    # Replaced before the root, whose derivative at 0 is infinite.
    correlation = (first * second).sum() / torch.where(is_constant, torch.ones_like(squares), squares).sqrt()
    return torch.where(is_constant, torch.zeros_like(correlation), correlation.clamp(-1, 1)).to(dtype)


def _is_zero(deviation: Tensor, values: Tensor) -> Tensor:
    """Whether the deviations are no more than rounding leaves of a constant."""
    return deviation.detach().abs().amax() <= 1e-12 * values.detach().abs().amax()


def _visible_mean(function: str, values: Tensor, visible: Tensor | None) -> Tensor:
    """Mean over the visible entries of the last dimension; NaN where there is none."""
    if visible is None:
        return values.mean(dim=-1)
    if visible.shape != values.shape:
        rule = f"be {tuple(values.shape)}, one flag per point"
        raise ValueError(message(function, "visible", rule, tuple(visible.shape)))
    weight = visible.to(values.dtype)
    # A hidden point may hold any number, NaN included: it must not touch the sum.
    return torch.where(visible.bool(), values, torch.zeros_like(values)).sum(dim=-1) / weight.sum(dim=-1)
