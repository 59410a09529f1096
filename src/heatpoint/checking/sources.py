"""Opens what is to be checked, whole or broken: a set known by name, or labels of one's own."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heatpoint._checks import message, unknown_name
from heatpoint.checking.findings import Finding
from heatpoint.checking.formats import Labels, find_labels, given_labels, known_skeleton, named_points, split_of
from heatpoint.checking.raw_coco import Category, coco_part, load_coco
from heatpoint.checking.records import Part, Record, Source
from heatpoint.checking.skeleton_faults import read_skeleton
from heatpoint.datasets import DATASETS, PointSet, read_deeplabcut, read_dlib_xml, read_pts_folder, resolve_data_root
from heatpoint.datasets.pts import IMAGE_ENDINGS
from heatpoint.skeleton import Skeleton

SPLITS = ("train", "val", "validation", "test", "private")

# What readers say, and the kind of fault that it is; the first that fits.
SAYINGS = (
    (r"no \.pts file beside", "image_without_points"),
    (r"is missing|no image beside|existing file", "missing_image"),
    (r"truncated|readable image", "unreadable_image"),
    (r"finite", "not_finite"),
    (r"must hold \d+ points|numbers after the path, got|columns", "keypoint_count"),
)


def open_named(name: str, data_root: Path | None) -> Source:
    """All splits of a set known by name, as far as they can be read.

    Raises:
        ValueError: If there is no set of that name.
        FileNotFoundError: If none of its splits is there.
    """
    if name not in DATASETS:
        raise ValueError(unknown_name("check", "DATA", name, DATASETS))
    if name == "coco":
        return _open_coco_download(resolve_data_root(data_root) / "coco")
    point_sets: dict[str, PointSet] = {}
    findings: dict[str, Finding] = {}
    notes, absent = [], []
    for split in SPLITS:
        problems: list[str] = []
        try:
            point_set = _read_split(DATASETS[name], data_root, split, problems)
        except FileNotFoundError as error:
            absent.append(f"{split}: {error}")
            continue
        except ValueError as error:
            if "split must" not in str(error):
                findings.setdefault(str(error), reader_finding(str(error), split))
            continue
        for text in problems:
            # Splits may share files: what names one is told once. Where a reader names none, the set and the split stand for it.
            file = "" if "/" in text else f"{name} {split}"
            findings.setdefault(f"{file} {text}", reader_finding(text, split, file))
        known = {sample.key for other in point_sets.values() for sample in other.samples}
        if not {sample.key for sample in point_set.samples} <= known:
            point_sets[split] = point_set
            notes += [f"{split}: {key}: {value}" for key, value in point_set.protocol.items() if _is_told(key, value)]
    if not point_sets and not findings:
        raise FileNotFoundError(absent[0].partition(": ")[2] if absent else f"check: {name} holds no sample.")
    notes += [f"not there: {text}" for text in absent]
    parts = [part_of(point_set, split, name) for split, point_set in point_sets.items()]
    skeleton = next(iter(point_sets.values())).skeleton if point_sets else Skeleton(("none",))
    return Source(name, skeleton, f"the set's own, {skeleton.num_points} points", parts, list(findings.values()), notes)


def open_labels(
    data: Path | None,
    *,
    train: Path | None = None,
    test: Path | None = None,
    images: Path | None = None,
    skeleton: str | Path | Skeleton | None = None,
    category: Category = None,
) -> Source:
    """Labels of one's own, in any form of `formats.FORMS`, as far as they can be read.

    Args:
        data: A file or folder; None where `train` and `test` are given.
        train: The labels to train on.
        test: Those to test on.
        images: The folder in which image paths begin. None looks beside the labels.
        skeleton: A skeleton, its name or file. None: the skeleton of this package that names the same points, or else the
            names that stand in the labels.
        category: In a COCO file the one category to look at.

    Raises:
        FileNotFoundError: If a file or folder is missing.
        ValueError: If the labels have no form that can be read, or name no points.
    """
    if data is not None and (train or test):
        raise ValueError(message("check", "DATA", "be left out where --train and --test are given", data))
    if data is None and not (train and test):
        got = "--train alone" if train else "--test alone" if test else "none of them"
        raise ValueError(message("check", "DATA", "be given, or both --train and --test", got))
    labels = given_labels(train, test) if train and test else find_labels(Path(str(data)))
    chosen, chosen_name, findings = _skeleton(labels, skeleton, category)
    source = Source(str(data or f"{train} and {test}"), chosen, chosen_name, [], findings)
    for split, paths in labels.files.items():
        for path in paths:
            _read(labels, path, split, images, category, source)
    if labels.form == "pts" and list(labels.files) == ["all"]:
        source.parts = _divided(source.parts[0])
    elif labels.form == "deeplabcut":
        source.parts = [_joined(source.parts, split) for split in labels.files]
    if not any(part.by_oks for part in source.parts):
        source.notes.append("the labels give no areas: object keypoint similarity was not looked at")
    return source


def part_of(point_set: PointSet, split: str, file: str) -> Part:
    """The samples of a reader as records."""
    records = tuple(Record(sample, file, sample.key) for sample in point_set.samples)
    return Part(split, records, by_oks=any(sample.area is not None for sample in point_set.samples))


def reader_finding(text: str, split: str, file: str = "") -> Finding:
    """What a reader said, with the kind of fault that it is.

    >>> reader_finding("faces/a.pts must hold 68 points, got 67", "train").kind
    'keypoint_count'
    """
    kind = next((kind for pattern, kind in SAYINGS if re.search(pattern, text)), "broken_record")
    return Finding(kind, text, file, "", split, "error")


def _read_split(open_set: Callable[..., PointSet], data_root: Path | None, split: str, problems: list[str]) -> PointSet:
    if "problems" in inspect.signature(open_set).parameters:
        return open_set(data_root, split, problems=problems)
    return open_set(data_root, split)


def _is_told(key: str, value: Any) -> bool:
    return ("left out" in key or "invisible" in key) and not str(value).startswith("0 ")


def _open_coco_download(root: Path) -> Source:
    if not root.is_dir():
        raise FileNotFoundError(message("check", "data root", f"hold the folder {root}", "no such folder"))
    files = {split: root / f"annotations/person_keypoints_{split}2017.json" for split in ("train", "val")}
    there = {split: [path] for split, path in files.items() if path.is_file()}
    if not there:
        raise FileNotFoundError(message("check", "data root", f"hold {files['val']}", "no such file"))
    skeleton, findings = read_skeleton("coco17")
    source = Source("coco", skeleton, "coco17", [], findings)
    for split, (path,) in there.items():
        folders = [root / "images" / f"{split}2017", root / f"{split}2017"]
        images = next((folder for folder in folders if folder.is_dir()), folders[-1])
        _read(Labels("coco", there), path, split, images, "person", source)
    return source


def _skeleton(
    labels: Labels, given: str | Path | Skeleton | None, category: Category
) -> tuple[Skeleton, str, list[Finding]]:
    if isinstance(given, Skeleton):
        return given, f"{given.num_points} points", []
    if given is not None:
        skeleton, found = read_skeleton(given)
        return skeleton, str(given), found
    points = named_points(labels, category)
    known = known_skeleton(points)
    if known:
        return known[1], f"{known[0]}, which has these points", []
    how = (
        f"the {points.num_points} points that the labels name, mirror partners by their names; --skeleton gives another"
    )
    return points, how, []


def _read(labels: Labels, path: Path, split: str, images: Path | None, category: Category, source: Source) -> None:
    """Adds one file, or one folder of .pts files, to the source."""
    if labels.form == "coco":
        content = load_coco(path)
        folder = images or _image_folder(path, content)
        part, found = coco_part(path, content, folder, source.skeleton, split=split, category=category)
        source.parts.append(part)
        source.findings += found
        return
    problems: list[str] = []
    if labels.form == "pts":
        point_set = read_pts_folder(path, source.skeleton, split=split, problems=problems)
        source.findings += _without_points(path, split)
    elif labels.form == "dlib":
        point_set = read_dlib_xml(path, source.skeleton, split=split, problems=problems)
    else:
        # A project's file lies in labeled-data/<video>/, and its paths begin at the project.
        in_project = path.parent.parent.name == "labeled-data"
        root = images or (path.parents[2] if in_project else path.parent)
        point_set = read_deeplabcut(path, source.skeleton, image_root=root, split="all", problems=problems)
    for text in problems:
        named = str(path) in text or str(images or path.parent) in text
        source.findings.append(reader_finding(text, split, "" if named else str(path)))
    source.parts.append(part_of(point_set, split, str(path)))


def _image_folder(path: Path, content: dict[str, Any]) -> Path:
    """The folder near the file that holds most of its first images."""
    names = [image["file_name"] for image in content["images"][:50] if isinstance(image.get("file_name"), str)]
    near = [path.parent, path.parent / "images", path.parent / path.stem]
    near += [path.parent.parent, path.parent.parent / "images", path.parent.parent / path.stem]
    return max(near, key=lambda folder: sum((folder / name).is_file() for name in names))


def _without_points(folder: Path, split: str) -> list[Finding]:
    found = []
    for place in sorted({path.parent for path in folder.rglob("*.pts")}):
        for path in sorted(place.iterdir()):
            if path.suffix.lower() in IMAGE_ENDINGS and not path.with_suffix(".pts").is_file():
                found.append(Finding("image_without_points", "has no .pts file beside it", str(path), "", split))
    return found


def _divided(part: Part) -> list[Part]:
    """The files of one folder by the splits that the names of its subfolders speak of; one split where they speak of none."""
    splits: dict[str, list[Record]] = {}
    for record in part.records:
        named = [split_of(folder) for folder in record.name.split("/")[:-1]]
        splits.setdefault(next((name for name in named if name != "all"), "all"), []).append(record)
    order = ("train", "val", "test", "all")
    return [Part(split, tuple(splits[split]), by_oks=part.by_oks) for split in order if split in splits] or [part]


def _joined(parts: list[Part], split: str) -> Part:
    own = [part for part in parts if part.split == split]
    return Part(split, tuple(record for part in own for record in part.records), by_oks=any(p.by_oks for p in own))
