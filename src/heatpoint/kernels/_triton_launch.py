"""One call of the Triton kernels: tensors as they take them, and which of them run."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from heatpoint._distances import Distance
from heatpoint.kernels._call import BASES, DISTANCES
from heatpoint.kernels._triton_call import LOGARITHMIC, Call, power_of_two
from heatpoint.support import Grid, Support

CELLS_PER_THREAD = 8
WARPS = 16


@dataclass(frozen=True)
class Made:
    """What one call of the kernels returns; None where it was not asked for."""

    loss: Tensor | None = None
    logits_gradient: Tensor | None = None
    target_gradient: Tensor | None = None
    samples: Tensor | None = None


@dataclass(frozen=True, eq=False)
class _Arrays:
    """The tensors of one call as the kernels take them: (maps, …), contiguous, float32."""

    logits: Tensor
    centers: Tensor | None
    cloud_of_map: Tensor | None
    target: Tensor | None
    axis_weight: Tensor | None
    sample_gradient: Tensor | None
    made: Made


def run(
    call: Call,
    flat: Tensor,
    *,
    target: Tensor | None = None,
    axis_weight: Tensor | None = None,
    sample_gradient: Tensor | None = None,
    distance: Distance = "l1",
    wants_gradient: bool = False,
    wants_samples: bool = False,
) -> Made:
    """Samples of maps, the mean of their distances, and its gradients, without autograd.

    A map that has no distribution, because all its cells are forbidden or one is NaN or +inf, gets NaN; no other map sees it.

    Args:
        call: What is drawn.
        flat: (*batch, cells), −inf for a forbidden cell.
        target: (*batch, D); with it the loss is made.
        axis_weight: (*batch, D) or None.
        sample_gradient: (S, *batch, D), in place of the distance's slope: the gradient is that of Σ samples · sample_gradient.
        distance: As in `heatpoint.scores.expected_error`.
        wants_gradient: Whether gradients are made, of each map's own loss.
        wants_samples: Whether the points are returned.

    Returns:
        In float32 the loss (*batch), its gradients in the shapes of flat and target, samples (S, *batch, D).
    """
    centers, cloud_of_map, middle = _centered(call.support, flat.shape[:-1])
    if target is not None and middle is not None:
        target = target.detach().double() - middle
    made = _made(call, flat, target is not None, wants_gradient, wants_samples)
    slope = None if sample_gradient is None else sample_gradient.movedim(0, -2)
    logits = _plain(flat).reshape(-1, call.support.num_cells)
    arrays = _Arrays(logits, centers, cloud_of_map, _given(target), _given(axis_weight), _given(slope), made)
    if len(logits):
        with torch.cuda.device(flat.device) if flat.is_cuda else contextlib.nullcontext():
            (_launch_parts if call.is_split else _launch_whole)(call, arrays, distance)
    points = None if made.samples is None else made.samples.movedim(-2, 0)
    return replace(made, samples=points if points is None or middle is None else (points + middle).float())


def _made(call: Call, flat: Tensor, has_loss: bool, wants_gradient: bool, wants_samples: bool) -> Made:
    """Where the kernels write what is asked for, samples of a map one after the other."""
    batch, ndim = flat.shape[:-1], call.support.ndim
    new = functools.partial(torch.empty, dtype=torch.float32, device=flat.device)
    return Made(
        loss=new(batch) if has_loss else None,
        logits_gradient=new(flat.shape) if wants_gradient else None,
        target_gradient=new((*batch, ndim)) if wants_gradient and has_loss else None,
        samples=new((*batch, call.num_samples, ndim)) if wants_samples else None,
    )


def _launch_whole(call: Call, arrays: _Arrays, distance: Distance) -> None:
    from heatpoint.kernels._gpu.whole import whole_rows

    made, num_maps, block = arrays.made, len(arrays.logits), call.padded
    whole_rows[(num_maps,)](
        arrays.logits,
        arrays.centers,
        arrays.cloud_of_map,
        arrays.target,
        arrays.axis_weight,
        arrays.sample_gradient,
        made.loss,
        made.logits_gradient,
        made.target_gradient,
        made.samples,
        _lines(call, arrays, num_maps),
        call.support.num_cells,
        call.num_samples,
        call.seed,
        call.lattice,
        call.sharpness,
        _scale(call, arrays),
        **call.geometry(),
        middle=call.middle(),
        **_choices(call),
        DISTANCE=DISTANCES[distance],
        QUADS=block // 4,
        **_options(block * (2 if call.is_crammed else 1)),
    )


@dataclass(frozen=True, eq=False)
class _Sums:
    """What the kernels for long rows hand on: maps' largest logits, and of one chunk of samples tensors (maps, samples, …)."""

    tops: Tensor
    lines: Tensor | None
    sums: Tensor
    mosts: Tensor | None
    errors: Tensor | None
    slopes: Tensor | None

    @classmethod
    def of(cls, call: Call, arrays: _Arrays) -> _Sums:
        """Room for them; they are None where the call does not need them."""
        logits, ndim, pairs = arrays.logits, call.support.ndim, (len(arrays.logits), call.chunk)
        is_cold = call.power == LOGARITHMIC
        dtype = torch.float64 if is_cold else torch.float32
        return cls(
            tops=logits.amax(dim=-1),
            lines=_lines(call, arrays, len(logits) * call.num_parts),
            sums=logits.new_empty(*pairs, call.sums, call.num_parts, dtype=dtype),
            mosts=logits.new_empty(*pairs, call.num_parts, dtype=dtype) if is_cold else None,
            errors=None if arrays.target is None else logits.new_empty(*pairs, 1 + ndim),
            slopes=None if arrays.made.logits_gradient is None else logits.new_empty(*pairs, 1 + 2 * ndim, dtype=dtype),
        )


