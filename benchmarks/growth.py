"""How our time grows with samples, cells, maps and dimensions: measured at four sizes or more, fitted as a power."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import exponent, interleaved
from benchmarks.operation import Size
from benchmarks.sampling import Task, forms_of
from heatpoint.readout import argmax, dark, quarter_shift, soft_argmax, top_k, window
from heatpoint.rounding import gaussian_map
from heatpoint.scores import rounded_cross_entropy
from heatpoint.support import Grid

SAMPLED = ("native", "native, noise per image", "gemm, noise per image", "torch form")
SIDES = (16, 32, 64, 128)
NUMBERS = (196, 392, 784, 1568, 3136)
Step = Callable[[], object]


def _with_gradient(loss: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def both(maps: Tensor) -> Tensor:
        leaf = maps.detach().requires_grad_()
        return torch.autograd.grad(loss(leaf).sum(), leaf)[0]

    return both


# Name -> a call on maps, their grid and points.
CALLS: dict[str, Callable[[Tensor, Grid, Tensor], object]] = {
    "argmax": lambda m, g, p: argmax(m, g),
    "window": lambda m, g, p: window(m, g),
    "top_k 9": lambda m, g, p: top_k(m, g, k=9),
    "quarter_shift": lambda m, g, p: quarter_shift(m, g),
    "dark": lambda m, g, p: dark(m, g, sigma_cells=2.0),
    "soft_argmax": lambda m, g, p: soft_argmax(m, g),
    "soft_argmax and gradient": lambda m, g, p: _with_gradient(lambda x: soft_argmax(x, g))(m),
    "gaussian_map": lambda m, g, p: gaussian_map(p, g, sigma_cells=2.0),
    "cross-entropy and gradient": lambda m, g, p: _with_gradient(lambda x: rounded_cross_entropy(x, g, p))(m),
}


def sampled(size: Size) -> dict[str, dict[int, Task]]:
    """Quantity -> its value -> the maps to sample, all else equal."""
    is_full = size == "full"
    batch, shape = ((4, 17), (64, 48)) if is_full else ((1, 2), (6, 5))
    sides = SIDES if is_full else (4, 6, 8, 12)
    shapes = ((4096,), (64, 64), (16, 16, 16)) if is_full else ((64,), (8, 8), (4, 4, 4))
    return {
        "samples": {number: Task(batch, shape, number) for number in (10, 20, 40, 80, 160)[: 5 if is_full else 4]},
        "cells": {side**2: Task(batch, (side, side), 10) for side in sides},
        "maps": {number * batch[1]: Task((number, batch[1]), shape, 10) for number in (1, 2, 4, 8, 16)},
        "dimensions": {len(cells): Task(batch, cells, 10) for cells in shapes},
    }


def readouts(size: Size) -> dict[str, dict[int, tuple[int, tuple[int, int]]]]:
    """Quantity -> its value -> number and shape of maps."""
    if size != "full":
        return {
            "cells": {s * s: (4, (s, s)) for s in (16, 18, 20, 24)},
            "maps": {n: (n, (16, 17)) for n in (1, 2, 4, 8)},
        }
    return {
        "cells": {side**2: (NUMBERS[2], (side, side)) for side in SIDES},
        "maps": {number: (number, (64, 64)) for number in NUMBERS},
    }


def names() -> list[str]:
    """`growth NAME` of everything that grows."""
    return [f"growth {name}" for name in (*(f"sampling, {form}" for form in SAMPLED), *CALLS)]


def _steps(wanted: list[str], size: Size) -> Iterator[tuple[str, str, dict[int, Step]]]:
    """Operation, quantity, and a step for each size."""
    for form in SAMPLED:
        if f"growth sampling, {form}" not in wanted:
            continue
        for quantity, tasks in sampled(size).items():
            steps = {value: forms_of(task, 2.0, {})[0].get(form) for value, task in tasks.items()}
            if all(steps.values()):
                yield f"sampling, {form}", quantity, {value: step.run for value, step in steps.items() if step}
    for name, call in CALLS.items():
        if f"growth {name}" not in wanted:
            continue
        for quantity, sizes in readouts(size).items():
            yield name, quantity, {value: _call(call, *given) for value, given in sizes.items()}


def _call(call: Callable[[Tensor, Grid, Tensor], object], number: int, shape: tuple[int, int]) -> Step:
    grid = Grid(shape, offset=0)
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(number, 2, generator=generator) * (torch.tensor(grid.lengths) - 8) + 4
    maps = gaussian_map(points, grid, sigma_cells=2.0)
    return lambda: call(maps, grid, points)


def fits(wanted: list[str], size: Size, rounds: int) -> Iterator[dict[str, Any]]:
    """One record for each operation and quantity: sizes, median seconds, the exponent."""
    for operation, quantity, steps in _steps(wanted, size):
        found = interleaved({str(value): step for value, step in steps.items()}, rounds=rounds, seconds=10)
        medians = [statistics.median(values) for values in found.values()]
        fitted = exponent(list(steps), medians)
        if not math.isfinite(fitted):
            raise RuntimeError(f"no exponent for {operation} in {quantity}: {medians}")
        yield {
            "kind": "growth",
            "operation": operation,
            "quantity": quantity,
            "sizes": list(steps),
            "seconds": medians,
            "exponent": fitted,
        }
