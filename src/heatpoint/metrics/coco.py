"""COCO's scores of poses: average precision and recall over ten thresholds of OKS, computed from COCO's records.

Equal to pycocotools to the last bit, and many times faster; benchmarks/coco_ap.py measures both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from heatpoint._checks import check_whole, message
from heatpoint.metrics._coco_faults import Record, check_ids
from heatpoint.metrics._coco_match import match, pairs_of, precision_at, ranks
from heatpoint.metrics._coco_records import Annotated, Detected, Flags, Floats, Whole, annotated, as_array, detected

THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
RECALLS: Floats = np.linspace(0.0, 1.0, 101)
AREA_RANGES: Floats = np.array([[0.0, 1e5**2], [32.0**2, 96.0**2], [96.0**2, 1e5**2]])
ALL, MEDIUM, LARGE = 0, 1, 2
Rows = TypeVar("Rows", Annotated, Detected)


@dataclass(frozen=True)
class Curves:
    """Precision and recall of a set, in the axes of COCO's evaluator: T thresholds, R recalls, C categories, A areas, 1.

    Attributes:
        precision: (T, R, C, A, 1), the envelope at each recall; −1 where there is no person to find.
        recall: (T, C, A, 1), the greatest; −1 where there is no person to find.
        scores: (T, R, C, A, 1), of the detection at which each recall is reached, 0 beyond; −1 as above.
    """

    precision: Floats
    recall: Floats
    scores: Floats

    def summary(self) -> dict[str, float]:
        """The ten numbers, as `coco_keypoint_scores` gives them."""
        half, three_quarters = (np.flatnonzero(value == THRESHOLDS) for value in (0.5, 0.75))
        found = {}
        for letter, curve in (("AP", self.precision), ("AR", self.recall)):
            found[letter] = _mean(curve[..., ALL, :])
            found[f"{letter}50"] = _mean(curve[half][..., ALL, :])
            found[f"{letter}75"] = _mean(curve[three_quarters][..., ALL, :])
            found[f"{letter}M"] = _mean(curve[..., MEDIUM, :])
            found[f"{letter}L"] = _mean(curve[..., LARGE, :])
        return found


def coco_keypoint_scores(
    annotations: Sequence[Record],
    detections: Sequence[Record],
    *,
    sigmas: Sequence[float] | Tensor | Floats,
    max_detections: int = 20,
    image_ids: Iterable[Any] | None = None,
) -> dict[str, float]:
    """COCO's ten numbers for poses: AP and AR over OKS 0.50 to 0.95, at 0.50, at 0.75, of medium and of large persons.

    Every number is that of pycocotools' COCOeval(…, 'keypoints') to the last bit, its peculiarities among them:

    - a person is ignored (neither found nor missed) who is a crowd or has `num_keypoints` 0, whatever the field `ignore`
      says, or whose area is outside the range; bounds belong to the range;
    - a detection without a person is ignored if its own area is outside the range. That is the extent of its points, or,
      if the detections hold a `bbox`, width x height of that;
    - -1 stands where there is no person to find, and a mean over categories leaves it out.

    What pycocotools would score wrongly is an error here: an annotation with id 0 (a match with it would count as none) or
    an id that another has, a number that is not finite, and detections of which only some hold a bbox. What it fails on
    is filled in where there is no doubt: `iscrowd` 0, `num_keypoints` as labelled, `category_id` 1, no detections at all.

    Args:
        annotations: All records of a COCO keypoints file, with `image_id`, `keypoints` and `area`; `bbox` is needed where no
            point is labelled.
        detections: COCO results: `image_id`, `keypoints` and `score`.
        sigmas: (K,), greater than 0.
        max_detections: As many of each image are scored, the best first.
        image_ids: The images to score; records of others are read but not scored. None takes all that have a record.

    Returns:
        {"AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL"}, fractions, or -1.

    Raises:
        ValueError: If a sigma is not greater than 0; or, in one line, for all broken records.

    >>> person = {"image_id": 7, "id": 1, "area": 1250.0, "keypoints": [10, 10, 2, 30, 20, 1]}
    >>> pose = {"image_id": 7, "score": 0.9, "keypoints": [10, 10, 1, 33, 24, 1]}
    >>> scores = coco_keypoint_scores([person], [pose], sigmas=[0.05, 0.05])
    >>> {name: round(value, 3) for name, value in scores.items() if name[:2] == "AP"}
    {'AP': 0.4, 'AP50': 1.0, 'AP75': 0.0, 'APM': 0.4, 'APL': -1.0}
    """
    return coco_keypoint_curves(
        annotations, detections, sigmas=sigmas, max_detections=max_detections, image_ids=image_ids
    ).summary()


def coco_keypoint_curves(
    annotations: Sequence[Record],
    detections: Sequence[Record],
    *,
    sigmas: Sequence[float] | Tensor | Floats,
    max_detections: int = 20,
    image_ids: Iterable[Any] | None = None,
) -> Curves:
    """The curves behind the ten numbers: `precision`, `recall` and `scores` of pycocotools' `accumulate`.

    Arguments and errors are those of `coco_keypoint_scores`. Categories are those of the annotations, in their order.

    >>> person = {"image_id": 7, "id": 1, "area": 1250.0, "keypoints": [10, 10, 2]}
    >>> coco_keypoint_curves([person], [], sigmas=[0.05]).recall[0, 0, :, 0]
    array([ 0.,  0., -1.])
    """
    name = "coco_keypoint_scores"
    check_whole(name, "max_detections", max_detections, "be at least 1", least=1)
    values = checked_sigmas(name, sigmas)
    true, found = annotated(name, annotations, len(values)), detected(name, detections, len(values))
    categories = np.unique(true.category) if len(true.category) else np.array([1])
    if image_ids is not None:
        chosen = frozenset(check_ids(name, "image_ids", image_ids))
        true, found = _on_images(true, chosen), _on_images(found, chosen)
    return curves_of(name, true, found, categories, values, max_detections=max_detections)


def curves_of(
    function: str, true: Annotated, found: Detected, categories: Whole, sigmas: Floats, *, max_detections: int
) -> Curves:
    """The curves of records that are read; categories are in the order of the curves."""
    true_group, group = _groups(function, true, found, categories)
    order, rank = ranks(group, found.score)
    scored = rank < max_detections
    order, rank = order[scored], rank[scored]
    found, group = found.taken(order), group[order]
    outside = _outside(true.area)
    is_ignored = (true.is_crowd | ~true.has_points)[:, None] | outside
    pairs = pairs_of(true, found, true_group, group, sigmas)
    matched, ignored = match(pairs, rank, is_ignored, true.is_crowd, THRESHOLDS)
    ignored |= ~matched & _outside(found.area)[..., None]
    return _accumulate(categories, true, found, is_ignored, matched, ignored)


def _accumulate(
    categories: Whole, true: Annotated, found: Detected, is_ignored: Flags, matched: Flags, ignored: Flags
) -> Curves:
    sizes = len(categories), len(AREA_RANGES), 1
    precision, scores = (np.full((len(THRESHOLDS), len(RECALLS), *sizes), -1.0) for _ in range(2))
    recall = np.full((len(THRESHOLDS), *sizes), -1.0)
    for c, category in enumerate(categories):
        own = np.flatnonzero(found.category == category)
        own = own[np.argsort(-found.score[own], kind="stable")]
        score = found.score[own]
        right = np.ascontiguousarray((matched[own] & ~ignored[own]).transpose(1, 2, 0))
        wrong = np.ascontiguousarray((~matched[own] & ~ignored[own]).transpose(1, 2, 0))
        num_persons = np.count_nonzero(~is_ignored[true.category == category], axis=0)
        for a in np.flatnonzero(num_persons):
            for t in range(len(THRESHOLDS)):
                at = precision_at(right[a, t], wrong[a, t], score, int(num_persons[a]), RECALLS)
                precision[t, :, c, a, 0], recall[t, c, a, 0], scores[t, :, c, a, 0] = at
    return Curves(precision, recall, scores)


def matched_oks(
    annotations: Sequence[Record], detections: Sequence[Record], *, sigmas: Sequence[float] | Tensor | Floats
) -> Floats:
    """For each detection the greatest OKS with a person of its image and category; 0 where there is none.

    Crowds and persons without a labelled point are no persons here. Two detections may have the same person.

    Args:
        annotations: As for `coco_keypoint_scores`.
        detections: As for `coco_keypoint_scores`, D of them.
        sigmas: (K,), greater than 0.

    Returns:
        (D,), in the order of the detections.

    Raises:
        ValueError: As `coco_keypoint_scores` does.

    >>> person = {"image_id": 7, "id": 1, "area": 1250.0, "keypoints": [10, 10, 2]}
    >>> poses = [{"image_id": i, "score": 0.9, "keypoints": [13, 14, 1]} for i in (7, 8)]
    >>> matched_oks([person], poses, sigmas=[0.05]).round(3)
    array([0.368, 0.   ])
    """
    values = checked_sigmas("matched_oks", sigmas)
    true = annotated("matched_oks", annotations, len(values))
    found = detected("matched_oks", detections, len(values))
    true_group, group = _groups("matched_oks", true, found, np.unique(true.category))
    order, _ = ranks(group, found.score)
    pairs = pairs_of(true, found.taken(order), true_group, group[order], values)
    counts = ~true.is_crowd & true.labelled.any(axis=1)
    best = np.zeros(len(order))
    np.maximum.at(best, order[pairs.detection], np.where(counts[pairs.person], pairs.similarity, 0.0))
    return best


def checked_sigmas(function: str, sigmas: Sequence[float] | Tensor | Floats) -> Floats:
    """Sigmas as an array.

    Raises:
        ValueError: If they are not (K,), each greater than 0.
    """
    values = as_array(sigmas).astype(np.float64)
    if values.ndim != 1 or not len(values) or not (values > 0).all():
        raise ValueError(message(function, "sigmas", "be (K,), each greater than 0", values.tolist()))
    return values


def _groups(function: str, true: Annotated, found: Detected, categories: Whole) -> tuple[Whole, Whole]:
    """A number for each pair of category and image, in the order of COCO's evaluator; −1 for other categories."""
    ids = np.array(check_ids(function, "image_ids of annotations and detections", true.image + found.image))
    images, codes = np.unique(ids, return_inverse=True)
    groups = []
    for category, code in ((true.category, codes[: len(true.image)]), (found.category, codes[len(true.image) :])):
        place = np.minimum(np.searchsorted(categories, category), max(len(categories) - 1, 0))
        known = categories[place] == category if len(categories) else np.zeros(len(category), dtype=np.bool_)
        groups.append(np.where(known, place * len(images) + code, -1))
    return groups[0], groups[1]


def _on_images(rows: Rows, images: frozenset[Any]) -> Rows:
    return rows.taken(np.array([place for place, image in enumerate(rows.image) if image in images], dtype=np.int64))


def _outside(area: Floats) -> Flags:
    """(…, A) whether an area lies outside each range; the bounds belong to it."""
    outside: Flags = (area[:, None] < AREA_RANGES[:, 0]) | (area[:, None] > AREA_RANGES[:, 1])
    return outside


def _mean(values: Floats) -> float:
    """Mean over what is defined, −1 where nothing is."""
    defined = values[values > -1]
    return float(defined.mean()) if len(defined) else -1.0
