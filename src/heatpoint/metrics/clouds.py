"""Scores of keypoints on point clouds: PCK, the intersection over union of unnamed keypoints, and their average precision.

All are fractions, never percentages, and distances are in the unit of the points. Published thresholds are for clouds as
KeypointNet stores them, in boxes with a diagonal of about 1; its benchmark scales them no further by default. Hidden points never
count, and may hold any number; a prediction that is NaN is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from heatpoint._checks import check_real, message, one_of
from heatpoint.frames import FloatArray
from heatpoint.metrics.geodesics import NUM_NEIGHBORS, geodesic_distances, nearest_rows
from heatpoint.metrics.pck import relative_distances
from heatpoint.metrics.turned_labels import Groups, best_targets

# KeypointNet writes 0.01 · i: the distance 0.03 itself is below 0.01 · 3 and not below 0.03.
THRESHOLDS = tuple(0.01 * step for step in range(11))
DISTANCES = ("euclidean", "geodesic")


def cloud_errors(
    pred: Tensor,
    target: Tensor,
    *,
    visible: Tensor | None = None,
    distance: str = "euclidean",
    clouds: Sequence[Tensor] | Tensor | None = None,
    num_neighbors: int = NUM_NEIGHBORS,
) -> Tensor:
    """Distance of every keypoint from its place: straight, or along the cloud.

    Along the cloud, the way leads from the prediction to its nearest point of the cloud, on the shortest path to the point
    nearest to the target, and from there to the target: it is never shorter than the straight line. KeypointNet's predictions
    and targets are points of the cloud, and the steps at both ends 0; what is located in the air pays for them.

    Args:
        pred: (N, K, D).
        target: (N, K, D).
        visible: (N, K) bool; None takes all points.
        distance: "euclidean" or "geodesic" (`geodesics.geodesic_distances`).
        clouds: For geodesic distances the N clouds, each (points, D), of any numbers of points, in the coordinates of `pred`.
        num_neighbors: Neighbours that a point is joined to in the graph of its cloud.

    Returns:
        (N, K); NaN where the point is hidden, infinite where the prediction is not finite. No gradients flow along a cloud.

    Raises:
        ValueError: If a shape does not fit, the distance is unknown, the clouds are not as many as the predictions, or a cloud
            is empty or not finite.

    >>> cloud = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]])
    >>> pred, target = torch.tensor([[[1.0, 0.9]]]), torch.tensor([[[0.0, 0.0]]])
    >>> cloud_errors(pred, target, distance="geodesic", clouds=cloud, num_neighbors=1)
    tensor([[2.1000]])
    """
    one_of("cloud_errors", "distance", distance, DISTANCES)
    straight = relative_distances(pred, target, pred.new_ones(len(pred)), visible=visible)
    if distance == "euclidean":
        return straight
    if clouds is None or len(clouds) != len(pred):
        got = "None" if clouds is None else f"{len(clouds)}"
        rule = f"be {len(pred)} clouds, one per sample"
        raise ValueError(message("cloud_errors", "clouds", rule, got, "They hold the paths that are measured."))
    errors = straight.detach().clone()
    for sample, cloud in enumerate(clouds):
        kept = straight[sample].isfinite()
        xyz = _checked_cloud(cloud, sample, pred.shape[2])
        ends = [points[sample][kept].detach().cpu().double().numpy() for points in (target, pred)]
        start, stop = (nearest_rows(xyz, end) for end in ends)
        paths = geodesic_distances(xyz, start, num_neighbors=num_neighbors)[range(len(stop)), stop]
        steps = sum(np.linalg.norm(end - xyz[row], axis=1) for end, row in zip(ends, (start, stop), strict=True))
        errors[sample, kept] = torch.from_numpy(paths + steps).to(errors)
    return errors


def share_within(errors: Tensor, thresholds: Sequence[float] = THRESHOLDS) -> Tensor:
    """Mean over models of the share of a model's visible keypoints whose error is below each threshold, strictly.

    PCK(t) = (1 / N) Σ_n #{k ∈ V_n : error_nk < t} / #V_n (KeypointNet, `eval_pck`): a model with few keypoints counts as much as
    one with many, unlike in `pck.pck`, which averages over models first. Models without a visible keypoint are left out.

    Args:
        errors: (N, K) as `cloud_errors` gives them, NaN where hidden.
        thresholds: In the unit of the errors.

    Returns:
        (T,) fractions; NaN if no model has a visible keypoint.

    Raises:
        ValueError: If the shape does not fit, there is no threshold, or one is not finite.

    >>> share_within(torch.tensor([[0.005, 0.02], [0.0, torch.nan]]), (0.01, 0.02, 0.03))
    tensor([0.7500, 0.7500, 1.0000])
    """
    if errors.ndim != 2:
        raise ValueError(message("share_within", "errors", "be (N, K)", tuple(errors.shape)))
    limits = errors.new_tensor(_checked("share_within", thresholds))
    is_visible = ~errors.isnan()
    correct = (errors[..., None] < limits).sum(dim=1).to(errors.dtype)
    return (correct / is_visible.sum(dim=1, keepdim=True)).nanmean(dim=0)


def cloud_pck(
    pred: Tensor,
    target: Tensor,
    visible: Tensor | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    *,
    distance: str = "euclidean",
    clouds: Sequence[Tensor] | Tensor | None = None,
    num_neighbors: int = NUM_NEIGHBORS,
    rotations: Sequence[Groups] | None = None,
    circles: Sequence[bool] | None = None,
) -> Tensor:
    """Percentage of correct keypoints at each threshold, as fractions: `share_within` of `cloud_errors`.

    Sampling-Argmax's Table 6 is the entry of 0.01; its text says "error distance" and not which. KeypointNet's own is geodesic,
    between points of the cloud.

    Args:
        pred: (N, K, D).
        target: (N, K, D).
        visible: (N, K) bool, the keypoints that a model has; None takes all.
        thresholds: In the unit of the points.
        distance: "euclidean" or "geodesic".
        clouds: The N clouds, for geodesic distances and for turned labels.
        num_neighbors: Neighbours that a point is joined to in the graph of its cloud.
        rotations: The N objects' groups of keypoints that a turn about y takes to one another, () for one without: each is
            judged by the best of its turned labels (`turned_labels.best_targets`). None judges all by their annotations.
        circles: With `rotations`, for each object whether its groups are circles; None: none.

    Returns:
        (T,); NaN if nothing is visible.

    Raises:
        ValueError: As `cloud_errors` and `share_within`, and with `rotations` as `turned_labels.best_targets`.

    >>> cloud_pck(torch.tensor([[[0.0, 0.02], [0.5, 0.0]]]), torch.zeros(1, 2, 2), thresholds=(0.01, 0.03))
    tensor([0.0000, 0.5000])
    """
    if rotations is not None:
        target = best_targets(pred, target, visible, clouds, rotations, circles)
    errors = cloud_errors(pred, target, visible=visible, distance=distance, clouds=clouds, num_neighbors=num_neighbors)
    return share_within(errors, thresholds)


def keypoint_iou(distances: Sequence[Tensor], thresholds: Sequence[float] = THRESHOLDS) -> Tensor:
    """Intersection over union of keypoints without names: (n − missed) / (n + wrong) over all models.

    n counts the true keypoints, "missed" those with every prediction farther away than the threshold, "wrong" the predictions
    with every true keypoint farther away (KeypointNet, `eval_iou`).

    Args:
        distances: Per model the distances (P, G) of its P predictions from its G true keypoints; either may be 0.
        thresholds: In the unit of the distances.

    Returns:
        (T,) fractions; 0 at every threshold where there is neither a keypoint nor a prediction.

    Raises:
        ValueError: If there is no model, a shape does not fit, there is no threshold, or one is not finite.

    >>> keypoint_iou([torch.tensor([[0.0, 0.4], [0.3, 0.3]])], (0.1, 0.35))
    tensor([0.3333, 1.0000])
    """
    pairs = _checked_pairs("keypoint_iou", distances)
    limits = pairs[0].new_tensor(_checked("keypoint_iou", thresholds))
    number = sum(pair.shape[1] for pair in pairs)
    missed, wrong = (
        torch.stack([(pair[..., None] > limits).all(dim=axis).sum(dim=0) for pair in pairs]).sum(dim=0)
        for axis in (0, 1)
    )
    return (number - missed).to(limits.dtype) / (number + wrong).clamp(min=1)


def keypoint_average_precision(
    distances: Sequence[Tensor], scores: Sequence[Tensor], thresholds: Sequence[float] = THRESHOLDS
) -> Tensor:
    """Average precision of scored keypoints without names: the area under the envelope of precision over recall.

    All predictions of all models, surest first, are hits where their nearest true keypoint is nearer than the threshold and not
    hit yet; a prediction whose nearest is taken is wrong, even where another is near (KeypointNet, `eval_map`).

    Args:
        distances: Per model the distances (P, G) of its P predictions from its G true keypoints.
        scores: Per model (P,); larger is surer. Equal scores keep their order.
        thresholds: In the unit of the distances.

    Returns:
        (T,) fractions; NaN where there is no true keypoint.

    Raises:
        ValueError: If there is no model, a shape does not fit, there is no threshold, or one is not finite.

    >>> keypoint_average_precision([torch.tensor([[0.0, 0.4], [0.3, 0.2]])], [torch.tensor([0.5, 0.9])], (0.1, 0.3))
    tensor([0.2500, 1.0000])
    """
    pairs = _checked_pairs("keypoint_average_precision", distances)
    if [tuple(values.shape) for values in scores] != [pair.shape[:1] for pair in pairs]:
        rule = f"be one per prediction, {[pair.shape[0] for pair in pairs]}"
        raise ValueError(message("keypoint_average_precision", "scores", rule, [tuple(s.shape) for s in scores]))
    limits = _checked("keypoint_average_precision", thresholds)
    number = sum(pair.shape[1] for pair in pairs)
    first = [sum(pair.shape[1] for pair in pairs[:model]) for model in range(len(pairs))]
    nearest = [_nearest(pair, start) for pair, start in zip(pairs, first, strict=True)]
    order = torch.cat(list(scores)).sort(descending=True, stable=True).indices
    gaps, names = (torch.cat(parts)[order] for parts in zip(*nearest, strict=True))
    areas = [_average_precision(_hits(gaps < limit, names, number), number) for limit in limits]
    return torch.stack(areas).to(gaps.dtype)


def _checked_cloud(cloud: Tensor, sample: int, dimension: int) -> FloatArray:
    rule = f"be finite (points, {dimension}), at least one point each"
    if cloud.ndim != 2 or not len(cloud) or cloud.shape[1] != dimension:
        raise ValueError(message("cloud_errors", "clouds", rule, f"{tuple(cloud.shape)} for sample {sample}"))
    xyz: FloatArray = cloud.detach().cpu().double().numpy()
    bad = int((~np.isfinite(xyz).all(axis=1)).sum())
    if bad:
        got = f"{bad} points with NaN or infinity for sample {sample}"
        raise ValueError(message("cloud_errors", "clouds", rule, got, "Leave such points out."))
    return xyz


def _nearest(pair: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """Distance (P,) and number of each prediction's nearest true keypoint, numbered over all models."""
    if not pair.shape[1]:
        return pair.new_full((len(pair),), torch.inf), torch.zeros(len(pair), dtype=torch.int64, device=pair.device)
    gaps, index = pair.min(dim=1)
    return gaps, index + start


