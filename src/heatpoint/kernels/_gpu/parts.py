# mypy: ignore-errors
# ruff: noqa: RUF005
"""Long rows, cut into parts: sums of the parts, then the samples from them, then the gradient with the weights made again."""

import triton
import triton.language as tl

from heatpoint.kernels._gpu.cells import centers_of, shares_and_moments
from heatpoint.kernels._gpu.distance import distance_and_slopes, given_slopes, store_point
from heatpoint.kernels._gpu.noise import kept_noise, noise_of
from heatpoint.kernels._gpu.numbers import (
    COLD,
    base_weights,
    cells_from,
    exp2_of_double,
    joined,
    load_cells,
    powers,
    scores,
)


@triton.jit(do_not_specialize=["num_samples"])
def part_sums(
    logits,
    tops,
    centers,
    cloud_of_map,
    sums,
    mosts,
    lines,
    num_cells,
    num_samples,
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

    sums (maps, samples, 1 + D, parts), if WEIGHS 1 + 2 D: all weights, those that count for each axis, moments. In the log
    domain less the part's largest logarithm, mosts (maps, samples, parts).
    """
    index, part, num_parts = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    seed, far = tl.load(seed_of_call), index.to(tl.int64)
    quad, cell = cells_from(part * QUADS, QUADS)
    logit = load_cells(logits + far * num_cells, quad, num_cells, float("-inf"), 1)
    base = base_weights(logit, tl.load(tops + far), sharpness, IS_PAPER, POWER)
    cloud = centers
    if cloud_of_map is not None:
        cloud += tl.load(cloud_of_map + far) * num_cells * D
    places = centers_of(cloud, quad, cell, num_cells, lengths, strides, D, POWER)
    kept = kept_noise(seed, quad, index, lattice, D, BASIS, LINE)
    ROWS: tl.constexpr = 1 + 2 * D if WEIGHS else 1 + D
    for sample in range(num_samples):
        words, line_words = noise_of(kept, seed, quad, sample, index, lattice, D, BASIS, LINE)
        word, row = joined(words[0], words[1], words[2], words[3]), far * num_samples + sample
        if POWER == COLD:
            score = scores(base, word, sharpness)
            # A part may hold no possible cell.
            most = tl.maximum(tl.max(score), -1e300)
            weight = exp2_of_double(score - most).to(tl.float64)
            tl.store(mosts + row * num_parts + part, most)
        else:
            weight = powers(base, word, sharpness, POWER)
        shares, moments = shares_and_moments(
            places,
            lines,
            far * num_parts + part,
            quad,
            num_cells,
            words,
            line_words,
            lengths,
            strides,
            units,
            D,
            BASIS,
            LINE,
            WEIGHS,
        )
        into = sums + row * ROWS * num_parts + part
        tl.store(into, tl.sum(weight))
        for axis in tl.static_range(D):
            if WEIGHS:
                tl.store(into + (1 + axis) * num_parts, tl.sum(weight * shares[axis]))
            tl.store(into + (ROWS - D + axis) * num_parts, tl.sum(weight * moments[axis]))


@triton.jit
def _joined_sum(source, share, part, num_parts):
    return tl.sum(share * tl.load(source + part, mask=part < num_parts, other=0.0))


@triton.jit(do_not_specialize=["num_samples", "num_parts"])
def joined_parts(
    tops,
    sums,
    mosts,
    target,
    axis_weight,
    sample_gradient,
    loss,
    target_gradient,
    samples,
    slopes,
    num_samples,
    num_parts,
    middle,
    D: tl.constexpr,
    POWER: tl.constexpr,
    DISTANCE: tl.constexpr,
    WEIGHS: tl.constexpr,
    PARTS: tl.constexpr,
):
    """One map per program: the points of its samples, its loss, and what `part_gradients` needs of each sample.

    slopes (maps, samples, 1 + 2 D): the inverse of the sum of weights, the point, the distance's derivatives times that sum over
    the one that counts for the axis. The largest logarithm of a sample replaces the first of its mosts.
    """
    far = tl.program_id(0).to(tl.int64)
    top = tl.load(tops + far)
    is_void = (top != top) | (tl.abs(top) == float("inf"))
    part = tl.arange(0, PARTS)
    total, pull = 0.0, tl.zeros([4], tl.float32)
    ROWS: tl.constexpr = 1 + 2 * D if WEIGHS else 1 + D
    for sample in range(num_samples):
        row, share = far * num_samples + sample, 1.0
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
            store_point(samples + row * D, points, middle, is_void, D)
        if loss is not None:
            distance, along = distance_and_slopes(points, target, axis_weight, far, middle, D, DISTANCE)
            total += distance.to(tl.float32)
            for axis in tl.static_range(D):
                pull -= tl.where(tl.arange(0, 4) == axis, along[axis].to(tl.float32), 0.0)
        if slopes is not None:
            if sample_gradient is not None:
                along = given_slopes(sample_gradient, row, D)
            into = slopes + row * (1 + 2 * D)
            tl.store(into, 1.0 / weight)
            for axis in tl.static_range(D):
                tl.store(into + 1 + axis, points[axis])
                tl.store(into + 1 + D + axis, along[axis] * ratios[axis])
    if loss is not None:
        tl.store(loss + far, tl.where(is_void, float("nan"), total / num_samples))
    if target_gradient is not None:
        pull = tl.where(is_void, float("nan"), pull / num_samples)
        tl.store(target_gradient + far * D + tl.arange(0, 4), pull, mask=tl.arange(0, 4) < D)


@triton.jit(do_not_specialize=["num_samples"])
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
    num_samples,
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
    """One part of a map per program: its gradient, summed over the samples, with the weights made again."""
    index, part, num_parts = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    seed, far = tl.load(seed_of_call), index.to(tl.int64)
    quad, cell = cells_from(part * QUADS, QUADS)
    top = tl.load(tops + far)
    is_void = (top != top) | (tl.abs(top) == float("inf"))
    logit = load_cells(logits + far * num_cells, quad, num_cells, float("-inf"), 1)
    base = base_weights(logit, top, sharpness, IS_PAPER, POWER)
    cloud = centers
    if cloud_of_map is not None:
        cloud += tl.load(cloud_of_map + far) * num_cells * D
    places = centers_of(cloud, quad, cell, num_cells, lengths, strides, D, POWER)
    kept = kept_noise(seed, quad, index, lattice, D, BASIS, LINE)
    gradient = tl.zeros([QUADS, 2, 2], tl.float32)
    for sample in range(num_samples):
        words, line_words = noise_of(kept, seed, quad, sample, index, lattice, D, BASIS, LINE)
        word, row = joined(words[0], words[1], words[2], words[3]), far * num_samples + sample
        if POWER == COLD:
            score = scores(base, word, sharpness)
            weight = exp2_of_double(score - tl.load(mosts + row * num_parts)).to(tl.float64)
        else:
            weight = powers(base, word, sharpness, POWER)
        shares, moments = shares_and_moments(
            places,
            lines,
            far * num_parts + part,
            quad,
            num_cells,
            words,
            line_words,
            lengths,
            strides,
            units,
            D,
            BASIS,
            LINE,
            WEIGHS,
        )
        source, push = slopes + row * (1 + 2 * D), tl.zeros([QUADS, 2, 2], weight.dtype)
        for axis in tl.static_range(D):
            point = tl.load(source + 1 + axis)
            shift = moments[axis] - point
            if WEIGHS:
                shift = moments[axis] - point * shares[axis]
            push += tl.load(source + 1 + D + axis) * shift
        gradient += (weight * tl.load(source) * push).to(tl.float32)
    gradient = tl.where(is_void, float("nan"), gradient * scale)
    tl.store(logits_gradient + far * num_cells + cell, gradient, mask=cell < num_cells)
