"""The frames that take a point from an image to the network's input and back, as affine matrices; mirrored points.

Half-pixel arithmetic is here and in `heatpoint.support` only: pixel i has its centre at coordinate i (docs/conventions.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from heatpoint._checks import check_tensor, message

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Frame:
    """One affine matrix that takes image pixels to the pixels of the network's input, and the input's size.

    Args:
        matrix: (2, 3) float64; input = matrix · (x, y, 1). Pixel centres at whole numbers on both sides.
        size: (width, height) of the input in pixels.

    >>> frame = Frame.from_box((10.0, 10.0, 29.0, 29.0), (40, 40))
    >>> frame.to_input(np.array([[9.5, 9.5], [29.5, 29.5]]))
    array([[-0.5, -0.5],
           [39.5, 39.5]])
    """

    matrix: FloatArray
    size: tuple[int, int]

    @classmethod
    def from_box(cls, box: Sequence[float], size: tuple[int, int], *, padding: float = 1.0) -> Frame:
        """The frame that shows a box, grown to the input's aspect and by `padding`, in the whole input.

        Args:
            box: (x1, y1, x2, y2), the coordinates of its first and last pixel; it covers x1 − ½ to x2 + ½.
            size: (width, height) of the input.
            padding: Factor on both sides of the box, about its centre.
        """
        x1, y1, x2, y2 = (float(v) for v in box)
        if not (x2 >= x1 and y2 >= y1):
            raise ValueError(message("Frame.from_box", "box", "have x2 >= x1 and y2 >= y1", tuple(box)))
        width, height = x2 - x1 + 1, y2 - y1 + 1
        scale = min(size[0] / width, size[1] / height) / padding
        center = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
        return cls(about(center, scale * np.eye(2), (np.array(size, dtype=np.float64) - 1) / 2), size)

    def then(self, matrix: FloatArray) -> Frame:
        """This frame followed by another (2, 3) map of the input onto itself (an augmentation)."""
        return Frame(compose(matrix, self.matrix), self.size)

    def to_input(self, points: FloatArray) -> FloatArray:
        """Image points (…, 2) to input pixels."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]

    def to_image(self, points: FloatArray) -> FloatArray:
        """Input points (…, 2) to image pixels."""
        return (points - self.matrix[:, 2]) @ np.linalg.inv(self.matrix[:, :2]).T

    def covariance_to_image(self, covariance: FloatArray) -> FloatArray:
        """Covariances (…, 2, 2) in input pixels² to image pixels²."""
        inverse = np.linalg.inv(self.matrix[:, :2])
        return inverse @ covariance @ inverse.T


def about(source: FloatArray, linear: FloatArray, destination: FloatArray) -> FloatArray:
    """The (2, 3) affine map with the given 2x2 part that takes the point `source` to `destination`."""
    return np.concatenate([linear, (destination - linear @ source)[:, None]], axis=1)


def compose(second: FloatArray, first: FloatArray) -> FloatArray:
    """The (2, 3) affine map that applies `first`, then `second`."""
    return np.concatenate([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2:] + second[:, 2:]], axis=1)


def resize_matrix(scale_x: float, scale_y: float) -> FloatArray:
    """The (2, 3) map of pixel centres under a resize: x -> (x + ½) · s − ½.

    >>> resize_matrix(0.5, 0.25)
    array([[ 0.5  ,  0.   , -0.25 ],
           [ 0.   ,  0.25 , -0.375]])
    """
    return np.array([[scale_x, 0.0, (scale_x - 1) / 2], [0.0, scale_y, (scale_y - 1) / 2]])


def flip_matrix(width: int) -> FloatArray:
    """The (2, 3) map of a horizontal flip: x -> width − 1 − x."""
    return np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0]])


def flip_points(points: Tensor, *, width: float, swap: Sequence[int] | None = None) -> Tensor:
    """Mirrors points left to right, exactly: x -> width − 1 − x, then exchanges the names of mirrored points.

    Args:
        points: (*batch, K, D) in pixels of an image `width` wide (pixel centres at whole numbers).
        width: Width of the image in pixels.
        swap: For every point the index of its mirror partner (itself if it has none), length K. None leaves the order.

    Returns:
        (*batch, K, D). The function is its own inverse.

    >>> flip_points(torch.tensor([[0.0, 5.0], [7.0, 5.0]]), width=8, swap=[1, 0])
    tensor([[0., 5.],
            [7., 5.]])
    """
    check_tensor("flip_points", "points", points)
    check_swap("flip_points", swap, points.shape[-2] if points.ndim > 1 else 0)
    flipped = torch.cat([width - 1 - points[..., :1], points[..., 1:]], dim=-1)
    return flipped if swap is None else flipped[..., list(swap), :]


def check_swap(function: str, swap: Sequence[int] | None, num_points: int) -> None:
    """Raises ValueError unless `swap` is a permutation of the points that is its own inverse."""
    if swap is None:
        return
    if sorted(swap) != list(range(num_points)) or any(swap[swap[i]] != i for i in range(num_points)):
        rule = f"be a permutation of the {num_points} points that is its own inverse"
        raise ValueError(message(function, "swap", rule, list(swap), "Entry i names the mirror partner of point i."))
