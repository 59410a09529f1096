"""A cloud in a page: what the file holds, read back without a browser; ellipsoids against draws and quantiles; error texts."""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from heatpoint.report.cloud_scene import CloudScene
from heatpoint.report.cloud_view import cloud_figure, write_cloud_view
from heatpoint.report.ellipsoids import ellipsoid_meshes, ellipsoid_radius

CELLS, POINTS = 41, 4
RNG = np.random.default_rng(8)
XYZ = RNG.normal(size=(CELLS, 3))
ROOTS = RNG.normal(size=(POINTS, 3, 3)) * [[[0.3], [0.1], [0.02]]]
SCENE = CloudScene(
    XYZ,
    XYZ[:POINTS] + 0.01,
    names=("tip", "</script><b>x", "left & right", "tail"),
    confidence=np.array([0.1, 0.5, 1.4, 0.9]),
    covariance=ROOTS.swapaxes(1, 2) @ ROOTS,
    probabilities=RNG.dirichlet(np.full(CELLS, 0.3), size=POINTS),
    truth=XYZ[:POINTS],
    truth_names=("a", "b", "c", "<d>"),
    edges=((0, 1), (3, 2), (1, 3)),
    strengths=np.array([0.2, 0.9, 0.5]),
)


class Page(HTMLParser):
    """Tags with their attributes, and what stands in scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = tag
        self.scripts += [""] if tag == "script" else []

    def handle_data(self, data: str) -> None:
        if self._within == "script":
            self.scripts[-1] += data
        else:
            self.words.append(data)


def decoded(value: Any) -> Any:
    """Arrays as plotly writes them: base64 of little-endian numbers."""
    if isinstance(value, dict) and "bdata" in value:
        flat = np.frombuffer(base64.b64decode(value["bdata"]), np.dtype(value["dtype"]).newbyteorder("<"))
        return flat.reshape([int(n) for n in value["shape"].split(",")] if "shape" in value else -1)
    return value


def drawn(page: Page) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The traces by name and the layout that the page hands to plotly."""
    call = page.scripts[-1].partition("Plotly.newPlot(")[2].lstrip()
    decoder, values = json.JSONDecoder(), []
    for _ in range(3):
        value, end = decoder.raw_decode(call)
        values.append(value)
        call = call[end:].lstrip(" \n,")
    assert values[0] == "cloud"
    return {trace["name"]: trace for trace in values[1]}, values[2]


def places(trace: dict[str, Any]) -> np.ndarray:
    return np.stack([decoded(trace[axis]) for axis in "xyz"], axis=1)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("view") / "new" / "cloud.html"
    assert write_cloud_view(path, SCENE, title="Chair & <co>") == path
    assert path.stat().st_size < 6e6
    return Page(path.read_text(encoding="utf-8"))


def test_the_file_fetches_nothing(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "img", "base", "object"), tag
        assert not {"src", "href"} & set(attributes), (tag, attributes)
    # The program itself, which is most of the file, and the call that draws.
    assert len(page.scripts) >= 2
    assert max(map(len, page.scripts)) > 1e6
    assert "@import" not in "".join(page.words)
    assert "Chair & <co>" in page.words


def test_cloud_keypoints_truth_and_edges_are_where_they_should_be(page: Page) -> None:
    traces, layout = drawn(page)
    assert set(traces) == {"cloud", "edges", "90 % ellipsoids", "keypoints", "truth"}
    for name, expected in (("cloud", XYZ), ("keypoints", SCENE.points), ("truth", XYZ[:POINTS])):
        np.testing.assert_allclose(places(traces[name]), expected, rtol=1e-6)
    assert layout["scene"]["aspectmode"] == "data"
    assert layout["scene"]["camera"]["up"] == {"x": 0, "y": 1, "z": 0}
    keypoints = traces["keypoints"]
    assert decoded(keypoints["marker"]["color"]).tolist() == [0.1, 0.5, 1.0, 0.9]
    assert keypoints["text"] == ["tip", "&lt;/script&gt;&lt;b&gt;x", "left &amp; right", "tail"]
    assert traces["truth"]["text"] == ["a, annotated", "b, annotated", "c, annotated", "&lt;d&gt;, annotated"]
    line = places(traces["edges"]).reshape(3, 3, 3)
    np.testing.assert_allclose(line[:, :2], SCENE.points[np.array(SCENE.edges)], rtol=1e-6)
    assert np.isnan(line[:, 2]).all()
    assert decoded(traces["edges"]["line"]["color"]).tolist() == np.repeat([0.2, 0.9, 0.5], 3).tolist()
    assert traces["edges"]["text"][3] == "tail – left &amp; right: strength 0.900"


