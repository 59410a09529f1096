"""Relaxed samples of maps that share their draws, and the matrix products that their sums over cells become.

With weights ∝ (π_i / E_i)^(1/τ), E_i exponential (Sampling-Argmax, Eq. 11, since a Gumbel variable is −log E), every sum over
cells that a sample needs is Σ_i W_mi F_si: W depends on the map alone, F on the draws alone. Where maps share draws, these sums
are one product of matrices for all maps and samples, and their gradient is another. Nothing of size samples x cells x maps
exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from heatpoint._checks import check_whole, message
from heatpoint._distances import Distance, difference, norm
from heatpoint._draws import FreshChunk, Shapes, default_generator
from heatpoint._numerics import check_normalised, full_products, log_probabilities
from heatpoint._relaxed import Formula, paper_positions, relaxed_weights, released_positions
from heatpoint.basis import Basis, Gaussian, Triangular
from heatpoint.support import Grid, Points, Support

Sharing = Literal["independent", "lattice", "image", "batch"]
SHARINGS: tuple[Sharing, ...] = ("independent", "lattice", "image", "batch")
INDEPENDENT = 'it needs draws that maps share, noise="image" or noise="batch"'
# Below it E^(−1/τ) spans more than float32 can hold in one sum: 33 decades at 0.25.
LEAST_TEMPERATURE = 0.25
# Numbers drawn and multiplied at a time, at least and at most: half a megabyte of float32, four megabytes.
BLOCK = (2**17, 2**20)
# Between them, the part of the maps' size that a block has: what is made of it takes twice its room.
FRACTION = 3


@dataclass(frozen=True, eq=False)
class Draw:
    """What is drawn, from where, and which maps share it.

    Args:
        function: Name of the caller, for error texts.
        support: Grid or Points.
        basis: Sub-distribution of a cell, or None.
        formula: "paper" or "released".
        temperature: τ.
        num_samples: S.
        sharing: "image": the maps along the last dimension of the batch share their draws; "batch": all maps do.
        sign_gradient: The published code's gradient, see `heatpoint.expectation.expected_position`.
        generator: Source of the draws; each use begins at the same place, `state`.
        state: The generator's state at the first use.
    """

    function: str
    support: Support
    basis: Basis | None
    formula: Formula
    temperature: float
    num_samples: int
    sharing: Sharing
    sign_gradient: bool
    generator: torch.Generator
    state: Tensor

    def obstacle(self) -> str:
        """Why matrix products cannot compute this, or ""."""
        if self.temperature < LEAST_TEMPERATURE:
            return f"below a temperature of {LEAST_TEMPERATURE} its sums lose digits"
        if self.sign_gradient:
            return "the signs of sign_gradient depend on each sample's position"
        if isinstance(self.support, Grid) and self.support.cyclic:
            return "a position on a cyclic axis is no quotient of sums over the cells"
        if isinstance(self.support, Points) and self.support.xyz.requires_grad:
            return "it gives the coordinates of Points no gradient"
        return ""

    def blocks(self, num_groups: int, like: Tensor) -> Iterator[tuple[slice, Tensor, list[Tensor]]]:
        """Groups, uniforms (g, s, cells) and raw offsets (g, s, …) per axis, block by block; always the same numbers.

        How draws are cut into blocks depends on the sizes alone: a block is a fraction of the maps, `like`, within `BLOCK`
        numbers, but always one sample of one group.
        """
        generator = torch.Generator(self.generator.device)
        generator.set_state(self.state)
        cells, ndim = self.support.num_cells, self.support.ndim
        room = min(max(BLOCK[0], like.numel() // FRACTION), BLOCK[1])
        pairs = max(1, room // (cells * (1 + ndim)))
        many = max(1, pairs // self.num_samples)
        # Parts of equal size: the last would else be a product of a few columns.
        few = -(-self.num_samples // -(-self.num_samples // pairs))
        for group in range(0, num_groups, many):
            part = slice(group, min(group + many, num_groups))
            for sample in range(0, self.num_samples, few):
                number = min(few, self.num_samples - sample)
                shapes = Shapes((number,), self.support, self.basis, self.formula == "paper")
                uniform, raw = FreshChunk(shapes, part.stop - part.start, like, generator)()
                yield part, uniform, raw
        # The caller's generator goes on where the last block ended.
        self.generator.set_state(generator.get_state())


def make_draw(
    function: str,
    support: Support,
    *,
    basis: Basis | None,
    formula: Formula,
    temperature: float,
    num_samples: int | None,
    sharing: Sharing,
    sign_gradient: bool,
    generator: torch.Generator | None,
    device: torch.device,
) -> Draw:
    """A `Draw` that begins at the generator's present state."""
    number = check_whole(function, "num_samples", 1 if num_samples is None else num_samples, "be at least 1", least=1)
    source = generator if generator is not None else default_generator(device, function)
    return Draw(
        function, support, basis, formula, temperature, number, sharing, sign_gradient, source, source.get_state()
    )


