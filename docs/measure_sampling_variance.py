"""Measures how much of a map's variance the samples of sampling-argmax keep, by formula and temperature.

python docs/measure_sampling_variance.py
"""

from __future__ import annotations

import argparse
import math

import torch

from heatpoint.sampling import Formula, sampling_argmax
from heatpoint.support import Grid

TEMPERATURES = (2.0, 1.0, 0.5, 0.1)
COLUMNS: tuple[tuple[Formula, str | None], ...] = (
    ("paper", None),
    ("released", None),
    ("paper", "triangular"),
    ("released", "triangular"),
)


def share_of_variance(
    formula: Formula, basis: str | None, temperature: float, *, num_samples: int, seed: int = 0
) -> tuple[float, float]:
    """Variance of the samples over the map's, summed over both axes, and its standard error.

    The map is a Gaussian with a standard deviation of 2 cells, off the cell centres, on 64 x 48 cells.
    """
    grid = Grid((64, 48), offset=0)
    center = torch.tensor([23.3, 31.6], dtype=torch.float64)
    logits = -(grid.cell_centers(dtype=torch.float64) - center).square().sum(dim=-1) / 8
    weights = logits.flatten().softmax(-1)
    centers = grid.cell_centers(dtype=torch.float64).flatten(0, 1)
    variance = (weights @ centers.square() - (weights @ centers).square()).sum()
    samples = sampling_argmax(
        logits,
        grid,
        basis=basis,
        num_samples=num_samples,
        temperature=temperature,
        formula=formula,
        generator=torch.Generator().manual_seed(seed),
    )
    squares = (samples - samples.mean(dim=0)).square().sum(dim=-1) / variance
    return float(squares.mean()), float(squares.std()) / math.sqrt(num_samples)


def main() -> None:
    """Prints the table of docs/sampling.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-samples", type=int, default=20_000)
    num_samples = parser.parse_args().num_samples
    print("| temperature | " + " | ".join(f"{formula}, {basis or 'no basis'}" for formula, basis in COLUMNS) + " |")
    print("|---" * (1 + len(COLUMNS)) + "|")
    for temperature in TEMPERATURES:
        cells = [
            "{:.4f} ± {:.4f}".format(*share_of_variance(formula, basis, temperature, num_samples=num_samples))
            for formula, basis in COLUMNS
        ]
        print(f"| {temperature:g} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
