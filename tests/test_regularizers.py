"""Variance and Jensen-Shannon regularizers: loops, the cited work's golden numbers, maps that share no cell."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from heatpoint.expectation import expected_position
from heatpoint.regularizers import gaussian_log_probabilities, jensen_shannon_regularizer, variance_regularizer
from heatpoint.support import Grid, Points
from oracles_sampling import cells_of, discrete_gaussian, jensen_shannon, softmax, straight_mean, variance_loss

BATCH = (2, 3)
GRIDS = {
    "1d": Grid((7,), stride=2.5, offset=-1.0),
    "2d": Grid((5, 4), stride=(4.0, 3.0)),
    "3d": Grid((2, 4, 3), stride=(1.0, 0.5, 2.0), offset=0.25),
}
CYCLIC = Grid((5, 8), stride=(4.0, 3.0), cyclic=(0,))


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cloud():
    return Points(draw(2, 1, 11, 3, seed=3))


@pytest.mark.parametrize("name", GRIDS)
def test_variance_agrees_with_loops(name):
    grid = GRIDS[name]
    logits = draw(*BATCH, *grid.shape)
    found = variance_regularizer(logits, grid, target_variance=1.7)
    assert found.shape == BATCH
    for b, k in np.ndindex(*BATCH):
        expected = variance_loss(logits[b, k].flatten().tolist(), grid.shape, 1.7)
        assert found[b, k].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", GRIDS)
def test_jensen_shannon_agrees_with_loops(name):
    grid = GRIDS[name]
    logits = draw(*BATCH, *grid.shape)
    center = grid.to_points(draw(*BATCH, grid.ndim, seed=1) + 1.0)
    own = jensen_shannon_regularizer(logits, grid, sigma_cells=0.9)
    elsewhere = jensen_shannon_regularizer(logits, grid, sigma_cells=0.9, center=center)
    assert own.shape == BATCH
    cells = cells_of(grid.shape)
    for b, k in np.ndindex(*BATCH):
        pi = softmax(logits[b, k].flatten().tolist())
        mean = [straight_mean(pi, [cell[axis] for cell in cells]) for axis in range(grid.ndim)]
        expected = jensen_shannon(pi, discrete_gaussian(mean, cells, 0.9))
        assert own[b, k].item() == pytest.approx(expected, rel=1e-11)
        expected = jensen_shannon(pi, discrete_gaussian(grid.to_cells(center)[b, k].tolist(), cells, 0.9))
        assert elsewhere[b, k].item() == pytest.approx(expected, rel=1e-11)


def test_points_agree_with_loops():
    support = cloud()
    logits = draw(*BATCH, 11)
    variance = variance_regularizer(logits, support, target_variance=0.8)
    divergence = jensen_shannon_regularizer(logits, support, sigma_cells=0.6)
    for b, k in np.ndindex(*BATCH):
        pi, places = softmax(logits[b, k].tolist()), support.xyz[b, 0].tolist()
        mean = [straight_mean(pi, [p[axis] for p in places]) for axis in range(3)]
        spread = math.fsum(w * (p[a] - mean[a]) ** 2 for w, p in zip(pi, places, strict=True) for a in range(3))
        assert variance[b, k].item() == pytest.approx((spread - 0.8) ** 2, rel=1e-12)
        expected = jensen_shannon(pi, discrete_gaussian(mean, places, 0.6))
        assert divergence[b, k].item() == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("name", [*GRIDS, "cyclic", "points"])
def test_gradients(name):
    support = {**GRIDS, "cyclic": CYCLIC, "points": cloud()}[name]
    logits = draw(*BATCH, *support.shape).requires_grad_()
    center = draw(*BATCH, support.ndim, seed=2).requires_grad_()
    assert gradcheck(lambda z: variance_regularizer(z, support, target_variance=1.7), (logits,))
    assert gradcheck(lambda z: jensen_shannon_regularizer(z, support, sigma_cells=0.9), (logits,))
    assert gradcheck(lambda z, c: jensen_shannon_regularizer(z, support, sigma_cells=0.9, center=c), (logits, center))


def test_strides_do_not_matter_because_the_unit_is_the_cell():
    logits = draw(*BATCH, 5, 4)
    for function, options in (
        (variance_regularizer, {"target_variance": 2.0}),
        (jensen_shannon_regularizer, {"sigma_cells": 1.5}),
    ):
        fine, coarse = (function(logits, grid, **options) for grid in (Grid((5, 4)), GRIDS["2d"]))
        torch.testing.assert_close(fine, coarse, rtol=1e-12, atol=1e-14)


@settings(deadline=None, derandomize=True, max_examples=20)
@given(turn=st.integers(0, 7), seed=st.integers(0, 99))
def test_a_cyclic_axis_has_no_seam(turn, seed):
    # A peak wide enough to have weight on both sides of the seam, narrow enough to have a mean.
    columns = torch.arange(8, dtype=torch.float64) - 3.3
    logits = draw(*BATCH, 5, 8, seed=seed) * 0.2 - columns**2
    for function, options in (
        (variance_regularizer, {"target_variance": 2.0}),
        (jensen_shannon_regularizer, {"sigma_cells": 1.5}),
    ):
        here, there = (function(z, CYCLIC, **options) for z in (logits, logits.roll(turn, dims=-1)))
        torch.testing.assert_close(here, there, rtol=1e-9, atol=1e-9)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(x=st.floats(-3, 9), y=st.floats(-3, 9), sigma=st.floats(0.3, 20))
def test_jensen_shannon_is_0_on_the_gaussian_itself_and_bounded_elsewhere(x, y, sigma):
    grid = Grid((5, 4), stride=3.0)
    center = torch.tensor([x, y], dtype=torch.float64)
    gaussian = gaussian_log_probabilities(center, grid, sigma_cells=sigma)
    assert gaussian.exp().sum().item() == pytest.approx(1.0, abs=1e-12)
    found = jensen_shannon_regularizer(gaussian.view(5, 4), grid, sigma_cells=sigma, center=center)
    assert abs(found.item()) < 1e-14
    other = jensen_shannon_regularizer(draw(5, 4), grid, sigma_cells=sigma, center=center)
    assert 0 < other.item() <= math.log(2) + 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("off", [-torch.inf, -1e4, -100.0])
def test_disjoint_one_hots_are_log_2_apart_with_finite_gradients(dtype, off):
    grid = Grid((5, 9))
    logits = torch.full((2, 5, 9), off, dtype=dtype)
    logits[:, 0, 0] = 0.0
    logits.requires_grad_()
    center = torch.tensor([8.0, 4.0], dtype=dtype).requires_grad_()
    found = jensen_shannon_regularizer(logits, grid, sigma_cells=0.05, center=center)
    found.sum().backward()
    torch.testing.assert_close(found, torch.full_like(found, math.log(2)), rtol=1e-6, atol=0)
    assert logits.grad.isfinite().all()
    assert center.grad.isfinite().all()


def degenerate_logits(cells):
    one_hot = torch.full((cells,), -1e4)
    one_hot[-1] = 1e4
    single = torch.full((cells,), -torch.inf)
    single[0] = 0.0
    return [torch.zeros(cells), one_hot, single, torch.linspace(-1e4, 1e4, cells)]


@pytest.mark.parametrize("name", [*GRIDS, "cyclic", "one_cell", "points"])
def test_degenerate_maps_have_finite_values_and_gradients(name):
    points = Points(cloud().xyz.float())
    support = {**GRIDS, "cyclic": CYCLIC, "one_cell": Grid((1, 1)), "points": points}[name]
    for logits in degenerate_logits(support.num_cells):
        for loss in (
            lambda z: variance_regularizer(z, support, target_variance=4.0),
            lambda z: jensen_shannon_regularizer(z, support, sigma_cells=2.0),
            lambda z: jensen_shannon_regularizer(z, support, sigma_cells=0.01, detach_mean=True),
        ):
            maps = support.unflatten(logits).expand(*BATCH, *support.shape).clone().requires_grad_()
            found = loss(maps)
            found.sum().backward()
            assert found.isfinite().all()
            assert maps.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_promoted_under_autocast(dtype):
    grid = GRIDS["2d"]
    logits = draw(*BATCH, 5, 4).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        variance = variance_regularizer(logits, grid, target_variance=4.0)
        divergence = jensen_shannon_regularizer(logits, grid, sigma_cells=2.0)
        (variance + divergence).sum().backward()
    full = logits.detach().float()
    assert torch.equal(variance, variance_regularizer(full, grid, target_variance=4.0))
    assert torch.equal(divergence, jensen_shannon_regularizer(full, grid, sigma_cells=2.0))
    assert logits.grad.isfinite().all()


def test_detaching_the_mean_changes_the_gradient_only():
    grid = GRIDS["2d"]
    outcomes = []
    for detach_mean in (False, True):
        logits = draw(*BATCH, 5, 4).requires_grad_()
        found = jensen_shannon_regularizer(logits, grid, sigma_cells=0.9, detach_mean=detach_mean)
        found.sum().backward()
        outcomes.append((found, logits.grad))
    assert torch.equal(outcomes[0][0], outcomes[1][0])
    assert not torch.allclose(outcomes[0][1], outcomes[1][1])


# The numbers of the cited work's code (Nibali et al.)


def normalized(shape):
    """The grid whose coordinates are that code's: cell centres between the map's edges at −1 and 1."""
    sizes = shape[::-1]
    return Grid(shape, stride=tuple(2 / n for n in sizes), offset=tuple(1 / n - 1 for n in sizes))


DTYPES = [(torch.float64, "_f64"), (torch.float32, "")]


@pytest.mark.parametrize(("dtype", "ending"), DTYPES, ids=["f64", "f32"])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_published_2d_losses_and_gradients(goldens, index, dtype, ending):
    arrays = goldens("05_dsntnn_2d")
    shape, sigma = arrays["logits"].shape[2:], float(arrays["sigmas"][index])
    grid = normalized(shape)
    mu = torch.from_numpy(arrays["mu_t"]).to(dtype)
    upstream = torch.from_numpy(arrays["loss_grad_weight"]).to(dtype)
    losses = {
        "var": lambda z: variance_regularizer(z, grid, target_variance=sigma**2),
        "js": lambda z: jensen_shannon_regularizer(z, grid, sigma_cells=sigma, center=mu),
        "js_at_own_mean": lambda z: jensen_shannon_regularizer(z, grid, sigma_cells=sigma),
        "js_at_own_mean_detached": lambda z: jensen_shannon_regularizer(z, grid, sigma_cells=sigma, detach_mean=True),
    }
    for name, loss in losses.items():
        logits = torch.from_numpy(arrays["logits"]).to(dtype).requires_grad_()
        found = loss(logits)
        (gradient,) = torch.autograd.grad(found, logits, upstream)
        # Variance losses reach 10^3 and are compared as relative errors; float32 as the golden numbers state. That code adds
        # 1e-24 inside its logarithms: 154 cells times 1e-24 times a logarithm of 55 is far below 1e-12.
        relative, absolute = (1e-11, 1e-12) if ending else ((1e-5, 1e-6) if name == "var" else (0, 1e-6))
        expected = torch.from_numpy(arrays[f"{name}_s{index}{ending}"])
        torch.testing.assert_close(found, expected, rtol=relative, atol=absolute)
        expected = torch.from_numpy(arrays[f"{name}_s{index}_grad_logits{ending}"])
        scale = max(1.0, expected.abs().max().item())
        slope = 1e-12 * scale if ending else (1e-5 if name == "var" else 1e-6) * scale
        torch.testing.assert_close(gradient, expected, rtol=0, atol=slope)
    gaussian = gaussian_log_probabilities(mu, grid, sigma_cells=sigma).exp().unflatten(-1, shape)
    expected = torch.from_numpy(arrays[f"make_gauss_s{index}{ending}"])
    torch.testing.assert_close(gaussian, expected, rtol=0, atol=1e-13 if ending else 1e-6)


@pytest.mark.parametrize(("dtype", "ending"), DTYPES, ids=["f64", "f32"])
@pytest.mark.parametrize("size", ["1d", "3d"])
def test_published_1d_and_3d_losses_and_gradients(goldens, size, dtype, ending):
    arrays = goldens(f"05_dsntnn_{size}")
    sigma, grid = float(arrays["sigma"]), normalized(arrays["logits"].shape[2:])
    mu = torch.from_numpy(arrays["mu_t"]).to(dtype)
    logits = torch.from_numpy(arrays["logits"]).to(dtype).requires_grad_()
    variance = variance_regularizer(logits, grid, target_variance=sigma**2)
    divergence = jensen_shannon_regularizer(logits, grid, sigma_cells=sigma, center=mu)
    expected = torch.from_numpy(arrays["var" + ending])
    torch.testing.assert_close(variance, expected, rtol=1e-11 if ending else 1e-5, atol=1e-12 if ending else 1e-6)
    expected = torch.from_numpy(arrays["js" + ending])
    torch.testing.assert_close(divergence, expected, rtol=0, atol=1e-12 if ending else 1e-6)
    # The file holds the gradient of a sum with the Kullback-Leibler divergence, which the papers do not use.
    log_p, log_q = logits.flatten(2).log_softmax(-1), gaussian_log_probabilities(mu, grid, sigma_cells=sigma)
    leibler = (log_p.exp() * (log_p - log_q)).sum()
    (gradient,) = torch.autograd.grad(0.01 * variance.sum() + divergence.sum() + leibler, logits)
    expected = torch.from_numpy(arrays["grad_logits_of_0p01var_plus_js_plus_kl" + ending])
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12 if ending else 1e-5)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: variance_regularizer(torch.zeros(7), None, target_variance=1.0),
            TypeError,
            "variance_regularizer: grid must be a heatpoint.Grid or heatpoint.Points, got NoneType.",
        ),
        (
            lambda: variance_regularizer(torch.zeros(7), GRIDS["1d"], target_variance=-1.0),
            ValueError,
            "variance_regularizer: target_variance must be at least 0, got -1.0. "
            "It is a variance, σ², not a standard deviation.",
        ),
        (
            lambda: variance_regularizer(torch.zeros(6), GRIDS["1d"], target_variance=1.0),
            ValueError,
            "variance_regularizer: logits must end in the grid's shape (7,), got (6,). "
            "Check the order of the dimensions: maps are (*batch, *grid.shape), slowest axis first.",
        ),
        (
            lambda: jensen_shannon_regularizer(torch.zeros(7), GRIDS["1d"], sigma_cells=0.0),
            ValueError,
            "jensen_shannon_regularizer: sigma_cells must be a finite number greater than 0, got 0.0.",
        ),
        (
            lambda: jensen_shannon_regularizer(torch.zeros(5, 4), GRIDS["2d"], sigma_cells=1.0, center=torch.zeros(3)),
            ValueError,
            "jensen_shannon_regularizer: center must hold 2 coordinates (x, y) in its last dimension, got (3,). "
            "It has the support's dimension, not the map's.",
        ),
        (
            lambda: jensen_shannon_regularizer(torch.full((7,), -torch.inf), GRIDS["1d"], sigma_cells=1.0),
            ValueError,
            "jensen_shannon_regularizer: logits must leave at least one cell of every map possible, got a map whose "
            "logits are all −inf. Give such a point weight 0 and any finite map.",
        ),
    ],
)
def test_error_texts(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


def test_the_mean_of_the_gaussian_is_its_center_inside_the_grid():
    grid = Grid((23, 31), stride=2.0)
    center = torch.tensor([31.3, 20.8], dtype=torch.float64)
    mean = expected_position(gaussian_log_probabilities(center, grid, sigma_cells=1.5).exp(), grid)
    # The nearest border is 7 sigma away; sampling a Gaussian of 1.5 cells at whole cells errs by exp(−2π² 1.5²) = 5e-20.
    torch.testing.assert_close(mean, center, rtol=0, atol=1e-9)
