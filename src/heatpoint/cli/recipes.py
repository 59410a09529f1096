"""`heatpoint recipes`: what can be trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.table import Table

from heatpoint.cli.printing import make_console
from heatpoint.recipes import RECIPES, Recipe


@dataclass(frozen=True)
class RecipesCommand:
    """List the recipes: what can be trained, with which network, at which input size."""

    text: Annotated[str, tyro.conf.Positional] = ""
    """Show only recipes whose name contains this."""


def run(arguments: Sequence[str]) -> None:
    """Runs the verb."""
    command = tyro.cli(RecipesCommand, prog="heatpoint recipes", args=list(arguments))
    found = [recipe for name, recipe in RECIPES.items() if command.text in name]
    if not found:
        raise ValueError(f"recipes: no recipe's name contains {command.text!r}. Leave it out to see them all.")
    table = Table(box=None, pad_edge=False)
    for column in ("recipe", "data", "model", "input", "epochs", "batch", "boxes", "note"):
        table.add_column(column, no_wrap=column == "recipe")
    for recipe in found:
        table.add_row(
            recipe.name,
            recipe.data.dataset,
            *_network_and_input(recipe),
            str(recipe.optimization.epochs),
            str(recipe.optimization.batch_size),
            getattr(recipe.data, "box_policy", ""),
            recipe.note,
        )
    make_console().print(table)


def _network_and_input(recipe: Recipe) -> tuple[str, str]:
    if recipe.task == "image":
        return recipe.model.backbone, str(recipe.data.input)
    if recipe.task == "scan":
        return recipe.model.network, str(recipe.data.input)
    return f"PointNet++ {recipe.model.grouping} x {recipe.model.width:g}", f"{recipe.data.num_points} points"
