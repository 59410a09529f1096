"""Long rows, cut into parts: sums of the parts, then the samples from them, then the gradient with the weights made again.

The kernels take samples from `first` on, `count` of them, because the sums of all would need more memory the more samples.
"""

import triton
import triton.language as tl

from heatpoint.kernels._gpu.distance import distance_and_slopes, given_slopes, store_point
from heatpoint.kernels._gpu.draws import prepared, sample_of
from heatpoint.kernels._gpu.numbers import COLD, exp2_of_double, powers, scores


@triton.jit(do_not_specialize=["first", "count"])
def part_sums(
    logits,
    tops,
    centers,
    cloud_of_map,
    sums,
    mosts,
    lines,
    num_cells,
    first,
    count,
    seed_of_call,
    lattice,
    sharpness,
    lengths,
    strides,
    units,
    D: tl.constexpr,
    BASIS: tl.constexpr,
    POWER: tl.constexpr,
    IS_PAPER: tl.constexpr,
    WEIGHS: tl.constexpr,
    LINE: tl.constexpr,
    QUADS: tl.constexpr,
):
    """One part of a map per program: for every sample the sums of weight times share, and of weight times moment.

    sums (maps, count, 1 + D, parts), if WEIGHS 1 + 2 D: all weights, those that count for each axis, moments. In the log
    domain less the part's largest logarithm, mosts (maps, count, parts).
    """
    index, part, num_parts = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    seed, far, axes = tl.load(seed_of_call), index.to(tl.int64), (lengths, strides, units)
    line = far * num_parts + part
    quad, _, _, base, common = prepared(
        logits,
        tops,
        centers,
        cloud_of_map,
        seed,
        index,
        part * QUADS,
        num_cells,
        lattice,
        sharpness,
        axes,
        D,
        BASIS,
        POWER,
        IS_PAPER,
        LINE,
        QUADS,
    )
    ROWS: tl.constexpr = 1 + 2 * D if WEIGHS else 1 + D
    for sample in range(first, first + count):
        row = far * count + sample - first
        word, shares, moments = sample_of(
            common, lines, line, seed, quad, sample, index, num_cells, lattice, axes, D, BASIS, LINE, WEIGHS
        )
        if POWER == COLD:
            score = scores(base, word, sharpness)
            # A part may hold no possible cell.
            most = tl.maximum(tl.max(score), -1e300)
            weight = exp2_of_double(score - most).to(tl.float64)
            tl.store(mosts + row * num_parts + part, most)
        else:
            weight = powers(base, word, sharpness, POWER)
        into = sums + row * ROWS * num_parts + part
        tl.store(into, tl.sum(weight))
        for axis in tl.static_range(D):
            if WEIGHS:
                tl.store(into + (1 + axis) * num_parts, tl.sum(weight * shares[axis]))
            tl.store(into + (ROWS - D + axis) * num_parts, tl.sum(weight * moments[axis]))


@triton.jit
def _joined_sum(source, share, part, num_parts):
    return tl.sum(share * tl.load(source + part, mask=part < num_parts, other=0.0))


