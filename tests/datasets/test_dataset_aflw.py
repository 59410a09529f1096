"""AFLW's 19 points: real faces in the variables of AFLWinfo_release.mat at its full size, and broken ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from heatpoint.datasets import read_aflw
from heatpoint.datasets.aflw import faces_of, open_aflw
from heatpoint.metrics.functional import normalizer_distance
from heatpoint.skeleton import load_skeleton

NUM = 24386
NAMES = ("0/image22568.jpg", "3/image04476.jpg")
FRONTAL = 1314

ignore_count = pytest.mark.filterwarnings("ignore:aflw. split .* must hold the .* faces")


def published(data_root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Points (2, 19, 2) and boxes (2, 4) left, right, top, bottom of the two real faces; AFLW's boxes are squares."""
    records = json.loads((data_root / "samples/aflw/test_aflw.json").read_text())["annotations"]
    points = np.array([np.array(r["keypoints"]).reshape(19, 3)[:, :2] for r in records])
    boxes = []
    for record in records:
        (x, y), half = record["center"], record["box_size"] / 2
        boxes.append([x - half, x + half, y - half, y + half])
    return points, np.array(boxes)


def variables(points: np.ndarray, boxes: np.ndarray, *, num: int = NUM) -> dict[str, Any]:
    """The variables of the file for `num` faces, the real ones in turn; 1314 faces of the test hide no point."""
    which = np.arange(num) % 2
    order = np.random.default_rng(0).permutation(num) + 1
    mask = np.ones((num, 19), dtype=np.uint8)
    test = order[20000:] - 1
    mask[order[:20000] - 1, 4] = 0
    mask[test[FRONTAL:], 7] = 0
    names = np.empty((num, 1), dtype=object)
    names[:, 0] = [NAMES[i] for i in which]
    data = points.transpose(0, 2, 1).reshape(2, 38)[which]
    return {
        "bbox": boxes[which],
        "data": data,
        "mask_new": mask,
        "nameList": names,
        "ra": order[None].astype(np.uint16),
    }


def copy_images(root: Path, data_root: Path, folder: str = "data/flickr") -> None:
    for name in NAMES:
        target = root / folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data_root / "samples/aflw" / target.name, target)


@pytest.fixture
def small(tmp_path: Path, data_root: Path) -> dict[str, Any]:
    """Six faces, all for training: what is read of a face does not depend on its split."""
    copy_images(tmp_path, data_root)
    return {**variables(*published(data_root), num=6), "ra": np.arange(1, 7)[None], "mask_new": np.ones((6, 19))}


def test_splits_at_full_size() -> None:
    order = np.random.default_rng(1).permutation(NUM)
    shown = np.ones((NUM, 19), dtype=np.bool_)
    shown[order[20000 + FRONTAL :], 18] = False
    assert np.array_equal(faces_of("train", order, shown), order[:20000])
    for split in ("test", "full"):
        assert np.array_equal(faces_of(split, order, shown), order[20000:])
    assert np.array_equal(faces_of("front", order, shown), order[20000 : 20000 + FRONTAL])


@pytest.mark.slow
def test_whole_set(tmp_path: Path, data_root: Path) -> None:
    copy_images(tmp_path, data_root)
    points, boxes = published(data_root)
    values = variables(points, boxes)
    savemat(tmp_path / "AFLWinfo_release.mat", values, do_compression=True)
    sets = {split: read_aflw(tmp_path, split) for split in ("train", "full", "front")}
    assert {split: len(faces) for split, faces in sets.items()} == {"train": 20000, "full": 4386, "front": 1314}
    order = values["ra"][0]
    assert [sample.key for sample in sets["train"].samples] == [str(face) for face in order[:20000]]
    assert [sample.key for sample in sets["full"].samples] == [str(face) for face in order[20000:]]
    front = [sample.key for sample in sets["full"].samples if "front" in sample.tags]
    assert front == [sample.key for sample in sets["front"].samples]
    assert sets["front"].protocol["faces"] == "1314 of 1314"
    for sample in sets["full"].samples[:8]:
        which = (int(sample.key) - 1) % 2
        assert np.array_equal(sample.points, points[which])
        left, right, top, bottom = boxes[which]
        assert sample.box == (left, top, right, bottom)
        assert sample.image == tmp_path / "data/flickr" / NAMES[which]
        assert (sample.group, sample.ids) == (NAMES[which], {"face": int(sample.key)})
    hidden = [sample.occluded for sample in sets["train"].samples[:3]]
    assert [np.flatnonzero(mask).tolist() for mask in hidden if mask is not None] == [[4]] * 3


