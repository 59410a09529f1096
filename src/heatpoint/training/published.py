"""A published checkpoint as a file of weights of ours, which evaluate, predict and the tables read like any other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from heatpoint._checks import message
from heatpoint.localizers import make_localizer
from heatpoint.models import MapNetwork, load_published
from heatpoint.recipes import get_recipe
from heatpoint.recipes.config import ModelConfig, Recipe
from heatpoint.skeleton import Skeleton, load_skeleton
from heatpoint.training.weights import build_model, make_header, save_weights


def convert_published(
    source: str | Path | Mapping[str, Tensor],
    recipe: str | Recipe,
    out: str | Path,
    *,
    skeleton: str | Skeleton,
    family: str | None = None,
) -> Path:
    """Writes a published checkpoint to a model.safetensors, under a recipe that says how it is fed and read.

    The recipe must name the checkpoint's network: backbone, head, input, and for H3R ``localizer_options={"channels": 2}``.
    Its box policy, padding, flip test and readout are those of the scores; what it says of training is what the checkpoint's
    owners did, or does not matter. The header says which file was read.

    Args:
        source: What `load_published` takes: a file, or tensors by name.
        recipe: A recipe, or the name of one.
        out: The file to write.
        skeleton: The points in the checkpoint's order, or the name of a skeleton file.
        family: Name in `heatpoint.models.FAMILIES`. None takes the one that the recipe's network has: "hrnet_pose" for the
            head "branch", "h3r_hrnet" and "h3r_mobilenetv2" for "h3r", "simple_pose" for "deconv"; networks of Sampling-Argmax
            (SimplePose, also in 3D) must be named, since nothing in a recipe tells whose colours they expect.

    Returns:
        Where it was written.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a name is unknown, no family is that of the recipe's network, or the tensors are not those of the family.
    """
    recipe = get_recipe(recipe) if isinstance(recipe, str) else recipe
    skeleton = load_skeleton(skeleton) if isinstance(skeleton, str) else skeleton
    family = family or family_of(recipe.model)
    with torch.random.fork_rng(devices=[]):  # The first weights are drawn, only to be replaced.
        model, grid = build_model(recipe, skeleton.num_points)
    if not isinstance(model, MapNetwork):
        rule = "be a recipe for images"
        raise ValueError(message("convert_published", "recipe", rule, f"{recipe.name} for a task {recipe.task!r}"))
    load_published(source, family, model)
    localizer = make_localizer(recipe.localizer, grid, **recipe.localizer_options)
    origin = str(source) if isinstance(source, str | Path) else "tensors"
    header = make_header(recipe, skeleton, localizer, grid, published={"family": family, "source": origin})
    save_weights(Path(out), model.state_dict(), header)
    return Path(out)


def family_of(model: ModelConfig) -> str:
    """The family whose checkpoints are networks of this kind.

    >>> family_of(ModelConfig(backbone="hrnet_w32", head="branch")), family_of(ModelConfig(backbone="mobilenetv2_h3r"))
    ('hrnet_pose', 'h3r_mobilenetv2')
    """
    if model.backbone == "mobilenetv2_h3r" and model.head in (None, "h3r"):
        return "h3r_mobilenetv2"
    if model.backbone.startswith("hrnet") and model.head in ("branch", "h3r"):
        return "hrnet_pose" if model.head == "branch" else "h3r_hrnet"
    if model.backbone.startswith("resnet") and model.head in (None, "deconv") and model.depth == 0:
        return "simple_pose"
    got = f"backbone {model.backbone!r} with head {model.head!r}" + (f" and depth {model.depth}" if model.depth else "")
    remedy = (
        "Name the family, or take an HRNet with head 'branch' or 'h3r', 'mobilenetv2_h3r', or a ResNet with 'deconv'."
    )
    raise ValueError(message("convert_published", "recipe", "name a network with published checkpoints", got, remedy))
