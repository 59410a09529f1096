"""Small steps that rounding and reading a map share: cells put onto the grid, the largest cell, products of rows."""

from __future__ import annotations

import torch
from torch import Tensor

from heatpoint._checks import looks_at
from heatpoint._largest import first_largest
from heatpoint._numerics import log_probabilities
from heatpoint.expectation import wrap
from heatpoint.support import Grid, Support


def onto_grid(cells: Tensor, grid: Grid) -> Tensor:
    """Whole cell coordinates (*batch, D) to the nearest cell that exists: clipped on straight axes, wrapped on cyclic ones.

    >>> onto_grid(torch.tensor([[-1.0, 7.0]]), Grid((5, 4), cyclic=(0,)))
    tensor([[3, 4]])
    """
    columns = []
    for axis, length in enumerate(grid.lengths):
        column = cells[..., axis]
        # Before the cast, because a coordinate far off the grid does not fit an integer.
        column = torch.remainder(column, length) if axis in grid.cyclic else column.clamp(0, length - 1)
        columns.append(column.long())
    return torch.stack(columns, dim=-1)


def wrapped(points: Tensor, grid: Grid) -> Tensor:
    """Points (*batch, D) with their cyclic coordinates taken into the grid; straight ones stay.

    >>> wrapped(torch.tensor([[-1.0, -1.0]]), Grid((5, 4), cyclic=(0,)))
    tensor([[ 3., -1.]])
    """
    if not grid.cyclic:
        return points
    columns = points.unbind(dim=-1)
    return torch.stack(
        [wrap(c, grid, axis=axis) if axis in grid.cyclic else c for axis, c in enumerate(columns)], dim=-1
    )


def axis_steps(cells: Tensor, grid: Grid, axis: int) -> Tensor:
    """Signed steps from a cell coordinate to every cell of one axis, the short way round on a cyclic axis.

    >>> axis_steps(torch.tensor([[0.5]]), Grid((4,), cyclic=(0,)), 0)
    tensor([[-0.5000,  0.5000,  1.5000, -1.5000]])
    """
    column = cells[..., axis].unsqueeze(-1)
    steps = torch.arange(grid.lengths[axis], dtype=cells.dtype, device=cells.device) - column
    if axis in grid.cyclic:
        steps = steps - grid.lengths[axis] * torch.round(steps / grid.lengths[axis])
    return steps


def shortest_steps(steps: Tensor, grid: Grid) -> Tensor:
    """Steps in cells (*batch, D), taken the short way round on cyclic axes.

    >>> shortest_steps(torch.tensor([[3.0, 3.0]]), Grid((4, 4), cyclic=(0,)))
    tensor([[-1.,  3.]])
    """
    columns = [
        s - grid.lengths[axis] * torch.round(s / grid.lengths[axis]) if axis in grid.cyclic else s
        for axis, s in enumerate(steps.unbind(dim=-1))
    ]
    return torch.stack(columns, dim=-1) if grid.cyclic else steps


def along(row: Tensor, grid: Grid, axis: int) -> Tensor:
    """A row (*batch, length) of one axis, shaped to broadcast against maps (*batch, *grid.shape)."""
    shape = [1] * grid.ndim
    shape[grid.map_dim(axis)] = grid.lengths[axis]
    return row.reshape(*row.shape[:-1], *shape)


def outer(rows: list[Tensor], grid: Grid) -> Tensor:
    """The product map (*batch, *grid.shape) of one row (*batch, length) per axis, in point order.

    >>> outer([torch.tensor([1.0, 2.0]), torch.tensor([1.0, 10.0, 100.0])], Grid((3, 2)))
    tensor([[  1.,   2.],
            [ 10.,  20.],
            [100., 200.]])
    """
    product = along(rows[0], grid, 0)
    for axis in range(1, grid.ndim):
        product = product * along(rows[axis], grid, axis)
    return product


def cells_within(radius: int, center: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Indices of the (2 radius + 1)^D cells around whole cells (*batch, D), row-major, and which of them exist.

    On a cyclic axis all exist. In place of a cell that does not exist stands the nearest that does.

    >>> cells_within(1, torch.tensor([0, 2]), Grid((4, 3)))[1].unflatten(-1, (3, 3))
    tensor([[False,  True,  True],
            [False,  True,  True],
            [False,  True,  True]])
    """
    offsets = torch.arange(-radius, radius + 1, device=center.device)
    index, exists = torch.zeros_like(center[..., :1]), torch.ones_like(center[..., :1], dtype=torch.bool)
    for axis in reversed(range(grid.ndim)):
        length = grid.lengths[axis]
        column = center[..., axis, None] + offsets
        inside = (column >= 0) & (column < length)
        if axis in grid.cyclic:
            column, inside = torch.remainder(column, length), torch.ones_like(inside)
        index = (index.unsqueeze(-1) * length + column.clamp(0, length - 1).unsqueeze(-2)).flatten(-2)
        exists = (exists.unsqueeze(-1) & inside.unsqueeze(-2)).flatten(-2)
    return index, exists


def peak_index(function: str, flat: Tensor, argument: str = "logits") -> Tensor:
    """Row-major index (*batch) of the first largest cell of flat maps (*batch, cells); maps without one are refused."""
    values, index = first_largest(flat.detach(), function=function)
    if looks_at(flat) and not bool(values.isfinite().all()):
        log_probabilities(function, flat.detach(), argument)
    return index


def center_at(support: Support, index: Tensor, like: Tensor) -> Tensor:
    """Centres (*batch, D) of the cells with the given indices (*batch), in the dtype of `like`."""
    if isinstance(support, Grid):
        return support.to_points(support.unravel(index).to(like.dtype))
    centers = support.cell_centers(dtype=like.dtype, device=like.device).expand(*index.shape, *support.xyz.shape[-2:])
    chosen = index[..., None, None].expand(*index.shape, 1, support.ndim)
    return centers.gather(-2, chosen).squeeze(-2)
