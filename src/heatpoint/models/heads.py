"""Heads: from the features of a backbone to maps of logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Head = Literal["deconv", "concat", "branch", "h3r"]


def logits_layer(inputs: int, num_maps: int, *, std: float = 0.001, bias: bool = True) -> nn.Conv2d:
    """The 1 x 1 convolution that ends every network: weights from N(0, std²), bias 0 or none.

    At the default, which SimplePose publishes, training begins at nearly uniform maps, whatever the features.

    >>> layer = logits_layer(256, 68)
    >>> bool((layer.weight.abs() < 0.01).all()), bool((layer.bias == 0).all())
    (True, True)
    """
    layer = nn.Conv2d(inputs, num_maps, 1, bias=bias)
    nn.init.normal_(layer.weight, std=std)
    if bias:
        nn.init.zeros_(layer.get_parameter("bias"))
    return layer


class DeconvHead(nn.Module):
    """Three 4 x 4 deconvolutions of stride 2, 256 channels, each with BN and ReLU, and a 1 x 1 convolution (SimplePose).

    The head of Sampling-Argmax's face and pose experiments (Appendix E). Eight times finer than the features it is given.

    Args:
        channels: Channels of the backbone's last features.
        num_maps: Channels of the output.

    >>> DeconvHead(32, 5).eval()([torch.zeros(2, 32, 3, 2)]).shape
    torch.Size([2, 5, 24, 16])
    """

    def __init__(self, channels: int, num_maps: int, *, width: int = 256) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (channels, width, width):
            deconvolution = nn.ConvTranspose2d(inputs, width, 4, stride=2, padding=1, bias=False)
            nn.init.normal_(deconvolution.weight, std=0.001)
            layers += [deconvolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        self.deconvolutions = nn.Sequential(*layers)
        self.logits = logits_layer(width, num_maps)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """The backbone's features, of which the last (B, channels, h, w) counts, to (B, num_maps, 8 h, 8 w)."""
        logits: Tensor = self.logits(self.deconvolutions(features[-1]))
        return logits


class ConcatHead(nn.Module):
    """All resolutions brought to the finest and concatenated (HRNet), then 1 x 1, BN, ReLU, 1 x 1 (H3R).

    The head of Randomized Rounding's face experiments (5.3). The published code has no biases: `bias=False`.

    Args:
        channels: Channels of the features, finest first.
        num_maps: Channels of the output.
        bias: Whether the two convolutions have biases.

    >>> head = ConcatHead([18, 36], 5).eval()
    >>> head([torch.zeros(2, 18, 6, 4), torch.zeros(2, 36, 3, 2)]).shape
    torch.Size([2, 5, 6, 4])
    """

    def __init__(self, channels: Sequence[int], num_maps: int, *, bias: bool = True) -> None:
        super().__init__()
        width = sum(channels)
        mixing = nn.Conv2d(width, width, 1, bias=bias)
        self.mix = nn.Sequential(mixing, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.logits = logits_layer(width, num_maps, bias=bias)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features (B, channels[i], h_i, w_i), finest first, to (B, num_maps, h_0, w_0)."""
        size = features[0].shape[-2:]
        coarse = [F.interpolate(level, size=size, mode="bilinear") for level in features[1:]]
        logits: Tensor = self.logits(self.mix(torch.cat([features[0], *coarse], dim=1)))
        return logits


class BranchHead(nn.Module):
    """A 1 x 1 convolution on the finest resolution alone (HRNet for poses).

    The head of Randomized Rounding's pose experiments (Appendix B).

    Args:
        channels: Channels of the finest features.
        num_maps: Channels of the output.

    >>> BranchHead(18, 5)([torch.zeros(2, 18, 6, 4), torch.zeros(2, 36, 3, 2)]).shape
    torch.Size([2, 5, 6, 4])
    """

    def __init__(self, channels: int, num_maps: int) -> None:
        super().__init__()
        self.logits = logits_layer(channels, num_maps)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """The features, of which the first (B, channels, h, w) counts, to (B, num_maps, h, w)."""
        logits: Tensor = self.logits(features[0])
        return logits
