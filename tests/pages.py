"""Reads the project's pages and runs the code that stands in them and beside them."""

from __future__ import annotations

import doctest
import importlib.util
import io
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def load_module(path: Path) -> Any:
    """A script of the project that no package holds."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def sections(text: str) -> dict[str, str]:
    """Heading of level 2 -> what stands under it; "" -> what stands before the first."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(["", *parts[1::2]], [parts[0], *parts[2::2]], strict=True))


def run_sessions(blocks: list[str], names: dict[str, object]) -> None:
    """Runs interpreter sessions with the names given, adds the names they bind, and compares every output."""
    report = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    parser = doctest.DocTestParser()
    for index, block in enumerate(blocks):
        test = parser.get_doctest(block, names, f"block {index}", None, 0)
        assert test.examples, f"no line to run in:\n{block}"
        runner.run(test, out=report.write, clear_globs=False)
        names.update(test.globs)
    assert runner.failures == 0, report.getvalue()
