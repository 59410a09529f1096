"""Scores: loops from their definitions, goldens, properness, gradients, the degenerate set, error texts."""

from __future__ import annotations

import importlib.util
import itertools
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles_scores as oracle
from heatpoint import Density, Gaussian, Grid, Points, sampling_argmax, scores
from heatpoint.sampling import Noise
from pages import ROOT, page

DISTANCES = ("l1", "l2", "smooth_l1", "squared")
GRIDS = {
    "1d": Grid((7,), stride=2, offset=0.5),
    "2d": Grid((5, 4), stride=(3, 0.75), offset=(1, -0.5)),
    "3d": Grid((3, 4, 2), stride=(0.5, 2, 1), offset=0),
}
CYCLIC = {
    "1d cyclic": Grid((6,), stride=2, cyclic=(0,)),
    "2d cyclic": Grid((3, 5), stride=(2, 0.75), offset=0, cyclic=(1,)),
}
CLOUD = Points(torch.randn(2, 1, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(7)))
SUPPORTS = {**GRIDS, **CYCLIC, "points": CLOUD}
# One call of each score on a grid; the same ones serve gradients, half precision and the degenerate set.
SCORES = {
    "error_of_expectation": lambda z, g, y: scores.error_of_expectation(z, g, y, distance="smooth_l1"),
    "expected_error discrete": lambda z, g, y: scores.expected_error(z, g, y, basis=None, distance="l2"),
    "expected_error basis": lambda z, g, y: scores.expected_error(z, g, y, basis="triangular", distance="l1"),
    "expected_error sampled": lambda z, g, y: scores.expected_error(z, g, y, num_samples=3, generator=_seed(1)),
    "rounded random": lambda z, g, y: scores.rounded_cross_entropy(z, g, y, generator=_seed(2)),
    "rounded expected": lambda z, g, y: scores.rounded_cross_entropy(z, g, y, label="expected"),
    "log_score triangular": lambda z, g, y: scores.log_score(z, g, y),
    "log_score gaussian": lambda z, g, y: scores.log_score(z, g, y, basis="gaussian"),
    "crps discrete": lambda z, g, y: scores.crps(z, g, y, basis=None),
    "crps basis": lambda z, g, y: scores.crps(z, g, y, basis="uniform"),
    "energy exact": lambda z, g, y: scores.energy_score(z, g, y),
    "energy sampled": lambda z, g, y: scores.energy_score(z, g, y, num_samples=4, basis="uniform", generator=_seed(3)),
}


