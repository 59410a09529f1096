"""Rounding and readouts written as plain float64 loops over cells, from the equations and apart from the library's code.

A map is a numpy array of shape (W,), (H, W) or (D, H, W); points and strides are in (x, y, z) order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np


def cells_of(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """All cells in row-major order, each as (x, y, z)."""
    for index in itertools.product(*(range(n) for n in shape)):
        yield index[::-1]


def step(a: float, b: float, length: int, is_cyclic: bool) -> float:
    """b − a, the short way round on a cyclic axis."""
    if not is_cyclic:
        return b - a
    return min((b - a + turn * length for turn in range(-3, 4)), key=abs)


def put(cell: int, length: int, is_cyclic: bool) -> int:
    return cell % length if is_cyclic else min(max(cell, 0), length - 1)


def round_cell(c: float, threshold: float) -> int:
    lower = math.floor(c)
    return lower if c - lower < threshold else lower + 1


def activation(c: list[float], shape: tuple[int, ...], cyclic: tuple[int, ...]) -> np.ndarray:
    lengths = shape[::-1]
    result = np.zeros(shape)
    for ups in itertools.product((0, 1), repeat=len(shape)):
        weight, cell = 1.0, []
        for axis, up in enumerate(ups):
            lower = math.floor(c[axis])
            weight *= c[axis] - lower if up else 1 - (c[axis] - lower)
            cell.append(put(lower + up, lengths[axis], axis in cyclic))
        result[tuple(cell[::-1])] += weight
    return result


def gaussian(c: list[float], shape: tuple[int, ...], sigmas: list[float], cyclic: tuple[int, ...]) -> np.ndarray:
    lengths = shape[::-1]
    result = np.zeros(shape)
    for cell in cells_of(shape):
        square = 0.0
        for axis, i in enumerate(cell):
            square += (step(c[axis], i, lengths[axis], axis in cyclic) / sigmas[axis]) ** 2
        result[cell[::-1]] = math.exp(-square / 2)
    return result


def largest(values: np.ndarray) -> tuple[int, ...]:
    best = None
    for cell in cells_of(values.shape):
        if best is None or values[cell[::-1]] > values[best[::-1]]:
            best = cell
    assert best is not None
    return best


def softmax(logits: dict) -> dict:
    top = max(logits.values())
    weights = {cell: math.exp(value - top) for cell, value in logits.items()}
    total = sum(weights.values())
    return {cell: weight / total for cell, weight in weights.items()}


def mean(weights: dict, ndim: int) -> list[float]:
    return [sum(weight * cell[axis] for cell, weight in weights.items()) for axis in range(ndim)]


def circular_mean(weights: dict, axis: int, length: int) -> float:
    turn = 2 * math.pi / length
    total = sum(
        weight * complex(math.cos(cell[axis] * turn), math.sin(cell[axis] * turn)) for cell, weight in weights.items()
    )
    angle = math.atan2(total.imag, total.real) / turn
    return (angle + 0.5) % length - 0.5


def soft_argmax(logits: np.ndarray, cyclic: tuple[int, ...] = (), temperature: float = 1.0) -> list[float]:
    weights = softmax({cell: logits[cell[::-1]] / temperature for cell in cells_of(logits.shape)})
    lengths = logits.shape[::-1]
    straight = mean(weights, logits.ndim)
    return [circular_mean(weights, a, lengths[a]) if a in cyclic else straight[a] for a in range(logits.ndim)]


def kernel_soft_argmax(logits: np.ndarray, sigmas: list[float], kernel_on: str) -> list[float]:
    top = largest(logits)
    scores = {}
    for cell in cells_of(logits.shape):
        kernel = math.exp(-sum(((i - t) / s) ** 2 for i, t, s in zip(cell, top, sigmas, strict=True)) / 2)
        value = logits[cell[::-1]]
        scores[cell] = value + math.log(kernel) if kernel_on == "probability" else value * kernel
    return mean(softmax(scores), logits.ndim)


def weighted(values: np.ndarray, chosen: list[tuple[int, ...]], weighting: str) -> list[float]:
    if weighting == "values":
        kept = {cell: max(values[cell[::-1]], 0.0) for cell in chosen}
        total = sum(kept.values())
        weights = {cell: value / total for cell, value in kept.items()}
    elif weighting == "logits":
        weights = softmax({cell: values[cell[::-1]] for cell in chosen})
    else:
        over_all = softmax({cell: values[cell[::-1]] for cell in cells_of(values.shape)})
        total = sum(over_all[cell] for cell in chosen)
        weights = {cell: over_all[cell] / total for cell in chosen}
    return mean(weights, values.ndim)


def top_k(values: np.ndarray, k: int, weighting: str) -> list[float]:
    ranked = sorted(cells_of(values.shape), key=lambda cell: -values[cell[::-1]])
    return weighted(values, ranked[:k], weighting)


def window(values: np.ndarray, radius: int, weighting: str) -> list[float]:
    top = largest(values)
    chosen = [
        cell for cell in cells_of(values.shape) if all(abs(i - t) <= radius for i, t in zip(cell, top, strict=True))
    ]
    return weighted(values, chosen, weighting)


def neighbours(values: np.ndarray, c: list[float], weighting: str) -> list[float]:
    lengths = values.shape[::-1]
    options = [
        {put(math.floor(v), n, False), put(math.floor(v) + 1, n, False)} for v, n in zip(c, lengths, strict=True)
    ]
    return weighted(values, [tuple(cell) for cell in itertools.product(*options)], weighting)


def quarter(values: np.ndarray, border: str) -> list[float]:
    lengths, top = values.shape[::-1], largest(values)
    first = 1 if border == "neighbours" else 2
    may = [first <= t <= n - 2 for t, n in zip(top, lengths, strict=True)]
    result = []
    for axis, t in enumerate(top):
        allowed = may[axis]
        if border == "hrnet":
            allowed = all(may)
        if border == "msra":
            allowed = allowed and all(other > 0 for a, other in enumerate(top) if a != axis)
        shift = 0.0
        if allowed:
            after, before = list(top), list(top)
            after[axis] += 1
            before[axis] -= 1
            shift = 0.25 * np.sign(values[tuple(after[::-1])] - values[tuple(before[::-1])])
        result.append(t + shift)
    return result


def second_maximum(values: np.ndarray) -> list[float]:
    first = largest(values)
    rest = values.copy()
    rest[first[::-1]] = -np.inf
    direction = [s - f for s, f in zip(largest(rest), first, strict=True)]
    length = math.sqrt(sum(d * d for d in direction))
    return [f + 0.25 * d / length for f, d in zip(first, direction, strict=True)]


def blur(values: np.ndarray, taps: list[float]) -> np.ndarray:
    """Blurs along every axis with zeros outside, then restores the maximum."""
    radius = len(taps) // 2
    result = values.copy()
    for dim in range(values.ndim):
        source = result.copy()
        for index in np.ndindex(*values.shape):
            total = 0.0
            for t, weight in enumerate(taps):
                other = list(index)
                other[dim] += t - radius
                if 0 <= other[dim] < values.shape[dim]:
                    total += weight * source[tuple(other)]
            result[index] = total
    return result * (values.max() / result.max())


def dark(values: np.ndarray, taps: list[float]) -> list[float]:
    """DARK as published, for D = 1, 2, 3."""
    top, lengths, ndim = largest(values), values.shape[::-1], values.ndim
    if not all(1 < t < n - 2 for t, n in zip(top, lengths, strict=True)):
        return list(top)
    logs = np.log(np.maximum(blur(values, taps), 1e-10))

    def at(*offset: int) -> float:
        return logs[tuple(t + o for t, o in zip(top, offset, strict=True))[::-1]]

    unit = np.eye(ndim, dtype=int)
    gradient = np.array([(at(*e) - at(*-e)) / 2 for e in unit])
    hessian = np.zeros((ndim, ndim))
    for a in range(ndim):
        for b in range(ndim):
            p, q = unit[a], unit[b]
            # With a = b this is the second derivative over steps of two cells.
            hessian[a, b] = (at(*(p + q)) - at(*(p - q)) - at(*(q - p)) + at(*(-p - q))) / 4
    if np.linalg.det(hessian) == 0:
        return list(top)
    return list(np.array(top) - np.linalg.solve(hessian, gradient))
