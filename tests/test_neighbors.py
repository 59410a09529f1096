"""Neighbourhoods in clouds, against loops over points in float32 that find the same neighbours, bit by bit."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from heatpoint import _pairs
from heatpoint.neighbors import (
    ball_query,
    content_order,
    farthest_points,
    gather_rows,
    interpolate_nearest,
    nearest,
)


def square(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """((x − x′)² + (y − y′)²) + (z − z′)², rounded after each operation in the dtype given."""
    total = (a[..., 0] - b[..., 0]) * (a[..., 0] - b[..., 0])
    for axis in range(1, a.shape[-1]):
        total = total + (a[..., axis] - b[..., axis]) * (a[..., axis] - b[..., axis])
    return total


def farthest_by_loops(cloud: np.ndarray, num: int, start: int) -> list[int]:
    taken = [start]
    while len(taken) < num:
        best, far = -1, -1.0
        for i in range(len(cloud)):
            gap = min(float(square(cloud[i], cloud[j])) for j in taken)
            if i not in taken and gap > far:
                best, far = i, gap
        taken.append(best)
    return taken


def ball_by_loops(cloud: np.ndarray, center: np.ndarray, radius: float, num: int) -> list[int]:
    limit = cloud.dtype.type(radius * radius)
    within = [i for i in range(len(cloud)) if square(cloud[i], center) <= limit][:num]
    if not within:
        within = [min(range(len(cloud)), key=lambda i: (square(cloud[i], center), i))]
    return within + [within[0]] * (num - len(within))


def nearest_by_loops(cloud: np.ndarray, center: np.ndarray, k: int) -> list[int]:
    return sorted(range(len(cloud)), key=lambda i: (square(cloud[i], center), i))[:k]


def clouds(kind: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """(3, 41, 3): points in general position, points of a lattice with many ties and repetitions, or few points repeated."""
    generator = torch.Generator().manual_seed(5)
    if kind == "general":
        return torch.randn(3, 41, 3, generator=generator, dtype=dtype) + 7
    if kind == "lattice":
        return torch.randint(0, 4, (3, 41, 3), generator=generator).to(dtype) / 4
    return torch.randint(0, 2, (3, 41, 3), generator=generator).to(dtype)


KINDS = ("general", "lattice", "repeated")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_farthest_points_are_those_of_loops(kind: str, dtype: torch.dtype) -> None:
    cloud = clouds(kind, dtype)
    found = farthest_points(cloud, 23, start=4)
    assert found.tolist() == [farthest_by_loops(one, 23, 4) for one in cloud.numpy()]
    starts = torch.tensor([0, 40, 17])
    found = farthest_points(cloud, 9, start=starts)
    assert found.tolist() == [farthest_by_loops(one, 9, int(s)) for one, s in zip(cloud.numpy(), starts, strict=True)]


def test_no_point_is_taken_twice_even_where_all_coincide() -> None:
    assert farthest_points(torch.zeros(2, 5, 3), 5, start=2).tolist() == [[2, 0, 1, 3, 4]] * 2
    every = farthest_points(clouds("repeated"), 41)
    assert torch.equal(every.sort(dim=1).values, torch.arange(41).expand(3, 41))


def test_the_first_points_taken_are_those_taken_of_what_was_taken() -> None:
    for kind in KINDS:
        cloud = clouds(kind)
        taken = gather_rows(cloud, farthest_points(cloud, 20, start=3))
        assert torch.equal(farthest_points(taken, 8), torch.arange(8).expand(3, 8))


def test_a_generator_draws_the_start() -> None:
    cloud = clouds("general")
    first, again, other = (
        farthest_points(cloud, 2, start=torch.Generator().manual_seed(seed))[:, 0].tolist() for seed in (1, 1, 2)
    )
    assert first == again != other
    drawn = [farthest_points(clouds("general")[:1, :3], 1, start=torch.Generator().manual_seed(s)) for s in range(20)]
    assert {int(index) for index in drawn} == {0, 1, 2}


@pytest.mark.parametrize("pairs", [1, 41 * 3 * 2, 2**18])
@pytest.mark.parametrize("form", ["list", "rank"])
@pytest.mark.parametrize("kind", KINDS)
def test_balls_are_those_of_loops(kind: str, form: str, pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Centres of the cloud and elsewhere, far ones among them; however the pairs are cut, and in the form for accelerators."""
    monkeypatch.setattr(_pairs, "CPU_PAIRS", pairs)
    if form == "rank":
        monkeypatch.setattr("heatpoint.neighbors.first_by_list", _pairs.first_by_rank)
    cloud = clouds(kind)
    centers = torch.cat([cloud[:, ::6], cloud[:, :3] + 0.3, cloud[:, :2] - 9], dim=1)
    for radius, num in ((0.5, 5), (1.0, 17), (1.7, 60), (0.25, 1)):
        found = ball_query(cloud, centers, radius, num)
        assert found.dtype == torch.int64
        expected = [
            [ball_by_loops(one, center, radius, num) for center in some]
            for one, some in zip(cloud.numpy(), centers.numpy(), strict=True)
        ]
        assert found.tolist() == expected


