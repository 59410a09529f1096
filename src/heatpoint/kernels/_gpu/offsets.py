"""Offsets of cells and of positions from their words, in cells or as standard normals, as native/sampling_offsets.hpp has."""

import triton
import triton.language as tl

from heatpoint.kernels._gpu.noise import ROUNDS
from heatpoint.kernels._gpu.numbers import GAUSSIAN, NONE, UNIFORM, exponential, joined


@triton.jit
def _sine_cosine(x):
    """Of half a turn times x, |x| ≤ 1, to 3e-8."""
    quarters = 2.0 * x
    n = tl.floor(quarters + 0.5)
    f = quarters - n
    f2 = f * f
    s = f2 * 0.00015819507825654 - 0.0046812607906758785
    s = s * f2 + 0.07969257980585098
    s = s * f2 - 0.6459640860557556
    s = (s * f2 + 1.5707963705062866) * f
    c = f2 * 0.0009033629903569818 - 0.020859936252236366
    c = c * f2 + 0.2536691725254059
    c = c * f2 - 1.2337005138397217
    c = c * f2 + 1.0
    turn = n.to(tl.int32)
    a = tl.where(turn & 1 != 0, c, s)
    b = tl.where(turn & 1 != 0, s, c)
    return tl.where(turn & 2 != 0, -a, a), tl.where((turn + 1) & 2 != 0, -b, b)


@triton.jit
def _normals(word, turn):
    """Two, by Box and Muller's transform of a word and half a turn's share in [−1, 1]."""
    radius = tl.sqrt(1.3862943649291992 * exponential(word, False))
    sine, cosine = _sine_cosine(turn)
    return radius * cosine, radius * sine


@triton.jit
def _centered(word):
    """The upper 16 bits of a word as an odd multiple of 2⁻¹⁶ in (−1, 1)."""
    return (word.to(tl.int32, bitcast=True) >> 16).to(tl.float32) * 3.0517578125e-05 + 1.52587890625e-05


@triton.jit
def _left_over(even, odd):
    """The 18 bits that two radii leave, as an odd multiple of 2⁻¹⁸ in (−1, 1)."""
    bits = ((even & 511) << 9) | (odd & 511)
    return bits.to(tl.int32).to(tl.float32) * 7.62939453125e-06 - 0.999996185302734375


@triton.jit
def _displaced(word, BASIS: tl.constexpr, IS_WHOLE: tl.constexpr):
    """A uniform or triangular offset less its rest: A − 128 or A − B 256ths of a cell, A and B the upper two bytes of a word.

    If it IS_WHOLE, as of a lattice, the offset itself, from the upper 16 bits: a sign, and 15 bits k that are the share
    s = (k + 1/2) 2⁻¹⁵ of the basis's half that lies farther out: (1 − s) / 2, or 1 − √s.
    """
    if IS_WHOLE:
        one_and_share = (((word >> 8) & 0x007FFF00) | 0x3F800080).to(tl.float32, bitcast=True)
        size = 1.0 - 0.5 * one_and_share if BASIS == UNIFORM else 1.0 - tl.sqrt(one_and_share - 1.0)
        found = (size.to(tl.uint32, bitcast=True) | (word & 0x80000000)).to(tl.float32, bitcast=True)
    else:
        upper, lower = (word >> 24).to(tl.int32), (word >> 16 & 255).to(tl.int32)
        found = (upper - (128 if BASIS == UNIFORM else lower)).to(tl.float32) * 0.00390625
    return found


@triton.jit
def rests_of(seed, sample, index, D: tl.constexpr, BASIS: tl.constexpr, IS_LATTICE: tl.constexpr):
    """What a sample's offsets share along an axis: (u + 1/2) 2⁻²⁴ or (u − v) 2⁻²⁴, u and v the halves of a word of stream 3."""
    rests = ()
    if BASIS != NONE and BASIS != GAUSSIAN and not IS_LATTICE:
        words = tl.philox(seed, sample, 0, index, 3, ROUNDS)
        for axis in tl.static_range(D):
            u, v = (words[axis] >> 16).to(tl.int32), (words[axis] & 65535).to(tl.int32)
            rest = u.to(tl.float32) + 0.5 if BASIS == UNIFORM else (u - v).to(tl.float32)
            rests = rests + (rest * 5.9604644775390625e-08,)
    return rests


