"""LaPa: faces with 106 points in text files (Liu et al., 2020)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from heatpoint.datasets.image_files import with_images
from heatpoint.datasets.sample import PointSet, Sample, check_split, require_folder, resolve_data_root, settle
from heatpoint.frames import FloatArray
from heatpoint.skeleton import load_skeleton

SPLITS = {"train": 18176, "val": 2000, "test": 2000}  # Numbers of faces in the owners' download.
NUM_POINTS = 106
REMEDY = (
    "Get LaPa from its owners (github.com/JDAI-CV/lapa-dataset) and unpack it to lapa/{train,val,test}/images/*.jpg and "
    "landmarks/*.txt; a landmark file is the number 106, then 106 lines of x and y."
)


def read_lapa(root: Path | str, split: str, *, problems: list[str] | None = None) -> PointSet:
    """Reads a split of LaPa: a file of 106 points for every image; the pixel labels in labels/ are not read.

    The set does not say whether it counts pixels from 0 or 1; the points are taken as they stand, as Randomized Rounding's
    published script does. The set gives no face box; the boxes of that script's "P2" are files of its authors' own.

    Args:
        root: The folder that holds train/, val/ and test/.
        split: "train", "val" or "test".
        problems: None raises on what is wrong; a list takes it.

    Returns:
        Samples of skeleton "face106"; faces of one photograph share a group.

    Raises:
        FileNotFoundError: If a folder is missing; or, in one line, for all missing images.
        ValueError: If the split is unknown; or, in one line, for all broken files and all images without points.
    """
    check_split("lapa", split, SPLITS)
    folder = require_folder("lapa", Path(root), get=REMEDY) / split
    landmarks, images = (require_folder("lapa", folder / name, remedy=REMEDY) for name in ("landmarks", "images"))
    files = sorted(landmarks.glob("*.txt"))
    found = [] if files else [f"{landmarks} holds no .txt files"]
    stems = {path.stem for path in files}
    found += [f"{path} has no file in landmarks" for path in sorted(images.glob("*.jpg")) if path.stem not in stems]
    samples = []
    for path in files:
        points = _points(path.read_text(encoding="utf-8", errors="replace"))
        if isinstance(points, str):
            found.append(f"{path} {points}")
            continue
        key = f"{split}/{path.stem}"
        visible = np.ones(NUM_POINTS, dtype=np.bool_)
        samples.append(
            Sample(images / f"{path.stem}.jpg", points, visible, None, key, group=photograph_of_pose(path.stem))
        )
    settle("lapa", found, problems, REMEDY)
    kept = with_images("lapa", samples, problems, remedy=REMEDY)
    protocol = {
        "faces": f"{len(kept)} of {SPLITS[split]}",
        "coordinates": "as they stand; the set does not say whether it counts from 0 or 1",
        "box": "none given",
    }
    return PointSet("lapa", split, load_skeleton("face106"), kept, protocol)


def open_lapa(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> PointSet:
    """LaPa under `data_root`/lapa; see `read_lapa`."""
    return read_lapa(resolve_data_root(data_root) / "lapa", split, problems=problems)


def photograph_of_pose(stem: str) -> str:
    """The photograph of a file name that ends in the number of the face, and maybe that of a synthetic pose.

    >>> photograph_of_pose("10773046825_0"), photograph_of_pose("LFPW_image_train_0001_11")
    ('10773046825', 'LFPW_image_train_0001')
    """
    # Numbers of photographs are longer than two digits.
    return re.sub(r"(_\d{1,2}){1,2}$", "", stem)


def _points(text: str) -> FloatArray | str:
    """The points of a file, or what is wrong with it."""
    rows = [line.split() for line in text.splitlines() if line.strip()]
    if not rows or rows[0] != [str(NUM_POINTS)]:
        return f"must begin with the number {NUM_POINTS}, got {' '.join(rows[0]) if rows else 'an empty file'}"
    if len(rows) != NUM_POINTS + 1:
        return f"must hold {NUM_POINTS} points, got {len(rows) - 1}"
    try:
        points = np.array([[float(cell) for cell in row] for row in rows[1:]], dtype=np.float64)
    except ValueError:
        return "must hold two numbers per point"
    if points.shape != (NUM_POINTS, 2):
        return "must hold two numbers per point"
    return points if np.isfinite(points).all() else "holds points that are not finite"
