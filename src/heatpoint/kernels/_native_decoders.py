"""Readouts and the cross-entropy by native CPU kernels: tensors handed over to them, and their gradients to autograd."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from heatpoint._checks import looks_at
from heatpoint.kernels._library import (
    CALLS,
    INSTRUCTION_SETS,
    InstructionSet,
    LargestCall,
    NewtonCall,
    SoftmaxCall,
    library,
)
from heatpoint.support import Grid, Points, Support

# Of so many largest cells of a map the kernel makes the mean, MOST_KEPT of native/decoders_call.hpp.
_MOST_KEPT = 64
# Rows of a map shorter than this leave lanes of a vector idle: further axes become part of the row.
_LEAST_ROW = 32
# The reciprocal of the temperature is a float32.
_COLDEST = 1e-30

# A form of the same operation that autograd can look into: maps to results.
Plain = Callable[[Tensor], Tensor]


def why_not(maps: Tensor, *, takes_double: bool = False) -> str:
    """Why maps need the torch form, in a few words; empty if the kernels take them.

    >>> why_not(torch.zeros(2, 3, dtype=torch.float64))
    'the maps are float64'
    """
    if maps.device.type != "cpu":
        return f"the maps are on {maps.device.type}"
    is_hidden = type(maps) not in (Tensor, torch.nn.Parameter) or maps.layout != torch.strided
    if is_hidden or not looks_at(maps) or getattr(forward_ad, "_current_level", -1) >= 0:
        return "torch traces or transforms the call"
    if maps.dtype != torch.float32 and not (takes_double and maps.dtype == torch.float64):
        return f"the maps are {str(maps.dtype).removeprefix('torch.')}"
    return library().reason


def is_recorded(maps: Tensor) -> bool:
    """Whether autograd records what is made of the maps."""
    return maps.requires_grad and torch.is_grad_enabled()


def takes_mean(flat: Tensor, k: int) -> bool:
    """Whether `largest_mean` is a form for these maps: no gradient is asked for, and few cells."""
    return 1 < k <= _MOST_KEPT and flat.dtype == torch.float32 and not is_recorded(flat)


def why_not_mean(flat: Tensor, support: Support, *, temperature: float, sign_gradient: bool) -> str:
    """Why a mean position needs the torch form; empty if the kernel makes it."""
    if sign_gradient:
        return "sign_gradient is asked for"
    if temperature < _COLDEST:
        return f"the temperature is below {_COLDEST:g}"
    if isinstance(support, Grid):
        return "an axis of the grid is cyclic" if support.cyclic else why_not(flat)
    if support.xyz.requires_grad:
        return "the points need a gradient"
    if flat.shape[:-1] != torch.broadcast_shapes(flat.shape[:-1], support.xyz.shape[:-2]):
        return "there are fewer maps than clouds"
    return why_not(flat)


def largest(
    flat: Tensor, k: int, *, num_threads: int | None = None, instruction_set: InstructionSet = "auto"
) -> tuple[Tensor, Tensor]:
    """The k largest cells of flat maps (*batch, cells): values and indices (*batch, k), largest first, of equal ones the first.

    NaN counts as the largest, as in `torch.topk`.

    Args:
        flat: float32 or float64 on the CPU.
        k: From 1 to the number of cells.
        num_threads: None is torch.get_num_threads().
        instruction_set: For tests: which of the forms runs.

    Raises:
        RuntimeError: If there is no library, no memory, or no such instruction set.
    """
    values, index, _ = _largest(flat, k, None, num_threads, instruction_set)
    return values, index


def largest_mean(
    flat: Tensor, grid: Grid, k: int, *, num_threads: int | None = None, instruction_set: InstructionSet = "auto"
) -> Tensor:
    """The mean cell (*batch, D) of the k largest under the softmax of their values, k up to 64; NaN without a law.

    No gradient. Arguments are those of `largest`, of float32 maps on a grid whose axes are straight.
    """
    cells = _largest(flat, k, grid, num_threads, instruction_set)[2]
    assert cells is not None
    return cells


def _largest(
    flat: Tensor, k: int, grid: Grid | None, num_threads: int | None, instruction_set: InstructionSet
) -> tuple[Tensor, Tensor, Tensor | None]:
    flat = flat.detach().contiguous()
    values, index = flat.new_empty(*flat.shape[:-1], k), flat.new_empty(*flat.shape[:-1], k, dtype=torch.long)
    cells = None if grid is None else flat.new_empty(*flat.shape[:-1], grid.ndim)
    call = LargestCall(
        maps=flat.data_ptr(),
        values=values.data_ptr(),
        index=index.data_ptr(),
        cells=_address(cells),
        num_maps=flat.shape[:-1].numel(),
        num_cells=flat.shape[-1],
        num_largest=k,
        ndim=0 if grid is None else grid.ndim,
        is_double=flat.dtype == torch.float64,
        num_threads=torch.get_num_threads() if num_threads is None else num_threads,
        isa=INSTRUCTION_SETS.index(instruction_set),
    )
    if grid is not None:
        call.lengths[: grid.ndim] = grid.lengths
    _run(call, flat.numel())
    return values, index, cells


def newton_cells(
    flat: Tensor,
    peak: Tensor,
    grid: Grid,
    taps: Sequence[float],
    *,
    floor: float,
    ceiling: float,
    curvature_step: int,
    margin: int,
    ridge: float,
    one_sided_cross: bool,
    moves_inwards: bool,
    num_threads: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The peaks of `heatpoint.readout.dark` in cells (*batch, D), and for which maps they are found (*batch).

    They are not where a value around the peak is clamped, which the rescaling of the whole map decides. No gradient.

    Args:
        flat: (*batch, cells) float32 on the CPU.
        peak: (*batch), indices of the largest cells.
        grid: The grid.
        taps: Weights of the blur.
        floor: And all that follows: the rule of the variant.
        ceiling: The largest value.
        curvature_step: Of the second derivatives, 1 or 2.
        margin: Cells from a straight border within which a peak stays.
        ridge: Added to the diagonal of the Hessian.
        one_sided_cross: Whether the mixed derivative is one-sided.
        moves_inwards: Whether the expansion moves off the border.
        num_threads: None is torch.get_num_threads().

    Raises:
        RuntimeError: If there is no library or no memory.
    """
    flat, peak = flat.detach().contiguous(), peak.contiguous()
    weights = torch.tensor(taps, dtype=torch.float32)
    cells = flat.new_empty(*flat.shape[:-1], grid.ndim)
    suffices = torch.empty(flat.shape[:-1], dtype=torch.bool)
    call = NewtonCall(
        maps=flat.data_ptr(),
        peaks=peak.data_ptr(),
        taps=weights.data_ptr(),
        cells=cells.data_ptr(),
        suffices=suffices.data_ptr(),
        num_maps=peak.numel(),
        num_taps=len(taps),
        curvature_step=curvature_step,
        margin=margin,
        floor=floor,
        ceiling=ceiling,
        ridge=ridge,
        ndim=grid.ndim,
        one_sided_cross=one_sided_cross,
        moves_inwards=moves_inwards,
        num_threads=torch.get_num_threads() if num_threads is None else num_threads,
    )
    call.lengths[:] = (*grid.lengths, 1, 1)[:3]
    call.cyclic[:] = [axis in grid.cyclic for axis in range(3)]
    _run(call, flat.numel())
    return cells, suffices