def fold(draw: Draw, flat: Tensor) -> Tensor:
    """Maps (*batch, n) as (groups, maps of a group, n)."""
    if draw.sharing == "batch" or flat.ndim < 2:
        return flat.reshape(1, -1, flat.shape[-1])
    return flat.reshape(-1, flat.shape[-2], flat.shape[-1])


def _support_of(draw: Draw, part: slice, num_groups: int, batch: tuple[int, ...]) -> Support:
    """The support of some groups, whose coordinates broadcast to (g, maps, cells)."""
    support = draw.support
    if isinstance(support, Grid) or support.xyz.ndim == 2:
        return support
    xyz = support.xyz
    shared = xyz.shape[:-2].numel() == 1 if draw.sharing == "batch" else xyz.shape[-3] == 1
    if not shared:
        rule = f"have the same coordinates for maps that share their noise, with noise={draw.sharing!r}"
        raise ValueError(message(draw.function, "Points", rule, tuple(xyz.shape)))
    every = xyz.expand(*batch[:-1], 1, *xyz.shape[-2:]) if draw.sharing == "image" else xyz
    return Points(every.reshape(num_groups, 1, *xyz.shape[-2:])[part])


def plain_samples(draw: Draw, flat: Tensor) -> Tensor:
    """Samples (S, *batch, D) of maps (*batch, cells) with shared draws, written out: weights for every sample of every map."""
    batch = tuple(flat.shape[:-1])
    log_p = fold(draw, log_probabilities(draw.function, flat))
    found: dict[int, list[Tensor]] = {}
    for part, uniform, raw in draw.blocks(len(log_p), flat.detach()):
        support = _support_of(draw, part, len(log_p), batch)
        samples = _plain_block(draw, support, log_p[part], uniform, raw)
        found.setdefault(part.start, []).append(samples)
    groups = [torch.cat(parts) for parts in found.values()]
    return torch.cat(groups, dim=1).reshape(draw.num_samples, *batch, draw.support.ndim)


def _plain_block(draw: Draw, support: Support, log_p: Tensor, uniform: Tensor, raw: list[Tensor]) -> Tensor:
    """Samples (s, g, maps, D) of one block."""
    number = log_p.shape[1]
    weights = relaxed_weights(log_p, uniform.transpose(0, 1)[:, :, None].clone(), draw.temperature, draw.formula, False)
    offsets = [axis.transpose(0, 1)[:, :, None].expand(-1, -1, number, -1) for axis in raw]
    if draw.formula == "released" and isinstance(support, Grid):
        return released_positions(weights, support, draw.basis, offsets, draw.sign_gradient)
    return paper_positions(weights, support, draw.basis, offsets, draw.sign_gradient)


