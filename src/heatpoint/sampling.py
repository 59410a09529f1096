"""Points drawn from a map so that gradients reach its logits: Gumbel-max, Gumbel-softmax and sampling-argmax.

Two formulas go by the name of sampling-argmax, the paper's and the one its authors' code computes; they agree at temperature 1
only, and not wholly even there. docs/sampling.md sets them side by side and measures the difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from heatpoint._checks import message, one_of
from heatpoint._draws import FreshChunk, Noise, RecordedChunk, Shapes, chunks
from heatpoint._numerics import full_precision, log_probabilities
from heatpoint.basis import Basis, Gaussian, Triangular, check_basis_on_points, make_basis
from heatpoint.expectation import expected_position, marginal_position
from heatpoint.schedules import Constant, Exponential, Linear, Released2D, Released3D, Schedule, make_schedule
from heatpoint.support import Grid, Points, Support, check_support

__all__ = ["Noise", "gumbel_max", "gumbel_softmax", "sampling_argmax"]
__all__ += ["Constant", "Exponential", "Linear", "Released2D", "Released3D", "Schedule", "make_schedule"]

Formula = Literal["paper", "released"]
FORMULAS: tuple[Formula, ...] = ("paper", "released")
MEMORY = ("normal", "low")


@torch.no_grad()
def gumbel_max(
    logits: Tensor,
    support: Support,
    *,
    num_samples: int | None = None,
    generator: torch.Generator | None = None,
    noise: Noise | None = None,
) -> Tensor:
    """Draws cells from a map: argmax_i (g_i + log π_i), g_i Gumbel(0, 1).

    Sampling-Argmax, Eq. 10, as an index instead of a one-hot vector. Exact draws of the categorical distribution π = softmax of
    the logits; no gradient.

    Args:
        logits: (*batch, *shape), −inf for a forbidden cell.
        support: Grid or Points.
        num_samples: S; None means 1, or as many as `noise` holds.
        generator: Source of the noise; None is the device's default generator.
        noise: Recorded draws to replay.

    Returns:
        (S, *batch) long, row-major indices; `Grid.unravel` makes cells of them.

    Raises:
        TypeError: If support is neither Grid nor Points.
        ValueError: If shapes do not fit, or num_samples is below 1.

    >>> gumbel_max(torch.tensor([-torch.inf, 0.0, -torch.inf]), Grid((3,)), num_samples=4)
    tensor([1, 1, 1, 1])
    """
    check_support("gumbel_max", support)
    log_p = log_probabilities("gumbel_max", support.flatten("gumbel_max", logits))
    shapes = Shapes(tuple(log_p.shape[:-1]), support, None, True)
    cells = [
        _perturbed(log_p, chunk()[0], noise_scale=1.0, is_recorded=noise is not None).argmax(dim=-1)
        for chunk in chunks("gumbel_max", shapes, log_p, num_samples=num_samples, generator=generator, noise=noise)
    ]
    return torch.cat(cells)


@full_precision
def gumbel_softmax(
    logits: Tensor,
    support: Support,
    *,
    num_samples: int | None = None,
    temperature: float = 1.0,
    formula: Formula = "paper",
    generator: torch.Generator | None = None,
    noise: Noise | None = None,
) -> Tensor:
    """Draws weights over the cells: a relaxed one-hot vector per sample.

    Sampling-Argmax, Eq. 11, π̂ = softmax((g + log π) / τ), g_i Gumbel(0, 1), is formula "paper"; as τ → 0 it becomes a
    one-hot draw from π, as τ → ∞ the uniform average. Formula "released", π̂ = softmax(log π + g / τ), is what the authors'
    code computes: it divides the noise only, so as τ → ∞ it becomes π itself, as τ → 0 a one-hot draw that ignores π.

    Args:
        logits: (*batch, *shape), −inf for a forbidden cell.
        support: Grid or Points.
        num_samples: S; None means 1, or as many as `noise` holds.
        temperature: τ, greater than 0.
        formula: "paper" or "released".
        generator: Source of the noise; None is the device's default generator.
        noise: Recorded draws to replay.

    Returns:
        (S, *batch, cells), each row summing to 1. The gradient flows to the logits.

    Raises:
        TypeError: If support is neither Grid nor Points.
        ValueError: If shapes do not fit, num_samples is below 1, temperature is not greater than 0, or formula is unknown.

    >>> gumbel_softmax(torch.tensor([2.0, -torch.inf]), Grid((2,)), num_samples=3).tolist()
    [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]
    """
    function = "gumbel_softmax"
    check_support(function, support)
    _check_choices(function, temperature, formula, "normal")
    log_p = log_probabilities(function, support.flatten(function, logits))
    shapes = Shapes(tuple(log_p.shape[:-1]), support, None, True)
    weights = [
        _weights(log_p, chunk()[0], temperature, formula, noise is not None)
        for chunk in chunks(function, shapes, log_p, num_samples=num_samples, generator=generator, noise=noise)
    ]
    return torch.cat(weights)


def sampling_argmax(
    logits: Tensor,
    grid: Support,
    *,
    basis: str | Basis | Mapping[str, Any] | None = "triangular",
    num_samples: int | None = None,
    temperature: float = 1.0,
    formula: Formula = "paper",
    generator: torch.Generator | None = None,
    noise: Noise | None = None,
    sign_gradient: bool = False,
    memory: Literal["normal", "low"] = "normal",
) -> Tensor:
    """Draws points from the mixture density of a map, relaxed so that they are differentiable in its logits.

    Formula "paper" (Sampling-Argmax, Eq. 11 to 13): Ŷ = Σ_i π̂_i ŷ_i with π̂ = softmax((g + log π) / τ) and one draw
    ŷ_i = c_i + e_i of the basis for every cell i, all coordinates of it. As τ → 0, Ŷ is an exact draw from the mixture; at any
    τ > 0 it is drawn towards the middle.

    Formula "released" (the authors' code; a grid only): π̂ = softmax(log π + g / τ) is summed to one marginal m per axis, and
    each axis draws one offset e_i per position i, not per cell: Ŷ_a = Σ_i q_i (c_i + e_i), where

    - Uniform: q = m.
    - Triangular: q_i ∝ the linear interpolation of m at i + e_i, with zeros outside the grid, or around a cyclic axis.
    - Gaussian: on a 2D grid q_i ∝ m_i exp(−2 (e_i / σ)²), which makes the offsets' effective law N(0, σ²/5); on 3D grids q = m.
      The code has no 1D case; as in 3D, q = m. The code has σ = 1 cell only.

    If those weights all vanish, q = m. The logarithm of π and the logits differ by a constant, so either gives the same π̂.

    Args:
        logits: (*batch, *grid.shape), −inf for a forbidden cell.
        grid: Grid, or Points with formula "paper" and a Gaussian basis (or None).
        basis: The sub-distribution of each cell: a name, a Basis, its dict, or None for the cell's centre alone. Not truncated:
            at the border a sample may leave the grid, by at most the basis's reach.
        num_samples: S; None means 1, or as many as `noise` holds.
        temperature: τ, greater than 0.
        formula: "paper" or "released".
        generator: Source of the noise; None is the device's default generator. Same seed, same points, on the same device.
        noise: Recorded draws to replay. Were every possible cell's uniform exactly 0, that map's noise is left out.
        sign_gradient: The published code's gradient, see `heatpoint.expectation.expected_position`. Off as in the paper.
        memory: "low" keeps nothing of size S x cells for the backward pass: samples are drawn in chunks of about a million
            cells, each drawn again from the generator's recorded state when its gradient is needed. The same numbers and the
            same gradients as "normal", bit for bit.

    Returns:
        (S, *batch, D) in the grid's coordinates, point order. The gradient flows to the logits (and to the coordinates of
        Points); none to the noise.

    Raises:
        TypeError: If grid is neither Grid nor Points, or basis is of no known kind.
        ValueError: If shapes do not fit, a name is unknown, num_samples is below 1, temperature is not greater than 0, or the
            basis or the formula has no meaning on Points.

    >>> logits = torch.tensor([0.0, 3.0, 0.0])
    >>> points = sampling_argmax(logits, Grid((3,)), num_samples=5, generator=torch.Generator().manual_seed(0))
    >>> points.shape
    torch.Size([5, 1])
    """
    return samples_of(
        "sampling_argmax",
        logits,
        grid,
        basis=basis,
        num_samples=num_samples,
        temperature=temperature,
        formula=formula,
        generator=generator,
        noise=noise,
        sign_gradient=sign_gradient,
        memory=memory,
    )


@full_precision
def samples_of(
    function: str,
    logits: Tensor,
    grid: Support,
    *,
    basis: str | Basis | Mapping[str, Any] | None = "triangular",
    num_samples: int | None = None,
    temperature: float = 1.0,
    formula: Formula = "paper",
    generator: torch.Generator | None = None,
    noise: Noise | None = None,
    sign_gradient: bool = False,
    memory: Literal["normal", "low"] = "normal",
) -> Tensor:
    """`sampling_argmax` on behalf of the caller `function`."""
    check_support(function, grid)
    _check_choices(function, temperature, formula, memory)
    shape_of = _checked_basis(function, basis, grid, formula)
    log_p = log_probabilities(function, grid.flatten(function, logits))
    shapes = Shapes(tuple(log_p.shape[:-1]), grid, shape_of, formula == "paper")

    def draw(log_p: Tensor, chunk: FreshChunk | RecordedChunk) -> Tensor:
        uniform, raw = chunk()
        weights = _weights(log_p, uniform, temperature, formula, noise is not None)
        if formula == "released" and isinstance(grid, Grid):
            return _released_positions(weights, grid, shape_of, raw, sign_gradient)
        return _paper_positions(weights, grid, shape_of, raw, sign_gradient)

    samples = [
        checkpoint(draw, log_p, chunk, use_reentrant=False, preserve_rng_state=False)
        if memory == "low"
        else draw(log_p, chunk)
        for chunk in chunks(function, shapes, log_p, num_samples=num_samples, generator=generator, noise=noise)
    ]
    return torch.cat(samples)


def _weights(log_p: Tensor, uniform: Tensor, temperature: float, formula: Formula, is_recorded: bool) -> Tensor:
    scaled = log_p / temperature if formula == "paper" else log_p
    return _perturbed(scaled, uniform, noise_scale=1 / temperature, is_recorded=is_recorded).softmax(dim=-1)


def _perturbed(scores: Tensor, uniform: Tensor, *, noise_scale: float, is_recorded: bool) -> Tensor:
    """Scores + scale · g, with g = −log(−log u)."""
    if not is_recorded:
        return torch.sub(scores, uniform.log_().neg_().log_(), alpha=noise_scale)
    # 1 would be +inf. Uniforms lie below it, but those recorded in more digits than these may round up to it.
    uniform = uniform.clamp(max=1 - torch.finfo(uniform.dtype).eps / 2)
    perturbed = scores - noise_scale * (-uniform.log()).log()
    nothing_left = perturbed.detach().amax(dim=-1, keepdim=True) == -torch.inf
    return torch.where(nothing_left, scores, perturbed)


def _paper_positions(
    weights: Tensor, grid: Support, basis: Basis | None, raw: list[Tensor], sign_gradient: bool
) -> Tensor:
    if basis is None:
        return expected_position(weights, grid, sign_gradient=sign_gradient)
    strides = grid.strides if isinstance(grid, Grid) else (1.0,) * grid.ndim
    displacement = [basis.offsets_from_noise(noise) * stride for noise, stride in zip(raw, strides, strict=True)]
    return expected_position(weights, grid, displacement=displacement, sign_gradient=sign_gradient)


def _released_positions(
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


def _checked_basis(
    function: str, basis: str | Basis | Mapping[str, Any] | None, grid: Support, formula: Formula
) -> Basis | None:
    made = None if basis is None else make_basis(basis)
    if isinstance(grid, Points):
        if formula == "released":
            remedy = "Unordered points have no axes to take marginals along."
            raise ValueError(message(function, "formula", "be 'paper' on Points", repr(formula), remedy))
        return None if made is None else check_basis_on_points(function, made)
    return made


def _check_choices(function: str, temperature: float, formula: str, memory: str) -> None:
    one_of(function, "formula", formula, FORMULAS)
    one_of(function, "memory", memory, MEMORY)
    if not 0 < temperature < math.inf:
        remedy = "It divides; towards 0 the draws become exact (formula 'paper')."
        raise ValueError(message(function, "temperature", "be a finite number greater than 0", temperature, remedy))
