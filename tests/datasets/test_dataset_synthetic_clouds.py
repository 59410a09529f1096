"""Synthetic clouds: surfaces by closed forms, even sampling, keypoints that mean what they are called."""

from __future__ import annotations

import re
import time
from functools import cache

import numpy as np
import pytest
from scipy.spatial import cKDTree

from heatpoint.datasets import CLOUDS, CloudSet, synthetic_clouds
from heatpoint.datasets._surfaces import bar, blade, box, draw_points, tube
from heatpoint.datasets.synthetic_clouds import draw_cloud

CATEGORIES = ("chair", "table", "airplane")
SPACING = {"chair": 0.010, "table": 0.011, "airplane": 0.006}


@cache
def clouds(category: str) -> CloudSet:
    return synthetic_clouds(60, category=category, seed=3)


def area(triangles: np.ndarray) -> float:
    return float(sum(np.linalg.norm(np.cross(b - a, c - a)) / 2 for a, b, c in triangles))


def volume(triangles: np.ndarray) -> float:
    """Of a closed surface around the origin whose triangles are seen from it under positive solid angles."""
    return float(sum(abs(np.linalg.det(triangle)) / 6 for triangle in triangles))


def test_areas_and_volumes_of_bodies() -> None:
    solid = box((-1.0, -0.5, -2.0), (1.0, 0.5, 2.0))
    assert area(solid) == pytest.approx(2 * (2 * 1 + 2 * 4 + 1 * 4))
    assert volume(solid) == pytest.approx(8)
    upright = bar(np.array([0.0, -1.0, 0.0]), np.array([0.0, 1.0, 0.0]), 0.4, 0.6)
    assert (area(upright), volume(upright)) == (pytest.approx(2 * (0.24 + 0.8 + 1.2)), pytest.approx(0.48))
    # Leaning keeps the volume: the level sections are the same.
    leaning = bar(np.array([-0.05, -1.0, 0.0]), np.array([0.05, 1.0, 0.0]), 0.4, 0.6)
    assert volume(leaning) == pytest.approx(0.48)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_tubes_are_prisms(axis: str) -> None:
    along = np.eye(3)["xyz".index(axis)]
    sides, radius, length = 7, 0.6, 2.5
    cap = sides / 2 * radius**2 * np.sin(2 * np.pi / sides)
    around = sides * 2 * radius * np.sin(np.pi / sides) * length
    surface = tube(np.outer([-1.25, -0.2, 1.25], along), np.full(3, radius), axis=axis, sides=sides)
    assert len(surface) == 2 * sides * 2 + 2 * sides
    assert area(surface) == pytest.approx(2 * cap + around)
    assert volume(surface) == pytest.approx(cap * length)
    wide = tube(np.outer([-1.25, 1.25], along), np.full((2, 2), [0.6, 1.2]), axis=axis, sides=sides)
    assert volume(wide) == pytest.approx(2 * cap * length)
    # The first corner of the first ring lies along the first of the other axes.
    other = np.eye(3)[0 if axis != "x" else 1]
    np.testing.assert_allclose(wide[0, 0], -1.25 * along + 0.6 * other)


def test_blades_are_wings_without_a_root() -> None:
    front, back = np.array([[0.0, 0, -1], [3, 0, -1]]), np.array([[0.0, 0, 1], [3, 0, 1]])
    surface = blade(front, back, np.array([0.0, 0.2, 0.0]))
    # Four faces, sloping by 0.1 over half a chord of 1, and the rhombus at the tip.
    assert area(surface) == pytest.approx(4 * 3 * np.hypot(1, 0.1) + 0.2)
    assert {tuple(corner) for corner in surface.reshape(-1, 3)} >= {
        (0, 0, -1),
        (3, 0, -1),
        (3, 0, 1),
        (3, 0.1, 0),
        (3, -0.1, 0),
    }
    tapered = blade(front, np.array([[0.0, 0, 1], [3, 0, 0]]), np.array([0.0, 0.2, 0.0]))
    assert (3, 0.05, -0.5) in {tuple(corner) for corner in tapered.reshape(-1, 3).round(12)}


