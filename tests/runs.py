"""Tiny runs on rendered faces, for tests of the upper rooms."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from heatpoint.cli.train import parse
from heatpoint.recipes import Recipe
from heatpoint.training import FitResult, fit

SILENT = Console(quiet=True)
TINY = ("--limit", "20", "--input", "32", "--batch-size", "8", "--epochs", "2", "--validation-fraction", "0.2")


def tiny(localizer: str = "soft_argmax", *more: str) -> Recipe:
    """A recipe that trains in about a second."""
    return parse([f"synthetic-{localizer}", *TINY, *more])[1]


def train_tiny(out: Path) -> FitResult:
    """Trains with a flip test: the run that tests share (fixture `trained_run`)."""
    return fit(tiny("soft_argmax", "--flip-test", "--seed", "5"), out=out, console=SILENT)
