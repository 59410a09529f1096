"""Random numbers for draws that maps share: bits by numpy and quantiles from a table on the CPU, torch's own elsewhere.

On the CPU a cell's Gumbel draw takes 23 bits of a word, and its offset 16: it is one of 65 536 quantiles of the basis, of the
centres of equal parts of [0, 1], so that the Gaussian's end 4.3 σ out.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from heatpoint.basis import Basis

QUANTILES = 2**16
# Where numbers are to be, and where what they are made of can be: each has room for them, contiguous, of one dimension.
Rooms = tuple[Tensor, Tensor]


class Stream(Protocol):
    """Numbers that are made as they are asked for, of one dtype."""

    def uniforms(self, shape: Sequence[int], out: Tensor | None = None) -> Tensor:
        """Uniforms strictly between 0 and 1, in steps of 2⁻²⁴ in float32."""

    def powers(self, shape: Sequence[int], temperature: float, out: Tensor | None = None) -> Tensor:
        """E^(−1/τ) with E = −log u, of what `uniforms` gives."""

    def normals(self, shape: Sequence[int]) -> Tensor:
        """Standard normals."""

    def noise(self, basis: Basis, shape: Sequence[int]) -> Tensor:
        """What the basis's `offsets_from_noise` takes: uniforms, or standard normals."""

    def offsets(self, basis: Basis, shape: Sequence[int], rooms: Rooms | None = None) -> Tensor:
        """Offsets e from the basis, in cells on a grid; in the first of two rooms of at least as many numbers, if there are."""

    def again(self) -> Stream:
        """Another stream of what is to come."""