@ignore_count
def test_normalizer_is_the_side_of_the_box(tmp_path: Path, data_root: Path, small: dict[str, Any]) -> None:
    savemat(tmp_path / "AFLWinfo_release.mat", small)
    faces = read_aflw(tmp_path, "train")
    boxes = torch.tensor([sample.box for sample in faces.samples], dtype=torch.float64)
    points = torch.from_numpy(np.stack([sample.points for sample in faces.samples]))
    sides = normalizer_distance(points, faces.skeleton.normalizers["box"], box=boxes)
    # The published side lengths of the two faces.
    assert sides.tolist() == pytest.approx([362, 128] * 3, rel=1e-12)


def test_skeleton_is_the_published_one(data_root: Path) -> None:
    skeleton = load_skeleton("aflw19")
    # mmpose and HRNet exchange these, counted from 0.
    assert skeleton.swap == (5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 14, 13, 12, 17, 16, 15, 18)
    assert skeleton.normalizers[skeleton.default_normalizer] == "box"
    for face in published(data_root)[0]:
        points = dict(zip(skeleton.names, face, strict=True))
        assert points["right_eye_outer"][0] < points["right_pupil"][0] < points["right_eye_inner"][0]
        assert points["left_eye_inner"][0] < points["left_pupil"][0] < points["left_eye_outer"][0]
        assert points["right_brow_middle"][1] < points["nose_tip"][1] < points["mouth"][1] < points["chin"][1]


@ignore_count
def test_points_at_the_origin_are_not_annotated(tmp_path: Path, small: dict[str, Any]) -> None:
    small["data"][0, [3, 22]] = 0
    small["data"][1, 5] = 0
    small["mask_new"][0, [3, 6]] = 0
    savemat(tmp_path / "AFLWinfo_release.mat", small)
    first, second = read_aflw(tmp_path, "train").samples[:2]
    assert np.flatnonzero(~first.visible).tolist() == [3]
    assert first.occluded is not None
    assert np.flatnonzero(first.occluded).tolist() == [6]
    assert second.visible.all()


@ignore_count
@pytest.mark.parametrize("folder", ["flickr", "aflw/data/flickr", "images"])
def test_folders_of_images_and_their_endings(
    folder: str, tmp_path: Path, data_root: Path, small: dict[str, Any]
) -> None:
    shutil.rmtree(tmp_path / "data")
    copy_images(tmp_path, data_root, folder)
    # The list calls some .png that are .jpg in the download.
    small["nameList"][0, 0] = "0/image22568.png"
    savemat(tmp_path / "AFLWinfo_release.mat", small)
    assert read_aflw(tmp_path, "train").samples[0].image == tmp_path / folder / NAMES[0]


