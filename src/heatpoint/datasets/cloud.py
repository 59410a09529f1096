"""What every set of point clouds yields: clouds with their keypoints, and how a cloud is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heatpoint._checks import message
from heatpoint.datasets.cloud_files import read_cloud_file
from heatpoint.datasets.whole_files import existing_file
from heatpoint.frames import FloatArray
from heatpoint.skeleton import Skeleton

IndexArray = npt.NDArray[np.int64]
# A keypoint is the row of its cloud within this share of the cloud's greatest coordinate: what six printed digits leave.
SAME_PLACE = 1e-5


@dataclass(frozen=True, eq=False)
class Cloud:
    """One annotated object as a cloud of points.

    Args:
        xyz: Path of the cloud, or its points (N, 3) float64.
        points: (K, 3) float64 keypoints in the cloud's own coordinates. Points that are not visible are 0.
        visible: (K,) bool; False where the object has no such point.
        key: Name of the cloud within its set, the same on every machine.
        group: What must not be divided between splits; "" means the cloud alone.
        index: (K,) int64, the row of each keypoint in the cloud, 0 where it is not visible; None where keypoints are no rows.
        category: What kind of object it is ("chair").
        tags: Names of the subsets that the cloud belongs to.
        rotations: Groups of keypoints that a turn about the up axis takes to one another, as the set gives them (the feet of
            a swivel chair); which of them is the first is an accident of the annotation.
        is_circle: Whether there are such groups and any turn, not only one by a whole share, takes the object to itself.

    Raises:
        ValueError: If an array has another shape or kind, is not finite, or `index` does not name the rows of the keypoints.
    """

    xyz: Path | FloatArray
    points: FloatArray
    visible: npt.NDArray[np.bool_]
    key: str
    group: str = ""
    index: IndexArray | None = None
    category: str = ""
    tags: frozenset[str] = frozenset()
    rotations: tuple[tuple[int, ...], ...] = ()
    is_circle: bool = False

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 3:
            raise ValueError(message("Cloud", "points", "be (K, 3)", self.points.shape))
        number = len(self.points)
        if self.visible.shape != (number,) or self.visible.dtype != np.bool_:
            got = f"{self.visible.dtype} {self.visible.shape}"
            raise ValueError(message("Cloud", "visible", f"be bool ({number},)", got))
        if not np.isfinite(self.points).all():
            remedy = "Give a missing point as 0, 0, 0 with visible False."
            raise ValueError(message("Cloud", "points", "be finite", f"NaN or infinity in {self.key}", remedy))
        if self.index is not None and (self.index.shape != (number,) or self.index.dtype != np.int64):
            got = f"{self.index.dtype} {self.index.shape}"
            raise ValueError(message("Cloud", "index", f"be int64 ({number},)", got))
        if isinstance(self.xyz, np.ndarray):
            check_cloud("Cloud", self.xyz, self.key)
            check_rows("Cloud", self, self.xyz)


@dataclass(frozen=True, eq=False)
class CloudSet:
    """A split of a set of point clouds: its clouds, their keypoints' names, and the protocol to be stored beside a score.

    Args:
        name: Name of the set.
        split: Which part of it.
        skeleton: Of every cloud; its names are those of the keypoints.
        samples: The annotated clouds.
        protocol: What a score depends on beside the clouds; plain JSON values.

    Raises:
        ValueError: If a cloud has not the skeleton's number of keypoints.
    """

    name: str
    split: str
    skeleton: Skeleton
    samples: tuple[Cloud, ...]
    protocol: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = [s.key for s in self.samples if len(s.points) != self.skeleton.num_points]
        if wrong:
            rule = f"have the skeleton's {self.skeleton.num_points} keypoints"
            raise ValueError(message("CloudSet", "samples", rule, f"another number in {wrong[0]}"))

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        return f"CloudSet({self.name!r}, {self.split!r}, {len(self)} clouds with {self.skeleton.num_points} keypoints)"


def load_cloud(source: Cloud | Path | str | npt.NDArray[Any]) -> FloatArray:
    """Reads a cloud as (N, 3) float64: .pcd, .ply, .npy, .xyz, .txt, .pts or .off; colours and normals are left out.

    Raises:
        TypeError: If it is neither a path nor an array nor a Cloud.
        FileNotFoundError: If the file does not exist.
        ValueError: If it is no cloud: another kind of file, fewer points than it announces, none, other columns or NaN; or if an
            array is not finite (N, 3).

    >>> load_cloud(np.zeros((4, 3), dtype=np.float32)).dtype
    dtype('float64')
    """
    name = source.key if isinstance(source, Cloud) else "an array"
    found = source.xyz if isinstance(source, Cloud) else source
    if isinstance(found, np.ndarray):
        check_cloud("load_cloud", found, name)
        return found.astype(np.float64, copy=False)
    path = existing_file("load_cloud", "cloud", found)
    xyz = read_cloud_file(path)
    check_cloud("load_cloud", xyz, str(path))
    return xyz


def check_cloud(function: str, xyz: npt.NDArray[Any], name: str) -> None:
    """Raises ValueError, in one line that names the cloud and its first bad row, unless `xyz` is finite (N, 3), N >= 1."""
    if xyz.ndim != 2 or xyz.shape[1] != 3 or xyz.dtype.kind not in "fiu":
        got = f"{xyz.dtype} {xyz.shape} in {name}"
        raise ValueError(message(function, "cloud", "be (N, 3) numbers, a row x, y, z for each point", got))
    if not len(xyz):
        raise ValueError(message(function, "cloud", "hold at least one point", f"none in {name}"))
    bad = np.flatnonzero(~np.isfinite(xyz).all(axis=1))
    if len(bad):
        got = f"NaN or infinity in {len(bad)} of {len(xyz)} points of {name}, first in row {bad[0]}"
        raise ValueError(message(function, "cloud", "be finite", got, "Leave such points out of the file."))


def check_rows(function: str, cloud: Cloud, xyz: FloatArray) -> None:
    """Raises ValueError, in one line that names the cloud, unless its `index` names the rows of `xyz` at its keypoints."""
    if cloud.index is None:
        return
    rows = cloud.index[cloud.visible]
    if ((rows < 0) | (rows >= len(xyz))).any():
        got = f"{rows[(rows < 0) | (rows >= len(xyz))][0]} in {cloud.key}"
        raise ValueError(message(function, "index", f"name rows from 0 to {len(xyz) - 1}", got))
    apart = np.abs(xyz[rows] - cloud.points[cloud.visible]).max(axis=1, initial=0.0)
    if (apart > SAME_PLACE * np.abs(xyz).max()).any():
        worst = int(apart.argmax())
        got = f"row {rows[worst]} of {cloud.key}, which is {apart[worst]:.3g} away from its keypoint"
        raise ValueError(message(function, "index", "name the rows at which the keypoints lie", got))
