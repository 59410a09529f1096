"""The network's box in space: published targets and predictions of Human3.6M, the way back, arrays and tensors alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from heatpoint.cameras import Camera
from heatpoint.frames import FloatArray, Frame
from heatpoint.volumes import camera_to_volume, from_volume, inside_volume, to_volume, volume_to_camera

Goldens = Callable[[str], dict[str, np.ndarray]]
SIZE = (256, 192)


def published_frame(crop: FloatArray, size: tuple[int, int]) -> Frame:
    """The published crop (x1, y1, x2, y2): its left edge goes to 0, its right edge to the width, by one factor."""
    factor = size[0] / (crop[2] - crop[0])
    middle, center = np.array(size) / 2, (crop[:2] + crop[2:]) / 2
    return Frame(np.c_[factor * np.eye(2), middle - factor * center], size)


def golden_camera(golden: dict[str, np.ndarray], item: int) -> Camera:
    return Camera(golden["R"][item], golden["T"][item], golden["f"][item], golden["c"][item])


@pytest.mark.parametrize("preset", ["h36m", "default"])
def test_targets_are_as_published(goldens: Goldens, preset: str) -> None:
    golden = goldens("08_h36m")
    width, height = (int(side) for side in golden["input_wh"])
    outside = 0
    for item in range(len(golden["cam"])):
        frame = published_frame(golden[f"crop_bbox_{preset}"][item].astype(np.float64), (width, height))
        joints = golden["target_joint_img_item0"] if item == 0 else golden["joint_img_rel_depth"][item]
        actual = to_volume(frame.to_input(joints[:, :2]), joints[:, 2], frame.size)
        expected = golden[f"target_uvd_{preset}"][item].reshape(-1, 3)
        # A crop box in single precision places a point to about 1e-4 pixels.
        np.testing.assert_allclose(actual, expected, atol=2e-6)
        weight = golden[f"target_uvd_weight_{preset}"][item].reshape(-1, 3)
        np.testing.assert_array_equal(np.repeat(inside_volume(actual)[:, None], 3, axis=1), weight == 1)
        outside += int((~inside_volume(actual)).sum())
        if item > 0:
            points, lens = golden["cam"][item], golden_camera(golden, item)
            whole = camera_to_volume(points, camera=lens, frame=frame, root_depth=float(points[0, 2]))
            np.testing.assert_allclose(whole, expected, atol=2e-6)
    assert outside >= 2


def test_predictions_return_to_millimetres_as_published(goldens: Goldens) -> None:
    golden = goldens("08_h36m")
    width, height = (int(side) for side in golden["input_wh"])
    for item in range(len(golden["cam"])):
        crop = golden["crop_bbox_h36m"][item].astype(np.float64)
        frame, lens = published_frame(crop, (width, height)), golden_camera(golden, item)
        pred = golden["pred_uvd_normalised"][item].astype(np.float64)
        pixels, depth = from_volume(pred, frame.size)
        image = golden["pred_uvd_image"][item]
        np.testing.assert_allclose(frame.to_image(pixels), image[:, :2], atol=2e-4)
        root_depth = float(golden["cam"][item, 0, 2])
        points = volume_to_camera(pred, camera=lens, frame=frame, root_depth=root_depth)
        np.testing.assert_allclose(points[:, 2], depth + root_depth)
        # 2e-4 pixels at 5 m are 1e-3 mm.
        np.testing.assert_allclose((points - points[0])[:17], golden["eval_pred_cam_rootrel_17"][item], atol=2e-3)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_the_way_back_is_the_inverse_for_arrays_and_tensors(kind: Callable[[FloatArray], FloatArray]) -> None:
    rng = np.random.default_rng(0)
    pixels, depth = kind(rng.uniform(-50, 300, size=(3, 7, 2))), kind(rng.uniform(-1500, 1500, size=(3, 7)))
    points = to_volume(pixels, depth, SIZE, 1800.0)
    assert type(points) is type(pixels)
    back, back_depth = from_volume(points, SIZE, 1800.0)
    np.testing.assert_allclose(np.asarray(back), np.asarray(pixels), atol=1e-10)
    np.testing.assert_allclose(np.asarray(back_depth), np.asarray(depth), atol=1e-10)


def test_every_axis_has_its_own_size() -> None:
    corner = to_volume(np.array([256.0, 192.0]), np.array(900.0), SIZE, 1800.0)
    np.testing.assert_array_equal(corner, [0.5, 0.5, 0.5])
    np.testing.assert_array_equal(to_volume(np.zeros(2), np.array(-1000.0), SIZE), [-0.5, -0.5, -0.5])
    assert inside_volume(corner)
    for axis in range(3):
        assert not inside_volume(corner + 1e-9 * np.eye(3)[axis])


def test_gradients_flow_both_ways() -> None:
    pixels, depth = torch.rand(4, 2, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda p, d: to_volume(p, d, SIZE), (pixels.requires_grad_(), depth.requires_grad_())
    )
    points = torch.rand(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: from_volume(p, SIZE), (points,))


@pytest.mark.parametrize("distortion", [None, np.array([-0.2, 0.2, -0.001, 0.003, 0.0])])
def test_millimetres_survive_the_box(distortion: FloatArray | None) -> None:
    lens = Camera(np.eye(3), np.zeros(3), np.array([1100.0, 1150.0]), np.array([500.0, 510.0]), distortion)
    points = np.random.default_rng(1).uniform([-600, -600, 4000], [600, 600, 5500], size=(13, 3))
    frame = Frame(np.array([[0.6, 0.2, -9.0], [-0.2, 0.6, 14.0]]), SIZE)
    box = camera_to_volume(points, camera=lens, frame=frame, root_depth=4700.0, depth_range_mm=1600.0)
    np.testing.assert_allclose(box[:, 2], (points[:, 2] - 4700) / 1600)
    back = volume_to_camera(box, camera=lens, frame=frame, root_depth=4700.0, depth_range_mm=1600.0)
    np.testing.assert_allclose(back, points, atol=1e-7)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: to_volume(np.zeros((5, 2)), np.zeros(4), SIZE),
            "to_volume: pixels_in_input must be (4, 2), x and y for every depth, got (5, 2).",
        ),
        (
            lambda: to_volume(np.zeros(2), np.zeros(()), (0, 3)),
            "to_volume: input_size must be (width, height), both greater than 0, got (0, 3).",
        ),
        (lambda: from_volume(np.zeros(3), SIZE, 0.0), "from_volume: depth_range_mm must be greater than 0, got 0.0."),
        (lambda: from_volume(np.zeros((3, 2)), SIZE), "from_volume: points must be (…, 3): u, v, d, got (3, 2)."),
    ],
)
def test_error_texts(call: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError) as raised:
        call()
    assert str(raised.value) == text
