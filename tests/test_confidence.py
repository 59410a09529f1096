"""Confidences and covariance: closed forms, loops, circles, gradients, degenerate maps, error texts."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles_scores as oracle
from heatpoint import Density, Grid, Points, confidence

GRIDS = {
    "1d": Grid((7,), stride=2, offset=0.5),
    "2d": Grid((5, 4), stride=(3, 0.75), offset=(1, -0.5)),
    "3d": Grid((3, 4, 2), stride=(0.5, 2, 1), offset=0),
}
CLOUD = Points(torch.randn(2, 1, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(7)))
SUPPORTS = {**GRIDS, "points": CLOUD}
CALLS = {
    "peak": confidence.peak,
    "negative_entropy": confidence.negative_entropy,
    "covariance": lambda z, g: confidence.covariance(z, g, basis="triangular").sum(dim=(-1, -2)),
    "mass_within": lambda z, g: confidence.mass_within(z, g, g.to_points(torch.ones(g.ndim)), radius=2.5),
}


def _logits(support, dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, 3, *support.shape, dtype=torch.float64, generator=generator).to(dtype)


def _weights_and_points(support, logits, b, k):
    weights = oracle.softmax(logits[b, k].numpy()).ravel()
    if isinstance(support, Grid):
        return weights, np.array([p for _, p in oracle.positions(support.shape, support.strides, support.offsets)])
    return weights, support.xyz[b, 0].numpy()


@pytest.mark.parametrize("name", SUPPORTS)
def test_peak_entropy_and_covariance_are_their_sums(name):
    support = SUPPORTS[name]
    logits = _logits(support)
    peak = confidence.peak(logits, support)
    entropy = confidence.negative_entropy(logits, support)
    covariance = confidence.covariance(logits, support)
    for b, k in itertools.product(range(2), range(3)):
        weights, points = _weights_and_points(support, logits, b, k)
        assert peak[b, k].item() == pytest.approx(weights.max(), rel=1e-12)
        assert entropy[b, k].item() == pytest.approx(sum(w * math.log(w) for w in weights), rel=1e-12)
        centered = points - weights @ points
        np.testing.assert_allclose(covariance[b, k].numpy(), centered.T @ (centered * weights[:, None]), atol=1e-12)


@pytest.mark.parametrize("basis", ["uniform", "triangular", {"name": "gaussian", "sigma": 0.7}])
@pytest.mark.parametrize("name", SUPPORTS)
def test_covariance_under_a_basis_is_that_of_the_density(name, basis):
    support = SUPPORTS[name]
    if not isinstance(support, Grid) and not isinstance(basis, dict):
        basis = {"name": "gaussian", "sigma": 0.2}
    logits = _logits(support)
    wanted = Density(logits, support, basis=basis).covariance
    torch.testing.assert_close(confidence.covariance(logits, support, basis=basis), wanted)


def test_covariance_on_a_circle_is_taken_the_short_way_round():
    grid = Grid((8,), stride=2, offset=0, cyclic=(0,))
    logits = torch.full((8,), -torch.inf, dtype=torch.float64)
    logits[[7, 0]] = 0.0
    # Two cells at −2 and 0 around the mean −1: variance 1.
    assert confidence.covariance(logits, grid).item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("name", GRIDS)
def test_mass_within_is_that_of_the_density(name):
    grid = GRIDS[name]
    logits = _logits(grid)
    point = grid.to_points(torch.ones(2, 3, grid.ndim, dtype=torch.float64))
    density = Density(logits, grid, basis="uniform")
    found = confidence.mass_within(logits, grid, point, radius=2.5, basis="uniform")
    torch.testing.assert_close(found, density.mass_within(point, 2.5))
    everything = confidence.mass_within(logits, grid, point, radius=1e3)
    torch.testing.assert_close(everything, torch.ones_like(everything), rtol=0, atol=1e-6)
    radius = torch.tensor([[0.5], [4.0]], dtype=torch.float64).expand(2, 3)
    per_map = confidence.mass_within(logits, grid, point, radius=radius, basis="uniform")
    torch.testing.assert_close(
        per_map[1], confidence.mass_within(logits[1], grid, point[1], radius=4.0, basis="uniform")
    )


def test_mass_within_counts_the_cells_of_a_line():
    grid = Grid((5,), stride=2, offset=0)
    logits = torch.tensor([0.1, 0.2, 0.4, 0.2, 0.1], dtype=torch.float64).log()
    # 2 units around the middle cell hold it and half of each neighbour.
    found = confidence.mass_within(logits, grid, torch.tensor([4.0]), radius=2.0, basis="uniform")
    assert found.item() == pytest.approx(0.6, abs=1e-12)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), factor=st.floats(1.05, 5))
def test_a_sharper_map_is_surer(seed, factor):
    grid = GRIDS["2d"]
    logits = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    for call in (confidence.peak, confidence.negative_entropy):
        assert call(factor * logits, grid) > call(logits, grid)
    assert 1 / 20 <= confidence.peak(logits, grid) <= 1
    assert -math.log(20) <= confidence.negative_entropy(logits, grid) <= 0


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", GRIDS)
def test_gradients_are_the_derivatives(name, call):
    grid = GRIDS[name]
    logits = _logits(grid)[:1, :2].requires_grad_()

    def double(z):
        if call != "mass_within":
            return CALLS[call](z, grid)
        point = grid.to_points(torch.ones(grid.ndim, dtype=torch.float64)) + 0.1
        return confidence.mass_within(z, grid, point, radius=2.5)

    assert torch.autograd.gradcheck(double, (logits,), atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("grid", [Grid((4, 6), stride=2), Grid((1, 5)), Grid((7, 1))], ids=str)
def test_degenerate_maps_are_finite(grid, call):
    alone = torch.full(grid.shape, -torch.inf)
    alone[tuple(n // 2 for n in grid.shape)] = 3.0
    one_hot = alone.clamp(min=-1e4) * 1e4
    border = torch.zeros(grid.shape)
    border[tuple(0 for _ in grid.shape)] = 1e4
    for logits in (alone, one_hot.clamp(-1e4, 1e4), border, torch.zeros(grid.shape)):
        logits = logits.clone().requires_grad_()
        found = CALLS[call](logits, grid)
        assert found.isfinite()
        (gradient,) = torch.autograd.grad(found, logits)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("call", CALLS)
def test_half_precision_is_promoted(call):
    grid = GRIDS["2d"]
    half = _logits(grid, torch.float16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = CALLS[call](half, grid)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, CALLS[call](half.float(), grid))


def test_error_texts():
    grid, logits = GRIDS["2d"], torch.zeros(3, 5, 4)
    with pytest.raises(ValueError, match="mass_within: radius must be greater than 0, got 0"):
        confidence.mass_within(logits, grid, torch.zeros(2), radius=0)
    with pytest.raises(ValueError, match="mass_within: point must hold 2 coordinates"):
        confidence.mass_within(logits, grid, torch.zeros(3), radius=1.0)
    for call in (confidence.peak, confidence.negative_entropy, confidence.covariance):
        with pytest.raises(ValueError, match=rf"{call.__name__}: logits must end in the grid's shape \(5, 4\)"):
            call(torch.zeros(4, 5), grid)
        with pytest.raises(TypeError, match=rf"{call.__name__}: grid must be a heatpoint.Grid or heatpoint.Points"):
            call(logits, (5, 4))
