from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from heatpoint.report.curves import error_curve
from heatpoint.report.html import Section, code, curve, gallery, picture, png, table, text, write_report

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Balanced(HTMLParser):
    """Fails at the first tag that closes another than the open one."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_a_page_is_whole_well_formed_and_fetches_nothing(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    figure = error_curve({"a": np.array([1.0, 2.0])}, limit=3.0, label="error, px")
    sections = [
        Section("Maps & <points>", (text("a `b`"), gallery([picture(image, alt='a "quote"', caption="c")], columns=2))),
        Section("Numbers", (table(["m", "e"], [["x", "1"]]), curve(figure, alt="curve", caption="d"), code("a && b"))),
    ]
    path = write_report(tmp_path / "new" / "page.html", sections, title="A <title>", lead="lead")
    page = path.read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    for words in ("Maps & <points>", "A <title>", "lead", "a && b"):
        assert words in parser.words
    assert 'alt="a &quot;quote&quot;"' in page
    # Every source is inside the page; the only address in it names the namespace of SVG, inside the encoded figure.
    assert set(re.findall(r'(?:src|href)="([a-z]+:)', page)) == {"data:"}
    assert "http" not in page
    assert "@import" not in page
    assert "prefers-color-scheme: dark" in page
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]


def test_a_picture_comes_back_as_it_was() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    data = re.search(r"base64,([^\"]+)", picture(image, alt="noise"))
    assert data is not None
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data[1]), np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(decoded, image)


def test_fewer_colors_make_a_smaller_file_of_the_same_picture() -> None:
    ramp = np.linspace(0, 255, 64 * 64 * 3).astype(np.uint8).reshape(64, 64, 3)
    noise = np.random.default_rng(0).integers(-8, 8, ramp.shape)
    image = np.clip(ramp + noise, 0, 255).astype(np.uint8)
    small = png(image, colors=32)
    assert len(small) < len(png(image)) / 2
    decoded = cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert len(np.unique(decoded.reshape(-1, 3), axis=0)) <= 32
    # 32 of the colours along a ramp of 256 greys lie 8 apart; with the noise no pixel is further than 8 + 8 from its own.
    assert np.abs(decoded.astype(int) - image).max() <= 20


def test_the_same_numbers_give_the_same_curve() -> None:
    errors = {"a": np.array([1.0, 2.0])}
    first, second = (curve(error_curve(errors, limit=3.0, label="error"), alt="curve") for _ in range(2))
    assert first == second


def test_a_failure_leaves_the_page_that_was_there(tmp_path: Path) -> None:
    path = write_report(tmp_path / "page.html", [], title="first")
    before = path.read_text(encoding="utf-8")
    # A lone surrogate cannot be written as UTF-8: the write fails half-way.
    with pytest.raises(UnicodeEncodeError):
        write_report(path, [Section("x", (text("\ud800"),))], title="second")
    assert path.read_text(encoding="utf-8") == before
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_the_best_of_a_column_is_bold() -> None:
    page = table(["m", "error", "correlation"], [["a", "2", "0.1"], ["b", "1", "0.2"]], best=[None, 1, None])
    assert re.findall("<strong>(.*?)</strong>", page) == ["1"]


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"table: rows must hold 2 cells each, got 1 in \['a'\]"):
        table(["m", "e"], [["a"]])
