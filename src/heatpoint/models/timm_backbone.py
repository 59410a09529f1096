"""Any convolutional backbone of timm under either head. The only file that imports timm."""

from __future__ import annotations

from typing import Any, Literal

import timm
from torch import Tensor, nn

from heatpoint._checks import did_you_mean, message
from heatpoint.models.heads import ConcatHead, DeconvHead

_PYRAMID = "give feature maps whose resolution halves step by step"


class TimmNet(nn.Module):
    """A timm backbone by name, and the head that turns its features into maps.

    Args:
        backbone: Name of a timm model that gives feature maps.
        num_maps: Channels of the output.
        head: "deconv", "concat", or None for the backbone's usual one.
        pretrained: Start from timm's published weights.

    Attributes:
        stride: Input pixels per cell of the maps.
        coarsest: Input pixels per cell of the coarsest features.

    >>> net = TimmNet("resnet18", 5)
    >>> net.stride, net.coarsest
    (4, 32)
    """

    def __init__(
        self,
        backbone: str,
        num_maps: int,
        *,
        head: Literal["deconv", "concat"] | None = None,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        head = head or ("concat" if backbone.startswith("hrnet") else "deconv")
        self.features, channels, reductions = _features(backbone, pretrained)
        self.coarsest = reductions[-1]
        self.head: nn.Module
        if head == "deconv":
            self.head = DeconvHead(channels[-1], num_maps)
            self.stride = self.coarsest // 8
        else:
            self.skip = sum(r < 4 for r in reductions)
            self.head = ConcatHead(channels[self.skip :], num_maps)
            self.stride = reductions[self.skip]

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to (B, num_maps, H / stride, W / stride)."""
        features = self.features(images)
        logits: Tensor = self.head(features[self.skip :] if isinstance(self.head, ConcatHead) else features)
        return logits


def _features(backbone: str, pretrained: bool) -> tuple[nn.Module, list[int], list[int]]:
    """The backbone without its classifier; channels and input pixels per cell of its features, finest first."""
    if not timm.is_model(backbone):
        names = ["small", *timm.list_models()]
        remedy = did_you_mean(backbone, names, at_most=4) or "timm.list_models() lists them."
        raise ValueError(message("make_model", "backbone", "be 'small' or a timm model", repr(backbone), remedy))
    if pretrained and not timm.is_model_pretrained(backbone):
        raise ValueError(
            message("make_model", "pretrained", f"be False for {backbone!r}", True, "timm has no weights for it.")
        )
    # HRNet's own four resolutions, before the widening layers that timm takes from its classifier.
    options = {"feature_location": ""} if backbone.startswith("hrnet") else {}
    try:
        features: Any = timm.create_model(backbone, pretrained=pretrained, features_only=True, **options)
    except OSError as error:
        raise OSError(
            f"make_model: the published weights of {backbone!r} could not be loaded. Connect this machine to the "
            "internet once, copy a Hugging Face cache to it (HF_HOME), or use pretrained=False."
        ) from error
    except RuntimeError as error:
        raise ValueError(message("make_model", "backbone", _PYRAMID, repr(backbone), str(error))) from error
    channels, reductions = features.feature_info.channels(), features.feature_info.reduction()
    if sorted(set(reductions)) != reductions or reductions[-1] < 16:
        raise ValueError(message("make_model", "backbone", _PYRAMID, f"{backbone!r} with strides {reductions}"))
    return features, channels, reductions
