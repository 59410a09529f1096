from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heatpoint.frames import Frame, resize_matrix
from heatpoint.report.figures import SURE, UNSURE, draw_prediction, ellipse_outline, overlay_maps
from heatpoint.skeleton import Skeleton
from heatpoint.support import Grid, Points

BLACK = np.zeros((20, 30, 3), np.uint8)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.floats(0.1, 20), st.floats(0.1, 20), st.floats(-0.95, 0.95), st.floats(0.05, 0.99), st.floats(-50, 50))
def test_every_vertex_of_an_ellipse_has_the_squared_mahalanobis_radius_of_its_level(
    a: float, b: float, correlation: float, level: float, place: float
) -> None:
    covariance = np.array([[a * a, correlation * a * b], [correlation * a * b, b * b]])
    center = np.array([place, -place])
    offset = ellipse_outline(center, covariance, level=level) - center
    radius = np.einsum("ni,ij,nj->n", offset, np.linalg.inv(covariance), offset)
    # The inverse's condition number is at most 8e5 here (sizes 200:1, correlation 0.95), times the 1e-16 of float64.
    np.testing.assert_allclose(radius, -2 * math.log1p(-level), rtol=1e-8)


def test_an_ellipse_holds_its_share_of_normal_draws() -> None:
    covariance = np.array([[9.0, 2.0], [2.0, 1.0]])
    outline = ellipse_outline(np.zeros(2), covariance, level=0.9, num_vertices=720)
    draws = np.random.default_rng(0).multivariate_normal(np.zeros(2), covariance, 40_000)
    # Inside a convex polygon: to the left of every side, counted by the direction nearest to the draw's.
    root = np.linalg.cholesky(covariance)
    radius = np.linalg.norm(np.linalg.solve(root, draws.T), axis=0)
    limit = np.linalg.norm(np.linalg.solve(root, outline.T), axis=0).mean()
    # Five binomial standard deviations: fails by chance for one seed in a million.
    assert abs((radius < limit).mean() - 0.9) < 5 * math.sqrt(0.9 * 0.1 / 40_000)


def test_ellipses_keep_the_leading_shape_and_take_a_flat_covariance() -> None:
    points = np.arange(12.0).reshape(2, 3, 2)
    outline = ellipse_outline(points, np.broadcast_to(np.diag([4.0, 0.0]), (2, 3, 2, 2)), num_vertices=8)
    assert outline.shape == (2, 3, 8, 2)
    assert np.isfinite(outline).all()
    np.testing.assert_allclose(outline[..., 1], np.broadcast_to(points[..., None, 1], (2, 3, 8)))


@pytest.mark.parametrize("level", [0.0, 1.0, 90])
def test_a_level_that_is_no_share_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match=r"ellipse_outline: level must lie between 0 and 1, got .*0\.9 draws 90 % ell"):
        ellipse_outline(np.zeros(2), np.eye(2), level=level)


def test_a_point_is_drawn_at_its_pixel_and_the_image_is_left_alone() -> None:
    image = BLACK.copy()
    picture = draw_prediction(image, np.array([[21.0, 6.0]]))
    assert picture.shape == image.shape
    assert picture[6, 21].tolist() == list(SURE)
    assert not picture[:, :15].any()
    assert not image.any()


def test_a_point_keeps_its_place_in_a_larger_picture() -> None:
    # x = 21 in 30 pixels is (21 + ½) · 4 − ½ = 85.5 in 120: the two pixels beside it are equally bright.
    picture = draw_prediction(BLACK, np.array([[21.0, 6.0]]), width=120)
    assert picture.shape == (80, 120, 3)
    lit = np.argwhere((picture == SURE).all(axis=-1))
    np.testing.assert_allclose(lit.mean(axis=0), [25.5, 85.5], atol=0.5)


def test_a_large_image_is_shrunk_to_the_width() -> None:
    picture = draw_prediction(np.full((200, 300, 3), 90, np.uint8), np.array([[150.0, 100.0]]), width=60)
    assert picture.shape == (40, 60, 3)
    assert (picture[0] == 90).all()


def test_confidence_colors_the_point() -> None:
    points = np.array([[5.0, 5.0], [20.0, 12.0], [12.0, 15.0]])
    picture = draw_prediction(BLACK, points, confidence=np.array([0.0, 1.0, 7.0]))
    assert picture[5, 5].tolist() == list(UNSURE)
    assert picture[12, 20].tolist() == list(SURE)
    assert picture[15, 12].tolist() == list(SURE)


def test_a_covariance_is_drawn_as_its_ellipse() -> None:
    covariance = np.array([np.diag([16.0, 1.0])])
    point = np.array([[15.0, 10.0]])
    picture = draw_prediction(BLACK, point, covariance).max(axis=-1)
    # The 90 % ellipse reaches 4 · 2.146 = 8.6 pixels along x and 2.1 along y.
    assert picture[10, 15 - 8] > 30
    assert picture[10, 15 - 11] == 0
    assert picture[10 - 5, 15] == 0
    assert (draw_prediction(BLACK, point, covariance, level=0.2) > 0).sum() < (picture > 0).sum() * 3