def _hits(is_near: Tensor, names: Tensor, number: int) -> Tensor:
    """The first near prediction of every true keypoint."""
    place = torch.arange(len(names), device=names.device)
    first = torch.full((number,), len(names), device=names.device)
    first = first.scatter_reduce(0, names[is_near], place[is_near], "amin")
    hits = torch.zeros(len(names) + 1, dtype=torch.bool, device=names.device)
    hits[first] = True
    return hits[:-1]


def _average_precision(hits: Tensor, number: int) -> Tensor:
    if not number:
        return torch.tensor(torch.nan, dtype=torch.float64, device=hits.device)
    precision = hits.double().cumsum(0) / torch.arange(1, len(hits) + 1, device=hits.device)
    envelope = precision.flip(0).cummax(0).values.flip(0)
    return envelope[hits].sum() / number


def _checked(function: str, thresholds: Sequence[float]) -> list[float]:
    if not len(thresholds):
        raise ValueError(message(function, "thresholds", "hold at least one number", list(thresholds)))
    return [check_real(function, "thresholds", float(value), "be finite numbers") for value in thresholds]


def _checked_pairs(function: str, distances: Sequence[Tensor]) -> list[Tensor]:
    wrong = [tuple(pair.shape) for pair in distances if pair.ndim != 2]
    if wrong or not len(distances):
        got = f"{wrong[0]}" if wrong else "none"
        raise ValueError(message(function, "distances", "be (P, G) for at least one model", got))
    return [torch.nan_to_num(pair, nan=torch.inf, posinf=torch.inf) for pair in distances]
