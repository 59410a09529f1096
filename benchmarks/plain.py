"""The formulas as anybody would write them in torch: what every other form is measured against.

They are right where the benchmarks use them: no peak lies within two cells of the border, no cell is forbidden.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from heatpoint.rounding import activation_probabilities
from heatpoint.support import Grid


def sampling_error(
    logits: Tensor, centers: Tensor, target: Tensor, samples: int, temperature: float, scale: Tensor, *, is_normal: bool
) -> Tensor:
    """Sampling-argmax with one offset per cell and axis, triangular or normal: the mean L1 distance of samples, (*batch).

    Args:
        logits: (*batch, cells).
        centers: (cells, D).
        target: (*batch, D).
        samples: S.
        temperature: τ.
        scale: Of the offsets, (D,).
        is_normal: Whether offsets are normal rather than triangular.
    """
    gumbel = -torch.log(-torch.log(torch.rand(samples, *logits.shape)))
    weights = torch.softmax((logits.log_softmax(dim=-1) + gumbel) / temperature, dim=-1)
    coordinates = []
    for axis in range(centers.shape[-1]):
        if is_normal:
            offset = torch.randn(weights.shape)
        else:
            uniform = 2 * torch.rand(weights.shape) - 1
            offset = uniform.sign() * (1 - torch.sqrt(1 - uniform.abs()))
        coordinates.append((weights * (centers[:, axis] + scale[axis] * offset)).sum(dim=-1))
    return (torch.stack(coordinates, dim=-1) - target).abs().sum(dim=-1).mean(dim=0)


def cells(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Flat maps and the (x, y) of their largest cells."""
    flat, width = maps.flatten(1), maps.shape[-1]
    index = flat.max(dim=-1).indices
    return flat, torch.stack([index % width, index // width], dim=-1)


def top_k(maps: Tensor, k: int) -> Tensor:
    """Softmax-weighted mean of the k largest cells, by torch.topk."""
    values, index = maps.flatten(1).topk(k, dim=-1)
    places = torch.stack([index % maps.shape[-1], index // maps.shape[-1]], dim=-1)
    return (values.softmax(dim=-1).unsqueeze(-1) * places).sum(dim=-2)


def window(maps: Tensor) -> Tensor:
    """Mean of the 3 x 3 cells around the largest, weighed over whole maps."""
    flat, peak = cells(maps)
    height, width = maps.shape[-2:]
    is_near_x = (torch.arange(width) - peak[:, :1]).abs() <= 1
    is_near_y = (torch.arange(height) - peak[:, 1:]).abs() <= 1
    mask = is_near_y.unsqueeze(-1) & is_near_x.unsqueeze(-2)
    weights = flat.masked_fill(~mask.flatten(1), -torch.inf).softmax(dim=-1).view_as(maps)
    x, y = weights.sum(dim=-2) @ torch.arange(width).float(), weights.sum(dim=-1) @ torch.arange(height).float()
    return torch.stack([x, y], dim=-1)


def quarter_shift(maps: Tensor) -> Tensor:
    """The largest cell, moved by a quarter towards the larger neighbour."""
    flat, peak = cells(maps)
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


def dark(maps: Tensor, taps: int) -> Tensor:
    """DARK as published, on whole maps in one or two dimensions, with a blur of so many taps."""
    spread = 0.3 * (taps // 2 - 1) + 0.8
    weights = torch.exp(-0.5 * ((torch.arange(taps) - taps // 2) / spread) ** 2)
    soft = blurred(maps, weights / weights.sum())
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


def soft_argmax(maps: Tensor) -> Tensor:
    """The softmax, multiplied by each coordinate of every cell."""
    return expectation(maps.flatten(1).softmax(dim=-1).view_as(maps))


def expectation(weights: Tensor) -> Tensor:
    """Normalised maps, multiplied by each coordinate of every cell."""
    y, x = torch.meshgrid(*(torch.arange(float(n)) for n in weights.shape[1:]), indexing="ij")
    return torch.stack([(weights * x).sum(dim=(-2, -1)), (weights * y).sum(dim=(-2, -1))], dim=-1)


def gaussian(points: Tensor, shape: tuple[int, ...], sigma: float) -> Tensor:
    """The exponential of every cell's squared distance, (number, H, W)."""
    y, x = torch.arange(float(shape[0])).unsqueeze(-1), torch.arange(float(shape[1]))
    c = points[..., None, None]
    return torch.exp(-((x - c[:, 0]) ** 2 + (y - c[:, 1]) ** 2) / (2 * sigma**2))


def label_loss(maps: Tensor, points: Tensor, grid: Grid, label: str, generator: torch.Generator | None) -> Tensor:
    """Cross-entropy against label maps."""
    flat = maps.flatten(1)
    if label == "expected":
        labels = activation_probabilities(points, grid).flatten(1)
    else:
        places = (points + torch.rand(points.shape, generator=generator)).floor().long()
        labels = functional.one_hot(places[:, 1] * maps.shape[-1] + places[:, 0], flat.shape[-1]).to(flat.dtype)
    return -(labels * flat.log_softmax(dim=-1)).sum(dim=-1)


def map_loss(maps: Tensor, points: Tensor, sigma: float) -> Tensor:
    """The mean squared difference from Gaussian maps."""
    return (maps - gaussian(points, tuple(maps.shape[1:]), sigma)).square().mean(dim=(-2, -1))


def dsnt_loss(maps: Tensor, points: Tensor, sigma: float) -> Tensor:
    """The distance of the expectation, and the Jensen-Shannon divergence from a Gaussian around the target."""
    p = maps.flatten(1).softmax(dim=-1)
    q = gaussian(points, tuple(maps.shape[1:]), sigma).flatten(1)
    q = q / q.sum(dim=-1, keepdim=True)
    m = ((p + q) / 2 + 1e-24).log()
    divergence = 0.5 * (p * ((p + 1e-24).log() - m) + q * ((q + 1e-24).log() - m)).sum(dim=-1)
    return (expectation(p.view_as(maps)) - points).norm(dim=-1) + divergence
