"""Draws from a mixture: exact ones, and the truncated noise for relaxed ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from heatpoint._lattice import along
from heatpoint.basis import Basis
from heatpoint.density._axis import Axis, cut_basis
from heatpoint.expectation import wrap
from heatpoint.sampling import Noise
from heatpoint.support import Grid, Support


@torch.no_grad()
def draw_points(
    log_weights: Tensor, support: Support, axes: Sequence[Axis], *, num_samples: int, generator: torch.Generator | None
) -> Tensor:
    """Exact draws (S, *batch, D): a cell by inversion of the cumulative π in float64, then an offset of its basis."""
    batch, device = log_weights.shape[:-1], log_weights.device
    cumulative = log_weights.double().exp().cumsum(dim=-1)
    total = cumulative[..., -1:].contiguous()
    u = torch.rand((*batch, num_samples), generator=generator, dtype=torch.float64, device=device) * total
    # The first cell whose cumulative mass exceeds u has mass itself; rounding must not lead past the last such cell.
    index = torch.searchsorted(cumulative, u, right=True)
    index = torch.minimum(index, torch.searchsorted(cumulative, total))
    columns = []
    for a, axis in enumerate(axes):
        if isinstance(support, Grid):
            cell = support.unravel(index)[..., a]
            drawn = axis.to_input(cell + _offsets(axis, cell, generator).to(log_weights))
            columns.append(wrap(drawn, support, axis=a) if axis.period is not None else drawn)
        else:
            centers = axis.centers.squeeze(-2).expand(log_weights.shape)
            noise = axis.basis.sample_offsets(index.shape, generator=generator, dtype=log_weights.dtype, device=device)
            columns.append(centers.gather(-1, index) + noise)
    return torch.stack(columns, dim=-1).movedim(-2, 0)


def _offsets(axis: Axis, cell: Tensor, generator: torch.Generator | None) -> Tensor:
    if axis.cut is None:
        return axis.basis.sample_offsets(cell.shape, generator=generator, dtype=torch.float64, device=cell.device)
    exact = cut_basis(axis.basis, axis.centers.shape[-1])
    low, high, below, mass = (t.to(cell.device)[cell] for t in (exact.low, exact.high, exact.below, exact.mass))
    u = torch.rand(cell.shape, generator=generator, dtype=torch.float64, device=cell.device)
    return torch.clamp(axis.basis.quantile(below + u * mass), low, high)


def truncated_noise(
    noise: Noise | None,
    grid: Grid,
    axes: Sequence[Axis],
    like: Tensor,
    *,
    num_samples: int,
    generator: torch.Generator | None,
) -> Noise:
    """Noise under which sampling_argmax draws every offset from the cut basis: raw draws u become F(low) + u · mass."""
    shape = (num_samples, *like.shape[:-1], *grid.shape)
    basis = axes[0].basis
    if noise is None:
        uniform = torch.rand(shape, generator=generator, dtype=like.dtype, device=like.device)
        # An exact 0 would forbid the cell; a fresh one only stands for the interval up to the next number.
        uniform = uniform.clamp_(min=torch.finfo(like.dtype).eps / 4)
        raw = [basis.draw_noise(shape, generator=generator, dtype=like.dtype, device=like.device) for _ in axes]
    else:
        uniform, raw = noise.gumbel_uniform, list(noise.offsets or ())
    return Noise(uniform, [_cut_raw(basis, axis, grid, a, raw[a]) for a, axis in enumerate(axes)])


def _cut_raw(basis: Basis, axis: Axis, grid: Grid, a: int, raw: Tensor) -> Tensor:
    if axis.cut is None:
        return raw
    exact = cut_basis(basis, grid.lengths[a])
    below, mass = (along(t.to(raw.device), grid, a) for t in (exact.below, exact.mass))
    if not basis.draws_normals:
        return (below + raw.double() * mass).to(raw.dtype)
    low, high = (along(t.to(raw.device), grid, a) for t in (exact.low, exact.high))
    offsets = basis.quantile(below + torch.special.ndtr(raw.double()) * mass)
    return (torch.clamp(offsets, low, high) / basis.variance**0.5).to(raw.dtype)
