"""Pictures of scans: what is drawn, and where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heatpoint.report.scan_figures import SURFACE_COLORS, save_figure, scan_figure, thickness_figure

ROWS = np.stack([np.linspace(30, 34, 20), np.linspace(50, 44, 20)])
IMAGE = np.random.default_rng(0).random((90, 20)).astype(np.float32)


def test_a_scan_is_shown_with_its_surfaces_and_bands() -> None:
    figure = scan_figure(IMAGE, ROWS, ROWS - 2, ROWS + 3, names=("a", "b"), margin=10)
    (axes,) = figure.axes
    lines = axes.get_lines()
    assert len(lines) == 2
    for line, rows, color in zip(lines, ROWS, SURFACE_COLORS, strict=False):
        np.testing.assert_allclose(line.get_ydata(), rows)
        np.testing.assert_allclose(line.get_xdata(), np.arange(20))
        assert line.get_color() == color
    for band, rows in zip(axes.collections, ROWS, strict=True):
        corners = band.get_paths()[0].vertices
        assert corners[:, 1].min() == pytest.approx(rows.min() - 2)
        assert corners[:, 1].max() == pytest.approx(rows.max() + 3)
    assert axes.get_ylim() == (60.0, 20.0)  # Rows grow downwards.
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_the_truth_is_drawn_where_it_is_known() -> None:
    visible = np.ones((2, 20), dtype=bool)
    visible[1, 5:] = False
    (axes,) = scan_figure(IMAGE, ROWS, names=("a", "b"), truth=ROWS + 1, visible=visible).axes
    dots = [line for line in axes.get_lines() if line.get_color() == "white"]
    assert [len(line.get_xdata()) for line in dots] == [20, 5]
    np.testing.assert_allclose(dots[1].get_ydata(), ROWS[1, :5] + 1)
    assert not axes.collections


def test_a_scan_without_a_finite_row_is_shown_whole() -> None:
    (axes,) = scan_figure(IMAGE, np.full((1, 20), np.nan), names=("a",)).axes
    assert axes.get_ylim() == (89.5, -0.5)


def test_the_thickness_of_every_layer_is_a_line() -> None:
    thickness = np.stack([np.linspace(20, 10, 20), np.linspace(5, 6, 20)])
    (axes,) = thickness_figure(thickness, names=("a to b", "b to c"), unit="µm", lateral_um=11.5).axes
    for line, values in zip(axes.get_lines(), thickness, strict=True):
        np.testing.assert_allclose(line.get_ydata(), values)
        np.testing.assert_allclose(line.get_xdata(), np.arange(20) * 0.0115)
    assert axes.get_ylim()[0] == 0
    (plain,) = thickness_figure(-thickness, names=("a", "b")).axes
    assert (plain.get_xlabel(), plain.get_ylabel()) == ("column", "thickness, px")
    assert plain.get_ylim()[0] == -20


def test_equal_figures_are_equal_files(tmp_path: Path) -> None:
    for ending in ("png", "svg"):
        contents = [
            save_figure(scan_figure(IMAGE, ROWS, names=("a", "b")), tmp_path / f"{i}.{ending}").read_bytes()
            for i in range(2)
        ]
        assert contents[0] == contents[1]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"scan_figure: image must be \(H, W\), got \(90, 20, 1\)"):
        scan_figure(IMAGE[..., None], ROWS, names=("a", "b"))
    with pytest.raises(ValueError, match=r"scan_figure: rows must be \(3, 20\), got \(2, 20\)"):
        scan_figure(IMAGE, ROWS, names=("a", "b", "c"))
    with pytest.raises(ValueError, match=r"scan_figure: truth must be \(2, 20\), got \(1, 20\)"):
        scan_figure(IMAGE, ROWS, names=("a", "b"), truth=ROWS[:1])
    with pytest.raises(ValueError, match="scan_figure: low must be given with high, got one of them"):
        scan_figure(IMAGE, ROWS, ROWS - 1, names=("a", "b"))
    with pytest.raises(ValueError, match=r"thickness must be \(1, columns\), one line per name, got \(2, 20\)"):
        thickness_figure(ROWS, names=("a",))
    with pytest.raises(ValueError, match=r"save_figure: path must end in \.png, \.svg, \.pdf, got .*scan\.gif"):
        save_figure(thickness_figure(ROWS, names=("a", "b")), tmp_path / "scan.gif")
