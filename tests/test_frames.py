"""Frames from image to input: round trips, composition, covariances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heatpoint.frames import Frame, compose, flip_matrix, flip_points, resize_matrix

once = settings(deadline=None, derandomize=True, max_examples=40)


@once
@given(x=st.floats(-20, 60), y=st.floats(-20, 60), w=st.floats(3, 90), h=st.floats(3, 90), padding=st.floats(0.5, 2))
def test_frame_round_trip_and_composition(x: float, y: float, w: float, h: float, padding: float) -> None:
    frame = Frame.from_box((x, y, x + w, y + h), (48, 64), padding=padding)
    turned = frame.then(flip_matrix(48)).then(resize_matrix(0.5, 0.5))
    points = np.array([[x, y], [x + w / 3, y + h / 2], [0.0, 0.0]])
    np.testing.assert_allclose(turned.to_image(turned.to_input(points)), points, atol=1e-9)
    by_hand = (47 - frame.to_input(points)[:, 0] + 0.5) * 0.5 - 0.5
    np.testing.assert_allclose(turned.to_input(points)[:, 0], by_hand, atol=1e-9)
    center = frame.to_input(np.array([[x + w / 2, y + h / 2]]))
    np.testing.assert_allclose(center, [[23.5, 31.5]], atol=1e-9)


def test_frame_takes_covariances_back_as_the_inverse_takes_points() -> None:
    frame = Frame.from_box((3, 4, 40, 30), (32, 32)).then(compose(resize_matrix(2, 0.5), flip_matrix(32)))
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(500, 2)) @ np.array([[2.0, 0.3], [0.0, 0.7]])
    expected = np.cov(frame.to_image(cloud).T)
    np.testing.assert_allclose(frame.covariance_to_image(np.cov(cloud.T)), expected, rtol=1e-9)


def test_frame_refuses_an_inside_out_box() -> None:
    with pytest.raises(ValueError, match="Frame.from_box: box must have x2 >= x1 and y2 >= y1"):
        Frame.from_box((5, 5, 4, 9), (8, 8))


def test_flip_is_an_exact_involution_with_swapped_names() -> None:
    points = torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 30
    swap = [1, 0, 2]
    flipped = flip_points(points, width=31, swap=swap)
    torch.testing.assert_close(flip_points(flipped, width=31, swap=swap), points, rtol=0, atol=1e-13)
    torch.testing.assert_close(flipped[:, 0, 0], 30 - points[:, 1, 0], rtol=0, atol=0)
    torch.testing.assert_close(flip_points(points, width=31)[:, 0, 0], 30 - points[:, 0, 0], rtol=0, atol=0)
    for bad in ([0, 1], [1, 2, 0]):
        with pytest.raises(ValueError, match="flip_points: swap must be a permutation of the 3 points"):
            flip_points(points, width=31, swap=bad)