def test_edges_and_truth_are_drawn() -> None:
    skeleton = Skeleton(("a", "b", "c"), edges=((0, 1), (1, 2)))
    points = np.array([[4.0, 10.0], [24.0, 10.0], [np.nan, np.nan]])
    plain = draw_prediction(BLACK, points)
    joined = draw_prediction(BLACK, points, skeleton=skeleton)
    assert plain[10, 14].max() == 0
    assert joined[10, 14].max() > 0
    truth = np.array([[14.0, 3.0], [np.nan, 1.0], [25.0, 17.0]])
    crossed = draw_prediction(BLACK, points, truth=truth)
    assert crossed[3, 14].min() > 245
    assert crossed[17, 25].min() > 245


def test_points_far_outside_and_not_finite_do_no_harm() -> None:
    points = np.array([[1e7, -1e7], [np.inf, 2.0]])
    covariance = np.stack([1e9 * np.eye(2)] * 2)
    assert draw_prediction(BLACK, points, covariance, np.array([np.nan, 0.5])).shape == BLACK.shape


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            (BLACK[..., 0], np.zeros((2, 2))),
            r"draw_prediction: image must be \(H, W, 3\) uint8 RGB, got \(20, 30\) uint8",
        ),
        ((BLACK / 255.0, np.zeros((2, 2))), r"image must be \(H, W, 3\) uint8 RGB, got \(20, 30, 3\) float64"),
        ((BLACK, np.zeros((2, 3))), r"draw_prediction: points must be \(K, 2\), got \(2, 3\)"),
        ((BLACK, np.zeros((3, 2)), np.zeros((3, 2))), r"covariance must be \(3, 2, 2\), got \(3, 2\)"),
        ((BLACK, np.zeros((3, 2)), None, np.zeros(2)), r"confidence must be \(3,\), got \(2,\)"),
    ],
)
def test_wrong_shapes_are_named(arguments: tuple[np.ndarray, ...], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        draw_prediction(*arguments)


def test_a_truth_of_another_length_is_named() -> None:
    with pytest.raises(ValueError, match=r"truth must be \(3, 2\), got \(2, 2\)"):
        draw_prediction(BLACK, np.zeros((3, 2)), truth=np.zeros((2, 2)))


@pytest.mark.parametrize(("offset", "row", "column"), [(None, 4, 8), (0.5, 3, 7)])
def test_a_cell_of_a_map_covers_its_own_pixels(offset: float | None, row: int, column: int) -> None:
    # Cell (1, 2) of stride 4 has its centre at offset + (4, 8) rows and columns, and reaches 2 pixels to either side.
    grid = Grid((3, 4), stride=4, offset=offset)
    values = np.zeros(grid.shape)
    values[1, 2] = 1.0
    lit = np.argwhere(overlay_maps(np.zeros((12, 16, 3), np.uint8), values, grid).any(axis=-1))
    assert sorted(set(lit[:, 0])) == list(range(row, row + 4))
    assert sorted(set(lit[:, 1])) == list(range(column, column + 4))


def test_a_frame_says_where_the_maps_lie_in_a_larger_image() -> None:
    grid = Grid((3, 4), stride=4)
    values = np.zeros(grid.shape)
    values[1, 2] = 1.0
    # The image shows the input of 16 x 12 pixels twice as large: cell (1, 2) covers rows 8 to 15 and columns 16 to 23.
    frame = Frame(resize_matrix(0.5, 0.5), (16, 12))
    lit = np.argwhere(overlay_maps(np.zeros((24, 32, 3), np.uint8), values, grid, frame=frame).any(axis=-1))
    assert sorted(set(lit[:, 0])) == list(range(8, 16))
    assert sorted(set(lit[:, 1])) == list(range(16, 24))


def test_weak_mass_stays_visible_and_an_empty_map_shows_the_image() -> None:
    grid = Grid((3, 4), stride=4)
    image = np.full((12, 16, 3), 100, np.uint8)
    values = np.zeros(grid.shape)
    values[0, 0], values[2, 3] = 1.0, 0.01
    picture = overlay_maps(image, values, grid)
    assert (picture[10, 14] != picture[6, 8]).any()
    # 0.7 of the image's grey.
    assert (overlay_maps(image, 0 * values, grid) == 70).all()


def test_of_several_maps_a_cell_shows_the_brightest_whatever_their_heights() -> None:
    grid = Grid((3, 4), stride=4)
    values = np.zeros((2, *grid.shape))
    values[0, 0, 0], values[1, 2, 3] = 1.0, 0.001
    picture = overlay_maps(np.zeros((12, 16, 3), np.uint8), values, grid)
    assert picture[1, 1].tolist() == picture[10, 14].tolist()
    assert picture[1, 1].any()
    assert not picture[6, 8].any()


def test_maps_of_another_shape_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"overlay_maps: probabilities must be one or several maps of the grid's shape \("
    ):
        overlay_maps(BLACK, np.zeros((3, 4)), Grid((3, 5)))


@pytest.mark.parametrize("grid", [Grid((12,)), Points(torch.zeros(12, 2))])
def test_a_support_without_rows_and_columns_is_refused(grid: Grid | Points) -> None:
    with pytest.raises(
        ValueError, match=r"overlay_maps: grid must be a 2-D Grid, got (Grid\(\(12,\)\)|Points\(\(12, 2\)\))"
    ):
        overlay_maps(BLACK, np.zeros(12), grid)
