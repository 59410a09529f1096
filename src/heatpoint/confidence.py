"""How sure a map is of its point: one number per map, larger is surer.

None of them is calibrated by itself: `mass_within` is the map's own probability that the error is at most a radius, which
is the truth only as far as the map is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from heatpoint._checks import check_whole, message
from heatpoint._distances import deviations
from heatpoint._numerics import full_precision, log_probabilities, probabilities
from heatpoint.basis import Basis, make_basis
from heatpoint.density import Density
from heatpoint.density._mixture import cell_covariance, entropy_of
from heatpoint.expectation import expected_position
from heatpoint.scores._inputs import flat_and_target
from heatpoint.support import Grid, Support, check_support


@full_precision
def peak(logits: Tensor, grid: Support) -> Tensor:
    """The largest probability of a cell, max_i π_i: the confidence whose correlation with correctness Sampling-Argmax reports.

    It depends on the stride and on where the target lies between cells: a target midway between two cells halves it.

    Args:
        logits: (*batch, *grid.shape).
        grid: Grid or Points.

    Returns:
        (*batch), in [1 / cells, 1].

    Raises:
        ValueError: If the shapes disagree.

    >>> peak(torch.tensor([[0.0, 0.0, -torch.inf]]), Grid((3,)))
    tensor([0.5000])
    """
    check_support("peak", grid)
    return log_probabilities("peak", grid.flatten("peak", logits)).amax(dim=-1).exp()


@full_precision
def mass_within(
    logits: Tensor,
    grid: Support,
    point: Tensor,
    *,
    radius: float | Tensor,
    basis: str | Basis | Mapping[str, Any] = "triangular",
) -> Tensor:
    """P(|Y − point| ≤ radius) under the mixture density: the map's own probability that an error is at most `radius`.

    Args:
        logits: (*batch, *grid.shape).
        grid: Grid or Points.
        point: (*batch, D), in the grid's coordinates: usually the located point.
        radius: Greater than 0, in the grid's coordinates; one number or (*batch).
        basis: Sub-distribution of a cell; on Points a Gaussian with its sigma.

    Returns:
        (*batch), in [0, 1]; see `Density.mass_within` for its accuracy.

    Raises:
        ValueError: If the shapes disagree or radius is not greater than 0.

    >>> mass_within(torch.zeros(1, 4), Grid((4,), offset=0), torch.tensor([[1.5]]), radius=1.0, basis="uniform")
    tensor([0.5000])
    """
    _, point = flat_and_target("mass_within", logits, grid, point, "point")
    if not isinstance(radius, Tensor) and not radius > 0:
        raise ValueError(message("mass_within", "radius", "be greater than 0", radius))
    return Density._on_behalf_of("mass_within", logits, grid, basis=basis).mass_within(point, radius)


@full_precision
def negative_entropy(logits: Tensor, grid: Support) -> Tensor:
    """Σ_i π_i log π_i over the cells, in nats.

    Args:
        logits: (*batch, *grid.shape).
        grid: Grid or Points.

    Returns:
        (*batch), from −log(cells) for a uniform map to 0 for a single cell.

    Raises:
        ValueError: If the shapes disagree.

    >>> negative_entropy(torch.tensor([[0.0, 0.0, -torch.inf]]), Grid((3,)))
    tensor([-0.6931])
    """
    check_support("negative_entropy", grid)
    return -entropy_of(log_probabilities("negative_entropy", grid.flatten("negative_entropy", logits)))


@full_precision
def covariance(logits: Tensor, grid: Support, *, basis: str | Basis | Mapping[str, Any] | None = None) -> Tensor:
    """The covariance of the map about its mean: Σ_i π_i (y_i − E y)(y_i − E y)ᵀ, plus the variance of the basis.

    On a cyclic axis the mean is the circular one and deviations are taken the short way around, so that an ellipse can be
    drawn there too (`Density.covariance`, a moment of a law on the line, raises).

    Args:
        logits: (*batch, *grid.shape).
        grid: Grid or Points.
        basis: Sub-distribution of a cell, or None for point masses at the centres.

    Returns:
        (*batch, D, D), in units of the coordinates squared.

    Raises:
        ValueError: If the shapes disagree.

    >>> covariance(torch.zeros(1, 2), Grid((2,), stride=2))
    tensor([[[1.]]])
    """
    check_support("covariance", grid)
    weights = probabilities("covariance", grid.flatten("covariance", logits))
    spread = cell_covariance(weights, grid, deviations(expected_position(weights, grid), grid))
    if basis is None:
        return spread
    scales = grid.strides if isinstance(grid, Grid) else (1.0,) * grid.ndim
    variance = make_basis(basis, function="covariance").variance
    within = torch.tensor([variance * scale**2 for scale in scales], dtype=weights.dtype, device=weights.device)
    return spread + torch.diag(within)


@full_precision
def ranked_share(logits: Tensor, grid: Support, *, rank: int = 1, k: int = 4) -> Tensor:
    """Share of the cell of a rank in the probability of the k largest: the activations of Randomized Rounding, Table 2.

    A map that was trained with random rounding spreads its peak over the 2^D cells around the point (Eq. 18), as the bilinear
    weights of a point that lies anywhere between them: in the mean 0.44, 0.26, 0.17, 0.13 as the paper measures.

    Args:
        logits: (*batch, *grid.shape).
        grid: Grid or Points.
        rank: From 1, the largest, to k.
        k: How many cells are compared, at most as many as there are.

    Returns:
        (*batch), in [0, 1].

    Raises:
        ValueError: If the shapes disagree, or rank or k does not fit.

    >>> ranked_share(torch.log(torch.tensor([[0.5, 0.1, 0.3, 0.1]])), Grid((4,)), rank=2, k=2)
    tensor([0.3750])
    """
    check_support("ranked_share", grid)
    log_p = log_probabilities("ranked_share", grid.flatten("ranked_share", logits))
    check_whole("ranked_share", "k", k, f"be from 1 to {grid.num_cells}", least=1, most=grid.num_cells)
    check_whole("ranked_share", "rank", rank, f"be from 1 to k, which is {k}", least=1, most=k)
    return torch.softmax(log_p.topk(k, dim=-1).values, dim=-1)[..., rank - 1]


CONFIDENCES: dict[str, Callable[..., Tensor]] = {
    "peak": peak,
    "mass_within": mass_within,
    "negative_entropy": negative_entropy,
    "ranked_share": ranked_share,
}
