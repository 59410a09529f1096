"""From draws to relaxed samples: the weights over the cells and the points they give, by either formula."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from heatpoint.basis import Basis, Gaussian, Triangular
from heatpoint.expectation import expected_position, marginal_position
from heatpoint.support import Grid, Support

Formula = Literal["paper", "released"]


def relaxed_weights(log_p: Tensor, uniform: Tensor, temperature: float, formula: Formula, is_recorded: bool) -> Tensor:
    scaled = log_p / temperature if formula == "paper" else log_p
    return perturbed(scaled, uniform, noise_scale=1 / temperature, is_recorded=is_recorded).softmax(dim=-1)


def perturbed(scores: Tensor, uniform: Tensor, *, noise_scale: float, is_recorded: bool) -> Tensor:
    """Scores + scale · g, with g = −log(−log u)."""
    if not is_recorded:
        return torch.sub(scores, uniform.log_().neg_().log_(), alpha=noise_scale)
    # 1 would be +inf. Uniforms lie below it, but those recorded in more digits than these may round up to it.
    uniform = uniform.clamp(max=1 - torch.finfo(uniform.dtype).eps / 2)
    perturbed = scores - noise_scale * (-uniform.log()).log()
    nothing_left = perturbed.detach().amax(dim=-1, keepdim=True) == -torch.inf
    return torch.where(nothing_left, scores, perturbed)


def paper_positions(
    weights: Tensor, grid: Support, basis: Basis | None, raw: list[Tensor], sign_gradient: bool
) -> Tensor:
    if basis is None:
        return expected_position(weights, grid, sign_gradient=sign_gradient)
    strides = grid.strides if isinstance(grid, Grid) else (1.0,) * grid.ndim
    displacement = [basis.offsets_from_noise(noise) * stride for noise, stride in zip(raw, strides, strict=True)]
    return expected_position(weights, grid, displacement=displacement, sign_gradient=sign_gradient)


def released_positions(
    weights: Tensor, grid: Grid, basis: Basis | None, raw: list[Tensor], sign_gradient: bool
) -> Tensor:
    if basis is None:
        return expected_position(weights, grid, sign_gradient=sign_gradient)
    coordinates = []
    for axis, marginal in enumerate(grid.marginals(grid.unflatten(weights))):
        coordinates.append(
            marginal_position(
                _released_weights(marginal, raw[axis], basis, grid, axis),
                grid,
                axis=axis,
                displacement=basis.offsets_from_noise(raw[axis]) * grid.strides[axis],
                sign_gradient=sign_gradient,
            )
        )
    return torch.stack(coordinates, dim=-1)


def _released_weights(marginal: Tensor, raw: Tensor, basis: Basis, grid: Grid, axis: int) -> Tensor:
    """The weights q (S, *batch, length) that the released formula gives the displaced positions of one axis."""
    if isinstance(basis, Triangular):
        shifted = _interpolated(marginal, basis.offsets_from_noise(raw), is_cyclic=axis in grid.cyclic)
        return _renormalised(shifted, marginal)
    if isinstance(basis, Gaussian) and grid.ndim == 2:
        return _renormalised(marginal * torch.exp(-2 * raw.square()), marginal)
    return marginal


def _interpolated(marginal: Tensor, offsets: Tensor, *, is_cyclic: bool) -> Tensor:
    """The marginal at cell coordinates i + offset_i, linear between cells; outside 0, or around the axis."""
    length = marginal.shape[-1]
    position = torch.arange(length, dtype=offsets.dtype, device=offsets.device) + offsets
    below = position.floor()
    fraction = position - below
    values = []
    for cell in (below.long(), below.long() + 1):
        if is_cyclic:
            values.append(marginal.gather(-1, cell % length))
        else:
            inside = (cell >= 0) & (cell < length)
            values.append(marginal.gather(-1, cell.clamp(0, length - 1)) * inside)
    return (1 - fraction) * values[0] + fraction * values[1]


def _renormalised(weights: Tensor, otherwise: Tensor) -> Tensor:
    total = weights.sum(dim=-1, keepdim=True)
    is_possible = total > 0
    return torch.where(is_possible, weights / torch.where(is_possible, total, 1.0), otherwise)
