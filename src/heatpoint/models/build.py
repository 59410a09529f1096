"""Names to models."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from torch import nn

from heatpoint._checks import message, one_of
from heatpoint.models.heads import Head
from heatpoint.models.map_network import MapNetwork
from heatpoint.models.small import SmallNet, tiny_net
from heatpoint.models.volume import VolumeNetwork

# Our own networks: name -> builder from the number of maps. Every other name is a timm backbone.
MODELS: dict[str, Callable[[int], nn.Module]] = {"small": SmallNet, "tiny": tiny_net}


def make_model(
    backbone: str = "small",
    *,
    num_points: int,
    input_size: int | tuple[int, int],
    head: Head | None = None,
    pretrained: bool = False,
    channels_per_point: int = 1,
    depth: int = 0,
) -> MapNetwork:
    """Makes a model that takes images (B, 3, H, W) in [0, 1] to logits (B, K, h, w) at 1/4 of the input's resolution.

    Args:
        backbone: "small" for the fast default, or any convolutional backbone of timm by its name there ("resnet18",
            "hrnet_w18", "mobilenetv2_100" …), or "mobilenetv2_h3r", the stages of the latter that H3R uses (0.60 M
            parameters with its head and 98 points).
        num_points: K.
        input_size: (width, height) in pixels, or one number for a square. A multiple of 4 for "small" and of the
            backbone's coarsest stride, mostly 32, for the others.
        head: "deconv" (three deconvolutions, SimplePose), "concat" (all resolutions concatenated, HRNet for faces), "h3r"
            (the same without biases, as H3R publishes it) or "branch" (the finest resolution of an HRNet, for poses).
            None takes "concat" for HRNets, "h3r" for "mobilenetv2_h3r" and "deconv" for the others. "small" has its own
            and takes none.
        pretrained: Start from timm's published ImageNet weights, which are downloaded once.
        channels_per_point: C; 2 for the two-channel head of Randomized Rounding, with logits (B, K, 2, h, w).
        depth: Cells along depth of a volume, with logits (B, K, depth, h, w); 0 for maps. See `VolumeNetwork`.

    Raises:
        ValueError: If a name is unknown (the nearest are offered) or a size does not fit.
        OSError: If the published weights can neither be found on this machine nor downloaded.

    >>> model = make_model("small", num_points=68, input_size=(96, 64))
    >>> model.stride, model.grid(offset=0)
    (4, Grid((16, 24), stride=4, offset=0))
    """
    size = _size(input_size)
    for argument, count in (("num_points", num_points), ("channels_per_point", channels_per_point)):
        if count < 1:
            raise ValueError(message("make_model", argument, "be at least 1", count))
    if head is not None:
        one_of("make_model", "head", head, get_args(Head))
    if depth < 0 or (depth and channels_per_point > 1):
        rule = "be at least 0, and 0 with several channels per point"
        raise ValueError(message("make_model", "depth", rule, depth))
    num_maps = num_points * channels_per_point * (depth or 1)
    if backbone in MODELS:
        if head is not None:
            remedy = "Leave it out: the network has its own."
            raise ValueError(message("make_model", "head", f"be None for backbone {backbone!r}", repr(head), remedy))
        if pretrained:
            remedy = "Use a timm backbone such as 'resnet18' for published weights."
            raise ValueError(message("make_model", "pretrained", f"be False for {backbone!r}", True, remedy))
        network: nn.Module = MODELS[backbone](num_maps)
        stride = multiple = 4
    else:
        from heatpoint.models.timm_backbone import TimmNet

        timm_net = TimmNet(backbone, num_maps, head=head, pretrained=pretrained)
        network, stride, multiple = timm_net, timm_net.stride, timm_net.coarsest
    if any(n < multiple or n % multiple for n in size):
        rule = f"be a multiple of {multiple} on both sides for backbone {backbone!r}"
        raise ValueError(message("make_model", "input_size", rule, input_size))
    if depth:
        return VolumeNetwork(network, num_points=num_points, depth=depth, input_size=size, stride=stride)
    return MapNetwork(
        network, num_points=num_points, input_size=size, stride=stride, channels_per_point=channels_per_point
    )


def _size(input_size: int | tuple[int, int]) -> tuple[int, int]:
    if isinstance(input_size, int):
        return input_size, input_size
    width, height = input_size
    return int(width), int(height)
