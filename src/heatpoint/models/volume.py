"""Volumes: a 2D network whose channels are cells along depth (Integral Pose)."""

from __future__ import annotations

from torch import Tensor, nn

from heatpoint._checks import message
from heatpoint.models.map_network import MapNetwork
from heatpoint.support import Grid


class VolumeNetwork(MapNetwork):
    """Images (B, 3, H, W) in [0, 1] to logits (B, K, depth, h, w): depth is unfolded from the channels of a 2D network.

    Integral Pose, which Sampling-Argmax trains in its 5.1: with ResNet-50, three deconvolutions and depth 64, 256 x 256 pixels
    become 64 x 64 x 64 cells; the released code has depth 32. The volume is as many pixels deep as the input is wide, so a
    cell along depth is width / depth pixels.

    Args:
        network: Takes normalised images (B, 3, H, W) to (B, K · depth, h, w); channel k · depth + d is layer d of point k.
        num_points: K.
        depth: Cells along depth, nearest first.
        input_size: (width, height) of the images in pixels.
        stride: Input pixels per cell in the image plane.

    Raises:
        ValueError: If depth is below 1.

    >>> import torch
    >>> model = VolumeNetwork(nn.Conv2d(3, 5 * 6, 4, stride=4), num_points=5, depth=6, input_size=(12, 8), stride=4)
    >>> model(torch.rand(2, 3, 8, 12)).shape
    torch.Size([2, 5, 6, 2, 3])
    >>> model.grid(offset=0)
    Grid((6, 2, 3), stride=(4, 4, 2), offset=0)
    """

    def __init__(
        self, network: nn.Module, *, num_points: int, depth: int, input_size: tuple[int, int], stride: int
    ) -> None:
        super().__init__(network, num_points=num_points, input_size=input_size, stride=stride)
        if depth < 1:
            raise ValueError(message("VolumeNetwork", "depth", "be at least 1", depth))
        self.depth = depth

    def grid(self, offset: float | None = None) -> Grid:
        """The grid that the volumes lie on, in input pixels; `offset` as in `Grid` (0 in both papers), for all three axes."""
        width, height = self.input_size
        shape = (self.depth, height // self.stride, width // self.stride)
        along_depth = width / self.depth
        if along_depth == self.stride:
            return Grid(shape, stride=self.stride, offset=offset)
        return Grid(shape, stride=(self.stride, self.stride, along_depth), offset=offset)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] to logits (B, K, depth, h, w); raises as `MapNetwork.forward`."""
        logits: Tensor = super().forward(images)
        return logits.unflatten(1, (self.num_points, self.depth))

    def extra_repr(self) -> str:
        """What `print(model)` says of this module itself."""
        return f"{super().extra_repr()}, depth={self.depth}"
