"""What can be wrong with COCO's records, in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, NoReturn

import numpy as np

from heatpoint._checks import message

Record = Mapping[str, Any]


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


def has_box(record: Record) -> bool:
    """Whether COCO's evaluator would measure a detection by its box."""
    box = record.get("bbox")
    return box is not None and len(box) > 0


def id_faults(records: Sequence[Record]) -> list[str]:
    """Ids with which COCO's evaluator would count wrongly: a match with 0 reads as none, a repeated one hides a person."""
    counts = Counter(record["id"] for record in records if record.get("id") is not None)
    found = [f"annotation {i} must have an id of its own, {n} have it" for i, n in counts.items() if n > 1]
    if 0 in counts:
        found.insert(0, "annotation 0 must have another id, since COCO's evaluator reads a match with 0 as none")
    return found


def faults(kind: str, records: Sequence[Record], fault_of: Callable[[Record], str]) -> list[str]:
    """What is wrong with each record, by its id or its place in the list."""
    found = []
    for place, record in enumerate(records):
        is_record = isinstance(record, Mapping)
        fault = fault_of(record) if is_record else "must be a record with named fields"
        if fault:
            number = record.get("id") if is_record and kind == "annotation" else None
            found.append(f"{kind} {f'number {place}' if number is None else number} {fault}")
    return found


def refuse(function: str, argument: str, faults: list[str], remedy: str) -> NoReturn:
    """Raises ValueError with the first five faults and how many more there are."""
    faults = faults or ["all ids must be whole numbers or all text, and no area larger than a float holds"]
    more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
    raise ValueError(message(function, argument, "be sound", f"{'; '.join(faults[:5])}{more}", remedy))


def annotation_fault(record: Record, num_points: int) -> str:
    """What is wrong with an annotation; empty if nothing is."""
    fault = _common_fault(record, num_points)
    if fault:
        return fault
    box, area, count = record.get("bbox"), record.get("area"), record.get("num_keypoints")
    if record.get("id") is not None and not have_one_type([record["id"]]):
        return f"must hold an id that is a whole number, got {record['id']!r}"
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
    if count is not None and not (isinstance(count, int | np.integer) and count >= 0):
        return f"must hold num_keypoints of at least 0, got {count}"
    return ""


def detection_fault(record: Record, num_points: int, boxed: bool, known: frozenset[Any] | None) -> str:
    """What is wrong with a detection; empty if nothing is. `boxed` is whether the first holds a box."""
    fault = _common_fault(record, num_points)
    if fault:
        return fault
    if known is not None and record["image_id"] not in known:
        return f"refers to the unknown image {record['image_id']!r}"
    if not all(_is_number(v) for v in record["keypoints"]):
        return "must hold finite keypoint numbers"
    if not _is_number(record.get("score")):
        return f"must hold a finite score, got {record.get('score')}"
    if has_box(record) != boxed:
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
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # JSON may hold whole numbers too large for a float.
        return False
