"""Integrals of a mixture that have no closed form: mean Euclidean distance, mass of a ball, differential entropy.

All are deterministic and differentiable. Their accuracy is stated where they are used and measured in tests/test_density.py.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from heatpoint._distances import root, sum_axes, sum_squares
from heatpoint._lattice import along, outer
from heatpoint.basis import Basis, Gaussian
from heatpoint.density._axis import Array, Axis, cut_basis, finite_reach, knots
from heatpoint.density._mixture import Query, apply_per_axis, log_density
from heatpoint.support import Grid, Points, Support

# Cells to either side of the target whose distance, with its cone at 0, is integrated with more nodes.
NEAR_CELLS = 2
FAR_NODES = {2: 3, 3: 3}
FAR_NODES_GAUSSIAN = {2: 9, 3: 6}
NEAR_NODES = {2: 18, 3: 8}
SLICES = {2: 64, 3: 32}
ENTROPY_NODES = {1: 16, 2: 6, 3: 3}
HERMITE_NODES = {1: 16, 2: 5, 3: 3}


def gaussian_distance(squared: Tensor, sigma: float, ndim: int) -> Tensor:
    """E‖d + σZ‖ for Z standard normal in `ndim` dimensions and squares ‖d‖², exactly.

    2D: σ √(π/2) e^{−x} [(1 + 2x) I₀(x) + 2x I₁(x)] with x = ‖d‖²/4σ². 3D: σ [(z + 1/z) erf(z/√2) + √(2/π) e^{−z²/2}] with
    z = ‖d‖/σ, by its series near 0. Written in ‖d‖², so that the gradient at d = 0 is 0.
    """
    ratio = squared / sigma**2
    if ndim == 2:
        x = ratio / 4
        bessel = (1 + 2 * x) * torch.special.i0e(x) + 2 * x * torch.special.i1e(x)
        return sigma * math.sqrt(math.pi / 2) * bessel
    is_small = ratio < 0.01
    z = torch.where(is_small, 1.0, ratio).sqrt()
    exact = (z + 1 / z) * torch.erf(z / math.sqrt(2)) + math.sqrt(2 / math.pi) * (-(z**2) / 2).exp()
    near = torch.where(is_small, ratio, 0.0)
    series = 2 * math.sqrt(2 / math.pi) * (1 + near / 6 - near**2 / 120 + near**3 / 1680)
    return sigma * torch.where(is_small, series, exact)


def mean_l2(weights: Tensor, support: Support, axes: Sequence[Axis], points: Tensor) -> Tensor:
    """E‖Y − t‖, (*batch, S), in 2 or 3 dimensions, for π (*batch, cells) and points t (*batch, S, D) in input units.

    Exact where all bases are the same isotropic Gaussian, otherwise by Gauss rules of the bases.
    """
    is_round = isinstance(axes[0].basis, Gaussian) and all(a.cut is None and a.scale == axes[0].scale for a in axes)
    if isinstance(support, Grid) and not is_round:
        return _mean_l2_by_rules(weights, support, axes, points)
    rows = [axis.offsets(axis.to_units(points[..., a])) * axis.scale for a, axis in enumerate(axes)]
    squares = sum_squares(rows, support)
    means = gaussian_distance(squares, axes[0].basis.variance ** 0.5 * axes[0].scale, len(axes))
    return (means * weights.unsqueeze(-2)).sum(dim=-1)


def _mean_l2_by_rules(weights: Tensor, grid: Grid, axes: Sequence[Axis], points: Tensor) -> Tensor:
    """Every cell takes a few nodes per axis; the cells around the target, where the distance has its cone, take more."""
    few = (FAR_NODES_GAUSSIAN if isinstance(axes[0].basis, Gaussian) else FAR_NODES)[grid.ndim]
    units = [axis.to_units(points[..., a]) for a, axis in enumerate(axes)]
    every = [axis.centers.long().expand(*u.shape, -1) for axis, u in zip(axes, units, strict=True)]
    rows = [_node_squares(axis, few, u, cell) for axis, u, cell in zip(axes, units, every, strict=True)]
    total = torch.zeros_like(points[..., 0])
    for choice in itertools.product(range(few), repeat=grid.ndim):
        squares = [row[0][..., node] for row, node in zip(rows, choice, strict=True)]
        shares = [row[1][..., node] for row, node in zip(rows, choice, strict=True)]
        total = total + _recomputed(_node_distance, grid, weights, squares, shares)
    window = [_window(axis, u) for axis, u in zip(axes, units, strict=True)]
    many = _recomputed(_window_distances, grid, axes, units, window, NEAR_NODES[grid.ndim])
    correction = many - _recomputed(_window_distances, grid, axes, units, window, few)
    return total + (_window_weights(weights, grid, window) * correction).sum(dim=-1)


def _recomputed(function: Callable[..., Tensor], *args: Any) -> Tensor:
    """A result whose parts are computed again for backward, so that nodes × cells are never kept.

    torch.func transforms take no such hooks; inside them everything is kept.
    """
    if torch._C._are_functorch_transforms_active():
        return function(*args)
    return checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False)


def _node_distance(grid: Grid, weights: Tensor, squares: Sequence[Tensor], shares: Sequence[Tensor]) -> Tensor:
    """Σ_i π_i w_i ‖node of cell i − t‖, (*batch, S), for one node of every cell, from rows (*batch, S, n) per axis."""
    distances = root(sum_axes([along(row, grid, a) for a, row in enumerate(squares)])) * outer(list(shares), grid)
    return (distances.flatten(-grid.ndim) * weights.unsqueeze(-2)).sum(dim=-1)


def _window(axis: Axis, units: Tensor) -> Tensor:
    """Cell indices (*batch, S, 2 · NEAR_CELLS + 1) around a coordinate; some may lie off the grid."""
    steps = torch.arange(-NEAR_CELLS, NEAR_CELLS + 1, device=units.device)
    middle = units.detach().round().clamp(-NEAR_CELLS - 1, axis.centers.shape[-1] + NEAR_CELLS)
    return middle.long().unsqueeze(-1) + steps


def _node_squares(axis: Axis, count: int, units: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Squared input distances from a coordinate to the nodes of given cells, and the nodes' shares: (*batch, S, c, q) each."""
    nodes, shares = (torch.from_numpy(table).to(units) for table in _gauss_rule(axis.basis, _cut_length(axis), count))
    index = cells.clamp(0, len(nodes) - 1)
    delta = (cells - units.unsqueeze(-1)).unsqueeze(-1) + nodes[index]
    return (delta * axis.scale) ** 2, shares[index]


