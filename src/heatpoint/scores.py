"""Map × target -> one loss per point, unreduced: how well a map says where the target is.

Every score takes (logits, grid, target) and returns (*batch), lower is better, in the grid's coordinates (input pixels)
where it is a distance. A score is *proper* if no map expects a better score than the law from which the targets are drawn.
`log_score`, `crps`, `energy_score` and, for the law of the rounded targets, `rounded_cross_entropy` are proper;
`expected_error` and `error_of_expectation` are not.

Targets are finite; a missing point has weight 0 where scores are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from heatpoint._checks import message, one_of
from heatpoint._distances import DISTANCES, Distance, difference, mean_axis_gaps, mean_distance, mean_gap, norm
from heatpoint._label_scores import (
    LABELS,
    MAP_ERRORS,
    Label,
    MapError,
    map_error,
    rounded_cross_entropy,
    two_channel_cross_entropy,
)
from heatpoint._numerics import full_precision, probabilities
from heatpoint._score_inputs import flat_and_target
from heatpoint.basis import Basis
from heatpoint.density import Density
from heatpoint.expectation import expected_position
from heatpoint.sampling import Noise, sampling_argmax
from heatpoint.support import Grid, Support

__all__ = [
    "DISTANCES",
    "LABELS",
    "MAP_ERRORS",
    "BasisLike",
    "Distance",
    "Label",
    "MapError",
    "crps",
    "energy_score",
    "error_of_expectation",
    "expected_error",
    "log_score",
    "map_error",
    "rounded_cross_entropy",
    "two_channel_cross_entropy",
]

BasisLike = str | Basis | Mapping[str, Any]


@full_precision
def error_of_expectation(
    logits: Tensor, grid: Support, target: Tensor, *, distance: Distance = "l1", sign_gradient: bool = False
) -> Tensor:
    """The distance from the soft-argmax to the target: d(Σ_i π_i y_i, y_t) (Sampling-Argmax, Eq. 1 and 2).

    Not proper: it sees the map's mean alone, so a map of any shape with the right mean is optimal.

    Args:
        logits: (*batch, *grid.shape).
        grid: Grid or Points.
        target: (*batch, D), in the grid's coordinates.
        distance: "l1", "smooth_l1" (quadratic within 1 unit) and "squared" sum over coordinates, "l2" is Euclidean.
        sign_gradient: The published code's gradient of the expectation, see `heatpoint.soft_argmax`.

    Returns:
        (*batch). Gradients flow to logits and target.

    Raises:
        ValueError: If the shapes disagree or distance is unknown.

    >>> error_of_expectation(torch.zeros(1, 4), Grid((4,), stride=2, offset=0), torch.tensor([[2.5]]))
    tensor([0.5000])
    """
    flat, target = flat_and_target("error_of_expectation", logits, grid, target)
    one_of("error_of_expectation", "distance", distance, DISTANCES)
    points = expected_position(probabilities("error_of_expectation", flat), grid, sign_gradient=sign_gradient)
    return norm(difference(points, target, grid), distance)


@full_precision
def expected_error(
    logits: Tensor,
    grid: Support,
    target: Tensor,
    *,
    basis: BasisLike | None = "triangular",
    num_samples: int | None = None,
    temperature: float = 1.0,
    formula: Literal["paper", "released"] = "paper",
    distance: Distance = "l1",
    generator: torch.Generator | None = None,
    noise: Noise | None = None,
    sign_gradient: bool = False,
    memory: Literal["normal", "low"] = "normal",
) -> Tensor:
    """The expected distance from the map's point to the target: E d(Y, y_t).

    ============  ===========  ====================================================================================
    num_samples   basis        computes
    ============  ===========  ====================================================================================
    None          None         Σ_i π_i d(y_i, y_t) over the cells (Sampling-Argmax, Eq. 4)
    None          a basis      the same for the mixture density of Eq. 6 (`Density.expected_distance`, exact or so said)
    S             any          (1/S) Σ_k d(Ŷ_k, y_t) over S relaxed samples (Eq. 14), see `heatpoint.sampling_argmax`
    ============  ===========  ====================================================================================

    The last is not an estimate of the second: relaxed samples shrink towards the mean as the temperature grows, so it
    lies between the expected error and the error of the expectation.

    Not proper: for targets drawn from a law q, the optimum is a spike on the median of q (l1, l2) or its mean
    (squared), not q itself. What spread trained maps have comes from the limits of the network, or from the relaxation.
    `crps` and `energy_score` subtract half the map's own spread, which makes them proper.

    Args:
        logits: (*batch, *grid.shape).
        grid: Grid or Points.
        target: (*batch, D), in the grid's coordinates.
        basis: Sub-distribution of a cell, or None for a point mass at its centre.
        num_samples: Number of relaxed samples, or None for the exact expectation (with `noise`: as many as it holds).
        temperature: Of the relaxation; used with num_samples only, as are the following, except distance.
        formula: "paper" or "released".
        distance: As in `error_of_expectation`.
        generator: Source of the noise.
        noise: Recorded draws to replay.
        sign_gradient: The published code's gradient; needs num_samples.
        memory: "low" keeps nothing of size num_samples × cells for the backward pass.

    Returns:
        (*batch). Gradients flow to logits and target.

    Raises:
        ValueError: If the shapes disagree, a name is unknown, or sign_gradient is asked of an exact expectation.

    >>> logits, grid = torch.tensor([[0.0, 0.0]]), Grid((2,), offset=0)
    >>> expected_error(logits, grid, torch.tensor([[0.5]]), basis=None)
    tensor([0.5000])
    >>> expected_error(logits, grid, torch.tensor([[0.5]]), basis="uniform")
    tensor([0.5000])
    """
    flat, target = flat_and_target("expected_error", logits, grid, target)
    one_of("expected_error", "distance", distance, DISTANCES)
    if num_samples is not None or noise is not None:
        samples = sampling_argmax(
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
        return norm(difference(samples, target, grid), distance).mean(dim=0)
    if sign_gradient:
        remedy = "The exact expectation has a gradient of its own; give num_samples to sample."
        raise ValueError(message("expected_error", "sign_gradient", "be False without num_samples", True, remedy))
    if basis is None:
        return mean_distance(probabilities("expected_error", flat), grid, target, distance)
    return Density(logits, grid, basis=basis).expected_distance(target, distance)


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
        (*batch), in nats, of a density per unit^D: it can be negative. +inf, with gradient 0, where p is 0: outside the
        reach of the bases, or among forbidden cells. A Gaussian basis reaches everywhere.

    Raises:
        ValueError: If the shapes disagree.

    >>> log_score(torch.zeros(1, 4), Grid((4,), stride=2, offset=0), torch.tensor([[3.0]]))
    tensor([2.0794])
    """
    _, target = flat_and_target("log_score", logits, grid, target)
    return -Density(logits, grid, basis=basis, truncate=truncate).log_prob(target)