@triton.jit
def _displaced_cells(a, b, c, d, BASIS: tl.constexpr, IS_WHOLE: tl.constexpr):
    return joined(
        _displaced(a, BASIS, IS_WHOLE),
        _displaced(b, BASIS, IS_WHOLE),
        _displaced(c, BASIS, IS_WHOLE),
        _displaced(d, BASIS, IS_WHOLE),
    )


@triton.jit
def _bounded(words, quad, D: tl.constexpr, BASIS: tl.constexpr, IS_WHOLE: tl.constexpr):
    """Uniform or triangular offsets less their rests: x has the upper half of a word, y the lower; what is alone alternates."""
    half = (quad & 16).to(tl.uint32)
    a, b, c, d = words[4], words[5], words[6], words[7]
    if D == 1:
        offsets = (_displaced_cells(a << half, b << half, c << half, d << half, BASIS, IS_WHOLE),)
    else:
        offsets = (
            _displaced_cells(a, b, c, d, BASIS, IS_WHOLE),
            _displaced_cells(a << 16, b << 16, c << 16, d << 16, BASIS, IS_WHOLE),
        )
    if D == 3:
        a, b, c, d = words[8], words[9], words[10], words[11]
        offsets = offsets + (_displaced_cells(a << half, b << half, c << half, d << half, BASIS, IS_WHOLE),)
    return offsets


@triton.jit
def _gaussian(words, D: tl.constexpr):
    """Standard normals: a pair takes a word, of which 9 bits are left over, and 16 bits or more for the angle."""
    a, b, c, d = words[4], words[5], words[6], words[7]
    if D == 1:
        first, second = _normals(a, _centered(c))
        third, fourth = _normals(b, _centered(d))
        offsets = (joined(first, second, third, fourth),)
    else:
        e, f, g, h = words[8], words[9], words[10], words[11]
        if D == 3:
            first, second = _normals(e, _left_over(a, b))
            third, fourth = _normals(f, _left_over(c, d))
            e, f, g, h = g, g << 16, h, h << 16
        x0, y0 = _normals(a, _centered(e))
        x1, y1 = _normals(b, _centered(f))
        x2, y2 = _normals(c, _centered(g))
        x3, y3 = _normals(d, _centered(h))
        offsets = (joined(x0, x1, x2, x3), joined(y0, y1, y2, y3))
        if D == 3:
            offsets = offsets + (joined(first, second, third, fourth),)
    return offsets


@triton.jit
def cell_offsets(words, quad, D: tl.constexpr, BASIS: tl.constexpr, IS_WHOLE: tl.constexpr):
    """Offsets of the cells of the quads along each axis, less their rests, from words of streams 0, 1 and 2.

    Joined at the end, because a longer way from the join to the sums would keep the compiler from giving both one layout.
    """
    return _gaussian(words, D) if BASIS == GAUSSIAN else _bounded(words, quad, D, BASIS, IS_WHOLE)


@triton.jit
def bounded_at(words, place, FIRST: tl.constexpr, D: tl.constexpr, BASIS: tl.constexpr, IS_WHOLE: tl.constexpr):
    """Uniform or triangular offsets of positions less their rests, one of each axis, from their words, which begin at FIRST."""
    half = (place >> 2 & 16).to(tl.uint32)
    if D == 1:
        offsets = (_displaced(words[FIRST] << half, BASIS, IS_WHOLE),)
    else:
        offsets = (_displaced(words[FIRST], BASIS, IS_WHOLE), _displaced(words[FIRST] << 16, BASIS, IS_WHOLE))
    if D == 3:
        offsets = offsets + (_displaced(words[FIRST + 1] << half, BASIS, IS_WHOLE),)
    return offsets


@triton.jit
def gaussian_at(words, place, D: tl.constexpr):
    """Standard normals of positions, one of each axis."""
    is_odd = (place >> 4) & 1
    if D == 1:
        even, odd = _normals(words[0], _centered(words[1]))
        offsets = (tl.where(is_odd != 0, odd, even),)
    elif D == 2:
        offsets = _normals(words[0], _centered(words[1]))
    else:
        even, odd = _normals(words[2], _left_over(words[3], words[4]))
        offsets = _normals(words[0], _centered(words[1] << (16 * is_odd).to(tl.uint32)))
        offsets = offsets + (tl.where(is_odd != 0, odd, even),)
    return offsets