def test_the_menu_lays_one_map_or_all_over_the_cloud(page: Page) -> None:
    traces, layout = drawn(page)
    (menu,) = layout["updatemenus"]
    labels = [button["label"] for button in menu["buttons"]]
    assert labels == ["all maps", "no map", "tip", "&lt;/script&gt;&lt;b&gt;x", "left &amp; right", "tail"]
    assert SCENE.probabilities is not None
    root = np.sqrt(SCENE.probabilities / SCENE.probabilities.max(axis=1, keepdims=True))
    expected = [(root.max(axis=0), SCENE.probabilities.max(axis=0)), (np.zeros(CELLS), np.zeros(CELLS))]
    expected += list(zip(root, SCENE.probabilities, strict=True))
    for button, (color, told) in zip(menu["buttons"], expected, strict=True):
        changes, where = button["args"]
        assert (button["method"], where, next(iter(traces))) == ("restyle", [0], "cloud")
        np.testing.assert_allclose(changes["marker.color"][0], color, atol=5.1e-4)
        np.testing.assert_allclose(changes["customdata"][0], told, rtol=5.1e-3)
    first = menu["buttons"][0]["args"][0]
    assert [traces["cloud"]["marker"]["color"], traces["cloud"]["customdata"]] == [
        first["marker.color"][0],
        first["customdata"][0],
    ]


def test_ellipsoids_in_the_page_are_those_of_the_covariances(page: Page) -> None:
    mesh = drawn(page)[0]["90 % ellipsoids"]
    vertices, triangles = ellipsoid_meshes(SCENE.points, SCENE.covariance)
    np.testing.assert_allclose(places(mesh), vertices.reshape(-1, 3), rtol=0, atol=1e-6)
    faces = np.stack([decoded(mesh[corner]) for corner in "ijk"], axis=1).reshape(POINTS, -1, 3)
    for k in range(POINTS):
        np.testing.assert_array_equal(faces[k] - k * vertices.shape[1], triangles)


@pytest.mark.parametrize("level", [0.05, 0.5, 0.9, 0.999])
def test_the_radius_is_the_root_of_the_quantile(level: float) -> None:
    assert ellipsoid_radius(level) == pytest.approx(np.sqrt(scipy.stats.chi2.ppf(level, 3)), rel=1e-10)


def test_ellipsoids_are_closed_face_outwards_and_hold_their_share() -> None:
    points, covariance = SCENE.points, SCENE.covariance
    assert covariance is not None
    vertices, triangles = ellipsoid_meshes(points, covariance, level=0.7, rings=6, turns=11)
    assert vertices.shape == (POINTS, 6 * 11 + 2, 3)
    # Every edge is run through once in each direction: the surface is closed and its faces turn alike.
    edges = [(int(a), int(b)) for f in triangles for a, b in ((f[0], f[1]), (f[1], f[2]), (f[2], f[0]))]
    assert len(edges) == len(set(edges))
    assert {(b, a) for a, b in edges} == set(edges)
    away = vertices - points[:, None]
    squares = np.einsum("kvi,kij,kvj->kv", away, np.linalg.inv(covariance), away)
    np.testing.assert_allclose(squares, scipy.stats.chi2.ppf(0.7, 3), rtol=1e-6)
    corners = away[0][triangles]
    volume = np.linalg.det(corners).sum() / 6
    whole = 4 / 3 * np.pi * ellipsoid_radius(0.7) ** 3 * np.sqrt(np.linalg.det(covariance[0]))
    assert 0.85 * whole < volume < whole
    # A flat map is a flat ellipsoid, a single point one.
    flat, _ = ellipsoid_meshes(points[:1], np.diag([1.0, 0.0, 0.0])[None])
    assert np.ptp(flat[0, :, 1:], axis=0).max() == 0
    assert np.ptp(flat[0, :, 0]) == pytest.approx(2 * ellipsoid_radius(0.9), rel=0.05)


