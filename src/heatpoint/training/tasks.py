"""Kinds of data by name. Each is imported when it is first asked for: reading weights needs no training code of the others."""

from __future__ import annotations

import importlib
from functools import cache

from heatpoint._checks import message, one_of
from heatpoint.recipes.config import Recipe
from heatpoint.training.task import SampleSet, Task

# Name that recipes store -> where its Task is.
TASKS: dict[str, tuple[str, str]] = {
    "image": ("images", "ImageTask"),
    "scan": ("scans", "ScanTask"),
    "cloud": ("clouds", "CloudTask"),
    "skeleton": ("skeletons", "SkeletonTask"),
}
# Name that recipes store -> the class of its sets in heatpoint.datasets.
SETS = {"image": "PointSet", "scan": "ScanSet", "cloud": "CloudSet", "skeleton": "CloudSet"}


def task_of(recipe: Recipe) -> Task:
    """The task of a recipe.

    >>> from heatpoint.recipes import get_recipe
    >>> task_of(get_recipe("mtfl-sampling_argmax")).counted
    'images'
    """
    return get_task(recipe.task)


@cache
def get_task(name: str) -> Task:
    """The task of that name.

    Raises:
        ValueError: If there is none.
    """
    one_of("get_task", "name", name, TASKS)
    module, attribute = TASKS[name]
    found: Task = getattr(importlib.import_module(f"heatpoint.training.{module}"), attribute)()
    return found


def check_set(function: str, argument: str, found: SampleSet, recipe: Recipe) -> None:
    """Raises TypeError for a set of another kind of data than the recipe's."""
    import heatpoint.datasets

    name = SETS[recipe.task]
    if not isinstance(found, getattr(heatpoint.datasets, name)):
        rule = f"be a {name} for the recipe {recipe.name}"
        raise TypeError(message(function, argument, rule, repr(found)))
