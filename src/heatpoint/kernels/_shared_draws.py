"""Draws that maps share: which maps, in which blocks, and the samples of them written out plainly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from heatpoint._checks import check_whole, message
from heatpoint._draws import FreshChunk, RecordedChunk, Shapes, default_generator, remade
from heatpoint._numerics import log_probabilities
from heatpoint._relaxed import Formula, paper_positions, relaxed_weights, released_positions
from heatpoint.basis import Basis
from heatpoint.support import Grid, Points, Support

Sharing = Literal["independent", "lattice", "image", "batch"]
SHARINGS: tuple[Sharing, ...] = ("independent", "lattice", "image", "batch")
INDEPENDENT = 'it needs draws that maps share, noise="image" or noise="batch"'
# Below it E^(−1/τ) spans more than float32 can hold in one sum: 33 decades at 0.25.
LEAST_TEMPERATURE = 0.25
# Numbers drawn and multiplied at a time, at least and at most: half a megabyte of float32, four megabytes.
BLOCK = (2**17, 2**20)
# Between them, the part of the maps' size that a block has: what is made of it takes twice its room.
FRACTION = 5


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
        generator: Source of the draws; each use begins at the same place, `state`.
        state: The generator's state at the first use.
        memory: "low": blocks are drawn again in the backward pass of samples.
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

    def blocks(self, num_groups: int, like: Tensor, *, is_again: bool = False) -> Iterator[tuple[slice, FreshChunk]]:
        """Groups, and the draws (g, s, …) of some of their samples, block by block; always the same numbers.

        How draws are cut into blocks depends on the sizes alone: a block is a fraction of the maps, `like`, within `BLOCK`
        numbers, but always one sample of one group. Each must be drawn before the next is asked for. Unless they are drawn
        again, the caller's generator goes on where the last block ended.
        """
        generator = torch.Generator(self.generator.device)
        generator.set_state(self.state)
        cells, ndim = self.support.num_cells, self.support.ndim
        room = min(max(BLOCK[0], like.numel() // FRACTION), BLOCK[1])
        pairs = max(1, room // (cells * (1 + ndim)))
        many = max(1, pairs // self.num_samples)
        # Parts of equal size: the last would else be a product of a few columns.
        few = -(-self.num_samples // -(-self.num_samples // pairs))
        for group in range(0, max(1, num_groups), many):
            part = slice(group, min(group + many, num_groups))
            for sample in range(0, self.num_samples, few):
                number = min(few, self.num_samples - sample)
                shapes = Shapes((number,), self.support, self.basis, self.formula == "paper")
                yield part, FreshChunk(shapes, part.stop - part.start, like, generator)
        if not is_again:
            self.generator.set_state(generator.get_state())


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


def support_of(draw: Draw, part: slice, num_groups: int, batch: tuple[int, ...]) -> Support:
    """The support of some groups, whose coordinates broadcast to (g, maps, cells)."""
    check_clouds(draw)
    support = draw.support
    if isinstance(support, Grid) or support.xyz.ndim == 2:
        return support
    xyz = support.xyz
    every = xyz.expand(*batch[:-1], 1, *xyz.shape[-2:]) if draw.sharing == "image" else xyz
    return Points(every.reshape(num_groups, 1, *xyz.shape[-2:])[part])


def plain_samples(draw: Draw, flat: Tensor, *, is_again: bool = False) -> Tensor:
    """Samples (S, *batch, D) of maps (*batch, cells) with shared draws, written out: weights for every sample of every map."""
    batch = tuple(flat.shape[:-1])
    log_p = fold(draw, log_probabilities(draw.function, flat))
    found: dict[int, list[Tensor]] = {}
    for part, chunk in draw.blocks(len(log_p), flat.detach(), is_again=is_again):
        support = support_of(draw, part, len(log_p), batch)
        samples = remade(draw.memory, _plain_block, draw, support, log_p[part], chunk)
        found.setdefault(part.start, []).append(samples)
    return gathered(draw, found, batch)


def gathered(draw: Draw, found: dict[int, list[Tensor]], batch: tuple[int, ...]) -> Tensor:
    """(S, *batch, D) of the blocks (s, g, maps, D) of each part of the groups."""
    groups = [torch.cat(parts) for parts in found.values()]
    return torch.cat(groups, dim=1).reshape(draw.num_samples, *batch, draw.support.ndim)


def _plain_block(draw: Draw, support: Support, log_p: Tensor, chunk: FreshChunk | RecordedChunk) -> Tensor:
    """Samples (s, g, maps, D) of one block."""
    number, (uniform, raw) = log_p.shape[1], chunk()
    weights = relaxed_weights(log_p, uniform.transpose(0, 1)[:, :, None].clone(), draw.temperature, draw.formula, False)
    offsets = [axis.transpose(0, 1)[:, :, None].expand(-1, -1, number, -1) for axis in raw]
    if draw.formula == "released" and isinstance(support, Grid):
        return released_positions(weights, support, draw.basis, offsets, draw.sign_gradient)
    return paper_positions(weights, support, draw.basis, offsets, draw.sign_gradient)
