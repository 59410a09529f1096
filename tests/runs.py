"""A tiny run on rendered faces, trained once per session, and what tests of training need of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from heatpoint.cli.train import parse
from heatpoint.recipes import Recipe
from heatpoint.training import FitResult, fit

SILENT = Console(quiet=True)
TINY = ("--limit", "20", "--input", "32", "--batch-size", "8", "--epochs", "2", "--validation-fraction", "0.2")
_RUNS: dict[str, FitResult] = {}


def tiny(localizer: str = "soft_argmax", *more: str) -> Recipe:
    """A recipe that trains in about a second."""
    return parse([f"synthetic-{localizer}", *TINY, *more])[1]


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """The files of a finished run with a flip test; not to be changed."""
    if "run" not in _RUNS:
        out = tmp_path_factory.mktemp("trained") / "run"
        _RUNS["run"] = fit(tiny("soft_argmax", "--flip-test", "--seed", "5"), out=out, console=SILENT)
    return _RUNS["run"]


@pytest.fixture
def model_path(trained_run: FitResult) -> Path:
    """Its best weights."""
    return trained_run.paths["best"]
