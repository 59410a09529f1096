"""What the network sees of a cloud: normalised, in training changed at random; its keypoints stay rows of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from heatpoint._checks import message, one_of
from heatpoint.cloud_frame import CloudFrame, named_sphere, turn_about
from heatpoint.datasets.cloud import Cloud, IndexArray, check_rows, load_cloud
from heatpoint.frames import FloatArray

NORMALIZATIONS = ("sphere", "none")


@dataclass(frozen=True)
class CloudAugmentation:
    """Ranges of the random changes of a training cloud, in units of the input; the defaults change nothing.

    The benchmark of KeypointNet, which leaves clouds in the units of its files, has jitter 0.004, jitter_clip 0.01 and
    translation 0.02 and turns nothing; the papers of PointNet and PointNet++ turn about the up axis.

    Args:
        rotation_deg: Rotation about the up axis, uniform within ± this; 180 is any.
        up: The axis that points up: y in ShapeNet, KeypointNet and the synthetic clouds, z in ModelNet.
        scale: Factor uniform in 1 ± this.
        translation: Length of a shift in a random direction, uniform from 0 to this.
        jitter: Standard deviation of the shift of each point along each axis.
        jitter_clip: A point moves no further than this along an axis.
        dropout: Greatest share of points that are lost; the share of a cloud is uniform from 0 to this (PointNet++).

    Raises:
        ValueError: If a number is outside its range.

    >>> CloudAugmentation(rotation_deg=15, jitter=0.004).up
    'y'
    """

    rotation_deg: float = 0.0
    up: Literal["x", "y", "z"] = "y"
    scale: float = 0.0
    translation: float = 0.0
    jitter: float = 0.0
    jitter_clip: float = 0.05
    dropout: float = 0.0

    def __post_init__(self) -> None:
        one_of("CloudAugmentation", "up", self.up, ("x", "y", "z"))
        for name in ("rotation_deg", "translation", "jitter", "jitter_clip"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(message("CloudAugmentation", name, "be at least 0 and finite", getattr(self, name)))
        for name in ("scale", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(message("CloudAugmentation", name, "be from 0 to below 1", getattr(self, name)))


@dataclass(frozen=True, eq=False)
class CloudExample:
    """What the network and the loss see of one cloud.

    Args:
        xyz: (N, 3) float32 points in the input.
        points: (K, 3) float32 keypoints in the input; 0 where not visible. Where the set says which rows they are, and these
            are kept, exactly these.
        visible: (K,) bool.
        index: (K,) int64, the row of `xyz` at each keypoint: the one the set names, if rows of keypoints are kept, otherwise
            the nearest. 0 where not visible.
        rows: (N,) int64, the row of the cloud's file that each row of `xyz` shows: with dropout some more than once.
        frame: Cloud to input, rotation, scale and shift included; jitter is not.
    """

    xyz: Tensor
    points: Tensor
    visible: Tensor
    index: Tensor
    rows: Tensor
    frame: CloudFrame


def make_cloud_example(
    cloud: Cloud,
    *,
    num_points: int | None = None,
    normalization: Literal["sphere", "none"] = "sphere",
    augmentation: CloudAugmentation | None = None,
    rng: np.random.Generator | None = None,
    xyz: FloatArray | None = None,
    keep_keypoints: bool = True,
) -> CloudExample:
    """Normalises a cloud, takes `num_points` of its points and, in training, changes them at random.

    With `keep_keypoints` the rows at which keypoints lie are always taken and never lost to dropout, so that every visible
    keypoint stays a row of the input. Of a jittered cloud the target is the jittered row: that is where a map over the rows can
    be right. Keypoints that are no rows move with the frame alone. In evaluation the choice of points must not know the
    labels: without `keep_keypoints` it is that of a cloud of which nothing is known, and keypoints stay where the set has them.

    Args:
        cloud: Points and keypoints.
        num_points: How many to take, in the order of the cloud; which, `rng` draws, and without it a fixed seed. None takes all.
        normalization: "sphere" is `CloudFrame.unit_sphere` of the whole cloud; "none" keeps its own coordinates.
        augmentation: None for evaluation.
        rng: Needed with `augmentation`; the same generator state gives the same example.
        xyz: The points of the cloud, if the caller keeps them; None reads them from the cloud.
        keep_keypoints: True for training, False for evaluation.

    Raises:
        ValueError: If the cloud has fewer points than `num_points` or than keypoints, its points lie at one place, its
            `index` does not name the rows of its keypoints, or augmentation lacks `rng`.

    >>> xyz = np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    >>> cloud = Cloud(xyz, xyz[1:2], np.ones(1, bool), "a", index=np.array([1]))
    >>> make_cloud_example(cloud, num_points=2).points
    tensor([[1., 0., 0.]])
    """
    one_of("make_cloud_example", "normalization", normalization, NORMALIZATIONS)
    if augmentation is not None and rng is None:
        raise ValueError(message("make_cloud_example", "rng", "be given with augmentation", None))
    points = load_cloud(cloud) if xyz is None else xyz
    _check_number(cloud, len(points), num_points)
    if points is not cloud.xyz:
        # Points in a file could not be compared with the index when the cloud was made.
        check_rows("make_cloud_example", cloud, points)
    is_sphere = normalization == "sphere"
    frame = named_sphere("make_cloud_example", points, cloud.key) if is_sphere else CloudFrame.identity()
    rows = np.arange(len(points), dtype=np.int64)
    index = _keypoint_rows(cloud, points) if keep_keypoints else None
    kept = rows[:0] if index is None else np.unique(index[cloud.visible])
    if num_points is not None and num_points < len(points):
        rows = _choose(rows, kept, num_points, rng or np.random.default_rng(0))
    noise: FloatArray = np.zeros((len(rows), 3))
    if augmentation is not None and rng is not None:
        frame = _move(frame, augmentation, rng)
        noise = _jitter(len(rows), augmentation, rng)
        places = _drop(rows, kept, augmentation, rng)
        rows, noise = rows[places], noise[places]
    shown = frame.to_input(points[rows]) + noise
    targets = frame.to_input(cloud.points)
    found = _nearest(shown, targets) if index is None else _first_place(rows, index)
    place = np.where(cloud.visible, found, 0)
    if index is not None and cloud.index is not None:
        targets = shown[place]
    return CloudExample(
        xyz=torch.from_numpy(shown.astype(np.float32)),
        points=torch.from_numpy(np.where(cloud.visible[:, None], targets, 0.0).astype(np.float32)),
        visible=torch.from_numpy(cloud.visible.copy()),
        index=torch.from_numpy(place),
        rows=torch.from_numpy(rows),
        frame=frame,
    )


def _check_number(cloud: Cloud, number: int, num_points: int | None) -> None:
    if number < len(cloud.points):
        rule = f"have at least as many points as the {len(cloud.points)} keypoints"
        raise ValueError(message("make_cloud_example", "cloud", rule, f"{number} in {cloud.key}"))
    if num_points is None:
        return
    if num_points < len(cloud.points):
        rule = f"be at least the number of keypoints ({len(cloud.points)})"
        raise ValueError(message("make_cloud_example", "num_points", rule, num_points))
    if number < num_points:
        remedy = f"Take num_points <= {number}, or sample the surface more densely."
        rule = f"have at least num_points = {num_points} points"
        raise ValueError(message("make_cloud_example", "cloud", rule, f"{number} in {cloud.key}", remedy))


def _keypoint_rows(cloud: Cloud, points: FloatArray) -> IndexArray:
    """The row of each keypoint: the one the set names, otherwise the nearest; 0 where not visible."""
    return cloud.index if cloud.index is not None else np.where(cloud.visible, _nearest(points, cloud.points), 0)


def _nearest(xyz: FloatArray, points: FloatArray) -> IndexArray:
    """The first of the rows of `xyz` that are nearest to each point."""
    squares = ((xyz[None] - points[:, None]) ** 2).sum(axis=-1)
    return squares.argmin(axis=1).astype(np.int64)


def _choose(rows: IndexArray, kept: IndexArray, num_points: int, rng: np.random.Generator) -> IndexArray:
    others = np.setdiff1d(rows, kept, assume_unique=True)
    return np.sort(np.concatenate([kept, rng.choice(others, num_points - len(kept), replace=False)]))


def _move(frame: CloudFrame, augmentation: CloudAugmentation, rng: np.random.Generator) -> CloudFrame:
    """All numbers are drawn whatever the ranges, so that switching one change off leaves the others as they were."""
    turn, grow, length = rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0, 1)
    direction = rng.standard_normal(3)
    matrix = (1 + augmentation.scale * grow) * turn_about(augmentation.up, augmentation.rotation_deg * turn)
    matrix[:, 3] = augmentation.translation * length * direction / np.linalg.norm(direction)
    return frame.then(matrix)


def _jitter(number: int, augmentation: CloudAugmentation, rng: np.random.Generator) -> FloatArray:
    noise = augmentation.jitter * rng.standard_normal((number, 3))
    return noise.clip(-augmentation.jitter_clip, augmentation.jitter_clip)


def _drop(rows: IndexArray, kept: IndexArray, augmentation: CloudAugmentation, rng: np.random.Generator) -> IndexArray:
    """For each row of the input the place among `rows` that it shows: its own, or where it is lost, one that is not."""
    share = augmentation.dropout * rng.uniform(0, 1)
    is_lost = (rng.random(len(rows)) < share) & ~np.isin(rows, kept)
    if is_lost.all():
        is_lost[0] = False
    places = np.arange(len(rows), dtype=np.int64)
    left = places[~is_lost]
    places[is_lost] = left[rng.integers(0, len(left), int(is_lost.sum()))]
    return places


def _first_place(rows: IndexArray, index: IndexArray) -> IndexArray:
    """Where in `rows` each of `index` stands first; rows that are not there give any place."""
    order = np.argsort(rows, kind="stable")
    found = np.searchsorted(rows[order], index).clip(max=len(rows) - 1)
    return order[found].astype(np.int64)
