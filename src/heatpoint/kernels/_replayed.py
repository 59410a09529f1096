"""The fused kernels' draws made again in torch: where first derivatives do not suffice, the plain formula takes them.

Philox4x32 is that of Salmon, Moraes, Dror, Shaw ("Parallel random numbers: as easy as 1, 2, 3", 2011); which word of which
counter a cell has, and what becomes of it, stands in native/philox.hpp, native/noise.hpp and
native/sampling_offsets.hpp.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heatpoint._draws import CHUNK_CELLS
from heatpoint._lattice_draws import step_of
from heatpoint._numerics import log_probabilities
from heatpoint._relaxed import paper_positions, relaxed_weights, released_positions
from heatpoint.basis import Gaussian, Triangular
from heatpoint.kernels._call import Law
from heatpoint.support import Grid, Support

MULTIPLIERS, WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
ROUNDS = 7
LOW = 2**32 - 1


def samples(function: str, flat: Tensor, support: Support, law: Law) -> Tensor:
    """The kernels' samples (S, *batch, D) of maps (*batch, cells), differentiable as often as wanted."""
    batch = tuple(flat.shape[:-1])
    log_p = log_probabilities(function, flat)
    many = max(1, CHUNK_CELLS // max(1, log_p.numel()))
    found = []
    for start in range(0, law.num_samples, many):
        numbers = torch.arange(start, min(start + many, law.num_samples), device=flat.device)
        uniform, raw = (
            (_of_maps(tensor, law).view(len(numbers), *batch, tensor.shape[-1]) for tensor in drawn)
            for drawn in draws(support, math.prod(batch) // law.maps_per_group, numbers, law)
        )
        weights = relaxed_weights(log_p, next(uniform), law.temperature, law.formula, True)
        if law.formula == "released" and isinstance(support, Grid):
            found.append(released_positions(weights, support, law.basis, list(raw), False))
        else:
            found.append(paper_positions(weights, support, law.basis, list(raw), False))
    return torch.cat(found)


def _of_maps(drawn: Tensor, law: Law) -> Tensor:
    """Draws (s, groups, n) as those of maps, (s, maps, n)."""
    return drawn if law.maps_per_group == 1 else drawn.repeat_interleave(law.maps_per_group, dim=1)


def gradients(found: Tensor, inputs: tuple[Tensor, ...], slope: Tensor) -> list[Tensor | None]:
    """Gradients that can be differentiated again, None for an input that needs none."""
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    made = iter(torch.autograd.grad(found, wanted, slope, create_graph=True))
    return [next(made) if tensor.requires_grad else None for tensor in inputs]


def draws(support: Support, num_maps: int, numbers: Tensor, law: Law) -> tuple[list[Tensor], list[Tensor]]:
    """Uniforms (s, maps, cells), one tensor, and raw offsets per axis, of the samples with the given numbers; where those are.

    Maps that share their noise count as one.
    """
    uniform = [_uniforms(_words(support.num_cells, num_maps, numbers, law, stream=0))]
    if law.basis is None:
        return uniform, []
    if law.formula == "paper" or not isinstance(support, Grid):
        return uniform, _raw_offsets(support.num_cells, support.ndim, num_maps, numbers, law)
    raw = _raw_offsets(max(support.lengths), support.ndim, num_maps, numbers, law)
    return uniform, [axis[..., :length].contiguous() for axis, length in zip(raw, support.lengths, strict=True)]


def _raw_offsets(cells: int, ndim: int, num_maps: int, numbers: Tensor, law: Law) -> list[Tensor]:
    """Uniforms, or standard normals for a Gaussian, per axis: native/sampling_offsets.hpp says of which words."""
    blocks = -(-cells // 64)
    first, second = (
        _words(64 * blocks, num_maps, numbers, law, stream=stream).unflatten(-1, (blocks, 4, 16)) for stream in (1, 2)
    )
    if isinstance(law.basis, Gaussian):
        found = _normals(first, second, ndim)
    else:
        halves = [_alternating(first)] if ndim == 1 else [first >> 16, first, _alternating(second)][:ndim]
        found = [_signed(half) for half in halves] if law.order else _by_bytes(halves, numbers, law)
    return [axis.flatten(-3)[..., :cells] for axis in found]


def _normals(first: Tensor, second: Tensor, ndim: int) -> list[Tensor]:
    """Box and Muller's transform, two normals of a radius and an angle."""
    if ndim == 1:
        pair = _pair(first[..., :2, :], _half(first[..., 2:, :] >> 16))
        return [torch.stack(pair, dim=-2).flatten(-3, -2)]
    if ndim == 2:
        return list(_pair(first, _half(second >> 16)))
    halves = torch.stack([_half(second[..., 2:, :] >> 16), _half(second[..., 2:, :])], dim=-2)
    left_over = (first[..., ::2, :] & 511) << 9 | first[..., 1::2, :] & 511
    pair = _pair(second[..., :2, :], (left_over * 2 + 1).float() * 2.0**-19)
    return [*_pair(first, halves.flatten(-3, -2)), torch.stack(pair, dim=-2).flatten(-3, -2)]


def _pair(word: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    radius, angle = (-2 * _uniforms(word).log()).sqrt(), math.pi * (2 * turn - 1)
    return radius * angle.cos(), radius * angle.sin()


def _alternating(word: Tensor) -> Tensor:
    """The upper and the lower halves of blocks (…, blocks, 4, 16), which two neighbours share, in the lower 16 bits."""
    return torch.stack([word >> 16, word], dim=-3).flatten(-4, -3)[..., : word.shape[-3], :, :]


def _by_bytes(halves: list[Tensor], numbers: Tensor, law: Law) -> list[Tensor]:
    """What the basis makes offsets of, from lower 16 bits, two bytes A and B, and u and v in (0, 1), halves of the sample's word.

    (A + u) / 256, or the distribution function of the triangular basis at (A + u) / 256 − (B + v) / 256; near its ends, where
    |e| → 1, float32 keeps the offset e that is made of it to 2⁻²⁵ / (1 − |e|).
    """
    maps = torch.arange(halves[0].shape[1], device=numbers.device)
    shared = _philox(numbers.view(-1, 1), torch.zeros_like(numbers[:1]), maps, 3, law.seed)
    found = []
    for half, word in zip(halves, (word[..., None, None, None] for word in shared), strict=False):
        a = (half >> 8 & 255) * 65536 + (word >> 16)
        if not isinstance(law.basis, Triangular):
            found.append((2 * a + 1).float() * 2.0**-25)
            continue
        difference = a - (half & 255) * 65536 - (word & 65535)
        smaller = ((2**24 - difference.abs()).float() * 2.0**-24).square() / 2
        found.append(torch.where(difference < 0, smaller, 1 - smaller))
    return found


def _signed(word: Tensor) -> Tensor:
    """The lower 16 bits, a sign and a share of a half, as a uniform: an odd multiple of 2⁻¹⁷."""
    share = ((word & 0x7FFF) * 2 + 1).float() * 2.0**-17
    return torch.where((word & 0x8000) > 0, share, 1 - share)


def _half(word: Tensor) -> Tensor:
    """The lower 16 bits, with a sign, as a uniform: an odd multiple of 2⁻¹⁷."""
    return (((word + 0x8000) & 0xFFFF) * 2 + 1).float() * 2.0**-17


def _uniforms(word: Tensor) -> Tensor:
    """(2k + 1) 2⁻²⁴, k the word's 23 high bits."""
    return ((word >> 9) * 2 + 1).float() * 2.0**-24


def _words(cells: int, num_maps: int, numbers: Tensor, law: Law, *, stream: int) -> Tensor:
    """32-bit words (s, maps, cells), in int64: cell 64 b + 16 k + l has word k of quad 16 b + l."""
    blocks = -(-cells // 64)
    quads, maps, two = (torch.arange(size, device=numbers.device) for size in (16 * blocks, num_maps, 2))
    samples = two if law.order else numbers
    four = _philox(quads, samples.view(-1, 1, 1), maps.view(-1, 1), stream, law.seed)
    words = torch.stack([word.unflatten(-1, (blocks, 16)) for word in four], dim=-2).flatten(-3)[..., :cells]
    if not law.order:
        return words
    # Of a lattice, sample 0 has the base and sample 1 the number of the step.
    number = 1 + (words[1] * (law.order - 1) >> 32)
    return (words[0] + numbers.view(-1, 1, 1) * step_of(number, law.order)) & LOW


def _philox(quad: Tensor, sample: Tensor, maps: Tensor, stream: int, seed: int | Tensor) -> tuple[Tensor, ...]:
    c0, c1, c2 = torch.broadcast_tensors(quad, sample, maps)
    c3 = torch.full_like(c0, stream)
    k0, k1 = seed & LOW, (seed >> 32) & LOW
    for _ in range(ROUNDS):
        # The low 64 bits of a product are right with a sign too, and so are its halves once masked.
        a, b = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (b >> 32) & LOW ^ c1 ^ k0, b & LOW, (a >> 32) & LOW ^ c3 ^ k1, a & LOW
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
    return c0, c1, c2, c3
