"""MPII Human Pose: 16 body points with head boxes, from the owners' .mat release or the common JSON (Andriluka et al., 2014)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from heatpoint._checks import message
from heatpoint.datasets._mat import read_mat
from heatpoint.datasets.coco_records import is_list_of_objects, is_number, load_json
from heatpoint.datasets.image_files import with_images
from heatpoint.datasets.mpii_mat import BOX_NOTE, NUM_POINTS, box_of_scale, head_length, read_mpii_mat
from heatpoint.datasets.sample import (
    PointSet,
    Sample,
    check_split,
    require_folder,
    resolve_data_root,
    settle,
)
from heatpoint.frames import FloatArray
from heatpoint.skeleton import load_skeleton

# The labels of the official test images are not published: papers report the validation part that Tompson et al. chose.
SPLITS = {"train": "train", "valid": "valid", "test": "valid", "trainval": "trainval"}
RELEASE = "mpii_human_pose_v1_u12_1.mat"
REMEDY = "A person is an object of image, joints (16 x 2), joints_vis (16), center (x, y) and scale, as published beside HRNet."
GET = (
    "Get the images from human-pose.mpi-inf.mpg.de and the annotations from there or beside HRNet's code; the folder must hold "
    f"images/ and annot/ (train.json, valid.json, gt_valid.mat), or images/ and {RELEASE}."
)
FOLDER_REMEDY = (
    f"The folder must hold images/ and annot/ (train.json, valid.json, gt_valid.mat), or images/ and {RELEASE}."
)


def read_mpii(root: Path | str, split: str, *, problems: list[str] | None = None) -> PointSet:
    """Reads MPII from annot/<split>.json where the folder has it, else from the owners' release, which labels "train" only.

    Args:
        root: The folder with images/ and annot/ or the .mat release.
        split: "train", "valid", "test" (which is "valid", as in the papers) or "trainval".
        problems: None raises what is wrong; a list takes it.

    Raises:
        FileNotFoundError: If a folder, the annotations of the split or, in one line, images are missing.
        ValueError: If the split is unknown; or, in one line, for all broken records.
    """
    check_split("mpii", split, SPLITS)
    root = require_folder("mpii", Path(root), get=GET)
    images = require_folder("mpii", root / "images", remedy=FOLDER_REMEDY)
    path, heads = root / "annot" / f"{SPLITS[split]}.json", root / "annot" / f"gt_{SPLITS[split]}.mat"
    if path.is_file():
        return read_mpii_json(path, images, heads=heads if heads.is_file() else None, split=split, problems=problems)
    release = next((p for p in (root / RELEASE, root / "annot" / RELEASE) if p.is_file()), None)
    if release is None or split != "train":
        got = "no such file" if release is None else f"{RELEASE} alone, whose labels are all for training"
        raise FileNotFoundError(message("mpii", "data root", f"hold {path}", got, FOLDER_REMEDY))
    return read_mpii_mat(release, images, split=split, problems=problems)


def open_mpii(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> PointSet:
    """MPII under `data_root`/mpii; see `read_mpii`."""
    return read_mpii(resolve_data_root(data_root) / "mpii", split, problems=problems)


def read_mpii_json(
    annotations: Path | str,
    image_root: Path | str,
    *,
    heads: Path | str | None = None,
    split: str = "all",
    problems: list[str] | None = None,
) -> PointSet:
    """Reads the list of people that is published beside HRNet; everything in it counts from 1.

    points = joints − 1, and a person stands in a square of 200·scale pixels. As in HRNet's loader its centre is moved
    down: (x − 1, y + 15·scale − 1). `Sample.box` is that square without the loader's factor of 1.25: the published crop is
    policy P2 with padding 1.25. People without a visible joint are left out.

    Args:
        annotations: The JSON file.
        image_root: The folder of its `image`s.
        heads: gt_valid.mat with the head boxes of the same people in the same order: then `Sample.lengths["head"]` is 0.6
            times the diagonal, by which PCKh divides.
        split: What the file is a split of; stored only.
        problems: None raises what is wrong; a list takes it.

    Raises:
        FileNotFoundError: If a file or folder is missing; or, in one line, for all missing images.
        ValueError: If a file has another form; or, in one line, for all broken records.
    """
    path, image_root = Path(annotations), require_folder("mpii", Path(image_root), remedy="Check image_root.")
    people = load_json("mpii", "annotations", path)
    if not is_list_of_objects(people):
        raise ValueError(message("mpii", str(path), "be a list of objects", "another form", REMEDY))
    lengths = None if heads is None else _head_lengths(Path(heads), len(people))
    found: list[str] = []
    samples = []
    for index, person in enumerate(people):
        head = None if lengths is None else float(lengths[index])
        wrong = _problem(person, head)
        if wrong:
            found.append(f"person {index} {wrong}")
        elif any(person["joints_vis"]):
            samples.append(_sample(person, image_root, index, head))
    settle(str(path), found, problems, REMEDY)
    there = with_images("mpii", samples, problems, remedy="Check image_root, the folder of all images of MPII.")
    protocol = {
        "annotations": path.name,
        "coordinates": "files count from 1, points from 0",
        "box": BOX_NOTE,
        "head": "0.6 x the diagonal of the head box" if lengths is not None else "not given",
    }
    return PointSet("mpii", split, load_skeleton("mpii16"), there, protocol)


def _head_lengths(path: Path, number: int) -> FloatArray:
    boxes = np.asarray(read_mat(path, names=("headboxes_src",))["headboxes_src"])
    if boxes.shape != (2, 2, number) or boxes.dtype.kind not in "iuf":
        rule = f"hold headboxes_src of 2 corners x 2 coordinates x {number} people"
        raise ValueError(message("mpii", str(path), rule, boxes.shape, "Take both files from the same place."))
    return head_length(boxes.astype(np.float64).transpose(2, 0, 1).reshape(number, 4))


def _problem(person: Any, head: float | None) -> str:
    joints, flags = person.get("joints"), person.get("joints_vis")
    if not isinstance(person.get("image"), str):
        return "must name its image"
    if not isinstance(flags, list) or len(flags) != NUM_POINTS or any(flag not in (0, 1) for flag in flags):
        return f"must hold {NUM_POINTS} joints_vis of 0 or 1"
    if not isinstance(joints, list) or len(joints) != NUM_POINTS or not all(_is_pair(joint) for joint in joints):
        return f"must hold {NUM_POINTS} joints of 2 finite numbers"
    if not _is_pair(person.get("center")) or not is_number(person.get("scale")) or not person["scale"] > 0:
        return "must hold a center of 2 finite numbers and a scale greater than 0"
    # A length of 0 or NaN would drop the person from every score without a word.
    if head is not None and any(flags) and not 0 < head < math.inf:
        return "must have a head box of two finite corners that differ in headboxes_src"
    return ""


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(is_number(v) for v in value)


def _sample(person: Any, image_root: Path, index: int, head: float | None) -> Sample:
    visible = np.array(person["joints_vis"], dtype=np.float64) > 0
    points = np.where(visible[:, None], np.array(person["joints"], dtype=np.float64) - 1, 0.0)
    return Sample(
        image_root / person["image"],
        points,
        visible,
        box_of_scale(person["center"], float(person["scale"])),
        key=f"{person['image']}#{index}",
        group=person["image"],
        lengths={} if head is None else {"head": head},
        ids={"image": person["image"], "person": index},
    )
