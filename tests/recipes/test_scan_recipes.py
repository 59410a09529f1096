"""Recipes for surfaces: the published setting number by number, and every one of them through a step."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from heatpoint.datasets import synthetic_scans
from heatpoint.localizers import LOCALIZERS, make_localizer
from heatpoint.recipes import RECIPES, Recipe, get_recipe
from heatpoint.recipes.changes import changed
from heatpoint.recipes.oct import METHODS
from heatpoint.recipes.scan_config import ScanDataConfig, ScanModelConfig
from heatpoint.support import Grid
from heatpoint.tables import load_table
from heatpoint.training.surfaces import locate_surfaces
from heatpoint.training.tasks import task_of
from heatpoint.training.weights import build_model

OCT = {name: recipe for name, recipe in RECIPES.items() if name.startswith("oct-")}
SETS = ("oct-mshc-{}", "oct-mshc-{}-small", "oct-irdlayers-{}", "oct-synthetic-{}")


def test_every_method_has_a_recipe_on_every_set() -> None:
    assert {recipe.localizer for recipe in OCT.values()} == set(LOCALIZERS)
    assert set(OCT) == {name.format(method) for name in SETS for method in METHODS}
    assert all(recipe.task == "scan" for recipe in OCT.values())


def test_mshc_is_trained_as_appendix_a_says() -> None:
    recipe = get_recipe("oct-mshc-sampling_argmax_gaussian")
    given = recipe.optimization
    assert recipe.data.size == (1024, 128)
    assert (given.epochs, given.batch_size, given.learning_rate) == (30, 2, 1e-4)
    rates = [given.rate_at(epoch) for epoch in (0, 9, 10, 19, 20, 29)]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6])
    assert recipe.localizer_options["basis"] == "gaussian"
    grid = Grid((128,))
    variance, divergence = get_recipe("oct-mshc-soft_argmax_variance"), get_recipe("oct-mshc-soft_argmax_js")
    made: Any = make_localizer(variance.localizer, grid, **variance.localizer_options)
    assert (made.target_variance, made.regularizer_weight) == (4, 1)
    made = make_localizer(divergence.localizer, grid, **divergence.localizer_options)
    assert (made.sigma_cells**2, made.regularizer_weight) == (4, 1)


@pytest.mark.parametrize("set_name", ["irdlayers", "synthetic", "mshc"])
def test_methods_differ_in_the_localizer_alone(set_name: str) -> None:
    recipes = [get_recipe(f"oct-{set_name}-{method}") for method in METHODS]
    for part in ("data", "model", "optimization", "augmentation"):
        assert all(getattr(recipe, part) == getattr(recipes[0], part) for recipe in recipes)


@pytest.mark.parametrize("name", OCT)
def test_a_recipe_is_stored_and_read_again(name: str) -> None:
    assert Recipe.from_dict(OCT[name].to_dict()) == OCT[name]


@pytest.mark.parametrize("method", METHODS)
def test_a_recipe_takes_a_step_and_its_maps_are_read(method: str) -> None:
    few = synthetic_scans(2, size=(48, 140))
    recipe = changed(get_recipe(f"oct-irdlayers-{method}"), {"data.input": (32, 40)})
    task = task_of(recipe)
    model, grid = build_model(recipe, few.skeleton.num_points)
    localizer = make_localizer(recipe.localizer, grid, **recipe.localizer_options)
    task.check_localizer(recipe, localizer)
    examples = task.dataset(few, recipe, is_training=True)
    batch = task.collate([examples[0, 0], examples[0, 1]])
    loss = task.loss(model, localizer, batch, recipe, progress=0.3, generator=torch.Generator().manual_seed(0))
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert len(gradients) == len(list(model.parameters()))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert bool(gradients[0].any())
    found = locate_surfaces(model, {"": localizer}, batch.images, flip_test=True)[""]
    assert all(tuple(part.shape) == (2, 4, 32) for part in found)
    assert all(bool(part.isfinite().all()) for part in found)
    assert bool((found.low <= found.high).all())
    errors = task.validation_errors(model, localizer, batch, recipe)
    assert errors.shape == (2,)


@pytest.mark.slow
def test_the_network_of_the_paper_emits_its_maps() -> None:
    recipe = get_recipe("oct-mshc-soft_argmax")
    with torch.device("meta"):
        model, grid = build_model(recipe, 9)
        maps = model(torch.empty(2, 1, 128, 1024))
    assert tuple(maps.shape) == (2, 9, 1024, 128)
    assert grid == Grid((128,))


def test_table_5_is_what_the_paper_prints() -> None:
    table = load_table("sampling-argmax/5")
    published = [[table.cell(row, column) for column in table.columns] for row in table.rows]
    values = [[cell.published for cell in line if cell is not None] for line in published]
    assert values == [
        [3.08, 0.743, 0.746, 0.735, 0.744, 0.740, None, None],
        [0.281, 0.114, 0.108, 0.101, 0.100, 0.104, None, None],
    ]
    for scale in ("paper", "small"):
        cells = load_table("sampling-argmax/5", scale=scale).cells
        assert len(cells) == 16
        assert {cell.source.recipe for cell in cells} <= set(OCT)
        assert {cell.source.metric for cell in cells} == {"mad_px/overall", "scan_std_px/overall"}


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("input", (128, 8), r"ScanDataConfig: input must be at least 16 columns and 16 rows, got \(128, 8\)"),
        ("crop_rows", -1, "crop_rows must be at least 0, got -1"),
        ("axial_um", -3.9, r"axial_um must be at least 0, got -3\.9"),
        ("validation_fraction", 1.0, r"validation_fraction must be from 0 to below 1, got 1\.0"),
        ("limit", -1, "limit must be at least 0, got -1"),
        ("train_limit", -2, "train_limit must be at least 0, got -2"),
    ],
)
def test_data_that_cannot_be_shown_are_refused(field: str, value: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ScanDataConfig(**{field: value})


def test_rows_are_cut_about_a_line_only() -> None:
    with pytest.raises(ValueError, match="crop_rows must be 0 where flatten is off: there is no line to cut about"):
        ScanDataConfig(flatten=False, crop_rows=128)


def test_weights_of_losses_are_checked() -> None:
    with pytest.raises(ValueError, match=r"ScanModelConfig: label_weight must be at least 0, got -1\.0"):
        ScanModelConfig(label_weight=-1.0)
    with pytest.raises(ValueError, match=r"order_weight must be at least 0, got -0\.5"):
        ScanModelConfig(order_weight=-0.5, ordering="cumulative")
    with pytest.raises(ValueError, match="order_weight must be 0 where ordering is none: there are no ordered rows"):
        ScanModelConfig(order_weight=1.0)
