"""Draws that maps share: which maps, in which blocks, and the samples of them written out plainly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from heatpoint._checks import check_whole, is_traced, message
from heatpoint._draws import default_generator, remade
from heatpoint._numerics import log_probabilities
from heatpoint._relaxed import Formula, paper_positions, relaxed_weights, released_positions
from heatpoint.basis import Basis, Gaussian, Triangular
from heatpoint.kernels._streams import Rooms, Stream, TableStream, TorchStream, copy_of
from heatpoint.support import Grid, Points, Support

Sharing = Literal["independent", "lattice", "image", "batch"]
SHARINGS: tuple[Sharing, ...] = ("independent", "lattice", "image", "batch")
INDEPENDENT = 'it needs draws that maps share, noise="image" or noise="batch"'
# Below it E^(−1/τ) spans more than float32 can hold in one sum: 33 decades at 0.25.
LEAST_TEMPERATURE = 0.25
# Below it a gradient by the weights can be as large as 10²⁵, the inverse of small ones, and 10³³ at the least temperature.
COLD = 1 / 3
# Below it the squares of E^(−1/τ) leave float32.
LEAST_SQUARED = 0.5
# Numbers drawn and multiplied at a time, at least and at most: half a megabyte of float32, 16 megabytes.
BLOCK = (2**17, 2**22)
# Between them, the part of the maps' size that a block has: what is made of it takes as much again.
FRACTION = 5


@dataclass(frozen=True)
class Part:
    """Groups that are drawn together, and how many samples each of their blocks has."""

    groups: slice
    samples: tuple[int, ...]


class Drawn:
    """The draws of some samples of some groups, made as they are asked for: first what displaces the cells, then the uniforms."""

    def __init__(self, draw: Draw, leading: tuple[int, int], stream: Stream) -> None:
        self._draw, self._stream = draw, stream
        self.leading = leading  # (g, s)
        self._pooled: Tensor | None = None
        self._powers: list[Tensor] | None = None  # None unless they are made ahead; empty when they are given away.

    def noise(self) -> list[Tensor]:
        """What the basis makes offsets of, (g, s, n) for each axis: one for each cell, or in the released formula each position
        of the axis. None without a basis.
        """
        basis, support = self._draw.basis, self._draw.support
        if basis is None or self._draw.is_pooled:
            return []
        if self._draw.is_per_cell or not isinstance(support, Grid):
            return list(self._stream.noise(basis, self._shape_of_offsets()))
        return [self._stream.noise(basis, (*self.leading, length)) for length in support.lengths]

    def offsets(self, rooms: Rooms | None = None) -> Tensor:
        """Offsets e from the basis, one for each cell and axis, (D, g, s, cells), in cells on a grid; see `Stream`."""
        if self._draw.basis is None or not self._draw.is_per_cell:
            raise AssertionError("there are no offsets of every cell")
        return self._stream.offsets(self._draw.basis, self._shape_of_offsets(), rooms)

    def uniforms(self, out: Tensor | None = None) -> Tensor:
        """(g, s, cells), strictly between 0 and 1."""
        return self._stream.uniforms((*self.leading, self._draw.support.num_cells), out)

    def powers(self, out: Tensor | None = None) -> Tensor:
        """E^(−1/τ) with E = −log u, of the uniforms u, (g, s, cells)."""
        if self._powers is not None:
            made = self._powers.pop()
            return made if out is None else out.copy_(made)
        draw = self._draw
        return self._stream.powers((*self.leading, draw.support.num_cells), draw.temperature, out)

    def pooled_offsets(self, num_maps: int) -> Tensor | None:
        """What a sample is displaced by if one cell has all the weight, (g, maps, s, D); see `Draw.is_pooled`."""
        if self._powers is not None:
            return self._pooled
        draw, (groups, samples) = self._draw, self.leading
        if not draw.is_pooled or draw.basis is None:
            return None
        normals = self._stream.normals((groups, num_maps, samples, draw.support.ndim))
        offsets = draw.basis.offsets_from_noise(normals)
        return offsets * offsets.new_tensor(draw.support.strides) if isinstance(draw.support, Grid) else offsets

    def made(self, num_maps: int) -> Drawn:
        """Itself, with its pooled offsets and its powers made already; the powers can be asked for once."""
        self._pooled = self.pooled_offsets(num_maps)
        self._powers = [self.powers()]
        return self

    def _shape_of_offsets(self) -> tuple[int, ...]:
        # One for each cell and axis.
        return (self._draw.support.ndim, *self.leading, self._draw.support.num_cells)


class Chunk:
    """The draws of one block: from where the stream stands the first time, the same again each later time."""

    def __init__(self, draw: Draw, leading: tuple[int, int], stream: Stream) -> None:
        self._draw, self._leading = draw, leading
        self._stream: Stream | None = stream
        self._again = stream.again() if draw.memory == "low" else None

    def __call__(self) -> Drawn:
        """Its draws, of g groups and s samples. Only those of samples with memory="low" can be asked for again."""
        stream, self._stream = self._stream, None
        if stream is None:
            if self._again is None:
                raise AssertionError("these draws are made once")
            stream = self._again.again()
        return Drawn(self._draw, self._leading, stream)


@dataclass(frozen=True, eq=False)
class Draw:
    """What is drawn, from where, and which maps share it.

    Args:
        function: Name of the caller, for error texts.
        support: Grid or Points.
        basis: Sub-distribution of a cell, or None.
        formula: "paper" or "released".
        temperature: τ.
        num_samples: S.
        sharing: "image": the maps along the last dimension of the batch share their draws; "batch": all maps do.
        sign_gradient: The published code's gradient, see `heatpoint.expectation.expected_position`.
        generator: Source of the draws, which goes on once; each use has the same.
        state: The generator's before the first use.
        memory: "low": blocks are drawn again in the backward pass of samples.
        seed: What a generator on the CPU gave for its streams, once it was asked, (parts, 3) int64.
    """

    function: str
    support: Support
    basis: Basis | None
    formula: Formula
    temperature: float
    num_samples: int
    sharing: Sharing
    sign_gradient: bool
    generator: torch.Generator
    state: Tensor
    memory: str = "normal"
    seed: list[Tensor] = field(default_factory=list)

    def obstacle(self) -> str:
        """Why matrix products cannot compute this, or ""."""
        if self.temperature < LEAST_TEMPERATURE:
            return f"below a temperature of {LEAST_TEMPERATURE} its sums lose digits"
        if self.sign_gradient:
            return "the signs of sign_gradient depend on each sample's position"
        if isinstance(self.support, Grid) and self.support.cyclic:
            return "a position on a cyclic axis is no quotient of sums over the cells"
        if isinstance(self.support, Points) and self.support.xyz.requires_grad:
            return "it gives the coordinates of Points no gradient"
        return ""

    @property
    def is_pooled(self) -> bool:
        """Whether offsets of a sample's cells are pooled: one normal e for each axis, times √Σ_i w_i².

        With weights w, the sum Σ_i w_i e_i of independent normals is normal, of deviation σ √Σ_i w_i². So samples have the law
        that Sampling-Argmax's Eq. 9 and 11 give them. The gradient is the mean of theirs, given the weights and the sample, and
        varies no more. It needs sums of squares, which leave float32 below a temperature of ½, and samples linear in the offsets.
        """
        is_linear = not self.sign_gradient and not (isinstance(self.support, Grid) and self.support.cyclic)
        return (
            isinstance(self.basis, Gaussian) and self._is_displaced and is_linear and self.temperature >= LEAST_SQUARED
        )

    @property
    def is_per_cell(self) -> bool:
        """Whether every cell has offsets of its own, rather than each sample, each position of an axis, or none."""
        return self._is_displaced and not self.is_pooled

    @property
    def _is_displaced(self) -> bool:
        return self.basis is not None and (self.formula == "paper" or not isinstance(self.support, Grid))

    @property
    def leaves_places(self) -> bool:
        """Whether sums over cells have the cells' own places, whatever is drawn."""
        return self.basis is None or self.is_pooled

    @property
    def num_columns(self) -> int:
        """How many columns a sample has: a weight and, for each axis, its product with the places. Where the released formula
        weighs the positions of an axis, see `heatpoint._relaxed`, two more.
        """
        is_weighed = isinstance(self.basis, Triangular) or (isinstance(self.basis, Gaussian) and self.support.ndim == 2)
        return 1 + self.support.ndim * (3 if is_weighed and not self._is_displaced else 1)

    def room(self, part: Part, num_maps: int) -> int:
        """How many numbers the first block of a part needs room for, its largest, with `num_maps` maps in a group."""
        ndim, cells = self.support.ndim, (part.groups.stop - part.groups.start) * self.support.num_cells
        if self.goes_with_maps(num_maps):
            return num_maps * (1 + ndim) * cells
        # Columns and, if every cell has them, offsets, which elsewhere torch makes in no room of ours.
        has_offsets = self.is_per_cell and self.generator.device.type == "cpu"
        return part.samples[0] * (self.num_columns + (ndim if has_offsets else 0)) * cells

    def goes_with_maps(self, num_maps: int) -> bool:
        """Whether the places of cells go with the maps, `num_maps` of a group, rather than with the draws."""
        return self.leaves_places and num_maps <= self.num_samples

    @property
    def is_cold(self) -> bool:
        """Whether gradients are kept small until the weights of the map have come to them, see `heatpoint.kernels._sums`."""
        return self.temperature < COLD

    def parts(self, num_groups: int, like: Tensor) -> list[Part]:
        """How the draws are cut, by the sizes alone: a block is a fraction of the maps, `like`, within `BLOCK` numbers, but
        always one sample of one group.
        """
        room = min(max(BLOCK[0], like.numel() // FRACTION), BLOCK[1])
        num_maps = like.numel() // max(1, num_groups * self.support.num_cells)
        rows = 1 + (self.is_pooled if self.goes_with_maps(num_maps) else self.support.ndim)
        pairs = max(1, room // (self.support.num_cells * rows))
        many = max(1, pairs // self.num_samples)
        # Blocks of nearly equal size: the last would else be a product of a few columns.
        number = -(-self.num_samples // pairs)
        few, left = divmod(self.num_samples, number)
        samples = (few + 1,) * left + (few,) * (number - left)
        return [
            Part(slice(first, min(first + many, num_groups)), samples) for first in range(0, max(1, num_groups), many)
        ]

    def streams(self, parts: list[Part], dtype: torch.dtype, *, is_again: bool = False) -> list[Stream]:
        """Random numbers of each part: the first time the caller's generator goes on, later the same ones come again.

        On the CPU each part has a stream of its own, whichever thread takes it; elsewhere they have one, used in their order.
        """
        if self.generator.device.type != "cpu" or (is_traced() and not self.seed):
            source = copy_of(self.generator, self.state) if is_again else self.generator
            return [TorchStream(source, dtype)] * len(parts)
        if not self.seed:
            size = (len(parts), 3)
            self.seed.append(torch.randint(-(2**63), 2**63 - 1, size, generator=self.generator, device="cpu"))
        return [TableStream(words, dtype) for words in self.seed[0].numpy().view(np.uint64)]

    def chunks(self, part: Part, stream: Stream) -> Iterator[Chunk]:
        """The blocks of a part, in order. Each must be drawn before the next is asked for."""
        for number in part.samples:
            yield Chunk(self, (part.groups.stop - part.groups.start, number), stream)

    def all_drawn(self, tasks: Iterable[tuple[Part, Stream]]) -> Iterator[Drawn]:
        """The draws of all blocks of parts, in order, from the parts' streams."""
        for part, stream in tasks:
            for chunk in self.chunks(part, stream):
                yield chunk()

    def blocks(self, num_groups: int, like: Tensor, *, is_again: bool = False) -> Iterator[tuple[slice, Chunk]]:
        """Groups and the draws of some of their samples, block by block."""
        parts = self.parts(num_groups, like)
        for part, stream in zip(parts, self.streams(parts, like.dtype, is_again=is_again), strict=True):
            for chunk in self.chunks(part, stream):
                yield part.groups, chunk


def make_draw(
    function: str,
    support: Support,
    *,
    basis: Basis | None,
    formula: Formula,
    temperature: float,
    num_samples: int | None,
    sharing: Sharing,
    sign_gradient: bool,
    generator: torch.Generator | None,
    device: torch.device,
    memory: str = "normal",
) -> Draw:
    """A `Draw` that begins at the generator's present state."""
    number = check_whole(function, "num_samples", 1 if num_samples is None else num_samples, "be at least 1", least=1)
    source = generator if generator is not None else default_generator(device, function)
    return Draw(
        function,
        support,
        basis,
        formula,
        temperature,
        number,
        sharing,
        sign_gradient,
        source,
        source.get_state(),
        memory,
    )


def fold(draw: Draw, flat: Tensor) -> Tensor:
    """Maps (*batch, n) as (groups, maps of a group, n)."""
    batch, last = flat.shape[:-1], flat.shape[-1]
    if draw.sharing == "batch" or flat.ndim < 2:
        return flat.reshape(1, batch.numel(), last)
    return flat.reshape(batch[:-1].numel(), batch[-1], last)


def maps_per_group(draw: Draw, batch: torch.Size) -> int:
    """How many neighbours of the maps (*batch) share their draws, 1 where there are no maps."""
    return max(1, batch.numel() if draw.sharing == "batch" or not batch else batch[-1])


def check_clouds(draw: Draw) -> None:
    """Raises ValueError if maps that share their draws lie on different clouds."""
    support = draw.support
    if isinstance(support, Grid) or support.xyz.ndim == 2:
        return
    xyz = support.xyz
    shared = xyz.shape[:-2].numel() == 1 if draw.sharing == "batch" else xyz.shape[-3] == 1
    if not shared:
        rule = f"have the same coordinates for maps that share their noise, with noise={draw.sharing!r}"
        raise ValueError(message(draw.function, "Points", rule, tuple(xyz.shape)))


def support_of_groups(draw: Draw, num_groups: int, batch: tuple[int, ...]) -> Support:
    """The support, with coordinates (groups, 1, cells, D) if they are not the same for all maps."""
    check_clouds(draw)
    support = draw.support
    if isinstance(support, Grid) or support.xyz.ndim == 2:
        return support
    xyz = support.xyz
    every = xyz.expand(*batch[:-1], 1, *xyz.shape[-2:]) if draw.sharing == "image" else xyz
    return Points(every.reshape(num_groups, 1, *xyz.shape[-2:]))


def plain_samples(draw: Draw, flat: Tensor, *, is_again: bool = False) -> Tensor:
    """Samples (S, *batch, D) of maps (*batch, cells) with shared draws, written out: weights for every sample of every map."""
    batch = tuple(flat.shape[:-1])
    log_p = fold(draw, log_probabilities(draw.function, flat))
    every = support_of_groups(draw, len(log_p), batch)
    found: dict[int, list[Tensor]] = {}
    for part, chunk in draw.blocks(len(log_p), flat.detach(), is_again=is_again):
        support = Points(every.xyz[part]) if isinstance(every, Points) and every.xyz.ndim > 2 else every
        samples = remade(draw.memory, _plain_block, draw, support, log_p[part], chunk)
        found.setdefault(part.start, []).append(samples)
    return gathered(draw, found, batch)


def gathered(draw: Draw, found: dict[int, list[Tensor]], batch: tuple[int, ...]) -> Tensor:
    """(S, *batch, D) of the blocks (s, g, maps, D) of each part of the groups."""
    groups = [torch.cat(parts) for parts in found.values()]
    return torch.cat(groups, dim=1).reshape(draw.num_samples, *batch, draw.support.ndim)


def _plain_block(draw: Draw, support: Support, log_p: Tensor, chunk: Chunk) -> Tensor:
    """Samples (s, g, maps, D) of one block."""
    number, drawn = log_p.shape[1], chunk()
    pooled = drawn.pooled_offsets(number)
    if pooled is not None:
        weights = relaxed_weights(log_p, drawn.uniforms().transpose(0, 1)[:, :, None], draw.temperature, "paper", False)
        size = weights.square().sum(dim=-1, keepdim=True).sqrt()
        return paper_positions(weights, support, None, [], False) + size * pooled.permute(2, 0, 1, 3)
    noise = [axis.transpose(0, 1)[:, :, None].expand(-1, -1, number, -1) for axis in drawn.noise()]
    uniform = drawn.uniforms().transpose(0, 1)[:, :, None]
    weights = relaxed_weights(log_p, uniform, draw.temperature, draw.formula, False)
    if draw.formula == "released" and isinstance(support, Grid):
        return released_positions(weights, support, draw.basis, noise, draw.sign_gradient)
    return paper_positions(weights, support, draw.basis, noise, draw.sign_gradient)
