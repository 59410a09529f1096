"""300W-LP: faces of 300-W turned to large angles by a fitted model, with 68 points (Zhu et al., 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from heatpoint._checks import one_of
from heatpoint.datasets._mat import read_mat
from heatpoint.datasets.aflw2000 import open_aflw2000, points_in, skeleton_by_box
from heatpoint.datasets.image_files import with_images
from heatpoint.datasets.lapa import photograph_of_pose
from heatpoint.datasets.sample import PointSet, Sample, check_split, require_folder, resolve_data_root, settle
from heatpoint.frames import FloatArray

NAME = "faces300wlp"
FOLDERS = {
    "AFW": 5207,
    "HELEN": 37676,
    "IBUG": 1786,
    "LFPW": 16556,
}  # Numbers of faces, the same in the mirrored folders.
SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": tuple(FOLDERS),
    "train_and_flips": (*FOLDERS, *(f"{folder}_Flip" for folder in FOLDERS)),
    **{folder: (folder,) for folder in FOLDERS},
    **{f"{folder}_Flip": (f"{folder}_Flip",) for folder in FOLDERS},
}
# Variable of landmarks/<folder>/<stem>_pts.mat, and of the .mat file beside the image.
VARIABLES = {"3d": ("pts_3d", "pt3d_68"), "2d": ("pts_2d", "pt2d")}
REMEDY = (
    "Get 300W-LP from the 3DDFA project of its owners: faces300wlp/ holds AFW/, HELEN/, IBUG/, LFPW/ and their _Flip with "
    "image and .mat file side by side, and landmarks/AFW/*_pts.mat and so on."
)


def read_faces300wlp(
    root: Path | str,
    split: str,
    *,
    points: Literal["3d", "2d"] = "3d",
    problems: list[str] | None = None,
) -> PointSet:
    """Reads 300W-LP: the points of every image, from the folder landmarks or from the .mat file beside the image.

    "3d" are the points of the fitted model seen in the image (pts_3d; pt3d_68 in files beside images): they stay on the head
    where it hides them, and are what AFLW2000-3D is scored by. "2d" (pts_2d; pt2d) are those of 300-W moved along, whose jaw
    follows the visible outline. Files of MATLAB count pixels from 1, the points here from 0.

    Args:
        root: The folder of AFW/, HELEN/, IBUG/, LFPW/, their _Flip and landmarks/.
        split: "train" (the four folders; mirrored copies add nothing to a training that mirrors), "train_and_flips", or
            the name of one folder.
        points: "3d" or "2d".
        problems: None raises on what is wrong; a list takes it.

    Returns:
        Samples of skeleton "face68" without boxes; all poses of a photograph are one group, its folder a tag.

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If the split or the kind of points is unknown; or, in one line, for all broken or missing files.
    """
    check_split(NAME, split, SPLITS)
    one_of(NAME, "points", points, VARIABLES)
    root = require_folder(NAME, Path(root), get=REMEDY)
    samples: list[Sample] = []
    found: list[str] = []
    for folder in SPLITS[split]:
        images = sorted(require_folder(NAME, root / folder, remedy=REMEDY).glob("*.jpg"))
        found += [] if images else [f"{root / folder} holds no .jpg files"]
        stems = {image.stem for image in images}
        alone = [path for path in sorted((root / folder).glob("*.mat")) if path.stem not in stems]
        found += [f"{path} has no image beside it" for path in alone]
        for image in images:
            values = _points(root, image, points)
            if isinstance(values, str):
                found.append(values)
                continue
            visible = np.ones(len(values), dtype=np.bool_)
            key, tags = f"{folder}/{image.stem}", frozenset({folder})
            samples.append(Sample(image, values, visible, None, key, group=photograph_of_pose(image.stem), tags=tags))
    settle(NAME, found, problems, REMEDY)
    kept = with_images(NAME, samples, problems, remedy=REMEDY)
    protocol = {
        "faces": f"{len(kept)} of {sum(FOLDERS[folder.removesuffix('_Flip')] for folder in SPLITS[split])}",
        "points": " or ".join(VARIABLES[points]),
        "coordinates": "files count from 1, points from 0",
    }
    return PointSet(NAME, split, skeleton_by_box(), kept, protocol)


def open_faces300wlp(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> PointSet:
    """300W-LP under `data_root`/faces300wlp; "test" is AFLW2000-3D, which the published figures of 300W-LP are for."""
    if split == "test":
        return open_aflw2000(data_root, split, problems=problems)
    check_split(NAME, split, ("test", *SPLITS))
    return read_faces300wlp(resolve_data_root(data_root) / NAME, split, problems=problems)


def _points(root: Path, image: Path, kind: str) -> FloatArray | str:
    """The points of an image from whichever file has them, or what is wrong."""
    listed, beside = VARIABLES[kind]
    # The folder landmarks has no mirrored copies.
    path, variable = root / "landmarks" / image.parent.name / f"{image.stem}_pts.mat", listed
    if not path.is_file():
        path, variable = image.with_suffix(".mat"), beside
    if not path.is_file():
        return f"{image} has neither a .mat file beside it nor one in landmarks"
    try:
        points = points_in(read_mat(path, names=(variable,))[variable])
    except ValueError as error:
        return str(error).removesuffix(".")
    return f"{path} {variable} {points}" if isinstance(points, str) else points
