"""The demo: one network trained with three localizers under the same budget, compared in one table and on one page."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from rich.console import Console

from heatpoint._checks import one_of
from heatpoint.recipes import Recipe, get_recipe
from heatpoint.report.comparison import Trial, result_table, run_trial
from heatpoint.report.demo_page import overview, shown_faces, view, write_demo_page
from heatpoint.report.html import png
from heatpoint.training.data import read_split
from heatpoint.training.files import write_bytes

DataName = Literal["synthetic", "faces300w"]
RECIPE_NAMES = {"synthetic": "synthetic-{}", "faces300w": "faces300w-{}-small"}
METHODS = ("soft_argmax", "sampling_argmax", "randomized_rounding")
# The recipes of rendered faces have a demo's budget already; those of real faces are cut to one.
EPOCHS = {"faces300w": 12}
PAGE, FACE, OVERVIEW = "index.html", "face.png", "overview.png"


def run_demo(
    *,
    data: DataName = "synthetic",
    out: str | Path = "heatpoint-demo",
    data_root: str | Path | None = None,
    epochs: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    console: Console | None = None,
) -> list[Trial]:
    """Trains and compares the localizers, prints one table, writes one page, and says what to run next.

    Args:
        data: "synthetic" renders its faces; "faces300w" reads real ones.
        out: Folder for the page, the weights, and a face to try them on; files of an earlier demo are replaced.
        data_root: Folder of the data sets; None takes HEATPOINT_DATA. Synthetic faces need none.
        epochs: Passes over the training faces; None takes the recipe's on rendered faces, 12 on real ones.
        limit: Only the first so many faces of each split; None takes the recipe's choice, 0 all.
        seed: Of weights, order, augmentation and samples.
        console: Where to print; None takes the terminal.

    Returns:
        One trial per method, in the order of `METHODS`.

    Raises:
        ValueError: If data is unknown or a number is out of range.
        FileNotFoundError: If the data's folder is missing.
    """
    out, console, started = Path(out), console or Console(), time.perf_counter()
    root = None if data_root is None else Path(data_root)
    recipes = demo_recipes(data, epochs=epochs, limit=limit, seed=seed)
    test_set = read_split(recipes[0].data, root, "test")
    trials = []
    for index, recipe in enumerate(recipes):
        console.print(f"{index + 1}/{len(recipes)}  {recipe.localizer}", style="bold", highlight=False)
        weights = out / f"{recipe.localizer}.safetensors"
        trials.append(run_trial(recipe, test_set, weights=weights, data_root=root, console=console))
    typical = test_set.samples[next(iter(shown_faces(trials).values()))]
    write_bytes(out / FACE, png(view(trials[0].trained, typical).image))
    write_bytes(out / OVERVIEW, png(overview(trials, test_set), colors=256))
    page = write_demo_page(out / PAGE, trials, test_set, command=_command(data, epochs, limit, seed))
    title = f"{len(test_set)} test faces of {test_set.skeleton.num_points} points, none of them seen in training"
    console.print(result_table(trials, title=title))
    console.print(
        f"\nMaps, points and ellipses: {page}   ({time.perf_counter() - started:.0f} s in all)", highlight=False
    )
    console.print("\nWhat to run next", style="bold")
    for line, why in next_steps(trials, out / FACE, data):
        console.print(f"  {line}\n      {why}", highlight=False, soft_wrap=True)
    return trials


def demo_recipes(data: DataName, *, epochs: int | None = None, limit: int | None = None, seed: int = 0) -> list[Recipe]:
    """The recipes of the demo: equal but for the localizer.

    >>> [recipe.name for recipe in demo_recipes("synthetic")]
    ['synthetic-soft_argmax', 'synthetic-sampling_argmax', 'synthetic-randomized_rounding']
    """
    one_of("demo", "data", data, RECIPE_NAMES)
    found = []
    for method in METHODS:
        base = get_recipe(RECIPE_NAMES[data].format(method))
        own = EPOCHS.get(data, base.optimization.epochs)
        budget = replace(base.optimization, epochs=own if epochs is None else epochs)
        faces = base.data if limit is None else replace(base.data, limit=limit)
        found.append(replace(base, seed=seed, optimization=budget, data=faces))
    return found


def next_steps(trials: Sequence[Trial], face: Path, data: DataName) -> list[tuple[str, str]]:
    """Commands to go on with, and what each does."""
    best = min(trials, key=lambda trial: trial.error_px)
    steps = [
        (f"heatpoint predict {best.weights} {face}", "locate the points of one face: JSON and an annotated picture")
    ]
    if data == "synthetic":
        steps.append(
            ("heatpoint demo --data faces300w --data-root FOLDER", "the same on real faces, where you have 300-W")
        )
    line = "heatpoint train faces300w-sampling_argmax-small --data-root FOLDER"
    steps.append((line, "one of them to the end, with checkpoints, logs and scores"))
    steps.append(("heatpoint recipes", "everything that can be trained"))
    return steps


def _command(data: DataName, epochs: int | None, limit: int | None, seed: int) -> str:
    parts = ["heatpoint demo"]
    parts += [f"--data {data}"] if data != "synthetic" else []
    parts += [f"--epochs {epochs}"] if epochs is not None else []
    parts += [f"--limit {limit}"] if limit is not None else []
    parts += [f"--seed {seed}"] if seed else []
    return " ".join(parts)
