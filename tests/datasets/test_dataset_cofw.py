"""COFW: real faces written as its HDF5 files are, and COFW-68's real annotations, proved by published results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat

from heatpoint.datasets import load_image, read_cofw, read_cofw68, read_cofw68_annotations
from heatpoint.datasets.cofw import open_cofw
from heatpoint.datasets.cofw68 import open_cofw68
from heatpoint.metrics.faces import failure_rate
from heatpoint.metrics.functional import nme, normalizer_distance
from heatpoint.skeleton import load_skeleton

VARIABLES = {
    "train": ("COFW_train_color.mat", "IsTr", "phisTr", "bboxesTr"),
    "test": ("COFW_test_color.mat", "IsT", "phisT", "bboxesT"),
}
# The samples are the faces 421 and 460 of the test: their names count on from the 1345 of the training set.
NUMBERS = (1766 - 1345, 1805 - 1345)

pytestmark = pytest.mark.filterwarnings("ignore:cofw(68)?. split .* must hold the .* faces")


def write_file(root: Path, split: str, images: list[Any], phis: np.ndarray, boxes: np.ndarray) -> Path:
    """Writes a file as MATLAB 7.3 does: axes in the opposite order, images behind references."""
    name, image_name, point_name, box_name = VARIABLES[split]
    with h5py.File(root / name, "w", userblock_size=512) as file:
        store = file.create_group("#refs#")
        cells = []
        for index, image in enumerate(images):
            item = store.create_dataset(f"i{index}", data=np.asarray(image).transpose())
            item.attrs["MATLAB_class"] = np.bytes_("uint8")
            cells.append(item.ref)
        cell = file.create_dataset(image_name, data=np.array([cells], dtype=h5py.ref_dtype))
        cell.attrs["MATLAB_class"] = np.bytes_("cell")
        for key, value in ((point_name, phis), (box_name, boxes)):
            file.create_dataset(key, data=value.T).attrs["MATLAB_class"] = np.bytes_("double")
    return root / name


def annotated(data_root: Path) -> np.ndarray:
    """Points (2, 29, 3) of the two real faces, counted from 0; the third number is 1 where a point is hidden, else 2."""
    records = json.loads((data_root / "samples/cofw/test_cofw.json").read_text())["annotations"]
    return np.array([record["keypoints"] for record in records]).reshape(2, 29, 3)


@pytest.fixture
def faces(data_root: Path) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Images (one of them made grey), rows of 87 numbers and boxes of the two real faces, counted from 1."""
    content = json.loads((data_root / "samples/cofw/test_cofw.json").read_text())
    rows = [np.concatenate([x + 1, y + 1, 2 - v]) for x, y, v in annotated(data_root).transpose(0, 2, 1)]
    images = [load_image(data_root / "samples/cofw" / info["file_name"]) for info in content["images"]]
    boxes = [record["bbox"] for record in content["annotations"]]
    return [images[0], images[1][:, :, 1]], np.array(rows), np.array(boxes)


@pytest.mark.parametrize("split", ["train", "test"])
def test_real_faces_in_the_owners_file(split: str, tmp_path: Path, data_root: Path, faces: Any) -> None:
    write_file(tmp_path, split, *faces)
    content = read_cofw(tmp_path, split)
    assert (content.name, content.split, content.skeleton) == ("cofw", split, load_skeleton("cofw29"))
    for index, (sample, published) in enumerate(zip(content.samples, annotated(data_root), strict=True)):
        assert np.abs(sample.points - published[:, :2]).max() < 1e-12
        assert sample.visible.all()
        assert sample.occluded is not None
        assert np.array_equal(sample.occluded, published[:, 2] == 1)
        assert (sample.key, sample.ids) == (f"{split}/{index + 1}", {"image_id": index + 1})
        assert load_image(sample).shape == (*faces[0][index].shape[:2], 3)
    assert content.samples[0].box == (37.0, 101.0, 141.0, 280.0)
    assert np.array_equal(load_image(content.samples[0]), faces[0][0])
    assert (load_image(content.samples[1]) == faces[0][1][:, :, None]).all()
    assert content.protocol["coordinates"] == "the file counts from 1, points from 0"


