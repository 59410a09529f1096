"""Records of COCO's JSON form: what they must hold, and what they say of an object."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heatpoint._checks import message, unknown_name
from heatpoint.datasets.sample import Box, Sample, report
from heatpoint.skeleton import Skeleton

REMEDY = "Correct the annotations, give the skeleton that they were made with, or choose one category."
Record = Mapping[str, Any]


def load_json(function: str, argument: str, path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON.
    """
    if not path.is_file():
        raise FileNotFoundError(message(function, argument, "be an existing file", path, "Check the data folder."))
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    # Brackets nested thousands deep exceed Python's recursion.
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(report(str(path), [f"it is not JSON ({error})"], REMEDY)) from None


def load_annotations(function: str, path: Path) -> dict[str, Any]:
    """The content of a file of annotations, after looking at the form of its lists.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it lacks `images` or `annotations`, or these are no lists of objects.
    """
    content = load_json(function, "annotations", path)
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        raise ValueError(report(str(path), ["it must hold the lists of objects 'images' and 'annotations'"], REMEDY))
    keys = [key for key in ("images", "annotations", "categories") if not is_list_of_objects(content.get(key, []))]
    if keys:
        raise ValueError(report(str(path), [f"{key!r} must be a list of objects" for key in keys], REMEDY))
    return content


def is_list_of_objects(value: object) -> bool:
    """Whether a JSON value is a list of objects."""
    return isinstance(value, list) and all(isinstance(record, dict) for record in value)


def is_number(value: object) -> bool:
    """Whether a JSON value is a number that fits a float."""
    # JSON may hold whole numbers too large for a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def are_numbers(values: Sequence[object]) -> bool:
    """Whether all values of a JSON list are as `is_number` wants them, without a call of Python for each.

    >>> are_numbers([1, 2.5]), are_numbers([1, True]), are_numbers([10**400])
    (True, False, False)
    """
    if not {*map(type, values)} <= {int, float}:
        return False
    try:
        return all(map(math.isfinite, values))  # type: ignore[arg-type]
    except OverflowError:
        return False


def is_box(value: object) -> bool:
    """Whether a JSON value is x, y and a width and height of at least 0."""
    return isinstance(value, list) and len(value) == 4 and are_numbers(value) and min(value[2:]) >= 0


def wanted_categories(function: str, content: Record, category: str | int | None) -> list[Any]:
    """Ids of the categories to read: all that the file names, or those of one name or id.

    Raises:
        ValueError: If the file names no such category.
    """
    known = content.get("categories", [])
    if category is None:
        return [record.get("id") for record in known]
    wanted = [record.get("id") for record in known if category in (record.get("id"), record.get("name"))]
    if not wanted:
        names = [str(record.get("name")) for record in known]
        raise ValueError(unknown_name(function, "category", category, names or ["(the file names none)"]))
    return wanted


def category_problems(content: Record, wanted: Sequence[Any], skeleton: Skeleton) -> list[str]:
    """What is wrong with the names that the categories to be read give their points."""
    problems = []
    for category in content.get("categories", []):
        names = category.get("keypoints") or []
        label = f"category {category.get('name')!r}"
        if category.get("id") not in wanted:
            continue
        if not isinstance(names, list):
            problems.append(f"{label} must name its keypoints in a list")
        elif names and tuple(names) != skeleton.names:
            differing = [f"{a!r} for {b!r}" for a, b in zip(names, skeleton.names, strict=False) if a != b][:3]
            detail = ", ".join(differing) or f"{len(names)} points for {skeleton.num_points}"
            problems.append(f"{label} names its points otherwise than the skeleton ({detail})")
    return problems


def images_by_id(content: Record) -> tuple[dict[int | str, Record], list[str]]:
    """The images by id, and what is wrong with them."""
    images: dict[int | str, Record] = {}
    problems = []
    for index, image in enumerate(content["images"]):
        label = f"image {image.get('id', f'number {index}')}"
        sides = [image[side] for side in ("width", "height") if image.get(side) is not None]
        if not isinstance(image.get("id"), int | str) or not isinstance(image.get("file_name"), str):
            problems.append(f"{label} must have an id and a file_name")
        elif not all(is_number(side) and side > 0 for side in sides):
            problems.append(f"{label} must have a width and a height greater than 0")
        elif image["id"] in images:
            problems.append(f"{label} ({image['file_name']}) has the id of {images[image['id']]['file_name']}")
        else:
            images[image["id"]] = image
    return images, problems