def test_what_is_lost_or_not_given_is_left_out(tmp_path: Path) -> None:
    points = SCENE.points.copy()
    points[1] = np.nan
    assert SCENE.truth is not None
    truth = np.where(np.array([True, False, False, True])[:, None], SCENE.truth, np.nan)
    path = write_cloud_view(tmp_path / "a.html", replace(SCENE, points=points, truth=truth), level=0.5, up="z")
    traces, layout = drawn(Page(path.read_text(encoding="utf-8")))
    assert traces["keypoints"]["text"] == ["tip", "left &amp; right", "tail"]
    assert len(places(traces["edges"])) == 3
    assert len(places(traces["50 % ellipsoids"])) == 3 * 146
    assert traces["truth"]["text"] == ["a, annotated", "&lt;d&gt;, annotated"]
    assert layout["scene"]["camera"]["up"] == {"x": 0, "y": 0, "z": 1}
    assert "a" in Page(path.read_text(encoding="utf-8")).words

    figure = cloud_figure(CloudScene(XYZ, np.full((2, 3), np.nan), edges=((0, 1),), covariance=np.zeros((2, 3, 3))))
    assert [trace.name for trace in figure.data] == ["cloud", "keypoints"]
    assert not figure.layout.updatemenus
    numbered = cloud_figure(replace(SCENE, rows=100 + np.arange(CELLS)))
    assert list(numbered.data[0].text[:2]) == ["row 100", "row 101"]
    plain = cloud_figure(CloudScene(XYZ, SCENE.points, edges=((0, 1),), truth=XYZ[:2]))
    assert list(plain.data[0].text[:2]) == ["row 0", "row 1"]
    assert list(plain.data[2].text) == ["0", "1", "2", "3"]
    assert list(plain.data[1].text) == ["0 – 1"] * 3
    assert plain.data[1].line.color == "rgb(235, 238, 242)"
    assert list(plain.data[3].text) == ["annotated"] * 2


def test_the_same_scene_gives_the_same_file(tmp_path: Path) -> None:
    first, second = (write_cloud_view(tmp_path / f"{n}.html", SCENE, title="t").read_bytes() for n in "ab")
    assert first == second


ERRORS: list[tuple[Callable[[], Any], str]] = [
    (lambda: CloudScene(XYZ[:, :2], XYZ), "CloudScene: xyz must be (N, 3), got (41, 2)."),
    (lambda: CloudScene(XYZ, XYZ[0]), "CloudScene: points must be (K, 3), got (3,)."),
    (lambda: replace(SCENE, truth=XYZ[:, :2]), "CloudScene: truth must be (T, 3), got (41, 2)."),
    (lambda: replace(SCENE, confidence=np.ones(3)), "CloudScene: confidence must be (4,), got (3,)."),
    (lambda: replace(SCENE, covariance=np.ones((4, 3))), "CloudScene: covariance must be (4, 3, 3), got (4, 3)."),
    (
        lambda: replace(SCENE, probabilities=np.ones((4, 7))),
        "CloudScene: probabilities must be (4, 41), got (4, 7).",
    ),
    (lambda: replace(SCENE, rows=np.arange(7)), "CloudScene: rows must be (41,), got (7,)."),
    (lambda: replace(SCENE, strengths=np.ones(4)), "CloudScene: strengths must be (3,), got (4,)."),
    (lambda: replace(SCENE, names=("a",)), "CloudScene: names must be 4, one per keypoint, got 1."),
    (lambda: replace(SCENE, truth_names=("a",)), "CloudScene: truth_names must be 4, one per keypoint, got 1."),
    (
        lambda: replace(SCENE, edges=((0, 4),), strengths=None),
        "CloudScene: edges must join keypoints from 0 to 3, got (0, 4).",
    ),
    (
        lambda: write_cloud_view("cloud.png", SCENE),
        "write_cloud_view: path must end in .html, got cloud.png.",
    ),
    (lambda: cloud_figure(SCENE, up="w"), "cloud_figure: up must be one of x, y, z, got 'w'."),  # type: ignore[arg-type]
    (
        lambda: cloud_figure(SCENE, level=1.0),
        "ellipsoid_radius: level must lie between 0 and 1, got 1.0. 0.9 draws 90 % ellipsoids.",
    ),
]


@pytest.mark.parametrize(("call", "text"), ERRORS, ids=[text[:50] for _, text in ERRORS])
def test_error_texts(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == text


def test_without_plotly_the_view_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name="plotly")

    view = importlib.import_module("heatpoint.report.cloud_view")
    monkeypatch.setattr(view, "import_module", absent)
    text = r"heatpoint\.report\.cloud_view needs the package 'plotly', which is not installed\. Run: pip install"
    with pytest.raises(ModuleNotFoundError, match=text):
        write_cloud_view(tmp_path / "a.html", SCENE)
    assert not list(tmp_path.iterdir())
