"""Density against float64 loops, closed forms, its own draws, and the degenerate set; accuracies are those documented."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor
from torch.autograd import gradcheck

import oracles_density as oracle
from heatpoint.basis import Gaussian, make_basis
from heatpoint.density import DISTANCES, Density, _quadrature
from heatpoint.expectation import expected_position
from heatpoint.sampling import Noise, sampling_argmax
from heatpoint.support import Grid, Points

SHAPES = {1: (7,), 2: (5, 4), 3: (3, 5, 4)}
STRIDES = (4.0, 2.5, 1.5)
OFFSETS = (1.0, -2.0, 0.5)
BATCH = (2, 3)
SIGMA = 0.8
BASES: dict[str, Any] = {"uniform": "uniform", "triangular": "triangular", "gaussian": Gaussian(sigma=SIGMA)}
# float64 pairs differ by rounding of a few hundred terms of order 1.
EXACT = {"rtol": 1e-10, "atol": 1e-12}


@dataclass
class Case:
    """A density and the same thing in the oracle's terms."""

    density: Density
    name: str
    truncate: bool

    @property
    def grid(self) -> Grid:
        assert isinstance(self.density.support, Grid)
        return self.density.support

    def rows(self) -> list[oracle.Row]:
        return [
            oracle.Row(self.name, SIGMA, [float(i) for i in range(n)], cut=self.truncate) for n in self.grid.lengths
        ]

    def pi(self, batch: tuple[int, ...]) -> Any:
        return oracle.probabilities(self.density.logits.detach()[batch].numpy())

    def cells(self, points: Tensor) -> Any:
        return self.grid.to_cells(points).numpy()


def make_grid(ndim: int, **options: Any) -> Grid:
    return Grid(SHAPES[ndim], stride=STRIDES[:ndim], offset=OFFSETS[:ndim], **options)


def make_case(ndim: int, name: str, truncate: bool, *, seed: int = 0, **options: Any) -> Case:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(*BATCH, *SHAPES[ndim], generator=generator, dtype=torch.float64)
    logits.flatten(2)[1, 0, 2] = -torch.inf
    return Case(Density(logits, make_grid(ndim, **options), basis=BASES[name], truncate=truncate), name, truncate)


def make_cloud(ndim: int, *, sigma: float = 0.6, seed: int = 0) -> tuple[Density, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    xyz = 2 * torch.rand(2, 1, 9, ndim, generator=generator, dtype=torch.float64)
    logits = 2 * torch.randn(*BATCH, 9, generator=generator, dtype=torch.float64)
    return Density(logits, Points(xyz), basis=Gaussian(sigma=sigma)), xyz


def random_points(density: Density, *sample: int, spread: float = 1.3, seed: int = 1) -> Tensor:
    """Points over and around the support."""
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand(*sample, *BATCH, density.support.ndim, generator=generator, dtype=torch.float64)
    if isinstance(density.support, Grid):
        lengths = torch.tensor(density.support.lengths, dtype=torch.float64)
        return density.support.to_points((unit - 0.5) * spread * lengths + (lengths - 1) / 2)
    return (unit - 0.5) * spread * 3 + 1


grids = pytest.mark.parametrize(
    ("ndim", "name", "truncate"),
    [(d, n, t) for d in (1, 2, 3) for n in BASES for t in (False, True)],
    ids=lambda value: str(value),
)
dims = pytest.mark.parametrize("ndim", [1, 2, 3])


@grids
def test_log_prob_is_the_loop_over_cells(ndim: int, name: str, truncate: bool) -> None:
    case = make_case(ndim, name, truncate)
    points = random_points(case.density, 2)
    found = case.density.log_prob(points).exp()
    assert found.shape == (2, *BATCH)
    volume = math.prod(STRIDES[:ndim])
    for index in itertools.product(range(2), *map(range, BATCH)):
        cells = case.cells(points[index]).tolist()
        expected = oracle.density_at(case.pi(index[1:]), case.rows(), cells) / volume
        assert float(found[index]) == pytest.approx(expected, rel=1e-10, abs=1e-14)


@dims
def test_log_prob_on_points_is_the_loop_over_points(ndim: int) -> None:
    density, xyz = make_cloud(ndim)
    points = random_points(density, 2, 1)
    found = density.log_prob(points).exp()
    assert found.shape == (2, 1, *BATCH)
    for s, b, k in itertools.product(range(2), *map(range, BATCH)):
        pi = oracle.probabilities(density.logits[b, k].numpy())
        expected = oracle.point_set_density(pi, xyz[b, 0].numpy(), 0.6, points[s, 0, b, k].numpy())
        assert float(found[s, 0, b, k]) == pytest.approx(expected, rel=1e-10)


@grids
def test_density_integrates_to_one(ndim: int, name: str, truncate: bool) -> None:
    case = make_case(ndim, name, truncate)
    row = case.rows()
    # Compact and cut bases: Gauss's rule on half cells, exact for a polynomial of degree 1 per axis. A whole Gaussian: the
    # trapezoid rule with step σ, wrong by 2 exp(−2π²) = 5e-9, on 6 σ, which leave 2e-9.
    nodes, weights = np.polynomial.legendre.leggauss({1: 12, 2: 6, 3: 3}[ndim])
    at, weight = [], []
    for axis, n in enumerate(case.grid.lengths):
        if name == "gaussian" and not truncate:
            at.append(torch.arange(-6 * SIGMA, n - 1 + 6 * SIGMA, SIGMA, dtype=torch.float64))
            weight.append(torch.full_like(at[-1], SIGMA))
            continue
        reach = 0.5 if truncate else row[axis].reach
        low, high = (-0.5, n - 0.5) if truncate else (-reach, n - 1 + reach)
        ends = sorted({low, high, *(k / 2 for k in range(-4, 2 * n + 4) if low < k / 2 < high)})
        at.append(
            torch.tensor(
                [a + (b - a) * (x + 1) / 2 for a, b in itertools.pairwise(ends) for x in nodes], dtype=torch.float64
            )
        )
        weight.append(
            torch.tensor([(b - a) / 2 * w for a, b in itertools.pairwise(ends) for w in weights], dtype=torch.float64)
        )
    cells = torch.stack(torch.meshgrid(*at, indexing="ij"), dim=-1).flatten(0, -2)
    volume = torch.stack(torch.meshgrid(*weight, indexing="ij"), dim=-1).flatten(0, -2).prod(dim=-1)
    points = case.grid.to_points(cells)[:, None, None]
    total = (case.density.log_prob(points).exp() * volume[:, None, None]).sum(dim=0) * math.prod(STRIDES[:ndim])
    # Three nodes on half cells of 0.6 σ leave about 1e-7 per axis.
    tolerance = 1e-6 if name == "gaussian" else 1e-10
    torch.testing.assert_close(total, torch.ones(BATCH, dtype=torch.float64), rtol=0, atol=tolerance)


@grids
def test_cdf_mean_variance_and_gap_are_quadratures_of_the_loops(ndim: int, name: str, truncate: bool) -> None:
    case = make_case(ndim, name, truncate)
    p, rows = case.density, case.rows()
    points = random_points(p, 2)
    cdf, mean, covariance, gap = p.cdf(points), p.mean, p.covariance, p.expected_gap()
    assert cdf.shape == (2, *BATCH, ndim)
    for batch in ((0, 1), (1, 0)):
        for axis, row in enumerate(rows):
            stride, offset, pi = STRIDES[axis], OFFSETS[axis], oracle.marginal(case.pi(batch), axis)
            for s in range(2):
                y = case.cells(points[s][batch])[axis]
                assert float(cdf[s][batch][axis]) == pytest.approx(float(oracle.mixture_cdf(pi, row, y)), abs=1e-12)
            first = oracle.integral(pi, row, lambda y: y)
            second = oracle.integral(pi, row, lambda y, m=first: (y - m) ** 2)
            # The oracle's quadrature of a Gaussian over 10 σ has 24 nodes per 0.8 cells: rounding only.
            assert float(mean[batch][axis]) == pytest.approx(offset + stride * first, abs=1e-9)
            assert float(covariance[batch][axis, axis]) == pytest.approx(stride**2 * second, rel=1e-9)
            assert float(gap[batch][axis]) == pytest.approx(stride * oracle.gap(pi, row), rel=1e-9)


@pytest.mark.parametrize(("ndim", "truncate"), [(2, False), (2, True), (3, True)])
def test_covariance_between_axes_is_a_loop(ndim: int, truncate: bool) -> None:
    case = make_case(ndim, "triangular", truncate)
    at, density, weight = oracle.on_nodes(case.pi((1, 2)), case.rows())
    mass = density * weight
    positions = [STRIDES[a] * at[a].reshape([-1 if d == ndim - 1 - a else 1 for d in range(ndim)]) for a in range(ndim)]
    for a, b in itertools.combinations(range(ndim), 2):
        means = [(mass * positions[c]).sum() for c in (a, b)]
        expected = (mass * (positions[a] - means[0]) * (positions[b] - means[1])).sum()
        covariance = case.density.covariance[1, 2]
        assert float(covariance[a, b]) == pytest.approx(expected, rel=1e-8)
        assert float(covariance[a, b]) == float(covariance[b, a])


AXIS_DISTANCES: dict[str, Callable[[Any], Any]] = {
    "l1": np.abs,
    "squared": np.square,
    "smooth_l1": lambda x: np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5),
}


