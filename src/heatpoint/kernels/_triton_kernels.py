# mypy: ignore-errors
"""Triton kernels of sampling-argmax: the weights of a sample, its point, and the gradient, without anything of size S x cells.

What is computed and how the random numbers are made is that of the native kernel, so that both give the same samples to
rounding: Philox4x32-7 with the key `seed`, read from memory, and the counter (quad of cells, sample, map, stream). The cells of a
map are taken in blocks of 64, and quad q = 16 b + l gives cell 64 b + 16 k + l its word k. A tile of cells has the shape
(quads, 2, 2), k = i + 2 j, so that a thread has all four words of its quads. Stream 0 makes the Gumbel draws, 1 to 4 the basis's
offsets.

A sample's weight of cell i is (p_i / E_i)^(1/τ) (paper) or p_i E_i^(−1/τ) (released), E_i = −log u_i, up to a factor that
cancels.

Logarithms are polynomials: the device's own has an absolute error of 2⁻²² near 1, and 1 is where E is smallest and a weight
largest. 1/τ comes as a sum, `exponent + rest`, whose first part has so few digits that its product with a float's exponent is
exact.

Types are Triton's, not Python's: mypy has nothing to say here.
"""

import triton
import triton.language as tl

ROUNDS = tl.constexpr(7)
NONE, UNIFORM, TRIANGULAR, GAUSSIAN = (tl.constexpr(number) for number in range(4))
L1, L2, SMOOTH_L1, SQUARED = (tl.constexpr(number) for number in range(4))
# How E^(−1/τ) is made: τ = 2, 1, ½, any other from ¼ on, and below, in the log domain.
ROOT, INVERSE, SQUARE, GENERAL, COLD = (tl.constexpr(number) for number in range(5))


@triton.jit
def _joined(a, b, c, d):
    return tl.join(tl.join(a, b), tl.join(c, d))


@triton.jit
def _cells(first, QUADS: tl.constexpr):
    """Quads from `first` on, and their cells."""
    quad = first + tl.arange(0, QUADS)
    cell = quad // 16 * 64 + quad % 16
    return quad, _joined(cell, cell + 16, cell + 32, cell + 48)


@triton.jit
def _load(source, quad, num_cells, other, STEP: tl.constexpr):
    """What the cells of the quads have in memory.

    Four loads, joined as the words are: a single one would have a layout of its own, to which every word, in every sample, would
    then be brought through shared memory.
    """
    cell = quad // 16 * 64 + quad % 16
    a = tl.load(source + cell * STEP, mask=cell < num_cells, other=other)
    b = tl.load(source + (cell + 16) * STEP, mask=cell + 16 < num_cells, other=other)
    c = tl.load(source + (cell + 32) * STEP, mask=cell + 32 < num_cells, other=other)
    d = tl.load(source + (cell + 48) * STEP, mask=cell + 48 < num_cells, other=other)
    return _joined(a, b, c, d)


@triton.jit
def _words(seed, quad, sample, index, stream: tl.constexpr):
    a, b, c, d = tl.philox(seed, quad, sample, index, stream, ROUNDS)
    return _joined(a, b, c, d)


