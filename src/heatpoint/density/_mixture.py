"""What `Density` computes by passing over its cells: point queries, log densities, quantiles, moments and modes.

A query (*sample, *batch, D) is worked on as (*batch, S, D), with all its sample dimensions rolled into S next to the cells, so
that reading S points off a map never repeats the map S times.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from heatpoint._checks import message
from heatpoint._lattice import along
from heatpoint.basis import Triangular, Uniform
from heatpoint.density._axis import Axis, finite_reach
from heatpoint.support import Grid, Support

# exp(80) times the smallest normal float32 is still below 1, and exp(80) itself is finite.
MAX_EXPONENT = 80.0
# The square of a coordinate further out would overflow float32.
MAX_UNITS = 1e15
MODE_STEPS = 40
QUANTILE_STEPS = 64


@dataclass(frozen=True)
class Query:
    """Points (*batch, S, D) and how their sample dimensions stood before."""

    points: Tensor
    batch: tuple[int, ...]
    samples: tuple[int, ...]

    def spread(self, values: Tensor) -> Tensor:
        """Values (*batch of the maps, …one dimension) repeated, without a copy, over the batch of the query."""
        return values.expand(*self.batch, values.shape[-1])

    def restore(self, values: Tensor) -> Tensor:
        """(*batch, S, …) to (*sample, *batch, …)."""
        split = values.unflatten(len(self.batch), self.samples or (1,))
        count = len(self.samples or (1,))
        front = split.movedim(tuple(range(len(self.batch), len(self.batch) + count)), tuple(range(count)))
        return front if self.samples else front.squeeze(0)


def arrange(function: str, argument: str, points: Tensor, batch: tuple[int, ...]) -> Query:
    """Lays points (*sample, *batch, D) out as (*batch, S, D), after broadcasting them with the batch of the maps."""
    try:
        full = tuple(torch.broadcast_shapes(points.shape[:-1], batch))
    except RuntimeError:
        rule = f"be (*sample, *batch, D), where batch broadcasts with that of the maps, {batch}"
        raise ValueError(message(function, argument, rule, tuple(points.shape))) from None
    samples, inner = full[: len(full) - len(batch)], full[len(full) - len(batch) :]
    points = points.expand(*full, points.shape[-1])
    count = len(samples)
    back = points.movedim(tuple(range(count)), tuple(range(len(inner), len(full))))
    points = back.flatten(len(inner), len(full) - 1) if count else points.unsqueeze(-2)
    return Query(points, inner, samples)


def log_density(log_weights: Tensor, support: Support, axes: Sequence[Axis], query: Query) -> Tensor:
    """log p at the query's points, (*batch, S), for component weights (*batch, cells)."""
    # A cell cannot be found from NaN; such a point is read anywhere, and is NaN in the end.
    is_missing = query.points.isnan().any(dim=-1)
    points = query.points.masked_fill(is_missing.unsqueeze(-1), 0)
    units = [axis.to_units(points[..., a]).clamp(-MAX_UNITS, MAX_UNITS) for a, axis in enumerate(axes)]
    log_weights = query.spread(log_weights)
    if isinstance(support, Grid) and isinstance(axes[0].basis, Uniform | Triangular):
        value = _compact_log_density(log_weights, support, axes, units)
    else:
        kernels = [axis.log_density(u) for axis, u in zip(axes, units, strict=True)]
        value = torch.logsumexp(joint_log(log_weights.unsqueeze(-2), kernels, support), dim=-1)
    inside = torch.ones_like(value, dtype=torch.bool)
    for axis, u in zip(axes, units, strict=True):
        if axis.cut is not None:
            inside &= (u >= -0.5) & (u <= axis.centers.shape[-1] - 0.5)
    value = value.masked_fill(~inside, -torch.inf).masked_fill(is_missing, torch.nan)
    return value - sum(math.log(axis.scale) for axis in axes)


def joint_log(log_weights: Tensor, kernels: Sequence[Tensor], support: Support) -> Tensor:
    """log π_i + Σ_a log f_a,i over all cells, (…, cells), from one row (…, n) per axis."""
    if not isinstance(support, Grid):
        return log_weights + torch.stack(list(kernels)).sum(dim=0)
    maps = support.unflatten(log_weights)
    for a, kernel in enumerate(kernels):
        maps = maps + along(kernel, support, a)
    return maps.flatten(-support.ndim)


def _compact_log_density(log_weights: Tensor, grid: Grid, axes: Sequence[Axis], units: Sequence[Tensor]) -> Tensor:
    rows = [_neighbours(axis, u) for axis, u in zip(axes, units, strict=True)]
    cells, heights = [], []
    for corner in itertools.product(*rows):
        cells.append(torch.stack([cell for cell, _, _ in corner], dim=-1))
        height = corner[0][1].masked_fill(~corner[0][2], 0)
        for _, h, valid in corner[1:]:
            height = height * h.masked_fill(~valid, 0)
        heights.append(height)
    index, height = grid.ravel(torch.stack(cells, dim=-2)), torch.stack(heights, dim=-1)
    log_w = log_weights.gather(-1, index.flatten(-2)).unflatten(-1, index.shape[-2:])
    return log_weighted_sum(log_w, height)


