"""The columns of the draws whose products with the weights of maps are a sample's sums over cells.

See `heatpoint.kernels.shared`: with weights W of the maps, Σ_i W_mi F_si is every sum over cells that a sample needs; F is here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from heatpoint.basis import Basis, Gaussian, Triangular
from heatpoint.kernels._shared_draws import Draw
from heatpoint.support import Grid, Support


def columns(draw: Draw, support: Support, uniform: Tensor, raw: list[Tensor]) -> tuple[Tensor, Tensor]:
    """F (g, s, columns, cells) of one block, and the place from which positions in it are measured, (D,) or (g, 1, 1, D).

    The first column is V = E^(−1/τ), the next D are V · (place of the cell, and its offset). Where the released formula weighs
    the offsets, two more for each axis hold the weights that a cell's mass gets and their product with the places.
    """
    power = _powers(uniform, draw.temperature)
    centers = support.cell_centers(dtype=uniform.dtype, device=uniform.device)
    if isinstance(support, Grid):
        centers = centers.flatten(0, -2)
    # Sums of places around 0 have more digits left.
    center = (centers.amax(dim=-2) + centers.amin(dim=-2)) / 2
    around = (centers - center[..., None, :]).unbind(dim=-1)
    places = [place if place.ndim == 1 else place.reshape(-1, 1, place.shape[-1]) for place in around]
    if center.ndim > 1:
        center = center.reshape(-1, 1, 1, center.shape[-1])
    weighed = _axis_weights(draw.basis, support, raw) if draw.formula == "released" else []
    found = power.new_empty(*power.shape[:2], 1 + len(places) + 2 * len(weighed), power.shape[-1])
    found[:, :, 0] = power
    for axis, place in enumerate(places):
        if draw.basis is None:
            torch.mul(power, place, out=found[:, :, 1 + axis])
            continue
        offset = draw.basis.offsets_from_noise(raw[axis])
        offset = offset.mul_(support.strides[axis]) if isinstance(support, Grid) else offset
        if draw.formula == "paper" or not isinstance(support, Grid):
            torch.mul(power, offset.add_(place), out=found[:, :, 1 + axis])
            continue
        index = _axis_index(support, axis, uniform.device)
        line = offset.add_(support.axis_centers(axis, dtype=uniform.dtype, device=uniform.device) - center[axis])
        torch.mul(power, line[..., index], out=found[:, :, 1 + axis])
        for k, values in enumerate(_received(weighed[axis], line) if weighed else ()):
            torch.mul(power, values[..., index], out=found[:, :, 1 + len(places) + 2 * axis + k])
    return found, center


@dataclass(frozen=True, eq=False)
class _AxisWeights:
    """How the positions along one axis weigh the marginal, before normalising: q_j = Σ_k shares_k[j] · m[cells_k[j]]."""

    shares: list[Tensor]
    cells: list[Tensor]


def _axis_weights(basis: Basis | None, support: Support, raw: list[Tensor]) -> list[_AxisWeights]:
    """The weights of the released formula, see `_relaxed`; empty where the marginal itself counts."""
    if isinstance(basis, Triangular) and isinstance(support, Grid):
        return [_interpolation(basis, noise) for noise in raw]
    if isinstance(basis, Gaussian) and isinstance(support, Grid) and support.ndim == 2:
        own = [torch.arange(noise.shape[-1], device=noise.device).expand_as(noise) for noise in raw]
        return [_AxisWeights([torch.exp(-2 * n.square())], [cell]) for n, cell in zip(raw, own, strict=True)]
    return []


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
    return waiting.pow_(-1 / temperature)


def positions(draw: Draw, sums: Tensor, center: Tensor) -> Tensor:
    """Samples (g, maps, s, D) from the sums of `columns`."""
    ndim = draw.support.ndim
    plain = sums[..., 1 : 1 + ndim] / sums[..., :1]
    if sums.shape[-1] == 1 + ndim:
        return plain + center
    total, moment = sums[..., 1 + ndim :: 2], sums[..., 2 + ndim :: 2]
    # As in the plain form: if all weights vanish, the marginal itself counts.
    is_possible = total > 0
    return torch.where(is_possible, moment / torch.where(is_possible, total, 1.0), plain) + center
