"""Keypoints in COCO's JSON form: any number of points, described by a skeleton file; annotated and detected boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from heatpoint._checks import check_real, message
from heatpoint.datasets.coco_records import (
    REMEDY,
    Record,
    annotations_of,
    box_of_bbox,
    category_problems,
    images_by_id,
    is_box,
    is_list_of_objects,
    is_number,
    load_annotations,
    load_json,
    record_problem,
    repeated_id,
    sample_of,
    wanted_categories,
)
from heatpoint.datasets.image_files import with_images
from heatpoint.datasets.sample import (
    PointSet,
    Sample,
    check_split,
    require_folder,
    resolve_data_root,
    settle,
)
from heatpoint.skeleton import Skeleton, load_skeleton

# The labels of the download's own test images are not published.
SPLITS = {"train": "train2017", "val": "val2017", "test": "val2017", "detected": "val2017"}
DETECTIONS = "person_detection_results/COCO_val2017_detections_AP_H_56_person.json"
IMAGES_REMEDY = "Check image_root, the folder in which every file_name begins."
GET = (
    "Get the 2017 images and annotations from cocodataset.org; the folder must hold train2017/, val2017/ and "
    "annotations/person_keypoints_train2017.json and …_val2017.json, and for detected boxes "
    "person_detection_results/COCO_val2017_detections_AP_H_56_person.json, published beside HRNet's code."
)
DETECTED_REMEDY = (
    "A detection is an object of image_id, category_id, bbox (x, y, w, h) and score; annotations name its image."
)


def read_coco(
    annotations: Path | str,
    image_root: Path | str,
    skeleton: Skeleton | str | Path = "coco17",
    *,
    split: str = "all",
    name: str = "coco",
    min_visible: int = 1,
    category: str | int | None = None,
    problems: list[str] | None = None,
) -> PointSet:
    """Reads the objects of a COCO-keypoints file: one sample per annotation, crowds left out.

    Coordinates are taken as they stand (pixels from 0). A keypoint is (x, y, v); v = 0 is not annotated, 1 is hidden but
    annotated, 2 is seen: `visible` is v > 0, `occluded` v = 1. A bbox (x, y, w, h) becomes x, y, x + w − 1, y + h − 1 within
    the image. All records, also of crowds and of people without points, stand in `PointSet.annotations`.

    Args:
        annotations: The JSON file, with `images` and `annotations`.
        image_root: The folder of its `file_name`s.
        skeleton: A skeleton, the name of one, or the path of a skeleton file.
        split: What the file is a split of; stored only.
        name: Name of the set.
        min_visible: Objects with fewer annotated points are left out.
        category: Name or id of the one category to read, in a file that holds boxes of others too; None reads all.
        problems: None raises what is wrong with records and images; a list takes it.

    Raises:
        FileNotFoundError: If the file or the image folder is missing; or, in one line, for all missing images.
        ValueError: If the file is not JSON of that form, or no object is left; or, in one line, for all broken records.
    """
    path, image_root = Path(annotations), require_folder(name, Path(image_root), remedy="Check image_root.")
    content = load_annotations("read_coco", path)
    skeleton = skeleton if isinstance(skeleton, Skeleton) else load_skeleton(skeleton)
    wanted = wanted_categories("read_coco", content, category)
    images, wrong_images = images_by_id(content)
    found = category_problems(content, wanted, skeleton) + wrong_images
    samples, seen = [], set[int | str]()
    for index, record in enumerate(content["annotations"]):
        if record.get("iscrowd") == 1 or (category is not None and record.get("category_id") not in wanted):
            continue
        wrong = record_problem(record, images, skeleton) or repeated_id(record, seen)
        if wrong:
            found.append(f"annotation {record.get('id', f'number {index}')} {wrong}")
            continue
        sample = sample_of(record, images[record["image_id"]], image_root)
        if sample.visible.sum() >= min_visible:
            samples.append(sample)
    settle(str(path), found, problems, REMEDY)
    if not samples and not found:
        rule = f"hold an object with at least {min_visible} annotated points"
        _tell(message("read_coco", "annotations", rule, f"none in {path}"), problems)
    there = with_images(name, samples, problems, remedy=IMAGES_REMEDY)
    protocol = {"annotations": path.name, "left out": f"crowds and objects with fewer than {min_visible} points"}
    if category is not None:
        protocol["category"] = str(category)
    records = annotations_of(content, wanted, all_categories=category is None)
    return PointSet(name, split, skeleton, there, protocol, records)


def read_coco_detections(
    detections: Path | str,
    annotations: Path | str,
    image_root: Path | str,
    skeleton: Skeleton | str | Path = "coco17",
    *,
    split: str = "detected",
    name: str = "coco",
    min_score: float = 0.0,
    category: str | int | None = None,
    problems: list[str] | None = None,
) -> PointSet:
    """Reads the boxes that a detector found: one sample per box, with its score and without visible points.

    The samples are to be located and scored by COCO's average precision against `PointSet.annotations`. A bbox (x, y, w, h)
    becomes x, y, x + w − 1, y + h − 1 and, as in the published loaders, is not cut to the image.

    Args:
        detections: The JSON file, a list of objects of image_id, category_id, bbox and score.
        annotations: The file of annotations of the same images.
        image_root: The folder of its `file_name`s.
        skeleton: A skeleton, the name of one, or the path of a skeleton file.
        split: Name of the split; stored only.
        name: Name of the set.
        min_score: Boxes of a lower score are left out.
        category: Name or id of the one category to read; None reads all that the annotations name.
        problems: None raises what is wrong with records and images; a list takes it.

    Raises:
        FileNotFoundError: If a file or the image folder is missing; or, in one line, for all missing images.
        ValueError: If a file is not JSON of its form, or no box is left; or, in one line, for all broken records.
    """
    path, image_root = Path(detections), require_folder(name, Path(image_root), remedy="Check image_root.")
    check_real("read_coco_detections", "min_score", min_score, "be a number")
    content, boxes = load_annotations("read_coco_detections", Path(annotations)), _load_detections(path)
    skeleton = skeleton if isinstance(skeleton, Skeleton) else load_skeleton(skeleton)
    wanted = wanted_categories("read_coco_detections", content, category)
    images, found = images_by_id(content)
    found += category_problems(content, wanted, skeleton)
    samples = []
    for index, record in enumerate(boxes):
        if wanted and record.get("category_id") not in wanted:
            continue
        wrong = _detection_problem(record, images)
        if wrong:
            found.append(f"detection {index} {wrong}")
        elif record["score"] >= min_score:
            samples.append(_detected(record, images[record["image_id"]], image_root, skeleton, index))
    settle(str(path), found, problems, DETECTED_REMEDY)
    if not samples and not found:
        rule = f"hold a box with a score of at least {min_score}"
        _tell(message("read_coco_detections", "detections", rule, f"none in {path}"), problems)
    there = with_images(name, samples, problems, remedy=IMAGES_REMEDY)
    protocol = {"annotations": Path(annotations).name, "boxes": f"{path.name}, scores of at least {min_score:g}"}
    records = annotations_of(content, wanted, all_categories=category is None)
    return PointSet(name, split, skeleton, there, protocol, records)


def open_coco(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> PointSet:
    """COCO person keypoints under `data_root`/coco, in the folders of the 2017 download; "test" reads "val".

    "detected" reads the boxes that are published beside HRNet and SimplePose, in person_detection_results/, instead of the
    annotated ones. Images lie in train2017/ and val2017/, or in these folders of images/.
    """
    check_split("coco", split, SPLITS)
    root, folder = require_folder("coco", resolve_data_root(data_root) / "coco", get=GET), SPLITS[split]
    annotations = root / f"annotations/person_keypoints_{folder}.json"
    nested = root / "images" / folder
    image_root = nested if nested.is_dir() else root / folder
    if split == "detected":
        return read_coco_detections(root / DETECTIONS, annotations, image_root, category="person", problems=problems)
    return read_coco(annotations, image_root, split=split, problems=problems)


def _tell(text: str, problems: list[str] | None) -> None:
    if problems is None:
        raise ValueError(text)
    problems.append(text)


def _load_detections(path: Path) -> list[Record]:
    boxes = load_json("read_coco_detections", "detections", path)
    if not is_list_of_objects(boxes):
        raise ValueError(
            message("read_coco_detections", str(path), "be a list of objects", "another form", DETECTED_REMEDY)
        )
    return list(boxes)


def _detection_problem(record: Record, images: dict[int | str, Record]) -> str:
    image_id = record.get("image_id")
    if not isinstance(image_id, int | str) or image_id not in images:
        return f"refers to the unknown image {image_id}"
    if not is_box(record.get("bbox")):
        return "must hold a bbox of x, y and a width and height of at least 0"
    return "" if is_number(record.get("score")) else "must hold a score"


def _detected(record: Record, image: Record, image_root: Path, skeleton: Skeleton, index: int) -> Sample:
    return Sample(
        image_root / image["file_name"],
        points=np.zeros((skeleton.num_points, 2)),
        visible=np.zeros(skeleton.num_points, dtype=np.bool_),
        box=box_of_bbox(record["bbox"]),
        key=f"{image['file_name']}@{index}",
        group=image["file_name"],
        score=float(record["score"]),
        ids={"image_id": image["id"]},
    )