def _seed(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _case(support, seed=0, dtype=torch.float64):
    """Logits (2, 3, *shape) and targets (2, 3, D) inside the support's own box."""
    generator = _seed(seed)
    logits = 1.5 * torch.randn(2, 3, *support.shape, dtype=torch.float64, generator=generator)
    u = torch.rand(2, 3, support.ndim, dtype=torch.float64, generator=generator)
    if isinstance(support, Grid):
        lengths = torch.tensor(support.lengths, dtype=torch.float64)
        target = support.to_points(u * (lengths - 1))
    else:
        target = 2 * u - 1
    return logits.to(dtype), target.to(dtype)


def _flat(support, logits, target):
    """[(weights, points, target)] of every map, as numpy and tuples."""
    found = []
    for b, k in itertools.product(range(2), range(3)):
        weights = oracle.softmax(logits[b, k].numpy()).ravel()
        if isinstance(support, Grid):
            points = [p for _, p in oracle.positions(support.shape, support.strides, support.offsets)]
        else:
            points = [tuple(p.tolist()) for p in support.xyz[b, 0]]
        found.append((weights, points, tuple(target[b, k].tolist())))
    return found


def _periods(support):
    if not isinstance(support, Grid):
        return None
    return [support.size[a] if a in support.cyclic else None for a in range(support.ndim)]


def _same(found, wanted, tolerance=1e-12):
    torch.testing.assert_close(
        found, torch.tensor(wanted, dtype=found.dtype).reshape(2, 3), rtol=tolerance, atol=tolerance
    )


# --- sampling-argmax ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("name", [*GRIDS, "points"])
def test_error_of_expectation_is_the_distance_of_the_mean(name, distance):
    support = SUPPORTS[name]
    logits, target = _case(support)
    wanted = []
    for weights, points, y in _flat(support, logits, target):
        mean = tuple(np.average(np.array(points), axis=0, weights=weights))
        wanted.append(oracle.distance(mean, y, distance))
    _same(scores.error_of_expectation(logits, support, target, distance=distance), wanted)


def test_error_of_expectation_goes_the_short_way_round():
    grid = Grid((8,), offset=0, cyclic=(0,))
    logits = torch.full((8,), -torch.inf, dtype=torch.float64)
    logits[7] = 0.0
    found = scores.error_of_expectation(logits, grid, torch.tensor([0.5]))
    assert found.item() == pytest.approx(1.5, abs=1e-12)


def test_sign_gradient_changes_the_gradient_alone():
    grid = GRIDS["2d"]
    logits, target = _case(grid)
    results = {}
    for sign in (False, True):
        leaf = logits.clone().requires_grad_()
        value = scores.error_of_expectation(leaf, grid, target, sign_gradient=sign)
        value.sum().backward()
        results[sign] = (value.detach(), leaf.grad)
    assert torch.equal(results[False][0], results[True][0])
    assert not torch.allclose(results[False][1], results[True][1])


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("name", SUPPORTS)
def test_expected_error_of_the_cells_is_the_sum_of_equation_4(name, distance):
    support = SUPPORTS[name]
    logits, target = _case(support)
    wanted = [
        oracle.expected_error(w, points, y, distance, _periods(support))
        for w, points, y in _flat(support, logits, target)
    ]
    _same(scores.expected_error(logits, support, target, basis=None, distance=distance), wanted)


@pytest.mark.parametrize("distance", DISTANCES)
def test_expected_error_under_a_basis_is_the_integral_over_its_density(distance):
    grid = GRIDS["1d"]
    logits, target = _case(grid)
    # Midpoints 0.01 apart, with all kinks of the density between two of them: what is left is 0.01² / 24 times the second
    # derivative, and 0.01² / 4 · density at the distance's own kink: below 5e-5.
    ys = np.arange(-4, 18, 0.01) + 0.005
    wanted = []
    for weights, points, y in _flat(grid, logits, target):
        density = [oracle.triangular_density(weights, [p[0] for p in points], 2.0, v) for v in ys]
        wanted.append(0.01 * sum(d * oracle.distance((v,), y, distance) for d, v in zip(density, ys, strict=True)))
    _same(scores.expected_error(logits, grid, target, basis="triangular", distance=distance), wanted, 5e-5)


@pytest.mark.parametrize("basis", ["uni", "tri", "gaussian"])
@pytest.mark.parametrize("variant", ["tau2", "tau05", "tau125"])
def test_published_code_loss_and_gradient(goldens, basis, variant):
    golden = goldens(f"01_sa2d_{basis}_{variant}")
    logits = torch.from_numpy(golden["logits"]).double().requires_grad_()
    batch, points, height, width = logits.shape
    # The code's coordinates run from −½ at cell 0, in units of the map's size.
    grid = Grid((height, width), stride=(1 / width, 1 / height), offset=(-0.5, -0.5))
    noise = Noise(
        torch.from_numpy(golden["noise_gumbel_u"]).double().permute(2, 0, 1, 3).unflatten(-1, (height, width)),
        tuple(torch.from_numpy(golden[f"noise_{axis}"]).double().permute(2, 0, 1, 3) for axis in "xy"),
    )
    target = torch.from_numpy(golden["target_uv"]).double().reshape(batch, points, 2)
    weight = torch.from_numpy(golden["target_uv_weight"]).double().reshape(batch, points, 2)
    assert torch.equal(weight[..., 0], weight[..., 1])
    for sign, key in ((True, "grad_logits_clip_f64"), (False, "grad_logits_plain_f64")):
        error = scores.expected_error(
            logits,
            grid,
            target,
            basis={"uni": "uniform", "tri": "triangular"}.get(basis, basis),
            num_samples=int(golden["num_samples"]),
            temperature=float(golden["tau"]),
            formula="released",
            noise=noise,
            sign_gradient=sign,
        )
        loss = (error * weight[..., 0]).sum() / batch
        assert loss.item() == pytest.approx(float(golden["loss_f64"]), rel=1e-10)
        (gradient,) = torch.autograd.grad(loss, logits)
        np.testing.assert_allclose(gradient.numpy(), golden[key], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("distance", DISTANCES)
def test_sampled_expected_error_is_the_mean_over_its_samples(distance):
    grid = GRIDS["2d"]
    logits, target = _case(grid)
    options = {"basis": "uniform", "num_samples": 5, "temperature": 0.7, "formula": "released"}
    samples = sampling_argmax(logits, grid, generator=_seed(4), **options)
    wanted = [
        np.mean([oracle.distance(tuple(s[b, k].tolist()), tuple(target[b, k].tolist()), distance) for s in samples])
        for b, k in itertools.product(range(2), range(3))
    ]
    found = scores.expected_error(logits, grid, target, distance=distance, generator=_seed(4), **options)
    _same(found, wanted)
    low = scores.expected_error(logits, grid, target, distance=distance, generator=_seed(4), memory="low", **options)
    assert torch.equal(found, low)


def test_recorded_noise_alone_asks_for_samples():
    grid = Grid((3,))
    noise = Noise(torch.full((2, 3), 0.5))
    logits = torch.tensor([0.0, 1.0, -1.0])
    found = scores.expected_error(logits, grid, torch.tensor([1.0]), basis=None, noise=noise)
    # Equal noise in every cell shifts all logits alike: both samples are the soft-argmax.
    assert found.item() == pytest.approx(
        scores.error_of_expectation(logits, grid, torch.tensor([1.0])).item(), abs=1e-6
    )


def test_sampled_expected_error_approaches_the_exact_one_as_the_temperature_falls():
    grid = Grid((6,), stride=2)
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5, 0.0], dtype=torch.float64)
    target = torch.tensor([4.0], dtype=torch.float64)
    exact = scores.expected_error(logits, grid, target, basis="uniform")
    errors = scores.expected_error(
        logits.expand(4000, 6), grid, target.expand(4000, 1), basis="uniform", num_samples=1, temperature=1e-3,
        generator=_seed(5),
    )  # fmt: skip
    # Five standard errors of the mean: fails once in 1.7 million seeds.
    assert abs(errors.mean() - exact) < 5 * errors.std() / math.sqrt(4000)


# --- randomized rounding --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRIDS)
def test_expected_label_has_the_mean_loss_and_mean_gradient_over_all_roundings(name):
    grid = GRIDS[name]
    logits, target = _case(grid)
    # Targets beyond the border too, where rounding clips.
    target[0, 0] = grid.to_points(torch.full((grid.ndim,), -0.7, dtype=torch.float64))
    target[1, 2] = grid.to_points(torch.tensor([n - 0.4 for n in grid.lengths], dtype=torch.float64))
    leaf = logits.clone().requires_grad_()
    found = scores.rounded_cross_entropy(leaf, grid, target, label="expected")
    found.sum().backward()
    cells = grid.to_cells(target)
    for b, k in itertools.product(range(2), range(3)):
        p = oracle.softmax(logits[b, k].numpy())
        loss, gradient = 0.0, np.zeros(grid.shape)
        for probability, cell in oracle.roundings(cells[b, k].tolist(), grid.lengths):
            one_hot = np.zeros(grid.shape)
            one_hot[cell[::-1]] = 1
            loss -= probability * math.log(p[cell[::-1]])
            gradient += probability * (p - one_hot)
        assert found[b, k].item() == pytest.approx(loss, rel=1e-12)
        np.testing.assert_allclose(leaf.grad[b, k].numpy(), gradient, atol=1e-13)


