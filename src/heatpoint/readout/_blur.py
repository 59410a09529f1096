"""The blur of DARK: the taps of OpenCV, over whole maps and over the rows of a patch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heatpoint.support import Grid

# OpenCV does not compute these kernels but holds them, in 1/256.
_SHORT_KERNELS = {
    1: (256,),
    3: (64, 128, 64),
    5: (16, 64, 96, 64, 16),
    7: (8, 28, 56, 72, 56, 28, 8),
    9: (4, 13, 30, 51, 60, 51, 30, 13, 4),
}


def opencv_taps(size: int) -> list[float]:
    """The weights of a Gaussian blur of an odd number of taps whose standard deviation is left to OpenCV.

    >>> opencv_taps(3)
    [0.25, 0.5, 0.25]
    """
    if size in _SHORT_KERNELS:
        return [weight / 256 for weight in _SHORT_KERNELS[size]]
    radius = size // 2
    sigma = 0.3 * (radius - 1) + 0.8
    weights = [math.exp(-0.5 * (t / sigma) ** 2) for t in range(-radius, radius + 1)]
    return [weight / sum(weights) for weight in weights]


def modulate(flat: Tensor, grid: Grid, taps: list[float]) -> Tensor:
    """Blurs flat maps along every axis and rescales each to its old maximum; (*batch, cells)."""
    if len(taps) == 1:
        return flat
    blurred = grid.unflatten(flat)
    for axis, length in enumerate(grid.lengths):
        # A product with a matrix, not a convolution: convolutions may run in TF32 by default, whose digits do not suffice.
        matrix = _blur_matrix(taps, length, axis in grid.cyclic, flat)
        blurred = (blurred.movedim(grid.map_dim(axis), -1) @ matrix).movedim(-1, grid.map_dim(axis))
    blurred = blurred.flatten(-grid.ndim)
    old, new = flat.amax(dim=-1, keepdim=True), blurred.amax(dim=-1, keepdim=True)
    is_flat = new == 0
    return blurred * torch.where(is_flat, 1.0, old / torch.where(is_flat, 1.0, new))


def _blur_matrix(taps: list[float], length: int, is_cyclic: bool, like: Tensor) -> Tensor:
    matrix = torch.zeros(length, length, dtype=torch.float64, device=like.device)
    index = torch.arange(length, device=like.device)
    step = index - index.unsqueeze(-1)
    for offset, weight in enumerate(taps, start=-(len(taps) // 2)):
        reaches = (step - offset) % length == 0 if is_cyclic else step == offset
        matrix += weight * reaches.to(matrix.dtype)
    return matrix.to(like.dtype)


def band_matrix(taps: list[float], length: int, short: int, like: Tensor) -> Tensor:
    """The matrix (length, short) that blurs a row and keeps the cells for which all taps exist."""
    step = torch.arange(length, device=like.device).unsqueeze(-1) - torch.arange(short, device=like.device)
    matrix = torch.zeros(length, short, dtype=torch.float64, device=like.device)
    for offset, weight in enumerate(taps):
        matrix += weight * (step == offset).to(matrix.dtype)
    return matrix.to(like.dtype)
