"""Short rows: one map per program, all its cells in registers."""

import triton
import triton.language as tl

from heatpoint.kernels._gpu.distance import distance_and_slopes, given_slopes, store_point
from heatpoint.kernels._gpu.draws import prepared, sample_of
from heatpoint.kernels._gpu.numbers import COLD, exp2_of_double, powers, scores


@triton.jit
def _located(weight, shares, moments, D: tl.constexpr, WEIGHS: tl.constexpr):
    """The point of a sample, the inverse of the sum of its weights, and per axis that sum over the one that counts there."""
    total, points, ratios = tl.sum(weight), (), ()
    inverse = 1.0 / total
    for axis in tl.static_range(D):
        ratio = 1.0
        if WEIGHS:
            ratio = total / tl.sum(weight * shares[axis])
        points = points + (tl.sum(weight * moments[axis]) * inverse * ratio,)
        ratios = ratios + (ratio,)
    return points, inverse, ratios


@triton.jit(do_not_specialize=["num_samples"])
def whole_rows(
    logits,
    centers,
    cloud_of_map,
    target,
    axis_weight,
    sample_gradient,
    loss,
    logits_gradient,
    target_gradient,
    samples,
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
    middle,
    D: tl.constexpr,
    BASIS: tl.constexpr,
    POWER: tl.constexpr,
    DISTANCE: tl.constexpr,
    IS_PAPER: tl.constexpr,
    WEIGHS: tl.constexpr,
    LINE: tl.constexpr,
    QUADS: tl.constexpr,
):
    """All samples of one map: what is not asked for is None; weights wait in registers until the distance's slope is known."""
    index, seed = tl.program_id(0), tl.load(seed_of_call)
    far, axes = index.to(tl.int64), (lengths, strides, units)
    quad, cell, is_void, base, common = prepared(
        logits,
        None,
        centers,
        cloud_of_map,
        seed,
        index,
        0,
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
    total, pull = 0.0, tl.zeros([4], tl.float32)
    for sample in range(num_samples):
        row = far * num_samples + sample
        word, shares, moments = sample_of(
            common, lines, far, seed, quad, sample, index, num_cells, lattice, axes, D, BASIS, LINE, WEIGHS
        )
        if POWER == COLD:
            score = scores(base, word, sharpness)
            weight = exp2_of_double(score - tl.max(score)).to(tl.float64)
        else:
            weight = powers(base, word, sharpness, POWER)
        point, inverse, ratios = _located(weight, shares, moments, D, WEIGHS)
        if samples is not None:
            store_point(samples + row * D, point, middle, is_void, D)
        if loss is not None:
            distance, slopes = distance_and_slopes(point, target, axis_weight, far, middle, D, DISTANCE)
            total += distance.to(tl.float32)
            for axis in tl.static_range(D):
                pull -= tl.where(tl.arange(0, 4) == axis, slopes[axis].to(tl.float32), 0.0)
        if logits_gradient is not None:
            if sample_gradient is not None:
                slopes = given_slopes(sample_gradient, row, D)
            push = tl.zeros([QUADS, 2, 2], weight.dtype)
            for axis in tl.static_range(D):
                shift = moments[axis] - point[axis]
                if WEIGHS:
                    shift = moments[axis] - point[axis] * shares[axis]
                push += slopes[axis] * ratios[axis] * shift
            gradient += (weight * inverse * push).to(tl.float32)
    if loss is not None:
        tl.store(loss + far, tl.where(is_void, float("nan"), total / num_samples))
    if target_gradient is not None:
        pull = tl.where(is_void, float("nan"), pull / num_samples)
        tl.store(target_gradient + far * D + tl.arange(0, 4), pull, mask=tl.arange(0, 4) < D)
    if logits_gradient is not None:
        gradient = tl.where(is_void, float("nan"), gradient * scale)
        tl.store(logits_gradient + far * num_cells + cell, gradient, mask=cell < num_cells)
