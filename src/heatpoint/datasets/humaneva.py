"""HumanEva-I without its images: motions in space, calibrated cameras and the pixels each of them sees.

It serves geometry and scores in space; as nothing can be shown to a network, it is no `PointSet`.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heatpoint._checks import message
from heatpoint.cameras import Camera, rotation_from_quaternion
from heatpoint.datasets.coco_records import load_json
from heatpoint.datasets.sample import check_split, require_folder, resolve_data_root, settle
from heatpoint.frames import FloatArray
from heatpoint.skeleton import Skeleton, load_skeleton

SPLITS = {"train": "train.npz", "test": "validate.npz", "validate": "validate.npz"}
NAME = re.compile(r"(S\d+)\|(.+)\|(3d|2d_(.+))")
NUM_POINTS = 15
MILLIMETRES = 1000.0
REMEDY = (
    "The folder holds cameras.json, train.npz and validate.npz with arrays 'S1|Walking 1 chunk0|3d' (T, 15, 3) in metres and "
    "'…|2d_C1' (T, 15, 2) in pixels; copy them again, or make them from the motion files of humaneva.is.tue.mpg.de."
)


@dataclass(frozen=True, eq=False)
class Motion:
    """One recording: points over time in the world, and what the cameras see of them.

    Args:
        name: "S1|Walking 1 chunk0".
        subject: "S1".
        action: "Walking 1 chunk0".
        points: (T, 15, 3) float64 world points in millimetres.
        cameras: The cameras by name ("C1").
        pixels: Per camera (T, 15, 2) float64 image points, through its lens.
    """

    name: str
    subject: str
    action: str
    points: FloatArray
    cameras: Mapping[str, Camera]
    pixels: Mapping[str, FloatArray]


@dataclass(frozen=True, eq=False)
class MotionSet:
    """A split of a set of motions.

    Args:
        name: Name of the set.
        split: Which part of it.
        skeleton: Of every motion.
        motions: The recordings, by name in order.
        protocol: What a score depends on beside them; plain JSON values.
    """

    name: str
    split: str
    skeleton: Skeleton
    motions: tuple[Motion, ...]
    protocol: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.motions)


def read_humaneva(root: Path | str, split: str, *, problems: list[str] | None = None) -> MotionSet:
    """Reads the motions of a split, in millimetres, with their cameras.

    The files themselves place the head of S3 below the thorax in some of his walks ("S3|Walking 1 …"); it is left as it is.

    Args:
        root: The folder that holds cameras.json, train.npz and validate.npz.
        split: "train", or "test" for validate.npz, which "validate" names too.
        problems: None to raise; a list to append all problems to.

    Raises:
        FileNotFoundError: If the folder or a file is missing.
        ValueError: If the split is unknown or a file is not of its kind; or, in one line, for all broken records.
    """
    check_split("humaneva", split, SPLITS)
    root = require_folder("humaneva", Path(root), get=REMEDY)
    missing = [str(root / file) for file in ("cameras.json", SPLITS[split]) if not (root / file).is_file()]
    if missing:
        raise FileNotFoundError(message("humaneva", "files", "exist", ", ".join(missing) + ", missing", REMEDY))
    found: list[str] = []
    cameras = _cameras(root / "cameras.json", found)
    motions = _motions(_arrays(root / SPLITS[split], found), cameras, SPLITS[split], found)
    settle("humaneva", found, problems, REMEDY)
    protocol = {
        "file": SPLITS[split],
        "units": "files in metres, points in millimetres",
        "cameras": "published poses, intrinsics and distortion (k1, k2, p1, p2) fitted to the pixels",
    }
    return MotionSet("humaneva", split, load_skeleton("humaneva15"), motions, protocol)


def open_humaneva(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> MotionSet:
    """HumanEva under `data_root`/pose3d_humaneva15; see `read_humaneva`."""
    return read_humaneva(resolve_data_root(data_root) / "pose3d_humaneva15", split, problems=problems)


def _arrays(path: Path, found: list[str]) -> dict[str, FloatArray]:
    """The arrays of a file as float64; those that cannot be read without running code are problems, as others are."""
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for key in file.files:
                try:
                    values = file[key]
                    if np.iscomplexobj(values):
                        found.append(f"{path.name} {key} must be an array of real numbers, got {values.dtype}")
                        continue
                    arrays[key] = np.asarray(values, dtype=np.float64)
                except ValueError as error:
                    found.append(f"{path.name} {key} must be an array of numbers ({error})")
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(message("humaneva", "file", "be an .npz archive", f"{path} ({error})", REMEDY)) from None
    if not arrays and not found:
        found.append(f"{path.name} holds no motion")
    return arrays


def _cameras(path: Path, found: list[str]) -> dict[str, dict[str, Camera]]:
    """Per subject its cameras by name."""
    content = load_json("humaneva", "cameras", path)
    if not isinstance(content, dict):
        raise ValueError(message("humaneva", "cameras", "be an object of subjects", f"otherwise in {path}", REMEDY))
    cameras: dict[str, dict[str, Camera]] = {}
    for subject, records in content.items():
        for index, record in enumerate(records if isinstance(records, list) else [None]):
            try:
                cameras.setdefault(subject, {})[record["id"]] = _camera(record)
            except (KeyError, TypeError, ValueError) as error:
                found.append(f"{path.name} camera {index + 1} of {subject} cannot be read ({error})")
    return cameras


def _camera(record: Mapping[str, Any]) -> Camera:
    """X_cam = R(q)ᵀ (X_world − t): the quaternion is the camera's orientation, the translation its place."""
    focal_x, focal_y, center_x, center_y = (float(v) for v in record["fitted_intrinsics_fx_fy_cx_cy"])
    k1, k2, p1, p2 = (float(v) for v in record["fitted_distortion_k1_k2_p1_p2"])
    return Camera(
        rotation_from_quaternion(np.asarray(record["orientation_quaternion_wxyz"], dtype=np.float64)).T,
        MILLIMETRES * np.asarray(record["translation_m"], dtype=np.float64),
        np.array([focal_x, focal_y]),
        np.array([center_x, center_y]),
        np.array([k1, k2, p1, p2, 0.0]),
    )


