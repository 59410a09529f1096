"""300-W: faces with 68 points in .pts files, as far as they lie in helen/ and afw/."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from heatpoint.datasets.sample import PointSet, Sample, check_split, report, require_folder, resolve_data_root
from heatpoint.frames import FloatArray
from heatpoint.skeleton import load_skeleton

SPLITS = {"train": ("helen/trainset", "afw"), "test": ("helen/testset",)}
IMAGE_ENDINGS = (".jpg", ".png", ".jpeg")
REMEDY = "Correct or remove what is named, or copy the set again."


def read_pts(path: Path | str, *, num_points: int | None = None) -> FloatArray:
    """Reads a .pts file: a header (version, n_points), then one "x y" line per point between braces.

    The files of 300-W count pixels from 1; what is returned counts from 0, so the first pixel's centre is at 0.

    Args:
        path: The file.
        num_points: How many points it must hold; None accepts what its header says.

    Returns:
        (K, 2) float64 points.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: With every problem of the file, in one line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"read_pts: path must be an existing file, got {path}. Check the data folder.")
    points, problems = _parse_pts(path.read_text(encoding="utf-8", errors="replace"), num_points)
    if problems:
        raise ValueError(report(str(path), problems, REMEDY))
    return points


def read_faces300w(root: Path | str, split: str) -> PointSet:
    """Reads a split of 300-W: train is helen/trainset and afw, test is helen/testset.

    Args:
        root: The folder that holds helen/ and afw/, each image beside its .pts file of the same stem.
        split: "train" or "test".

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If the split is unknown; or, in one line, for all files with a wrong number of points or no image.
    """
    check_split("faces300w", split, SPLITS)
    root = require_folder("faces300w", Path(root))
    skeleton = load_skeleton("face68")
    samples, problems = [], []
    for folder in SPLITS[split]:
        files = sorted(require_folder("faces300w", root / folder, remedy=REMEDY).glob("*.pts"))
        if not files:
            problems.append(f"{root / folder} holds no .pts files")
        for path in files:
            points, wrong = _parse_pts(path.read_text(encoding="utf-8", errors="replace"), skeleton.num_points)
            image = next((path.with_suffix(e) for e in IMAGE_ENDINGS if path.with_suffix(e).is_file()), None)
            problems += [f"{path} {text}" for text in wrong + ([] if image else ["has no image beside it"])]
            if image and not wrong:
                samples.append(_sample(image, points, folder))
    if problems:
        raise ValueError(report("faces300w", problems, REMEDY))
    protocol = {
        "train": "HELEN trainset + AFW",
        "test": "HELEN testset (part of the common test set of 300-W)",
        "coordinates": "files count from 1, points from 0",
    }
    return PointSet("faces300w", split, skeleton, tuple(samples), protocol)


def open_faces300w(data_root: Path | str | None, split: str) -> PointSet:
    """300-W under `data_root`/faces300w; see `read_faces300w`."""
    return read_faces300w(resolve_data_root(data_root) / "faces300w", split)


def _sample(image: Path, points: FloatArray, folder: str) -> Sample:
    # Faces of one photograph share its name: "<photograph>_1", "<photograph>_2".
    photograph = re.sub(r"_\d+$", "", image.stem)
    visible = np.ones(len(points), dtype=np.bool_)
    source = folder.split("/")[0]
    return Sample(image, points, visible, None, f"{folder}/{image.stem}", group=f"{source}/{photograph}")


def _parse_pts(text: str, num_points: int | None) -> tuple[FloatArray, list[str]]:
    empty = np.zeros((0, 2))
    head, brace, rest = text.partition("{")
    if not brace or "}" not in rest:
        return empty, ["has no list of points between braces"]
    lines = rest.partition("}")[0].split("\n")
    rows = [line.split() for line in lines if line.strip()]
    try:
        points = np.array([[float(v) for v in row] for row in rows], dtype=np.float64).reshape(len(rows), 2)
    except ValueError:
        return empty, ["must hold two numbers per point"]
    problems = []
    if not np.isfinite(points).all():
        problems.append("holds points that are not finite")
    stated = re.search(r"n_points:\s*(\d+)", head)
    wanted = num_points if num_points is not None else int(stated[1]) if stated else len(points)
    if len(points) != wanted:
        problems.append(f"must hold {wanted} points, got {len(points)}")
    return points - 1.0, problems
