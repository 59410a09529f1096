"""Scores of keypoints located in clouds, named ones by their distances, unnamed ones by their agreement between clouds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from heatpoint.datasets.cloud import CloudSet, load_cloud
from heatpoint.metrics.alignment import dual_alignment
from heatpoint.metrics.clouds import DISTANCES, THRESHOLDS, cloud_errors, share_within
from heatpoint.metrics.functional import pearson_correlation
from heatpoint.metrics.geodesics import NUM_NEIGHBORS
from heatpoint.metrics.turned_labels import best_targets
from heatpoint.recipes.config import Recipe
from heatpoint.skeleton import Skeleton

SHOWN = (0.01, 0.03)  # Thresholds that have a place of their own; the curve has all of them.
SPLITS = ("train", "val", "validation", "test", "all")
NOT_TURNED = (
    "chair",
)  # KeypointNet's benchmark leaves them out: the feet of a swivel chair turn, its seat and back do not.


class Located(NamedTuple):
    """What was located in a set of clouds.

    Attributes:
        points: (M, K, 3) float64, in the clouds' own coordinates.
        confidence: (M, K), the localizer's.
    """

    points: Tensor
    confidence: Tensor


def keypoint_scores(located: Mapping[str, Located], found: CloudSet) -> dict[str, dict[str, Any]]:
    """Scores of each reading of a set; distances are in the clouds' own unit, shares are fractions.

    In KeypointNet's files that unit is the diagonal of the object's box, and the published thresholds are measured in it.

    Returns:
        By reading: "pck" by distance ("euclidean", "geodesic") and threshold ("0.01", "0.03"); "curve", the same shares at all
        thresholds; "distance", the mean over clouds of their mean distances; "points", the share within 0.01 of each keypoint
        that occurs; "correlation" of the confidence with the negative distance; "left_out", clouds without a keypoint. Where
        clouds have rotation groups and are no chairs, "pck_turned" too: as "pck", with each of these clouds judged by the one of
        its turned labels that has the smallest mean distance from the reading's points (`turned_labels.best_target`).
    """
    target, visible = keypoints_of(found)
    clouds = [torch.from_numpy(load_cloud(cloud)) for cloud in found.samples]
    names, number = list(located), visible.shape[1]
    # The paths along a cloud are the same for all readings: side by side they are looked for once.
    every = torch.cat([located[name].points for name in names], dim=1)
    times = (1, len(names))
    errors = {
        by: cloud_errors(every, target.repeat(*times, 1), visible=visible.repeat(*times), distance=by, clouds=clouds)
        for by in DISTANCES
    }
    own = [slice(place * number, (place + 1) * number) for place in range(len(names))]
    scores = {
        name: _scores_of(
            {by: whole[:, part] for by, whole in errors.items()}, located[name].confidence, visible, found.skeleton
        )
        for name, part in zip(names, own, strict=True)
    }
    turning = [n for n, cloud in enumerate(found.samples) if cloud.rotations and cloud.category not in NOT_TURNED]
    if turning:
        errors = _turned(errors, every, found, clouds, turning)
        for name, part in zip(names, own, strict=True):
            scores[name]["pck_turned"] = _shares({by: whole[:, part] for by, whole in errors.items()})
    return scores


def alignment_scores(located: Mapping[str, Located], found: CloudSet) -> dict[str, dict[str, Any]]:
    """The dual alignment score of each reading of a set: "das" with "forward", "backward" and "mean", fractions."""
    target, visible = keypoints_of(found)
    scores = {}
    for name, item in located.items():
        das = dual_alignment(item.points, target, visible)
        scores[name] = {"das": {key: float(value) for key, value in das._asdict().items()}}
    return scores


def keypoints_of(found: CloudSet) -> tuple[Tensor, Tensor]:
    """Keypoints (M, K, 3) float64 of all clouds in their own coordinates, and whether they have them (M, K)."""
    points = torch.stack([torch.from_numpy(cloud.points) for cloud in found.samples]).double()
    return points, torch.stack([torch.from_numpy(cloud.visible) for cloud in found.samples])


def protocol_of(recipe: Recipe, found: CloudSet) -> dict[str, Any]:
    """What a score of a set of clouds depends on beside the weights."""
    # A set describes all its splits; only this one matters to the score.
    shown = {key: value for key, value in found.protocol.items() if key not in SPLITS or key == found.split}
    return {
        "dataset": found.name,
        "split": found.split,
        **{f"dataset_{key}": value for key, value in shown.items()},
        "num_points": recipe.data.num_points,
        "limit": recipe.data.limit,
    }


def pck_protocol() -> dict[str, Any]:
    """How distances are measured and shares are taken.

    >>> pck_protocol()["distance_unit"]
    'of the cloud'
    """
    return {
        "distance_unit": "of the cloud",
        "pck": "strictly below, mean over clouds",
        "geodesic_neighbors": NUM_NEIGHBORS,
    }


def _scores_of(errors: Mapping[str, Tensor], confidence: Tensor, visible: Tensor, skeleton: Skeleton) -> dict[str, Any]:
    curve = {by: share_within(values, THRESHOLDS).tolist() for by, values in errors.items()}
    straight = errors["euclidean"]
    occurs = visible.any(dim=0)
    each = (straight < SHOWN[0]).double().sum(dim=0) / visible.sum(dim=0)
    return {
        "pck": _shares(errors),
        "curve": {"thresholds": list(THRESHOLDS), **curve},
        "distance": float(straight.nanmean(dim=1).nanmean()),
        "points": {name: float(each[k]) for k, name in enumerate(skeleton.names) if occurs[k]},
        "correlation": {"confidence": _correlation(confidence[visible], -straight[visible])},
        "left_out": int((~visible.any(dim=1)).sum()),
    }


def _shares(errors: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    return {
        by: {f"{at:g}": float(share) for at, share in zip(SHOWN, share_within(values, SHOWN), strict=True)}
        for by, values in errors.items()
    }


def _turned(
    errors: Mapping[str, Tensor], every: Tensor, found: CloudSet, clouds: list[Tensor], turning: list[int]
) -> dict[str, Tensor]:
    """The errors of all readings side by side, those of the turning clouds from each reading's best label."""
    target, visible = (values[turning] for values in keypoints_of(found))
    kept, groups = [clouds[n] for n in turning], [found.samples[n].rotations for n in turning]
    circles = [found.samples[n].is_circle for n in turning]
    readings = every[turning].split(target.shape[1], dim=1)
    best = torch.cat([best_targets(points, target, visible, kept, groups, circles) for points in readings], dim=1)
    shown = visible.repeat(1, len(readings))
    place = torch.tensor(turning)
    return {
        by: whole.index_copy(
            0, place, cloud_errors(every[turning], best, visible=shown, distance=by, clouds=kept).to(whole)
        )
        for by, whole in errors.items()
    }


def _correlation(a: Tensor, b: Tensor) -> float:
    return float(pearson_correlation(a, b)) if a.numel() > 1 else float("nan")  # A single value goes with nothing.
