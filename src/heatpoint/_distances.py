"""Distances between points and a target on a support, and the mean distance between two draws from a map.

Shared by the scores: what wraps on a cyclic axis, what is summed over axes and where a root is differentiated at zero is
decided here once.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from heatpoint.support import Grid, Support

Distance = Literal["l1", "l2", "smooth_l1", "squared"]
DISTANCES: tuple[Distance, ...] = ("l1", "l2", "smooth_l1", "squared")


def difference(points: Tensor, target: Tensor, support: Support) -> Tensor:
    """points − target, (…, D); on a cyclic axis the representative within half a period of 0."""
    delta = points - target
    if not isinstance(support, Grid) or not support.cyclic:
        return delta
    return torch.stack([_wrap(delta[..., axis], axis, support) for axis in range(support.ndim)], dim=-1)


def norm(delta: Tensor, distance: Distance) -> Tensor:
    """The length of displacements (…, D), as (…): l1, smooth_l1 and squared sum over coordinates, l2 is Euclidean.

    The derivative of l2 at a displacement of exactly 0 is 0.
    """
    return _root((delta**2).sum(dim=-1)) if distance == "l2" else _per_axis(delta, distance).sum(dim=-1)


def mean_distance(weights: Tensor, support: Support, target: Tensor, distance: Distance) -> Tensor:
    """Σ_i w_i d(y_i, target) over the cells, (*batch), for weights (*batch, cells) and a target (*batch, D)."""
    if not isinstance(support, Grid):
        delta = support.cell_centers(dtype=weights.dtype, device=weights.device) - target[..., None, :]
        return (weights * norm(delta, distance)).sum(dim=-1)
    maps = support.unflatten(weights)
    deltas = [
        _wrap(_centers(support, axis, weights) - target[..., axis, None], axis, support) for axis in range(support.ndim)
    ]
    if distance != "l2":
        marginals = support.marginals(maps)
        return sum_axes([(m * _per_axis(d, distance)).sum(dim=-1) for m, d in zip(marginals, deltas, strict=True)])
    squares = [_spread(delta**2, axis, support) for axis, delta in enumerate(deltas)]
    return (maps * _root(sum_axes(squares))).flatten(maps.ndim - support.ndim).sum(dim=-1)


def mean_gap(weights: Tensor, support: Support) -> Tensor:
    """Σ_ij w_i w_j |y_i − y_j|, the mean Euclidean distance between two independent draws of cells, (*batch).

    On a Grid the distance depends on the lag alone, so the double sum is a circular correlation of the zero-padded map, and
    by Parseval's identity the mean over frequencies of |ŵ|² times the (real) spectrum of the distances: O(n log n) instead
    of O(n²). Cyclic axes need no padding. On Points it is the double sum.
    """
    if not isinstance(support, Grid):
        centers = support.cell_centers(dtype=weights.dtype, device=weights.device)
        gaps = torch.cdist(centers, centers, compute_mode="donot_use_mm_for_euclid_dist")
        return (torch.einsum("...i,...ij->...j", weights, gaps) * weights).sum(dim=-1)
    dims = tuple(range(-support.ndim, 0))
    lengths = tuple(n if axis in support.cyclic else 2 * n for axis, n in enumerate(support.lengths))
    squares = []
    for axis, length in enumerate(lengths):
        index = torch.arange(length, dtype=torch.float64, device=weights.device)
        lag = torch.minimum(index, length - index) * support.strides[axis]
        squares.append(_spread(lag**2, axis, support))
    spectrum = torch.fft.fftn(sum_axes(squares).sqrt(), dim=dims).real.to(weights.dtype)
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


def sum_axes(terms: list[Tensor]) -> Tensor:
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


def _root(squares: Tensor) -> Tensor:
    positive = squares > 0
    return torch.where(positive, torch.where(positive, squares, 1.0).sqrt(), 0.0)


def _wrap(delta: Tensor, axis: int, support: Grid) -> Tensor:
    if axis not in support.cyclic:
        return delta
    period = support.size[axis]
    return delta - period * torch.round(delta / period)


def _centers(support: Grid, axis: int, like: Tensor) -> Tensor:
    return support.axis_centers(axis, dtype=like.dtype, device=like.device)


def _spread(values: Tensor, axis: int, support: Grid) -> Tensor:
    """Per-axis values (*batch, length) laid along their own dimension of a map, size 1 along the others."""
    shape = [1] * support.ndim
    shape[support.map_dim(axis)] = values.shape[-1]
    return values.reshape(*values.shape[:-1], *shape)
