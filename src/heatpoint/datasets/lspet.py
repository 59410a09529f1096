"""Leeds Sports Pose and its extended training set: 14 body points in `joints.mat` (Johnson and Everingham, 2010, 2011)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from heatpoint._checks import message
from heatpoint.datasets._mat import read_mat
from heatpoint.datasets.image_files import image_size, with_images
from heatpoint.datasets.sample import PointSet, Sample, check_split, report, require_folder, resolve_data_root, settle
from heatpoint.frames import FloatArray
from heatpoint.skeleton import load_skeleton

SPLITS = ("train", "test")
NUM_POINTS = 14
# Images were scaled after they were labelled: a label on the border may come out a pixel or two beyond it.
OUTSIDE = 5.0
GET = "Get LSP or LSPET from its authors (sam.johnson.io/research/lsp.html, lspet.html)."
REMEDY = (
    "The folder must hold joints.mat, images/im00001.jpg … and, for a division of one's own, train.txt and test.txt."
)


class _Joints(NamedTuple):
    """Contents of joints.mat: points (N, 14, 2), what is labelled and what is hidden (N, 14), and how images are numbered."""

    points: FloatArray
    visible: npt.NDArray[np.bool_]
    occluded: npt.NDArray[np.bool_] | None
    digits: int


def read_lspet(root: Path | str, split: str, *, problems: list[str] | None = None) -> PointSet:
    """Reads LSPET (joints 14 x 3 x N, images im00001.jpg …) or LSP (joints 3 x 14 x N, images im0001.jpg …).

    The third number of LSPET's joints says that a point is labelled; what is not labelled has a meaningless place. In LSP
    every point is labelled and the number says that it is hidden (`Sample.occluded`; it is 0 at 93 % of them). A label more
    than 5 pixels outside its image is a slip of the annotator and is made invisible: `protocol` counts them. The sets
    do not say whether they count pixels from 0 or 1; coordinates, which need not be whole, are taken as they stand.

    Where the folder holds the lists train.txt and test.txt of image names, these are the splits. Without them the owners'
    convention holds: LSPET is for training only; LSP trains on its first half and is tested on the second.

    Args:
        root: The folder with joints.mat and images/.
        split: "train" or "test".
        problems: None raises what is wrong; a list takes it.

    Returns:
        Samples of the skeleton "lsp14", without boxes (policy P1).

    Raises:
        FileNotFoundError: If a folder, joints.mat or, in one line, images are missing.
        ValueError: If the split is not one of the set's; or, in one line, for all that is wrong.
    """
    check_split("lspet", split, SPLITS)
    root = require_folder("lspet", Path(root), get=f"{GET} {REMEDY}")
    images = require_folder("lspet", root / "images", remedy=REMEDY)
    joints = _read_joints(root / "joints.mat")
    names, source = _names(root, split, joints)
    found = [] if names else [f"{root / split}.txt names no image"]
    found += [f"{source} name {name!r} {number} times" for name, number in Counter(names).items() if number > 1]
    labelled = []
    for name in dict.fromkeys(names):
        index = _index(name)
        if not 0 <= index < len(joints.points):
            found.append(f"{source} name {name!r}, which is none of the images 1 to {len(joints.points)} of joints.mat")
        elif not _is_usable(joints, index):
            found.append(f"joints of {name} must be finite and one at least be visible")
        else:
            labelled.append(_sample(images / name, joints, index))
    there = with_images("lspet", labelled, problems, remedy=REMEDY)
    samples, num_slips = _without_slips(there, found)
    settle("lspet", found, problems, REMEDY)
    protocol = {
        "splits": source,
        "coordinates": "as they stand; the set does not say whether it counts from 0 or 1",
        "labels made invisible": f"{num_slips} that lie more than {OUTSIDE:g} pixels outside their image",
    }
    return PointSet("lspet", split, load_skeleton("lsp14"), samples, protocol)


def open_lspet(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> PointSet:
    """LSP or LSPET under `data_root`/pose_lspet; see `read_lspet`."""
    return read_lspet(resolve_data_root(data_root) / "pose_lspet", split, problems=problems)


def _read_joints(path: Path) -> _Joints:
    values = np.asarray(read_mat(path, names=("joints",))["joints"])
    if values.ndim == 3 and values.dtype.kind in "iuf" and values.shape[:2] == (NUM_POINTS, 3):
        rows = values.astype(np.float64).transpose(2, 0, 1)
        return _Joints(rows[..., :2], rows[..., 2] > 0, None, digits=5)
    if values.ndim == 3 and values.dtype.kind in "iuf" and values.shape[:2] == (3, NUM_POINTS):
        rows = values.astype(np.float64).transpose(2, 1, 0)
        return _Joints(rows[..., :2], np.ones(rows.shape[:2], dtype=np.bool_), rows[..., 2] > 0, digits=4)
    rule = f"hold joints of {NUM_POINTS} x 3 x N (LSPET) or 3 x {NUM_POINTS} x N (LSP) numbers"
    raise ValueError(message("lspet", str(path), rule, f"{values.dtype} {values.shape}", "Copy the set again."))


def _names(root: Path, split: str, joints: _Joints) -> tuple[list[str], str]:
    """Names of the split's images, and by what rule."""
    lists = {name: root / f"{name}.txt" for name in SPLITS}
    if any(path.is_file() for path in lists.values()):
        if not lists[split].is_file():
            raise FileNotFoundError(
                message("lspet", "data root", f"hold {lists[split]}", "the other list only", REMEDY)
            )
        try:
            return lists[split].read_text(encoding="utf-8").split(), "the lists train.txt and test.txt"
        except UnicodeDecodeError as error:
            raise ValueError(report(str(lists[split]), [f"it is not text in UTF-8 ({error})"], REMEDY)) from None
    number = len(joints.points)
    if joints.occluded is None and split == "test":
        remedy = "Write train.txt and test.txt, lists of image names, or test on LSP."
        raise ValueError(message("lspet", "split", "be train, as LSPET is a training set", repr(split), remedy))
    first, last = (
        (0, number) if joints.occluded is None else (0, number // 2) if split == "train" else (number // 2, number)
    )
    rule = (
        "LSPET is all for training"
        if joints.occluded is None
        else "LSP trains on its first half and tests on the second"
    )
    return [f"im{index + 1:0{joints.digits}d}.jpg" for index in range(first, last)], rule


def _index(name: str) -> int:
    """Place of an image in joints.mat; -1 if its name has no number."""
    number = re.fullmatch(r"im(\d+)\.jpe?g", name)
    return int(number[1]) - 1 if number else -1


def _is_usable(joints: _Joints, index: int) -> bool:
    visible = joints.visible[index]
    return bool(visible.any() and np.isfinite(joints.points[index][visible]).all())


def _sample(path: Path, joints: _Joints, index: int) -> Sample:
    visible = joints.visible[index]
    points = np.where(visible[:, None], joints.points[index], 0.0)
    occluded = None if joints.occluded is None else joints.occluded[index]
    return Sample(path, points, visible, None, path.name, occluded=occluded, ids={"image_id": index + 1})


def _without_slips(samples: Sequence[Sample], found: list[str]) -> tuple[tuple[Sample, ...], int]:
    """The samples with labels far outside their image made invisible, and the number of these."""
    kept, number = [], 0
    for sample in samples:
        try:
            last = np.array(image_size(Path(str(sample.image)))) - 1.0
        except ValueError as error:
            found.append(str(error))
            continue
        beyond = np.maximum(-sample.points, sample.points - last).max(axis=1)
        slips = sample.visible & (beyond > OUTSIDE)
        visible = sample.visible & ~slips
        if not visible.any():
            found.append(f"joints of {sample.key} must lie in the image")
            continue
        number += int(slips.sum())
        kept.append(
            sample
            if not slips.any()
            else replace(sample, points=np.where(visible[:, None], sample.points, 0.0), visible=visible)
        )
    return tuple(kept), number
