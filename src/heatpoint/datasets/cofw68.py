"""COFW-68: the test faces of COFW with the 68 points of 300-W (Ghiasi and Fowlkes, 2015); for models trained on 300-W."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from heatpoint.datasets._faces import remark_count, require_paths
from heatpoint.datasets._mat import mat_cells, read_mat
from heatpoint.datasets.cofw import FILES, VARIABLES, box_from_matlab, pixels_of
from heatpoint.datasets.sample import (
    Box,
    PointSet,
    Sample,
    check_split,
    require_folder,
    resolve_data_root,
    settle,
)
from heatpoint.frames import FloatArray
from heatpoint.skeleton import load_skeleton

COUNT, NUM_POINTS = 507, 68
BOXES = "cofw68_test_bboxes.mat"
IMAGES = FILES["test"]
GET = (
    "Get the annotations from github.com/golnazghiasi/cofw68-benchmark: the folder must hold COFW68_Data/test_annotations/ "
    f"with 1_points.mat to 507_points.mat and COFW68_Data/{BOXES}; the images are those of {IMAGES} of COFW "
    "(data.caltech.edu/records/20099), which must lie in the same folder or in cofw/ beside it."
)
REMEDY = "Copy the annotations again."


class Cofw68Face(NamedTuple):
    """The annotation of one face: its number in COFW's test file (from 1), points (68, 2) from 0, what is hidden, its box."""

    number: int
    points: FloatArray
    occluded: npt.NDArray[np.bool_]
    box: Box | None


def read_cofw68_annotations(folder: Path | str, *, problems: list[str] | None = None) -> tuple[Cofw68Face, ...]:
    """Reads the annotations alone, in the order of the faces' numbers; no image is needed.

    The files count pixels from 1, the points here from 0. The box is that of a face detector, which the set gives so that
    all methods start from the same (policy P2); None where the file of boxes is not there.

    Args:
        folder: COFW68_Data of the set, with test_annotations/.
        problems: None raises what is wrong; a list takes it.

    Raises:
        FileNotFoundError: If the folder is missing.
        ValueError: In one line, for all broken files.
    """
    (annotations,) = require_paths("cofw68", [Path(folder) / "test_annotations"], None, remedy=GET)
    files = {path: path.name.removesuffix("_points.mat") for path in annotations.glob("*_points.mat")}
    found = [f"{path} must be named by a number" for path, name in files.items() if not name.isdecimal()]
    found += [] if files else [f"{annotations} holds no files N_points.mat"]
    numbered = sorted((int(name), path) for path, name in files.items() if name.isdecimal())
    boxes = _boxes(Path(folder) / BOXES, found)
    faces = []
    for index, path in numbered:
        face = _face(index, path, boxes)
        if isinstance(face, str):
            found.append(f"{path} {face}")
        else:
            faces.append(face)
    settle("cofw68", found, problems, REMEDY)
    return tuple(faces)


def read_cofw68(root: Path | str, split: str = "test", *, problems: list[str] | None = None) -> PointSet:
    """Reads COFW-68 with its images: 507 faces to test what was trained on 300-W.

    Args:
        root: The folder with COFW68_Data/; COFW_test_color.mat lies in it, or in the folder cofw beside it.
        split: "test", the only one.
        problems: None raises what is wrong; a list takes it.

    Raises:
        FileNotFoundError: If a folder or the file of images is missing.
        ValueError: If the split is unknown or the file of images is broken; or, in one line, for all broken annotations.
        ModuleNotFoundError: If scipy or h5py is not installed.

    Warns:
        UserWarning: If there is not the official number of faces.
    """
    check_split("cofw68", split, ("test",))
    root = require_folder("cofw68", Path(root), get=GET)
    beside = root.parent / "cofw" / IMAGES
    (path,) = require_paths("cofw68", [beside if beside.is_file() else root / IMAGES], None, remedy=GET)
    found: list[str] = []
    faces = {face.number: face for face in read_cofw68_annotations(root / "COFW68_Data", problems=found)}
    num_faces = len(faces)
    samples = []
    for index, cell in enumerate(mat_cells(path, VARIABLES["test"][0]), start=1):
        face, pixels = faces.pop(index, None), pixels_of(cell)
        if face is None:
            continue
        if pixels is None:
            found.append(f"{path} face {index} must hold an image of bytes, H x W or H x W x 3")
            continue
        visible = np.ones(NUM_POINTS, dtype=np.bool_)
        key, ids = f"{split}/{index}", {"image_id": index}
        samples.append(Sample(pixels, face.points, visible, face.box, key, occluded=face.occluded, ids=ids))
    found += [f"face {index} is annotated but has no image in {path}" for index in faces]
    settle("cofw68", found, problems, REMEDY)
    remark_count("cofw68", split, num_faces, COUNT, problems)
    protocol = {
        "faces": f"{len(samples)} of {COUNT}",
        "coordinates": "files count from 1, points from 0",
        "box": "of the set's detector (policy P2)" if any(sample.box for sample in samples) else "none given",
    }
    return PointSet("cofw68", split, load_skeleton("face68"), tuple(samples), protocol)


def open_cofw68(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> PointSet:
    """COFW-68 under `data_root`/cofw68; see `read_cofw68`."""
    return read_cofw68(resolve_data_root(data_root) / "cofw68", split, problems=problems)


def _boxes(path: Path, found: list[str]) -> FloatArray | None:
    """The detector's boxes x, y, w, h, one row per face."""
    if not path.is_file():
        return None
    try:
        boxes = read_mat(path, names=["bboxes"])["bboxes"]
    except ValueError as error:
        found.append(str(error))
        return None
    is_table = getattr(boxes, "ndim", 0) == 2 and boxes.shape[1] == 4 and boxes.dtype.kind in "iuf"
    if not is_table or not np.isfinite(boxes).all() or not (boxes[:, 2:] > 0).all():
        found.append(f"{path} must hold finite bboxes N x 4 with widths and heights greater than 0")
        return None
    return np.asarray(boxes, dtype=np.float64)


def _face(index: int, path: Path, boxes: FloatArray | None) -> Cofw68Face | str:
    """The annotation in a file, or what is wrong with it."""
    try:
        values = read_mat(path, names=["Points", "Occ"])
    except ValueError as error:
        return f"cannot be read ({error})"
    points, hidden = np.asarray(values["Points"]), np.asarray(values["Occ"])
    if points.shape != (NUM_POINTS, 2) or hidden.size != NUM_POINTS:
        return f"must hold Points 68 x 2 and Occ 1 x 68, got {points.shape} and {hidden.shape}"
    if points.dtype.kind not in "iuf" or not np.isfinite(points).all() or not np.isin(hidden, (0, 1)).all():
        return "must hold finite Points, and Occ of 0 and 1"
    if boxes is not None and not 1 <= index <= len(boxes):
        return f"has no box: {BOXES} holds {len(boxes)}"
    box = None if boxes is None else box_from_matlab(boxes[index - 1])
    return Cofw68Face(index, points.astype(np.float64) - 1.0, hidden.reshape(-1) == 1, box)
