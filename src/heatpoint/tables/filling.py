"""Filling a table: what is missing is trained or resumed, what is done is read, what cannot be had is said."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Console

from heatpoint._checks import message
from heatpoint.tables.computed import compute
from heatpoint.tables.jobs import MODEL, RECIPE, SCORES, Jobs
from heatpoint.tables.table import Cell, Source, Table
from heatpoint.training import Machine
from heatpoint.training.evaluation import OWN

ACTIVATIONS = "activations"  # Of a run, not of a decoder: by rank, `Source.argument`.
MEAN = "mean"  # Computed from the other cells of the row, after them.


@dataclass(frozen=True)
class Filled:
    """The measured side of a cell.

    Attributes:
        values: One per seed that is done.
        missing: Why there are none or fewer, in a sentence; "" if nothing is missing.
        protocol: What the numbers depend on, as `evaluate` states it.
    """

    values: tuple[float, ...] = ()
    missing: str = ""
    protocol: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean over the seeds; NaN if there are none."""
        return fmean(self.values) if self.values else float("nan")

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds (n − 1), of two or more."""
        return stdev(self.values) if len(self.values) > 1 else None


def plan(table: Table, *, seeds: Sequence[int], out: Path) -> dict[str, str]:
    """What filling would do: for every run of the table "done", "resume", "train" or "convert"; touches nothing.

    >>> from heatpoint.tables import load_table
    >>> found = plan(load_table("h3r/8", scale="small"), seeds=[0], out=Path("no-such-folder"))
    >>> set(found.values())
    {'train'}
    """
    found = {}
    sources = [(source, seed) for source in _sources(table) for seed in _seeds_of(source, seeds)]
    for source, seed in sources:
        beginning = [(source.beginning, 0)] if source.beginning else []
        for run, number in [*beginning, (source, seed)]:
            folder = out / run.run(number)
            done = (folder / SCORES).exists() or (bool(run.weights) and (folder / MODEL).exists())
            todo = "convert" if run.weights else ("resume" if (folder / RECIPE).exists() else "train")
            found[run.run(number)] = "done" if done else todo
    return found


def fill(
    table: Table,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    out: Path,
    data_root: Path | None = None,
    machine: Machine | None = None,
    train: bool = True,
    console: Console | None = None,
) -> dict[tuple[str, str], Filled]:
    """Measures every cell of a table that can be measured.

    Args:
        table: From `load_table`.
        seeds: One training per seed, of each recipe that is trained.
        out: Folder of the runs, one folder each; tables share it, and share the runs that they have in common.
        data_root: Folder of the data sets; None takes HEATPOINT_DATA.
        machine: Workers, precision, devices.
        train: False only reads and scores what has been trained.
        console: Where progress is shown.

    Returns:
        What was measured, by (row, column); a cell whose data are missing says so.

    Raises:
        ValueError: If a folder holds another run than its name says, or there is no seed.
    """
    if not seeds:
        raise ValueError(message("table", "--seeds", "be at least 1", 0))
    console = console or Console()
    jobs = Jobs(out, data_root, machine or Machine(), train, console, _needs(table))
    measured = [cell for cell in table.cells if cell.source.compute != MEAN]
    found = {(cell.row, cell.column): _fill_cell(cell, seeds, jobs) for cell in measured}
    means = {row: _mean_of([filled for (name, _), filled in found.items() if name == row]) for row in table.rows}
    return {place: found.get(place, means[place[0]]) for place in ((cell.row, cell.column) for cell in table.cells)}


def _mean_of(others: Sequence[Filled]) -> Filled:
    """The mean of a row's cells, seed by seed; of all of them or of none, since a mean of some is another number."""
    lacking = sum(bool(filled.missing) or not filled.values for filled in others)
    if lacking or not others:
        return Filled(missing=f"a mean over {len(others)} cells, of which {lacking} are not filled")
    return Filled(tuple(fmean(values) for values in zip(*(filled.values for filled in others), strict=True)))


def _fill_cell(cell: Cell, seeds: Sequence[int], jobs: Jobs) -> Filled:
    if cell.source.compute:
        return Filled((cell.source.factor * compute(cell.source.compute, cell.source.argument),))
    values, missing, protocol = [], "", {}
    for seed in _seeds_of(cell.source, seeds):
        numbers, problem = jobs.numbers(cell.source, seed)
        missing = missing or problem
        if numbers:
            value = _value(cell.source, numbers)
            if value is None:
                missing = missing or f"{numbers['protocol']['dataset']} has no {cell.source.metric}"
            else:
                values.append(cell.source.factor * value)
                protocol = numbers["protocol"]
    return Filled(tuple(values), missing, protocol)


def _value(source: Source, numbers: Mapping[str, Any]) -> float | None:
    if source.metric == ACTIVATIONS:
        shares = numbers.get(ACTIVATIONS, [])
        return shares[source.argument - 1] if len(shares) >= source.argument else None
    return metric_of(numbers["scores"].get(source.readout or OWN, {}), source.metric)


def metric_of(scores: Mapping[str, Any], path: str) -> float | None:
    """The score at a path; None if there is none, or it is not finite.

    >>> metric_of({"coco": {"AP": 0.5}}, "coco/AP"), metric_of({}, "coco/AP")
    (0.5, None)
    """
    value: Any = scores
    for key in path.split("/"):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    # NUMBERS holds null for what is not finite: the first look must say what the second does.
    return float(value) if value is not None and math.isfinite(value) else None


def _sources(table: Table) -> list[Source]:
    return [cell.source for cell in table.cells if not cell.source.compute]


def _seeds_of(source: Source, seeds: Sequence[int]) -> Sequence[int]:
    return [0] if source.weights else seeds


def _needs(table: Table) -> dict[tuple[str, str, str], list[str]]:
    """The readouts that each run, split and set of test changes is scored with: all in one look at the images."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for source in _sources(table):
        key = (source.run(0), source.split, json.dumps(dict(source.test), sort_keys=True))
        readouts = found.setdefault(key, [])
        if source.readout and source.readout not in readouts:
            readouts.append(source.readout)
    return found
