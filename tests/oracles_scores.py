"""Float64 loops for the scores, written from their definitions and sharing no code with the library."""

from __future__ import annotations

import itertools
import math

import numpy as np


def softmax(logits):
    e = np.exp(logits - np.max(logits))
    return e / e.sum()


def positions(shape, stride, offset):
    """[(index in the map, point in (x, y, z) order)] of every cell."""
    found = []
    for index in itertools.product(*[range(n) for n in shape]):
        cell = index[::-1]
        found.append((index, tuple(offset[a] + stride[a] * cell[a] for a in range(len(shape)))))
    return found


def distance(a, b, kind, periods=None):
    total = 0.0
    for axis in range(len(a)):
        d = abs(a[axis] - b[axis])
        if periods is not None and periods[axis]:
            d = min(d % periods[axis], periods[axis] - d % periods[axis])
        if kind == "l1":
            total += d
        elif kind == "smooth_l1":
            total += 0.5 * d * d if d < 1 else d - 0.5
        else:
            total += d * d
    return math.sqrt(total) if kind == "l2" else total


def expected_error(weights, points, target, kind, periods=None):
    return sum(w * distance(p, target, kind, periods) for w, p in zip(weights, points, strict=True))


def mean_gap(weights, points, kind="l2", periods=None):
    total = 0.0
    for w, p in zip(weights, points, strict=True):
        for v, q in zip(weights, points, strict=True):
            total += w * v * distance(p, q, kind, periods)
    return total


def energy_score(weights, points, target, periods=None):
    return expected_error(weights, points, target, "l2", periods) - 0.5 * mean_gap(weights, points, "l2", periods)


def crps_by_integral(weights, xs, target):
    """∫ (F(x) − [x ≥ target])² dx of point masses on a line, as a sum over the pieces between the jumps."""
    knots = sorted([*xs, target])
    total = 0.0
    for left, right in itertools.pairwise(knots):
        middle = (left + right) / 2
        below = sum(w for w, x in zip(weights, xs, strict=True) if x <= middle)
        total += (right - left) * (below - (1.0 if middle >= target else 0.0)) ** 2
    return total


def roundings(cell_coordinates, lengths):
    """[(probability, cell)] of every outcome of random rounding of one point, clipped to the grid."""
    found = []
    for up in itertools.product((0, 1), repeat=len(lengths)):
        probability, cell = 1.0, []
        for axis, length in enumerate(lengths):
            low = math.floor(cell_coordinates[axis])
            fraction = cell_coordinates[axis] - low
            probability *= fraction if up[axis] else 1 - fraction
            cell.append(min(max(low + up[axis], 0), length - 1))
        if probability > 0:
            found.append((probability, tuple(cell)))
    return found


def gaussian_target(shape, cell, sigma):
    maps = np.zeros(shape)
    for index in itertools.product(*[range(n) for n in shape]):
        maps[index] = math.exp(-sum((i - c) ** 2 for i, c in zip(index[::-1], cell, strict=True)) / (2 * sigma**2))
    return maps


def triangular_density(weights, xs, stride, y):
    return sum(w * max(0.0, 1 - abs(y - x) / stride) / stride for w, x in zip(weights, xs, strict=True))
