"""Pictures of scans: surfaces with the bands that hold 90 % of their maps, and how thick the layers between them are."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.figure import Figure

from heatpoint._checks import message
from heatpoint.frames import BoolArray, FloatArray
from heatpoint.report.curves import CURVE_COLORS, INK

ENDINGS = (".png", ".svg", ".pdf")
# Colours that stand out of a grey scan, for neighbouring surfaces as far apart as can be.
SURFACE_COLORS = ("#56B4E9", "#E69F00", "#00C896", "#F0E442", "#E07BBA", "#FF6A3D")


def scan_figure(
    image: npt.NDArray[Any],
    rows: FloatArray,
    low: FloatArray | None = None,
    high: FloatArray | None = None,
    *,
    names: Sequence[str],
    truth: FloatArray | None = None,
    visible: BoolArray | None = None,
    margin: float = 24.0,
) -> Figure:
    """Draws located surfaces over the rows of a scan in which they lie.

    Args:
        image: (H, W), any grey levels.
        rows: (S, W) rows of the surfaces; what is not finite is left out.
        low: (S, W) upper ends of the bands; None draws none.
        high: (S, W) lower ends.
        names: Of the S surfaces.
        truth: (S, W) annotated rows, drawn as thin white dots.
        visible: (S, W) where the truth is known; None means everywhere.
        margin: Rows that are shown above the first and below the last surface.

    Returns:
        A matplotlib figure; see `save_figure`.

    Raises:
        ValueError: If a shape does not fit, or only one end of the bands is given.
    """
    _check(image, rows, names, low, high, truth, visible)
    top, bottom = _shown_rows(image.shape[0], rows, margin)
    width = image.shape[1]
    figure = Figure(figsize=(8.0, float(np.clip(8.0 * (bottom - top) / width, 2.0, 8.0)) + 0.9), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(image, cmap="gray", aspect="auto", interpolation="nearest")
    columns = np.arange(width)
    for s, name in enumerate(names):
        color = SURFACE_COLORS[s % len(SURFACE_COLORS)]
        if low is not None and high is not None:
            axes.fill_between(columns, low[s], high[s], color=color, alpha=0.35, linewidth=0)
        axes.plot(columns, rows[s], color=color, linewidth=1.2, label=name)
        if truth is not None:
            known = np.ones(width, dtype=bool) if visible is None else visible[s]
            axes.plot(columns[known], truth[s][known], ",", color="white", alpha=0.9)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(bottom, top), xlabel="column", ylabel="row")
    _finish(figure, axes, len(names))
    return figure


def thickness_figure(
    thickness: FloatArray,
    *,
    names: Sequence[str],
    unit: str = "px",
    lateral_um: float | None = None,
) -> Figure:
    """Draws how thick each layer is along the columns of a scan.

    Args:
        thickness: (L, W), in `unit`; what is not finite is left out.
        names: Of the L layers.
        unit: Of the thickness: "px" or "µm".
        lateral_um: Micrometres per column, for an axis in millimetres; None counts columns.

    Raises:
        ValueError: If there is not one name per layer.

    >>> figure = thickness_figure(np.array([[3.0, 4.0, 3.5]]), names=["a to b"], unit="µm", lateral_um=12.0)
    >>> figure.axes[0].get_ylabel(), figure.axes[0].get_xlabel()
    ('thickness, µm', 'mm')
    """
    if thickness.ndim != 2 or len(thickness) != len(names):
        rule = f"be ({len(names)}, columns), one line per name"
        raise ValueError(message("thickness_figure", "thickness", rule, tuple(thickness.shape)))
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    columns = np.arange(thickness.shape[1]) * (1.0 if lateral_um is None else lateral_um / 1000)
    for line, name, index in zip(thickness, names, range(len(names)), strict=True):
        axes.plot(columns, line, label=name, color=CURVE_COLORS[index % len(CURVE_COLORS)], linewidth=1.6)
    axes.set(xlabel="column" if lateral_um is None else "mm", ylabel=f"thickness, {unit}")
    axes.set_xlim(columns[0], max(columns[-1], 1e-9))
    axes.set_ylim(bottom=min(0.0, float(np.nanmin(thickness, initial=0.0))))
    axes.grid(color=INK, alpha=0.18)
    _finish(figure, axes, len(names))
    return figure


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Writes a figure, whole or not at all.

    Raises:
        ValueError: If the path's ending is no kind of picture.
    """
    from heatpoint.training.files import write_bytes

    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(message("save_figure", "path", f"end in {', '.join(ENDINGS)}", path))
    content = io.BytesIO()
    kind = path.suffix.lower()[1:]
    # Without a date and random names of its parts, equal figures are equal files.
    dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with rc_context({"svg.hashsalt": "heatpoint"}):
        figure.savefig(content, format=kind, dpi=150, metadata=dated.get(kind))
    write_bytes(path, content.getvalue())
    return path


def _check(
    image: npt.NDArray[Any],
    rows: FloatArray,
    names: Sequence[str],
    low: FloatArray | None,
    high: FloatArray | None,
    truth: FloatArray | None,
    visible: BoolArray | None,
) -> None:
    if image.ndim != 2:
        raise ValueError(message("scan_figure", "image", "be (H, W)", tuple(image.shape)))
    shape = (len(names), image.shape[1])
    for name, array in (("rows", rows), ("low", low), ("high", high), ("truth", truth), ("visible", visible)):
        if array is not None and tuple(array.shape) != shape:
            raise ValueError(message("scan_figure", name, f"be {shape}", tuple(array.shape)))
    if (low is None) != (high is None):
        raise ValueError(message("scan_figure", "low", "be given with high", "one of them"))


def _shown_rows(height: int, rows: FloatArray, margin: float) -> tuple[float, float]:
    """First and last row to show; the whole scan where no row is finite."""
    finite = rows[np.isfinite(rows)]
    if not finite.size:
        return -0.5, height - 0.5
    return max(-0.5, float(finite.min()) - margin), min(height - 0.5, float(finite.max()) + margin)


def _finish(figure: Figure, axes: Any, number: int) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    figure.legend(loc="outside upper center", ncols=min(number, 6), frameon=False, labelcolor=INK, fontsize="small")
