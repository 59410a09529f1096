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
from heatpoint.recipes.config import Recipe
from heatpoint.skeleton import Skeleton

SHOWN = (0.01, 0.03)  # Thresholds that have a place of their own; the curve has all of them.
SPLITS = ("train", "val", "validation", "test", "all")


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
        that occurs; "correlation" of the confidence with the negative distance; "left_out", clouds without a keypoint.
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
    return {
        name: _scores_of(
            {by: whole[:, place * number : (place + 1) * number] for by, whole in errors.items()},
            located[name].confidence,
            visible,
            found.skeleton,
        )
        for place, name in enumerate(names)
    }


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
        "pck": {
            by: {f"{at:g}": float(share) for at, share in zip(SHOWN, share_within(values, SHOWN), strict=True)}
            for by, values in errors.items()
        },
        "curve": {"thresholds": list(THRESHOLDS), **curve},
        "distance": float(straight.nanmean(dim=1).nanmean()),
        "points": {name: float(each[k]) for k, name in enumerate(skeleton.names) if occurs[k]},
        "correlation": {"confidence": _correlation(confidence[visible], -straight[visible])},
        "left_out": int((~visible.any(dim=1)).sum()),
    }


def _correlation(a: Tensor, b: Tensor) -> float:
    return float(pearson_correlation(a, b)) if a.numel() > 1 else float("nan")  # A single value goes with nothing.
