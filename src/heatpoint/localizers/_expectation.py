"""Localizers trained by the distance from a map's mean, or from its draws, to the target."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import Field, dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from heatpoint import scores
from heatpoint._checks import message
from heatpoint._distances import Distance
from heatpoint._numerics import promote
from heatpoint.localizers._base import Localizer
from heatpoint.localizers._options import Named
from heatpoint.regularizers import jensen_shannon_regularizer, variance_regularizer
from heatpoint.support import Grid, Support

_AT_LEAST_0: dict[str, Any] = {"minimum": 0}
_ABOVE_0: dict[str, Any] = {"minimum": 0, "exclusive": True}


def _anneal() -> dict[str, Any]:
    return {"name": "linear", "start": 2.0, "end": 0.5}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SumOverCoordinates(Localizer):
    """What the localizers share whose loss is a distance, which for l1 and its kind is a sum over the coordinates.

    Their `loss` takes a weight per coordinate, and such localizers can train volumes with points whose depth is unknown.
    """

    distance: Distance = "l1"

    @abstractmethod
    def _error(
        self,
        logits: Tensor,
        target: Tensor,
        axis_weight: Tensor | None,
        progress: float,
        generator: torch.Generator | None,
    ) -> Tensor: ...

    def _score(self, logits: Tensor, target: Tensor, progress: float, generator: torch.Generator | None) -> Tensor:
        return self._error(logits, target, None, progress, generator)

    def _score_by_axis(
        self,
        logits: Tensor,
        target: Tensor,
        axis_weight: Tensor,
        progress: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        return self._error(logits, target, axis_weight, progress, generator)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SoftArgmax(SumOverCoordinates):
    """The error of the expectation (Sampling-Argmax, Eq. 1 and 2): `scores.error_of_expectation`."""

    name: ClassVar[str] = "soft_argmax"
    sign_gradient: bool = False

    def _error(
        self,
        logits: Tensor,
        target: Tensor,
        axis_weight: Tensor | None,
        progress: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        return scores.error_of_expectation(
            logits,
            self.grid,
            target,
            distance=self.distance,
            sign_gradient=self.sign_gradient,
            axis_weight=axis_weight,
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class RegularizedSoftArgmax(SumOverCoordinates):
    """What the two regularised soft-argmaxes share: an error whose unit fits the published weight of the regularizer.

    The published losses measure the error in units of the map's extent, Σ_axes |Δ_d| / size_d for l1, and the weights 1 and
    0.1 were chosen beside that. Beside an error in input pixels, a few hundred times as large, they would do nothing.
    ``unit="map"`` is the published balance; ``unit="input"`` measures in input units, as all other localizers do. Points
    have no extent: there only "input" has a meaning, and is the default.
    """

    sign_gradient: bool = False
    unit: Literal["map", "input"] | None = None

    def _plain(self, option: str, value: Any) -> Any:
        if option == "unit" and value is None:
            return "map" if isinstance(self.grid, Grid) else "input"
        return super()._plain(option, value)

    def _check(self, item: Field[Any], value: Any) -> None:
        super()._check(item, value)
        if item.name == "unit" and value == "map" and not isinstance(self.grid, Grid):
            remedy = "A point set has no extent to measure in."
            raise ValueError(message(self.name, "unit", "be 'input' on Points", repr(value), remedy))

    @abstractmethod
    def _regularizer(self, logits: Tensor) -> Tensor: ...

    def _error(
        self,
        logits: Tensor,
        target: Tensor,
        axis_weight: Tensor | None,
        progress: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        # A point that counts on any axis has its map's shape regularised.
        share = 1.0 if axis_weight is None else axis_weight.amax(dim=-1)
        return self._distance(logits, target, axis_weight) + self._regularizer(logits) * share

    def _distance(self, logits: Tensor, target: Tensor, axis_weight: Tensor | None) -> Tensor:
        grid: Support = self.grid
        if isinstance(grid, Grid) and self.unit == "map":
            per_cell = tuple(1 / length for length in grid.lengths)
            unit_grid = Grid(grid.shape, stride=per_cell, offset=0.0, cyclic=grid.cyclic)
            target = unit_grid.to_points(grid.to_cells(target.to(promote(logits).dtype)))
            grid = unit_grid
        return scores.error_of_expectation(
            logits,
            grid,
            target,
            distance=self.distance,
            sign_gradient=self.sign_gradient,
            axis_weight=axis_weight,
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SoftArgmaxVariance(RegularizedSoftArgmax):
    """The error of the expectation, plus regularizer_weight · (Var − target_variance)² (Eq. 15), in cells.

    The error is in units of the map's extent unless ``unit="input"``, as in the published losses: see
    `RegularizedSoftArgmax`.
    """

    name: ClassVar[str] = "soft_argmax_variance"
    target_variance: float = field(default=4.0, metadata=_AT_LEAST_0)
    regularizer_weight: float = field(default=1.0, metadata=_AT_LEAST_0)

    def _regularizer(self, logits: Tensor) -> Tensor:
        return self.regularizer_weight * variance_regularizer(logits, self.grid, target_variance=self.target_variance)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SoftArgmaxJS(RegularizedSoftArgmax):
    """The error of the expectation, plus regularizer_weight · JS(map, Gaussian at its mean) (Eq. 16).

    The error is in units of the map's extent unless ``unit="input"``, as in the published losses: see
    `RegularizedSoftArgmax`.
    """

    name: ClassVar[str] = "soft_argmax_js"
    sigma_cells: float = field(default=2.0, metadata=_ABOVE_0)
    regularizer_weight: float = field(default=0.1, metadata=_AT_LEAST_0)
    detach_mean: bool = False

    def _regularizer(self, logits: Tensor) -> Tensor:
        return self.regularizer_weight * jensen_shannon_regularizer(
            logits, self.grid, sigma_cells=self.sigma_cells, detach_mean=self.detach_mean
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class DiscreteExpectation(SumOverCoordinates):
    """The expected error over the cells (Eq. 4): `scores.expected_error` with basis None. Not proper."""

    name: ClassVar[str] = "discrete_expectation"
    _refused: ClassVar[dict[str, str]] = {
        "sign_gradient": "It replaces the gradient of a coordinate that is a mean over cells. This loss takes no such mean: it "
        "weighs the distances of fixed cells, whose gradient is exact. soft_argmax and sampling_argmax have the option."
    }

    def _error(
        self,
        logits: Tensor,
        target: Tensor,
        axis_weight: Tensor | None,
        progress: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        return scores.expected_error(
            logits, self.grid, target, basis=None, distance=self.distance, axis_weight=axis_weight
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SamplingArgmax(SumOverCoordinates):
    """The mean error of relaxed samples (Eq. 14), with a temperature that falls as training goes on. Not proper.

    `temperature` is anything that `heatpoint.sampling.make_schedule` takes. The default falls linearly from 2 to 0.5; under
    formula="released" that raises the noise, see `heatpoint.sampling_argmax`. With noise="image" the points of an image share
    their draws, which costs a fraction; the maps must stand along the last dimension of the batch, as in (images, points).
    With noise="lattice" a cell's draws are spread evenly over the samples, which makes the gradient less noisy.
    """

    name: ClassVar[str] = "sampling_argmax"
    basis: Named | None = "triangular"
    num_samples: int = field(default=10, metadata={"minimum": 1, "whole": True})
    temperature: Any = field(default_factory=_anneal)
    formula: Literal["paper", "released"] = "paper"
    sign_gradient: bool = False
    memory: Literal["normal", "low"] = "normal"
    noise: Literal["independent", "lattice", "image", "batch"] = "independent"

    def _error(
        self,
        logits: Tensor,
        target: Tensor,
        axis_weight: Tensor | None,
        progress: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        return scores.expected_error(
            logits,
            self.grid,
            target,
            basis=self.basis,
            num_samples=self.num_samples,
            temperature=self._temperature(progress),
            formula=self.formula,
            distance=self.distance,
            generator=generator,
            sign_gradient=self.sign_gradient,
            memory=self.memory,
            noise=self.noise,
            axis_weight=axis_weight,
        )