def test_points_are_uniform_by_area() -> None:
    rng = np.random.default_rng(0)
    triangles = rng.uniform(-1, 1, (6, 3, 3))
    number = 30000
    points = draw_points(triangles, number, rng)
    areas = np.array([area(triangle[None]) for triangle in triangles])
    counts, deepest = np.zeros(6), np.zeros((6, 3, 2))
    for t, (a, b, c) in enumerate(triangles):
        # Barycentric coordinates by least squares; a point belongs to the triangle in whose plane it lies.
        share, *_ = np.linalg.lstsq(np.stack([b - a, c - a], axis=1), (points - a).T, rcond=None)
        off = np.linalg.norm(points - a - share.T @ np.stack([b - a, c - a]), axis=1)
        mine = (off < 1e-9) & (share > -1e-9).all(axis=0) & (share.sum(axis=0) < 1 + 1e-9)
        counts[t] = mine.sum()
        weights = np.stack([1 - share.sum(axis=0), *share])[:, mine]
        deepest[t] = np.stack([weights.mean(axis=1), (weights < 0.5).mean(axis=1)], axis=1)
    assert counts.sum() == number
    expected = number * areas / areas.sum()
    # Chi-square of 5 degrees of freedom: beyond 25.7 once in ten thousand.
    assert ((counts - expected) ** 2 / expected).sum() < 25.7
    # In a triangle each corner weighs 1/3 on average (deviation √(1/18 / n)), and more than 1/2 in a quarter of its area.
    for t in range(6):
        assert np.abs(deepest[t, :, 0] - 1 / 3).max() < 4.5 * np.sqrt(1 / 18 / counts[t])
        assert np.abs(deepest[t, :, 1] - 3 / 4).max() < 4.5 * np.sqrt(3 / 16 / counts[t])


@pytest.mark.parametrize("category", CATEGORIES)
def test_keypoints_are_rows_and_clouds_are_scaled_as_shapenet_is(category: str) -> None:
    for cloud in clouds(category).samples:
        assert isinstance(cloud.xyz, np.ndarray)
        assert cloud.index is not None
        assert cloud.xyz.shape == (2048, 3)
        np.testing.assert_array_equal(cloud.xyz[cloud.index[cloud.visible]], cloud.points[cloud.visible])
        assert len(set(cloud.index[cloud.visible].tolist())) == cloud.visible.sum()
        assert (cloud.points[~cloud.visible] == 0).all()
        assert (cloud.index[~cloud.visible] == 0).all()
        # Points lie inside the box of the surface, whose diagonal is 1 and whose middle is 0, and come near its sides.
        size = np.ptp(cloud.xyz, axis=0)
        assert 0.97 < np.linalg.norm(size) <= 1 + 1e-12
        assert np.abs(cloud.xyz.min(axis=0) + cloud.xyz.max(axis=0)).max() < 0.03
        assert len(np.unique(cloud.xyz, axis=0)) == 2048


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_rows_of_keypoints_tell_nothing(category: str) -> None:
    rows = np.concatenate([c.index[c.visible] for c in clouds(category).samples if c.index is not None])
    # Means of uniform whole numbers from 0 to 2047, about 500 of them or more.
    assert rows.mean() == pytest.approx(1023.5, abs=4.5 * 2048 / np.sqrt(12 * len(rows)))


@pytest.mark.parametrize("category", CATEGORIES)
def test_points_lie_apart_as_the_docstring_says(category: str) -> None:
    own, sphere = [], []
    for cloud in clouds(category).samples:
        apart = cKDTree(cloud.xyz).query(cloud.xyz, k=2)[0][:, 1].mean()
        own.append(apart)
        sphere.append(apart / np.linalg.norm(cloud.xyz - np.mean(cloud.xyz, axis=0), axis=1).max())
    assert np.mean(own) == pytest.approx(SPACING[category], abs=5e-4)
    assert 1.8 < np.mean(sphere) / np.mean(own) < 2.5


@pytest.mark.parametrize("category", CATEGORIES)
def test_clouds_are_the_same_whatever_their_number(category: str) -> None:
    for split in ("train", "validation", "test"):
        few, many = (synthetic_clouds(n, category=category, split=split, seed=5, num_points=100) for n in (2, 3))
        for one, other in zip(few.samples, many.samples, strict=False):
            np.testing.assert_array_equal(one.xyz, other.xyz)
            np.testing.assert_array_equal(one.visible, other.visible)
            assert one.key == other.key
        assert not np.array_equal(few.samples[0].points, few.samples[1].points)
    sets = [
        synthetic_clouds(1, category=category, split=split, seed=seed, num_points=100)
        for split, seed in (("train", 5), ("test", 5), ("train", 6))
    ]
    assert len({found.samples[0].points.tobytes() for found in sets}) == 3
    assert sets[0].protocol["seed"] == 5


def placed(category: str, name: str) -> np.ndarray:
    """Where the keypoint lies in every cloud, NaN where it is missing."""
    found = clouds(category)
    k = found.skeleton.names.index(name)
    return np.array([np.where(c.visible[k], c.points[k], np.nan) for c in found.samples])


