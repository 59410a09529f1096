"""Distances between points and a target on a support, and the mean distance between two draws from a map.

Shared by the scores: what wraps on a cyclic axis, what is summed over axes and where a root is differentiated at zero is
decided here once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from heatpoint._lattice import along
from heatpoint.support import Grid, Support

Distance = Literal["l1", "l2", "smooth_l1", "squared"]
DISTANCES: tuple[Distance, ...] = ("l1", "l2", "smooth_l1", "squared")


def difference(points: Tensor, target: Tensor, support: Support) -> Tensor:
    """points − target, (…, D); on a cyclic axis the representative within half a period of 0."""
    delta = points - target
    if not isinstance(support, Grid) or not support.cyclic:
        return delta
    return torch.stack([_wrap(delta[..., axis], axis, support) for axis in range(support.ndim)], dim=-1)


def norm(delta: Tensor, distance: Distance, axis_weight: Tensor | None = None) -> Tensor:
    """The length of displacements (…, D), as (…): l1, smooth_l1 and squared sum over coordinates, l2 is Euclidean.

    The derivative of l2 at a displacement of exactly 0 is 0. Weights of the coordinates, (…, D), have a meaning in sums only.
    """
    if axis_weight is not None:
        return (_per_axis(delta, distance) * axis_weight).sum(dim=-1)
    return root((delta**2).sum(dim=-1)) if distance == "l2" else _per_axis(delta, distance).sum(dim=-1)


def slope(delta: Tensor, distance: Distance, axis_weight: Tensor | None = None) -> Tensor:
    """The derivative of `norm` by the displacements, (…, D)."""
    if distance == "l2":
        size = norm(delta, "l2")[..., None]
        return delta / torch.where(size == 0, 1.0, size)
    found = 2 * delta if distance == "squared" else delta.sgn() if distance == "l1" else delta.clamp(-1, 1)
    return found if axis_weight is None else found * axis_weight


def mean_distance(
    weights: Tensor, support: Support, target: Tensor, distance: Distance, axis_weight: Tensor | None = None
) -> Tensor:
    """Σ_i w_i d(y_i, target) over the cells, (*batch), for weights (*batch, cells) and a target (*batch, D).

    Weights of the coordinates, (*batch, D), have a meaning for the distances that are sums over them.
    """
    deltas = deviations(target, support)
    if distance != "l2":
        rows = marginals(weights, support)
        terms = [(m * _per_axis(d, distance)).sum(dim=-1) for m, d in zip(rows, deltas, strict=True)]
        if axis_weight is not None:
            terms = [term * axis_weight[..., axis] for axis, term in enumerate(terms)]
        return sum_axes(terms)
    return (weights * root(sum_squares(deltas, support))).sum(dim=-1)


def marginals(weights: Tensor, support: Support) -> tuple[Tensor, ...]:
    """Weights (*batch, n) of the positions along each axis; on Points all N of them along every axis."""
    if isinstance(support, Grid):
        return support.marginals(support.unflatten(weights))
    return (weights,) * support.ndim


def deviations(points: Tensor, support: Support) -> list[Tensor]:
    """From points (*batch, D) to all cells: one row (*batch, n) per axis, the short way round on a cyclic one."""
    if not isinstance(support, Grid):
        centers = support.cell_centers(dtype=points.dtype, device=points.device)
        return list((centers - points[..., None, :]).unbind(dim=-1))
    return [
        _wrap(_centers(support, axis, points) - points[..., axis, None], axis, support) for axis in range(support.ndim)
    ]


def mean_gap(weights: Tensor, support: Support) -> Tensor:
    """Σ_ij w_i w_j |y_i − y_j|, the mean Euclidean distance between two independent draws of cells, (*batch).

    On a Grid the distance depends on the lag alone, so the double sum is a circular correlation of the zero-padded map, and
    by Parseval's identity the mean over frequencies of |ŵ|² times the (real) spectrum of the distances: O(n log n) instead
    of O(n²). Cyclic axes need no padding. On Points it is the double sum: O(N²) time and memory per map.
    """
    if not isinstance(support, Grid):
        centers = support.cell_centers(dtype=weights.dtype, device=weights.device)
        gaps = torch.cdist(centers, centers, compute_mode="donot_use_mm_for_euclid_dist")
        return (torch.einsum("...i,...ij->...j", weights, gaps) * weights).sum(dim=-1)
    dims = tuple(range(-support.ndim, 0))
    lengths = tuple(n if axis in support.cyclic else 2 * n for axis, n in enumerate(support.lengths))
    padded, lags = Grid(lengths[::-1]), []
    for axis, length in enumerate(lengths):
        index = torch.arange(length, dtype=torch.float64, device=weights.device)
        lags.append(torch.minimum(index, length - index) * support.strides[axis])
    distances = padded.unflatten(sum_squares(lags, padded).sqrt())
    spectrum = torch.fft.fftn(distances, dim=dims).real.to(weights.dtype)
    power = torch.view_as_real(torch.fft.fftn(support.unflatten(weights), s=lengths[::-1], dim=dims)).square().sum(-1)
    return (power * spectrum).mean(dim=dims)


def mean_axis_gaps(weights: Tensor, support: Support) -> Tensor:
    """Σ_ij w_i w_j |y_i − y_j| per axis, (*batch, D): 2 Σ F(1 − F) Δ over the gaps Δ between neighbouring positions."""
    if isinstance(support, Grid):
        gaps = [
            2 * support.strides[axis] * (below * (1 - below)).sum(dim=-1)
            for axis, below in enumerate(
                m.cumsum(dim=-1)[..., :-1] for m in support.marginals(support.unflatten(weights))
            )
        ]
        return torch.stack(gaps, dim=-1)
    centers = support.cell_centers(dtype=weights.dtype, device=weights.device)
    centers = centers.expand(*weights.shape, support.ndim)
    positions, order = centers.sort(dim=-2)
    below = weights[..., None].expand_as(centers).gather(-2, order).cumsum(dim=-2)[..., :-1, :]
    return 2 * (below * (1 - below) * positions.diff(dim=-2)).sum(dim=-2)


def sum_squares(rows: Sequence[Tensor], support: Support) -> Tensor:
    """Σ_a δ_a² of all cells, (*batch, cells), from one row of deviations (*batch, n) per axis."""
    if not isinstance(support, Grid):
        return sum_axes([row**2 for row in rows])
    return sum_axes([along(row**2, support, axis) for axis, row in enumerate(rows)]).flatten(-support.ndim)


def root(squares: Tensor) -> Tensor:
    """√x with derivative 0 at 0; NaN stays NaN."""
    is_zero = squares == 0
    return torch.where(is_zero, 0.0, torch.where(is_zero, 1.0, squares).sqrt())


def sum_axes(terms: Sequence[Tensor]) -> Tensor:
    """The sum of one broadcastable tensor per axis."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _per_axis(delta: Tensor, distance: Distance) -> Tensor:
    if distance == "squared":
        return delta**2
    size = delta.abs()
    return torch.where(size < 1, 0.5 * delta**2, size - 0.5) if distance == "smooth_l1" else size


def _wrap(delta: Tensor, axis: int, support: Grid) -> Tensor:
    if axis not in support.cyclic:
        return delta
    period = support.size[axis]
    return delta - period * torch.round(delta / period)


def _centers(support: Grid, axis: int, like: Tensor) -> Tensor:
    return support.axis_centers(axis, dtype=like.dtype, device=like.device)
