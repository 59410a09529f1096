"""Relaxed samples of maps that share their draws, and the matrix products that their sums over cells become.

With weights ∝ (π_i / E_i)^(1/τ), E_i exponential (Sampling-Argmax, Eq. 11, since a Gumbel variable is −log E), every sum over
cells that a sample needs is Σ_i W_mi F_si: W depends on the map alone, F on the draws alone. Where maps share draws, these sums
are one product of matrices for all maps and samples, and their gradient is another. Nothing of size samples x cells x maps
exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from heatpoint._checks import is_traced, looks_at
from heatpoint._distances import Distance, difference, norm, slope
from heatpoint._draws import remade
from heatpoint._numerics import full_precision, full_products, log_probabilities
from heatpoint.kernels._columns import Places, columns, places_of
from heatpoint.kernels._kept_gradients import scaled
from heatpoint.kernels._shared_draws import Chunk, Draw, Drawn, Part, fold, gathered, plain_samples, support_of_groups
from heatpoint.kernels._sums import SMALL, ColumnSums, RowSums, column_sums, positions, slopes, weights_of
from heatpoint.kernels._workers import MOST, Ahead, side_by_side

# Cells of maps that are worth several threads: of fewer, the blocks are so small that threads mostly wait for each other.
LARGE = 2**20
# By maps and by targets, or None where it is not wanted.
Gradients = tuple[Tensor | None, Tensor | None]


def product_samples(draw: Draw, flat: Tensor) -> Tensor:
    """What `plain_samples` gives, by one product of matrices for each block. Differentiable as often as wanted.

    Near the least temperature the gradient leaves float32 where the samples' own is of the order of 10¹².
    """
    batch = tuple(flat.shape[:-1])
    weights = weights_of(draw, fold(draw, log_probabilities(draw.function, flat)))
    places = _places(draw, weights, batch)
    found: dict[int, list[Tensor]] = {}
    for part, chunk in draw.blocks(len(weights), flat.detach()):
        samples = remade(draw.memory, _product_block, draw, places.of(part), weights[part], chunk)
        found.setdefault(part.start, []).append(samples)
    return gathered(draw, found, batch)


def _product_block(draw: Draw, places: Places, weights: Tensor, chunk: Chunk) -> Tensor:
    """Samples (s, g, maps, D) of one block."""
    drawn = chunk()
    pooled = drawn.pooled_offsets(weights.shape[1])
    with full_products(weights.device):
        sums = column_sums(draw, weights, columns(draw, places, drawn))
    return (positions(draw, sums, pooled) + places.center).permute(2, 0, 1, 3)


def product_error(
    draw: Draw, flat: Tensor, target: Tensor, *, distance: Distance, axis_weight: Tensor | None
) -> Tensor:
    """The mean distance of the samples of maps (*batch, cells) from targets, (*batch), with its gradient made as it goes.

    Memory beyond the maps: their weights, their gradient, and one block of draws or, of small maps on the CPU, two, whatever the
    number of samples.

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
    is_enabled = torch.is_grad_enabled()
    wants = is_enabled and flat.requires_grad, is_enabled and target.requires_grad
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
        wants: tuple[bool, bool],
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

        def made_again() -> Gradients:
            is_needed = ctx.needs_input_grad[:2]
            found = _error_and_gradients(
                ctx.draw, flat, target, axis_weight, ctx.distance, wants=is_needed, is_again=True
            )
            return found[1]

        mean = 1 / ctx.draw.num_samples
        return (*scaled(ctx, made, gradient, made_again, (ctx.scale * mean, mean)), *(None,) * 4)


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
    wants: tuple[bool, bool],
    is_again: bool = False,
) -> tuple[Tensor, Gradients, float]:
    """Errors (*batch); the wanted gradients of their sums over samples, by maps and targets; the factor the maps' still need."""
    logits = fold(draw, flat)
    parts = draw.parts(len(logits), logits)
    is_on_cpu, is_large = logits.device.type == "cpu" and not is_traced(), logits.numel() >= LARGE

    with full_products(logits.device):
        # Before another thread awakes: both would wait for the interpreter.
        total = _Total(draw, logits, parts[0], flat.shape[:-1], target, axis_weight, distance, wants=wants)
        tasks = list(zip(parts, draw.streams(parts, logits.dtype, is_again=is_again), strict=True))
        if is_on_cpu and not is_large and draw.goes_with_maps(logits.shape[1]):
            ahead = Ahead(drawn.made(logits.shape[1]) for drawn in draw.all_drawn(tasks))
            ahead.serve(lambda: total.add_parts(parts, ahead))
        else:
            alone = [([part], Ahead(draw.all_drawn([(part, stream)]))) for part, stream in tasks]
            if is_on_cpu:
                side_by_side(total.add_parts, alone, number=MOST if is_large else 1)
            else:
                for task in alone:
                    total.add_parts(*task)
    if looks_at(total.error) and bool(total.error.isnan().any()):
        log_probabilities(draw.function, flat)  # Raises for maps that have no distribution.
    error = total.error.reshape(flat.shape[:-1]).div_(draw.num_samples)
    scale = (1 / draw.temperature if draw.formula == "paper" else 1.0) / (SMALL if draw.is_cold else 1.0)
    by_map = None if total.into_logits is None else total.into_logits.reshape(flat.shape)
    by_target = None if total.into_target is None else total.into_target.reshape(target.shape)
    return error, (by_map, by_target), scale