@dataclass(frozen=True, eq=False)
class Places:
    """Coordinates of the cells, less a middle: the first axes by the place in a row of cells, the others by the row."""

    middle: Tensor  # (*batch, D)
    columns: Tensor  # (clouds, axes, row length)
    rows: Tensor  # (rows, other axes)
    clouds: Tensor | None = None  # (*batch) which of the clouds a map lies on


# What a softmax without coordinates needs of them.
def _nowhere(num_cells: int) -> Places:
    return Places(torch.zeros(0), torch.zeros(1, 0, num_cells), torch.zeros(1, 0))


@functools.lru_cache(maxsize=64)
def _grid_places(grid: Grid) -> Places:
    axes = [grid.axis_centers(axis, dtype=torch.float64) for axis in range(grid.ndim)]
    middle = torch.stack([(centers[0] + centers[-1]) / 2 for centers in axes])
    axes = [centers - centers.mean() for centers in axes]
    num_columns, row_length = 1, grid.lengths[0]
    while num_columns < grid.ndim and row_length < _LEAST_ROW:
        row_length *= grid.lengths[num_columns]
        num_columns += 1
    columns, rows = (
        torch.cartesian_prod(*part[::-1]).reshape(-1, len(part)).flip(-1) if part else torch.zeros(1, 0)
        for part in (axes[:num_columns], axes[num_columns:])
    )
    return Places(middle.float(), columns.float().mT.contiguous()[None], rows.float().contiguous())


def _cloud_places(points: Points, batch: torch.Size) -> Places:
    xyz = points.xyz.detach().double()
    middle = xyz.mean(dim=-2)
    columns = (xyz - middle.unsqueeze(-2)).float().mT.reshape(-1, points.ndim, points.num_cells).contiguous()
    clouds = None if len(columns) == 1 else torch.arange(len(columns)).view(xyz.shape[:-2]).expand(batch).contiguous()
    return Places(middle.float(), columns, torch.zeros(1, 0), clouds)


