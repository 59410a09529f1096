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
        if self.center.ndim == 1:
            return self
        return Places(self.axes[:, groups], self.center[groups])


def places_of(support: Support, dtype: torch.dtype, device: torch.device) -> Places:
    """Places of the cells of a support whose coordinates broadcast to (groups, maps, cells), if they are not those of all."""
    centers = support.cell_centers(dtype=dtype, device=device)
    if isinstance(support, Grid):
        centers = centers.flatten(0, -2)
    center = (centers.amax(dim=-2) + centers.amin(dim=-2)) / 2
    axes = (centers - center[..., None, :]).movedim(-1, 0).contiguous()
    return Places(axes if axes.ndim > 2 else axes[:, None, None], center if center.ndim == 1 else center[..., None, :])


def columns(draw: Draw, places: Places, drawn: Drawn, room: Tensor | None = None) -> Tensor:
    """F (g, s, columns, cells) of one block; in `room`, if there is one, of `Draw.num_rows` rows of cells for each (g, s).

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
    _powers(drawn.uniforms(out=power), draw.temperature)
    if draw.basis is None or draw.is_per_cell or not isinstance(support, Grid):
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


def _powers(uniform: Tensor, temperature: float) -> Tensor:
    """E^(−1/τ) with E = −log u, in place of the uniforms."""
    waiting = uniform.log_().neg_()
    if temperature == 2:
        return waiting.rsqrt_()
    if temperature == 1:
        return waiting.reciprocal_()
    if temperature == 0.5:
        return waiting.square_().reciprocal_()
    # A fifth faster than a power, and as right as the logarithm, with which the plain form works too.
    return waiting.log_().mul_(-1 / temperature).exp_()


def positions(draw: Draw, sums: Tensor) -> Tensor:
    """Samples (g, maps, s, D) from the sums of `columns`, measured from the place that it gives."""
    ndim = draw.support.ndim
    plain = sums[..., 1 : 1 + ndim] / sums[..., :1]
    if sums.shape[-1] == 1 + ndim:
        return plain
    total, moment = sums[..., 1 + ndim :: 2], sums[..., 2 + ndim :: 2]
    # As in the plain form: if all weights vanish, the marginal itself counts.
    is_possible = total > 0
    return torch.where(is_possible, moment / torch.where(is_possible, total, 1.0), plain)


def slopes(draw: Draw, sums: Tensor, samples: Tensor, slope: Tensor) -> Tensor:
    """The derivative by the sums (g, maps, s, columns) of what has the derivative `slope` by `positions`, which are `samples`."""
    ndim = draw.support.ndim
    if sums.shape[-1] == 1 + ndim:
        moment = slope / sums[..., :1]
        return torch.cat([-(moment * samples).sum(dim=-1, keepdim=True), moment], dim=-1)
    total = sums[..., 1 + ndim :: 2]
    is_possible = total > 0
    weighed = slope.masked_fill(~is_possible, 0.0) / torch.where(is_possible, total, 1.0)
    moment = slope.masked_fill(is_possible, 0.0) / sums[..., :1]
    both = torch.stack([-weighed * samples, weighed], dim=-1).flatten(-2)
    return torch.cat([-(moment * samples).sum(dim=-1, keepdim=True), moment, both], dim=-1)