@full_precision
def crps(
    logits: Tensor, grid: Support, target: Tensor, *, basis: BasisLike | None = "triangular", truncate: bool = False
) -> Tensor:
    """The continuous ranked probability score of each marginal, summed over axes: Σ_d E|Y_d − y_d| − ½ E|Y_d − Y'_d|.

    In neither paper. Y and Y' are independent draws; per axis it equals ∫ (F(x) − [x ≥ y_d])² dx. Exact, in units of the
    coordinates. Proper; strictly in 1D, while in nD it sees the marginals alone (`energy_score` sees the whole map).

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
    density = Density(logits, grid, basis=basis, truncate=truncate)
    return density.expected_distance(target, "l1") - 0.5 * density.expected_gap().sum(dim=-1)


@full_precision
def energy_score(
    logits: Tensor,
    grid: Support,
    target: Tensor,
    *,
    basis: BasisLike | None = None,
    num_samples: int | None = None,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    memory: Literal["normal", "low"] = "normal",
) -> Tensor:
    """The energy score E|Y − y| − ½ E|Y − Y'| with Euclidean distances, Y and Y' independent draws. Strictly proper.

    In neither paper: it is Sampling-Argmax's objective (Section 3) with half the map's own spread taken off, which is what
    keeps the optimum from being a spike. In 1D it is the `crps`.

    Without num_samples it is exact, for the map as point masses on the cells (basis None, by one Fourier transform on a
    Grid) in any dimension, and for any basis in 1D. With num_samples it is the mean over relaxed samples Ŷ_k and, without
    bias for their own law, over their S(S − 1) ordered pairs. Relaxed samples at a temperature above 0 are NOT draws
    from the mixture: they are less spread, so the sampled score is proper for the relaxed law and only approaches the
    mixture's as the temperature goes to 0.

    Args:
        logits: (*batch, *grid.shape).
        grid: Grid or Points.
        target: (*batch, D), in the grid's coordinates.
        basis: Sub-distribution of a cell, or None for point masses at the centres.
        num_samples: Number of relaxed samples, at least 2, or None for the exact score.
        temperature: Of the relaxation; used with num_samples only, as are the following.
        generator: Source of the noise.
        memory: As in `heatpoint.sampling_argmax`.

    Returns:
        (*batch), in units of the coordinates. Gradients flow to logits and target.

    Raises:
        ValueError: If the shapes disagree, num_samples is below 2, or an exact score is asked under a basis in more than 1D.

    >>> energy_score(torch.zeros(1, 2), Grid((2,), offset=0), torch.tensor([[0.5]]))
    tensor([0.2500])
    """
    flat, target = flat_and_target("energy_score", logits, grid, target)
    if num_samples is None:
        if basis is not None and grid.ndim == 1:
            return crps(logits, grid, target, basis=basis)
        if basis is not None:
            remedy = "Give num_samples, or basis=None for point masses on the cells."
            raise ValueError(message("energy_score", "basis", "be None without num_samples beyond 1D", basis, remedy))
        weights = probabilities("energy_score", flat)
        return mean_distance(weights, grid, target, "l2") - 0.5 * mean_gap(weights, grid)
    if num_samples < 2:
        raise ValueError(message("energy_score", "num_samples", "be at least 2", num_samples, "A spread needs pairs."))
    samples = sampling_argmax(
        logits,
        grid,
        basis=basis,
        num_samples=num_samples,
        temperature=temperature,
        generator=generator,
        memory=memory,
    )
    pairs = norm(difference(samples[:, None], samples[None], grid), "l2").sum(dim=(0, 1))
    return norm(difference(samples, target, grid), "l2").mean(dim=0) - pairs / (2 * num_samples * (num_samples - 1))