def test_random_label_is_one_of_the_roundings_with_their_probabilities():
    grid = GRIDS["2d"]
    logits, target = _case(grid)
    many = 3000
    one, point = logits[0, 0].requires_grad_(), target[0, 0]
    losses = scores.rounded_cross_entropy(one.expand(many, *grid.shape), grid, point, generator=_seed(6))
    assert losses.shape == (many,)
    p = oracle.softmax(one.detach().numpy())
    outcomes = {-math.log(p[c[::-1]]): q for q, c in oracle.roundings(grid.to_cells(point).tolist(), grid.lengths)}
    for value, probability in outcomes.items():
        count = (losses - value).abs().lt(1e-9).sum().item()
        # A binomial count within 5 standard deviations, four outcomes: fails once in 400 000 seeds.
        assert abs(count - many * probability) < 5 * math.sqrt(many * probability * (1 - probability)) + 1e-9
    (gradient,) = torch.autograd.grad(losses.mean(), one)
    (expected,) = torch.autograd.grad(scores.rounded_cross_entropy(one, grid, point, label="expected"), one)
    # Each entry is a mean of numbers within 1, of standard deviation at most ½: 6 · 0.5 / √3000.
    assert (gradient - expected).abs().max() < 6 * 0.5 / math.sqrt(many)
    again = scores.rounded_cross_entropy(one.expand(many, *grid.shape), grid, point, generator=_seed(6))
    assert torch.equal(losses, again)


@pytest.mark.parametrize("name", GRIDS)
def test_two_channels_are_a_cross_entropy_per_cell(name):
    grid = GRIDS[name]
    both = torch.stack([_case(grid, 1)[0], _case(grid, 2)[0]], dim=2)
    target = _case(grid)[1]
    wanted = []
    for b, k in itertools.product(range(2), range(3)):
        cells = grid.to_cells(target[b, k]).tolist()
        total = 0.0
        for probability, label in oracle.roundings(cells, grid.lengths):
            for index in itertools.product(*[range(n) for n in grid.shape]):
                pair = np.array([both[b, k, 0][index], both[b, k, 1][index]])
                here = 1 if index[::-1] == label else 0
                total -= probability * math.log(oracle.softmax(pair)[here]) / grid.num_cells
        wanted.append(total)
    _same(scores.two_channel_cross_entropy(both, grid, target, label="expected"), wanted)
    on_cell = grid.to_points(torch.ones(grid.ndim, dtype=torch.float64))
    random = scores.two_channel_cross_entropy(both, grid, on_cell, generator=_seed(8))
    torch.testing.assert_close(random, scores.two_channel_cross_entropy(both, grid, on_cell, label="expected"))


def test_two_channels_take_a_forbidden_class():
    logits = torch.zeros(1, 2, 4, requires_grad=True)
    with torch.no_grad():
        logits[0, 1, 3] = -torch.inf
    loss = scores.two_channel_cross_entropy(logits, Grid((4,), offset=0), torch.tensor([[1.0]]))
    loss.sum().backward()
    assert loss.item() == pytest.approx(3 * math.log(2) / 4, rel=1e-6)
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["mse", "mae", "smooth_l1"])
@pytest.mark.parametrize("name", GRIDS)
def test_map_error_is_the_mean_over_cells(name, kind):
    grid = GRIDS[name]
    maps, target = _case(grid)
    wanted = []
    for b, k in itertools.product(range(2), range(3)):
        gaussian = oracle.gaussian_target(grid.shape, grid.to_cells(target[b, k]).tolist(), 1.5)
        d = np.abs(maps[b, k].numpy() - gaussian)
        wanted.append({"mse": d**2, "mae": d, "smooth_l1": np.where(d < 1, d**2 / 2, d - 0.5)}[kind].mean())
    _same(scores.map_error(maps, grid, target, kind=kind, sigma_cells=1.5), wanted)
    perfect = torch.from_numpy(oracle.gaussian_target(grid.shape, grid.to_cells(target[0, 0]).tolist(), 2.0))
    assert scores.map_error(perfect, grid, target[0, 0], kind=kind).item() < 1e-15


@pytest.mark.parametrize(("center", "offsets"), [("floor", (0, 0)), ("round", (0, 1)), ("ceil", (1, 1))])
@pytest.mark.parametrize("sigma", [0.0, 1.5])
def test_map_error_can_stand_at_a_rounded_cell(center, offsets, sigma):
    grid = Grid((5, 7), stride=3)
    target = grid.to_points(torch.tensor([2.25, 1.75], dtype=torch.float64))
    cell = [2 + offsets[0], 1 + offsets[1]]
    wanted = np.zeros((5, 7))
    wanted[cell[1], cell[0]] = 1
    if sigma:
        wanted = oracle.gaussian_target(grid.shape, cell, sigma)
    maps = torch.linspace(0, 1, 35, dtype=torch.float64).reshape(5, 7)
    found = scores.map_error(maps, grid, target, sigma_cells=sigma, center=center)
    assert found.item() == pytest.approx(((maps.numpy() - wanted) ** 2).mean(), rel=1e-12)


