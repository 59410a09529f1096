"""The runs behind a table's cells: trained or resumed, scored once, and what they lack."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from heatpoint._checks import message
from heatpoint.recipes import Recipe, get_recipe
from heatpoint.recipes.changes import changed
from heatpoint.tables.published import check_weights, published_model
from heatpoint.tables.table import Source, comparable
from heatpoint.training import Machine, evaluate, fit
from heatpoint.training.evaluation import OWN, SCORING
from heatpoint.training.files import write_json
from heatpoint.training.machine import is_first_process
from heatpoint.training.sets import hold_out
from heatpoint.training.tasks import task_of
from heatpoint.training.weights import read_header

MODEL, RECIPE, SCORES, NUMBERS = "model.safetensors", "recipe.json", "scores.json", "numbers.json"


class Jobs:
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
        self.sets: dict[tuple[str, str, int], str] = {}

    def numbers(self, source: Source, seed: int) -> tuple[dict[str, Any], str]:
        """What `evaluate` says of a source's run with all readouts that the table asks for, or why there is nothing."""
        name, problem = source.run(seed), self.problem(source, seed)
        if problem or not is_first_process():
            return {}, problem
        test = json.dumps(dict(source.test), sort_keys=True)
        key = (name, source.split, test)
        if key not in self.found and key not in self.unscored:
            readouts = self.needs[(source.run(0), source.split, test)]
            try:
                self.found[key] = self._scored(self.out / name, source, readouts)
            except FileNotFoundError as error:
                self.unscored[key] = str(error)  # Of this split alone: another may be there.
        return self.found.get(key, {}), self.unscored.get(key, "")

    def problem(self, source: Source, seed: int) -> str:
        """What keeps a run from being there, after an attempt to train it; "" if nothing does."""
        name = source.run(seed)
        if name not in self.problems:
            self.problems[name] = self._obtain(source, seed)
        return self.problems[name]

    def _obtain(self, source: Source, seed: int) -> str:
        """Sees to it that the run's weights are there; returns what is missing."""
        folder = self.out / source.run(seed)
        if source.weights:
            return published_model(source.weights, folder)
        recipe = changed(get_recipe(source.recipe), {**source.changes, "seed": seed})
        if source.beginning:
            problem = self.problem(source.beginning, 0)
            if problem:
                return problem
            recipe = changed(recipe, {"model.start": str(self.out / source.beginning.run(0) / MODEL)})
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
        if not is_first_process():
            # Lightning starts the other processes of the next run anew, from the beginning of the program.
            raise SystemExit(0)
        return ""

    def _scored(self, folder: Path, source: Source, readouts: Iterable[str]) -> dict[str, Any]:
        """Scores a run's weights, or reads the scores if the same weights have been scored so before."""
        digest = hashlib.sha256((folder / MODEL).read_bytes()).hexdigest()
        path = folder / NUMBERS
        held: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        key = json.dumps([source.split, dict(source.test)], sort_keys=True)
        if held.get("weights") != digest or held.get("scoring") != SCORING:
            held = {"weights": digest, "scoring": SCORING, "found": {}}
        known: dict[str, Any] = held["found"].get(key, {})
        if not known and not source.split and not source.test and (folder / SCORES).exists():
            known = json.loads((folder / SCORES).read_text("utf-8"))
        if not known or known.get("scoring") != SCORING or self._differs(known, folder, source):
            known = {"scores": {}}
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

    def _differs(self, known: Mapping[str, Any], folder: Path, source: Source) -> bool:
        """Whether the set that was scored is not the one that is there now; kept scores of an absent set stand."""
        recipe = changed(Recipe.from_dict(read_header(folder / MODEL)["recipe"]), source.test)
        split = source.split or recipe.data.test_split or "test"
        key = (recipe.data.dataset, split, recipe.data.limit)
        if key not in self.sets:
            try:
                task = task_of(recipe)
                self.sets[key] = task.fingerprint(task.read_split(recipe.data, self.data_root, split))
            except FileNotFoundError:
                self.sets[key] = ""
        return self.sets[key] not in ("", known.get("samples"))


def _check_same(folder: Path, recipe: Recipe) -> None:
    stored = Recipe.from_dict(json.loads((folder / RECIPE).read_text("utf-8")))
    if comparable(stored) != comparable(recipe):
        remedy = "The recipe has changed since: give another --out, or remove the folder."
        raise ValueError(message("table", "--out", f"hold the run that {folder.name} names", "another", remedy))


def _missing_data(recipe: Recipe, data_root: Path | None) -> str:
    """What the recipe's data lack, in the words of their reader, which say where to get them and how the folder must look."""
    task = task_of(recipe)
    read_split = task.read_split
    try:
        found = {
            split: read_split(recipe.data, data_root, split) for split in ("train", recipe.data.test_split) if split
        }
        if getattr(recipe.data, "mixed_dataset", ""):
            read_split(replace(recipe.data, dataset=recipe.data.mixed_dataset), data_root, "train")
    except FileNotFoundError as error:
        return str(error)
    try:
        # A part of a set, as for trying things out, may be too small for the published setting.
        hold_out(found["train"], recipe.data.validation_fraction, counted=task.counted)
    except ValueError as error:
        return f"{recipe.data.dataset} here is too small a part of the set. {error}"
    return ""
