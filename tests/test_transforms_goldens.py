"""The published crops of body poses and ours: equal once half a pixel is allowed for.

Published code (sampling-argmax, HRNet, mmpose) lays coordinate 0 of the input on the edge of its first pixel where we lay it on
the centre: its box from x1 to x2 is x2 − x1 wide and its centre goes to size / 2. Ours covers x1 − ½ to x2 + ½ and its centre
goes to (size − 1) / 2. So the published matrix is ours of the box shrunk by half a pixel on every side, plus ½.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from heatpoint.datasets import Sample
from heatpoint.datasets.coco_records import box_in_image
from heatpoint.frames import Frame, about, flip_points
from heatpoint.skeleton import load_skeleton
from heatpoint.transforms import box_of, make_example, warp

Goldens = Callable[[str], dict[str, np.ndarray]]
COCO17 = load_skeleton("coco17")
HALF = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5]])
# Published matrices come from corner points in float32: 2^-24 of 500 pixels, times a few, in the offset's column.
MATRIX_TOLERANCE = 1e-3


def published_box(box: Sequence[float]) -> tuple[float, float, float, float]:
    """Our box that covers from x1 to x2."""
    x1, y1, x2, y2 = (float(v) for v in box)
    return (x1 + 0.5, y1 + 0.5, x2 - 0.5, y2 - 0.5)


def frames_of(data: dict[str, np.ndarray], padding: float = 1.25) -> list[Frame]:
    width, height = (int(side) for side in data["input_wh"])
    return [Frame.from_box(published_box(box), (width, height), padding=padding) for box in data["bbox_xyxy"]]


def turned(frame: Frame, degrees: float) -> Frame:
    """The frame followed by a rotation about the input's centre, in the sense of the published code."""
    angle = math.radians(degrees)
    linear = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    center = (np.array(frame.size, dtype=np.float64) - 1) / 2
    return frame.then(about(center, linear, center))


@pytest.mark.parametrize("name", ["07_sa_crop_a", "07_sa_crop_b"])
def test_crops_of_sampling_argmax(goldens: Goldens, name: str) -> None:
    data = goldens(name)
    for index, frame in enumerate(frames_of(data)):
        np.testing.assert_allclose(frame.matrix + HALF, data["affine"][index], atol=MATRIX_TOLERANCE)
        for key, degrees in (("affine_rot30", 30), ("affine_rot_m45", -45)):
            np.testing.assert_allclose(turned(frame, degrees).matrix + HALF, data[key][index], atol=MATRIX_TOLERANCE)
        # The corners of the input show the published region.
        corners = frame.to_image(np.array([[-0.5, -0.5], np.array(frame.size) - 0.5])).reshape(4)
        np.testing.assert_allclose(corners, data["crop_bbox"][index], atol=MATRIX_TOLERANCE)


@pytest.mark.parametrize("name", ["07_sa_crop_a", "07_sa_crop_b"])
def test_predictions_of_sampling_argmax_go_back_to_the_image(goldens: Goldens, name: str) -> None:
    data = goldens(name)
    for index, frame in enumerate(frames_of(data)):
        at = (data["pred_jts"][index].astype(np.float64) + 0.5) * data["input_wh"] - 0.5
        np.testing.assert_allclose(frame.to_image(at), data["pred_image_xy"][index], atol=1e-3)