def test_skeleton_is_the_published_one(goldens: Any, data_root: Path) -> None:
    skeleton, arrays = load_skeleton("cofw29"), goldens("06_nme_faces")
    # mmpose and HRNet exchange these, counted from 0.
    pairs = {(0, 1), (2, 3), (4, 6), (5, 7), (8, 9), (10, 11), (12, 14), (13, 15), (16, 17), (18, 19), (22, 23)}
    assert set(skeleton.swap_pairs) == pairs
    assert skeleton.normalizers["inter_ocular"] == tuple((int(i),) for i in arrays["cofw_outer_eye_corner_idx"])
    pupils = tuple(tuple(arrays[f"cofw_pupil_idx_{side}"].tolist()) for side in ("left", "right"))
    assert skeleton.normalizers["inter_pupil"] == pupils
    for points in annotated(data_root):
        face = dict(zip(skeleton.names, points[:, :2], strict=True))
        for side, outward in (("right", -1), ("left", 1)):
            assert outward * (face[f"{side}_eye_outer"][0] - face[f"{side}_eye_inner"][0]) > 0
            assert face[f"{side}_eye_top"][1] < face[f"{side}_pupil"][1] < face[f"{side}_eye_bottom"][1]
            assert outward * (face[f"{side}_mouth_corner"][0] - face["upper_lip_top"][0]) > 0
        lips = [
            face[f"{name}_lip_{edge}"][1] for name, edge in (("upper", "top"), ("upper", "bottom"), ("lower", "bottom"))
        ]
        assert lips == sorted(lips)


def test_same_faces_in_both_annotations(data_root: Path) -> None:
    faces = {face.number: face for face in read_cofw68_annotations(data_root / "faces_formats/cofw68/COFW68_Data")}
    for number, points in zip(NUMBERS, annotated(data_root)[:, :, :2], strict=True):
        # Outer and inner eye corners and mouth corners, set by different people, agree to a few pixels on faces of 100.
        shifts = faces[number].points[[36, 39, 42, 45, 48, 54]] - points[[8, 10, 11, 9, 22, 23]]
        assert np.abs(shifts).max() < 3.2
        assert np.abs(shifts.mean(axis=0)).max() < 1.2


@pytest.mark.parametrize(("method", "error", "failures"), [("TCDCN", 7.655, 16.174), ("CFSS", 6.283, 9.073)])
def test_published_results_come_out(method: str, error: float, failures: float, data_root: Path) -> None:
    folder = data_root / "faces_formats/cofw68"
    faces = read_cofw68_annotations(folder / "COFW68_Data")
    assert [face.number for face in faces] == list(range(1, 508))
    lines = [
        line.split() for line in (folder / f"Results/{method}_CFOW68.txt").read_text().splitlines() if line.strip()
    ]
    found = {
        int(lines[i][0]): np.array([lines[i + 1], lines[i + 2]], dtype=np.float64).T - 1 for i in range(0, 2028, 4)
    }
    pred = torch.from_numpy(np.stack([found[face.number] for face in faces]))
    target = torch.from_numpy(np.stack([face.points for face in faces]))
    lengths = normalizer_distance(target, load_skeleton("face68").normalizers["inter_ocular"])
    errors = nme(pred, target, lengths)
    assert round(100 * errors.mean().item(), 3) == error
    assert round(100 * failure_rate(errors, 0.1).item(), 3) == failures


def test_real_annotations_count_from_zero_and_say_what_is_hidden(data_root: Path) -> None:
    folder = data_root / "faces_formats/cofw68/COFW68_Data"
    face = read_cofw68_annotations(folder)[NUMBERS[0] - 1]
    raw = loadmat(folder / "test_annotations/421_points.mat")
    assert np.array_equal(face.points, raw["Points"] - 1)
    assert np.flatnonzero(face.occluded).tolist() == np.flatnonzero(raw["Occ"]).tolist()
    x, y, w, h = loadmat(folder / "cofw68_test_bboxes.mat")["bboxes"][420].tolist()
    assert face.box == (x - 1, y - 1, x + w - 2, y + h - 2)


@pytest.fixture
def root68(tmp_path: Path, data_root: Path, faces: Any) -> Path:
    """COFW-68 with the annotations of the two real faces, called 1 and 2, beside the file of their images."""
    root, source = tmp_path / "cofw68", data_root / "faces_formats/cofw68/COFW68_Data/test_annotations"
    (root / "COFW68_Data/test_annotations").mkdir(parents=True)
    for index, number in enumerate(NUMBERS, start=1):
        shutil.copy(source / f"{number}_points.mat", root / f"COFW68_Data/test_annotations/{index}_points.mat")
    savemat(root / "COFW68_Data/cofw68_test_bboxes.mat", {"bboxes": np.array([[42, 119, 132, 148], [1, 2, 30, 40]])})
    write_file(root, "test", *faces)
    return root


