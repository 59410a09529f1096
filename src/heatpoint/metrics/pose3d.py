"""Errors of points in space, in the unit of the points (millimetres): as they are, rooted, or after the best alignment.

Hidden points never count, and may hold any number.
"""

from __future__ import annotations

import torch
from torch import Tensor

from heatpoint._checks import message
from heatpoint._numerics import full_precision, promote
from heatpoint.metrics.functional import _visible_mean, point_errors


def root_relative(points: Tensor, root: int) -> Tensor:
    """Points (…, K, D) measured from one of them, which becomes 0.

    >>> root_relative(torch.tensor([[1.0, 2.0, 3.0], [2.0, 2.0, 5.0]]), 0)
    tensor([[0., 0., 0.],
            [1., 0., 2.]])
    """
    if points.ndim < 2 or not 0 <= root < points.shape[-2]:
        raise ValueError(
            message("root_relative", "root", "be the index of a point", f"{root} of {tuple(points.shape)}")
        )
    return points - points[..., root : root + 1, :]


@full_precision
def mpjpe(pred: Tensor, target: Tensor, *, visible: Tensor | None = None) -> Tensor:
    """Mean per-joint position error: (1 / |V|) Σ_{k ∈ V} ‖pred_k − target_k‖.

    Human3.6M's figure is the mean over samples with both sides measured from the pelvis (`root_relative`), the pelvis itself
    counting with its error of 0. mmpose averages over all visible points of all samples instead, which is the same where
    every sample shows as many.

    Args:
        pred: (N, K, D).
        target: (N, K, D).
        visible: (N, K) bool, V; None takes all points.

    Returns:
        (N,), in the unit of the points; NaN for a sample without a visible point. Gradients flow, with 0 where the points meet.

    Raises:
        ValueError: If a shape does not fit.

    >>> pred, target = torch.zeros(1, 2, 3), torch.tensor([[[0.0, 3.0, 4.0], [0.0, 0.0, 1.0]]])
    >>> mpjpe(pred, target), mpjpe(pred, target, visible=torch.tensor([[True, False]]))
    (tensor([3.]), tensor([5.]))
    """
    _check("mpjpe", pred, target, visible)
    weight = _weight(pred, visible)
    return _visible_mean("mpjpe", point_errors(_kept(pred, weight), _kept(target, weight)), visible)


def pa_mpjpe(pred: Tensor, target: Tensor, *, visible: Tensor | None = None, scale: bool = True) -> Tensor:
    """Mean per-joint position error after Procrustes alignment of every sample (`similarity_aligned`).

    The visible points alone decide the alignment. mmpose aligns over all points, hidden ones included: with
    `mpjpe(similarity_aligned(pred, target), target, visible=visible)` the numbers are its.

    Args:
        pred: (N, K, D).
        target: (N, K, D).
        visible: (N, K) bool; None takes all points.
        scale: Whether the size is aligned too; False leaves a rotation and a translation.

    Returns:
        (N,), in the unit of the points; NaN for a sample without a visible point.

    Raises:
        ValueError: If a shape does not fit.

    >>> target = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]]], dtype=torch.float64)
    >>> turn = torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    >>> pa_mpjpe(2 * target @ turn + 7, target).round(decimals=6)
    tensor([0.], dtype=torch.float64)
    """
    _check("pa_mpjpe", pred, target, visible)
    return mpjpe(similarity_aligned(pred, target, visible=visible, scale=scale), target, visible=visible)


def n_mpjpe(pred: Tensor, target: Tensor, *, visible: Tensor | None = None) -> Tensor:
    """Mean per-joint position error after every prediction is scaled to its target (`scale_aligned`).

    The scale is about the origin: measure both sides from the root first. The visible points alone decide it; for mmpose's
    numbers, where hidden ones help, use `mpjpe(scale_aligned(pred, target), target, visible=visible)`.

    Args:
        pred: (N, K, D).
        target: (N, K, D).
        visible: (N, K) bool; None takes all points.

    Returns:
        (N,), in the unit of the points; NaN for a sample without a visible point.

    Raises:
        ValueError: If a shape does not fit.

    >>> target = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]])
    >>> n_mpjpe(4 * target, target)
    tensor([0.])
    """
    _check("n_mpjpe", pred, target, visible)
    return mpjpe(scale_aligned(pred, target, visible=visible), target, visible=visible)


@full_precision
def axis_errors(pred: Tensor, target: Tensor, *, visible: Tensor | None = None) -> Tensor:
    """Mean absolute difference per axis of every sample: (N, D), NaN for a sample without a visible point.

    >>> axis_errors(torch.tensor([[[1.0, 2.0, -3.0], [1.0, 0.0, 1.0]]]), torch.zeros(1, 2, 3))
    tensor([[1., 1., 2.]])
    """
    _check("axis_errors", pred, target, visible)
    errors = (promote(pred) - promote(target)).abs()
    axes = [_visible_mean("axis_errors", errors[..., axis], visible) for axis in range(errors.shape[-1])]
    return torch.stack(axes, dim=-1)


