"""Weights as safetensors, with a JSON header that carries all that is needed to use them and to quote their scores."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from heatpoint import __version__
from heatpoint._checks import message
from heatpoint.localizers import Localizer, localizer_from_dict
from heatpoint.localizers._options import grid_to_dict
from heatpoint.recipes.config import Recipe
from heatpoint.skeleton import Skeleton
from heatpoint.support import Grid, Support
from heatpoint.training.files import finite, write_bytes
from heatpoint.training.machine import check_device
from heatpoint.training.tasks import task_of

KEY = "heatpoint"
FORMAT = 1
REQUIRED = ("format", "recipe", "skeleton", "localizer")
LAST_LAYER = "logits"  # Name of the last layer in every network of ours.
CONVENTIONS = {
    "points": "(x, y), pixel centres at whole numbers, first pixel 0",
    "grid": "input coordinate = offset + stride * cell",
    "flip": "x -> width - 1 - x with the skeleton's swap pairs",
    "resize": "x -> (x + 0.5) * s - 0.5",
}


@dataclass(frozen=True)
class Trained:
    """A network with what belongs to it.

    Attributes:
        model: The network, in evaluation mode.
        localizer: How its maps are read.
        recipe: How it was trained.
        skeleton: What its points are called.
        header: Everything else that the file says: scores, epoch, versions.
    """

    model: nn.Module
    localizer: Localizer
    recipe: Recipe
    skeleton: Skeleton
    header: dict[str, Any]


def build_model(recipe: Recipe, num_points: int, *, pretrained: bool = False) -> tuple[nn.Module, Support]:
    """The recipe's network and the support of its maps; raises as the task's `build_model`."""
    task = task_of(recipe)
    model, support = task.build_model(recipe, num_points, pretrained=pretrained)
    std = task.first_std(recipe) if recipe.model.logits_std is None else recipe.model.logits_std
    if std is not None:
        _restart_logits(model, std)
    return model, support


def _restart_logits(model: nn.Module, std: float) -> None:
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Conv1d | nn.Linear) and name.rpartition(".")[-1] == LAST_LAYER:
            nn.init.normal_(layer.weight, std=std)


def start_from(model: nn.Module, recipe: Recipe) -> None:
    """Gives a network all weights of `recipe.model.start` but those of its last layer, which knows other points, or other maps.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not one of heatpoint's, or of another network than the recipe's.
    """
    path = Path(recipe.model.start)
    stored = Recipe.from_dict(read_header(path)["recipe"])
    if stored.task != recipe.task:
        raise ValueError(message("train", "--start", f"hold a network for a task {recipe.task!r}", repr(stored.task)))
    for name in task_of(recipe).network:
        there, here = getattr(stored.model, name), getattr(recipe.model, name)
        if there != here:
            flag = "model" if name in ("backbone", "network") else name.replace("_", "-")
            value = " ".join(map(str, there)) if isinstance(there, tuple) else there
            remedy = f"Give --{flag} {value}, or other weights."
            raise ValueError(message("train", "--start", f"hold a network with {name} {here!r}", repr(there), remedy))
    own = model.state_dict()
    taken = {key: value for key, value in read_state(path).items() if LAST_LAYER not in key.split(".")}
    if {key: value.shape for key, value in taken.items()} != {
        key: value.shape for key, value in own.items() if LAST_LAYER not in key.split(".")
    }:
        remedy = "They come from another version of the network: train them again."
        raise ValueError(message("train", "--start", "hold the tensors of the recipe's network", path, remedy))
    model.load_state_dict({**own, **taken})


def make_header(recipe: Recipe, skeleton: Skeleton, localizer: Localizer, grid: Support, **more: Any) -> dict[str, Any]:
    """The JSON header of a file of weights."""
    return {
        "format": FORMAT,
        "recipe": recipe.to_dict(),
        "skeleton": skeleton.to_dict(),
        "localizer": localizer.to_dict(),
        # Every cloud is its own support.
        **({"grid": grid_to_dict(grid)} if isinstance(grid, Grid) else {}),
        "conventions": CONVENTIONS,
        **task_of(recipe).header(recipe, skeleton),
        "versions": {"heatpoint": __version__, "torch": str(torch.__version__)},
        **more,
    }


def save_weights(path: Path, state: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
    """Writes weights and header to one safetensors file, atomically."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    write_bytes(path, save(tensors, metadata={KEY: json.dumps(finite(header), allow_nan=False)}))


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file of weights, by name."""
    from safetensors.torch import load_file

    return load_file(path)


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header of a file of weights.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a safetensors file, or not one of heatpoint's.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"read_header: there is no file {path}. Give the model.safetensors of a trained run.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"read_header: {path} is not a whole safetensors file ({error}). Give the model.safetensors of a run."
        ) from None
    if KEY not in metadata:
        raise ValueError(
            f"read_header: {path} carries no heatpoint header. Give a file that `heatpoint train` has written."
        )
    return _checked_header(path, metadata[KEY])


def _checked_header(path: Path, text: str) -> dict[str, Any]:
    remedy = "Give a file that `heatpoint train` has written."
    try:
        header = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"read_header: the heatpoint header of {path} is not JSON ({error}). {remedy}") from None
    missing = [key for key in REQUIRED if not isinstance(header, dict) or key not in header]
    if missing:
        raise ValueError(f"read_header: the heatpoint header of {path} lacks {', '.join(missing)}. {remedy}")
    if header["format"] != FORMAT:
        remedy = "Update heatpoint, or train again."
        raise ValueError(message("read_header", f"the format of {path}", f"be {FORMAT}", header["format"], remedy))
    return dict(header)


def load_weights(path: str | Path, *, device: torch.device | str = "cpu") -> Trained:
    """Builds the network that a file of weights belongs to, and loads it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not one of heatpoint's, or its weights do not fit its recipe.
    """
    path = Path(path)
    header = read_header(path)
    device = check_device("load_weights", device)
    try:
        recipe, skeleton = Recipe.from_dict(header["recipe"]), Skeleton.from_dict(header["skeleton"])
        localizer = localizer_from_dict(header["localizer"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        remedy = "It may come from a newer heatpoint: update, or train again."
        raise ValueError(f"load_weights: the header of {path} cannot be used: {error} {remedy}") from error
    with torch.random.fork_rng(devices=[]):  # The first weights are drawn, only to be replaced.
        model, _ = build_model(recipe, skeleton.num_points)
    try:
        model.load_state_dict(read_state(path))
    except RuntimeError as error:
        raise ValueError(
            f"load_weights: the weights in {path} do not fit its recipe {recipe.name} ({str(error).splitlines()[0]}). "
            "They come from another version of the network; train again."
        ) from None
    model.to(device).eval()
    return Trained(model, localizer, recipe, skeleton, header)
