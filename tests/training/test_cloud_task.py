"""Keypoints of point clouds end to end: train, evaluate, save, load; distances in the cloud's own unit."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from heatpoint.cli.train import parse
from heatpoint.cloud_frame import CloudFrame
from heatpoint.datasets import synthetic_clouds
from heatpoint.datasets.cloud import Cloud, CloudSet
from heatpoint.localizers import make_localizer
from heatpoint.recipes import RECIPES, Recipe
from heatpoint.recipes.clouds import OPTIONS
from heatpoint.skeleton import Skeleton
from heatpoint.training import evaluate, fit
from heatpoint.training.cloud_scores import Located, keypoint_scores
from heatpoint.training.clouds import CloudDataset, CloudTask, over, placeholder, to_cloud
from heatpoint.training.sets import EpochSampler, make_loader
from heatpoint.training.weights import build_model, load_weights
from runs import SILENT

TINY = (
    "--limit", "10", "--num-points", "96", "--width", "0.1", "--batch-size", "3", "--epochs", "2", "--validation-fraction", "0.3",
)  # fmt: skip
TASK = CloudTask()


def tiny(localizer: str = "soft_argmax", *more: str) -> Recipe:
    return parse([f"synthetic_chairs-{localizer}", *TINY, *more])[1]


def few(number: int = 5, num_points: int = 130) -> CloudSet:
    return synthetic_clouds(number, category="chair", num_points=num_points)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return fit(tiny("log_score"), out=tmp_path_factory.mktemp("cloud") / "run", console=SILENT)


def test_a_run_is_scored_by_the_share_of_correct_keypoints(run: Any) -> None:
    scores = run.scores["scores"]
    assert set(scores) == {"recipe", "argmax"}
    own = scores["recipe"]
    assert set(own) == {"pck", "curve", "distance", "points", "correlation", "left_out"}
    for by in ("euclidean", "geodesic"):
        assert 0 <= own["pck"][by]["0.01"] <= own["pck"][by]["0.03"] <= own["curve"][by][-1] <= 1
    assert own["curve"]["thresholds"] == [0.01 * step for step in range(11)]
    assert 0 < own["distance"] < 1
    assert own["distance"] != scores["argmax"]["distance"]
    protocol = run.scores["protocol"]
    assert (protocol["dataset"], protocol["split"], protocol["num_points"]) == ("synthetic_chairs", "test", 96)
    assert protocol["distance_unit"] == "of the cloud"
    with run.paths["history"].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert all(0 < float(row["validation_distance"]) < 1 for row in rows)
    json.dumps(run.scores)


def test_evaluating_again_gives_the_same(run: Any) -> None:
    again = evaluate(run.paths["best"], readouts=["argmax"], batch_size=4)
    assert set(again["scores"]) == {"recipe", "argmax"}
    assert again["samples"] == run.scores["samples"]
    for name, row in again["scores"].items():
        # Another size of batch adds in another order.
        assert row["distance"] == pytest.approx(run.scores["scores"][name]["distance"], rel=1e-5)
    fewer = evaluate(run.paths["best"], limit=4)
    assert fewer["num_images"] == 4
    assert fewer["samples"] != run.scores["samples"]
    # The numbers say which support and which reading they are of.
    assert set(again["decoders"]) == {"recipe", "argmax"}
    assert "Points((96, 3))" in again["decoders"]["recipe"]
    with pytest.raises(ValueError, match="evaluate: --flip-test must be given for images and scans only, got point cl"):
        evaluate(run.paths["best"], flip_test=True)


def test_the_same_seed_gives_the_same_weights(run: Any, tmp_path: Path) -> None:
    again = fit(tiny("log_score"), out=tmp_path / "a", console=SILENT)
    here, there = (load_weights(result.paths["last"]).model.state_dict() for result in (run, again))
    assert all(torch.equal(here[name], there[name]) for name in here)
    with pytest.raises(ValueError, match="train: --out must be a folder without a run"):
        fit(tiny("log_score"), out=tmp_path / "a", console=SILENT)


def test_stored_weights_know_their_task(run: Any) -> None:
    trained = load_weights(run.paths["best"])
    assert trained.recipe == tiny("log_score")
    assert trained.localizer.grid.shape == (96,)
    assert trained.skeleton == few().skeleton


def test_learning_by_heart_trains_and_tests_on_the_same(tmp_path: Path) -> None:
    recipe = tiny("soft_argmax", "--by-heart", "--validation-fraction", "0", "--epochs", "1")
    result = fit(recipe, out=tmp_path / "run", console=SILENT)
    assert result.scores["split"] == "train"
    assert result.scores["num_images"] == 10
    assert (
        TASK.read_split(recipe.data, None, "test").samples[0].key
        == TASK.read_split(recipe.data, None, "train").samples[0].key
    )


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_localizer_takes_a_step_on_points(name: str) -> None:
    recipe = tiny(name)
    found = few()
    model, support = build_model(recipe, found.skeleton.num_points)
    localizer = make_localizer(recipe.localizer, support, **recipe.localizer_options)
    data = TASK.dataset(found, recipe, is_training=True)
    batch = TASK.collate([data[0, 0], data[0, 3]])
    loss = TASK.loss(model, localizer, batch, recipe, progress=0.5, generator=torch.Generator().manual_seed(0))
    loss.backward()
    assert loss.isfinite()
    for end in (next(model.parameters()), model.logits.weight):
        assert end.grad.isfinite().all()
        assert end.grad.abs().max() > 0


def test_hidden_keypoints_do_not_count() -> None:
    recipe, found = tiny(), few()
    model, support = build_model(recipe, found.skeleton.num_points)
    localizer = make_localizer("soft_argmax", support)
    data = TASK.dataset(found, recipe, is_training=False)
    batch = TASK.collate([data[0, index] for index in range(3)])
    assert not bool(batch.visible.all())
    moved = batch._replace(points=torch.where(batch.visible[..., None], batch.points, 7.0))
    generator = torch.Generator()
    model.eval()
    a, b = (TASK.loss(model, localizer, given, recipe, progress=0.0, generator=generator) for given in (batch, moved))
    assert torch.equal(a, b)
    a, b = (TASK.validation_errors(model, localizer, given, recipe) for given in (batch, moved))
    assert torch.equal(a, b)
    nothing = batch._replace(visible=torch.zeros_like(batch.visible))
    assert TASK.validation_errors(model, localizer, nothing, recipe).shape == (0,)


def test_examples_depend_on_epoch_and_place_alone() -> None:
    recipe = tiny("soft_argmax", "--rotation-deg", "30", "--jitter", "0.01")
    data = TASK.dataset(few(), recipe, is_training=True)
    first = data[2, 1]
    data[0, 0], data[1, 1]
    again = TASK.dataset(few(), recipe, is_training=True)[2, 1]
    assert torch.equal(first.xyz, again.xyz)
    assert not torch.equal(first.xyz, data[3, 1].xyz)
    plain = TASK.dataset(few(), recipe, is_training=False)
    assert torch.equal(plain[2, 1].xyz, plain[0, 1].xyz)


def test_clouds_are_read_once_and_no_more_than_there_is_room_for(tmp_path: Path) -> None:
    found = few(3)
    paths = [tmp_path / f"{index}.npy" for index in range(3)]
    samples = []
    for path, cloud in zip(paths, found.samples, strict=True):
        assert isinstance(cloud.xyz, np.ndarray)
        np.save(path, cloud.xyz)
        samples.append(replace(cloud, xyz=path))
    on_disk = replace(found, samples=tuple(samples))
    recipe = tiny()
    kept = CloudDataset(on_disk, recipe.data)
    kept.preload()
    # One cloud is 130 * 3 * 8 bytes: the first fills the room, the others are read again each time.
    tight = CloudDataset(on_disk, recipe.data, cache_megabytes=0.001)
    tight.preload()
    whole = kept[0, 2].xyz
    assert torch.equal(tight[0, 2].xyz, whole)
    for path in paths:
        path.unlink()
    assert torch.equal(kept[0, 2].xyz, whole)
    assert torch.equal(tight[0, 0].xyz, kept[0, 0].xyz)
    with pytest.raises(FileNotFoundError, match="load_cloud: cloud must be an existing file"):
        tight[0, 2]


def test_points_come_back_to_the_cloud() -> None:
    rng = np.random.default_rng(0)
    clouds = rng.normal(size=(2, 40, 3)) * 7 + [3, -2, 1]
    frames = [CloudFrame.unit_sphere(xyz) for xyz in clouds]
    matrices = torch.from_numpy(np.stack([frame.matrix for frame in frames]))
    shown = torch.from_numpy(np.stack([frame.to_input(xyz) for frame, xyz in zip(frames, clouds, strict=True)]))
    np.testing.assert_allclose(to_cloud(shown, matrices).numpy(), clouds, atol=1e-12)


def test_validation_measures_in_the_clouds_own_unit() -> None:
    """Maps that are certain of a row: the distance from there to the keypoint, by hand."""
    recipe, found = tiny(), few(4)
    rows = torch.arange(len(found.skeleton.names)) + 3
    large = replace(found, samples=tuple(replace(c, xyz=9.0 * c.xyz, points=9.0 * c.points) for c in found.samples))

    class Certain(torch.nn.Module):
        def forward(self, xyz: torch.Tensor) -> torch.Tensor:
            logits = torch.full((len(xyz), len(rows), xyz.shape[1]), -1e4)
            logits[:, torch.arange(len(rows)), rows] = 0.0
            return logits

    for given in (found, large):
        data = TASK.dataset(given, recipe, is_training=False)
        batch = TASK.collate([data[0, index] for index in range(4)])
        errors = TASK.validation_errors(Certain(), make_localizer("soft_argmax", placeholder(16)), batch, recipe)
        for index, cloud in enumerate(given.samples):
            example = data[0, index]
            shown = example.frame.to_cloud(example.xyz[rows].numpy().astype(float))
            apart = np.linalg.norm(shown - cloud.points, axis=1)[cloud.visible].mean()
            assert errors[index].item() == pytest.approx(apart, rel=1e-5)


def scored(shift: float, *, number: int = 4) -> tuple[dict[str, Any], CloudSet]:
    found = few(number)
    points = torch.stack([torch.from_numpy(cloud.points) for cloud in found.samples]) + torch.tensor([0.0, shift, 0.0])
    confidence = torch.rand(points.shape[:2], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return keypoint_scores({"a": Located(points, confidence), "b": Located(points - 5, confidence)}, found), found


def test_scores_by_hand() -> None:
    exact, found = scored(0.0)
    assert exact["a"]["pck"] == {by: {"0.01": 1.0, "0.03": 1.0} for by in ("euclidean", "geodesic")}
    assert exact["a"]["distance"] == 0.0
    assert exact["b"]["pck"]["euclidean"] == {"0.01": 0.0, "0.03": 0.0}
    assert exact["b"]["distance"] == pytest.approx(75**0.5)
    near, _ = scored(0.025)
    assert near["a"]["pck"]["euclidean"] == {"0.01": 0.0, "0.03": 1.0}
    assert near["a"]["curve"]["euclidean"] == [0, 0, 0, *[1] * 8]
    assert near["a"]["distance"] == pytest.approx(0.025)
    occurs = np.stack([cloud.visible for cloud in found.samples]).any(axis=0)
    assert set(near["a"]["points"]) == {name for name, here in zip(found.skeleton.names, occurs, strict=True) if here}


def test_clouds_without_a_keypoint_are_left_out() -> None:
    found = few(3)
    blind = replace(found.samples[1], visible=np.zeros_like(found.samples[1].visible))
    some = replace(found, samples=(found.samples[0], blind, found.samples[2]))
    points = torch.stack([torch.from_numpy(cloud.points) for cloud in found.samples])
    scores = keypoint_scores({"a": Located(points, torch.ones(points.shape[:2], dtype=torch.float64))}, some)["a"]
    assert scores["left_out"] == 1
    assert scores["pck"]["geodesic"]["0.01"] == 1.0


def test_what_cannot_be_trained_on_is_said_before_training(tmp_path: Path) -> None:
    recipe = tiny("soft_argmax", "--num-points", "3000")
    with pytest.raises(ValueError, match="make_cloud_example: cloud must have at least num_points = 3000 points"):
        fit(recipe, out=tmp_path / "run", console=SILENT)
    assert not (tmp_path / "run").exists()
    found = few(2)
    blind = tuple(replace(cloud, visible=np.zeros_like(cloud.visible)) for cloud in found.samples)
    with pytest.raises(ValueError, match="train: dataset must have a keypoint in some cloud"):
        TASK.check_samples(replace(found, samples=blind), tiny().data)
    with pytest.raises(
        ValueError, match="validation_fraction must be 0 for learning by heart, which holds nothing out"
    ):
        replace(tiny().data, by_heart=True)
    by_heart = tiny("soft_argmax", "--by-heart", "--validation-fraction", "0")
    with pytest.raises(ValueError, match="read_split: split must be one of all, test, train, got 'nonsense'"):
        TASK.read_split(by_heart.data, None, "nonsense")
    with pytest.raises(ValueError, match="read_split: dataset must be one of .*got 'synthetic_sofas'"):
        TASK.read_split(replace(recipe.data, dataset="synthetic_sofas"), None, "train")


def test_a_set_is_known_by_its_keypoints() -> None:
    found = few(3)
    assert TASK.fingerprint(found) == TASK.fingerprint(few(3))
    first = found.samples[0]
    moved = replace(found, samples=(replace(first, points=first.points + 1e-3, index=None), *found.samples[1:]))
    assert TASK.fingerprint(moved) != TASK.fingerprint(found)
    assert TASK.fingerprint(replace(found, split="test")) != TASK.fingerprint(found)


def test_a_set_of_ones_own_is_trained_on_and_scored(tmp_path: Path) -> None:
    """Clouds of different sizes, keypoints that are no rows, another skeleton."""
    rng = np.random.default_rng(0)
    skeleton = Skeleton(("tip", "tail"))
    samples = tuple(
        Cloud(rng.normal(size=(100 + 7 * i, 3)), rng.normal(size=(2, 3)) / 3, np.array([True, i % 2 == 0]), f"{i}")
        for i in range(8)
    )
    own = CloudSet("bottles", "train", skeleton, samples)
    recipe = tiny("sampling_argmax", "--epochs", "1", "--limit", "0")
    result = fit(recipe, out=tmp_path / "run", train=own, test=replace(own, split="test"), console=SILENT)
    assert result.scores["num_images"] == 8
    assert result.scores["protocol"]["dataset"] == "bottles"


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_the_same_with_workers(workers: int) -> None:
    recipe = tiny()
    data = TASK.dataset(few(), recipe, is_training=True)
    loader = make_loader(data, EpochSampler(5, seed=0), collate=TASK.collate, batch_size=2, workers=workers)
    batches = list(loader)
    assert [len(batch.xyz) for batch in batches] == [2, 2, 1]
    assert torch.equal(torch.cat([b.xyz for b in batches]), torch.stack([data[i].xyz for i in EpochSampler(5, seed=0)]))


def test_a_localizer_over_a_batch_reads_each_cloud_by_its_own_points() -> None:
    xyz = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(1))
    logits = torch.full((2, 4, 9), -1e4)
    logits[:, :, 5] = 0.0
    located = over(make_localizer("soft_argmax", placeholder(16)), xyz).locate(logits)
    torch.testing.assert_close(located.points, xyz[:, None, 5].expand(2, 4, 3))


def test_recipes_of_clouds_are_of_this_task() -> None:
    assert RECIPES["keypointnet_airplane-log_score-overfit"].data.by_heart
    assert RECIPES["keypointnet_airplane-log_score-overfit"].task == TASK.name