def test_map_error_rounds_at_random_as_often_as_the_fraction_says():
    grid = Grid((9,), offset=0)
    generator = torch.Generator().manual_seed(4)
    target = torch.full((4000, 1), 3.3, dtype=torch.float64)
    one_hot = torch.zeros(9, dtype=torch.float64)
    one_hot[4] = 1
    loss = scores.map_error(one_hot.expand(4000, 9), grid, target, sigma_cells=0, center="random", generator=generator)
    share = (loss < 1e-12).double().mean().item()
    # Five standard deviations of a share of 0.3 in 4000 draws: one false alarm in two million seeds.
    assert share == pytest.approx(0.3, abs=5 * math.sqrt(0.3 * 0.7 / 4000))
    assert set(loss.round(decimals=9).tolist()) == {0.0, round(2 / 9, 9)}


def test_map_error_cuts_the_gaussian_off():
    grid = Grid((11,), offset=0)
    target = torch.tensor([5.0], dtype=torch.float64)
    wanted = oracle.gaussian_target(grid.shape, [5], 1.5)
    wanted[[0, 10]] = 0  # Farther than 3 x 1.5 cells.
    found = scores.map_error(torch.zeros(11, dtype=torch.float64), grid, target, sigma_cells=1.5, radius_sigmas=3)
    assert found.item() == pytest.approx((wanted**2).mean(), rel=1e-12)


def test_a_binary_map_needs_a_cell():
    text = 'map_error: sigma_cells must be greater than 0 with center="exact", got 0. The binary map is that of a cell'
    with pytest.raises(ValueError, match=re.escape(text)):
        scores.map_error(torch.zeros(5), Grid((5,)), torch.tensor([1.0]), sigma_cells=0)


@pytest.mark.parametrize("label", ["floor", "round", "ceil"])
def test_a_vanilla_label_is_one_hot_at_the_rounded_cell(label):
    grid = Grid((4, 6), stride=2)
    target = grid.to_points(torch.tensor([3.75, 0.25], dtype=torch.float64))
    logits = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    x, y = {"floor": (3, 0), "round": (4, 0), "ceil": (4, 1)}[label]
    wanted = -torch.log_softmax(logits.flatten(), 0).reshape(4, 6)[y, x]
    assert scores.rounded_cross_entropy(logits, grid, target, label=label).item() == pytest.approx(
        wanted.item(), rel=1e-12
    )


# --- proper scores --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRIDS)
def test_log_score_is_the_density_at_the_target(name):
    grid = GRIDS[name]
    logits, target = _case(grid)
    wanted = []
    for weights, points, y in _flat(grid, logits, target):
        density = sum(
            w * math.prod(max(0.0, 1 - abs(y[a] - p[a]) / s) / s for a, s in enumerate(grid.strides))
            for w, p in zip(weights, points, strict=True)
        )
        wanted.append(-math.log(density))
    _same(scores.log_score(logits, grid, target), wanted)


def test_log_score_on_points_and_its_options():
    logits, target = _case(CLOUD)
    wanted = []
    for weights, points, y in _flat(CLOUD, logits, target):
        squares = [sum((a - b) ** 2 for a, b in zip(p, y, strict=True)) for p in points]
        density = sum(w * math.exp(-q / 0.18) / (2 * math.pi * 0.09) for w, q in zip(weights, squares, strict=True))
        wanted.append(-math.log(density))
    _same(scores.log_score(logits, CLOUD, target, basis=Gaussian(0.3)), wanted, 1e-10)
    grid = GRIDS["1d"]
    logits, target = _case(grid)
    cut = scores.log_score(logits, grid, target, basis="gaussian", truncate=True)
    assert (cut < scores.log_score(logits, grid, target, basis="gaussian")).all()


def test_log_score_beyond_the_reach_is_infinite_without_a_gradient():
    logits = torch.zeros(2, 5, requires_grad=True)
    found = scores.log_score(logits, Grid((5,), offset=0), torch.tensor([[-9.0], [2.0]]))
    assert found.tolist() == [torch.inf, pytest.approx(math.log(5))]
    found.sum().backward()
    assert torch.equal(logits.grad[0], torch.zeros(5))
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", [*GRIDS, "points"])
def test_discrete_crps_is_the_integral_of_the_squared_cdf_error(name):
    support = SUPPORTS[name]
    logits, target = _case(support)
    wanted = [
        sum(oracle.crps_by_integral(w, [p[a] for p in points], y[a]) for a in range(support.ndim))
        for w, points, y in _flat(support, logits, target)
    ]
    _same(scores.crps(logits, support, target, basis=None), wanted)


@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize("basis", ["uniform", "triangular", "gaussian"])
@pytest.mark.parametrize("name", ["1d", "2d"])
def test_crps_of_a_density_is_the_integral_of_the_squared_cdf_error(name, basis, truncate):
    grid = GRIDS[name]
    logits, target = _case(grid)
    density = Density(logits, grid, basis=basis, truncate=truncate)
    wanted = torch.zeros(2, 3, dtype=torch.float64)
    for axis in range(grid.ndim):
        marginal = density.marginal(axis)
        # Midpoints 0.01 apart out to 8 standard deviations. The step at the target costs at most half a step, 0.005; a
        # node is put on it, which leaves the midpoint rule's 0.01² · variation.
        steps = torch.arange(-40, 40, 0.01, dtype=torch.float64) + 0.005
        x = target[..., axis] + steps.reshape(-1, 1, 1)
        squares = (marginal.cdf(x[..., None]).reshape(x.shape) - (steps >= 0).double().reshape(-1, 1, 1)) ** 2
        wanted = wanted + 0.01 * squares.sum(dim=0)
    found = scores.crps(logits, grid, target, basis=basis, truncate=truncate)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SUPPORTS)
def test_exact_energy_score_is_the_double_sum(name):
    support = SUPPORTS[name]
    logits, target = _case(support)
    wanted = [oracle.energy_score(w, points, y, _periods(support)) for w, points, y in _flat(support, logits, target)]
    _same(scores.energy_score(logits, support, target), wanted)
    single = scores.energy_score(logits.float(), support, target.float())
    # Cancellation in float32: the mean distance of all lags, below 20, times a few roundings.
    torch.testing.assert_close(
        single.double(), scores.energy_score(logits, support, target), rtol=0, atol=20 * 16 * 6e-8
    )


