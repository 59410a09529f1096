"""Scores as a table, with the protocol under it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from heatpoint._checks import message

MTFL_COLUMNS = ("MTFL\npx", "MTFL\nrel %")


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
    title = f"{found['recipe']} on {found['num_images']} {found['split']} images"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("\ndecoder", overflow="fold")
    columns = ["\nFR %", "\nAUC", "r\npoint", "r\nface", "r peak\npoint"]
    for header in [*(f"NME %\n{name}" for name in first["nme"]), *columns, *(MTFL_COLUMNS if "mtfl" in first else ())]:
        table.add_column(header, justify="right", no_wrap=True)
    for decoder, row in scores.items():
        numbers = [f"{100 * value:.3f}" for value in row["nme"].values()]
        numbers += [f"{100 * row['failure_rate']:.2f}", f"{row['area_under_curve']:.4f}"]
        correlation = row["correlation"]
        numbers += [f"{correlation['confidence'][key]:.3f}" for key in ("point", "face")]
        numbers.append(f"{correlation['peak']['point']:.3f}")
        if "mtfl" in row:
            numbers += [f"{row['mtfl']['absolute_px']:.3f}", f"{row['mtfl']['relative_percent']:.3f}"]
        table.add_row(decoder, *numbers)
    console.print(table)
    for decoder, row in scores.items():
        for line in _more(row, found["protocol"]["normalizer"]):
            console.print(f"{decoder}: {line}", markup=False, highlight=False, soft_wrap=True)
    console.print(_protocol(found), highlight=False, soft_wrap=True)


def _more(row: dict[str, Any], normalizer: str) -> list[str]:
    """The scores that only some sets have: bodies, bodies in space, subsets."""
    lines = []
    if "coco" in row:
        lines.append("COCO " + ", ".join(f"{name} {value:.3f}" for name, value in row["coco"].items()))
    if "oks" in row:
        lines.append(
            f"OKS {row['oks']['mean']:.3f}, its correlation with the peak {row['oks']['peak_correlation']:.3f}"
        )
    for reading, shares in row.get("pckh", {}).items():
        lines.append(
            f"PCKh % ({reading}) " + ", ".join(f"@{at} {100 * part['mean']:.2f}" for at, part in shares.items())
        )
    if row.get("space"):
        names = {"MPJPE": "mpjpe_mm", "PA-MPJPE": "pa_mpjpe_mm", "N-MPJPE": "n_mpjpe_mm"}
        lines.append(", ".join(f"{name} {row['space'][key]:.1f} mm" for name, key in names.items()))
    if "subsets" in row:
        parts = (f"{tag} {100 * part['nme'][normalizer]:.3f}" for tag, part in row["subsets"].items())
        lines.append(f"NME % {normalizer} by subset: " + ", ".join(parts))
    return lines


def _protocol(found: dict[str, Any]) -> str:
    shown = {
        key: "none" if value is None else value
        for key, value in found["protocol"].items()
        if (key, value) != ("limit", 0)
    }
    lines = [
        "FR: share of faces whose error is above 10 % of the normaliser; AUC: up to there; "
        "r: correlation of confidence with correctness.",
        "protocol: " + ", ".join(f"{key} {value}" for key, value in shown.items()),
        *(f"{name}: {call}" for name, call in found["decoders"].items()),
    ]
    if "seconds_per_epoch" in found:
        lines.append(f"seed {found['seed']}, {found['epochs']} epochs, {found['seconds_per_epoch']:.2f} s per epoch")
    return "\n".join(lines)
