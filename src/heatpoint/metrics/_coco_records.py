"""COCO's records as columns: checked at once, all faults in one report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from numbers import Integral, Real
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from heatpoint._checks import message

Record = Mapping[str, Any]
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
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        found = None
    if found is None or not _annotations_are_sound(records, found):
        faults = _faults("annotation", records, lambda record: _annotation_fault(record, num_points))
        _refuse(function, "annotations", faults or _id_faults(records), ANNOTATION_REMEDY)
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
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        found = None
    if found is None or not _detections_are_sound(records, found, known):
        boxed = bool(records) and isinstance(records[0], Mapping) and _has_box(records[0])
        faults = _faults("detection", records, lambda record: _detection_fault(record, num_points, boxed, known))
        _refuse(function, "detections", faults, DETECTION_REMEDY)
    return found


def as_array(values: Any) -> NDArray[Any]:
    """Numbers of any kind as an array."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def check_ids(function: str, argument: str, ids: Iterable[Any]) -> list[Any]:
    """Returns ids of images as a list, after checking that they are all whole numbers or all text."""
    found = list(ids)
    if not have_one_type(found):
        raise ValueError(message(function, argument, "be whole numbers only or text only", found[:5]))
    return found


def have_one_type(ids: Iterable[Any]) -> bool:
    """Whether ids can be sorted as COCO's evaluator sorts them: all are whole numbers, or all are text."""
    kinds = set(map(type, ids))
    whole = all(issubclass(kind, int | np.integer) and kind is not bool for kind in kinds)
    return whole or all(issubclass(kind, str) for kind in kinds)


def _annotated(records: Sequence[Record], num_points: int) -> Annotated:
    x, y, v = _keypoints(records, num_points)
    labelled = v > 0
    counts = np.array([record.get("num_keypoints", -1) for record in records], dtype=np.int64)
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
    if records and _has_box(records[0]):
        boxes = _numbers([record["bbox"] for record in records]).reshape(-1, 4)
        area = boxes[:, 2] * boxes[:, 3]
    elif records:
        area = (x.max(axis=1) - x.min(axis=1)) * (y.max(axis=1) - y.min(axis=1))
    else:
        area = np.zeros(0)
    score = _numbers([record["score"] for record in records])
    return Detected([record["image_id"] for record in records], _categories(records), x, y, score, area)


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


def _numbers(values: list[Any]) -> Floats:
    """A column of numbers; text that reads as one is refused."""
    found = np.array(values)
    if len(values) and found.dtype.kind not in "iuf":
        raise TypeError("numbers")
    return found.astype(np.float64)


def _box_of(record: Record) -> Any:
    box = record.get("bbox")
    return NO_BOX if box is None else box


def _has_box(record: Record) -> bool:
    box = record.get("bbox")
    return box is not None and len(box) > 0


def _annotations_are_sound(records: Sequence[Record], found: Annotated) -> bool:
    boxed = np.array([record.get("bbox") is not None for record in records], dtype=np.bool_)
    return (
        all(bool(np.isfinite(column).all()) for column in (found.x, found.y, found.area, found.box))
        and bool((found.area >= 0).all())
        and bool((boxed | found.labelled.any(axis=1)).all())
        and have_one_type(found.image)
        and not _id_faults(records)
    )


def _detections_are_sound(records: Sequence[Record], found: Detected, known: frozenset[Any] | None) -> bool:
    boxed = {_has_box(record) for record in records}
    return (
        all(bool(np.isfinite(column).all()) for column in (found.x, found.y, found.score, found.area))
        and len(boxed) < 2
        and (boxed == {True} or not any("segmentation" in record for record in records))
        and have_one_type(found.image)
        and (known is None or known.issuperset(found.image))
    )