def test_in_one_dimension_the_energy_score_is_the_crps():
    grid = GRIDS["1d"]
    logits, target = _case(grid)
    for basis in (None, "uniform", "triangular", "gaussian"):
        torch.testing.assert_close(
            scores.energy_score(logits, grid, target, basis=basis), scores.crps(logits, grid, target, basis=basis)
        )


def test_sampled_energy_score_is_its_loops_over_samples_and_pairs():
    grid = GRIDS["2d"]
    logits, target = _case(grid)
    options = {"basis": "uniform", "num_samples": 4, "temperature": 0.6}
    samples = sampling_argmax(logits, grid, generator=_seed(9), **options)
    wanted = []
    for b, k in itertools.product(range(2), range(3)):
        draws = [tuple(s[b, k].tolist()) for s in samples]
        near = np.mean([oracle.distance(d, tuple(target[b, k].tolist()), "l2") for d in draws])
        pairs = [oracle.distance(p, q, "l2") for p, q in itertools.permutations(draws, 2)]
        wanted.append(near - 0.5 * np.mean(pairs))
    _same(scores.energy_score(logits, grid, target, generator=_seed(9), **options), wanted)
    low = scores.energy_score(logits, grid, target, generator=_seed(9), memory="low", **options)
    _same(low, wanted)


def test_sampled_energy_score_is_unbiased_for_two_samples_as_the_temperature_falls():
    grid = Grid((3, 4), stride=2)
    logits = _case(grid)[0][0, 0]
    target = torch.tensor([3.0, 1.0], dtype=torch.float64)
    exact = scores.energy_score(logits, grid, target)
    found = scores.energy_score(
        logits.expand(4000, 3, 4), grid, target, num_samples=2, temperature=1e-3, generator=_seed(10)
    )
    # Five standard errors of the mean: fails once in 1.7 million seeds. Counting a draw with itself as a pair would be off by
    # a quarter of the spread, some 30 standard errors.
    assert abs(found.mean() - exact) < 5 * found.std() / math.sqrt(4000)


def _optimum(score, grid, cells, law):
    """The map that minimises the expected score of targets on the cells, drawn from `law`."""
    logits = torch.zeros(grid.num_cells, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe", tolerance_change=1e-14)

    def closure():
        optimizer.zero_grad()
        values = score(logits.expand(len(cells), -1).unflatten(-1, grid.shape), grid, cells)
        loss = (law * values).sum()
        loss.backward()
        return loss

    for _ in range(4):
        optimizer.step(closure)
    return logits.detach().softmax(-1)


LAW = torch.tensor([0.1, 0.25, 0.3, 0.05, 0.18, 0.12], dtype=torch.float64)


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
def test_expected_error_alone_is_optimal_at_a_spike(shape):
    grid = Grid(shape, stride=2, offset=0)
    cells = grid.cell_centers(dtype=torch.float64).reshape(-1, grid.ndim)
    found = _optimum(lambda z, g, y: scores.expected_error(z, g, y, basis=None, distance="l2"), grid, cells, LAW)
    assert found.max() > 0.999
    # The spike sits on the cell of least mean distance, the (geometric) median.
    risk = (torch.cdist(cells, cells) * LAW[None]).sum(-1)
    assert found.argmax() == risk.argmin()


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
@pytest.mark.parametrize(
    "score",
    [
        lambda z, g, y: scores.energy_score(z, g, y),
        lambda z, g, y: scores.rounded_cross_entropy(z, g, y, label="expected"),
        lambda z, g, y: scores.log_score(z, g, y),
    ],
    ids=["energy_score", "rounded_cross_entropy", "log_score"],
)
def test_proper_scores_are_optimal_at_the_law_of_the_targets(score, shape):
    grid = Grid(shape, stride=2, offset=0)
    cells = grid.cell_centers(dtype=torch.float64).reshape(-1, grid.ndim)
    torch.testing.assert_close(_optimum(score, grid, cells, LAW), LAW, rtol=0, atol=1e-4)


def test_crps_is_optimal_at_the_law_of_the_targets_in_one_dimension():
    grid = Grid((6,), stride=2, offset=0)
    cells = grid.cell_centers(dtype=torch.float64)
    found = _optimum(lambda z, g, y: scores.crps(z, g, y, basis=None), grid, cells, LAW)
    torch.testing.assert_close(found, LAW, rtol=0, atol=1e-4)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), basis=st.sampled_from(["uniform", "triangular", "gaussian"]))
def test_no_other_density_expects_a_better_score_than_the_true_one(seed, basis):
    grid = Grid((5,), stride=1.5)
    generator = _seed(seed)
    true, other = torch.randn(2, 5, dtype=torch.float64, generator=generator)
    # The law of the targets is the mixture itself, integrated by midpoints.
    ys = torch.arange(-12, 20, 0.02, dtype=torch.float64)[:, None] + 0.01
    law = 0.02 * Density(true, grid, basis=basis).log_prob(ys).exp()
    reached = law > 0
    ys, law = ys[reached], law[reached]
    for score in (scores.crps, scores.log_score):
        at_truth = (law * score(true.expand(len(ys), 5), grid, ys, basis=basis)).sum()
        elsewhere = (law * score(other.expand(len(ys), 5), grid, ys, basis=basis)).sum()
        assert at_truth < elsewhere
    spike = torch.tensor([-50.0, -50.0, 0.0, -50.0, -50.0], dtype=torch.float64)
    at_truth = (law * scores.expected_error(true.expand(len(ys), 5), grid, ys, basis=basis)).sum()
    best = min(
        (law * scores.expected_error(spike.roll(i).expand(len(ys), 5), grid, ys, basis=basis)).sum() for i in range(5)
    )
    assert best < at_truth


