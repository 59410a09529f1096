"""Volumes end to end: train, evaluate, save, load, predict; errors in millimetres."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from heatpoint.cameras import Camera
from heatpoint.cli.train import parse
from heatpoint.datasets import synthetic_bodies
from heatpoint.datasets.sample import Body
from heatpoint.inference import Predictor
from heatpoint.localizers import make_localizer
from heatpoint.models import make_model
from heatpoint.recipes import RECIPES, Recipe
from heatpoint.support import Grid
from heatpoint.training import evaluate, fit
from heatpoint.training.data import Batch, ExampleDataset, collate
from heatpoint.training.images import weights_of
from heatpoint.training.locating import locate
from heatpoint.training.sets import EpochSampler, make_loader
from heatpoint.training.space import relative_depths, relative_errors, space_of, space_scores, to_camera
from heatpoint.training.weights import build_model
from runs import SILENT

TINY = (
    "--limit",
    "20",
    "--input",
    "32",
    "--depth",
    "8",
    "--batch-size",
    "8",
    "--epochs",
    "2",
    "--validation-fraction",
    "0.2",
)


def tiny(localizer: str = "soft_argmax", *more: str) -> Recipe:
    return parse([f"synthetic_bodies-{localizer}", *TINY, *more])[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return fit(tiny("soft_argmax"), out=tmp_path_factory.mktemp("volume") / "run", console=SILENT)


def test_a_run_on_volumes_is_scored_in_millimetres(run: Any) -> None:
    space = run.scores["scores"]["recipe"]["space"]
    assert set(space) == {"mpjpe_mm", "pa_mpjpe_mm", "n_mpjpe_mm", "axes_mm", "scored"}
    assert space["scored"] == 20
    assert 0 < space["pa_mpjpe_mm"] < space["mpjpe_mm"] < 1500
    assert run.scores["protocol"]["depth_range_mm"] == 2000
    assert run.scores["protocol"]["root_depth"] == "true"
    with run.paths["history"].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert float(rows[-1]["validation_mpjpe_mm"]) > 0
    assert "validation_nme" not in rows[0]


def test_evaluating_again_gives_the_same_and_a_flip_test_another_score(run: Any) -> None:
    again = evaluate(run.paths["best"])
    assert again["scores"]["recipe"]["space"] == run.scores["scores"]["recipe"]["space"]
    plain = evaluate(run.paths["best"], flip_test=False)
    assert plain["scores"]["recipe"]["space"] != again["scores"]["recipe"]["space"]


def test_predictions_have_depths(run: Any) -> None:
    predictor = Predictor.load(run.paths["best"])
    sample = synthetic_bodies(1, split="test").samples[0]
    assert isinstance(sample.image, np.ndarray)
    assert sample.box is not None
    (found,) = predictor(sample.image, [sample.box])
    assert found.points.shape == (17, 2)
    assert found.covariance.shape == (17, 2, 2)
    assert found.depths is not None
    assert np.isfinite(found.depths).all()
    assert np.abs(found.depths).max() <= 1000
    assert found.to_dict()["depths_mm"] == found.depths.tolist()
    assert found.plot().shape == sample.image.shape
    assert predictor.describe()["depth_range_mm"] == 2000
    assert len(predictor(sample.image)) == 1
    # The same as the evaluation locates.
    dataset = ExampleDataset(synthetic_bodies(1, split="test"), predictor.trained.recipe.data)
    batch = next(
        iter(make_loader(dataset, EpochSampler(1, seed=0, shuffle=False), collate=collate, batch_size=1, workers=0))
    )
    swap = predictor.trained.skeleton.swap
    z = locate(predictor.trained.model, {"": predictor.trained.localizer}, batch.images, swap=swap)[""].points[0, :, 2]
    np.testing.assert_allclose(
        found.depths, relative_depths(z.double(), side=32, depth_range_mm=2000).numpy(), atol=1e-3
    )


@pytest.mark.parametrize("name", sorted(n for n in RECIPES if n.startswith("synthetic_bodies-")))
def test_every_localizer_trains_a_volume_for_one_step(name: str) -> None:
    recipe = tiny(name.removeprefix("synthetic_bodies-"))
    model, grid = build_model(recipe, 17)
    localizer = make_localizer(recipe.localizer, grid, **recipe.localizer_options)
    dataset = ExampleDataset(synthetic_bodies(4), recipe.data)
    batch = next(iter(make_loader(dataset, EpochSampler(4, seed=0), collate=collate, batch_size=4, workers=0)))
    assert batch.points.shape == (4, 17, 3)
    loss = localizer.loss(model(batch.images), batch.points, weight=weights_of(batch))
    loss.backward()
    assert bool(torch.isfinite(loss.detach()))
    gradient = model.network.logits.weight.grad
    assert bool(torch.isfinite(gradient).all())
    assert gradient.abs().max() > 0
    found = locate(model.eval(), {"": localizer}, batch.images, swap=dataset.point_set.skeleton.swap)[""]
    assert found.points.shape == (4, 17, 3)
    assert found.covariance.shape == (4, 17, 3, 3)


def test_a_flip_test_mirrors_x_and_keeps_z() -> None:
    """A network that sees nothing of the image: its mirror image gives x turned around, and the same z."""
    grid = Grid((4, 8, 8), stride=4, offset=0)
    logits = torch.randn(1, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    localizer = make_localizer("soft_argmax", grid)

    class Fixed(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return logits

    plain = locate(Fixed(), {"": localizer}, torch.zeros(1, 3, 32, 32))[""]
    flipped = locate(Fixed(), {"": localizer}, torch.zeros(1, 3, 32, 32), swap=(1, 0))[""]
    here, there = plain.points[0], plain.points[0].flip(0)
    torch.testing.assert_close(flipped.points[0, :, 0], (here[:, 0] + 31 - there[:, 0]) / 2)
    torch.testing.assert_close(flipped.points[0, :, 1:], (here[:, 1:] + there[:, 1:]) / 2)
    a, b = plain.covariance[0], plain.covariance[0].flip(0)
    torch.testing.assert_close(flipped.covariance[0, :, 1, 2], (a[:, 1, 2] + b[:, 1, 2]) / 2)
    torch.testing.assert_close(flipped.covariance[0, :, 0, 2], (a[:, 0, 2] - b[:, 0, 2]) / 2)


def bodies() -> list[Body | None]:
    rng = np.random.default_rng(0)
    cameras = [Camera(np.eye(3), np.zeros(3), np.array([900.0, 950.0 + i]), np.array([31.0, 30.0])) for i in range(2)]
    points = [rng.normal(size=(5, 3)) * 200 + [0, 0, 4000] for _ in range(2)]
    return [Body(points[0], cameras[0], root=2), None, Body(points[1], cameras[1])]


def test_true_pixels_and_depths_come_back_to_the_body() -> None:
    given = bodies()
    space = space_of(given, 5)
    pixels, depths = torch.zeros(3, 5, 2, dtype=torch.float64), torch.zeros(3, 5, dtype=torch.float64)
    for i, body in enumerate(given):
        if body is not None:
            pixels[i] = torch.from_numpy(body.camera.project(body.points))
            depths[i] = torch.from_numpy(body.points[:, 2] - body.points[body.root, 2])
    found = to_camera(pixels, depths, space)
    for i, body in enumerate(given):
        if body is not None:
            np.testing.assert_allclose(found[i].numpy(), body.points, rtol=1e-12)
    pred, target = relative_errors(pixels, depths + 30, space)
    assert pred.shape == target.shape == (2, 5, 3)
    # Depth alone off by 30 mm for all: from the root nothing is off along z, and x and y grow by 30 mm / z.
    torch.testing.assert_close(pred[..., 2], target[..., 2])
    assert 0 < (pred - target).abs().max() < 10


def test_errors_are_those_of_the_released_evaluation(goldens: Any) -> None:
    golden = goldens("08_h36m")
    cams, given = golden["cam"], []
    for i in range(6):
        camera = Camera(np.eye(3), np.zeros(3), golden["f"][i].astype(float), golden["c"][i].astype(float))
        given.append(Body(cams[i], camera))
    located = torch.from_numpy(golden["pred_uvd_image"])
    pred, target = relative_errors(located[..., :2], 2000 * located[..., 2], space_of(given, 18))
    errors = torch.linalg.vector_norm(pred - target, dim=-1)[:, :17]
    assert errors.mean().item() == pytest.approx(float(golden["eval_mpjpe"]), rel=1e-6)
    np.testing.assert_allclose(pred[:, :17].numpy(), golden["eval_pred_cam_rootrel_17"], atol=1e-3)


def test_scores_in_millimetres_by_hand() -> None:
    point_set = synthetic_bodies(3, size=48)
    points = torch.stack([torch.from_numpy(sample.points) for sample in point_set.samples])
    truth = np.stack([sample.body.points for sample in point_set.samples if sample.body is not None])
    depths = torch.from_numpy(truth[..., 2] - truth[:, :1, 2])
    exact = space_scores(points, depths, point_set)
    assert exact["mpjpe_mm"] == pytest.approx(0, abs=1e-6)
    off = depths.clone()
    off[:, 3] += 17.0
    found = space_scores(points, off, point_set)
    # One of 17 joints is 17 mm too far; on the way there its x and y move along the ray.
    ray = truth[:, 3] / truth[:, 3, 2:]
    assert found["mpjpe_mm"] == pytest.approx(np.linalg.norm(ray, axis=1).mean(), rel=1e-9)
    assert found["axes_mm"]["z"] == pytest.approx(1.0)
    assert found["scored"] == 3
    assert found["n_mpjpe_mm"] > 0


def test_the_weight_along_depth_is_that_of_known_depths() -> None:
    visible = torch.tensor([[True, False], [True, True]])
    batch = Batch(torch.zeros(2, 3, 4, 4), torch.zeros(2, 2, 3), visible, torch.zeros(2, 2, 3), torch.ones(2))
    assert weights_of(batch).tolist() == [[1, 0], [1, 1]]
    some = batch._replace(has_depth=torch.tensor([True, False]))
    assert weights_of(some).tolist() == [[[1, 1, 1], [0, 0, 0]], [[1, 1, 0], [1, 1, 0]]]


def test_depth_and_its_range_are_given_together(tmp_path: Path) -> None:
    for more in (("--depth", "0"), ("--depth-range-mm", "0")):
        with pytest.raises(
            ValueError, match="train: depth must be greater than 0 where depth_range_mm is, and only there"
        ):
            fit(tiny("soft_argmax", *more), out=tmp_path / "run", console=SILENT)
    assert not (tmp_path / "run").exists()


def test_a_network_of_volumes_and_its_grid_are_stored_and_built_again(run: Any) -> None:
    trained = Predictor.load(run.paths["best"]).trained
    assert trained.localizer.grid == make_model("small", num_points=17, input_size=32, depth=8).grid(0.0)
    assert trained.header["grid"]["shape"] == [8, 8, 8]
