"""Proper scores: no map expects a better one than the law from which the targets are drawn."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from heatpoint._checks import message
from heatpoint._distances import difference, mean_axis_gaps, mean_distance, mean_gap, norm
from heatpoint._numerics import full_precision, probabilities
from heatpoint.basis import make_basis
from heatpoint.density import Density
from heatpoint.sampling import Noise, samples_of
from heatpoint.scores._inputs import BasisLike, flat_and_target
from heatpoint.support import Grid, Support


@full_precision
def log_score(
    logits: Tensor, grid: Support, target: Tensor, *, basis: BasisLike = "triangular", truncate: bool = False
) -> Tensor:
    """The log score of the mixture density of Sampling-Argmax, Eq. 6: −log p(target). Strictly proper.

    In neither paper. With a triangular basis p interpolates the map linearly, so this is a cross-entropy with the target's
    interpolation weights inside the logarithm, where `rounded_cross_entropy` has them outside.

    Args:
        logits: (*batch, *grid.shape).
        grid: Grid or Points.
        target: (*batch, D), in the grid's coordinates.
        basis: Sub-distribution of a cell.
        truncate: Cut and renormalise each basis to the grid's extent.

    Returns:
        (*batch), in nats, of a density per unit^D: it can be negative. +inf, with gradient 0, where p is 0: among forbidden
        cells, or outside the reach of the bases, for the triangular basis more than one cell off the outermost centres. One
        such target makes the mean over a batch infinite; give it weight 0, or take a Gaussian basis, which reaches everywhere.

    Raises:
        ValueError: If the shapes disagree.

    >>> log_score(torch.zeros(1, 4), Grid((4,), stride=2, offset=0), torch.tensor([[3.0]]))
    tensor([2.0794])
    """
    _, target = flat_and_target("log_score", logits, grid, target)
    density = Density._on_behalf_of("log_score", logits, grid, basis=basis, truncate=truncate)
    return -density.log_prob(target)


@full_precision
def crps(
    logits: Tensor, grid: Support, target: Tensor, *, basis: BasisLike | None = "triangular", truncate: bool = False
) -> Tensor:
    """The continuous ranked probability score of each marginal, summed over axes: Σ_d E|Y_d − y_d| − ½ E|Y_d − Y'_d|.

    In neither paper. Y and Y' are independent draws; per axis it equals ∫ (F(x) − [x ≥ y_d])² dx. Exact, in units of the
    coordinates. Proper; strictly in 1D, while in nD it sees the marginals alone (`energy_score` sees the whole map).

    Cost: under a basis a table of all pairs of cells along an axis (of points, on Points), so quadratic in its length.

    Args:
        logits: (*batch, *grid.shape).
        grid: Grid or Points; no cyclic axes.
        target: (*batch, D), in the grid's coordinates.
        basis: Sub-distribution of a cell, or None for point masses at the centres.
        truncate: Cut and renormalise each basis to the grid's extent.

    Returns:
        (*batch). Gradients flow to logits and target.

    Raises:
        ValueError: If the shapes disagree or an axis is cyclic.

    >>> crps(torch.zeros(1, 2), Grid((2,), offset=0), torch.tensor([[0.5]]), basis=None)
    tensor([0.2500])
    """
    flat, target = flat_and_target("crps", logits, grid, target)
    if isinstance(grid, Grid) and grid.cyclic:
        remedy = "A cumulative distribution needs a first cell; energy_score with basis=None works on a circle."
        raise ValueError(message("crps", "grid", "have no cyclic axis", grid, remedy))
    if basis is None:
        weights = probabilities("crps", flat)
        return mean_distance(weights, grid, target, "l1") - 0.5 * mean_axis_gaps(weights, grid).sum(dim=-1)
    density = Density._on_behalf_of("crps", logits, grid, basis=basis, truncate=truncate)
    return density.expected_distance(target, "l1") - 0.5 * density.expected_gap().sum(dim=-1)


@full_precision
def energy_score(
    logits: Tensor,
    grid: Support,
    target: Tensor,
    *,
    basis: BasisLike | None = None,
    num_samples: int | None = None,
    temperature: float = 0.5,
    formula: Literal["paper", "released"] = "paper",
    generator: torch.Generator | None = None,
    noise: Noise | None = None,
    sign_gradient: bool = False,
    memory: Literal["normal", "low"] = "normal",
) -> Tensor:
    """The energy score E|Y − y| − ½ E|Y − Y'| with Euclidean distances, Y and Y' independent draws. Strictly proper.

    In neither paper: it is Sampling-Argmax's objective (Section 3) with half the map's own spread taken off, which is what
    keeps the optimum from being a spike. In 1D it is the `crps`.

    Without num_samples it is exact, for the map as point masses on the cells (basis None, by one Fourier transform on a
    Grid) in any dimension, and for any basis in 1D. With num_samples it is the mean over relaxed samples Ŷ_k and, without
    bias for their own law, over their S(S − 1) ordered pairs. Relaxed samples at a temperature above 0 are NOT draws
    from the mixture (formula "paper" pulls them towards the average of all cells, "released" flattens the map or sharpens it,
    see docs/sampling.md), so what is scored is the relaxed law; it becomes the mixture only as the temperature of formula
    "paper" goes to 0. Hence the default of 0.5, below `sampling_argmax`'s 1.

    Cost: on a Grid O(n log n) in the number of cells; on Points the exact score is O(N²) in time and memory per map.

    Args:
        logits: (*batch, *grid.shape).
        grid: Grid or Points.
        target: (*batch, D), in the grid's coordinates.
        basis: Sub-distribution of a cell, or None for point masses at the centres.
        num_samples: Number of relaxed samples, at least 2, or None for the exact score (with `noise`: as many as it holds).
        temperature: Of the relaxation; used with num_samples only, as are the following.
        formula: "paper" or "released".
        generator: Source of the noise.
        noise: Recorded draws to replay.
        sign_gradient: The published code's gradient; needs num_samples.
        memory: As in `heatpoint.sampling_argmax`.

    Returns:
        (*batch), in units of the coordinates. Gradients flow to logits and target.

    Raises:
        ValueError: If the shapes disagree, there are fewer than 2 samples, or an exact score is asked with sign_gradient, or
            under a basis in more than 1D.

    >>> energy_score(torch.zeros(1, 2), Grid((2,), offset=0), torch.tensor([[0.5]]))
    tensor([0.2500])
    """
    flat, target = flat_and_target("energy_score", logits, grid, target)
    if num_samples is None and noise is None:
        if sign_gradient:
            remedy = "The exact score has a gradient of its own; give num_samples to sample."
            raise ValueError(message("energy_score", "sign_gradient", "be False without num_samples", True, remedy))
        if basis is not None and grid.ndim == 1:
            density = Density._on_behalf_of("energy_score", logits, grid, basis=basis)
            return density.expected_distance(target, "l1") - 0.5 * density.expected_gap().sum(dim=-1)
        if basis is not None:
            remedy = "Give num_samples, or basis=None for point masses on the cells."
            raise ValueError(message("energy_score", "basis", "be None without num_samples beyond 1D", basis, remedy))
        weights = probabilities("energy_score", flat)
        return mean_distance(weights, grid, target, "l2") - 0.5 * mean_gap(weights, grid)
    given: object = noise
    if isinstance(given, str):
        remedy = "Its pairs of samples must be independent: leave it out, or record a Noise."
        raise TypeError(message("energy_score", "noise", "be recorded draws or None", repr(given), remedy))
    samples = samples_of(
        "energy_score",
        logits,
        grid,
        basis=None if basis is None else make_basis(basis, function="energy_score"),
        num_samples=num_samples,
        temperature=temperature,
        formula=formula,
        generator=generator,
        noise=noise,
        sign_gradient=sign_gradient,
        memory=memory,
    )
    count = len(samples)
    if count < 2:
        raise ValueError(message("energy_score", "num_samples", "be at least 2", count, "A spread needs pairs."))
    pairs = norm(difference(samples[:, None], samples[None], grid), "l2").sum(dim=(0, 1))
    return norm(difference(samples, target, grid), "l2").mean(dim=0) - pairs / (2 * count * (count - 1))
