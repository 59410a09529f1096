from __future__ import annotations

import numpy as np

from heatpoint.report.curves import CURVE_COLORS, coverage_curve, error_curve


def test_the_error_curve_is_the_share_of_errors_below() -> None:
    errors = {"a": np.array([[3.0, 1.0], [np.nan, 2.0]]), "b": np.array([1.0, 9.0])}
    (axes,) = error_curve(errors, limit=4.0, label="error, px").axes
    line, other = axes.get_lines()
    np.testing.assert_allclose(line.get_xdata(), [0, 1, 2, 3])
    np.testing.assert_allclose(line.get_ydata(), [0, 100 / 3, 200 / 3, 100])
    assert axes.get_xlim() == (0.0, 4.0)
    assert axes.get_xlabel() == "error, px"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    assert other.get_color() == CURVE_COLORS[1]


def test_the_coverage_curve_is_the_mean_over_the_most_confident() -> None:
    errors = {"a": np.array([4.0, 1.0, 2.0])}
    (axes,) = coverage_curve(errors, {"a": np.array([0.1, 0.9, 0.5])}, label="error, px").axes
    (line,) = axes.get_lines()
    np.testing.assert_allclose(line.get_xdata(), [100 / 3, 200 / 3, 100])
    np.testing.assert_allclose(line.get_ydata(), [1.0, 1.5, 7 / 3])
    assert axes.get_ylabel() == "mean error, px"


def test_the_coverage_curve_leaves_out_means_of_fewer_than_one_percent() -> None:
    errors = {"a": np.ones(1000)}
    (axes,) = coverage_curve(errors, {"a": np.arange(1000.0)}, label="error").axes
    assert axes.get_lines()[0].get_xdata()[0] == 1.1


def test_more_methods_than_colors_start_over() -> None:
    errors = {str(i): np.array([1.0, 2.0]) for i in range(len(CURVE_COLORS) + 1)}
    (axes,) = error_curve(errors, limit=2.0, label="error").axes
    assert axes.get_lines()[-1].get_color() == CURVE_COLORS[0]