def product_samples(draw: Draw, flat: Tensor) -> Tensor:
    """What `plain_samples` gives, by one product of matrices for each block. Differentiable as often as wanted."""
    batch = tuple(flat.shape[:-1])
    weights = _weights(draw, fold(draw, log_probabilities(draw.function, flat)))
    found: dict[int, list[Tensor]] = {}
    for part, uniform, raw in draw.blocks(len(weights), flat.detach()):
        columns, center = _columns(draw, _support_of(draw, part, len(weights), batch), uniform, raw)
        samples = _positions(draw, _products(weights[part], columns), center)
        found.setdefault(part.start, []).append(samples.permute(2, 0, 1, 3))
    groups = [torch.cat(parts) for parts in found.values()]
    return torch.cat(groups, dim=1).reshape(draw.num_samples, *batch, draw.support.ndim)


def product_error(
    draw: Draw, flat: Tensor, target: Tensor, *, distance: Distance, axis_weight: Tensor | None
) -> Tensor:
    """The mean distance of the samples of maps (*batch, cells) from targets, (*batch), with its gradient made as it goes.

    Memory beyond the maps: their weights, their gradient, and one block of draws, whatever the number of samples.

    Args:
        draw: The draws.
        flat: (*batch, cells) logits, float32 or float64.
        target: (*batch or what broadcasts to it, D).
        distance: As in `heatpoint.scores.expected_error`.
        axis_weight: (*batch or what broadcasts to it, D), or None.
    """
    batch = tuple(flat.shape[:-1])
    target = target.expand(*batch, target.shape[-1])
    if axis_weight is not None:
        axis_weight = axis_weight.expand(*batch, axis_weight.shape[-1]).to(flat.dtype)
    error: Tensor = _ProductError.apply(flat, target, axis_weight, draw, distance)
    return error


class _ProductError(torch.autograd.Function):
    """Forward: the errors and, if wanted, their gradients. Backward: the gradients, scaled."""

    @staticmethod
    def forward(
        ctx: Any, flat: Tensor, target: Tensor, axis_weight: Tensor | None, draw: Draw, distance: Distance
    ) -> Tensor:
        error, gradients = _error_and_gradients(
            draw, flat, target, axis_weight, distance, wants=flat.requires_grad or target.requires_grad
        )
        ctx.save_for_backward(flat, target, axis_weight, *gradients)
        ctx.draw, ctx.distance = draw, distance
        return error

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        flat, target, axis_weight, *made = ctx.saved_tensors
        if torch.is_grad_enabled():
            # Somebody wants the gradient's gradient: the plain form, with the same draws, has it.
            return (*_plain_gradients(ctx.draw, flat, target, axis_weight, ctx.distance, gradient), None, None, None)
        scale = gradient[..., None]
        wanted = ctx.needs_input_grad
        return (made[0] * scale if wanted[0] else None, made[1] * scale if wanted[1] else None, None, None, None)


