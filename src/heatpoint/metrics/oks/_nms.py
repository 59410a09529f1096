"""Which of many detected poses are the same person, and how sure a detection is: the last steps before COCO's scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from heatpoint._checks import check_real, check_whole, message, one_of
from heatpoint._numerics import full_precision, promote
from heatpoint.metrics.oks._similarity import check_poses, oks_matrix

RULES = ("sampling_argmax", "hrnet", "box")


def oks_nms(
    points: Tensor,
    scores: Tensor,
    areas: Tensor,
    *,
    sigmas: Tensor | Sequence[float],
    threshold: float = 0.9,
    confidence: Tensor | None = None,
    visibility_threshold: float | None = None,
    rule: str = "both",
) -> Tensor:
    """Keeps the best pose of one image, drops all that are more similar to it than a threshold, and so on with the rest.

    A pose of exactly the threshold stays. Of equal scores the first comes first; published code leaves that to an
    unstable sort. A pose that is not finite, or whose score or area is NaN, is like no other and comes last.

    Args:
        points: (N, K, 2), the detections of one image.
        scores: (N,), the higher the better.
        areas: (N,), as for `oks_matrix`.
        sigmas: (K,), greater than 0.
        threshold: A similarity; 0.9 in the code of HRNet, Sampling-Argmax and mmpose.
        confidence: (N, K), as for `oks_matrix`.
        visibility_threshold: As for `oks_matrix`.
        rule: As for `oks_matrix`; the picked pose is the first.

    Returns:
        Indices of the poses kept, best first.

    Raises:
        ValueError: If a shape does not fit, or as `oks_matrix` does.

    >>> points = torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]], [[30.0, 0.0]]])
    >>> oks_nms(points, torch.tensor([0.7, 0.9, 0.8]), torch.full((3,), 1250.0), sigmas=[0.05])
    tensor([1, 2])
    """
    check_poses("oks_nms", points, scores=scores, areas=areas)
    threshold = check_real("oks_nms", "threshold", threshold, "be a finite number")
    similar = oks_matrix(
        points, areas, sigmas=sigmas, confidence=confidence, visibility_threshold=visibility_threshold, rule=rule
    )
    scores, similar = _broken_last(points, scores, areas, similar)
    order = torch.argsort(scores, descending=True, stable=True)
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[similar[best, order] <= threshold]
    return torch.stack(kept) if kept else order


def soft_oks_nms(
    points: Tensor,
    scores: Tensor,
    areas: Tensor,
    *,
    sigmas: Tensor | Sequence[float],
    threshold: float = 0.9,
    max_detections: int = 20,
    confidence: Tensor | None = None,
    visibility_threshold: float | None = None,
    rule: str = "both",
) -> Tensor:
    """Picks the best pose of one image, multiplies the scores of the rest by exp(−OKS² / threshold), and so on.

    No pose is dropped: what is similar to a picked one comes later, and may fall behind the last that is picked. As in
    published code the decayed scores order the picks only; a detection keeps the score it came with.
    A pose that is not finite, or whose score or area is NaN, is like no other and comes last.

    Args:
        points: (N, K, 2), the detections of one image.
        scores: (N,), at least 0.
        areas: (N,).
        sigmas: (K,), greater than 0.
        threshold: Greater than 0.
        max_detections: How many are picked at most.
        confidence: (N, K), as for `oks_matrix`.
        visibility_threshold: As for `oks_matrix`.
        rule: As for `oks_matrix`; the picked pose is the first.

    Returns:
        Indices of the poses in the order of picking.

    Raises:
        ValueError: If a shape does not fit, or as `oks_matrix` does.

    >>> points = torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]], [[30.0, 0.0]]])
    >>> soft_oks_nms(points, torch.tensor([0.8, 0.9, 0.7]), torch.full((3,), 1250.0), sigmas=[0.05])
    tensor([1, 2, 0])
    """
    check_poses("soft_oks_nms", points, scores=scores, areas=areas)
    threshold = check_real("soft_oks_nms", "threshold", threshold, "be greater than 0", above=0)
    check_whole("soft_oks_nms", "max_detections", max_detections, "be at least 1", least=1)
    similar = oks_matrix(
        points, areas, sigmas=sigmas, confidence=confidence, visibility_threshold=visibility_threshold, rule=rule
    )
    scores, similar = _broken_last(points, scores, areas, similar)
    order = torch.argsort(scores, descending=True, stable=True)
    left = scores[order]
    kept: list[Tensor] = []
    while len(order) and len(kept) < max_detections:
        best, order = order[0], order[1:]
        kept.append(best)
        left = left[1:] * torch.exp(-similar[best, order].square() / threshold).to(left)
        again = torch.argsort(left, descending=True, stable=True)
        order, left = order[again], left[again]
    return torch.stack(kept) if kept else order


def pose_nms(
    points: Tensor,
    scores: Tensor,
    areas: Tensor,
    image_ids: Sequence[Any] | Tensor,
    *,
    sigmas: Tensor | Sequence[float],
    threshold: float = 0.9,
    soft: bool = False,
    max_detections: int = 20,
) -> Tensor:
    """Non-maximum suppression of a whole set: `oks_nms` or `soft_oks_nms` of the detections of each image.

    Args:
        points: (N, K, 2).
        scores: (N,).
        areas: (N,).
        image_ids: N ids, in any order.
        sigmas: (K,), greater than 0.
        threshold: As for the two functions.
        soft: Whether it is `soft_oks_nms`.
        max_detections: For soft suppression only.

    Returns:
        Indices of the poses kept: image by image as they first appear, in each the best first.

    Raises:
        ValueError: If a shape does not fit, or as the two functions do.

    >>> points = torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]], [[1.0, 0.0]]])
    >>> pose_nms(points, torch.tensor([0.7, 0.9, 0.8]), torch.full((3,), 1250.0), [4, 4, 2], sigmas=[0.05])
    tensor([1, 2])
    """
    check_poses("pose_nms", points, scores=scores, areas=areas)
    ids = image_ids.tolist() if isinstance(image_ids, Tensor) else list(image_ids)
    if len(ids) != len(points):
        raise ValueError(message("pose_nms", "image_ids", f"hold {len(points)} ids, one per pose", len(ids)))
    images: dict[Any, list[int]] = {}
    for index, image_id in enumerate(ids):
        images.setdefault(image_id, []).append(index)
    kept = [torch.zeros(0, dtype=torch.long, device=points.device)]
    for indices in images.values():
        own = torch.tensor(indices, device=points.device)
        poses = points[own], scores[own], areas[own]
        if soft:
            picked = soft_oks_nms(*poses, sigmas=sigmas, threshold=threshold, max_detections=max_detections)
        else:
            picked = oks_nms(*poses, sigmas=sigmas, threshold=threshold)
        kept.append(own[picked])
    return torch.cat(kept)


@full_precision
def rescored(
    box_score: Tensor | None, confidence: Tensor, *, rule: str = "sampling_argmax", threshold: float = 0.2
) -> Tensor:
    """The score of a detected pose, from that of its box and the confidences c of its points.

    - "sampling_argmax": box score + mean c + max c, as the released code of Sampling-Argmax sums them; without the first
      for true boxes.
    - "hrnet": box score times the mean of those c that are greater than the threshold, 0 where none is, as in HRNet and
      mmpose; true boxes have score 1.
    - "box": the box score as it is.

    Args:
        box_score: (N,), the detector's; None for true boxes.
        confidence: (N, K).
        rule: One of the three.
        threshold: For "hrnet"; 0.2 is published.

    Returns:
        (N,).

    Raises:
        ValueError: If a shape does not fit, the rule is unknown, or "box" comes without a box score.

    >>> confidence = torch.tensor([[0.1, 0.4, 0.7]])
    >>> rescored(torch.tensor([0.5]), confidence), rescored(None, confidence)
    (tensor([1.6000]), tensor([1.1000]))
    >>> rescored(torch.tensor([0.5]), confidence, rule="hrnet")
    tensor([0.2750])
    """
    one_of("rescored", "rule", rule, RULES)
    if confidence.ndim != 2:
        raise ValueError(message("rescored", "confidence", "be (N, K)", tuple(confidence.shape)))
    if box_score is not None and box_score.shape != confidence.shape[:1]:
        raise ValueError(message("rescored", "box_score", f"be ({len(confidence)},)", tuple(box_score.shape)))
    confidence = promote(confidence)
    box = None if box_score is None else promote(box_score)
    if rule == "box":
        if box is None:
            remedy = "Give the detector's scores, or take another rule for true boxes."
            raise ValueError(message("rescored", "box_score", "be given for the rule 'box'", None, remedy))
        return box
    if rule == "sampling_argmax":
        own = confidence.mean(dim=-1) + confidence.amax(dim=-1)
        return own if box is None else box + own
    sure = (confidence > threshold).to(confidence.dtype)
    own = (confidence * sure).sum(dim=-1) / sure.sum(dim=-1).clamp(min=1)
    return own if box is None else box * own


def _broken_last(points: Tensor, scores: Tensor, areas: Tensor, similar: Tensor) -> tuple[Tensor, Tensor]:
    """Scores and similarities under which broken poses come last and drop none: NaN would be sorted first and drop all."""
    broken = ~points.isfinite().flatten(1).all(dim=1) | scores.isnan() | areas.isnan()
    apart = broken[:, None] | broken[None, :]
    return promote(scores).masked_fill(broken, -torch.inf), similar.masked_fill(apart, 0.0)
