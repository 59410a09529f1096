"""COCO keypoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heatpoint.datasets import DATASETS, read_coco, read_coco_detections
from heatpoint.skeleton import Skeleton, load_skeleton

BBOX = "must hold a bbox of x, y and a width and height of at least 0"
THREE = Skeleton(("a", "b", "c"), swap_pairs=((0, 2),))


def record(**changes: Any) -> dict[str, Any]:
    values = {
        "id": 5, "image_id": 1, "keypoints": [4, 5, 2, 9, 9, 0, 7.5, 2.25, 1], "bbox": [2, 1, 6, 5], "iscrowd": 0,
    }  # fmt: skip
    return {**values, **changes}


def write(folder: Path, *annotations: Any, **content: Any) -> Path:
    images = [{"id": 1, "file_name": "x.jpg", "width": 10, "height": 20}, {"id": 2, "file_name": "y.jpg"}]
    for image in images:
        (folder / str(image["file_name"])).touch()
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


def test_what_the_set_says_of_an_object_beside_its_points(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        record(area=12.5, num_keypoints=2, segmentation=[[1, 2, 3, 4, 5, 6]]),
        record(id=8, iscrowd=1, area=90),
        record(id=9, keypoints=[0] * 9, num_keypoints=0),
    )
    points = read_coco(path, tmp_path, THREE)
    (only,) = points.samples
    assert (only.area, only.ids, only.score) == (12.5, {"image_id": 1, "annotation_id": 5}, None)
    assert only.occluded is not None
    assert only.occluded.tolist() == [False, False, True]
    assert [r["id"] for r in points.annotations] == [5, 8, 9]
    assert points.annotations[0] == record(area=12.5, num_keypoints=2)
    assert read_coco(write(tmp_path, record()), tmp_path, THREE).samples[0].area is None


def test_annotations_are_those_of_the_category(tmp_path: Path) -> None:
    named = [{"id": 4, "name": "box"}, {"id": 7, "name": "mouse"}]
    path = write(tmp_path, record(category_id=7), record(id=6, category_id=4, iscrowd=1), categories=named)
    assert [r["id"] for r in read_coco(path, tmp_path, THREE, category="mouse").annotations] == [5]
    assert [r["id"] for r in read_coco(path, tmp_path, THREE).annotations] == [5, 6]


def test_a_list_takes_all_problems(tmp_path: Path) -> None:
    path = write(tmp_path, record(), record(id=6, image_id=2), record(id=77, bbox=5), record(id=78, image_id=7))
    (tmp_path / "y.jpg").unlink()
    found: list[str] = ["of another set"]
    points = read_coco(path, tmp_path, THREE, problems=found)
    assert [s.key for s in points.samples] == ["x.jpg#5"]
    assert found == [
        "of another set",
        f"annotation 77 {BBOX}",
        "annotation 78 refers to the unknown image 7",
        f"image {tmp_path / 'y.jpg'} is missing",
    ]
    path = write(tmp_path, record())
    found = []
    assert len(read_coco(path, tmp_path, THREE, min_visible=3, problems=found)) == 0
    assert found == [
        f"read_coco: annotations must hold an object with at least 3 annotated points, got none in {path}."
    ]


def test_least_number_of_points_decides_what_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, record(), record(id=9, keypoints=[0] * 9, bbox=None))
    assert len(read_coco(path, tmp_path, THREE, min_visible=0)) == 2
    assert read_coco(path, tmp_path, THREE, min_visible=0).samples[1].box is None
    with pytest.raises(ValueError) as caught:
        read_coco(path, tmp_path, THREE, min_visible=3)
    rule = "read_coco: annotations must hold an object with at least 3 annotated points"
    assert str(caught.value) == f"{rule}, got none in {path}."


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"image_id": 7}, "refers to the unknown image 7"),
        ({"keypoints": [1, 2, 2]}, "must hold 3 x 3 keypoint numbers, got 3"),
        ({"keypoints": None}, "must hold 3 x 3 keypoint numbers, got none"),
        ({"keypoints": [None] * 9}, "must hold finite keypoint numbers"),
        ({"keypoints": [10**400] * 9}, "must hold finite keypoint numbers"),
        ({"image_id": [1]}, "refers to the unknown image [1]"),
        *(({"keypoints": [4, 5, flag] * 3}, "must hold visibilities of 0, 1 or 2") for flag in (-1, 3, 0.5)),
        *(({"iscrowd": crowd}, "must hold an iscrowd of 0 or 1") for crowd in ("0", 2, [1])),
        *(({"area": area}, "must hold an area of at least 0") for area in (-1, "2", [1])),
        ({"keypoints": [4, True, 2] * 3}, "must hold finite keypoint numbers"),
        ({"keypoints": [4, "5", 2] * 3}, "must hold finite keypoint numbers"),
        *(({"keypoints": [4, odd, 2] * 3}, "must hold finite keypoint numbers") for odd in (np.nan, np.inf)),
        *(({"area": area}, "must hold an area greater than 0 beside its points") for area in (0, 0.0)),
        *(
            ({"bbox": box}, "must hold a bbox that meets its image")
            for box in ([-6, 1, 6, 5], [10, 1, 6, 5], [2, -9.5, 6, 5], [2, 20, 6, 5], [-1, 3, 0, 4])
        ),
        *(({"bbox": box}, BBOX) for box in ([1, 2, -3, 4], 5, "1 2 3 4", [1, 2, 3, "4"], [1, 2, 3])),
    ],
)
def test_broken_annotations_are_named(changes: dict[str, Any], problem: str, tmp_path: Path) -> None:
    path = write(
        tmp_path, record(), record(id=77, **changes), {k: v for k, v in record(**changes).items() if k != "id"}
    )
    with pytest.raises(ValueError) as caught:
        read_coco(path, tmp_path, THREE)
    assert str(caught.value).startswith(f"{path}: annotation 77 {problem}; annotation number 2 {problem}. Correct")


def test_boxes_that_touch_their_image_and_areas_of_nobody_are_allowed(tmp_path: Path) -> None:
    boxes = [[-5.5, 1, 6, 5], [9.5, 1, 6, 5], [0, 19, 0, 5]]
    at_border = [record(id=number, bbox=box) for number, box in enumerate(boxes)]
    path = write(tmp_path, *at_border, record(id=7, image_id=2, bbox=[90, 90, 6, 5]), record(area=0, keypoints=[0] * 9))
    assert [s.box for s in read_coco(path, tmp_path, THREE).samples] == [
        (0, 1, 0, 5),
        (9, 1, 9, 5),
        (0, 19, 0, 19),
        (90, 90, 95, 94),
    ]


def test_repeated_ids_are_named(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "x.jpg"}, {"id": 2, "file_name": "y.jpg"}, {"id": 1, "file_name": "y.jpg"}]
    path = write(tmp_path, record(), record(id=6), record(image_id=2), record(id=None), record(id=None), images=images)
    found: list[str] = []
    points = read_coco(path, tmp_path, THREE, problems=found)
    assert found == ["image 1 (y.jpg) has the id of x.jpg", "annotation 5 has the id of an annotation before it"]
    # The first of each stands; records without an id are allowed.
    assert [s.key for s in points.samples] == ["x.jpg#5", "x.jpg#6", "x.jpg#None", "x.jpg#None"]


def test_brackets_nested_too_deep_are_an_error_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"deep\.json: it is not JSON \(maximum recursion depth"):
        read_coco(tmp_path / "deep.json", tmp_path, THREE)


@pytest.mark.parametrize(
    ("names", "detail"),
    [(["a", "c", "b"], "('c' for 'b', 'b' for 'c')"), (["a", "b", "c", "d"], "(4 points for 3)")],
)
def test_names_that_differ_from_the_skeleton(names: list[str], detail: str, tmp_path: Path) -> None:
    path = write(tmp_path, record(), categories=[{"name": "thing", "keypoints": names}])
    with pytest.raises(ValueError) as caught:
        read_coco(path, tmp_path, THREE)
    assert f"category 'thing' names its points otherwise than the skeleton {detail}" in str(caught.value)


def test_one_category_is_read_among_others(tmp_path: Path) -> None:
    named = [
        {"id": 4, "name": "box"},
        {"id": 7, "name": "mouse", "keypoints": ["a", "b", "c"]},
        {"id": 8, "name": "rat"},
    ]
    other = {"id": 6, "image_id": 1, "category_id": 4, "bbox": [0, 0, 3, 3]}
    path = write(tmp_path, record(category_id=7), other, record(category_id=8, id=7), categories=named)
    for category in ("mouse", 7):
        points = read_coco(path, tmp_path, THREE, category=category)
        assert [s.key for s in points.samples] == ["x.jpg#5"]
        assert points.protocol["category"] == str(category)
    # A category of other names does not stand in the way of the one that is read.
    assert len(read_coco(path, tmp_path, Skeleton(("u", "v", "w")), category="rat")) == 1
    with pytest.raises(ValueError, match=r"annotation 6 must hold 3 x 3 .* or choose one category\."):
        read_coco(path, tmp_path, THREE)
    with pytest.raises(ValueError, match=r"category must be one of box, mouse, rat, got 'muose'. Did you mean mouse\?"):
        read_coco(path, tmp_path, THREE, category="muose")
    with pytest.raises(ValueError, match=r"category must be one of \(the file names none\), got 'mouse'"):
        read_coco(write(tmp_path, record()), tmp_path, THREE, category="mouse")


def test_broken_images_and_categories_come_in_one_report(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "x.jpg"}, {"id": [2], "file_name": "y.jpg"}, {"file_name": "z.jpg"}, {"id": 4}]
    images.append({"id": 5, "file_name": "x.jpg", "width": "10"})
    path = write(tmp_path, record(), images=images, categories=[{"id": 1, "name": "m", "keypoints": 5}])
    with pytest.raises(ValueError) as caught:
        read_coco(path, tmp_path, THREE)
    assert str(caught.value).startswith(
        f"{path}: category 'm' must name its keypoints in a list; image [2] must have an id and a file_name; "
        "image number 2 must have an id and a file_name; image 4 must have an id and a file_name; "
        "image 5 must have a width and a height greater than 0. Correct the annotations"
    )
    path = write(tmp_path, record(), images=4, categories=5)
    with pytest.raises(ValueError, match="'images' must be a list of objects; 'categories' must be a list of objects"):
        read_coco(path, tmp_path, THREE)


def test_missing_images_are_listed_on_reading(tmp_path: Path) -> None:
    path = write(tmp_path, record(), record(id=6, image_id=2))
    (tmp_path / "y.jpg").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        read_coco(path, tmp_path, THREE)
    listed = f"{tmp_path / 'y.jpg'} (1 of 2 missing)"
    remedy = "Check image_root, the folder in which every file_name begins."
    assert str(caught.value) == f"coco: images must be existing files, got {listed}. {remedy}"


@pytest.mark.parametrize("text", ["{", "[]", '{"images": 3, "annotations": []}', '{"images": [], "annotations": [1]}'])
def test_file_of_another_form(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(
        ValueError,
        match=r"a\.json: (it is not JSON|it must hold the lists of objects|'(images|annotations)' must be a list of objects)",
    ):
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
    (tmp_path / "coco/val2017/x.jpg").touch()
    assert DATASETS["coco"](tmp_path, "test").split == "test"
    with pytest.raises(ValueError, match="coco: split must be one of detected, test, train, val, got 'all'"):
        DATASETS["coco"](tmp_path, "all")
    points = DATASETS["coco"](tmp_path, "val")
    assert points.samples[0].image == tmp_path / "coco/val2017/x.jpg"


def detection(**changes: Any) -> dict[str, Any]:
    return {"image_id": 1, "category_id": 1, "bbox": [-2.5, 1, 14, 5.5], "score": 0.75, **changes}


def write_detections(folder: Path, *detections: Any) -> Path:
    path = folder / "detections.json"
    path.write_text(json.dumps(list(detections)))
    return path


def test_one_sample_per_detected_box(tmp_path: Path) -> None:
    person = [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}]
    annotations = write(tmp_path, record(category_id=1), record(id=8, iscrowd=1, category_id=1), categories=person)
    path = write_detections(
        tmp_path, detection(), detection(score=0.25, image_id=2), detection(category_id=3), detection(category_id=2)
    )
    points = read_coco_detections(path, annotations, tmp_path, THREE, category="person")
    first, second = points.samples
    # Unlike annotated boxes, detected ones are not cut to the image.
    assert (first.box, first.score, first.area) == ((-2.5, 1, 10.5, 5.5), 0.75, None)
    assert (first.key, second.key, first.group) == ("x.jpg@0", "y.jpg@1", "x.jpg")
    assert first.ids == {"image_id": 1}
    assert not first.visible.any()
    assert first.points.shape == (3, 2)
    assert [r["id"] for r in points.annotations] == [5, 8]
    assert points.split == "detected"
    assert points.protocol["boxes"] == "detections.json, scores of at least 0"
    assert len(read_coco_detections(path, annotations, tmp_path, THREE)) == 3
    above = read_coco_detections(path, annotations, tmp_path, THREE, min_score=0.75, split="s", name="n")
    assert [s.score for s in above.samples] == [0.75, 0.75]
    assert (above.split, above.name) == ("s", "n")
    with pytest.raises(ValueError, match=r"detections must hold a box with a score of at least 0\.8, got none in"):
        read_coco_detections(path, annotations, tmp_path, THREE, min_score=0.8)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"image_id": 7}, "refers to the unknown image 7"),
        ({"bbox": [1, 2, 3]}, BBOX),
        ({"score": "high"}, "must hold a score"),
    ],
)
def test_broken_detections_are_numbered(changes: dict[str, Any], problem: str, tmp_path: Path) -> None:
    annotations, path = write(tmp_path, record()), write_detections(tmp_path, detection(), detection(**changes))
    with pytest.raises(ValueError) as caught:
        read_coco_detections(path, annotations, tmp_path, THREE)
    assert str(caught.value).startswith(f"{path}: detection 1 {problem}. A detection is an object of image_id")
    found: list[str] = []
    assert len(read_coco_detections(path, annotations, tmp_path, THREE, problems=found)) == 1
    assert found == [f"detection 1 {problem}"]


def test_detections_of_another_form(tmp_path: Path) -> None:
    annotations, path = write(tmp_path, record()), tmp_path / "d.json"
    with pytest.raises(
        FileNotFoundError, match=r"read_coco_detections: detections must be an existing file, got .*d\.json"
    ):
        read_coco_detections(path, annotations, tmp_path, THREE)
    path.write_text("{}")
    with pytest.raises(
        ValueError, match=r"read_coco_detections: .*d\.json must be a list of objects, got another form\."
    ):
        read_coco_detections(path, annotations, tmp_path, THREE)
    with pytest.raises(TypeError, match=r"read_coco_detections: min_score must be a number, got 'low'\."):
        read_coco_detections(path, annotations, tmp_path, THREE, min_score="low")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="Check image_root"):
        read_coco_detections(path, annotations, tmp_path / "none", THREE)


def test_the_download_with_published_detections_and_nested_images(tmp_path: Path) -> None:
    root = tmp_path / "coco"
    for folder in ("annotations", "images/val2017", "person_detection_results"):
        (root / folder).mkdir(parents=True)
    person = [{"id": 1, "name": "person"}]
    path = write(root / "annotations", record(keypoints=[1, 2, 2] * 17, category_id=1), categories=person)
    path.rename(path.with_name("person_keypoints_val2017.json"))
    (root / "images/val2017/x.jpg").touch()
    boxes = write_detections(root / "person_detection_results", detection())
    boxes.rename(boxes.with_name("COCO_val2017_detections_AP_H_56_person.json"))
    points = DATASETS["coco"](tmp_path, "detected")
    assert points.samples[0].image == root / "images/val2017/x.jpg"
    assert points.samples[0].score == 0.75


def test_real_detections(data_root: Path) -> None:
    folder = data_root / "samples/coco"
    annotations = folder / "test_coco.json"
    points = read_coco_detections(folder / "test_coco_det_AP_H_56.json", annotations, folder, category="person")
    assert len(points) == 118
    assert {s.ids["image_id"] for s in points.samples} == {785, 40083, 196141, 197388}
    assert len(points.annotations) == 14
    # The best detection of the skier lies over her annotated box.
    best = max((s for s in points.samples if s.ids["image_id"] == 785), key=lambda s: s.score or 0)
    assert best.box is not None
    assert np.allclose(best.box, (280.79, 44.73, 498.49, 390.41), atol=16)
    assert len(read_coco_detections(folder / "test_coco_det_AP_H_56.json", annotations, folder, min_score=0.9)) < 20


def test_body_points_of_the_whole_body_set(data_root: Path) -> None:
    folder = data_root / "samples/coco"
    whole, body = read_coco(folder / "test_coco_wholebody.json", folder), read_coco(folder / "test_coco.json", folder)
    assert [s.points.tolist() for s in whole.samples] == [s.points.tolist() for s in body.samples]


def test_real_sample(data_root: Path) -> None:
    folder = data_root / "samples/coco"
    points = read_coco(folder / "test_coco.json", folder)
    assert len(points) == 12
    assert points.skeleton == load_skeleton("coco17")
    first = points.samples[0]
    assert first.points[0].tolist() == [367, 81]
    assert first.box is not None
    assert np.allclose(first.box, (280.79, 44.73, 498.49, 390.41), atol=1e-9)
    assert first.area == 27789.11055
    assert first.ids["annotation_id"] == 442619
    assert len(points.annotations) == 14