def test_pairs_come_in_bounded_chunks() -> None:
    cloud = torch.rand(2, 16384, 3, generator=torch.Generator().manual_seed(0))
    sizes = [squares.numel() for squares in _pairs.squares_of_pairs(cloud, cloud[:, :21])]
    assert max(sizes) <= _pairs.CPU_PAIRS
    assert sum(sizes) == 2 * 16384 * 21


def test_the_border_of_a_ball_is_within() -> None:
    cloud = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [3.0, 4.0001]]])
    assert ball_query(cloud, cloud[:, :1], 5.0, 3).tolist() == [[[0, 1, 0]]]
    assert ball_query(cloud, cloud[:, :1], 4.999, 3).tolist() == [[[0, 0, 0]]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_nearest_points_are_those_of_loops(kind: str, dtype: torch.dtype) -> None:
    cloud = clouds(kind, dtype)
    centers = torch.cat([cloud[:, 3:9], cloud[:, :2] + 0.125], dim=1)
    for k in (1, 3, 41):
        distances, index = nearest(cloud, centers, k)
        expected = [
            [nearest_by_loops(one, center, k) for center in some]
            for one, some in zip(cloud.numpy(), centers.numpy(), strict=True)
        ]
        assert index.tolist() == expected
        gaps = np.stack([one[rows] for one, rows in zip(cloud.numpy(), index.numpy(), strict=True)])
        gaps = np.linalg.norm(gaps.astype(np.float64) - centers.numpy()[:, :, None], axis=-1)
        # A few roundings of numbers of some 10.
        np.testing.assert_allclose(distances.numpy(), gaps, rtol=4 * torch.finfo(dtype).eps)
        assert bool((distances.diff(dim=-1) >= 0).all())


def test_gathered_rows_are_those_of_loops_and_carry_gradients_back() -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(3, 7, 2, generator=generator, dtype=torch.float64).requires_grad_()
    index = torch.randint(0, 7, (3, 4, 5), generator=generator)
    found = gather_rows(values, index)
    assert found.shape == (3, 4, 5, 2)
    weight = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((found * weight).sum(), values)
    expected = np.zeros((3, 7, 2))
    for b in range(3):
        for i in range(4):
            for j in range(5):
                row = int(index[b, i, j])
                assert torch.equal(found[b, i, j], values[b, row])
                expected[b, row] += weight[b, i, j].numpy()
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-12, atol=1e-14)
    assert gather_rows(values, torch.tensor([6, 0, 3])).shape == (3, 2)
    assert gather_rows(values, torch.zeros(3, 0, dtype=torch.int64)).shape == (3, 0, 2)


@pytest.mark.parametrize("k", [1, 3, 9])
def test_interpolation_is_that_of_loops(k: int) -> None:
    generator = torch.Generator().manual_seed(2)
    xyz = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    values = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
    centers = torch.cat([torch.randn(2, 7, 3, generator=generator, dtype=torch.float64), xyz[:, 4:5]], dim=1)
    found = interpolate_nearest(values, xyz, centers, k=k)
    for b in range(2):
        for m in range(8):
            rows = nearest_by_loops(xyz[b].numpy(), centers[b, m].numpy(), k)
            weights = [1 / (float(square(xyz[b, i].numpy(), centers[b, m].numpy())) + 1e-8) for i in rows]
            expected = sum(w * values[b, i] for w, i in zip(weights, rows, strict=True)) / sum(weights)
            torch.testing.assert_close(found[b, m], expected, rtol=1e-12, atol=1e-12)
    # At a point of the cloud: its own value, but for 1e-8 over the squared distance of its neighbours.
    torch.testing.assert_close(found[:, 7], values[:, 4], rtol=0, atol=1e-6)


