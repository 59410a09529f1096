"""Scores of a map by the distance from its mean, or from its draws, to the target."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from heatpoint._checks import message, one_of
from heatpoint._distances import DISTANCES, Distance, difference, mean_distance, norm
from heatpoint._numerics import full_precision, probabilities
from heatpoint._sampling_plan import plan_of
from heatpoint._soft_position import soft_position
from heatpoint.density import Density
from heatpoint.kernels import fused
from heatpoint.kernels._shared_draws import Sharing
from heatpoint.kernels.shared import product_error
from heatpoint.sampling import Noise, planned_samples
from heatpoint.scores._inputs import BasisLike, fit_axis_weight, flat_and_target
from heatpoint.support import Support


@full_precision
def error_of_expectation(
    logits: Tensor,
    grid: Support,
    target: Tensor,
    *,
    distance: Distance = "l1",
    sign_gradient: bool = False,
    axis_weight: Tensor | None = None,
) -> Tensor:
    """The distance from the soft-argmax to the target: d(Σ_i π_i y_i, y_t) (Sampling-Argmax, Eq. 1 and 2).

    Not proper: it sees the map's mean alone, so a map of any shape with the right mean is optimal.

    Args:
        logits: (*batch, *grid.shape).
        grid: Grid or Points.
        target: (*batch, D), in the grid's coordinates.
        distance: "l1", "smooth_l1" (quadratic within 1 unit) and "squared" sum over coordinates, "l2" is Euclidean.
        sign_gradient: The published code's gradient of the expectation, see `heatpoint.soft_argmax`.
        axis_weight: Weights of the coordinates, broadcasting to (*batch, D), for the distances that are sums over them; 0 leaves
            a coordinate out of the score and of the gradient. None means 1.

    Returns:
        (*batch). Gradients flow to logits and target.

    Raises:
        ValueError: If the shapes disagree, distance is unknown, or "l2" is given weights of coordinates.

    >>> from heatpoint.support import Grid
    >>> error_of_expectation(torch.zeros(1, 4), Grid((4,), stride=2, offset=0), torch.tensor([[2.5]]))
    tensor([0.5000])
    """
    flat, target = flat_and_target("error_of_expectation", logits, grid, target)
    one_of("error_of_expectation", "distance", distance, DISTANCES)
    axis_weight = fit_axis_weight("error_of_expectation", axis_weight, tuple(flat.shape[:-1]), grid, distance)
    points = soft_position("error_of_expectation", flat, grid, sign_gradient=sign_gradient)
    return norm(difference(points, target, grid), distance, axis_weight)


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
    noise: Noise | Sharing | None = None,
    sign_gradient: bool = False,
    memory: Literal["normal", "low"] = "normal",
    axis_weight: Tensor | None = None,
) -> Tensor:
    """The expected distance from the map's point to the target: E d(Y, y_t).

    ============  ===========  ====================================================================================
    num_samples   basis        computes
    ============  ===========  ====================================================================================
    None          None         Σ_i π_i d(y_i, y_t) over the cells (Sampling-Argmax, Eq. 4)
    None          a basis      the same for the mixture density of Eq. 6 (`Density.expected_distance`, exact or so said)
    S             any          (1/S) Σ_k d(Ŷ_k, y_t) over S relaxed samples (Eq. 14), see `heatpoint.sampling_argmax`
    ============  ===========  ====================================================================================

    The last is not an estimate of the second at a temperature above 0. As it grows, relaxed samples (formula "paper") shrink
    towards the plain average of ALL cells, which is not the map's mean: on a map with its peak in a corner they lie off the
    peak, and the sampled error exceeds the exact one many times over. docs/sampling.md measures it.

    Cost: one pass over the map, but "l2" under a basis beyond 1D makes one per quadrature node (9 in 2D, 27 in 3D; a Gaussian
    that is truncated or wider on one axis 81 and 216), and twice that for the gradient, with nothing kept for it.

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
        noise: Recorded draws to replay, or how fresh ones hang together, see `heatpoint.sampling_argmax`.
        sign_gradient: The published code's gradient; needs num_samples.
        memory: "low" keeps nothing of size num_samples × cells for the backward pass.
        axis_weight: Weights of the coordinates, broadcasting to (*batch, D), for the distances that are sums over them; 0 leaves
            a coordinate out of the score and of the gradient. None means 1. Not
            with a basis without num_samples.

    Returns:
        (*batch). Gradients flow to logits and target.

    Raises:
        ValueError: If the shapes disagree, a name is unknown, sign_gradient is asked of an exact expectation, or weights of
            coordinates of what is no sum over them.

    >>> from heatpoint.support import Grid
    >>> logits, grid = torch.tensor([[0.0, 0.0]]), Grid((2,), offset=0)
    >>> expected_error(logits, grid, torch.tensor([[0.5]]), basis=None)
    tensor([0.5000])
    >>> expected_error(logits, grid, torch.tensor([[0.5]]), basis="uniform")
    tensor([0.5000])
    """
    flat, target = flat_and_target("expected_error", logits, grid, target)
    one_of("expected_error", "distance", distance, DISTANCES)
    axis_weight = fit_axis_weight("expected_error", axis_weight, tuple(flat.shape[:-1]), grid, distance)
    if num_samples is not None or isinstance(noise, Noise):
        drawn: dict[str, Any] = {
            "basis": basis,
            "num_samples": num_samples,
            "temperature": temperature,
            "formula": formula,
            "generator": generator,
            "noise": noise,
            "sign_gradient": sign_gradient,
            "memory": memory,
        }
        plan = plan_of("expected_error", logits, grid, weight=axis_weight, **drawn)
        if plan.shared is not None and plan.form == "gemm":
            return product_error(plan.shared, flat, target, distance=distance, axis_weight=axis_weight)
        if plan.form in fused.FORMS:
            return fused.FORMS[plan.form].expected_error(
                flat, grid, target, axis_weight=axis_weight, distance=distance, **plan.fused_options()
            )
        samples = planned_samples(plan)
        return norm(difference(samples, target, grid), distance, axis_weight).mean(dim=0)
    if sign_gradient:
        remedy = "The exact expectation has a gradient of its own; give num_samples to sample."
        raise ValueError(message("expected_error", "sign_gradient", "be False without num_samples", True, remedy))
    if basis is None:
        return mean_distance(probabilities("expected_error", flat), grid, target, distance, axis_weight)
    if axis_weight is not None:
        remedy = "Give num_samples, or basis=None for the cells alone."
        raise ValueError(message("expected_error", "axis_weight", "be None for an exact mixture", "weights", remedy))
    return Density._on_behalf_of("expected_error", logits, grid, basis=basis).expected_distance(target, distance)
