"""What a localizer costs in a training step of the small network: all rows interleaved in one process, as ratios.

    OMP_NUM_THREADS=1 python benchmarks/step_time.py

One step is forward, loss, backward and Adam on a fixed batch of 32 images at 64 pixels with 68 points. docs/results.md holds its
output.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from faces300w_small import ROWS, recipe_of, table

from heatpoint.localizers import make_localizer
from heatpoint.training.weights import build_model

ROUNDS = 25


def step_of(row: str) -> Callable[[], None]:
    """A training step of one row, with its own network and optimiser."""
    recipe = recipe_of(row, 0)
    torch.manual_seed(0)
    model, grid = build_model(recipe, 68)
    localizer = make_localizer(recipe.localizer, grid, **recipe.localizer_options)
    optimizer = torch.optim.Adam(model.parameters())
    images, points = torch.rand(32, 3, 64, 64), 63 * torch.rand(32, 68, 2)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        optimizer.zero_grad()
        localizer.loss(model(images), points, progress=0.5, generator=generator).backward()
        optimizer.step()

    return step


def main() -> None:
    """Runs the command."""
    steps = {row: step_of(row) for row in ROWS}
    seconds: dict[str, list[float]] = {row: [] for row in ROWS}
    for number in range(ROUNDS + 2):
        for row, step in steps.items():
            began = time.perf_counter()
            step()
            if number >= 2:
                seconds[row].append(time.perf_counter() - began)
    base = seconds["soft_argmax"]
    lines = []
    for row, values in seconds.items():
        ratios = sorted(value / one for value, one in zip(values, base, strict=True))
        quarter = statistics.quantiles(ratios, n=4)
        milliseconds = f"{1000 * statistics.median(values):.0f}"
        lines.append([row, milliseconds, f"{quarter[1]:.2f}", f"{quarter[0]:.2f} to {quarter[2]:.2f}"])
    print(table(["training", "ms / step, median", "ratio to soft_argmax, median", "middle half"], lines))


if __name__ == "__main__":
    main()
