# mypy: ignore-errors
# ruff: noqa: RUF005
"""Where the sub-samples of the cells lie, on the device.

The released formula draws one offset e_j per position j of an axis and moves the marginal m: Ŷ = Σ_j q_j (c_j + e_j) / Σ_j q_j.
Both sums are linear in m, and so in the weights of the cells: Ŷ = Σ_i w_i moment(i) / Σ_i w_i share(i), where share and moment
depend on the cell's position on the axis only. They are made once per sample and position, into a line of memory of the program's
own, from which its cells take them; no marginal exists. The shares never all vanish: an offset's magnitude is less than 1, and
a normal draw less than 6, because uniforms have 23 bits.
"""

import triton
import triton.language as tl

from heatpoint.kernels._gpu.numbers import (
    COLD,
    GAUSSIAN,
    NONE,
    ROUNDS,
    TRIANGULAR,
    bounded,
    joined,
    load_cells,
    normal,
)


@triton.jit
def place_of(cell, lengths, AXIS: tl.constexpr):
    """Position of cells on an axis."""
    if AXIS == 0:
        place = cell % lengths[0]
    elif AXIS == 1:
        place = cell // lengths[0] % lengths[1]
    else:
        place = cell // lengths[0] // lengths[1]
    return place


@triton.jit
def centers_of(cloud, quad, cell, num_cells, lengths, strides, D: tl.constexpr, POWER: tl.constexpr):
    """Coordinates of the cells, less the middle of the grid or of the cloud.

    Doubles at low temperatures: the gradient is a difference of positions divided by the temperature.
    """
    centers = ()
    for axis in tl.static_range(D):
        if cloud is None:
            center = strides[axis] * (place_of(cell, lengths, axis).to(tl.float32) - 0.5 * (lengths[axis] - 1))
        else:
            center = load_cells(cloud + axis, quad, num_cells, 0.0, D)
        if POWER == COLD:
            center = center.to(tl.float64)
        centers = centers + (center,)
    return centers


@triton.jit
def _offset(seed, quad, sample, index, AXIS: tl.constexpr, BASIS: tl.constexpr):
    """Offsets of the cells along one axis, in cells, or standard normals.

    What two axes share is computed once, by the compiler's leave. Joined at the end, because a longer way from the join to the
    sums would keep the compiler from giving both one layout.
    """
    if BASIS == GAUSSIAN:
        STREAM: tl.constexpr = 1 if AXIS < 2 else 3
        a, b, c, d = tl.philox(seed, quad, sample, index, STREAM, ROUNDS)
        e, f, g, h = tl.philox(seed, quad, sample, index, STREAM + 1, ROUNDS)
        offset = joined(normal(a, e, AXIS), normal(b, f, AXIS), normal(c, g, AXIS), normal(d, h, AXIS))
    else:
        STREAM: tl.constexpr = 1 if AXIS < 2 else 2
        a, b, c, d = tl.philox(seed, quad, sample, index, STREAM, ROUNDS)
        a, b = bounded(a, AXIS, BASIS), bounded(b, AXIS, BASIS)
        offset = joined(a, b, bounded(c, AXIS, BASIS), bounded(d, AXIS, BASIS))
    return offset