@ignore_count
def test_broken_faces_in_one_line_or_in_a_list(tmp_path: Path, small: dict[str, Any]) -> None:
    small["data"][0, 7] = np.nan
    small["bbox"][1] = [9, 4, 1, 8]
    small["nameList"][2, 0] = ""
    small["nameList"][3, 0] = "2/image00001.jpg"
    path = tmp_path / "AFLWinfo_release.mat"
    savemat(path, small)
    with pytest.raises(ValueError) as caught:
        read_aflw(tmp_path, "train")
    wrong = [
        f"{path} face 1 must hold finite numbers",
        f"{path} face 2 must hold a box of left < right and top < bottom, got 9 4 1 8",
        f"{path} face 3 must name its image, got ''",
    ]
    assert str(caught.value).startswith(
        f"aflw: {'; '.join(wrong)}. Download AFLWinfo_release.mat again; it must hold N"
    )
    problems: list[str] = []
    (tmp_path / "aflw").symlink_to(tmp_path)
    wrong = [text.replace(f"{tmp_path}/", f"{tmp_path}/aflw/", 1) for text in wrong]
    assert [sample.key for sample in open_aflw(tmp_path, "train", problems=problems).samples] == ["5", "6"]
    remark = (
        "aflw: split 'train' must hold the 20000 faces of the official set, got 6. A score on another number of faces"
    )
    assert problems == [
        *wrong,
        f"{remark} cannot be compared with published ones.",
        f"image {tmp_path / 'aflw/data/flickr/2/image00001.jpg'} is missing",
    ]


@ignore_count
def test_missing_images_are_one_error(tmp_path: Path, small: dict[str, Any]) -> None:
    (tmp_path / "data/flickr" / NAMES[1]).unlink()
    savemat(tmp_path / "AFLWinfo_release.mat", small)
    with pytest.raises(
        FileNotFoundError, match=r"aflw: images must be existing files, got .*image04476.jpg \(1 of 2 mis"
    ):
        read_aflw(tmp_path, "train")


def test_too_few_faces_leave_no_test(tmp_path: Path, data_root: Path) -> None:
    copy_images(tmp_path, data_root)
    values = variables(*published(data_root), num=5)
    savemat(tmp_path / "AFLWinfo_release.mat", values)
    with pytest.raises(ValueError, match="AFLWinfo_release.mat holds no face of the split 'front'"):
        read_aflw(tmp_path, "front")
    with pytest.warns(UserWarning, match="aflw: split 'train' must hold the 20000 faces of the official set, got 5"):
        assert len(read_aflw(tmp_path, "train")) == 5


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("data", np.zeros((5, 37)), "got data (5, 37). Download"),
        ("mask_new", np.zeros((4, 19)), "got mask_new (4, 19). Download"),
        ("nameList", "0/image22568.jpg", "got nameList str. Download"),
        ("ra", np.array([[1, 2, 3, 4, 4]]), "got ra, which is no order of 1 to 5. Download"),
    ],
)
def test_variables_that_do_not_fit(name: str, value: Any, text: str, tmp_path: Path, data_root: Path) -> None:
    copy_images(tmp_path, data_root)
    values = variables(*published(data_root), num=5)
    savemat(tmp_path / "AFLWinfo_release.mat", {**values, name: value})
    with pytest.raises(ValueError) as caught:
        read_aflw(tmp_path, "train")
    assert "must hold variables that fit together, " + text in str(caught.value)


def test_missing_variable_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match="must hold the folder .*aflw, got no such folder. Set .* Get AFLWinfo_release"
    ):
        open_aflw(tmp_path, "test")
    root = tmp_path / "aflw"
    root.mkdir()
    with pytest.raises(FileNotFoundError) as caught:
        open_aflw(tmp_path, "test")
    expected = f"aflw: data root must hold {root / 'AFLWinfo_release.mat'}, {root / 'data/flickr'}, got no such file or folder."
    assert str(caught.value).startswith(expected)
    assert "mmlab.ie.cuhk.edu.hk" in str(caught.value)
    (root / "flickr").mkdir()
    savemat(root / "AFLWinfo_release.mat", {"bbox": np.zeros((1, 4)), "mask": 1})
    with pytest.raises(ValueError, match="must hold the variables data, mask_new, nameList, ra, got bbox, mask"):
        open_aflw(tmp_path, "test")


def test_unknown_split(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="aflw: split must be one of front, full, test, train, got 'frontal'"):
        read_aflw(tmp_path, "frontal")
