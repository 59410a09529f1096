"""What farthest points, balls and grouping cost, beside the plain formulation, and how the cost grows with the cloud.

    python benchmarks/point_grouping.py
    OMP_NUM_THREADS=1 python benchmarks/point_grouping.py --rounds 15 --sizes 2048 4096 8192

Both ways take turns in one process; times are medians over the rounds. The first table is the first level of PointNet++ for a
batch of clouds, the second its growth with the number of points N, for a fixed number of centres (expected: as N) and for N / 4
centres (expected: as N², of which grouping is N). The plain formulation is the one of most code: differences of whole clouds and
masked assignment for farthest points, expanded squares and a full sort of the indices for balls.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from heatpoint.neighbors import ball_query, farthest_points, gather_rows

RADIUS, PLACES = 0.2, 32
STEPS = ("farthest points", "ball query", "grouping")


def plain_farthest_points(xyz: Tensor, num: int) -> Tensor:
    """Farthest points by differences (B, N, 3) of all points from the last one taken."""
    batch = torch.arange(len(xyz))
    near = torch.full(xyz.shape[:2], torch.inf)
    taken = torch.zeros(len(xyz), num, dtype=torch.int64)
    last = taken[:, 0]
    for step in range(num):
        taken[:, step] = last
        square = ((xyz - xyz[batch, last][:, None]) ** 2).sum(dim=-1)
        is_nearer = square < near
        near[is_nearer] = square[is_nearer]
        last = near.max(dim=-1)[1]
    return taken


def plain_ball_query(xyz: Tensor, centers: Tensor, radius: float, num: int) -> Tensor:
    """Balls by expanded squares and a sort of all indices; inexact near the border."""
    square = -2 * centers @ xyz.transpose(1, 2) + (centers**2).sum(-1)[..., None] + (xyz**2).sum(-1)[:, None]
    index = torch.arange(xyz.shape[1]).expand(square.shape).clone()
    index[square > radius**2] = xyz.shape[1]
    index = index.sort(dim=-1)[0][..., :num]
    return torch.where(index == xyz.shape[1], index[..., :1], index)


def plain_gather_rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows by indexing with the batch."""
    batch = torch.arange(len(values)).view(-1, *(1,) * (index.ndim - 1))
    return values[batch, index]


WAYS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], Callable[..., Tensor]]] = {
    "heatpoint": (farthest_points, ball_query, gather_rows),
    "plain": (plain_farthest_points, plain_ball_query, plain_gather_rows),
}


def sphere(batch: int, size: int) -> Tensor:
    """Clouds (batch, size, 3) on the unit sphere."""
    xyz = torch.randn(batch, size, 3, generator=torch.Generator().manual_seed(size))
    return xyz / xyz.norm(dim=-1, keepdim=True)


def seconds_of(way: str, xyz: Tensor, num: int) -> tuple[float, float, float]:
    """Seconds of each step, once."""
    sample, query, take = WAYS[way]
    times = [time.perf_counter()]
    taken = sample(xyz, num)
    times.append(time.perf_counter())
    centers = take(xyz, taken)
    index = query(xyz, centers, RADIUS, PLACES)
    times.append(time.perf_counter())
    groups = take(xyz, index) - centers[:, :, None]
    times.append(time.perf_counter())
    if groups.shape != (*taken.shape, PLACES, 3):
        raise RuntimeError(f"groups have the shape {tuple(groups.shape)}")
    return times[1] - times[0], times[2] - times[1], times[3] - times[2]


def medians(cases: Sequence[tuple[str, Tensor, int]], rounds: int) -> list[list[float]]:
    """Medians in milliseconds of the steps and of their sum, for each case, all cases taking turns."""
    found: list[list[tuple[float, ...]]] = [[] for _ in cases]
    for number in range(rounds + 1):
        for times, case in zip(found, cases, strict=True):
            steps = seconds_of(*case)
            if number > 0:
                times.append((*steps, sum(steps)))
    return [[1000 * statistics.median(step) for step in zip(*times, strict=True)] for times in found]


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The slope of the least-squares line through (log size, log value)."""
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in values]
    return statistics.linear_regression(x, y).slope


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds that are measured, after one that is not")
    parser.add_argument("--batch", type=int, default=8, help="clouds of the first table")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2048, 4096, 8192, 16384], help="points in the second")
    given = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, ball of {RADIUS} with {PLACES} places")
    print(f"\nB={given.batch}, N=2048, 512 centres: milliseconds, median of {given.rounds} interleaved rounds")
    xyz = sphere(given.batch, 2048)
    for way, values in zip(WAYS, medians([(way, xyz, 512) for way in WAYS], given.rounds), strict=True):
        parts = ", ".join(f"{name} {value:.1f}" for name, value in zip(STEPS, values[:3], strict=True))
        print(f"{way:10} {values[3]:7.1f}   ({parts})")
    for label, centers_of in (("512 centres", lambda size: 512), ("N / 4 centres", lambda size: size // 4)):
        print(f"\nB=1, {label}: milliseconds by N, and the exponent of N")
        # The sort of the plain way needs 16 bytes for each pair of a centre and a point: it stops at fixed centres.
        ways = list(WAYS) if label == "512 centres" else ["heatpoint"]
        cases = [(way, sphere(1, size), centers_of(size)) for size in given.sizes for way in ways]
        rows = medians(cases, given.rounds)
        print(f"{'':27}" + "".join(f"{size:>10}" for size in given.sizes) + "  exponent")
        for place, way in enumerate(ways):
            for part, name in enumerate((*STEPS, "together")):
                values = [row[part] for row in rows[place :: len(ways)]]
                line = "".join(f"{value:10.2f}" for value in values)
                print(f"{way:10} {name:16}{line}  {exponent(given.sizes, values):8.2f}")


if __name__ == "__main__":
    main()