@triton.jit
def _word_at(seed, place, sample, index, stream: tl.constexpr):
    """The word of every `place`, whichever of the four it is."""
    a, b, c, d = tl.philox(seed, place // 64 * 16 + place % 16, sample, index, stream, ROUNDS)
    k = place % 64 // 16
    return tl.where(k < 2, tl.where(k == 0, a, b), tl.where(k == 2, c, d))


@triton.jit
def _offset_at(seed, place, sample, index, AXIS: tl.constexpr, BASIS: tl.constexpr):
    """Offsets of positions of an axis, in cells, or standard normals."""
    if BASIS == GAUSSIAN:
        STREAM: tl.constexpr = 1 if AXIS < 2 else 3
        first = _word_at(seed, place, sample, index, STREAM)
        offset = normal(first, _word_at(seed, place, sample, index, STREAM + 1), AXIS)
    else:
        STREAM: tl.constexpr = 1 if AXIS < 2 else 2
        offset = bounded(_word_at(seed, place, sample, index, STREAM), AXIS, BASIS)
    return offset


@triton.jit
def _shares_and_moments(
    seed, place, sample, index, length, stride, unit, AXIS: tl.constexpr, BASIS: tl.constexpr, WEIGHS: tl.constexpr
):
    """What the weight of the cells at positions of an axis counts in Σ q, 1 unless WEIGHS, and in Σ q (c + e)."""
    offset = _offset_at(seed, place, sample, index, AXIS, BASIS)
    moment = stride * (place.to(tl.float32) - 0.5 * (length - 1)) + unit * offset
    share = tl.full(place.shape, 1.0, tl.float32)
    if WEIGHS and BASIS == GAUSSIAN:
        share = tl.exp2(-2.885390043258667 * offset * offset)
        moment = share * moment
    if WEIGHS and BASIS == TRIANGULAR:
        # The marginal of j goes to q_j, and to that of a neighbour whose offset points at j.
        before = tl.maximum(_offset_at(seed, tl.maximum(place - 1, 0), sample, index, AXIS, BASIS), 0.0)
        before = tl.where(place > 0, before, 0.0)
        after = tl.maximum(-_offset_at(seed, place + 1, sample, index, AXIS, BASIS), 0.0)
        after = tl.where(place + 1 < length, after, 0.0)
        here = 1.0 - tl.abs(offset)
        center = moment - unit * offset
        moment = here * moment + before * (center - stride + unit * before) + after * (center + stride - unit * after)
        share = here + before + after
    return share, moment


@triton.jit
def _write_lines(
    line,
    seed,
    sample,
    index,
    lengths,
    strides,
    units,
    D: tl.constexpr,
    BASIS: tl.constexpr,
    LINE: tl.constexpr,
    WEIGHS: tl.constexpr,
):
    """Shares and moments of all axes into line (D, 2, LINE); no program sees another's."""
    place = tl.arange(0, LINE)
    tl.debug_barrier()
    for axis in tl.static_range(D):
        into, length = line + 2 * axis * LINE + place, lengths[axis]
        share, moment = _shares_and_moments(
            seed, place, sample, index, length, strides[axis], units[axis], axis, BASIS, WEIGHS
        )
        if WEIGHS:
            tl.store(into, share, mask=place < length)
        tl.store(into + LINE, moment, mask=place < length)
    tl.debug_barrier()


@triton.jit
def _from_line(line, quad, num_cells, lengths, AXIS: tl.constexpr):
    """What the line has for the cells of the quads, by the way of `load_cells`."""
    a = quad // 16 * 64 + quad % 16
    b, c, d = a + 16, a + 32, a + 48
    return joined(
        tl.load(line + place_of(a, lengths, AXIS), mask=a < num_cells, other=0.0),
        tl.load(line + place_of(b, lengths, AXIS), mask=b < num_cells, other=0.0),
        tl.load(line + place_of(c, lengths, AXIS), mask=c < num_cells, other=0.0),
        tl.load(line + place_of(d, lengths, AXIS), mask=d < num_cells, other=0.0),
    )


@triton.jit
def shares_and_moments(
    centers,
    lines,
    program,
    quad,
    num_cells,
    seed,
    sample,
    index,
    lengths,
    strides,
    units,
    D: tl.constexpr,
    BASIS: tl.constexpr,
    LINE: tl.constexpr,
    WEIGHS: tl.constexpr,
):
    """Per axis, what the weight of a cell counts, if WEIGHS, and that times where the cell's sub-sample lies.

    lines (programs, D, 2, LINE) is room for the released formula; for the paper's, LINE is 0.
    """
    shares, moments = (), ()
    if LINE > 0:
        line = lines + program * (2 * D * LINE)
        _write_lines(line, seed, sample, index, lengths, strides, units, D, BASIS, LINE, WEIGHS)
    for axis in tl.static_range(D):
        if LINE > 0:
            source = line + 2 * axis * LINE
            if WEIGHS:
                shares = shares + (_from_line(source, quad, num_cells, lengths, axis),)
            moments = moments + (_from_line(source + LINE, quad, num_cells, lengths, axis),)
        elif BASIS == NONE:
            moments = moments + (centers[axis],)
        else:
            moments = moments + (centers[axis] + units[axis] * _offset(seed, quad, sample, index, axis, BASIS),)
    return shares, moments