@triton.jit(do_not_specialize=["first", "count", "num_samples", "num_parts"])
def joined_parts(
    tops,
    sums,
    mosts,
    target,
    axis_weight,
    sample_gradient,
    errors,
    samples,
    slopes,
    first,
    count,
    num_samples,
    num_parts,
    middle,
    D: tl.constexpr,
    POWER: tl.constexpr,
    DISTANCE: tl.constexpr,
    WEIGHS: tl.constexpr,
    PARTS: tl.constexpr,
):
    """One sample of a map per program: its point, its distance, and what `part_gradients` needs of it.

    errors (maps, count, 1 + D): the distance and its derivatives. slopes (maps, count, 1 + 2 D): the inverse of the sum of
    weights, the point, the distance's derivatives times that sum over the one that counts for the axis. The largest logarithm
    replaces the first of the sample's mosts.
    """
    far, which = tl.program_id(0).to(tl.int64), tl.program_id(1)
    top = tl.load(tops + far)
    is_void = (top != top) | (tl.abs(top) == float("inf"))
    part = tl.arange(0, PARTS)
    ROWS: tl.constexpr = 1 + 2 * D if WEIGHS else 1 + D
    row, place, share = far * count + which, far * num_samples + first + which, 1.0
    if POWER == COLD:
        most_of = tl.load(mosts + row * num_parts + part, mask=part < num_parts, other=float("-inf"))
        most = tl.max(most_of)
        share = exp2_of_double(most_of - most)
        tl.store(mosts + row * num_parts, most)
    source, points, ratios = sums + row * ROWS * num_parts, (), ()
    weight = _joined_sum(source, share, part, num_parts)
    for axis in tl.static_range(D):
        ratio = 1.0
        if WEIGHS:
            ratio = weight / _joined_sum(source + (1 + axis) * num_parts, share, part, num_parts)
        moment = _joined_sum(source + (ROWS - D + axis) * num_parts, share, part, num_parts)
        points, ratios = points + (moment / weight * ratio,), ratios + (ratio,)
    if samples is not None:
        store_point(samples + place * D, points, middle, is_void, D)
    if errors is not None:
        distance, along = distance_and_slopes(points, target, axis_weight, far, middle, D, DISTANCE)
        tl.store(errors + row * (1 + D), tl.where(is_void, float("nan"), distance))
        for axis in tl.static_range(D):
            tl.store(errors + row * (1 + D) + 1 + axis, tl.where(is_void, float("nan"), along[axis]))
    if slopes is not None:
        if sample_gradient is not None:
            along = given_slopes(sample_gradient, place, D)
        into = slopes + row * (1 + 2 * D)
        tl.store(into, 1.0 / weight)
        for axis in tl.static_range(D):
            tl.store(into + 1 + axis, points[axis])
            tl.store(into + 1 + D + axis, along[axis] * ratios[axis])


@triton.jit(do_not_specialize=["first", "count"])
def part_gradients(
    logits,
    tops,
    centers,
    cloud_of_map,
    mosts,
    slopes,
    logits_gradient,
    lines,
    num_cells,
    first,
    count,
    seed_of_call,
    lattice,
    sharpness,
    scale,
    lengths,
    strides,
    units,
    D: tl.constexpr,
    BASIS: tl.constexpr,
    POWER: tl.constexpr,
    IS_PAPER: tl.constexpr,
    WEIGHS: tl.constexpr,
    LINE: tl.constexpr,
    QUADS: tl.constexpr,
):
    """One part of a map per program: its gradient, added to that of the samples before, with the weights made again."""
    index, part, num_parts = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    seed, far, axes = tl.load(seed_of_call), index.to(tl.int64), (lengths, strides, units)
    line = far * num_parts + part
    quad, cell, is_void, base, common = prepared(
        logits,
        tops,
        centers,
        cloud_of_map,
        seed,
        index,
        part * QUADS,
        num_cells,
        lattice,
        sharpness,
        axes,
        D,
        BASIS,
        POWER,
        IS_PAPER,
        LINE,
        QUADS,
    )
    gradient = tl.zeros([QUADS, 2, 2], tl.float32)
    for sample in range(first, first + count):
        row = far * count + sample - first
        word, shares, moments = sample_of(
            common, lines, line, seed, quad, sample, index, num_cells, lattice, axes, D, BASIS, LINE, WEIGHS
        )
        if POWER == COLD:
            score = scores(base, word, sharpness)
            weight = exp2_of_double(score - tl.load(mosts + row * num_parts)).to(tl.float64)
        else:
            weight = powers(base, word, sharpness, POWER)
        source, push = slopes + row * (1 + 2 * D), tl.zeros([QUADS, 2, 2], weight.dtype)
        for axis in tl.static_range(D):
            point = tl.load(source + 1 + axis)
            shift = moments[axis] - point
            if WEIGHS:
                shift = moments[axis] - point * shares[axis]
            push += tl.load(source + 1 + D + axis) * shift
        gradient += (weight * tl.load(source) * push).to(tl.float32)
    into = logits_gradient + far * num_cells + cell
    before = tl.load(into, mask=cell < tl.where(first > 0, num_cells, 0), other=0.0)
    tl.store(into, tl.where(is_void, float("nan"), before + gradient * scale), mask=cell < num_cells)
