"""Localizers trained by a proper score of the map as a density."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from heatpoint import scores
from heatpoint._checks import message
from heatpoint.localizers._base import Localizer
from heatpoint.localizers._options import Named
from heatpoint.support import Grid


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class LogScore(Localizer):
    """−log of the mixture density at the target: `scores.log_score`. Proper."""

    name: ClassVar[str] = "log_score"
    basis: Named = "triangular"
    truncate: bool = False

    def _score(self, logits: Tensor, target: Tensor, progress: float, generator: torch.Generator | None) -> Tensor:
        return scores.log_score(logits, self.grid, target, basis=self.basis, truncate=self.truncate)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class EnergyScore(Localizer):
    """E|Y − y| − ½ E|Y − Y'|: `scores.energy_score`, exact over the cells unless num_samples is given. Proper."""

    name: ClassVar[str] = "energy_score"
    basis: Named | None = None
    num_samples: int | None = field(default=None, metadata={"minimum": 2, "whole": True})
    temperature: Any = 0.5
    formula: Literal["paper", "released"] = "paper"
    sign_gradient: bool = False
    memory: Literal["normal", "low"] = "normal"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.basis is not None and self.num_samples is None and self.grid.ndim > 1:
            remedy = "Give num_samples, or basis=None for point masses on the cells."
            raise ValueError(message(self.name, "basis", "be None without num_samples beyond 1D", self.basis, remedy))
        if self.sign_gradient and self.num_samples is None:
            remedy = "The exact score has a gradient of its own; give num_samples to sample."
            raise ValueError(message(self.name, "sign_gradient", "be False without num_samples", True, remedy))

    def _score(self, logits: Tensor, target: Tensor, progress: float, generator: torch.Generator | None) -> Tensor:
        return scores.energy_score(
            logits,
            self.grid,
            target,
            basis=self.basis,
            num_samples=self.num_samples,
            temperature=self._temperature(progress),
            formula=self.formula,
            generator=generator,
            sign_gradient=self.sign_gradient,
            memory=self.memory,
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Crps(Localizer):
    """The exact CRPS of each marginal, summed over axes: `scores.crps`. Proper."""

    name: ClassVar[str] = "crps"
    basis: Named | None = "triangular"
    truncate: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.grid, Grid) and self.grid.cyclic:
            remedy = "A cumulative distribution needs a first cell; energy_score works on a circle."
            raise ValueError(message(self.name, "grid", "have no cyclic axis", self.grid, remedy))

    def _score(self, logits: Tensor, target: Tensor, progress: float, generator: torch.Generator | None) -> Tensor:
        return scores.crps(logits, self.grid, target, basis=self.basis, truncate=self.truncate)
