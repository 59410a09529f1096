"""Labels in DeepLabCut's CSV form: frames of a video with any number of named points."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from heatpoint._checks import message, one_of
from heatpoint.datasets.image_files import with_images
from heatpoint.datasets.sample import PointSet, Sample, require_folder, resolve_data_root, settle
from heatpoint.skeleton import Skeleton, load_skeleton

SPLITS = ("train", "test", "all")
BLOCKS = 10
REMEDY = "Correct the file, or give the skeleton that names its points."


def read_deeplabcut(
    labels: Path | str | Sequence[Path | str],
    skeleton: Skeleton | str | Path,
    *,
    image_root: Path | str | None = None,
    split: str = "all",
    test_fraction: float = 0.2,
    name: str = "deeplabcut",
    problems: list[str] | None = None,
) -> PointSet:
    """Reads CSV files with the header rows scorer, bodyparts, coords; an empty cell is a point that is not visible.

    The image path stands in the first column, or in the first three (folder, video, frame). A project of DeepLabCut has one
    file per video, labeled-data/<video>/CollectedData_<scorer>.csv, with paths from the project's folder: give that as
    `image_root`, and `sorted(project.glob("labeled-data/*/CollectedData_*.csv"))` as `labels`. Frames without any label
    are left out.

    Frames of one video (one folder of images) follow each other closely, so a split is by order: the last share of each
    video's frames is the test. For the same reason a tenth of a video in sequence is one `Sample.group`, which a hold-out
    never divides.

    Args:
        labels: The CSV file, or several.
        skeleton: A skeleton, the name of one, or the path of a skeleton file; its names select and order the columns.
        image_root: The folder in which the image paths begin; None is the folder of each CSV file.
        split: "train", "test" or "all".
        test_fraction: Share of the frames that is the test.
        name: Name of the set.
        problems: None raises what is wrong with rows and images; a list takes it.

    Raises:
        FileNotFoundError: If a file is missing; or, in one line, for all missing images.
        ValueError: If the split is unknown or there is no labelled frame; or, in one line, for all broken rows.
    """
    one_of("read_deeplabcut", "split", split, SPLITS)
    if not 0 <= test_fraction <= 1:
        raise ValueError(message("read_deeplabcut", "test_fraction", "be from 0 to 1", test_fraction))
    paths = [Path(labels)] if isinstance(labels, str | Path) else [Path(path) for path in labels]
    if not paths:
        raise ValueError(message("read_deeplabcut", "labels", "name at least one CSV file", "none"))
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(message(name, "labels", "be an existing file", path, "Check the data folder."))
    skeleton = skeleton if isinstance(skeleton, Skeleton) else load_skeleton(skeleton)
    samples: list[Sample] = []
    found: list[str] = []
    seen: set[Path] = set()
    for path in paths:
        frames, wrong = _read(path, skeleton, path.parent if image_root is None else Path(image_root), seen)
        samples += frames
        found += [text if len(paths) == 1 else f"{path} {text}" for text in wrong]
    settle(str(paths[0]) if len(paths) == 1 else name, found, problems, REMEDY)
    kept: Sequence[Sample] = [sample for sample in samples if sample.visible.any()]
    if not kept and not found:
        raise ValueError(message(name, "labels", "hold a labelled frame", f"none in {paths[0]}"))
    remedy = "Give image_root, the folder in which the paths of the CSV file begin."
    there = with_images(name, kept, problems, remedy=remedy)
    protocol = {
        "split": f"by order of each video's frames, the last {test_fraction:.0%} are the test",
        "left out": f"{len(samples) - len(kept)} frames without a label",
        "hold-out": f"whole blocks of frames in sequence, {BLOCKS} in each video",
    }
    return PointSet(name, split, skeleton, _split(there, split, test_fraction), protocol)


def _read(path: Path, skeleton: Skeleton, image_root: Path, seen: set[Path]) -> tuple[list[Sample], list[str]]:
    """The frames of one file, whose images join those `seen`, and what is wrong with it."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        return [], [f"is not a CSV file in UTF-8 ({error})"]
    first, columns, problems = _header(rows, skeleton)
    samples = []
    for row in rows[3:] if not problems else ():
        sample = _sample(image_root, row, first, columns)
        if isinstance(sample, str):
            problems.append(sample)
        elif image_root / sample.key in seen:
            problems.append(f"row {sample.key} is of a frame that a row before it has")
        else:
            seen.add(image_root / sample.key)
            samples.append(sample)
    return samples, problems


def _split(samples: Sequence[Sample], split: str, test_fraction: float) -> tuple[Sample, ...]:
    """The frames of a split, video after video, each with its block as the group."""
    videos: dict[str, list[Sample]] = {}
    for sample in samples:
        videos.setdefault(sample.key.rpartition("/")[0], []).append(sample)
    chosen: list[Sample] = []
    for video, frames in videos.items():
        cut = len(frames) - round(test_fraction * len(frames))
        length = -(-len(frames) // BLOCKS)
        grouped = [replace(frame, group=f"{video}#{index // length}") for index, frame in enumerate(frames)]
        chosen += {"train": grouped[:cut], "test": grouped[cut:], "all": grouped}[split]
    return tuple(chosen)


def _animal(name: str, data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> PointSet:
    folder = require_folder(name, resolve_data_root(data_root) / "animals" / name)
    return read_deeplabcut(folder / "CollectedData.csv", name, split=split, name=name, problems=problems)


open_openfield_mouse = partial(_animal, "openfield_mouse")
open_mirror_mouse = partial(_animal, "mirror_mouse")


def _header(rows: Sequence[Sequence[str]], skeleton: Skeleton) -> tuple[int, list[tuple[int, int]], list[str]]:
    """Number of path columns, the x and y column of every point, and what is wrong."""
    if [row[0] for row in rows[:3]] != ["scorer", "bodyparts", "coords"]:
        return 0, [], ["must begin with the rows scorer, bodyparts, coords (one animal per file)"]
    found = {(part, axis): index for index, (part, axis) in enumerate(zip(rows[1], rows[2], strict=False)) if index}
    first = min((index for (_, axis), index in found.items() if axis in ("x", "y")), default=0)
    missing = [name for name in skeleton.names if (name, "x") not in found or (name, "y") not in found]
    if missing:
        known = ", ".join(dict.fromkeys(part for part in rows[1][1:] if part))
        return first, [], [f"has no columns x and y for {', '.join(missing)} (it names {known})"]
    return first, [(found[name, "x"], found[name, "y"]) for name in skeleton.names], []


def _sample(image_root: Path, row: Sequence[str], first: int, columns: Sequence[tuple[int, int]]) -> Sample | str:
    # On Windows the paths are written with backslashes.
    key = "/".join(part for part in row[:first] if part).replace("\\", "/")
    if len(row) <= max(max(pair) for pair in columns):
        return f"row {key} has too few columns"
    points = np.zeros((len(columns), 2))
    visible = np.zeros(len(columns), dtype=np.bool_)
    for index, pair in enumerate(columns):
        cells = [row[column].strip() for column in pair]
        if not all(cells):
            continue
        try:
            values = [float(cell) for cell in cells]
        except ValueError:
            return f"row {key} must hold numbers, got {', '.join(cells)}"
        if all(math.isfinite(v) for v in values):
            points[index], visible[index] = values, True
    return Sample(image_root / key, points, visible, None, key)
