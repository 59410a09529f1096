"""The small default: a residual U-shaped network for training on CPUs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heatpoint.models.heads import logits_layer


class SmallNet(nn.Module):
    """A residual U: two strided convolutions to 1/4, residual blocks at 1/4, 1/8, 1/16 and 1/32, and back up with sums.

    Fully convolutional; the maps come out at 1/4 of the input. About 61 M multiply-adds and 0.86 M weights at 64 x 64
    with 68 points.

    Args:
        num_maps: Channels of the output.
        widths: Channels at 1/4, 1/8, 1/16 and 1/32.
        stem: Channels at 1/2.

    >>> SmallNet(5).eval()(torch.zeros(2, 3, 64, 96)).shape
    torch.Size([2, 5, 16, 24])
    """

    stride = 4

    def __init__(self, num_maps: int, *, widths: Sequence[int] = (64, 72, 88, 112), stem: int = 24) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *_conv_bn(3, stem, stride=2), nn.ReLU(), *_conv_bn(stem, widths[0], stride=2), nn.ReLU()
        )
        self.down = nn.ModuleList(
            [Residual(widths[0], widths[0])] + [Residual(fine, coarse, stride=2) for fine, coarse in pairwise(widths)]
        )
        self.lateral = nn.ModuleList([_conv_bn(coarse, fine, kernel=1) for fine, coarse in pairwise(widths)])
        self.up = nn.ModuleList([Residual(width, width) for width in widths[:-1]])
        # At SimplePose's 0.001 soft-argmax hardly moves in its first epochs: 7.8 against 6.5 % after 12 epochs on 300-W at 64 px;
        # cross-entropy does not mind (5.2 either way).
        self.logits = logits_layer(widths[0], num_maps, std=0.1)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to (B, num_maps, H / 4, W / 4)."""
        features = self.stem(images)
        levels = []
        for block in self.down:
            features = block(features)
            levels.append(features)
        for fine, lateral, block in zip(levels[-2::-1], reversed(self.lateral), reversed(self.up), strict=True):
            coarse = F.interpolate(lateral(features), size=fine.shape[-2:], mode="bilinear")
            features = block(fine + coarse)
        logits: Tensor = self.logits(features)
        return logits


def tiny_net(num_maps: int) -> SmallNet:
    """A `SmallNet` of half the width: about 0.26 M weights, half the time of a step.

    >>> tiny_net(14).eval()(torch.zeros(2, 3, 64, 96)).shape
    torch.Size([2, 14, 16, 24])
    """
    return SmallNet(num_maps, widths=(32, 40, 48, 64), stem=16)


class Residual(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; the shortcut averages where the block strides, so no pixel is skipped.

    >>> Residual(4, 6, stride=2).eval()(torch.zeros(2, 4, 8, 12)).shape
    torch.Size([2, 6, 4, 6])
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.branch = nn.Sequential(*_conv_bn(inputs, outputs, stride=stride), nn.ReLU(), *_conv_bn(outputs, outputs))
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(nn.AvgPool2d(stride, ceil_mode=True), *_conv_bn(inputs, outputs, kernel=1))
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, outputs, ⌈h / stride⌉, ⌈w / stride⌉)."""
        return torch.relu(self.branch(features) + self.shortcut(features))


def _conv_bn(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))
