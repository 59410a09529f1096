"""Target maps: one at a cell, and Gaussians about points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from heatpoint._checks import check_real, check_tensor, looks_at, message
from heatpoint._lattice import axis_steps, outer
from heatpoint._numerics import full_precision
from heatpoint.rounding._cells import checked_cells
from heatpoint.support import Grid, check_grid, per_axis


def binary_map(cells: Tensor, grid: Grid, *, dtype: torch.dtype | None = None) -> Tensor:
    """1 at one cell and 0 elsewhere (Eq. 5), at the cell that `round_to_cells` chose.

    Args:
        cells: Whole cells (*batch, D) in point order, torch.long.
        grid: The grid.
        dtype: Of the result; None is the default floating-point type.

    Returns:
        (*batch, *grid.shape).

    Raises:
        TypeError: If grid is not a Grid or the cells are not whole numbers.
        ValueError: If the cells do not end in D coordinates or lie outside the grid (looked at on the CPU, elsewhere under
            HEATPOINT_CHECK=1; a cell outside gives a map of zeros there).

    >>> binary_map(torch.tensor([2, 0]), Grid((2, 3)))
    tensor([[0., 0., 1.],
            [0., 0., 0.]])
    """
    check_grid("binary_map", grid)
    check_tensor("binary_map", "cells", cells)
    if cells.is_floating_point():
        remedy = "Take points to cells with round_to_cells first."
        raise TypeError(message("binary_map", "cells", "hold whole numbers (torch.long)", cells.dtype, remedy))
    grid.check_points("binary_map", cells, "cells")
    if looks_at(cells):
        outside = (cells < 0) | (cells >= per_axis(grid.lengths, cells))
        if bool(outside.any()):
            got = tuple(cells[outside.any(dim=-1)][0].tolist())
            raise ValueError(message("binary_map", "cells", f"lie within {grid.lengths} (in point order)", got))
    dtype = dtype or torch.get_default_dtype()
    rows = [
        (torch.arange(length, device=cells.device) == cells[..., axis, None]).to(dtype)
        for axis, length in enumerate(grid.lengths)
    ]
    return outer(rows, grid)


def gaussian_map(
    points: Tensor, grid: Grid, *, sigma_cells: float | Sequence[float], radius_sigmas: float | None = None
) -> Tensor:
    """exp(−½ Σ_axes ((i − c) / σ)²) at every cell i (Eq. 3): an unnormalised Gaussian of height 1 at the point itself.

    The point may lie between cells or outside the grid; nothing is rounded (give `grid.to_points(round_to_cells(…))` for the map
    of a quantized point). On a cyclic axis i − c is the short way round.

    Args:
        points: (*batch, D) in input units.
        grid: The grid.
        sigma_cells: Standard deviation in cells: one number, or one per axis in point order.
        radius_sigmas: None, or the half width, in standard deviations, of the square outside which the map is exactly 0
            (published codes use 3).

    Returns:
        (*batch, *grid.shape), at least float32, in [0, 1]. Gradients flow to the points.

    Raises:
        TypeError: If grid is not a Grid.
        ValueError: If the points do not end in D coordinates or are not finite, or sigma_cells or radius_sigmas is not above 0.

    >>> gaussian_map(torch.tensor([2.0]), Grid((4,), stride=2, offset=0), sigma_cells=1.0)
    tensor([0.6065, 1.0000, 0.6065, 0.1353])
    """
    return gaussian_of("gaussian_map", "points", points, grid, sigma_cells=sigma_cells, radius_sigmas=radius_sigmas)


@full_precision
def gaussian_of(
    function: str,
    argument: str,
    points: Tensor,
    grid: Grid,
    *,
    sigma_cells: float | Sequence[float],
    radius_sigmas: float | None = None,
) -> Tensor:
    """`gaussian_map` on behalf of the caller `function`, whose `argument` holds the points."""
    check_grid(function, grid)
    sigmas = check_sigmas(function, sigma_cells, grid)
    if radius_sigmas is not None:
        check_real(function, "radius_sigmas", radius_sigmas, "be greater than 0", above=0)
    cells = checked_cells(function, argument, points, grid)
    rows = []
    for axis, sigma in enumerate(sigmas):
        steps = axis_steps(cells, grid, axis)
        row = torch.exp(-0.5 * (steps / sigma).square())
        rows.append(row if radius_sigmas is None else row * (steps.detach().abs() <= radius_sigmas * sigma))
    return outer(rows, grid)


def check_sigmas(function: str, sigma_cells: float | Sequence[float], grid: Grid) -> tuple[float, ...]:
    """One standard deviation per axis, after checking that each is above 0 and that their number is 1 or D."""
    rule = f"be greater than 0: one number or {grid.ndim}, in point order (x, y, z)"
    if not isinstance(sigma_cells, Iterable):
        return (check_real(function, "sigma_cells", sigma_cells, rule, above=0),) * grid.ndim
    sigmas = tuple(check_real(function, "sigma_cells", sigma, rule, above=0) for sigma in sigma_cells)
    if len(sigmas) != grid.ndim:
        raise ValueError(message(function, "sigma_cells", rule, sigma_cells))
    return sigmas
