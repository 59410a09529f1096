"""The owners' release of MPII: a MATLAB structure of images, people and their points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heatpoint._checks import message
from heatpoint.datasets._mat import read_mat
from heatpoint.datasets.image_files import with_images
from heatpoint.datasets.sample import Box, PointSet, Sample, require_folder, settle
from heatpoint.frames import FloatArray
from heatpoint.skeleton import load_skeleton

NUM_POINTS = 16
HEAD_SHARE = 0.6
BOX_NOTE = "square of 200·scale, moved down by 15·scale; published crop: padding 1.25"
REMEDY = "Take mpii_human_pose_v1_u12_2 from the owners' page again, and give the folder of its images."


def read_mpii_mat(
    path: Path | str, image_root: Path | str, *, split: str = "train", problems: list[str] | None = None
) -> PointSet:
    """Reads the people of the training images with labelled points; those of the test images are not published.

    A point is labelled if it stands in the list; where `is_visible` is 0 it is hidden (`Sample.occluded`). Everything counts
    from 1. `Sample.box` is as `heatpoint.datasets.mpii.read_mpii_json` says, `Sample.lengths["head"]` 0.6 times the diagonal of
    the head box; people who stand apart from others (`single_person`) have the tag "single_person". People without points, of
    whom the set gives the head alone, or without place or scale are left out; `protocol` counts them.

    Args:
        path: mpii_human_pose_v1_u12_1.mat.
        image_root: The folder of its images.
        split: What to call the split; stored only.
        problems: None raises what is wrong; a list takes it.

    Raises:
        FileNotFoundError: If the file or the folder is missing; or, in one line, for all missing images.
        ValueError: If the file is not of that form; or, in one line, for all broken records.
    """
    path, image_root = Path(path), require_folder("mpii", Path(image_root), remedy="Check image_root.")
    release = read_mat(path, names=("RELEASE",))["RELEASE"]
    if not isinstance(release, dict) or not {"annolist", "img_train", "single_person"} <= release.keys():
        rule = "hold a structure RELEASE of annolist, img_train and single_person"
        raise ValueError(message("mpii", str(path), rule, "another form", REMEDY))
    images, singles = _items(release["annolist"]), _items(release["single_person"])
    is_train = np.ravel(release["img_train"])
    if not len(images) == len(is_train) == len(singles):
        rule = "hold as many img_train and single_person as annolist"
        raise ValueError(
            message("mpii", str(path), rule, f"{len(is_train)} and {len(singles)} for {len(images)}", REMEDY)
        )
    found: list[str] = []
    samples, without = [], 0
    for index in np.flatnonzero(is_train):
        name = _field(_field(images[index], "image"), "name")
        if not isinstance(name, str) or not name:
            found.append(f"image {index + 1} has no name")
            continue
        apart = {int(number) for number in np.ravel(singles[index])}
        for number, person in enumerate(_items(_field(images[index], "annorect")), start=1):
            sample, wrong = _person(person, image_root / name, number, is_apart=number in apart)
            found += [f"person {number} of {name} {wrong}"] if wrong else []
            samples += [sample] if sample else []
            without += not sample and not wrong
    settle(str(path), found, problems, REMEDY)
    there = with_images("mpii", samples, problems, remedy="Check image_root, the folder of all images of MPII.")
    protocol = {
        "annotations": path.name,
        "coordinates": "files count from 1, points from 0",
        "box": BOX_NOTE,
        "head": "0.6 x the diagonal of the head box",
        "left out": f"{without} people without points, place, scale or head box",
    }
    return PointSet("mpii", split, load_skeleton("mpii16"), there, protocol)


def box_of_scale(center: Sequence[float], scale: float) -> Box:
    """The square of 200·scale pixels about a centre that counts from 1, moved down by 15·scale.

    >>> box_of_scale((101, 201), 0.5)
    (50.5, 158.0, 149.5, 257.0)
    """
    x, y, half = center[0] - 1, center[1] + 15 * scale - 1, (200 * scale - 1) / 2
    return (x - half, y - half, x + half, y + half)


def head_length(corners: FloatArray) -> FloatArray:
    """0.6 times the diagonal of head boxes (…, 4) of x1, y1, x2, y2.

    >>> float(head_length(np.array([10.0, 10.0, 13.0, 14.0])))
    3.0
    """
    length: FloatArray = HEAD_SHARE * np.linalg.norm(corners[..., 2:] - corners[..., :2], axis=-1)
    return length


def _items(value: Any) -> list[Any]:
    """The elements of a MATLAB matrix of structures or cells."""
    return [value] if isinstance(value, dict) else list(value.ravel()) if isinstance(value, np.ndarray) else []


def _field(structure: Any, name: str) -> Any:
    """A field of a structure; None if it has none of that name or is no structure."""
    return structure.get(name) if isinstance(structure, dict) else None


def _numbers(structure: Any, *names: str) -> FloatArray | None:
    """Finite numbers of a structure; None if one is missing."""
    values = [np.asarray(_field(structure, name)) for name in names]
    if any(value.size != 1 or value.dtype.kind not in "iufb" for value in values):
        return None
    numbers: npt.NDArray[np.float64] = np.array([float(value.ravel()[0]) for value in values])
    return numbers if np.isfinite(numbers).all() else None


def _person(person: Any, image: Path, number: int, *, is_apart: bool) -> tuple[Sample | None, str]:
    """The sample of one annorect, or None without points, place or scale; and what is wrong with it."""
    labels = [point for point in _items(_field(_field(person, "annopoints"), "point")) if isinstance(point, dict)]
    stand, scale = _numbers(_field(person, "objpos"), "x", "y"), _numbers(person, "scale")
    head = _numbers(person, "x1", "y1", "x2", "y2")
    if not labels or stand is None or scale is None or head is None:
        return None, ""
    if scale[0] <= 0:
        return None, "must have a scale greater than 0"
    # A length of 0 would drop the person from every score without a word.
    if not head_length(head) > 0:
        return None, "must have a head box of two corners that differ"
    points, visible = np.zeros((NUM_POINTS, 2)), np.zeros(NUM_POINTS, np.bool_)
    occluded = np.zeros(NUM_POINTS, np.bool_)
    for label in labels:
        place = _numbers(label, "id", "x", "y")
        if place is None or not 0 <= place[0] < NUM_POINTS:
            return None, f"must hold points of an id from 0 to {NUM_POINTS - 1} and finite x and y"
        index = int(place[0])
        points[index], visible[index] = place[1:] - 1, True
        occluded[index] = _is_hidden(_field(label, "is_visible"))
    sample = Sample(
        image,
        points,
        visible,
        box_of_scale(stand.tolist(), float(scale[0])),
        key=f"{image.name}#{number}",
        group=image.name,
        lengths={"head": float(head_length(head))},
        tags=frozenset({"single_person"} if is_apart else ()),
        occluded=occluded,
        ids={"image": image.name, "person": number},
    )
    return sample, ""


def _is_hidden(flag: Any) -> bool:
    """Whether is_visible is 0: the release holds numbers, texts and empty lists."""
    return np.size(flag) == 1 and str(np.ravel(flag)[0]).strip() in ("0", "0.0")
