"""The flip test: points of an image and of its mirror image, averaged."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from heatpoint._checks import check_tensor, message
from heatpoint.frames import flip_points


def flip_average(points: Tensor, flipped_points: Tensor, *, width: float, swap: Sequence[int] | None = None) -> Tensor:
    """The mean of the points found in an image and in its mirror image, the latter mirrored back exactly.

    Args:
        points: (*batch, K, D) found in the input.
        flipped_points: (*batch, K, D) found in the mirrored input.
        width: Width of the input in pixels.
        swap: For every point the index of its mirror partner. None if no point has one.

    Returns:
        (*batch, K, D).

    Raises:
        ValueError: If the shapes differ, or swap is no permutation that is its own inverse.

    >>> import torch
    >>> flip_average(torch.tensor([[1.0, 2.0]]), torch.tensor([[5.0, 4.0]]), width=8)
    tensor([[1.5000, 3.0000]])
    """
    check_tensor("flip_average", "points", points)
    check_tensor("flip_average", "flipped_points", flipped_points)
    if points.shape != flipped_points.shape:
        got = tuple(flipped_points.shape)
        raise ValueError(
            message("flip_average", "flipped_points", f"have the points' shape {tuple(points.shape)}", got)
        )
    return (points + flip_points(flipped_points, width=width, swap=swap)) / 2
