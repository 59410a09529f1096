"""What every localizer shares: the weighted loss, the located point, and how its options are checked and printed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from heatpoint._checks import broadcasts_to, check_tensor, message, one_of, value_checks_enabled
from heatpoint._distances import DISTANCES
from heatpoint._numerics import full_precision, promote
from heatpoint.basis import check_basis_on_points, make_basis
from heatpoint.confidence import CONFIDENCES, covariance
from heatpoint.localizers._options import (
    Named,
    check_numbers,
    default_of,
    grid_to_dict,
    json,
    named,
    plain_basis,
    plain_number,
    split,
)
from heatpoint.readout import READOUTS
from heatpoint.schedules import Constant, make_schedule
from heatpoint.scores import CENTERS, LABELS, MAP_ERRORS
from heatpoint.scores._inputs import BY_AXIS, fit_target
from heatpoint.support import Grid, Points, Support, check_grid, check_support

_CHOICES: dict[str, tuple[str, ...]] = {
    "center": CENTERS,
    "distance": DISTANCES,
    "label": LABELS,
    "kind": tuple(MAP_ERRORS),
    "formula": ("paper", "released"),
    "memory": ("normal", "low"),
    "unit": ("map", "input"),
    "noise": ("independent", "lattice", "image", "batch"),
}


class Located(NamedTuple):
    """What a localizer finds in maps (*batch, *grid.shape).

    Attributes:
        points: (*batch, D), in the grid's coordinates.
        confidence: (*batch); larger is surer.
        covariance: (*batch, D, D), of the map under the localizer's basis (uniform on a grid where it has none).
    """

    points: Tensor
    confidence: Tensor
    covariance: Tensor


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Localizer(ABC):
    """A score to train with, a readout and a confidence, under one name: all that a method adds to a network.

    Options are kept in plain form (numbers, names, dicts of a name and options), so that equal options are equal
    localizers, with equal hashes; points are compared by value and dtype. On a Grid `repr` is the `make_localizer` call. For
    another point cloud use ``dataclasses.replace(localizer, grid=Points(xyz))``.

    Args:
        grid: Where the cells lie.
        readout: Name in `heatpoint.readout.READOUTS`, or a dict of the name and the readout's options.
        confidence_by: Name in `heatpoint.confidence.CONFIDENCES`, or a dict of the name and its options.
    """

    name: ClassVar[str]
    on_points: ClassVar[bool] = True
    # Options that other localizers have and this one cannot have, with the reason.
    _refused: ClassVar[dict[str, str]] = {}

    grid: Support = field(kw_only=False)
    readout: Named = "soft_argmax"
    confidence_by: Named = "peak"

    def __post_init__(self) -> None:
        (check_support if self.on_points else check_grid)(self.name, self.grid)
        for item in fields(self)[1:]:
            value = self._plain(item.name, getattr(self, item.name))
            self._check(item, value)
            object.__setattr__(self, item.name, value)

    @abstractmethod
    def _score(self, logits: Tensor, target: Tensor, progress: float, generator: torch.Generator | None) -> Tensor: ...

    def _score_by_axis(
        self,
        logits: Tensor,
        target: Tensor,
        axis_weight: Tensor,
        progress: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        """The score with weights (*batch, D) of the coordinates, in the localizers whose error is a sum over them."""
        rule = f"hold one number per point, {tuple(axis_weight.shape[:-1])}: the loss is no sum over coordinates"
        remedy = "soft_argmax, its regularised forms, discrete_expectation and sampling_argmax take one per coordinate."
        raise ValueError(message(self.name, "weight", rule, tuple(axis_weight.shape), remedy))

    @property
    def weighs_axes(self) -> bool:
        """Whether `loss` takes a weight per coordinate: points whose depth is unknown can then be trained on in volumes."""
        by_axis = type(self)._score_by_axis is not Localizer._score_by_axis
        return by_axis and getattr(self, "distance", "l1") in BY_AXIS

    @full_precision
    def score(
        self, logits: Tensor, target: Tensor, *, progress: float = 0.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """The loss of each map, (*batch), unreduced. Arguments as in `loss`."""
        self._check_progress(progress)
        return self._score(logits, target, progress, generator)

    def _check_progress(self, progress: float) -> None:
        if not 0 <= progress <= 1:
            rule, remedy = "lie in [0, 1]", "It is the share of the training that is done."
            raise ValueError(message(self.name, "progress", rule, progress, remedy))

    @full_precision
    def loss(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        weight: Tensor | None = None,
        progress: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The weighted mean of the scores: Σ w · score / Σ w.

        With a weight per coordinate: Σ_n Σ_a w_na d(Δ_na) / Σ_n max_a w_na, so that points of which only x and y are known (w =
        1, 1, 0) give the loss of x and y alone, and no gradient along z. The published code divides by Σ_n Σ_a w_na / D, which
        differs by a factor. A regularizer, which needs no target, has the weight max_a w_na.

        Args:
            logits: (*batch, *grid.shape).
            target: (*batch, D), in the grid's coordinates. Where the weight is 0 it may be anything, NaN included.
            weight: Broadcasts to (*batch): numbers of at least 0, or whether the point is visible. None means 1. Or, in the
            localizers that `weighs_axes`, broadcasts to (*batch, D) with all its dimensions: one number per coordinate.
            progress: Share of the training that is done, in [0, 1]; drives the schedules.
            generator: Source of randomness.

        Returns:
            A scalar. Exactly 0, and still attached to the graph, where all weights are 0.

        Raises:
            ValueError: If the shapes disagree, progress lies outside [0, 1] or (HEATPOINT_CHECK=1) a weight is negative.
        """
        flat = self.grid.flatten(self.name, logits)
        batch = self._batch_of(flat)
        check_tensor(self.name, "target", target)
        target = fit_target(self.name, batch, self.grid, target, target.dtype).expand(*batch, -1)
        if weight is None:
            score = self.score(logits, target, progress=progress, generator=generator)
            return score.sum() / max(score.numel(), 1)
        by_axis = isinstance(weight, Tensor) and weight.ndim > len(batch) and weight.shape[-1] == self.grid.ndim
        weight = _fit_weight(self.name, weight, (*batch, self.grid.ndim) if by_axis else batch)
        counts = weight > 0
        # A target that does not count may be anything, and 0 times its score must still be 0, in the gradient too.
        target = torch.where(counts if by_axis else counts[..., None], target, self._center(target))
        if by_axis:
            self._check_progress(progress)
            total = weight.amax(dim=-1).sum()
            weighted = self._score_by_axis(logits, target, weight.to(promote(logits).dtype), progress, generator)
            weighted = torch.where(counts.any(dim=-1), weighted, 0.0)
        else:
            weighted = torch.where(counts, self.score(logits, target, progress=progress, generator=generator), 0.0)
            weighted, total = weighted * weight, weight.to(weighted.dtype).sum()
        return weighted.sum() / torch.where(total > 0, total, 1.0)

    @full_precision
    def locate(self, logits: Tensor) -> Located:
        """The points of maps (*batch, *grid.shape), how sure they are, and their covariance."""
        logits = self._read(logits)
        points = self._points(logits)
        return Located(points, self._confidence(logits, points), self._covariance(logits))

    @full_precision
    def confidence(self, logits: Tensor) -> Tensor:
        """How sure maps (*batch, *grid.shape) are, (*batch); larger is surer."""
        logits = self._read(logits)
        return self._confidence(logits, self._points(logits))

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, fit for JSON, from which `localizer_from_dict` makes an equal localizer."""
        return {"name": self.name, "grid": grid_to_dict(self.grid), **{k: json(v) for k, v in self._options().items()}}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Localizer) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        default = {item.name: self._plain(item.name, default_of(item)) for item in fields(self)[1:]}
        given = [f", {k}={v!r}" for k, v in self._options().items() if v != default[k]]
        return f"make_localizer({self.name!r}, {self.grid!r}{''.join(given)})"

    def _options(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self)[1:]}

    def _plain(self, option: str, value: Any) -> Any:
        """The one plain form of an option's value."""
        if option == "readout":
            cells = self.grid.num_cells
            fallback = {"k": min(9, cells), "sigma_cells": getattr(self, "sigma_cells", 2.0)}
            return named(self.name, option, value, READOUTS, fallback)
        if option == "confidence_by":
            return named(self.name, option, value, CONFIDENCES, {"basis": plain_basis(self._map_basis())})
        if option == "basis":
            return plain_basis(value)
        if option == "temperature":
            schedule = make_schedule(value)
            return schedule.temperature if isinstance(schedule, Constant) else schedule.to_dict()
        return plain_number(tuple(value) if isinstance(value, list) else value)

    def _check(self, item: Field[Any], value: Any) -> None:
        """Raises for an option's value that no score would take, before training starts."""
        if item.name in _CHOICES:
            one_of(self.name, item.name, value, _CHOICES[item.name])
        if isinstance(self.grid, Points):
            on_points = {"basis": value, "confidence_by": value.get("basis") if isinstance(value, dict) else None}
            if on_points.get(item.name) is not None:
                check_basis_on_points(self.name, make_basis(on_points[item.name]))
        if isinstance(item.default, bool) and not isinstance(value, bool):
            raise TypeError(message(self.name, item.name, "be True or False", repr(value)))
        if "minimum" in item.metadata and value is not None:
            check_numbers(self.name, item.name, value, **item.metadata)

    def _temperature(self, progress: float) -> float:
        return make_schedule(getattr(self, "temperature", 1.0))(progress)

    def _map_basis(self) -> Any:
        """The basis by which a map is read as a density: the score's own, or else uniform on a grid."""
        basis = getattr(self, "basis", None)
        return "uniform" if basis is None and isinstance(self.grid, Grid) else basis

    def _batch_of(self, flat: Tensor) -> tuple[int, ...]:
        """The batch of flattened maps: one point for each."""
        return tuple(flat.shape[:-1])

    def _read(self, logits: Tensor) -> Tensor:
        """The maps that are read, (*batch, *grid.shape), among those that the network emits."""
        return logits

    def _map_logits(self, logits: Tensor) -> Tensor:
        """The logits whose softmax is the map as a distribution."""
        return logits

    def _points(self, logits: Tensor) -> Tensor:
        name, options = split(self.readout)
        return READOUTS[name](logits, self.grid, **options)

    def _confidence(self, logits: Tensor, points: Tensor) -> Tensor:
        name, options = split(self.confidence_by)
        logits = self._map_logits(logits)
        arguments = (logits, self.grid, points) if name == "mass_within" else (logits, self.grid)
        return CONFIDENCES[name](*arguments, **options)

    def _covariance(self, logits: Tensor) -> Tensor:
        return covariance(self._map_logits(logits), self.grid, basis=self._map_basis())

    def _center(self, like: Tensor) -> Tensor:
        """A point of the support where every score is finite for a finite map, (D,) or (*batch, D)."""
        if isinstance(self.grid, Points):
            return self.grid.xyz[..., 0, :].to(like)
        return self.grid.to_points(torch.tensor([float(n // 2) for n in self.grid.lengths]).to(like))


def _fit_weight(function: str, weight: Tensor, batch: tuple[int, ...]) -> Tensor:
    check_tensor(function, "weight", weight)
    if not broadcasts_to(weight.shape, batch):
        remedy = "One weight per point, or one per coordinate with all dimensions written out."
        raise ValueError(message(function, "weight", f"broadcast to the batch {batch}", tuple(weight.shape), remedy))
    if value_checks_enabled() and not bool((weight >= 0).all()):
        raise ValueError(message(function, "weight", "be at least 0", float(weight.min())))
    return weight.expand(batch)
