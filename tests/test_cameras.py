"""Cameras: published numbers of Human3.6M, real calibrations, OpenCV as an oracle, the way back, error texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from heatpoint.cameras import Camera, rotation_from_quaternion
from heatpoint.frames import FloatArray

Goldens = Callable[[str], dict[str, np.ndarray]]
LENS = np.array([-0.207, 0.248, -0.0014, -0.0031, 0.05])


def turned(seed: int) -> FloatArray:
    return rotation_from_quaternion(np.random.default_rng(seed).normal(size=4))


def camera(distortion: FloatArray | None = LENS, seed: int = 0) -> Camera:
    return Camera(
        turned(seed),
        np.array([300.0, -4000.0, 1500.0]),
        np.array([1145.0, 1130.0]),
        np.array([512.0, 515.0]),
        distortion,
    )


def golden_camera(golden: dict[str, np.ndarray], item: int) -> Camera:
    return Camera(golden["R"][item], golden["T"][item], golden["f"][item], golden["c"][item])


def test_human36m_is_projected_as_published(goldens: Goldens) -> None:
    golden = goldens("08_h36m")
    world = np.concatenate([golden["world"], golden["world"][:, [11, 14]].mean(1, keepdims=True)], axis=1)
    for item in range(len(world)):
        lens = golden_camera(golden, item)
        points = lens.from_world(world[item])
        np.testing.assert_allclose(points, golden["cam"][item], rtol=1e-6)
        pixels, depth = lens.project(points), points[:, 2]
        np.testing.assert_allclose(np.c_[pixels, depth], golden["pixel_xyz"][item], rtol=1e-9)
        relative = golden["joint_img_rel_depth"][item]
        np.testing.assert_allclose(np.c_[pixels, depth - depth[0]], relative, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(
            lens.back_project(pixels, depth), golden["pixel2cam_of_pixel"][item], rtol=1e-9, atol=1e-6
        )
        np.testing.assert_allclose(lens.project_weak(points, depth[0]), golden["weak_pixel"][item, :, :2], rtol=1e-9)
        np.testing.assert_allclose(lens.weak_parameters(depth[0]), golden["weak_cam_param"][item], rtol=1e-7)
        np.testing.assert_allclose(lens.to_world(points), world[item], rtol=1e-4, atol=1e-2)


def test_real_frames_are_projected_through_their_lens(data_root: Path) -> None:
    folder, file = data_root / "samples/h36m", data_root / "pose3d_h36m_cameras/camera-parameters.json"
    if not folder.exists() or not file.exists():
        pytest.skip("the frames of Human3.6M and its cameras are absent")
    content, known = json.loads((folder / "h36m_coco.json").read_text()), json.loads(file.read_text())
    for image, record in zip(content["images"], content["annotations"], strict=True):
        subject, name = image["file_name"].split("_")[0], image["file_name"].split(".")[1].split("_")[0]
        inner, outer = known["intrinsics"][name], known["extrinsics"][subject][name]
        matrix = np.array(inner["calibration_matrix"])
        parts = np.array(outer["R"]), np.array(outer["t"])[:, 0], matrix[[0, 1], [0, 1]], matrix[:2, 2]
        world = np.array(record["keypoints_3d"]).reshape(-1, 4)[:, :3] * 1000
        pixels = np.array(record["keypoints"]).reshape(-1, 3)[:, :2]
        real, ideal = Camera.from_translation(*parts, np.array(inner["distortion"])), Camera.from_translation(*parts)
        # The points given are those of the set's own tools, from marker data in single precision.
        assert np.abs(real.project(real.from_world(world)) - pixels).max() < 0.2
        assert np.abs(ideal.project(ideal.from_world(world)) - pixels).max() > 1


@pytest.mark.parametrize("distortion", [None, LENS])
def test_projection_equals_opencv(distortion: FloatArray | None) -> None:
    lens = camera(distortion)
    points = np.random.default_rng(1).uniform([-900, -900, 2500], [900, 900, 6000], size=(3, 11, 3))
    world = lens.to_world(points)
    matrix = np.array([[1145.0, 0, 512], [0, 1130, 515], [0, 0, 1]])
    vector, _ = cv2.Rodrigues(lens.rotation)
    expected, _ = cv2.projectPoints(world.reshape(-1, 3), vector, -lens.rotation @ lens.position, matrix, distortion)
    np.testing.assert_allclose(lens.project(lens.from_world(world)), expected.reshape(3, 11, 2), atol=1e-8)


@pytest.mark.parametrize("distortion", [None, LENS, np.zeros(5)])
def test_the_way_back_is_the_inverse(distortion: FloatArray | None) -> None:
    lens = camera(distortion)
    pixels = np.random.default_rng(2).uniform(-300, 1300, size=(4, 9, 2))
    depth = np.random.default_rng(3).uniform(2000, 6000, size=(4, 9))
    points = lens.back_project(pixels, depth)
    np.testing.assert_allclose(points[..., 2], depth)
    np.testing.assert_allclose(lens.project(points), pixels, atol=1e-8)
    np.testing.assert_allclose(lens.from_world(lens.to_world(points)), points, atol=1e-8)
    assert lens.back_project(np.zeros((0, 2)), np.zeros(0)).shape == (0, 3)


def test_every_coefficient_and_every_axis_matters() -> None:
    points = np.array([[300.0, 700.0, 2000.0]])
    plain = camera(None).project(points)
    shifts = [camera(0.1 * np.eye(5)[i]).project(points) - plain for i in range(5)]
    r2, x, y = 0.15**2 + 0.35**2, 0.15, 0.35
    expected = [
        [r2 * x, r2 * y],
        [r2**2 * x, r2**2 * y],
        [2 * x * y, r2 + 2 * y * y],
        [r2 + 2 * x * x, 2 * x * y],
        [r2**3 * x, r2**3 * y],
    ]
    np.testing.assert_allclose(np.concatenate(shifts), 0.1 * np.array(expected) * [1145, 1130], atol=1e-9)


def test_weak_perspective_takes_every_point_to_one_depth() -> None:
    lens, points = camera(), np.array([[10.0, 20.0, 2000.0], [10.0, 20.0, 3000.0]])
    weak = lens.project_weak(points, 2000.0)
    np.testing.assert_array_equal(weak[0], weak[1])
    np.testing.assert_array_equal(weak[0], lens.project(points)[0])


def test_both_forms_of_the_extrinsics_are_one_camera() -> None:
    lens = camera()
    other = Camera.from_translation(lens.rotation, -lens.rotation @ lens.position, lens.focal, lens.center, LENS)
    np.testing.assert_allclose(other.position, lens.position)
    assert other.distortion is not None
    world = np.random.default_rng(4).normal(size=(6, 3))
    np.testing.assert_allclose(other.from_world(world), world @ lens.rotation.T - lens.rotation @ lens.position)


def test_a_quaternion_turns_about_its_axis() -> None:
    axis, angle = np.array([2.0, -1.0, 2.0]) / 3, 0.7
    # Of any length, and with either sign.
    quaternion = -5 * np.array([np.cos(angle / 2), *(np.sin(angle / 2) * axis)])
    expected, _ = cv2.Rodrigues(axis * angle)
    np.testing.assert_allclose(rotation_from_quaternion(quaternion), expected, atol=1e-12)


def replaced(**changes: FloatArray) -> Camera:
    parts = {"rotation": np.eye(3), "position": np.zeros(3), "focal": np.ones(2), "center": np.zeros(2), **changes}
    return Camera(**parts)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: replaced(position=np.zeros(2)), "Camera: position must be finite (3,), got (2,)."),
        (lambda: replaced(center=np.full(2, np.nan)), "Camera: center must be finite (2,), got (2,)."),
        (
            lambda: replaced(distortion=np.zeros(4)),
            "Camera: distortion must be finite (5,), got (4,). Its order is k1, k2, p1, p2, k3.",
        ),
        (
            lambda: replaced(rotation=np.diag([1.0, 1.0, -1.0])),
            "Camera: rotation must be a rotation matrix, got R Rᵀ off the identity by 0, determinant -1.",
        ),
        (
            lambda: replaced(rotation=2 * np.eye(3)),
            "Camera: rotation must be a rotation matrix, got R Rᵀ off the identity by 3, determinant 8.",
        ),
        (lambda: replaced(focal=np.array([1.0, 0.0])), "Camera: focal must differ from 0, got [1.0, 0.0]."),
        (
            lambda: camera().project(np.array([[1.0, 1.0, 5.0], [1.0, 1.0, -2.0]])),
            "Camera.project: points must lie in front of the camera, at a depth greater than 0, got -2.0.",
        ),
        (
            lambda: camera().project_weak(np.ones((1, 3)), 0.0),
            "Camera.project_weak: points must lie in front of the camera, at a depth greater than 0, got 0.0.",
        ),
        (
            lambda: camera().weak_parameters(-1.0),
            "Camera.weak_parameters: points must lie in front of the camera, at a depth greater than 0, got -1.0.",
        ),
        (
            lambda: camera().back_project(np.ones((4, 2)), np.ones(3)),
            "Camera.back_project: pixels must be (3, 2), two numbers for each depth, got (4, 2).",
        ),
        (
            lambda: camera().back_project(np.ones((4, 3)), np.ones(4)),
            "Camera.back_project: pixels must be (4, 2), two numbers for each depth, got (4, 3).",
        ),
        *(
            (
                lambda depth=depth: camera().back_project(np.ones((3, 2)), np.array([2.0, depth, np.nan])),
                f"Camera.back_project: depth must be greater than 0, got {depth}.",
            )
            for depth in (0.0, -7.0)
        ),
        (
            # Beyond the farthest pixel that this lens can show.
            lambda: replaced(distortion=np.array([-1.0, 0, 0, 0, 0])).back_project(np.array([[9.0, 0.0]]), np.ones(1)),
            "Camera.back_project: pixels must lie where the lens model has an inverse, got one 9 pixels from the principal "
            "point. Give pixels of the image, or a camera without distortion.",
        ),
        (
            lambda: rotation_from_quaternion(np.zeros(4)),
            "rotation_from_quaternion: quaternion must be finite (4,), w, x, y, z, and not all 0, got [0.0, 0.0, 0.0, 0.0].",
        ),
    ],
)
def test_error_texts(call: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError) as raised:
        call()
    assert str(raised.value) == text
