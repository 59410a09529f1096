"""COCO's records as columns: checked at once, all faults in one report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from heatpoint.metrics._coco_faults import (
    Record,
    annotation_fault,
    detection_fault,
    faults,
    has_box,
    have_one_type,
    id_faults,
    refuse,
)

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Whole = NDArray[np.int64]

NO_BOX = (0.0, 0.0, 0.0, 0.0)
ANNOTATION_REMEDY = "Give the records of a COCO keypoints file, crowds and persons without points among them."
DETECTION_REMEDY = "Give COCO keypoint results, as to_results makes them."


@dataclass(frozen=True)
class _Rows:
    """Columns of one length."""

    image: list[Any]

    def taken(self, places: Whole) -> Self:
        """The rows at these places."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        image = columns.pop("image")
        return type(self)([image[place] for place in places.tolist()], **{n: c[places] for n, c in columns.items()})


@dataclass(frozen=True)
class Annotated(_Rows):
    """The true persons, G of them, in the order of the records.

    Attributes:
        image: G ids, all whole numbers or all text.
        category: (G,).
        x: (G, K).
        y: (G, K).
        labelled: (G, K), v > 0.
        area: (G,).
        is_crowd: (G,).
        has_points: (G,), whether the record counts a point: the scores ignore a person without.
        box: (G, 4) x, y, width, height; zeros where the record has none and needs none.
    """

    category: Whole
    x: Floats
    y: Floats
    labelled: Flags
    area: Floats
    is_crowd: Flags
    has_points: Flags
    box: Floats


@dataclass(frozen=True)
class Detected(_Rows):
    """The predicted poses, D of them, in the order of the records.

    Attributes:
        image: D ids.
        category: (D,).
        x: (D, K).
        y: (D, K).
        score: (D,).
        area: (D,): width x height of the box where the records have one, else of the extent of the points.
    """

    category: Whole
    x: Floats
    y: Floats
    score: Floats
    area: Floats


def annotated(function: str, records: Sequence[Record], num_points: int) -> Annotated:
    """Reads annotations.

    Raises:
        ValueError: In one line, for all broken records.
    """
    try:
        found = _annotated(records, num_points)
        is_sound = _annotations_are_sound(records, found)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        is_sound = False
    if not is_sound:
        found_faults = faults("annotation", records, lambda record: annotation_fault(record, num_points))
        refuse(function, "annotations", found_faults or id_faults(records), ANNOTATION_REMEDY)
    return found


def detected(
    function: str, records: Sequence[Record], num_points: int, images: Iterable[Any] | None = None
) -> Detected:
    """Reads detections; with `images`, those of other images are faulty.

    Raises:
        ValueError: In one line, for all broken records.
    """
    known = None if images is None else frozenset(images)
    try:
        found = _detected(records, num_points)
        is_sound = _detections_are_sound(records, found, known)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        is_sound = False
    if not is_sound:
        boxed = bool(records) and isinstance(records[0], Mapping) and has_box(records[0])
        found_faults = faults("detection", records, lambda record: detection_fault(record, num_points, boxed, known))
        refuse(function, "detections", found_faults, DETECTION_REMEDY)
    return found


def _annotated(records: Sequence[Record], num_points: int) -> Annotated:
    x, y, v = _keypoints(records, num_points)
    labelled = v > 0
    counts = _counts([record.get("num_keypoints") for record in records])
    return Annotated(
        image=[record["image_id"] for record in records],
        category=_categories(records),
        # An unlabelled point may hold any number.
        x=np.where(labelled, x, 0.0),
        y=np.where(labelled, y, 0.0),
        labelled=labelled,
        area=_numbers([record["area"] for record in records]),
        is_crowd=np.array([bool(record.get("iscrowd", 0)) for record in records], dtype=np.bool_),
        has_points=np.where(counts < 0, labelled.any(axis=1), counts > 0),
        box=_numbers([_box_of(record) for record in records]).reshape(-1, 4),
    )


def _detected(records: Sequence[Record], num_points: int) -> Detected:
    x, y, _ = _keypoints(records, num_points)
    # What is not finite is found by the checks, with its record.
    with np.errstate(all="ignore"):
        if records and has_box(records[0]):
            boxes = _numbers([record["bbox"] for record in records]).reshape(-1, 4)
            area = boxes[:, 2] * boxes[:, 3]
        else:
            area = extent(x) * extent(y)
    score = _numbers([record["score"] for record in records])
    return Detected([record["image_id"] for record in records], _categories(records), x, y, score, area)


def extent(values: Floats) -> Floats:
    """(N,) from the least to the greatest of (N, K)."""
    found: Floats = np.ptp(values, axis=1) if len(values) else np.zeros(0)
    return found


def _keypoints(records: Sequence[Record], num_points: int) -> tuple[Floats, Floats, Floats]:
    values = [record["keypoints"] for record in records]
    if set(map(len, values)) - {3 * num_points}:
        raise ValueError("length")
    flat = np.fromiter(chain.from_iterable(values), dtype=np.float64, count=3 * num_points * len(values))
    x, y, third = np.ascontiguousarray(flat.reshape(len(values), num_points, 3).transpose(2, 0, 1))
    return x, y, third


def _categories(records: Sequence[Record]) -> Whole:
    values = [record.get("category_id", 1) for record in records]
    if not have_one_type(values):
        raise ValueError("category")
    return np.array(values, dtype=np.int64)


def _counts(values: list[Any]) -> Whole:
    """A column of whole numbers of at least 0, with −1 for None."""
    given = [value for value in values if value is not None]
    if not all(isinstance(value, int | np.integer) and value >= 0 for value in given):
        raise ValueError("counts")
    return np.array([-1 if value is None else value for value in values], dtype=np.int64)


def _numbers(values: list[Any]) -> Floats:
    """A column of numbers; text that reads as one is refused."""
    found = np.array(values)
    if len(values) and found.dtype.kind not in "iuf":
        raise TypeError("numbers")
    return found.astype(np.float64)


def _box_of(record: Record) -> Any:
    box = record.get("bbox")
    return NO_BOX if box is None else box


def _annotations_are_sound(records: Sequence[Record], found: Annotated) -> bool:
    boxed = np.array([record.get("bbox") is not None for record in records], dtype=np.bool_)
    return (
        all(bool(np.isfinite(column).all()) for column in (found.x, found.y, found.area, found.box))
        and bool((found.area >= 0).all())
        and bool((boxed | found.labelled.any(axis=1)).all())
        and have_one_type(found.image)
        and not id_faults(records)
    )


def _detections_are_sound(records: Sequence[Record], found: Detected, known: frozenset[Any] | None) -> bool:
    boxed = {has_box(record) for record in records}
    return (
        all(bool(np.isfinite(column).all()) for column in (found.x, found.y, found.score, found.area))
        and len(boxed) < 2
        and (boxed == {True} or not any("segmentation" in record for record in records))
        and have_one_type(found.image)
        and (known is None or known.issuperset(found.image))
    )


def as_array(values: Any) -> NDArray[Any]:
    """Numbers of any kind as an array."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
