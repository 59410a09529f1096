"""What the pages say is true: commands exist, code gives the output shown, links lead somewhere, no path of a machine."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

import heatpoint
from heatpoint.cli import VERBS
from heatpoint.localizers import LOCALIZERS
from heatpoint.recipes import RECIPES
from pages import ROOT, code_blocks, page, run_sessions

RUN = "pip install -e '.[all]' && heatpoint demo"
TEST = "pip install -e '.[all,test]' && pytest"
PAGES = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
TEXTS = [
    path
    for folder in ("src", "tests", "docs", "examples", ".ci", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".md", ".json", ".css", ".sh", ""} and path.is_file()
]


def test_the_first_screen_has_both_commands() -> None:
    screen = page("README.md").splitlines()[:24]
    assert RUN in screen
    assert TEST in screen


def test_continuous_integration_takes_the_command_from_the_readme() -> None:
    script = page(".ci/run")
    pattern = re.search(r"grep -m1 -E '([^']+)' README\.md", script)
    assert pattern is not None
    found = [line for line in page("README.md").splitlines() if re.search(pattern[1], line)]
    assert found == [TEST]
    # It does not stand there a second time, where it could differ.
    assert "pip install -e" not in script
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)


def test_the_code_of_the_readme_gives_the_output_shown() -> None:
    blocks = code_blocks(page("README.md"), "python")
    assert blocks
    assert all(block.count(">>>") <= 15 for block in blocks)
    run_sessions(blocks, {})


def test_the_page_on_own_data_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page("docs/own_data.md")
    (skeleton,) = code_blocks(text, "json")
    (tmp_path / "skeleton.json").write_text(skeleton, encoding="utf-8")
    head = "".join(
        ",".join([name, *cells]) + "\n"
        for name, cells in (
            ("scorer", ["me"] * 8),
            ("bodyparts", [point for point in json.loads(skeleton)["points"] for _ in "xy"]),
            ("coords", ["x", "y"] * 4),
        )
    )
    for video in ("one", "two"):
        folder = tmp_path / "mice" / "labeled-data" / video
        folder.mkdir(parents=True)
        rows = [f"labeled-data/{video}/{i:02}.png,{9 + i},12,8,{20 + i},15,21,30,35\n" for i in range(20)]
        rows += [f"labeled-data/{video}/none.png,,,,,,,,\n"] * (video == "two")
        (folder / "CollectedData_me.csv").write_text(head + "".join(rows))
        for i in range(20):
            cv2.imwrite(str(folder / f"{i:02}.png"), np.full((40, 50, 3), 9 * i, np.uint8))
    monkeypatch.chdir(tmp_path)
    run_sessions(code_blocks(text, "python"), {})


def test_the_two_line_change_is_two_lines_and_names_what_exists() -> None:
    (diff,) = code_blocks(page("README.md"), "diff")
    added = [line[1:].strip() for line in diff.splitlines() if line.startswith("+")]
    assert len(added) == 2
    names: dict[str, object] = {"hp": heatpoint, "step": 1, "num_steps": 4}
    torch = heatpoint.support.torch
    names |= {"logits": torch.zeros(2, 3, 64, 48), "points": torch.ones(2, 3, 2), "visible": torch.ones(2, 3)}
    exec("\n".join(added), names)
    assert float(names["loss"]) > 0  # type: ignore[arg-type]


def test_every_localizer_and_no_other_is_listed() -> None:
    (row,) = [line for line in page("README.md").splitlines() if line.startswith("| Localizers |")]
    assert re.findall("`([a-z_]+)`", row) == list(LOCALIZERS)


@pytest.mark.parametrize("name", PAGES)
def test_commands_on_the_pages_exist(name: str) -> None:
    for block in code_blocks(page(name), "bash"):
        for verb, argument in re.findall(r"\bheatpoint ([a-z]\w*)(?: ([\w-]+))?", block):
            assert verb in VERBS, f"{name}: heatpoint {verb}"
            if verb == "train":
                assert argument in RECIPES, f"{name}: heatpoint train {argument}"


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page(name)):
        if not target.startswith(("http://", "https://", "#")):
            path = (ROOT / name).parent / target.partition("#")[0]
            assert path.exists(), f"{name} links to {target}"


def test_pictures_are_small_and_open() -> None:
    pictures = sorted((ROOT / "docs" / "images").glob("*"))
    assert pictures
    for path in pictures:
        assert path.stat().st_size < 150_000, path.name
        assert cv2.imread(str(path)) is not None, path.name


def test_no_file_names_a_path_of_a_machine() -> None:
    # Written in pieces, so that this file does not hold what it looks for.
    places = "|".join(["work", "farm", "root", "home", "Users"])
    pattern = re.compile(rf"(^|[^A-Za-z0-9_.])/({places})/", re.MULTILINE)
    texts = [*TEXTS, *(ROOT / name for name in PAGES), ROOT / "pyproject.toml"]
    assert len(texts) > 50
    found = [str(path.relative_to(ROOT)) for path in texts if pattern.search(path.read_text(encoding="utf-8"))]
    assert found == []


def test_version_and_papers_agree() -> None:
    citation, changelog = page("CITATION.cff"), page("CHANGELOG.md")
    assert f"\nversion: {heatpoint.__version__}\n" in citation
    assert f"\n## [{heatpoint.__version__}]" in changelog
    for title in ("Localization with Sampling-Argmax", "Heatmap Regression via Randomized Rounding"):
        assert title in citation


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_examples_are_short_and_say_what_they_show(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 60
    assert lines[0].startswith('"""')
