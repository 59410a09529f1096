"""Density: what can be asked of a mixture by putting points to it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from heatpoint._checks import message, one_of
from heatpoint._distances import DISTANCES, Distance
from heatpoint.density import _mixture, _quadrature
from heatpoint.density._draws import draw_points, truncated_noise
from heatpoint.density._map import MapDensity, island
from heatpoint.sampling import Noise, sampling_argmax
from heatpoint.support import Grid


class Density(MapDensity):
    """The mixture density p(y) = Σ_i π_i f_i(y) of a map (Sampling-Argmax, Eq. 6 to 9), π = softmax(logits).

    f_i is the basis around the centre of cell i: on a grid the product of one basis per axis, each stretched by the axis's
    stride, on Points an isotropic Gaussian. The paper leaves two things open:

    - The border. As printed, the outermost bases reach past the grid: Triangular by half a cell (1/8 of that cell's mass),
      Gaussian without bound. ``truncate=True`` cuts every basis to the grid's extent, cells −½ to length − ½, and
      renormalises each, so that p integrates to 1 over the input and π_i stays the mass of component i.
    - Cyclic axes. There p is wrapped around, and has no border to truncate. What needs a first point or a straight line
      (`cdf`, `quantile`, `median`, `covariance`, `expected_distance`, `expected_gap`) raises ValueError.

    All methods take any leading batch shape and work in float32, or float64 if the logits are; points are cast to that. A query
    point is (*sample, *batch, D): sample dimensions stand first, as in torch.distributions.

    Args:
        logits: (*batch, *support.shape), any real, −inf for a forbidden cell.
        support: Grid or Points.
        basis: A name, a Basis, or its dict. On Points only ``Gaussian(sigma=…)`` has a meaning.
        truncate: Cut and renormalise each basis to the grid's extent.

    Attributes:
        support: Grid or Points.
        basis: The Basis.
        log_weights: (*batch, cells), log π.
        batch_shape: The leading shape.

    Raises:
        TypeError: If logits is not a tensor, support no support, or basis none of the three kinds.
        ValueError: If the shapes disagree, the basis or truncation has no meaning on Points, or a map is all −inf.

    >>> p = Density(torch.tensor([0.0, 0.0, -torch.inf]), Grid((3,), stride=4, offset=0), basis="triangular")
    >>> p.mean, p.log_prob(torch.tensor([2.0])).exp()
    (tensor([2.]), tensor(0.1250))
    """

    @property
    def median(self) -> Tensor:
        """The median of every coordinate, (*batch, D); see `quantile`."""
        return self.quantile(0.5)

    @island
    def log_prob(self, points: Tensor) -> Tensor:
        """log p(y), in nats per (input unit)^D.

        Uniform and Triangular read the 2^D cells around a point; Gaussian sums over all cells in log space, so that it is
        exact arbitrarily far out. Uniform gives a border between two cells to the upper one.

        Args:
            points: (*sample, *batch, D).

        Returns:
            (*sample, *batch); −inf, with a gradient of 0, where p is 0. Gradients flow to logits and points.

        >>> p = Density(torch.zeros(2, 4), Grid((4,), offset=0), basis="uniform")
        >>> p.log_prob(torch.tensor([[3.5], [3.6]])).exp()
        tensor([0.2500, 0.0000])
        """
        query = self._query("log_prob", "points", points)
        return query.restore(_mixture.log_density(self._component_log_weights, self.support, self._axes, query))

    @island
    def cdf(self, points: Tensor) -> Tensor:
        """P(Y_d ≤ y_d) of every coordinate d, exactly; in 1D that is the cdf.

        Args:
            points: (*sample, *batch, D).

        Returns:
            (*sample, *batch, D).

        Raises:
            ValueError: On a grid with a cyclic axis.

        >>> Density(torch.zeros(4), Grid((4,), offset=0)).cdf(torch.tensor([1.5]))
        tensor([0.5000])
        """
        self._check_straight("cdf", "A circle has no first point.")
        query = self._query("cdf", "points", points)
        columns = [_mixture.mix(axis.cdf(units), marginal) for axis, marginal, units in self._columns(query.points)]
        return query.restore(torch.stack(columns, dim=-1))

    @island
    def quantile(self, u: float | Tensor) -> Tensor:
        """The smallest y_d with P(Y_d ≤ y_d) ≥ u_d, of every coordinate d; the inverse of `cdf`.

        By bisection and Newton steps: in float64 to 2^−32 of the extent or better; in float32 to a few of its roundings, of the
        coordinate and of the cdf (2^−24 of the mass, divided by the density there). Derivatives are implicit ones.

        Args:
            u: In [0, 1]: a number, or (*sample, *batch, D), or (…, 1) for all coordinates alike. 0 and 1 give the ends
                of the mass (past forbidden cells, and past cells whose probability rounds to 0); ∓inf for a Gaussian that is
                not truncated.

        Returns:
            (*sample, *batch, D).

        Raises:
            ValueError: On a grid with a cyclic axis.

        >>> Density(torch.zeros(4), Grid((4,), offset=0), basis="uniform").quantile(0.25)
        tensor([0.5000])
        """
        self._check_straight("quantile", "A circle has no first point.")
        levels = torch.as_tensor(u, dtype=self.log_weights.dtype, device=self.log_weights.device)
        levels = levels.expand(self.support.ndim) if levels.ndim == 0 else levels
        if levels.shape[-1] == 1:
            levels = levels.expand(*levels.shape[:-1], self.support.ndim)
        query = self._query("quantile", "u", levels)
        columns = [
            axis.to_input(_mixture.quantile(marginal, axis, query.points[..., a]))
            for a, (axis, marginal) in enumerate(zip(self._axes, self._marginals, strict=True))
        ]
        return query.restore(torch.stack(columns, dim=-1))

    @island
    def sample(self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None) -> Tensor:
        """Exact independent draws, (*sample_shape, *batch, D), without a gradient; wrapped into the grid on cyclic axes.

        >>> p = Density(torch.tensor([0.0, -torch.inf]), Grid((2,), offset=0), basis="uniform")
        >>> bool((p.sample((100,)).abs() <= 0.5).all())
        True
        """
        shape = tuple(sample_shape)
        drawn = draw_points(
            self.log_weights, self.support, self._axes, num_samples=math.prod(shape), generator=generator
        )
        return drawn.reshape(*shape, *drawn.shape[1:])

    @island
    def rsample(
        self,
        sample_shape: Sequence[int] = (),
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        noise: Noise | None = None,
    ) -> Tensor:
        """Relaxed draws with gradients to the logits: `heatpoint.sampling_argmax` with the paper's formula (Eq. 11, 12).

        They follow p only as the temperature goes to 0. With truncation every offset is drawn from its cut basis.

        Args:
            sample_shape: Leading shape of the result; its product is the number of samples S.
            temperature: τ > 0.
            generator: Source of randomness.
            noise: Recorded draws (S, *batch, *support.shape) to replay.

        Returns:
            (*sample_shape, *batch, D).

        >>> Density(torch.zeros(5, 3, 4), Grid((3, 4))).rsample((7,), temperature=0.5).shape
        torch.Size([7, 5, 2])
        """
        shape = tuple(sample_shape)
        num_samples = math.prod(shape)
        if self.truncate and isinstance(self.support, Grid):
            noise = truncated_noise(
                noise, self.support, self._axes, self.log_weights, num_samples=num_samples, generator=generator
            )
        drawn = sampling_argmax(
            self.support.unflatten(self.log_weights),
            self.support,
            basis=self.basis,
            num_samples=num_samples,
            temperature=temperature,
            formula="paper",
            generator=generator,
            noise=noise,
        )
        return drawn.reshape(*shape, *drawn.shape[1:])

    @island
    def expected_distance(self, target: Tensor, distance: Distance = "l1") -> Tensor:
        """E d(Y, target): Sampling-Argmax's objective (Eq. 3) without sampling.

        "l1" (the sum over coordinates), "squared" (‖·‖²) and "smooth_l1" (½x² below 1 input unit, |x| − ½ beyond, summed over
        coordinates) are exact. So is "l2" in 1D, on Points, and for a Gaussian that is as wide on every axis and not truncated;
        otherwise it is a Gauss quadrature, whose error, relative to the largest stride, is within 2e-3 for Uniform and Triangular
        (relative to the largest σ, within 3e-2 for Gaussian) where strides differ by at most a factor of 3, and within 2e-2
        (5e-2) up to a factor of 10: worst for a map of a single cell, far less for wider ones. It passes over the map
        once per node, and once more for the gradient, for which no node is kept.

        As a loss it is no proper score: its optimum is a spike (see `heatpoint.scores`).

        Args:
            target: (*sample, *batch, D).
            distance: "l1", "l2", "smooth_l1" or "squared".

        Returns:
            (*sample, *batch), in input units (squared for "squared"). Gradients flow to logits and target.

        Raises:
            ValueError: If distance is unknown, or on a grid with a cyclic axis.

        >>> p = Density(torch.zeros(1), Grid((1,), offset=0), basis="uniform")
        >>> p.expected_distance(torch.zeros(1)), p.expected_distance(torch.zeros(1), "squared")
        (tensor(0.2500), tensor(0.0833))
        """
        one_of(self._named("expected_distance"), "distance", distance, DISTANCES)
        self._check_straight("expected_distance", "Distances around a circle have no closed form here; draw samples.")
        query = self._query("expected_distance", "target", target)
        if distance == "l2" and self.support.ndim > 1:
            weights = self.log_weights.exp()
            return query.restore(_quadrature.mean_l2(weights, self.support, self._axes, query.points))
        terms = [
            _mixture.mix(axis.mean_distances(units, distance), marginal)
            for axis, marginal, units in self._columns(query.points)
        ]
        return query.restore(torch.stack(terms).sum(dim=0))

    @island
    def mass_within(self, point: Tensor, radius: float | Tensor) -> Tensor:
        """P(‖Y − point‖ ≤ radius), the map's own probability that an error is at most `radius`.

        Exact in 1D. On grids of 2 and 3 dimensions the ball is cut into 64 and 32 slices, which is exact where p is
        constant along a slice and else within 5e-4 in 2D and 2e-3 in 3D; on Points within 1e-6. Cyclic axes wrap.

        Args:
            point: (*sample, *batch, D).
            radius: In input units, ≥ 0: a number, or a tensor that broadcasts against (*sample, *batch).

        Returns:
            (*sample, *batch). Gradients flow to logits, point and radius.

        Raises:
            ValueError: If radius is a negative number.

        >>> Density(torch.zeros(4), Grid((4,), offset=0), basis="uniform").mass_within(torch.tensor([1.5]), 1.0)
        tensor(0.5000)
        """
        if not isinstance(radius, Tensor) and not radius >= 0:
            raise ValueError(message(self._named("mass_within"), "radius", "be at least 0", radius))
        self.support.check_points(self._named("mass_within"), point, "point")
        reach = torch.as_tensor(radius, dtype=self.log_weights.dtype, device=self.log_weights.device).unsqueeze(-1)
        lead = torch.broadcast_shapes(point.shape[:-1], reach.shape[:-1])
        both = torch.cat([point.to(self.log_weights).expand(*lead, -1), reach.expand(*lead, 1)], dim=-1)
        query = _mixture.arrange(self._named("mass_within"), "point", both, self.batch_shape)
        center, length = query.points[..., :-1], query.points[..., -1]
        if not isinstance(self.support, Grid):
            mass = _quadrature.gaussian_ball_masses(self._axes, center, length)
            return query.restore(_mixture.mix(mass, self.log_weights.exp()))
        maps = self.probabilities.unsqueeze(-1 - self.support.ndim)
        return query.restore(_quadrature.ball_mass(maps, self._axes, center.unbind(dim=-1), length))