@pytest.mark.parametrize("name", ["07_sa_crop_a", "07_sa_crop_b"])
def test_targets_of_sampling_argmax_and_their_weights(goldens: Goldens, name: str) -> None:
    data = goldens(name)
    size = (int(data["input_wh"][0]), int(data["input_wh"][1]))
    image = np.zeros((int(data["image_wh"][1]), int(data["image_wh"][0]), 3), np.uint8)
    num_outside = 0
    for index, box in enumerate(data["bbox_xyxy"]):
        visible = data["joints_visible"][index] > 0
        points = np.where(visible[:, None], data["joints_image"][index].astype(np.float64), 0.0)
        sample = Sample(image, points, visible, published_box(box), "s")
        example = make_example(sample, size=size, policy="P2", padding=1.25)
        published = data["target_uv"][index].reshape(-1, 2)
        ours = (example.points.numpy() + 0.5) / np.array(size) - 0.5
        # float32 of coordinates that reach a few widths beyond the crop.
        np.testing.assert_allclose(ours[visible], published[visible], atol=2e-5)
        weight = data["target_uv_weight"][index].reshape(-1, 2)
        inside = (np.abs(published) <= 0.5).all(axis=1)
        # The preset for bodies weighs every labelled joint; we leave out what the input does not show.
        assert (weight[:, 0] == weight[:, 1]).all()
        assert ((weight[:, 0] > 0) == visible).all()
        assert (example.visible.numpy() == (visible & inside)).all()
        num_outside += int((visible & ~inside).sum())
    assert num_outside > 0


@pytest.mark.parametrize("name", ["07_sa_crop_a", "07_sa_crop_b"])
def test_whole_images_of_the_face_preset_and_its_weights(goldens: Goldens, name: str) -> None:
    data = goldens(name)
    size, (width, height) = (int(data["input_wh"][0]), int(data["input_wh"][1])), data["image_wh"].tolist()
    points = data["face_landmarks"]
    sample = Sample(np.zeros((height, width, 3), np.uint8), points, np.ones(5, bool), None, "s")
    x1, y1, x2, y2 = box_of(sample, "image")
    # Policy "image" covers the whole image; the preset's region is the same but starts at coordinate 0.
    assert (x2 - x1 + 1, y2 - y1 + 1) == tuple(data["face_bbox"][2:] - data["face_bbox"][:2])
    factor = size[0] / width
    shifted = Frame(
        np.array([[factor, 0, (size[0] - factor * width) / 2], [0, factor, (size[1] - factor * height) / 2]]), size
    )
    uv = shifted.to_input(points) / np.array(size) - 0.5
    np.testing.assert_allclose(uv.ravel(), data["face_target_uv"], atol=1e-6)
    weight = data["face_target_uv_weight"].reshape(-1, 2)
    # This preset leaves out, as we do, what lies outside the input.
    assert ((weight > 0).all(axis=1) == (np.abs(uv) <= 0.5).all(axis=1)).all()
    if factor * height <= size[1]:
        ours = Frame.from_box((x1, y1, x2, y2), size)
        offset = ours.to_input(points) - shifted.to_input(points)
        np.testing.assert_allclose(offset, (factor - 1) / 2, atol=1e-9)


@pytest.mark.parametrize("name", ["07_sa_crop_a", "07_sa_crop_b"])
def test_published_flips_are_ours_in_pixels_and_in_cells(goldens: Goldens, name: str) -> None:
    data = goldens(name)
    pairs = [tuple(pair) for pair in data["joint_pairs"].tolist()]
    assert sorted(pairs) == sorted(COCO17.swap_pairs)
    predictions = torch.from_numpy(data["pred_jts"].astype(np.float64))
    # "shift" mirrors the input whose cells lie over every fourth pixel (offset 0); without it the map itself is mirrored.
    for key, side in (("flip_shift_jts", data["input_wh"]), ("flip_noshift_jts", data["heatmap_wh"])):
        sides = torch.from_numpy(side).double()
        mirrored = flip_points((predictions + 0.5) * sides, width=int(side[0]), swap=COCO17.swap)
        np.testing.assert_allclose((mirrored / sides - 0.5).numpy(), data[key], atol=1e-6)
    for key in ("flip_shift_maxvals", "flip_noshift_maxvals"):
        assert (data["pred_maxvals"][:, list(COCO17.swap)] == data[key]).all()
    mirrored_maps = data["flip_heatmap_in"][..., ::-1][:, list(COCO17.swap)]
    assert (mirrored_maps == data["flip_heatmap_noshift"]).all()


