"""Temperature schedules: how much noise the samples carry as training goes on, as plain functions of progress in [0, 1]."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from heatpoint._checks import message, unknown_name

# Progress is a quotient, so an epoch's exact beginning may arrive a rounding error early or late.
_EPOCH_TOLERANCE = 1e-6


class Schedule(ABC):
    """A temperature, greater than 0, for every progress in [0, 1]."""

    def __call__(self, progress: float) -> float:
        """The temperature at `progress`, the share of training that is done.

        Raises:
            ValueError: If progress lies outside [0, 1].
        """
        if not 0 <= progress <= 1:
            remedy = "It is the share of training that is done."
            raise ValueError(message(type(self).__name__, "progress", "lie in [0, 1]", progress, remedy))
        return float(self._at(progress))

    def to_dict(self) -> dict[str, Any]:
        """A plain dict from which `make_schedule` makes the same schedule.

        >>> Linear(2.0, 0.5).to_dict()
        {'name': 'linear', 'start': 2.0, 'end': 0.5}
        """
        name = next(name for name, kind in SCHEDULES.items() if type(self) is kind)
        return {"name": name, **vars(self)}

    @abstractmethod
    def _at(self, progress: float) -> float: ...


@dataclass(frozen=True)
class Constant(Schedule):
    """τ(p) = temperature.

    >>> Constant(2.0)(0.7)
    2.0
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_temperatures(self, self.temperature)

    def _at(self, progress: float) -> float:
        return self.temperature


@dataclass(frozen=True)
class Linear(Schedule):
    """τ(p) = start + (end − start) p.

    >>> Linear(2.0, 0.5)(0.5)
    1.25
    """

    start: float = 2.0
    end: float = 0.5

    def __post_init__(self) -> None:
        _check_temperatures(self, self.start, self.end)

    def _at(self, progress: float) -> float:
        return (1 - progress) * self.start + progress * self.end


@dataclass(frozen=True)
class Exponential(Schedule):
    """τ(p) = start · (end / start)^p: the same factor in every stretch of training.

    >>> round(Exponential(2.0, 0.5)(0.5), 12)
    1.0
    """

    start: float = 2.0
    end: float = 0.5

    def __post_init__(self) -> None:
        _check_temperatures(self, self.start, self.end)

    def _at(self, progress: float) -> float:
        return self.start ** (1 - progress) * self.end**progress


@dataclass(frozen=True)
class Released2D(Schedule):
    """The published 2D code: τ = max(½, 2 − 3e/50) in epoch e = ⌊p · num_epochs⌋.

    It falls to ½ in 25 epochs whatever the length of training. The published code divides only the noise by it (the formula
    "released" of `sampling_argmax`), so there the noise grows as training goes on.

    >>> Released2D()(10 / 140), Released2D()(1.0)
    (1.4, 0.5)
    """

    num_epochs: int = 140

    def __post_init__(self) -> None:
        _check_epochs(self, self.num_epochs)

    def _at(self, progress: float) -> float:
        epoch = math.floor(progress * self.num_epochs + _EPOCH_TOLERANCE)
        return max(0.5, 2 - 3 * epoch / 50)


@dataclass(frozen=True)
class Released3D(Schedule):
    """The published 3D code: τ = max(½, 5 − e/50), computed after it is used, so it comes one training step late.

    The very first step (p = 0) uses 2; the first step of epoch e (p = e / num_epochs exactly) still uses the value of epoch
    e − 1; all others that of their own epoch. In 140 epochs it falls from 5 to 2.22 only.

    >>> Released3D()(0.0), Released3D()(0.001), Released3D()(1.0)
    (2.0, 5.0, 2.22)
    """

    num_epochs: int = 140

    def __post_init__(self) -> None:
        _check_epochs(self, self.num_epochs)

    def _at(self, progress: float) -> float:
        if progress == 0:
            return 2.0
        epoch_before = max(0, math.ceil(progress * self.num_epochs - _EPOCH_TOLERANCE) - 1)
        return max(0.5, 5 - epoch_before / 50)


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "linear": Linear,
    "exponential": Exponential,
    "released_2d": Released2D,
    "released_3d": Released3D,
}


def make_schedule(schedule: float | str | Mapping[str, Any] | Schedule) -> Schedule:
    """Makes a temperature schedule from a number, a name, a dict as `to_dict` gives it, or a schedule.

    Args:
        schedule: A number (constant temperature); one of the names in `SCHEDULES`, with that schedule's defaults; a dict
            with "name" and the schedule's fields; or a schedule, which is returned as it is.

    Returns:
        A schedule: call it with progress in [0, 1] and it gives a temperature greater than 0.

    Raises:
        TypeError: If it is none of these.
        ValueError: If the name or a field is unknown, or a value is out of range.

    >>> make_schedule(0.5)
    Constant(temperature=0.5)
    >>> make_schedule({"name": "linear", "start": 2.0, "end": 1.0})
    Linear(start=2.0, end=1.0)
    """
    _check_type(schedule)
    if isinstance(schedule, Schedule):
        return schedule
    if isinstance(schedule, int | float):
        return Constant(float(schedule))
    options = {"name": schedule} if isinstance(schedule, str) else dict(schedule)
    name = options.pop("name", None)
    if name not in SCHEDULES:
        raise ValueError(unknown_name("make_schedule", "name", name, SCHEDULES))
    kind: Any = SCHEDULES[name]
    known = [field.name for field in fields(kind)]
    for option in options:
        if option not in known:
            raise ValueError(unknown_name("make_schedule", f"option of {name}", option, known))
    made: Schedule = kind(**options)
    return made


def _check_type(schedule: object) -> None:
    if not isinstance(schedule, int | float | str | Mapping | Schedule):
        rule = "be a number, a name, a dict or a schedule"
        raise TypeError(message("make_schedule", "schedule", rule, type(schedule).__name__))


def _check_temperatures(schedule: Schedule, *temperatures: float) -> None:
    for value in temperatures:
        if not (isinstance(value, int | float) and 0 < value < math.inf):
            rule = "be a finite number greater than 0"
            raise ValueError(message(type(schedule).__name__, "temperature", rule, value))


def _check_epochs(schedule: Schedule, num_epochs: int) -> None:
    if not (isinstance(num_epochs, int) and num_epochs >= 1):
        rule = "be a whole number of at least 1"
        raise ValueError(message(type(schedule).__name__, "num_epochs", rule, num_epochs))