def _id_faults(records: Sequence[Record]) -> list[str]:
    """Ids with which COCO's evaluator would count wrongly: a match with 0 reads as none, a repeated one hides a person."""
    counts = Counter(record["id"] for record in records if record.get("id") is not None)
    zero = (
        ["annotation 0 must have an id other than 0, which COCO's evaluator reads as no match"] if 0 in counts else []
    )
    return zero + [f"annotation {i} must have an id of its own, {n} have it" for i, n in counts.items() if n > 1]


def _faults(kind: str, records: Sequence[Record], fault_of: Callable[[Record], str]) -> list[str]:
    """What is wrong with each record, by its id or its place in the list."""
    found = []
    for place, record in enumerate(records):
        is_record = isinstance(record, Mapping)
        fault = fault_of(record) if is_record else "must be a record with named fields"
        if fault:
            number = record.get("id") if is_record and kind == "annotation" else None
            found.append(f"{kind} {f'number {place}' if number is None else number} {fault}")
    return found


def _refuse(function: str, argument: str, faults: list[str], remedy: str) -> NoReturn:
    faults = faults or ["the image_ids must be whole numbers only or text only"]
    more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
    raise ValueError(message(function, argument, "be sound", f"{'; '.join(faults[:5])}{more}", remedy))


def _annotation_fault(record: Record, num_points: int) -> str:
    fault = _common_fault(record, num_points)
    if fault:
        return fault
    box, area, count = record.get("bbox"), record.get("area"), record.get("num_keypoints", 0)
    points = list(record["keypoints"])
    labelled = [triple for triple in zip(points[::3], points[1::3], points[2::3], strict=True) if triple[2] > 0]
    if not all(_is_number(v) for triple in labelled for v in triple):
        return "must hold finite keypoint numbers"
    if area is None or not _is_number(area) or not area >= 0:
        return f"must hold an area of at least 0, got {area}"
    if box is None and not labelled:
        return "must hold a bbox, for it has no labelled point"
    if box is not None and not _is_box(box):
        return f"must hold a bbox of four finite numbers, got {box}"
    if isinstance(count, bool) or not isinstance(count, Integral):
        return f"must hold num_keypoints as a whole number, got {count}"
    return ""


def _detection_fault(record: Record, num_points: int, boxed: bool, known: frozenset[Any] | None) -> str:
    fault = _common_fault(record, num_points)
    if fault:
        return fault
    if known is not None and record["image_id"] not in known:
        return f"refers to the unknown image {record['image_id']!r}"
    if not all(_is_number(v) for v in record["keypoints"]):
        return "must hold finite keypoint numbers"
    if not _is_number(record.get("score")):
        return f"must hold a finite score, got {record.get('score')}"
    if _has_box(record) != boxed:
        return f"must hold {'a' if boxed else 'no'} bbox, as the first detection"
    if boxed and not _is_box(record["bbox"]):
        return f"must hold a bbox of four finite numbers, got {record['bbox']}"
    if not boxed and "segmentation" in record:
        return "must hold no segmentation, by which COCO's evaluator would measure its area"
    return ""


def _common_fault(record: Record, num_points: int) -> str:
    if not have_one_type([record.get("image_id")]):
        return f"must hold an image_id, a whole number or text, got {record.get('image_id')!r}"
    if not isinstance(record.get("category_id", 1), int | np.integer):
        return f"must hold a category_id that is a whole number, got {record['category_id']!r}"
    keypoints = record.get("keypoints")
    if not isinstance(keypoints, Sequence | np.ndarray) or len(keypoints) != 3 * num_points:
        got = len(keypoints) if isinstance(keypoints, Sequence | np.ndarray) else "none"
        return f"must hold 3 x {num_points} keypoint numbers, got {got}"
    if not all(isinstance(value, Real) for value in keypoints):
        return "must hold finite keypoint numbers"
    return ""


def _is_box(box: Any) -> bool:
    return isinstance(box, Sequence | np.ndarray) and len(box) == 4 and all(_is_number(v) for v in box)


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)
