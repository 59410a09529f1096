"""Curves of the error: how many points stay below it, and how it falls when only the surest points are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from heatpoint.frames import FloatArray

# Okabe and Ito's colours: told apart by colour-blind readers, and visible on white as on black.
CURVE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# What axes and letters are drawn in: readable on a light page and on a dark one.
INK = "#7d8590"


def error_curve(errors: Mapping[str, FloatArray], *, limit: float, label: str) -> Figure:
    """Cumulative error distribution: for every error, the share of cases that stay below it (higher is better).

    Args:
        errors: Name of a method -> its errors, any shape; not-finite ones are left out.
        limit: Right end of the error axis.
        label: What an error is, with its unit.
    """
    figure, axes = _figure()
    for (name, values), color in zip(errors.items(), _colors(errors), strict=True):
        ordered = np.sort(values[np.isfinite(values)], axis=None)
        share = np.arange(1, ordered.size + 1) / ordered.size
        # The curve is a staircase from (0, 0); it ends at the limit, not at the last error inside.
        axes.step(np.append(0, ordered), 100 * np.append(0, share), where="post", label=name, color=color, linewidth=2)
    axes.set(xlim=(0, limit), ylim=(0, 101), xlabel=label, ylabel="points within that error, %")
    _finish(axes, legend="lower right")
    return figure


def coverage_curve(errors: Mapping[str, FloatArray], confidences: Mapping[str, FloatArray], *, label: str) -> Figure:
    """Mean error of the most confident share of the points: it falls to the left when confidence knows the error.

    Args:
        errors: Name of a method -> errors (N,).
        confidences: The same names -> confidences (N,), higher is surer.
        label: What an error is, with its unit.
    """
    figure, axes = _figure()
    for (name, values), color in zip(errors.items(), _colors(errors), strict=True):
        order = np.argsort(-confidences[name], kind="stable")
        kept = np.arange(1, values.size + 1)
        mean = np.cumsum(values[order]) / kept
        # Means of fewer than 1 % of the points jump about and say nothing.
        first = values.size // 100
        axes.plot(100 * kept[first:] / values.size, mean[first:], label=name, color=color, linewidth=2)
    axes.set(xlim=(0, 100), xlabel="most confident points kept, %", ylabel=f"mean {label}")
    axes.set_ylim(bottom=0)
    _finish(axes, legend="lower right")
    return figure


def _figure() -> tuple[Figure, Any]:
    figure = Figure(figsize=(5.2, 3.3), layout="constrained")
    return figure, figure.add_subplot()


def _finish(axes: Any, *, legend: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(color=INK, alpha=0.18)
    axes.legend(loc=legend, frameon=False, labelcolor=INK)


def _colors(names: Iterable[str]) -> list[str]:
    return [CURVE_COLORS[i % len(CURVE_COLORS)] for i, _ in enumerate(names)]
