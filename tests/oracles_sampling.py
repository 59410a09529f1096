"""Float64 loops over single cells, written from the papers' equations and the description of the golden numbers alone."""

from __future__ import annotations

import itertools
import math

import numpy as np


def cells_of(shape):
    """All cells of a grid in row-major order, as coordinates in point order."""
    return [index[::-1] for index in itertools.product(*(range(n) for n in shape))]


def softmax(scores):
    top = max(scores)
    if top == -math.inf:
        raise ValueError("no cell is possible")
    exponentials = [0.0 if s == -math.inf else math.exp(s - top) for s in scores]
    return [e / math.fsum(exponentials) for e in exponentials]


def gumbel(u):
    if u == 0:
        return -math.inf
    return -math.log(-math.log(u))


def weights_of(logits, uniforms, temperature, formula):
    """Eq. 11 for one map and one sample, or the released variant, over the flat cells."""
    pi = softmax(list(logits))
    log_pi = [math.log(p) if p > 0 else -math.inf for p in pi]
    if formula == "paper":
        return softmax([(gumbel(u) + lp) / temperature for u, lp in zip(uniforms, log_pi, strict=True)])
    return softmax([lp + gumbel(u) / temperature for u, lp in zip(uniforms, log_pi, strict=True)])


def straight_mean(weights, positions):
    return math.fsum(w * p for w, p in zip(weights, positions, strict=True))


def circular_mean(weights, positions, first, stride, length):
    period = stride * length
    cosine = math.fsum(
        w * math.cos(2 * math.pi * (p - first) / period) for w, p in zip(weights, positions, strict=True)
    )
    sine = math.fsum(w * math.sin(2 * math.pi * (p - first) / period) for w, p in zip(weights, positions, strict=True))
    coordinate = math.atan2(sine, cosine) / (2 * math.pi) * period + first
    while coordinate < first - stride / 2:
        coordinate += period
    while coordinate >= first - stride / 2 + period:
        coordinate -= period
    return coordinate


def basis_offset(basis, draw, sigma=1.0):
    if basis is None:
        return 0.0
    if basis == "uniform":
        return draw - 0.5
    if basis == "triangular":
        return math.sqrt(2 * draw) - 1 if draw < 0.5 else 1 - math.sqrt(2 - 2 * draw)
    return draw * sigma


def paper_sample(logits, uniforms, draws, shape, strides, firsts, temperature, basis, cyclic=(), sigma=1.0):
    """Eq. 12 for one map: `draws` holds one flat row per axis in point order."""
    weights = weights_of(logits, uniforms, temperature, "paper")
    point = []
    for axis in range(len(shape)):
        positions = []
        for i, cell in enumerate(cells_of(shape)):
            e = basis_offset(basis, draws[axis][i], sigma) if basis else 0.0
            positions.append(firsts[axis] + strides[axis] * (cell[axis] + e))
        if axis in cyclic:
            point.append(circular_mean(weights, positions, firsts[axis], strides[axis], shape[::-1][axis]))
        else:
            point.append(straight_mean(weights, positions))
    return point


def released_sample(logits, uniforms, draws, shape, strides, firsts, temperature, basis, cyclic=(), sigma=1.0):
    """The released formula for one map: `draws` holds one row of the axis's length per axis in point order."""
    weights = weights_of(logits, uniforms, temperature, "released")
    point = []
    for axis, length in enumerate(shape[::-1]):
        marginal = [0.0] * length
        for weight, cell in zip(weights, cells_of(shape), strict=True):
            marginal[cell[axis]] += weight
        positions, new = [], []
        for i in range(length):
            e = basis_offset(basis, draws[axis][i], sigma) if basis else 0.0
            positions.append(firsts[axis] + strides[axis] * (i + e))
            if basis == "triangular":
                low = math.floor(i + e)
                share = i + e - low
                value = 0.0
                for cell, part in ((low, 1 - share), (low + 1, share)):
                    if axis in cyclic:
                        value += part * marginal[cell % length]
                    elif 0 <= cell < length:
                        value += part * marginal[cell]
                new.append(value)
            elif basis == "gaussian" and len(shape) == 2:
                new.append(marginal[i] * math.exp(-2 * draws[axis][i] ** 2))
            else:
                new.append(marginal[i])
        total = math.fsum(new)
        new = [v / total for v in new]
        if axis in cyclic:
            point.append(circular_mean(new, positions, firsts[axis], strides[axis], length))
        else:
            point.append(straight_mean(new, positions))
    return point


def mixture_cdf(y, weights, centers, spacing, basis, sigma=1.0):
    """The cdf of Eq. 6 in 1D, from the densities of Eq. 7 to 9 integrated by hand."""
    y = np.asarray(y, dtype=np.float64)
    total = np.zeros_like(y)
    for weight, center in zip(weights, centers, strict=True):
        e = (y - center) / spacing
        if basis == "uniform":
            share = np.clip(e + 0.5, 0, 1)
        elif basis == "triangular":
            share = np.where(e < 0, 0.5 * np.clip(e + 1, 0, 1) ** 2, 1 - 0.5 * np.clip(1 - e, 0, 1) ** 2)
        else:
            share = np.array([0.5 * (1 + math.erf(v / (sigma * math.sqrt(2)))) for v in e.ravel()]).reshape(e.shape)
        total += weight * share
    return total


def variance_loss(logits, shape, target_variance):
    pi = softmax(list(logits))
    loss = 0.0
    for axis in range(len(shape)):
        along = [cell[axis] for cell in cells_of(shape)]
        mean = straight_mean(pi, along)
        loss += (math.fsum(p * (c - mean) ** 2 for p, c in zip(pi, along, strict=True)) - target_variance) ** 2
    return loss


def jensen_shannon(p, q):
    """½ KL(p ‖ m) + ½ KL(q ‖ m) of two lists, with 0 log 0 = 0."""
    total = 0.0
    for a, b in zip(p, q, strict=True):
        m = (a + b) / 2
        total += 0.5 * (a * math.log(a / m) if a > 0 else 0.0) + 0.5 * (b * math.log(b / m) if b > 0 else 0.0)
    return total


def discrete_gaussian(center, positions, sigma):
    return softmax([-sum((a - b) ** 2 for a, b in zip(p, center, strict=True)) / (2 * sigma**2) for p in positions])
