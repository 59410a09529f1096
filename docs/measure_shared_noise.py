"""What sharing draws between the maps of an image does to the variance of gradients: the table in docs/sampling.md.

    python docs/measure_shared_noise.py

17 maps of 64 x 48 cells are Gaussians with a standard deviation of 2 cells. A network's weights feel the maps through what they
share, so what counts is the variance of sums over the maps: of the summed gradient, added up over all cells. Ratios are to
independent draws; the last column says the same of the loss.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from heatpoint import Grid
from heatpoint.scores import expected_error

GRID = Grid((64, 48))
MAPS, WIDTH, SAMPLES, REPEATS = 17, 2.0, 10, 400
Sharing = Literal["independent", "image"]


def maps(*, same: bool) -> tuple[Tensor, Tensor]:
    """Logits (1, maps, 64, 48), and targets within two cells of the peaks."""
    generator = torch.Generator().manual_seed(1)
    size = torch.tensor([48.0, 64.0])
    peak = 6 + torch.rand(1, 1 if same else MAPS, 2, generator=generator) * (size - 12)
    target = peak.expand(1, MAPS, 2) + 4 * torch.rand(1, MAPS, 2, generator=generator) - 2
    centers = GRID.to_cells(GRID.cell_centers())
    square = ((centers - peak[:, :, None, None]) ** 2).sum(dim=-1)
    return (-square / (2 * WIDTH**2)).expand(1, MAPS, *GRID.shape).contiguous(), target


def variances(logits: Tensor, target: Tensor, *, noise: Sharing, temperature: float) -> tuple[float, float]:
    """Total variance over cells of the summed gradient map, and variance of the loss, over repeated draws."""
    generator = torch.Generator().manual_seed(7)
    logits = logits.clone().requires_grad_()
    total, square, losses = torch.zeros(GRID.shape).double(), torch.zeros(GRID.shape).double(), []
    for _ in range(REPEATS):
        loss = expected_error(
            logits,
            GRID,
            target,
            num_samples=SAMPLES,
            temperature=temperature,
            noise=noise,
            generator=generator,
        ).sum()
        (gradient,) = torch.autograd.grad(loss, logits)
        summed = gradient.sum(dim=(0, 1)).double()
        total, square = total + summed, square + summed**2
        losses.append(loss.item())
    mean = total / REPEATS
    return float((square / REPEATS - mean**2).sum()), float(torch.tensor(losses).var())


def main() -> None:
    """Prints the table."""
    print("| peaks | temperature | summed gradient, variance ratio | loss, variance ratio |\n|---|---|---|---|")
    for same in (False, True):
        for temperature in (2.0, 1.0, 0.5):
            logits, target = maps(same=same)
            alone = variances(logits, target, noise="independent", temperature=temperature)
            shared = variances(logits, target, noise="image", temperature=temperature)
            ratios = " | ".join(f"{b / a:.2f}" for a, b in zip(alone, shared, strict=True))
            print(f"| {'the same' if same else 'different'} | {temperature:g} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
