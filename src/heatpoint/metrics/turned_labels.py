"""Labels of an object that looks the same after a turn about its up axis: the turned ones, and the best of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from heatpoint._checks import message
from heatpoint.metrics.geodesics import nearest_rows

STEPS_OF_CIRCLE = 36  # Turns that are tried where every turn is as good.
Groups = Sequence[Sequence[int]]


def turned_targets(
    target: Tensor, visible: Tensor, rotations: Groups, cloud: Tensor, *, is_circle: bool = False
) -> Tensor:
    """All labels of one object that a turn of its symmetry makes, as KeypointNet's benchmark takes them.

    All keypoints, those of no group too, turn by 2π i / m about the vertical through the mean of the first group, and each goes
    to the point of the cloud that is nearest to its new place. m is the number of keypoints in the first group, and 36 for a
    circle (`KeypointCorrespondenceDataset` in KeypointNet's `benchmark_scripts`). y points up.

    Args:
        target: (K, 3), the keypoints as annotated.
        visible: (K,) bool.
        rotations: Groups of visible keypoints that a turn takes to one another (`Cloud.rotations`); may be empty.
        cloud: (P, 3), in the coordinates of `target`.
        is_circle: Whether every turn takes the object to itself (`Cloud.is_circle`).

    Returns:
        (m, K, 3), the annotated ones first and as they are; these alone without a group. Hidden points keep what they hold.

    Raises:
        ValueError: If a shape does not fit, or a group is empty or names a keypoint that is not visible.
        ModuleNotFoundError: If scipy is not installed.

    >>> square = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    >>> turned_targets(square, torch.ones(4, dtype=torch.bool), [(0, 1, 2, 3)], square)[1].equal(square.roll(-1, 0))
    True
    """
    _check("turned_targets", target, visible, rotations, cloud)
    if not rotations:
        return target[None].clone()
    shown = visible.bool().cpu()
    points = target.detach().cpu().double()
    center = points[list(rotations[0])].mean(dim=0)
    number = STEPS_OF_CIRCLE if is_circle else len(rotations[0])
    angles = torch.arange(1, number, dtype=torch.float64)[:, None] * (2 * math.pi / number)
    x, y, z = (points[shown] - center).unbind(dim=-1)
    turned = [angles.cos() * x - angles.sin() * z, y.expand(number - 1, -1), angles.sin() * x + angles.cos() * z]
    places = (torch.stack(turned, dim=-1) + center).reshape(-1, 3)
    rows = torch.from_numpy(nearest_rows(cloud.detach().cpu().double().numpy(), places.numpy())).to(cloud.device)
    labels = target.repeat(number, 1, 1)
    labels[1:, shown] = cloud[rows].to(target).reshape(number - 1, -1, 3)
    return labels


def best_target(
    pred: Tensor,
    target: Tensor,
    visible: Tensor,
    rotations: Groups,
    cloud: Tensor,
    *,
    is_circle: bool = False,
    logits: Tensor | None = None,
) -> Tensor:
    """The one of an object's turned labels that fits a prediction best; the same one for all keypoints and thresholds.

    With `logits` as in KeypointNet's benchmark (`test.py`): the smallest cross-entropy of the maps, −Σ_k log softmax(logits_k)
    at the label's point of the cloud. Without, for predictions that are places and not maps: the smallest mean straight distance.
    The annotation wins where none is better.

    Args:
        pred: (K, 3). Points that are not finite have no say.
        target: (K, 3).
        visible: (K,) bool.
        rotations: As in `turned_targets`.
        cloud: (P, 3).
        is_circle: As in `turned_targets`.
        logits: (K, P), the maps over the points of `cloud`, before the softmax.

    Returns:
        (K, 3), one of `turned_targets`.

    Raises:
        ValueError: As `turned_targets`.
        ModuleNotFoundError: If scipy is not installed.

    >>> square = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    >>> pred = square.roll(1, 0) + 0.1
    >>> best_target(pred, square, torch.ones(4, dtype=torch.bool), [(0, 1, 2, 3)], square).equal(square.roll(1, 0))
    True
    """
    if pred.shape != target.shape:
        raise ValueError(message("best_target", "pred", f"be {tuple(target.shape)}, as target", tuple(pred.shape)))
    labels = turned_targets(target, visible, rotations, cloud, is_circle=is_circle)
    if logits is not None and logits.shape != (len(target), len(cloud)):
        rule = f"be {(len(target), len(cloud))}, a map over the cloud for each keypoint"
        raise ValueError(message("best_target", "logits", rule, tuple(logits.shape)))
    shown = visible.bool()
    if logits is None:
        judged = shown & pred.isfinite().all(dim=-1)
        losses = torch.linalg.vector_norm(labels[:, judged].double() - pred[judged].double(), dim=-1).sum(dim=-1)
    else:
        rows = nearest_rows(
            cloud.detach().cpu().double().numpy(), labels[:, shown].detach().reshape(-1, 3).cpu().numpy()
        )
        index = torch.from_numpy(rows).to(logits.device).reshape(len(labels), -1)
        losses = -logits[shown].double().log_softmax(dim=-1).gather(1, index.T).sum(dim=0)
    each = torch.nan_to_num(losses, nan=torch.inf).tolist()
    return labels[each.index(min(each))]


def best_targets(
    pred: Tensor,
    target: Tensor,
    visible: Tensor | None,
    clouds: Sequence[Tensor] | Tensor | None,
    rotations: Sequence[Groups],
    circles: Sequence[bool] | None = None,
) -> Tensor:
    """`best_target` of each of N objects, by the mean distance.

    Args:
        pred: (N, K, 3).
        target: (N, K, 3).
        visible: (N, K) bool; None takes all points.
        clouds: The N clouds, each (points, 3), of any numbers of points.
        rotations: The N objects' groups, () for one without symmetry.
        circles: For each object whether its groups are circles; None: none.

    Returns:
        (N, K, 3).

    Raises:
        ValueError: As `best_target`, or if clouds, rotations or circles are not as many as the predictions.
        ModuleNotFoundError: If scipy is not installed.
    """
    if clouds is None:
        raise ValueError(
            message("best_targets", "clouds", f"be {len(pred)}, one per sample", "None", "Labels turn on them.")
        )
    shown = torch.ones(pred.shape[:2], dtype=torch.bool, device=pred.device) if visible is None else visible
    round_ones = [False] * len(pred) if circles is None else circles
    given = {"target": target, "visible": shown, "clouds": clouds, "rotations": rotations, "circles": round_ones}
    for name, values in given.items():
        if len(values) != len(pred):
            raise ValueError(message("best_targets", name, f"be {len(pred)}, one per sample", len(values)))
    found = [
        best_target(pred[n], target[n], shown[n], rotations[n], clouds[n], is_circle=round_ones[n])
        for n in range(len(pred))
    ]
    return torch.stack(found) if found else target.clone()


def _check(function: str, target: Tensor, visible: Tensor, rotations: Groups, cloud: Tensor) -> None:
    if target.ndim != 2 or target.shape[1] != 3:
        raise ValueError(message(function, "target", "be (K, 3)", tuple(target.shape)))
    if visible.shape != target.shape[:1]:
        raise ValueError(message(function, "visible", f"be ({len(target)},)", tuple(visible.shape)))
    if cloud.ndim != 2 or cloud.shape[1] != 3 or not len(cloud):
        raise ValueError(message(function, "cloud", "be (P, 3) with at least one point", tuple(cloud.shape)))
    if not target[visible.bool()].isfinite().all():
        raise ValueError(message(function, "target", "be finite where visible", "NaN or infinity"))
    there = set(visible.nonzero()[:, 0].tolist())
    for group in rotations:
        wrong = [point for point in group if point not in there]
        if wrong or not len(group):
            got = wrong[0] if wrong else "an empty group"
            raise ValueError(message(function, "rotations", "be groups of visible keypoints", got))
