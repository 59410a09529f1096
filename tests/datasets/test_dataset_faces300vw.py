"""300-VW: clips."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from heatpoint.datasets import load_image, read_faces300vw
from heatpoint.datasets.faces300vw import CATEGORIES, REMEDY, SPLITS, open_faces300vw

POINTS = np.random.default_rng(5).uniform(2, 20, (68, 2)).round(3)


def write(root: Path, clip: str, numbers: list[int], *, image: bool = True, num_points: int = 68) -> Path:
    folder = root / clip
    (folder / "annot").mkdir(parents=True, exist_ok=True)
    for number in numbers:
        rows = "\n".join(f"{x:.3f} {y:.3f}" for x, y in POINTS[:num_points])
        (folder / "annot" / f"{number:06d}.pts").write_text(f"version: 1\nn_points: {num_points}\n{{\n{rows}\n}}\n")
        if image:
            (folder / "imgs").mkdir(exist_ok=True)
            cv2.imwrite(str(folder / "imgs" / f"{number:06d}.jpg"), np.zeros((24, 32, 3), np.uint8))
    return folder


def test_the_official_lists_share_no_clip() -> None:
    assert {name: len(clips) for name, clips in SPLITS.items()} == {
        "train": 50,
        "category_a": 31,
        "category_b": 19,
        "category_c": 14,
        "test": 64,
    }
    assert len({*SPLITS["train"], *SPLITS["test"]}) == 114
    assert SPLITS["test"] == sorted({clip for category in CATEGORIES for clip in SPLITS[category]})


def test_frames_are_samples_and_clips_groups(tmp_path: Path) -> None:
    write(tmp_path, "203", [1, 2])
    write(tmp_path, "114", [10])
    write(tmp_path, "001", [1])
    found = read_faces300vw(tmp_path, "test")
    assert [s.key for s in found.samples] == ["114/000010", "203/000001", "203/000002"]
    assert [s.group for s in found.samples] == ["114", "203", "203"]
    assert [s.tags for s in found.samples] == [{"category_a"}, {"category_b"}, {"category_b"}]
    assert (found.samples[0].points == POINTS - 1).all()
    assert found.samples[0].image == tmp_path / "114" / "imgs" / "000010.jpg"
    assert str(found.protocol["clips"]).startswith("2 of 64, without 124 125 126")
    assert found.protocol["broken frames"] == "none left out"
    assert [s.key for s in read_faces300vw(tmp_path, "category_b").samples] == ["203/000001", "203/000002"]
    train = read_faces300vw(tmp_path, "train").samples
    assert [(s.key, s.tags) for s in train] == [("001/000001", frozenset())]


def test_broken_frames_are_left_out_and_told(tmp_path: Path) -> None:
    write(tmp_path, "401", [1, 2, 3])
    listed = tmp_path / "broken_frames.json"
    listed.write_text(json.dumps({"401": [2], "002": [7]}))
    found = read_faces300vw(tmp_path, "test")
    assert [s.key for s in found.samples] == ["401/000001", "401/000003"]
    assert found.protocol["broken frames"] == "left out as broken_frames.json says"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", 'must be a JSON object of clips and lists of frame numbers, {"401": [12, 13]}'),
        ("[1]", 'must be a JSON object of clips and lists of frame numbers, {"401": [12, 13]}'),
        ('{"401": 3}', 'must be a JSON object of clips and lists of frame numbers, {"401": [12, 13]}'),
        ('{"401": [true]}', 'must be a JSON object of clips and lists of frame numbers, {"401": [12, 13]}'),
        ('{"401": [1], "999": []}', "names 999, which the set does not hold"),
    ],
)
def test_broken_list_of_broken_frames(text: str, problem: str, tmp_path: Path) -> None:
    write(tmp_path, "401", [1, 2])
    listed = tmp_path / "broken_frames.json"
    listed.write_text(text)
    with pytest.raises(ValueError) as caught:
        read_faces300vw(tmp_path, "test")
    assert str(caught.value) == f"faces300vw: {listed} {problem}. {REMEDY}"


def test_everything_wrong_comes_in_one_report(tmp_path: Path) -> None:
    video = write(tmp_path, "114", [1], image=False)
    (video / "vid.avi").touch()
    nothing = write(tmp_path, "124", [1], image=False)
    empty = write(tmp_path, "125", [])
    frames = write(tmp_path, "126", [1, 2])
    (frames / "imgs" / "000001.jpg").unlink()
    short = write(tmp_path, "150", [4], num_points=67)
    unpack = f"mkdir {video}/imgs && ffmpeg -i {video}/vid.avi -start_number 1 -q:v 2 {video}/imgs/%06d.jpg"
    expected = [
        f"{video} has not been unpacked (run: {unpack})",
        f"{nothing} has neither the folder imgs nor vid.avi",
        f"{empty}/annot holds no .pts files",
        f"{frames}/annot/000001.pts has no image of its number in imgs",
        f"{short}/annot/000004.pts: must hold 68 points, got 67",
    ]
    with pytest.raises(ValueError) as caught:
        read_faces300vw(tmp_path, "category_a")
    assert str(caught.value) == f"faces300vw: {'; '.join(expected)}. {REMEDY}"
    problems: list[str] = []
    assert [s.key for s in read_faces300vw(tmp_path, "category_a", problems=problems).samples] == ["126/000002"]
    assert problems == expected


def test_missing_folders_and_unknown_splits(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        open_faces300vw(tmp_path, "test")
    folder = tmp_path / "faces300vw"
    what = f"faces300vw: data root must hold the folder {folder}, got no such folder."
    assert (
        str(caught.value) == f"{what} Set HEATPOINT_DATA or --data-root to the folder that holds faces300vw/. {REMEDY}"
    )
    write(folder, "001", [1])
    with pytest.raises(FileNotFoundError) as caught:
        open_faces300vw(tmp_path, "category_c")
    rule = "data root must hold a clip of the split category_c (410, 411, 516, …)"
    assert str(caught.value) == f"faces300vw: {rule}, got none in {folder}. {REMEDY}"
    with pytest.raises(
        ValueError, match="faces300vw: split must be one of category_a, category_b, category_c, test, train"
    ):
        read_faces300vw(folder, "val")


def test_real_clips(data_root: Path) -> None:
    root = data_root / "samples" / "300vw"
    if not root.is_dir():
        pytest.skip("the sample clips are absent")
    train, test = read_faces300vw(root, "train"), read_faces300vw(root, "test")
    assert [s.key for s in train.samples] == ["001/000006", "001/000009"]
    assert [s.key for s in test.samples] == ["401/000731", "401/000732"]
    assert train.samples[0].points[0] == pytest.approx([742.224, 196.764], abs=1e-9)
    for sample in (*train.samples, *test.samples):
        height, width = load_image(sample).shape[:2]
        assert ((sample.points >= 0) & (sample.points <= (width - 1, height - 1))).all()
        assert sample.points[36, 0] < sample.points[45, 0]
