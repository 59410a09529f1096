"""The scores of body poses: keypoint similarity and COCO's average precision, and shares of correct points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from heatpoint.datasets import PointSet
from heatpoint.metrics.coco import coco_keypoint_scores
from heatpoint.metrics.coco_results import to_results
from heatpoint.metrics.oks import oks, peak_oks_correlation, pose_nms, rescored
from heatpoint.metrics.pck import pck, pckh
from heatpoint.skeleton import Skeleton

PCK_THRESHOLDS = (0.05, 0.1, 0.2, 0.5)
# A person's outline fills about so much of its tight box: what CrowdPose's evaluation takes where a set gives no areas.
AREA_OF_BOX = 0.53
NMS_THRESHOLD = 0.9
HEAD = "head"


@dataclass(frozen=True)
class PoseRule:
    """How detected poses get their score, and which are dropped as doubles, before average precision.

    Args:
        score: Rule of `metrics.oks.rescored`.
        nms_threshold: OKS above which the poorer of two poses is dropped.
        nms: "detected" suppresses among detected boxes only, as the code of Sampling-Argmax does; "always"; "never".
        padding: Factor by which boxes were grown before they were shown.
        aspect: Width by height of what was shown; boxes are widened or heightened to it. None: they were left.
        policy: Which box was shown, as in `transforms.box_of`: "P1" the tight one, else the set's, where it gives one.
    """

    score: Literal["sampling_argmax", "hrnet", "box"] = "sampling_argmax"
    nms_threshold: float = NMS_THRESHOLD
    nms: Literal["detected", "always", "never"] = "detected"
    padding: float = 1.0
    aspect: float | None = None
    policy: str = "P2"


def is_pose_set(skeleton: Skeleton) -> bool:
    """Whether a set is scored as poses are: its skeleton has sigmas, or a head length that every sample gives."""
    return skeleton.sigmas is not None or skeleton.normalizers.get(HEAD) == "given"


def pose_scores(
    points: Tensor,
    confidence: Tensor,
    peaks: Tensor,
    point_set: PointSet,
    lengths: Mapping[str, Tensor],
    rule: PoseRule,
) -> dict[str, Any]:
    """Scores of located poses (N, K, 2); empty for sets that are no poses.

    Args:
        points: (N, K, 2) in image pixels.
        confidence: (N, K).
        peaks: (N, K), the largest probability of every map.
        point_set: What is true.
        lengths: (N,) by the name of the normaliser.
        rule: How poses are scored and suppressed.

    Returns:
        With sigmas: "oks": {"mean", "peak_correlation" (Sampling-Argmax, Table 3), "area"} and "coco", the ten numbers. "pck": by
        normaliser and threshold, the mean over the points. With MPII's points and head lengths "pckh": both readings, at
        0.5 and 0.1.
    """
    if not is_pose_set(point_set.skeleton):
        return {}
    target = torch.stack([torch.from_numpy(sample.points) for sample in point_set.samples])
    visible = torch.stack([torch.from_numpy(sample.visible) for sample in point_set.samples])
    found: dict[str, Any] = {}
    if point_set.skeleton.sigmas is not None:
        found.update(_similarity(points, confidence, peaks, target, visible, point_set, rule))
    if not bool(visible.any()):
        return found
    found["pck"] = {
        name: {
            f"{threshold:g}": float(pck(points, target, length, visible=visible, threshold=threshold).nanmean())
            for threshold in PCK_THRESHOLDS
        }
        for name, length in lengths.items()
    }
    if point_set.skeleton.normalizers.get(HEAD) == "given" and points.shape[1] == 16:
        found["pckh"] = {
            reading: {
                at: {
                    row: float(value)
                    for row, value in pckh(
                        points, target, lengths[HEAD], visible=visible, reading=reading, at=at
                    ).items()
                }
                for at in ("0.5", "0.1")
            }
            for reading in ("hrnet", "mmpose")
        }
    return found


def areas_of(point_set: PointSet) -> tuple[Tensor, str]:
    """The area (N,) of every sample in image pixels², and where it comes from; 0 where nothing is known of it."""
    given = [sample.area is not None for sample in point_set.samples]
    areas = []
    for sample in point_set.samples:
        if sample.area is not None:
            areas.append(float(sample.area))
            continue
        seen = sample.points[sample.visible]
        width, height = (seen.max(axis=0) - seen.min(axis=0)).tolist() if len(seen) else (0.0, 0.0)
        areas.append(AREA_OF_BOX * width * height)
    box = f"{AREA_OF_BOX} of the tight box"
    source = "given" if all(given) else box if not any(given) else f"given, else {box}"
    return torch.tensor(areas, dtype=torch.float64), source


def _similarity(
    points: Tensor,
    confidence: Tensor,
    peaks: Tensor,
    target: Tensor,
    visible: Tensor,
    point_set: PointSet,
    rule: PoseRule,
) -> dict[str, Any]:
    sigmas = point_set.skeleton.sigmas or ()
    areas, source = areas_of(point_set)
    detected = any(sample.score is not None for sample in point_set.samples)
    boxes = torch.tensor([sample.score or 0.0 for sample in point_set.samples], dtype=torch.float64)
    scores = rescored(boxes if detected else None, confidence.double(), rule=rule.score)
    keep = torch.arange(len(points))
    ids = [_image_id(point_set, index) for index in range(len(points))]
    if rule.nms == "always" or (rule.nms == "detected" and detected):
        keep = pose_nms(
            points.double(), scores, _shown_areas(point_set, rule), ids, sigmas=sigmas, threshold=rule.nms_threshold
        )
    results = to_results(points[keep], scores[keep], [ids[i] for i in keep.tolist()], confidence=confidence[keep])
    truth = list(point_set.annotations) or _records(point_set, areas, ids)
    found: dict[str, Any] = {"coco": coco_keypoint_scores(truth, results, sigmas=sigmas)}
    known = visible.any(dim=1)
    if bool(known.any()):
        similarity = oks(points.double(), target, area=areas, sigmas=sigmas, visible=visible)[known]
        correlation = peak_oks_correlation(
            peaks.double(), points.double(), target, area=areas, sigmas=sigmas, visible=visible
        )
        found["oks"] = {"mean": float(similarity.mean()), "peak_correlation": float(correlation), "area": source}
    return found


def _image_id(point_set: PointSet, index: int) -> int | str:
    # A set without images' numbers shows one object per picture.
    return point_set.samples[index].ids.get("image_id", index)


def _shown_areas(point_set: PointSet, rule: PoseRule) -> Tensor:
    """Areas of the boxes as they were shown, grown and in the input's aspect: published suppression compares poses with them."""
    areas = []
    for sample in point_set.samples:
        seen = sample.points[sample.visible]
        tight = (*seen.min(axis=0).tolist(), *seen.max(axis=0).tolist()) if len(seen) else (0.0,) * 4
        x1, y1, x2, y2 = tight if sample.box is None or (rule.policy == "P1" and len(seen)) else sample.box
        width, height = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
        if rule.aspect is not None:
            width, height = max(width, height * rule.aspect), max(height, width / rule.aspect)
        areas.append(width * height * rule.padding**2)
    return torch.tensor(areas, dtype=torch.float64)


def _records(point_set: PointSet, areas: Tensor, ids: list[int | str]) -> list[dict[str, Any]]:
    """The samples as COCO annotations."""
    records = []
    for number, sample in enumerate(point_set.samples):
        flags = sample.visible * 2
        keypoints = [
            v for (x, y), flag in zip(sample.points.tolist(), flags.tolist(), strict=True) for v in (x, y, flag)
        ]
        seen = sample.points[sample.visible]
        low, size = (seen.min(axis=0), seen.max(axis=0) - seen.min(axis=0)) if len(seen) else (seen.sum(axis=0),) * 2
        records.append(
            {
                "id": number + 1,
                "image_id": ids[number],
                "category_id": 1,
                "keypoints": keypoints,
                "num_keypoints": int(sample.visible.sum()),
                "area": float(areas[number]),
                "bbox": [*low.tolist(), *size.tolist()],
                "iscrowd": 0,
            }
        )
    return records
