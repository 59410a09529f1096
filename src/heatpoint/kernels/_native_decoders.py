"""Readouts of chosen cells by native CPU kernels: the largest cells, the peak of a fitted Gaussian."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad

from heatpoint._checks import looks_at
from heatpoint.kernels._library import CALLS, INSTRUCTION_SETS, InstructionSet, LargestCall, NewtonCall, library
from heatpoint.support import Grid

# Of so many largest cells of a map the kernel makes the mean, MOST_KEPT of native/decoders_call.hpp.
_MOST_KEPT = 64


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
        cells=address(cells),
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
    run(call, flat.numel())
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
    run(call, flat.numel())
    return cells, suffices


def run(call: ctypes.Structure, num_numbers: int) -> None:
    """Makes a call, unless there is nothing to be computed.

    Raises:
        RuntimeError: If there is no library, no memory, no such instruction set, or the call is not one the kernels know.
    """
    found = library()
    if found.handle is None:
        raise RuntimeError(found.reason)
    status = int(getattr(found.handle, CALLS[type(call)][0])(ctypes.byref(call))) if num_numbers else 0
    if status:
        reasons = {1: "it does not know this call", 2: "there is no memory", 3: "there is no such instruction set here"}
        raise RuntimeError(f"a native kernel gave up: {reasons.get(status, status)}")


def address(tensor: Tensor | None) -> int | None:
    """Where a tensor lies in memory."""
    return None if tensor is None else tensor.data_ptr()
