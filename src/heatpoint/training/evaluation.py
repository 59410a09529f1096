"""Scores of trained weights on a split, under every normaliser, together with the protocol that they depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from heatpoint._checks import check_whole, message, one_of
from heatpoint.datasets import PointSet
from heatpoint.localizers import Localizer, make_localizer
from heatpoint.recipes.changes import changed
from heatpoint.recipes.config import DataConfig, Recipe
from heatpoint.recipes.options import parse_named
from heatpoint.skeleton import Skeleton
from heatpoint.training.data import Batch, EpochSampler, ExampleDataset, fingerprint, limited, make_loader, read_split
from heatpoint.training.locating import locate, to_image
from heatpoint.training.normalizing import default_normalizer, measures_box, which_box
from heatpoint.training.pose_scores import NMS_THRESHOLD, PoseRule, areas_of, is_pose_set
from heatpoint.training.scoring import THRESHOLD, Found, scores_of
from heatpoint.training.space import ROOT_DEPTH, relative_depths
from heatpoint.training.weights import Trained, load_weights

SPLITS = ("train", "validation", "test")
PEAK, ACTIVATION, ACTIVATIONS = "peak", "activation", 4
OWN = "recipe"  # Name of the recipe's own decoder among the scores.
SCORING = 2  # Grows whenever equal maps would be scored otherwise, so that kept scores are not taken for new ones.
# Fields of a recipe's data that testing may change; the others are fixed by the weights.
FREE = ("dataset", "box_policy", "padding", "flip_test", "flip_average", "pose_score", "normalizer", "limit")


def evaluate(
    model_path: str | Path,
    *,
    data_root: Path | None = None,
    split: str | None = None,
    readouts: Sequence[str] = (),
    flip_test: bool | None = None,
    batch_size: int = 32,
    workers: int = 0,
    device: str = "cpu",
    limit: int | None = None,
    point_set: PointSet | None = None,
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Scores a file of weights on a split of its recipe's data set.

    Args:
        model_path: A file that `fit` has written.
        data_root: Folder of the data sets; None takes HEATPOINT_DATA.
        split: Of the data set; None takes the recipe's test split, or "test" if it has none.
        readouts: More ways to read the same maps, such as "top_k:k=25": each is scored beside the recipe's own.
        flip_test: None takes the recipe's choice.
        batch_size: Images at a time.
        workers: Processes that prepare images.
        device: Where the network runs.
        limit: Only the first so many images; None takes the recipe's.
        point_set: A set of one's own; None reads `split` of the recipe's data set.
        changes: What is to be different from training, such as {"data.box_policy": "P2"}; fields of the recipe's data.

    Returns:
        {"recipe", "protocol", "seed", "split", "num_images", "scores": {decoder: {...}}}; see `scores_of`. The recipe's own
        decoder is called "recipe". Errors are fractions of the normaliser. "samples" is the set's `fingerprint`.

    Raises:
        FileNotFoundError: If the weights or the data are missing.
        ValueError: If the weights, the split or a readout are not as they must be.
    """
    check_whole("evaluate", "--batch-size", batch_size, "be at least 1", least=1)
    check_whole("evaluate", "--workers", workers, "be at least 0", least=0)
    if limit is not None:
        check_whole("evaluate", "--limit", limit, "be at least 0", least=0)
    trained = _changed(load_weights(model_path, device=device), changes or {})
    localizers = localizers_for(trained, readouts)
    data = trained.recipe.data if limit is None else replace(trained.recipe.data, limit=limit)
    if point_set is None:
        point_set = read_split(data, data_root, split or data.test_split or "test")
    else:
        point_set = limited(point_set, data.limit)
    if point_set.skeleton.names != trained.skeleton.names:
        raise ValueError(message("evaluate", "point_set", "have the points the weights were trained on", point_set))
    flip = trained.recipe.data.flip_test if flip_test is None else flip_test
    # The same maps once more, for the peak's correlation beside that of the localizer's own confidence.
    readings = {**localizers, PEAK: replace(trained.localizer, confidence_by="peak"), **_activations(trained)}
    found = locate_set(
        trained, readings, point_set, flip_test=flip, batch_size=batch_size, workers=workers, device=device
    )
    peaks = found.pop(PEAK).confidence
    activations = [float(found.pop(name).confidence.mean()) for name in list(found) if name.startswith(ACTIVATION)]
    rule = PoseRule(
        score=data.pose_score,
        nms=_nms(data),
        padding=data.padding,
        aspect=data.size[0] / data.size[1],
        policy=data.box_policy,
    )
    return {
        "recipe": trained.recipe.name,
        "split": point_set.split,
        "num_images": len(point_set),
        "samples": fingerprint(point_set),
        "scoring": SCORING,
        "num_points": trained.skeleton.num_points,
        "seed": trained.recipe.seed,
        "epoch": trained.header.get("scores", {}).get("epoch"),
        "decoders": {name: repr(localizer) for name, localizer in localizers.items()},
        "protocol": protocol(replace(trained.recipe, data=data), trained.skeleton, point_set, flip_test=flip),
        "scores": {name: scores_of(item, point_set, peaks=peaks, rule=rule) for name, item in found.items()},
        **({"activations": activations} if activations else {}),
    }


def _changed(trained: Trained, changes: Mapping[str, Any]) -> Trained:
    for path in changes:
        one_of("evaluate", "changes", path, [f"data.{name}" for name in FREE])
    return replace(trained, recipe=changed(trained.recipe, changes))


def _activations(trained: Trained) -> dict[str, Localizer]:
    """Readings for the activation probabilities of randomized rounding (Table 2), from the largest on."""
    if trained.recipe.localizer != "randomized_rounding":
        return {}
    by = {"name": "ranked_share", "k": ACTIVATIONS}
    return {
        f"{ACTIVATION}{rank}": replace(trained.localizer, confidence_by={**by, "rank": rank})
        for rank in range(1, ACTIVATIONS + 1)
    }


def localizers_for(trained: Trained, readouts: Sequence[str]) -> dict[str, Localizer]:
    """The trained localizer, called "recipe", and its twin for each further readout.

    Raises:
        ValueError: If a readout or an option is unknown, or the localizer takes no readout.
    """
    own = trained.localizer
    found = {OWN: own}
    for text in readouts:
        readout = parse_named(text, function="evaluate", argument="--readout")
        options = {**trained.recipe.localizer_options, "readout": readout}
        found[text] = make_localizer(trained.recipe.localizer, own.grid, **options)
    return found


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
    for batch in make_loader(dataset, sampler, batch_size=batch_size, workers=workers):
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