class _Total:
    """Errors of the samples of all maps, and what is made of them, added up part by part, by one thread or several.

    Args:
        draw: The draws.
        logits: (groups, maps, cells).
        first: The first part, which is the largest.
        batch: The maps' batch.
        target: (*batch, D).
        axis_weight: (*batch, D), or None.
        distance: As in `product_error`.
        wants: Whether gradients by the logits and by the targets are wanted.
    """

    def __init__(
        self,
        draw: Draw,
        logits: Tensor,
        first: Part,
        batch: tuple[int, ...],
        target: Tensor,
        axis_weight: Tensor | None,
        distance: Distance,
        *,
        wants: tuple[bool, bool],
    ) -> None:
        self._draw, self._logits, self._distance = draw, logits, distance
        self._goals = fold(draw, target)[:, :, None]
        self._axis_weights = None if axis_weight is None else fold(draw, axis_weight)[:, :, None]
        goes_with_maps = draw.goes_with_maps(logits.shape[1])
        support = support_of_groups(draw, len(logits), batch)
        self._places = places_of(support, logits.dtype, logits.device, is_centered=not goes_with_maps)
        self._sums_by = RowSums if goes_with_maps else ColumnSums
        # Room for a block goes from part to part: given back and asked for again, it would leave holes too small for the next.
        self._rooms: list[Tensor] = []
        self._most = draw.room(first, logits.shape[1])
        self.error = logits.new_zeros(logits.shape[:-1])
        self.into_logits = torch.empty_like(logits) if wants[0] else None
        self.into_target = torch.zeros_like(self._goals[:, :, 0]) if wants[1] else None

    def add_parts(self, parts: Sequence[Part], draws: Ahead[Drawn]) -> None:
        """Adds these parts, which follow one another."""
        try:
            room = self._rooms.pop()
        except IndexError:
            room = self._logits.new_empty(self._most)
        # What does not depend on the draws is made for all parts at once, many small operations less, if it needs no room of its
        # own: the weights lie where the gradient comes, unless that is added up of several blocks.
        is_whole = self.into_logits is not None and len(parts[0].samples) == 1
        for some in [parts] if is_whole else [[part] for part in parts]:
            self._add(some, draws, room, is_whole=is_whole)
        self._rooms.append(room)

    def _add(self, parts: Sequence[Part], draws: Ahead[Drawn], room: Tensor, *, is_whole: bool) -> None:
        first = parts[0].groups.start
        groups = slice(first, parts[-1].groups.stop)
        into_logits = None if self.into_logits is None else self.into_logits[groups]
        sums = self._sums_by(
            self._draw, self._places.of(groups), self._logits[groups], room, into_logits, is_whole=is_whole
        )
        goals = self._goals[groups] - sums.center
        for part in parts:
            here = slice(part.groups.start - first, part.groups.stop - first)
            sums.begin(here)
            for _ in part.samples:
                self._add_block(part.groups, goals[here], sums, draws.take())
            sums.finish()

    def _add_block(self, groups: slice, goal: Tensor, sums: ColumnSums | RowSums, drawn: Drawn) -> None:
        draw = self._draw
        axis_weight = None if self._axis_weights is None else self._axis_weights[groups]
        pooled = drawn.pooled_offsets(goal.shape[1])
        found = sums.of(drawn)
        around = positions(draw, found, pooled)
        delta = difference(around, goal, draw.support)
        self.error[groups].add_(norm(delta, self._distance, axis_weight).sum(dim=-1))
        if self.into_logits is None and self.into_target is None:
            return
        by_position = slope(delta, self._distance, axis_weight)
        if self.into_target is not None:
            self.into_target[groups].sub_(by_position.sum(dim=2))
        if self.into_logits is not None:
            sums.give(slopes(draw, found, around, by_position, pooled))


def _places(draw: Draw, maps: Tensor, batch: tuple[int, ...]) -> Places:
    return places_of(support_of_groups(draw, len(maps), batch), maps.dtype, maps.device)
