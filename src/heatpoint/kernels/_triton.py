"""Sampling-argmax on a GPU in one pass: what the Triton kernels take, and their gradient handed to autograd."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import math
import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from heatpoint._distances import Distance
from heatpoint._numerics import check_normalised
from heatpoint._relaxed import Formula
from heatpoint.basis import Basis, Gaussian, Triangular
from heatpoint.support import Grid, Support

BASES = {"uniform": 1, "triangular": 2, "gaussian": 3}
DISTANCES: dict[Distance, int] = {"l1": 0, "l2": 1, "smooth_l1": 2, "squared": 3}
# Temperatures at which E^(−1/τ) needs no logarithm; other temperatures, and those below COLD, where it overflows.
POWERS = {2.0: 0, 1.0: 1, 0.5: 2}
GENERAL, LOGARITHMIC = 3, 4
COLD = 0.25
# The gradient is divided by the temperature, in float32.
COLDEST = 1e-30
# Cells that one program holds in its registers; longer rows are cut into parts.
ROW, PART = 8192, 2048
CELLS_PER_THREAD = 8
WARPS = 16
OLDEST = (8, 0)


def is_interpreted() -> bool:
    """Whether Triton runs its kernels in Python, for tests on machines without a GPU; to be set before its import."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def is_installed() -> bool:
    """Whether Triton can be imported."""
    return importlib.util.find_spec("triton") is not None


@functools.cache
def why_not_here() -> str:
    """Why there are no Triton kernels on this machine, "" if there are."""
    if not is_installed():
        return "Triton is not installed; it comes with torch for CUDA"
    if is_interpreted():
        return ""
    if torch.version.hip is not None:
        return "the Triton kernels were never tried on ROCm"
    return "" if torch.cuda.is_available() else "there is no CUDA device"


def obstacle(
    logits: Tensor, support: Support, *, basis: Basis | None, formula: Formula, temperature: float, sign_gradient: bool
) -> str:
    """Why the Triton kernels cannot compute this, or ""."""
    if why_not_here():
        return why_not_here()
    if not is_interpreted():
        if logits.device.type != "cuda":
            return f"the logits are on {logits.device.type}"
        if torch.cuda.get_device_capability(logits.device) < OLDEST:
            return "the GPU is older than Triton takes, compute capability {}.{}".format(*OLDEST)
    if logits.dtype == torch.float64:
        return "the logits are float64"
    if sign_gradient:
        return "sign_gradient is asked for"
    if temperature < COLDEST:
        return f"the temperature is below {COLDEST}"
    if isinstance(support, Grid):
        if support.cyclic:
            return "an axis of the grid is cyclic"
        weighs = isinstance(basis, Triangular) or (isinstance(basis, Gaussian) and support.ndim == 2)
        return "the released formula weighs the offsets of this basis" if formula == "released" and weighs else ""
    if formula == "released" or not (basis is None or isinstance(basis, Gaussian)):
        return "the formula or the basis has no meaning on points"
    return "the points need a gradient" if support.xyz.requires_grad else ""


@dataclass(frozen=True, eq=False)
class Call:
    """What is drawn, and what is made of it.

    Args:
        support: A Grid without cyclic axes, or Points.
        seed: () int64 on the device of the maps: it is read there, and no one waits for it.
        num_samples: S.
        basis: Sub-distribution of a cell, or None.
        temperature: τ.
        formula: "paper" or "released".
        distance: As in `heatpoint.scores.expected_error`.
        longest_row: Cells of the longest row that one program takes whole.
        part: Cells of a part of a longer one; a power of two, at least 64, as is longest_row.
    """

    support: Support
    seed: Tensor
    num_samples: int
    basis: Basis | None = None
    temperature: float = 1.0
    formula: Formula = "paper"
    distance: Distance = "l1"
    longest_row: int = ROW
    part: int = PART

    @property
    def power(self) -> int:
        """How the kernels make E^(−1/τ)."""
        return LOGARITHMIC if self.temperature < COLD else POWERS.get(self.temperature, GENERAL)

    def inverse_temperature(self) -> tuple[float, float]:
        """1/τ as a sum of two; the first has 12 binary digits, so that its product with a float's exponent is exact."""
        inverse = 1 / self.temperature
        fraction, exponent = math.frexp(inverse)
        head = math.ldexp(round(fraction * 2**12) / 2**12, exponent)
        return head, inverse - head

    def geometry(self) -> dict[str, float]:
        """Lengths and strides of the axes, and units of the offsets: arguments of the kernels."""
        support, ndim = self.support, self.support.ndim
        is_grid = isinstance(support, Grid)
        strides = [*(support.strides if isinstance(support, Grid) else (1.0,) * ndim), 1.0, 1.0][:3]
        lengths = [*(support.lengths if isinstance(support, Grid) else (1,) * ndim), 1, 1][:3]
        sigma = self.basis.scale if isinstance(self.basis, Gaussian) else 1.0
        named: dict[str, float] = {f"length_{axis}": length for axis, length in zip("xyz", lengths, strict=True)}
        named |= {f"stride_{axis}": stride if is_grid else 1.0 for axis, stride in zip("xyz", strides, strict=True)}
        return named | {f"unit_{axis}": stride * sigma for axis, stride in zip("xyz", strides, strict=True)}

    def middle(self) -> dict[str, float]:
        """The middle of a grid, from which positions are measured; 0 for points, whose targets are moved instead."""
        middle = [0.0, 0.0, 0.0]
        if isinstance(self.support, Grid):
            for axis, length in enumerate(self.support.lengths):
                middle[axis] = self.support.offsets[axis] + self.support.strides[axis] * (length - 1) / 2
        return {f"middle_{axis}": place for axis, place in zip("xyz", middle, strict=True)}


