"""LSP and LSPET."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from heatpoint.datasets import DATASETS, read_lspet
from heatpoint.skeleton import load_skeleton


def write(root: Path, joints: Any, *, digits: int = 5, size: tuple[int, int] = (60, 50), **lists: str) -> Path:
    """A folder as the owners give it: joints.mat, images (one per joints) and lists."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    savemat(root / "joints.mat", {"joints": joints})
    number = joints.shape[2] if joints.ndim == 3 else 0
    for index in range(number):
        picture = np.full((size[1], size[0], 3), index, np.uint8)
        cv2.imwrite(str(root / "images" / f"im{index + 1:0{digits}d}.jpg"), picture)
    for name, text in lists.items():
        (root / f"{name}.txt").write_text(text)
    return root


def lspet_joints(number: int = 3) -> np.ndarray:
    joints = np.zeros((14, 3, number))
    joints[:, 0] = np.arange(14)[:, None] + 0.25
    joints[:, 1] = 2 * np.arange(14)[:, None]
    joints[:, 2] = 1
    joints[0, :, 0] = -33, -44, 0
    return joints


def test_lspet_flags_say_what_is_labelled(tmp_path: Path) -> None:
    points = read_lspet(write(tmp_path, lspet_joints()), "train")
    first = points.samples[0]
    assert [s.key for s in points.samples] == ["im00001.jpg", "im00002.jpg", "im00003.jpg"]
    assert first.points.tolist() == [[0, 0]] + [[k + 0.25, 2 * k] for k in range(1, 14)]
    assert first.visible.tolist() == [False] + [True] * 13
    assert (first.box, first.occluded, first.ids, first.image) == (
        None, None, {"image_id": 1}, tmp_path / "images" / "im00001.jpg",
    )  # fmt: skip
    assert points.samples[1].visible.all()
    assert points.skeleton == load_skeleton("lsp14")
    assert points.protocol["splits"] == "LSPET is all for training"


def test_lsp_flags_say_what_is_hidden_and_halves_are_splits(tmp_path: Path) -> None:
    joints = lspet_joints(4).transpose(1, 0, 2).copy()
    joints[:2, 0, 0], joints[2] = 0, 0
    joints[2, 3, 0] = 1
    root = write(tmp_path, joints, digits=4)
    train, test = read_lspet(root, "train"), read_lspet(root, "test")
    assert [s.key for s in train.samples] == ["im0001.jpg", "im0002.jpg"]
    assert [s.key for s in test.samples] == ["im0003.jpg", "im0004.jpg"]
    first = train.samples[0]
    assert first.visible.all()
    assert first.occluded is not None
    assert np.flatnonzero(first.occluded).tolist() == [3]
    assert first.points[5].tolist() == [5.25, 10]
    assert train.protocol["splits"] == "LSP trains on its first half and tests on the second"


def test_lists_divide_the_set(tmp_path: Path) -> None:
    root = write(tmp_path, lspet_joints(), train="im00003.jpg\nim00001.jpg\n", test="im00002.jpg\n")
    assert [s.ids["image_id"] for s in read_lspet(root, "train").samples] == [3, 1]
    assert [s.ids["image_id"] for s in read_lspet(root, "test").samples] == [2]
    (root / "test.txt").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"lspet: data root must hold .*test\.txt, got the other list only\. The f"
    ):
        read_lspet(root, "test")


def test_lists_that_repeat_a_name_or_are_no_text(tmp_path: Path) -> None:
    root = write(tmp_path, lspet_joints(), train="im00003.jpg im00001.jpg im00003.jpg")
    found: list[str] = []
    assert [s.ids["image_id"] for s in read_lspet(root, "train", problems=found).samples] == [3, 1]
    assert found == ["the lists train.txt and test.txt name 'im00003.jpg' 2 times"]
    (root / "train.txt").write_bytes(b"\xff\xfeim00001.jpg")
    with pytest.raises(ValueError, match=r"train\.txt: it is not text in UTF-8 \("):
        read_lspet(root, "train")


def test_labels_far_outside_the_image_become_invisible(tmp_path: Path) -> None:
    joints = lspet_joints()
    joints[2, :2, 1], joints[3, :2, 1], joints[4, :2, 1] = (64.0, 3), (64.1, 3), (3, -5.5)
    points = read_lspet(write(tmp_path, joints), "train")
    changed = points.samples[1]
    assert np.flatnonzero(~changed.visible).tolist() == [3, 4]
    assert changed.points[2:5].tolist() == [[64, 3], [0, 0], [0, 0]]
    assert points.protocol["labels made invisible"] == "2 that lie more than 5 pixels outside their image"