def test_cofw68_with_images(root68: Path, faces: Any) -> None:
    content = open_cofw68(root68.parent, "test")
    assert (content.name, len(content), content.skeleton) == ("cofw68", 2, load_skeleton("face68"))
    first, second = content.samples
    assert np.array_equal(load_image(first), faces[0][0])
    assert (first.box, second.box) == ((41.0, 118.0, 172.0, 265.0), (0.0, 1.0, 29.0, 40.0))
    assert [sample.ids for sample in content.samples] == [{"image_id": 1}, {"image_id": 2}]
    for sample, face in zip(content.samples, read_cofw68_annotations(root68 / "COFW68_Data"), strict=True):
        assert np.array_equal(sample.points, face.points)
        assert np.array_equal(sample.occluded, face.occluded)
    assert content.protocol["box"] == "of the set's detector (policy P2)"


def test_cofw68_takes_its_images_from_the_folder_of_cofw(root68: Path) -> None:
    (root68.parent / "cofw").mkdir()
    shutil.move(root68 / "COFW_test_color.mat", root68.parent / "cofw")
    (root68 / "COFW68_Data/cofw68_test_bboxes.mat").unlink()
    content = read_cofw68(root68, "test")
    assert [sample.box for sample in content.samples] == [None, None]
    assert content.protocol["box"] == "none given"


def test_everything_wrong_with_cofw68(root68: Path, faces: Any) -> None:
    folder = root68 / "COFW68_Data/test_annotations"
    savemat(folder / "3_points.mat", {"Points": np.ones((67, 2)), "Occ": np.zeros((1, 68))})
    savemat(folder / "4_points.mat", {"Points": np.full((68, 2), np.inf), "Occ": np.zeros((1, 68))})
    savemat(folder / "5_points.mat", {"Points": np.ones((68, 2))})
    savemat(folder / "7_points.mat", {"Points": np.ones((68, 2)), "Occ": np.zeros((1, 68))})
    (folder / "last_points.mat").write_bytes(b"")
    (root68 / "COFW68_Data/cofw68_test_bboxes.mat").unlink()
    images, phis, boxes = faces
    path = write_file(root68, "test", [images[0], np.zeros((4, 5, 2), np.uint8)], phis, boxes)
    problems: list[str] = []
    assert [sample.key for sample in open_cofw68(root68.parent, "test", problems=problems).samples] == ["test/1"]
    assert problems == [
        f"{folder / 'last_points.mat'} must be named by a number",
        f"{folder / '3_points.mat'} must hold Points 68 x 2 and Occ 1 x 68, got (67, 2) and (1, 68)",
        f"{folder / '4_points.mat'} must hold finite Points, and Occ of 0 and 1",
        f"{folder / '5_points.mat'} cannot be read (read_mat: {folder / '5_points.mat'} must hold the variable Occ, "
        "got Points. Give the file that the set publishes.)",
        f"{path} face 2 must hold an image of bytes, H x W or H x W x 3",
        f"face 7 is annotated but has no image in {path}",
        "cofw68: split 'test' must hold the 507 faces of the official set, got 3. A score on another number of faces "
        "cannot be compared with published ones.",
    ]
    with pytest.raises(
        ValueError, match=r"cofw68: .*last_points.mat must be named by a number; .*and 1 more. Copy the an"
    ):
        read_cofw68(root68, "test")


@pytest.mark.parametrize(
    ("boxes", "text"),
    [
        ({"bboxes": np.ones((2, 3))}, "must hold finite bboxes N x 4 with widths and heights greater than 0"),
        ({"bboxes": np.zeros((2, 4))}, "must hold finite bboxes N x 4 with widths and heights greater than 0"),
        ({"bboxes": np.array([[np.nan, 1, 1, 1]] * 2)}, "must hold finite bboxes N x 4 with widths and heights"),
        ({"bboxes": "text"}, "must hold finite bboxes N x 4 with widths and heights greater than 0"),
        ({"boxes": np.ones((2, 4))}, "must hold the variable bboxes, got boxes. Did you mean boxes?"),
        ({"bboxes": np.ones((1, 4))}, "2_points.mat has no box: cofw68_test_bboxes.mat holds 1"),
    ],
)
def test_wrong_boxes_of_cofw68(boxes: dict[str, np.ndarray], text: str, root68: Path) -> None:
    savemat(root68 / "COFW68_Data/cofw68_test_bboxes.mat", boxes)
    with pytest.raises(ValueError) as caught:
        read_cofw68_annotations(root68 / "COFW68_Data")
    assert text in str(caught.value)


