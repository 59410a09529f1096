"""COCO keypoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heatpoint.datasets import DATASETS, read_coco
from heatpoint.skeleton import Skeleton, load_skeleton

THREE = Skeleton(("a", "b", "c"), swap_pairs=((0, 2),))


def record(**changes: Any) -> dict[str, Any]:
    values = {
        "id": 5, "image_id": 1, "keypoints": [4, 5, 2, 9, 9, 0, 7.5, 2.25, 1], "bbox": [2, 1, 6, 5], "iscrowd": 0,
    }  # fmt: skip
    return {**values, **changes}


def write(folder: Path, *annotations: Any, **content: Any) -> Path:
    images = [{"id": 1, "file_name": "x.jpg", "width": 10, "height": 20}, {"id": 2, "file_name": "y.jpg"}]
    path = folder / "annotations.json"
    path.write_text(json.dumps({"images": images, "annotations": list(annotations), **content}))
    return path


def test_one_sample_per_object(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        record(),
        record(id=6, image_id=2, bbox=[8, 16, 6.5, 0]),
        record(id=7, bbox=[8, 16, 6.5, 10]),
        record(id=8, iscrowd=1),
        record(id=9, keypoints=[0] * 9),
    )
    points = read_coco(path, tmp_path, THREE, split="val")
    first, second, third = points.samples
    assert first.points.tolist() == [[4, 5], [0, 0], [7.5, 2.25]]
    assert first.visible.tolist() == [True, False, True]
    assert first.box == (2, 1, 7, 5)
    assert second.box == (8, 16, 13.5, 16)
    assert third.box == (8, 16, 9, 19)
    assert (first.key, first.group, first.image) == ("x.jpg#5", "x.jpg", tmp_path / "x.jpg")
    assert points.split == "val"


def test_least_number_of_points_decides_what_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, record(), record(id=9, keypoints=[0] * 9, bbox=None))
    assert len(read_coco(path, tmp_path, THREE, min_visible=0)) == 2
    assert read_coco(path, tmp_path, THREE, min_visible=0).samples[1].box is None
    assert len(read_coco(path, tmp_path, THREE, min_visible=3)) == 0


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"image_id": 7}, "refers to the unknown image 7"),
        ({"keypoints": [1, 2, 2]}, "must hold 3 x 3 keypoint numbers, got 3"),
        ({"keypoints": None}, "must hold 3 x 3 keypoint numbers, got none"),
        ({"keypoints": [None] * 9}, "must hold finite keypoint numbers"),
        ({"bbox": [1, 2, -3, 4]}, "must hold a bbox of x, y and a width and height of at least 0"),
    ],
)
def test_broken_annotations_are_named(changes: dict[str, Any], problem: str, tmp_path: Path) -> None:
    path = write(
        tmp_path, record(), record(id=77, **changes), {k: v for k, v in record(**changes).items() if k != "id"}
    )
    with pytest.raises(ValueError) as caught:
        read_coco(path, tmp_path, THREE)
    assert str(caught.value).startswith(f"{path}: annotation 77 {problem}; annotation number 2 {problem}. Correct")


@pytest.mark.parametrize(
    ("names", "detail"),
    [(["a", "c", "b"], "('c' for 'b', 'b' for 'c')"), (["a", "b", "c", "d"], "(4 points for 3)")],
)
def test_names_that_differ_from_the_skeleton(names: list[str], detail: str, tmp_path: Path) -> None:
    path = write(tmp_path, record(), categories=[{"name": "thing", "keypoints": names}])
    with pytest.raises(ValueError) as caught:
        read_coco(path, tmp_path, THREE)
    assert f"category 'thing' names its points otherwise than the skeleton {detail}" in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"images": 3, "annotations": []}', '{"images": [], "annotations": [1]}'])
def test_file_of_another_form(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.json: it (is not JSON|must hold the lists of objects)"):
        read_coco(path, tmp_path, THREE)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="read_coco: annotations must be an existing file"):
        read_coco(tmp_path / "none.json", tmp_path)
    with pytest.raises(FileNotFoundError, match="Check image_root"):
        read_coco(write(tmp_path), tmp_path / "none")


def test_the_download_is_found_by_its_folders(tmp_path: Path) -> None:
    for folder in ("coco/annotations", "coco/val2017"):
        (tmp_path / folder).mkdir(parents=True)
    path = write(tmp_path / "coco/annotations", record(keypoints=[1, 2, 2] * 17))
    path.rename(path.with_name("person_keypoints_val2017.json"))
    points = DATASETS["coco"](tmp_path, "val")
    assert points.samples[0].image == tmp_path / "coco/val2017/x.jpg"


def test_real_sample(data_root: Path) -> None:
    folder = data_root / "samples/coco"
    points = read_coco(folder / "test_coco.json", folder)
    assert len(points) == 12
    assert points.skeleton == load_skeleton("coco17")
    first = points.samples[0]
    assert first.points[0].tolist() == [367, 81]
    assert first.box is not None
    assert np.allclose(first.box, (280.79, 44.73, 498.49, 390.41), atol=1e-9)