def _window_distances(
    grid: Grid, axes: Sequence[Axis], units: Sequence[Tensor], window: Sequence[Tensor], count: int
) -> Tensor:
    """E‖Y_i − t‖ for the cells i of a window, (*batch, S, window^D)."""
    squares, shares = torch.zeros(()).to(units[0]), torch.ones(()).to(units[0])
    for a, axis in enumerate(axes):
        square, share = _node_squares(axis, count, units[a], window[a])
        lead, width = square.shape[:-2], square.shape[-2]
        place = [width if b == a else 1 for b in range(grid.ndim)] + [count if b == a else 1 for b in range(grid.ndim)]
        squares = squares + square.reshape(*lead, *place)
        shares = shares * share.reshape(*lead, *place)
    return (root(squares) * shares).flatten(-grid.ndim).sum(dim=-1).flatten(-grid.ndim)


def _window_weights(weights: Tensor, grid: Grid, window: Sequence[Tensor]) -> Tensor:
    """π of the cells of a window, 0 off the grid, in the order of `_window_distances`."""
    picked = torch.cartesian_prod(*[torch.arange(window[0].shape[-1], device=weights.device)] * grid.ndim)
    cells = torch.stack([row[..., picked[:, a]] for a, row in enumerate(window)], dim=-1)
    lengths = torch.tensor(grid.lengths, device=weights.device)
    is_cell = ((cells >= 0) & (cells < lengths)).all(dim=-1)
    index = grid.ravel(torch.minimum(cells.clamp(min=0), lengths - 1))
    return weights.gather(-1, index.flatten(-2)).unflatten(-1, index.shape[-2:]) * is_cell


def _cut_length(axis: Axis) -> int | None:
    return None if axis.cut is None else axis.centers.shape[-1]


