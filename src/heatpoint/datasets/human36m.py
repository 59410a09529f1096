"""Human3.6M: images with points in space and their cameras, in the annotation files that most published code shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from heatpoint._checks import check_whole, message, one_of
from heatpoint.datasets.coco_records import box_in_image
from heatpoint.datasets.human36m_records import (
    ACTIONS,
    Record,
    camera_problem,
    camera_that_fits,
    known_cameras,
    read_sampled,
    read_subjects,
)
from heatpoint.datasets.image_files import with_images
from heatpoint.datasets.sample import (
    Body,
    PointSet,
    Sample,
    check_split,
    require_folder,
    resolve_data_root,
    settle,
)
from heatpoint.frames import FloatArray
from heatpoint.skeleton import load_skeleton

SPLITS = ("train", "test")
SUBJECTS: Mapping[int, Mapping[str, tuple[int, ...]]] = {
    1: {"train": (1, 5, 6, 7, 8, 9), "test": (11,)},
    2: {"train": (1, 5, 6, 7, 8), "test": (9, 11)},
}
EVERY = {"train": 5, "test": 64}
SAMPLED = {
    "train": "Sample_trainmin_train_Human36M_protocol_{}.json",
    "test": "Sample_64_test_Human36M_protocol_{}.json",
}
# Three recordings of subject 9 whose points drift off the body; Sampling-Argmax's published code leaves them out.
DRIFTED = ("s_09_act_05_subact_02", "s_09_act_10_subact_02", "s_09_act_13_subact_01")
SHOULDERS = (11, 14)
# For every point of human36m18 the MPII point that stands for it in mixed training; torso and nose have none.
FROM_MPII = (6, 2, 1, 0, 3, 4, 5, None, 8, None, 9, 13, 14, 15, 12, 11, 10, 7)
REMEDY = (
    "Get the set from vision.imar.ro/human3.6m (registration) and its parsed annotations as in 3DMPPE_POSENET_RELEASE: "
    "annotations/Human36M_subject{1,5,6,7,8,9,11}_{data,camera,joint_3d}.json beside images/s_01_act_02_subact_01_ca_01/…"
)


def read_human36m(
    root: Path | str,
    split: str,
    *,
    problems: list[str] | None = None,
    protocol: int = 2,
    every: int | None = None,
    thorax: bool = True,
    drifted: bool = False,
    cameras: Path | str | None = None,
) -> PointSet:
    """Reads a split of Human3.6M: images, points in space (millimetres, in the camera's frame) and their projections.

    Two layouts of `annotations/` are read, the first where both are there:

    - per subject, as published with 3DMPPE: `Human36M_subject1_data.json` (`images` with id, file_name, width, height, subject,
      action_idx, subaction_idx, cam_idx, frame_idx; `annotations` with image_id and bbox), `…_camera.json` (per cam_idx R, t, f,
      c) and `…_joint_3d.json` (per action, subaction and frame 17 world points in millimetres);
    - drawn beforehand, as Sampling-Argmax reads: `Sample_trainmin_train_Human36M_protocol_2.json` and
      `Sample_64_test_Human36M_protocol_2.json`, whose annotations hold bbox, keypoints_world and cam_param (R, t, f, c).

    Files are in use whose t is the camera's position, X_cam = R (X − t), and others where X_cam = R X + t. For every camera the
    form is taken under which the points fall into their boxes; the protocol says which.

    Args:
        root: The folder that holds annotations/ and images/.
        split: "train" or "test".
        problems: None to raise; a list to append all problems to.
        protocol: 2 tests on subjects 9 and 11 and trains on 1, 5, 6, 7 and 8; 1 tests on 11 and trains on 9 too.
        every: Which share of the frames is read in the first layout, those whose frame_idx it divides; None is the published
            5 for training and 64 for testing.
        thorax: Whether the thorax, the middle of the shoulders, is appended as point 17 (skeleton human36m18, else human36m17).
        drifted: Whether the three recordings of subject 9 whose points drift off the body stay in. Sampling-Argmax's code
            leaves them out, 3DMPPE's keeps them.
        cameras: A camera-parameters.json (github.com/karfly/human36m-camera-parameters) to project with instead, through the
            lenses' distortion; without it lenses are ideal, as in the published code, which is up to about 2.5 pixels off.

    Raises:
        FileNotFoundError: If a folder or file is missing; or, in one line, for all missing images.
        ValueError: If an argument is unknown; or, in one line, for all broken records.
    """
    check_split("human36m", split, SPLITS)
    one_of("human36m", "protocol", str(protocol), [str(number) for number in SUBJECTS])
    root = require_folder("human36m", Path(root), get=REMEDY)
    folder = require_folder("human36m", root / "annotations", remedy=REMEDY)
    require_folder("human36m", root / "images", remedy=REMEDY)
    subjects = SUBJECTS[protocol][split]
    found: list[str] = []
    if list(folder.glob("Human36M_subject*_data.json")):
        step = EVERY[split] if every is None else check_whole("human36m", "every", every, "be at least 1", least=1)
        records, frames = read_subjects(folder, subjects, step, found, REMEDY), f"every {step}th of annotated frames"
    else:
        path = folder / SAMPLED[split].format(protocol)
        if every is not None:
            rule = "be None, since frames were drawn beforehand"
            raise ValueError(message("human36m", "every", rule, f"{every} with {path.name}", "Leave it out."))
        records, frames = read_sampled(path, subjects, found, REMEDY), f"as drawn in {path.name}"
    if not records and not found:
        found.append(f"{folder} holds no frame of the split {split!r}")
    kept = [record for record in records if drifted or not record.name.startswith(DRIFTED)]
    made, forms = _samples(kept, root / "images", None if cameras is None else Path(cameras), thorax, found)
    settle("human36m", found, problems, REMEDY)
    samples = with_images("human36m", made, problems, remedy=REMEDY)
    stored = {
        "protocol": protocol,
        "subjects": list(subjects),
        "frames": frames,
        "left out": f"{len(records) - len(kept)} frames of three drifted recordings",
        "boxes": "bbox of the annotations (the extent of the projected points times 1.2)",
        "cameras": ", ".join(forms),
        "coordinates": "world points projected by the cameras, taken as pixel centres from 0",
        "scored": "points 0 to 16, measured from the pelvis, which counts",
    }
    return PointSet("human36m", split, load_skeleton("human36m18" if thorax else "human36m17"), samples, stored)


def open_human36m(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> PointSet:
    """Human3.6M under `data_root`/human36m; see `read_human36m`."""
    return read_human36m(resolve_data_root(data_root) / "human36m", split, problems=problems)


def with_thorax(points: FloatArray) -> FloatArray:
    """Appends the thorax, the mean of the shoulders, to points (…, 17, D): (…, 18, D).

    >>> with_thorax(np.arange(17.0)[:, None])[-1]
    array([12.5])
    """
    return np.concatenate([points, points[..., list(SHOULDERS), :].mean(axis=-2, keepdims=True)], axis=-2)


def mpii_as_human36m(points: PointSet) -> PointSet:
    """Gives samples of MPII the points of human36m18, to be mixed in: they teach x and y, and have no depth (`body` is None).

    As in Sampling-Argmax's published code torso and nose have no counterpart in MPII and are not visible.

    Args:
        points: A set with the 16 points of MPII.

    Raises:
        ValueError: If its skeleton is another.
    """
    if points.skeleton.names != load_skeleton("mpii16").names:
        rule = "have the skeleton mpii16"
        raise ValueError(
            message("mpii_as_human36m", "points", rule, f"{points.skeleton.num_points} points of {points.name}")
        )
    order = np.array([-1 if index is None else index for index in FROM_MPII])

    def taken(values: Any) -> Any:
        kept = (order >= 0).reshape(-1, *([1] * (values.ndim - 1)))
        return np.where(kept, values[order], np.zeros_like(values[order]))

    samples = tuple(
        replace(
            sample,
            points=taken(sample.points),
            visible=taken(sample.visible),
            occluded=None if sample.occluded is None else taken(sample.occluded),
        )
        for sample in points.samples
    )
    stored = {**points.protocol, "points": "of MPII, in the order of human36m18; torso and nose are missing"}
    return PointSet(points.name, points.split, load_skeleton("human36m18"), samples, stored)


def _samples(
    records: Sequence[Record], images: Path, cameras: Path | None, thorax: bool, found: list[str]
) -> tuple[list[Sample], list[str]]:
    """The samples of all cameras, and in which form their cameras were given; what is wrong goes to `found`."""
    groups: dict[Any, list[Record]] = {}
    for record in records:
        groups.setdefault(record.camera_key, []).append(record)
    known = {} if cameras is None else known_cameras(cameras)
    samples: dict[int, Sample] = {}
    forms: dict[str, None] = {}
    for members in groups.values():
        if cameras is None:
            camera, form = camera_that_fits(members)
        else:
            key = (members[0].subject, members[0].camera_number)
            camera, form = known.get(key), f"{cameras.name}, with distortion"
        if camera is None:
            lacking = f"{cameras} holds no camera {members[0].camera_number} of subject {members[0].subject}"
            found.append(form if cameras is None else lacking)
            continue
        wrong = "" if cameras is None else camera_problem(camera, members)
        if wrong:
            found.append(f"{wrong}, by {cameras}")
            continue
        forms[form] = None
        world = np.stack([record.world for record in members])
        points = camera.from_world(with_thorax(world) if thorax else world)
        in_front = (points[..., 2] > 0).all(axis=-1)
        found.extend(f"{members[i].label} has points behind its camera" for i in np.flatnonzero(~in_front))
        pixels = camera.project(points[in_front])
        for i, seen in zip(np.flatnonzero(in_front), pixels, strict=True):
            samples[id(members[i])] = _sample(members[i], images, Body(points[i], camera), seen)
    return [samples[id(record)] for record in records if id(record) in samples], list(forms)


def _sample(record: Record, images: Path, body: Body, pixels: FloatArray) -> Sample:
    return Sample(
        images / record.name,
        points=pixels,
        visible=np.ones(len(pixels), dtype=np.bool_),
        box=box_in_image(record.bbox.tolist(), record.image),
        key=record.name,
        # The four cameras show one moment, and the frames of one recording differ little.
        group=record.name.split("_ca_")[0],
        tags=frozenset({ACTIONS[record.action]}),
        ids={"image_id": record.image_id, "subject": record.subject, "camera": record.camera_number},
        body=body,
    )
