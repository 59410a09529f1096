"""AFLW with 19 points: the full and frontal protocol of Zhu et al. (CVPR 2016), which all later papers use."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from heatpoint._checks import message
from heatpoint.datasets._faces import remark_count, require_paths
from heatpoint.datasets._mat import read_mat
from heatpoint.datasets.image_files import with_images
from heatpoint.datasets.sample import PointSet, Sample, check_split, require_folder, resolve_data_root, settle
from heatpoint.skeleton import load_skeleton

COUNTS = {"train": 20000, "test": 4386, "full": 4386, "front": 1314}
NUM_POINTS = 19
FILE = "AFLWinfo_release.mat"
VARIABLES = ("bbox", "data", "mask_new", "nameList", "ra")
FOLDERS = ("data/flickr", "flickr", "aflw/data/flickr", "images")
GET = (
    f"Get {FILE} from mmlab.ie.cuhk.edu.hk/projects/compositional.html and the images from tugraz.at (AFLW, on request); "
    f"the folder must hold {FILE} and data/flickr/0/, data/flickr/2/ and data/flickr/3/ (or flickr/, images/)."
)
REMEDY = (
    f"Download {FILE} again; it must hold N faces: bbox N x 4, data N x 38, mask_new N x 19, nameList N x 1, ra 1 x N."
)


def read_aflw(root: Path | str, split: str, *, problems: list[str] | None = None) -> PointSet:
    """Reads AFLW's 24386 faces: 20000 to train on, 4386 to test ("test", "full"), 1314 of them frontal ("front").

    All 19 points are annotated, the hidden ones too: what `mask_new` hides is `Sample.occluded`. Published code differs in
    what it scores: HRNet and PIPNet all points, SAN those that are not hidden. A point at exactly (0, 0) is not annotated.
    A face is frontal where no point is hidden; SAN asks as well that all lie strictly within the box. Frontal faces are
    tagged "front" in every split. Errors are divided by √(w·h) of the box, w = right − left and h = bottom − top. Neither
    file nor published code shifts the coordinates: they are taken from 0.

    Args:
        root: The folder with AFLWinfo_release.mat and the images.
        split: "train"; "test" and "full", which are the same; or "front".
        problems: None raises what is wrong; a list takes it.

    Raises:
        FileNotFoundError: If a folder or the file is missing; or, in one line, for all missing images.
        ValueError: If the split is unknown, or the variables do not fit together; or, in one line, for all broken faces.
        ModuleNotFoundError: If scipy is not installed.

    Warns:
        UserWarning: If the split has not the official number of faces.
    """
    check_split("aflw", split, COUNTS)
    root = require_folder("aflw", Path(root), get=GET)
    folder = next((root / name for name in FOLDERS if (root / name).is_dir()), root / FOLDERS[0])
    path, folder = require_paths("aflw", [root / FILE, folder], None, remedy=GET)
    values = _variables(path)
    order = faces_of(split, values["ra"], values["mask_new"])
    samples, found = [], [] if len(order) else [f"{path} holds no face of the split {split!r}"]
    for index in order.tolist():
        sample = _sample(folder, values, index)
        if isinstance(sample, str):
            found.append(f"{path} face {index + 1} {sample}")
        else:
            samples.append(sample)
    settle("aflw", found, problems, REMEDY)
    remark_count("aflw", split, len(order), COUNTS[split], problems)
    protocol = {
        "faces": f"{len(samples)} of {COUNTS[split]}",
        "points": "19, the hidden ones too",
        "coordinates": "as they stand in the file, taken from 0",
        "box": "of the file (policy P2)",
    }
    kept = with_images("aflw", samples, problems, remedy=GET)
    return PointSet("aflw", split, load_skeleton("aflw19"), kept, protocol)


def open_aflw(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> PointSet:
    """AFLW under `data_root`/aflw; see `read_aflw`."""
    return read_aflw(resolve_data_root(data_root) / "aflw", split, problems=problems)


def faces_of(split: str, order: npt.NDArray[np.int64], shown: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The faces of a split: the first 20000 of an order are for training, the others for testing.

    Args:
        split: "train", "test", "full" or "front".
        order: (N,) faces, from 0: `ra` of the file less 1.
        shown: (N, 19), True where a point of a face is not hidden: `mask_new`.

    Returns:
        (n,) in the order given.

    >>> len(faces_of("test", np.arange(24386), np.ones((24386, 19), dtype=bool)))
    4386
    """
    if split == "train":
        return order[: COUNTS["train"]]
    tested = order[COUNTS["train"] :]
    return tested[shown[tested].all(axis=1)] if split == "front" else tested


def _variables(path: Path) -> dict[str, Any]:
    """The five variables: points (N, 19, 2), mask (N, 19) bool, names (N,), order (N,) from 0, boxes (N, 4)."""
    values = read_mat(path, names=VARIABLES)
    num = len(values["bbox"])
    wanted = {"bbox": (num, 4), "data": (num, 2 * NUM_POINTS), "mask_new": (num, NUM_POINTS), "nameList": (num, 1)}
    shapes = {name: getattr(values[name], "shape", type(values[name]).__name__) for name in wanted}
    wrong = [f"{name} {shapes[name]}" for name, shape in wanted.items() if shapes[name] != shape]
    order = np.asarray(values["ra"]).reshape(-1)
    if order.dtype.kind not in "iuf" or not np.array_equal(np.sort(order), np.arange(1, num + 1)):
        wrong.append(f"ra, which is no order of 1 to {num}")
    if wrong:
        raise ValueError(message("aflw", str(path), "hold variables that fit together", "; ".join(wrong), REMEDY))
    return {
        "bbox": np.asarray(values["bbox"], dtype=np.float64),
        # A row is x1 … x19, y1 … y19.
        "data": np.asarray(values["data"], dtype=np.float64).reshape(num, 2, NUM_POINTS).transpose(0, 2, 1),
        "mask_new": np.asarray(values["mask_new"]) != 0,
        "nameList": values["nameList"][:, 0],
        "ra": order.astype(np.int64) - 1,
    }


def _sample(folder: Path, values: dict[str, Any], index: int) -> Sample | str:
    """A face, or what is wrong with it."""
    name, points = values["nameList"][index], values["data"][index]
    shown: npt.NDArray[np.bool_] = values["mask_new"][index]
    left, right, top, bottom = values["bbox"][index].tolist()
    if not isinstance(name, str) or not name or PurePosixPath(name).is_absolute():
        return f"must name its image, got {name!r}"
    if not np.isfinite(points).all() or not np.isfinite([left, right, top, bottom]).all():
        return "must hold finite numbers"
    if left >= right or top >= bottom:
        return f"must hold a box of left < right and top < bottom, got {left:g} {right:g} {top:g} {bottom:g}"
    annotated: npt.NDArray[np.bool_] = (points != 0).any(axis=1)
    return Sample(
        _image(folder, name),
        points,
        annotated,
        (left, top, right, bottom),
        f"{index + 1}",
        group=name,
        tags=frozenset({"front"} if shown.all() else ()),
        occluded=~shown & annotated,
        ids={"face": index + 1},
    )


def _image(folder: Path, name: str) -> Path:
    """The image's path. The list calls some files .png that the download holds as .jpg."""
    path = folder / name
    if name.endswith(".jpg") or path.is_file():
        return path
    jpeg = path.with_suffix(".jpg")
    return jpeg if jpeg.is_file() else path