def test_gradients_flow_through_distances_and_interpolation() -> None:
    generator = torch.Generator().manual_seed(3)
    xyz = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64).requires_grad_()
    centers = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64).requires_grad_()
    values = torch.randn(2, 5, 2, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: nearest(a, b, 2)[0], (xyz, centers))
    assert torch.autograd.gradcheck(interpolate_nearest, (values, xyz, centers))
    itself = nearest(xyz, xyz, 1)[0]
    assert bool((torch.autograd.grad(itself.sum(), xyz)[0] == 0).all())
    assert bool((itself == 0).all())


def test_content_order_depends_on_places_alone() -> None:
    generator = torch.Generator().manual_seed(4)
    for kind in KINDS:
        cloud = clouds(kind)
        permuted = cloud[:, torch.randperm(41, generator=generator)]
        first, second = (gather_rows(one, content_order(one)) for one in (cloud, permuted))
        assert torch.equal(first, second)
        assert torch.equal(content_order(cloud).sort(dim=1).values, torch.arange(41).expand(3, 41))
    zeros = torch.tensor([[[0.0, 1.0], [-0.0, 1.0], [0.5, 1.0]]])
    assert torch.equal(content_order(zeros), content_order(zeros.abs()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_content_order_is_otherwise_like_a_random_one(dtype: torch.dtype) -> None:
    """Ranks of a sorted line have no correlation with their place: beyond 5 standard errors about once in two million runs."""
    line = torch.linspace(-1, 1, 4000, dtype=dtype)
    for cloud in (torch.stack([line, line * 0, line * 0], dim=-1), torch.stack([line, line.flip(0), line**2], dim=-1)):
        rank = content_order(cloud[None])[0].argsort().double()
        together = torch.stack([rank, torch.arange(4000.0, dtype=torch.float64)])
        assert abs(float(torch.corrcoef(together)[0, 1])) < 5 / 4000**0.5
        together = torch.stack([rank[:-1], rank[1:]])
        assert abs(float(torch.corrcoef(together)[0, 1])) < 5 / 4000**0.5


def test_half_precision_counts_as_float32_and_autocast_does_not_reach_inside() -> None:
    cloud = clouds("general")
    half = cloud.half()
    assert torch.equal(farthest_points(half, 9), farthest_points(half.float(), 9))
    assert torch.equal(nearest(half, half, 3)[1], nearest(half.float(), half.float(), 3)[1])
    plain = interpolate_nearest(cloud, cloud, cloud + 0.1)
    with torch.autocast("cpu"):
        assert torch.equal(interpolate_nearest(cloud, cloud, cloud + 0.1), plain)
    mixed = nearest(cloud, cloud.double()[:, :2], 1)[0]
    assert mixed.dtype == torch.float64


def test_nothing_asked_is_nothing_found() -> None:
    cloud, none = clouds("general"), torch.zeros(3, 0, 3)
    assert ball_query(cloud, none, 1.0, 4).shape == (3, 0, 4)
    assert nearest(cloud, none, 2)[0].shape == (3, 0, 2)
    assert interpolate_nearest(cloud, cloud, none).shape == (3, 0, 3)


@pytest.mark.gpu
def test_an_accelerator_finds_the_same() -> None:
    for kind in KINDS:
        cloud = clouds(kind)
        there = cloud.cuda()
        centers = torch.cat([cloud[:, ::6], cloud[:, :2] - 9], dim=1)
        assert torch.equal(farthest_points(there, 23).cpu(), farthest_points(cloud, 23))
        assert torch.equal(ball_query(there, centers.cuda(), 1.0, 7).cpu(), ball_query(cloud, centers, 1.0, 7))
        assert torch.equal(nearest(there, centers.cuda(), 3)[1].cpu(), nearest(cloud, centers, 3)[1])
        assert torch.equal(content_order(there).cpu(), content_order(cloud))


CLOUD = torch.zeros(2, 5, 3)
NAN = torch.full((2, 5, 3), torch.nan)
FINITE = "be finite, got NaN or infinity. Leave missing points out: a cloud has no place for them."
REFUSED: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: farthest_points(NAN, 2), ValueError, f"farthest_points: xyz must {FINITE}"),
    (lambda: ball_query(NAN, CLOUD, 1.0, 2), ValueError, f"ball_query: xyz must {FINITE}"),
    (lambda: ball_query(CLOUD, NAN, 1.0, 2), ValueError, f"ball_query: centers must {FINITE}"),
    (lambda: nearest(CLOUD / 0, CLOUD, 2), ValueError, f"nearest: xyz must {FINITE}"),
    (lambda: interpolate_nearest(CLOUD, CLOUD, NAN), ValueError, f"interpolate_nearest: centers must {FINITE}"),
    (lambda: content_order(NAN), ValueError, f"content_order: xyz must {FINITE}"),
    (lambda: content_order(CLOUD.numpy()), TypeError, "content_order: xyz must be a torch.Tensor, got ndarray."),
    (lambda: content_order(CLOUD.long()), TypeError, "content_order: xyz must be floating point, got torch.int64."),
    (lambda: content_order(CLOUD[0]), ValueError, "content_order: xyz must be (B, N, D) with N >= 1, got (5, 3)."),
    (
        lambda: nearest(CLOUD[:, :0], CLOUD, 1),
        ValueError,
        "nearest: xyz must be (B, N, D) with N >= 1, got (2, 0, 3).",
    ),
    (lambda: nearest(CLOUD, CLOUD[0], 1), ValueError, "nearest: centers must be (B, M, D), got (5, 3)."),
    (lambda: nearest(CLOUD, CLOUD[:1], 1), ValueError, "nearest: centers must be (2, M, 3), as xyz, got (1, 5, 3)."),
    (lambda: nearest(CLOUD, CLOUD, 6), ValueError, "nearest: k must be from 1 to the number of points 5, got 6."),
    (
        lambda: farthest_points(CLOUD, 6),
        ValueError,
        "farthest_points: num must be from 1 to the number of points 5, got 6. A smaller cloud has fewer points to offer.",
    ),
    (
        lambda: farthest_points(CLOUD, 2, start=5),
        ValueError,
        "farthest_points: start must be an index from 0 to 4, one for each cloud, or a generator, got 5.",
    ),
    (
        lambda: farthest_points(CLOUD, 2, start=torch.tensor([0, 5])),
        ValueError,
        "farthest_points: start must be an index from 0 to 4, one for each cloud, or a generator, got [0, 5].",
    ),
    (
        lambda: farthest_points(CLOUD, 2, start=torch.tensor([0])),
        ValueError,
        "one for each cloud, or a generator, got shape (1,) for 2 clouds.",
    ),
    (
        lambda: farthest_points(CLOUD, 2, start=torch.tensor([0.0, 1.0])),
        TypeError,
        "one for each cloud, or a generator, got torch.float32.",
    ),
    (lambda: ball_query(CLOUD, CLOUD, 0.0, 2), ValueError, "ball_query: radius must be greater than 0, got 0.0."),
    (lambda: ball_query(CLOUD, CLOUD, 1.0, 0), ValueError, "ball_query: num must be at least 1, got 0."),
    (
        lambda: gather_rows(CLOUD, torch.zeros(2, 1)),
        TypeError,
        "gather_rows: index must be int64, got torch.float32.",
    ),
    (
        lambda: gather_rows(CLOUD[0], torch.zeros(2, 1).long()),
        ValueError,
        "gather_rows: values must be (B, N, C), got (5, 3).",
    ),
    (
        lambda: gather_rows(CLOUD, torch.zeros(3, 1).long()),
        ValueError,
        "gather_rows: index must be (2, …), as values, got (3, 1).",
    ),
    (
        lambda: gather_rows(CLOUD, torch.tensor([[0], [5]])),
        ValueError,
        "gather_rows: index must lie from 0 to 4, got indices from 0 to 5.",
    ),
    (
        lambda: gather_rows(CLOUD, torch.tensor([[-1], [3]])),
        ValueError,
        "gather_rows: index must lie from 0 to 4, got indices from -1 to 3.",
    ),
    (
        lambda: interpolate_nearest(CLOUD[:, :4], CLOUD, CLOUD),
        ValueError,
        "interpolate_nearest: values must be (2, 5, C), one row for each point, got (2, 4, 3).",
    ),
    (
        lambda: interpolate_nearest(CLOUD.long(), CLOUD, CLOUD),
        TypeError,
        "interpolate_nearest: values must be floating point, got torch.int64.",
    ),
    (
        lambda: interpolate_nearest(CLOUD, CLOUD, CLOUD, k=0),
        ValueError,
        "interpolate_nearest: k must be at least 1, got 0.",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), REFUSED)
def test_refused(call: Callable[[], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        call()
