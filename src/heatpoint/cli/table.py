"""`heatpoint table PAPER/N`: a table of the papers, measured beside published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.table import Table as Grid
from tyro.conf import OmitArgPrefixes, Positional, arg

from heatpoint._checks import check_whole
from heatpoint.training.machine import Machine, is_first_process

LIST = "list"


@dataclass(frozen=True)
class TableCommand:
    """Fill a table of the papers: train what is missing, skip what is done, print measured beside published.

    Writes PAPER-N-SCALE.md and .json to the folder of the runs.
    """

    table: Annotated[str, Positional, arg(metavar="PAPER/N|list")]
    """A table such as sampling-argmax/1 or h3r/8; "list" shows all and what each needs."""
    machine: Machine
    scale: Literal["paper", "small"] = "paper"
    """paper: the published setting. small: small networks on the data at hand, for two cores."""
    seeds: int = 3
    """Trainings per cell, with seeds 0, 1, …"""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("runs/tables")
    """Folder of the runs and of the filled tables. Tables share the runs that they have in common."""
    data_root: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Folder that holds the data sets. Left out: the environment variable HEATPOINT_DATA."""
    train: bool = True
    """--no-train only scores what has been trained."""
    plan: bool = False
    """Only say which runs are done and which are missing."""


def run(arguments: Sequence[str]) -> None:
    """Runs the verb."""
    default = TableCommand("", Machine())
    command = tyro.cli(
        TableCommand, prog="heatpoint table", args=list(arguments), default=default, config=(OmitArgPrefixes,)
    )
    check_whole("table", "--seeds", command.seeds, "be at least 1", least=1)
    command.machine.check()
    if command.table.lower() in ("", LIST):
        _print_list(command)
    elif command.plan:
        _print_plan(command)
    else:
        _fill(command)


def _fill(command: TableCommand) -> None:
    from heatpoint.cli.printing import check_folder, make_console
    from heatpoint.tables import fill, load_table
    from heatpoint.tables.printing import to_dict, to_markdown
    from heatpoint.training.files import write_bytes, write_json

    check_folder("table", command.out)
    table, seeds = load_table(command.table, scale=command.scale), range(command.seeds)
    console = make_console()
    filled = fill(
        table,
        seeds=seeds,
        out=command.out,
        data_root=command.data_root,
        machine=command.machine,
        train=command.train,
        console=console,
    )
    if not is_first_process():
        return  # Another process of the same run writes and prints.
    text = to_markdown(table, filled, seeds=seeds)
    path = command.out / f"{command.table.replace('/', '-')}-{command.scale}"
    write_bytes(path.with_name(path.name + ".md"), text.encode())
    write_json(path.with_name(path.name + ".json"), to_dict(table, filled, seeds=seeds))
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"table: {path}.md, {path}.json", highlight=False, soft_wrap=True)


def _print_list(command: TableCommand) -> None:
    from heatpoint.cli.printing import make_console
    from heatpoint.tables import load_table, plan, table_names

    shown = Grid(box=None, pad_edge=False)
    for column in ("table", "shows", "recipes", "runs", "done"):
        shown.add_column(column, no_wrap=column == "table")
    for name in table_names():
        table = load_table(name, scale=command.scale)
        found = plan(table, seeds=range(command.seeds), out=command.out)
        recipes = dict.fromkeys(cell.source.recipe or cell.source.weights for cell in table.cells)
        count = sum(todo == "done" for todo in found.values())
        shown.add_row(name, table.title, ", ".join(filter(None, recipes)) or "computed", str(len(found)), str(count))
    make_console().print(shown)


def _print_plan(command: TableCommand) -> None:
    from heatpoint.cli.printing import make_console
    from heatpoint.tables import load_table, plan

    console = make_console()
    table = load_table(command.table, scale=command.scale)
    for name, todo in plan(table, seeds=range(command.seeds), out=command.out).items():
        console.print(f"{todo:<8}{name}", highlight=False, soft_wrap=True)
