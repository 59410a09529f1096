"""What a localizer costs in a training step of the small network: all rows interleaved in one process, as ratios.

    OMP_NUM_THREADS=1 python benchmarks/step_time.py

One step is forward, loss, backward and Adam on a fixed batch of 32 images at 64 pixels with 68 points. docs/results.md holds its
output.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that this file runs by its path too

from benchmarks.faces300w_small import ROWS, recipe_of
from benchmarks.markdown import middle_half, table
from benchmarks.measure import interleaved, ratio
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
    seconds = interleaved({row: step_of(row) for row in ROWS}, rounds=ROUNDS)
    lines = []
    for row, values in seconds.items():
        spread = ratio(values, seconds["soft_argmax"])
        lines.append([row, f"{1000 * statistics.median(values):.0f}", *middle_half(spread, 2)])
    print(table(["training", "ms / step, median", "ratio to soft_argmax, median", "middle half"], lines))


if __name__ == "__main__":
    main()
