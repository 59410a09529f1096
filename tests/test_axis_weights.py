"""Weights of the coordinates: what trains a volume on points whose depth nobody knows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import heatpoint as hp
from heatpoint.localizers import LOCALIZERS, make_localizer
from heatpoint.sampling import Noise
from heatpoint.scores import error_of_expectation, expected_error
from heatpoint.support import Grid, Points

GRID = Grid((4, 5, 7), stride=(2.0, 3.0, 1.5), offset=0)
BATCH = (2, 3)
XY = torch.tensor([1.0, 1.0, 0.0])
SUMS = ("soft_argmax", "soft_argmax_variance", "soft_argmax_js", "discrete_expectation", "sampling_argmax")
FREE = ("soft_argmax", "discrete_expectation", "sampling_argmax")  # Without a regularizer, which shapes all axes.


def maps(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(*BATCH, *GRID.shape, generator=generator, dtype=torch.float64, requires_grad=True)
    return logits, torch.rand(*BATCH, 3, generator=generator, dtype=torch.float64) * 6


def loss(localizer: Any, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    return localizer.loss(logits, target, weight=weight, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("distance", ["l1", "smooth_l1", "squared"])
@pytest.mark.parametrize("name", SUMS)
def test_equal_weights_of_all_coordinates_are_the_weight_of_the_point(name: str, distance: str) -> None:
    localizer = make_localizer(name, GRID, distance=distance)
    logits, target = maps()
    points = torch.tensor([[1.0, 0.0, 0.5], [2.0, 1.0, 0.25]], dtype=torch.float64)
    expected = loss(localizer, logits, target, points)
    found = loss(localizer, logits, target, points[..., None].expand(*BATCH, 3))
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(value, logits)[0] for value in (expected, found)]
    torch.testing.assert_close(*gradients)


def test_soft_argmax_without_depth_is_the_loss_of_x_and_y_alone() -> None:
    logits, target = maps()
    plane = Grid(GRID.shape[1:], stride=GRID.strides[:2], offset=0)
    marginal = torch.logsumexp(logits, dim=2)
    for name in ("soft_argmax", "discrete_expectation"):
        found = loss(make_localizer(name, GRID), logits, target, XY.expand(*BATCH, 3))
        torch.testing.assert_close(found, loss(make_localizer(name, plane), marginal, target[..., :2], None))


@pytest.mark.parametrize("formula", ["paper", "released"])
def test_sampling_argmax_without_depth_is_the_error_of_x_and_y_of_its_samples(formula: Any) -> None:
    logits, target = maps()
    localizer = make_localizer("sampling_argmax", GRID, formula=formula, num_samples=6, temperature=0.8)
    found = loss(localizer, logits, target, XY.expand(*BATCH, 3))
    samples = hp.sampling_argmax(
        logits, GRID, num_samples=6, temperature=0.8, formula=formula, generator=torch.Generator().manual_seed(7)
    )
    expected = (samples - target)[..., :2].abs().sum(dim=-1).mean(dim=0).mean()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("formula", ["paper", "released"])
@pytest.mark.parametrize("name", FREE)
def test_no_gradient_flows_along_an_axis_of_weight_0(name: str, formula: str) -> None:
    """A step along depth alone leaves the loss as it is: what is added to a layer everywhere moves no marginal of x and y."""
    options = {"formula": formula, "basis": None} if name == "sampling_argmax" else {}
    localizer = make_localizer(name, GRID, **options)
    # Layers of equal content: then mass that moves between layers leaves x and y where they are.
    content = torch.randn(*BATCH, 1, *GRID.shape[1:], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    layers = torch.zeros(*BATCH, GRID.shape[0], 1, 1, dtype=torch.float64, requires_grad=True)
    target = maps()[1]
    if name == "sampling_argmax":
        uniform = torch.rand(5, *BATCH, 1, *GRID.shape[1:], generator=torch.Generator().manual_seed(2)).double()
        noise = Noise(uniform.expand(5, *BATCH, *GRID.shape))
        score = expected_error(
            content + layers, GRID, target, basis=None, noise=noise, formula=formula, axis_weight=XY.double()
        )
        value = score.mean()
    else:
        value = loss(localizer, content + layers, target, XY.expand(*BATCH, 3))
    assert value.item() > 0.1
    assert float(torch.autograd.grad(value, layers)[0].abs().max()) < 1e-12


@pytest.mark.parametrize("name", SUMS)
def test_what_has_weight_0_may_be_anything(name: str) -> None:
    localizer = make_localizer(name, GRID)
    logits, target = maps()
    weight = XY.expand(*BATCH, 3).clone()
    weight[0, 1] = 0
    expected = loss(localizer, logits, target, weight)
    target = torch.where(weight > 0, target, torch.nan)
    found = loss(localizer, logits, target, weight)
    torch.testing.assert_close(found, expected)
    assert bool(torch.autograd.grad(found, logits)[0].isfinite().all())
    nothing = loss(localizer, logits, target, torch.zeros(*BATCH, 3))
    assert nothing.item() == 0.0
    assert float(torch.autograd.grad(nothing, logits)[0].abs().max()) == 0


def test_points_count_by_their_greatest_weight() -> None:
    logits, target = maps()
    weight = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]).expand(*BATCH, 3)
    errors = (hp.soft_argmax(logits, GRID) - target).abs()
    expected = (errors * weight).sum() / 4
    torch.testing.assert_close(loss(make_localizer("soft_argmax", GRID), logits, target, weight), expected)


def test_the_regularizer_needs_no_depth() -> None:
    logits, target = maps()
    for name in ("soft_argmax_variance", "soft_argmax_js"):
        full = make_localizer(name, GRID, regularizer_weight=0.3)
        bare = make_localizer(name, GRID, regularizer_weight=0.0)
        weight = 2 * XY.expand(*BATCH, 3)
        difference = loss(full, logits, target, weight) - loss(bare, logits, target, weight)
        whole = loss(full, logits, target, None) - loss(bare, logits, target, None)
        torch.testing.assert_close(difference, whole)


def test_who_weighs_axes() -> None:
    assert {name for name in LOCALIZERS if make_localizer(name, GRID).weighs_axes} == set(SUMS)
    assert not make_localizer("soft_argmax", GRID, distance="l2").weighs_axes


@pytest.mark.parametrize("name", sorted(set(LOCALIZERS) - set(SUMS)))
def test_other_losses_refuse_weights_of_coordinates(name: str) -> None:
    logits, target = maps()
    text = rf"{name}: weight must hold one number per point, \(2, 3\): the loss is no sum over coordinates, got \(2, 3, 3\)"
    with pytest.raises(ValueError, match=text):
        loss(make_localizer(name, GRID), logits, target, XY.expand(*BATCH, 3))


def test_refused_weights() -> None:
    logits, target = maps()
    weight = XY.expand(*BATCH, 3)
    text = "error_of_expectation: axis_weight must be None for distance 'l2'"
    with pytest.raises(ValueError, match=text):
        loss(make_localizer("soft_argmax", GRID, distance="l2"), logits, target, weight)
    with pytest.raises(ValueError, match="expected_error: axis_weight must be None for an exact mixture"):
        expected_error(logits, GRID, target, axis_weight=weight)
    with pytest.raises(
        ValueError, match=r"axis_weight must broadcast to \(2, 3, 3\), one weight per coordinate, got \(2, 3"
    ):
        error_of_expectation(logits, GRID, target, axis_weight=torch.ones(2, 3, 1))
    with pytest.raises(ValueError, match=r"axis_weight must broadcast to .*, got \(4, 3, 3\)"):
        error_of_expectation(logits, GRID, target, axis_weight=torch.ones(4, 3, 3))
    with pytest.raises(ValueError, match=r"soft_argmax: weight must be at least 0, got -1.0"):
        loss(make_localizer("soft_argmax", GRID), logits, target, -weight)
    with pytest.raises(ValueError, match=r"soft_argmax: progress must lie in \[0, 1\]"):
        make_localizer("soft_argmax", GRID).loss(logits, target, weight=weight, progress=2)


def test_points_have_weights_of_coordinates_too() -> None:
    cloud = Points(torch.tensor([[0.0, 0.0], [2.0, 1.0], [4.0, 5.0]]))
    logits, target = torch.zeros(1, 3), torch.tensor([[1.0, 0.0]])
    weight = torch.tensor([[1.0, 0.0]])
    assert make_localizer("soft_argmax", cloud).loss(logits, target, weight=weight).item() == pytest.approx(1.0)
    # |0 − 1|, |2 − 1| and |4 − 1|, a third each.
    found = make_localizer("discrete_expectation", cloud).loss(logits, target, weight=weight)
    assert found.item() == pytest.approx(5 / 3)
