"""The cells of a tile, and their weights from random words, on the device.

Logarithms are polynomials: the device's own has an absolute error of 2⁻²² near 1, and 1 is where E is smallest and a weight
largest. 1/τ comes as a sum of two, whose first has so few digits that its product with a float's exponent is exact.
"""

import triton
import triton.language as tl

NONE, UNIFORM, TRIANGULAR, GAUSSIAN = (tl.constexpr(number) for number in range(4))
# How E^(−1/τ) is made: τ = 2, 1, ½, any other from ¼ on, and below, in the log domain.
ROOT, INVERSE, SQUARE, GENERAL, COLD = (tl.constexpr(number) for number in range(5))


@triton.jit
def joined(a, b, c, d):
    return tl.join(tl.join(a, b), tl.join(c, d))


@triton.jit
def cells_from(first, QUADS: tl.constexpr):
    """Quads from `first` on, and their cells."""
    quad = first + tl.arange(0, QUADS)
    cell = quad // 16 * 64 + quad % 16
    return quad, joined(cell, cell + 16, cell + 32, cell + 48)


@triton.jit
def load_cells(source, quad, num_cells, other, STEP: tl.constexpr):
    """What the cells of the quads have in memory.

    Four loads, joined as the words are: a single one would have a layout of its own, to which every word, in every sample, would
    then be brought through shared memory.
    """
    cell = quad // 16 * 64 + quad % 16
    a = tl.load(source + cell * STEP, mask=cell < num_cells, other=other)
    b = tl.load(source + (cell + 16) * STEP, mask=cell + 16 < num_cells, other=other)
    c = tl.load(source + (cell + 32) * STEP, mask=cell + 32 < num_cells, other=other)
    d = tl.load(source + (cell + 48) * STEP, mask=cell + 48 < num_cells, other=other)
    return joined(a, b, c, d)


@triton.jit
def log2(x, IS_FINE: tl.constexpr):
    """log2 of positive normal numbers as a whole part and the rest.

    Polynomials of least relative error for log2(1 + t) / t on [−1/4, 1/2): 1.7e-7, and 3e-8 the fine one.
    """
    bits = x.to(tl.int32, bitcast=True)
    shifted = bits - 0x3F400000
    t = (bits - ((shifted >> 23) << 23)).to(tl.float32, bitcast=True) - 1.0
    if IS_FINE:
        p = t * 0.07806674391031265 - 0.17423024773597717
        p = p * t + 0.21632486581802368
        p = p * t - 0.2427235245704651
        p = p * t + 0.2881914973258972
        p = p * t - 0.36057591438293457
        p = p * t + 0.4809020757675171
        p = p * t - 0.7213484644889832
        p = p * t + 1.4426950216293335
    else:
        p = t * -0.0958823561668396 + 0.2038796991109848
        p = p * t - 0.25062817335128784
        p = p * t + 0.29009759426116943
        p = p * t - 0.3603389263153076
        p = p * t + 0.4808468520641327
        p = p * t - 0.7213506102561951
        p = p * t + 1.4426952600479126
    return (shifted >> 23).to(tl.float32), p * t


@triton.jit
def exponential(word, IS_FINE: tl.constexpr):
    """−log2 u: E up to the factor log 2; u = (2k + 1) 2⁻²⁴, k the word's 23 high bits: neither 0 nor 1."""
    bits = ((word >> 9) | 0x3F800000).to(tl.float32, bitcast=True)
    whole, rest = log2(bits - 0.999999940395355224609375, IS_FINE)
    return -(whole + rest)


@triton.jit
def exp2(whole, rest):
    """2^(whole + rest), 0 from 2⁻¹⁰⁰ down."""
    bits = tl.exp2(rest).to(tl.int32, bitcast=True) + (whole.to(tl.int32) << 23)
    return tl.where(whole > -100.0, bits.to(tl.float32, bitcast=True), 0.0)


@triton.jit
def exp2_of_double(bits):
    bits = tl.maximum(bits, -200.0)
    whole = tl.floor(bits + 0.5)
    return exp2(whole.to(tl.float32), (bits - whole).to(tl.float32))


@triton.jit
def _in_doubles(sharpness):
    return tl.cast(sharpness[0], tl.float64) + tl.cast(sharpness[1], tl.float64)


@triton.jit
def base_weights(logit, top, sharpness, IS_PAPER: tl.constexpr, POWER: tl.constexpr):
    """p^(1/τ) or p, 1 in the largest cell; in the log domain its log2. In doubles, for logits may be large."""
    bits = (logit.to(tl.float64) - top.to(tl.float64)) * 1.4426950408889634
    if IS_PAPER:
        bits = bits * _in_doubles(sharpness)
    if POWER != COLD:
        bits = exp2_of_double(bits)
    return bits


@triton.jit
def scores(base, word, sharpness):
    """Log2 of the weights, in doubles."""
    whole, broken = log2(exponential(word, True), True)
    bits = whole.to(tl.float64) + broken.to(tl.float64)
    return base - _in_doubles(sharpness) * bits


@triton.jit
def powers(base, word, sharpness, POWER: tl.constexpr):
    """The weights, from temperature ¼ on: nothing overflows."""
    waiting = exponential(word, False)
    if POWER == ROOT:
        weight = base * tl.rsqrt(waiting)
    elif POWER == INVERSE:
        weight = base / waiting
    elif POWER == SQUARE:
        weight = base / (waiting * waiting)
    else:
        whole, broken = log2(waiting, False)
        small = -(sharpness[0] + sharpness[1]) * broken - sharpness[1] * whole
        large = -sharpness[0] * whole
        n = tl.floor(small + large + 0.5)
        weight = base * exp2(n, small + (large - n))
    return weight