@triton.jit
def _words_at(seed, place, sample, index, stream: tl.constexpr):
    """The word of every `place`, whichever of the four it is."""
    a, b, c, d = tl.philox(seed, place // 64 * 16 + place % 16, sample, index, stream, ROUNDS)
    k = place % 64 // 16
    return tl.where(k < 2, tl.where(k == 0, a, b), tl.where(k == 2, c, d))


@triton.jit
def _log2(x, IS_FINE: tl.constexpr):
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
def _exponential(word, IS_FINE: tl.constexpr):
    """−log2 u: E up to the factor log 2; u = (2k + 1) 2⁻²⁴, k the word's 23 high bits: neither 0 nor 1."""
    bits = ((word >> 9) | 0x3F800000).to(tl.float32, bitcast=True)
    whole, rest = _log2(bits - 0.999999940395355224609375, IS_FINE)
    return -(whole + rest)


@triton.jit
def _exp2(whole, rest):
    """2^(whole + rest), 0 from 2⁻¹⁰⁰ down."""
    bits = tl.exp2(rest).to(tl.int32, bitcast=True) + (whole.to(tl.int32) << 23)
    return tl.where(whole > -100.0, bits.to(tl.float32, bitcast=True), 0.0)


@triton.jit
def _exp2_of_double(bits):
    bits = tl.maximum(bits, -200.0)
    whole = tl.floor(bits + 0.5)
    return _exp2(whole.to(tl.float32), (bits - whole).to(tl.float32))


@triton.jit
def _base(logit, top, exponent, rest, IS_PAPER: tl.constexpr, POWER: tl.constexpr):
    """p^(1/τ) or p, 1 in the largest cell; in the log domain its log2. In doubles, for logits may be large."""
    bits = (logit.to(tl.float64) - top.to(tl.float64)) * 1.4426950408889634
    if IS_PAPER:
        bits = bits * (tl.cast(exponent, tl.float64) + tl.cast(rest, tl.float64))
    if POWER != COLD:
        bits = _exp2_of_double(bits)
    return bits


@triton.jit
def _scores(base, word, exponent, rest):
    """Log2 of the weights, in doubles."""
    whole, broken = _log2(_exponential(word, True), True)
    bits = whole.to(tl.float64) + broken.to(tl.float64)
    return base - (tl.cast(exponent, tl.float64) + tl.cast(rest, tl.float64)) * bits


@triton.jit
def _powers(base, word, exponent, rest, POWER: tl.constexpr):
    """The weights, from temperature ¼ on: nothing overflows."""
    waiting = _exponential(word, False)
    if POWER == ROOT:
        weight = base * tl.rsqrt(waiting)
    elif POWER == INVERSE:
        weight = base / waiting
    elif POWER == SQUARE:
        weight = base / (waiting * waiting)
    else:
        whole, broken = _log2(waiting, False)
        small = -(exponent + rest) * broken - rest * whole
        large = -exponent * whole
        n = tl.floor(small + large + 0.5)
        weight = base * _exp2(n, small + (large - n))
    return weight


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
def _normal(first, second, AXIS: tl.constexpr):
    """One side of Box and Muller's transform of two words."""
    radius = tl.sqrt(1.3862943649291992 * _exponential(first, False))
    turn = (second.to(tl.int32, bitcast=True) >> 8).to(tl.float32) * 1.1920928955078125e-07
    sine, cosine = _sine_cosine(turn)
    return radius * sine if AXIS == 1 else radius * cosine


@triton.jit
def _bounded(word, AXIS: tl.constexpr, BASIS: tl.constexpr):
    """A uniform or triangular offset from 16 bits of a word, the upper, or for y the lower."""
    if AXIS == 1:
        word = word << 16
    # An odd multiple of 2⁻¹⁶ in (−1, 1).
    signed = (word.to(tl.int32, bitcast=True) >> 16).to(tl.float32) * 3.0517578125e-05 + 1.52587890625e-05
    if BASIS == UNIFORM:
        offset = 0.5 * signed
    else:
        size = 1.0 - tl.sqrt(1.0 - tl.abs(signed))
        offset = tl.where(signed < 0, -size, size)
    return offset


@triton.jit
def _offset(seed, quad, place, sample, index, AXIS: tl.constexpr, BASIS: tl.constexpr, IS_PAPER: tl.constexpr):
    """Offsets along one axis, in cells, or standard normals: one for every cell, in the released formula for every position.

    What two axes share is computed once, by the compiler's leave. Joined at the end, because a longer way from the join to the
    sums would keep the compiler from giving both one layout.
    """
    if BASIS == GAUSSIAN:
        STREAM: tl.constexpr = 1 if AXIS < 2 else 3
        if IS_PAPER:
            a, b, c, d = tl.philox(seed, quad, sample, index, STREAM, ROUNDS)
            e, f, g, h = tl.philox(seed, quad, sample, index, STREAM + 1, ROUNDS)
            offset = _joined(_normal(a, e, AXIS), _normal(b, f, AXIS), _normal(c, g, AXIS), _normal(d, h, AXIS))
        else:
            first = _words_at(seed, place, sample, index, STREAM)
            offset = _normal(first, _words_at(seed, place, sample, index, STREAM + 1), AXIS)
    else:
        STREAM: tl.constexpr = 1 if AXIS < 2 else 2
        if IS_PAPER:
            a, b, c, d = tl.philox(seed, quad, sample, index, STREAM, ROUNDS)
            a, b, c, d = (
                _bounded(a, AXIS, BASIS),
                _bounded(b, AXIS, BASIS),
                _bounded(c, AXIS, BASIS),
                _bounded(d, AXIS, BASIS),
            )
            offset = _joined(a, b, c, d)
        else:
            offset = _bounded(_words_at(seed, place, sample, index, STREAM), AXIS, BASIS)
    return offset


@triton.jit
def _place(cell, length_x, length_y, AXIS: tl.constexpr):
    if AXIS == 0:
        place = cell % length_x
    elif AXIS == 1:
        place = cell // length_x % length_y
    else:
        place = cell // length_x // length_y
    return place


@triton.jit
def _center(
    cloud,
    quad,
    cell,
    num_cells,
    length,
    length_x,
    length_y,
    stride,
    AXIS: tl.constexpr,
    D: tl.constexpr,
    IS_GRID: tl.constexpr,
    POWER: tl.constexpr,
):
    """Coordinates of the cells, less the middle of the grid or of the cloud.

    Doubles at low temperatures: the gradient is a difference of positions divided by the temperature.
    """
    if IS_GRID:
        place = _place(cell, length_x, length_y, AXIS).to(tl.float32)
        center = stride * (place - 0.5 * (length - 1))
    else:
        center = _load(cloud + AXIS, quad, num_cells, 0.0, D)
    if POWER == COLD:
        center = center.to(tl.float64)
    return center


@triton.jit
def _position(
    center,
    unit,
    seed,
    quad,
    cell,
    length_x,
    length_y,
    sample,
    index,
    AXIS: tl.constexpr,
    BASIS: tl.constexpr,
    IS_PAPER: tl.constexpr,
):
    if BASIS == NONE:
        position = center
    else:
        place = _place(cell, length_x, length_y, AXIS)
        position = center + unit * _offset(seed, quad, place, sample, index, AXIS, BASIS, IS_PAPER)
    return position


@triton.jit
def _term(delta, weight, DISTANCE: tl.constexpr):
    """What one coordinate adds to the distance, and its derivative."""
    size = tl.abs(delta)
    sign = tl.where(delta > 0, 1.0, tl.where(delta < 0, -1.0, delta))
    if DISTANCE == L1:
        term, slope = weight * size, weight * sign
    elif DISTANCE == SMOOTH_L1:
        term = weight * tl.where(size < 1, 0.5 * delta * delta, size - 0.5)
        slope = weight * tl.where(size < 1, delta, sign)
    elif DISTANCE == SQUARED:
        term, slope = weight * delta * delta, weight * 2 * delta
    else:
        term, slope = delta * delta, delta
    return term, slope


@triton.jit
def _distance(
    x,
    y,
    z,
    target,
    axis_weight,
    map_index,
    middle_x,
    middle_y,
    middle_z,
    D: tl.constexpr,
    DISTANCE: tl.constexpr,
    IS_WEIGHTED: tl.constexpr,
):
    """The distance of a sample, less the middle, from the map's target, and its derivatives."""
    goal = target + map_index * D
    a, b, c = 1.0, 1.0, 1.0
    if IS_WEIGHTED:
        a = tl.load(axis_weight + map_index * D)
        if D > 1:
            b = tl.load(axis_weight + map_index * D + 1)
        if D > 2:
            c = tl.load(axis_weight + map_index * D + 2)
    distance, slope_x = _term(x - (tl.load(goal) - middle_x), a, DISTANCE)
    slope_y, slope_z = slope_x * 0.0, slope_x * 0.0
    if D > 1:
        term, slope_y = _term(y - (tl.load(goal + 1) - middle_y), b, DISTANCE)
        distance += term
    if D > 2:
        term, slope_z = _term(z - (tl.load(goal + 2) - middle_z), c, DISTANCE)
        distance += term
    if DISTANCE == L2:
        distance = tl.sqrt(distance)
        inverse = tl.where(distance == 0, 0.0, 1.0 / tl.where(distance == 0, 1.0, distance))
        slope_x, slope_y, slope_z = slope_x * inverse, slope_y * inverse, slope_z * inverse
    return distance, slope_x, slope_y, slope_z


@triton.jit
def _store_point(into, x, y, z, D: tl.constexpr):
    tl.store(into, x)
    if D > 1:
        tl.store(into + 1, y)
    if D > 2:
        tl.store(into + 2, z)


@triton.jit(do_not_specialize=["num_samples"])
def whole_rows(
    logits,
    centers,
    cloud_of_map,
    target,
    axis_weight,
    loss,
    logits_gradient,
    target_gradient,
    num_cells,
    num_samples,
    seed_of_call,
    exponent,
    rest,
    scale,
    length_x,
    length_y,
    length_z,
    stride_x,
    stride_y,
    stride_z,
    unit_x,
    unit_y,
    unit_z,
    middle_x,
    middle_y,
    middle_z,
    D: tl.constexpr,
    BASIS: tl.constexpr,
    POWER: tl.constexpr,
    DISTANCE: tl.constexpr,
    IS_PAPER: tl.constexpr,
    IS_GRID: tl.constexpr,
    IS_WEIGHTED: tl.constexpr,
    HAS_CLOUDS: tl.constexpr,
    WANTS_GRADIENT: tl.constexpr,
    QUADS: tl.constexpr,
):
    """One map per program: all its cells in registers, the weights kept until the slope of the distance is known."""
    index, seed = tl.program_id(0), tl.load(seed_of_call)
    far = index.to(tl.int64)
    quad, cell = _cells(0, QUADS)
    logit = _load(logits + far * num_cells, quad, num_cells, float("-inf"), 1)
    top = tl.max(logit)
    is_void = (tl.sum((logit != logit).to(tl.int32)) > 0) | (tl.abs(top) == float("inf"))
    base = _base(logit, top, exponent, rest, IS_PAPER, POWER)
    cloud = centers
    if HAS_CLOUDS:
        cloud += tl.load(cloud_of_map + far) * num_cells * D
    center_x = _center(cloud, quad, cell, num_cells, length_x, length_x, length_y, stride_x, 0, D, IS_GRID, POWER)
    if D > 1:
        center_y = _center(cloud, quad, cell, num_cells, length_y, length_x, length_y, stride_y, 1, D, IS_GRID, POWER)
    if D > 2:
        center_z = _center(cloud, quad, cell, num_cells, length_z, length_x, length_y, stride_z, 2, D, IS_GRID, POWER)
    gradient = tl.zeros([QUADS, 2, 2], tl.float32)
    total, total_x, total_y, total_z = 0.0, 0.0, 0.0, 0.0
    for sample in range(num_samples):
        word = _words(seed, quad, sample, index, 0)
        if POWER == COLD:
            score = _scores(base, word, exponent, rest)
            weight = _exp2_of_double(score - tl.max(score)).to(tl.float64)
        else:
            weight = _powers(base, word, exponent, rest, POWER)
        inverse = 1.0 / tl.sum(weight)
        x = _position(center_x, unit_x, seed, quad, cell, length_x, length_y, sample, index, 0, BASIS, IS_PAPER)
        point_x = tl.sum(weight * x) * inverse
        point_y, point_z = point_x, point_x
        if D > 1:
            y = _position(center_y, unit_y, seed, quad, cell, length_x, length_y, sample, index, 1, BASIS, IS_PAPER)
            point_y = tl.sum(weight * y) * inverse
        if D > 2:
            z = _position(center_z, unit_z, seed, quad, cell, length_x, length_y, sample, index, 2, BASIS, IS_PAPER)
            point_z = tl.sum(weight * z) * inverse
        distance, slope_x, slope_y, slope_z = _distance(
            point_x, point_y, point_z, target, axis_weight, far, middle_x, middle_y, middle_z, D, DISTANCE, IS_WEIGHTED
        )
        total += distance.to(tl.float32)
        if WANTS_GRADIENT:
            total_x -= slope_x.to(tl.float32)
            total_y -= slope_y.to(tl.float32)
            total_z -= slope_z.to(tl.float32)
            slope = slope_x * (x - point_x)
            if D > 1:
                slope += slope_y * (y - point_y)
            if D > 2:
                slope += slope_z * (z - point_z)
            gradient += (weight * inverse * slope).to(tl.float32)
    mean = 1.0 / num_samples
    tl.store(loss + far, tl.where(is_void, float("nan"), total * mean))
    if WANTS_GRADIENT:
        gradient = tl.where(is_void, float("nan"), gradient * scale)
        tl.store(logits_gradient + far * num_cells + cell, gradient, mask=cell < num_cells)
        mean = tl.where(is_void, float("nan"), mean)
        _store_point(target_gradient + far * D, total_x * mean, total_y * mean, total_z * mean, D)


@triton.jit(do_not_specialize=["num_samples"])
def part_sums(
    logits,
    tops,
    centers,
    cloud_of_map,
    sums,
    mosts,
    num_cells,
    num_samples,
    seed_of_call,
    exponent,
    rest,
    length_x,
    length_y,
    length_z,
    stride_x,
    stride_y,
    stride_z,
    unit_x,
    unit_y,
    unit_z,
    D: tl.constexpr,
    BASIS: tl.constexpr,
    POWER: tl.constexpr,
    IS_PAPER: tl.constexpr,
    IS_GRID: tl.constexpr,
    HAS_CLOUDS: tl.constexpr,
    QUADS: tl.constexpr,
):
    """One part of a map per program: for every sample the sums of its weights, and of weight times position.

    sums (maps, samples, 1 + D, parts); in the log domain less the part's largest logarithm, mosts (maps, samples, parts).
    """
    index, part, num_parts = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    seed = tl.load(seed_of_call)
    far = index.to(tl.int64)
    quad, cell = _cells(part * QUADS, QUADS)
    logit = _load(logits + far * num_cells, quad, num_cells, float("-inf"), 1)
    base = _base(logit, tl.load(tops + far), exponent, rest, IS_PAPER, POWER)
    cloud = centers
    if HAS_CLOUDS:
        cloud += tl.load(cloud_of_map + far) * num_cells * D
    center_x = _center(cloud, quad, cell, num_cells, length_x, length_x, length_y, stride_x, 0, D, IS_GRID, POWER)
    if D > 1:
        center_y = _center(cloud, quad, cell, num_cells, length_y, length_x, length_y, stride_y, 1, D, IS_GRID, POWER)
    if D > 2:
        center_z = _center(cloud, quad, cell, num_cells, length_z, length_x, length_y, stride_z, 2, D, IS_GRID, POWER)
    for sample in range(num_samples):
        word = _words(seed, quad, sample, index, 0)
        if POWER == COLD:
            score = _scores(base, word, exponent, rest)
            # A part may hold no possible cell.
            most = tl.maximum(tl.max(score), -1e300)
            weight = _exp2_of_double(score - most).to(tl.float64)
            tl.store(mosts + (far * num_samples + sample) * num_parts + part, most)
        else:
            weight = _powers(base, word, exponent, rest, POWER)
        into = sums + (far * num_samples + sample) * (1 + D) * num_parts + part
        tl.store(into, tl.sum(weight))
        x = _position(center_x, unit_x, seed, quad, cell, length_x, length_y, sample, index, 0, BASIS, IS_PAPER)
        tl.store(into + num_parts, tl.sum(weight * x))
        if D > 1:
            y = _position(center_y, unit_y, seed, quad, cell, length_x, length_y, sample, index, 1, BASIS, IS_PAPER)
            tl.store(into + 2 * num_parts, tl.sum(weight * y))
        if D > 2:
            z = _position(center_z, unit_z, seed, quad, cell, length_x, length_y, sample, index, 2, BASIS, IS_PAPER)
            tl.store(into + 3 * num_parts, tl.sum(weight * z))


@triton.jit(do_not_specialize=["num_samples", "num_parts"])
def joined_parts(
    tops,
    sums,
    mosts,
    target,
    axis_weight,
    loss,
    target_gradient,
    slopes,
    num_samples,
    num_parts,
    middle_x,
    middle_y,
    middle_z,
    D: tl.constexpr,
    POWER: tl.constexpr,
    DISTANCE: tl.constexpr,
    IS_WEIGHTED: tl.constexpr,
    WANTS_GRADIENT: tl.constexpr,
    PARTS: tl.constexpr,
):
    """One map per program: the points of its samples, its loss, and what `part_gradients` needs of each sample.

    slopes (maps, samples, 1 + 2 D): 1 / Σ weights, the point, the derivatives of the distance; the largest logarithm of a sample
    replaces the first of its mosts.
    """
    far = tl.program_id(0).to(tl.int64)
    top = tl.load(tops + far)
    is_void = (top != top) | (tl.abs(top) == float("inf"))
    part = tl.arange(0, PARTS)
    is_part = part < num_parts
    total, total_x, total_y, total_z = 0.0, 0.0, 0.0, 0.0
    for sample in range(num_samples):
        place = far * num_samples + sample
        share = 1.0
        if POWER == COLD:
            mosts_of = tl.load(mosts + place * num_parts + part, mask=is_part, other=float("-inf"))
            most = tl.max(mosts_of)
            share = _exp2_of_double(mosts_of - most)
            tl.store(mosts + place * num_parts, most)
        source = sums + place * (1 + D) * num_parts + part
        inverse = 1.0 / tl.sum(share * tl.load(source, mask=is_part, other=0.0))
        point_x = tl.sum(share * tl.load(source + num_parts, mask=is_part, other=0.0)) * inverse
        point_y, point_z = point_x, point_x
        if D > 1:
            point_y = tl.sum(share * tl.load(source + 2 * num_parts, mask=is_part, other=0.0)) * inverse
        if D > 2:
            point_z = tl.sum(share * tl.load(source + 3 * num_parts, mask=is_part, other=0.0)) * inverse
        distance, slope_x, slope_y, slope_z = _distance(
            point_x, point_y, point_z, target, axis_weight, far, middle_x, middle_y, middle_z, D, DISTANCE, IS_WEIGHTED
        )
        total += distance.to(tl.float32)
        if WANTS_GRADIENT:
            total_x -= slope_x.to(tl.float32)
            total_y -= slope_y.to(tl.float32)
            total_z -= slope_z.to(tl.float32)
            into = slopes + place * (1 + 2 * D)
            tl.store(into, inverse)
            _store_point(into + 1, point_x, point_y, point_z, D)
            _store_point(into + 1 + D, slope_x, slope_y, slope_z, D)
    mean = tl.where(is_void, float("nan"), 1.0 / num_samples)
    tl.store(loss + far, total * mean)
    if WANTS_GRADIENT:
        _store_point(target_gradient + far * D, total_x * mean, total_y * mean, total_z * mean, D)


@triton.jit(do_not_specialize=["num_samples"])
def part_gradients(
    logits,
    tops,
    centers,
    cloud_of_map,
    mosts,
    slopes,
    logits_gradient,
    num_cells,
    num_samples,
    seed_of_call,
    exponent,
    rest,
    scale,
    length_x,
    length_y,
    length_z,
    stride_x,
    stride_y,
    stride_z,
    unit_x,
    unit_y,
    unit_z,
    D: tl.constexpr,
    BASIS: tl.constexpr,
    POWER: tl.constexpr,
    IS_PAPER: tl.constexpr,
    IS_GRID: tl.constexpr,
    HAS_CLOUDS: tl.constexpr,
    QUADS: tl.constexpr,
):
    """One part of a map per program: its gradient, summed over the samples, with the weights made again."""
    index, part, num_parts = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    seed = tl.load(seed_of_call)
    far = index.to(tl.int64)
    quad, cell = _cells(part * QUADS, QUADS)
    top = tl.load(tops + far)
    is_void = (top != top) | (tl.abs(top) == float("inf"))
    logit = _load(logits + far * num_cells, quad, num_cells, float("-inf"), 1)
    base = _base(logit, top, exponent, rest, IS_PAPER, POWER)
    cloud = centers
    if HAS_CLOUDS:
        cloud += tl.load(cloud_of_map + far) * num_cells * D
    center_x = _center(cloud, quad, cell, num_cells, length_x, length_x, length_y, stride_x, 0, D, IS_GRID, POWER)
    if D > 1:
        center_y = _center(cloud, quad, cell, num_cells, length_y, length_x, length_y, stride_y, 1, D, IS_GRID, POWER)
    if D > 2:
        center_z = _center(cloud, quad, cell, num_cells, length_z, length_x, length_y, stride_z, 2, D, IS_GRID, POWER)
    gradient = tl.zeros([QUADS, 2, 2], tl.float32)
    for sample in range(num_samples):
        word = _words(seed, quad, sample, index, 0)
        place = far * num_samples + sample
        if POWER == COLD:
            score = _scores(base, word, exponent, rest)
            weight = _exp2_of_double(score - tl.load(mosts + place * num_parts)).to(tl.float64)
        else:
            weight = _powers(base, word, exponent, rest, POWER)
        source = slopes + place * (1 + 2 * D)
        x = _position(center_x, unit_x, seed, quad, cell, length_x, length_y, sample, index, 0, BASIS, IS_PAPER)
        slope = tl.load(source + 1 + D) * (x - tl.load(source + 1))
        if D > 1:
            y = _position(center_y, unit_y, seed, quad, cell, length_x, length_y, sample, index, 1, BASIS, IS_PAPER)
            slope += tl.load(source + 2 + D) * (y - tl.load(source + 2))
        if D > 2:
            z = _position(center_z, unit_z, seed, quad, cell, length_x, length_y, sample, index, 2, BASIS, IS_PAPER)
            slope += tl.load(source + 3 + D) * (z - tl.load(source + 3))
        gradient += (weight * tl.load(source) * slope).to(tl.float32)
    gradient = tl.where(is_void, float("nan"), gradient * scale)
    tl.store(logits_gradient + far * num_cells + cell, gradient, mask=cell < num_cells)
