"""Soft-argmax and its Gaussian-windowed form: means over all cells of a map."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor

from heatpoint._checks import check_real, message, one_of
from heatpoint._lattice import along, axis_steps, center_at, peak_index
from heatpoint._numerics import full_precision, probabilities, promote
from heatpoint._soft_position import soft_position
from heatpoint.expectation import expected_position
from heatpoint.rounding._maps import check_sigmas
from heatpoint.support import Grid, Support, check_support


@full_precision
def soft_argmax(logits: Tensor, grid: Support, *, sign_gradient: bool = False, temperature: float = 1.0) -> Tensor:
    """The mean of the cells under softmax(logits / temperature): Σ_i π_i y_i (Sampling-Argmax, Eq. 1).

    On cyclic axes it is the sinusoidal soft-argmax (see `expected_position`).

    Args:
        logits: (*batch, *grid.shape), any real, −inf for a forbidden cell.
        grid: Grid or Points.
        sign_gradient: Replaces the gradient of the coordinate to each probability by ±2·stride, as the published code does.
        temperature: Divides the logits. (A published β or a "temperature" that multiplies is 1 / temperature.)

    Returns:
        (*batch, D), at least float32.

    Raises:
        TypeError: If grid is neither Grid nor Points.
        ValueError: If the logits do not end in the grid's shape, a map is forbidden throughout, or temperature is not above 0.

    >>> soft_argmax(torch.tensor([0.0, 0.0, -torch.inf]), Grid((3,), stride=4, offset=0))
    tensor([2.])
    """
    check_support("soft_argmax", grid)
    temperature = _checked_temperature("soft_argmax", temperature)
    flat = promote(grid.flatten("soft_argmax", logits))
    return soft_position("soft_argmax", flat, grid, temperature=temperature, sign_gradient=sign_gradient)


@full_precision
def kernel_soft_argmax(
    logits: Tensor,
    grid: Support,
    *,
    sigma_cells: float | Sequence[float],
    temperature: float = 1.0,
    kernel_on: str = "probability",
) -> Tensor:
    """Soft-argmax under a Gaussian window around the argmax, which hides other modes (Sampling-Argmax, Section 4).

    kernel_on="probability" weights cells by π_i k_i / Σ π k; adding a constant to the logits changes nothing.
    kernel_on="logits" weights them by softmax(k_i · logits_i / temperature), the order that Lee et al. publish and Section 4
    words: it needs logits that are not negative, since it pulls all logits far from the peak to 0.

    Args:
        logits: (*batch, *grid.shape), any real, −inf for a forbidden cell.
        grid: Grid or Points.
        sigma_cells: Standard deviation of the window, in cells (one number, or one per axis in point order); on Points one
            number in their units.
        temperature: Divides the logits.
        kernel_on: "probability" or "logits".

    Returns:
        (*batch, D), at least float32. The window is constant under differentiation.

    Raises:
        TypeError: If grid is neither Grid nor Points.
        ValueError: If the logits do not end in the grid's shape, a map is forbidden throughout, sigma_cells or temperature is not
            above 0, or kernel_on is unknown.

    >>> logits = torch.tensor([5.0, 0.0, 0.0, 0.0, 0.0, 4.9])
    >>> grid = Grid((6,))
    >>> kernel_soft_argmax(logits, grid, sigma_cells=1.0).item() < 0.1 < 2 < soft_argmax(logits, grid).item()
    True
    """
    check_support("kernel_soft_argmax", grid)
    one_of("kernel_soft_argmax", "kernel_on", kernel_on, ("probability", "logits"))
    flat = _tempered("kernel_soft_argmax", logits, grid, temperature)
    index = peak_index("kernel_soft_argmax", flat)
    log_kernel = _log_kernel(index, flat, grid, sigma_cells)
    if kernel_on == "probability":
        windowed = flat + log_kernel
    else:
        forbidden = flat == -torch.inf
        windowed = torch.where(forbidden, flat, torch.where(forbidden, 0.0, flat) * log_kernel.exp())
    return expected_position(probabilities("kernel_soft_argmax", windowed), grid)


def _tempered(function: str, logits: Tensor, support: Support, temperature: float) -> Tensor:
    temperature = _checked_temperature(function, temperature)
    flat = promote(support.flatten(function, logits))
    return flat if temperature == 1 else flat / temperature


def _checked_temperature(function: str, temperature: float) -> float:
    return check_real(function, "temperature", temperature, "be greater than 0", above=0)


def _log_kernel(index: Tensor, flat: Tensor, support: Support, sigma_cells: float | Sequence[float]) -> Tensor:
    """−½ (distance from the peak / sigma)² of every cell, (*batch, cells)."""
    if isinstance(support, Grid):
        sigmas = check_sigmas("kernel_soft_argmax", sigma_cells, support)
        cells = support.unravel(index).to(flat.dtype)
        exponent = flat.new_zeros(())
        for axis, sigma in enumerate(sigmas):
            steps = axis_steps(cells, support, axis) / sigma
            exponent = exponent - 0.5 * along(steps.square(), support, axis)
        return exponent.flatten(-support.ndim)
    rule = "be one number greater than 0, in the units of the points"
    if not isinstance(sigma_cells, Real):
        raise ValueError(message("kernel_soft_argmax", "sigma_cells", rule, sigma_cells))
    sigma = check_real("kernel_soft_argmax", "sigma_cells", sigma_cells, rule, above=0)
    centers = support.cell_centers(dtype=flat.dtype, device=flat.device).detach()
    steps = centers - center_at(support, index, flat).detach().unsqueeze(-2)
    return -0.5 * (steps / sigma).square().sum(dim=-1)
