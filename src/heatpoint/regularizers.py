"""Hand-made constraints on the shape of a map: a target variance, or nearness to a discrete Gaussian."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from heatpoint._checks import message
from heatpoint._lattice import along, axis_steps
from heatpoint._numerics import full_precision, log_probabilities, probabilities
from heatpoint.expectation import expected_position
from heatpoint.kernels._readable import unreadable
from heatpoint.support import Grid, Support, check_support


@full_precision
def variance_regularizer(logits: Tensor, grid: Support, *, target_variance: float) -> Tensor:
    """Squared distance of the map's variance from a target: Σ_axes (Var_a(π) − σ_t²)², in cells.

    Sampling-Argmax, Eq. 15, with Var(π) = Σ_i π_i (i − Σ_k π_k k)² for each axis, as in the code of the work it cites (Nibali
    et al., 2018). The paper leaves the unit open; with cells its published σ_t² = 4 is the square of the usual two-cell
    Gaussian. On points there are no cells or axes: (total variance − σ_t²)², in the points' units². On a cyclic axis a
    cell's deviation from the mean is taken the shorter way around.

    Args:
        logits: (*batch, *shape), −inf for a forbidden cell.
        grid: Grid or Points.
        target_variance: σ_t², at least 0: in cells² per axis; on points in their units², over all coordinates.

    Returns:
        (*batch), at least 0. The gradient flows to the logits, through the mean as well.

    Raises:
        TypeError: If grid is neither Grid nor Points.
        ValueError: If the logits do not fit the grid, or target_variance is negative.

    >>> variance_regularizer(torch.zeros(2, 3), Grid((3,), stride=4), target_variance=1.0)
    tensor([0.1111, 0.1111])
    """
    check_support("variance_regularizer", grid)
    if not 0 <= target_variance < math.inf:
        remedy = "It is a variance, σ², not a standard deviation."
        raise ValueError(message("variance_regularizer", "target_variance", "be at least 0", target_variance, remedy))
    weights = probabilities("variance_regularizer", grid.flatten("variance_regularizer", logits))
    mean = expected_position(weights, grid)
    if not isinstance(grid, Grid):
        squares = (
            (grid.cell_centers(dtype=weights.dtype, device=weights.device) - mean.unsqueeze(-2)).square().sum(dim=-1)
        )
        return ((weights * squares).sum(dim=-1) - target_variance).square()
    marginals = grid.marginals(grid.unflatten(weights))
    loss = torch.zeros_like(mean[..., 0])
    for axis, marginal in enumerate(marginals):
        variance = (marginal * axis_steps(grid.to_cells(mean), grid, axis).square()).sum(dim=-1)
        loss = loss + (variance - target_variance).square()
    return loss


@full_precision
def jensen_shannon_regularizer(
    logits: Tensor, grid: Support, *, sigma_cells: float, center: Tensor | None = None, detach_mean: bool = False
) -> Tensor:
    """Jensen-Shannon divergence of the map from a discrete Gaussian around its own mean.

    Sampling-Argmax, Eq. 16: JS(π, q) = ½ KL(π ‖ m) + ½ KL(q ‖ m), m = (π + q) / 2, q_i ∝ exp(−|i − E(y)|² / 2σ²) over the
    cells, in natural logarithms. All in log space, so that the value and the gradient stay finite where π and q share no
    cell. The paper's text has the gradient flow through E(y); the code of the work it cites is normally called with the
    target in its place, which `center` does.

    Args:
        logits: (*batch, *shape), −inf for a forbidden cell.
        grid: Grid or Points. A cyclic axis measures distance the shorter way around.
        sigma_cells: σ, greater than 0, in cells; on points in their units.
        center: None for the map's own mean, or points (*batch, D) in the grid's coordinates.
        detach_mean: Whether the map's own mean counts as a constant in the gradient.

    Returns:
        (*batch), in [0, ln 2]. The gradient flows to the logits, and to `center`.

    Raises:
        TypeError: If grid is neither Grid nor Points.
        ValueError: If the logits or the center do not fit the grid, or sigma_cells is not greater than 0.

    >>> grid = Grid((5,))
    >>> gaussian = -0.5 * (grid.cell_centers()[:, 0] - 2) ** 2
    >>> bool(jensen_shannon_regularizer(gaussian, grid, sigma_cells=1.0) < 1e-6)
    True
    """
    function = "jensen_shannon_regularizer"
    check_support(function, grid)
    if not 0 < sigma_cells < math.inf:
        raise ValueError(message(function, "sigma_cells", "be a finite number greater than 0", sigma_cells))
    log_p = log_probabilities(function, grid.flatten(function, logits))
    if center is None:
        center = expected_position(log_p.exp(), grid)
        center = center.detach() if detach_mean else center
    else:
        grid.check_points(function, center, "center")
    log_q = gaussian_log_probabilities(center.to(log_p.dtype), grid, sigma_cells=sigma_cells)
    if unreadable(log_p) or unreadable(log_q):
        return _divergence(*_parts(log_p, log_q))
    divergence: Tensor = _JensenShannon.apply(log_p, log_q)
    return divergence


def _parts(log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    """p log(p / m) and q log(q / m) of every cell: p / m = 2 p / (p + q) is twice the sigmoid of log p − log q."""
    # 0 log 0 is 0 at a forbidden cell; 0 · −inf would be NaN, in the gradient too.
    log_p = log_p.clamp(min=-1e30)
    difference = log_p - log_q
    from_p = log_p.exp() * logsigmoid(difference).add_(math.log(2))
    return from_p, log_q.exp() * logsigmoid(-difference).add_(math.log(2))


def _divergence(from_p: Tensor, from_q: Tensor) -> Tensor:
    return 0.5 * (from_p.sum(dim=-1) + from_q.sum(dim=-1))


class _JensenShannon(torch.autograd.Function):
    """The divergence of rows of logarithms, (*batch, cells) both.

    Its derivatives ½ p log(p / m) and ½ q log(q / m) by log p and log q are made of the forward pass's own parts: all that comes
    by way of m cancels.
    """

    @staticmethod
    def forward(ctx: Any, log_p: Tensor, log_q: Tensor) -> Tensor:
        parts = _parts(log_p, log_q)
        wanted = [part if needed else None for part, needed in zip(parts, ctx.needs_input_grad, strict=True)]
        ctx.save_for_backward(log_p, log_q, *wanted)
        return _divergence(*parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        log_p, log_q, *parts = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody wants the gradient's gradient
            parts = _parts(log_p, log_q)
        half = 0.5 * gradient[..., None]
        return tuple(half * part if needed else None for part, needed in zip(parts, ctx.needs_input_grad, strict=True))


@full_precision
def gaussian_log_probabilities(center: Tensor, grid: Support, *, sigma_cells: float) -> Tensor:
    """Logarithm of the discrete Gaussian q_i ∝ exp(−|i − center|² / 2σ²), Σ_i q_i = 1, over the cells.

    Args:
        center: (*batch, D) in the grid's coordinates; it may lie outside the grid.
        grid: Grid or Points.
        sigma_cells: σ in cells; on points in their units.

    Returns:
        (*batch, cells), finite.

    >>> gaussian_log_probabilities(torch.tensor([0.5]), Grid((2,)), sigma_cells=3.0).exp()
    tensor([0.5000, 0.5000])
    """
    if not isinstance(grid, Grid):
        squares = (grid.cell_centers(dtype=center.dtype, device=center.device) - center.unsqueeze(-2)).square()
        return torch.log_softmax(squares.sum(dim=-1) / (-2 * sigma_cells**2), dim=-1)
    cells = grid.to_cells(center)
    log_q = torch.zeros((), dtype=center.dtype, device=center.device)
    for axis in range(grid.ndim):
        row = torch.log_softmax(axis_steps(cells, grid, axis).square() / (-2 * sigma_cells**2), dim=-1)
        log_q = log_q + along(row, grid, axis)
    return log_q.flatten(-grid.ndim)
