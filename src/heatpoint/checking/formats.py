"""Which form labels have: COCO's JSON, folders of .pts files, dlib's XML, DeepLabCut's CSV; and the points that they name."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from heatpoint._checks import message
from heatpoint.checking.names import mirrored_pairs
from heatpoint.checking.raw_coco import Category, load_coco
from heatpoint.skeleton import Skeleton, load_skeleton, skeleton_names

Form = Literal["coco", "pts", "dlib", "deeplabcut"]
FORMS: dict[Form, str] = {
    "coco": "COCO's JSON (.json with images and annotations)",
    "pts": "a folder of images with .pts files",
    "dlib": "dlib's XML (.xml)",
    "deeplabcut": "DeepLabCut's CSV (CollectedData*.csv)",
}
SUFFIXES: dict[str, Form] = {".json": "coco", ".xml": "dlib", ".csv": "deeplabcut"}


@dataclass(frozen=True)
class Labels:
    """Where labels lie, and in which form.

    Args:
        form: A key of `FORMS`.
        files: Per split the files; for .pts the folder.
    """

    form: Form
    files: dict[str, list[Path]]

    def first(self) -> Path:
        """The first file of all."""
        return next(iter(self.files.values()))[0]


def find_labels(data: Path) -> Labels:
    """Finds the labels of a file or folder.

    Raises:
        FileNotFoundError: If there is nothing of that name.
        ValueError: If nothing in it has a form that can be read, or more than one has.
    """
    if data.is_file():
        if data.suffix.lower() not in SUFFIXES:
            raise ValueError(
                message("check", "DATA", f"be {', '.join(FORMS.values())}", data, "Give the folder of .pts files.")
            )
        return Labels(SUFFIXES[data.suffix.lower()], {split_of(data.stem): [data]})
    if not data.is_dir():
        raise FileNotFoundError(message("check", "DATA", "be a set's name, a file or a folder", data))
    found = {form: files for form, files in _candidates(data).items() if files}
    if len(found) != 1:
        listed = "; ".join(f"{FORMS[form]}: {_some(files)}" for form, files in found.items())
        rule = f"hold labels in one form ({', '.join(FORMS.values())})"
        remedy = "Give the file itself, or --train and --test."
        raise ValueError(message("check", str(data), rule, listed or "none", remedy))
    ((form, files),) = found.items()
    if form in ("pts", "deeplabcut"):
        return Labels(form, {"all": [data] if form == "pts" else files})
    splits: dict[str, list[Path]] = {}
    for path in files:
        splits.setdefault(split_of(path.stem), []).append(path)
    crowded = [paths for paths in splits.values() if len(paths) > 1]
    if crowded:
        remedy = "Give the file itself, or --train and --test."
        raise ValueError(message("check", str(data), "hold one file per split", _some(crowded[0]), remedy))
    order = ("train", "val", "test", "all")
    return Labels(form, {split: splits[split] for split in order if split in splits})


def given_labels(train: Path, test: Path) -> Labels:
    """The labels of two files or folders that were named as train and test.

    Raises:
        ValueError: If they have not the same form.
    """
    both = {"train": find_labels(train), "test": find_labels(test)}
    forms = {labels.form for labels in both.values()}
    if len(forms) > 1:
        got = " and ".join(FORMS[labels.form] for labels in both.values())
        raise ValueError(message("check", "--train and --test", "have one form", got))
    files = {split: [path for paths in labels.files.values() for path in paths] for split, labels in both.items()}
    return Labels(both["train"].form, files)


def split_of(name: str) -> str:
    """The split that a file's or folder's name speaks of.

    >>> [split_of(name) for name in ("person_keypoints_val2017", "Testset", "labels", "latest")]
    ['val', 'test', 'all', 'all']
    """
    for split in ("train", "test", "val"):
        if re.search(rf"(?<![a-z]){split}", name.lower()):
            return split
    return "all"


def named_points(labels: Labels, category: Category = None) -> Skeleton:
    """The points that labels name, with the edges they give and mirror partners by name; numbers where there are no names.

    Raises:
        ValueError: If the first file names none.
    """
    path = labels.first()
    edges: list[tuple[int, int]] = []
    if labels.form == "coco":
        names, edges = _coco_names(path, category)
    elif labels.form == "deeplabcut":
        names = _csv_names(path)
    elif labels.form == "dlib":
        names = _xml_names(path)
    else:
        names = _pts_names(path)
    if not names:
        raise ValueError(message("check", str(path), "name points", "none", "Give --skeleton."))
    kept = [edge for edge in edges if edge[0] != edge[1] and all(0 <= point < len(names) for point in edge)]
    pairs = tuple(mirrored_pairs(names))
    return Skeleton(tuple(names), tuple(dict.fromkeys(kept)), pairs, normalizers={"box": "box"})


def known_skeleton(points: Skeleton) -> tuple[str, Skeleton] | None:
    """The skeleton of this package with just these names; for 68 numbered points that of 300-W."""
    for name in skeleton_names():
        skeleton = load_skeleton(name)
        if skeleton.names == points.names:
            return name, skeleton
    if points.num_points == 68 and all(name.isdigit() for name in points.names):
        return "face68", load_skeleton("face68")
    return None


def _candidates(folder: Path) -> dict[Form, list[Path]]:
    documents = sorted([*folder.glob("*.json"), *folder.glob("annotations/*.json")])
    first = next(folder.rglob("*.pts"), None)
    tables = sorted([*folder.glob("CollectedData*.csv"), *folder.glob("labeled-data/*/CollectedData*.csv")])
    return {
        "coco": [path for path in documents if _is_coco(path)],
        "pts": [first] if first else [],
        "dlib": sorted(folder.glob("*.xml")),
        "deeplabcut": tables,
    }


def _is_coco(path: Path) -> bool:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(values, dict) and {"images", "annotations"} <= values.keys()


def _coco_names(path: Path, category: Category) -> tuple[list[str], list[tuple[int, int]]]:
    content = load_coco(path)
    for record in content["categories"]:
        names = record.get("keypoints")
        if category in (None, record.get("id"), record.get("name")) and isinstance(names, list) and names:
            edges = [edge for edge in record.get("skeleton") or [] if _is_pair(edge)]
            return [str(name) for name in names], [(edge[0] - 1, edge[1] - 1) for edge in edges]
    counts = [len(r["keypoints"]) for r in content["annotations"] if isinstance(r.get("keypoints"), list)]
    usual = max(set(counts), key=counts.count) if counts else 0
    return [str(index) for index in range(usual // 3)], []


def _is_pair(edge: object) -> bool:
    return isinstance(edge, list) and len(edge) == 2 and all(type(point) is int for point in edge)


def _csv_names(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [row for _, row in zip(range(3), csv.reader(stream), strict=False)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(message("check", str(path), "be a CSV file in UTF-8", error)) from None
    if [row[:1] for row in rows] != [["scorer"], ["bodyparts"], ["coords"]]:
        raise ValueError(message("check", str(path), "begin with the rows scorer, bodyparts, coords", "another head"))
    return list(dict.fromkeys(name for name in rows[1][1:] if name))


def _xml_names(path: Path) -> list[str]:
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(message("check", str(path), "be XML", error)) from None
    if root.tag != "dataset":
        raise ValueError(message("check", str(path), "be dlib's XML, with the root dataset", root.tag))
    names = sorted({part.get("name", "") for part in root.iter("part")})
    if all(name.isdigit() for name in names):
        return [str(index) for index in range(max((int(name) for name in names), default=-1) + 1)]
    return names


def _pts_names(folder: Path) -> list[str]:
    counts = []
    for path in sorted(folder.rglob("*.pts"))[:50]:
        inside = path.read_text(encoding="utf-8", errors="replace").partition("{")[2].partition("}")[0]
        counts.append(sum(1 for line in inside.split("\n") if line.strip()))
    usual = max(set(counts), key=counts.count) if counts else 0
    return [str(index) for index in range(usual)]


def _some(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
