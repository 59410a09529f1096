"""The columns of the draws whose products with the weights of maps are a sample's sums over cells.

See `heatpoint.kernels.shared`: with weights W of the maps, Σ_i W_mi F_si is every sum over cells that a sample needs; F is here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from heatpoint.basis import Basis, Triangular
from heatpoint.kernels._shared_draws import Draw, Drawn
from heatpoint.support import Grid, Support


@dataclass(frozen=True, eq=False)
class Places:
    """Places of the cells, measured from their middle, around which sums over them have more digits left.

    Args:
        axes: (D, 1, 1, cells), or (D, groups, 1, cells) where groups lie on clouds of their own.
        center: The middle, (D,) or (groups, 1, 1, D).
    """

    axes: Tensor
    center: Tensor

    def of(self, groups: slice) -> Places:
        """Those of some groups."""
        center = self.center if self.center.ndim == 1 else self.center[groups]
        return self if self.axes.shape[1] == 1 else Places(self.axes[:, groups], center)


def places_of(support: Support, dtype: torch.dtype, device: torch.device, *, is_centered: bool = True) -> Places:
    """Places of the cells of a support whose coordinates broadcast to (groups, maps, cells), if they are not those of all.

    Without `is_centered`, they are measured from 0.
    """
    centers = support.cell_centers(dtype=dtype, device=device)
    if isinstance(support, Grid):
        centers = centers.flatten(0, -2)
    axes = centers.movedim(-1, 0).contiguous()
    if is_centered:
        middle = (axes.amax(dim=-1) + axes.amin(dim=-1)) / 2
        axes, center = axes - middle[..., None], middle.movedim(0, -1)
    else:
        center = axes.new_zeros(support.ndim)
    return Places(axes if axes.ndim > 2 else axes[:, None, None], center if center.ndim == 1 else center[..., None, :])


def columns(draw: Draw, places: Places, drawn: Drawn, room: Tensor | None = None) -> Tensor:
    """F (g, s, columns, cells) of one block; in `room`, if there is one, as large as `Draw.room` says.

    The first column is V = E^(−1/τ), the next D are V · (place of the cell, and its offset). Where the released formula weighs
    the offsets, two more for each axis hold the weights that a cell's mass gets and their product with the places.
    """
    support, ndim, dtype, device = draw.support, draw.support.ndim, places.center.dtype, places.center.device
    shape = (*drawn.leading, draw.num_columns, support.num_cells)
    size = math.prod(shape)
    found = torch.empty(shape, dtype=dtype, device=device) if room is None else room[:size].view(shape)
    power, moments, others = found[:, :, 0], found[:, :, 1 : 1 + ndim], found[:, :, 1 + ndim :]
    if draw.is_per_cell:
        # The columns are still free: what becomes an offset can be there.
        offsets = drawn.offsets(None if room is None else (room[size:], room[:size]))
        placed = _displaced(offsets, places, support)
    else:
        noise, placed = drawn.noise(), places.axes
    drawn.powers(out=power)
    if draw.basis is None or draw.leaves_places or draw.is_per_cell or not isinstance(support, Grid):
        torch.mul(power[:, :, None], placed.permute(1, 2, 0, 3), out=moments)
        return found
    for axis, values in enumerate(noise):
        line = draw.basis.offsets_from_noise(values) * support.strides[axis]
        line += support.axis_centers(axis, dtype=dtype, device=device) - places.center[axis]
        index = _axis_index(support, axis, device)
        torch.mul(power, line[..., index], out=moments[:, :, axis])
        if others.shape[2]:
            for k, value in enumerate(_received(_axis_weights(draw.basis, values), line)):
                torch.mul(power, value[..., index], out=others[:, :, 2 * axis + k])
    return found


def _displaced(offsets: Tensor, places: Places, support: Support) -> Tensor:
    """Places of the cells and their offsets, (D, g, s, cells), in place of the offsets."""
    if not isinstance(support, Grid) or set(support.strides) == {1.0}:
        return offsets.add_(places.axes)
    for offset, place, stride in zip(offsets, places.axes, support.strides, strict=True):
        torch.add(place, offset, alpha=stride, out=offset)
    return offsets


@dataclass(frozen=True, eq=False)
class _AxisWeights:
    """How the positions along one axis weigh the marginal, before normalising: q_j = Σ_k shares_k[j] · m[cells_k[j]]."""

    shares: list[Tensor]
    cells: list[Tensor]


def _axis_weights(basis: Basis, noise: Tensor) -> _AxisWeights:
    """The weights of the released formula."""
    if isinstance(basis, Triangular):
        return _interpolation(basis, noise)
    own = torch.arange(noise.shape[-1], device=noise.device).expand_as(noise)
    return _AxisWeights([torch.exp(-2 * noise.square())], [own])


def _interpolation(basis: Triangular, noise: Tensor) -> _AxisWeights:
    length = noise.shape[-1]
    position = torch.arange(length, dtype=noise.dtype, device=noise.device) + basis.offsets_from_noise(noise)
    below = position.floor()
    fraction, cell = position - below, below.long()
    both = [(cell, 1 - fraction), (cell + 1, fraction)]
    return _AxisWeights(
        [share * ((c >= 0) & (c < length)) for c, share in both], [c.clamp(0, length - 1) for c, _ in both]
    )


def _received(weights: _AxisWeights, line: Tensor) -> tuple[Tensor, Tensor]:
    """What the mass of each position is worth in Σ_j q_j, and in Σ_j q_j · line_j."""
    total, moment = torch.zeros_like(line), torch.zeros_like(line)
    for share, cell in zip(weights.shares, weights.cells, strict=True):
        total.scatter_add_(-1, cell, share)
        moment.scatter_add_(-1, cell, share * line)
    return total, moment


def _axis_index(grid: Grid, axis: int, device: torch.device) -> Tensor:
    """The position along one axis of every cell, (cells,) long."""
    return grid.unravel(torch.arange(grid.num_cells, device=device))[..., axis]
