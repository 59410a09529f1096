"""Keypoints in COCO's JSON form: any number of points, described by a skeleton file."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heatpoint._checks import message, unknown_name
from heatpoint.datasets.sample import (
    Box,
    PointSet,
    Sample,
    check_split,
    report,
    require_folder,
    require_images,
    resolve_data_root,
)
from heatpoint.skeleton import Skeleton, load_skeleton

# The labels of the download's own test images are not published.
SPLITS = {"train": "train2017", "val": "val2017", "test": "val2017"}
REMEDY = "Correct the annotations, give the skeleton that they were made with, or choose one category."
Record = Mapping[str, Any]


def read_coco(
    annotations: Path | str,
    image_root: Path | str,
    skeleton: Skeleton | str | Path = "coco17",
    *,
    split: str = "all",
    name: str = "coco",
    min_visible: int = 1,
    category: str | int | None = None,
) -> PointSet:
    """Reads the objects of a COCO-keypoints file: one sample per annotation, crowds left out.

    Coordinates are taken as they stand (pixels from 0). A keypoint is (x, y, v); v = 0 is not annotated, 1 is hidden but
    annotated, 2 is seen: `visible` is v > 0. A bbox (x, y, w, h) becomes x, y, x + w − 1, y + h − 1 within the image.

    Args:
        annotations: The JSON file, with `images` and `annotations`.
        image_root: The folder of its `file_name`s.
        skeleton: A skeleton, the name of one, or the path of a skeleton file.
        split: What the file is a split of; stored only.
        name: Name of the set.
        min_visible: Objects with fewer annotated points are left out.
        category: Name or id of the one category to read, in a file that holds boxes of others too; None reads all.

    Raises:
        FileNotFoundError: If the file or the image folder is missing; or, in one line, for all missing images.
        ValueError: If the file is not JSON of that form, or no object is left; or, in one line, for all broken records.
    """
    path, image_root = Path(annotations), require_folder(name, Path(image_root), remedy="Check image_root.")
    if not path.is_file():
        raise FileNotFoundError(
            message("read_coco", "annotations", "be an existing file", path, "Check the data folder.")
        )
    skeleton = skeleton if isinstance(skeleton, Skeleton) else load_skeleton(skeleton)
    content = _load(path)
    wanted = _wanted_categories(content, category)
    problems = _category_problems(content, wanted, skeleton)
    images, wrong_images = _images(content)
    problems += wrong_images
    samples = []
    for index, record in enumerate(content["annotations"]):
        if record.get("iscrowd", 0) or (category is not None and record.get("category_id") not in wanted):
            continue
        wrong = _record_problem(record, images, skeleton)
        if wrong:
            problems.append(f"annotation {record.get('id', f'number {index}')} {wrong}")
            continue
        sample = _sample(record, images[record["image_id"]], image_root)
        if sample.visible.sum() >= min_visible:
            samples.append(sample)
    if problems:
        raise ValueError(report(str(path), problems, REMEDY))
    if not samples:
        rule = f"hold an object with at least {min_visible} annotated points"
        raise ValueError(message("read_coco", "annotations", rule, f"none in {path}"))
    require_images(name, samples, remedy="Check image_root, the folder in which every file_name begins.")
    protocol = {"annotations": path.name, "left out": f"crowds and objects with fewer than {min_visible} points"}
    if category is not None:
        protocol["category"] = str(category)
    return PointSet(name, split, skeleton, tuple(samples), protocol)


def open_coco(data_root: Path | str | None, split: str) -> PointSet:
    """COCO person keypoints under `data_root`/coco, in the folders of the 2017 download; "test" reads "val"."""
    check_split("coco", split, SPLITS)
    root, folder = require_folder("coco", resolve_data_root(data_root) / "coco"), SPLITS[split]
    return read_coco(root / f"annotations/person_keypoints_{folder}.json", root / folder, split=split)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(report(str(path), [f"it is not JSON ({error})"], REMEDY)) from None
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        raise ValueError(report(str(path), ["it must hold the lists of objects 'images' and 'annotations'"], REMEDY))
    keys = [key for key in ("images", "annotations", "categories") if not _is_list_of_objects(content.get(key, []))]
    if keys:
        raise ValueError(report(str(path), [f"{key!r} must be a list of objects" for key in keys], REMEDY))
    return content


def _is_list_of_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(record, dict) for record in value)


def _wanted_categories(content: Record, category: str | int | None) -> list[Any]:
    """Ids of the categories to read."""
    known = content.get("categories", [])
    if category is None:
        return [record.get("id") for record in known]
    wanted = [record.get("id") for record in known if category in (record.get("id"), record.get("name"))]
    if not wanted:
        names = [str(record.get("name")) for record in known]
        raise ValueError(unknown_name("read_coco", "category", category, names or ["(the file names none)"]))
    return wanted


def _category_problems(content: Record, wanted: Sequence[Any], skeleton: Skeleton) -> list[str]:
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


def _images(content: Record) -> tuple[dict[int | str, Record], list[str]]:
    """The images by id, and what is wrong with them."""
    images: dict[int | str, Record] = {}
    problems = []
    for index, image in enumerate(content["images"]):
        label = f"image {image.get('id', f'number {index}')}"
        sides = [image[side] for side in ("width", "height") if image.get(side) is not None]
        if not isinstance(image.get("id"), int | str) or not isinstance(image.get("file_name"), str):
            problems.append(f"{label} must have an id and a file_name")
        elif not all(_is_number(side) and side > 0 for side in sides):
            problems.append(f"{label} must have a width and a height greater than 0")
        else:
            images[image["id"]] = image
    return images, problems


def _record_problem(record: Record, images: Mapping[Any, Record], skeleton: Skeleton) -> str:
    image_id = record.get("image_id")
    if not isinstance(image_id, int | str) or image_id not in images:
        return f"refers to the unknown image {image_id}"
    keypoints = record.get("keypoints")
    if not isinstance(keypoints, list) or len(keypoints) != 3 * skeleton.num_points:
        got = len(keypoints) if isinstance(keypoints, list) else "none"
        return f"must hold 3 x {skeleton.num_points} keypoint numbers, got {got}"
    if not all(_is_number(v) for v in keypoints):
        return "must hold finite keypoint numbers"
    box = record.get("bbox")
    is_box = isinstance(box, list) and len(box) == 4 and all(_is_number(v) for v in box) and min(box[2:]) >= 0
    return "" if box is None or is_box else "must hold a bbox of x, y and a width and height of at least 0"


def _is_number(value: object) -> bool:
    # JSON may hold whole numbers too large for a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _sample(record: Record, image: Record, image_root: Path) -> Sample:
    values = np.array(record["keypoints"], dtype=np.float64).reshape(-1, 3)
    visible = values[:, 2] > 0
    points = np.where(visible[:, None], values[:, :2], 0.0)
    file_name = image["file_name"]
    key = f"{file_name}#{record.get('id', '')}"
    return Sample(image_root / file_name, points, visible, _box(record, image), key, group=file_name)


def _box(record: Record, image: Record) -> Box | None:
    if record.get("bbox") is None:
        return None
    x, y, width, height = (float(v) for v in record["bbox"])
    corners = np.array([x, y, x + max(width - 1, 0), y + max(height - 1, 0)])
    if image.get("width") is not None and image.get("height") is not None:
        last = np.array([image["width"], image["height"]] * 2, dtype=np.float64) - 1
        corners = np.clip(corners, 0, last)
    x1, y1, x2, y2 = corners.tolist()
    return (x1, y1, x2, y2)
