"""Neighbours of a recipe: the same recipe with some fields changed, named by their dotted paths."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from heatpoint._checks import message, unknown_name
from heatpoint.recipes.config import Recipe

OPTION = "option"


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with fields replaced.

    Args:
        recipe: Where to start.
        changes: Dotted path of a field to its new value: "data.input", "optimization.epochs", "seed"; "option.basis" is an
            option of the localizer.

    Raises:
        ValueError: If there is no such field, which names the nearest.

    >>> from heatpoint.recipes import get_recipe
    >>> near = changed(get_recipe("mtfl-sampling_argmax"), {"data.input": 64, "option.basis": "uniform"})
    >>> near.data.input, near.localizer_options
    (64, {'num_samples': 30, 'basis': 'uniform'})
    """
    for path, value in changes.items():
        part, dot, name = path.partition(".")
        if not dot:
            recipe = _with(recipe, part, value)
        elif part == OPTION:
            recipe = replace(recipe, localizer_options={**recipe.localizer_options, name: value})
        else:
            _check(recipe, part)
            inner = getattr(recipe, part)
            if not dataclasses.is_dataclass(inner):
                raise ValueError(message("changed", "changes", f"name a field; {part} has no fields", repr(path)))
            recipe = replace(recipe, **{part: _with(inner, name, value)})
    return recipe


def effective(recipe: Recipe, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes that change something: those whose value is not the recipe's own.

    >>> from heatpoint.recipes import get_recipe
    >>> effective(get_recipe("mtfl-sampling_argmax"), {"data.input": 256, "option.num_samples": 5})
    {'option.num_samples': 5}
    """
    return {path: value for path, value in changes.items() if changed(recipe, {path: value}) != recipe}


def label_of(recipe: str, changes: Mapping[str, Any], seed: int) -> str:
    """The name of a run, the same for equal changes in any order, fit for a folder.

    >>> label_of("mtfl-sampling_argmax", {"option.basis": "uniform", "data.input": (192, 256)}, 2)
    'mtfl-sampling_argmax+input=192x256+basis=uniform-seed2'
    """
    parts = [f"+{path.rpartition('.')[2]}={_short(changes[path])}" for path in sorted(changes)]
    return f"{recipe}{''.join(parts)}-seed{seed}"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join([str(value["name"]), *(f"{k}={_short(v)}" for k, v in value.items() if k != "name")])
    if isinstance(value, tuple | list):
        return "x".join(_short(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _with(value: Any, name: str, new: Any) -> Any:
    _check(value, name)
    return replace(value, **{name: new})


def _check(value: Any, name: str) -> None:
    names = [field.name for field in dataclasses.fields(value)]
    if name not in names:
        raise ValueError(unknown_name("changed", "field", name, names))
