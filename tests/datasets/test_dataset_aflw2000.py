"""AFLW2000-3D: MATLAB files beside images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from heatpoint.datasets import read_aflw2000
from heatpoint.datasets.aflw2000 import REMEDY, open_aflw2000, points_in

POINTS = np.random.default_rng(7).uniform(1, 60, (3, 68)).astype(np.float32)


def write(root: Path, stem: str, *, yaw: float = 0.0, image: bool = True, **variables: object) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    if image:
        cv2.imwrite(str(root / f"{stem}.jpg"), np.zeros((64, 70, 3), np.uint8))
    path = root / f"{stem}.mat"
    pose = np.array([[9.0, np.radians(yaw), 9.0, 1.0, 2.0, 3.0, 1e-3]])
    content = {"pt3d_68": POINTS, "Pose_Para": pose, "roi": np.array([[1, 2, 3, 4]]), "pt2d": np.full((2, 21), -1.0)}
    content.update(variables)
    scipy.io.savemat(path, {name: value for name, value in content.items() if value is not None})
    return path


def test_points_count_from_1_and_yaw_makes_the_tag(tmp_path: Path) -> None:
    for stem, yaw in (("image00002", -12.5), ("image00004", 30.5), ("image00006", -75.0), ("image00008", 110.0)):
        write(tmp_path, stem, yaw=yaw)
    found = read_aflw2000(tmp_path, "test")
    assert [s.key for s in found.samples] == ["image00002", "image00004", "image00006", "image00008"]
    assert [set(s.tags) for s in found.samples] == [{"yaw_0_30"}, {"yaw_30_60"}, {"yaw_60_90"}, {"yaw_60_90"}]
    first = found.samples[0]
    assert (first.points == POINTS[:2].T.astype(np.float64) - 1).all()
    assert (first.box, first.image) == (None, tmp_path / "image00002.jpg")
    assert found.skeleton.default_normalizer == "box"
    assert found.protocol["faces"] == "4 of 2000"
    assert [s.key for s in read_aflw2000(tmp_path, "yaw_60_90").samples] == ["image00006", "image00008"]


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        (
            {"pt3d_68": np.zeros((3, 67))},
            "{path} pt3d_68 must be numbers of the shape 68 x 2 or 3, or the other way round, got 3 x 67",
        ),
        (
            {"pt3d_68": np.array(["x"])},
            "{path} pt3d_68 must be numbers of the shape 68 x 2 or 3, or the other way round, got ",
        ),
        ({"pt3d_68": np.full((3, 68), np.nan)}, "{path} pt3d_68 must be finite"),
        (
            {"Pose_Para": np.zeros((1, 2))},
            "{path} Pose_Para must hold at least the three finite angles pitch, yaw and roll",
        ),
        (
            {"Pose_Para": np.full((1, 7), np.inf)},
            "{path} Pose_Para must hold at least the three finite angles pitch, yaw and roll",
        ),
        ({"pt3d_68": None}, "read_mat: {path} must hold the variable pt3d_68, got Pose_Para, pt2d, roi"),
    ],
)
def test_broken_files(variables: dict[str, object], problem: str, tmp_path: Path) -> None:
    write(tmp_path, "image00002")
    path = write(tmp_path, "image00004", **variables)
    problems: list[str] = []
    assert [s.key for s in read_aflw2000(tmp_path, "test", problems=problems).samples] == ["image00002"]
    assert len(problems) == 1
    assert problems[0].startswith(problem.format(path=path))
    with pytest.raises(ValueError) as caught:
        read_aflw2000(tmp_path, "test")
    end = "" if problems[0].endswith("?") else "."
    assert str(caught.value) == f"aflw2000: {problems[0]}{end} {REMEDY}"


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "image00002")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"^aflw2000: read_mat: .*image00002\.mat must be a complete MATLAB file"):
        read_aflw2000(tmp_path, "test")


def test_images_and_files_without_each_other(tmp_path: Path) -> None:
    write(tmp_path, "a", image=False)
    write(tmp_path, "b")
    with pytest.raises(FileNotFoundError) as missing:
        read_aflw2000(tmp_path, "test")
    text = f"aflw2000: images must be existing files, got {tmp_path / 'a.jpg'} (1 of 2 missing). {REMEDY}"
    assert str(missing.value) == text
    problems: list[str] = []
    (tmp_path / "b.mat").unlink()
    assert len(read_aflw2000(tmp_path, "test", problems=problems)) == 0
    assert problems == [f"{tmp_path / 'b.jpg'} has no .mat file beside it", f"image {tmp_path / 'a.jpg'} is missing"]


def test_missing_and_empty_folders_and_unknown_splits(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        open_aflw2000(tmp_path, "test")
    folder = tmp_path / "aflw2000"
    what = f"aflw2000: data root must hold the folder {folder}, got no such folder."
    assert str(caught.value) == f"{what} Set HEATPOINT_DATA or --data-root to the folder that holds aflw2000/. {REMEDY}"
    folder.mkdir()
    with pytest.raises(ValueError) as empty:
        open_aflw2000(tmp_path, "test")
    assert str(empty.value) == f"aflw2000: {folder} holds no .mat files. {REMEDY}"
    with pytest.raises(
        ValueError, match="aflw2000: split must be one of test, yaw_0_30, yaw_30_60, yaw_60_90, got 'train'"
    ):
        read_aflw2000(folder, "train")


@pytest.mark.parametrize("shape", [(2, 68), (68, 2), (3, 68), (68, 3)])
def test_points_lie_in_rows_or_columns(shape: tuple[int, int]) -> None:
    values = np.arange(float(np.prod(shape))).reshape(shape)
    points = points_in(values)
    assert not isinstance(points, str)
    expected = values if shape[0] == 68 else values.T
    assert (points == expected[:, :2] - 1).all()
