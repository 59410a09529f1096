"""What every image model is: images in [0, 1] to one map of logits (or several) per point, and the grid they lie on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from heatpoint._checks import message
from heatpoint.support import Grid

# Mean and standard deviation of ImageNet's pixels per colour (red, green, blue): what the published backbones expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class MapNetwork(nn.Module):
    """Images (B, 3, H, W) in [0, 1] to logits (B, K, h, w), or (B, K, C, h, w) with C > 1 channels per point.

    The ImageNet normalisation is part of the model, as buffers, so that its weights file says what it expects.

    Args:
        network: Takes normalised images (B, 3, H, W) to (B, K · C, h, w), h = H / stride, w = W / stride.
        num_points: K.
        input_size: (width, height) of the images in pixels.
        stride: Input pixels per cell.
        channels_per_point: C; 2 for a two-channel head, whose channels are (B, K, 2, h, w).

    >>> model = MapNetwork(nn.AvgPool2d(4), num_points=3, input_size=(12, 8), stride=4)
    >>> model(torch.rand(2, 3, 8, 12)).shape
    torch.Size([2, 3, 2, 3])
    >>> model.grid()
    Grid((2, 3), stride=4)
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        num_points: int,
        input_size: tuple[int, int],
        stride: int,
        channels_per_point: int = 1,
    ) -> None:
        super().__init__()
        self.network = network
        self.num_points = num_points
        self.input_size = input_size
        self.stride = stride
        self.channels_per_point = channels_per_point
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None])

    def grid(self, offset: float | None = None) -> Grid:
        """The grid that the maps lie on, in input pixels; `offset` as in `Grid` (0 in both papers)."""
        width, height = self.input_size
        return Grid((height // self.stride, width // self.stride), stride=self.stride, offset=offset)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] to logits (B, K, h, w), or (B, K, C, h, w).

        Raises:
            TypeError: If the images are not floating point.
            ValueError: If their shape is not (B, 3, H, W) with the model's input size.
        """
        self._check(images)
        # Channels last is the faster layout for convolutions on the CPU, and on GPUs in half precision.
        images = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.network(images).contiguous()
        if self.channels_per_point > 1:
            logits = logits.unflatten(1, (self.num_points, self.channels_per_point))
        return logits

    def _check(self, images: Tensor) -> None:
        if not images.is_floating_point():
            remedy = "Divide 8-bit images by 255."
            raise TypeError(message("forward", "images", "be floating point in [0, 1]", images.dtype, remedy))
        width, height = self.input_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, height, width):
            remedy = "Warp to the model's size, or make the model with another input_size."
            raise ValueError(message("forward", "images", f"be (B, 3, {height}, {width})", tuple(images.shape), remedy))

    def extra_repr(self) -> str:
        """What `print(model)` says of this module itself."""
        return f"num_points={self.num_points}, input_size={self.input_size}, stride={self.stride}"
