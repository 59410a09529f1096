"""A point cloud to be turned in a browser: its maps, located keypoints with their ellipsoids, edges and truth, in one file."""

from __future__ import annotations

import html
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from heatpoint._checks import message, missing_package, one_of
from heatpoint.frames import FloatArray
from heatpoint.report.cloud_scene import CloudScene
from heatpoint.report.ellipsoids import ellipsoid_meshes
from heatpoint.training.files import write_bytes

UNSURE, SURE, TRUTH, EDGE = "rgb(255, 122, 26)", "rgb(61, 205, 255)", "rgb(255, 255, 255)", "rgb(235, 238, 242)"
PAPER, INK, CLOUD = "#12161e", "#e6e9ee", "rgb(74, 82, 94)"
CONFIDENCES = [[0.0, UNSURE], [1.0, SURE]]
_RAMP = (CLOUD, "rgb(87, 16, 110)", "rgb(188, 55, 84)", "rgb(249, 142, 9)", "rgb(252, 255, 164)")
MAPS = [[step / 4, color] for step, color in enumerate(_RAMP)]
STRENGTHS = [[0.0, "rgb(38, 44, 54)"], [1.0, EDGE]]


def write_cloud_view(
    path: str | Path, scene: CloudScene, *, title: str = "", level: float = 0.9, up: Literal["x", "y", "z"] = "y"
) -> Path:
    """Writes one HTML file of about 5 MB with everything inside: nothing is fetched, and it needs no network.

    The cloud can be turned, and whatever the legend lists switched off and on. A menu lays the map of one keypoint over the
    cloud, or of all, of which each point shows the brightest. The colour is the root of a point's share of its map's peak, which
    keeps weak, far points visible; the pointer tells the probability. The browser must have WebGL.

    Args:
        path: The file to write, ending in .html; its folder is made if need be.
        scene: What to show.
        title: Heading; "" names the file.
        level: Share of the mass inside an ellipsoid, between 0 and 1.
        up: The axis that points up on the screen: y in ShapeNet, z in ModelNet.

    Returns:
        The path.

    Raises:
        ValueError: If level is not between 0 and 1, `up` is no axis or the path ends otherwise.
        ModuleNotFoundError: If plotly is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(message("write_cloud_view", "path", "end in .html", path))
    figure = cloud_figure(scene, level=level, up=up)
    heading = html.escape(title or path.stem)
    body = figure.to_html(
        full_html=False,
        include_plotlyjs=True,
        div_id="cloud",  # A fixed name, so that the same scene gives the same file.
        config={"displaylogo": False, "responsive": True},
        default_height="calc(100vh - 4rem)",
    )
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{heading}</title><style>body {{ margin: 0; background: {PAPER}; color: {INK}; "
        "font: 17px/1.6 system-ui, sans-serif; } h1 { font-size: 1.2rem; margin: 0; padding: 1rem 1.4rem 0; }</style>"
        f"</head><body><h1>{heading}</h1>{body}</body></html>\n"
    )
    write_bytes(path, page.encode())
    return path


def cloud_figure(scene: CloudScene, *, level: float = 0.9, up: Literal["x", "y", "z"] = "y") -> Any:
    """The plotly figure that `write_cloud_view` writes, for a notebook: `cloud_figure(…).show()`; arguments are its own."""
    one_of("cloud_figure", "up", up, ("x", "y", "z"))
    graphs = _plotly()
    traces = [_cloud(graphs, scene), *_edges(graphs, scene)]
    if scene.covariance is not None and scene.shown.any():
        traces.append(_ellipsoids(graphs, scene, scene.covariance, level))
    traces.append(_keypoints(graphs, scene))
    if scene.truth is not None:
        traces.append(_truth(graphs, scene, scene.truth))
    figure = graphs.Figure(traces)
    hidden = {"visible": False, "showspikes": False}
    eye = {"x": 1.1, "y": 1.1, "z": 1.1, up: 0.7}
    figure.update_layout(
        paper_bgcolor=PAPER,
        font={"color": INK, "size": 13},
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        legend={"x": 1, "xanchor": "right", "y": 1, "bgcolor": "rgba(0, 0, 0, 0)", "itemsizing": "constant"},
        scene={
            **{f"{axis}axis": hidden for axis in "xyz"},
            "aspectmode": "data",
            "camera": {"up": {axis: float(axis == up) for axis in "xyz"}, "eye": eye},
        },
        updatemenus=_menu(scene),
    )
    return figure


def _cloud(graphs: ModuleType, scene: CloudScene) -> Any:
    values, told = _map_values(scene, None)
    tells = "" if scene.probabilities is None else "<br>probability %{customdata}"
    return graphs.Scatter3d(
        **_axes(scene.xyz),
        mode="markers",
        marker={"size": 2.6, "color": values, "cmin": 0, "cmax": 1, "colorscale": MAPS},
        name="cloud",
        showlegend=True,
        customdata=told,
        text=[f"row {row}" for row in (range(len(scene.xyz)) if scene.rows is None else scene.rows.tolist())],
        hovertemplate="%{text}" + tells + "<extra></extra>",
    )


def _map_values(scene: CloudScene, chosen: int | None, *, off: bool = False) -> tuple[list[float], list[float]]:
    """Colours and probabilities of the cloud's points under one map, or under the brightest of all."""
    if scene.probabilities is None or off or not len(scene.points):
        return [0.0] * len(scene.xyz), [0.0] * len(scene.xyz)
    maps = scene.probabilities if chosen is None else scene.probabilities[chosen : chosen + 1]
    peaks = np.maximum(maps.max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    colors = np.sqrt(np.clip(maps / peaks, 0, 1)).max(axis=0)
    # Short numbers: they are most of what the file holds beside the program that draws them.
    return np.round(colors, 3).tolist(), [float(f"{value:.3g}") for value in maps.max(axis=0)]


def _menu(scene: CloudScene) -> list[dict[str, Any]]:
    if scene.probabilities is None or not len(scene.points):
        return []
    choices: list[tuple[str, int | None, bool]] = [("all maps", None, False), ("no map", None, True)]
    choices += [(label, number, False) for number, label in enumerate(scene.labels)]
    buttons = []
    for label, chosen, off in choices:
        values, told = _map_values(scene, chosen, off=off)
        changes = {"marker.color": [values], "customdata": [told]}
        buttons.append({"label": label, "method": "restyle", "args": [changes, [0]]})
    look = {"x": 0.01, "xanchor": "left", "y": 0.99, "yanchor": "top", "bgcolor": "#232a35", "bordercolor": "#3a4352"}
    return [{"type": "dropdown", "buttons": buttons, "active": 0, **look}]


def _keypoints(graphs: ModuleType, scene: CloudScene) -> Any:
    kept = np.flatnonzero(scene.shown)
    confidence = np.ones(len(scene.points)) if scene.confidence is None else scene.confidence
    bar = {"title": {"text": "confidence"}, "len": 0.4, "thickness": 12, "x": 0.99, "xanchor": "right", "y": 0.3}
    known: dict[str, Any] = {} if scene.confidence is None else {"colorbar": bar, "showscale": True}
    color = np.clip(np.nan_to_num(confidence[kept]), 0, 1)
    tells = "" if scene.confidence is None else "<br>confidence %{marker.color:.3f}"
    return graphs.Scatter3d(
        **_axes(scene.points[kept]),
        mode="markers",
        marker={
            "size": 7,
            "color": color,
            "cmin": 0,
            "cmax": 1,
            "colorscale": CONFIDENCES,
            "line": {"color": PAPER},
            **known,
        },
        name="keypoints",
        showlegend=True,
        text=[scene.labels[k] for k in kept],
        hovertemplate="%{text}" + tells + "<br>%{x:.4g}, %{y:.4g}, %{z:.4g}<extra></extra>",
    )


def _ellipsoids(graphs: ModuleType, scene: CloudScene, covariance: FloatArray, level: float) -> Any:
    kept = scene.shown & np.isfinite(covariance).all(axis=(1, 2))
    vertices, triangles = ellipsoid_meshes(scene.points[kept], covariance[kept], level=level)
    number, size = vertices.shape[:2]
    faces = (triangles + size * np.arange(number)[:, None, None]).reshape(-1, 3)
    confidence = np.ones(len(kept)) if scene.confidence is None else np.clip(np.nan_to_num(scene.confidence), 0, 1)
    return graphs.Mesh3d(
        **_axes(vertices.reshape(-1, 3)),
        **dict(zip("ijk", faces.astype(np.int32).T, strict=True)),
        intensity=np.repeat(confidence[kept], size).astype(np.float32),
        cmin=0,
        cmax=1,
        colorscale=CONFIDENCES,
        showscale=False,
        opacity=0.3,
        hoverinfo="skip",
        name=f"{100 * level:g} % ellipsoids",
        showlegend=True,
    )


def _edges(graphs: ModuleType, scene: CloudScene) -> list[Any]:
    kept = [number for number, edge in enumerate(scene.edges) if scene.shown[list(edge)].all()]
    if not kept:
        return []
    ends = np.array([scene.edges[number] for number in kept])
    # A row of NaN between two edges interrupts the line.
    line = np.concatenate([scene.points[ends], np.full((len(kept), 1, 3), np.nan)], axis=1).reshape(-1, 3)
    words = [f"{scene.labels[a]} – {scene.labels[b]}" for a, b in ends]
    look: dict[str, Any] = {"color": EDGE}
    if scene.strengths is not None:
        words = [f"{word}: strength {scene.strengths[n]:.3f}" for word, n in zip(words, kept, strict=True)]
        color = np.repeat(np.clip(scene.strengths[kept], 0, 1), 3)
        look = {"color": color, "cmin": 0, "cmax": 1, "colorscale": STRENGTHS}
    trace = graphs.Scatter3d(
        **_axes(line),
        mode="lines",
        line={"width": 4, **look},
        name="edges",
        showlegend=True,
        text=[word for word in words for _ in range(3)],
        hovertemplate="%{text}<extra></extra>",
    )
    return [trace]


def _truth(graphs: ModuleType, scene: CloudScene, truth: FloatArray) -> Any:
    kept = np.flatnonzero(np.isfinite(truth).all(axis=1))
    names = [f"{html.escape(name)}, annotated" for name in scene.truth_names] or ["annotated"] * len(truth)
    return graphs.Scatter3d(
        **_axes(truth[kept]),
        mode="markers",
        marker={"size": 5, "color": TRUTH, "symbol": "cross"},
        name="truth",
        showlegend=True,
        text=[names[k] for k in kept],
        hovertemplate="%{text}<extra></extra>",
    )


def _axes(points: FloatArray) -> dict[str, npt.NDArray[np.float32]]:
    return dict(zip("xyz", points.astype(np.float32).T, strict=True))


def _plotly() -> ModuleType:
    try:
        return import_module("plotly.graph_objects")
    except ModuleNotFoundError as error:
        raise missing_package("heatpoint.report.cloud_view", error) from None
