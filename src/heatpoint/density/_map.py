"""What a mixture density is, before a point is put to it: a map, a support, a basis; its moments, entropy and marginals."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, Self, TypeVar, cast

import torch
from torch import Tensor

from heatpoint._checks import message
from heatpoint._lattice import along, wrapped
from heatpoint._numerics import log_probabilities
from heatpoint.basis import Basis, Gaussian, Uniform, check_basis_on_points, make_basis
from heatpoint.density import _mixture, _quadrature
from heatpoint.density._axis import Axis, make_axes
from heatpoint.expectation import expected_position, marginal_position
from heatpoint.support import Grid, Points, Support, check_support

P = ParamSpec("P")
R = TypeVar("R")


def island(method: Callable[P, R]) -> Callable[P, R]:
    """Keeps autocast out of a method of MapDensity: coordinates need more digits than half precision has."""

    @functools.wraps(method)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        density = cast(MapDensity, args[0])
        with torch.autocast(density.log_weights.device.type, enabled=False):
            return method(*args, **kwargs)

    return inside


class MapDensity:
    """The part of `heatpoint.Density` that takes no points."""

    def __init__(
        self,
        logits: Tensor,
        support: Support,
        *,
        basis: str | Basis | Mapping[str, Any] = "triangular",
        truncate: bool = False,
    ) -> None:
        self._set("Density", logits, support, basis, truncate)

    @classmethod
    def _on_behalf_of(
        cls,
        function: str,
        logits: Tensor,
        support: Support,
        *,
        basis: str | Basis | Mapping[str, Any] | None,
        truncate: bool = False,
    ) -> Self:
        """A density that a function of another room makes of its own arguments: errors name that function."""
        if basis is None:
            raise TypeError(message(function, "basis", "be a name, a Basis, or a dict that holds its name", basis))
        density = cls.__new__(cls)
        density._set(function, logits, support, basis, truncate)
        density._caller = function
        return density

    _caller: str | None = None

    def _set(
        self, function: str, logits: Tensor, support: Support, basis: str | Basis | Mapping[str, Any], truncate: bool
    ) -> None:
        check_support(function, support)
        self.basis: Basis = make_basis(basis, function=function)
        if isinstance(support, Points):
            self.basis = check_basis_on_points(function, self.basis)
            if truncate:
                remedy = "A point set has no extent to cut to."
                raise ValueError(message(function, "truncate", "be False on Points", truncate, remedy))
        self.logits, self.support, self.truncate = logits, support, truncate
        self.log_weights = log_probabilities(function, support.flatten(function, logits))
        self.batch_shape = tuple(self.log_weights.shape[:-1])

    def __repr__(self) -> str:
        return f"Density({tuple(self.logits.shape)}, {self.support}, basis={self.basis}, truncate={self.truncate})"

    @functools.cached_property
    def probabilities(self) -> Tensor:
        """π as a map, (*batch, *support.shape), summing to 1."""
        return self.support.unflatten(self.log_weights.exp())

    @functools.cached_property
    def _axes(self) -> tuple[Axis, ...]:
        return make_axes(self.support, self.basis, truncate=self.truncate, like=self.log_weights)

    @functools.cached_property
    def _marginals(self) -> tuple[Tensor, ...]:
        if isinstance(self.support, Grid):
            return self.support.marginals(self.probabilities)
        return (self.probabilities,) * self.support.ndim

    @functools.cached_property
    def _component_log_weights(self) -> Tensor:
        """log(π_i / mass that the cut leaves of f_i), (*batch, cells): the weights of the uncut bases."""
        if not isinstance(self.support, Grid):
            return self.log_weights
        maps = self.support.unflatten(self.log_weights)
        for a, axis in enumerate(self._axes):
            if axis.cut is not None:
                maps = maps - along(axis.cut.mass.log(), self.support, a)
        return maps.flatten(-self.support.ndim)

    @property
    @island
    def mean(self) -> Tensor:
        """E Y, (*batch, D): soft-argmax (Eq. 1), moved by what truncation takes off the outer bases; a direction on a circle."""
        if not isinstance(self.support, Grid):
            return expected_position(self.log_weights.exp(), self.support)
        columns = []
        for a, axis in enumerate(self._axes):
            shift = None if axis.cut is None else axis.cut.mean * axis.scale
            columns.append(marginal_position(self._marginals[a], self.support, axis=a, displacement=shift))
        return torch.stack(columns, dim=-1)

    @property
    @island
    @torch.no_grad()
    def mode(self) -> Tensor:
        """The point of highest density, (*batch, D), without a gradient.

        Triangular and Uniform: the centre of the highest cell, exactly (Uniform is flat over that cell). Gaussian: the top
        that is reached uphill from the highest cell centre; on Points that takes the density at every point, O(N²) a map.
        """
        if isinstance(self.basis, Gaussian) or not isinstance(self.support, Grid):
            units = _mixture.gaussian_mode(self._component_log_weights, self.support, self._axes)
        else:
            units = self.support.unravel(self._component_log_weights.argmax(dim=-1)).to(self.log_weights.dtype)
        mode = torch.stack([axis.to_input(units[..., a]) for a, axis in enumerate(self._axes)], dim=-1)
        return wrapped(mode, self.support) if isinstance(self.support, Grid) else mode

    @property
    @island
    def covariance(self) -> Tensor:
        """E (Y − E Y)(Y − E Y)ᵀ, (*batch, D, D), in input units²: that of the cells plus the variance of the basis, exactly.

        Raises:
            ValueError: On a grid with a cyclic axis.
        """
        self._check_straight("covariance", "Deviations from a mean need a straight line.")
        mean = self.mean
        deltas = []
        for a, axis in enumerate(self._axes):
            positions = axis.to_input(axis.means)
            positions = positions if isinstance(self.support, Grid) else positions.squeeze(-2)
            deltas.append(positions - mean[..., a, None])
        between = _mixture.cell_covariance(self.log_weights.exp(), self.support, deltas)
        within = []
        for axis, marginal in zip(self._axes, self._marginals, strict=True):
            variance = torch.as_tensor(axis.variance, dtype=marginal.dtype, device=marginal.device)
            within.append((marginal * variance).sum(dim=-1) * axis.scale**2)
        return between + torch.diag_embed(torch.stack(within, dim=-1))

    @island
    def marginal(self, axis: int) -> Self:
        """The density of one coordinate (0 is x), in 1D, with the same basis and truncation.

        Raises:
            ValueError: If there is no such axis.

        >>> from heatpoint.density import Density
        >>> Density(torch.zeros(3, 4), Grid((3, 4))).marginal(1).probabilities
        tensor([0.3333, 0.3333, 0.3333])
        """
        ndim = self.support.ndim
        if axis not in range(ndim):
            raise ValueError(message("Density.marginal", "axis", f"be from 0 to {ndim - 1}, 0 being x", axis))
        if not isinstance(self.support, Grid):
            return type(self)(self.logits, Points(self.support.xyz[..., axis : axis + 1]), basis=self.basis)
        grid = Grid(
            (self.support.lengths[axis],),
            stride=self.support.strides[axis],
            offset=self.support.offsets[axis],
            cyclic=(0,) if axis in self.support.cyclic else (),
        )
        rows = self.support.unflatten(self.log_weights).movedim(self.support.map_dim(axis), -ndim)
        rows = rows.flatten(1 - ndim) if ndim > 1 else rows.unsqueeze(-1)
        logits = _mixture.log_weighted_sum(rows, torch.ones_like(rows))
        return type(self)(logits, grid, basis=self.basis, truncate=self.truncate)

    @island
    def expected_gap(self) -> Tensor:
        """E|Y_d − Y'_d| of two independent draws, per coordinate, exactly: (*batch, D), in input units.

        Twice the spread term of the CRPS. Σ_ij m_i A_ij m_j with the table A of pairs of bases, from marginals m: the time is
        quadratic in the length of an axis, and on Points quadratic in N.

        Raises:
            ValueError: On a grid with a cyclic axis.

        >>> from heatpoint.density import Density
        >>> Density(torch.zeros(1), Grid((1,)), basis="uniform").expected_gap()
        tensor([0.3333])
        """
        self._check_straight("expected_gap", "It is a property of a cdf, and a circle has no first point.")
        gaps = []
        for axis, marginal in zip(self._axes, self._marginals, strict=True):
            table = axis.gaps() if isinstance(self.support, Grid) else axis.gaps().squeeze(-3)
            gaps.append((marginal * (table @ marginal.unsqueeze(-1)).squeeze(-1)).sum(dim=-1) * axis.scale)
        return torch.stack(gaps, dim=-1)

    @island
    def entropy(self) -> Tensor:
        """Differential entropy −∫ p log p in nats, (*batch).

        Uniform: exactly the discrete entropy plus the logarithm of a cell's volume. Otherwise by Gauss quadrature: within 1e-7 in
        1D, 2e-4 in 2D and 2e-2 in 3D; on Points by Gauss-Hermite nodes around every point (16 in 1D, 25 in 2D, 27 in 3D, with
        N² evaluations each), exact for points far apart and for points on one spot, between within 1e-2 (3e-2 in 3D).

        >>> from heatpoint.density import Density
        >>> Density(torch.zeros(4), Grid((4,), stride=2), basis="uniform").entropy() - math.log(8)
        tensor(0.)
        """
        if isinstance(self.basis, Uniform):
            return self.discrete_entropy() + sum(math.log(axis.scale) for axis in self._axes)
        if isinstance(self.support, Grid):
            units = _quadrature.entropy(self._component_log_weights, self.support, self._axes)
            return units + sum(math.log(axis.scale) for axis in self._axes)
        return _quadrature.points_entropy(self.log_weights, self.support, self._axes)

    @island
    def discrete_entropy(self) -> Tensor:
        """−Σ π_i log π_i over the cells, in nats, (*batch); forbidden cells count as 0.

        >>> from heatpoint.density import Density
        >>> Density(torch.tensor([0.0, 0.0, -torch.inf]), Grid((3,))).discrete_entropy()
        tensor(0.6931)
        """
        return _mixture.entropy_of(self.log_weights)

    def _named(self, function: str) -> str:
        return self._caller or f"Density.{function}"

    def _check_straight(self, function: str, reason: str) -> None:
        if isinstance(self.support, Grid) and self.support.cyclic:
            rule = "have no cyclic axis"
            raise ValueError(message(self._named(function), "grid", rule, self.support, reason))

    def _columns(self, points: Tensor) -> list[tuple[Axis, Tensor, Tensor]]:
        """Per coordinate: its axis, its marginal (*batch, n), and the points (*batch, S) in its units."""
        return [
            (axis, marginal, axis.to_units(points[..., a]))
            for a, (axis, marginal) in enumerate(zip(self._axes, self._marginals, strict=True))
        ]

    def _query(self, function: str, argument: str, points: Tensor) -> _mixture.Query:
        self.support.check_points(self._named(function), points, argument)
        points = points.to(self.log_weights)
        return _mixture.arrange(self._named(function), argument, points, self.batch_shape)
