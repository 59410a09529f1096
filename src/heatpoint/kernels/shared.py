"""Relaxed samples of maps that share their draws, and the matrix products that their sums over cells become.

With weights ∝ (π_i / E_i)^(1/τ), E_i exponential (Sampling-Argmax, Eq. 11, since a Gumbel variable is −log E), every sum over
cells that a sample needs is Σ_i W_mi F_si: W depends on the map alone, F on the draws alone. Where maps share draws, these sums
are one product of matrices for all maps and samples, and their gradient is another. Nothing of size samples x cells x maps
exists.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from heatpoint._checks import is_traced
from heatpoint._distances import Distance, difference, norm, slope
from heatpoint._draws import remade
from heatpoint._numerics import check_normalised, full_precision, full_products, log_probabilities
from heatpoint.kernels._columns import Places, columns, places_of, positions, slopes
from heatpoint.kernels._kept_gradients import scaled
from heatpoint.kernels._shared_draws import Chunk, Draw, Part, fold, gathered, plain_samples, support_of_groups
from heatpoint.kernels._streams import Stream
from heatpoint.kernels._workers import MOST, side_by_side

# Cells of maps that are worth several threads: of fewer, the blocks are so small that threads mostly wait for each other.
LARGE = 2**20
# Below this temperature, what the draws give to the gradient is multiplied by SMALL until the weights of the map have come to it:
# where they are small, it can be as large as their inverse, 10²⁵ there and 10³³ at the least temperature.
COLD, SMALL = 1 / 3, 2.0**-40


def product_samples(draw: Draw, flat: Tensor) -> Tensor:
    """What `plain_samples` gives, by one product of matrices for each block. Differentiable as often as wanted.

    Near the least temperature the gradient leaves float32 where the samples' own is of the order of 10¹².
    """
    batch = tuple(flat.shape[:-1])
    weights = _weights(draw, fold(draw, log_probabilities(draw.function, flat)))
    places = _places(draw, weights, batch)
    found: dict[int, list[Tensor]] = {}
    for part, chunk in draw.blocks(len(weights), flat.detach()):
        samples = remade(draw.memory, _product_block, draw, places.of(part), weights[part], chunk)
        found.setdefault(part.start, []).append(samples)
    return gathered(draw, found, batch)


def _product_block(draw: Draw, places: Places, weights: Tensor, chunk: Chunk) -> Tensor:
    """Samples (s, g, maps, D) of one block."""
    sums = _products(weights, columns(draw, places, chunk()))
    return (positions(draw, sums) + places.center).permute(2, 0, 1, 3)


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
    wants = torch.is_grad_enabled() and (flat.requires_grad or target.requires_grad)
    error: Tensor = _ProductError.apply(flat, target, axis_weight, draw, distance, wants)
    return error


class _ProductError(torch.autograd.Function):
    """Forward: the errors and, if wanted, their gradients. Backward: the gradients, scaled."""

    @staticmethod
    def forward(
        ctx: Any,
        flat: Tensor,
        target: Tensor,
        axis_weight: Tensor | None,
        draw: Draw,
        distance: Distance,
        wants: bool,
    ) -> Tensor:
        error, gradients, ctx.scale = _error_and_gradients(draw, flat, target, axis_weight, distance, wants=wants)
        ctx.save_for_backward(flat, target, axis_weight, *gradients)
        ctx.draw, ctx.distance = draw, distance
        return error

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        flat, target, axis_weight, *made = ctx.saved_tensors
        if torch.is_grad_enabled():
            # Somebody wants the gradient's gradient: the plain form, with the same draws, has it.
            return (*_plain_gradients(ctx.draw, flat, target, axis_weight, ctx.distance, gradient), *(None,) * 4)
        slope = gradient[..., None] / ctx.draw.num_samples

        def made_again() -> tuple[Tensor, ...]:
            return _error_and_gradients(ctx.draw, flat, target, axis_weight, ctx.distance, wants=True, is_again=True)[1]

        return (*scaled(ctx, made, (slope * ctx.scale, slope), made_again), *(None,) * 4)


def _plain_gradients(
    draw: Draw, flat: Tensor, target: Tensor, axis_weight: Tensor | None, distance: Distance, gradient: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    samples = plain_samples(draw, flat, is_again=True)
    error = norm(difference(samples, target, draw.support), distance, axis_weight).mean(dim=0)
    inputs = [tensor for tensor in (flat, target) if tensor.requires_grad]
    found = iter(torch.autograd.grad(error, inputs, gradient, create_graph=True))
    return (next(found) if flat.requires_grad else None, next(found) if target.requires_grad else None)


@full_precision
def _error_and_gradients(
    draw: Draw,
    flat: Tensor,
    target: Tensor,
    axis_weight: Tensor | None,
    distance: Distance,
    *,
    wants: bool,
    is_again: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...], float]:
    """Errors (*batch); if wanted, gradients of their sums over samples by maps and targets; the factor the maps' still need."""
    batch = tuple(flat.shape[:-1])
    logits, goals = fold(draw, flat), fold(draw, target)[:, :, None]
    axis_weights = None if axis_weight is None else fold(draw, axis_weight)[:, :, None]
    places = _places(draw, logits, batch)
    error = logits.new_zeros(logits.shape[:-1])
    into_logits, into_target = (torch.zeros_like(x) if wants else None for x in (logits, goals[:, :, 0]))
    small = SMALL if draw.temperature < COLD else 1.0

    def add(part: Part, stream: Stream) -> None:
        of = part.groups
        here, weights, errors, goal = places.of(of), _weights(draw, logits[of]), error[of], goals[of]
        share = None if axis_weights is None else axis_weights[of]
        try:
            room = rooms.pop()
        except IndexError:
            room = logits.new_empty(most)
        for chunk in draw.chunks(part, stream):
            made = columns(draw, here, chunk(), room)
            sums = _products(weights, made)
            around = positions(draw, sums)
            delta = difference(around + here.center, goal, draw.support)
            errors += norm(delta, distance, share).sum(dim=-1)
            if into_logits is None or into_target is None:
                continue
            by_position = slope(delta, distance, share)
            into_target[of].sub_(by_position.sum(dim=2))
            into_sums = slopes(draw, sums, around, by_position)
            made = made if small == 1 else made.mul_(small)
            with full_products(logits.device):
                into_logits[of].baddbmm_(into_sums.flatten(2), made.flatten(1, 2))
        if into_logits is not None:
            # The derivative of W = exp(scale · logits) is scale · W; samples do not change with a map's total.
            into_logits[of].mul_(weights)
        rooms.append(room)

    parts = draw.parts(len(logits), logits)
    is_on_cpu = logits.device.type == "cpu" and not is_traced()
    # Room for the columns of a block, the first being the largest, goes from part to part: given back and asked for again, it
    # would leave holes that the next does not fit. Elsewhere torch makes the offsets, in no room of ours.
    rooms: list[Tensor] = []
    rows = draw.num_rows if is_on_cpu else draw.num_columns
    most = parts[0].groups.stop * parts[0].samples[0] * rows * logits.shape[-1]
    tasks = list(zip(parts, draw.streams(parts, logits.dtype, is_again=is_again), strict=True))
    if is_on_cpu:
        side_by_side(add, tasks, number=MOST if logits.numel() >= LARGE else 1)
    else:
        for task in tasks:
            add(*task)
    error = error.reshape(batch) / draw.num_samples
    scale = (1 / draw.temperature if draw.formula == "paper" else 1.0) / small
    if into_logits is None or into_target is None:
        return error, (), scale
    return error, (into_logits.reshape(flat.shape), into_target.reshape(target.shape)), scale


def _places(draw: Draw, maps: Tensor, batch: tuple[int, ...]) -> Places:
    return places_of(support_of_groups(draw, len(maps), batch), maps.dtype, maps.device)


def _weights(draw: Draw, logits: Tensor) -> Tensor:
    """W (groups, maps, cells): π^(1/τ), or π in the released formula, but for a factor for each map.

    Raises:
        ValueError: If every cell of a map is forbidden (on the CPU always, elsewhere under HEATPOINT_CHECK=1).
    """
    scores = logits - logits.detach().amax(dim=-1, keepdim=True)
    check_normalised(draw.function, "logits", logits, scores[..., :1] if logits.shape[-1] == 0 else scores)
    scale = 1 / draw.temperature if draw.formula == "paper" else 1.0
    return (scores * scale).exp() if scores.requires_grad else scores.mul_(scale).exp_()


def _products(weights: Tensor, columns: Tensor) -> Tensor:
    """Σ_i W_mi F_sci: (g, maps, s, columns) from (g, maps, cells) and (g, s, columns, cells), in all digits."""
    with full_products(weights.device):
        sums = torch.bmm(weights, columns.flatten(1, 2).transpose(1, 2))
    return sums.unflatten(-1, columns.shape[1:3])
