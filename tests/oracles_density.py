"""A mixture density in plain float64 numpy and scipy, by loops over cells: written from the equations, not from the code."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats


def law(name: str, sigma: float) -> Any:
    """The scipy distribution of a basis around 0."""
    return {"uniform": stats.uniform(-0.5, 1), "triangular": stats.triang(0.5, -1, 2)}.get(name) or stats.norm(
        scale=sigma
    )


class Row:
    """The components of one coordinate, in cells (or the units of points), perhaps cut to [−½, n − ½]."""

    def __init__(self, name: str, sigma: float, centers: list[float], *, cut: bool) -> None:
        self.law, self.centers, self.cut = law(name, sigma), centers, cut
        self.reach = {"uniform": 0.5, "triangular": 1.0}.get(name, 8.5 * sigma)
        self.step = sigma if name == "gaussian" else 0.5

    def pdf(self, i: int, y: Any) -> Any:
        if not self.cut:
            return self.law.pdf(y - self.centers[i])
        n = len(self.centers)
        total = self.law.cdf(n - 0.5 - self.centers[i]) - self.law.cdf(-0.5 - self.centers[i])
        return np.where((y >= -0.5) & (y <= n - 0.5), self.law.pdf(y - self.centers[i]) / total, 0.0)

    def cdf(self, i: int, y: Any) -> Any:
        if not self.cut:
            return self.law.cdf(y - self.centers[i])
        n = len(self.centers)
        low = self.law.cdf(-0.5 - self.centers[i])
        total = self.law.cdf(n - 0.5 - self.centers[i]) - low
        return (self.law.cdf(np.clip(y, -0.5, n - 0.5) - self.centers[i]) - low) / total

    def nodes(self, extra: list[float] | None = None, count: int = 24) -> tuple[Any, Any]:
        """Gauss-Legendre over the whole support, broken at every kink of the bases (every σ of a Gaussian) and at `extra`."""
        low, high = min(self.centers) - self.reach, max(self.centers) + self.reach
        if self.cut:
            low, high = -0.5, len(self.centers) - 0.5
        breaks = {low, high, *(extra or [])} | set(np.arange(low, high, self.step).tolist())
        ends = sorted(b for b in breaks if low <= b <= high)
        x, w = np.polynomial.legendre.leggauss(count)
        at, weight = [], []
        for a, b in itertools.pairwise(ends):
            at.append(a + (b - a) * (x + 1) / 2)
            weight.append((b - a) / 2 * w)
        return np.concatenate(at), np.concatenate(weight)


def probabilities(logits: Any) -> Any:
    """Softmax of one map."""
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def density_at(pi: Any, rows: list[Row], point: list[float]) -> float:
    """p(y) in cells by a loop over all cells; `pi` slowest axis first, rows and point in (x, y, z) order."""
    total = 0.0
    for cell in itertools.product(*(range(n) for n in pi.shape)):
        term = float(pi[cell])
        for axis, row in enumerate(rows):
            term *= float(row.pdf(cell[-1 - axis], np.asarray(point[axis])))
        total += term
    return total


def point_set_density(pi: Any, xyz: Any, sigma: float, point: Any) -> float:
    """p(y) of isotropic Gaussians around points."""
    total = 0.0
    for weight, center in zip(pi, xyz, strict=True):
        total += weight * float(np.prod(stats.norm.pdf(point, center, sigma)))
    return total


def marginal(pi: Any, axis: int) -> Any:
    """The map summed over all axes but one (0 is x)."""
    keep = pi.ndim - 1 - axis
    return pi.sum(axis=tuple(d for d in range(pi.ndim) if d != keep))


def integral(pi_axis: Any, row: Row, function: Callable[[Any], Any], extra: list[float] | None = None) -> float:
    """E function(Y_axis) by quadrature against every component in turn."""
    at, weight = row.nodes(extra)
    return sum(float(p * (weight * row.pdf(i, at) * function(at)).sum()) for i, p in enumerate(pi_axis))


def mixture_cdf(pi_axis: Any, row: Row, y: Any) -> Any:
    """P(Y_axis ≤ y)."""
    return sum(p * row.cdf(i, y) for i, p in enumerate(pi_axis))


def gap(pi_axis: Any, row: Row) -> float:
    """E|Y − Y'| = 2 ∫ F (1 − F)."""
    at, weight = row.nodes()
    below = mixture_cdf(pi_axis, row, at)
    return float(2 * (weight * below * (1 - below)).sum())


def on_nodes(pi: Any, rows: list[Row], extra: list[list[float]] | None = None) -> tuple[list[Any], Any, Any]:
    """Nodes per axis (x, y, z), the density at their product and the product of their weights, both slowest axis first."""
    count = {1: 24, 2: 12, 3: 5}[pi.ndim]
    found = [row.nodes(None if extra is None else extra[a], count) for a, row in enumerate(rows)]
    density, weight = pi, np.ones(())
    for a, (row, (at, w)) in enumerate(zip(rows, found, strict=True)):
        table = np.stack([row.pdf(i, at) for i in range(len(row.centers))], axis=1)
        density = np.moveaxis(np.tensordot(table, density, axes=(1, pi.ndim - 1 - a)), 0, pi.ndim - 1 - a)
        weight = np.multiply.outer(w, weight)
    return [at for at, _ in found], density, weight


def ball_mass(pi: Any, rows: list[Row], strides: list[float], center: list[float], radius: float) -> float:
    """P(‖stride · (Y − center)‖ ≤ radius) in 2D: exact cdf differences along x, 3000 strips along y."""
    edges = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 3001)) * radius
    half = np.sqrt(radius**2 - ((edges[1:] + edges[:-1]) / 2) ** 2) / strides[0]
    y = center[1] + edges / strides[1]
    across = np.stack([np.diff(rows[1].cdf(i, y)) for i in range(pi.shape[0])], axis=1)
    right = np.stack([rows[0].cdf(j, center[0] + half) for j in range(pi.shape[1])], axis=1)
    left = np.stack([rows[0].cdf(j, center[0] - half) for j in range(pi.shape[1])], axis=1)
    return float(((across @ pi) * (right - left)).sum())
