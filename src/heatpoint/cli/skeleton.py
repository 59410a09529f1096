"""`heatpoint skeleton init|show`: a skeleton file from labels, and what a skeleton holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table
from tyro.conf import Positional, arg, subcommand

from heatpoint._checks import message
from heatpoint.cli.printing import make_console
from heatpoint.skeleton import Skeleton, load_skeleton


@dataclass(frozen=True)
class InitCommand:
    """Write a skeleton file from labels: names and edges as they stand there, swap pairs by name or else by symmetry.

    What is a guess stands under "about" in the file, and is printed: look it through.
    """

    annotations: Annotated[Path, Positional, arg(metavar="ANNOTATIONS")]
    """A COCO file, dlib's XML, DeepLabCut's CSV, or a folder that holds one of them or .pts files."""
    out: Annotated[Path, arg(metavar="FILE")]
    """The skeleton file to write, ending in .json."""
    images: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Folder in which image paths begin. Left out: looked for beside the labels."""
    category: Annotated[str | None, arg(metavar="NAME")] = None
    """In a COCO file the one category. Left out: the first that names points."""
    force: bool = False
    """Overwrite the file if it exists."""


@dataclass(frozen=True)
class ShowCommand:
    """Print the points of a skeleton with their mirror partners, edges and sigmas."""

    skeleton: Annotated[str, Positional, arg(metavar="NAME|FILE")]
    """A skeleton of this package by name, or a skeleton file."""


Command = Annotated[InitCommand, subcommand("init")] | Annotated[ShowCommand, subcommand("show")]


def run(arguments: Sequence[str]) -> None:
    """Runs the verb."""
    command: InitCommand | ShowCommand = tyro.cli(
        Command,
        prog="heatpoint skeleton",
        description="Skeleton files: the names of the points and what relates them.",
        args=list(arguments),
    )
    if isinstance(command, InitCommand):
        _init(command)
    else:
        _show(load_skeleton(command.skeleton), command.skeleton)


def _init(command: InitCommand) -> None:
    out = command.out
    if out.suffix != ".json" or out.is_dir():
        raise ValueError(message("skeleton init", "--out", "be a file to write that ends in .json", out))
    if out.exists() and not command.force:
        raise ValueError(message("skeleton init", "--out", "be a new file", f"{out}, which exists", "Or give --force."))
    from heatpoint.checking.proposal import propose

    proposal = propose(command.annotations, category=command.category, images=command.images)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(proposal.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _show(load_skeleton(out), str(out))
    for note in proposal.notes:
        print(f"note: {note}")


def _show(skeleton: Skeleton, name: str) -> None:
    counts = f"{skeleton.num_points} points, {len(skeleton.edges)} edges, {len(skeleton.swap_pairs)} swap pairs"
    table = Table(box=None, pad_edge=False)
    for column in ("", "point", "mirrored", "edges to", "sigma"):
        table.add_column(column, justify="right" if column in ("", "sigma") else "left", overflow="fold")
    for index, point in enumerate(skeleton.names):
        partner = skeleton.swap[index]
        joined = [b if a == index else a for a, b in skeleton.edges if index in (a, b)]
        sigma = "" if skeleton.sigmas is None else f"{skeleton.sigmas[index]:g}"
        mirrored = "" if partner == index else skeleton.names[partner]
        table.add_row(str(index), point, mirrored, ", ".join(skeleton.names[k] for k in joined), sigma)
    console = make_console()
    console.print(f"{name}: {counts}", highlight=False, soft_wrap=True)
    console.print(table, highlight=False)
    for key, value in skeleton.normalizers.items():
        groups = value if isinstance(value, str) else " to ".join("+".join(skeleton.names[k] for k in g) for g in value)
        default = " (default)" if key == skeleton.default_normalizer else ""
        console.print(f"normalizer {key}{default}: {groups}", highlight=False, soft_wrap=True)
