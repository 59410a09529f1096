"""Depth as a third coordinate of the input: millimetres from the root, in pixels along depth."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

from heatpoint.frames import FloatArray

Array = TypeVar("Array", FloatArray, Tensor)


def depth_to_input(depth_mm: Array, *, side: float, depth_range_mm: float) -> Array:
    """z = (depth / range + ½) · side: a volume as deep, in pixels, as the input is wide.

    With the range of the published codes, 2000 mm, and a square input the three axes of a volume then weigh alike in a loss, as
    the axes of normalised u, v, d do there (`heatpoint.volumes`).

    Args:
        depth_mm: Of points behind (+) or before (−) the root, in millimetres.
        side: Width of the input in pixels.
        depth_range_mm: Depth of the volume; the root lies in its middle.

    >>> import torch
    >>> depth_to_input(torch.tensor(-500.0), side=64, depth_range_mm=2000)
    tensor(16.)
    """
    return (depth_mm / depth_range_mm + 0.5) * side


def depth_to_mm(z: Array, *, side: float, depth_range_mm: float) -> Array:
    """The inverse of `depth_to_input`.

    >>> import torch
    >>> depth_to_mm(torch.tensor(16.0), side=64, depth_range_mm=2000)
    tensor(-500.)
    """
    return (z / side - 0.5) * depth_range_mm
