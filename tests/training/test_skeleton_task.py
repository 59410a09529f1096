"""Keypoints without annotations end to end: what the loss sees, that no annotation is looked at, and the scores."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from heatpoint.chamfer import composite_chamfer
from heatpoint.cli.train import parse
from heatpoint.datasets import synthetic_clouds
from heatpoint.datasets.cloud import CloudSet
from heatpoint.localizers import make_localizer
from heatpoint.models import SkeletonMerger
from heatpoint.recipes import Recipe
from heatpoint.recipes.clouds import OPTIONS
from heatpoint.training import evaluate, fit
from heatpoint.training.cloud_scores import Located, alignment_scores
from heatpoint.training.clouds import CloudBatch, over, placeholder
from heatpoint.training.skeletons import WITHOUT_TARGET, SkeletonTask, drawn_points, shape_penalty
from heatpoint.training.weights import build_model, load_weights
from runs import SILENT

TINY = (
    "--limit", "9", "--num-points", "96", "--width", "0.1", "--num-keypoints", "4", "--points-per-edge", "3",
    "--batch-size", "3", "--epochs", "2", "--validation-fraction", "0.3",
)  # fmt: skip
TASK = SkeletonTask()


def tiny(localizer: str = "soft_argmax", *more: str) -> Recipe:
    return parse([f"synthetic_airplanes-skeleton-{localizer}", *TINY, *more])[1]


def few(number: int = 4, num_points: int = 110) -> CloudSet:
    return synthetic_clouds(number, category="airplane", num_points=num_points)


def some_maps(clouds: int = 2, keypoints: int = 5, points: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    xyz = torch.rand(clouds, points, 3, generator=generator, dtype=torch.float64)
    return xyz, 3 * torch.randn(clouds, keypoints, points, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    recipe = tiny("sampling_argmax", "--option", "num_samples=2")
    return fit(recipe, out=tmp_path_factory.mktemp("skeleton") / "run", console=SILENT)


def test_a_run_is_scored_by_dual_alignment(run: Any) -> None:
    scores = run.scores["scores"]
    assert set(scores) == {"recipe", "argmax"}
    for row in scores.values():
        das = row["das"]
        assert set(das) == {"forward", "backward", "mean"}
        assert das["mean"] == pytest.approx((das["forward"] + das["backward"]) / 2)
        assert 1 / 9 <= das["forward"] <= 1
    assert run.scores["protocol"]["num_keypoints"] == 4
    with run.paths["history"].open() as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["validation_chamfer"]) > 0 for row in rows)
    again = evaluate(run.paths["best"])
    assert again["scores"] == scores


def test_the_number_of_keypoints_is_the_recipes_and_not_the_sets(run: Any) -> None:
    trained = load_weights(run.paths["best"])
    assert trained.model(torch.rand(2, 50, 3)).shape == (2, 4, 50)
    assert trained.skeleton == few().skeleton
    assert trained.skeleton.num_points != 4


def losses(localizer: str, batch: CloudBatch, recipe: Recipe) -> torch.Tensor:
    torch.manual_seed(0)
    model, support = build_model(recipe, 14)
    given = make_localizer(localizer, support, **recipe.localizer_options)
    generator = torch.Generator().manual_seed(1)
    loss = TASK.loss(model, given, batch, recipe, progress=0.5, generator=generator)
    loss.backward()
    ends = (next(model.parameters()), model.get_parameter("logits.weight"), model.get_parameter("offsets"))
    assert all(end.grad is not None and end.grad.isfinite().all() and end.grad.abs().max() > 0 for end in ends)
    return loss.detach()


@pytest.mark.parametrize("name", WITHOUT_TARGET)
def test_no_annotation_is_looked_at(name: str) -> None:
    recipe = tiny(name)
    data = TASK.dataset(few(), recipe, is_training=True)
    batch = TASK.collate([data[0, index] for index in range(3)])
    blind = batch._replace(points=torch.full_like(batch.points, math.nan), visible=torch.zeros_like(batch.visible))
    assert torch.equal(losses(name, batch, recipe), losses(name, blind, recipe))


def test_the_loss_is_the_mean_over_draws_and_clouds() -> None:
    """Sampling with two samples against the sum written out, draw by draw and cloud by cloud."""
    recipe = tiny("sampling_argmax", "--option", "num_samples=2")
    data = TASK.dataset(few(), recipe, is_training=False)
    batch = TASK.collate([data[0, index] for index in range(3)])
    torch.manual_seed(0)
    model, support = build_model(recipe, 14)
    assert isinstance(model, SkeletonMerger)
    model.eval()
    localizer = make_localizer("sampling_argmax", support, **recipe.localizer_options)
    found = TASK.loss(model, localizer, batch, recipe, progress=0.5, generator=torch.Generator().manual_seed(3)).item()
    logits, strengths = model.encode(batch.xyz)
    points = drawn_points(localizer, logits, batch.xyz, progress=0.5, generator=torch.Generator().manual_seed(3))
    assert points.shape == (2, 3, 4, 3)
    total = 0.0
    for sample in range(2):
        for cloud in range(3):
            distance = composite_chamfer(
                points[sample, cloud], strengths[cloud], batch.xyz[cloud], offsets=model.offsets, points_per_edge=3
            )
            total += distance.item() / 6
    assert found == pytest.approx(total + 0.01 * model.offsets.square().sum().item(), rel=1e-5)


def test_the_regularizers_by_hand() -> None:
    xyz, logits = some_maps()
    weights = logits.softmax(dim=-1)
    options = OPTIONS["soft_argmax_variance"]
    penalty = shape_penalty(make_localizer("soft_argmax_variance", placeholder(16), **options), logits, xyz)
    for b in range(2):
        for k in range(5):
            mean = sum(weights[b, k, n] * xyz[b, n] for n in range(7))
            spread = sum(weights[b, k, n] * (xyz[b, n] - mean).square().sum() for n in range(7))
            assert penalty[b, k].item() == pytest.approx((spread.item() - 4 * 0.01**2) ** 2, rel=1e-9)
    js = shape_penalty(make_localizer("soft_argmax_js", placeholder(16), **OPTIONS["soft_argmax_js"]), logits, xyz)
    for b in range(2):
        for k in range(5):
            mean = weights[b, k] @ xyz[b]
            near = torch.softmax(-(xyz[b] - mean).square().sum(dim=-1) / (2 * 0.02**2), dim=-1)
            middle = (weights[b, k] + near) / 2
            halves = [0.5 * torch.special.xlogy(p, p / middle).sum() for p in (weights[b, k], near)]
            assert js[b, k].item() == pytest.approx(0.01 * sum(halves).item(), rel=1e-6)
    assert shape_penalty(make_localizer("soft_argmax", placeholder(16)), logits, xyz).abs().max() == 0


def test_draws_follow_the_temperature_and_the_others_are_means() -> None:
    xyz, logits = some_maps()
    mean = logits.softmax(dim=-1) @ xyz
    for name in WITHOUT_TARGET[:3]:
        localizer = make_localizer(name, placeholder(16), **OPTIONS[name])
        points = drawn_points(localizer, logits, xyz, progress=0.0, generator=None)
        torch.testing.assert_close(points, mean[None])
    localizer = make_localizer("sampling_argmax", placeholder(16), basis=None, num_samples=3000, temperature=0.01)
    points = drawn_points(localizer, logits, xyz, progress=0.0, generator=torch.Generator().manual_seed(0))
    # Nearly exact draws: each lies on a point of its cloud, and their mean within five standard errors of the map's.
    nearest = torch.cdist(points, xyz.expand(3000, -1, -1, -1)).amin(dim=-1)
    assert nearest.median() < 1e-6
    assert (points.mean(dim=0) - mean).abs().max() < 5 * 0.5 / 3000**0.5


def test_localizers_that_need_a_target_are_refused(tmp_path: Any) -> None:
    recipe = replace(tiny(), localizer="log_score", localizer_options=dict(OPTIONS["log_score"]))
    text = "train: localizer must be one of soft_argmax, .* without annotated keypoints, got log_score"
    with pytest.raises(ValueError, match=text):
        fit(recipe, out=tmp_path / "run", console=SILENT)
    assert not (tmp_path / "run").exists()


def test_validation_is_the_distance_of_the_keypoints_that_are_read() -> None:
    recipe = tiny()
    data = TASK.dataset(few(), recipe, is_training=False)
    batch = TASK.collate([data[0, index] for index in range(4)])
    torch.manual_seed(0)
    model, support = build_model(recipe, 14)
    assert isinstance(model, SkeletonMerger)
    model.eval()
    logits, strengths = model.encode(batch.xyz)
    for readout in ("soft_argmax", "argmax"):
        localizer = make_localizer("soft_argmax", support, readout=readout)
        errors = TASK.validation_errors(model, localizer, batch, recipe)
        points = over(localizer, batch.xyz).locate(logits).points
        for cloud in range(4):
            alone = composite_chamfer(
                points[cloud], strengths[cloud], batch.xyz[cloud], offsets=model.offsets, points_per_edge=3
            )
            assert errors[cloud].item() == pytest.approx(alone.item(), rel=1e-5)


def test_alignment_by_hand() -> None:
    found = few(3)
    points = torch.stack([torch.from_numpy(cloud.points) for cloud in found.samples])
    visible = torch.stack([torch.from_numpy(cloud.visible) for cloud in found.samples])
    always = visible.all(dim=0)
    exact = Located(points[:, always], torch.ones(3, int(always.sum()), dtype=torch.float64))
    assert alignment_scores({"a": exact}, found)["a"]["das"]["forward"] == 1.0
    # The same keypoints under other numbers on one of three models: no number agrees with that model but its own.
    turned = points[:, always].clone()
    turned[0] = turned[0].roll(1, dims=0)
    scores = alignment_scores({"a": Located(turned, exact.confidence)}, found)["a"]["das"]
    assert scores["forward"] == pytest.approx(5 / 9)


def test_one_cloud_agrees_with_nothing(run: Any) -> None:
    rule = "evaluate: clouds must hold at least two clouds, and annotated keypoints, for keypoints to agree with, got"
    with pytest.raises(ValueError, match=rule):
        evaluate(run.paths["best"], limit=1)
    found = few(3)
    blind = tuple(replace(cloud, visible=np.zeros_like(cloud.visible)) for cloud in found.samples)
    with pytest.raises(ValueError, match=rule):
        evaluate(run.paths["best"], point_set=replace(found, samples=blind))


def test_clouds_without_annotations_are_trained_on(tmp_path: Path) -> None:
    found = few(5)
    blind = tuple(replace(cloud, visible=np.zeros_like(cloud.visible)) for cloud in found.samples)
    result = fit(
        tiny("soft_argmax", "--test-split", ""), train=replace(found, samples=blind), out=tmp_path / "r", console=SILENT
    )
    assert result.paths["best"].is_file()
