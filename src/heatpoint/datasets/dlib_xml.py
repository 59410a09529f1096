"""dlib's XML: boxes with named parts, as imglab writes them and dlib's shape predictors are trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from heatpoint._checks import message
from heatpoint.datasets.image_files import with_images
from heatpoint.datasets.sample import Box, PointSet, Sample, report, settle
from heatpoint.skeleton import Skeleton, load_skeleton

REMEDY = "An image holds boxes (top, left, width, height), a box its parts (name, x, y), named by number or as in the skeleton."


def read_dlib_xml(
    path: Path | str,
    skeleton: Skeleton | str | Path = "face68",
    *,
    split: str = "all",
    name: str = "dlib",
    problems: list[str] | None = None,
) -> PointSet:
    """Reads a dlib XML file: one sample for every box with parts; the boxes of an image are one group.

    Parts are placed by their names: all of them the skeleton's names, or numbers from 0 ("00" … "67"). A part that is not
    there is not visible. Boxes marked `ignore` and boxes without parts are left out, and `protocol` counts them. dlib counts
    pixels from 0, and a box's last pixel is left + width − 1.

    Args:
        path: The file; image paths in it begin at its folder.
        skeleton: A skeleton, the name of one, or the path of a skeleton file.
        split: What the file is a split of; stored only.
        name: Name of the set.
        problems: None raises on what is wrong; a list takes it.

    Raises:
        FileNotFoundError: If the file is missing; or, in one line, for all missing images.
        ValueError: If it is no such file; or, in one line, for all broken boxes.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(message(name, "path", "be an existing file", path, "Give dlib's XML file."))
    skeleton = skeleton if isinstance(skeleton, Skeleton) else load_skeleton(skeleton)
    images = _images(path)
    found = [] if images else [f"{path} names no image"]
    samples: list[Sample] = []
    left_out = {"ignored": 0, "without parts": 0}
    for number, image in enumerate(images, start=1):
        file = image.get("file", "")
        if not file:
            found.append(f"{path} image {number} names no file")
            continue
        for index, box in enumerate(image.iter("box"), start=1):
            if box.get("ignore", "0") not in ("0", ""):
                left_out["ignored"] += 1
            elif box.find("part") is None:
                left_out["without parts"] += 1
            else:
                sample = _sample(path.parent / file, file, index, box, skeleton)
                found += [f"{path} {file} box {index} {text}" for text in sample if isinstance(text, str)]
                samples += [item for item in sample if isinstance(item, Sample)]
    if not samples and not found:
        found.append(f"{path} holds no box with parts")
    settle(name, found, problems, REMEDY)
    kept = with_images(name, samples, problems, remedy="Image paths begin at the folder of the XML file.")
    protocol = {
        "annotations": path.name,
        "left out": ", ".join(f"{count} boxes {what}" for what, count in left_out.items()),
        "coordinates": "from 0",
    }
    return PointSet(name, split, skeleton, kept, protocol)


def _images(path: Path) -> list[ElementTree.Element]:
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(report(str(path), [f"it is not XML ({error})"], REMEDY)) from None
    if root.tag != "dataset":
        raise ValueError(report(str(path), [f"its root must be dataset, got {root.tag}"], REMEDY))
    return list(root.iter("image"))


def _sample(
    image: Path, file: str, index: int, element: ElementTree.Element, skeleton: Skeleton
) -> tuple[Sample] | tuple[str, ...]:
    """The sample of one box, or everything that is wrong with it."""
    box = _box(element)
    wrong = [box] if isinstance(box, str) else []
    points = np.zeros((skeleton.num_points, 2))
    visible = np.zeros(skeleton.num_points, dtype=np.bool_)
    for part, place in _places(element, skeleton):
        if place is None:
            wrong.append(
                f"has the part {part.get('name')!r}, which the skeleton of {skeleton.num_points} points has not"
            )
            continue
        xy = _numbers(part, ("x", "y"))
        if xy is None:
            wrong.append(f"part {part.get('name')!r} must have finite numbers x and y")
        elif visible[place]:
            wrong.append(f"has the part {part.get('name')!r} twice")
        else:
            points[place], visible[place] = xy, True
    if wrong or isinstance(box, str):
        return tuple(wrong)
    return (Sample(image, points, visible, box, f"{file}#{index}", group=file),)


def _places(element: ElementTree.Element, skeleton: Skeleton) -> Iterator[tuple[ElementTree.Element, int | None]]:
    """Each part with its index in the skeleton; None where it has none."""
    by_name = {name: place for place, name in enumerate(skeleton.names)}
    for part in element.iter("part"):
        name = part.get("name", "")
        place = by_name.get(name)
        if place is None and name.isascii() and name.isdigit() and len(name) < 10 and int(name) < skeleton.num_points:
            place = int(name)
        yield part, place


def _box(element: ElementTree.Element) -> Box | str:
    values = _numbers(element, ("left", "top", "width", "height"))
    if values is None:
        return "must have finite numbers top, left, width and height"
    left, top, width, height = values
    if width < 1 or height < 1:
        return f"must be at least 1 pixel wide and high, got {width:g} x {height:g}"
    return left, top, left + width - 1, top + height - 1


def _numbers(element: ElementTree.Element, keys: tuple[str, ...]) -> tuple[float, ...] | None:
    try:
        values = tuple(float(element.get(key, "")) for key in keys)
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None
