"""One call of the Triton kernels: tensors as they take them, and which of them run."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from heatpoint._distances import Distance
from heatpoint._relaxed import Formula
from heatpoint.basis import Basis, Gaussian, Triangular
from heatpoint.support import Grid, Support

BASES = {"uniform": 1, "triangular": 2, "gaussian": 3}
DISTANCES: dict[Distance, int] = {"l1": 0, "l2": 1, "smooth_l1": 2, "squared": 3}
# Temperatures at which E^(−1/τ) needs no logarithm; other temperatures, and those below COLD, where it overflows.
POWERS = {2.0: 0, 1.0: 1, 0.5: 2}
GENERAL, LOGARITHMIC = 3, 4
COLD = 0.25
# Cells that one program holds in its registers; longer rows are cut into parts.
ROW, PART = 8192, 2048
CELLS_PER_THREAD = 8
WARPS = 16


@dataclass(frozen=True, eq=False)
class Call:
    """What is drawn.

    Args:
        support: A Grid without cyclic axes, or Points.
        seed: () int64 on the device of the maps: it is read there, and no one waits for it.
        num_samples: S.
        basis: Sub-distribution of a cell, or None.
        temperature: τ.
        formula: "paper" or "released".
        longest_row: Cells of the longest row that one program takes whole.
        part: Cells of a part of a longer one; a power of two, at least 64, as is longest_row.
    """

    support: Support
    seed: Tensor
    num_samples: int
    basis: Basis | None = None
    temperature: float = 1.0
    formula: Formula = "paper"
    longest_row: int = ROW
    part: int = PART

    @property
    def power(self) -> int:
        """How the kernels make E^(−1/τ)."""
        return LOGARITHMIC if self.temperature < COLD else POWERS.get(self.temperature, GENERAL)

    @property
    def sharpness(self) -> tuple[float, float]:
        """1/τ as a sum of two; the first has 12 binary digits, so that its product with a float's exponent is exact."""
        inverse = 1 / self.temperature
        fraction, exponent = math.frexp(inverse)
        head = math.ldexp(round(fraction * 2**12) / 2**12, exponent)
        return head, inverse - head

    @property
    def scale(self) -> float:
        """What the derivative of a sample with respect to the logits is multiplied by."""
        return 1 / self.temperature if self.formula == "paper" else 1.0

    @property
    def line(self) -> int:
        """Room for the positions of an axis, which the offsets of the released formula belong to; 0 if there are none."""
        if self.formula == "paper" or self.basis is None or not isinstance(self.support, Grid):
            return 0
        return max(16, power_of_two(max(self.support.lengths)))

    @property
    def weighs(self) -> bool:
        """Whether a position's offset changes what its weight counts."""
        is_plane = isinstance(self.basis, Gaussian) and self.support.ndim == 2
        return self.line > 0 and (isinstance(self.basis, Triangular) or is_plane)

    def geometry(self) -> dict[str, tuple[float, ...]]:
        """Lengths and strides of the axes, and units of the offsets: arguments of the kernels."""
        support, ndim = self.support, self.support.ndim
        lengths = support.lengths if isinstance(support, Grid) else (1,) * ndim
        strides = tuple(map(float, support.strides)) if isinstance(support, Grid) else (1.0,) * ndim
        sigma = self.basis.scale if isinstance(self.basis, Gaussian) else 1.0
        return {"lengths": lengths, "strides": strides, "units": tuple(stride * sigma for stride in strides)}

    def middle(self) -> tuple[float, ...]:
        """The middle of a grid, from which positions are measured; 0 for points, whose targets are moved instead."""
        if not isinstance(self.support, Grid):
            return (0.0,) * self.support.ndim
        axes = zip(self.support.lengths, self.support.strides, self.support.offsets, strict=True)
        return tuple(float(offset + stride * (length - 1) / 2) for length, stride, offset in axes)


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
    batch, cells, ndim = flat.shape[:-1], call.support.num_cells, call.support.ndim
    centers, cloud_of_map, middle = _centered(call.support, batch)
    if target is not None and middle is not None:
        target = target.detach().double() - middle
    logits, has_loss = _plain(flat).reshape(-1, cells), target is not None
    made = Made(
        loss=logits.new_empty(batch) if has_loss else None,
        logits_gradient=logits.new_empty(flat.shape) if wants_gradient else None,
        target_gradient=logits.new_empty(*batch, ndim) if wants_gradient and has_loss else None,
        samples=logits.new_empty(*batch, call.num_samples, ndim) if wants_samples else None,
    )
    arrays = _Arrays(
        logits=logits,
        centers=centers,
        cloud_of_map=cloud_of_map,
        target=None if target is None else _plain(target),
        axis_weight=None if axis_weight is None else _plain(axis_weight),
        sample_gradient=None if sample_gradient is None else _plain(sample_gradient.movedim(0, -2)),
        made=made,
    )
    if batch.numel():
        with torch.cuda.device(flat.device) if flat.is_cuda else contextlib.nullcontext():
            (_launch_whole if _padded(cells) <= call.longest_row else _launch_parts)(call, arrays, distance)
    if made.samples is None:
        return made
    points = made.samples.movedim(-2, 0)
    return replace(made, samples=points if middle is None else (points + middle).float())


