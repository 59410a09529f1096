"""COFW: occluded faces with 29 points in MATLAB files that hold the images too (Burgos-Artizzu et al., ICCV 2013)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from heatpoint._checks import message
from heatpoint.datasets._faces import remark_count, require_paths
from heatpoint.datasets._mat import mat_cells, read_mat
from heatpoint.datasets.sample import (
    Box,
    Image,
    PointSet,
    Sample,
    check_split,
    require_folder,
    resolve_data_root,
    settle,
)
from heatpoint.skeleton import load_skeleton

FILES = {"train": "COFW_train_color.mat", "test": "COFW_test_color.mat"}
# Names of the variables: images, points and boxes.
VARIABLES = {"train": ("IsTr", "phisTr", "bboxesTr"), "test": ("IsT", "phisT", "bboxesT")}
COUNTS = {"train": 1345, "test": 507}
NUM_POINTS = 29
GET = (
    "Get COFW in colour from data.caltech.edu/records/20099; the folder must hold COFW_train_color.mat and "
    "COFW_test_color.mat."
)
REMEDY = "Download the file again."


def read_cofw(root: Path | str, split: str, *, problems: list[str] | None = None) -> PointSet:
    """Reads COFW: 1345 faces to train on, 507 to test; what is hidden is in `Sample.occluded`.

    The files count pixels from 1, the points from 0; hidden points are annotated too. The box x, y, w, h of the file
    (policy P2) becomes its first and last pixel. The images stand in the file: all of a split are held in memory,
    grey ones in three equal channels.

    Args:
        root: The folder with the two files.
        split: "train" or "test".
        problems: None raises what is wrong; a list takes it.

    Raises:
        FileNotFoundError: If the folder or the file is missing.
        ValueError: If the split is unknown, the file is broken or its variables do not fit together; or, in one line, for
            all broken faces.
        ModuleNotFoundError: If scipy or h5py is not installed.

    Warns:
        UserWarning: If the split has not the official number of faces.
    """
    check_split("cofw", split, COUNTS)
    root = require_folder("cofw", Path(root), get=GET)
    (path,) = require_paths("cofw", [root / FILES[split]], None, remedy=GET)
    images, points, boxes = VARIABLES[split]
    numbers, corners = _numbers(path, points, boxes)
    samples, found = [], [] if len(numbers) else [f"{path} holds no face"]
    count = 0
    for cell in mat_cells(path, images):
        count += 1
        if count <= len(numbers):
            sample = _sample(cell, numbers[count - 1], corners[count - 1], split, count)
            if isinstance(sample, str):
                found.append(f"{path} face {count} {sample}")
            else:
                samples.append(sample)
    if count != len(numbers):
        found.append(f"{path} must hold as many images as faces ({len(numbers)}), got {count}")
    settle("cofw", found, problems, REMEDY)
    remark_count("cofw", split, len(numbers), COUNTS[split], problems)
    protocol = {
        "file": path.name,
        "faces": f"{len(samples)} of {COUNTS[split]}",
        "coordinates": "the file counts from 1, points from 0",
        "box": "of the file (policy P2)",
    }
    return PointSet("cofw", split, load_skeleton("cofw29"), tuple(samples), protocol)


def open_cofw(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> PointSet:
    """COFW under `data_root`/cofw; see `read_cofw`."""
    return read_cofw(resolve_data_root(data_root) / "cofw", split, problems=problems)


def pixels_of(cell: Any) -> Image | None:
    """An image of the files, grey (H, W) or in colour (H, W, 3), as (H, W, 3) RGB; None if it is neither.

    >>> pixels_of(np.zeros((2, 3), dtype=np.uint8)).shape
    (2, 3, 3)
    """
    if not isinstance(cell, np.ndarray) or cell.dtype != np.uint8 or cell.size == 0:
        return None
    if cell.ndim == 2:
        return np.repeat(cell[:, :, None], 3, axis=2)
    return np.ascontiguousarray(cell) if cell.ndim == 3 and cell.shape[2] == 3 else None


def box_from_matlab(values: Any) -> Box:
    """A box x, y, w, h whose first pixel is counted from 1, as its first and last pixel from 0.

    >>> box_from_matlab([1, 11, 20, 30])
    (0.0, 10.0, 19.0, 39.0)
    """
    x, y, w, h = (float(value) for value in values)
    return x - 1, y - 1, x + w - 2, y + h - 2


def _numbers(path: Path, points: str, boxes: str) -> tuple[Any, Any]:
    """Points (N, 87) and boxes (N, 4), after checking that they fit together."""
    values = read_mat(path, names=(points, boxes))
    num = len(values[points])
    shapes = {name: getattr(values[name], "shape", type(values[name]).__name__) for name in (points, boxes)}
    wanted = {points: (num, 3 * NUM_POINTS), boxes: (num, 4)}
    wrong = [f"{name} {shapes[name]}" for name, shape in wanted.items() if shapes[name] != shape]
    if wrong:
        rule = f"hold N faces: {points} N x {3 * NUM_POINTS}, {boxes} N x 4"
        raise ValueError(message("cofw", str(path), rule, "; ".join(wrong), REMEDY))
    return np.asarray(values[points], dtype=np.float64), np.asarray(values[boxes], dtype=np.float64)


def _sample(cell: Any, numbers: Any, corners: Any, split: str, index: int) -> Sample | str:
    """A face, or what is wrong with it; a row of numbers is x1 … x29, y1 … y29, and which points are hidden."""
    x, y, hidden = numbers.reshape(3, NUM_POINTS)
    if not np.isfinite(numbers).all() or not np.isfinite(corners).all():
        return "must hold finite numbers"
    if not np.isin(hidden, (0, 1)).all():
        return "must say 0 or 1 of every point for hidden"
    if corners[2] <= 0 or corners[3] <= 0:
        return f"must hold a box with a width and a height greater than 0, got {corners[2]:g} and {corners[3]:g}"
    pixels = pixels_of(cell)
    if pixels is None:
        return "must hold an image of bytes, H x W or H x W x 3"
    points = np.stack([x, y], axis=1) - 1.0
    visible = np.ones(NUM_POINTS, dtype=np.bool_)
    key = f"{split}/{index}"
    return Sample(pixels, points, visible, box_from_matlab(corners), key, occluded=hidden == 1, ids={"image_id": index})
