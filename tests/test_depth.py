"""Depth as a coordinate of the input: targets of volumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from heatpoint.datasets import synthetic_bodies
from heatpoint.datasets.sample import Body
from heatpoint.transforms import Augmentation, depth_to_input, depth_to_mm, make_example
from heatpoint.volumes import to_volume

SAMPLE = synthetic_bodies(1, size=48).samples[0]
SKELETON = synthetic_bodies(1, size=48).skeleton
STILL = Augmentation(rotation_deg=0, scale=0, translation=0, flip=1, brightness=0, contrast=0, saturation=0, erase=0)


def test_z_is_the_normalised_depth_in_pixels_and_comes_back() -> None:
    depth = torch.tensor([-1000.0, -250.0, 0.0, 999.0], dtype=torch.float64)
    z = depth_to_input(depth, side=96, depth_range_mm=2000)
    normalised = to_volume(torch.zeros(4, 2, dtype=torch.float64), depth, (96, 96), 2000.0)
    torch.testing.assert_close(z, (normalised[:, 2] + 0.5) * 96)
    torch.testing.assert_close(depth_to_mm(z, side=96, depth_range_mm=2000), depth)


def test_examples_have_the_depth_from_the_root() -> None:
    example = make_example(SAMPLE, size=(40, 64), policy="P2", depth_range_mm=1600)
    flat = make_example(SAMPLE, size=(40, 64), policy="P2")
    assert example.has_depth
    assert not flat.has_depth
    torch.testing.assert_close(example.points[:, :2], flat.points)
    assert SAMPLE.body is not None
    depth = SAMPLE.body.points[:, 2] - SAMPLE.body.points[0, 2]
    torch.testing.assert_close(example.points[:, 2].double().numpy(), (depth / 1600 + 0.5) * 40, atol=1e-5, rtol=0)
    other = replace(SAMPLE, body=Body(SAMPLE.body.points, SAMPLE.body.camera, root=5))
    assert make_example(other, size=40, policy="P2", depth_range_mm=1600).points[5, 2].item() == 20


def test_a_mirrored_example_keeps_its_depths_under_the_exchanged_names() -> None:
    plain = make_example(SAMPLE, size=64, policy="P2", depth_range_mm=2000)
    mirrored = make_example(
        SAMPLE,
        size=64,
        policy="P2",
        depth_range_mm=2000,
        skeleton=SKELETON,
        augmentation=STILL,
        rng=np.random.default_rng(0),
    )
    assert mirrored.flipped
    order = list(SKELETON.swap)
    torch.testing.assert_close(mirrored.points[:, 2], plain.points[order, 2])
    torch.testing.assert_close(mirrored.points[:, 0], 63 - plain.points[order, 0])


def test_points_outside_the_volume_do_not_count() -> None:
    assert SAMPLE.body is not None
    depth = np.abs(SAMPLE.body.points[:, 2] - SAMPLE.body.points[0, 2])
    half = float(np.sort(depth)[-4])  # Three points lie deeper.
    example = make_example(SAMPLE, size=64, policy="P2", padding=1.5, depth_range_mm=2 * half + 1e-6)
    np.testing.assert_array_equal(example.visible.numpy(), depth <= half + 1e-6)
    assert example.visible.sum() == 14


def test_a_sample_without_a_body_lies_in_the_middle_and_says_so() -> None:
    example = make_example(replace(SAMPLE, body=None), size=64, policy="P2", padding=1.5, depth_range_mm=2000)
    assert not example.has_depth
    assert (example.points[:, 2] == 32).all()
    assert example.visible.all()
