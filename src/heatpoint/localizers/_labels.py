"""Localizers trained against a target map: a randomly rounded label, or a Gaussian."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from heatpoint import scores
from heatpoint._checks import message
from heatpoint._numerics import promote
from heatpoint.localizers._base import Localizer
from heatpoint.localizers._options import Named
from heatpoint.support import Grid


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class RandomizedRounding(Localizer):
    """Cross-entropy over space against a randomly rounded target (Randomized Rounding, Eq. 7, 15), read by the top k (Eq. 20).

    With ``label="round", readout="argmax"`` it is the paper's baseline: heatmap regression with a vanilla quantization system.

    With ``channels=2`` it takes maps (*batch, 2, *grid.shape), "not here" and "here", as the published head emits them: trained
    by `scores.two_channel_cross_entropy`; read, as published, from the logits of "here" alone.
    """

    name: ClassVar[str] = "randomized_rounding"
    on_points: ClassVar[bool] = False
    label: scores.Label = "random"
    channels: int = field(default=1, metadata={"minimum": 1, "whole": True})
    readout: Named = "top_k"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels > 2:
            raise ValueError(message(self.name, "channels", "be 1 or 2", self.channels))

    def _score(self, logits: Tensor, target: Tensor, progress: float, generator: torch.Generator | None) -> Tensor:
        score = scores.rounded_cross_entropy if self.channels == 1 else scores.two_channel_cross_entropy
        return score(logits, _grid(self), target, label=self.label, generator=generator)

    def _batch_of(self, flat: Tensor) -> tuple[int, ...]:
        if self.channels == 1:
            return super()._batch_of(flat)
        self._check_channels(flat.shape)
        return tuple(flat.shape[:-2])

    def _read(self, logits: Tensor) -> Tensor:
        if self.channels == 1:
            return logits
        flat = self.grid.flatten(self.name, logits)
        self._check_channels(flat.shape)
        return self.grid.unflatten(flat[..., 1, :])

    def _check_channels(self, shape: torch.Size) -> None:
        if len(shape) < 2 or shape[-2] != 2:
            rule = "be (*batch, 2, *grid.shape) with channels=2"
            remedy = "Make the network with channels_per_point=2."
            raise ValueError(message(self.name, "logits", rule, f"{tuple(shape)} with its cells in a row", remedy))


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class GaussianHeatmap(Localizer):
    """Regression of a Gaussian map of height 1 (Randomized Rounding, Eq. 3 and 6), read by "shift a quarter" or any readout.

    Its maps are values, not logits. The confidence "peak" is the largest value; other confidences, and the covariance, read
    the positive part of the map as a distribution (uniform where nothing is positive).

    ``center="random", radius_sigmas=3, readout={"name": "top_k", "k": 11, "weighting": "logits"}`` is what the paper trains and
    reads on poses (Appendix B); `sigma_cells` 0 is the binary map of its Table 9. See `scores.map_error`.
    """

    name: ClassVar[str] = "gaussian_heatmap"
    on_points: ClassVar[bool] = False
    kind: scores.MapError = "mse"
    sigma_cells: float = field(default=2.0, metadata={"minimum": 0})
    radius_sigmas: float | None = field(default=None, metadata={"minimum": 0, "exclusive": True})
    center: scores.Center = "exact"
    readout: Named = "quarter_shift"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigma_cells == 0 and self.center == "exact":
            remedy = 'The binary map is that of a cell: choose one with center="random".'
            raise ValueError(message(self.name, "sigma_cells", 'be greater than 0 with center="exact"', 0, remedy))

    def _score(self, logits: Tensor, target: Tensor, progress: float, generator: torch.Generator | None) -> Tensor:
        return scores.map_error(
            logits,
            _grid(self),
            target,
            kind=self.kind,
            sigma_cells=self.sigma_cells,
            radius_sigmas=self.radius_sigmas,
            center=self.center,
            generator=generator,
        )

    def _map_logits(self, logits: Tensor) -> Tensor:
        flat = promote(self.grid.flatten(self.name, logits))
        flat = torch.where((flat > 0).any(dim=-1, keepdim=True), flat, 1.0)
        positive = flat > 0
        return self.grid.unflatten(torch.where(positive, torch.where(positive, flat, 1.0).log(), -torch.inf))

    def _confidence(self, logits: Tensor, points: Tensor) -> Tensor:
        if self.confidence_by == "peak":
            return promote(self.grid.flatten(self.name, logits)).amax(dim=-1)
        return super()._confidence(logits, points)


def _grid(localizer: Localizer) -> Grid:
    if not isinstance(localizer.grid, Grid):
        raise AssertionError("checked when the localizer was made")
    return localizer.grid