@pytest.mark.parametrize("name", ["07_sa_crop_a", "07_sa_crop_b"])
def test_published_warp_is_ours_through_the_published_matrix(goldens: Goldens, name: str) -> None:
    data = goldens(name)
    frame = Frame.from_box(published_box(data["warp_bbox"]), tuple(data["input_wh"].tolist()), padding=1.25)
    corners = frame.to_image(np.array([[-0.5, -0.5], np.array(frame.size) - 0.5])).reshape(4)
    np.testing.assert_allclose(corners, data["warp_crop_bbox"], atol=1e-4)
    # The published matrix is laid on pixel centres without the half pixel: its picture is ours moved by (1 − factor) / 2.
    seen = warp(data["warp_image"], Frame(frame.matrix + HALF, frame.size))
    mean = np.array([0.406, 0.457, 0.480], dtype=np.float32)
    ours = (seen - mean).transpose(2, 0, 1)[:, ::4, ::4]
    # The published result is rounded to 8 bits, half a grey value is 0.00196, and made with weights of limited precision.
    np.testing.assert_allclose(ours, data["warp_result"], atol=0.0025)


@pytest.mark.parametrize("name", ["07_sa_crop_a", "07_sa_crop_b"])
def test_annotated_boxes_are_cut_to_the_image_as_published(goldens: Goldens, name: str) -> None:
    data = goldens(name)
    width, height = data["image_wh"].tolist()
    for box, expected in zip(data["loader_xywh"].tolist(), data["loader_xyxy_clipped"], strict=True):
        np.testing.assert_allclose(box_in_image(box, {"width": width, "height": height}), expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["07_mmpose_affine_a", "07_mmpose_affine_b"])
def test_crops_of_mmpose(goldens: Goldens, name: str) -> None:
    data = goldens(name)
    for index, frame in enumerate(frames_of(data, padding=float(data["padding"]))):
        points = data["keypoints"][index].astype(np.float64)
        for turn, degrees in enumerate(data["rotations_deg"]):
            ours = turned(frame, float(degrees))
            np.testing.assert_allclose(ours.matrix + HALF, data["plain_warp"][index, turn], atol=MATRIX_TOLERANCE)
            np.testing.assert_allclose(
                ours.to_input(points) + 0.5, data["plain_keypoints_input"][index, turn], atol=MATRIX_TOLERANCE
            )
        inverse = np.linalg.inv(np.vstack([frame.matrix + HALF, [0, 0, 1]]))[:2]
        np.testing.assert_allclose(inverse, data["plain_warp_inv"][index], atol=MATRIX_TOLERANCE)
        placed = data["plain_keypoints_input"][index, 0].astype(np.float64)
        np.testing.assert_allclose(
            frame.to_image(placed - 0.5), data["plain_keypoints_back"][index], atol=MATRIX_TOLERANCE
        )


@pytest.mark.parametrize("name", ["07_mmpose_affine_a", "07_mmpose_affine_b"])
def test_unbiased_crops_of_mmpose_share_our_centre_and_show_a_pixel_more(goldens: Goldens, name: str) -> None:
    data = goldens(name)
    size = data["input_wh"].astype(np.float64)
    for index, frame in enumerate(frames_of(data, padding=float(data["padding"]))):
        points = data["keypoints"][index].astype(np.float64)
        for turn, degrees in enumerate(data["rotations_deg"]):
            published: Any = Frame(data["udp_warp"][index, turn].astype(np.float64), frame.size)
            # It turns the other way, and its factors on the two axes are (size − 1) / size of the plain ones. The factors
            # follow the turn, so that the axes of the input are stretched.
            ours = turned(frame, -float(degrees))
            center = (size - 1) / 2
            stretch = (size - 1) / size
            stretched = ours.then(about(center, np.diag(stretch), center))
            np.testing.assert_allclose(stretched.matrix, published.matrix, atol=MATRIX_TOLERANCE)
            np.testing.assert_allclose(
                stretched.to_input(points), data["udp_keypoints_input"][index, turn], atol=MATRIX_TOLERANCE
            )