@grids
@pytest.mark.parametrize("distance", AXIS_DISTANCES)
def test_expected_distance_per_axis_is_exact(ndim: int, name: str, truncate: bool, distance: str) -> None:
    case = make_case(ndim, name, truncate)
    target = random_points(case.density)
    found = case.density.expected_distance(target, distance)
    assert found.shape == BATCH
    batch, expected = (1, 1), 0.0
    for axis, row in enumerate(case.rows()):
        t, stride = float(case.cells(target[batch])[axis]), STRIDES[axis]
        pi = oracle.marginal(case.pi(batch), axis)
        bends = [t, t - 1 / stride, t + 1 / stride]
        expected += oracle.integral(pi, row, lambda y, t=t, s=stride: AXIS_DISTANCES[distance](s * (y - t)), bends)
    assert float(found[batch]) == pytest.approx(expected, rel=1e-8)
    if ndim == 1 and distance == "l1":
        torch.testing.assert_close(case.density.expected_distance(target, "l2"), found)


@pytest.mark.parametrize(
    ("ndim", "name", "truncate"), [(d, n, t) for d in (2, 3) for n in BASES for t in (False, True)]
)
def test_expected_l2_in_several_dimensions(ndim: int, name: str, truncate: bool) -> None:
    case = make_case(ndim, name, truncate)
    # One of the maps is a single cell, with the target on its centre: the worst case.
    case.density.logits[0, 2] = -torch.inf
    case.density.logits[(0, 2, *(n // 2 for n in SHAPES[ndim]))] = 0.0
    p = case.density = Density(case.density.logits, case.grid, basis=BASES[name], truncate=truncate)
    target = torch.stack([p.mean, p.mode + torch.tensor(STRIDES[:ndim]) / 8])
    found = p.expected_distance(target, "l2")
    # What is documented, in units of the largest stride; the oracle itself is off by 1e-5 at the cone.
    tolerance = (2e-3 if name != "gaussian" else 3e-2 * SIGMA) * max(STRIDES[:ndim])
    for s, batch in itertools.product(range(2), ((0, 2), (1, 1))):
        cells = case.cells(target[s][batch]).tolist()
        at, density, weight = oracle.on_nodes(case.pi(batch), case.rows(), [[t] for t in cells])
        squares = 0.0
        for a in range(ndim):
            place = [-1 if d == ndim - 1 - a else 1 for d in range(ndim)]
            squares = squares + (STRIDES[a] * (at[a] - cells[a]).reshape(place)) ** 2
        expected = float((density * weight * np.sqrt(squares)).sum())
        assert float(found[s][batch]) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("ndim", [2, 3])
def test_expected_l2_of_round_gaussians_is_exact(ndim: int) -> None:
    density, xyz = make_cloud(ndim)
    xyz = xyz.clone()
    target = density.mean.clone()
    target[0, 0] = xyz[0, 0, 4] + 1e-4
    found = density.expected_distance(target, "l2")
    nodes, weights = np.polynomial.legendre.leggauss(400)
    for b, k in itertools.product(*map(range, BATCH)):
        pi, expected = oracle.probabilities(density.logits[b, k].numpy()), 0.0
        for weight, center in zip(pi, xyz[b, 0].numpy(), strict=True):
            d2 = float(((center - target[b, k].numpy()) ** 2).sum())
            # ‖d + σZ‖ is σ times the root of a noncentral χ²; its mean by quadrature of P(‖·‖ > r).
            r = 8.0 * (nodes + 1) / 2
            tail = stats.ncx2.sf(r**2 / 0.36, ndim, max(d2, 1e-14) / 0.36)
            expected += weight * float((8.0 / 2 * weights * tail).sum())
        assert float(found[b, k]) == pytest.approx(expected, rel=1e-7)
    round_grid = Density(torch.zeros(1, 1, dtype=torch.float64), Grid((1, 1), stride=2, offset=0), basis="gaussian")
    origin = torch.zeros(2, dtype=torch.float64)
    assert float(round_grid.expected_distance(origin, "l2")) == pytest.approx(2 * math.sqrt(math.pi / 2))


@dims
def test_point_sets_moments_cdf_and_gap(ndim: int) -> None:
    density, xyz = make_cloud(ndim)
    points = random_points(density)
    cdf, gap = density.cdf(points), density.expected_gap()
    distances = {d: density.expected_distance(points, d) for d in ("l1", "squared", "smooth_l1")}
    b, k = 1, 2
    pi, totals = oracle.probabilities(density.logits[b, k].numpy()), dict.fromkeys(distances, 0.0)
    for axis in range(ndim):
        row = oracle.Row("gaussian", 0.6, xyz[b, 0, :, axis].tolist(), cut=False)
        y = float(points[b, k, axis])
        assert float(cdf[b, k, axis]) == pytest.approx(float(oracle.mixture_cdf(pi, row, y)), abs=1e-12)
        assert float(gap[b, k, axis]) == pytest.approx(oracle.gap(pi, row), rel=1e-9)
        mean = oracle.integral(pi, row, lambda t: t)
        assert float(density.mean[b, k, axis]) == pytest.approx(mean, rel=1e-9)
        variance = oracle.integral(pi, row, lambda t, m=mean: (t - m) ** 2)
        assert float(density.covariance[b, k, axis, axis]) == pytest.approx(variance, rel=1e-9)
        for distance in totals:
            bends = [y, y - 1, y + 1]
            totals[distance] += oracle.integral(pi, row, lambda t, y=y, d=distance: AXIS_DISTANCES[d](t - y), bends)
    for distance, total in totals.items():
        assert float(distances[distance][b, k]) == pytest.approx(total, rel=1e-9)
    if ndim > 1:
        deviations = xyz[b, 0] - density.mean[b, k]
        expected = (torch.from_numpy(pi)[:, None, None] * deviations[:, :, None] * deviations[:, None, :]).sum(dim=0)
        torch.testing.assert_close(
            density.covariance[b, k] - 0.36 * torch.eye(ndim, dtype=torch.float64), expected, **EXACT
        )


@grids
def test_quantile_inverts_the_cdf(ndim: int, name: str, truncate: bool) -> None:
    p = make_case(ndim, name, truncate).density
    u = torch.rand(4, *BATCH, ndim, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    points = p.quantile(u)
    # Documented: 2^−32 of the extent, which is at most 20 cells with a density of at most 1.3 per cell.
    torch.testing.assert_close(p.cdf(points), u, rtol=0, atol=1e-8)
    torch.testing.assert_close(p.median, p.quantile(torch.full((1,), 0.5)))
    torch.testing.assert_close(p.cdf(p.median), torch.full((*BATCH, ndim), 0.5, dtype=torch.float64), rtol=0, atol=1e-8)


def test_quantile_on_points_and_at_the_ends() -> None:
    density, _ = make_cloud(2)
    u = torch.rand(3, *BATCH, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(density.cdf(density.quantile(u)), u, rtol=0, atol=1e-8)
    assert bool((density.quantile(0.0) == -torch.inf).all())
    assert bool((density.quantile(1) == torch.inf).all())
    cut = Density(torch.zeros(2, 3), Grid((3,), offset=0), basis="gaussian", truncate=True)
    torch.testing.assert_close(cut.quantile(0.0), torch.full((2, 1), -0.5))
    torch.testing.assert_close(cut.quantile(1.0), torch.full((2, 1), 2.5))


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("truncate", [False, True])
def test_mass_within_is_exact_in_1d(name: str, truncate: bool) -> None:
    p = make_case(1, name, truncate).density
    point = random_points(p, spread=1.0)
    radius = torch.rand(4, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 9
    found = p.mass_within(point, radius)
    expected = (p.cdf(point + radius[..., None]) - p.cdf(point - radius[..., None])).squeeze(-1)
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("truncate", [False, True])
def test_mass_within_in_2d_is_as_accurate_as_documented(name: str, truncate: bool) -> None:
    case = make_case(2, name, truncate)
    point = random_points(case.density, spread=0.7)
    for radius in (0.0, 1.0, 4.0, 11.0, 60.0):
        found = case.density.mass_within(point, radius)
        for batch in ((0, 0), (1, 2)):
            cells = case.cells(point[batch]).tolist()
            expected = oracle.ball_mass(case.pi(batch), case.rows(), list(STRIDES[:2]), cells, radius)
            assert float(found[batch]) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("name", BASES)
def test_mass_within_in_3d_is_as_accurate_as_documented(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(3, name, True)
    p = case.density
    drawn = p.sample((40000,), generator=torch.Generator().manual_seed(5))
    point = p.mean + 0.4
    for radius in (3.0, 6.0):
        share = ((drawn - point).norm(dim=-1) <= radius).double().mean(dim=0)
        # 2e-3 of the rule and 5 standard errors of at most ½/200: a right rule fails once in 3e5 seeds per map.
        torch.testing.assert_close(p.mass_within(point, radius), share, rtol=0, atol=2e-3 + 5 * 0.5 / 200)
        # Without the noise of draws: three times as many slices per axis leave a ninth of the error.
        coarse = p.mass_within(point, radius)
        monkeypatch.setitem(_quadrature.SLICES, 3, 96)
        monkeypatch.setitem(_quadrature.SLICES, 2, 192)
        torch.testing.assert_close(p.mass_within(point, radius), coarse, rtol=0, atol=2e-3 * 8 / 9)
        monkeypatch.undo()


def test_mass_of_a_ball_in_a_constant_density_is_its_volume() -> None:
    # Where p is constant the slices are exact: 64·64 cells of equal mass, and the ball stays inside.
    p = Density(torch.zeros(1, 8, 9, 10, dtype=torch.float64), Grid((8, 9, 10), offset=0), basis="uniform")
    found = p.mass_within(torch.tensor([[4.3, 4.1, 3.6]]), 3.0)
    # The chord of an inner slice stands for a mean over a disc: 1e-3 of the ball, 1.6e-4 of the whole.
    assert float(found) == pytest.approx(4 / 3 * math.pi * 27 / 720, abs=1.6e-4)
    flat = Density(torch.zeros(1, 9, 10, dtype=torch.float64), Grid((9, 10), offset=0), basis="uniform")
    assert float(flat.mass_within(torch.tensor([[4.3, 4.1]]), 3.0)) == pytest.approx(math.pi * 9 / 90, abs=1e-12)


@dims
def test_mass_within_on_points_is_noncentral_chi_squared(ndim: int) -> None:
    density, xyz = make_cloud(ndim)
    point = random_points(density, spread=0.8)
    point[0, 0] = xyz[0, 0, 3]
    for radius in (0.05, 0.7, 3.0, 40.0):
        found = density.mass_within(point, radius)
        for b, k in itertools.product(*map(range, BATCH)):
            pi = oracle.probabilities(density.logits[b, k].numpy())
            d2 = ((xyz[b, 0] - point[b, k]) ** 2).sum(dim=-1).numpy()
            expected = float((pi * stats.ncx2.cdf(radius**2 / 0.36, ndim, np.maximum(d2, 1e-12) / 0.36)).sum())
            assert float(found[b, k]) == pytest.approx(expected, abs=1e-6)
    assert bool((density.mass_within(point, torch.zeros(2, 1, dtype=torch.float64)) == 0).all())


@pytest.mark.parametrize(("ndim", "tolerance"), [(1, 1e-7), (2, 2e-4), (3, 2e-2)])
@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("truncate", [False, True])
def test_entropy_is_as_accurate_as_documented(ndim: int, tolerance: float, name: str, truncate: bool) -> None:
    case = make_case(ndim, name, truncate)
    found = case.density.entropy()
    _, density, weight = oracle.on_nodes(case.pi((1, 0)), case.rows())
    surprise = -density * np.log(np.where(density > 0, density, 1))
    expected = float((surprise * weight).sum()) + math.log(math.prod(STRIDES[:ndim]))
    # The oracle's 24 plain nodes per piece leave 3e-6 at a kink to 0.
    assert float(found[1, 0]) == pytest.approx(expected, abs=tolerance + 3e-6)


@dims
def test_entropy_closed_forms(ndim: int) -> None:
    logits = torch.full((2, *SHAPES[ndim]), -torch.inf, dtype=torch.float64)
    logits[(slice(None), *(n // 2 for n in SHAPES[ndim]))] = 3.0
    volume = math.log(math.prod(STRIDES[:ndim]))
    tolerance = {1: 1e-7, 2: 2e-4, 3: 2e-2}[ndim]
    for name, per_axis in (("uniform", 0.0), ("triangular", 0.5), ("gaussian", 0.5 * math.log(2 * math.pi * math.e))):
        p = Density(logits, make_grid(ndim), basis=name)
        assert float(p.entropy()[0]) == pytest.approx(ndim * per_axis + volume, abs=tolerance)
        assert float(p.discrete_entropy()[1]) == 0
    apart = torch.stack([torch.zeros(ndim), torch.full((ndim,), 50.0)]).double()
    density = Density(torch.zeros(3, 2, dtype=torch.float64), Points(apart), basis=Gaussian(sigma=2.0))
    expected = ndim * 0.5 * math.log(2 * math.pi * math.e * 4) + math.log(2)
    torch.testing.assert_close(density.entropy(), torch.full((3,), expected, dtype=torch.float64))


@dims
@pytest.mark.parametrize("sigma", [0.1, 0.4, 1.5])
def test_entropy_on_points_is_as_accurate_as_documented(
    ndim: int, sigma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    density, _ = make_cloud(ndim, sigma=sigma)
    found = density.entropy()
    monkeypatch.setitem(_quadrature.HERMITE_NODES, ndim, {1: 60, 2: 30, 3: 12}[ndim])
    torch.testing.assert_close(density.entropy(), found, rtol=0, atol=3e-2 if ndim == 3 else 1e-2)
    if sigma == 0.4:
        drawn = density.sample((4000,), generator=torch.Generator().manual_seed(2))
        surprise = -density.log_prob(drawn)
        # 5 standard errors: once in 2e6 seeds per map.
        error = 5 * surprise.std(dim=0) / math.sqrt(4000) + 1e-2
        assert bool(((surprise.mean(dim=0) - found).abs() < error).all())


@pytest.mark.parametrize("name", ["uniform", "triangular"])
@pytest.mark.parametrize("truncate", [False, True])
@dims
def test_mode_of_compact_bases_is_the_highest_cell(ndim: int, name: str, truncate: bool) -> None:
    case = make_case(ndim, name, truncate)
    mode = case.density.mode
    values = case.density.log_prob(mode)
    for batch in itertools.product(*map(range, BATCH)):
        others = random_points(case.density, 200, spread=1.2)
        assert bool((values[batch] >= case.density.log_prob(others)[(slice(None), *batch)] - 1e-12).all())
    assert not mode.requires_grad


def test_truncation_can_move_the_mode_to_the_border() -> None:
    logits = torch.tensor([0.95, 1.0, 0.2]).log()
    grid = Grid((3,), offset=0)
    # Cut, the border cell keeps 7/8 of its basis: 0.95/(7/8) > 1.
    assert float(Density(logits, grid).mode) == 1.0
    assert float(Density(logits, grid, truncate=True).mode) == 0.0


@pytest.mark.parametrize("truncate", [False, True])
def test_mode_of_gaussians_climbs_to_the_top(truncate: bool) -> None:
    for ndim in (1, 2):
        case = make_case(ndim, "gaussian", truncate)
        mode = case.density.mode
        axes = [torch.linspace(-1, n, 241 if ndim == 1 else 121, dtype=torch.float64) for n in case.grid.lengths]
        fine = case.grid.to_points(torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2))
        best = case.density.log_prob(fine[:, None, None]).amax(dim=0)
        assert bool((case.density.log_prob(mode) >= best - 1e-9).all())
    pair = Density(torch.tensor([0.0, 0.0, -torch.inf]).double(), Grid((3,), offset=0), basis="gaussian")
    torch.testing.assert_close(pair.mode, torch.tensor([0.5]).double())


@dims
def test_mode_of_point_sets(ndim: int) -> None:
    density, _ = make_cloud(ndim)
    mode = density.mode.requires_grad_()
    value = density.log_prob(mode)
    (slope,) = torch.autograd.grad(value.sum(), mode)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-6)
    assert bool((value >= density.log_prob(density.support.xyz.movedim(-2, 0)) - 1e-12).all())


def test_mode_on_a_plateau_ends() -> None:
    # Twelve equal Gaussians: the top is flat to 1e-9, where Newton's matrix is nearly singular.
    flat = Density(torch.zeros(2, 12), Grid((12,), offset=0), basis=Gaussian(sigma=2.0))
    torch.testing.assert_close(flat.log_prob(flat.mode), flat.log_prob(torch.tensor([5.5])), rtol=0, atol=1e-4)


@grids
def test_marginals_agree_with_the_whole(ndim: int, name: str, truncate: bool) -> None:
    p = make_case(ndim, name, truncate).density
    points = random_points(p, 2)
    for axis in range(ndim):
        q = p.marginal(axis)
        assert isinstance(q, Density)
        assert q.support.ndim == 1
        torch.testing.assert_close(q.cdf(points[..., axis, None]), p.cdf(points)[..., axis, None], **EXACT)
        torch.testing.assert_close(q.mean, p.mean[..., axis, None], **EXACT)
        torch.testing.assert_close(q.expected_gap(), p.expected_gap()[..., axis, None], **EXACT)
        torch.testing.assert_close(q.covariance[..., 0, 0], p.covariance[..., axis, axis], **EXACT)


def test_marginals_of_points_and_of_empty_rows() -> None:
    density, _ = make_cloud(3)
    torch.testing.assert_close(density.marginal(2).mean, density.mean[..., 2:])
    logits = torch.zeros(3, 4, dtype=torch.float64)
    logits[1] = -torch.inf
    logits.requires_grad_()
    q = Density(logits, Grid((3, 4))).marginal(1)
    torch.testing.assert_close(q.probabilities, torch.tensor([0.5, 0.0, 0.5], dtype=torch.float64))
    (gradient,) = torch.autograd.grad(q.expected_distance(torch.tensor([0.2])).sum(), logits)
    assert bool(gradient.isfinite().all())


def assert_follows(density: Density, drawn: Tensor, level: float) -> None:
    """Kolmogorov-Smirnov per map and coordinate; right draws fail once in 1/level seeds per test."""
    uniforms = density.cdf(drawn)
    for batch in ((0, 0), (1, 2)):
        for axis in range(drawn.shape[-1]):
            assert stats.kstest(uniforms[(slice(None), *batch)][:, axis].detach().numpy(), "uniform").pvalue > level


@grids
def test_sample_follows_the_cdf(ndim: int, name: str, truncate: bool) -> None:
    p = make_case(ndim, name, truncate).density
    drawn = p.sample((3000,), generator=torch.Generator().manual_seed(11))
    assert drawn.shape == (3000, *BATCH, ndim)
    # 1e-5 per map and axis.
    assert_follows(p, drawn, 1e-5)
    assert bool((p.log_prob(drawn) > -torch.inf).all())
    assert torch.equal(drawn, p.sample((3000,), generator=torch.Generator().manual_seed(11)))
    assert p.sample().shape == (*BATCH, ndim)
    assert p.sample((2, 4)).shape == (2, 4, *BATCH, ndim)


def test_samples_have_the_joint_law_not_only_its_marginals() -> None:
    p = make_case(2, "triangular", False).density
    drawn = p.sample((20000,), generator=torch.Generator().manual_seed(4))
    products = (drawn - p.mean).prod(dim=-1)
    # 5 standard errors: once in 2e6 seeds per map.
    error = 5 * products.std(dim=0) / math.sqrt(20000)
    assert bool(((products.mean(dim=0) - p.covariance[..., 0, 1]).abs() < error).all())


@dims
def test_samples_of_point_sets(ndim: int) -> None:
    density, _ = make_cloud(ndim)
    assert_follows(density, density.sample((3000,), generator=torch.Generator().manual_seed(8)), 1e-5)
    relaxed = density.rsample((3000,), temperature=1e-3, generator=torch.Generator().manual_seed(9))
    assert_follows(density, relaxed, 1e-5)


def test_forbidden_cells_are_never_drawn() -> None:
    logits = torch.tensor([-torch.inf, 0.0, -torch.inf, -40.0, -torch.inf])
    p = Density(logits, Grid((5,), offset=0), basis="uniform")
    assert set(p.sample((2000,)).round().flatten().tolist()) == {1.0}


@grids
def test_rsample_follows_the_cdf_as_the_temperature_goes_to_zero(ndim: int, name: str, truncate: bool) -> None:
    p = make_case(ndim, name, truncate).density
    drawn = p.rsample((2000,), temperature=1e-3, generator=torch.Generator().manual_seed(21))
    assert drawn.shape == (2000, *BATCH, ndim)
    # At 1e-3 the largest weight is below 0.99 once in 200 draws, which moves the statistic by less than its spread, 0.02.
    assert_follows(p, drawn, 1e-5)
    if truncate:
        cells = make_grid(ndim).to_cells(drawn)
        lengths = torch.tensor(make_grid(ndim).lengths)
        assert bool(((cells >= -0.5 - 1e-9) & (cells <= lengths - 0.5 + 1e-9)).all())


@pytest.mark.parametrize("name", BASES)
def test_rsample_is_sampling_argmax(name: str) -> None:
    p = make_case(2, name, False).density
    options: dict[str, Any] = {"basis": BASES[name], "num_samples": 6, "temperature": 0.7}
    expected = sampling_argmax(p.logits, p.support, generator=torch.Generator().manual_seed(1), **options)
    found = p.rsample((2, 3), temperature=0.7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(found, expected.reshape(2, 3, *BATCH, 2), **EXACT)
    generator = torch.Generator().manual_seed(2)
    shape = (5, *BATCH, *SHAPES[2])
    basis = make_basis(BASES[name])
    noise = Noise(
        torch.rand(shape, generator=generator, dtype=torch.float64),
        [basis.draw_noise(shape, generator=generator, dtype=torch.float64) for _ in range(2)],
    )
    cut = Density(p.logits, p.support, basis=basis, truncate=True)
    torch.testing.assert_close(cut.rsample((5,), noise=noise), cut.rsample((5,), noise=noise), rtol=0, atol=0)
    inner = cut.rsample((5,), noise=noise) - p.rsample((5,), noise=noise)
    assert bool((inner.abs() > 1e-6).any()) == (name != "uniform")


def test_rsample_carries_gradients() -> None:
    logits = torch.randn(2, 3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    p = Density(logits, make_grid(2), truncate=True)
    (gradient,) = torch.autograd.grad(
        p.rsample((3,), generator=torch.Generator().manual_seed(0)).square().sum(), logits
    )
    assert bool(gradient.isfinite().all())
    assert bool((gradient != 0).any())
    assert not p.sample((2,)).requires_grad


FUNCTIONS: dict[str, Callable[[Density, Tensor], Tensor]] = {
    "log_prob": lambda p, y: p.log_prob(y),
    "cdf": lambda p, y: p.cdf(y),
    "l1": lambda p, y: p.expected_distance(y, "l1"),
    "l2": lambda p, y: p.expected_distance(y, "l2"),
    "squared": lambda p, y: p.expected_distance(y, "squared"),
    "smooth_l1": lambda p, y: p.expected_distance(y, "smooth_l1"),
    "mass_within": lambda p, y: p.mass_within(y, 2.3),
    "expected_gap": lambda p, _: p.expected_gap(),
    "covariance": lambda p, _: p.covariance,
    "mean": lambda p, _: p.mean,
    "entropy": lambda p, _: p.entropy(),
    "discrete_entropy": lambda p, _: p.discrete_entropy(),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("ndim", "name", "truncate"),
    [
        (1, "uniform", False),
        (2, "triangular", True),
        (2, "gaussian", False),
        (3, "triangular", False),
        (3, "points", False),
    ],
)
def test_gradients(function: str, ndim: int, name: str, truncate: bool) -> None:
    shape = {1: (2, 4), 2: (1, 3, 2), 3: (1, 2, 1, 3)}[ndim]
    generator = torch.Generator().manual_seed(5)
    if name == "points":
        support: Any = Points(torch.rand(1, 4, 3, generator=generator, dtype=torch.float64) * 3)
        basis: Any = Gaussian(sigma=0.7)
        shape = (1, 4)
        low, size = torch.zeros(3), torch.full((3,), 3.0)
    else:
        support = Grid(shape[1:], stride=STRIDES[:ndim], offset=0)
        basis = BASES[name]
        low, size = torch.zeros(ndim), torch.tensor(support.lengths) - 1.0
    logits = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    unit = torch.rand(shape[0], len(low), generator=generator, dtype=torch.float64)
    stride = torch.tensor(STRIDES[:ndim] if name != "points" else (1.0,) * 3)
    points = ((low + (0.13 + 0.7 * unit) * size.clamp(min=0.4)) * stride).requires_grad_()
    inputs = (logits, points)
    # Sums of distances over many nodes lose a few digits to the finite differences.
    assert gradcheck(lambda a, b: FUNCTIONS[function](Density(a, support, basis=basis, truncate=truncate), b), inputs)


@pytest.mark.parametrize("name", BASES)
def test_gradients_of_quantile_and_radius(name: str) -> None:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(2, 4, generator=generator, dtype=torch.float64).requires_grad_()
    u = torch.tensor([[0.21], [0.77]], dtype=torch.float64, requires_grad=True)
    radius = torch.tensor([0.8, 1.7], dtype=torch.float64, requires_grad=True)
    grid = Grid((4,), stride=2, offset=0)
    assert gradcheck(lambda a, b: Density(a, grid, basis=BASES[name]).quantile(b), (logits, u))
    point = torch.tensor([[2.3], [3.9]], dtype=torch.float64)
    assert gradcheck(lambda a, r: Density(a, grid, basis=BASES[name]).mass_within(point, r), (logits, radius))


@dims
def test_gradient_to_the_points_of_a_set(ndim: int) -> None:
    density, xyz = make_cloud(ndim)
    moving = xyz[0, 0, :4].clone().requires_grad_()
    logits = density.logits[0, 0, :4]
    target = random_points(density)[0, 0]

    def scores(points: Tensor) -> tuple[Tensor, ...]:
        p = Density(logits, Points(points), basis=Gaussian(sigma=0.6))
        distances = [p.expected_distance(target, distance) for distance in DISTANCES]
        return (p.log_prob(target), p.expected_gap(), p.mass_within(target, 0.9), p.mean, p.covariance, *distances)

    assert gradcheck(scores, (moving,))


def degenerate_maps(shape: tuple[int, ...]) -> Tensor:
    """One-hot by −inf with its peak on the border, uniform, ±1e4, and a peak on the border with tails."""
    hot = torch.full(shape, -torch.inf)
    hot.view(-1)[0] = 0.0
    huge = torch.full(shape, -1e4)
    huge.view(-1)[-1] = 1e4
    return torch.stack([hot, torch.zeros(shape), huge, hot.nan_to_num(neginf=-30.0)])


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize("shape", [(7,), (5, 1), (2, 1, 3)])
def test_degenerate_maps_have_finite_values_and_gradients(name: str, truncate: bool, shape: tuple[int, ...]) -> None:
    grid = Grid(shape, stride=3, offset=0)
    near, far = torch.zeros(len(shape)), torch.full((len(shape),), 3.0 * max(shape) - 3)
    for point, dtype in ((near, torch.float32), (far, torch.float32), (near, torch.float16)):
        logits = degenerate_maps(shape).to(dtype).requires_grad_()
        at = point.clone().requires_grad_()
        p = Density(logits, grid, basis=BASES[name], truncate=truncate)
        for function in FUNCTIONS:
            value = FUNCTIONS[function](p, at)
            assert value.dtype == torch.float32
            # A point outside the support has no log density, and no gradient.
            assert function == "log_prob" or bool(value.isfinite().all())
            gradients = torch.autograd.grad(value.sum(), (logits, at), retain_graph=True, allow_unused=True)
            assert all(g is None or bool(g.isfinite().all()) for g in gradients), function
        assert bool(p.mode.isfinite().all())
        assert bool(p.median.isfinite().all())
        assert bool(p.sample((3,)).isfinite().all())


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize("ndim", [1, 2])
def test_outside_the_support_log_prob_is_minus_infinity_with_zero_gradient(
    name: str, truncate: bool, ndim: int
) -> None:
    if name == "gaussian" and not truncate:
        p = make_case(ndim, name, truncate).density
        far = torch.full((*BATCH, ndim), 1e3, dtype=torch.float64)
        assert bool(p.log_prob(far).isfinite().all())
        return
    logits = torch.randn(*BATCH, *SHAPES[ndim], generator=torch.Generator().manual_seed(0)).requires_grad_()
    p = Density(logits, make_grid(ndim), basis=BASES[name], truncate=truncate)
    for place in (-40.0, 1e3, 1e25):
        points = torch.full((*BATCH, ndim), place, requires_grad=True)
        value = p.log_prob(points)
        assert bool((value == -torch.inf).all())
        for gradient in torch.autograd.grad(value.sum(), (logits, points), retain_graph=True, allow_unused=True):
            assert gradient is None or bool((gradient == 0).all())


def test_log_prob_inside_a_forbidden_region() -> None:
    logits = torch.tensor([0.0, -torch.inf, -torch.inf, 1.0], requires_grad=True)
    p = Density(logits, Grid((4,), offset=0), basis="triangular")
    points = torch.tensor([[1.0], [1.5], [2.0], [2.5]], requires_grad=True)
    value = p.log_prob(points)
    assert (value == -torch.inf).tolist() == [True, True, True, False]
    gradients = torch.autograd.grad(value[:3].sum(), (logits, points))
    assert all(bool((g == 0).all()) for g in gradients)


def test_triangular_is_linear_interpolation_and_borders_belong_to_one_cell() -> None:
    grid = Grid((4,), offset=0)
    p = Density(torch.tensor([0.1, 0.2, 0.3, 0.4]).log(), grid)
    torch.testing.assert_close(p.log_prob(torch.tensor([[1.25], [2.0]])).exp(), torch.tensor([0.225, 0.3]))
    u = Density(torch.tensor([0.1, 0.2, 0.3, 0.4]).log(), grid, basis="uniform")
    edges = torch.tensor([[-0.5], [0.5], [1.5], [3.5]])
    torch.testing.assert_close(u.log_prob(edges).exp(), torch.tensor([0.1, 0.2, 0.3, 0.4]))
    assert float(p.log_prob(torch.tensor([-0.75])).exp()) == pytest.approx(0.025)
    cut = Density(torch.tensor([0.1, 0.2, 0.3, 0.4]).log(), grid, truncate=True)
    assert float(cut.log_prob(torch.tensor([-0.25])).exp()) == pytest.approx(0.1 * 0.75 / 0.875)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    name=st.sampled_from(sorted(BASES)),
    truncate=st.booleans(),
    ndim=st.integers(1, 3),
    shift=st.floats(-30, 30),
)
def test_properties(seed: int, name: str, truncate: bool, ndim: int, shift: float) -> None:
    p = make_case(ndim, name, truncate, seed=seed).density
    y = random_points(p, 3, seed=seed)
    cdf, close = p.cdf(y), {"rtol": 1e-9, "atol": 1e-9}
    assert bool(((cdf >= -1e-12) & (cdf <= 1 + 1e-12)).all())
    assert bool((p.cdf(y + 0.1) >= cdf - 1e-12).all())
    # Adding a constant to the logits changes nothing; moving the grid moves the density.
    same = Density(p.logits + shift, p.support, basis=p.basis, truncate=truncate)
    torch.testing.assert_close(same.log_prob(y), p.log_prob(y), **close)
    moved_grid = Grid(SHAPES[ndim], stride=STRIDES[:ndim], offset=tuple(o + shift for o in OFFSETS[:ndim]))
    moved = Density(p.logits, moved_grid, basis=p.basis, truncate=truncate)
    torch.testing.assert_close(moved.cdf(y + shift), cdf, **close)
    torch.testing.assert_close(moved.mean, p.mean + shift, **close)
    # Jensen, and the energy score of every coordinate is at least 0: E|Y − y| ≥ ½ E|Y − Y'|.
    distance = p.expected_distance(y, "l1")
    assert bool((distance >= (y - p.mean).abs().sum(dim=-1) - 1e-9).all())
    assert bool((distance >= 0.5 * p.expected_gap().sum(dim=-1) - 1e-9).all())
    squared = p.expected_distance(y, "squared")
    trace = p.covariance.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    torch.testing.assert_close(squared, (y - p.mean).square().sum(dim=-1) + trace, **close)
    small, large = p.mass_within(y, 1.0), p.mass_within(y, 2.0)
    assert bool((large >= small - 1e-9).all())


cyclic = pytest.mark.parametrize(
    ("ndim", "axes"), [(1, (0,)), (2, (1,)), (2, (0, 1)), (3, (0, 2))], ids=["x", "y", "xy", "xz"]
)


@cyclic
@pytest.mark.parametrize("name", [*BASES, "wide"])
def test_cyclic_axes_wrap(ndim: int, axes: tuple[int, ...], name: str) -> None:
    basis = Gaussian(sigma=5.0) if name == "wide" else BASES[name]
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(*BATCH, *SHAPES[ndim], generator=generator, dtype=torch.float64)
    p = Density(logits, make_grid(ndim, cyclic=axes), basis=basis)
    points = random_points(p, 2, spread=0.9)
    turn = torch.zeros(ndim, dtype=torch.float64)
    for axis in axes:
        turn[axis] = p.support.size[axis] * (axis - 2)
    value = p.log_prob(points)
    torch.testing.assert_close(p.log_prob(points + turn), value, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(p.mass_within(points + turn, 3.0), p.mass_within(points, 3.0), rtol=1e-9, atol=1e-9)
    # The law of images: the straight density summed over whole turns.
    straight = Density(logits, make_grid(ndim), basis=basis)
    sizes = [torch.arange(-12, 13) * p.support.size[a] if a in axes else torch.zeros(1) for a in range(ndim)]
    turns = torch.stack(torch.meshgrid(*sizes, indexing="ij"), dim=-1).flatten(0, -2).double()
    images = straight.log_prob(points + turns[:, None, None, None]).exp().sum(dim=0)
    torch.testing.assert_close(value.exp(), images, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(p.mean, expected_position(p.log_weights.exp(), p.support), **EXACT)
    torch.testing.assert_close(
        Density(logits, p.support, basis=basis, truncate=True).mean, p.mean, **EXACT
    ) if axes == (
        0,
        1,
    ) else None


@cyclic
def test_cyclic_draws_masses_entropy_and_marginals(ndim: int, axes: tuple[int, ...]) -> None:
    logits = 2 * torch.randn(*BATCH, *SHAPES[ndim], generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    p = Density(logits, make_grid(ndim, cyclic=axes), basis="triangular", truncate=True)
    drawn = p.sample((20000,), generator=torch.Generator().manual_seed(3))
    cells = make_grid(ndim).to_cells(drawn)
    lengths = torch.tensor(make_grid(ndim).lengths)
    assert bool(((cells >= -0.5 - 1e-9) & (cells <= lengths - 0.5 + 1e-9)).all())
    center = p.mean
    away = drawn - center
    for axis in axes:
        away[..., axis] -= p.support.size[axis] * torch.round(away[..., axis] / p.support.size[axis])
    for radius in (2.0, 6.0, 100.0):
        share = (away.norm(dim=-1) <= radius).double().mean(dim=0)
        # 5 standard errors of at most ½/√20000, and the rule's 1e-3.
        torch.testing.assert_close(p.mass_within(center, radius), share, rtol=0, atol=1e-3 + 5 * 0.5 / math.sqrt(20000))
    surprise = -p.log_prob(drawn)
    error = 5 * surprise.std(dim=0) / math.sqrt(20000) + 2e-2
    assert bool(((surprise.mean(dim=0) - p.entropy()).abs() < error).all())
    for axis in range(ndim):
        assert p.marginal(axis).support.cyclic == ((0,) if axis in axes else ())
    values = p.log_prob(p.mode)
    assert bool((values >= p.log_prob(drawn[:200]).amax(dim=0) - 1e-12).all())
    gaussian = Density(logits, p.support, basis="gaussian")
    assert bool((gaussian.log_prob(gaussian.mode) >= gaussian.log_prob(drawn[:200]).amax(dim=0) - 1e-3).all())


@pytest.mark.parametrize("function", ["cdf", "quantile", "median", "covariance", "expected_distance", "expected_gap"])
def test_what_a_circle_has_not_raises(function: str) -> None:
    p = Density(torch.zeros(2, 3, 4), Grid((3, 4), cyclic=(1,)))
    call = {
        "cdf": lambda: p.cdf(torch.zeros(2)),
        "quantile": lambda: p.quantile(0.3),
        "median": lambda: p.median,
        "covariance": lambda: p.covariance,
        "expected_distance": lambda: p.expected_distance(torch.zeros(2)),
        "expected_gap": lambda: p.expected_gap(),
    }[function]
    named = "quantile" if function == "median" else function
    with pytest.raises(ValueError, match=rf"^Density.{named}: grid must have no cyclic axis, got Grid\(\(3, 4\), "):
        call()


ERRORS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "logits": (
        lambda: Density([0.0], Grid((1,))),
        TypeError,
        "Density: logits must be a torch.Tensor, got list. Make it one with torch.as_tensor.",
    ),
    "support": (
        lambda: Density(torch.zeros(3), (3,)),
        TypeError,
        "Density: grid must be a heatpoint.Grid or heatpoint.Points, got tuple.",
    ),
    "shape": (
        lambda: Density(torch.zeros(4, 3), Grid((3, 4))),
        ValueError,
        "Density: logits must end in the grid's shape (3, 4), got (4, 3). Check the order of the dimensions: maps are "
        "(*batch, *grid.shape), slowest axis first.",
    ),
    "points need a Gaussian": (
        lambda: Density(torch.zeros(5), Points(torch.zeros(5, 2))),
        ValueError,
        "Density: basis must be Gaussian on Points, got Triangular(). Unordered points have no cells and no axes to be "
        "uniform or triangular over. Use Gaussian(sigma=…).",
    ),
    "points need a sigma": (
        lambda: Density(torch.zeros(5), Points(torch.zeros(5, 2)), basis="gaussian"),
        ValueError,
        "Density: basis must have a sigma on Points, got Gaussian(sigma=None). Unordered points have no spacing to take it "
        "from. Give it in the units of the points.",
    ),
    "truncated points": (
        lambda: Density(torch.zeros(5), Points(torch.zeros(5, 2)), basis=Gaussian(1.0), truncate=True),
        ValueError,
        "Density: truncate must be False on Points, got True. A point set has no extent to cut to.",
    ),
    "coordinates": (
        lambda: Density(torch.zeros(3, 4), Grid((3, 4))).log_prob(torch.zeros(3)),
        ValueError,
        "Density.log_prob: points must hold 2 coordinates (x, y) in its last dimension, got (3,). It has the support's "
        "dimension, not the map's.",
    ),
    "batch": (
        lambda: Density(torch.zeros(2, 3, 4), Grid((4,))).cdf(torch.zeros(2, 1)),
        ValueError,
        "Density.cdf: points must be (*sample, *batch, D), where batch broadcasts with that of the maps, (2, 3), got (2, 1).",
    ),
    "distance": (
        lambda: Density(torch.zeros(4), Grid((4,))).expected_distance(torch.zeros(1), "l3"),
        ValueError,
        "Density.expected_distance: distance must be one of l1, l2, smooth_l1, squared, got 'l3'. Did you mean l2 or l1?",
    ),
    "radius": (
        lambda: Density(torch.zeros(4), Grid((4,))).mass_within(torch.zeros(1), -1.0),
        ValueError,
        "Density.mass_within: radius must be at least 0, got -1.0.",
    ),
    "marginal": (
        lambda: Density(torch.zeros(3, 4), Grid((3, 4))).marginal(2),
        ValueError,
        "Density.marginal: axis must be from 0 to 1, 0 being x, got 2.",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    call, error, text = ERRORS[name]
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


def test_narrow_gaussians_and_a_border_beside_a_circle() -> None:
    logits = torch.randn(2, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    row = oracle.Row("gaussian", 0.06, [float(i) for i in range(6)], cut=True)
    p = Density(logits, Grid((6,)), basis=Gaussian(sigma=0.06), truncate=True)
    pi = oracle.probabilities(logits[1].numpy())
    assert float(p.expected_gap()[1]) == pytest.approx(oracle.gap(pi, row), rel=1e-9)
    assert float(p.entropy()[1]) == pytest.approx(
        float(p.discrete_entropy()[1]) + 0.5 * math.log(2 * math.pi * math.e * 0.06**2), abs=1e-6
    )
    grid = Grid((3, 4), offset=0, cyclic=(0,))
    q = Density(torch.zeros(2, 3, 4), grid, basis="gaussian", truncate=True)
    drawn = q.rsample((500,), temperature=1e-3, generator=torch.Generator().manual_seed(1))
    assert float(drawn[..., 1].min()) >= -0.5
    assert float(drawn[..., 1].max()) <= 2.5
    assert float(drawn[..., 0].min()) >= -0.5
    assert float(drawn[..., 0].max()) < 3.5


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("truncate", [False, True])
def test_float32_keeps_its_digits_on_a_large_grid(name: str, truncate: bool) -> None:
    generator = torch.Generator().manual_seed(6)
    grid = Grid((64, 48), stride=4)
    logits = 3 * torch.randn(2, 3, 64, 48, generator=generator)
    point = torch.rand(2, 3, 2, generator=generator) * 180
    single = Density(logits, grid, basis=BASES[name], truncate=truncate)
    double = Density(logits.double(), grid, basis=BASES[name], truncate=truncate)
    for function in FUNCTIONS:
        a, b = FUNCTIONS[function](single, point), FUNCTIONS[function](double, point.double())
        # Cells are reached through 256 input pixels at 2^−24 of them, 4e-6 cells; sums of 3072 terms add as little. What is
        # compared to 1 is a probability or a logarithm; |covariance between axes| may be far below the variances.
        scale = float(b.abs().max()) if function == "covariance" else 1.0
        torch.testing.assert_close(a.double(), b, rtol=5e-5, atol=5e-5 * scale)


def test_shapes_broadcast_as_documented() -> None:
    p = make_case(2, "triangular", False).density
    for lead in ((), (3,), (1, 3), (2, 1), BATCH, (5, *BATCH), (4, 5, 1, 3)):
        points = torch.rand(*lead, 2, dtype=torch.float64)
        full = torch.broadcast_shapes(lead, BATCH)
        assert p.log_prob(points).shape == full
        assert p.cdf(points).shape == (*full, 2)
        assert p.expected_distance(points, "l2").shape == full
        assert p.mass_within(points, 1.0).shape == full
        assert p.quantile(points).shape == (*full, 2)
        torch.testing.assert_close(p.log_prob(points.expand(*full, 2)), p.log_prob(points))
    thin = Density(torch.zeros(1, 4, 1, 3), Grid((3,)))
    assert thin.log_prob(torch.zeros(5, 1, 6, 1)).shape == (5, 4, 6)
    assert repr(p).startswith("Density((2, 3, 5, 4), Grid((5, 4), stride=(4, 2.5), offset=(1, -2)), basis=Triangular()")
    assert p.probabilities.shape == (*BATCH, 5, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_does_not_reach_inside(dtype: torch.dtype) -> None:
    logits = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    point = torch.rand(2, 3, 2) * 9
    for name in BASES:
        plain = [FUNCTIONS[f](Density(logits, make_grid(2), basis=BASES[name]), point) for f in FUNCTIONS]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            p = Density(logits.to(dtype).float(), make_grid(2), basis=BASES[name])
            under = [FUNCTIONS[f](Density(logits, make_grid(2), basis=BASES[name]), point) for f in FUNCTIONS]
            assert p.log_weights.dtype == torch.float32
        for a, b in zip(plain, under, strict=True):
            assert b.dtype == torch.float32
            assert torch.equal(a, b)


def test_a_constant_made_in_inference_mode_serves_training() -> None:
    grid, basis = Grid((11,)), Gaussian(sigma=0.37)
    with torch.inference_mode():
        Density(torch.zeros(2, 11), grid, basis=basis, truncate=True).expected_gap()
    logits = torch.zeros(2, 11, requires_grad=True)
    Density(logits, grid, basis=basis, truncate=True).expected_gap().sum().backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_quantiles_end_where_the_mass_does() -> None:
    mass = torch.zeros(3000)
    right, left = mass.clone(), mass.clone()
    right[2000:], left[:1000] = -torch.inf, -torch.inf
    grid = Grid((3000,), offset=0)
    # Half a cell in 3000 is 2^−13 of the extent; float32 leaves 2^−24 of it.
    below = Density(right, grid, basis="uniform")
    assert below.quantile(torch.tensor([[0.0], [0.5], [1.0]])).flatten().tolist() == pytest.approx(
        [-0.5, 999.5, 1999.5], abs=2e-3
    )
    above = Density(left, grid, basis="uniform")
    assert above.quantile(torch.tensor([[0.0], [0.5], [1.0]])).flatten().tolist() == pytest.approx(
        [999.5, 1999.5, 2999.5], abs=2e-3
    )
    assert bool(below.quantile(torch.nan).isnan().all())


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize(("ratio", "compact", "round_"), [(3.0, 2e-3, 3e-2), (10.0, 2e-2, 5e-2)])
def test_expected_l2_is_as_accurate_as_documented_on_long_cells(
    name: str, ratio: float, compact: float, round_: float
) -> None:
    # A single long cell, and targets around it, also past the cells that take many nodes.
    grid = Grid((17, 3), stride=(ratio, 1), offset=0)
    logits = torch.full((17, 3), -torch.inf, dtype=torch.float64)
    logits[8, 1] = 0.0
    p = Density(logits, grid, basis=BASES[name])
    rows = [oracle.Row(name, SIGMA, [float(i) for i in range(n)], cut=False) for n in grid.lengths]
    for step in ((0.0, 0.0), (0.0, 2.6), (0.4, 0.0), (0.5, 4.0)):
        target = p.mean + torch.tensor([step[0] * ratio, step[1]], dtype=torch.float64)
        cells = grid.to_cells(target).tolist()
        at, density, weight = oracle.on_nodes(oracle.probabilities(logits.numpy()), rows, [[t] for t in cells])
        squares = (ratio * (at[0] - cells[0])).reshape(1, -1) ** 2 + (at[1] - cells[1]).reshape(-1, 1) ** 2
        expected = float((density * weight * np.sqrt(squares)).sum())
        tolerance = ratio * (round_ * SIGMA if name == "gaussian" else compact)
        assert float(p.expected_distance(target, "l2")) == pytest.approx(expected, abs=tolerance)


def test_entropy_of_two_points_in_3d_is_within_what_is_documented() -> None:
    apart = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]], dtype=torch.float64)
    logits = torch.zeros(2, dtype=torch.float64)
    along_x = Density(logits, Points(apart[:, :1]), basis=Gaussian(sigma=1.0)).entropy()
    exact = float(along_x) + math.log(2 * math.pi * math.e)
    found = Density(logits, Points(apart), basis=Gaussian(sigma=1.0)).entropy()
    # Three nodes are worst at 3 σ; across, a Gaussian has the entropy ½ log 2πe per axis.
    assert float(found) == pytest.approx(exact, abs=3e-2)


@pytest.mark.parametrize(("name", "truncate"), [("triangular", False), ("gaussian", True)])
def test_expected_l2_keeps_a_few_maps_for_backward(name: str, truncate: bool) -> None:
    logits = torch.randn(2, 3, 16, 12, generator=torch.Generator().manual_seed(0)).requires_grad_()
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        p = Density(logits, Grid((16, 12)), basis=BASES[name], truncate=truncate)
        p.expected_distance(torch.full((2, 3, 2), 5.0), "l2")
    # 9 and 81 nodes: what each needs is computed again.
    assert sum(kept.values()) < 4 * logits.numel()
