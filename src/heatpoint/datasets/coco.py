"""Keypoints in COCO's JSON form: any number of points, described by a skeleton file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from heatpoint._checks import message
from heatpoint.datasets.sample import Box, PointSet, Sample, report, require_folder, resolve_data_root
from heatpoint.skeleton import Skeleton, load_skeleton

REMEDY = "Correct the annotations, or give the skeleton that they were made with."
Record = Mapping[str, Any]


def read_coco(
    annotations: Path | str,
    image_root: Path | str,
    skeleton: Skeleton | str | Path = "coco17",
    *,
    split: str = "all",
    name: str = "coco",
    min_visible: int = 1,
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

    Raises:
        FileNotFoundError: If the file or the image folder is missing.
        ValueError: If the file is not JSON of that form; or for all broken annotations, in one line.
    """
    path, image_root = Path(annotations), require_folder(name, Path(image_root), remedy="Check image_root.")
    if not path.is_file():
        raise FileNotFoundError(
            message("read_coco", "annotations", "be an existing file", path, "Check the data folder.")
        )
    skeleton = skeleton if isinstance(skeleton, Skeleton) else load_skeleton(skeleton)
    content = _load(path)
    problems = _category_problems(content, skeleton)
    images = {image["id"]: image for image in content["images"] if "id" in image and "file_name" in image}
    samples = []
    for index, record in enumerate(content["annotations"]):
        if record.get("iscrowd", 0):
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
    protocol = {"annotations": path.name, "left out": f"crowds and objects with fewer than {min_visible} points"}
    return PointSet(name, split, skeleton, tuple(samples), protocol)


def open_coco(data_root: Path | str | None, split: str) -> PointSet:
    """COCO person keypoints under `data_root`/coco, in the folders of the 2017 download; split "train" or "val"."""
    root = require_folder("coco", resolve_data_root(data_root) / "coco")
    return read_coco(root / f"annotations/person_keypoints_{split}2017.json", root / f"{split}2017", split=split)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(report(str(path), [f"it is not JSON ({error})"], REMEDY)) from None
    lists = [content.get(key) if isinstance(content, dict) else None for key in ("images", "annotations")]
    if not all(isinstance(v, list) and all(isinstance(r, dict) for r in v) for v in lists):
        raise ValueError(report(str(path), ["it must hold the lists of objects 'images' and 'annotations'"], REMEDY))
    return dict(content)


def _category_problems(content: Record, skeleton: Skeleton) -> list[str]:
    problems = []
    for category in content.get("categories", []):
        names = category.get("keypoints") or []
        if names and tuple(names) != skeleton.names:
            differing = [f"{a!r} for {b!r}" for a, b in zip(names, skeleton.names, strict=False) if a != b][:3]
            detail = ", ".join(differing) or f"{len(names)} points for {skeleton.num_points}"
            problems.append(
                f"category {category.get('name')!r} names its points otherwise than the skeleton ({detail})"
            )
    return problems


def _record_problem(record: Record, images: Mapping[Any, Record], skeleton: Skeleton) -> str:
    if record.get("image_id") not in images:
        return f"refers to the unknown image {record.get('image_id')}"
    keypoints = record.get("keypoints")
    if not isinstance(keypoints, list) or len(keypoints) != 3 * skeleton.num_points:
        got = len(keypoints) if isinstance(keypoints, list) else "none"
        return f"must hold 3 x {skeleton.num_points} keypoint numbers, got {got}"
    if not all(isinstance(v, int | float) and np.isfinite(v) for v in keypoints):
        return "must hold finite keypoint numbers"
    box = record.get("bbox")
    if box is not None and (len(box) != 4 or not all(np.isfinite(v) for v in box) or box[2] < 0 or box[3] < 0):
        return "must hold a bbox of x, y and a width and height of at least 0"
    return ""


def _sample(record: Record, image: Record, image_root: Path) -> Sample:
    values = np.array(record["keypoints"], dtype=np.float64).reshape(-1, 3)
    visible = values[:, 2] > 0
    points = np.where(visible[:, None], values[:, :2], 0.0)
    file_name = str(image["file_name"])
    key = f"{file_name}#{record.get('id', '')}"
    return Sample(image_root / file_name, points, visible, _box(record, image), key, group=file_name)


def _box(record: Record, image: Record) -> Box | None:
    if record.get("bbox") is None:
        return None
    x, y, width, height = (float(v) for v in record["bbox"])
    corners = np.array([x, y, x + max(width - 1, 0), y + max(height - 1, 0)])
    if "width" in image and "height" in image:
        last = np.array([image["width"], image["height"]] * 2, dtype=np.float64) - 1
        corners = np.clip(corners, 0, last)
    x1, y1, x2, y2 = corners.tolist()
    return (x1, y1, x2, y2)