def record_problem(record: Record, images: Mapping[Any, Record], skeleton: Skeleton) -> str:
    """What is wrong with an annotation; "" if nothing is."""
    image_id = record.get("image_id")
    if not isinstance(image_id, int | str) or image_id not in images:
        return f"refers to the unknown image {image_id}"
    keypoints = record.get("keypoints")
    if not isinstance(keypoints, list) or len(keypoints) != 3 * skeleton.num_points:
        got = len(keypoints) if isinstance(keypoints, list) else "none"
        return f"must hold 3 x {skeleton.num_points} keypoint numbers, got {got}"
    if not are_numbers(keypoints):
        return "must hold finite keypoint numbers"
    flags = {*keypoints[2::3]}
    if not flags <= {0, 1, 2}:
        return "must hold visibilities of 0, 1 or 2"
    if record.get("iscrowd") not in (0, 1, None):
        return "must hold an iscrowd of 0 or 1"
    bbox, area = record.get("bbox"), record.get("area")
    if bbox is not None and not is_box(bbox):
        return "must hold a bbox of x, y and a width and height of at least 0"
    if bbox is not None and _is_outside(bbox, images[image_id]):
        return "must hold a bbox that meets its image"
    if area is not None and not (is_number(area) and area >= 0):
        return "must hold an area of at least 0"
    # Similarity divides by it: the person would count as missed wherever it was found.
    return "must hold an area greater than 0 beside its points" if area == 0 and flags != {0} else ""


def _is_outside(bbox: Sequence[float], image: Record) -> bool:
    """Whether no pixel of an image, where its size is known, lies in a bbox."""
    sides = image.get("width"), image.get("height")
    return any(
        start + max(extent, 1) <= 0 or (side is not None and start >= side)
        for start, extent, side in zip(bbox[:2], bbox[2:], sides, strict=True)
    )


def repeated_id(record: Record, seen: set[Any]) -> str:
    """What is wrong with an annotation whose id one before it has; "" if none has, and then it joins those `seen`."""
    number = record.get("id")
    if not isinstance(number, int | str):
        return ""
    if number in seen:
        return "has the id of an annotation before it"
    seen.add(number)
    return ""


def sample_of(record: Record, image: Record, image_root: Path) -> Sample:
    """The sample of an annotation without problems."""
    values = np.array(record["keypoints"], dtype=np.float64).reshape(-1, 3)
    visible = values[:, 2] > 0
    area = record.get("area")
    ids: dict[str, int | str] = {"image_id": image["id"]}
    if isinstance(record.get("id"), int | str):
        ids["annotation_id"] = record["id"]
    return Sample(
        image_root / image["file_name"],
        points=np.where(visible[:, None], values[:, :2], 0.0),
        visible=visible,
        box=None if record.get("bbox") is None else box_in_image(record["bbox"], image),
        key=f"{image['file_name']}#{record.get('id', '')}",
        group=image["file_name"],
        area=None if area is None else float(area),
        occluded=values[:, 2] == 1,
        ids=ids,
    )


def box_of_bbox(bbox: Sequence[float]) -> Box:
    """x, y, w, h as the first and last pixel: x, y, x + w − 1, y + h − 1.

    >>> box_of_bbox([2, 1, 6, 0.5])
    (2.0, 1.0, 7.0, 1.0)
    """
    x, y, width, height = (float(v) for v in bbox)
    return (x, y, x + max(width - 1, 0.0), y + max(height - 1, 0.0))


def box_in_image(bbox: Sequence[float], image: Record) -> Box:
    """The box of a bbox, cut to the image where its size is known."""
    corners = np.array(box_of_bbox(bbox))
    if image.get("width") is not None and image.get("height") is not None:
        last = np.array([image["width"], image["height"]] * 2, dtype=np.float64) - 1
        corners = np.clip(corners, 0, last)
    x1, y1, x2, y2 = corners.tolist()
    return (x1, y1, x2, y2)


def annotations_of(content: Record, wanted: Sequence[Any], *, all_categories: bool) -> tuple[Record, ...]:
    """Every annotation of the categories to be read, crowds too, without its outline, which is by far its largest part."""
    return tuple(
        {key: value for key, value in record.items() if key != "segmentation"}
        for record in content["annotations"]
        if all_categories or record.get("category_id") in wanted
    )
