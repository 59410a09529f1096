"""Readouts of chosen cells by native CPU kernels: the largest cells, the peak of a fitted Gaussian."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from heatpoint.kernels._library import (
    INSTRUCTION_SETS,
    InstructionSet,
    LargestCall,
    NewtonCall,
    address,
    library,
    run,
)
from heatpoint.kernels._readable import unreadable
from heatpoint.support import Grid, Support

# Of so many largest cells of a map the kernel makes the mean, MOST_KEPT of native/decoders_call.hpp.
MOST_KEPT = 64
# A patch of more cells than so many maps takes longer than the maps do in torch.
_MOST_MAPS = 8


def why_not(maps: Tensor, *, takes_double: bool = False) -> str:
    """Why maps need the torch form, in a few words; empty if the kernels take them.

    >>> why_not(torch.zeros(2, 3, dtype=torch.float64))
    'the maps are float64'
    """
    if maps.device.type != "cpu":
        return f"the maps are on {maps.device.type}"
    if maps.dtype != torch.float32 and not (takes_double and maps.dtype == torch.float64):
        return f"the maps are {str(maps.dtype).removeprefix('torch.')}"
    return unreadable(maps) or library().reason


def why_not_recorded(maps: Tensor) -> str:
    """`why_not` of a kernel that makes no gradient."""
    return "the maps need a gradient" if maps.requires_grad and torch.is_grad_enabled() else why_not(maps)


def why_not_mean(flat: Tensor, support: Support, k: int) -> str:
    """Why the mean of the k largest cells needs the torch form; empty if `largest_mean` makes it.

    >>> why_not_mean(torch.zeros(2, 100), Grid((10, 10)), 65)
    'k is above 64'
    """
    if not isinstance(support, Grid):
        return "the support is no grid"
    if support.cyclic:
        return "an axis of the grid is cyclic"
    return f"k is above {MOST_KEPT}" if k > MOST_KEPT else why_not_recorded(flat)


def why_not_newton(maps: Tensor, grid: Grid, *, num_taps: int, curvature_step: int) -> str:
    """Why the peaks of `heatpoint.readout.dark` need the torch form; empty if `newton_cells` finds them."""
    room = (num_taps + 2 * curvature_step) ** grid.ndim
    # The kernel blurs a patch of its own around every peak, the torch form at worst each map once, by matrix products.
    return "the blur is far wider than the maps" if room > _MOST_MAPS * grid.num_cells else why_not_recorded(maps)


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
    weights = torch.tensor(taps, dtype=torch.float32, device="cpu")
    cells = flat.new_empty(*flat.shape[:-1], grid.ndim)
    suffices = flat.new_empty(flat.shape[:-1], dtype=torch.bool)
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
