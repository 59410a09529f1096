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


PEAK_TEMPERATURES = (5.0, 2.0, 1.0, 0.5, 0.1)


def of_a_peak(formula: Formula, temperature: float, *, num_samples: int, seed: int = 0) -> tuple[float, float, float]:
    """Mean l1 error of the samples, its standard error, and the samples' variance over both axes, in cells.

    The map is a spike of logit 12 in the corner of 9 x 9 cells; the target lies on it.
    """
    logits = torch.zeros(9, 9, dtype=torch.float64)
    logits[0, 0] = 12.0
    samples = sampling_argmax(
        logits,
        Grid((9, 9), offset=0),
        basis=None,
        num_samples=num_samples,
        temperature=temperature,
        formula=formula,
        generator=torch.Generator().manual_seed(seed),
    )
    errors = samples.abs().sum(dim=-1)
    return float(errors.mean()), float(errors.std()) / math.sqrt(num_samples), float(samples.var(dim=0).sum())


def main() -> None:
    """Prints the tables of docs/sampling.md."""
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
    print("\n| temperature | paper, error | paper, variance | released, error | released, variance |")
    print("|---" * 5 + "|")
    for temperature in PEAK_TEMPERATURES:
        cells = []
        for formula in ("paper", "released"):
            error, spread, variance = of_a_peak(formula, temperature, num_samples=num_samples)
            cells.append(f"{error:.4f} ± {spread:.4f} | {variance:.4f}")
        print(f"| {temperature:g} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
