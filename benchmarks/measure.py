"""Seconds of forms that take turns, their ratios, peak memory of a step, and the exponent of a growth."""

from __future__ import annotations

import ctypes
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LEAST_ROUNDS = 5


def timed(form: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that it takes, and its result."""
    start = time.perf_counter()
    result = form()
    return time.perf_counter() - start, result


def interleaved(
    forms: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    seconds: float = math.inf,
    keep: Callable[[str, Any], None] | None = None,
    before: Mapping[str, Callable[[], object]] | None = None,
    timer: Callable[[Callable[[], Any]], tuple[float, Any]] = timed,
) -> dict[str, list[float]]:
    """Seconds of every form in every round, all forms taking turns in one process.

    One round more is made first and not counted, and every other round goes backwards, so that no form always follows the same
    one. After `LEAST_ROUNDS` rounds none is begun once `seconds` have passed.

    Args:
        forms: Name -> what is timed.
        rounds: Rounds that count, at least 1.
        seconds: When to stop early.
        keep: Is given the name and the result of each run that counts, after its time is taken.
        before: Name -> what precedes each run of it, outside the time.
        timer: Runs a form: seconds, and its result.
    """
    found: dict[str, list[float]] = {name: [] for name in forms}
    began = time.perf_counter()
    for number in range(rounds + 1):
        if number > LEAST_ROUNDS and time.perf_counter() - began > seconds:
            break
        for name in list(forms)[:: 1 if number % 2 else -1]:
            if before and name in before:
                before[name]()
            taken, result = timer(forms[name])
            if number:
                found[name].append(taken)
                if keep is not None:
                    keep(name, result)
    return found


@dataclass(frozen=True)
class Spread:
    """A median and the middle half around it."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The quartiles of values, at least one."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Spread:
    """How many times longer they took than we did, round by round."""
    return Spread.of([a / b for a, b in zip(theirs, ours, strict=True)])


def peak_beyond(step: Callable[[], object]) -> int:
    """Bytes that a step needed at its peak beyond what the process held before it. Linux only.

    Pages of files that are there at its end are not counted: code of libraries that is read from them when it first runs.
    """
    # What was freed before stays with the process, and the step would be given it as if it cost nothing.
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    before = _status("VmRSS") - _status("RssFile")
    step()
    return _status("VmHWM") - _status("RssFile") - before


def _status(key: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(key))


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of the least-squares line through (log size, log value).

    >>> round(exponent([1, 2, 4, 8], [3, 12, 48, 192]), 6)
    2.0
    """
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in values]
    return statistics.linear_regression(x, y).slope
