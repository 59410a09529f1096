"""Kinds of data by name. Each is imported when it is first asked for: reading weights needs no training code of the others."""

from __future__ import annotations

import importlib
from functools import cache

from heatpoint._checks import one_of
from heatpoint.recipes.config import Recipe
from heatpoint.training.task import Task

# Name that recipes store -> where its Task is.
TASKS: dict[str, tuple[str, str]] = {
    "image": ("images", "ImageTask"),
    "scan": ("scans", "ScanTask"),
    "cloud": ("clouds", "CloudTask"),
    "skeleton": ("skeletons", "SkeletonTask"),
}


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
