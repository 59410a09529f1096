"""Scores as a table, with the protocol under it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from heatpoint._checks import message
from heatpoint.training.tasks import get_task

# Task -> the module that says what its scores look like: columns, numbers, more, legend.
SHOWN = {"image": "image_scores", "scan": "scan_scores", "cloud": "cloud_scores", "skeleton": "cloud_scores"}


def make_console() -> Console:
    """The terminal; a file or a pipe gets lines as long as the tables need."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def check_folder(verb: str, path: Path) -> None:
    """Raises ValueError if a folder to write to is a file."""
    if path.exists() and not path.is_dir():
        raise ValueError(message(verb, "--out", "be a folder", f"the file {path}"))


def print_scores(found: dict[str, Any], console: Console) -> None:
    """Prints what `evaluate` returns: one row per decoder, then everything else that changes a score."""
    scores: dict[str, dict[str, Any]] = found["scores"]
    first = next(iter(scores.values()))
    shown = importlib.import_module(f"heatpoint.cli.{SHOWN[found['task']]}")
    counted = get_task(found["task"]).counted
    title = f"{found['recipe']} on {found['num_images']} {found['split']} {counted}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("\ndecoder", overflow="fold")
    for header in shown.columns(first):
        table.add_column(header, justify="right", no_wrap=True)
    for decoder, row in scores.items():
        table.add_row(decoder, *shown.numbers(row))
    console.print(table)
    for decoder, row in scores.items():
        for line in shown.more(row, found):
            console.print(f"{decoder}: {line}", markup=False, highlight=False, soft_wrap=True)
    console.print(shown.legend(first), highlight=False, soft_wrap=True)
    console.print(_protocol(found), highlight=False, soft_wrap=True)


def _protocol(found: dict[str, Any]) -> str:
    shown = {
        key: "none" if value is None else value
        for key, value in found["protocol"].items()
        if (key, value) != ("limit", 0)
    }
    lines = [
        "protocol: " + ", ".join(f"{key} {value}" for key, value in shown.items()),
        *(f"{name}: {call}" for name, call in found["decoders"].items()),
    ]
    if "seconds_per_epoch" in found:
        lines.append(f"seed {found['seed']}, {found['epochs']} epochs, {found['seconds_per_epoch']:.2f} s per epoch")
    return "\n".join(lines)
