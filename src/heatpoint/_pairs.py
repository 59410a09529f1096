"""Clouds checked, all pairs of points of two clouds a bounded number at a time, and the first points of a ball among them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from heatpoint._checks import check_tensor, looks_at, message
from heatpoint._numerics import promote

# Pairs of points per chunk: what stays in a core's own cache, and what keeps an accelerator busy.
CPU_PAIRS, DEVICE_PAIRS = 2**18, 2**24


def squares_of_pairs(xyz: Tensor, centers: Tensor) -> Iterator[Tensor]:
    """Squared distances (B, m, N) of some centres after others to all points, in a bounded number of pairs at a time."""
    batch, length, _ = xyz.shape
    pairs = CPU_PAIRS if xyz.device.type == "cpu" else DEVICE_PAIRS
    step = max(1, pairs // max(1, batch * length))
    rows = xyz.transpose(1, 2).contiguous()[:, :, None]
    columns = centers.transpose(1, 2)[..., None]
    for begin in range(0, max(1, centers.shape[1]), step):
        part = columns[:, :, begin : begin + step]
        total = (part[:, 0] - rows[:, 0]).square_()
        for axis in range(1, rows.shape[1]):
            total += (part[:, axis] - rows[:, axis]).square_()
        yield total


def first_by_list(is_within: Tensor, squares: Tensor, num: int) -> Tensor:
    """The groups (B, m, num) from a list of all points within, which needs to know how many there are: for the CPU."""
    batch, centers, length = is_within.shape
    rows = batch * centers
    listed = is_within.flatten().nonzero()[:, 0]
    borders = torch.searchsorted(listed, torch.arange(rows + 1) * length)
    begin, count = borders[:-1, None], borders.diff()[:, None]
    place = torch.arange(num)
    listed = torch.cat([listed, listed.new_zeros(1)])
    found = listed[begin + torch.where(place < count, place, 0)] % length
    if bool((count == 0).any()):
        empty = count[:, 0] == 0
        found[empty] = squares.view(rows, length)[empty].argmin(dim=-1, keepdim=True)
    return found.view(batch, centers, num)


def first_by_rank(is_within: Tensor, squares: Tensor, num: int) -> Tensor:
    """The groups (B, m, num) by counting along the cloud; never waits for an accelerator."""
    rank = is_within.cumsum(dim=-1, dtype=torch.int32)
    # One place more than asked for takes all that is not wanted.
    place = torch.where(is_within & (rank <= num), rank - 1, num).long()
    rows = torch.arange(is_within.shape[-1], device=is_within.device).expand_as(place)
    found = place.new_zeros(*place.shape[:-1], num + 1).scatter_(-1, place, rows)[..., :num]
    count = rank[..., -1:]
    first = torch.where(count == 0, squares.argmin(dim=-1, keepdim=True), found[..., :1])
    return torch.where(torch.arange(num, device=found.device) < count, found, first)


def checked_cloud(function: str, argument: str, cloud: Tensor, *, least: int = 1) -> Tensor:
    """The cloud in float32 or float64, after checking that it is (B, N, D), N >= least, floating point and finite."""
    check_tensor(function, argument, cloud)
    if not cloud.is_floating_point():
        raise TypeError(message(function, argument, "be floating point", cloud.dtype))
    if cloud.ndim != 3 or cloud.shape[1] < least or cloud.shape[2] < 1:
        rule = f"be (B, {'N' if least else 'M'}, D){' with N >= 1' if least else ''}"
        raise ValueError(message(function, argument, rule, tuple(cloud.shape)))
    if looks_at(cloud) and not bool(cloud.isfinite().all()):
        remedy = "Leave missing points out: a cloud has no place for them."
        raise ValueError(message(function, argument, "be finite", "NaN or infinity", remedy))
    return promote(cloud)
