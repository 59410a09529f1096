"""Labels in DeepLabCut's CSV form: frames of a video with any number of named points."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from heatpoint._checks import message, one_of
from heatpoint.datasets.sample import PointSet, Sample, report, require_folder, resolve_data_root
from heatpoint.skeleton import Skeleton, load_skeleton

SPLITS = ("train", "test", "all")
REMEDY = "Correct the file, or give the skeleton that names its points."


def read_deeplabcut(
    labels: Path | str,
    skeleton: Skeleton | str | Path,
    *,
    split: str = "all",
    test_fraction: float = 0.2,
    name: str = "deeplabcut",
) -> PointSet:
    """Reads a CSV file with the header rows scorer, bodyparts, coords; an empty cell is a point that is not visible.

    The image path stands in the first column, or in the first three (folder, video, frame), relative to the file's folder.
    Frames of one video follow each other closely, so a split is by order: the last share of the frames is the test.

    Args:
        labels: The CSV file.
        skeleton: A skeleton, the name of one, or the path of a skeleton file; its names select and order the columns.
        split: "train", "test" or "all".
        test_fraction: Share of the frames that is the test.
        name: Name of the set.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If the split is unknown; or for all broken rows, in one line.
    """
    one_of("read_deeplabcut", "split", split, SPLITS)
    if not 0 <= test_fraction <= 1:
        raise ValueError(message("read_deeplabcut", "test_fraction", "be from 0 to 1", test_fraction))
    path = Path(labels)
    if not path.is_file():
        raise FileNotFoundError(message(name, "labels", "be an existing file", path, "Check the data folder."))
    skeleton = skeleton if isinstance(skeleton, Skeleton) else load_skeleton(skeleton)
    with path.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.reader(stream) if row]
    first, columns, problems = _header(rows, skeleton)
    samples = []
    for row in rows[3:] if not problems else ():
        sample = _sample(path.parent, row, first, columns)
        if isinstance(sample, str):
            problems.append(sample)
        else:
            samples.append(sample)
    if problems:
        raise ValueError(report(str(path), problems, REMEDY))
    cut = len(samples) - round(test_fraction * len(samples))
    chosen = {"train": samples[:cut], "test": samples[cut:], "all": samples}[split]
    protocol = {"split": f"by order of the frames, the last {test_fraction:.0%} are the test"}
    return PointSet(name, split, skeleton, tuple(chosen), protocol)


def _animal(name: str, data_root: Path | str | None, split: str) -> PointSet:
    folder = require_folder(name, resolve_data_root(data_root) / "animals" / name)
    return read_deeplabcut(folder / "CollectedData.csv", name, split=split, name=name)


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


def _sample(folder: Path, row: Sequence[str], first: int, columns: Sequence[tuple[int, int]]) -> Sample | str:
    key = "/".join(part for part in row[:first] if part)
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
    return Sample(folder / key, points, visible, None, key)
