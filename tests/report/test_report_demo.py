from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from heatpoint.cli import VERBS, main
from heatpoint.datasets import synthetic_faces
from heatpoint.recipes import RECIPES, get_recipe
from heatpoint.report.comparison import COLUMNS, Trial, best_rows, result_table
from heatpoint.report.demo import METHODS, demo_recipes, next_steps, run_demo
from heatpoint.report.demo_page import shown_faces, view
from heatpoint.training import evaluate

LIMIT = 22


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "out"


@pytest.fixture(scope="module")
def demo(folder: Path) -> tuple[list[Trial], str]:
    """The demo, cut to one pass over 22 faces: its trials, and what it printed."""
    console = Console(file=io.StringIO(), width=120)
    trials = run_demo(out=folder, epochs=1, limit=LIMIT, seed=3, console=console)
    assert isinstance(console.file, io.StringIO)
    return trials, console.file.getvalue()


def test_the_demo_prints_one_table_and_what_to_run_next(demo: tuple[list[Trial], str], folder: Path) -> None:
    trials, printed = demo
    assert tuple(trial.name for trial in trials) == METHODS
    for trial in trials:
        (row,) = [line for line in printed.splitlines() if line.startswith(f"│ {trial.name} ")]
        assert re.findall(r"[-\d.]+", row) == list(trial.numbers)
    assert printed.count("┏") == 1
    assert f"{LIMIT} test faces of 18 points" in printed
    assert str(folder / "index.html") in printed
    assert "What to run next" in printed


def test_the_demo_leaves_a_page_weights_and_pictures_and_nothing_else(
    demo: tuple[list[Trial], str], folder: Path
) -> None:
    weights = [f"{name}.safetensors" for name in METHODS]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*weights, "face.png", "index.html", "overview.png"]
    )
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r'(?:src|href)="([a-z]+:)', page)) == {"data:"}
    # Maps and points of two faces by each method, and two curves.
    assert page.count("<figure") == 2 * 2 * len(METHODS) + 2
    assert "heatpoint demo --epochs 1 --limit 22 --seed 3" in page
    for name in METHODS:
        assert f"make_localizer(&#x27;{name}&#x27;" in page
    overview = cv2.imread(str(folder / "overview.png"))
    assert overview.shape == (2 * 256 + 6, 3 * 256 + 2 * 6, 3)


def test_errors_and_scores_are_those_of_the_weights_left_behind(demo: tuple[list[Trial], str]) -> None:
    trial = demo[0][1]
    truth = np.stack([sample.points for sample in synthetic_faces(LIMIT, split="test").samples])
    np.testing.assert_allclose(trial.errors, np.linalg.norm(trial.points - truth, axis=-1), rtol=1e-12)
    assert trial.error_px == pytest.approx(trial.errors.mean())
    scores = evaluate(trial.weights)["scores"]["recipe"]
    # Batches of the same faces: equal but for the order of sums in float32.
    assert trial.nme == pytest.approx(scores["nme"][trial.trained.skeleton.default_normalizer], rel=1e-5)
    assert trial.correlation == pytest.approx(scores["correlation"]["confidence"]["point"], abs=1e-5)


def test_budgets_are_equal() -> None:
    recipes = demo_recipes("synthetic", epochs=2, seed=4)
    for recipe in recipes:
        same = replace(recipe, name="", localizer="", localizer_options={})
        assert same == replace(recipes[0], name="", localizer="", localizer_options={})
        assert recipe.seed == 4
    assert demo_recipes("synthetic")[0] == get_recipe("synthetic-soft_argmax")


def test_real_faces_get_a_budget_of_their_own() -> None:
    recipe = demo_recipes("faces300w")[1]
    assert (recipe.name, recipe.optimization.epochs) == ("faces300w-sampling_argmax-small", 12)


def test_next_steps_can_be_run(demo: tuple[list[Trial], str], folder: Path) -> None:
    steps = next_steps(demo[0], folder / "face.png", "synthetic")
    best = min(demo[0], key=lambda trial: trial.error_px)
    assert steps[0][0] == f"heatpoint predict {best.weights} {folder / 'face.png'}"
    assert best.weights.exists()
    for line, _ in steps:
        program, verb, *rest = line.split()
        assert program == "heatpoint"
        assert verb in VERBS
        assert verb != "train" or rest[0] in RECIPES
    assert len(next_steps(demo[0], folder / "face.png", "faces300w")) == len(steps) - 1


def test_a_view_shows_the_same_points_as_the_test(demo: tuple[list[Trial], str]) -> None:
    trial = demo[0][0]
    sample = synthetic_faces(LIMIT, split="test").samples[5]
    small, large = (view(trial.trained, sample, width=width) for width in (64, 256))
    # A picture four times as wide has its points at (x + ½) · 4 − ½ and its covariances 16 times as large.
    np.testing.assert_allclose(large.points, (small.points + 0.5) * 4 - 0.5, rtol=0, atol=1e-9)
    np.testing.assert_allclose(large.covariance, 16 * small.covariance, rtol=1e-9)
    np.testing.assert_allclose(large.truth, (small.truth + 0.5) * 4 - 0.5, rtol=0, atol=1e-9)
    np.testing.assert_allclose(small.maps.sum(axis=(-2, -1)), 1.0, rtol=1e-9)
    # Errors in the picture are those of the test, times the picture's scale: one factor for all points.
    error = np.linalg.norm(large.points - large.truth, axis=-1)
    ratio = error / trial.errors[5]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_faces_are_shown_by_the_rank_of_their_error(demo: tuple[list[Trial], str]) -> None:
    trials = demo[0]
    mean = np.mean([trial.errors.mean(axis=1) for trial in trials], axis=0)
    ranks = [int((mean < mean[index]).sum()) for index in shown_faces(trials).values()]
    assert ranks == [round(0.5 * (LIMIT - 1)), round(0.95 * (LIMIT - 1))]


def test_the_best_of_each_column(demo: tuple[list[Trial], str]) -> None:
    trials = demo[0]
    assert best_rows(trials) == [
        min(range(3), key=lambda i: trials[i].error_px),
        min(range(3), key=lambda i: trials[i].nme),
        max(range(3), key=lambda i: trials[i].correlation),
        None,
    ]
    assert len(result_table(trials, title="t").columns) == 1 + len(COLUMNS)


def test_the_demo_can_be_repeated_in_place_and_on_real_faces(data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("an earlier page", encoding="utf-8")
    console = Console(file=io.StringIO(), width=120)
    run_demo(data="faces300w", out=tmp_path, data_root=data_root, epochs=1, limit=20, console=console)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "on real faces" in page
    assert "heatpoint demo --data faces300w --epochs 1 --limit 20" in page


def test_missing_data_is_one_line_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, root = tmp_path / "out", tmp_path / "nowhere"
    assert main(["demo", "--data", "faces300w", "--data-root", str(root), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(root) in error
    assert "HEATPOINT_DATA" in error
    assert not out.exists()


def test_unknown_data_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"demo: data must be one of faces300w, synthetic, got 'sythetic'\. Did you mean synthe"
    ):
        demo_recipes("sythetic")  # type: ignore[arg-type]
