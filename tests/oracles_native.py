"""The native kernel's noise, made again in numpy, as recorded draws that the torch form replays."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from heatpoint.basis import Basis, Gaussian, Uniform
from heatpoint.sampling import Noise
from heatpoint.support import Grid, Support

M0, M1, W0, W1 = 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85
LOW = np.uint64(0xFFFFFFFF)


def philox(counter: tuple[NDArray[np.uint64], ...], seed: int, rounds: int) -> list[NDArray[np.uint64]]:
    """Philox4x32 of broadcastable counter words, as published; the four words."""
    c0, c1, c2, c3 = np.broadcast_arrays(*counter)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(rounds):
        p0, p1 = c0 * np.uint64(M0), c2 * np.uint64(M1)
        shift = np.uint64(32)
        c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ np.uint64(k0), p1 & LOW, (p0 >> shift) ^ c3 ^ np.uint64(k1), p0 & LOW
        k0, k1 = (k0 + W0) & 0xFFFFFFFF, (k1 + W1) & 0xFFFFFFFF
    return [c0, c1, c2, c3]


def words(
    num_cells: int, *, seed: int, num_samples: int, num_maps: int, stream: int, order: int = 0
) -> NDArray[np.uint64]:
    """(S, M, cells): cell 64 b + 16 k + l has word k of quad 16 b + l. With an order, a lattice over the samples."""
    if order:
        base, step = words(num_cells, seed=seed, num_samples=2, num_maps=num_maps, stream=stream)
        number = 1 + (step * np.uint64(order - 1) >> np.uint64(32))
        steps = np.array([[(2**33 * int(j) + order) // (2 * order) for j in row] for row in number], dtype=np.uint64)
        return (base + np.arange(num_samples, dtype=np.uint64)[:, None, None] * steps) & LOW
    blocks = -(-num_cells // 64)
    quad = np.arange(16 * blocks, dtype=np.uint64)
    sample = np.arange(num_samples, dtype=np.uint64)[:, None, None]
    index = np.arange(num_maps, dtype=np.uint64)[:, None]
    four = np.stack(philox((quad, sample, index, np.asarray(stream, dtype=np.uint64)), seed, rounds=7), axis=-1)
    by_block = four.reshape(num_samples, num_maps, blocks, 16, 4).swapaxes(-1, -2)
    return by_block.reshape(num_samples, num_maps, -1)[..., :num_cells]


def uniforms(word: NDArray[np.uint64]) -> NDArray[np.float64]:
    return (2 * (word >> np.uint64(9)).astype(np.float64) + 1) * 2.0**-24


def offsets(
    num: int, basis: Basis, ndim: int, *, seed: int, num_samples: int, num_maps: int, order: int = 0
) -> list[NDArray[np.float64]]:
    """Raw draws (S, M, num) per axis: uniforms, or standard normals for a Gaussian."""

    blocks = -(-num // 64)
    sizes = {"seed": seed, "num_samples": num_samples, "num_maps": num_maps, "order": order}
    first, second = (words(64 * blocks, **sizes, stream=number) for number in (1, 2))

    def half(word: NDArray[np.uint64]) -> NDArray[np.float64]:
        signed = word.astype(np.uint16).astype(np.int16).astype(np.float64)
        return (2 * signed + 1) * 2.0**-17 + 0.5

    def bounded(word: NDArray[np.uint64], rest: NDArray[np.uint64]) -> NDArray[np.float64]:
        # In 2⁻²⁴ of a cell, from two bytes of a cell and 16 bits each of its sample.
        byte, sixteen = np.uint64(255), np.uint64(2**16)
        upper = (word >> np.uint64(8) & byte) * sixteen + rest[..., None] // sixteen
        if isinstance(basis, Uniform):
            return (upper.astype(np.float64) + 0.5) * 2.0**-24
        offset = (upper.astype(np.float64) - ((word & byte) * sixteen + rest[..., None] % sixteen)) * 2.0**-24
        return np.where(offset < 0, (1 + offset) ** 2 / 2, 1 - (1 - offset) ** 2 / 2)

    def signed(word: NDArray[np.uint64]) -> NDArray[np.float64]:
        share = (2 * (word % np.uint64(2**15)).astype(np.float64) + 1) * 2.0**-16
        return np.where(word & np.uint64(2**15), share, 2 - share) / 2

    def split(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
        # Blocks 2 b and 2 b + 1 have the upper and the lower halves of the words of block b.
        parts = word.reshape(num_samples, num_maps, blocks, 64)
        both = np.stack([parts >> np.uint64(16), parts], axis=3)
        return both.reshape(num_samples, num_maps, -1)[..., : 64 * blocks]

    def pairs(word: NDArray[np.uint64], turn: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        radius, angle = np.sqrt(-2 * np.log(uniforms(word))), np.pi * (2 * turn - 1)
        return radius * np.cos(angle), radius * np.sin(angle)

    if not isinstance(basis, Gaussian):
        high, low = first >> np.uint64(16), first
        halves = ([split(first)], [high, low], [high, low, split(second)])[ndim - 1]
        if order:
            return [signed(half)[..., :num] for half in halves]
        sample, index = np.arange(num_samples, dtype=np.uint64)[:, None], np.arange(num_maps, dtype=np.uint64)
        rests = philox((sample, np.uint64(0), index, np.uint64(3)), seed, rounds=7)
        return [bounded(half, rest)[..., :num] for half, rest in zip(halves, rests, strict=False)]
    a, b = (word.reshape(num_samples, num_maps, blocks, 4, 16) for word in (first, second))
    if ndim == 1:
        even, odd = pairs(a[..., :2, :], half(a[..., 2:, :] >> np.uint64(16)))
        drawn = [np.stack([even, odd], axis=-2)]
    elif ndim == 2:
        drawn = list(pairs(a, half(b >> np.uint64(16))))
    else:
        angles = np.stack([half(b[..., 2:, :] >> np.uint64(16)), half(b[..., 2:, :])], axis=-2)
        drawn = list(pairs(a, angles.reshape(a.shape)))
        left_over = ((a[..., ::2, :] % np.uint64(512)) * np.uint64(512) + a[..., 1::2, :] % np.uint64(512)).astype(
            float
        )
        even, odd = pairs(b[..., :2, :], (2 * left_over + 1) * 2.0**-19)
        drawn.append(np.stack([even, odd], axis=-2))
    return [axis.reshape(num_samples, num_maps, -1)[..., :num] for axis in drawn]


def noise(
    support: Support,
    batch: tuple[int, ...],
    *,
    basis: Basis | None,
    per_cell: bool,
    seed: int,
    num_samples: int,
    order: int = 0,
) -> Noise:
    """What the kernel draws for maps (*batch, cells), in float64."""
    num_maps = int(np.prod(batch))
    sizes = {"seed": seed, "num_samples": num_samples, "num_maps": num_maps, "order": order}
    gumbel = torch.from_numpy(uniforms(words(support.num_cells, **sizes, stream=0)))
    gumbel = gumbel.reshape(num_samples, *batch, *support.shape)
    if basis is None:
        return Noise(gumbel)
    if per_cell:
        drawn = offsets(support.num_cells, basis, support.ndim, **sizes)
        return Noise(gumbel, [torch.from_numpy(axis).reshape(gumbel.shape) for axis in drawn])
    assert isinstance(support, Grid)
    drawn = offsets(max(support.lengths), basis, support.ndim, **sizes)
    return Noise(
        gumbel,
        [
            torch.from_numpy(axis[..., :length].copy()).reshape(num_samples, *batch, length)
            for axis, length in zip(drawn, support.lengths, strict=True)
        ],
    )
