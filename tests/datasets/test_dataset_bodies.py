"""Rendered figures: their geometry is exact, their poses are many, and depth can be seen."""

from __future__ import annotations

import numpy as np
import pytest

from heatpoint.datasets import DATASETS, render_body, synthetic_bodies
from heatpoint.datasets.body_model import BONES, Figure, figure_shapes
from heatpoint.skeleton import load_skeleton


def test_points_are_the_projection_of_the_body_and_lie_in_box_and_image() -> None:
    bodies = synthetic_bodies(30, size=48)
    assert bodies.skeleton == load_skeleton("synthetic_body")
    for sample in bodies.samples:
        assert sample.body is not None
        assert sample.box is not None
        np.testing.assert_allclose(sample.points, sample.body.camera.project(sample.body.points))
        # The camera looks along z, and its principal point is the middle of the image.
        x, y, z = sample.body.points[3]
        np.testing.assert_allclose(sample.points[3], [96 * x / z + 23.5, 96 * y / z + 23.5])
        x1, y1, x2, y2 = sample.box
        assert (sample.points > [x1, y1]).all()
        assert (sample.points < [x2, y2]).all()
        assert (np.abs(sample.points - 23.5) < 24).all()
        assert sample.visible.all()


def test_a_figure_depends_on_seed_split_and_index_alone() -> None:
    few, many = synthetic_bodies(2, size=32), synthetic_bodies(3, size=32)
    assert [s.key for s in few.samples] == ["train/0/0", "train/0/1"]
    for a, b in zip(few.samples, many.samples, strict=False):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.points, b.points)
    others = synthetic_bodies(1, size=32, split="test"), synthetic_bodies(1, size=32, seed=1)
    for other in others:
        assert np.abs(other.samples[0].points - few.samples[0].points).max() > 1
    assert others[0].protocol["camera"] == "pinhole, true root depth known"


def test_bones_keep_their_lengths_and_poses_are_many() -> None:
    rng = np.random.default_rng(0)
    figures = [Figure.draw(rng) for _ in range(300)]
    joints = np.stack([figure.joints for figure in figures])
    assert np.abs(joints[:, 0]).max() == 0
    for first, last, name in (
        (1, 2, "thigh"),
        (5, 6, "shin"),
        (11, 12, "upper_arm"),
        (15, 16, "forearm"),
        (8, 10, "head"),
    ):
        length = np.linalg.norm(joints[:, first] - joints[:, last], axis=1) / BONES[name]
        sizes = np.array([figure.size for figure in figures])
        assert np.abs(length / sizes - 1).max() < 0.0201
        assert np.ptp(length) > 0.08
    # They face the camera, their left to the right of the image; wrists go far both ways in depth.
    assert (joints[:, 4, 0] > joints[:, 1, 0]).all()
    assert joints[:, 13, 2].std() > 120
    assert joints[:, 3, 2].std() > 120


def test_swap_pairs_are_the_two_sides() -> None:
    skeleton = load_skeleton("synthetic_body")
    for name, partner in zip(skeleton.names, np.array(skeleton.names)[list(skeleton.swap)], strict=True):
        turned = name.replace("left", "RIGHT").replace("right", "left").replace("RIGHT", "right")
        assert partner == turned
    assert skeleton.num_points == 17


def test_what_is_nearer_is_painted_later_and_brighter() -> None:
    rng = np.random.default_rng(3)
    _, body = render_body(rng, size=64)
    polygons, colors = figure_shapes(body.points, 1.0, body.camera.project, 128.0, np.random.default_rng(0))
    back = body.points.copy()
    back[16, 2] += 400
    moved, darker = figure_shapes(back, 1.0, body.camera.project, 128.0, np.random.default_rng(0))
    assert len(polygons) == len(moved)
    assert sum(float(c.sum()) for c in darker) < sum(float(c.sum()) for c in colors)
    # The last polygon is the nearest: the first one of a hand stretched to the camera.
    front = body.points.copy()
    front[13] = body.points[0] + [0, 0, -900]
    order, shades = figure_shapes(front, 1.0, body.camera.project, 128.0, np.random.default_rng(0))
    np.testing.assert_allclose(order[-1].mean(axis=0), body.camera.project(front[13]), atol=0.5)
    assert shades[-1].max() > 0.95


def test_painting_shows_the_limbs_where_the_points_are() -> None:
    image, body = render_body(np.random.default_rng(1), size=96)
    points = body.camera.project(body.points)
    knees = image[np.rint(points[[2, 5], 1]).astype(int), np.rint(points[[2, 5], 0]).astype(int)].astype(float)
    assert (knees[:, 2] > 1.5 * knees[:, 0]).all()  # Blue or turquoise, while the background is grey.
    corner = image[:4, :4].astype(float)
    assert np.abs(corner - corner.mean(axis=-1, keepdims=True)).max() < 30


def test_refused_arguments() -> None:
    with pytest.raises(ValueError, match="synthetic_bodies: num must be at least 1, got 0"):
        synthetic_bodies(0)
    with pytest.raises(ValueError, match="synthetic_bodies: size must be at least 16, got 8"):
        synthetic_bodies(1, size=8)
    with pytest.raises(ValueError, match="synthetic_bodies: split must be one of test, train, validation, got 'all'"):
        DATASETS["synthetic_bodies"](None, "all")
