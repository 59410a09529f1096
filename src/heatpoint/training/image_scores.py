"""Points located in a set of images, and what their scores depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from heatpoint.datasets import PointSet
from heatpoint.localizers import Localizer
from heatpoint.recipes.config import DataConfig, Recipe
from heatpoint.skeleton import Skeleton
from heatpoint.training.data import Batch, ExampleDataset, collate
from heatpoint.training.locating import locate, to_image
from heatpoint.training.normalizing import default_normalizer, measures_box, which_box
from heatpoint.training.pose_scores import NMS_THRESHOLD, PoseRule, areas_of, is_pose_set
from heatpoint.training.scoring import THRESHOLD, Found
from heatpoint.training.sets import EpochSampler, make_loader
from heatpoint.training.space import ROOT_DEPTH, relative_depths
from heatpoint.training.weights import Trained

SPLITS = ("train", "validation", "test")
PEAK, ACTIVATION, ACTIVATIONS = "peak", "activation", 4


def pose_rule(data: DataConfig) -> PoseRule:
    """How a recipe has poses scored and their doubles dropped."""
    return PoseRule(
        score=data.pose_score,
        nms=_nms(data),
        padding=data.padding,
        aspect=data.size[0] / data.size[1],
        policy=data.box_policy,
    )


def activation_readings(trained: Trained) -> dict[str, Localizer]:
    """Readings for the activation probabilities of randomized rounding (Table 2), from the largest on."""
    if trained.recipe.localizer != "randomized_rounding":
        return {}
    by = {"name": "ranked_share", "k": ACTIVATIONS}
    return {
        f"{ACTIVATION}{rank}": replace(trained.localizer, confidence_by={**by, "rank": rank})
        for rank in range(1, ACTIVATIONS + 1)
    }


def locate_set(
    trained: Trained,
    localizers: Mapping[str, Localizer],
    point_set: PointSet,
    *,
    flip_test: bool,
    batch_size: int = 32,
    workers: int = 0,
    device: str = "cpu",
) -> dict[str, Found]:
    """Locates all points of a set, running the network once per image (twice in a flip test)."""
    dataset = ExampleDataset(point_set, trained.recipe.data, cache_megabytes=0)
    sampler = EpochSampler(len(dataset), seed=0, shuffle=False)
    swap = trained.skeleton.swap if flip_test else None
    parts: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in localizers}
    data = trained.recipe.data
    for batch in make_loader(dataset, sampler, collate=collate, batch_size=batch_size, workers=workers):
        located = locate(trained.model, localizers, batch.images.to(device), swap=swap, average=data.flip_average)
        for name, item in located.items():
            z = item.points[..., 2:].squeeze(-1).double().cpu()
            depth = relative_depths(z, side=data.size[0], depth_range_mm=data.depth_range_mm)
            row = (_in_image(item.points[..., :2], batch), item.confidence.double().cpu())
            parts[name].append((*row, depth) if data.depth_range_mm > 0 else row)
    return {name: Found(*(torch.cat(column) for column in zip(*rows, strict=True))) for name, rows in parts.items()}


def protocol(recipe: Recipe, skeleton: Skeleton, point_set: PointSet, *, flip_test: bool) -> dict[str, Any]:
    """Everything beside the weights that changes a score."""
    data = recipe.data
    # A set describes all its splits; only this one matters to the score.
    shown = [key for key in point_set.protocol if key not in SPLITS or key == point_set.split]
    return {
        "dataset": point_set.name,
        "split": point_set.split,
        **{f"dataset_{key}": value for key, value in point_set.protocol.items() if key in shown},
        "box_policy": data.box_policy,
        "padding": data.padding,
        "input": data.input,
        "offset": recipe.model.offset,
        "flip_test": flip_test,
        **({"flip_average": data.flip_average} if flip_test else {}),
        "normalizer": default_normalizer(skeleton),
        **({"normalizer_box": which_box(point_set)} if measures_box(skeleton) else {}),
        "failure_threshold": THRESHOLD,
        **(_pose_protocol(data, point_set) if is_pose_set(skeleton) else {}),
        **({"depth_range_mm": data.depth_range_mm, "root_depth": ROOT_DEPTH} if data.depth_range_mm > 0 else {}),
        "limit": data.limit,
    }


def _nms(data: DataConfig) -> Literal["detected", "always"]:
    """Where doubles of poses are dropped: as the code that the score's rule is from does it."""
    return "detected" if data.pose_score == "sampling_argmax" else "always"


def _pose_protocol(data: DataConfig, point_set: PointSet) -> dict[str, Any]:
    found: dict[str, Any] = {"pose_score": data.pose_score, "pose_nms": f"{_nms(data)}, above {NMS_THRESHOLD:g}"}
    if point_set.skeleton.sigmas is not None:
        found["sigmas"] = list(point_set.skeleton.sigmas)
        found["oks_area"] = areas_of(point_set)[1]
    return found


def _in_image(points: Tensor, batch: Batch) -> Tensor:
    return to_image(points.double().cpu(), batch.matrices.double())
