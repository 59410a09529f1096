"""The network of surfaces in scans: a residual U-Net that emits, per surface and column, a map along the rows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heatpoint._checks import message
from heatpoint.models.heads import logits_layer
from heatpoint.support import Grid

GROUP = 8  # Channels that are normalised together, or as many as divide the width.


class SurfaceNet(nn.Module):
    """Fully convolutional boundary regression: scans (B, 1, h, w) in [0, 1] to logits (B, S, w, h), a map per surface and column.

    After He et al. (MICCAI 2019): a residual U-Net at the full resolution of the input, whose softmax runs along each column, and
    if asked a second layer that labels every pixel with its layer. It differs in that the shortcuts of the U are added instead of
    concatenated, the finest level is a single convolution on the way down, and the features are normalised in groups, since a
    batch holds two scans. With five levels a map sees over 100 rows to either side, and each level more doubles that.

    Args:
        num_surfaces: S.
        input_size: (width, height) of the scans in pixels: columns and rows.
        widths: Channels at full resolution, at 1/2, 1/4 and so on; at least 2 levels.
        num_labels: Classes of the second layer, S + 1 for the layers between the surfaces, above and below; 0 leaves it out.

    Raises:
        ValueError: If a number is too small, or the input for so many levels.

    >>> model = SurfaceNet(4, input_size=(32, 48), widths=(8, 8, 16))
    >>> model(torch.rand(2, 1, 48, 32)).shape, model.grid()
    (torch.Size([2, 4, 32, 48]), Grid((48,)))
    """

    def __init__(
        self,
        num_surfaces: int,
        *,
        input_size: tuple[int, int],
        widths: Sequence[int] = (64, 64, 64, 64, 64),
        num_labels: int = 0,
    ) -> None:
        super().__init__()
        _check(num_surfaces, input_size, widths, num_labels)
        self.num_surfaces, self.num_labels, self.input_size = num_surfaces, num_labels, input_size
        self.stem = _conv_norm(1, widths[0], kernel=5)
        self.down = nn.ModuleList([ScanBlock(fine, coarse, stride=2) for fine, coarse in pairwise(widths)])
        self.deep = ScanBlock(widths[-1], widths[-1])
        self.lateral = nn.ModuleList([nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths)])
        self.up = nn.ModuleList([ScanBlock(width, width) for width in widths[:-1]])
        # The spread of SmallNet: maps that differ by more than nothing from the first step on.
        self.logits = logits_layer(widths[0], num_surfaces, std=0.1)
        # Its last layer bears the same name, so that weights are taken over, and drawn anew, as those of the maps are.
        self.labels = nn.Sequential(OrderedDict(logits=logits_layer(widths[0], num_labels))) if num_labels else None
        # Images of one channel do not say which layout they have; the convolutions follow their weights, 1.4 times faster.
        self.to(memory_format=torch.channels_last)

    def grid(self, offset: float | None = None) -> Grid:
        """The rows of the input that the maps lie on; `offset` as in `Grid`."""
        return Grid((self.input_size[1],), offset=offset)

    def forward(self, images: Tensor) -> Tensor:
        """Scans (B, 1, h, w) in [0, 1] to logits (B, S, w, h).

        Raises:
            TypeError: If the scans are not floating point.
            ValueError: If their shape is not (B, 1, h, w) of the model's input size.
        """
        return self._maps(self._features(images))

    def with_labels(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scans (B, 1, h, w) to logits (B, S, w, h) of the surfaces and (B, num_labels, h, w) of the pixels' labels.

        Raises:
            TypeError: If the scans are not floating point.
            ValueError: If their shape does not fit, or the model labels no pixels.

        >>> model = SurfaceNet(2, input_size=(16, 24), widths=(4, 8), num_labels=3)
        >>> [tuple(x.shape) for x in model.with_labels(torch.rand(1, 1, 24, 16))]
        [(1, 2, 16, 24), (1, 3, 24, 16)]
        """
        if self.labels is None:
            remedy = "Make the model with num_labels, the number of layers: surfaces + 1."
            raise ValueError(message("with_labels", "num_labels", "be at least 2", self.num_labels, remedy))
        features = self._features(images)
        labels: Tensor = self.labels(features)
        return self._maps(features), labels.contiguous()

    def _maps(self, features: Tensor) -> Tensor:
        logits: Tensor = self.logits(features)
        return logits.transpose(-1, -2).contiguous()

    def _features(self, images: Tensor) -> Tensor:
        if not images.is_floating_point():
            remedy = "Divide 8-bit scans by 255."
            raise TypeError(message("forward", "images", "be floating point in [0, 1]", images.dtype, remedy))
        width, height = self.input_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (1, height, width):
            remedy = "Warp to the model's size, or make the model with another input_size."
            raise ValueError(message("forward", "images", f"be (B, 1, {height}, {width})", tuple(images.shape), remedy))
        features = F.relu(self.stem(images))
        levels = [features]
        for block in self.down:
            features = block(features)
            levels.append(features)
        features = self.deep(features)
        for fine, lateral, block in zip(levels[-2::-1], reversed(self.lateral), reversed(self.up), strict=True):
            coarse = F.interpolate(lateral(features), size=fine.shape[-2:], mode="bilinear")
            features = block(fine + coarse)
        return features

    def extra_repr(self) -> str:
        """What `print(model)` says of this module itself."""
        return f"num_surfaces={self.num_surfaces}, input_size={self.input_size}, num_labels={self.num_labels}"


class ScanBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, normalised in groups; the shortcut averages where the block strides.

    >>> ScanBlock(4, 6, stride=2)(torch.zeros(2, 4, 9, 12)).shape
    torch.Size([2, 6, 5, 6])
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.first = _conv_norm(inputs, outputs, stride=stride)
        self.second = _conv_norm(outputs, outputs)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(nn.AvgPool2d(stride, ceil_mode=True), nn.Conv2d(inputs, outputs, 1))
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, outputs, ⌈h / stride⌉, ⌈w / stride⌉)."""
        return F.relu(self.second(F.relu(self.first(features))) + self.shortcut(features))


def _conv_norm(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    groups = outputs // GROUP if outputs % GROUP == 0 else 1
    return nn.Sequential(convolution, nn.GroupNorm(groups, outputs))


def _check(num_surfaces: int, input_size: tuple[int, int], widths: Sequence[int], num_labels: int) -> None:
    if num_surfaces < 1:
        raise ValueError(message("SurfaceNet", "num_surfaces", "be at least 1", num_surfaces))
    if num_labels < 0 or num_labels == 1:
        raise ValueError(message("SurfaceNet", "num_labels", "be 0 or at least 2", num_labels))
    if len(widths) < 2 or min(widths) < 1:
        rule = "be the channels, at least 1, of at least 2 levels"
        raise ValueError(message("SurfaceNet", "widths", rule, tuple(widths)))
    least = 2 ** (len(widths) - 1)
    if min(input_size) < least:
        rule = f"be at least {least} columns and rows for {len(widths)} levels"
        raise ValueError(message("SurfaceNet", "input_size", rule, input_size))
