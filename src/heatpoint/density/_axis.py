"""The sub-distributions of all cells along one coordinate: what `Density` knows of a basis, a cut and a circle.

Everything is in units u of that coordinate: cells on a grid, the points' own units on a point set.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from heatpoint.basis import Basis, Gaussian
from heatpoint.support import Grid, Support

Array = npt.NDArray[np.float64]
R = TypeVar("R")

# Beyond so many standard deviations a Gaussian holds less than 1e-18 of its mass.
GAUSSIAN_REACH = 9.0


def finite_reach(basis: Basis) -> float:
    """Half the width that holds a basis's mass to the last digit of float64."""
    return GAUSSIAN_REACH * basis.scale if isinstance(basis, Gaussian) else basis.reach


@dataclass(frozen=True)
class Cut:
    """Each cell's basis cut to a row of `length` cells, [−½, length − ½], in float64: (length,) each.

    `low` and `high` are the ends of its support as offsets from the cell's centre, `below` the mass cut off on the left,
    `mass` what remains, `mean` and `variance` those of the renormalised rest.
    """

    low: Tensor
    high: Tensor
    below: Tensor
    mass: Tensor
    mean: Tensor
    variance: Tensor


def constant(function: Callable[[Basis, int], R]) -> Callable[[Basis, int], R]:
    """Caches what depends on no map: on the CPU, and as ordinary tensors whatever mode its first use is in.

    A tensor made in inference mode could never stand in a graph again.
    """

    @functools.lru_cache(maxsize=64)
    def cached(basis: Basis, length: int) -> R:
        with torch.inference_mode(False), torch.device("cpu"):
            return function(basis, length)

    return cached


@constant
def cut_basis(basis: Basis, length: int) -> Cut:
    """The cut bases of a row of cells; they depend on no map and are made once, in float64."""
    reach = finite_reach(basis)
    cells = torch.arange(length, dtype=torch.float64)
    low, high = (-0.5 - cells).clamp(min=-reach), (length - 0.5 - cells).clamp(max=reach)
    below = basis.cdf(low)
    mass = basis.cdf(high) - below
    # ∫ (high − e) f(e) and ½ ∫ (high − e)² f(e) over the support, from the integrals that vanish at −∞.
    width = high - low
    first = (basis.integrated_cdf(high) - basis.integrated_cdf(low) - below * width) / mass
    second = basis.twice_integrated_cdf(high) - basis.twice_integrated_cdf(low)
    second = (second - basis.integrated_cdf(low) * width - below * width**2 / 2) / mass
    return Cut(low, high, below, mass, high - first, 2 * second - first**2)