def _plain_gradients(
    draw: Draw, flat: Tensor, target: Tensor, axis_weight: Tensor | None, distance: Distance, gradient: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    state = draw.generator.get_state()
    error = norm(difference(plain_samples(draw, flat), target, draw.support), distance, axis_weight).mean(dim=0)
    draw.generator.set_state(state)
    inputs = [tensor for tensor in (flat, target) if tensor.requires_grad]
    found = iter(torch.autograd.grad(error, inputs, gradient, create_graph=True))
    return (next(found) if flat.requires_grad else None, next(found) if target.requires_grad else None)


def _error_and_gradients(
    draw: Draw, flat: Tensor, target: Tensor, axis_weight: Tensor | None, distance: Distance, *, wants: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Errors (*batch) and, if wanted, their gradients with respect to maps and targets."""
    batch = tuple(flat.shape[:-1])
    targets = fold(draw, target)[:, :, None]
    axis_weights = None if axis_weight is None else fold(draw, axis_weight)[:, :, None]
    weights = _weights(draw, fold(draw, flat))
    error = torch.zeros_like(weights[..., 0])
    into_weights, into_target = (torch.zeros_like(x) if wants else None for x in (weights, targets[:, :, 0]))
    for part, uniform, raw in draw.blocks(len(weights), weights):
        columns, center = _columns(draw, _support_of(draw, part, len(weights), batch), uniform, raw)
        sums = _products(weights[part], columns).requires_grad_(wants)
        goal = targets[part].detach().requires_grad_(wants)
        with torch.set_grad_enabled(wants):
            samples = _positions(draw, sums, center)
            share = None if axis_weights is None else axis_weights[part]
            errors = norm(difference(samples, goal, draw.support), distance, share).sum(dim=-1)
            whole = errors.sum()
        error[part] += errors.detach()
        if into_weights is not None and into_target is not None:
            into_sums, into_goal = torch.autograd.grad(whole, (sums, goal))
            into_target[part] += into_goal[:, :, 0]
            into_weights[part].baddbmm_(into_sums.flatten(2), columns.flatten(1, 2))
    error = error.reshape(batch) / draw.num_samples
    if into_weights is None or into_target is None:
        return error, ()
    # The derivative of W = exp(scale · logits) is scale · W; samples do not change with a map's total, so nothing is added.
    scale = 1 / draw.temperature if draw.formula == "paper" else 1.0
    into_weights.mul_(weights).mul_(scale / draw.num_samples)
    return error, (into_weights.reshape(flat.shape), into_target.reshape(target.shape) / draw.num_samples)


def _weights(draw: Draw, logits: Tensor) -> Tensor:
    """W (groups, maps, cells): π^(1/τ), or π in the released formula, but for a factor for each map.

    Raises:
        ValueError: If every cell of a map is forbidden (on the CPU always, elsewhere under HEATPOINT_CHECK=1).
    """
    top = logits.detach().amax(dim=-1, keepdim=True)
    weights = logits - top
    check_normalised(draw.function, "logits", logits, weights[..., :1] if logits.shape[-1] == 0 else weights)
    scale = 1 / draw.temperature if draw.formula == "paper" else 1.0
    return (weights * scale).exp() if weights.requires_grad else weights.mul_(scale).exp_()


def _products(weights: Tensor, columns: Tensor) -> Tensor:
    """Σ_i W_mi F_sci: (g, maps, s, columns) from (g, maps, cells) and (g, s, columns, cells), in all digits."""
    with full_products(weights.device):
        sums = torch.bmm(weights, columns.flatten(1, 2).transpose(1, 2))
    return sums.unflatten(-1, columns.shape[1:3])


def _columns(draw: Draw, support: Support, uniform: Tensor, raw: list[Tensor]) -> tuple[Tensor, Tensor]:
    """F (g, s, columns, cells) of one block, and the place from which positions in it are measured, (D,) or (g, 1, 1, D).

    The first column is V = E^(−1/τ), the next D are V · (place of the cell, and its offset). Where the released formula weighs
    the offsets, two more for each axis hold the weights that a cell's mass gets and their product with the places.
    """
    power = _powers(uniform, draw.temperature)
    centers = support.cell_centers(dtype=uniform.dtype, device=uniform.device)
    if isinstance(support, Grid):
        centers = centers.flatten(0, -2)
    # Sums of places around 0 have more digits left.
    center = (centers.amax(dim=-2) + centers.amin(dim=-2)) / 2
    around = (centers - center[..., None, :]).unbind(dim=-1)
    places = [place if place.ndim == 1 else place.reshape(-1, 1, place.shape[-1]) for place in around]
    if center.ndim > 1:
        center = center.reshape(-1, 1, 1, center.shape[-1])
    weighed = _axis_weights(draw.basis, support, raw) if draw.formula == "released" else []
    columns = power.new_empty(*power.shape[:2], 1 + len(places) + 2 * len(weighed), power.shape[-1])
    columns[:, :, 0] = power
    for axis, place in enumerate(places):
        if draw.basis is None:
            torch.mul(power, place, out=columns[:, :, 1 + axis])
            continue
        offset = draw.basis.offsets_from_noise(raw[axis])
        offset = offset.mul_(support.strides[axis]) if isinstance(support, Grid) else offset
        if draw.formula == "paper" or not isinstance(support, Grid):
            torch.mul(power, offset.add_(place), out=columns[:, :, 1 + axis])
            continue
        index = _axis_index(support, axis, uniform.device)
        line = offset.add_(support.axis_centers(axis, dtype=uniform.dtype, device=uniform.device) - center[axis])
        torch.mul(power, line[..., index], out=columns[:, :, 1 + axis])
        for k, values in enumerate(_received(weighed[axis], line) if weighed else ()):
            torch.mul(power, values[..., index], out=columns[:, :, 1 + len(places) + 2 * axis + k])
    return columns, center


@dataclass(frozen=True, eq=False)
class _AxisWeights:
    """How the positions along one axis weigh the marginal, before normalising: q_j = Σ_k shares_k[j] · m[cells_k[j]]."""

    shares: list[Tensor]
    cells: list[Tensor]


def _axis_weights(basis: Basis | None, support: Support, raw: list[Tensor]) -> list[_AxisWeights]:
    """The weights of the released formula, see `_relaxed`; empty where the marginal itself counts."""
    if isinstance(basis, Triangular) and isinstance(support, Grid):
        return [_interpolation(basis, noise) for noise in raw]
    if isinstance(basis, Gaussian) and isinstance(support, Grid) and support.ndim == 2:
        own = [torch.arange(noise.shape[-1], device=noise.device).expand_as(noise) for noise in raw]
        return [_AxisWeights([torch.exp(-2 * n.square())], [cell]) for n, cell in zip(raw, own, strict=True)]
    return []


def _interpolation(basis: Triangular, noise: Tensor) -> _AxisWeights:
    length = noise.shape[-1]
    position = torch.arange(length, dtype=noise.dtype, device=noise.device) + basis.offsets_from_noise(noise)
    below = position.floor()
    fraction, cell = position - below, below.long()
    both = [(cell, 1 - fraction), (cell + 1, fraction)]
    return _AxisWeights(
        [share * ((c >= 0) & (c < length)) for c, share in both], [c.clamp(0, length - 1) for c, _ in both]
    )


def _received(weights: _AxisWeights, line: Tensor) -> tuple[Tensor, Tensor]:
    """What the mass of each position is worth in Σ_j q_j, and in Σ_j q_j · line_j."""
    total, moment = torch.zeros_like(line), torch.zeros_like(line)
    for share, cell in zip(weights.shares, weights.cells, strict=True):
        total.scatter_add_(-1, cell, share)
        moment.scatter_add_(-1, cell, share * line)
    return total, moment


def _axis_index(grid: Grid, axis: int, device: torch.device) -> Tensor:
    """The position along one axis of every cell, (cells,) long."""
    return grid.unravel(torch.arange(grid.num_cells, device=device))[..., axis]


def _powers(uniform: Tensor, temperature: float) -> Tensor:
    """E^(−1/τ) with E = −log u, in place of the uniforms."""
    waiting = uniform.log_().neg_()
    if temperature == 2:
        return waiting.rsqrt_()
    if temperature == 1:
        return waiting.reciprocal_()
    if temperature == 0.5:
        return waiting.square_().reciprocal_()
    return waiting.pow_(-1 / temperature)


def _positions(draw: Draw, sums: Tensor, center: Tensor) -> Tensor:
    """Samples (g, maps, s, D) from the sums of `_columns`."""
    ndim = draw.support.ndim
    plain = sums[..., 1 : 1 + ndim] / sums[..., :1]
    if sums.shape[-1] == 1 + ndim:
        return plain + center
    total, moment = sums[..., 1 + ndim :: 2], sums[..., 2 + ndim :: 2]
    # As in the plain form: if all weights vanish, the marginal itself counts.
    is_possible = total > 0
    return torch.where(is_possible, moment / torch.where(is_possible, total, 1.0), plain) + center