def _neighbours(axis: Axis, units: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The cells whose basis covers a point: index, height f_i(u), and whether the cell exists."""
    length = axis.centers.shape[-1]
    if axis.period is None:
        # Off the grid nothing is read and nothing flows back; far off, a coordinate would not fit an integer.
        units = units.clamp(-2, length + 1)
    else:
        units = units - axis.period * torch.floor(units.detach() / axis.period)
    if isinstance(axis.basis, Uniform):
        # Each cell owns its lower edge; the last one its upper edge too.
        cell = torch.where(units.detach() == length - 0.5, length - 1, torch.floor(units.detach() + 0.5))
        found = [(cell, torch.ones_like(units))]
    else:
        cell = torch.floor(units.detach())
        found = [(cell, 1 - (units - cell)), (cell + 1, units - cell)]
    neighbours = []
    for cell, height in found:
        if axis.period is not None:
            neighbours.append((cell.long() % length, height, torch.ones_like(cell, dtype=torch.bool)))
        else:
            valid = (cell >= 0) & (cell < length)
            neighbours.append((cell.clamp(0, length - 1).long(), height, valid))
    return neighbours


def log_weighted_sum(log_weights: Tensor, heights: Tensor) -> Tensor:
    """log Σ h_i exp(log w_i) over the last dimension for h ≥ 0; −inf with zero gradient where the sum is 0, NaN of NaN."""
    with torch.no_grad():
        top = (log_weights + heights.log()).amax(dim=-1, keepdim=True)
        top = torch.where(top.isfinite(), top, 0.0)
    # The heights stay outside the exponential, so that their gradient is finite where they are 0.
    total = (heights * (log_weights - top).clamp(max=MAX_EXPONENT).exp()).sum(dim=-1)
    is_zero = total == 0
    value = torch.where(is_zero, 1.0, total).log() + top.squeeze(-1)
    return torch.where(is_zero, -torch.inf, value)


def entropy_of(log_weights: Tensor) -> Tensor:
    """−Σ π_i log π_i over the last dimension; forbidden cells count as 0."""
    return -(log_weights.exp() * log_weights.masked_fill(log_weights == -torch.inf, 0)).sum(dim=-1)


def quantile(marginal: Tensor, axis: Axis, u: Tensor) -> Tensor:
    """The coordinate (*batch, S) in units at which the cdf of a marginal (*batch, n) first reaches u (*batch, S) of its end.

    At u = 0 it is where the cdf leaves 0.

    Bisection and Newton steps in turn, then the implicit derivative ∂t/∂θ = −(∂F/∂θ) / p(t), ∂t/∂u = 1 / p(t); it is 0
    where p is.
    """
    with torch.no_grad():
        t = _invert(marginal, axis, u)
    residual = mix(axis.cdf(t), marginal) - u
    density = mix(_cut_density(axis, t), marginal).detach()
    step = torch.where(density > 0, residual / torch.where(density > 0, density, 1.0), 0.0)
    t = t - (step - step.detach())
    if math.isinf(axis.basis.reach) and axis.cut is None:
        t = torch.where(u <= 0, -torch.inf, torch.where(u >= 1, torch.inf, t))
    return t.masked_fill(residual.detach().isnan(), torch.nan)


def _invert(marginal: Tensor, axis: Axis, u: Tensor) -> Tensor:
    reach = finite_reach(axis.basis)
    low = (axis.centers.amin(dim=-1) - reach).expand(u.shape)
    high = (axis.centers.amax(dim=-1) + reach).expand(u.shape)
    if axis.cut is not None:
        low, high = low.clamp(min=-0.5), high.clamp(max=axis.centers.shape[-1] - 0.5)
    # Rounding leaves the whole mass a little off 1, and a level beyond it would be found past all of the mass.
    level = u * mix(axis.cdf(high), marginal)
    t = (low + high) / 2
    for step in range(QUANTILE_STEPS):
        residual = mix(axis.cdf(t), marginal) - level
        is_below = (residual < 0) | ((u <= 0) & (residual <= 0))
        low, high = torch.where(is_below, t, low), torch.where(is_below, high, t)
        middle = (low + high) / 2
        newton = t - residual / mix(_cut_density(axis, t), marginal)
        is_usable = (newton > low) & (newton < high) & (step % 2 == 0)
        t = torch.where(is_usable, newton, middle)
    return t


def _cut_density(axis: Axis, units: Tensor) -> Tensor:
    density = axis.density(units)
    return density if axis.cut is None else density / axis.cut.mass


def mix(rows: Tensor, marginal: Tensor) -> Tensor:
    """Σ_j m_j r_j for rows (*batch, S, n) and a marginal (*batch, n): (*batch, S)."""
    return (rows * marginal.unsqueeze(-2)).sum(dim=-1)


def cell_covariance(weights: Tensor, support: Support, deltas: Sequence[Tensor]) -> Tensor:
    """Σ_i w_i δ_i δ_iᵀ, (*batch, D, D), for weights (*batch, cells) and one row of deviations (*batch, n) per axis."""
    ndim = len(deltas)
    entries: dict[tuple[int, int], Tensor] = {}
    maps = support.unflatten(weights)
    marginals = support.marginals(maps) if isinstance(support, Grid) else (weights,) * ndim
    for a, b in itertools.combinations_with_replacement(range(ndim), 2):
        if a == b or not isinstance(support, Grid):
            entries[a, b] = (marginals[a] * deltas[a] * deltas[b]).sum(dim=-1)
            continue
        others = tuple(support.map_dim(c) for c in range(ndim) if c not in (a, b))
        pair = maps.sum(dim=others) if others else maps
        entries[a, b] = ((pair * deltas[a].unsqueeze(-2)).sum(dim=-1) * deltas[b]).sum(dim=-1)
    rows = [torch.stack([entries[min(a, b), max(a, b)] for b in range(ndim)], dim=-1) for a in range(ndim)]
    return torch.stack(rows, dim=-2)


@torch.no_grad()
def gaussian_mode(log_weights: Tensor, support: Support, axes: Sequence[Axis]) -> Tensor:
    """A highest point (*batch, D), in units, of a mixture of equal Gaussians: uphill from the centre of highest density.

    The fixed-point step (mean shift) always climbs; scaled by (1 − C/σ²)⁻¹, C the covariance of the centres seen from the
    point, it is Newton's, which is kept where it climbs too.
    """
    point = _highest_center(log_weights, support, axes)
    variance = axes[0].basis.variance
    value, shift, fast = _uphill(point, log_weights, support, axes, variance)
    candidate = point + fast
    eps = 4 * torch.finfo(point.dtype).eps
    for _ in range(MODE_STEPS):
        new_value, new_shift, new_fast = _uphill(candidate, log_weights, support, axes, variance)
        # Near the top a good step changes nothing but rounding.
        climbs = (new_value >= value - eps * value.abs().clamp(min=1)).unsqueeze(-1)
        value = torch.maximum(value, new_value)
        point, shift = torch.where(climbs, candidate, point), torch.where(climbs, new_shift, shift)
        step = torch.where(climbs, new_fast, shift)
        if bool((step.abs() <= eps * point.abs().clamp(min=1)).all()):
            break
        candidate = point + step
    return point


def _uphill(
    point: Tensor, log_weights: Tensor, support: Support, axes: Sequence[Axis], variance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """log p up to a constant, the mean-shift step and the Newton step at a point (*batch, D)."""
    columns = [point[..., a].unsqueeze(-1) for a in range(point.shape[-1])]
    kernels = [axis.log_density(c).squeeze(-2) for axis, c in zip(axes, columns, strict=True)]
    scores = joint_log(log_weights, kernels, support)
    seen = scores.softmax(dim=-1)
    pulls = [axis.pull(c) for axis, c in zip(axes, columns, strict=True)]
    deltas, spreads = ([pull[part].squeeze(-2) for pull in pulls] for part in (0, 1))
    marginals = support.marginals(support.unflatten(seen)) if isinstance(support, Grid) else (seen,) * len(axes)
    shift = torch.stack([(m * d).sum(dim=-1) for m, d in zip(marginals, deltas, strict=True)], dim=-1)
    deltas = [d - shift[..., a, None] for a, d in enumerate(deltas)]
    between = cell_covariance(seen, support, deltas)
    within = torch.stack([(m * v).sum(dim=-1) for m, v in zip(marginals, spreads, strict=True)], dim=-1)
    ratios, directions = torch.linalg.eigh((between + torch.diag_embed(within)) / variance)
    gain = torch.where(ratios < 0.99, 1 / (1 - ratios).clamp(min=0.01), 1.0)
    fast = (directions @ (gain.unsqueeze(-1) * (directions.mT @ shift.unsqueeze(-1)))).squeeze(-1)
    return torch.logsumexp(scores, dim=-1), shift, fast


def _highest_center(log_weights: Tensor, support: Support, axes: Sequence[Axis]) -> Tensor:
    if isinstance(support, Grid):
        weights = support.unflatten((log_weights - log_weights.amax(dim=-1, keepdim=True)).exp())
        seen = apply_per_axis(weights, [axis.density(axis.centers) for axis in axes])
        cells = support.unravel(seen.flatten(-support.ndim).argmax(dim=-1))
        return cells.to(log_weights.dtype)
    columns = [axis.centers.squeeze(-2) for axis in axes]
    kernels = [axis.log_density(c) for axis, c in zip(axes, columns, strict=True)]
    seen = torch.logsumexp(joint_log(log_weights.unsqueeze(-2), kernels, support), dim=-1)
    best = seen.argmax(dim=-1, keepdim=True)
    return torch.cat([c.expand(seen.shape).gather(-1, best) for c in columns], dim=-1)


def apply_per_axis(maps: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Maps (…, n_D, …, n_1) times one matrix (q, n) per axis, in point order: (…, q_D, …, q_1)."""
    for a, matrix in enumerate(matrices):
        maps = (maps.movedim(-1 - a, -1) @ matrix.mT).movedim(-1, -1 - a)
    return maps
