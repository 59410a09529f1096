"""Recipes of point clouds: what they are made of, and that nobody can ask for what there is not."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from heatpoint.cli.train import parse
from heatpoint.datasets import CLOUDS
from heatpoint.localizers import LOCALIZERS, make_localizer
from heatpoint.recipes import RECIPES, Recipe
from heatpoint.recipes.cloud_config import CloudDataConfig, CloudModelConfig, SkeletonDataConfig, SkeletonModelConfig
from heatpoint.recipes.clouds import CATEGORIES, OPTIONS, SIGMA, recipes
from heatpoint.support import Points

PUBLISHED = ("soft_argmax", "soft_argmax_variance", "soft_argmax_js", "sampling_argmax")


def test_every_category_has_the_recipes_of_both_tables() -> None:
    names = {recipe.name for recipe in recipes()}
    assert len(names) == len(recipes())
    assert {f"keypointnet_{category}" for category in CATEGORIES} == {n for n in CLOUDS if n.startswith("keypointnet_")}
    for data in CLOUDS:
        assert {f"{data}-{localizer}" for localizer in PUBLISHED} < names
        assert {f"{data}-skeleton-{localizer}" for localizer in PUBLISHED} < names
    assert all(RECIPES[recipe.name] == recipe for recipe in recipes())
    assert all(recipe.data.dataset in CLOUDS for recipe in recipes())


def test_all_localizers_that_work_on_points_have_options() -> None:
    assert set(OPTIONS) == {name for name, cls in LOCALIZERS.items() if cls.on_points}
    xyz = torch.randn(2, 1, 5, 3, generator=torch.Generator().manual_seed(0))
    logits = torch.zeros(2, 4, 5, requires_grad=True)
    for name, options in OPTIONS.items():
        localizer = make_localizer(name, Points(xyz), **options)
        loss = localizer.loss(logits, xyz[:, 0, :4], generator=torch.Generator().manual_seed(0))
        (gradient,) = torch.autograd.grad(loss, logits)
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 0, name


def test_the_papers_numbers_are_there() -> None:
    keypoints, skeleton = (
        RECIPES["keypointnet_bed-sampling_argmax"],
        RECIPES["keypointnet_bed-skeleton-sampling_argmax"],
    )
    for recipe, epochs in ((keypoints, 100), (skeleton, 50)):
        assert (recipe.data.num_points, recipe.optimization.batch_size, recipe.optimization.epochs) == (2048, 8, epochs)
        rates = [recipe.optimization.rate_at(epoch) for epoch in range(epochs)]
        assert rates == [float(f"{1e-3 * 0.5 ** (epoch // 10):.12g}") for epoch in range(epochs)]
        assert recipe.localizer_options["basis"] == {"name": "gaussian", "sigma": 0.01}
    assert skeleton.model.num_keypoints == 10
    variance, js = RECIPES["keypointnet_bed-soft_argmax_variance"], RECIPES["keypointnet_bed-soft_argmax_js"]
    assert variance.localizer_options == {"target_variance": 4 * SIGMA**2, "regularizer_weight": 1.0}
    assert js.localizer_options == {"sigma_cells": 2 * SIGMA, "regularizer_weight": 0.01}


@pytest.mark.parametrize("name", ["synthetic_chairs-crps", "keypointnet_mug-skeleton-soft_argmax"])
def test_a_recipe_survives_json(name: str) -> None:
    assert Recipe.from_dict(RECIPES[name].to_dict()) == RECIPES[name]


def test_flags_are_the_fields() -> None:
    recipe = parse(["keypointnet_airplane-skeleton-soft_argmax", "--num-keypoints", "8", "--grouping", "single"])[1]
    assert (recipe.model.num_keypoints, recipe.model.grouping) == (8, "single")
    by_heart = ("--by-heart", "--validation-fraction", "0")
    recipe = parse(["synthetic_tables-log_score", "--num-points", "512", "--width", "0.5", *by_heart])[1]
    assert (recipe.data.num_points, recipe.model.width, recipe.data.by_heart) == (512, 0.5, True)
    recipe = parse(["keypointnet_airplane-soft_argmax", "--rotation-deg", "20", "--dropout", "0.3"])[1]
    assert (recipe.augmentation.rotation_deg, recipe.augmentation.dropout) == (20, 0.3)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: CloudDataConfig(num_points=8), "CloudDataConfig: num_points must be at least 16, got 8"),
        (lambda: SkeletonDataConfig(limit=-1), "SkeletonDataConfig: limit must be at least 0, got -1"),
        (lambda: CloudDataConfig(train_limit=-1), "CloudDataConfig: train_limit must be at least 0, got -1"),
        (
            lambda: CloudDataConfig(validation_fraction=1.0),
            "CloudDataConfig: validation_fraction must be from 0 to below 1, got 1.0",
        ),
        (lambda: CloudModelConfig(width=0.0), "CloudModelConfig: width must be greater than 0, got 0.0"),
        (
            lambda: SkeletonModelConfig(logits_std=0.0),
            "SkeletonModelConfig: logits_std must be greater than 0, or None, got 0.0",
        ),
        (
            lambda: SkeletonModelConfig(num_keypoints=1),
            "SkeletonModelConfig: num_keypoints must be at least 2, got 1",
        ),
    ],
)
def test_what_cannot_be_is_refused(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        make()


def test_kinds_are_not_mixed() -> None:
    with pytest.raises(TypeError, match="Recipe: model must be a SkeletonModelConfig"):
        replace(RECIPES["synthetic_chairs-crps"], data=SkeletonDataConfig())