# --- properties, gradients, degenerate maps -------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    shift=st.floats(-50, 50),
    stride=st.floats(0.3, 8),
    name=st.sampled_from(
        ["error_of_expectation", "expected_error discrete", "crps discrete", "crps basis", "energy exact"]
    ),
)
def test_distances_move_and_scale_with_the_grid(seed, shift, stride, name):
    logits = torch.randn(3, 4, 5, dtype=torch.float64, generator=_seed(seed))
    cells = torch.rand(3, 2, dtype=torch.float64, generator=_seed(seed + 1)) * 3
    unit, moved = Grid((4, 5), offset=0), Grid((4, 5), stride=stride, offset=shift)
    call = SCORES["expected_error discrete" if name == "error_of_expectation" else name]
    found, base = call(logits, moved, moved.to_points(cells)), call(logits, unit, cells)
    # Coordinates of up to 90 in float64 cost 1e-13 each.
    torch.testing.assert_close(found, stride * base, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("name", GRIDS)
def test_gradients_are_the_derivatives(name, score):
    grid = GRIDS[name]
    logits, target = _case(grid)
    logits = logits[:1, :2].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: SCORES[score](z, grid, target[:1, :2]), (logits,), atol=1e-5, fast_mode=True
    )


@pytest.mark.parametrize(
    "score", ["error_of_expectation", "expected_error discrete", "crps discrete", "energy exact", "crps basis"]
)
def test_gradients_reach_the_target(score):
    grid = GRIDS["2d"]
    logits, target = _case(grid)
    target = target[:1, :2].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda y: SCORES[score](logits[:1, :2], grid, y), (target,), atol=1e-5, fast_mode=True
    )


def test_gradients_reach_the_points_of_a_cloud():
    xyz = CLOUD.xyz.clone().requires_grad_()
    logits, target = _case(CLOUD)
    assert torch.autograd.gradcheck(lambda x: scores.energy_score(logits, Points(x), target), (xyz,), fast_mode=True)
    assert torch.autograd.gradcheck(
        lambda x: scores.crps(logits, Points(x), target, basis=None), (xyz,), fast_mode=True
    )


