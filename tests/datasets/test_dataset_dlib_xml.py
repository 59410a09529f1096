"""dlib's XML files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from heatpoint.datasets import load_image, read_dlib_xml
from heatpoint.datasets.dlib_xml import REMEDY
from heatpoint.skeleton import Skeleton

THREE = Skeleton(("nose", "left", "right"))
BOX = "top='3' left='2' width='10' height='20'"
PARTS = "<part name='nose' x='4' y='5'/><part name='2' x='7.5' y='8'/>"


def write(root: Path, *images: str) -> Path:
    path = root / "set.xml"
    path.write_text(f"<?xml version='1.0'?>\n<dataset><images>{''.join(images)}</images></dataset>")
    for name in ("a.png", "sub/b.png"):
        (root / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(root / name), np.zeros((30, 20, 3), np.uint8))
    return path


def image(file: str, *boxes: str) -> str:
    return f"<image file='{file}'>{''.join(boxes)}</image>"


def test_every_box_is_a_sample_and_an_image_a_group(tmp_path: Path) -> None:
    skipped = f"<box {BOX} ignore='1'>{PARTS}</box>", f"<box {BOX}/>"
    face, other = f"<box {BOX}>{PARTS}</box>", f"<box {BOX} ignore='0'><part name='01' x='1' y='2'/></box>"
    path = write(tmp_path, image("a.png", face, *skipped), image("sub/b.png", face, other))
    found = read_dlib_xml(path, THREE, split="train", name="mine")
    assert [s.key for s in found.samples] == ["a.png#1", "sub/b.png#1", "sub/b.png#2"]
    assert [s.group for s in found.samples] == ["a.png", "sub/b.png", "sub/b.png"]
    first, last = found.samples[0], found.samples[2]
    # The last of 10 pixels that begin at 2 is 11.
    assert first.box == (2, 3, 11, 22)
    assert first.points.tolist() == [[4, 5], [0, 0], [7.5, 8]]
    assert first.visible.tolist() == [True, False, True]
    assert last.visible.tolist() == [False, True, False]
    assert last.image == tmp_path / "sub" / "b.png"
    assert (found.name, found.split) == ("mine", "train")
    assert found.protocol["left out"] == "1 boxes ignored, 1 boxes without parts"


@pytest.mark.parametrize(
    ("boxes", "texts"),
    [
        (
            f"<box {BOX}><part name='3' x='1' y='1'/><part name='eye' x='1' y='1'/></box>",
            [
                "has the part '3', which the skeleton of 3 points has not",
                "has the part 'eye', which the skeleton of 3 points has not",
            ],
        ),
        (
            f"<box {BOX}><part name='0' x='1' y='1'/><part name='nose' x='1' y='1'/></box>",
            ["has the part 'nose' twice"],
        ),
        (f"<box {BOX}><part name='0' x='1'/></box>", ["part '0' must have finite numbers x and y"]),
        (f"<box {BOX}><part name='0' x='1' y='nan'/></box>", ["part '0' must have finite numbers x and y"]),
        (
            f"<box top='1' left='x' width='2' height='2'>{PARTS}</box>",
            ["must have finite numbers top, left, width and height"],
        ),
        (
            "<box top='1' left='1' width='0' height='2'><part name='9' x='1' y='1'/></box>",
            [
                "must be at least 1 pixel wide and high, got 0 x 2",
                "has the part '9', which the skeleton of 3 points has not",
            ],
        ),
    ],
)
def test_broken_boxes_come_in_one_report(boxes: str, texts: list[str], tmp_path: Path) -> None:
    good = f"<box {BOX}>{PARTS}</box>"
    path = write(tmp_path, image("a.png", good, boxes))
    expected = [f"{path} a.png box 2 {text}" for text in texts]
    with pytest.raises(ValueError) as caught:
        read_dlib_xml(path, THREE)
    assert str(caught.value) == f"dlib: {'; '.join(expected)}. {REMEDY}"
    problems: list[str] = []
    assert [s.key for s in read_dlib_xml(path, THREE, problems=problems).samples] == ["a.png#1"]
    assert problems == expected


def test_files_of_which_nothing_is_left(tmp_path: Path) -> None:
    path = write(tmp_path, image("a.png", f"<box {BOX} ignore='1'>{PARTS}</box>", f"<box {BOX}/>"))
    with pytest.raises(ValueError, match=r"^dlib: .*set\.xml holds no box with parts\."):
        read_dlib_xml(path, THREE)
    path = write(tmp_path, image("a.png", f"<box {BOX}><part name='{'9' * 5000}' x='1' y='1'/></box>"))
    with pytest.raises(ValueError, match=r"9', which the skeleton of 3 points has not"):
        read_dlib_xml(path, THREE)


def test_missing_images(tmp_path: Path) -> None:
    path = write(tmp_path, image("none.png", f"<box {BOX}>{PARTS}</box>"), "<image/>")
    problems: list[str] = []
    assert len(read_dlib_xml(path, THREE, problems=problems)) == 0
    assert problems == [f"{path} image 2 names no file", f"image {tmp_path / 'none.png'} is missing"]
    path = write(tmp_path, image("none.png", f"<box {BOX}>{PARTS}</box>"))
    with pytest.raises(FileNotFoundError) as caught:
        read_dlib_xml(path, THREE)
    got = f"{tmp_path / 'none.png'} (1 of 1 missing)"
    remedy = "Image paths begin at the folder of the XML file."
    assert str(caught.value) == f"dlib: images must be existing files, got {got}. {remedy}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<dataset>", "it is not XML ("),
        ("<?xml version='1.0' encoding='nonsense'?><dataset/>", "it is not XML ("),
        ("<images/>", "its root must be dataset, got images. "),
    ],
)
def test_files_that_are_something_else(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "set.xml"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        read_dlib_xml(path)
    assert str(caught.value).startswith(f"{path}: {problem}")
    assert str(caught.value).endswith(f". {REMEDY}")


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        read_dlib_xml(tmp_path / "none.xml")
    rule = f"path must be an existing file, got {tmp_path / 'none.xml'}"
    assert str(caught.value) == f"dlib: {rule}. Give dlib's XML file."
    with pytest.raises(ValueError, match=r"dlib: .*set\.xml names no image\. "):
        read_dlib_xml(write(tmp_path))


@pytest.mark.parametrize(("part", "images", "faces"), [("training", 4, 18), ("testing", 5, 25)])
def test_real_files(part: str, images: int, faces: int, data_root: Path) -> None:
    path = data_root / "faces_formats" / "dlib" / f"{part}_with_face_landmarks.xml"
    if not path.is_file():
        pytest.skip("the sample faces are absent")
    found = read_dlib_xml(path)
    assert len(found) == faces
    assert len({s.group for s in found.samples}) == images
    assert all(s.visible.all() for s in found.samples)
    sample = found.samples[0]
    height, width = load_image(sample).shape[:2]
    assert ((sample.points >= 0) & (sample.points <= (width - 1, height - 1))).all()
    if part == "testing":
        assert sample.box == (274, 181, 325, 233)
        assert sample.points[0].tolist() == [277, 194]
