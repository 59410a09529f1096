"""The random numbers behind samples of a map: recorded ones, fresh ones in chunks, and fresh ones that can be made again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from heatpoint._checks import check_tensor, check_whole, looks_at, message, value_checks_enabled
from heatpoint.basis import Basis
from heatpoint.support import Grid, Support

# Cells per chunk of samples: small maps are drawn in one call, large ones do not need much more room than one sample.
CHUNK_CELLS = 2**20


@dataclass(frozen=True, eq=False)
class Noise:
    """Recorded draws, to be replayed in place of a generator.

    Args:
        gumbel_uniform: (S, *batch, *grid.shape), uniforms in [0, 1), one per cell. Exactly 0 gives that cell weight exactly 0.
        offsets: One tensor per axis in point order (x, y, z), or None if the basis is None. Uniforms for Uniform and
            Triangular, standard normals for Gaussian. With formula "paper" each is (S, *batch, *grid.shape), one sub-sample
            per cell; with formula "released" each is (S, *batch, length of the axis), one per column, row and layer.
    """

    gumbel_uniform: Tensor
    offsets: Sequence[Tensor] | None = None


@dataclass(frozen=True)
class Shapes:
    """What draws are needed: the batch, the support, the basis (None: no offsets), and offsets per cell or per axis."""

    batch: tuple[int, ...]
    support: Support
    basis: Basis | None
    per_cell: bool

    def offsets(self) -> list[tuple[int, ...]]:
        """Shape of one map's offsets along each axis, after the batch."""
        if self.basis is None:
            return []
        if self.per_cell:
            return [(self.support.num_cells,)] * self.support.ndim
        if not isinstance(self.support, Grid):
            raise AssertionError("offsets per axis need a grid")
        return [(length,) for length in self.support.lengths]


Draws = tuple[Tensor, list[Tensor]]


def remade(memory: str, function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """function(*arguments); with memory="low" nothing made inside is kept for the backward pass, which makes it again."""
    if memory == "low":
        made: Tensor = checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)
        return made
    return function(*arguments)


class FreshChunk:
    """Draws of `num_samples` samples: from the caller's generator the first time, the same numbers again each later time."""

    def __init__(self, shapes: Shapes, num_samples: int, like: Tensor, generator: torch.Generator) -> None:
        self._shapes, self._num_samples = shapes, num_samples
        self._dtype, self._device = like.dtype, like.device
        self._generator: torch.Generator | None = generator
        self._state = generator.get_state()

    def __call__(self) -> Draws:
        """Uniforms (s, *batch, cells) and raw offsets, one tensor per axis."""
        generator, self._generator = self._generator, None
        if generator is None:
            generator = torch.Generator(self._device)
            generator.set_state(self._state)
        leading = (self._num_samples, *self._shapes.batch)
        cells = (*leading, self._shapes.support.num_cells)
        uniform = torch.rand(cells, generator=generator, dtype=self._dtype, device=self._device)
        # A fresh 0 stands for the interval up to the next number; as an exact 0 it would forbid a map's only possible cell.
        uniform = uniform.clamp_(min=torch.finfo(self._dtype).eps / 4)
        offsets: list[Tensor] = []
        if self._shapes.basis is not None:
            offsets = [
                self._shapes.basis.draw_noise(
                    (*leading, *shape), generator=generator, dtype=self._dtype, device=self._device
                )
                for shape in self._shapes.offsets()
            ]
        return uniform, offsets


@dataclass(frozen=True)
class RecordedChunk:
    """Some samples of recorded draws, flattened over the cells."""

    uniform: Tensor
    offsets: list[Tensor]

    def __call__(self) -> Draws:
        """Uniforms (s, *batch, cells) and raw offsets, one tensor per axis."""
        return self.uniform, self.offsets


