"""Localizers: one loop trains and locates with any of them; weights, schedules, dicts, repr, error texts."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re

import numpy as np
import pytest
import torch

import heatpoint
from heatpoint import Gaussian, Grid, Points, Triangular, localizers, readout, scores
from heatpoint.confidence import CONFIDENCES
from heatpoint.localizers import LOCALIZERS, localizer_from_dict, make_localizer
from heatpoint.schedules import Linear

GRIDS = {
    "1d": Grid((9,), stride=4),
    "2d": Grid((6, 7), stride=4),
    "3d": Grid((4, 3, 5), stride=(2, 1, 3), offset=0),
}
ON_POINTS = [name for name, kind in LOCALIZERS.items() if kind.on_points]
# Options that a localizer needs on Points, where a basis must be a Gaussian with its own width.
POINT_OPTIONS = {name: {"basis": Gaussian(0.2)} for name in ("sampling_argmax", "log_score", "crps")}
VARIANTS = [
    ("soft_argmax", {"sign_gradient": True, "distance": "l2"}),
    ("soft_argmax_variance", {"target_variance": 2.0, "regularizer_weight": 0.5, "sign_gradient": True}),
    ("soft_argmax_variance", {"unit": "input", "distance": "squared"}),
    ("soft_argmax_js", {"sigma_cells": 1.0, "regularizer_weight": 2, "detach_mean": True, "sign_gradient": True}),
    ("soft_argmax_js", {"unit": "input", "distance": "l2"}),
    ("discrete_expectation", {"distance": "squared", "readout": "argmax"}),
    ("sampling_argmax", {"basis": "gaussian", "num_samples": 3, "temperature": "released_2d", "formula": "released"}),
    ("sampling_argmax", {"basis": {"name": "gaussian", "sigma": 2.0}, "temperature": 0.7, "memory": "low"}),
    ("sampling_argmax", {"basis": None, "temperature": {"name": "exponential", "start": 3.0, "end": 0.1}}),
    ("randomized_rounding", {"label": "expected", "readout": {"name": "window", "radius": 2}}),
    (
        "gaussian_heatmap",
        {"kind": "smooth_l1", "sigma_cells": (1.0, 1.5), "readout": {"name": "dark", "sigma_cells": 1.0}},
    ),
    ("gaussian_heatmap", {"readout": {"name": "top_k", "k": 4, "weighting": "values"}}),
    ("log_score", {"basis": "gaussian", "truncate": True, "confidence_by": "negative_entropy"}),
    ("energy_score", {"basis": "triangular", "num_samples": 4, "temperature": 1.5, "memory": "low"}),
    ("energy_score", {"num_samples": 4, "formula": "released", "sign_gradient": True}),
    ("crps", {"basis": None, "confidence_by": {"name": "mass_within", "radius": 6.0}}),
]


def _seed(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _cloud(dtype=torch.float32) -> Points:
    return Points(torch.randn(2, 1, 12, 3, generator=_seed(5)).to(dtype))


def _target(support, batch=(2, 3)):
    """Points inside the support, away from its centre and between cells; near a point of a cloud, which has nothing between."""
    u = torch.rand(*batch, support.ndim, generator=_seed(11))
    if isinstance(support, Grid):
        lengths = torch.tensor(support.lengths, dtype=torch.float32)
        return support.to_points(0.5 + u * (lengths - 2))
    return 0.9 * (support.xyz[..., 3, :].expand(*batch, -1)) + 0.1 * support.xyz[..., 8, :]


# At the published weight, 1, the variance (in cells⁴) outweighs an error in shares of the map by far: its gradient comes
# first, and the place follows only after many more steps than a test has.
GRID_OPTIONS = {"soft_argmax_variance": {"regularizer_weight": 0.01}}


def _cases():
    for name in LOCALIZERS:
        for dimension in GRIDS:
            yield pytest.param(name, dimension, GRID_OPTIONS.get(name, {}), id=f"{name}-{dimension}")
        if name in ON_POINTS:
            yield pytest.param(name, "points", POINT_OPTIONS.get(name, {}), id=f"{name}-points")


@pytest.mark.parametrize(("name", "where", "options"), list(_cases()))
def test_gradient_steps_lower_the_loss_and_bring_the_point_to_the_target(name, where, options):
    support = GRIDS[where] if where in GRIDS else _cloud()
    localizer = make_localizer(name, support, **options)
    target = _target(support)
    logits = torch.zeros(2, 3, *support.shape, requires_grad=True)
    generator = _seed(1)

    def distance():
        return (localizer.locate(logits.detach()).points - target).norm(dim=-1)

    def loss(seed):
        return localizer.loss(logits, target, progress=1.0, generator=_seed(seed))

    before, first = distance(), loss(2).item()
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for step in range(120):
        optimizer.zero_grad()
        localizer.loss(logits, target, progress=step / 120, generator=generator).backward()
        optimizer.step()
    assert loss(2).item() < first
    assert distance().mean() < 0.5 * before.mean()
    spacing = max(support.strides) if isinstance(support, Grid) else 1.0
    assert (distance() < 0.75 * spacing * support.ndim**0.5).all()


@pytest.mark.parametrize(("name", "where", "options"), list(_cases()))
def test_what_is_located_has_the_shapes_of_the_batch(name, where, options):
    support = GRIDS[where] if where in GRIDS else _cloud()
    localizer = make_localizer(name, support, **options)
    logits = torch.randn(2, 3, *support.shape, generator=_seed(2))
    found = localizer.locate(logits)
    assert found.points.shape == (2, 3, support.ndim)
    assert found.confidence.shape == (2, 3)
    assert found.covariance.shape == (2, 3, support.ndim, support.ndim)
    assert all(part.isfinite().all() for part in found)
    assert (torch.linalg.eigvalsh(found.covariance) > (0 if isinstance(support, Grid) else -1e-6)).all()
    torch.testing.assert_close(localizer.confidence(logits), found.confidence)
    score = localizer.score(logits, _target(support), generator=_seed(3))
    assert score.shape == (2, 3)
    mean = localizer.loss(logits, _target(support), generator=_seed(3))
    torch.testing.assert_close(mean, score.mean())


def _make(name, grid, options):
    return make_localizer(name, grid, **options)


ROUND_TRIPS = [*((name, {}) for name in LOCALIZERS), *VARIANTS]


@pytest.mark.parametrize(("name", "options"), ROUND_TRIPS)
def test_a_localizer_is_its_repr_and_its_dict(name, options):
    grid = Grid((6, 7), stride=(4, 3), offset=0, cyclic=())
    localizer = _make(name, grid, options)
    assert eval(repr(localizer), {"make_localizer": make_localizer, "Grid": Grid}) == localizer
    values = localizer.to_dict()
    assert values["name"] == name
    assert json.loads(json.dumps(values)) == values
    assert localizer_from_dict(json.loads(json.dumps(values))) == localizer
    assert dataclasses.replace(localizer) == localizer
    assert hash(dataclasses.replace(localizer)) == hash(localizer)
    assert localizer != repr(localizer)
    if not options:
        assert repr(localizer) == f"make_localizer({name!r}, {grid!r})"
    logits, target = torch.zeros(2, 3, 6, 7), torch.full((2, 3, 2), 9.0)
    assert localizer.loss(logits, target, generator=_seed(0)).isfinite()
    assert localizer.locate(logits).confidence.shape == (2, 3)


def test_equal_options_in_any_form_are_equal_localizers():
    grid = GRIDS["2d"]
    by_name = make_localizer("sampling_argmax", grid)
    by_object = make_localizer("sampling_argmax", grid, basis=Triangular(), temperature=Linear(2.0, 0.5))
    assert by_name == by_object
    assert repr(by_object) == "make_localizer('sampling_argmax', Grid((6, 7), stride=4))"
    assert by_name != make_localizer("sampling_argmax", grid, num_samples=11)
    assert make_localizer("log_score", grid, basis=Gaussian()).basis == "gaussian"


def test_a_cloud_round_trips_through_its_coordinates():
    cloud = Points(torch.randn(4, 2, generator=_seed(1)))
    localizer = make_localizer("energy_score", cloud)
    again = localizer_from_dict(json.loads(json.dumps(localizer.to_dict())))
    assert torch.equal(again.grid.xyz, cloud.xyz)
    assert again == localizer
    assert hash(again) == hash(localizer)
    for dtype in (torch.float64, torch.float16):
        other = make_localizer("energy_score", Points(cloud.xyz.to(dtype)))
        kept = localizer_from_dict(json.loads(json.dumps(other.to_dict())))
        assert kept.grid.xyz.dtype == dtype
        assert kept == other != localizer
    assert localizer != make_localizer("energy_score", Points(cloud.xyz + 1))
    other = dataclasses.replace(localizer, grid=Points(cloud.xyz + 1))
    torch.testing.assert_close(other.locate(torch.zeros(4)).points, localizer.locate(torch.zeros(4)).points + 1)


def test_each_localizer_computes_the_score_of_its_name():
    grid = GRIDS["2d"]
    logits, target = torch.randn(2, 3, 6, 7, generator=_seed(4)), _target(grid)
    # Published units: each axis by the size of the map.
    size = torch.tensor([28.0, 24.0])
    in_maps = ((readout.soft_argmax(logits, grid) - target) / size).abs().sum(dim=-1)
    wanted = {
        "soft_argmax": scores.error_of_expectation(logits, grid, target),
        "soft_argmax_variance": in_maps
        + heatpoint.regularizers.variance_regularizer(logits, grid, target_variance=4.0),
        "soft_argmax_js": in_maps
        + 0.1 * heatpoint.regularizers.jensen_shannon_regularizer(logits, grid, sigma_cells=2.0),
        "discrete_expectation": scores.expected_error(logits, grid, target, basis=None),
        "sampling_argmax": scores.expected_error(
            logits, grid, target, num_samples=10, temperature=2.0, generator=_seed(1)
        ),
        "randomized_rounding": scores.rounded_cross_entropy(logits, grid, target, generator=_seed(1)),
        "gaussian_heatmap": scores.map_error(logits, grid, target, kind="mse", sigma_cells=2.0),
        "log_score": scores.log_score(logits, grid, target, basis="triangular"),
        "energy_score": scores.energy_score(logits, grid, target),
        "crps": scores.crps(logits, grid, target, basis="triangular"),
    }
    assert wanted.keys() == LOCALIZERS.keys()
    for name, score in wanted.items():
        found = make_localizer(name, grid).score(logits, target, generator=_seed(1))
        if name.startswith("soft_argmax_"):
            torch.testing.assert_close(found, score)
            plain = scores.error_of_expectation(logits, grid, target)
            in_input = make_localizer(name, grid, unit="input").score(logits, target)
            torch.testing.assert_close(in_input - plain, found - in_maps, rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(found, score)


@pytest.mark.parametrize("name", ["soft_argmax_variance", "soft_argmax_js"])
def test_map_units_are_those_of_the_published_losses(goldens, name):
    golden = goldens("01_sa2d_soft_none")
    maps = torch.from_numpy(golden["logits"]).double().requires_grad_()
    batch, points, height, width = maps.shape
    grid = Grid((height, width), stride=4)
    # The file's coordinates are −½ at cell 0 and grow by 1 over the map.
    unit = torch.from_numpy(golden["target_uv"]).double().reshape(batch, points, 2) + 0.5
    target = grid.to_points(unit * torch.tensor([width, height]))
    weight = torch.from_numpy(golden["target_uv_weight"]).double().reshape(batch, points, 2)[..., 0]
    for sign, key in ((True, "grad_logits_clip_f64"), (False, "grad_logits_plain_f64")):
        localizer = make_localizer(name, grid, regularizer_weight=0, sign_gradient=sign)
        loss = (localizer.score(maps, target) * weight).sum() / batch
        assert loss.item() == pytest.approx(float(golden["loss_f64"]), rel=1e-10)
        (gradient,) = torch.autograd.grad(loss, maps)
        torch.testing.assert_close(gradient, torch.from_numpy(golden[key]).double(), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", ["soft_argmax_variance", "soft_argmax_js"])
def test_units_of_points_and_circles(name):
    assert make_localizer(name, GRIDS["2d"]).unit == "map"
    assert make_localizer(name, _cloud()).unit == "input"
    with pytest.raises(
        ValueError, match=f"^{name}: unit must be 'input' on Points, got 'map'. A point set has no extent"
    ):
        make_localizer(name, _cloud(), unit="map")
    with pytest.raises(ValueError, match=f"^{name}: unit must be one of input, map, got 'pixel'"):
        make_localizer(name, GRIDS["2d"], unit="pixel")
    circle = Grid((8,), stride=2, cyclic=(0,))
    logits = torch.full((8,), -30.0)
    logits[7] = 0.0
    localizer = make_localizer(name, circle, regularizer_weight=0)
    # From cell 7 to the centre of cell 0 is one cell of eight, the short way round.
    found = localizer.score(logits, circle.to_points(torch.tensor([0.0])))
    assert found.item() == pytest.approx(1 / 8, abs=1e-6)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_every_option_changes_the_score_or_the_readout(name, options):
    grid = GRIDS["2d"]
    logits, target = torch.randn(2, 3, 6, 7, generator=_seed(4)).double(), _target(grid).double()
    changed = _make(name, grid, options)
    for key in options:
        default = 7 if key == "num_samples" else getattr(make_localizer(name, grid), key)
        plain = dataclasses.replace(changed, **{key: default})
        results = []
        for localizer in (changed, plain):
            leaf = logits.clone().requires_grad_()
            loss = localizer.loss(leaf, target, progress=0.5, generator=_seed(1))
            loss.backward()
            found = localizer.locate(logits)
            results.append((loss.detach(), leaf.grad, found.points, found.confidence))
        same = all(torch.equal(a, b) for a, b in zip(*results, strict=True))
        # memory="low" is the same numbers by contract.
        assert same == (key == "memory"), key


@pytest.mark.parametrize("name", LOCALIZERS)
def test_weights_choose_and_weigh_the_points(name):
    grid = GRIDS["2d"]
    localizer = make_localizer(name, grid)
    logits, target = torch.randn(2, 3, 6, 7, generator=_seed(6)), _target(grid)
    weight = torch.tensor([[1.0, 0.0, 2.0], [0.5, 0.0, 0.0]])
    score = localizer.score(logits, target, generator=_seed(7))
    wanted = (score * weight).sum() / 3.5
    torch.testing.assert_close(localizer.loss(logits, target, weight=weight, generator=_seed(7)), wanted)
    visible = torch.tensor([[True, False, True], [False, False, False]])
    torch.testing.assert_close(
        localizer.loss(logits, target, weight=visible, generator=_seed(7)), (score[0, 0] + score[0, 2]) / 2
    )
    per_image = localizer.loss(logits, target, weight=torch.tensor([[1.0], [0.0]]), generator=_seed(7))
    torch.testing.assert_close(per_image, score[0].mean())


@pytest.mark.parametrize("garbage", [0.0, 1e6, float("nan"), float("inf")])
@pytest.mark.parametrize(("name", "where", "options"), list(_cases()))
def test_nothing_to_learn_is_exactly_zero_and_attached(name, where, options, garbage):
    support = GRIDS[where] if where in GRIDS else _cloud()
    localizer = make_localizer(name, support, **options)
    logits = torch.randn(2, 3, *support.shape, generator=_seed(8)).requires_grad_()
    target = torch.full((2, 3, support.ndim), garbage)
    loss = localizer.loss(logits, target, weight=torch.zeros(2, 3), generator=_seed(9))
    assert loss.item() == 0.0
    loss.backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("name", LOCALIZERS)
def test_an_invisible_point_changes_nothing_whatever_its_target(name):
    grid = GRIDS["2d"]
    localizer = make_localizer(name, grid)
    logits, target = torch.randn(2, 3, 6, 7, generator=_seed(6)), _target(grid)
    weight = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    gradients = []
    for garbage in (None, float("nan"), -1e9):
        seen = target.clone()
        if garbage is not None:
            seen[weight == 0] = garbage
        leaf = logits.clone().requires_grad_()
        localizer.loss(leaf, seen, weight=weight, generator=_seed(3)).backward()
        gradients.append(leaf.grad)
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])
    assert (gradients[0][weight == 0] == 0).all()


def test_progress_drives_the_schedule():
    grid = GRIDS["2d"]
    localizer = make_localizer("sampling_argmax", grid, temperature={"name": "linear", "start": 4.0, "end": 0.5})
    logits, target = torch.randn(2, 3, 6, 7, generator=_seed(6)), _target(grid)
    for progress, temperature in ((0.0, 4.0), (0.5, 2.25), (1.0, 0.5)):
        found = localizer.score(logits, target, progress=progress, generator=_seed(1))
        wanted = scores.expected_error(
            logits, grid, target, num_samples=10, temperature=temperature, generator=_seed(1)
        )
        torch.testing.assert_close(found, wanted)
    energy = make_localizer("energy_score", grid, num_samples=5, temperature="linear")
    early, late = (energy.loss(logits, target, progress=p, generator=_seed(1)) for p in (0.0, 1.0))
    assert early != late


@pytest.mark.parametrize("name", ["sampling_argmax", "randomized_rounding"])
def test_the_generator_decides_the_noise(name):
    grid = GRIDS["2d"]
    localizer = make_localizer(name, grid)
    logits, target = torch.randn(2, 3, 6, 7, generator=_seed(6)), _target(grid)
    first, again, other = (localizer.loss(logits, target, generator=_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", readout.READOUTS)
def test_every_readout_reads_every_kind_of_map(name):
    grid = GRIDS["2d"]
    heatmap = make_localizer("gaussian_heatmap", grid, readout=name, sigma_cells=1.5)
    target = torch.tensor([[13.0, 9.5]])
    maps = heatpoint.rounding.gaussian_map(target, grid, sigma_cells=1.5)
    # One cell is 4 units; every decoder finds the peak's neighbourhood.
    if name not in ("soft_argmax", "kernel_soft_argmax"):
        assert (heatmap.locate(maps).points - target).abs().max() < 4
    logits = maps.clamp(min=1e-12).log()
    for other in ("soft_argmax", "randomized_rounding", "log_score"):
        points = make_localizer(other, grid, readout=name).locate(logits).points
        assert (points - target).abs().max() < 6


def test_needed_options_of_a_readout_have_defaults():
    grid = GRIDS["2d"]
    assert make_localizer("randomized_rounding", grid).readout == {"name": "top_k", "k": 9}
    assert make_localizer("randomized_rounding", Grid((4,))).readout == {"name": "top_k", "k": 4}
    dark = make_localizer("gaussian_heatmap", grid, readout="dark", sigma_cells=1.5)
    assert dark.readout == {"name": "dark", "sigma_cells": 1.5}


@pytest.mark.parametrize("by", CONFIDENCES)
@pytest.mark.parametrize("name", LOCALIZERS)
def test_any_confidence_goes_with_any_localizer(name, by):
    grid = GRIDS["2d"]
    option = {"name": by, "radius": 5.0} if by == "mass_within" else by
    localizer = make_localizer(name, grid, confidence_by=option)
    cells = heatpoint.rounding.gaussian_map(torch.tensor([[13.0, 9.5]]), grid, sigma_cells=1.0)
    sharp, blurred = (cells, 0.5 + 0.1 * cells) if name == "gaussian_heatmap" else (9 * cells, 3 * cells)
    assert localizer.confidence(sharp) > localizer.confidence(blurred)


def test_a_heatmap_without_a_positive_value_is_read_as_uniform():
    grid = GRIDS["2d"]
    localizer = make_localizer("gaussian_heatmap", grid, confidence_by="negative_entropy")
    found = localizer.locate(torch.full((6, 7), -0.5))
    assert found.confidence.item() == pytest.approx(-torch.tensor(42.0).log().item(), rel=1e-6)
    # 7 and 6 cells of 4 units, uniform over the whole grid: (28² and 24²) / 12.
    torch.testing.assert_close(found.covariance, torch.diag(torch.tensor([28.0**2 / 12, 24.0**2 / 12])))
    peak = make_localizer("gaussian_heatmap", grid)
    assert peak.confidence(torch.full((6, 7), -0.5)).item() == -0.5


def test_a_circle_is_located_with_a_covariance():
    grid = Grid((8,), stride=2, offset=0, cyclic=(0,))
    localizer = make_localizer("sampling_argmax", grid, basis="uniform", num_samples=4)
    logits = torch.full((8,), -20.0)
    logits[[7, 0]] = 0.0
    found = localizer.locate(logits)
    assert found.points.item() == pytest.approx(-1.0, abs=1e-3) or found.points.item() == pytest.approx(15.0, abs=1e-3)
    # Variance 1 of the two cells, and 2²/12 within each.
    assert found.covariance.item() == pytest.approx(1 + 4 / 12, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", LOCALIZERS)
def test_half_precision_under_autocast(name, dtype):
    grid = GRIDS["2d"]
    localizer = make_localizer(name, grid)
    half = torch.randn(2, 3, 6, 7, generator=_seed(6)).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = localizer.loss(half, _target(grid), generator=_seed(1))
        found = localizer.locate(half)
    assert loss.dtype == found.points.dtype == found.confidence.dtype == found.covariance.dtype == torch.float32
    loss.backward()
    assert half.grad.isfinite().all()


# --- error texts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (
            lambda g: make_localizer("soft_argmx", g),
            ValueError,
            "make_localizer: name must be one of crps, discrete_expectation, energy_score, gaussian_heatmap, log_score, "
            "randomized_rounding, sampling_argmax, soft_argmax, soft_argmax_js, soft_argmax_variance, got 'soft_argmx'. "
            "Did you mean soft_argmax",
        ),
        (
            lambda g: make_localizer("sampling_argmax", g, num_sample=3),
            ValueError,
            "make_localizer: an option of sampling_argmax must be one of basis, confidence_by, distance, formula, memory, "
            "noise, num_samples, readout, sign_gradient, temperature, got 'num_sample'. Did you mean num_samples?",
        ),
        (
            lambda g: make_localizer("soft_argmax", g, distance="l7"),
            ValueError,
            "soft_argmax: distance must be one of l1, l2, smooth_l1, squared, got 'l7'.",
        ),
        (
            lambda g: make_localizer("sampling_argmax", g, formula="realised"),
            ValueError,
            "sampling_argmax: formula must be one of paper, released, got 'realised'. Did you mean released?",
        ),
        (
            lambda g: make_localizer("sampling_argmax", g, num_samples=0),
            ValueError,
            "sampling_argmax: num_samples must be at least 1, got 0.",
        ),
        (
            lambda g: make_localizer("sampling_argmax", g, num_samples=2.5),
            TypeError,
            "sampling_argmax: num_samples must be a whole number, got 2.5.",
        ),
        (
            lambda g: make_localizer("soft_argmax", g, sign_gradient="yes"),
            TypeError,
            "soft_argmax: sign_gradient must be True or False, got 'yes'.",
        ),
        (
            lambda g: make_localizer("gaussian_heatmap", g, sigma_cells=0.0),
            ValueError,
            'gaussian_heatmap: sigma_cells must be greater than 0 with center="exact", got 0. The binary map is that of a cell',
        ),
        (
            lambda g: make_localizer("soft_argmax_js", g, regularizer_weight=-1),
            ValueError,
            "soft_argmax_js: regularizer_weight must be at least 0, got -1.",
        ),
        (
            lambda g: make_localizer("gaussian_heatmap", g, readout="drak"),
            ValueError,
            "gaussian_heatmap: readout must be one of argmax, dark, kernel_soft_argmax, quarter_shift, "
            "second_maximum_shift, soft_argmax, top_k, window, got 'drak'. Did you mean dark",
        ),
        (
            lambda g: make_localizer("randomized_rounding", g, readout={"name": "top_k", "kk": 3}),
            ValueError,
            "randomized_rounding: an option of readout top_k must be one of k, weighting, got 'kk'. Did you mean k?",
        ),
        (
            lambda g: make_localizer("log_score", g, readout=3),
            TypeError,
            "log_score: readout must be a name, or a dict with a name, got 3.",
        ),
        (
            lambda g: make_localizer("log_score", g, confidence_by="mass_within"),
            ValueError,
            "log_score: confidence_by must give the option radius of mass_within, got 'mass_within'.",
        ),
        (
            lambda g: make_localizer("energy_score", g, basis="uniform"),
            ValueError,
            "energy_score: basis must be None without num_samples beyond 1D, got uniform.",
        ),
        (
            lambda g: make_localizer("gaussian_heatmap", Points(torch.zeros(4, 2))),
            TypeError,
            "gaussian_heatmap: grid must be a heatpoint.Grid, got Points.",
        ),
        (
            lambda g: make_localizer("soft_argmax", (6, 7)),
            TypeError,
            "soft_argmax: grid must be a heatpoint.Grid or heatpoint.Points, got tuple.",
        ),
        (
            lambda g: make_localizer("log_score", Points(torch.zeros(4, 2))),
            ValueError,
            "log_score: basis must be Gaussian on Points, got Triangular().",
        ),
        (
            lambda g: make_localizer(
                "soft_argmax",
                Points(torch.zeros(4, 2)),
                confidence_by={"name": "mass_within", "radius": 1, "basis": "gaussian"},
            ),
            ValueError,
            "soft_argmax: basis must have a sigma on Points",
        ),
        (
            lambda g: make_localizer("discrete_expectation", g, sign_gradient=True),
            ValueError,
            "discrete_expectation: sign_gradient must be left out, got True. It replaces the gradient of a coordinate that is "
            "a mean over cells. This loss takes no such mean",
        ),
        (
            lambda g: make_localizer("energy_score", g, sign_gradient=True),
            ValueError,
            "energy_score: sign_gradient must be False without num_samples, got True.",
        ),
        (
            lambda g: make_localizer("crps", Grid((6,), cyclic=(0,))),
            ValueError,
            "crps: grid must have no cyclic axis, got Grid((6,), cyclic=(0,)). A cumulative distribution needs a first cell",
        ),
        (
            lambda g: make_localizer("log_score", g).loss(torch.zeros(6, 7), [1.0, 2.0]),
            TypeError,
            "log_score: target must be a torch.Tensor, got list.",
        ),
        (
            lambda g: make_localizer("log_score", g).loss(torch.zeros(6, 7), torch.zeros(2), weight=1.0),
            TypeError,
            "log_score: weight must be a torch.Tensor, got float.",
        ),
        (
            lambda g: localizer_from_dict({"distance": "l1"}),
            ValueError,
            "localizer_from_dict: values must hold the name and the grid of a localizer, got no name and no grid.",
        ),
    ],
)
def test_error_texts_of_options(call, kind, text):
    with pytest.raises(kind, match=re.escape(text)):
        call(GRIDS["2d"])


@pytest.mark.parametrize("name", LOCALIZERS)
def test_error_texts_of_a_loss(name):
    localizer = make_localizer(name, GRIDS["2d"])
    logits, target = torch.zeros(2, 3, 6, 7), torch.zeros(2, 3, 2)
    with pytest.raises(ValueError, match=rf"{name}: target must hold 2 coordinates \(x, y\) in its last dimension"):
        localizer.loss(logits, torch.zeros(2, 3, 3))
    with pytest.raises(ValueError, match=rf"{name}: target must have the batch dimensions of the maps, \(2, 3\)"):
        localizer.loss(logits, torch.zeros(3, 2, 2))
    with pytest.raises(ValueError, match=rf"{name}: logits must end in the grid's shape \(6, 7\), got \(2, 3, 7, 6\)"):
        localizer.loss(torch.zeros(2, 3, 7, 6), target)
    with pytest.raises(ValueError, match=rf"{name}: progress must lie in \[0, 1\], got 1.5"):
        localizer.loss(logits, target, progress=1.5)
    text = rf"{name}: weight must broadcast to the batch \(2, 3\), got \(2, 3, 1\). One weight per point"
    with pytest.raises(ValueError, match=text):
        localizer.loss(logits, target, weight=torch.ones(2, 3, 1))
    with pytest.raises(ValueError, match=rf"{name}: weight must be at least 0, got -1.0"):
        localizer.loss(logits, target, weight=torch.tensor([[1.0, -1.0, 1.0]]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "all −inf"])
@pytest.mark.parametrize("name", LOCALIZERS)
def test_checks_of_values_meet_every_localizer(name, bad):
    logits = torch.zeros(2, 3, 6, 7)
    if bad == "all −inf":
        logits[1, 2] = -torch.inf
    else:
        logits[1, 2, 3, 4] = bad
    with pytest.raises(ValueError, match=r"must (be finite|leave at least one cell)"):
        make_localizer(name, GRIDS["2d"]).loss(logits, torch.full((2, 3, 2), 9.0))


def test_numbers_of_numpy_are_numbers():
    localizer = make_localizer("sampling_argmax", GRIDS["2d"], num_samples=np.int64(3))
    assert localizer == make_localizer("sampling_argmax", GRIDS["2d"], num_samples=3)
    js = make_localizer("soft_argmax_js", GRIDS["2d"], sigma_cells=np.float32(1.5))
    assert json.loads(json.dumps(js.to_dict()))["sigma_cells"] == 1.5


def test_function_and_localizer_start_from_the_same_temperature():
    default = inspect.signature(scores.energy_score).parameters["temperature"].default
    assert make_localizer("energy_score", GRIDS["2d"]).temperature == default


def test_the_base_class_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        localizers.Localizer(GRIDS["2d"])


def test_a_gaussian_heatmap_passes_its_center_and_radius_on():
    grid = Grid((6, 5), stride=2)
    maps, target = torch.rand(3, 6, 5, dtype=torch.float64), torch.rand(3, 2, dtype=torch.float64) * 8
    made = make_localizer("gaussian_heatmap", grid, sigma_cells=1.0, radius_sigmas=2.0, center="random")
    wanted = scores.map_error(
        maps,
        grid,
        target,
        sigma_cells=1.0,
        radius_sigmas=2.0,
        center="random",
        generator=torch.Generator().manual_seed(1),
    )
    found = made.score(maps, target, generator=torch.Generator().manual_seed(1))
    assert torch.equal(found, wanted)
    binary = make_localizer("gaussian_heatmap", grid, sigma_cells=0, center="round")
    assert torch.equal(binary.score(maps, target), scores.map_error(maps, grid, target, sigma_cells=0, center="round"))
