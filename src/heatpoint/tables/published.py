"""Published models that tables score without training: which file, whose, and the recipe under which it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heatpoint._checks import message, one_of
from heatpoint.recipes import Recipe, get_recipe
from heatpoint.recipes.changes import changed
from heatpoint.tables.table import comparable
from heatpoint.training.published import convert_published
from heatpoint.training.weights import read_header

MODEL = "model.safetensors"
HRNET = "the model zoo of leoxiaobin/deep-high-resolution-net.pytorch"


@dataclass(frozen=True)
class Published:
    """A file of weights that others have published.

    Args:
        file: Its name as published.
        source: Where it can be had.
        recipe: How it is fed and read.
        changes: To that recipe.
        skeleton: Name of the skeleton of its points.
    """

    file: str
    recipe: str
    skeleton: str
    source: str = HRNET
    changes: Mapping[str, Any] = field(default_factory=dict)


def _pose(data: str, network: str, file: str, skeleton: str, **changes: Any) -> Published:
    return Published(file, f"{data}-gaussian_heatmap-{network}", skeleton, changes=changes)


LARGE: dict[str, Any] = {"data.input": (288, 384), "option.sigma_cells": 3.0}

PUBLISHED: dict[str, Published] = {
    **{
        f"mpii-pose_resnet{depth}-256": _pose("mpii", f"resnet{depth}", f"pose_resnet_{depth}_256x256.pth", "mpii16")
        for depth in (50, 101, 152)
    },
    "mpii-hrnet_w32-256": _pose("mpii", "hrnet_w32", "pose_hrnet_w32_256x256.pth", "mpii16"),
    **{
        f"coco-hrnet_w{width}-256x192": _pose("coco", f"hrnet_w{width}", f"pose_hrnet_w{width}_256x192.pth", "coco17")
        for width in (32, 48)
    },
    **{
        f"coco-hrnet_w{width}-384x288": _pose(
            "coco", f"hrnet_w{width}", f"pose_hrnet_w{width}_384x288.pth", "coco17", **LARGE
        )
        for width in (32, 48)
    },
}


def published_model(name: str, folder: Path) -> str:
    """Sees to it that a published model lies in a run's folder as a file of ours; returns what is missing, or "".

    The original file is taken from the same folder, and converted once.

    Raises:
        ValueError: If the name is unknown, or a file is not what its name says.
    """
    one_of("table", "weights", name, PUBLISHED)
    model = PUBLISHED[name]
    recipe = changed(get_recipe(model.recipe), model.changes)
    if (folder / MODEL).exists():
        check_weights(folder / MODEL, recipe)
        return ""
    source = folder / model.file
    if not source.is_file():
        return f"{name}: put {model.file} into {folder}; it is published by {model.source}"
    convert_published(source, recipe, folder / MODEL, skeleton=model.skeleton)
    return ""


def check_weights(path: Path, recipe: Recipe) -> None:
    """Raises ValueError unless a file of weights is of that recipe, whatever either notes about it."""
    if comparable(Recipe.from_dict(read_header(path)["recipe"])) != comparable(recipe):
        remedy = (
            "They were trained or converted under another recipe or seed: give another --out, or remove the folder."
        )
        raise ValueError(message("table", "--out", f"hold the weights that {path.parent.name} names", "others", remedy))