def chunks(
    function: str,
    shapes: Shapes,
    like: Tensor,
    *,
    num_samples: int | None,
    generator: torch.Generator | None,
    noise: Noise | None,
) -> Iterator[FreshChunk | RecordedChunk]:
    """The draws of all samples in order, chunk by chunk; how they are cut depends on the sizes alone."""
    if noise is not None:
        uniform, offsets = _checked_noise(function, noise, shapes, like)
        num_samples = checked_count(function, num_samples, uniform.shape[0])
    else:
        num_samples = checked_count(function, num_samples, None)
        generator = generator if generator is not None else default_generator(like.device, function)
    size = max(1, CHUNK_CELLS // max(1, like.numel()))
    for start in range(0, num_samples, size):
        part = slice(start, min(start + size, num_samples))
        if noise is not None:
            yield RecordedChunk(uniform[part], [axis[part] for axis in offsets])
        elif generator is not None:
            yield FreshChunk(shapes, part.stop - part.start, like, generator)


def default_generator(device: torch.device, function: str = "sampling_argmax") -> torch.Generator:
    """The generator from which torch draws on a device when none is given.

    Raises:
        ValueError: If torch does not say which it is on this kind of device.

    >>> default_generator(torch.device("cpu")) is torch.default_generator
    True
    """
    if device.type == "cpu":
        return torch.default_generator
    if device.type == "cuda":
        torch.cuda.init()
        index = torch.cuda.current_device() if device.index is None else device.index
        return torch.cuda.default_generators[index]
    remedy = f"Give it: torch.Generator({device.type!r})."
    raise ValueError(message(function, "generator", "be given on this kind of device", None, remedy))


def checked_count(function: str, num_samples: int | None, recorded: int | None) -> int:
    if num_samples is None:
        num_samples = 1 if recorded is None else recorded
    num_samples = check_whole(function, "num_samples", num_samples, "be at least 1", least=1)
    if recorded is not None and recorded != num_samples:
        remedy = "Leave num_samples out to replay all of them."
        rule = f"equal the number of recorded samples {recorded}"
        raise ValueError(message(function, "num_samples", rule, num_samples, remedy))
    return num_samples


def _checked_noise(function: str, noise: Noise, shapes: Shapes, like: Tensor) -> Draws:
    expected = (*shapes.batch, *shapes.support.shape)
    check_tensor(function, "noise.gumbel_uniform", noise.gumbel_uniform)
    uniform = noise.gumbel_uniform.to(like)
    if uniform.ndim < 1 or tuple(uniform.shape[1:]) != expected:
        rule = f"be (num_samples, {', '.join(map(str, expected))})"
        raise ValueError(message(function, "noise.gumbel_uniform", rule, tuple(uniform.shape)))
    if value_checks_enabled() and looks_at(uniform) and not bool(((uniform >= 0) & (uniform <= 1)).all()):
        found = f"values from {float(uniform.min()):g} to {float(uniform.max()):g}"
        raise ValueError(message(function, "noise.gumbel_uniform", "lie in [0, 1)", found))
    if shapes.basis is None:
        return uniform.reshape(*uniform.shape[: 1 + len(shapes.batch)], -1), []
    given = [] if noise.offsets is None else list(noise.offsets)
    if len(given) != shapes.support.ndim:
        rule = f"hold one tensor per axis, {shapes.support.ndim}, for a basis"
        raise ValueError(message(function, "noise.offsets", rule, len(given)))
    offsets = []
    for axis, (tensor, flat) in enumerate(zip(given, shapes.offsets(), strict=True)):
        wanted = (uniform.shape[0], *(expected if shapes.per_cell else (*shapes.batch, *flat)))
        check_tensor(function, f"noise.offsets[{axis}]", tensor)
        if tuple(tensor.shape) != wanted:
            raise ValueError(message(function, f"noise.offsets[{axis}]", f"be {wanted}", tuple(tensor.shape)))
        offsets.append(tensor.to(like).reshape(uniform.shape[0], *shapes.batch, *flat))
    return uniform.reshape(uniform.shape[0], *shapes.batch, shapes.support.num_cells), offsets