def test_missing_parts_of_cofw68(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match="must hold the folder .*cofw68, got no such folder. Set .* Get the annotations"
    ):
        open_cofw68(tmp_path, "test")
    (tmp_path / "cofw68").mkdir()
    with pytest.raises(
        FileNotFoundError, match="must hold .*cofw68/COFW_test_color.mat, got no such .* or in cofw/ bes"
    ):
        open_cofw68(tmp_path, "test")
    (tmp_path / "cofw68/COFW_test_color.mat").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="must hold .*COFW68_Data/test_annotations, got no such file or folder"):
        open_cofw68(tmp_path, "test")
    (tmp_path / "cofw68/COFW68_Data/test_annotations").mkdir(parents=True)
    with pytest.raises(ValueError, match="test_annotations holds no files N_points.mat. Copy the annotations again."):
        read_cofw68_annotations(tmp_path / "cofw68/COFW68_Data")
    with pytest.raises(ValueError, match="cofw68: split must be one of test, got 'train'"):
        open_cofw68(tmp_path, "train")


def test_everything_wrong_with_cofw(tmp_path: Path, faces: Any) -> None:
    images, phis, boxes = faces
    root = tmp_path / "cofw"
    root.mkdir()
    phis, boxes, images = np.repeat(phis[:1], 6, 0), np.repeat(boxes[:1], 6, 0), [images[0]] * 7
    phis[1, 3] = np.nan
    phis[2, 70] = 2
    boxes[3, 2] = 0
    images[4] = np.zeros((3, 4), np.float64)
    path = write_file(root, "test", images, phis, boxes)
    wrong = [
        f"{path} face 2 must hold finite numbers",
        f"{path} face 3 must say 0 or 1 of every point for hidden",
        f"{path} face 4 must hold a box with a width and a height greater than 0, got 0 and 180",
        f"{path} face 5 must hold an image of bytes, H x W or H x W x 3",
        f"{path} must hold as many images as faces (6), got 7",
    ]
    with pytest.raises(ValueError) as caught:
        read_cofw(root, "test")
    assert str(caught.value) == f"cofw: {'; '.join(wrong)}. Download the file again."
    problems: list[str] = []
    assert [sample.key for sample in open_cofw(tmp_path, "test", problems=problems).samples] == ["test/1", "test/6"]
    remark = "cofw: split 'test' must hold the 507 faces of the official set, got 6. A score on another number of faces"
    assert problems == [*wrong, f"{remark} cannot be compared with published ones."]


def test_another_number_of_faces_is_said(tmp_path: Path, faces: Any) -> None:
    write_file(tmp_path, "train", *faces)
    with pytest.warns(UserWarning, match="cofw: split 'train' must hold the 1345 faces of the official set, got 2"):
        read_cofw(tmp_path, "train")


def test_variables_that_do_not_fit(tmp_path: Path, faces: Any) -> None:
    images, phis, boxes = faces
    path = write_file(tmp_path, "test", images, phis[:, :58], boxes[:1])
    with pytest.raises(ValueError) as caught:
        read_cofw(tmp_path, "test")
    expected = (
        f"cofw: {path} must hold N faces: phisT N x 87, bboxesT N x 4, got phisT (2, 58); bboxesT (1, 4). Download"
    )
    assert str(caught.value) == f"{expected} the file again."


def test_missing_parts_of_cofw(tmp_path: Path, faces: Any) -> None:
    with pytest.raises(
        FileNotFoundError, match="must hold the folder .*cofw, got no such folder. Set .* Get COFW in colour"
    ):
        open_cofw(tmp_path, "test")
    (tmp_path / "cofw").mkdir()
    with pytest.raises(
        FileNotFoundError, match="must hold .*cofw/COFW_train_color.mat, got .*data.caltech.edu/records/2"
    ):
        open_cofw(tmp_path, "train")
    # The file of the other split under this one's name.
    write_file(tmp_path / "cofw", "test", *faces)
    (tmp_path / "cofw/COFW_test_color.mat").rename(tmp_path / "cofw/COFW_train_color.mat")
    with pytest.raises(
        ValueError, match="must hold the variables phisTr, bboxesTr, got IsT, bboxesT, phisT. Did you mean"
    ):
        open_cofw(tmp_path, "train")
    with pytest.raises(ValueError, match="cofw: split must be one of test, train, got 'val'"):
        open_cofw(tmp_path, "val")