class TableStream:
    """Bits by SFC64 of numpy on the CPU: 64 of them take half as long as 24 by torch's generator. Offsets from a table.

    Args:
        words: What SFC64 begins with, (3,).
        dtype: float32 or float64.
    """

    def __init__(self, words: npt.NDArray[np.uint64], dtype: torch.dtype) -> None:
        self._words, self._dtype = words, dtype
        # numpy takes any ISeedSequence, which its annotations do not say.
        self._source = np.random.SFC64(cast(np.random.SeedSequence, _Seed(words)))

    def uniforms(self, shape: Sequence[int], out: Tensor | None = None) -> Tensor:
        """(k + ½) 2⁻²³, in every dtype: neither 0 nor 1."""
        count = math.prod(shape)
        words = self._bits(-(-count // 2)).view(np.uint32)[:count]
        # The bits of a float32 from 1 to 2.
        np.bitwise_and(words, 2**23 - 1, out=words)
        np.bitwise_or(words, 127 << 23, out=words)
        values = words.view(np.float32)
        np.subtract(values, np.float32(1 - 2.0**-24), out=values)
        uniforms = torch.from_numpy(values).view(*shape)
        return uniforms.to(self._dtype) if out is None else out.copy_(uniforms)

    def powers(self, shape: Sequence[int], temperature: float, out: Tensor | None = None) -> Tensor:
        """By numpy, in one thread, which takes no longer than torch's."""
        # Contiguous until it is done: of numbers that lie apart numpy 2.4 makes wrong negatives in place.
        found = self.uniforms(shape)
        waiting = found.numpy()
        np.log(waiting, out=waiting)
        np.negative(waiting, out=waiting)
        if temperature not in (2, 1, 0.5):
            np.log(waiting, out=waiting)
            np.multiply(waiting, -math.log2(math.e) / temperature, out=waiting)
            np.exp2(waiting, out=waiting)
        else:
            if temperature == 2:
                np.sqrt(waiting, out=waiting)
            elif temperature == 0.5:
                np.square(waiting, out=waiting)
            np.divide(1, waiting, out=waiting)
        return found if out is None else out.copy_(found)

    def normals(self, shape: Sequence[int]) -> Tensor:
        """By numpy's ziggurat, of float32 in every dtype."""
        normals = np.random.Generator(self._source).standard_normal(tuple(shape), dtype=np.float32)
        return torch.from_numpy(normals).to(self._dtype)

    def noise(self, basis: Basis, shape: Sequence[int]) -> Tensor:
        """(k + ½) 2⁻¹⁶, or the standard normals that these are the probabilities of."""
        return self._looked_up(_quantiles(basis, self._dtype, is_offset=False), shape)

    def offsets(self, basis: Basis, shape: Sequence[int], rooms: Rooms | None = None) -> Tensor:
        """What the basis makes of `noise`."""
        return self._looked_up(_quantiles(basis, self._dtype, is_offset=True), shape, rooms)

    def _looked_up(self, table: Tensor, shape: Sequence[int], rooms: Rooms | None = None) -> Tensor:
        count = math.prod(shape)
        halves = torch.from_numpy(self._bits(-(-count // 4)).view(np.uint16)[:count])
        if rooms is None:
            return table.index_select(0, halves.to(torch.int32)).view(*shape)
        found, other = rooms
        index = other.view(torch.int32)[:count].copy_(halves)
        return torch.index_select(table, 0, index, out=found[:count]).view(*shape)

    def _bits(self, count: int) -> npt.NDArray[np.uint64]:
        return self._source.random_raw(count)

    def again(self) -> TableStream:
        """Another stream of what is to come."""
        other = TableStream(self._words, self._dtype)
        other._source.state = self._source.state
        return other


class TorchStream:
    """Numbers by a torch.Generator, on its device: wherever torch has one, and where torch traces or transforms a call."""

    def __init__(self, generator: torch.Generator, dtype: torch.dtype) -> None:
        self._generator, self._dtype = generator, dtype

    def uniforms(self, shape: Sequence[int], out: Tensor | None = None) -> Tensor:
        """Of torch's uniforms, of which 0 stands for the interval up to the next."""
        made = torch.rand(
            tuple(shape), generator=self._generator, dtype=self._dtype, device=self._generator.device
        ).clamp_(min=torch.finfo(self._dtype).eps / 4)
        return made if out is None else out.copy_(made)

    def powers(self, shape: Sequence[int], temperature: float, out: Tensor | None = None) -> Tensor:
        """In the fewest operations that the temperature allows."""
        waiting = self.uniforms(shape, out).log_().neg_()
        if temperature == 2:
            return waiting.rsqrt_()
        if temperature == 1:
            return waiting.reciprocal_()
        if temperature == 0.5:
            return waiting.square_().reciprocal_()
        # A fifth faster than a power, and as right as the logarithm, with which the plain form works too.
        return waiting.log_().mul_(-1 / temperature).exp_()

    def normals(self, shape: Sequence[int]) -> Tensor:
        """As torch draws them."""
        return torch.randn(tuple(shape), generator=self._generator, dtype=self._dtype, device=self._generator.device)

    def noise(self, basis: Basis, shape: Sequence[int]) -> Tensor:
        """As the basis draws it."""
        return basis.draw_noise(shape, generator=self._generator, dtype=self._dtype, device=self._generator.device)

    def offsets(self, basis: Basis, shape: Sequence[int], rooms: Rooms | None = None) -> Tensor:
        """What the basis makes of `noise`; there is no use for rooms."""
        return basis.offsets_from_noise(self.noise(basis, shape))

    def again(self) -> TorchStream:
        """Another stream of what is to come."""
        return TorchStream(copy_of(self._generator, self._generator.get_state()), self._dtype)


def copy_of(generator: torch.Generator, state: Tensor) -> torch.Generator:
    """A generator on the same device, at `state`."""
    copy = torch.Generator(generator.device)
    copy.set_state(state)
    return copy


class _Seed(np.random.bit_generator.ISeedSequence):
    """Words that are a generator's state as they are."""

    def __init__(self, words: npt.NDArray[np.uint64]) -> None:
        self._words = words

    def generate_state(self, n_words: int, dtype: npt.DTypeLike = np.uint32) -> npt.NDArray[np.uint64]:
        """The words."""
        return self._words


@functools.lru_cache(maxsize=16)
def _quantiles(basis: Basis, dtype: torch.dtype, *, is_offset: bool) -> Tensor:
    """The basis's quantiles at (k + ½) 2⁻¹⁶, or the raw noise that they are of."""
    shares = (torch.arange(QUANTILES, dtype=torch.float64, device="cpu") + 0.5) / QUANTILES
    noise = torch.special.ndtri(shares) if basis.draws_normals else shares
    return (basis.offsets_from_noise(noise) if is_offset else noise).to(dtype)
