"""The distance of a sample from its target, on the device."""

import triton
import triton.language as tl

L1, L2, SMOOTH_L1, SQUARED = (tl.constexpr(number) for number in range(4))


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
def distance_and_slopes(point, target, axis_weight, far, middle, D: tl.constexpr, DISTANCE: tl.constexpr):
    """The distance of a sample, less the middle, from the target of map `far`, and its derivatives."""
    distance, slopes = point[0] * 0.0, ()
    for axis in tl.static_range(D):
        weight = 1.0
        if axis_weight is not None:
            weight = tl.load(axis_weight + far * D + axis)
        goal = tl.load(target + far * D + axis) - middle[axis]
        term, slope = _term(point[axis] - goal, weight, DISTANCE)
        distance, slopes = distance + term, slopes + (slope,)
    if DISTANCE == L2:
        distance = tl.sqrt(distance)
        inverse = tl.where(distance == 0, 0.0, 1.0 / tl.where(distance == 0, 1.0, distance))
        along, slopes = slopes, ()
        for axis in tl.static_range(D):
            slopes = slopes + (along[axis] * inverse,)
    return distance, slopes


@triton.jit
def given_slopes(sample_gradient, place, D: tl.constexpr):
    """The derivatives with respect to the sample `place`, from memory."""
    slopes = ()
    for axis in tl.static_range(D):
        slopes = slopes + (tl.load(sample_gradient + place * D + axis),)
    return slopes


@triton.jit
def store_point(into, point, middle, is_void, D: tl.constexpr):
    """A sample, NaN of a map without a distribution."""
    for axis in tl.static_range(D):
        tl.store(into + axis, tl.where(is_void, float("nan"), point[axis] + middle[axis]))
