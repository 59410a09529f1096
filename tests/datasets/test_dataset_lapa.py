"""LaPa: 106 points in text files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from heatpoint.datasets import load_image, read_lapa
from heatpoint.datasets.lapa import REMEDY, open_lapa
from heatpoint.skeleton import load_skeleton

POINTS = np.random.default_rng(3).uniform(1, 30, (106, 2)).round(6)


def write(root: Path, split: str, stem: str, points: np.ndarray = POINTS, *, image: bool = True) -> Path:
    for name in ("images", "landmarks", "labels"):
        (root / split / name).mkdir(parents=True, exist_ok=True)
    if image:
        cv2.imwrite(str(root / split / "images" / f"{stem}.jpg"), np.zeros((40, 34, 3), np.uint8))
    path = root / split / "landmarks" / f"{stem}.txt"
    path.write_text("\n".join([str(len(points)), *(f"{x:.6f} {y:.6f}" for x, y in points)]) + "\n")
    return path


def test_points_are_taken_as_they_stand_and_faces_of_a_photograph_stay_together(tmp_path: Path) -> None:
    for stem in ("77000123_1", "77000123_0", "HELEN_123456_1_2"):
        write(tmp_path, "val", stem)
    found = read_lapa(tmp_path, "val")
    assert [s.key for s in found.samples] == ["val/77000123_0", "val/77000123_1", "val/HELEN_123456_1_2"]
    assert [s.group for s in found.samples] == ["77000123", "77000123", "HELEN_123456"]
    assert (found.name, found.split, found.skeleton) == ("lapa", "val", load_skeleton("face106"))
    assert found.protocol["faces"] == "3 of 2000"
    first = found.samples[0]
    assert (first.points == POINTS).all()
    assert first.visible.all()
    assert (first.box, first.image) == (None, tmp_path / "val" / "images" / "77000123_0.jpg")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must begin with the number 106, got an empty file"),
        ("105\n1 2\n", "must begin with the number 106, got 105"),
        ("1.5 2.5\n" * 106, "must begin with the number 106, got 1.5 2.5"),
        ("106\n" + "1 2\n" * 105, "must hold 106 points, got 105"),
        ("106\n" + "1 2\n" * 105 + "1\n", "must hold two numbers per point"),
        ("106\n" + "1 2 3\n" * 106, "must hold two numbers per point"),
        ("106\n" + "1 2\n" * 105 + "1 x\n", "must hold two numbers per point"),
        ("106\n" + "1 2\n" * 105 + "1 nan\n", "holds points that are not finite"),
    ],
)
def test_broken_files_come_in_one_report_and_are_left_out_of_a_list(text: str, problem: str, tmp_path: Path) -> None:
    write(tmp_path, "test", "good_0")
    path = write(tmp_path, "test", "broken_0")
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        read_lapa(tmp_path, "test")
    assert str(caught.value) == f"lapa: {path} {problem}. {REMEDY}"
    problems = ["earlier"]
    found = read_lapa(tmp_path, "test", problems=problems)
    assert problems == ["earlier", f"{path} {problem}"]
    assert [s.key for s in found.samples] == ["test/good_0"]


def test_images_and_landmarks_without_each_other(tmp_path: Path) -> None:
    write(tmp_path, "train", "a_0")
    alone = write(tmp_path, "train", "b_0", image=False)
    image = tmp_path / "train" / "images" / "b_0.jpg"
    with pytest.raises(FileNotFoundError) as missing:
        read_lapa(tmp_path, "train")
    assert str(missing.value) == f"lapa: images must be existing files, got {image} (1 of 2 missing). {REMEDY}"
    problems: list[str] = []
    assert len(read_lapa(tmp_path, "train", problems=problems)) == 1
    assert problems == [f"image {image} is missing"]
    alone.unlink()
    (tmp_path / "train" / "landmarks" / "a_0.txt").unlink()
    with pytest.raises(ValueError) as caught:
        read_lapa(tmp_path, "train")
    folder = tmp_path / "train"
    text = f"{folder / 'landmarks'} holds no .txt files; {folder / 'images' / 'a_0.jpg'} has no file in landmarks"
    assert str(caught.value) == f"lapa: {text}. {REMEDY}"


def test_missing_folders_and_unknown_splits(tmp_path: Path) -> None:
    (tmp_path / "lapa").mkdir()
    with pytest.raises(FileNotFoundError) as caught:
        open_lapa(tmp_path, "test")
    folder = tmp_path / "lapa" / "test" / "landmarks"
    assert str(caught.value) == f"lapa: data root must hold the folder {folder}, got no such folder. {REMEDY}"
    with pytest.raises(ValueError, match="lapa: split must be one of test, train, val, got 'vall'. Did you mean val"):
        read_lapa(tmp_path, "vall")


def test_real_faces(data_root: Path, tmp_path: Path) -> None:
    """Two faces of the set, whose points were found in another format, in the owners' format."""
    source = data_root / "samples" / "lapa"
    if not source.is_dir():
        pytest.skip("the sample faces are absent")
    content = json.loads((source / "test_lapa.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    for record in content["annotations"]:
        name = names[record["image_id"]]
        path = write(tmp_path, "test", name[:-4], np.array(record["keypoints"]).reshape(-1, 3)[:, :2], image=False)
        (path.parents[1] / "images" / name).symlink_to(source / name)
    found = read_lapa(tmp_path, "test")
    assert len(found) == 2
    index = {name: i for i, name in enumerate(found.skeleton.names)}
    for sample in found.samples:
        height, width = load_image(sample).shape[:2]
        assert ((sample.points >= 0) & (sample.points <= (width - 1, height - 1))).all()
        # The subject's right is at the image's left in both; a pupil lies between the corners of its eye.
        right, left = sample.points[index["right_pupil"]], sample.points[index["left_pupil"]]
        assert right[0] < left[0]
        for side, pupil in (("right", right), ("left", left)):
            corners = sample.points[[index[f"{side}_eye_outer"], index[f"{side}_eye_inner"]], 0]
            assert corners.min() < pupil[0] < corners.max()


def test_swap_of_106_points_is_that_of_the_published_code(goldens: object) -> None:
    order = goldens("03_h3r_geometry")["flip_order_lapa"].tolist()  # type: ignore[operator]
    skeleton = load_skeleton("face106")
    assert list(skeleton.swap) == order
    # As in the published script: the outer eye corners, or the pupils.
    assert skeleton.normalizers["inter_ocular"] == ((66,), (79,))
    assert skeleton.normalizers["inter_pupil"] == ((104,), (105,))
