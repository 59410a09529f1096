"""Any convolutional backbone of timm under either head. The only file that imports timm."""

from __future__ import annotations

from typing import Any

import timm
from torch import Tensor, nn

from heatpoint._checks import did_you_mean, message
from heatpoint.models.heads import BranchHead, ConcatHead, DeconvHead, Head

# Backbones of the papers that are the first stages of one of timm's: name -> (name there, stages that are kept).
CUTS = {"mobilenetv2_h3r": ("mobilenetv2_100", 5)}

_PYRAMID = "give feature maps whose resolution halves step by step"


class TimmNet(nn.Module):
    """A timm backbone by name, and the head that turns its features into maps.

    Args:
        backbone: Name of a timm model that gives feature maps, or of `CUTS`.
        num_maps: Channels of the output.
        head: "deconv", "concat", "branch", "h3r", or None for the backbone's usual one.
        pretrained: Start from timm's published weights.

    Attributes:
        stride: Input pixels per cell of the maps.
        coarsest: Input pixels per cell of the coarsest features.

    >>> net = TimmNet("resnet18", 5)
    >>> net.stride, net.coarsest
    (4, 32)
    """

    def __init__(self, backbone: str, num_maps: int, *, head: Head | None = None, pretrained: bool = False) -> None:
        super().__init__()
        head = head or _usual_head(backbone)
        self.features, channels, reductions = _features(backbone, pretrained)
        self.coarsest = reductions[-1]
        # The first features that the head is given: those finer than 1/4 serve "deconv" only, which takes the last.
        self.skip = 0 if head == "deconv" else sum(r < 4 for r in reductions)
        self.stride = self.coarsest // 8 if head == "deconv" else reductions[self.skip]
        channels = channels[self.skip :]
        self.head: nn.Module
        if head == "deconv":
            self.head = DeconvHead(channels[-1], num_maps)
        elif head == "branch":
            _keep_finest_fusion(self.features, backbone)
            self.head = BranchHead(channels[0], num_maps)
        else:
            self.head = ConcatHead(channels, num_maps, bias=head == "concat")

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to (B, num_maps, H / stride, W / stride)."""
        logits: Tensor = self.head(self.features(images)[self.skip :])
        return logits


def _usual_head(backbone: str) -> Head:
    if backbone in CUTS:
        return "h3r"
    return "concat" if backbone.startswith("hrnet") else "deconv"


def _keep_finest_fusion(features: Any, backbone: str) -> None:
    """Takes out of an HRNet what only its coarser outputs need, as its networks for poses do."""
    if not backbone.startswith("hrnet"):
        remedy = "It reads the finest branch alone: choose an HRNet, or another head."
        raise ValueError(message("make_model", "head", f"not be 'branch' for backbone {backbone!r}", "it", remedy))
    last = features.stage4[-1]
    last.fuse_layers = last.fuse_layers[:1]


def _features(backbone: str, pretrained: bool) -> tuple[nn.Module, list[int], list[int]]:
    """The backbone without its classifier; channels and input pixels per cell of its features, finest first."""
    name, stages = CUTS.get(backbone, (backbone, None))
    if not timm.is_model(name):
        names = ["small", "tiny", *CUTS, *timm.list_models()]
        remedy = did_you_mean(backbone, names, at_most=4) or "timm.list_models() lists them."
        raise ValueError(message("make_model", "backbone", "be 'small' or a timm model", repr(backbone), remedy))
    if pretrained and not timm.is_model_pretrained(name):
        raise ValueError(
            message("make_model", "pretrained", f"be False for {backbone!r}", True, "timm has no weights for it.")
        )
    # HRNet's own four resolutions, before the widening layers that timm takes from its classifier.
    options: dict[str, Any] = {"feature_location": ""} if name.startswith("hrnet") else {}
    if stages is not None:
        options["out_indices"] = (0, 1, 2, 3)
    try:
        features: Any = timm.create_model(name, pretrained=pretrained, features_only=True, **options)
    except OSError as error:
        raise OSError(
            f"make_model: the published weights of {backbone!r} could not be loaded. Connect this machine to the "
            "internet once, copy a Hugging Face cache to it (HF_HOME), or use pretrained=False."
        ) from error
    except RuntimeError as error:
        raise ValueError(message("make_model", "backbone", _PYRAMID, repr(backbone), str(error))) from error
    if stages is not None:
        features.blocks = features.blocks[:stages]
    channels, reductions = features.feature_info.channels(), features.feature_info.reduction()
    if sorted(set(reductions)) != reductions or reductions[-1] < 16:
        raise ValueError(message("make_model", "backbone", _PYRAMID, f"{backbone!r} with strides {reductions}"))
    return features, channels, reductions
