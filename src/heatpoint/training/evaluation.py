"""Scores of trained weights on a split, under every normaliser, together with the protocol that they depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heatpoint._checks import check_whole, message
from heatpoint.datasets import PointSet
from heatpoint.localizers import Localizer, make_localizer
from heatpoint.metrics.functional import (
    area_under_curve,
    failure_rate,
    mtfl_errors,
    nme,
    pearson_correlation,
    point_errors,
)
from heatpoint.recipes.config import Recipe
from heatpoint.recipes.options import parse_named
from heatpoint.skeleton import Skeleton
from heatpoint.training.data import Batch, EpochSampler, ExampleDataset, limited, make_loader, read_split
from heatpoint.training.locating import locate, to_image
from heatpoint.training.normalizing import default_normalizer, distances, normalizers_of, which_box
from heatpoint.training.space import ROOT_DEPTH, relative_depths, space_scores
from heatpoint.training.weights import Trained, load_weights

THRESHOLD = 0.1  # A face whose normalised error is greater has failed; the area under the curve ends here.
SPLITS = ("train", "validation", "test")
PEAK = "peak"
OWN = "recipe"  # Name of the recipe's own decoder among the scores.


@dataclass(frozen=True)
class Found:
    """What was located in a set, in image pixels.

    Attributes:
        points: (N, K, 2).
        confidence: (N, K), the localizer's.
        depths: (N, K) in millimetres behind the root, from volumes; None from maps.
    """

    points: Tensor
    confidence: Tensor
    depths: Tensor | None = None


def evaluate(
    model_path: str | Path,
    *,
    data_root: Path | None = None,
    split: str = "test",
    readouts: Sequence[str] = (),
    flip_test: bool | None = None,
    batch_size: int = 32,
    workers: int = 0,
    device: str = "cpu",
    limit: int | None = None,
    point_set: PointSet | None = None,
) -> dict[str, Any]:
    """Scores a file of weights on a split of its recipe's data set.

    Args:
        model_path: A file that `fit` has written.
        data_root: Folder of the data sets; None takes HEATPOINT_DATA.
        split: Of the data set.
        readouts: More ways to read the same maps, such as "top_k:k=25": each is scored beside the recipe's own.
        flip_test: None takes the recipe's choice.
        batch_size: Images at a time.
        workers: Processes that prepare images.
        device: Where the network runs.
        limit: Only the first so many images; None takes the recipe's.
        point_set: A set of one's own; None reads `split` of the recipe's data set.

    Returns:
        {"recipe", "protocol", "seed", "split", "num_images", "scores": {decoder: {...}}}. The recipe's own decoder is
        called "recipe". Errors are fractions of the normaliser.

    Raises:
        FileNotFoundError: If the weights or the data are missing.
        ValueError: If the weights, the split or a readout are not as they must be.
    """
    check_whole("evaluate", "--batch-size", batch_size, "be at least 1", least=1)
    check_whole("evaluate", "--workers", workers, "be at least 0", least=0)
    if limit is not None:
        check_whole("evaluate", "--limit", limit, "be at least 0", least=0)
    trained = load_weights(model_path, device=device)
    localizers = localizers_for(trained, readouts)
    data = trained.recipe.data if limit is None else replace(trained.recipe.data, limit=limit)
    point_set = limited(point_set, data.limit) if point_set is not None else read_split(data, data_root, split)
    if point_set.skeleton.names != trained.skeleton.names:
        raise ValueError(message("evaluate", "point_set", "have the points the weights were trained on", point_set))
    flip = trained.recipe.data.flip_test if flip_test is None else flip_test
    # The same maps once more, for the peak's correlation beside that of the localizer's own confidence.
    readings = {**localizers, PEAK: replace(trained.localizer, confidence_by="peak")}
    found = locate_set(
        trained, readings, point_set, flip_test=flip, batch_size=batch_size, workers=workers, device=device
    )
    peaks = found.pop(PEAK).confidence
    return {
        "recipe": trained.recipe.name,
        "split": point_set.split,
        "num_images": len(point_set),
        "num_points": trained.skeleton.num_points,
        "seed": trained.recipe.seed,
        "epoch": trained.header.get("scores", {}).get("epoch"),
        "decoders": {name: repr(localizer) for name, localizer in localizers.items()},
        "protocol": protocol(trained.recipe, trained.skeleton, point_set, flip_test=flip),
        "scores": {name: scores_of(item, point_set, peaks=peaks) for name, item in found.items()},
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
            z = item.points[..., 2:].squeeze(-1).cpu()
            depth = relative_depths(z, side=data.size[0], depth_range_mm=data.depth_range_mm)
            row = (_in_image(item.points[..., :2], batch), item.confidence.double().cpu())
            parts[name].append((*row, depth) if data.depth_range_mm > 0 else row)
    return {name: Found(*(torch.cat(column) for column in zip(*rows, strict=True))) for name, rows in parts.items()}


def scores_of(found: Found, point_set: PointSet, *, peaks: Tensor) -> dict[str, Any]:
    """All scores of what was located: see the fields' names; errors are fractions of the normaliser."""
    skeleton = point_set.skeleton
    target = torch.stack([torch.from_numpy(sample.points) for sample in point_set.samples])
    visible = torch.stack([torch.from_numpy(sample.visible) for sample in point_set.samples])
    per_face, kept, by = {}, {}, {}
    for name in normalizers_of(skeleton):
        lengths = distances(point_set, name)
        # A face without a visible point has no error, one without a length no relative error.
        keep = visible.any(dim=1) & (lengths > 0)
        kept[name], by[name] = keep, lengths[keep]
        per_face[name] = nme(found.points[keep], target[keep], lengths[keep], visible=visible[keep])
    default = default_normalizer(skeleton)
    faces, own = kept[default], per_face[default]
    relative = point_errors(found.points[faces], target[faces]) / by[default][:, None]
    scores: dict[str, Any] = {
        "nme": {name: float(values.mean()) for name, values in per_face.items()},
        "failure_rate": float(failure_rate(own, threshold=THRESHOLD)) if len(own) else float("nan"),
        "area_under_curve": float(area_under_curve(own, threshold=THRESHOLD)) if len(own) else float("nan"),
        "left_out": {name: int((~keep).sum()) for name, keep in kept.items()},
        "correlation": {
            "confidence": _correlations(found.confidence[faces], relative, visible[faces]),
            "peak": _correlations(peaks[faces], relative, visible[faces]),
        },
    }
    if found.depths is not None:
        scores["space"] = space_scores(found.points, found.depths, point_set)
    if point_set.name == "mtfl":
        scale = torch.tensor([sample.pixel_scale for sample in point_set.samples], dtype=torch.float64)
        absolute, percent = mtfl_errors(found.points, target, pixel_scale=scale)
        scores["mtfl"] = {"absolute_px": float(absolute), "relative_percent": float(percent)}
    return scores


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
        **({"normalizer_box": which_box(point_set)} if "box" in normalizers_of(skeleton).values() else {}),
        "failure_threshold": THRESHOLD,
        **({"depth_range_mm": data.depth_range_mm, "root_depth": ROOT_DEPTH} if data.depth_range_mm > 0 else {}),
        "limit": data.limit,
    }


def _correlations(confidence: Tensor, relative: Tensor, visible: Tensor) -> dict[str, float]:
    shown = visible.to(relative.dtype)
    count = shown.sum(dim=1)
    faces = count > 0
    mean_error = (relative * shown).sum(dim=1)[faces] / count[faces]
    mean_confidence = (confidence * shown).sum(dim=1)[faces] / count[faces]
    return {
        "point": _correlation(confidence[visible], -relative[visible]),
        "face": _correlation(mean_confidence, -mean_error),
    }


def _correlation(a: Tensor, b: Tensor) -> float:
    return float(pearson_correlation(a, b)) if a.numel() > 1 else float("nan")  # A single value goes with nothing.


def _in_image(points: Tensor, batch: Batch) -> Tensor:
    return to_image(points.double().cpu(), batch.matrices.double())
