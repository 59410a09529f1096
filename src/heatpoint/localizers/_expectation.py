"""Localizers trained by the distance from a map's mean, or from its draws, to the target."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from heatpoint import scores
from heatpoint._distances import Distance
from heatpoint.localizers._base import Localizer
from heatpoint.localizers._options import Named
from heatpoint.regularizers import jensen_shannon_regularizer, variance_regularizer

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