def _launch_parts(call: Call, arrays: _Arrays, distance: Distance) -> None:
    made, num_maps, room = arrays.made, len(arrays.logits), _Sums.of(call, arrays)
    total = arrays.logits.new_zeros(num_maps, 1 + call.support.ndim)
    for first in range(0, call.num_samples, call.chunk):
        count = min(call.chunk, call.num_samples - first)
        _launch_chunk(call, arrays, distance, room, first, count)
        if room.errors is not None:
            # The last chunk may be short: then its rows lie one after the other in the first part of the room.
            total += room.errors.flatten(0, 1)[: num_maps * count].unflatten(0, (num_maps, count)).sum(dim=1)
    total /= call.num_samples
    if made.loss is not None:
        made.loss.copy_(total[:, 0].view_as(made.loss))
    if made.target_gradient is not None:
        made.target_gradient.copy_(-total[:, 1:].view_as(made.target_gradient))


def _launch_chunk(call: Call, arrays: _Arrays, distance: Distance, room: _Sums, first: int, count: int) -> None:
    """`count` samples from `first` on."""
    from heatpoint.kernels._gpu import parts

    logits, made, num_parts, chunk = arrays.logits, arrays.made, call.num_parts, (first, count)
    maps = (logits, room.tops, arrays.centers, arrays.cloud_of_map)
    drawn = (room.lines, call.support.num_cells, *chunk, call.seed, call.lattice, call.sharpness)
    every = {**call.geometry(), **_choices(call), "QUADS": call.part // 4, **_options(call.part)}
    parts.part_sums[(len(logits), num_parts)](*maps, room.sums, room.mosts, *drawn, **every)
    parts.joined_parts[(len(logits), count)](
        room.tops,
        room.sums,
        room.mosts,
        arrays.target,
        arrays.axis_weight,
        arrays.sample_gradient,
        room.errors,
        made.samples,
        room.slopes,
        *chunk,
        call.num_samples,
        num_parts,
        call.middle(),
        D=call.support.ndim,
        POWER=call.power,
        DISTANCE=DISTANCES[distance],
        WEIGHS=call.weighs,
        PARTS=power_of_two(num_parts),
        **_options(32),
    )
    if room.slopes is not None:
        kept = (*maps, room.mosts, room.slopes, made.logits_gradient)
        parts.part_gradients[(len(logits), num_parts)](*kept, *drawn, _scale(call, arrays), **every)


def _choices(call: Call) -> dict[str, Any]:
    return {
        "D": call.support.ndim,
        "BASIS": 0 if call.basis is None else BASES[call.basis.name],
        "POWER": call.power,
        "IS_PAPER": call.formula == "paper",
        "WEIGHS": call.weighs,
        "LINE": call.line,
    }


def _options(cells: int) -> dict[str, Any]:
    return {"num_warps": min(WARPS, max(1, cells // (32 * CELLS_PER_THREAD))), "enable_fp_fusion": True}


def _scale(call: Call, arrays: _Arrays) -> float:
    """The derivative's factor: of the mean over samples, or of the sum that is given."""
    return call.scale if arrays.sample_gradient is not None else call.scale / call.num_samples


def _lines(call: Call, arrays: _Arrays, num_programs: int) -> Tensor | None:
    return arrays.logits.new_empty(num_programs, call.support.ndim, 2, call.line) if call.line else None


def _centered(support: Support, batch: torch.Size) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Of points the clouds (n, N, D) less their middles; which of them each map lies on, None if all on one; the middles."""
    if isinstance(support, Grid):
        return None, None, None
    exact = support.xyz.detach().double()
    middle = exact.mean(dim=-2, keepdim=True)
    centers, leading = (exact - middle).float().contiguous(), exact.shape[:-2]
    if leading.numel() == 1:
        return centers, None, middle.reshape(support.ndim)
    index = torch.arange(leading.numel(), device=exact.device).view(leading)
    return centers, index.expand(batch).contiguous(), middle[..., 0, :]


def _given(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else _plain(tensor)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float32).contiguous()