def test_all_problems_at_once(tmp_path: Path) -> None:
    joints = lspet_joints(6)
    joints[4, 1, 1] = np.nan
    joints[:, 2, 2] = 0
    joints[:, 0, 3] += 500
    names = "im00001.jpg im00002.jpg im00003.jpg im00004.jpg im00005.jpg im00006.jpg im00099.jpg cat.png"
    root = write(tmp_path, joints, train=names.replace(" ", "\n"))
    (root / "images" / "im00005.jpg").unlink()
    (root / "images" / "im00006.jpg").write_bytes(b"no image")
    found: list[str] = []
    points = read_lspet(root, "train", problems=found)
    assert [s.key for s in points.samples] == ["im00001.jpg"]
    lists = "the lists train.txt and test.txt name"
    assert sorted(found) == sorted([
        "joints of im00002.jpg must be finite and one at least be visible",
        "joints of im00003.jpg must be finite and one at least be visible",
        f"{lists} 'im00099.jpg', which is none of the images 1 to 6 of joints.mat",
        f"{lists} 'cat.png', which is none of the images 1 to 6 of joints.mat",
        f"image {root / 'images' / 'im00005.jpg'} is missing",
        "joints of im00004.jpg must lie in the image",
        f"load_image: image must be a readable image, got {root / 'images' / 'im00006.jpg'}. Copy or download the file again.",
    ])  # fmt: skip
    with pytest.raises(
        FileNotFoundError, match=r"lspet: images must be existing files, got .*im00005\.jpg \(1 of 4 miss"
    ):
        read_lspet(root, "train")
    (root / "train.txt").write_text("im00001.jpg im00002.jpg cat.png")
    with pytest.raises(
        ValueError, match=r"lspet: joints of im00002.* visible; .*'cat\.png', which .* The folder must hold"
    ):
        read_lspet(root, "train")


def test_folders_that_are_no_set(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"lspet: split must be one of test, train, got 'val'"):
        read_lspet(tmp_path, "val")
    with pytest.raises(
        FileNotFoundError, match=r"lspet: data root must hold the folder .*images, got no such folder\. The"
    ):
        read_lspet(tmp_path, "train")
    root = write(tmp_path, lspet_joints())
    with pytest.raises(
        ValueError, match=r"lspet: split must be train, as LSPET is a training set, got 'test'\. Write train"
    ):
        read_lspet(root, "test")
    (root / "train.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"lspet: .*train\.txt names no image\. The folder"):
        read_lspet(root, "train")
    (root / "joints.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"read_mat: path must be an existing file, got .*joints\.mat\. Check"):
        read_lspet(root, "train")
    savemat(root / "joints.mat", {"joints": np.zeros((16, 3, 2))})
    rule = r"joints\.mat must hold joints of 14 x 3 x N \(LSPET\) or 3 x 14 x N \(LSP\) numbers, got float64 \(16, 3, 2\)\."
    with pytest.raises(ValueError, match=rule):
        read_lspet(root, "train")
    savemat(root / "joints.mat", {"points": np.zeros(2)})
    with pytest.raises(ValueError, match=r"read_mat: .*joints\.mat must hold the variable joints, got points\."):
        read_lspet(root, "train")
    (root / "joints.mat").write_bytes(b"nothing of that kind" * 20)
    with pytest.raises(ValueError, match=r"read_mat: .*joints\.mat must be a complete MATLAB file"):
        read_lspet(root, "train")


def test_real_set(data_root: Path) -> None:
    train, test = DATASETS["lspet"](data_root, "train"), DATASETS["lspet"](data_root, "test")
    assert (len(train), len(test)) == (875, 225)
    assert not {s.key for s in train.samples} & {s.key for s in test.samples}
    assert train.protocol["labels made invisible"].startswith("1 that lie")
    assert test.protocol["labels made invisible"].startswith("0 that lie")
    points = np.stack([s.points for s in train.samples])
    visible = np.stack([s.visible for s in train.samples])
    # Whichever way up an athlete is, the neck lies nearer to the shoulders than to the hips, and nearer than the ankles.
    labelled = points[visible.all(axis=1)]
    neck = labelled[:, 12]
    to_shoulders, to_hips, to_ankles = (
        np.linalg.norm(labelled[:, pair].mean(axis=1) - neck, axis=1) for pair in ([8, 9], [2, 3], [0, 5])
    )
    assert np.mean(to_shoulders < to_hips) > 0.95
    assert np.mean(to_hips < to_ankles) > 0.85


def test_the_published_lsp_file_is_of_the_form_read(data_root: Path, tmp_path: Path) -> None:
    joints = loadmat(data_root / "pose_lspet" / "lsp_original_size_joints_no_images.mat")["joints"]
    few = joints[:, :, [0, 1, 1998, 1999]]
    train = read_lspet(write(tmp_path, few, digits=4, size=(900, 1000)), "train")
    assert train.samples[0].points[0].tolist() == joints[:2, 0, 0].tolist()
    # 93 % of the points of sports people in the open are not hidden.
    assert 0.92 < np.mean(joints[2] == 0) < 0.94
