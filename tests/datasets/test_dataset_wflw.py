"""WFLW: real faces written as lines of its lists, attributes, boxes, and everything that can be wrong with a root."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from heatpoint.datasets import load_image, read_wflw
from heatpoint.datasets.wflw import open_wflw
from heatpoint.skeleton import load_skeleton

LISTS = "WFLW_annotations/list_98pt_rect_attr_train_test"
REMEDY = "A line is: x1 y1 … x98 y98, the box x1 y1 x2 y2, six attributes of 0 or 1, and the path of the image."
FACES = "must hold the 2500 faces of the official set, got"

pytestmark = pytest.mark.filterwarnings("ignore:wflw. split .* must hold the .* faces")


def line_of(points: np.ndarray, box: tuple[float, ...], flags: str, name: str) -> str:
    return f"{' '.join(f'{v:.6f}' for v in points.ravel())} {' '.join(f'{v:g}' for v in box)} {flags} {name}"


def write_lists(root: Path, test: list[str], train: list[str] | None = None) -> Path:
    (root / LISTS).mkdir(parents=True, exist_ok=True)
    (root / "WFLW_images").mkdir(exist_ok=True)
    for split, lines in (("test", test), ("train", test if train is None else train)):
        (root / LISTS / f"list_98pt_rect_attr_{split}.txt").write_text("\n".join(lines) + "\n")
    return root / LISTS / "list_98pt_rect_attr_test.txt"


@pytest.fixture
def records(data_root: Path) -> list[tuple[str, np.ndarray, tuple[float, ...]]]:
    """The four real faces in two photographs: name of the image, points and a box."""
    content = json.loads((data_root / "samples/wflw/test_wflw.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    result = []
    for record in content["annotations"]:
        points = np.array(record["keypoints"]).reshape(98, 3)[:, :2]
        x, y, w, h = record["bbox"]
        result.append((names[record["image_id"]], points, (round(x), round(y), round(x + w), round(y + h))))
    return result


@pytest.fixture
def root(tmp_path: Path, data_root: Path, records: list[tuple[str, np.ndarray, tuple[float, ...]]]) -> Path:
    flags = ["1 0 0 0 0 0", "0 1 0 1 0 0", "0 0 1 0 0 1", "0 0 0 0 1 0"]
    lines = [line_of(p, box, f, f"7--Cheering/{name}") for (name, p, box), f in zip(records, flags, strict=True)]
    root = tmp_path / "wflw"
    write_lists(root, lines)
    (root / "WFLW_images/7--Cheering").mkdir()
    for name in {name for name, _, _ in records}:
        shutil.copy(data_root / "samples/wflw" / name, root / "WFLW_images/7--Cheering" / name)
    return root


def test_real_faces_as_lines(root: Path, records: list[tuple[str, np.ndarray, tuple[float, ...]]]) -> None:
    faces = read_wflw(root, "test")
    assert (faces.name, faces.split, len(faces), faces.skeleton) == ("wflw", "test", 4, load_skeleton("face98"))
    for sample, (name, points, box) in zip(faces.samples, records, strict=True):
        assert np.abs(sample.points - points).max() < 1e-6
        assert sample.box == box
        assert sample.group == f"7--Cheering/{name}"
        assert load_image(sample).shape[2] == 3
        assert sample.visible.all()
    assert [sample.key for sample in faces.samples] == ["test/1", "test/2", "test/3", "test/4"]
    assert len({sample.group for sample in faces.samples}) == 2
    assert faces.protocol["faces"] == "4 of 2500"


def test_attributes_are_tags(root: Path) -> None:
    tags = [sorted(sample.tags) for sample in read_wflw(root, "test").samples]
    assert tags == [["pose"], ["expression", "make-up"], ["blur", "illumination"], ["occlusion"]]


def test_train_is_the_other_list(root: Path) -> None:
    train = root / LISTS / "list_98pt_rect_attr_train.txt"
    train.write_text(train.read_text().split("\n")[2] + "\n\n")
    assert [sample.key for sample in read_wflw(root, "train").samples] == ["train/1"]
    assert len(read_wflw(root, "test")) == 4


def test_order_of_the_points_is_the_published_one(root: Path, goldens: object) -> None:
    skeleton = load_skeleton("face98")
    assert list(skeleton.swap) == goldens("03_h3r_geometry")["flip_order_wflw"].tolist()  # type: ignore[operator]
    arrays = goldens("06_nme_faces")  # type: ignore[operator]
    assert skeleton.normalizers["inter_ocular"] == tuple((int(i),) for i in arrays["wflw_outer_eye_corner_idx"])
    pupils = tuple(tuple(arrays[f"wflw_pupil_idx_{side}"].tolist()) for side in ("left", "right"))
    assert skeleton.normalizers["inter_pupil"] == pupils
    for sample in read_wflw(root, "test").samples:
        points = dict(zip(skeleton.names, sample.points, strict=True))
        # The pupil lies within the lids of its eye, and the subject's right eye left of the left one.
        for side in ("right", "left"):
            lids = np.stack([points[f"{side}_eye_{i}"] for i in range(8)])
            assert (lids.min(axis=0) - 1 < points[f"{side}_pupil"]).all()
            assert (points[f"{side}_pupil"] < lids.max(axis=0) + 1).all()
        assert points["right_pupil"][0] < points["left_pupil"][0]


def test_another_number_of_faces_is_said(root: Path) -> None:
    with pytest.warns(UserWarning, match=f"wflw: split 'test' {FACES} 4. A score on another number of faces cannot be"):
        read_wflw(root, "test")


GOOD = np.arange(196, dtype=np.float64).reshape(98, 2)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1 2 3 a.jpg", "must hold 206 numbers and a path, got 4 of these 207"),
        (line_of(GOOD, (1, 2, 3, 4), "0 0 0 0 0 0", ""), "must hold 206 numbers and a path, got 206 of these 207"),
        (line_of(GOOD, (1, 2, 3, 4), "0 0 x 0 0 0", "a.jpg"), "must hold 206 numbers before the path"),
        (line_of(GOOD + np.nan, (1, 2, 3, 4), "0 0 0 0 0 0", "a.jpg"), "must hold finite numbers"),
        (
            line_of(GOOD, (5, 2, 3, 4), "0 0 0 0 0 0", "a.jpg"),
            "must hold a box of x1 < x2 and y1 < y2, got 5 2 3 4",
        ),
        (line_of(GOOD, (1, 2, 3, 4), "0 0 2 0 0 0", "a.jpg"), "must hold attributes of 0 or 1, got 0 0 2 0 0 0"),
    ],
)
def test_broken_lines(line: str, problem: str, tmp_path: Path) -> None:
    path = write_lists(tmp_path, ["", line])
    with pytest.raises(ValueError) as caught:
        read_wflw(tmp_path, "test")
    assert str(caught.value) == f"wflw: {path} line 2 {problem}. {REMEDY}"


def test_everything_wrong_goes_into_the_list(root: Path) -> None:
    path = root / LISTS / "list_98pt_rect_attr_test.txt"
    lines = path.read_text().split("\n")
    lines[0] = lines[0].replace(" 1 0 0 0 0 0 ", " 7 0 0 0 0 0 ")
    lines[3] = lines[3][10:].split(" ", 1)[1]
    path.write_text("\n".join(lines))
    image = root / "WFLW_images/7--Cheering/7_Cheering_Cheering_7_16.jpg"
    image.unlink()
    problems: list[str] = []
    faces = open_wflw(root.parent, "test", problems=problems)
    assert len(faces) == 0
    assert problems == [
        f"{path} line 1 must hold attributes of 0 or 1, got 7 0 0 0 0 0",
        f"{path} line 4 must hold 206 numbers and a path, got {len(lines[3].split())} of these 207",
        f"wflw: split 'test' {FACES} 4. A score on another number of faces cannot be compared with published ones.",
        f"image {image} is missing",
    ]


def test_missing_images_are_one_error(root: Path) -> None:
    (root / "WFLW_images/7--Cheering/7_Cheering_Cheering_7_16.jpg").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"wflw: images must be existing files, got .*7_16.jpg \(1 of 2 missing\)"
    ):
        read_wflw(root, "test")


def test_missing_folders_say_where_to_get_the_set(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match="must hold the folder .*wflw, got no such folder. Set .* Get images and annot"
    ):
        open_wflw(tmp_path, "test")
    (tmp_path / "wflw").mkdir()
    with pytest.raises(FileNotFoundError) as caught:
        open_wflw(tmp_path, "test")
    path = tmp_path / "wflw" / LISTS / "list_98pt_rect_attr_test.txt"
    expected = (
        f"wflw: data root must hold {path}, {tmp_path / 'wflw/WFLW_images'}, got no such file or folder. Get images"
    )
    assert str(caught.value).startswith(expected)
    assert "wywu.github.io/projects/LAB/WFLW.html" in str(caught.value)


def test_empty_list_and_list_that_is_not_text(tmp_path: Path) -> None:
    path = write_lists(tmp_path, [""])
    with pytest.raises(ValueError, match="list_98pt_rect_attr_test.txt names no face"):
        read_wflw(tmp_path, "test")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="it is not text in UTF-8"):
        read_wflw(tmp_path, "test")


def test_unknown_split(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wflw: split must be one of test, train, got 'val'"):
        read_wflw(tmp_path, "val")