def _launch_whole(call: Call, arrays: _Arrays, distance: Distance) -> None:
    from heatpoint.kernels._gpu.whole import whole_rows

    made, num_maps, block = arrays.made, len(arrays.logits), _padded(call.support.num_cells)
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
        call.sharpness,
        _scale(call, arrays),
        **call.geometry(),
        middle=call.middle(),
        **_choices(call),
        DISTANCE=DISTANCES[distance],
        QUADS=block // 4,
        **_options(block),
    )


def _launch_parts(call: Call, arrays: _Arrays, distance: Distance) -> None:
    from heatpoint.kernels._gpu import parts

    logits, made, cells, ndim = arrays.logits, arrays.made, call.support.num_cells, call.support.ndim
    num_maps, num_parts = len(logits), -(-cells // call.part)
    tops = logits.amax(dim=-1)
    is_cold, pairs = call.power == LOGARITHMIC, (num_maps, call.num_samples)
    dtype = torch.float64 if is_cold else torch.float32
    sums = logits.new_empty(*pairs, 1 + (2 if call.weighs else 1) * ndim, num_parts, dtype=dtype)
    mosts = logits.new_empty(*pairs, num_parts, dtype=dtype) if is_cold else None
    slopes = None if made.logits_gradient is None else logits.new_empty(*pairs, 1 + 2 * ndim, dtype=dtype)
    lines = _lines(call, arrays, num_maps * num_parts)
    drawn = (lines, cells, call.num_samples, call.seed, call.sharpness)
    every = {**call.geometry(), **_choices(call), "QUADS": call.part // 4, **_options(call.part)}
    parts.part_sums[(num_maps, num_parts)](
        logits, tops, arrays.centers, arrays.cloud_of_map, sums, mosts, *drawn, **every
    )
    parts.joined_parts[(num_maps,)](
        tops,
        sums,
        mosts,
        arrays.target,
        arrays.axis_weight,
        arrays.sample_gradient,
        made.loss,
        made.target_gradient,
        made.samples,
        slopes,
        call.num_samples,
        num_parts,
        call.middle(),
        D=ndim,
        POWER=call.power,
        DISTANCE=DISTANCES[distance],
        WEIGHS=call.weighs,
        PARTS=power_of_two(num_parts),
        **_options(32),
    )
    if slopes is not None:
        parts.part_gradients[(num_maps, num_parts)](
            logits,
            tops,
            arrays.centers,
            arrays.cloud_of_map,
            mosts,
            slopes,
            made.logits_gradient,
            *drawn,
            _scale(call, arrays),
            **every,
        )


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


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float32).contiguous()


def power_of_two(number: int) -> int:
    """The smallest power of two that is not less."""
    return 1 << (number - 1).bit_length()


def _padded(cells: int) -> int:
    """Cells of the tile that holds a row."""
    return max(64, power_of_two(cells))