def _motions(
    arrays: Mapping[str, FloatArray], cameras: Mapping[str, Mapping[str, Camera]], file: str, found: list[str]
) -> tuple[Motion, ...]:
    parts: dict[tuple[str, str], dict[str, FloatArray]] = {}
    for key, values in arrays.items():
        match = NAME.fullmatch(key)
        if match is None:
            found.append(f"{file} {key} must be named 'S1|action|3d' or 'S1|action|2d_C1'")
        else:
            parts.setdefault((match[1], match[2]), {})[match[4] or match[3]] = values
    motions = []
    for (subject, action), part in sorted(parts.items()):
        wrong = _problems(part, cameras.get(subject, {}))
        found.extend(f"{file} {subject}|{action} {text}" for text in wrong)
        if not wrong:
            seen = {name: pixels for name, pixels in part.items() if name != "3d"}
            used = {name: cameras[subject][name] for name in seen}
            motions.append(Motion(f"{subject}|{action}", subject, action, MILLIMETRES * part["3d"], used, seen))
    return tuple(motions)


def _problems(values: Mapping[str, FloatArray], cameras: Mapping[str, Camera]) -> list[str]:
    points = values.get("3d")
    if points is None:
        return ["has no 3d points"]
    if points.ndim != 3 or points.shape[1:] != (NUM_POINTS, 3):
        return [f"must hold 3d points (T, {NUM_POINTS}, 3), got {points.shape}"]
    wrong = [] if np.isfinite(points).all() else ["holds 3d points that are not finite"]
    for name, pixels in values.items():
        if name == "3d":
            continue
        if name not in cameras:
            wrong.append(f"is seen by {name}, of which cameras.json holds nothing")
        if pixels.shape != (*points.shape[:2], 2):
            wrong.append(f"must hold {name} pixels {(*points.shape[:2], 2)}, got {pixels.shape}")
        elif not np.isfinite(pixels).all():
            wrong.append(f"holds {name} pixels that are not finite")
    return wrong
