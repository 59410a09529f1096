"""Filling a table: what is missing is trained or resumed, what is done is read, what cannot be had is said."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Console

from heatpoint._checks import message
from heatpoint.recipes import Recipe, get_recipe
from heatpoint.recipes.changes import changed
from heatpoint.tables.computed import compute
from heatpoint.tables.published import check_weights, published_model
from heatpoint.tables.table import Cell, Source, Table
from heatpoint.training import Machine, evaluate, fit
from heatpoint.training.data import read_split
from heatpoint.training.evaluation import OWN
from heatpoint.training.files import write_json

ACTIVATIONS = "activations"  # Of a run, not of a decoder: by rank, `Source.argument`.
FORMAT = 1
MODEL, RECIPE, SCORES, NUMBERS = "model.safetensors", "recipe.json", "scores.json", "numbers.json"
Say = Callable[[str], None]


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
    for source in _sources(table):
        for seed in _seeds_of(source, seeds):
            folder = out / source.run(seed)
            done = (folder / SCORES).exists() or (bool(source.weights) and (folder / MODEL).exists())
            todo = "convert" if source.weights else ("resume" if (folder / RECIPE).exists() else "train")
            found[source.run(seed)] = "done" if done else todo
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
    jobs = _Jobs(out, data_root, machine or Machine(), train, console, _needs(table))
    return {(cell.row, cell.column): _fill_cell(cell, seeds, jobs) for cell in table.cells}


def _fill_cell(cell: Cell, seeds: Sequence[int], jobs: _Jobs) -> Filled:
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


class _Jobs:
    """Runs by name: trains, scores and remembers, each once."""

    def __init__(
        self,
        out: Path,
        data_root: Path | None,
        machine: Machine,
        train: bool,
        console: Console,
        needs: Mapping[tuple[str, str, str], list[str]],
    ) -> None:
        self.out, self.data_root, self.machine, self.train = out, data_root, machine, train
        self.console, self.needs = console, needs
        self.problems: dict[str, str] = {}
        self.unscored: dict[tuple[str, str, str], str] = {}
        self.found: dict[tuple[str, str, str], dict[str, Any]] = {}

    def numbers(self, source: Source, seed: int) -> tuple[dict[str, Any], str]:
        """What `evaluate` says of a source's run with all readouts that the table asks for, or why there is nothing."""
        name = source.run(seed)
        if name not in self.problems:
            self.problems[name] = self._obtain(source, seed)
        if self.problems[name]:
            return {}, self.problems[name]
        test = json.dumps(dict(source.test), sort_keys=True)
        key = (name, source.split, test)
        if key not in self.found and key not in self.unscored:
            readouts = self.needs[(source.run(0), source.split, test)]
            try:
                self.found[key] = self._scored(self.out / name, source, readouts)
            except FileNotFoundError as error:
                self.unscored[key] = str(error)  # Of this split alone: another may be there.
        return self.found.get(key, {}), self.unscored.get(key, "")

    def _obtain(self, source: Source, seed: int) -> str:
        """Sees to it that the run's weights are there; returns what is missing."""
        folder = self.out / source.run(seed)
        if source.weights:
            return published_model(source.weights, folder)
        recipe = changed(get_recipe(source.recipe), {**source.changes, "seed": seed})
        if (folder / RECIPE).exists():
            _check_same(folder, recipe)
        if (folder / SCORES).exists():
            check_weights(folder / MODEL, recipe)
            return ""
        if not self.train:
            return "not trained yet"
        missing = _missing_data(recipe, self.data_root)
        if missing:
            return missing
        self.console.print(f"{folder.name}", highlight=False, soft_wrap=True)
        resume = (folder / RECIPE).exists()
        fit(
            recipe,
            out=folder,
            data_root=self.data_root,
            resume=resume,
            machine=self.machine,
            console=self.console,
        )
        return ""

    def _scored(self, folder: Path, source: Source, readouts: Iterable[str]) -> dict[str, Any]:
        """Scores a run's weights, or reads the scores if the same weights have been scored so before."""
        digest = hashlib.sha256((folder / MODEL).read_bytes()).hexdigest()
        path = folder / NUMBERS
        held: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        key = json.dumps([source.split, dict(source.test)], sort_keys=True)
        if held.get("weights") != digest or held.get("format") != FORMAT:
            held = {"weights": digest, "format": FORMAT, "found": {}}
        known: dict[str, Any] = held["found"].get(key, {"scores": {}})
        lacking = [readout for readout in readouts if readout not in known["scores"]]
        if lacking or OWN not in known["scores"]:
            new = evaluate(
                folder / MODEL,
                data_root=self.data_root,
                split=source.split or None,
                readouts=lacking,
                changes=dict(source.test),
                workers=self.machine.workers,
                device=self.machine.device,
            )
            known = {**new, "scores": {**known["scores"], **new["scores"]}}
            held["found"][key] = known
            write_json(path, held)
        return known


def _check_same(folder: Path, recipe: Recipe) -> None:
    stored = Recipe.from_dict(json.loads((folder / RECIPE).read_text("utf-8")))
    if replace(stored, note="") != replace(recipe, note=""):
        remedy = "The recipe has changed since: give another --out, or remove the folder."
        raise ValueError(message("table", "--out", f"hold the run that {folder.name} names", "another", remedy))


def _missing_data(recipe: Recipe, data_root: Path | None) -> str:
    """What the recipe's data lack, in the words of their reader, which say where to get them and how the folder must look."""
    try:
        for split in dict.fromkeys(("train", recipe.data.test_split)):
            if split:
                read_split(recipe.data, data_root, split)
        if recipe.data.mixed_dataset:
            read_split(replace(recipe.data, dataset=recipe.data.mixed_dataset), data_root, "train")
    except FileNotFoundError as error:
        return str(error)
    return ""