@full_precision
def similarity_aligned(pred: Tensor, target: Tensor, *, visible: Tensor | None = None, scale: bool = True) -> Tensor:
    """Rotates, scales and moves every prediction onto its target: min over s, R, t of Σ_k ‖s R pred_k + t − target_k‖².

    With P, G the centred points and PᵀG = U Σ Vᵀ: R = V D Uᵀ with D = diag(1, …, 1, det(U Vᵀ)), which is a rotation and never
    a reflection, s = tr(Σ D) / Σ‖P‖², t = mean(target) − s R mean(pred). All in float64.

    Where the best alignment is not unique, one of the best is taken: a single point or points that coincide are moved onto the
    mean of the target, points on a line are turned onto the target's line.

    Args:
        pred: (N, K, D).
        target: (N, K, D).
        visible: (N, K) bool, the points that decide the alignment; None takes all points.
        scale: Whether the size is aligned too; False fixes s = 1.

    Returns:
        (N, K, D) all points of the predictions, moved; NaN for a sample without a visible point. Rotation and scale are
        constants for gradients, since they have none where singular values coincide.

    Raises:
        ValueError: If a shape does not fit.

    >>> target = torch.tensor([[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]])
    >>> similarity_aligned(3 * target + 1, target).round(decimals=5).abs()
    tensor([[[0., 0., 0.],
             [2., 0., 0.],
             [0., 2., 0.]]])
    """
    _check("similarity_aligned", pred, target, visible)
    dtype = torch.promote_types(promote(pred).dtype, promote(target).dtype)
    weight = _weight(pred, visible)
    pred, target = pred.double(), target.double()
    pred_mean, target_mean = _mean(pred, weight), _mean(target, weight)
    centred = pred - pred_mean
    with torch.no_grad():
        rotation, factor = _rotation(_kept(centred, weight), _kept(target - target_mean, weight))
    if not scale:
        factor = torch.ones_like(factor)
    return (factor[:, None, None] * centred @ rotation + target_mean).to(dtype)


@full_precision
def scale_aligned(pred: Tensor, target: Tensor, *, visible: Tensor | None = None) -> Tensor:
    """Scales every prediction to its target about the origin: s = Σ pred · target / Σ pred · pred.

    Args:
        pred: (N, K, D).
        target: (N, K, D).
        visible: (N, K) bool, the points that decide the scale; None takes all points.

    Returns:
        (N, K, D). A prediction of nothing but 0 stays so; s may be negative. The scale is a constant for gradients.

    Raises:
        ValueError: If a shape does not fit.

    >>> scale_aligned(torch.tensor([[[2.0, 0.0, 0.0], [0.0, 2.0, 2.0]]]), torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]]))
    tensor([[[1., 0., 0.],
             [0., 1., 1.]]])
    """
    _check("scale_aligned", pred, target, visible)
    pred, target = promote(pred), promote(target)
    with torch.no_grad():
        weight = _weight(pred, visible)
        kept, aim = _kept(pred.double(), weight), _kept(target.double(), weight)
        factor = _ratio((kept * aim).sum(dim=(1, 2)), kept.square().sum(dim=(1, 2)))
    return (pred.double() * factor[:, None, None]).to(torch.promote_types(pred.dtype, target.dtype))


def _rotation(centred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The best rotation (N, D, D), to multiply rows with from the right, and the best scale (N,) of centred points."""
    product = centred.mT @ target
    # The decomposition refuses NaN, as a diverged prediction gives; its points stay NaN anyhow.
    usable = product.isfinite().all(dim=(1, 2))
    identity = torch.eye(product.shape[-1], dtype=product.dtype, device=product.device)
    u, singular, vh = torch.linalg.svd(torch.where(usable[:, None, None], product, identity))
    signs = torch.ones_like(singular)
    signs[:, -1] = torch.linalg.det(u @ vh).sign()
    factor = _ratio((singular * signs).sum(dim=-1), centred.square().sum(dim=(1, 2)))
    return (u * signs[:, None, :]) @ vh, factor


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Their quotient; 1 where there is nothing to scale."""
    is_empty = denominator == 0
    one = torch.ones_like(denominator)
    return torch.where(is_empty, one, numerator / torch.where(is_empty, one, denominator))


def _weight(points: Tensor, visible: Tensor | None) -> Tensor:
    shape = points.shape[:2]
    return torch.ones(shape, dtype=torch.bool, device=points.device) if visible is None else visible.bool()


def _kept(points: Tensor, weight: Tensor) -> Tensor:
    """The points with 0 for those that do not count, which may hold any number, NaN included."""
    return torch.where(weight[..., None], points, torch.zeros_like(points))


def _mean(points: Tensor, weight: Tensor) -> Tensor:
    """(N, 1, D); NaN where no point counts."""
    return (_kept(points, weight).sum(dim=1) / weight.sum(dim=1, keepdim=True))[:, None]


def _check(function: str, pred: Tensor, target: Tensor, visible: Tensor | None) -> None:
    if pred.shape != target.shape or pred.ndim != 3:
        rule = f"be (N, K, D), as the target, {tuple(target.shape)}"
        raise ValueError(message(function, "pred", rule, tuple(pred.shape)))
    if visible is not None and visible.shape != pred.shape[:2]:
        rule = f"be {tuple(pred.shape[:2])}, one flag per point"
        raise ValueError(message(function, "visible", rule, tuple(visible.shape)))
