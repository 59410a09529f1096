"""The largest cells of many maps at once, found through the maxima of blocks: the cells of the plain form, sooner.

torch.max and torch.topk look at every cell on its own; the maximum of a block is a matter of vector instructions. The largest
cells lie in the blocks with the largest maxima, so that all but a few cells are seen by those instructions only. Nothing is
approximate.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional

from heatpoint._checks import looks_at
from heatpoint.kernels import choose
from heatpoint.kernels._native_decoders import largest, why_not

# Below these sizes the calls of the further stages cost more than they save.
_LEAST_CELLS = 256
_LEAST_TO_COMPARE, _LEAST_TO_RANK = 2**15, 2**18
# torch takes the maximum of a row in steps of so many numbers, and what is left over one by one.
_STEP = 32


def first_largest(flat: Tensor, *, function: str = "first_largest") -> tuple[Tensor, Tensor]:
    """The largest value of flat maps (*batch, cells) and the index of the first cell that has it, both (*batch).

    A map with a NaN gives its first NaN, as `torch.max` does. One pass over the maps on the CPU, where a native kernel does it.

    >>> first_largest(torch.tensor([[1.0, 3.0, 3.0], [-torch.inf, -2.0, -3.0]]))
    (tensor([ 3., -2.]), tensor([1, 1]))
    """
    if choose(function, {"native": why_not(flat, takes_double=True)}) == "native":
        most, cells = largest(flat, 1)
        return most.squeeze(-1), cells.squeeze(-1)
    block = _peak_block(flat.shape[-1]) if _is_worth_blocks(flat, _LEAST_TO_COMPARE) else 0
    if not block:
        values, index = flat.max(dim=-1)
        return values, index
    blocks = flat.reshape(-1, block)
    maxima = blocks.amax(dim=-1).view(-1, flat.shape[-1] // block)
    best = maxima.argmax(dim=-1)
    values, inside = functional.embedding(best + _row_starts(maxima), blocks).max(dim=-1)
    return values.view(flat.shape[:-1]), (best * block + inside).view(flat.shape[:-1])


def largest_cells(flat: Tensor, k: int, *, function: str = "largest_cells") -> Tensor:
    """Indices (*batch, k) of the k largest cells of flat maps (*batch, cells), in no order; NaN counts as the largest.

    Which of several equal cells comes last is left open. On the CPU one pass over the maps, in a native kernel or in torch;
    there some 200 of the 4096 cells of a map are ranked afterwards for k = 9.

    >>> largest_cells(torch.tensor([1.0, 5.0, 4.0, 2.0]), 2).sort().values
    tensor([1, 2])
    """
    if choose(function, {"native": why_not(flat, takes_double=True)}) == "native":
        return largest(flat, k)[1]
    rounds = _rounds(flat.shape[-1], k) if _is_worth_blocks(flat, _LEAST_TO_RANK) else None
    if rounds is not None:
        block, group = rounds
        blocks = flat.reshape(-1, block)
        maxima = blocks.amax(dim=-1).view(-1, flat.shape[-1] // block)
        if not bool(maxima.isnan().any()):
            return _knockout(blocks, maxima, k, group).view(*flat.shape[:-1], k)
    return flat.topk(k, dim=-1, sorted=False).indices


def _knockout(blocks: Tensor, maxima: Tensor, k: int, group: int) -> Tensor:
    """The k best blocks of each row of maxima, of their cells the k best groups, of theirs the k best cells: (rows, k)."""
    block = blocks.shape[-1]
    won = _best(maxima, k)
    # Cells (row, place in the group, group): the groups of a row are strided, which a maximum over the middle reads in order.
    num_groups = k * block // group
    semifinal = functional.embedding(won + _row_starts(maxima).unsqueeze(-1), blocks).view(-1, group, num_groups)
    groups = _best(semifinal.amax(dim=1), k)
    places = torch.arange(group, device=blocks.device).unsqueeze(-1) * num_groups
    finalists = (groups.unsqueeze(1) + places).flatten(1)
    chosen = finalists.gather(-1, _best(semifinal.flatten(1).gather(-1, finalists), k))
    return won.gather(-1, torch.div(chosen, block, rounding_mode="floor")) * block + chosen % block


def _best(values: Tensor, k: int) -> Tensor:
    """Indices of the k largest, by whole numbers in the order of the values, which topk compares 1.5 times as fast.

    The bits of a positive number are in its order already, those of a negative one in the opposite order.
    """
    bits = torch.int32 if values.dtype == torch.float32 else torch.int64
    whole = values.view(bits)
    keys = (whole >> (torch.iinfo(bits).bits - 1)).bitwise_and_(torch.iinfo(bits).max).bitwise_xor_(whole)
    return keys.topk(k, dim=-1, sorted=False).indices


def _row_starts(maxima: Tensor) -> Tensor:
    """Index of the first block of every row, (rows)."""
    return torch.arange(len(maxima), device=maxima.device) * maxima.shape[-1]


def _is_worth_blocks(flat: Tensor, least_numbers: int) -> bool:
    """Whether there are enough numbers, on the CPU, and no transform or tracing of torch that could not look at them."""
    is_large = flat.shape[-1] >= _LEAST_CELLS and flat.numel() >= least_numbers
    return is_large and flat.device.type == "cpu" and flat.dtype in (torch.float32, torch.float64) and looks_at(flat)


@functools.cache
def _peak_block(cells: int) -> int:
    """Length of the blocks that a map of so many cells is divided into without a rest, near the root; 0 if there is none."""
    blocks = [block for block in _divisors(cells) if block % _STEP == 0 and block <= cells // 4]
    return min(blocks, key=lambda block: cells // block + block, default=0)


@functools.cache
def _rounds(cells: int, k: int) -> tuple[int, int] | None:
    """Length of the blocks and of the groups for which the three rounds rank the fewest numbers; None if that is no gain."""
    options = [
        (cells // block + k * block // group + k * group, block, group)
        for block in _divisors(cells)
        if block % _STEP == 0 and block <= cells // k
        for group in _divisors(block)
    ]
    ranked, block, group = min(options, default=(cells, 0, 0))
    return (block, group) if ranked <= cells // 6 else None


def _divisors(number: int) -> list[int]:
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)})
