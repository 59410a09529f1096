"""Readouts that move the peak by a quarter of a cell."""

from __future__ import annotations

import torch
from torch import Tensor

from heatpoint._checks import one_of
from heatpoint._largest import first_largest
from heatpoint._lattice import axis_steps, onto_grid, peak_index, wrapped
from heatpoint._numerics import full_precision, promote
from heatpoint.support import Grid, check_grid, per_axis

BORDERS = ("neighbours", "msra", "hrnet")


@full_precision
def quarter_shift(maps: Tensor, grid: Grid, *, border: str = "neighbours") -> Tensor:
    """The centre of the largest cell, moved on each axis by a quarter of a cell towards the larger of its two neighbours.

    Published codes name this rule "shift a quarter to the second maximum" (Randomized Rounding, 4.6); the literal wording is
    `second_maximum_shift`. Equal neighbours move nothing.

    Args:
        maps: (*batch, *grid.shape), any real; only the order of the values matters.
        grid: The grid.
        border: Where the peak may move along an axis of L cells. "neighbours": wherever both neighbours exist, cells 1 to L − 2.
            "msra": as mmpose does, cells 2 to L − 2, each axis by itself, but no axis while the peak lies in cell 0 of another.
            "hrnet": cells 2 to L − 2, and no axis unless all allow it. A cyclic axis always allows it. (Those codes also
            return −1 or 0 for a map without a positive value; here every map has a peak.)

    Returns:
        (*batch, D), at least float32. No gradient.

    Raises:
        TypeError: If grid is not a Grid.
        ValueError: If the maps do not end in the grid's shape, a map is forbidden throughout, or border is unknown.

    >>> quarter_shift(torch.tensor([0.0, 0.5, 0.9, 0.6]), Grid((4,), stride=4, offset=0))
    tensor([9.])
    """
    check_grid("quarter_shift", grid)
    one_of("quarter_shift", "border", border, BORDERS)
    flat = promote(grid.flatten("quarter_shift", maps, "maps")).detach()
    cells = grid.unravel(peak_index("quarter_shift", flat, "maps"))
    shifts, allowed = [], []
    for axis, length in enumerate(grid.lengths):
        step = torch.zeros(grid.ndim, dtype=cells.dtype, device=cells.device)
        step[axis] = 1
        after = flat.gather(-1, grid.ravel(onto_grid(cells + step, grid)).unsqueeze(-1)).squeeze(-1)
        before = flat.gather(-1, grid.ravel(onto_grid(cells - step, grid)).unsqueeze(-1)).squeeze(-1)
        # Not a sign of the difference: two forbidden neighbours would give −inf − (−inf) = NaN.
        shifts.append((after > before).to(flat.dtype) - (after < before).to(flat.dtype))
        first = 1 if border == "neighbours" else 2
        inside = (cells[..., axis] >= first) & (cells[..., axis] <= length - 2)
        allowed.append(torch.ones_like(inside) if axis in grid.cyclic else inside)
    may_move = _with_other_axes(torch.stack(allowed, dim=-1), cells, grid, border)
    return wrapped(grid.to_points(cells + 0.25 * may_move * torch.stack(shifts, dim=-1)), grid)


def _with_other_axes(may_move: Tensor, cells: Tensor, grid: Grid, border: str) -> Tensor:
    """What one axis of the peak's cell (*batch, D) forbids the others, in the published rules."""
    if border == "hrnet":
        return may_move.all(dim=-1, keepdim=True)
    if border == "msra":
        in_first = (cells == 0) & (per_axis([axis in grid.cyclic for axis in range(grid.ndim)], cells) == 0)
        return may_move & (in_first.sum(dim=-1, keepdim=True) - in_first.long() == 0)
    return may_move


@full_precision
def second_maximum_shift(maps: Tensor, grid: Grid) -> Tensor:
    """The centre of the largest cell, moved by a quarter of a cell straight towards the second largest cell of the whole map.

    m + ¼ (s − m) / ‖s − m‖₂, in cells, m and s the largest and the second largest cell: the wording of Randomized Rounding (4.6),
    in the form that the DARK paper gives it. If no second cell is allowed, the peak stays.

    Args:
        maps: (*batch, *grid.shape), any real; only the order of the values matters.
        grid: The grid.

    Returns:
        (*batch, D), at least float32. No gradient.

    Raises:
        TypeError: If grid is not a Grid.
        ValueError: If the maps do not end in the grid's shape or a map is forbidden throughout.

    >>> second_maximum_shift(torch.tensor([0.8, 0.0, 0.9, 0.6]), Grid((4,), stride=4, offset=0))
    tensor([7.])
    """
    check_grid("second_maximum_shift", grid)
    flat = promote(grid.flatten("second_maximum_shift", maps, "maps")).detach()
    index = peak_index("second_maximum_shift", flat, "maps").unsqueeze(-1)
    second_value, second = first_largest(flat.scatter(-1, index, -torch.inf), function="second_maximum_shift")
    cells = grid.unravel(index.squeeze(-1)).to(flat.dtype)
    steps = []
    for axis in range(grid.ndim):
        target = grid.unravel(second)[..., axis, None]
        steps.append(axis_steps(cells, grid, axis).gather(-1, target).squeeze(-1))
    step = torch.stack(steps, dim=-1)
    length = torch.linalg.vector_norm(step, dim=-1, keepdim=True).clamp(min=1.0)
    exists = (second_value > -torch.inf).unsqueeze(-1)
    return wrapped(grid.to_points(cells + 0.25 * torch.where(exists, step / length, 0.0)), grid)
