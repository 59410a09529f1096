"""The composite Chamfer distance, against loops over segments and points in float64."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from heatpoint import chamfer
from heatpoint.chamfer import composite_chamfer, segment_ends


def counts_by_loops(points: np.ndarray) -> list[int]:
    """Points on each segment from its mean length over all leading dimensions: one per 0.01, from 15 to 200."""
    clouds = points.reshape(-1, *points.shape[-2:])
    found = []
    for later in range(points.shape[-2]):
        for earlier in range(later):
            lengths = [math.sqrt(1e-3 + sum((p[later] - p[earlier]) ** 2)) for p in clouds]
            found.append(min(200, max(15, int(sum(lengths) / len(lengths) / 0.01))))
    return found


def distance_by_loops(
    points: np.ndarray,
    strengths: np.ndarray,
    cloud: np.ndarray,
    counts: list[int],
    offsets: np.ndarray | None = None,
    softening: float = 1e-4,
    missing: float = 20.0,
) -> float:
    """One cloud: strengths are spent from the nearest segment on, one after the other."""
    fidelity, gaps, edge = 0.0, [], 0
    for later in range(len(points)):
        for earlier in range(later):
            samples = []
            for step in range(counts[edge]):
                t = step / (counts[edge] - 1)
                sample = t * points[later] + (1 - t) * points[earlier]
                samples.append(sample if offsets is None else sample + offsets[edge, step])
            apart = np.sqrt(((np.array(samples)[:, None] - cloud) ** 2).sum(axis=-1) + softening)
            fidelity += strengths[edge] * apart.min(axis=1).mean()
            gaps.append(apart.min(axis=0))
            edge += 1
    coverage = 0.0
    for n in range(len(cloud)):
        left = 1.0
        for e in sorted(range(edge), key=lambda e: gaps[e][n]):
            spent = min(left, strengths[e])
            coverage += spent * gaps[e][n]
            left -= spent
        coverage += missing * left
    return fidelity / edge + coverage / len(cloud)


def example(*batch: int, num_points: int = 4, size: int = 11, strong: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    points = torch.randn(*batch, num_points, 3, generator=generator, dtype=torch.float64)
    edges = num_points * (num_points - 1) // 2
    strengths = strong * torch.rand(*batch, edges, generator=generator, dtype=torch.float64)
    return points, strengths, torch.randn(*batch, size, 3, generator=generator, dtype=torch.float64)


def test_segments_join_all_pairs_in_the_released_order() -> None:
    pairs = [(earlier, later) for later in range(5) for earlier in range(later)]
    assert segment_ends(5).T.tolist() == [list(pair) for pair in pairs]
    assert segment_ends(1).shape == (2, 0)


# Strengths that add up to less than 1 for some clouds, and to more than 1 for all.
@pytest.mark.parametrize("strong", [0.3, 1.0])
@pytest.mark.parametrize("bent", [False, True])
@pytest.mark.parametrize("per_edge", [2, 7, None])
def test_distances_are_those_of_loops(per_edge: int | None, bent: bool, strong: float) -> None:
    points, strengths, cloud = example(3, strong=strong)
    points = points * torch.tensor([0.02, 0.3, 0.5])[:, None, None]
    counts = counts_by_loops(points.numpy()) if per_edge is None else [per_edge] * 6
    assert per_edge is not None or len(set(counts)) > 3
    offsets = 0.1 * torch.randn(6, 200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    offsets = offsets if bent else None
    found = composite_chamfer(points, strengths, cloud, offsets=offsets, points_per_edge=per_edge)
    bends = None if offsets is None else offsets.numpy()
    given = zip(points.numpy(), strengths.numpy(), cloud.numpy(), strict=True)
    expected = [distance_by_loops(*one, counts, bends) for one in given]
    # Some thousand roundings of numbers of about 10, relative to 1.
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-11)


def test_softening_and_missing_strengths_count() -> None:
    points, strengths, cloud = example(2, strong=0.05)
    found = composite_chamfer(points, strengths, cloud, points_per_edge=4, softening=0.3, missing=1.5)
    given = list(zip(points.numpy(), strengths.numpy(), cloud.numpy(), strict=True))
    expected = [distance_by_loops(*one, [4] * 6, softening=0.3, missing=1.5) for one in given]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-11)
    rest = composite_chamfer(points, strengths, cloud, points_per_edge=4, softening=0.3, missing=0.0)
    torch.testing.assert_close(found - rest, 1.5 * (1 - strengths.sum(dim=-1)))


def test_a_cloud_on_its_skeleton_costs_nothing() -> None:
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0]])
    cloud = torch.cat([torch.lerp(points[a], points[b], torch.linspace(0, 1, 5)[:, None]) for a, b in ((0, 1), (0, 2))])
    strengths = torch.tensor([1.0, 1.0, 0.0])
    found = composite_chamfer(points, strengths, cloud, points_per_edge=5, softening=0.0)
    assert found.shape == ()
    assert found.item() == pytest.approx(0, abs=1e-6)
    strengths = torch.tensor([1.0, 0.0, 0.0])
    assert composite_chamfer(points, strengths, cloud, points_per_edge=5).item() > 0.5


def test_the_number_of_points_follows_the_mean_length_over_all_clouds() -> None:
    points, strengths, cloud = example(5, 3, num_points=3)
    points = points * torch.linspace(0.01, 1.5, 15, dtype=torch.float64).view(5, 3, 1, 1)
    counts = counts_by_loops(points.numpy())
    found = composite_chamfer(points, strengths, cloud)
    for s in range(5):
        for b in range(3):
            one = (points[s, b].numpy(), strengths[s, b].numpy(), cloud[s, b].numpy())
            assert found[s, b].item() == pytest.approx(distance_by_loops(*one, counts), rel=1e-11)


def test_bounds_of_the_number_of_points() -> None:
    tiny, huge = (torch.tensor([[0.0, 0, 0], [length, 0, 0]], dtype=torch.float64) for length in (1e-3, 50.0))
    for points, count in ((tiny, 15), (huge, 200)):
        cloud, strengths = torch.zeros(1, 3, dtype=torch.float64) + 0.5, torch.ones(1, dtype=torch.float64)
        assert counts_by_loops(points.numpy()) == [count]
        fixed = composite_chamfer(points, strengths, cloud, points_per_edge=count)
        torch.testing.assert_close(composite_chamfer(points, strengths, cloud), fixed, rtol=1e-12, atol=0)


def test_samples_first_and_broadcasting() -> None:
    points, strengths, cloud = example(5, 3)
    strengths, cloud = strengths[0], cloud[0]
    found = composite_chamfer(points, strengths, cloud, points_per_edge=6)
    assert found.shape == (5, 3)
    for s in range(5):
        for b in range(3):
            alone = composite_chamfer(points[s, b], strengths[b], cloud[b], points_per_edge=6)
            assert found[s, b].item() == pytest.approx(alone.item(), rel=1e-12)
    shared = composite_chamfer(points, strengths[1], cloud[1], points_per_edge=6)
    torch.testing.assert_close(shared[:, 1], found[:, 1])


@pytest.mark.parametrize("pairs", [1, 300, 2**20])
def test_chunks_change_nothing(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    points, strengths, cloud = example(2, 3)
    offsets = 0.1 * torch.randn(6, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weight = torch.rand(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def both() -> tuple[Tensor, ...]:
        leaves = [tensor.clone().requires_grad_() for tensor in (points, strengths, cloud, offsets)]
        loss = composite_chamfer(*leaves[:3], offsets=leaves[3], points_per_edge=7)
        return loss.detach(), *torch.autograd.grad((weight * loss).sum(), leaves)

    whole = both()
    monkeypatch.setattr(chamfer, "CPU_PAIRS", pairs)
    for found, expected in zip(both(), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("strong", "per_edge"), [(0.05, None), (0.8, 5)])
def test_gradients(strong: float, per_edge: int | None) -> None:
    """To everything that is given, by finite differences; away from where two points are equally near."""
    points, strengths, cloud = example(2, num_points=3, size=4, strong=strong)
    points = points * 0.02 if per_edge is None else points
    offsets = 0.05 * torch.randn(3, 15, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    leaves = [tensor.requires_grad_() for tensor in (points, strengths, cloud, offsets)]
    assert torch.autograd.gradcheck(
        lambda p, s, c, o: composite_chamfer(p, s, c, offsets=o, points_per_edge=per_edge), leaves, eps=1e-7, atol=1e-5
    )


def test_gradients_go_where_they_are_wanted_and_stay_finite() -> None:
    points, strengths, cloud = example(4)
    points = torch.zeros_like(points).requires_grad_()
    found = composite_chamfer(points, strengths, torch.zeros_like(cloud), points_per_edge=3)
    assert found.requires_grad
    (gradient,) = torch.autograd.grad(found.sum(), points)
    assert bool((gradient == 0).all())
    plain = composite_chamfer(points.detach(), strengths, cloud, points_per_edge=3)
    assert not plain.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(composite_chamfer(points, strengths, cloud, points_per_edge=3), plain)
    found = composite_chamfer(points.detach(), strengths.requires_grad_(), cloud, points_per_edge=3)
    assert bool(torch.autograd.grad(found.sum(), strengths)[0].isfinite().all())


def test_more_places_than_a_byte_counts() -> None:
    points, strengths, cloud = example(2, num_points=3)
    found = composite_chamfer(points, strengths, cloud, points_per_edge=301)
    given = zip(points.numpy(), strengths.numpy(), cloud.numpy(), strict=True)
    np.testing.assert_allclose(found.numpy(), [distance_by_loops(*one, [301] * 3) for one in given], rtol=1e-11)


def test_float32_far_from_the_origin_is_near_float64() -> None:
    points, strengths, cloud = example(3)
    points, cloud = points.float() + 100, cloud.float() + 100
    found = composite_chamfer(points, strengths.float(), cloud, points_per_edge=9)
    exact = composite_chamfer(points.double(), strengths.float().double(), cloud.double(), points_per_edge=9)
    assert found.dtype == torch.float32
    # Places between keypoints are rounded at 100: 100 · 2⁻²⁴ = 6e-6 in each coordinate.
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=2e-5)
    half = composite_chamfer(points.sub(100).half(), strengths.half(), cloud.sub(100).half(), points_per_edge=9)
    assert half.dtype == torch.float32


P, A, C = torch.zeros(2, 3, 3), torch.zeros(2, 3), torch.zeros(2, 5, 3)
REFUSED: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: composite_chamfer(P.long(), A, C), TypeError, "points must be floating point, got torch.int64."),
    (lambda: composite_chamfer(P, A.tolist(), C), TypeError, "strengths must be a torch.Tensor, got list."),
    (
        lambda: composite_chamfer(P[:, :1], A, C),
        ValueError,
        "points must be (*batch, K, 3) with K >= 2, got (2, 1, 3).",
    ),
    (
        lambda: composite_chamfer(P[..., :2], A, C),
        ValueError,
        "points must be (*batch, K, 3) with K >= 2, got (2, 3, 2).",
    ),
    (
        lambda: composite_chamfer(P, A[:, :2], C),
        ValueError,
        "strengths must be (*batch, 3), one for each pair of 3 points",
    ),
    (lambda: composite_chamfer(P, A, C[:, :0]), ValueError, "cloud must be (*batch, N, 3) with N >= 1, got (2, 0, 3)."),
    (lambda: composite_chamfer(P, A, C / 0), ValueError, "cloud must be finite, got NaN or infinity."),
    (
        lambda: composite_chamfer(P, A - 1, C),
        ValueError,
        "strengths must lie from 0 to 1, got values from -1 to -1. Give sigmoids.",
    ),
    (lambda: composite_chamfer(P, A + 2, C), ValueError, "strengths must lie from 0 to 1, got values from 2 to 2."),
    (
        lambda: composite_chamfer(P, A[:1].expand(3, 3), C),
        ValueError,
        "points, strengths and cloud must have batches that broadcast, got (2,), (3,), (2,).",
    ),
    (
        lambda: composite_chamfer(P, A, C, points_per_edge=1),
        ValueError,
        "points_per_edge must be at least 2, or None, got 1.",
    ),
    (lambda: composite_chamfer(P, A, C, softening=-1.0), ValueError, "softening must be at least 0, got -1.0."),
    (lambda: composite_chamfer(P, A, C, missing=-1.0), ValueError, "missing must be at least 0, got -1.0."),
    (
        lambda: composite_chamfer(P, A, C, offsets=torch.zeros(3, 4, 3), points_per_edge=5),
        ValueError,
        "offsets must be (3, P, 3) with P >= 5, got (3, 4, 3).",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), REFUSED)
def test_refused(call: Callable[[], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(f"composite_chamfer: {text}")):
        call()
