"""Localizers: a score, a readout and a confidence under one name, so that a method is one line in a training loop.

>>> grid = Grid((16, 12), stride=4)
>>> localizer = make_localizer("sampling_argmax", grid, basis="triangular", num_samples=5)
>>> logits, target = torch.zeros(2, 3, 16, 12), torch.full((2, 3, 2), 20.0)
>>> localizer.loss(logits, target, weight=torch.ones(2, 3), progress=0.25).shape
torch.Size([])
>>> found = localizer.locate(logits)
>>> found.points.shape, found.confidence.shape, found.covariance.shape
(torch.Size([2, 3, 2]), torch.Size([2, 3]), torch.Size([2, 3, 2, 2]))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from heatpoint import scores
from heatpoint._checks import message, unknown_name
from heatpoint._distances import Distance
from heatpoint._localizer import Localizer, Located
from heatpoint._numerics import promote
from heatpoint._options import Named, grid_from_dict
from heatpoint.regularizers import jensen_shannon_regularizer, variance_regularizer
from heatpoint.support import Grid, Support

__all__ = [
    "LOCALIZERS",
    "Crps",
    "DiscreteExpectation",
    "EnergyScore",
    "GaussianHeatmap",
    "Localizer",
    "Located",
    "LogScore",
    "RandomizedRounding",
    "SamplingArgmax",
    "SoftArgmax",
    "SoftArgmaxJS",
    "SoftArgmaxVariance",
    "localizer_from_dict",
    "make_localizer",
]

_AT_LEAST_0: dict[str, Any] = {"minimum": 0}
_ABOVE_0: dict[str, Any] = {"minimum": 0, "exclusive": True}


def _anneal() -> dict[str, Any]:
    return {"name": "linear", "start": 2.0, "end": 0.5}


@dataclass(frozen=True, repr=False, kw_only=True)
class SoftArgmax(Localizer):
    """The error of the expectation (Sampling-Argmax, Eq. 1 and 2): `scores.error_of_expectation`."""

    name: ClassVar[str] = "soft_argmax"
    distance: Distance = "l1"
    sign_gradient: bool = False

    def _score(self, logits: Tensor, target: Tensor, progress: float, generator: torch.Generator | None) -> Tensor:
        return scores.error_of_expectation(
            logits, self.grid, target, distance=self.distance, sign_gradient=self.sign_gradient
        )


@dataclass(frozen=True, repr=False, kw_only=True)
class SoftArgmaxVariance(Localizer):
    """The error of the expectation, plus regularizer_weight · (Var − target_variance)² (Eq. 15), in cells."""

    name: ClassVar[str] = "soft_argmax_variance"
    distance: Distance = "l1"
    sign_gradient: bool = False
    target_variance: float = field(default=4.0, metadata=_AT_LEAST_0)
    regularizer_weight: float = field(default=1.0, metadata=_AT_LEAST_0)

    def _score(self, logits: Tensor, target: Tensor, progress: float, generator: torch.Generator | None) -> Tensor:
        error = scores.error_of_expectation(
            logits, self.grid, target, distance=self.distance, sign_gradient=self.sign_gradient
        )
        regularizer = variance_regularizer(logits, self.grid, target_variance=self.target_variance)
        return error + self.regularizer_weight * regularizer


@dataclass(frozen=True, repr=False, kw_only=True)
class SoftArgmaxJS(Localizer):
    """The error of the expectation, plus regularizer_weight · JS(map, Gaussian at its mean) (Eq. 16)."""

    name: ClassVar[str] = "soft_argmax_js"
    distance: Distance = "l1"
    sign_gradient: bool = False
    sigma_cells: float = field(default=2.0, metadata=_ABOVE_0)
    regularizer_weight: float = field(default=0.1, metadata=_AT_LEAST_0)
    detach_mean: bool = False

    def _score(self, logits: Tensor, target: Tensor, progress: float, generator: torch.Generator | None) -> Tensor:
        error = scores.error_of_expectation(
            logits, self.grid, target, distance=self.distance, sign_gradient=self.sign_gradient
        )
        regularizer = jensen_shannon_regularizer(
            logits, self.grid, sigma_cells=self.sigma_cells, detach_mean=self.detach_mean
        )
        return error + self.regularizer_weight * regularizer


@dataclass(frozen=True, repr=False, kw_only=True)
class DiscreteExpectation(Localizer):
    """The expected error over the cells (Eq. 4): `scores.expected_error` with basis None. Not proper."""

    name: ClassVar[str] = "discrete_expectation"
    distance: Distance = "l1"

    def _score(self, logits: Tensor, target: Tensor, progress: float, generator: torch.Generator | None) -> Tensor:
        return scores.expected_error(logits, self.grid, target, basis=None, distance=self.distance)


@dataclass(frozen=True, repr=False, kw_only=True)
class SamplingArgmax(Localizer):
    """The mean error of relaxed samples (Eq. 14), with a temperature that falls as training goes on. Not proper.

    `temperature` is anything that `heatpoint.sampling.make_schedule` takes. The default falls linearly from 2 to 0.5; under
    formula="released" that raises the noise, see `heatpoint.sampling_argmax`.
    """

    name: ClassVar[str] = "sampling_argmax"
    basis: Named | None = "triangular"
    num_samples: int = field(default=10, metadata={"minimum": 1, "whole": True})
    temperature: Any = field(default_factory=_anneal)
    formula: Literal["paper", "released"] = "paper"
    distance: Distance = "l1"
    sign_gradient: bool = False
    memory: Literal["normal", "low"] = "normal"

    def _score(self, logits: Tensor, target: Tensor, progress: float, generator: torch.Generator | None) -> Tensor:
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
        )


@dataclass(frozen=True, repr=False, kw_only=True)
class RandomizedRounding(Localizer):
    """Cross-entropy over space against a randomly rounded target (Randomized Rounding, Eq. 7, 15), read by the top k (Eq. 20)."""

    name: ClassVar[str] = "randomized_rounding"
    on_points: ClassVar[bool] = False
    label: scores.Label = "random"
    readout: Named = "top_k"

    def _score(self, logits: Tensor, target: Tensor, progress: float, generator: torch.Generator | None) -> Tensor:
        return scores.rounded_cross_entropy(logits, _grid(self), target, label=self.label, generator=generator)


@dataclass(frozen=True, repr=False, kw_only=True)
class GaussianHeatmap(Localizer):
    """Regression of a Gaussian map of height 1 (Randomized Rounding, Eq. 3 and 6), read by "shift a quarter" or any readout.

    Its maps are values, not logits. The confidence "peak" is the largest value; other confidences, and the covariance, read
    the positive part of the map as a distribution (uniform where nothing is positive).
    """

    name: ClassVar[str] = "gaussian_heatmap"
    on_points: ClassVar[bool] = False
    kind: scores.MapError = "mse"
    sigma_cells: float = field(default=2.0, metadata=_ABOVE_0)
    readout: Named = "quarter_shift"

    def _score(self, logits: Tensor, target: Tensor, progress: float, generator: torch.Generator | None) -> Tensor:
        return scores.map_error(logits, _grid(self), target, kind=self.kind, sigma_cells=self.sigma_cells)

    def _map_logits(self, logits: Tensor) -> Tensor:
        flat = promote(self.grid.flatten(self.name, logits))
        flat = torch.where((flat > 0).any(dim=-1, keepdim=True), flat, 1.0)
        positive = flat > 0
        return self.grid.unflatten(torch.where(positive, torch.where(positive, flat, 1.0).log(), -torch.inf))

    def _confidence(self, logits: Tensor, points: Tensor) -> Tensor:
        if self.confidence_by == "peak":
            return promote(self.grid.flatten(self.name, logits)).amax(dim=-1)
        return super()._confidence(logits, points)


@dataclass(frozen=True, repr=False, kw_only=True)
class LogScore(Localizer):
    """−log of the mixture density at the target: `scores.log_score`. Proper."""

    name: ClassVar[str] = "log_score"
    basis: Named = "triangular"
    truncate: bool = False

    def _score(self, logits: Tensor, target: Tensor, progress: float, generator: torch.Generator | None) -> Tensor:
        return scores.log_score(logits, self.grid, target, basis=self.basis, truncate=self.truncate)


@dataclass(frozen=True, repr=False, kw_only=True)
class EnergyScore(Localizer):
    """E|Y − y| − ½ E|Y − Y'|: `scores.energy_score`, exact over the cells unless num_samples is given. Proper."""

    name: ClassVar[str] = "energy_score"
    basis: Named | None = None
    num_samples: int | None = field(default=None, metadata={"minimum": 2, "whole": True})
    temperature: Any = 0.5
    memory: Literal["normal", "low"] = "normal"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.basis is not None and self.num_samples is None and self.grid.ndim > 1:
            remedy = "Give num_samples, or basis=None for point masses on the cells."
            raise ValueError(message(self.name, "basis", "be None without num_samples beyond 1D", self.basis, remedy))

    def _score(self, logits: Tensor, target: Tensor, progress: float, generator: torch.Generator | None) -> Tensor:
        return scores.energy_score(
            logits,
            self.grid,
            target,
            basis=self.basis,
            num_samples=self.num_samples,
            temperature=self._temperature(progress),
            generator=generator,
            memory=self.memory,
        )


