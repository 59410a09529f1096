"""H3R as published, from its two channels to the image: section 3 of the golden numbers, and where our crop differs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from heatpoint.frames import FloatArray, Frame
from heatpoint.localizers import make_localizer
from heatpoint.readout import flip_average
from heatpoint.support import Grid
from heatpoint.training.locating import locate

Goldens = Callable[[str], dict[str, np.ndarray]]
SCALE = 1.25


def published_image_points(frame: Frame, points: FloatArray) -> FloatArray:
    """H3R's way back. It counts input and image from the corner of their first pixels, half a pixel before ours, but reads
    the network's points and writes the image's without that half: theirs(l) = ours(l − ½) + ½."""
    return frame.to_image(points - 0.5) + 0.5


@pytest.mark.parametrize("prefix", ["g0", "g1"])
def test_landmarks_go_back_to_the_image_as_published(goldens: Goldens, prefix: str) -> None:
    data = goldens("03_h3r_geometry")
    side = int(data[f"{prefix}_input_size"])
    for item, box in enumerate(data[f"{prefix}_bbox"].astype(np.float64)):
        frame = Frame.from_box(tuple(box), (side, side), padding=SCALE)
        points = data[f"{prefix}_landmark_input"][item].astype(np.float64)
        expected = data[f"{prefix}_landmark_image_f64"][item]
        np.testing.assert_allclose(published_image_points(frame, points), expected, rtol=0, atol=1e-4)
        # Ours lie (s − 1)/2 image pixels to the lower right of theirs, s image pixels to an input pixel: none at s = 1.
        per_input = SCALE * max(box[2] - box[0] + 1, box[3] - box[1] + 1) / side
        np.testing.assert_allclose(frame.to_image(points) - expected, (per_input - 1) / 2, rtol=0, atol=1e-4)


@pytest.mark.parametrize("prefix", ["g0", "g1"])
def test_the_published_cut_is_rounded_to_whole_pixels_and_ours_is_not(goldens: Goldens, prefix: str) -> None:
    data = goldens("03_h3r_geometry")
    side = int(data[f"{prefix}_input_size"])
    cut = data[f"{prefix}_pil_int_rect"]
    np.testing.assert_array_equal(np.rint(data[f"{prefix}_rect"]), cut)
    squareness = (cut[:, 2] - cut[:, 0]) - (cut[:, 3] - cut[:, 1])
    assert set(np.abs(squareness)) <= {0, 1}
    for item, box in enumerate(data[f"{prefix}_bbox"].astype(np.float64)):
        frame = Frame.from_box(tuple(box), (side, side), padding=SCALE)
        corners = frame.to_image(np.array([[-0.5, -0.5], [side - 0.5, side - 0.5]])) + 0.5
        assert np.abs(corners.ravel() - cut[item]).max() <= 0.5 + 1e-4


def test_without_a_box_the_whole_image_is_squeezed_as_published_and_kept_in_shape_here(goldens: Goldens) -> None:
    data = goldens("03_h3r_geometry")
    width, height = (int(n) for n in data["g0_image_wh"])
    np.testing.assert_array_equal(data["g0_rect_no_bbox"], [[0, 0, width, height]])
    side = int(data["g0_input_size"])
    frame = Frame.from_box((0, 0, width - 1, height - 1), (side, side))
    assert frame.matrix[0, 0] == frame.matrix[1, 1] == pytest.approx(side / max(width, height))


@pytest.mark.parametrize("prefix", ["g0", "g1"])
def test_mirrored_landmarks_come_back_as_published(goldens: Goldens, prefix: str) -> None:
    data = goldens("03_h3r_geometry")
    width = float(data[f"{prefix}_input_size"])
    for name, order in (("wflw", "wflw"), ("f300w", "300w"), ("lapa", "lapa")):
        mirrored = torch.from_numpy(data[f"{prefix}_{name}_from_flipped_image"])
        unflipped = torch.from_numpy(data[f"{prefix}_{name}_unflipped"])
        found = flip_average(unflipped, mirrored, width=width, swap=data[f"flip_order_{order}"].tolist())
        np.testing.assert_allclose(found, unflipped, rtol=0, atol=2e-5)


@pytest.mark.parametrize("k", [5, 9])
@pytest.mark.parametrize("stride", [0, 1, 2])
def test_a_localizer_of_two_channels_reads_as_published(goldens: Goldens, stride: int, k: int) -> None:
    data = goldens("03_h3r_decode")
    # Published with the classes before the points, ours with the points before their channels.
    maps = torch.from_numpy(data["heatmap2class"]).transpose(1, 2)
    grid = Grid(tuple(maps.shape[-2:]), stride=float(data["strides"][stride]), offset=0)
    localizer = make_localizer("randomized_rounding", grid, channels=2, readout={"name": "top_k", "k": k})
    found = localizer.locate(maps.double())
    np.testing.assert_allclose(found.points, data[f"binary_stride{stride}_k{k}_f64"], rtol=0, atol=1e-11)
    assert found.confidence.shape == maps.shape[:2]
    assert found.covariance.shape == (*maps.shape[:2], 2, 2)


def test_the_whole_published_detector(goldens: Goldens) -> None:
    """Network, top k of the second channel, flip test in coordinates, way back."""
    data = goldens("03_h3r_geometry")
    outputs = [torch.from_numpy(data[f"full_logits_{name}"]).transpose(1, 2) for name in ("direct", "flipped")]

    class Stub(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return outputs[0] if bool((images[..., 0] == 0).all()) else outputs[1]

    side, stride = int(data["full_input_size"]), float(data["full_stride"])
    grid = Grid(tuple(outputs[0].shape[-2:]), stride=stride, offset=0)
    readout = {"name": "top_k", "k": int(data["full_topk"])}
    localizer = make_localizer("randomized_rounding", grid, channels=2, readout=readout)
    images = torch.zeros(2, 3, side, side)
    images[..., -1] = 1.0
    swap = data["flip_order_300w"].tolist()
    found = locate(Stub(), {"": localizer}, images, swap=swap)[""].points.double().numpy()
    for item, box in enumerate(data["full_bbox"].astype(np.float64)):
        frame = Frame.from_box(tuple(box), (side, side), padding=SCALE)
        expected = data["full_landmark_image"][item]
        np.testing.assert_allclose(published_image_points(frame, found[item]), expected, rtol=0, atol=1e-4)
