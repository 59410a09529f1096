"""Random numbers that are a lattice over the samples: each cell's are spread evenly instead of thrown one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from heatpoint._draws import CHUNK_CELLS, Draws, Shapes, checked_count, default_generator

WORD = 2**32


def order_of(num_samples: int) -> int:
    """The smallest prime that is at least S, and at least 2.

    A step that shares a divisor with the order of its lattice repeats points, and a composite order has few steps that do not: of
    30, 8, so that many pairs of cells would move in step. Leaving out the last points of a prime order costs less: of 31, one.

    >>> [order_of(n) for n in (1, 5, 10, 30, 300)]
    [2, 5, 11, 31, 307]
    """
    order = max(num_samples, 2)
    while any(order % divisor == 0 for divisor in range(2, int(order**0.5) + 1)):
        order += 1
    return order


def step_of(number: Tensor, order: int) -> Tensor:
    """j 2³² / P, rounded."""
    return (2 * WORD * number + order) // (2 * order)


@dataclass(frozen=True, eq=False)
class Lattice:
    """Rank-1 lattices with random shifts and steps: word s of a number is base + s · step modulo 2³².

    The base is uniform, and with it every word; the step is j 2³² / P, j uniform in 1 … P − 1. Numbers are independent of each
    other.

    Args:
        base: Any shape, whole numbers below 2³².
        step: As base.
    """

    base: Tensor
    step: Tensor

    @staticmethod
    def draw(shape: tuple[int, ...], order: int, generator: torch.Generator, device: torch.device) -> Lattice:
        """Fresh ones, of P = `order`."""
        base = torch.randint(WORD, shape, generator=generator, device=device)
        number = torch.randint(1, order, shape, generator=generator, device=device)
        return Lattice(base, step_of(number, order))

    def uniforms(self, samples: range, dtype: torch.dtype) -> Tensor:
        """(s, *shape), strictly between 0 and 1."""
        numbers = torch.arange(samples.start, samples.stop, device=self.base.device)
        words = (self.base + numbers.view(-1, *(1,) * self.base.ndim) * self.step) % WORD
        if dtype == torch.float64:
            return (words.to(dtype) + 0.5) * 2.0**-32
        return ((words >> 9) * 2 + 1).to(dtype) * 2.0**-24


class LatticeChunk:
    """Some samples of draws that are lattices over all of them; the same numbers each time."""

    def __init__(self, shapes: Shapes, lattices: list[Lattice], samples: range, dtype: torch.dtype) -> None:
        self._basis, self._lattices, self._samples, self._dtype = shapes.basis, lattices, samples, dtype

    def __call__(self) -> Draws:
        """Uniforms (s, *batch, cells) and raw offsets, one tensor per axis."""
        uniform, *raw = (lattice.uniforms(self._samples, self._dtype) for lattice in self._lattices)
        if self._basis is not None and self._basis.draws_normals:
            raw = [torch.special.ndtri(axis) for axis in raw]
        return uniform, raw


def lattice_chunks(
    function: str, shapes: Shapes, like: Tensor, *, num_samples: int | None, generator: torch.Generator | None
) -> Iterator[LatticeChunk]:
    """The draws of all samples in order, chunk by chunk. Kept meanwhile: 16 bytes for each number of one sample."""
    number = checked_count(function, num_samples, None)
    source = generator if generator is not None else default_generator(like.device, function)
    order, needed = order_of(number), [(shapes.support.num_cells,), *shapes.offsets()]
    lattices = [Lattice.draw((*shapes.batch, *shape), order, source, like.device) for shape in needed]
    size = max(1, CHUNK_CELLS // max(1, like.numel()))
    for start in range(0, number, size):
        yield LatticeChunk(shapes, lattices, range(start, min(start + size, number)), like.dtype)
