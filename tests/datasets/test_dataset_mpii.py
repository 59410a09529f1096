"""MPII: the owners' release and the common JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from heatpoint.datasets import DATASETS
from heatpoint.datasets.mpii import read_mpii, read_mpii_json
from heatpoint.datasets.mpii_mat import read_mpii_mat
from heatpoint.skeleton import load_skeleton


def person(**changes: Any) -> dict[str, Any]:
    joints = [[10 + k, 20 + 2 * k] for k in range(16)]
    joints[3] = [-1, -1]
    flags = [int(k != 3) for k in range(16)]
    return {"image": "a.jpg", "joints": joints, "joints_vis": flags, "center": [101, 201.5], "scale": 0.5, **changes}


def write_json(folder: Path, *people: Any, name: str = "valid", heads: Any = None) -> Path:
    annot, images = folder / "annot", folder / "images"
    annot.mkdir(parents=True, exist_ok=True)
    images.mkdir(exist_ok=True)
    for image in ("a.jpg", "b.jpg"):
        (images / image).touch()
    path = annot / f"{name}.json"
    path.write_text(json.dumps(list(people)))
    if heads is not None:
        savemat(annot / f"gt_{name}.mat", {"headboxes_src": np.array(heads, dtype=np.float64).T.reshape(2, 2, -1)})
    return path


def test_common_json_counts_from_one_and_gives_squares(tmp_path: Path) -> None:
    nobody = person(joints_vis=[0] * 16)
    write_json(tmp_path, person(), nobody, person(image="b.jpg"), heads=[[10, 10, 13, 14], [0] * 4, [5, 5, 35, 45]])
    points = read_mpii(tmp_path, "test")
    first, second = points.samples
    assert first.points[:4].tolist() == [[9, 19], [10, 21], [11, 23], [0, 0]]
    assert np.flatnonzero(~first.visible).tolist() == [3]
    # 100 pixels about (100, 208): the last pixel is 99 beyond the first.
    assert first.box == (50.5, 158.5, 149.5, 257.5)
    # The person without a visible joint takes a head box along.
    assert (first.lengths["head"], second.lengths["head"]) == (pytest.approx(3), pytest.approx(30))
    assert (first.key, first.group, first.ids) == ("a.jpg#0", "a.jpg", {"image": "a.jpg", "person": 0})
    assert second.key == "b.jpg#2"
    assert (first.area, first.occluded, first.score) == (None, None, None)
    assert points.skeleton == load_skeleton("mpii16")
    assert (points.name, points.split) == ("mpii", "test")
    assert points.protocol["head"] == "0.6 x the diagonal of the head box"


def test_published_crop_is_the_box_with_a_padding_of_a_quarter(tmp_path: Path) -> None:
    write_json(tmp_path, person())
    box = read_mpii(tmp_path, "valid").samples[0].box
    assert box is not None
    # The published loader: centre (101, 201.5 + 15·0.5) − 1, side 200·0.5·1.25.
    assert ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) == (100, 208)
    assert 1.25 * (box[2] - box[0] + 1) == 125


def test_head_boxes_are_optional_and_must_fit(tmp_path: Path) -> None:
    path = write_json(tmp_path, person(), name="train")
    points = read_mpii(tmp_path, "train")
    assert points.samples[0].lengths == {}
    assert points.protocol["head"] == "not given"
    write_json(tmp_path, person(), person(), heads=[[10, 10, 13, 14]])
    with pytest.raises(
        ValueError, match=r"gt_valid\.mat must hold headboxes_src of 2 corners x 2 coordinates x 2 people"
    ):
        read_mpii(tmp_path, "valid")
    given = read_mpii_json(path, tmp_path / "images", heads=tmp_path / "annot" / "gt_valid.mat", split="mine")
    assert given.samples[0].lengths["head"] == pytest.approx(3)
    assert given.split == "mine"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"image": 5}, "must name its image"),
        ({"joints_vis": [1] * 15}, "must hold 16 joints_vis of 0 or 1"),
        ({"joints_vis": [2] * 16}, "must hold 16 joints_vis of 0 or 1"),
        ({"joints": [[1, 2]] * 15}, "must hold 16 joints of 2 finite numbers"),
        ({"joints": [[1, None]] * 16}, "must hold 16 joints of 2 finite numbers"),
        ({"center": [1]}, "must hold a center of 2 finite numbers and a scale greater than 0"),
        ({"scale": 0}, "must hold a center of 2 finite numbers and a scale greater than 0"),
        ({"scale": "1"}, "must hold a center of 2 finite numbers and a scale greater than 0"),
    ],
)
def test_broken_people_are_numbered(changes: dict[str, Any], problem: str, tmp_path: Path) -> None:
    path = write_json(tmp_path, person(), person(**changes), person(image="gone.jpg"), person(**changes))
    with pytest.raises(ValueError) as caught:
        read_mpii(tmp_path, "valid")
    assert str(caught.value).startswith(f"{path}: person 1 {problem}; person 3 {problem}. A person is an object")
    found: list[str] = []
    assert [s.key for s in read_mpii(tmp_path, "valid", problems=found).samples] == ["a.jpg#0"]
    gone = tmp_path / "images" / "gone.jpg"
    assert found == [f"person 1 {problem}", f"person 3 {problem}", f"image {gone} is missing"]


@pytest.mark.parametrize("corners", [[4, 5, 4, 5], [4, 5, np.nan, 9]])
def test_head_boxes_without_a_length_are_named(corners: list[float], tmp_path: Path) -> None:
    path = write_json(tmp_path, person(), person(), heads=[[10, 10, 13, 14], corners])
    with pytest.raises(ValueError) as caught:
        read_mpii(tmp_path, "valid")
    problem = "person 1 must have a head box of two finite corners that differ in headboxes_src"
    assert str(caught.value).startswith(f"{path}: {problem}. A person is")


def structs(*records: dict[str, Any]) -> np.ndarray:
    """A MATLAB structure array."""
    result = np.empty((1, len(records)), dtype=[(name, object) for name in records[0]])
    for index, record in enumerate(records):
        for name, value in record.items():
            result[name][0, index] = value
    return result


def cells(*values: Any) -> np.ndarray:
    result = np.empty((len(values), 1), dtype=object)
    for index, value in enumerate(values):
        result[index, 0] = value
    return result


NOTHING = np.zeros((0, 0))


def rect(*points: tuple[Any, ...], **changes: Any) -> dict[str, Any]:
    listed = structs(*({"x": x, "y": y, "id": k, "is_visible": v} for k, x, y, v in points)) if points else NOTHING
    values = {
        "x1": 10, "y1": 10, "x2": 13, "y2": 14, "annopoints": structs({"point": listed}) if points else NOTHING,
        "scale": 0.5, "objpos": structs({"x": 101.0, "y": 201.5}),
    }  # fmt: skip
    return {**values, **changes}


def write_release(folder: Path, *rects: np.ndarray, train: Any = None, singles: Any = None) -> Path:
    names = [f"{index}.jpg" for index in range(len(rects))]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / "images" / name).touch()
    images = [{"image": structs({"name": n}), "annorect": r, "vidx": 1} for n, r in zip(names, rects, strict=True)]
    release = {
        "annolist": structs(*images),
        "img_train": np.array([[1] * len(rects)] if train is None else [train], dtype=np.uint8),
        "single_person": cells(*([NOTHING] * len(rects) if singles is None else singles)),
        "version": "12",
    }
    path = folder / "mpii_human_pose_v1_u12_1.mat"
    savemat(path, {"RELEASE": release})
    return path


def test_owners_release(tmp_path: Path) -> None:
    first = rect((9, 31.5, 42, 1), (0, 5, 6, "0"), (8, 7.25, 8, NOTHING), (7, 3, 4, 0))
    write_release(
        tmp_path,
        structs(first, rect()),  # The second person has a head alone.
        structs(rect((3, 1, 2, 1))),
        structs(rect((15, 1, 2, 1)), rect((14, 5, 6, "1"))),
        NOTHING,
        train=[1, 0, 1, 1],
        singles=[np.array([[1]]), NOTHING, np.array([[2]]), NOTHING],
    )
    points = read_mpii(tmp_path, "train")
    one, two, three = points.samples
    assert [s.key for s in points.samples] == ["0.jpg#1", "2.jpg#1", "2.jpg#2"]
    assert np.flatnonzero(one.visible).tolist() == [0, 7, 8, 9]
    assert one.points[[0, 7, 8, 9, 10]].tolist() == [[4, 5], [2, 3], [6.25, 7], [30.5, 41], [0, 0]]
    assert one.occluded is not None
    assert np.flatnonzero(one.occluded).tolist() == [0, 7]
    assert one.box == (50.5, 158.5, 149.5, 257.5)
    assert one.lengths["head"] == pytest.approx(3)
    assert (one.group, one.ids) == ("0.jpg", {"image": "0.jpg", "person": 1})
    assert [sorted(s.tags) for s in points.samples] == [["single_person"], [], ["single_person"]]
    assert two.group == three.group
    assert points.protocol["left out"] == "1 people without points, place, scale or head box"


def test_release_with_one_image_and_another_split_name(tmp_path: Path) -> None:
    path = write_release(tmp_path, structs(rect((2, 5, 6, 1))))
    points = read_mpii_mat(path, tmp_path / "images", split="mine")
    assert points.split == "mine"
    assert points.samples[0].points[2].tolist() == [4, 5]


def test_broken_people_of_the_release(tmp_path: Path) -> None:
    good = rect((2, 5, 6, 1))
    rects = structs(
        good,
        rect((16, 5, 6, 1)),
        rect((2, np.nan, 6, 1)),
        rect((2, 5, 6, 1), scale=-0.5),
        rect((2, 5, 6, 1), x2=10, y2=10),
        rect((2, 5, 6, 1), scale=NOTHING),
        rect((2, 5, 6, 1), objpos=NOTHING),
        rect((2, 5, 6, 1), x2=NOTHING),
    )
    path = write_release(tmp_path, rects, structs(good))
    (tmp_path / "images" / "1.jpg").unlink()
    label = "must hold points of an id from 0 to 15 and finite x and y"
    expected = [f"person {n} of 0.jpg {label}" for n in (2, 3)]
    expected.append("person 4 of 0.jpg must have a scale greater than 0")
    expected.append("person 5 of 0.jpg must have a head box of two corners that differ")
    with pytest.raises(ValueError) as caught:
        read_mpii(tmp_path, "train")
    assert str(caught.value) == f"{path}: {'; '.join(expected)}. " + (
        "Take mpii_human_pose_v1_u12_2 from the owners' page again, and give the folder of its images."
    )
    found: list[str] = []
    points = read_mpii(tmp_path, "train", problems=found)
    assert [s.key for s in points.samples] == ["0.jpg#1"]
    assert points.protocol["left out"] == "3 people without points, place, scale or head box"
    assert found == [*expected, f"image {tmp_path / 'images' / '1.jpg'} is missing"]


def test_files_that_are_no_release(tmp_path: Path) -> None:
    path = write_release(tmp_path, structs(rect((2, 5, 6, 1))), train=[1, 1])
    with pytest.raises(
        ValueError, match=r"must hold as many img_train and single_person as annolist, got 2 and 1 for 1\."
    ):
        read_mpii(tmp_path, "train")
    savemat(path, {"RELEASE": {"annolist": structs({"image": 3})}})
    with pytest.raises(
        ValueError, match="must hold a structure RELEASE of annolist, img_train and single_person, got another"
    ):
        read_mpii(tmp_path, "train")
    release = {"annolist": structs({"image": 3}), "img_train": 1, "single_person": cells(NOTHING)}
    savemat(path, {"RELEASE": release})
    with pytest.raises(ValueError, match=r"mat: image 1 has no name\. Take mpii_human_pose"):
        read_mpii(tmp_path, "train")


def test_folders_that_are_no_set(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mpii: split must be one of test, train, trainval, valid, got 'val'"):
        read_mpii(tmp_path, "val")
    with pytest.raises(
        FileNotFoundError, match=r"mpii: data root must hold the folder .*images, got no such folder\. The"
    ):
        read_mpii(tmp_path, "train")
    (tmp_path / "images").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"must hold .*annot/train\.json, got no such file\. The folder must hold"
    ):
        read_mpii(tmp_path, "train")
    write_release(tmp_path, structs(rect((2, 5, 6, 1))))
    with pytest.raises(
        FileNotFoundError, match=r"annot/valid\.json, got mpii_human\S+ alone, whose labels are all for train"
    ):
        read_mpii(tmp_path, "test")
    path = write_json(tmp_path, person())
    path.write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r"mpii: .*valid\.json must be a list of objects, got another form\."):
        read_mpii(tmp_path, "test")
    (tmp_path / "mpii").mkdir()
    with pytest.raises(FileNotFoundError, match="images"):
        DATASETS["mpii"](tmp_path, "train")


def test_real_sample(data_root: Path) -> None:
    folder = data_root / "samples/mpii"
    points = read_mpii_json(folder / "test_mpii.json", folder)
    assert len(points) == 5
    first = points.samples[0]
    assert first.points[9].tolist() == [962.2409 - 1, 80.0306 - 1]
    assert first.visible.all()
    for sample in points.samples:
        assert sample.box is not None
        inside = (sample.points >= sample.box[:2]) & (sample.points <= sample.box[2:])
        # 200·scale is about a person's height, so that an arm held out may leave the box but not the padded one.
        assert inside[sample.visible].all(axis=1).mean() > 0.7
