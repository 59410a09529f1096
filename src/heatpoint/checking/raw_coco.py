"""COCO's JSON, record by record: everything that is wrong, and the samples that can be made of the rest.

`heatpoint.datasets.read_coco` refuses a file with any of these faults. Here a record is read as far as it goes, so that one fault
does not hide the next.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heatpoint._checks import message, unknown_name
from heatpoint.checking.findings import Finding
from heatpoint.checking.records import Part, Record
from heatpoint.datasets.sample import Sample
from heatpoint.frames import FloatArray
from heatpoint.skeleton import Skeleton

Values = Mapping[str, Any]
Category = str | int | None


def load_coco(path: Path) -> dict[str, Any]:
    """Reads a COCO file as far as its lists: `images`, `annotations`, `categories`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON of that form.
    """
    if not path.is_file():
        raise FileNotFoundError(message("check", "the annotations", "be an existing file", path))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(message("check", str(path), "be JSON", error)) from None
    keys = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        rule = "be a JSON object with the lists 'images' and 'annotations'"
        got = f"a list of {len(content)}" if isinstance(content, list) else f"the keys {', '.join(content)}"
        remedy = "Lists of detections and the lists of MPII are no COCO file; sets known by name are checked by name."
        raise ValueError(message("check", str(path), rule, got, remedy))
    for key in keys:
        value = content.setdefault(key, [])
        if not isinstance(value, list) or not all(isinstance(record, dict) for record in value):
            raise ValueError(message("check", str(path), f"hold a list of objects {key!r}", "something else"))
    return content


def coco_part(
    path: Path, content: Values, images: Path, skeleton: Skeleton, *, split: str, category: Category = None
) -> tuple[Part, list[Finding]]:
    """The objects of a COCO file as far as they can be read, and everything wrong with its records.

    Args:
        path: The file, to be named.
        content: As `load_coco` returns it.
        images: The folder of its `file_name`s.
        skeleton: That the objects should have.
        split: Name of the split.
        category: Name or id of the one category to look at; None takes all.

    Raises:
        ValueError: If the file has no such category.
    """
    reader = _Reader(str(path), content, images, skeleton, split, category)
    records = tuple(reader.records())
    listed = tuple(images / image["file_name"] for image in reader.images.values())
    by_oks = any("area" in record for record in content["annotations"])
    return Part(split, records, listed, by_oks), reader.found


class _Reader:
    """Goes through one file and keeps a list of what is wrong with it."""

    def __init__(
        self, file: str, content: Values, folder: Path, skeleton: Skeleton, split: str, category: Category
    ) -> None:
        self.file, self.content, self.folder = file, content, folder
        self.skeleton, self.split = skeleton, split
        self.found: list[Finding] = []
        self.categories = self._categories(category)
        self.images = self._images()
        self.has_areas = any("area" in record for record in content["annotations"])

    def records(self) -> Iterator[Record]:
        """The objects that can be looked at further."""
        numbers: dict[Any, int] = {}
        place = 0
        for index, values in enumerate(self.content["annotations"]):
            name = f"annotation {values.get('id', f'number {index}')}"
            if not self._is_wanted(values, name):
                continue
            key = values.get("id")
            if key is not None and isinstance(key, int | str):
                first = numbers.setdefault(key, index)
                if first != index:
                    self._add("duplicate_id", f"has the id of the record at place {first}", name)
            record = self._record(values, name, place)
            if record is not None:
                place += 1
                yield record

    def _add(self, kind: str, text: str, record: str, place: int | None = None, severity: Any = None) -> None:
        sample = None if place is None else (self.split, place)
        self.found.append(Finding(kind, text, self.file, record, self.split, severity, sample))

    def _categories(self, category: Category) -> set[Any] | None:
        """Ids of the categories to look at; None if the file lists none."""
        listed = self.content["categories"]
        wanted = [c for c in listed if category is None or category in (c.get("id"), c.get("name"))]
        if category is not None and not wanted:
            raise ValueError(unknown_name("check", "--category", category, [str(c.get("name")) for c in listed]))
        for record in wanted:
            self._category(record)
        return {c.get("id") for c in wanted} if listed else None

    def _category(self, record: Values) -> None:
        label = f"category {record.get('name')!r}"
        names = record.get("keypoints") or []
        if names and tuple(names) != self.skeleton.names:
            pairs = zip(names, self.skeleton.names, strict=False)
            differing = ", ".join(f"{a!r} for {b!r}" for a, b in pairs if a != b)
            detail = differing or f"{len(names)} points for {self.skeleton.num_points}"
            self._add("category", f"names its points otherwise than the skeleton ({detail})", label)
        number = len(names) or self.skeleton.num_points
        for edge in record.get("skeleton") or []:
            if not (_is_list_of_numbers(edge, 2) and all(1 <= v <= number for v in edge) and edge[0] != edge[1]):
                self._add("skeleton", f"has the edge {edge}, which must join two of the points 1 to {number}", label)

    def _images(self) -> dict[Any, Values]:
        images: dict[Any, Values] = {}
        names: dict[str, Any] = {}
        for index, image in enumerate(self.content["images"]):
            key, file_name = image.get("id"), image.get("file_name")
            label = f"image {image.get('id', f'number {index}')}"
            if not isinstance(key, int | str) or not isinstance(file_name, str):
                self._add("broken_record", "must have an id and a file_name", label)
                continue
            sides = [image[side] for side in ("width", "height") if image.get(side) is not None]
            if not all(_is_finite(side) and side > 0 for side in sides):
                self._add("broken_record", f"must have a width and a height greater than 0, got {sides}", label)
            if key in images:
                self._add("duplicate_id", f"({file_name}) has the id of {images[key]['file_name']}", label)
            elif names.setdefault(file_name, key) != key:
                self._add("duplicate_id", f"lists the file {file_name} of image {names[file_name]} again", label)
            images.setdefault(key, image)
        return images

    def _is_wanted(self, values: Values, name: str) -> bool:
        category = values.get("category_id")
        if self.categories is None or category in self.categories:
            return not values.get("iscrowd", 0)
        known = {c.get("id") for c in self.content["categories"]}
        if category not in known and not (category is None and len(known) == 1):
            self._add("category", f"has the unknown category {category}", name)
            return True
        return category is None

    def _record(self, values: Values, name: str, place: int) -> Record | None:
        image = self.images.get(values["image_id"]) if isinstance(values.get("image_id"), int | str) else None
        if image is None:
            self._add("unknown_image", f"refers to the image {values.get('image_id')}, which is not listed", name)
        keypoints = values.get("keypoints")
        wanted = 3 * self.skeleton.num_points
        if not isinstance(keypoints, list) or len(keypoints) != wanted:
            got = len(keypoints) if isinstance(keypoints, list) else "none"
            self._add("keypoint_count", f"must hold 3 x {self.skeleton.num_points} keypoint numbers, got {got}", name)
            return None
        if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in keypoints):
            self._add("broken_record", "must hold numbers as keypoints", name)
            return None
        if image is None:
            return None
        rows = np.array([float(v) if abs(v) < 1e300 else math.inf for v in keypoints]).reshape(-1, 3)
        visible = self._visible(values, rows, name, place)
        points = np.where(visible[:, None], np.nan_to_num(rows[:, :2], posinf=0, neginf=0), 0.0)
        file_name = image["file_name"]
        box, area = self._box(values, name, place), self._area(values, name, place)
        sample = Sample(self.folder / file_name, points, visible, box, f"{file_name}#{name}", file_name, area=area)
        return Record(sample, self.file, f"{name} ({file_name})", _stated_size(image))

    def _visible(self, values: Values, rows: FloatArray, name: str, place: int) -> Any:
        flags, finite = rows[:, 2], np.isfinite(rows[:, :2]).all(axis=1)
        wrong = [f"{v:g}" for v in flags if v not in (0, 1, 2)]
        if wrong:
            self._add("visibility_flag", f"has the visibilities {', '.join(wrong[:3])}; 0, 1 and 2 exist", name, place)
        labelled = np.isfinite(flags) & (flags > 0)
        broken = labelled & ~finite
        if broken.any():
            names = ", ".join(self.skeleton.names[k] for k in np.flatnonzero(broken)[:3])
            self._add("not_finite", f"has {int(broken.sum())} points that are not finite: {names}", name, place)
        stated, number = values.get("num_keypoints"), int(labelled.sum())
        if stated is not None and stated != number:
            self._add("num_keypoints", f"states {stated} labelled points and has {number}", name, place)
        if not number and stated != 0:
            self._add("no_visible_point", "has no labelled point", name, place)
        return labelled & finite

    def _box(self, values: Values, name: str, place: int) -> tuple[float, float, float, float] | None:
        box = values.get("bbox")
        if box is None:
            return None
        if not _is_list_of_numbers(box, 4):
            self._add("broken_record", f"must hold a bbox of 4 finite numbers, got {box}", name, place)
            return None
        x, y, width, height = (float(v) for v in box)
        if min(width, height) <= 0:
            self._add("empty_box", f"has the bbox {box}, whose sides must be greater than 0", name, place)
            return None
        return (x, y, x + max(width - 1, 0), y + max(height - 1, 0))

    def _area(self, values: Values, name: str, place: int) -> float | None:
        area = values.get("area")
        if area is None:
            if self.has_areas:
                self._add("area", "has no area, as other records do", name, place, "warning")
            return None
        if not _is_finite(area):
            self._add("area", f"must have a finite area, got {area}", name, place)
            return None
        return float(area)


def _stated_size(image: Values) -> tuple[float, float] | None:
    width, height = image.get("width"), image.get("height")
    if not (_is_finite(width) and _is_finite(height)):
        return None
    return (float(str(width)), float(str(height)))


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _is_list_of_numbers(value: object, number: int) -> bool:
    return isinstance(value, Sequence) and len(value) == number and all(_is_finite(v) for v in value)
