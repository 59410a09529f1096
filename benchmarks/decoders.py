"""Readouts and targets against the same operations written plainly in torch: interleaved in one process, as ratios.

    OMP_NUM_THREADS=1 python benchmarks/decoders.py
    OMP_NUM_THREADS=1 python benchmarks/decoders.py --maps 544 --rounds 9 --only top_k

A ratio is the plain form's time over ours, of neighbours in time; above 1 ours is faster. The plain forms, written here, are
torch.topk and torch.max over all cells, a blur of whole maps, weights of whole maps, dense Gaussians and label maps.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from heatpoint.readout import argmax, dark, quarter_shift, soft_argmax, top_k, window
from heatpoint.rounding import activation_probabilities, gaussian_map
from heatpoint.scores import rounded_cross_entropy
from heatpoint.support import Grid

Pair = tuple[Callable[[], object], Callable[[], object]]
SIGMA = 2.0


def peaked(grid: Grid, number: int, sigma: float = SIGMA) -> tuple[Tensor, Tensor]:
    """Gaussian maps (number, *shape) over a little noise, and where their peaks lie, at least 8 cells from the border."""
    generator = torch.Generator().manual_seed(0)
    cells = 8 + torch.rand(number, grid.ndim, generator=generator) * (torch.tensor(grid.lengths) - 17)
    points = grid.to_points(cells)
    maps = gaussian_map(points, grid, sigma_cells=sigma)
    return maps + 0.01 * torch.rand(maps.shape, generator=generator), points


def plain_cells(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Flat maps and the (x, y) of their largest cells."""
    flat, width = maps.flatten(1), maps.shape[-1]
    index = flat.max(dim=-1).indices
    return flat, torch.stack([index % width, index // width], dim=-1)


def plain_top_k(maps: Tensor, k: int) -> Tensor:
    """Softmax-weighted mean of the k largest cells, by torch.topk."""
    values, index = maps.flatten(1).topk(k, dim=-1)
    cells = torch.stack([index % maps.shape[-1], index // maps.shape[-1]], dim=-1)
    return (values.softmax(dim=-1).unsqueeze(-1) * cells).sum(dim=-2)


def plain_window(maps: Tensor) -> Tensor:
    """Mean of the 3 x 3 cells around the largest, weighed over whole maps."""
    flat, peak = plain_cells(maps)
    height, width = maps.shape[-2:]
    is_near_x = (torch.arange(width) - peak[:, :1]).abs() <= 1
    is_near_y = (torch.arange(height) - peak[:, 1:]).abs() <= 1
    mask = is_near_y.unsqueeze(-1) & is_near_x.unsqueeze(-2)
    weights = flat.masked_fill(~mask.flatten(1), -torch.inf).softmax(dim=-1).view_as(maps)
    x, y = weights.sum(dim=-2) @ torch.arange(width).float(), weights.sum(dim=-1) @ torch.arange(height).float()
    return torch.stack([x, y], dim=-1)


def plain_quarter(maps: Tensor) -> Tensor:
    """The largest cell, moved by a quarter towards the larger neighbour; no peak lies at the border."""
    flat, peak = plain_cells(maps)
    width = maps.shape[-1]
    index = (peak[:, 1] * width + peak[:, 0]).unsqueeze(-1)
    neighbours = flat.gather(-1, index + torch.tensor([1, -1, width, -width])).view(-1, 2, 2)
    return peak + 0.25 * (neighbours[..., 0] - neighbours[..., 1]).sign()


def blurred(maps: Tensor, taps: Tensor) -> Tensor:
    """Whole maps (number, *shape), blurred along every axis by products with banded matrices."""
    for dim in range(1, maps.ndim):
        length = maps.shape[dim]
        step = torch.arange(length) - torch.arange(length).unsqueeze(-1) + len(taps) // 2
        matrix = torch.where((step >= 0) & (step < len(taps)), taps[step.clamp(0, len(taps) - 1)], 0.0)
        maps = (maps.movedim(dim, -1) @ matrix).movedim(-1, dim)
    return maps


def plain_dark(maps: Tensor, sigma: float) -> Tensor:
    """DARK as published, on whole maps in one or two dimensions; no peak lies at the border."""
    size = 2 * round(2.5 * sigma) + 1
    spread = 0.3 * (size // 2 - 1) + 0.8
    taps = torch.exp(-0.5 * ((torch.arange(size) - size // 2) / spread) ** 2)
    soft = blurred(maps, taps / taps.sum())
    dims = tuple(range(1, maps.ndim))
    logs = (soft * maps.amax(dim=dims, keepdim=True) / soft.amax(dim=dims, keepdim=True)).clamp(min=1e-10).log()
    logs, width = logs.flatten(1), maps.shape[-1]
    index = maps.flatten(1).max(dim=-1).indices.unsqueeze(-1)

    def at(offset: int) -> Tensor:
        return logs.gather(-1, index + offset).squeeze(-1)

    if maps.ndim == 2:
        return index - ((at(1) - at(-1)) / 2 / ((at(2) - 2 * at(0) + at(-2)) / 4)).unsqueeze(-1)
    dx, dy = (at(1) - at(-1)) / 2, (at(width) - at(-width)) / 2
    dxx, dyy = (at(2) - 2 * at(0) + at(-2)) / 4, (at(2 * width) - 2 * at(0) + at(-2 * width)) / 4
    dxy = (at(width + 1) - at(width - 1) - at(1 - width) + at(-width - 1)) / 4
    step = torch.stack([dyy * dx - dxy * dy, dxx * dy - dxy * dx], dim=-1) / (dxx * dyy - dxy**2).unsqueeze(-1)
    return torch.cat([index % width, index // width], dim=-1) - step


def plain_soft_argmax(maps: Tensor) -> Tensor:
    """The softmax, multiplied by each coordinate of every cell."""
    weights = maps.flatten(1).softmax(dim=-1).view_as(maps)
    y, x = torch.meshgrid(*(torch.arange(float(n)) for n in maps.shape[1:]), indexing="ij")
    return torch.stack([(weights * x).sum(dim=(-2, -1)), (weights * y).sum(dim=(-2, -1))], dim=-1)


def plain_gaussian(points: Tensor, grid: Grid) -> Tensor:
    """The exponential of every cell's squared distance."""
    x, y = torch.arange(float(grid.lengths[0])), torch.arange(float(grid.lengths[1])).unsqueeze(-1)
    c = points[..., None, None]
    return torch.exp(-((x - c[:, 0]) ** 2 + (y - c[:, 1]) ** 2) / (2 * SIGMA**2))


def plain_label_loss(maps: Tensor, points: Tensor, grid: Grid, label: str) -> Tensor:
    """Cross-entropy against label maps."""
    flat = maps.flatten(1)
    if label == "expected":
        labels = activation_probabilities(points, grid).flatten(1)
    else:
        cells = (points + torch.rand_like(points)).floor().long()
        labels = functional.one_hot(cells[:, 1] * maps.shape[-1] + cells[:, 0], flat.shape[-1]).to(flat.dtype)
    return -(labels * flat.log_softmax(dim=-1)).sum(dim=-1)


def with_gradient(maps: Tensor, function: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
    """The function and the gradient of the sum of its results."""

    def both() -> Tensor:
        leaf = maps.detach().requires_grad_()
        return torch.autograd.grad(function(leaf).sum(), leaf)[0]

    return both


def pairs(number: int) -> dict[str, Pair]:
    """Name -> the plain form and ours, on the same maps."""
    square, tall, row = Grid((64, 64), offset=0), Grid((64, 48), offset=0), Grid((512,), offset=0)
    maps, points = peaked(square, number)
    fewer, _ = peaked(tall, number // 3)
    rows, _ = peaked(row, number // 3, sigma=6.0)
    found: dict[str, Pair] = {}
    for k in (9, 11):
        found[f"top_k, k={k}"] = (lambda k=k: plain_top_k(maps, k), lambda k=k: top_k(maps, square, k=k))
    found |= {
        "argmax": (lambda: plain_cells(maps)[1], lambda: argmax(maps, square)),
        "window": (lambda: plain_window(maps), lambda: window(maps, square)),
        "quarter_shift": (lambda: plain_quarter(maps), lambda: quarter_shift(maps, square)),
        "dark": (lambda: plain_dark(fewer, SIGMA), lambda: dark(fewer, tall, sigma_cells=SIGMA)),
        "argmax, 1D": (lambda: rows.max(dim=-1).indices.unsqueeze(-1), lambda: argmax(rows, row)),
        "dark, 1D": (lambda: plain_dark(rows, 6.0), lambda: dark(rows, row, sigma_cells=6.0)),
        "soft_argmax": (lambda: plain_soft_argmax(maps), lambda: soft_argmax(maps, square)),
        "soft_argmax and gradient": (
            with_gradient(maps, plain_soft_argmax),
            with_gradient(maps, lambda m: soft_argmax(m, square)),
        ),
        "gaussian_map": (
            lambda: plain_gaussian(points, square),
            lambda: gaussian_map(points, square, sigma_cells=SIGMA),
        ),
    }
    for label in ("random", "expected"):
        found[f"cross-entropy, {label} label, and gradient"] = (
            with_gradient(maps, lambda m, name=label: plain_label_loss(m, points, square, name)),
            with_gradient(maps, lambda m, name=label: rounded_cross_entropy(m, square, points, label=name)),
        )
    return found


def timed(function: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def difference(plain: object, ours: object) -> float:
    """The largest absolute difference between two results."""
    if not isinstance(plain, Tensor) or not isinstance(ours, Tensor):
        raise TypeError("both forms return a tensor")
    return float((plain - ours).abs().max())


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--maps", type=int, default=3136, help="maps of 64 x 64; a third of them for DARK and in 1D")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="only names that contain this")
    given = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {given.maps} maps")
    print(f"{'operation':42} {'plain ms':>9} {'ours ms':>9}  ratio (middle half)   largest difference")
    for name, (plain, ours) in pairs(given.maps).items():
        if given.only not in name:
            continue
        # A drawn label differs from draw to draw.
        apart = "drawn" if "random" in name else f"{difference(plain(), ours()):.1e}"
        times = [(timed(plain), timed(ours)) for _ in range(given.rounds + 2)][2:]
        first, middle, last = statistics.quantiles((a / b for a, b in times), n=4)
        medians = [1000 * statistics.median(column) for column in zip(*times, strict=True)]
        print(
            f"{name:42} {medians[0]:9.2f} {medians[1]:9.2f}  {middle:5.2f} ({first:.2f} to {last:.2f})   {apart}",
            flush=True,
        )


if __name__ == "__main__":
    main()
