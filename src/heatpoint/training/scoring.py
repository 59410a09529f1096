"""The scores of what was located in a set: which ones, follows from what the set and its skeleton give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from heatpoint.datasets import PointSet
from heatpoint.metrics.faces import area_under_curve, failure_rate, mtfl_errors, subset_mask
from heatpoint.metrics.functional import nme, pearson_correlation, point_errors
from heatpoint.training.normalizing import default_normalizer, distances, normalizers_of
from heatpoint.training.pose_scores import PoseRule, pose_scores
from heatpoint.training.space import space_scores

THRESHOLD = 0.1  # A face whose normalised error is greater has failed; the area under the curve ends here.


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


def scores_of(found: Found, point_set: PointSet, *, peaks: Tensor, rule: PoseRule | None = None) -> dict[str, Any]:
    """All scores of what was located; errors are fractions of the normaliser.

    Args:
        found: In the order of the set's samples.
        point_set: What is true.
        peaks: (N, K), the largest probability of every map.
        rule: How poses are scored and suppressed; None takes `PoseRule()`.

    Returns:
        "nme", "failure_rate", "area_under_curve", "left_out" and "correlation" for every set; "subsets" where samples have
        tags; "space" in millimetres where they have bodies; "oks", "coco", "pck" and "pckh" for poses, see `pose_scores`;
        "mtfl" for MTFL.
    """
    target = torch.stack([torch.from_numpy(sample.points) for sample in point_set.samples])
    visible = torch.stack([torch.from_numpy(sample.visible) for sample in point_set.samples])
    lengths = {name: distances(point_set, name) for name in normalizers_of(point_set.skeleton)}
    scores = _relative(found, target, visible, lengths, default_normalizer(point_set.skeleton), peaks)
    tags = [sample.tags for sample in point_set.samples]
    for tag in sorted(frozenset().union(*tags)):
        rows = subset_mask(tags, tag)
        part = Found(found.points[rows], found.confidence[rows])
        kept = {name: values[rows] for name, values in lengths.items()}
        inside = _relative(part, target[rows], visible[rows], kept, default_normalizer(point_set.skeleton), peaks[rows])
        scores.setdefault("subsets", {})[tag] = {**inside, "num_images": int(rows.sum())}
    if found.depths is not None:
        scores["space"] = space_scores(found.points, found.depths, point_set)
    scores.update(pose_scores(found.points, found.confidence, peaks, point_set, lengths, rule or PoseRule()))
    if point_set.name == "mtfl":
        scale = torch.tensor([sample.pixel_scale for sample in point_set.samples], dtype=torch.float64)
        absolute, percent = mtfl_errors(found.points, target, pixel_scale=scale)
        scores["mtfl"] = {"absolute_px": float(absolute), "relative_percent": float(percent)}
    return scores


def _relative(
    found: Found, target: Tensor, visible: Tensor, lengths: dict[str, Tensor], default: str, peaks: Tensor
) -> dict[str, Any]:
    per_face, kept = {}, {}
    for name, length in lengths.items():
        # A face without a visible point has no error, one without a length no relative error.
        keep = kept[name] = visible.any(dim=1) & (length > 0)
        per_face[name] = nme(found.points[keep], target[keep], length[keep], visible=visible[keep])
    faces, own = kept[default], per_face[default]
    relative = point_errors(found.points[faces], target[faces]) / lengths[default][faces][:, None]
    return {
        "nme": {name: float(values.mean()) for name, values in per_face.items()},
        "failure_rate": float(failure_rate(own, threshold=THRESHOLD)) if len(own) else float("nan"),
        "area_under_curve": float(area_under_curve(own, threshold=THRESHOLD)) if len(own) else float("nan"),
        "left_out": {name: int((~keep).sum()) for name, keep in kept.items()},
        "correlation": {
            "confidence": _correlations(found.confidence[faces], relative, visible[faces]),
            "peak": _correlations(peaks[faces], relative, visible[faces]),
        },
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