def _degenerate(grid):
    one_hot = torch.full(grid.shape, -1e4)
    one_hot[tuple(n // 2 for n in grid.shape)] = 1e4
    alone = torch.full(grid.shape, -torch.inf)
    alone[tuple(n // 2 for n in grid.shape)] = 3.0
    border = torch.zeros(grid.shape)
    border[tuple(0 for _ in grid.shape)] = 1e4
    return {"one-hot": one_hot, "uniform": torch.zeros(grid.shape), "alone": alone, "border": border}


@pytest.mark.parametrize("kind", ["one-hot", "uniform", "alone", "border"])
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("grid", [Grid((4, 6), stride=2), Grid((1, 5)), Grid((7, 1))], ids=str)
def test_degenerate_maps_have_finite_gradients(grid, score, kind):
    logits = _degenerate(grid)[kind].requires_grad_()
    peak = grid.to_points(torch.tensor([float(n // 2) for n in grid.lengths]))
    for target in (peak, peak + 0.3):
        found = SCORES[score](logits, grid, target)
        finite = found.isfinite()
        # Only −log of a probability that is exactly 0 may be infinite: at a label, or out of a basis's reach.
        assert finite or (score.startswith(("rounded", "log_score")) and kind in ("alone", "one-hot", "border"))
        (gradient,) = torch.autograd.grad(found, logits)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("score", SCORES)
def test_half_precision_is_promoted(score, dtype):
    grid = GRIDS["2d"]
    logits, target = _case(grid, dtype=torch.float32)
    half = logits.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = SCORES[score](half, grid, target)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, SCORES[score](logits.to(dtype).float(), grid, target))
    found.sum().backward()
    assert half.grad.isfinite().all()


@pytest.mark.parametrize("score", SCORES)
def test_a_target_is_shared_by_the_batch(score):
    grid = GRIDS["2d"]
    logits, target = _case(grid)
    one = target[0, 0]
    found = SCORES[score](logits, grid, one)
    assert found.shape == (2, 3)
    torch.testing.assert_close(found, SCORES[score](logits, grid, one.expand(2, 3, 2)))


# --- error texts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", SCORES)
def test_a_target_of_the_wrong_dimension_is_refused(score):
    function = {"expected_error": "expected_error", "rounded": "rounded_cross_entropy", "energy": "energy_score"}.get(
        score.split()[0], score.split()[0]
    )
    grid, logits = GRIDS["2d"], torch.zeros(2, 3, 5, 4)
    text = rf"{function}: target must hold 2 coordinates \(x, y\) in its last dimension, got \(2, 3, 3\)"
    with pytest.raises(ValueError, match=text):
        SCORES[score](logits, grid, torch.zeros(2, 3, 3))
    text = rf"{function}: target must have the batch dimensions of the maps, \(2, 3\), before its last, got \(4, 2\)"
    with pytest.raises(ValueError, match=text):
        SCORES[score](logits, grid, torch.zeros(4, 2))
    with pytest.raises(ValueError, match="target must have the batch dimensions"):
        SCORES[score](logits, grid, torch.zeros(5, 2, 3, 2))
    with pytest.raises(ValueError, match=rf"{function}: logits must end in the grid's shape \(5, 4\)"):
        SCORES[score](torch.zeros(2, 4, 5), grid, torch.zeros(2, 2))


@pytest.mark.parametrize("score", SCORES)
def test_a_map_without_a_possible_cell_is_refused(score):
    with pytest.raises(ValueError, match="logits must leave at least one cell of every map possible"):
        SCORES[score](torch.full((3, 5, 4), -torch.inf), GRIDS["2d"], torch.zeros(3, 2))


@pytest.mark.parametrize(
    "call",
    [
        lambda g: scores.rounded_cross_entropy(torch.zeros(6), g, torch.zeros(2)),
        lambda g: scores.two_channel_cross_entropy(torch.zeros(2, 6), g, torch.zeros(2)),
        lambda g: scores.map_error(torch.zeros(6), g, torch.zeros(2)),
    ],
)
def test_what_needs_a_lattice_refuses_points(call):
    with pytest.raises(TypeError, match=r"grid must be a heatpoint.Grid, got Points"):
        call(Points(torch.zeros(6, 2)))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda z, g, y: scores.error_of_expectation(z, g, y, distance="l3"),
            "error_of_expectation: distance must be one of l1, l2, smooth_l1, squared, got 'l3'",
        ),
        (
            lambda z, g, y: scores.expected_error(z, g, y, distance="smooth"),
            "expected_error: distance must be one of l1, l2, smooth_l1, squared, got 'smooth'. Did you mean smooth_l1?",
        ),
        (
            lambda z, g, y: scores.expected_error(z, g, y, sign_gradient=True),
            "expected_error: sign_gradient must be False without num_samples, got True.",
        ),
        (
            lambda z, g, y: scores.rounded_cross_entropy(z, g, y, label="rand"),
            "rounded_cross_entropy: label must be one of ceil, expected, floor, random, round, got 'rand'. "
            "Did you mean random or round?",
        ),
        (
            lambda z, g, y: scores.map_error(z, g, y, kind="mes"),
            "map_error: kind must be one of mae, mse, smooth_l1, got 'mes'. Did you mean mse or mae?",
        ),
        (
            lambda z, g, y: scores.energy_score(z, g, y, num_samples=1),
            "energy_score: num_samples must be at least 2, got 1. A spread needs pairs.",
        ),
        (
            lambda z, g, y: scores.energy_score(z, g, y, basis="uniform"),
            "energy_score: basis must be None without num_samples beyond 1D, got uniform. Give num_samples, or basis=None",
        ),
        (
            lambda z, g, y: scores.two_channel_cross_entropy(z, g, y),
            "two_channel_cross_entropy: logits must be (*batch, 2, *grid.shape) with grid.shape (5, 4), got (3, 5, 4).",
        ),
    ],
)
def test_error_texts(call, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        call(torch.zeros(3, 5, 4), GRIDS["2d"], torch.zeros(3, 2))


def test_crps_refuses_a_circle():
    text = "crps: grid must have no cyclic axis, got .* energy_score with basis=None works on a circle."
    with pytest.raises(ValueError, match=text):
        scores.crps(torch.zeros(6), CYCLIC["1d cyclic"], torch.zeros(1))


def test_a_score_needs_a_support():
    with pytest.raises(TypeError, match="energy_score: grid must be a heatpoint.Grid or heatpoint.Points, got tuple"):
        scores.energy_score(torch.zeros(6), (6,), torch.zeros(1))


ONE_NAN = torch.tensor([[0.0, 1.0, torch.nan, 2.0], [0.0, 1.0, 3.0, 2.0]])
NAN_SCORES = {
    **SCORES,
    "error_of_expectation l2": lambda z, g, y: scores.error_of_expectation(z, g, y, distance="l2"),
    "expected_error basis l2": lambda z, g, y: scores.expected_error(z, g, y, distance="l2"),
    "expected_error sampled l2": lambda z, g, y: scores.expected_error(
        z, g, y, num_samples=3, distance="l2", generator=_seed(1)
    ),
    "map_error": lambda z, g, y: scores.map_error(z, g, y),
}


@pytest.mark.parametrize("score", NAN_SCORES)
@pytest.mark.parametrize("grid", [Grid((4,)), Grid((2, 2))], ids=["1d", "2d"])
def test_nan_in_a_map_is_nan_in_its_loss_alone(monkeypatch, grid, score):
    monkeypatch.setenv("HEATPOINT_CHECK", "0")
    logits = ONE_NAN.reshape(2, *grid.shape)
    found = NAN_SCORES[score](logits, grid, torch.full((2, grid.ndim), 0.4))
    assert found.isnan().tolist() == [True, False]


@pytest.mark.parametrize("score", NAN_SCORES)
@pytest.mark.parametrize("grid", [Grid((4,)), Grid((2, 2))], ids=["1d", "2d"])
def test_a_nan_target_is_never_a_number(monkeypatch, grid, score):
    monkeypatch.setenv("HEATPOINT_CHECK", "0")
    target = torch.full((2, grid.ndim), 0.4)
    target[0, 0] = torch.nan
    logits = torch.zeros(2, *grid.shape, requires_grad=True)
    if score.startswith(("rounded", "map_error")):
        function = "map_error" if score == "map_error" else "rounded_cross_entropy"
        with pytest.raises(ValueError, match=f"^{function}: target must be finite, got NaN or infinity"):
            NAN_SCORES[score](logits, grid, target)
        return
    found = NAN_SCORES[score](logits, grid, target)
    assert found.isnan().tolist() == [True, False]
    # The other map of the batch still has its gradient.
    found[1].backward()
    assert logits.grad[1].isfinite().all()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda z, g, y, b: scores.expected_error(z, g, y, basis=b), "expected_error"),
        (lambda z, g, y, b: scores.expected_error(z, g, y, basis=b, num_samples=2), "expected_error"),
        (lambda z, g, y, b: scores.log_score(z, g, y, basis=b), "log_score"),
        (lambda z, g, y, b: scores.crps(z, g, y, basis=b), "crps"),
        (lambda z, g, y, b: scores.energy_score(z, g, y, basis=b, num_samples=2), "energy_score"),
    ],
)
def test_errors_name_the_function_that_was_called(call, name):
    good, target, cloud = torch.zeros(2, 4), torch.zeros(2, 1), Points(torch.zeros(4, 1))
    with pytest.raises(ValueError, match=f"^{name}: logits must leave at least one cell"):
        call(torch.full((2, 4), -torch.inf), Grid((4,)), target, "triangular")
    with pytest.raises(ValueError, match=f"^{name}: basis must be one of gaussian, triangular, uniform, got 'tri'"):
        call(good, Grid((4,)), target, "tri")
    with pytest.raises(ValueError, match=f"^{name}: basis must be Gaussian on Points"):
        call(good, cloud, target, "triangular")
    with pytest.raises(TypeError, match=f"^{name}: target must be a torch.Tensor, got list"):
        call(good, Grid((4,)), [[0.0], [0.0]], "triangular")
    with pytest.raises(TypeError, match=f"^{name}: logits must be a torch.Tensor, got ndarray"):
        call(np.zeros((2, 4)), Grid((4,)), target, "triangular")


def test_more_error_texts():
    grid, logits, target = Grid((4,)), torch.zeros(2, 4), torch.zeros(2, 1)
    with pytest.raises(
        TypeError, match="^log_score: basis must be a name, a Basis, or a dict that holds its name, got None"
    ):
        scores.log_score(logits, grid, target, basis=None)
    with pytest.raises(ValueError, match=r"^expected_error: grid must have no cyclic axis, got Grid\(\(4,\), "):
        scores.expected_error(logits, Grid((4,), cyclic=(0,)), target)
    with pytest.raises(ValueError, match="^expected_error: temperature must be a finite number greater than 0, got 0"):
        scores.expected_error(logits, grid, target, num_samples=2, temperature=0)
    with pytest.raises(ValueError, match="^energy_score: sign_gradient must be False without num_samples, got True"):
        scores.energy_score(logits, grid, target, sign_gradient=True)
    for bad in (torch.nan, torch.inf):
        maps = torch.zeros(2, 4)
        maps[0, 1] = bad
        text = r"^map_error: maps must be finite, got NaN or infinity \(HEATPOINT_CHECK=1\)"
        with pytest.raises(ValueError, match=text):
            scores.map_error(maps, grid, target)
        with pytest.raises(ValueError, match="^two_channel_cross_entropy: logits must be finite or −inf, got NaN"):
            scores.two_channel_cross_entropy(torch.stack([maps, maps], dim=1), grid, target)
    both = torch.zeros(2, 2, 4)
    both[0, :, 1] = -torch.inf
    with pytest.raises(ValueError, match="^two_channel_cross_entropy: logits must leave at least one cell"):
        scores.two_channel_cross_entropy(both, grid, target)


def test_sampled_energy_score_takes_noise_formula_and_sign_gradient():
    grid = GRIDS["2d"]
    logits, target = _case(grid)
    noise = Noise(torch.rand(4, 2, 3, 5, 4, dtype=torch.float64, generator=_seed(1)))
    found = {}
    for formula in ("paper", "released"):
        for sign in (False, True):
            leaf = logits.clone().requires_grad_()
            value = scores.energy_score(leaf, grid, target, noise=noise, formula=formula, sign_gradient=sign)
            found[formula, sign] = (value.detach(), *torch.autograd.grad(value.sum(), leaf))
        samples = sampling_argmax(logits, grid, basis=None, noise=noise, temperature=0.5, formula=formula)
        near = (samples - target).norm(dim=-1).mean(dim=0)
        pairs = (samples[:, None] - samples[None]).norm(dim=-1).sum(dim=(0, 1)) / 12
        torch.testing.assert_close(found[formula, False][0], near - pairs / 2)
        assert torch.equal(found[formula, False][0], found[formula, True][0])
        assert not torch.allclose(found[formula, False][1], found[formula, True][1])
    assert not torch.allclose(found["paper", False][0], found["released", False][0])
    with pytest.raises(ValueError, match="^energy_score: num_samples must be at least 2, got 1"):
        scores.energy_score(logits, grid, target, noise=Noise(noise.gumbel_uniform[:1]))


def test_relaxed_samples_of_a_peak_leave_it_as_documented():
    path = ROOT / "docs" / "measure_sampling_variance.py"
    spec = importlib.util.spec_from_file_location("measure_sampling_variance", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    pattern = r"^\| ([\d.]+) \| ([\d.]+) ± ([\d.]+) \| [\d.]+ \| ([\d.]+) ± ([\d.]+) \| [\d.]+ \|$"
    rows = re.findall(pattern, page("docs/sampling.md"), re.M)
    assert [float(row[0]) for row in rows] == list(script.PEAK_TEMPERATURES)
    for temperature, *figures in rows:
        for formula, (documented, spread) in zip(("paper", "released"), (figures[:2], figures[2:]), strict=True):
            error, own_spread, _ = script.of_a_peak(formula, float(temperature), num_samples=4000, seed=1)
            # 5 standard errors of both; 2e-3 more where an event of probability 5e-4 makes the error, and its estimate.
            assert abs(error - float(documented)) < 5 * math.hypot(own_spread, float(spread)) + 2e-3
    logits = torch.zeros(9, 9)
    logits[0, 0] = 12.0
    grid, corner = Grid((9, 9), offset=0), torch.zeros(2)
    assert scores.error_of_expectation(logits, grid, corner).item() == pytest.approx(0.0040, abs=5e-5)
    assert scores.expected_error(logits, grid, corner, basis=None).item() == pytest.approx(0.0040, abs=5e-5)
    variance = Density(logits, grid).covariance.trace() - 2 / 6
    assert variance.item() == pytest.approx(0.0225, abs=5e-5)