def softmax_mean(
    flat: Tensor,
    places: Places,
    *,
    temperature: float = 1.0,
    stats: Tensor | None = None,
    slope: Tensor | None = None,
    constant: Tensor | None = None,
    num_threads: int | None = None,
    instruction_set: InstructionSet = "auto",
) -> Tensor:
    """The law of softmax(flat / temperature) in a few numbers per map, or given these a gradient with respect to flat.

    Args:
        flat: (*batch, cells) float32 on the CPU, −inf for a forbidden cell.
        places: Coordinates of the cells.
        temperature: Divides the maps.
        stats: What an earlier call has returned; with it the result is the gradient.
        slope: (*batch, D), gradient with respect to the means.
        constant: (*batch), c for the gradient p · (slope · (place − mean) / temperature + c).
        num_threads: None is torch.get_num_threads().
        instruction_set: For tests: which of the forms runs.

    Returns:
        stats (*batch, 2 + D), the largest logit, Σ exp((logit − largest) / temperature) and the means less the middle, NaN for a
        map without a law; or the gradient (*batch, cells).

    Raises:
        RuntimeError: If there is no library, or no such instruction set.
    """
    flat = flat.detach().contiguous()
    ndim = places.middle.shape[-1]
    gradient = None if stats is None else torch.empty_like(flat)
    stats = flat.new_empty(*flat.shape[:-1], 2 + ndim) if stats is None else stats
    slope = None if slope is None else slope.to(torch.float32).contiguous()
    constant = None if constant is None else constant.to(torch.float32).contiguous()
    _run(
        SoftmaxCall(
            logits=flat.data_ptr(),
            columns=places.columns.data_ptr(),
            cloud_of_map=_address(places.clouds),
            row_places=places.rows.data_ptr(),
            slope=_address(slope),
            constant=_address(constant),
            stats=stats.data_ptr(),
            gradient=_address(gradient),
            num_maps=flat.shape[:-1].numel(),
            num_rows=places.rows.shape[0],
            row_length=places.columns.shape[-1],
            inverse_temperature=1 / temperature,
            ndim=ndim,
            num_columns=places.columns.shape[1],
            num_threads=torch.get_num_threads() if num_threads is None else num_threads,
            isa=INSTRUCTION_SETS.index(instruction_set),
        ),
        flat.numel(),
    )
    return stats if gradient is None else gradient


class _MeanPosition(torch.autograd.Function):
    """Mean positions (*batch, D) under a softmax; a second derivative is that of the plain form."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, places: Places, temperature: float, plain: Plain) -> Tensor:
        """The means; NaN where a map has no law."""
        stats = softmax_mean(flat, places, temperature=temperature)
        ctx.save_for_backward(flat, stats)
        ctx.places, ctx.temperature, ctx.plain = places, temperature, plain
        return stats[..., 2:] + places.middle

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """p · slope · (place − mean) / temperature, p made again from the maps."""
        flat, stats = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (_recorded(ctx.plain, flat, slope), None, None, None)
        found = softmax_mean(flat, ctx.places, temperature=ctx.temperature, stats=stats, slope=slope)
        return found, None, None, None


def mean_position(flat: Tensor, support: Support, *, temperature: float, plain: Plain) -> Tensor:
    """Mean positions (*batch, D) of the cells under softmax(flat / temperature), flat (*batch, cells); NaN without a law.

    Gradients flow to flat. For the backward pass the maps themselves are kept and O(1) numbers for each. `plain` makes the same
    in torch: backward passes that are recorded go through it.
    """
    places = _grid_places(support) if isinstance(support, Grid) else _cloud_places(support, flat.shape[:-1])
    found: Tensor = _MeanPosition.apply(flat, places, temperature, plain)
    return found


class _LabelCrossEntropy(torch.autograd.Function):
    """−Σ_k weight_k log p of the cell index_k, (*batch); a second derivative is that of the plain form."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, index: Tensor, weight: Tensor, plain: Plain) -> Tensor:
        """The cross-entropies; NaN where a map has no law."""
        places = _nowhere(flat.shape[-1])
        stats = softmax_mean(flat, places)
        ctx.save_for_backward(flat, stats, index, weight)
        ctx.places, ctx.plain = places, plain
        log_p = flat.gather(-1, index) - stats[..., :1] - stats[..., 1:].log()
        return -(weight * log_p.where(weight > 0, 0.0)).sum(dim=-1)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """slope · (Σ weight · p − weight at the labels), p made again from the maps."""
        flat, stats, index, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (_recorded(ctx.plain, flat, slope), None, None, None)
        found = softmax_mean(flat, ctx.places, stats=stats, constant=slope * weight.sum(dim=-1))
        return found.scatter_add_(-1, index, -slope.unsqueeze(-1) * weight), None, None, None


def label_cross_entropy(flat: Tensor, index: Tensor, weight: Tensor, *, plain: Plain) -> Tensor:
    """−Σ_k weight_k log softmax(flat) at index_k, (*batch), of maps (*batch, cells) and labels (*batch, k); NaN without a law.

    Gradients flow to flat; `plain` as in `mean_position`.
    """
    found: Tensor = _LabelCrossEntropy.apply(flat, index, weight, plain)
    return found


def _recorded(plain: Plain, flat: Tensor, slope: Tensor) -> Tensor:
    """The gradient of plain(flat), which can be differentiated again."""
    (found,) = torch.autograd.grad(plain(flat), flat, slope, create_graph=True)
    return found


def _run(call: ctypes.Structure, num_numbers: int) -> None:
    """Makes a call, unless there is nothing to be computed."""
    found = library()
    if found.handle is None:
        raise RuntimeError(found.reason)
    status = int(getattr(found.handle, CALLS[type(call)][0])(ctypes.byref(call))) if num_numbers else 0
    if status:
        reasons = {1: "it does not know this call", 2: "there is no memory", 3: "there is no such instruction set here"}
        raise RuntimeError(f"a native kernel gave up: {reasons.get(status, status)}")


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
