"""AFLW2000-3D: 2000 faces at all angles with 68 points of a fitted model (Zhu et al., 2016); for testing only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heatpoint.datasets._mat import read_mat
from heatpoint.datasets.image_files import with_images
from heatpoint.datasets.sample import PointSet, Sample, check_split, require_folder, resolve_data_root, settle
from heatpoint.frames import FloatArray
from heatpoint.skeleton import Skeleton, load_skeleton

SUBSETS = ("yaw_0_30", "yaw_30_60", "yaw_60_90")
SPLITS = ("test", *SUBSETS)
NUM_FACES = 2000
REMEDY = (
    "Get AFLW2000-3D from the 3DDFA project of its owners: aflw2000/ holds image00002.jpg and image00002.mat (pt3d_68, "
    "Pose_Para) and so on. The set is for testing; its training set is faces300wlp."
)


def read_aflw2000(root: Path | str, split: str, *, problems: list[str] | None = None) -> PointSet:
    """Reads AFLW2000-3D: of each .mat file x and y of pt3d_68, and the yaw in Pose_Para, which makes the subset's tag.

    The tags are yaw_0_30, yaw_30_60 and yaw_60_90: |yaw| up to 30°, up to 60°, and more (also beyond 90°). Published tables
    take the angles from a list of 3DDFA's (1312, 383 and 305 faces); a face near a limit may fall into another subset.

    Files of MATLAB count pixels from 1, the points here from 0, as in Randomized Rounding's published script. Errors are
    divided by √(w·h) of the tight box of the points: the default normaliser is "box" and the samples give no box. The
    `roi` of the files is not that box and is not read.

    Args:
        root: The folder of the images and .mat files.
        split: "test", or one of the subsets.
        problems: None raises on what is wrong; a list takes it.

    Returns:
        Samples of skeleton "face68".

    Raises:
        FileNotFoundError: If the folder is missing; or, in one line, for all missing images.
        ValueError: If the split is unknown; or, in one line, for all broken files and all images without one.
    """
    check_split("aflw2000", split, SPLITS)
    root = require_folder("aflw2000", Path(root), get=REMEDY)
    files = sorted(root.glob("*.mat"))
    found = [] if files else [f"{root} holds no .mat files"]
    stems = {path.stem for path in files}
    found += [f"{path} has no .mat file beside it" for path in sorted(root.glob("*.jpg")) if path.stem not in stems]
    samples = []
    for path in files:
        sample = _sample(path)
        if isinstance(sample, str):
            found.append(sample)
        elif split == "test" or split in sample.tags:
            samples.append(sample)
    settle("aflw2000", found, problems, REMEDY)
    kept = with_images("aflw2000", samples, problems, remedy=REMEDY)
    protocol = {
        "faces": f"{len(files)} of {NUM_FACES}",
        "points": "pt3d_68, x and y",
        "coordinates": "files count from 1, points from 0",
        "subsets": "by |yaw| of Pose_Para",
    }
    return PointSet("aflw2000", split, skeleton_by_box(), kept, protocol)


def open_aflw2000(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> PointSet:
    """AFLW2000-3D under `data_root`/aflw2000; see `read_aflw2000`."""
    return read_aflw2000(resolve_data_root(data_root) / "aflw2000", split, problems=problems)


def skeleton_by_box() -> Skeleton:
    """The 68 points with the box for normaliser: in profile the eyes of a face coincide."""
    return replace(load_skeleton("face68"), default_normalizer="box")


def points_in(values: npt.NDArray[Any]) -> FloatArray | str:
    """(68, 2) points from 0 of an array of 68 points in rows or columns that counts from 1; or what is wrong with it."""
    shape, values = np.shape(values), np.asarray(values)
    if values.ndim == 2 and values.shape[1] == 68:
        values = values.T
    if values.ndim != 2 or values.shape[0] != 68 or values.shape[1] not in (2, 3) or values.dtype.kind not in "fiu":
        return f"must be numbers of the shape 68 x 2 or 3, or the other way round, got {' x '.join(map(str, shape))}"
    points = values[:, :2].astype(np.float64) - 1.0
    return points if np.isfinite(points).all() else "must be finite"


def _sample(path: Path) -> Sample | str:
    try:
        content = read_mat(path, names=("pt3d_68", "Pose_Para"))
    except ValueError as error:
        return str(error).removesuffix(".")
    points = points_in(content["pt3d_68"])
    if isinstance(points, str):
        return f"{path} pt3d_68 {points}"
    pose = np.asarray(content["Pose_Para"])
    if pose.dtype.kind not in "fiu" or pose.size < 3 or not np.isfinite(pose).all():
        return f"{path} Pose_Para must hold at least the three finite angles pitch, yaw and roll"
    degrees = abs(float(np.degrees(np.float64(pose.ravel()[1]))))
    tag = SUBSETS[0] if degrees <= 30 else SUBSETS[1] if degrees <= 60 else SUBSETS[2]
    visible = np.ones(len(points), dtype=np.bool_)
    return Sample(path.with_suffix(".jpg"), points, visible, None, path.stem, tags=frozenset({tag}))
