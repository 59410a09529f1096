"""Recipes against the papers' appendices and the configurations of their released code, number by number."""

from __future__ import annotations

import pytest

from heatpoint.localizers import make_localizer
from heatpoint.recipes import Recipe, get_recipe
from heatpoint.schedules import make_schedule
from heatpoint.support import Grid
from heatpoint.transforms import Augmentation


def steps(recipe: Recipe) -> list[int]:
    """Epochs in which the learning rate falls."""
    given = recipe.optimization
    rates = [given.rate_at(epoch) for epoch in range(given.epochs)]
    return [epoch for epoch in range(1, given.epochs) if rates[epoch] == pytest.approx(0.1 * rates[epoch - 1])]


def test_sampling_argmax_trains_poses_as_appendix_a_says() -> None:
    recipe = get_recipe("coco-sampling_argmax")
    assert (recipe.model.backbone, recipe.data.size, recipe.optimization.learning_rate) == (
        "resnet50",
        (192, 256),
        1e-3,
    )
    assert (recipe.optimization.epochs, recipe.optimization.batch_size, steps(recipe)) == (140, 32, [90, 120])
    assert recipe.localizer_options == {"num_samples": 30}
    made = make_localizer("sampling_argmax", Grid((64, 48), stride=4, offset=0), **recipe.localizer_options)
    assert (made.formula, made.sign_gradient, made.basis) == ("paper", False, "triangular")


@pytest.mark.parametrize("name", ["coco", "human36m", "mtfl"])
def test_regularizers_have_the_published_weights(name: str) -> None:
    grid = Grid((64, 48), stride=4, offset=0)
    variance, divergence = get_recipe(f"{name}-soft_argmax_variance"), get_recipe(f"{name}-soft_argmax_js")
    made = make_localizer(variance.localizer, grid, **variance.localizer_options)
    assert (made.target_variance, made.regularizer_weight) == (4, 1)
    made = make_localizer(divergence.localizer, grid, **divergence.localizer_options)
    assert (made.sigma_cells**2, made.regularizer_weight) == (4, 0.1)


def test_the_released_code_is_a_recipe_of_its_own() -> None:
    recipe = get_recipe("coco-sampling_argmax-released")
    options = recipe.localizer_options
    assert (options["formula"], options["sign_gradient"], options["num_samples"]) == ("released", True, 30)
    schedule = make_schedule(options["temperature"])
    assert [schedule(epoch / 140) for epoch in (0, 10, 25, 139)] == pytest.approx([2, 1.4, 0.5, 0.5])
    assert get_recipe("coco-soft_argmax-released").localizer_options == {"sign_gradient": True}
    assert recipe.augmentation == get_recipe("coco-sampling_argmax").augmentation
    given = recipe.augmentation
    assert (given.rotation_deg, given.rotation_share, given.scale, given.law) == (40, 0.5, 0.3, "uniform")
    assert (given.flip, given.half_body, given.erase, given.translation, given.zoom) == (0.5, 0, 0, 0, "region")

    mtfl = get_recipe("mtfl-sampling_argmax-released")
    schedule = make_schedule(mtfl.localizer_options["temperature"])
    assert [schedule(epoch / 30) for epoch in (0, 10, 29)] == pytest.approx([2, 1.4, 0.5])
    assert (mtfl.augmentation.law, mtfl.augmentation.rotation_share) == ("normal", 0.6)
    assert get_recipe("mtfl-sampling_argmax").augmentation == Augmentation()


def test_human36m_is_integral_pose() -> None:
    recipe, released = get_recipe("human36m-sampling_argmax"), get_recipe("human36m-sampling_argmax-released")
    assert (recipe.model.backbone, recipe.model.depth, recipe.data.size) == ("resnet50", 64, (256, 256))
    assert (recipe.data.mixed_dataset, recipe.data.depth_range_mm) == ("mpii", 2000)
    assert (recipe.data.padding, recipe.data.mixed_padding) == (1.0, 1.25)
    assert (recipe.optimization.epochs, recipe.optimization.batch_size, steps(recipe)) == (140, 16, [90, 120])
    assert (released.model.depth, released.optimization.epochs, steps(released)) == (32, 200, [90, 120, 160, 190])
    rates = [released.optimization.rate_at(epoch) for epoch in (0, 90, 139, 140, 159, 160, 199)]
    assert rates == pytest.approx([1e-3, 1e-4, 1e-5, 1e-3, 1e-3, 1e-4, 1e-5])
    assert released.localizer_options["temperature"] == 2.0
    assert released.localizer_options["num_samples"] == 10
    given = recipe.augmentation
    assert (given.rotation_deg, given.rotation_share, given.scale, given.channels, given.erase) == (
        30,
        0.6,
        0.3,
        0.2,
        1,
    )


@pytest.mark.parametrize("data", ["coco", "mpii"])
@pytest.mark.parametrize("network", ["hrnet_w32", "resnet50"])
def test_heatmaps_of_poses_are_those_of_hrnets_code(data: str, network: str) -> None:
    recipe = get_recipe(f"{data}-gaussian_heatmap-{network}")
    is_hrnet = network == "hrnet_w32"
    assert (recipe.optimization.epochs, steps(recipe)) == ((210, [170, 200]) if is_hrnet else (140, [90, 120]))
    assert recipe.data.size == ((192, 256) if data == "coco" else (256, 256))
    assert (recipe.data.box_policy, recipe.data.padding, recipe.data.pose_score) == ("P2", 1.25, "hrnet")
    assert (recipe.data.flip_test, recipe.data.flip_average) == (True, "maps_shifted")
    given = recipe.augmentation
    turned = {"coco": (45, 0.35) if is_hrnet else (40, 0.3), "mpii": (30, 0.25)}[data]
    assert (given.rotation_deg, given.scale) == turned
    assert (given.law, given.rotation_share) == ("normal", 0.6)
    assert given.half_body == (0.3 if data == "coco" and is_hrnet else 0)
    options = recipe.localizer_options
    assert (options["sigma_cells"], options["radius_sigmas"], options["center"]) == (2, 3, "round")
    twin = get_recipe(f"{recipe.name}-h3r")
    assert twin.localizer_options["center"] == "random"
    assert twin.localizer_options["readout"] == {"name": "top_k", "k": 11, "weighting": "logits"}
    assert (twin.model, twin.optimization, twin.augmentation) == (recipe.model, recipe.optimization, given)


@pytest.mark.parametrize("name", ["wflw", "w300", "cofw", "aflw"])
def test_face_sets_share_section_5_3_of_randomized_rounding(name: str) -> None:
    recipe, faces = get_recipe(f"{name}-randomized_rounding"), get_recipe("faces300w-randomized_rounding")
    assert (recipe.model, recipe.augmentation) == (faces.model, faces.augmentation)
    assert recipe.optimization == faces.optimization
    assert (recipe.data.box_policy, recipe.data.padding, recipe.data.size) == ("P1", 1.25, (256, 256))
    assert recipe.data.validation_fraction == 0
    baseline = get_recipe(f"{name}-baseline")
    assert baseline.localizer_options == {"label": "round", "readout": "argmax"}
    assert get_recipe(f"{name}-randomized_rounding-released").localizer_options == {"channels": 2}
