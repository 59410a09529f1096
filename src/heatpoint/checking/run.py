"""`check`: everything that is wrong with a set, in one go."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path

import numpy as np

from heatpoint._checks import message
from heatpoint.checking.duplicates import find_duplicates
from heatpoint.checking.findings import Finding, Report
from heatpoint.checking.geometry import Size, check_record
from heatpoint.checking.pictures import Picture, read_pictures
from heatpoint.checking.raw_coco import Category
from heatpoint.checking.records import Part, Record, Source
from heatpoint.checking.sources import open_labels, open_named
from heatpoint.checking.swaps import MIN_SAMPLES, find_swaps, swap_power
from heatpoint.datasets import DATASETS

# Points in such places would have a say in what is usual.
SPOILED = ("absurd_coordinates", "collapsed_points", "point_outside")


def open_data(
    data: str | Path | None,
    *,
    data_root: Path | None = None,
    train: Path | None = None,
    test: Path | None = None,
    images: Path | None = None,
    skeleton: str | Path | None = None,
    category: Category = None,
) -> Source:
    """A set by its name, or labels by their file or folder; the name goes first.

    Raises:
        ValueError: If the data have no form that can be read, or a set known by name is given more than its name.
        FileNotFoundError: If a file or folder is missing.
    """
    if data is not None and (
        str(data) in DATASETS or not (Path(data).exists() or Path(data).suffix or "/" in str(data))
    ):
        given = {"train": train, "test": test, "images": images, "skeleton": skeleton, "category": category}
        for name, value in given.items():
            if value is not None:
                remedy = f"For labels of your own write a path, such as ./{data}."
                raise ValueError(message("check", f"--{name}", f"be left out for the set {data}", value, remedy))
        return open_named(str(data), data_root)
    path = None if data is None else Path(data)
    return open_labels(path, train=train, test=test, images=images, skeleton=skeleton, category=category)


def check(source: Source) -> Report:
    """Looks at every image and every record of a set, and at what only the set as a whole can tell.

    >>> from heatpoint.datasets import synthetic_faces
    >>> from heatpoint.checking.sources import part_of
    >>> faces = synthetic_faces(24, split="train")
    >>> check(Source("faces", faces.skeleton, "its own", [part_of(faces, "train", "faces")])).num_errors
    0
    """
    paths = [path for part in source.parts for path in part.image_paths()]
    pictures, faults = read_pictures(dict.fromkeys(paths))
    findings = [*source.findings, *_image_findings(source, pictures, faults)]
    for part, index, record in source.samples():
        findings += check_record(record, source.skeleton, _size(record, pictures), split=part.split, index=index)
    spoiled = {finding.sample for finding in findings if finding.kind in SPOILED}
    swaps, notes = _swaps(source, spoiled)
    findings += swaps + find_duplicates(source.parts, pictures) + _sigmas(source)
    splits = {part.split: {"samples": len(part.records), "images": _num_images(part)} for part in source.parts}
    return Report(source.data, source.skeleton_name, splits, findings, [*source.notes, *notes])


def _num_images(part: Part) -> int:
    arrays = {id(r.sample.image) for r in part.records if not isinstance(r.sample.image, Path)}
    return len(part.image_paths()) + len(arrays)


def _size(record: Record, pictures: Mapping[Path, Picture]) -> Size | None:
    image = record.sample.image
    if not isinstance(image, Path):
        return (float(image.shape[1]), float(image.shape[0]))
    return pictures[image].size if image in pictures else record.stated_size


def _image_findings(source: Source, pictures: Mapping[Path, Picture], faults: Mapping[Path, str]) -> list[Finding]:
    found = []
    for part in source.parts:
        first: dict[Path, tuple[int, Record]] = {}
        for index, record in enumerate(part.records):
            if isinstance(record.sample.image, Path):
                first.setdefault(record.sample.image, (index, record))
        for path in part.image_paths():
            if path in faults:
                kind = "missing_image" if faults[path] == "is missing" else "unreadable_image"
                found.append(Finding(kind, faults[path], str(path), "", part.split))
            elif path in first:
                index, record = first[path]
                stated, size = record.stated_size, pictures[path].size
                if stated is not None and stated != size:
                    text = f"is {size[0]} x {size[1]}, {record.file} states {stated[0]:g} x {stated[1]:g}"
                    found.append(Finding("image_size", text, str(path), "", part.split, sample=(part.split, index)))
    return found


def _swaps(source: Source, spoiled: Container[object]) -> tuple[list[Finding], list[str]]:
    skeleton = source.skeleton
    entries = [entry for entry in source.samples() if (entry[0].split, entry[1]) not in spoiled]
    if not skeleton.swap_pairs:
        return [], ["the skeleton has no swap pairs: left and right were not looked at"]
    if len(entries) < MIN_SAMPLES:
        return [], [f"left and right were not looked at: that takes {MIN_SAMPLES} samples to compare with"]
    points = np.stack([record.sample.points for _, _, record in entries])
    visible = np.stack([record.sample.visible for _, _, record in entries])
    found = []
    for swap in find_swaps(points, visible, skeleton):
        part, index, record = entries[swap.index]
        names = [f"{skeleton.names[a]} and {skeleton.names[b]}" for a, b in swap.pairs[:3]]
        more = f" and {len(swap.pairs) - 3} more pairs" if len(swap.pairs) > 3 else ""
        what = "all left and right points" if swap.whole else ", ".join(names) + more
        text = f"has {what} exchanged, by the shape of the other samples (gain {swap.gain:.0f})"
        place = (part.split, index)
        found.append(Finding("swapped_pairs", text, record.file, record.name, part.split, sample=place))
    whole, pair = swap_power(points, visible, skeleton)
    note = f"left and right: all points exchanged would be found in {whole:.0%} of the samples, one pair in {pair:.0%}"
    return found, [note]


def _sigmas(source: Source) -> list[Finding]:
    """Sets that give areas are scored by object keypoint similarity, which cannot be computed without sigmas."""
    if source.skeleton.sigmas is not None or not any(part.by_oks for part in source.parts):
        return []
    text = "has no sigmas: object keypoint similarity, and with it average precision, cannot be computed"
    return [Finding("sigmas", text, source.data, "the skeleton", severity="warning")]
