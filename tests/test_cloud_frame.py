"""The frame of a cloud: the unit sphere, there and back, turns about an axis."""

from __future__ import annotations

import math

import numpy as np
import pytest

from heatpoint.cloud_frame import CloudFrame, turn_about

CLOUD = np.random.default_rng(0).normal([3.0, -1.0, 0.5], [0.7, 2.0, 0.1], (41, 3))


def turned(seed: int = 1) -> CloudFrame:
    rng = np.random.default_rng(seed)
    matrix = 1.3 * turn_about("y", 40)
    matrix[:, :3] = matrix[:, :3] @ turn_about("z", -75)[:, :3]
    matrix[:, 3] = rng.normal(size=3)
    return CloudFrame.unit_sphere(CLOUD).then(matrix)


@pytest.mark.parametrize("center", ["centroid", "box"])
def test_unit_sphere_is_that_of_a_loop(center: str) -> None:
    if center == "centroid":
        middle = [math.fsum(row[i] for row in CLOUD) / 41 for i in range(3)]
    else:
        middle = [(min(row[i] for row in CLOUD) + max(row[i] for row in CLOUD)) / 2 for i in range(3)]
    radius = max(math.dist(row, middle) for row in CLOUD)
    expected = [[(row[i] - middle[i]) / radius for i in range(3)] for row in CLOUD]
    frame = CloudFrame.unit_sphere(CLOUD, center=center)  # type: ignore[arg-type]
    np.testing.assert_allclose(frame.to_input(CLOUD), expected, atol=1e-14)
    assert frame.scale == pytest.approx(1 / radius, rel=1e-14)


@pytest.mark.parametrize("frame", [CloudFrame.unit_sphere(CLOUD), turned(), CloudFrame.identity()])
def test_there_and_back(frame: CloudFrame) -> None:
    points = CLOUD.reshape(1, 41, 3)
    np.testing.assert_allclose(frame.to_cloud(frame.to_input(points)), points, atol=1e-13)
    apart = np.linalg.norm(frame.to_input(CLOUD[3]) - frame.to_input(CLOUD[5]))
    assert apart == pytest.approx(frame.scale * np.linalg.norm(CLOUD[3] - CLOUD[5]), rel=1e-12)


def test_then_applies_the_second_map_after_the_first() -> None:
    first, second = CloudFrame.unit_sphere(CLOUD), turned(3).matrix
    by_hand = np.array([second[:, :3] @ (first.matrix[:, :3] @ p + first.matrix[:, 3]) + second[:, 3] for p in CLOUD])
    np.testing.assert_allclose(first.then(second).to_input(CLOUD), by_hand, atol=1e-14)


def test_covariance_goes_back_as_points_do() -> None:
    frame = turned()
    spread = np.random.default_rng(4).normal(size=(2, 7, 3))
    in_input = np.stack([np.cov(frame.to_input(points).T) for points in spread])
    in_cloud = np.stack([np.cov(points.T) for points in spread])
    np.testing.assert_allclose(frame.covariance_to_cloud(in_input), in_cloud, atol=1e-13)


@pytest.mark.parametrize(
    ("axis", "start", "end"), [("x", (0, 1, 0), (0, 0, 1)), ("y", (0, 0, 1), (1, 0, 0)), ("z", (1, 0, 0), (0, 1, 0))]
)
def test_a_quarter_turn_is_counter_clockwise(axis: str, start: tuple[int, ...], end: tuple[int, ...]) -> None:
    matrix = turn_about(axis, 90)  # type: ignore[arg-type]
    np.testing.assert_allclose(matrix @ [*start, 1], end, atol=1e-15)
    fixed = np.eye(3)["xyz".index(axis)]
    np.testing.assert_array_equal(matrix[:, :3] @ fixed, fixed)
    assert np.linalg.det(matrix[:, :3]) == pytest.approx(1)


def test_frames_refuse_what_is_none() -> None:
    with pytest.raises(ValueError, match=r"CloudFrame: matrix must be finite \(3, 4\), got \(3, 3\)\."):
        CloudFrame(np.eye(3))
    with pytest.raises(
        ValueError, match=r"CloudFrame: matrix must be finite \(3, 4\), got NaN or infinity in \(3, 4\)"
    ):
        CloudFrame(np.full((3, 4), np.nan))
    for linear in (np.diag([1.0, 1.0, 2.0]), np.zeros((3, 3))):
        with pytest.raises(ValueError, match="CloudFrame: matrix must rotate and scale alike along all axes, got "):
            CloudFrame(np.concatenate([linear, np.zeros((3, 1))], axis=1))
    with pytest.raises(ValueError, match=r"center must be one of box, centroid, got 'middle'"):
        CloudFrame.unit_sphere(CLOUD, center="middle")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="turn_about: axis must be one of x, y, z, got 'up'"):
        turn_about("up", 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("xyz", "got"),
    [
        (np.zeros((0, 3)), "(0, 3)."),
        (np.zeros((4, 2)), "(4, 2)."),
        (np.zeros(3), "(3,)."),
        (np.full((4, 3), np.nan), "NaN or infinity in (4, 3)."),
    ],
)
def test_a_sphere_around_no_points(xyz: np.ndarray, got: str) -> None:
    with pytest.raises(ValueError) as caught:
        CloudFrame.unit_sphere(xyz)
    assert str(caught.value) == f"CloudFrame.unit_sphere: xyz must be finite (N, 3), N at least 1, got {got}"


@pytest.mark.parametrize("place", [0.0, 1e6 + 0.1, -0.3])
def test_a_sphere_around_one_place(place: float) -> None:
    with pytest.raises(ValueError) as caught:
        CloudFrame.unit_sphere(np.full((7, 3), place))
    text = "CloudFrame.unit_sphere: xyz must hold points at two places or more, got 7 at one place."
    assert str(caught.value) == text
