"""`heatpoint train RECIPE`: every field of the recipe is a flag, with the recipe's value as its default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro
from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction, arg

from heatpoint.recipes import OptimizationConfig, Recipe, get_recipe
from heatpoint.recipes.config import kind_of
from heatpoint.recipes.options import parse_options
from heatpoint.training.machine import Machine

SHOWN = "faces300w-sampling_argmax-small"  # Whose values `heatpoint train --help` shows.


Data = TypeVar("Data")
Model = TypeVar("Model")
Changes = TypeVar("Changes")


@dataclass(frozen=True)
class TrainCommand(Generic[Data, Model, Changes]):
    """Train a recipe and score its best epoch on the test split.

    Writes model.safetensors (best epoch), last.safetensors, scores.json, history.csv and TensorBoard logs to a folder.
    """

    recipe: Annotated[str, Positional, arg(metavar="RECIPE")]
    """Name of the recipe; `heatpoint recipes` lists them."""
    data: Data
    model: Model
    optimization: OptimizationConfig
    augmentation: Changes
    machine: Machine
    option: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()
    """An option of the localizer such as num_samples=30 or readout=top_k:k=25; repeat it for more."""
    seed: int = 0
    """Of everything random. The same seed gives the same weights on the same CPU."""
    data_root: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Folder that holds the data sets. Left out: the environment variable HEATPOINT_DATA."""
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Folder of the run. Left out: runs/RECIPE-seedN."""
    resume: bool = False
    """Continue the run in the folder from its last whole epoch."""


def run(arguments: Sequence[str]) -> None:
    """Runs the verb."""
    command, recipe = parse(arguments)

    from heatpoint.cli.printing import check_folder, make_console, print_scores
    from heatpoint.training import fit

    console = make_console()
    if command.out is not None:
        check_folder("train", command.out)
    out = command.out or Path("runs") / f"{recipe.name}-seed{recipe.seed}"
    result = fit(recipe, out=out, data_root=command.data_root, resume=command.resume, machine=command.machine)
    if result.scores:
        print_scores(result.scores, console)
        console.print(f"weights: {result.paths['best']}", highlight=False, soft_wrap=True)


def parse(arguments: Sequence[str]) -> tuple[TrainCommand[Any, Any, Any], Recipe]:
    """The command and the recipe it asks for.

    >>> command, recipe = parse(["faces300w-soft_argmax", "--input", "64", "--option", "sign_gradient=true"])
    >>> recipe.data.input, recipe.localizer_options
    (64, {'sign_gradient': True})
    """
    base = get_recipe(_recipe_name(arguments))
    kind = kind_of(base.task)
    default: TrainCommand[Any, Any, Any] = TrainCommand(
        base.name, base.data, base.model, base.optimization, base.augmentation, Machine(), seed=base.seed
    )
    # The flags are those of the recipe's own kind of data.
    generic: Any = TrainCommand
    form = generic[kind.data, kind.model, kind.augmentation]
    command = tyro.cli(form, prog="heatpoint train", args=list(arguments), default=default, config=(OmitArgPrefixes,))
    options = {**base.localizer_options, **parse_options(command.option)}
    recipe = replace(
        base,
        localizer_options=options,
        data=command.data,
        model=command.model,
        optimization=command.optimization,
        augmentation=command.augmentation,
        seed=command.seed,
    )
    return command, recipe


def _recipe_name(arguments: Sequence[str]) -> str:
    if not arguments:
        raise ValueError("train: RECIPE must be given. `heatpoint recipes` lists them; --help tells the rest.")
    if arguments[0] in ("-h", "--help"):
        return SHOWN
    if arguments[0].startswith("-"):
        raise ValueError(f"train: RECIPE must come first, got {arguments[0]!r}. `heatpoint recipes` lists them.")
    return arguments[0]