@functools.lru_cache(maxsize=64)
def _gauss_rule(basis: Basis, length: int | None, count: int) -> tuple[Array, Array]:
    """Nodes (offsets from the centre) and weights of Gauss's rule for the law of each cell's basis, (length or 1, count).

    By the Stieltjes recurrence on a fine discretisation and the eigenvalues of its Jacobi matrix.
    """
    reach = finite_reach(basis)
    if length is None:
        ends = [(-reach, reach)]
    else:
        cut = cut_basis(basis, length)
        ends = list(zip(cut.low.tolist(), cut.high.tolist(), strict=True))
    rules = [_gauss_rule_between(basis, low, high, count) for low, high in ends]
    return np.stack([nodes for nodes, _ in rules]), np.stack([weights for _, weights in rules])


def _gauss_rule_between(basis: Basis, low: float, high: float, count: int) -> tuple[Array, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(100)
    ends = np.unique(np.clip([low, 0.0, high], low, high))
    half = np.diff(ends)[:, None] / 2
    at = (ends[:-1, None] + half * (nodes + 1)).ravel()
    mass = (half * weights).ravel() * basis.log_density(torch.from_numpy(at)).exp().numpy()
    mass = mass / mass.sum()
    diagonal, beside = np.zeros(count), np.zeros(count)
    before, now = np.zeros_like(at), np.ones_like(at)
    for k in range(count):
        diagonal[k] = mass @ (at * now**2)
        following = (at - diagonal[k]) * now - beside[k - 1] * before
        size = math.sqrt(mass @ following**2)
        beside[k] = size
        before, now = now, following / size
    jacobi = np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
    found, vectors = np.linalg.eigh(jacobi)
    return found, vectors[0] ** 2


def ball_mass(maps: Tensor, axes: Sequence[Axis], columns: Sequence[Tensor], radius: Tensor) -> Tensor:
    """P(‖Y − t‖ ≤ r), by slices across the slowest axis, each of them a ball of one dimension less.

    The mass of a slice is taken exactly from the cdf along its axis; its chord (or disc) is the mean over the slice, so that
    the rule is exact where the density is constant.

    Args:
        maps: (*lead, n_D, …, n_1), probabilities.
        axes: One per dimension, in point order.
        columns: One (*lead) per dimension, coordinates of t in input units.
        radius: (*lead), r in input units.
    """
    axis, units = axes[-1], axes[-1].to_units(columns[-1])
    if len(axes) == 1:
        half = _half_turn(axis, radius / axis.scale)
        masses = axis.masses(units, torch.stack([-half, half], dim=-1)).squeeze(-2)
        return (masses * maps).sum(dim=-1)
    angles = torch.linspace(-math.pi / 2, math.pi / 2, SLICES[len(axes)] + 1, dtype=torch.float64)
    sines = angles.sin()
    if len(axes) == 2:
        chord = (angles + sines * angles.cos()).diff() / 2 / sines.diff()
    else:
        chord = (1 - (sines**3).diff() / 3 / sines.diff()).clamp(min=0).sqrt()
    edges = _half_turn(axis, radius.unsqueeze(-1) / axis.scale * sines.to(radius))
    masses = axis.masses(units, edges)
    sliced = (masses @ maps.flatten(1 - len(axes))).unflatten(-1, maps.shape[1 - len(axes) :])
    inner = [column.unsqueeze(-1) for column in columns[:-1]]
    return ball_mass(sliced, axes[:-1], inner, radius.unsqueeze(-1) * chord.to(radius)).sum(dim=-1)


def _half_turn(axis: Axis, edges: Tensor) -> Tensor:
    """Clips distances to half the circle, beyond which a cyclic axis would be counted twice."""
    return edges if axis.period is None else edges.clamp(-axis.period / 2, axis.period / 2)


def gaussian_ball_mass(distance: Tensor, radius: Tensor, sigma: float, ndim: int) -> Tensor:
    """P(‖d + σZ‖ ≤ r), Z standard normal in `ndim` dimensions, ‖d‖ given; 1D exactly, else 40 nodes along d.

    ∫ φ_σ(s − ‖d‖) T(√(r² − s²)) ds over |s| ≤ r, with T(ρ) the mass within ρ in the dimensions across: erf(ρ/σ√2) in 2D,
    1 − exp(−ρ²/2σ²) in 3D. With s = r sin θ the integrand is smooth; only the 9 σ around ‖d‖ are gone through.
    """
    gaussian = Gaussian(sigma)
    if ndim == 1:
        return gaussian.cdf(radius - distance) - gaussian.cdf(-radius - distance)
    with torch.no_grad():
        reach = finite_reach(gaussian)
        safe = torch.where(radius > 0, radius, 1.0)
        low = ((distance - reach) / safe).clamp(-1, 1).asin()
        high = ((distance + reach) / safe).clamp(-1, 1).asin()
    nodes, weights = np.polynomial.legendre.leggauss(40)
    total = torch.zeros_like(distance + radius)
    for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
        angle = (low + high) / 2 + (high - low) / 2 * node
        across = radius * angle.cos() / sigma
        within = torch.erf(across / math.sqrt(2)) if ndim == 2 else -torch.expm1(-(across**2) / 2)
        density = gaussian.log_density(radius * angle.sin() - distance).exp()
        total = total + weight * (high - low) / 2 * density * within * radius * angle.cos()
    return total


def gaussian_ball_masses(axes: Sequence[Axis], points: Tensor, radius: Tensor) -> Tensor:
    """The masses (*batch, S, N) that Gaussians around a point set have within `radius` (*batch, S) of points (*batch, S, D)."""
    rows = [axis.offsets(points[..., a]) for a, axis in enumerate(axes)]
    distance = torch.linalg.vector_norm(torch.stack(rows, dim=-1), dim=-1)
    return gaussian_ball_mass(distance, radius.unsqueeze(-1), axes[0].basis.variance ** 0.5, len(axes))


def entropy(log_weights: Tensor, grid: Grid, axes: Sequence[Axis]) -> Tensor:
    """−∫ p log p over units, (*batch), for component weights (*batch, cells): composite Gauss-Legendre between knots."""
    count = ENTROPY_NODES[grid.ndim]
    seen, weights = [], []
    for axis, length in zip(axes, grid.lengths, strict=True):
        wraps = axis.cut is not None or axis.period is not None
        at, weight = _composite(knots(axis.basis, length, wraps=wraps), count, is_graded=grid.ndim < 3)
        seen.append(axis.density(torch.from_numpy(at).to(log_weights)))
        weights.append(torch.from_numpy(weight).to(log_weights).unsqueeze(0))
    density = apply_per_axis(grid.unflatten(log_weights.exp()), seen)
    is_positive = density > 0
    surprise = -density * torch.where(is_positive, density, 1.0).log()
    return apply_per_axis(surprise, weights).flatten(-grid.ndim).squeeze(-1)


def _composite(ends: Array, count: int, *, is_graded: bool) -> tuple[Array, Array]:
    """Nodes and weights between neighbouring ends.

    Graded ones gather at the ends of every piece, where p log p has a vertical tangent if p is 0 there.
    """
    nodes, weights = np.polynomial.legendre.leggauss(count)
    x, weight = (nodes + 1) / 2, weights / 2
    if is_graded:
        x, weight = x**3 * (10 - 15 * x + 6 * x**2), weight * 30 * x**2 * (1 - x) ** 2
    width = np.diff(ends)[:, None]
    return (ends[:-1, None] + width * x).ravel(), (width * weight).ravel()


def points_entropy(log_weights: Tensor, support: Points, axes: Sequence[Axis]) -> Tensor:
    """−Σ π_i E log p(x_i + σZ), (*batch), by Gauss-Hermite nodes around every point of the set."""
    nodes, shares = np.polynomial.hermite_e.hermegauss(HERMITE_NODES[support.ndim])
    shares = shares / shares.sum()
    sigma = axes[0].basis.variance ** 0.5
    centers = support.cell_centers(dtype=log_weights.dtype, device=log_weights.device)
    centers = centers.expand(*log_weights.shape, support.ndim)
    total = torch.zeros_like(log_weights)
    for choice in itertools.product(range(len(nodes)), repeat=support.ndim):
        step = torch.tensor([sigma * nodes[q] for q in choice]).to(centers)
        query = Query(centers + step, tuple(log_weights.shape[:-1]), ())
        total = total + float(np.prod([shares[q] for q in choice])) * log_density(log_weights, support, axes, query)
    return -(log_weights.exp() * total).sum(dim=-1)
