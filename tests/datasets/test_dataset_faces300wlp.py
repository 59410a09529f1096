"""300W-LP: folders of turned faces."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from heatpoint.datasets import load_image, read_faces300wlp
from heatpoint.datasets.faces300wlp import FOLDERS, REMEDY, open_faces300wlp

RNG = np.random.default_rng(9)
THREE, TWO, BESIDE = (RNG.uniform(1, 60, (68, 2)) for _ in range(3))


def write(root: Path, folder: str, stem: str, *, listed: bool = True, **variables: object) -> Path:
    (root / folder).mkdir(parents=True, exist_ok=True)
    image = root / folder / f"{stem}.jpg"
    cv2.imwrite(str(image), np.zeros((64, 70, 3), np.uint8))
    scipy.io.savemat(image.with_suffix(".mat"), {"pt2d": BESIDE.T, "Pose_Para": np.zeros((1, 7)), **variables})
    if listed:
        path = root / "landmarks" / folder / f"{stem}_pts.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(path, {"pts_2d": TWO, "pts_3d": THREE})
    return image


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in FOLDERS:
        write(tmp_path, folder, f"{folder}_image_0003_1_0")
        write(tmp_path, f"{folder}_Flip", f"{folder}_image_0003_1_0", listed=False)
    write(tmp_path, "AFW", "AFW_image_0003_2_12")
    return tmp_path


def test_training_takes_the_four_folders_and_keeps_poses_of_a_photograph_together(root: Path) -> None:
    found = read_faces300wlp(root, "train")
    assert [s.key for s in found.samples] == [
        "AFW/AFW_image_0003_1_0",
        "AFW/AFW_image_0003_2_12",
        "HELEN/HELEN_image_0003_1_0",
        "IBUG/IBUG_image_0003_1_0",
        "LFPW/LFPW_image_0003_1_0",
    ]
    assert [s.group for s in found.samples][:3] == ["AFW_image_0003", "AFW_image_0003", "HELEN_image_0003"]
    assert found.samples[0].tags == {"AFW"}
    assert (found.samples[0].points == THREE - 1).all()
    assert found.samples[0].visible.all()
    assert found.skeleton.default_normalizer == "box"
    assert found.protocol["faces"] == "5 of 61225"
    assert found.protocol["points"] == "pts_3d or pt3d_68"
    assert [s.key for s in read_faces300wlp(root, "IBUG").samples] == ["IBUG/IBUG_image_0003_1_0"]


def test_two_kinds_of_points_in_two_places(root: Path) -> None:
    both = read_faces300wlp(root, "train_and_flips", points="2d")
    assert len(both) == 9
    assert both.protocol["faces"] == "9 of 122450"
    assert (both.samples[0].points == TWO - 1).all()
    flipped = both.samples[-1]
    assert (flipped.key, flipped.group, flipped.tags) == (
        "LFPW_Flip/LFPW_image_0003_1_0",
        "LFPW_image_0003",
        {"LFPW_Flip"},
    )
    assert (flipped.points == BESIDE - 1).all()
    write(root, "AFW_Flip", "AFW_image_0003_1_0", listed=False, pt3d_68=np.vstack([THREE.T, np.zeros((1, 68))]))
    assert (read_faces300wlp(root, "AFW_Flip").samples[0].points == THREE - 1).all()


def test_everything_wrong_comes_in_one_report(root: Path) -> None:
    image = write(root, "AFW", "AFW_image_0004_1_0", listed=False)
    image.with_suffix(".mat").unlink()
    alone = write(root, "AFW", "AFW_image_0005_1_0")
    alone.unlink()
    short = root / "landmarks" / "AFW" / "AFW_image_0003_1_0_pts.mat"
    scipy.io.savemat(short, {"pts_3d": np.zeros((67, 2))})
    expected = [
        f"{alone.with_suffix('.mat')} has no image beside it",
        f"{short} pts_3d must be numbers of the shape 68 x 2 or 3, or the other way round, got 67 x 2",
        f"{image} has neither a .mat file beside it nor one in landmarks",
    ]
    with pytest.raises(ValueError) as caught:
        read_faces300wlp(root, "AFW")
    assert str(caught.value) == f"faces300wlp: {'; '.join(expected)}. {REMEDY}"
    problems: list[str] = []
    found = read_faces300wlp(root, "AFW", problems=problems)
    assert [s.key for s in found.samples] == ["AFW/AFW_image_0003_2_12"]
    assert problems == expected


def test_points_that_a_folder_does_not_hold(root: Path) -> None:
    with pytest.raises(ValueError) as caught:
        read_faces300wlp(root, "AFW_Flip")
    path = root / "AFW_Flip" / "AFW_image_0003_1_0.mat"
    text = f"faces300wlp: read_mat: {path} must hold the variable pt3d_68, got Pose_Para, pt2d"
    assert str(caught.value).startswith(text)


def test_missing_and_empty_folders_and_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        open_faces300wlp(tmp_path, "train")
    folder = tmp_path / "faces300wlp"
    what = f"faces300wlp: data root must hold the folder {folder}, got no such folder."
    assert (
        str(caught.value) == f"{what} Set HEATPOINT_DATA or --data-root to the folder that holds faces300wlp/. {REMEDY}"
    )
    (folder / "IBUG").mkdir(parents=True)
    with pytest.raises(ValueError) as empty:
        read_faces300wlp(folder, "IBUG")
    assert str(empty.value) == f"faces300wlp: {folder / 'IBUG'} holds no .jpg files. {REMEDY}"
    with pytest.raises(
        ValueError, match="faces300wlp: split must be one of AFW, AFW_Flip, .*got 'HELLEN'. Did you mean HELEN"
    ):
        read_faces300wlp(folder, "HELLEN")
    with pytest.raises(ValueError, match="faces300wlp: split must be one of .*test, train, train_and_flips, got 'val'"):
        open_faces300wlp(tmp_path, "val")
    with pytest.raises(ValueError, match="faces300wlp: points must be one of 2d, 3d, got '4d'"):
        read_faces300wlp(folder, "IBUG", points="4d")  # type: ignore[arg-type]


def test_the_test_split_is_aflw2000(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"aflw2000: data root must hold the folder .*aflw2000, got no such folder"
    ):
        open_faces300wlp(tmp_path, "test")


def test_real_faces(data_root: Path, tmp_path: Path) -> None:
    """Two faces of the set, whose points were found in another format, in the owners' format."""
    source = data_root / "samples" / "300wlp"
    if not source.is_dir():
        pytest.skip("the sample faces are absent")
    content = json.loads((source / "test_300wlp.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    for record in content["annotations"]:
        name = names[record["image_id"]]
        for folder in ("AFW", "landmarks/AFW"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "AFW" / name).symlink_to(source / name)
        points = np.array(record["keypoints"]).reshape(-1, 3)[:, :2]
        scipy.io.savemat(tmp_path / "landmarks" / "AFW" / f"{name[:-4]}_pts.mat", {"pts_2d": points, "pts_3d": points})
    found = read_faces300wlp(tmp_path, "AFW", points="2d")
    assert [s.group for s in found.samples] == ["AFW_134212", "AFW_134212"]
    assert found.samples[0].points[0] == pytest.approx([143.780853, 252.391785], abs=1e-5)
    for sample in found.samples:
        assert load_image(sample).shape == (450, 450, 3)
        assert ((sample.points >= 0) & (sample.points <= 449)).all()
        assert sample.points[36, 0] < sample.points[45, 0]
