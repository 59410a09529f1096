"""Random bits of draws that maps share, and the uniforms and offsets that are made of them in few passes.

A cell's Gumbel draw takes a word of 32 bits, of which 23 count, an offset one of 16: the centres of 2²³ and of 2¹⁶ equal parts
of [0, 1]. So an offset is one of 65 536 quantiles of the basis, looked up in a table, and the Gaussian's end 4.2 σ out.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from heatpoint.basis import Basis
from heatpoint.support import Grid, Support

QUANTILES = 2**16


class Bits(Protocol):
    """A stream of random bits."""

    def words(self, count: int) -> Tensor:
        """The next `count` words of 32 bits, int32 on the stream's device, and half of one that is left over with them."""

    def halves(self, count: int) -> Tensor:
        """The next `count` words of 16 bits, uint16, and what is left over with them of 64 bits."""

    def again(self) -> Bits:
        """Another stream of what is to come."""


class HostBits:
    """Bits by SFC64 of numpy: 64 of them take the CPU half as long as 24 by torch's generator."""

    def __init__(self, seed: np.random.SeedSequence) -> None:
        self._seed = seed
        self._source: np.random.SFC64 | None = None

    def words(self, count: int) -> Tensor:
        """(count,) int32."""
        return torch.from_numpy(self._raw(-(-count // 2)).view(np.int32)[:count])

    def halves(self, count: int) -> Tensor:
        """(count,) uint16."""
        return torch.from_numpy(self._raw(-(-count // 4)).view(np.uint16)[:count])

    def _raw(self, count: int) -> npt.NDArray[np.uint64]:
        if self._source is None:  # Here rather than before, since it takes a while and threads do it side by side.
            self._source = np.random.SFC64(self._seed)
        return self._source.random_raw(count)

    def again(self) -> HostBits:
        """Another stream of what is to come."""
        other = HostBits(self._seed)
        if self._source is not None:
            other._source = np.random.SFC64(self._seed)
            other._source.state = self._source.state
        return other


class DeviceBits:
    """Bits by a torch.Generator, on its device."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def words(self, count: int) -> Tensor:
        """(count,) int32."""
        return self._raw(-(-count // 2)).view(torch.int32)[:count]

    def halves(self, count: int) -> Tensor:
        """(count,) uint16."""
        return self._raw(-(-count // 4)).view(torch.uint16)[:count]

    def _raw(self, count: int) -> Tensor:
        words = torch.empty(count, dtype=torch.int64, device=self._generator.device)
        return words.random_(-(2**63), None, generator=self._generator)

    def again(self) -> DeviceBits:
        """Another stream of what is to come."""
        return DeviceBits(copy_of(self._generator, self._generator.get_state()))


def copy_of(generator: torch.Generator, state: Tensor) -> torch.Generator:
    """A generator on the same device, at `state`."""
    copy = torch.Generator(generator.device)
    copy.set_state(state)
    return copy


@dataclass(frozen=True, eq=False)
class Drawn:
    """The draws of some samples of some groups, made as they are asked for: the uniforms first, then one axis after the other.

    Args:
        bits: Where they come from.
        support: Of the maps.
        basis: Of the offsets, None if there are none.
        leading: Numbers of groups and samples, (g, s).
        dtype: Of what is made: the same numbers in each, but for rounding.
        is_per_cell: Whether each cell has an offset along each axis of its own, or each position of an axis has one.
    """

    bits: Bits
    support: Support
    basis: Basis | None
    leading: tuple[int, int]
    dtype: torch.dtype
    is_per_cell: bool

    def uniforms(self, out: Tensor | None = None) -> Tensor:
        """Uniforms (g, s, cells) strictly between 0 and 1, odd multiples of 2⁻²⁴."""
        shape = (*self.leading, self.support.num_cells)
        words = self.bits.words(math.prod(shape)).bitwise_and_(2**23 - 1).view(shape)
        uniforms = words.to(self.dtype) if out is None else out.copy_(words)
        return torch.add(_least(self.dtype, words.device), uniforms, alpha=2.0**-23, out=uniforms)

    def noise(self, axis: int) -> Tensor:
        """What the basis's `offsets_from_noise` takes, (g, s, n): uniforms, or standard normals."""
        return self._looked_up(axis, is_offset=False)

    def offsets(self, axis: int) -> Tensor:
        """Offsets e from the basis, (g, s, n), in cells on a grid."""
        return self._looked_up(axis, is_offset=True)

    def _looked_up(self, axis: int, *, is_offset: bool) -> Tensor:
        if self.basis is None:
            raise AssertionError("there are no offsets without a basis")
        is_line = isinstance(self.support, Grid) and not self.is_per_cell
        length = self.support.lengths[axis] if is_line and isinstance(self.support, Grid) else self.support.num_cells
        shape = (*self.leading, length)
        index = self.bits.halves(math.prod(shape)).to(torch.int32)
        table = _quantiles(self.basis, self.dtype, index.device, is_offset=is_offset)
        return table.index_select(0, index).view(shape)


@functools.lru_cache(maxsize=16)
def _least(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(2.0**-24, dtype=dtype, device=device)


@functools.lru_cache(maxsize=16)
def _quantiles(basis: Basis, dtype: torch.dtype, device: torch.device, *, is_offset: bool) -> Tensor:
    """The basis's quantiles at (k + ½) 2⁻¹⁶, or the raw noise that they are of."""
    shares = (torch.arange(QUANTILES, dtype=torch.float64) + 0.5) / QUANTILES
    noise = torch.special.ndtri(shares) if basis.draws_normals else shares
    return (basis.offsets_from_noise(noise) if is_offset else noise).to(device, dtype)
