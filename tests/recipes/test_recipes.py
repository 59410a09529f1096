"""Recipes: what they say, how they are stored, how they differ, and what they refuse."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from heatpoint.localizers import LOCALIZERS, make_localizer
from heatpoint.recipes import (
    RECIPES,
    DataConfig,
    ModelConfig,
    OptimizationConfig,
    Recipe,
    differences,
    get_recipe,
)
from heatpoint.recipes.options import parse_named, parse_options
from heatpoint.support import Grid
from heatpoint.transforms import Augmentation


def test_every_localizer_has_its_recipes_and_they_bear_their_names() -> None:
    for localizer in LOCALIZERS:
        for name in (
            "coco-{}",
            "faces300w-{}",
            "faces300w-{}-small",
            "lspet-{}",
            "lspet-{}-small",
            "mtfl-{}",
            "mtfl-{}-small",
            "synthetic-{}",
            "synthetic_bodies-{}",
        ):
            recipe = RECIPES[name.format(localizer)]
            assert recipe.name == name.format(localizer)
            made = make_localizer(recipe.localizer, Grid((12, 10), stride=4), **recipe.localizer_options)
            assert made.name == localizer
    assert all(name == recipe.name for name, recipe in RECIPES.items())


def test_faces300w_is_section_5_3_of_randomized_rounding() -> None:
    recipe = get_recipe("faces300w-randomized_rounding")
    assert (recipe.model.backbone, recipe.model.offset) == ("hrnet_w18", 0.0)
    assert (recipe.data.input, recipe.data.box_policy, recipe.data.flip_test) == (256, "P1", True)
    given = recipe.optimization
    assert (given.epochs, given.batch_size) == (150, 16)
    rates = [given.rate_at(epoch) for epoch in (0, 59, 60, 119, 120, 149)]
    assert rates == [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5]
    assert recipe.augmentation == Augmentation(
        rotation_deg=30, scale=0.25, translation=16 / 256, flip=0.5, brightness=0.125, contrast=0.5, saturation=0.5
    )


def test_mtfl_is_appendix_a_of_sampling_argmax() -> None:
    recipe = get_recipe("mtfl-sampling_argmax")
    assert (recipe.data.dataset, recipe.data.input) == ("mtfl", 256)
    assert (recipe.model.backbone, recipe.model.head) == ("resnet18", None)
    given = recipe.optimization
    assert (given.epochs, given.batch_size) == (30, 32)
    assert [given.rate_at(epoch) for epoch in (9, 10, 19, 20)] == [1e-3, 1e-4, 1e-4, 1e-5]


def test_small_variants_say_what_was_scaled_and_change_nothing_else() -> None:
    for localizer in LOCALIZERS:
        base, small = get_recipe(f"faces300w-{localizer}"), get_recipe(f"faces300w-{localizer}-small")
        assert small.note
        assert dataclasses.replace(small.data, input=base.data.input) == base.data
        assert small.augmentation == base.augmentation
        assert (base.optimization.milestones, small.optimization.milestones) == ((0.4, 0.8), (0.7, 0.9))


def test_a_recipe_survives_json() -> None:
    for recipe in RECIPES.values():
        assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    changed = dataclasses.replace(
        get_recipe("synthetic-crps"),
        model=ModelConfig(offset=None, head="deconv"),
        optimization=OptimizationConfig(milestones=()),
        localizer_options={"basis": {"name": "gaussian", "sigma": 1.5}},
        seed=9,
    )
    assert Recipe.from_dict(json.loads(json.dumps(changed.to_dict()))) == changed


def test_from_dict_names_the_nearest_field() -> None:
    values = get_recipe("synthetic-crps").to_dict()
    values["data"]["inptu"] = values["data"].pop("input")
    with pytest.raises(ValueError, match=r"Recipe\.data\.from_dict: field must be one of .*Did you mean input\?"):
        Recipe.from_dict(values)


def test_get_recipe_offers_the_nearest_names() -> None:
    with pytest.raises(
        ValueError, match="get_recipe: unknown recipe 'faces300w-soft_argmx'. Did you mean faces300w-soft"
    ):
        get_recipe("faces300w-soft_argmx")
    with pytest.raises(ValueError, match=r"unknown recipe 'zzzzzz'\. `heatpoint recipes` lists them all\."):
        get_recipe("zzzzzz")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: DataConfig(input=8), "DataConfig: input must be at least 16 pixels, got 8"),
        (lambda: DataConfig(padding=0), "DataConfig: padding must be greater than 0, got 0"),
        (lambda: DataConfig(validation_fraction=1), "validation_fraction must be from 0 to below 1, got 1"),
        (lambda: DataConfig(limit=-1), "limit must be at least 0, got -1"),
        (lambda: OptimizationConfig(epochs=0), "OptimizationConfig: epochs must be at least 1, got 0"),
        (lambda: OptimizationConfig(batch_size=0), "batch_size must be at least 1, got 0"),
        (lambda: OptimizationConfig(learning_rate=0), "learning_rate must be greater than 0, got 0"),
        (lambda: OptimizationConfig(milestones=(1.5,)), "milestones must hold shares of the epochs"),
        (lambda: OptimizationConfig(clip_norm=-1), "clip_norm must be at least 0, got -1"),
    ],
)
def test_refused_values(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


def test_differences_name_fields_on_either_side() -> None:
    first = {"name": "a", "data": {"input": 64, "limit": 0}, "old": 1}
    second = {"name": "a", "data": {"input": 128, "limit": 0}, "new": 2}
    assert differences(first, second) == [
        "data.input is 64 there, 128 here",
        "old is 1 there, None here",
        "new is None there, 2 here",
    ]
    assert differences(first, first) == []


def test_options_from_text() -> None:
    texts = [
        "a=1",
        "b=1.5",
        "c=True",
        "d=none",
        "e=dark",
        'f={"name": "dark"}',
        "g= x ",
        "h=top_k:k=3,weighting=logits",
    ]
    assert parse_options(texts) == {
        "a": 1,
        "b": 1.5,
        "c": True,
        "d": None,
        "e": "dark",
        "f": {"name": "dark"},
        "g": "x",
        "h": {"name": "top_k", "k": 3, "weighting": "logits"},
    }
    assert parse_named("dark", function="evaluate", argument="--readout") == {"name": "dark"}


@pytest.mark.parametrize("text", ["k", "=3", " =3"])
def test_options_without_key_or_value(text: str) -> None:
    with pytest.raises(
        ValueError, match=f"train: --option must be KEY=VALUE, got '{text}'. For example num_samples=30."
    ):
        parse_options([text])
