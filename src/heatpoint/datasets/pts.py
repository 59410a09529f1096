"""Folders of images with a .pts file beside each (menpo, and all sets of iBUG): any number of points."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from heatpoint._checks import one_of
from heatpoint.datasets.faces300w import REMEDY as FILE_REMEDY
from heatpoint.datasets.faces300w import read_pts
from heatpoint.datasets.sample import PointSet, Sample, require_folder, settle
from heatpoint.frames import FloatArray
from heatpoint.skeleton import Skeleton, load_skeleton

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")
REMEDY = (
    "Each .pts file lies beside its image of the same stem and holds the points of the skeleton; correct what is named."
)


def read_pts_folder(
    root: Path | str,
    skeleton: Skeleton | str | Path,
    *,
    split: str = "all",
    name: str = "pts",
    first_pixel: Literal[0, 1] = 1,
    problems: list[str] | None = None,
) -> PointSet:
    """Reads every .pts file in a folder and the folders below it: one sample for each, in the order of their paths.

    Args:
        root: The folder.
        skeleton: A skeleton, the name of one, or the path of a skeleton file; its order is that of the files.
        split: What the folder is a split of; stored only.
        name: Name of the set.
        first_pixel: The number of the first pixel in the files: 1 in all that MATLAB or menpo has written, 0 in a few.
        problems: None raises on what is wrong; a list takes it.

    Returns:
        Samples without boxes. Each is its own group: the format does not say which images belong together.

    Raises:
        FileNotFoundError: If the folder is missing.
        ValueError: If `first_pixel` is neither; or, in one line, for all broken files and all without an image.
    """
    one_of("read_pts_folder", "first_pixel", str(first_pixel), ("0", "1"))
    root = require_folder(name, Path(root), remedy="Give the folder that holds the .pts files.")
    skeleton = skeleton if isinstance(skeleton, Skeleton) else load_skeleton(skeleton)
    files = sorted(root.rglob("*.pts"))
    found = [] if files else [f"{root} holds no .pts files"]
    samples = []
    for path in files:
        points, wrong = points_of(path, skeleton.num_points)
        image = image_beside(path)
        found += wrong + ([] if image else [f"{path} has no image beside it"])
        if image and points is not None:
            visible = np.ones(len(points), dtype=np.bool_)
            key = path.relative_to(root).with_suffix("").as_posix()
            samples.append(Sample(image, points + (1.0 - first_pixel), visible, None, key))
    settle(name, found, problems, REMEDY)
    protocol = {"coordinates": f"files count from {first_pixel}, points from 0", "box": "none given"}
    return PointSet(name, split, skeleton, tuple(samples), protocol)


def points_of(path: Path, num_points: int) -> tuple[FloatArray | None, list[str]]:
    """The points of a file, which counts from 1; or None and what is wrong with it, the file's name first."""
    try:
        return read_pts(path, num_points=num_points), []
    except ValueError as error:
        return None, [str(error).removesuffix(f". {FILE_REMEDY}")]


def image_beside(path: Path, folder: Path | None = None) -> Path | None:
    """The image of the same stem as `path`, beside it or in `folder`; None where there is none.

    Endings are tried in capitals too: cameras write them so.
    """
    base = (folder or path.parent) / path.name
    endings = (ending for lower in IMAGE_ENDINGS for ending in (lower, lower.upper()))
    return next((file for ending in endings if (file := base.with_suffix(ending)).is_file()), None)
