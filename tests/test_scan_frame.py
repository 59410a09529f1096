"""Frames of scans: rows there and back, an oracle in loops for the pixels, and pixels that go where the rows go."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heatpoint.scan_frame import ScanFrame

WIDTH, HEIGHT = 11, 37
RNG = np.random.default_rng(3)
LINE = 20 + 4 * np.sin(np.arange(WIDTH) / 3) + 0.3 * np.arange(WIDTH)
ROWS = LINE + np.array([[-7.3], [-2.0], [1.25]]) + RNG.uniform(-0.5, 0.5, (3, WIDTH))
SEEN = np.ones((3, WIDTH), dtype=bool)
once = settings(deadline=None, derandomize=True, max_examples=40)

FRAMES = {
    "whole": ScanFrame.whole((WIDTH, HEIGHT), (WIDTH, HEIGHT)),
    "smaller": ScanFrame.whole((WIDTH, HEIGHT), (5, 14)),
    "larger": ScanFrame.whole((WIDTH, HEIGHT), (23, 61)),
    "flattened": ScanFrame.around(LINE, (WIDTH, HEIGHT), (WIDTH, 18), rows=18, share=0.7),
    "all": ScanFrame.around(LINE, (WIDTH, HEIGHT), (7, 15), rows=22.5, share=0.6)
    .lowered(np.linspace(-1, 1, WIDTH))
    .stretched(1.1)
    .narrowed(1.3, share=0.2)
    .mirrored(),
}


def place(frame: ScanFrame, column: float, row: float) -> tuple[float, float]:
    """The definition, for a whole or broken scan column."""
    top = float(np.interp(column, np.arange(WIDTH), frame.top))
    x = frame.column_offset + frame.column_scale * column
    return x, (row - top + 0.5) * frame.size[1] / frame.rows - 0.5


def overlap(center: float, extent: float, cell: int) -> float:
    """How much of the interval lies in a cell, as a share of the interval."""
    low, high = max(center - extent / 2, cell - 0.5), min(center + extent / 2, cell + 0.5)
    return max(high - low, 0.0) / extent


@pytest.mark.parametrize("name", FRAMES)
def test_pixels_agree_with_loops(name: str) -> None:
    frame = FRAMES[name]
    image = RNG.random((HEIGHT, WIDTH))
    (width, height), step = frame.size, frame.rows / frame.size[1]
    band = np.zeros((height, WIDTH))
    for v, x in np.ndindex(height, WIDTH):
        center = frame.top[x] + (v + 0.5) * step - 0.5
        band[v, x] = sum(overlap(center, max(step, 1), r) * image[r, x] for r in range(HEIGHT))
    expected = np.zeros((height, width))
    extent = max(1 / abs(frame.column_scale), 1)
    for v, u in np.ndindex(height, width):
        center = (u - frame.column_offset) / frame.column_scale
        expected[v, u] = sum(overlap(center, extent, x) * band[v, x] for x in range(WIDTH))
    found = frame.warp(image.astype(np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)


def test_the_whole_scan_stays_what_it_is() -> None:
    image = RNG.random((HEIGHT, WIDTH), dtype=np.float32)
    frame = FRAMES["whole"]
    # Differences of float64 sums of 37 numbers below 1, rounded to float32.
    np.testing.assert_allclose(frame.warp(image), image, atol=1e-7, rtol=0)
    rows, visible = frame.rows_to_input(ROWS, SEEN)
    np.testing.assert_allclose(rows, ROWS, atol=1e-12)
    assert visible.all()
    assert frame.rows_per_input_row == 1
    assert frame.shown.all()


def test_halving_takes_means_and_reads_nothing_outside() -> None:
    image = np.arange(8.0 * 6).reshape(8, 6)
    half = ScanFrame.whole((6, 8), (3, 4))
    np.testing.assert_allclose(half.warp(image), image.reshape(4, 2, 3, 2).mean(axis=(1, 3)))
    low = half.lowered(4.0)
    np.testing.assert_allclose(low.warp(image)[:2], 0)
    np.testing.assert_allclose(low.warp(image)[2:], half.warp(image)[:2])


@pytest.mark.parametrize("name", FRAMES)
def test_rows_in_the_input_are_those_of_the_definition(name: str) -> None:
    frame = FRAMES[name]
    rows, visible = frame.rows_to_input(ROWS, SEEN)
    assert visible.any()
    for s, u in np.ndindex(rows.shape):
        column = (u - frame.column_offset) / frame.column_scale
        inside = -1e-9 <= column <= WIDTH - 1 + 1e-9
        left = min(max(math.floor(column), 0), WIDTH - 2)
        ends = [place(frame, x, ROWS[s, x])[1] for x in (left, left + 1)]
        expected = ends[0] + (column - left) * (ends[1] - ends[0])
        inside &= -0.5 <= expected <= frame.size[1] - 0.5
        assert visible[s, u] == inside
        assert rows[s, u] == pytest.approx(expected if inside else 0.0, abs=1e-9)


@once
@given(
    shift=st.floats(-3, 3),
    stretch=st.floats(0.8, 1.3),
    narrow=st.floats(1, 2),
    share=st.floats(0, 1),
    is_mirrored=st.booleans(),
)
def test_round_trip(shift: float, stretch: float, narrow: float, share: float, is_mirrored: bool) -> None:
    frame = ScanFrame.around(LINE, (WIDTH, HEIGHT), (2 * WIDTH - 1, 40), rows=30)
    frame = frame.lowered(shift).stretched(stretch).narrowed(narrow, share=share)
    frame = frame.mirrored() if is_mirrored else frame
    # Parallel to the line, surfaces are level in the input, and no interpolation can lose anything.
    parallel = LINE + np.array([[-5.0], [0.0], [4.5]])
    rows, visible = frame.rows_to_input(parallel, SEEN)
    levels = np.array([row[seen].mean() for row, seen in zip(rows, visible, strict=True)])
    back = frame.rows_to_scan(np.repeat(levels[:, None], frame.size[0], axis=1))
    np.testing.assert_allclose(back, parallel, atol=1e-9)
    # The other way round, where both scan columns that an input column lies between are within the input.
    linear = np.linspace(3, 9, frame.size[0])[None]
    again, seen = frame.rows_to_input(frame.rows_to_scan(linear), SEEN[:1])
    columns = (np.arange(frame.size[0]) - frame.column_offset) / frame.column_scale
    inner = seen[0]
    for neighbour in (np.floor(columns), np.ceil(columns)):
        place_there = frame.column_offset + frame.column_scale * neighbour
        inner &= (place_there >= 0) & (place_there <= frame.size[0] - 1)
    assert inner.any()
    np.testing.assert_allclose(again[0][inner], linear[0][inner], atol=1e-9)


def test_visible_only_where_both_neighbours_are() -> None:
    seen = SEEN.copy()
    seen[1, 4] = False
    rows = np.where(seen, ROWS, np.nan)
    same, visible = FRAMES["whole"].rows_to_input(rows, seen)
    np.testing.assert_array_equal(visible, seen)
    assert same[1, 4] == 0
    assert np.isfinite(same).all()
    half = ScanFrame.whole((WIDTH, HEIGHT), (22, HEIGHT))
    _, visible = half.rows_to_input(rows, seen)
    # Input columns 2x and 2x + 1 lie a quarter of a column before and behind scan column x; the first and the last are outside.
    expected = np.ones(22, dtype=bool)
    expected[[0, 7, 8, 9, 10, 21]] = False
    np.testing.assert_array_equal(visible[1], expected)
    assert visible[0, 1:-1].all()


def test_surfaces_outside_the_input_are_not_visible() -> None:
    frame = ScanFrame.whole((WIDTH, HEIGHT), (WIDTH, HEIGHT))
    rows = np.array([np.full(WIDTH, r) for r in (-0.51, -0.5, HEIGHT - 0.5, HEIGHT - 0.49)])
    placed, visible = frame.rows_to_input(rows, np.ones_like(rows, dtype=bool))
    assert visible.all(axis=1).tolist() == [False, True, True, False]
    assert visible.any(axis=1).tolist() == [False, True, True, False]
    assert (placed[[0, 3]] == 0).all()


def test_errors_and_variances_scale_with_the_rows() -> None:
    frame = FRAMES["all"]
    rows = np.full((2, 7), 5.0)
    moved = frame.rows_to_scan(rows + 1) - frame.rows_to_scan(rows)
    np.testing.assert_allclose(moved, frame.rows_per_input_row)
    assert frame.rows_per_input_row == pytest.approx(22.5 / 1.1 / 15)
    np.testing.assert_allclose(frame.variance_to_scan(np.full((2, 7), 3.0)), 3 * frame.rows_per_input_row**2)
    uneven = np.arange(7.0)[None]
    by_hand = np.interp(frame.column_offset + frame.column_scale * np.arange(WIDTH), np.arange(7), uneven[0])
    np.testing.assert_allclose(frame.variance_to_scan(uneven)[0], by_hand * frame.rows_per_input_row**2)


def test_columns_beyond_the_input_carry_its_outermost() -> None:
    frame = ScanFrame.whole((WIDTH, HEIGHT), (WIDTH, HEIGHT)).narrowed(2.0)
    np.testing.assert_array_equal(np.flatnonzero(frame.shown), [3, 4, 5, 6, 7])
    rows = frame.rows_to_scan(np.arange(float(WIDTH))[None])
    np.testing.assert_allclose(rows[0], np.clip(2 * np.arange(WIDTH) - 5, 0, WIDTH - 1))


def test_what_each_change_does() -> None:
    frame = ScanFrame.around(np.full(WIDTH, 20.0), (WIDTH, HEIGHT), (WIDTH, 10), rows=10, share=0.3)
    level = np.full((1, WIDTH), 20.0)
    at = lambda f: f.rows_to_input(level, SEEN[:1])[0][0, 5]  # noqa: E731
    assert at(frame) == pytest.approx(0.3 * 10 - 0.5)
    assert at(frame.lowered(2.0)) == pytest.approx(at(frame) + 2)
    assert at(frame.stretched(2.0, share=0.3)) == pytest.approx(at(frame))
    assert at(frame.lowered(1.0).stretched(2.0, share=0.3)) == pytest.approx(at(frame) + 2)
    slope = np.linspace(-1, 1, WIDTH)
    np.testing.assert_allclose(frame.lowered(slope).rows_to_input(level, SEEN[:1])[0][0], at(frame) + slope)
    mirrored = frame.lowered(slope).mirrored()
    np.testing.assert_allclose(mirrored.rows_to_input(level, SEEN[:1])[0][0], at(frame) + slope[::-1])
    image = RNG.random((HEIGHT, WIDTH))
    np.testing.assert_allclose(mirrored.warp(image), frame.lowered(slope).warp(image)[:, ::-1], atol=1e-6)
    np.testing.assert_allclose(mirrored.mirrored().column_offset, frame.column_offset)


@pytest.mark.parametrize("name", ["larger", "flattened", "all"])
def test_pixels_go_where_rows_go(name: str) -> None:
    """A bright line on dark comes out with its centre of mass on the transformed row."""
    frame = FRAMES[name]
    row = LINE - 1.0
    image = np.maximum(0, 1 - np.abs(np.arange(HEIGHT)[:, None] - row))
    found = frame.warp(image)
    rows, visible = frame.rows_to_input(row[None], SEEN[:1])
    assert visible.any()
    centers = (found * np.arange(frame.size[1])[:, None]).sum(axis=0) / np.maximum(found.sum(axis=0), 1e-9)
    # Columns average over a curved line, and columns at the border over darkness: compare where the line is whole.
    inner = visible[0].copy()
    inner[[0, -1]] = False
    np.testing.assert_allclose(centers[inner], rows[0][inner], atol=0.15)


def test_errors() -> None:
    frame = FRAMES["whole"]
    top, size, scan_size = np.zeros(WIDTH), (WIDTH, HEIGHT), (WIDTH, HEIGHT)
    with pytest.raises(
        ValueError, match=r"ScanFrame: top must be \(11,\) finite scan rows, one per scan column, got shape"
    ):
        ScanFrame(np.zeros(4), 9.0, 0.0, 1.0, size, scan_size)
    with pytest.raises(ValueError, match=r"top must be \(11,\) finite .* got a number that is not finite"):
        ScanFrame(top * np.nan, 9.0, 0.0, 1.0, size, scan_size)
    for rows in (0.0, np.inf):
        with pytest.raises(ValueError, match="ScanFrame: rows must be a finite number above 0, got"):
            ScanFrame(top, rows, 0.0, 1.0, size, scan_size)
    with pytest.raises(ValueError, match="ScanFrame: column_scale must be a finite number other than 0, got 0"):
        ScanFrame(top, 9.0, 0.0, 0.0, size, scan_size)
    for wrong in ((0, 4), (4, 0)):
        with pytest.raises(ValueError, match=r"ScanFrame: size must be \(width, height\) of at least 1, got "):
            ScanFrame.whole(scan_size, wrong)
        with pytest.raises(ValueError, match=r"ScanFrame: scan_size must be \(width, height\) of at least 1, got "):
            ScanFrame.whole(wrong, size)
    with pytest.raises(ValueError, match=r"ScanFrame: size must be \(width, height\) of at least 1, got \(0, 4\)"):
        replace(frame, size=(0, 4))
    with pytest.raises(
        ValueError, match=r"rows_to_input: rows must be \(surfaces, 11\), one row per scan column, got \(3, 5\)"
    ):
        frame.rows_to_input(np.zeros((3, 5)), np.ones((3, 5), dtype=bool))
    with pytest.raises(ValueError, match=r"rows_to_input: visible must have the shape of rows, \(3, 11\), got \(11,\)"):
        frame.rows_to_input(ROWS, SEEN[0])
    with pytest.raises(ValueError, match=r"rows_to_scan: rows must be \(surfaces, 5\), one number per input column"):
        FRAMES["smaller"].rows_to_scan(ROWS)
    with pytest.raises(ValueError, match=r"variance_to_scan: variance must be \(surfaces, 5\)"):
        FRAMES["smaller"].variance_to_scan(ROWS)
    with pytest.raises(
        ValueError, match=r"warp: image must be \(37, 11\), the scan that the frame was made for, got \(11, 37\)"
    ):
        frame.warp(np.zeros((WIDTH, HEIGHT)))
