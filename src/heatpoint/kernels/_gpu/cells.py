"""Where the sub-samples of the cells lie, on the device.

The released formula draws one offset e_j per position j of an axis and moves the marginal m: Ŷ = Σ_j q_j (c_j + e_j) / Σ_j q_j.
Both sums are linear in m, and so in the weights of the cells: Ŷ = Σ_i w_i moment(i) / Σ_i w_i share(i), where share and moment
depend on the cell's position on the axis only. They are made once per sample and position, into a line of memory of the program's
own, from which its cells take them; no marginal exists. The shares never all vanish: an offset's magnitude is less than 1, and
a normal draw less than 6, because uniforms have 23 bits.
"""

import triton
import triton.language as tl

from heatpoint.kernels._gpu.numbers import COLD, GAUSSIAN, NONE, TRIANGULAR, joined, load_cells
from heatpoint.kernels._gpu.offsets import bounded_at, cell_offsets, gaussian_at


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
def _shares_and_moments(place, offset, before, after, length, stride, unit, BASIS: tl.constexpr, WEIGHS: tl.constexpr):
    """What the weight of the cells at positions of an axis counts in Σ q, 1 unless WEIGHS, and in Σ q (c + e).

    before and after are the neighbours' offsets, if the basis is triangular.
    """
    moment = stride * (place.to(tl.float32) - 0.5 * (length - 1)) + unit * offset
    share = tl.full(place.shape, 1.0, tl.float32)
    if WEIGHS and BASIS == GAUSSIAN:
        share = tl.exp2(-2.885390043258667 * offset * offset)
        moment = share * moment
    if WEIGHS and BASIS == TRIANGULAR:
        # The marginal of j goes to q_j, and to that of a neighbour whose offset points at j.
        before = tl.where(place > 0, tl.maximum(before, 0.0), 0.0)
        after = tl.where(place + 1 < length, tl.maximum(-after, 0.0), 0.0)
        here = 1.0 - tl.abs(offset)
        center = moment - unit * offset
        moment = here * moment + before * (center - stride + unit * before) + after * (center + stride - unit * after)
        share = here + before + after
    return share, moment


@triton.jit
def _with_rests(offsets, rests):
    """Offsets along every axis and what they lack, if they lack anything."""
    found = offsets
    if len(rests) > 0:
        found = ()
        for axis in tl.static_range(len(offsets)):
            found = found + (offsets[axis] + rests[axis],)
    return found


@triton.jit
def _line_offsets(words, place, rests, D: tl.constexpr, BASIS: tl.constexpr):
    """Offsets of positions along every axis; those of their neighbours, if the basis is triangular."""
    IS_WHOLE: tl.constexpr = len(rests) == 0
    offsets = gaussian_at(words, place, D) if BASIS == GAUSSIAN else bounded_at(words, place, 0, D, BASIS, IS_WHOLE)
    offsets = _with_rests(offsets, rests)
    before, after = offsets, offsets
    if BASIS == TRIANGULAR:
        NUM: tl.constexpr = 2 if D == 3 else 1
        before = _with_rests(bounded_at(words, tl.maximum(place - 1, 0), NUM, D, BASIS, IS_WHOLE), rests)
        after = _with_rests(bounded_at(words, place + 1, 2 * NUM, D, BASIS, IS_WHOLE), rests)
    return offsets, before, after


@triton.jit
def _write_lines(
    line,
    words,
    rests,
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
    offsets, before, after = _line_offsets(words, place, rests, D, BASIS)
    tl.debug_barrier()
    for axis in tl.static_range(D):
        into, length = line + 2 * axis * LINE + place, lengths[axis]
        share, moment = _shares_and_moments(
            place, offsets[axis], before[axis], after[axis], length, strides[axis], units[axis], BASIS, WEIGHS
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
    words,
    line_words,
    rests,
    axes,
    D: tl.constexpr,
    BASIS: tl.constexpr,
    LINE: tl.constexpr,
    WEIGHS: tl.constexpr,
):
    """Per axis, what the weight of a cell counts, if WEIGHS, and that times where the cell's sub-sample lies.

    words and line_words are the sample's, of cells and positions, and rests of both, where they have any. lines
    (programs, D, 2, LINE) is room for the released formula; for the paper's, LINE is 0. axes are lengths, strides and units.
    """
    lengths, strides, units = axes
    shares, moments = (), ()
    if LINE > 0:
        line = lines + program * (2 * D * LINE)
        _write_lines(line, line_words, rests, lengths, strides, units, D, BASIS, LINE, WEIGHS)
        for axis in tl.static_range(D):
            source = line + 2 * axis * LINE
            if WEIGHS:
                shares = shares + (_from_line(source, quad, num_cells, lengths, axis),)
            moments = moments + (_from_line(source + LINE, quad, num_cells, lengths, axis),)
    elif BASIS == NONE:
        moments = centers
    else:
        offsets = _with_rests(cell_offsets(words, quad, D, BASIS, len(rests) == 0), rests)
        for axis in tl.static_range(D):
            moments = moments + (centers[axis] + units[axis] * offsets[axis],)
    return shares, moments
