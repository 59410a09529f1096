"""Exact coverage of polygons."""

from __future__ import annotations

import numpy as np
import pytest

from heatpoint.datasets.raster import coverage, fill


def shoelace(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def clip_to_pixel(polygon: np.ndarray, column: int, row: int) -> float:
    """Oracle: the area of a convex polygon within one pixel, by clipping against its four sides in turn."""
    points = [tuple(p) for p in polygon]
    for axis, bound, sign in ((0, column - 0.5, 1), (0, column + 0.5, -1), (1, row - 0.5, 1), (1, row + 0.5, -1)):
        kept: list[tuple[float, ...]] = []
        for a, b in zip(points, points[1:] + points[:1], strict=True):
            da, db = sign * (a[axis] - bound), sign * (b[axis] - bound)
            if da >= 0:
                kept.append(a)
            if da * db < 0:
                t = da / (da - db)
                kept.append((a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])))
        if len(kept) < 3:
            return 0.0
        points = kept
    return shoelace(np.array(points))


def ellipse(rng: np.random.Generator, count: int) -> np.ndarray:
    angle = np.sort(rng.uniform(0, 2 * np.pi, count))
    return rng.uniform(-3, 14, 2) + rng.uniform(0.3, 12, 2) * np.stack([np.cos(angle), np.sin(angle)], axis=1)


@pytest.mark.parametrize("seed", range(12))
def test_share_of_every_pixel_equals_the_clipped_area(seed: int) -> None:
    """Many polygons at once, of different sizes, some beside the picture, in both senses."""
    rng = np.random.default_rng(seed)
    polygons = [ellipse(rng, int(rng.integers(3, 9)))[:: rng.choice([-1, 1])] for _ in range(5)]
    polygons.append(np.array([[40.0, 40.0], [50.0, 40.0], [50.0, 55.0]]))
    polygons.insert(0, np.array([[-9.0, 2.0], [-5.0, 2.0], [-5.0, 6.0]]))
    width, height = 11, 8
    for polygon, (area, window) in zip(polygons, coverage(polygons, size=(width, height)), strict=True):
        picture = np.zeros((height, width))
        picture[window] = area
        expected = [[clip_to_pixel(polygon, x, y) for x in range(width)] for y in range(height)]
        # Shares are returned in float32: 6e-8 relative; sums of at most some 40 pieces in float64 add nothing.
        assert np.abs(picture - expected).max() < 1e-6


def test_corners_on_pixel_borders() -> None:
    (area, window), *_ = coverage([np.array([[0.5, 0.5], [3.5, 0.5], [3.5, 2.5], [0.5, 2.5]])], size=(6, 5))
    assert window == (slice(1, 3), slice(1, 4))
    assert (area == 1).all()


def test_fill_blends_in_order_and_by_opacity() -> None:
    picture = np.full((3, 4, 3), 0.5, dtype=np.float32)
    whole = np.array([[-0.5, -0.5], [3.5, -0.5], [3.5, 2.5], [-0.5, 2.5]])
    half = np.array([[-0.5, -0.5], [1.5, -0.5], [1.5, 2.5], [-0.5, 2.5]])
    fill(picture, [whole, half], [np.array([1.0, 0.0, 0.5]), np.array([0.0, 0.0, 0.0])], [0.5, 1.0])
    assert picture[1, 3].tolist() == [0.75, 0.25, 0.5]
    assert picture[1, 0].tolist() == [0.0, 0.0, 0.0]


def test_nothing_to_fill_changes_nothing() -> None:
    picture = np.ones((2, 3, 3), dtype=np.float32)
    fill(picture, [], [])
    assert (picture == 1).all()


def test_polygon_of_two_corners_is_refused() -> None:
    with pytest.raises(ValueError, match=r"coverage: polygons must be \(N, 2\) each, with N >= 3, got \(2, 2\)"):
        coverage([np.zeros((2, 2))], size=(3, 4))