@dataclass(frozen=True, repr=False, kw_only=True)
class Crps(Localizer):
    """The exact CRPS of each marginal, summed over axes: `scores.crps`. Proper."""

    name: ClassVar[str] = "crps"
    basis: Named | None = "triangular"
    truncate: bool = False

    def _score(self, logits: Tensor, target: Tensor, progress: float, generator: torch.Generator | None) -> Tensor:
        return scores.crps(logits, self.grid, target, basis=self.basis, truncate=self.truncate)


LOCALIZERS: dict[str, type[Localizer]] = {
    "soft_argmax": SoftArgmax,
    "soft_argmax_variance": SoftArgmaxVariance,
    "soft_argmax_js": SoftArgmaxJS,
    "discrete_expectation": DiscreteExpectation,
    "sampling_argmax": SamplingArgmax,
    "randomized_rounding": RandomizedRounding,
    "gaussian_heatmap": GaussianHeatmap,
    "log_score": LogScore,
    "energy_score": EnergyScore,
    "crps": Crps,
}


def make_localizer(name: str, grid: Support, **options: Any) -> Localizer:
    """A localizer by its name in `LOCALIZERS`, on a grid, with options; see the classes for their meaning.

    Args:
        name: soft_argmax, soft_argmax_variance, soft_argmax_js, discrete_expectation, sampling_argmax, randomized_rounding,
            gaussian_heatmap, log_score, energy_score or crps.
        grid: Where the cells lie: a Grid or Points. randomized_rounding and gaussian_heatmap need a Grid.
        options: The fields of the localizer's class. All take `readout` and `confidence_by`.

    Raises:
        TypeError: If grid is no support of this localizer.
        ValueError: If the name, an option or its value is unknown; names the nearest.

    >>> make_localizer("gaussian_heatmap", Grid((16, 12), stride=4), readout="dark", sigma_cells=1.5)
    make_localizer('gaussian_heatmap', Grid((16, 12), stride=4), readout={'name': 'dark', 'sigma_cells': 1.5}, sigma_cells=1.5)
    """
    if name not in LOCALIZERS:
        raise ValueError(unknown_name("make_localizer", "name", name, LOCALIZERS))
    known = [item.name for item in fields(LOCALIZERS[name])[1:]]
    for option in options:
        if option not in known:
            raise ValueError(unknown_name("make_localizer", f"an option of {name}", option, known))
    return LOCALIZERS[name](grid, **options)


def localizer_from_dict(values: Mapping[str, Any]) -> Localizer:
    """The inverse of `Localizer.to_dict`.

    Raises:
        ValueError: If "name" or "grid" is missing, or something is unknown.

    >>> localizer = make_localizer("log_score", Grid((16, 12), stride=4))
    >>> localizer_from_dict(localizer.to_dict()) == localizer
    True
    """
    missing = [key for key in ("name", "grid") if key not in values]
    if missing:
        rule = "hold the name and the grid of a localizer"
        raise ValueError(message("localizer_from_dict", "values", rule, f"no {' and no '.join(missing)}"))
    options = {key: value for key, value in values.items() if key not in ("name", "grid")}
    return make_localizer(values["name"], grid_from_dict(values["grid"]), **options)


def _grid(localizer: Localizer) -> Grid:
    if not isinstance(localizer.grid, Grid):
        raise AssertionError("checked when the localizer was made")
    return localizer.grid