@dataclass(frozen=True)
class Axis:
    """One coordinate of a mixture: n sub-distributions around `centers`.

    Args:
        basis: Their common shape.
        centers: (n,) cells on a grid; (*batch, 1, n) coordinates on a point set. Arguments of the methods are (…, S) and
            results (…, S, n).
        scale: Input units per unit.
        origin: Input coordinate of u = 0.
        cut: The cut to the grid's extent, in the centres' dtype and device, or None.
        period: Period of a cyclic axis in units, or None.
    """

    basis: Basis
    centers: Tensor
    scale: float = 1.0
    origin: float = 0.0
    cut: Cut | None = None
    period: int | None = None

    @property
    def means(self) -> Tensor:
        """The means of the sub-distributions, in units."""
        return self.centers if self.cut is None else self.centers + self.cut.mean

    @property
    def variance(self) -> float | Tensor:
        """Their variances, in squared units."""
        return self.basis.variance if self.cut is None else self.cut.variance

    def to_units(self, coordinates: Tensor) -> Tensor:
        """Input coordinates to units."""
        return (coordinates - self.origin) / self.scale

    def to_input(self, units: Tensor) -> Tensor:
        """Units to input coordinates."""
        return units * self.scale + self.origin

    def offsets(self, units: Tensor) -> Tensor:
        """From every centre to the point; on a circle the short way round."""
        offsets = units.unsqueeze(-1) - self.centers
        if self.period is None:
            return offsets
        return offsets - self.period * torch.round(offsets.detach() / self.period)

    def log_density(self, units: Tensor) -> Tensor:
        """log f_i(u), per unit; of the uncut basis, the cut's mass being part of the weights."""
        offsets = self.offsets(units)
        if self.period is None:
            return self.basis.log_density(offsets)
        return torch.logsumexp(self.basis.log_density(self._images(offsets)), dim=-1)

    def density(self, units: Tensor) -> Tensor:
        """f_i(u), per unit, of the uncut basis."""
        offsets = self.offsets(units)
        if self.period is None:
            return self.basis.log_density(offsets).exp()
        return self.basis.log_density(self._images(offsets)).exp().sum(dim=-1)

    def pull(self, units: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the way from a point to each centre, over the turns of a circle by their share of f_i."""
        offsets = self.offsets(units)
        if self.period is None:
            return -offsets, torch.zeros_like(offsets)
        images = self._images(offsets)
        shares = self.basis.log_density(images).softmax(dim=-1)
        mean = (shares * images).sum(dim=-1)
        return -mean, (shares * (images - mean.unsqueeze(-1)) ** 2).sum(dim=-1)

    def cdf(self, units: Tensor) -> Tensor:
        """F_i(u); not on a circle, which has no first point."""
        offsets = self.offsets(units)
        if self.cut is None:
            return self.basis.cdf(offsets)
        return (self.basis.cdf(torch.clamp(offsets, self.cut.low, self.cut.high)) - self.cut.below) / self.cut.mass

    def masses(self, units: Tensor, edges: Tensor) -> Tensor:
        """The masses of the intervals between neighbouring `edges` (…, S, q + 1), given relative to `units`: (…, S, q, n)."""
        offsets = self.offsets(units).unsqueeze(-2) + edges.unsqueeze(-1)
        if self.cut is not None:
            offsets = torch.clamp(offsets, self.cut.low, self.cut.high)
            return self.basis.cdf(offsets).diff(dim=-2) / self.cut.mass
        if self.period is None:
            return self.basis.cdf(offsets).diff(dim=-2)
        return self.basis.cdf(self._images(offsets)).sum(dim=-1).diff(dim=-2)

    def integrated_cdf(self, units: Tensor) -> Tensor:
        """G_i(u) = E (u − X_i)₊."""
        offsets = self.offsets(units)
        if self.cut is None:
            return self.basis.integrated_cdf(offsets)
        inside = torch.clamp(offsets, self.cut.low, self.cut.high)
        area = self.basis.integrated_cdf(inside) - self.basis.integrated_cdf(self.cut.low)
        area = (area - self.cut.below * (inside - self.cut.low)) / self.cut.mass
        return area + (offsets - self.cut.high).clamp(min=0)

    def twice_integrated_cdf(self, units: Tensor) -> Tensor:
        """H_i(u) = ½ E (u − X_i)₊²."""
        offsets = self.offsets(units)
        if self.cut is None:
            return self.basis.twice_integrated_cdf(offsets)
        cut, basis = self.cut, self.basis
        inside = torch.clamp(offsets, cut.low, cut.high)
        width, beyond = inside - cut.low, (offsets - cut.high).clamp(min=0)
        area = basis.twice_integrated_cdf(inside) - basis.twice_integrated_cdf(cut.low)
        area = (area - basis.integrated_cdf(cut.low) * width - cut.below * width**2 / 2) / cut.mass
        # Past the end G grows with slope 1 from its value there, which is the distance from the mean to the end.
        return area + beyond * (cut.high - cut.mean) + beyond**2 / 2

    def mean_distances(self, units: Tensor, distance: str) -> Tensor:
        """E d(u, X_i) in input units: "l2" and "l1" 2 G(u) − (u − μ), "squared", "smooth_l1" with its bend at 1 input unit.

        smooth_l1 has the second derivative 1/β within β of 0, hence the second difference of H.
        """
        delta = units.unsqueeze(-1) - self.means
        if distance == "squared":
            return (delta**2 + self.variance) * self.scale**2
        if distance == "smooth_l1":
            bend = 1 / self.scale
            above = self.twice_integrated_cdf(units + bend) - self.twice_integrated_cdf(units - bend)
            return (above / bend - delta - bend / 2) * self.scale
        return (2 * self.integrated_cdf(units) - delta) * self.scale

    def gaps(self) -> Tensor:
        """E|X_i − X'_j| of all pairs, (…, n, n)."""
        if self.cut is None:
            return self.basis.gap(self.centers.unsqueeze(-1) - self.centers.unsqueeze(-2))
        return cut_gaps(self.basis, self.centers.shape[-1]).to(self.centers)

    def _images(self, offsets: Tensor) -> Tensor:
        """Offsets from as many turns of every centre as a point at most a turn away can see, (…, n, images)."""
        period = self.period or 1
        count = math.ceil(1 + finite_reach(self.basis) / period)
        turns = torch.arange(-count, count + 1, dtype=offsets.dtype, device=offsets.device)
        return offsets.unsqueeze(-1) + turns * period


def make_axes(support: Support, basis: Basis, *, truncate: bool, like: Tensor) -> tuple[Axis, ...]:
    """One Axis per coordinate, in the dtype and on the device of `like`."""
    if not isinstance(support, Grid):
        centers = support.cell_centers(dtype=like.dtype, device=like.device)
        return tuple(Axis(basis, centers[..., axis].unsqueeze(-2)) for axis in range(support.ndim))
    axes = []
    for axis, length in enumerate(support.lengths):
        cells = torch.arange(length, dtype=like.dtype, device=like.device)
        is_cyclic = axis in support.cyclic
        cut = None
        if truncate and not is_cyclic:
            exact = cut_basis(basis, length)
            cut = Cut(**{name: getattr(exact, name).to(like) for name in Cut.__dataclass_fields__})
        period = length if is_cyclic else None
        axes.append(Axis(basis, cells, support.strides[axis], support.offsets[axis], cut, period))
    return tuple(axes)


def knots(basis: Basis, length: int, *, wraps: bool) -> Array:
    """Points of a row of cells between which its sub-distributions are smooth on the scale of their distance.

    From end to end of the uncut support, or, with `wraps`, of the row itself, [−½, length − ½].
    """
    reach = finite_reach(basis)
    low, high = (-0.5, length - 0.5) if wraps else (-reach, length - 1 + reach)
    cells = np.arange(length, dtype=np.float64)
    if not isinstance(basis, Gaussian):
        inner = (cells[:, None] + np.array([-basis.reach, 0.0, basis.reach])).ravel()
    elif basis.scale >= 0.25:
        inner = np.linspace(low, high, math.ceil((high - low) / basis.scale) + 1)
    else:
        inner = (cells[:, None] + basis.scale * np.arange(-GAUSSIAN_REACH, GAUSSIAN_REACH + 1)).ravel()
    inside = inner[(inner > low) & (inner < high)]
    return np.unique(np.concatenate([[low], inside, [high]]))


@constant
def cut_gaps(basis: Basis, length: int) -> Tensor:
    """E|X_i − X'_j| = ∫ F_i (1 − F_j) + F_j (1 − F_i) for cut bases, (length, length) float64.

    Gauss-Legendre quadrature between knots: exact for Uniform and Triangular (piecewise polynomials of degree 4 at most), to
    about 1e-12 for Gaussian.
    """
    cut = cut_basis(basis, length)
    ends = knots(basis, length, wraps=True)
    nodes, weights = np.polynomial.legendre.leggauss(8)
    half = np.diff(ends)[:, None] / 2
    at = torch.from_numpy((ends[:-1, None] + half * (nodes + 1)).ravel())
    weight = torch.from_numpy((half * weights).ravel()).unsqueeze(-1)
    axis = Axis(basis, torch.arange(length, dtype=torch.float64), cut=cut)
    below = axis.cdf(at)
    area = (weight * below).sum(dim=0)
    return area.unsqueeze(-1) + area - 2 * (weight * below).T @ below