@pytest.mark.parametrize("category", CATEGORIES)
def test_left_and_right_are_mirror_images(category: str) -> None:
    names = clouds(category).skeleton.names
    assert len(clouds(category).skeleton.swap_pairs) == sum("left" in name for name in names)
    for a, b in clouds(category).skeleton.swap_pairs:
        left, right = placed(category, names[a]), placed(category, names[b])
        assert np.nanmax(left[:, 0]) < 0 < np.nanmin(right[:, 0])
        np.testing.assert_allclose(left * [-1, 1, 1], right, atol=1e-12)


@pytest.mark.parametrize(
    ("category", "front", "back"),
    [
        ("chair", "seat_front_left", "seat_back_left"),
        ("chair", "leg_front_right", "leg_back_right"),
        ("chair", "arm_front_left", "arm_back_left"),
        ("chair", "seat_front_left", "back_top_left"),
        ("table", "top_front_left", "top_back_left"),
        ("table", "rim_front", "rim_back"),
        ("airplane", "nose", "tail"),
        ("airplane", "nose", "wing_tip_left"),
        ("airplane", "wing_root_right", "stabilizer_right"),
    ],
)
def test_the_front_is_at_negative_z(category: str, front: str, back: str) -> None:
    assert np.nanmax(placed(category, front)[:, 2] - placed(category, back)[:, 2]) < 0


@pytest.mark.parametrize(
    ("category", "high", "low"),
    [
        ("chair", "back_top_left", "arm_back_left"),
        ("chair", "arm_front_left", "seat_front_left"),
        ("chair", "seat_front_left", "leg_front_left"),
        ("chair", "seat_front_left", "pedestal_foot"),
        ("table", "top_back_right", "leg_back_right"),
        ("table", "rim_left", "pedestal_foot"),
        ("airplane", "fin_top", "fin_root"),
    ],
)
def test_y_points_up(category: str, high: str, low: str) -> None:
    assert np.nanmin(placed(category, high)[:, 1] - placed(category, low)[:, 1]) > 0.02


@pytest.mark.parametrize("category", CATEGORIES)
def test_parts_vary_and_missing_parts_have_no_keypoints(category: str) -> None:
    found = clouds(category)
    share = dict(zip(found.skeleton.names, np.mean([c.visible for c in found.samples], axis=0), strict=True))
    assert min(share.values()) > 0
    sometimes = {"chair": "leg arm pedestal", "table": "top rim leg pedestal", "airplane": "engine outer_engine"}[
        category
    ]
    for name, value in share.items():
        assert (value < 1) == name.startswith(tuple(sometimes.split()))
    for c in found.samples:
        seen = {name for name, visible in zip(found.skeleton.names, c.visible, strict=True) if visible}
        assert ("pedestal_foot" in seen) != ("leg_front_left" in seen) or category == "airplane"
        assert ("rim_left" in seen) != ("top_front_left" in seen) or category != "table"
        assert not ("outer_engine_left" in seen and "engine_left" not in seen)


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_cloud_takes_less_than_15_milliseconds(category: str) -> None:
    times = []
    for seed in range(9):
        start = time.perf_counter()
        draw_cloud(np.random.default_rng(seed), category=category)
        times.append(time.perf_counter() - start)
    assert np.median(times) < 0.015


def test_readers_by_name_need_no_data() -> None:
    found = CLOUDS["synthetic_tables"](None, "validation")
    assert repr(found) == "CloudSet('synthetic_tables', 'validation', 100 clouds with 13 keypoints)"
    assert found.samples[7].key == "validation/0/7"
    assert found.protocol["num_points"] == 2048
    with pytest.raises(ValueError, match="synthetic_clouds: split must be one of test, train, validation, got 'val'"):
        CLOUDS["synthetic_tables"](None, "val")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"number": 0}, "synthetic_clouds: number must be a whole number, at least 1, got 0."),
        ({"number": 2.5}, "synthetic_clouds: number must be a whole number, at least 1, got 2.5."),
        ({"num_points": 63}, "synthetic_clouds: num_points must be a whole number, at least 64, got 63."),
        ({"seed": -1}, "synthetic_clouds: seed must be a whole number, at least 0, got -1."),
        ({"category": "chairs"}, "synthetic_clouds: category must be one of airplane, chair, table, got 'chairs'."),
        ({"split": "val"}, "synthetic_clouds: split must be one of test, train, validation, got 'val'."),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        synthetic_clouds(**({"number": 1, "category": "chair"} | arguments))  # type: ignore[arg-type]
