"""Records of Human3.6M's annotation files: what they must hold, and which camera they mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heatpoint._checks import message
from heatpoint.cameras import Camera
from heatpoint.datasets.coco_records import is_box, is_list_of_objects, is_number, load_json
from heatpoint.frames import FloatArray

ACTION_NAMES = (
    "Directions",
    "Discussion",
    "Eating",
    "Greeting",
    "Phoning",
    "Posing",
    "Purchases",
    "Sitting",
    "SittingDown",
    "Smoking",
    "Photo",
    "Waiting",
    "Walking",
    "WalkDog",
    "WalkTogether",
)
# The files count from 2.
ACTIONS = dict(enumerate(ACTION_NAMES, start=2))
# Camera 1 to 4 of the file names, by their serial numbers.
SERIALS = ("54138969", "55011271", "58860488", "60457274")
NAME = re.compile(r"s_(\d+)_act_(\d+)_subact_(\d+)_ca_(\d+)")
NUM_POINTS = 17
# Enough to tell the two forms of a camera apart, which place a person metres from each other.
NUM_LOOKED_AT = 20


@dataclass(frozen=True, eq=False)
class Record:
    """One annotated frame.

    Args:
        label: How an error names it: file and record.
        name: `file_name`, below images/.
        image: Its record, with width and height.
        image_id: By which results name it.
        bbox: (4,) x, y, width, height.
        world: (17, 3) points in the world, in millimetres.
        parameters: R, t, f and c of its camera as the file gives them.
        camera_key: The same for frames of one camera.
        numbers: Subject, action, subaction and camera, by the file name.
    """

    label: str
    name: str
    image: Mapping[str, Any]
    image_id: int | str
    bbox: FloatArray
    world: FloatArray
    parameters: Mapping[str, Any]
    camera_key: object
    numbers: tuple[int, ...]

    @property
    def subject(self) -> int:
        """Number of the person."""
        return self.numbers[0]

    @property
    def action(self) -> int:
        """Number of the action, a key of `ACTIONS`."""
        return self.numbers[1]

    @property
    def camera_number(self) -> int:
        """1 to 4."""
        return self.numbers[3]


def read_subjects(folder: Path, subjects: Sequence[int], every: int, found: list[str], remedy: str) -> list[Record]:
    """The frames of the layout with three files per subject; what is wrong goes to `found`.

    Raises:
        FileNotFoundError: In one line, for all missing files.
        ValueError: If a file is not JSON, or not of this form.
    """
    kinds = ("data", "camera", "joint_3d")
    paths = {(s, kind): folder / f"Human36M_subject{s}_{kind}.json" for s in subjects for kind in kinds}
    missing = [str(path) for path in paths.values() if not path.is_file()]
    if missing:
        raise FileNotFoundError(message("human36m", "files", "exist", ", ".join(missing) + ", which do not", remedy))
    records = []
    for subject in subjects:
        content = _lists(paths[subject, "data"])
        cameras, joints = (load_json("human36m", "file", paths[subject, kind]) for kind in kinds[1:])
        file = paths[subject, "data"].name
        images: dict[int | str, Mapping[str, Any]] = {}
        for image in content["images"]:
            image_id, name = image.get("id"), image.get("file_name")
            if isinstance(image_id, int | str) and images.setdefault(image_id, image) is not image:
                found.append(f"{file} image {image_id} ({name}) has the id of {images[image_id].get('file_name')}")
        seen: set[int | str] = set()
        for index, annotation in enumerate(content["annotations"]):
            label = f"{file} annotation {annotation.get('id', f'number {index}')}"
            image_id = annotation.get("image_id")
            if not isinstance(image_id, int | str) or image_id not in images:
                found.append(f"{label} refers to the unknown image {image_id}")
                continue
            if image_id in seen:
                found.append(f"{label} is of image {image_id}, as one before it")
                continue
            seen.add(image_id)
            image = images[image_id]
            frame = image.get("frame_idx")
            if not isinstance(frame, int):
                found.append(f"{label} refers to an image without a whole frame_idx")
                continue
            if frame % every:
                continue
            keys = [image.get(key) for key in ("action_idx", "subaction_idx", "frame_idx")]
            number = image.get("cam_idx")
            world, parameters = _at(joints, keys), _at(cameras, [number])
            record = _record(label, image, annotation, world, parameters, (subject, number), [subject], found)
            # Points and camera are looked up by these numbers: others would be those of another picture.
            if record is not None and record.numbers[1:] != (*keys[:2], number):
                found.append(f"{label} must have the action, subaction and camera of its file_name {record.name!r}")
            elif record is not None:
                records.append(record)
    return records


def read_sampled(path: Path, subjects: Sequence[int], found: list[str], remedy: str) -> list[Record]:
    """The frames of a file drawn beforehand, image i beside annotation i; what is wrong goes to `found`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, or not of this form.
    """
    if not path.is_file():
        rule = "hold Human36M_subject*_data.json or this file"
        raise FileNotFoundError(message("human36m", "annotations", rule, f"no {path}", remedy))
    content = _lists(path)
    images, annotations = content["images"], content["annotations"]
    if len(images) != len(annotations):
        found.append(f"{path.name} must hold as many images as annotations, got {len(images)} and {len(annotations)}")
        return []
    records = []
    for index, (image, annotation) in enumerate(zip(images, annotations, strict=True)):
        label = f"{path.name} annotation {annotation.get('id', f'number {index}')}"
        ids = [values[key] for values, key in ((image, "id"), (annotation, "image_id")) if key in values]
        if len(set(map(str, ids))) > 1:
            found.append(f"{label} stands beside image {ids[0]}, but belongs to image {ids[1]}")
            continue
        parameters = annotation.get("cam_param")
        key = repr(parameters)
        world = annotation.get("keypoints_world")
        record = _record(
            label, {"id": ids[0] if ids else index, **image}, annotation, world, parameters, key, subjects, found
        )
        records += [] if record is None else [record]
    return records


def camera_that_fits(records: Sequence[Record]) -> tuple[Camera | None, str]:
    """The camera of some frames, in the form under which their points fall into their boxes, and that form in words.

    Returns:
        The camera and its form; or None and what is wrong.
    """
    first = records[0]
    try:
        r, t, f, c = (np.asarray(first.parameters[key], dtype=np.float64) for key in "Rtfc")
        forms = {
            "t as the camera's position": Camera(r, t.reshape(-1), f.reshape(-1), c.reshape(-1)),
            "t as a translation": Camera.from_translation(r, t.reshape(-1), f.reshape(-1), c.reshape(-1)),
        }
    except (KeyError, TypeError, ValueError) as error:
        return None, f"{first.label} must have a camera with R (3, 3), t (3), f (2) and c (2), got one with: {error}"
    best = max(forms, key=lambda form: _share_in_boxes(forms[form], records[:NUM_LOOKED_AT]))
    wrong = camera_problem(forms[best], records)
    if wrong:
        return None, f"{wrong}, whether t is its position or a translation"
    return forms[best], f"of the annotations, {best}, ideal lenses"


def camera_problem(camera: Camera, records: Sequence[Record]) -> str:
    """What is wrong with the camera of some frames: their points fall beside their boxes; "" if nothing is."""
    share = _share_in_boxes(camera, records[:NUM_LOOKED_AT])
    label = f"{records[0].label} and {len(records) - 1} more"
    return "" if share > 0.5 else f"{label} have a camera that shows {share:.0%} of the points in their boxes"


def known_cameras(path: Path) -> dict[tuple[int, int], Camera]:
    """The cameras, by subject and camera number, of a camera-parameters.json, whose lenses are distorted.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not of this form.
    """
    content = load_json("human36m", "cameras", path)
    cameras = {}
    try:
        for subject, outer in content["extrinsics"].items():
            for number, serial in enumerate(SERIALS, start=1):
                inner = content["intrinsics"][serial]
                matrix = np.asarray(inner["calibration_matrix"], dtype=np.float64)
                cameras[int(subject.removeprefix("S")), number] = Camera.from_translation(
                    np.asarray(outer[serial]["R"], dtype=np.float64),
                    np.asarray(outer[serial]["t"], dtype=np.float64).reshape(-1),
                    matrix[[0, 1], [0, 1]],
                    matrix[:2, 2],
                    np.asarray(inner["distortion"], dtype=np.float64),
                )
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        rule = "hold intrinsics (calibration_matrix, distortion) and extrinsics (R, t) of cameras " + ", ".join(SERIALS)
        raise ValueError(message("human36m", "cameras", rule, f"{path}: {error}")) from None
    return cameras


def _record(
    label: str,
    image: Mapping[str, Any],
    annotation: Mapping[str, Any],
    world: object,
    parameters: object,
    camera_key: object,
    subjects: Sequence[int],
    found: list[str],
) -> Record | None:
    name = image.get("file_name")
    match = NAME.search(name) if isinstance(name, str) else None
    wrong = []
    if match is None or int(match[2]) not in ACTIONS:
        wrong.append(f"must have a file_name with s_…_act_…_subact_…_ca_…, got {name!r}")
    elif int(match[1]) not in subjects:
        wrong.append(f"is of subject {int(match[1])}, but the file or split is of {', '.join(map(str, subjects))}")
    if not all(is_number(image.get(side)) and image[side] > 0 for side in ("width", "height")):
        wrong.append("refers to an image without width and height")
    if not is_box(annotation.get("bbox")):
        wrong.append("must hold a bbox of x, y and a width and height of at least 0")
    points = _points(world)
    if points is None:
        wrong.append(f"must have {NUM_POINTS} finite world points of three numbers")
    if not isinstance(parameters, Mapping):
        wrong.append("has no camera")
    found.extend(f"{label} {text}" for text in wrong)
    if wrong or match is None or points is None or not isinstance(parameters, Mapping):
        return None
    numbers = tuple(int(value) for value in match.groups())
    bbox = np.asarray(annotation["bbox"], dtype=np.float64)
    return Record(label, str(name), image, image.get("id", ""), bbox, points, parameters, camera_key, numbers)


def _points(value: object) -> FloatArray | None:
    try:
        points = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return points if points.shape == (NUM_POINTS, 3) and bool(np.isfinite(points).all()) else None


def _at(values: object, keys: Sequence[object]) -> object:
    """What lies under a path of keys, None where there is nothing."""
    for key in keys:
        values = values.get(str(key)) if isinstance(values, Mapping) else None
    return values


def _lists(path: Path) -> dict[str, Any]:
    content = load_json("human36m", "annotations", path)
    if not isinstance(content, dict) or not all(is_list_of_objects(content.get(k)) for k in ("images", "annotations")):
        rule = "hold the lists of objects 'images' and 'annotations'"
        raise ValueError(message("human36m", "annotations", rule, f"otherwise in {path}"))
    return content


def _share_in_boxes(camera: Camera, records: Sequence[Record]) -> float:
    """Share of the points that a camera shows in the boxes, grown by a fifth to each side."""
    world = np.stack([record.world for record in records])
    points = camera.from_world(world)
    in_front = points[..., 2] > 0
    pixels = np.full((*in_front.shape, 2), np.inf)
    pixels[in_front] = camera.project(points[in_front])
    boxes = np.stack([record.bbox for record in records])[:, None]
    corner, size = boxes[..., :2], boxes[..., 2:]
    inside = (pixels >= corner - 0.2 * size) & (pixels <= corner + 1.2 * size)
    return float(inside.all(axis=-1).mean())
