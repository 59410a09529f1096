"""Every recipe takes a training step, is scored, saved, loaded and predicts: on a handful of noise, at a small input."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from heatpoint.cameras import Camera
from heatpoint.datasets.sample import Body, PointSet, Sample
from heatpoint.inference import Predictor
from heatpoint.localizers import make_localizer
from heatpoint.recipes import RECIPES, Recipe
from heatpoint.recipes.changes import changed
from heatpoint.skeleton import load_skeleton
from heatpoint.training import Machine, fit
from heatpoint.training.data import ExampleDataset, collate
from heatpoint.training.image_scores import locate_set
from heatpoint.training.images import weights_of
from heatpoint.training.scoring import scores_of
from heatpoint.training.weights import build_model, load_weights, make_header, save_weights
from runs import SILENT

SKELETONS = {
    "aflw": "aflw19",
    "coco": "coco17",
    "cofw": "cofw29",
    "faces300w": "face68",
    "human36m": "human36m18",
    "lspet": "lsp14",
    "lspet_upright": "lsp14",
    "mpii": "mpii16",
    "mtfl": "face5",
    "synthetic_bodies": "synthetic_body",
    "synthetic_faces": "synthetic_face",
    "w300": "face68",
    "wflw": "face98",
}
HEIGHT, WIDTH, NUM = 70, 90, 4
LOW, HIGH = [12.0, 9.0], [78.0, 61.0]


def few(recipe: Recipe) -> PointSet:
    """Four pictures of noise with points anywhere, and all that the sets of such recipes give."""
    rng = np.random.default_rng(3)
    skeleton = load_skeleton(SKELETONS[recipe.data.dataset])
    camera = Camera(np.eye(3), np.zeros(3), np.array([100.0, 100.0]), np.array([45.0, 35.0]))
    samples = []
    for index in range(NUM):
        points = rng.uniform(LOW, HIGH, size=(skeleton.num_points, 2))
        depths = 3000 + rng.uniform(-300, 300, skeleton.num_points)
        body = Body(camera.back_project(points, depths), camera) if recipe.data.depth_range_mm else None
        samples.append(
            Sample(
                rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8),
                points,
                np.ones(skeleton.num_points, dtype=np.bool_),
                (10.0, 8.0, 80.0, 62.0),
                f"{index}",
                lengths={"head": 9.0},
                area=1800.0,
                ids={"image_id": index + 1},
                body=body,
            )
        )
    return PointSet(recipe.data.dataset, "few", skeleton, tuple(samples))


def shrunk(recipe: Recipe) -> Recipe:
    """The recipe on a small input for one step: network, localizer, augmentation and rules as they are."""
    width, height = recipe.data.size
    changes: dict[str, Any] = {
        "data.input": (64, 96) if height > width else 64,
        "data.mixed_dataset": "",
        "data.train_limit": 0,
        "optimization.epochs": 1,
        "optimization.batch_size": 2,
    }
    if recipe.data.validation_fraction:
        changes["data.validation_fraction"] = 0.5
    if recipe.model.depth:
        changes["model.depth"] = 8
    return changed(recipe, changes)


# Recipes for scans and clouds have tests of their own.
IMAGES = {name: recipe for name, recipe in RECIPES.items() if recipe.task == "image"}
OURS = [name for name, recipe in IMAGES.items() if recipe.model.backbone in ("small", "tiny")]


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGES)
def test_a_recipe_takes_a_step_is_saved_loaded_scored_and_predicts(name: str, tmp_path: Path) -> None:
    recipe = shrunk(RECIPES[name])
    some = few(recipe)
    model, grid = build_model(recipe, some.skeleton.num_points)
    localizer = make_localizer(recipe.localizer, grid, **recipe.localizer_options)
    data = ExampleDataset(some, recipe.data, augmentation=recipe.augmentation, seed=recipe.seed)
    batch = collate([data[0, 0], data[0, 1]])
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.optimization.rate_at(0))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    loss = localizer.loss(
        model.train()(batch.images),
        batch.points,
        weight=weights_of(batch),
        progress=0.3,
        generator=torch.Generator().manual_seed(0),
    )
    loss.backward()
    optimizer.step()
    assert math.isfinite(float(loss.detach()))
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    # Residual branches begin at 0 (timm), so in the first step the gradient passes them by; both ends must be reached.
    first, last = next(model.parameters()), [*model.parameters()][-1]
    assert first.grad is not None
    assert bool(first.grad.any())
    assert not torch.equal(last, before[-1])

    path = tmp_path / "model.safetensors"
    save_weights(path, model.state_dict(), make_header(recipe, some.skeleton, localizer, grid))
    trained = load_weights(path)
    path.unlink()  # The weights of all recipes together would fill a disk.
    assert trained.recipe == recipe
    assert trained.localizer == localizer
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in trained.model.state_dict().items())

    found = locate_set(trained, {"": trained.localizer}, some, flip_test=recipe.data.flip_test)[""]
    scores = scores_of(found, some, peaks=found.confidence)
    assert all(math.isfinite(value) for value in scores["nme"].values())
    assert ("space" in scores) == bool(recipe.model.depth)
    assert ("coco" in scores) == (some.skeleton.sigmas is not None)
    image = some.samples[0].image
    assert isinstance(image, np.ndarray)
    (predicted,) = Predictor(trained)(image, boxes=[(10.0, 8.0, 80.0, 62.0)])
    assert predicted.points.shape == (some.skeleton.num_points, 2)
    assert np.isfinite(predicted.points).all()
    assert np.isfinite(predicted.confidence).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", OURS)
def test_a_recipe_of_a_small_network_runs_from_fit_to_scores(name: str, tmp_path: Path) -> None:
    recipe = shrunk(RECIPES[name])
    some = few(recipe)
    result = fit(
        recipe, out=tmp_path / "run", train=some, test=some, machine=Machine(accelerator="cpu"), console=SILENT
    )
    assert all(math.isfinite(value) for value in result.scores["scores"]["recipe"]["nme"].values())
    assert result.scores["protocol"]["dataset"] == recipe.data.dataset


NETWORKS = {
    (recipe.model.backbone, recipe.model.head, recipe.model.depth, recipe.data.size, recipe.data.dataset): recipe
    for recipe in IMAGES.values()
}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", NETWORKS.values(), ids=lambda recipe: recipe.name)
def test_a_recipes_maps_are_a_quarter_of_its_input(recipe: Recipe) -> None:
    num_points = load_skeleton(SKELETONS[recipe.data.dataset]).num_points
    with torch.device("meta"):
        model, grid = build_model(recipe, num_points)
        width, height = recipe.data.size
        maps = model(torch.empty(2, 3, height, width))
    shape = (recipe.model.depth, height // 4, width // 4) if recipe.model.depth else (height // 4, width // 4)
    assert grid.shape == shape
    channels = (2,) if recipe.localizer_options.get("channels") == 2 else ()
    assert tuple(maps.shape) == (2, num_points, *channels, *shape)
    assert grid.offsets == (0.0,) * len(shape)
