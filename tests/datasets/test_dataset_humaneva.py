"""HumanEva: real motions through real lenses, the sides of the body, planted faults, error texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from heatpoint.datasets.humaneva import REMEDY, MotionSet, open_humaneva, read_humaneva
from heatpoint.metrics.pose3d import mpjpe, pa_mpjpe

FOLDER = "pose3d_humaneva15"


@pytest.fixture
def humaneva(data_root: Path) -> Callable[[str], MotionSet]:
    if not (data_root / FOLDER).exists():
        pytest.skip("HumanEva is absent")
    return lambda split: open_humaneva(data_root, split)


@pytest.mark.parametrize(("split", "frames", "num"), [("train", 3347, 21), ("test", 3523, 24)])
def test_the_real_motions_are_projected_to_their_pixels(
    humaneva: Callable[[str], MotionSet], split: str, frames: int, num: int
) -> None:
    motions = humaneva(split)
    assert (len(motions), sum(len(motion.points) for motion in motions.motions)) == (num, frames)
    errors: dict[tuple[str, str], list[np.ndarray]] = {}
    for motion in motions.motions:
        assert motion.name == f"{motion.subject}|{motion.action}"
        for name, camera in motion.cameras.items():
            points, pixels = camera.from_world(motion.points), motion.pixels[name]
            errors.setdefault((motion.subject, name), []).append(camera.project(points) - pixels)
            # 0.3 px at 5 m and 700 px of focal length are 2 mm.
            assert np.abs(camera.back_project(pixels, points[..., 2]) - points).max() < 2.5
    assert len(errors) == 9
    for parts in errors.values():
        # The cameras were fitted to 0.002 to 0.013 px.
        assert np.sqrt(np.concatenate(parts).__pow__(2).mean()) < 0.0135


def test_left_is_left_of_where_they_walk(humaneva: Callable[[str], MotionSet]) -> None:
    motions = humaneva("train")
    walks = [motion for motion in motions.motions if motion.action.startswith(("Walking", "Jog"))]
    assert len(walks) == 9
    names = motions.skeleton.names
    for motion in walks:
        forward = np.diff(motion.points[:, 0], axis=0) * [1, 1, 0]
        left = np.cross([0, 0, 1], forward)
        for first, second in motions.skeleton.swap_pairs[::3]:
            assert names[first].removeprefix("left") == names[second].removeprefix("right")
            sides = ((motion.points[:-1, first] - motion.points[:-1, second]) * left).sum(-1)
            assert (sides > 0).mean() > 0.97
        height = dict(zip(names, motion.points[..., 2].mean(0), strict=True))
        assert height["left_ankle"] < height["left_knee"] < height["pelvis"] < height["thorax"]
        is_spoiled = motion.name.startswith("S3|Walking")
        assert (height["head"] < height["thorax"]) == is_spoiled, motion.name


def test_every_camera_sees_one_body(humaneva: Callable[[str], MotionSet]) -> None:
    motion = humaneva("test").motions[0]
    views = [torch.from_numpy(camera.from_world(motion.points[:7])) for camera in motion.cameras.values()]
    assert float(pa_mpjpe(views[0], views[1], scale=False).max()) < 1e-6
    assert float(mpjpe(views[0], views[1]).min()) > 200


def test_the_other_names_and_the_protocol(humaneva: Callable[[str], MotionSet]) -> None:
    same = humaneva("validate")
    assert [m.name for m in same.motions] == [m.name for m in humaneva("test").motions]
    assert same.protocol["file"] == "validate.npz"
    assert same.protocol["units"] == "files in metres, points in millimetres"


CAMERA = {
    "id": "C1",
    "orientation_quaternion_wxyz": [1.0, 0.0, 0.0, 0.0],
    "translation_m": [0.0, 0.0, -4.0],
    "fitted_intrinsics_fx_fy_cx_cy": [700.0, 710.0, 320.0, 240.0],
    "fitted_distortion_k1_k2_p1_p2": [0.0, 0.0, 0.0, 0.0],
}


def write(root: Path, arrays: dict[str, Any], cameras: Any = None) -> Path:
    root.mkdir(exist_ok=True)
    np.savez(root / "train.npz", **arrays)
    (root / "cameras.json").write_text(json.dumps({"S1": [CAMERA]} if cameras is None else cameras))
    return root


def good(num: int = 3) -> dict[str, Any]:
    points = np.random.default_rng(0).normal(size=(num, 15, 3)).astype(np.float32) / 3
    depth = points[..., 2:] + 4
    pixels = points[..., :2] / depth * [700, 710] + [320, 240]
    return {"S1|Jog 1 chunk0|3d": points, "S1|Jog 1 chunk0|2d_C1": pixels.astype(np.float32)}


def test_written_files_are_read_in_millimetres(tmp_path: Path) -> None:
    motion = read_humaneva(write(tmp_path, good()), "train").motions[0]
    np.testing.assert_allclose(motion.points, 1000.0 * good()["S1|Jog 1 chunk0|3d"].astype(np.float64))
    camera = motion.cameras["C1"]
    np.testing.assert_allclose(camera.project(camera.from_world(motion.points)), motion.pixels["C1"], atol=1e-4)


def test_all_problems_are_found_at_once(tmp_path: Path) -> None:
    arrays = good()
    arrays |= {
        "S1|Walk|3d": np.zeros((2, 14, 3)),
        "S1|Box|2d_C1": np.zeros((2, 15, 2)),
        "S1|Run|3d": np.full((2, 15, 3), np.nan),
        "S1|Run|2d_C9": np.zeros((3, 15, 2)),
        "S1|Sit|3d": np.zeros((2, 15, 3)),
        "S1|Sit|2d_C1": np.full((2, 15, 2), np.inf),
        "S2|Jog|3d": np.zeros((2, 15, 3)),
        "S2|Jog|2d_C1": np.zeros((2, 15, 2)),
        "other": np.zeros(2),
        "S1|Obj|3d": np.array([{}, []], dtype=object),
        "S1|Imag|3d": np.zeros((2, 15, 3), dtype=np.complex128),
    }
    root = write(tmp_path / "pose3d_humaneva15", arrays, {"S1": [CAMERA, {"id": "C2"}], "S4": 7})
    problems: list[str] = []
    kept = open_humaneva(tmp_path, "train", problems=problems)
    assert [motion.name for motion in kept.motions] == ["S1|Jog 1 chunk0"]
    expected = [
        "cameras.json camera 2 of S1 cannot be read ('fitted_intrinsics_fx_fy_cx_cy')",
        "cameras.json camera 1 of S4 cannot be read ('NoneType' object is not subscriptable)",
        "train.npz S1|Obj|3d must be an array of numbers (Object arrays cannot be loaded when allow_pickle=False)",
        "train.npz S1|Imag|3d must be an array of real numbers, got complex128",
        "train.npz other must be named 'S1|action|3d' or 'S1|action|2d_C1'",
        "train.npz S1|Box has no 3d points",
        "train.npz S1|Run holds 3d points that are not finite",
        "train.npz S1|Run is seen by C9, of which cameras.json holds nothing",
        "train.npz S1|Run must hold C9 pixels (2, 15, 2), got (3, 15, 2)",
        "train.npz S1|Sit holds C1 pixels that are not finite",
        "train.npz S1|Walk must hold 3d points (T, 15, 3), got (2, 14, 3)",
        "train.npz S2|Jog is seen by C1, of which cameras.json holds nothing",
    ]
    assert sorted(problems) == sorted(expected)
    with pytest.raises(ValueError, match=r"^humaneva: .*; and 7 more\. The folder holds cameras\.json") as raised:
        read_humaneva(root, "train")
    assert "\n" not in str(raised.value)


def test_a_root_can_be_wrong_in_other_ways(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as absent:
        read_humaneva(tmp_path / "no", "train")
    assert (
        str(absent.value)
        == f"humaneva: data root must hold the folder {tmp_path / 'no'}, got no such folder. Set HEATPOINT_DATA or "
        f"--data-root to the folder that holds no/. {REMEDY}"
    )
    root = write(tmp_path / "set", good())
    with pytest.raises(FileNotFoundError) as lacking:
        read_humaneva(root, "test")
    assert str(lacking.value) == f"humaneva: files must exist, got {root / 'validate.npz'}, missing. {REMEDY}"
    (root / "validate.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"^humaneva: file must be an \.npz archive, got .*validate\.npz"):
        read_humaneva(root, "test")
    (root / "cameras.json").write_text("[]")
    with pytest.raises(
        ValueError, match=r"^humaneva: cameras must be an object of subjects, got otherwise in .*cameras\.json"
    ):
        read_humaneva(root, "train")
    with pytest.raises(
        ValueError, match=r"^humaneva: split must be one of test, train, validate, got 'val'\. Did you mean"
    ):
        read_humaneva(root, "val")


def test_archives_that_are_damaged_or_empty(tmp_path: Path) -> None:
    root = write(tmp_path, {})
    with pytest.raises(ValueError, match=r"^humaneva: train\.npz holds no motion\."):
        read_humaneva(root, "train")
    np.savez_compressed(root / "train.npz", **good())
    data = bytearray((root / "train.npz").read_bytes())
    data[100:200] = b"\xff" * 100
    (root / "train.npz").write_bytes(data)
    with pytest.raises(ValueError, match=r"^humaneva: file must be an \.npz archive, got .*train\.npz"):
        read_humaneva(root, "train")
