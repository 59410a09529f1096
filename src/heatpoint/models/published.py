"""Checkpoints that others have published, loaded into our networks by an explicit map of names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heatpoint._checks import message, one_of
from heatpoint.models.map_network import IMAGENET_MEAN, IMAGENET_STD, MapNetwork

Triple = tuple[float, float, float]

# What batch normalisation has counted: it changes nothing in evaluation, and checkpoints from before torch 0.4.1 lack it.
_COUNTER = ".num_batches_tracked"
_INPUT_BUFFERS = ("mean", "std")
_ROWS_IN_ERRORS = 6
# H3R counts the blocks of MobileNetV2 through, the stem being number 0: blocks that come before each of timm's stages.
_BLOCKS_BEFORE = (1, 2, 4, 7, 11)
# The layers of a block there: 1 x 1, BN, ReLU6, 3 x 3 per channel, BN, ReLU6, 1 x 1, BN; the first block lacks the first three.
_LAYERS = {"conv_pw": 0, "bn1": 1, "conv_dw": 3, "bn2": 4, "conv_pwl": 6, "bn3": 7}
_FIRST_LAYERS = {"conv_dw": 0, "bn1": 1, "conv_pw": 3, "bn2": 4}


@dataclass(frozen=True)
class Family:
    """The names and the input that the checkpoints of one published code share.

    Attributes:
        about: Where they come from.
        network: The call of `make_model` that makes theirs.
        theirs: The name of a tensor there, from its name in our network ("features…" or "head…").
        mean: What the published code subtracts from its three colours in [0, 1], in their order there.
        std: What it then divides them by.
        bgr: Whether its first colour is blue.
        channels_per_point: 2 where the head ends in two channels per point: there all first ones, then all second ones.
    """

    about: str
    network: str
    theirs: Callable[[str], str]
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    bgr: bool = False
    channels_per_point: int = 1


def _pose(name: str) -> str:
    """HRNet for poses, and SimplePose: the backbone's own names, deconv_layers, final_layer."""
    for ours, theirs in (
        ("features.", ""),
        ("head.deconvolutions.", "deconv_layers."),
        ("head.logits.", "final_layer."),
    ):
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _sampling_argmax(name: str) -> str:
    return name.replace("features.", "preact.", 1) if name.startswith("features.") else _pose(name)


def _h3r(name: str) -> str:
    """H3R: backbone, and a head of 1 x 1, BN, ReLU, 1 x 1."""
    for ours, theirs in (
        ("features.", "backbone."),
        ("head.mix.", "heatmap_head.head.layers."),
        ("head.logits.", "heatmap_head.head.layers.3."),
    ):
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _h3r_mobilenetv2(name: str) -> str:
    parts = name.split(".")
    if parts[:2] == ["features", "conv_stem"]:
        return f"backbone.features.0.0.{parts[2]}"
    if parts[:2] == ["features", "bn1"]:
        return f"backbone.features.0.1.{parts[2]}"
    if parts[:2] == ["features", "blocks"]:
        stage, block, layer, kind = int(parts[2]), int(parts[3]), parts[4], parts[5]
        index = (_FIRST_LAYERS if stage == 0 else _LAYERS)[layer]
        return f"backbone.features.{_BLOCKS_BEFORE[stage] + block}.conv.{index}.{kind}"
    return _h3r(name)


FAMILIES: dict[str, Family] = {
    "hrnet_pose": Family(
        "HRNet for poses (leoxiaobin/deep-high-resolution-net.pytorch, pose_hrnet)",
        "make_model('hrnet_w32' or 'hrnet_w48', head='branch', ...)",
        _pose,
    ),
    # The code reads images with OpenCV and does not turn them: blue comes first, under the mean of red.
    "simple_pose": Family(
        "SimplePose (microsoft/human-pose-estimation.pytorch and leoxiaobin/deep-high-resolution-net.pytorch, pose_resnet)",
        "make_model('resnet50', 'resnet101' or 'resnet152', head='deconv', ...)",
        _pose,
        bgr=True,
    ),
    "sampling_argmax": Family(
        "SimplePose and SimpleLandmark (Jeff-sjtu/sampling-argmax)",
        "make_model('resnet18' … 'resnet101', head='deconv', ...)",
        _sampling_argmax,
        mean=(0.406, 0.457, 0.480),
        std=(1.0, 1.0, 1.0),
    ),
    "h3r_hrnet": Family(
        "HRNet for faces (baoshengyu/H3R)",
        "make_model('hrnet_w18' or 'hrnet_w32', head='h3r', channels_per_point=2, ...)",
        _h3r,
        channels_per_point=2,
    ),
    "h3r_mobilenetv2": Family(
        "MobileNetV2 for faces (baoshengyu/H3R)",
        "make_model('mobilenetv2_h3r', channels_per_point=2, ...)",
        _h3r_mobilenetv2,
        channels_per_point=2,
    ),
}


