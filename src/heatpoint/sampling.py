"""Points drawn from a map so that gradients reach its logits: Gumbel-max, Gumbel-softmax and sampling-argmax.

Two formulas go by the name of sampling-argmax, the paper's and the one its authors' code computes; they agree at temperature 1
only, and not wholly even there. docs/sampling.md sets them side by side and measures the difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from heatpoint._draws import FreshChunk, Noise, RecordedChunk, Shapes, chunks, remade
from heatpoint._lattice_draws import LatticeChunk, lattice_chunks
from heatpoint._numerics import full_precision, log_probabilities, promote
from heatpoint._relaxed import Formula, paper_positions, perturbed, relaxed_weights, released_positions
from heatpoint._sampling_arguments import FORMULAS as FORMULAS
from heatpoint._sampling_arguments import check_choices
from heatpoint._sampling_plan import Plan, plan_of
from heatpoint.basis import Basis
from heatpoint.kernels import fused
from heatpoint.kernels._shared_draws import Sharing, plain_samples
from heatpoint.kernels.shared import product_samples
from heatpoint.schedules import Constant, Exponential, Linear, Released2D, Released3D, Schedule, make_schedule
from heatpoint.support import Grid, Support, check_support

__all__ = ["Noise", "gumbel_max", "gumbel_softmax", "sampling_argmax"]
__all__ += ["Constant", "Exponential", "Linear", "Released2D", "Released3D", "Schedule", "make_schedule"]

Chunk = FreshChunk | RecordedChunk | LatticeChunk


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
        perturbed(log_p, chunk()[0], noise_scale=1.0, is_recorded=noise is not None).argmax(dim=-1)
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
    check_choices(function, temperature, formula, "normal")
    log_p = log_probabilities(function, support.flatten(function, logits))
    shapes = Shapes(tuple(log_p.shape[:-1]), support, None, True)
    weights = [
        relaxed_weights(log_p, chunk()[0], temperature, formula, noise is not None)
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
    noise: Noise | Sharing | None = None,
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
        generator: Source of the noise; None is the device's default generator. Same seed, same points, on the same
            device and by the same form (`heatpoint.kernels`): forms draw other numbers from one seed.
        noise: Recorded draws to replay; were every possible cell's uniform exactly 0, that map's noise is left out. Or how
            fresh draws hang together: "independent" (as None), not at all; "lattice", those of a cell are spread evenly over
            the S samples; "image", the maps along the last dimension of the batch, such as the points of an image, share
            them; "batch", all maps do. The law of each sample is the same, and a loss that is a sum over samples and maps has
            the same expectation and gradient in the mean; docs/sampling.md measures what it does to their variance, and says
            when maps have Gaussian offsets of their own. Shared draws cost a fraction (`heatpoint.kernels`).
        sign_gradient: The published code's gradient, see `heatpoint.expectation.expected_position`. Off as in the paper.
        memory: "low" keeps nothing of size S x cells for the backward pass: samples are drawn in chunks of about a million
            cells, each drawn again from the recorded state of what it was drawn from when its gradient is needed. The same
            numbers and the same gradients as "normal", bit for bit.

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
    noise: Noise | Sharing | None = None,
    sign_gradient: bool = False,
    memory: Literal["normal", "low"] = "normal",
) -> Tensor:
    """`sampling_argmax` on behalf of the caller `function`."""
    plan = plan_of(
        function,
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
    return planned_samples(plan)


def planned_samples(plan: Plan) -> Tensor:
    """(S, *batch, D) by the form that the plan names."""
    if plan.form in fused.FORMS:
        return fused.FORMS[plan.form].sampled_points(plan.flat, plan.support, **plan.fused_options())
    if plan.shared is not None:
        return (product_samples if plan.form == "gemm" else plain_samples)(plan.shared, promote(plan.flat))
    function, grid, given = plan.function, plan.support, plan.drawn
    log_p = log_probabilities(function, plan.flat)
    shapes = Shapes(tuple(log_p.shape[:-1]), grid, given["basis"], given["formula"] == "paper")
    noise = given["noise"] if isinstance(given["noise"], Noise) else None
    source = {"num_samples": given["num_samples"], "generator": given["generator"]}
    if plan.is_lattice:
        parts: Iterable[Chunk] = lattice_chunks(function, shapes, log_p, **source)
    else:
        parts = chunks(function, shapes, log_p, noise=noise, **source)

    def draw(log_p: Tensor, chunk: Chunk) -> Tensor:
        uniform, raw = chunk()
        weights = relaxed_weights(log_p, uniform, given["temperature"], given["formula"], noise is not None)
        if given["formula"] == "released" and isinstance(grid, Grid):
            return released_positions(weights, grid, given["basis"], raw, given["sign_gradient"])
        return paper_positions(weights, grid, given["basis"], raw, given["sign_gradient"])

    return torch.cat([remade(given["memory"], draw, log_p, chunk) for chunk in parts])