@dataclass(frozen=True, eq=False)
class _Arrays:
    """The tensors of one call as the kernels take them: (maps, …), contiguous, float32."""

    logits: Tensor
    target: Tensor
    axis_weight: Tensor | None
    centers: Tensor | None
    cloud_of_map: Tensor | None
    loss: Tensor
    gradient: Tensor | None
    target_gradient: Tensor | None


def error_and_gradients(
    call: Call, flat: Tensor, target: Tensor, axis_weight: Tensor | None, *, wants_gradient: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The mean distance of the samples, (*batch), and its gradients with respect to maps and targets, or None.

    A map that has no distribution, because all its cells are forbidden or one is NaN or +inf, gets NaN; no other map sees it.

    Args:
        call: What is drawn.
        flat: (*batch, cells), −inf for a forbidden cell.
        target: (*batch, D).
        axis_weight: (*batch, D) or None.
        wants_gradient: Whether gradients are made.
    """
    batch, (cells, ndim) = flat.shape[:-1], (call.support.num_cells, call.support.ndim)
    centers, cloud_of_map = None, None
    if not isinstance(call.support, Grid):
        centers, cloud_of_map, target = _around_middle(call.support.xyz, batch, target)
    arrays = _Arrays(
        logits=_plain(flat).reshape(-1, cells),
        target=_plain(target).reshape(-1, ndim),
        axis_weight=None if axis_weight is None else _plain(axis_weight).reshape(-1, ndim),
        centers=centers,
        cloud_of_map=cloud_of_map,
        loss=flat.new_empty(batch, dtype=torch.float32),
        gradient=flat.new_empty(flat.shape, dtype=torch.float32) if wants_gradient else None,
        target_gradient=flat.new_empty(target.shape, dtype=torch.float32) if wants_gradient else None,
    )
    if arrays.loss.numel():
        with torch.cuda.device(flat.device) if flat.is_cuda else contextlib.nullcontext():
            (_launch_whole if _padded(cells) <= call.longest_row else _launch_parts)(call, arrays)
    return arrays.loss, arrays.gradient, arrays.target_gradient


class SampledError(torch.autograd.Function):
    """The mean distance of samples to the target, (*batch), with its gradient made in the forward pass.

    `apply(flat (*batch, cells), target (*batch, D), axis_weight, call)`. Not twice differentiable: a backward pass
    with create_graph raises.
    """

    @staticmethod
    def forward(ctx: Any, flat: Tensor, target: Tensor, axis_weight: Tensor | None, call: Call) -> Tensor:
        """Loss of every map; NaN where a map has no distribution."""
        wants = any(ctx.needs_input_grad[:2])
        loss, gradient, target_gradient = error_and_gradients(call, flat, target, axis_weight, wants_gradient=wants)
        ctx.save_for_backward(gradient, target_gradient)
        ctx.dtypes = flat.dtype, target.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """The kept gradients, each map's times the slope of its loss."""
        if torch.is_grad_enabled():
            # The kept gradient is a constant to autograd: a penalty on it would have no effect, and nobody would know.
            raise RuntimeError(
                "expected_error: create_graph must be False for the Triton form, which has no second derivative. Compute "
                'under heatpoint.kernels.use("torch").'
            )
        wanted = ctx.needs_input_grad
        found = [
            (made * slope[..., None]).to(dtype) if is_wanted else None
            for made, dtype, is_wanted in zip(ctx.saved_tensors, ctx.dtypes, wanted, strict=False)
        ]
        return (*found, None, None)


def expected_error(
    logits: Tensor,
    support: Support,
    target: Tensor,
    *,
    axis_weight: Tensor | None = None,
    generator: torch.Generator | None = None,
    num_samples: int,
    basis: Basis | None = None,
    temperature: float = 1.0,
    formula: Formula = "paper",
    distance: Distance = "l1",
) -> Tensor:
    """(*batch) of `heatpoint.scores.expected_error` with num_samples, differentiable in logits (*batch, cells) and target.

    Arguments are checked already, and `obstacle` is "". One 64-bit seed is drawn from the generator per call; nothing is drawn in
    the backward pass.

    Raises:
        ValueError: If every cell of a map is forbidden (on the CPU always, elsewhere under HEATPOINT_CHECK=1).
    """
    batch, ndim = logits.shape[:-1], support.ndim
    weight = None if axis_weight is None else axis_weight.expand(*batch, ndim)
    home = logits.device if generator is None else generator.device
    seed = torch.empty((), dtype=torch.int64, device=home).random_(generator=generator).to(logits.device)
    call = Call(support, seed, num_samples, basis, temperature, formula, distance)
    loss: Tensor = SampledError.apply(logits, target.expand(*batch, ndim), weight, call)
    check_normalised("expected_error", "logits", logits, loss[..., None])
    return loss


def _launch_whole(call: Call, arrays: _Arrays) -> None:
    from heatpoint.kernels import _triton_kernels as kernels

    block = _padded(call.support.num_cells)
    kernels.whole_rows[(arrays.loss.numel(),)](
        arrays.logits,
        arrays.centers,
        arrays.cloud_of_map,
        arrays.target,
        arrays.axis_weight,
        arrays.loss,
        arrays.gradient,
        arrays.target_gradient,
        call.support.num_cells,
        call.num_samples,
        call.seed,
        *call.inverse_temperature(),
        _scale(call),
        **call.geometry(),
        **call.middle(),
        **_choices(call, arrays),
        **_distance_choices(call, arrays),
        QUADS=block // 4,
        num_warps=_warps(block),
        enable_fp_fusion=True,
    )


def _launch_parts(call: Call, arrays: _Arrays) -> None:
    from heatpoint.kernels import _triton_kernels as kernels

    logits, cells, ndim = arrays.logits, call.support.num_cells, call.support.ndim
    num_maps, num_parts = len(logits), -(-cells // call.part)
    tops = logits.amax(dim=-1)
    is_cold, pairs = call.power == LOGARITHMIC, (num_maps, call.num_samples)
    dtype = torch.float64 if is_cold else torch.float32
    sums = logits.new_empty(*pairs, 1 + ndim, num_parts, dtype=dtype)
    mosts = logits.new_empty(*pairs, num_parts, dtype=dtype) if is_cold else None
    slopes = None if arrays.gradient is None else logits.new_empty(*pairs, 1 + 2 * ndim, dtype=dtype)
    drawn = (cells, call.num_samples, call.seed, *call.inverse_temperature())
    every = {**call.geometry(), **_choices(call, arrays), "QUADS": call.part // 4}
    every |= {"num_warps": _warps(call.part), "enable_fp_fusion": True}
    grid = (num_maps, num_parts)
    kernels.part_sums[grid](logits, tops, arrays.centers, arrays.cloud_of_map, sums, mosts, *drawn, **every)
    kernels.joined_parts[(num_maps,)](
        tops,
        sums,
        mosts,
        arrays.target,
        arrays.axis_weight,
        arrays.loss,
        arrays.target_gradient,
        slopes,
        call.num_samples,
        num_parts,
        **call.middle(),
        **_distance_choices(call, arrays),
        D=ndim,
        POWER=call.power,
        PARTS=_power_of_two(num_parts),
        num_warps=1,
        enable_fp_fusion=True,
    )
    if arrays.gradient is not None:
        clouds = (arrays.centers, arrays.cloud_of_map)
        kernels.part_gradients[grid](
            logits, tops, *clouds, mosts, slopes, arrays.gradient, *drawn, _scale(call), **every
        )


def _choices(call: Call, arrays: _Arrays) -> dict[str, Any]:
    return {
        "D": call.support.ndim,
        "BASIS": 0 if call.basis is None else BASES[call.basis.name],
        "POWER": call.power,
        "IS_PAPER": call.formula == "paper",
        "IS_GRID": arrays.centers is None,
        "HAS_CLOUDS": arrays.cloud_of_map is not None,
    }


def _distance_choices(call: Call, arrays: _Arrays) -> dict[str, Any]:
    return {
        "DISTANCE": DISTANCES[call.distance],
        "IS_WEIGHTED": arrays.axis_weight is not None,
        "WANTS_GRADIENT": arrays.gradient is not None,
    }


def _scale(call: Call) -> float:
    """What the derivative of a sample with respect to the logits is multiplied by."""
    return (1 / call.temperature if call.formula == "paper" else 1.0) / call.num_samples


def _around_middle(xyz: Tensor, batch: torch.Size, target: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """Clouds (n, N, D) less their middles; which of them each map lies on, None if all on one; targets less the middles."""
    exact = xyz.detach().double()
    middle = exact.mean(dim=-2, keepdim=True)
    centers = (exact - middle).float().contiguous()
    moved = target.detach().double() - middle[..., 0, :]
    leading = xyz.shape[:-2]
    if leading.numel() == 1:
        return centers, None, moved
    index = torch.arange(leading.numel(), device=xyz.device).view(leading)
    return centers, index.expand(batch).contiguous(), moved


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float32).contiguous()


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _padded(cells: int) -> int:
    """Cells of the tile that holds a row."""
    return max(64, _power_of_two(cells))


def _warps(cells: int) -> int:
    return min(WARPS, max(1, cells // (32 * CELLS_PER_THREAD)))