def load_published(source: str | Path | Mapping[str, Tensor], family: str, model: MapNetwork) -> MapNetwork:
    """Loads a published checkpoint into a network of ours, all of it or nothing.

    The network then gives for an RGB image in [0, 1] what the published one gives for the same image prepared in its own
    way: colours that are taken in another order are exchanged in the first convolution, and `mean` and `std` are set.

    Checkpoints of SimplePose in the "caffe" style have the same names and shapes but stride in other convolutions; nothing
    in the file tells them apart, and they give wrong maps.

    Args:
        source: A file that torch has saved, or its content: tensors by name, also under "state_dict", also with every name
            beginning with "module.". Files are read by torch's loader of weights, which runs no code.
        family: Name in `FAMILIES`.
        model: A network of that family, with the checkpoint's number of points; changed in place.

    Returns:
        The model, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the family is unknown, the file cannot be read, or names or shapes differ: all are listed. Counters of
            batch normalisation may be absent, if all are.

    >>> from heatpoint.models import make_model
    >>> model = make_model("resnet18", num_points=5, input_size=64)
    >>> state = {name: torch.zeros(shape) for name, shape in published_names("simple_pose", model).items()}
    >>> bool((load_published(state, "simple_pose", model)(torch.zeros(1, 3, 64, 64)) == 0).all())
    True
    """
    one_of("load_published", "family", family, FAMILIES)
    given = _plain_state(_read(source) if isinstance(source, str | Path) else source)
    expected = published_names(family, model)
    if not any(name.endswith(_COUNTER) for name in given):
        given |= {name: torch.zeros(shape) for name, shape in expected.items() if name.endswith(_COUNTER)}
    _check_same(given, expected, family)
    rule = FAMILIES[family]
    state = {name: given[rule.theirs(name.removeprefix("network."))] for name in _learned(model)}
    model.load_state_dict({**state, **_input_buffers(rule, model)})
    _reorder(model, rule)
    return model.eval()


def published_names(family: str, model: MapNetwork) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that a family's checkpoint of this network has.

    >>> from heatpoint.models import make_model
    >>> names = published_names("simple_pose", make_model("resnet18", num_points=5, input_size=64))
    >>> len(names), names["conv1.weight"], names["final_layer.weight"]
    (140, (64, 3, 7, 7), (5, 256, 1, 1))
    """
    one_of("published_names", "family", family, FAMILIES)
    rule = FAMILIES[family]
    if model.channels_per_point != rule.channels_per_point:
        text, got = f"have {rule.channels_per_point} channels per point for {family}", model.channels_per_point
        raise ValueError(message("load_published", "model", text, got, f"Make it by {rule.network}."))
    tensors = _learned(model)
    return {rule.theirs(name.removeprefix("network.")): tuple(tensors[name].shape) for name in tensors}


def _learned(model: MapNetwork) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if name not in _INPUT_BUFFERS}


def _input_buffers(rule: Family, model: MapNetwork) -> dict[str, Tensor]:
    """`mean` and `std` of the colours in our order, red, green, blue."""
    order = [2, 1, 0] if rule.bgr else [0, 1, 2]
    values = {"mean": rule.mean, "std": rule.std}
    return {name: torch.tensor(values[name])[order].reshape(model.mean.shape) for name in _INPUT_BUFFERS}


@torch.no_grad()
def _reorder(model: MapNetwork, rule: Family) -> None:
    """Turns what lies in another order there: the colours of the first convolution, the channels of the last."""
    weights = dict(model.named_parameters())
    if rule.bgr:
        first = weights["network.features.conv1.weight"]
        first.copy_(first.flip(1).clone())
    if rule.channels_per_point > 1:
        last = weights["network.head.logits.weight"]
        last.copy_(last.unflatten(0, (rule.channels_per_point, -1)).transpose(0, 1).flatten(0, 1).clone())


def _read(source: str | Path) -> Mapping[str, Any]:
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(
            f"load_published: there is no file {path}. Give the checkpoint that you have downloaded."
        )
    with path.open("rb") as file:
        if file.read(40).startswith(b"version https://git-lfs"):
            remedy = "Fetch the file itself, with git lfs pull."
            raise ValueError(message("load_published", "source", "hold weights", f"the Git LFS pointer {path}", remedy))
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        told = " ".join([type(error).__name__, *str(error).splitlines()[:1]])
        remedy = "Give a file of a state dict, saved by torch.save."
        raise ValueError(f"load_published: {path} cannot be read as weights alone ({told}). {remedy}") from error
    if not isinstance(found, Mapping):
        raise ValueError(
            message("load_published", "source", "hold tensors by name", f"a {type(found).__name__} in {path}")
        )
    return found


def _plain_state(found: Mapping[str, Any]) -> dict[str, Tensor]:
    state = found["state_dict"] if isinstance(found.get("state_dict"), Mapping) else found
    strange = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if strange or not state:
        got = f"{', '.join(map(repr, strange[:_ROWS_IN_ERRORS]))} of other kinds" if strange else "nothing"
        raise ValueError(message("load_published", "source", "hold tensors by name only", got))
    wrapped = all(name.startswith("module.") for name in state)
    return {name.removeprefix("module.") if wrapped else name: value for name, value in state.items()}


def _check_same(given: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], family: str) -> None:
    shapes = [
        f"{name} is {tuple(given[name].shape)}, not {shape}"
        for name, shape in expected.items()
        if name in given and tuple(given[name].shape) != shape
    ]
    problems = [
        f"{title} {_some(rows)}"
        for title, rows in (
            ("it lacks", [name for name in expected if name not in given]),
            ("it has the unknown", [name for name in given if name not in expected]),
            ("of another shape:", shapes),
        )
        if rows
    ]
    if problems:
        rule = f"hold the tensors of {family} for this network"
        remedy = f"Make the network by {FAMILIES[family].network}, with the checkpoint's number of points."
        raise ValueError(message("load_published", "source", rule, "; ".join(problems), remedy))


def _some(rows: list[str]) -> str:
    more = len(rows) - _ROWS_IN_ERRORS
    return ", ".join(rows[:_ROWS_IN_ERRORS]) + (f" and {more} more" if more > 0 else "")
