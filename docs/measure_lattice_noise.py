"""What a lattice over the samples does to the variance of gradients, and to their cost: the table in docs/sampling.md.

    python docs/measure_lattice_noise.py

Maps of 64 x 48 cells are Gaussians with a standard deviation of 2 cells, added to which is a normal number of 1 for each cell.
The variance is that of a map's gradient, summed over its cells, and of its loss, over repeated draws; shown are the ratios of
independent draws to lattices. Times are those of loss and gradient of 544 such maps, on one thread.
"""

from __future__ import annotations

import statistics
import time
from typing import Literal, get_args

import torch
from torch import Tensor

from heatpoint import Grid
from heatpoint.scores import expected_error

GRID = Grid((64, 48))
Sharing = Literal["independent", "lattice"]
MAPS, WIDTH, REPEATS = 8, 2.0, 400


def maps() -> tuple[Tensor, Tensor]:
    """Logits (maps, 64, 48), and targets within two cells of the peaks."""
    generator = torch.Generator().manual_seed(1)
    peak = 6 + torch.rand(MAPS, 2, generator=generator) * (torch.tensor([48.0, 64.0]) - 12)
    target = peak + 4 * torch.rand(MAPS, 2, generator=generator) - 2
    centers = GRID.to_cells(GRID.cell_centers())
    square = ((centers - peak[:, None, None]) ** 2).sum(dim=-1)
    return -square / (2 * WIDTH**2) + torch.randn(MAPS, *GRID.shape, generator=generator), target


def loss_and_gradient(
    logits: Tensor, target: Tensor, noise: Sharing, temperature: float, num_samples: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Losses (maps) and their gradients."""
    logits = logits.detach().requires_grad_()
    loss = expected_error(
        logits, GRID, target, num_samples=num_samples, temperature=temperature, noise=noise, generator=generator
    )
    return loss.detach(), torch.autograd.grad(loss.sum(), logits)[0]


def variance(
    logits: Tensor, target: Tensor, noise: Sharing, temperature: float, num_samples: int
) -> tuple[float, float]:
    """Variance of the gradient, summed over cells and maps, and of the loss, over repeated draws."""
    generator = torch.Generator().manual_seed(7)
    total, square, losses = torch.zeros(logits.shape).double(), torch.zeros(logits.shape).double(), []
    for _ in range(REPEATS):
        loss, gradient = loss_and_gradient(logits, target, noise, temperature, num_samples, generator)
        total, square = total + gradient, square + gradient.double() ** 2
        losses.append(loss)
    spread = (square / REPEATS - (total / REPEATS) ** 2).sum()
    return float(spread), float(torch.stack(losses).var(dim=0).sum())


def seconds(noise: Sharing, temperature: float, num_samples: int) -> float:
    """Processor time of a step on 544 maps: the median of five."""
    logits, target = (tensor.repeat(68, *(1,) * (tensor.ndim - 1)) for tensor in maps())
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(6):
        begin = time.thread_time()
        loss_and_gradient(logits, target, noise, temperature, num_samples, generator)
        found.append(time.thread_time() - begin)
    return statistics.median(found[1:])


def main() -> None:
    """Prints the table."""
    torch.set_num_threads(1)
    logits, target = maps()
    print("| samples | temperature | variance of the gradient, divided by | of the loss | time, times independent |")
    print("|---|---|---|---|---|")
    for num_samples in (10, 11, 30, 31):
        for temperature in (2.0, 1.0, 0.5):
            alone, even = (variance(logits, target, noise, temperature, num_samples) for noise in get_args(Sharing))
            ratios = " | ".join(f"{a / b:.2f}" for a, b in zip(alone, even, strict=True))
            share = seconds("lattice", temperature, num_samples) / seconds("independent", temperature, num_samples)
            print(f"| {num_samples} | {temperature:g} | {ratios} | {share:.2f} |", flush=True)


if __name__ == "__main__":
    main()
