"""From points in space to the box that a network sees, and back: image coordinates with a depth, normalised to ±½.

The box is the network's input, as wide and high as that is in pixels, and `depth_range_mm` deep about the depth of the root.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from heatpoint._checks import message
from heatpoint.cameras import Camera
from heatpoint.frames import FloatArray, Frame

Array = TypeVar("Array", FloatArray, Tensor)

DEPTH_RANGE_MM = 2000.0


def to_volume(
    pixels_in_input: Array, depth_mm: Array, input_size: tuple[int, int], depth_range_mm: float = DEPTH_RANGE_MM
) -> Array:
    """Normalises input pixels and depths: u = x / W − ½, v = y / H − ½, d = depth / range.

    This is the form of Sampling-Argmax's published code, in which pixel 0 of the input lies at −½ exactly; so does cell 0 of a
    `Grid` with `offset=0`. Differences of u, v and d are the same under every offset.

    Args:
        pixels_in_input: (…, 2) x, y in pixels of the network's input, an array or a tensor.
        depth_mm: (…) depth from the root's, in millimetres; positive is farther from the camera.
        input_size: (W, H) of the input in pixels.
        depth_range_mm: Depth of the box; the published one is 2000.

    Returns:
        (…, 3) u, v, d; within the box all are from −½ to ½. Gradients flow to both inputs.

    Raises:
        ValueError: If a shape does not fit, or a size or the range is not greater than 0.

    >>> to_volume(np.array([[128.0, 192.0]]), np.array([-500.0]), (256, 256))
    array([[ 0.  ,  0.25, -0.25]])
    """
    _check_box("to_volume", input_size, depth_range_mm)
    if pixels_in_input.shape != (*depth_mm.shape, 2):
        rule = f"be {(*depth_mm.shape, 2)}, x and y for every depth"
        raise ValueError(message("to_volume", "pixels_in_input", rule, tuple(pixels_in_input.shape)))
    parts = (
        pixels_in_input[..., 0] / input_size[0] - 0.5,
        pixels_in_input[..., 1] / input_size[1] - 0.5,
        depth_mm / depth_range_mm,
    )
    if isinstance(parts[0], Tensor):
        return torch.stack(parts, dim=-1)
    return np.stack(parts, axis=-1)


def from_volume(
    points: Array, input_size: tuple[int, int], depth_range_mm: float = DEPTH_RANGE_MM
) -> tuple[Array, Array]:
    """Takes normalised points back to input pixels and depths: the inverse of `to_volume`.

    Args:
        points: (…, 3) u, v, d, an array or a tensor.
        input_size: (W, H) of the input in pixels.
        depth_range_mm: Depth of the box.

    Returns:
        (…, 2) input pixels and (…) depths from the root's in millimetres. Gradients flow.

    Raises:
        ValueError: If the points are not (…, 3), or a size or the range is not greater than 0.

    >>> from_volume(torch.tensor([0.0, 0.25, -0.25]), (256, 256))
    (tensor([128., 192.]), tensor(-500.))
    """
    _check_box("from_volume", input_size, depth_range_mm)
    if points.ndim < 1 or points.shape[-1] != 3:
        raise ValueError(message("from_volume", "points", "be (…, 3): u, v, d", tuple(points.shape)))
    x, y = (points[..., 0] + 0.5) * input_size[0], (points[..., 1] + 0.5) * input_size[1]
    depth = points[..., 2] * depth_range_mm
    if isinstance(points, Tensor):
        return torch.stack((x, y), dim=-1), depth
    return np.stack((x, y), axis=-1), depth


def inside_volume(points: FloatArray) -> npt.NDArray[np.bool_]:
    """Which normalised points (…, 3) lie in the box, its border included; the published weight of the others is 0.

    >>> inside_volume(np.array([[0.5, 0.0, 0.0], [0.0, -0.51, 0.0]]))
    array([ True, False])
    """
    return np.all(np.abs(points) <= 0.5, axis=-1)


def camera_to_volume(
    points: FloatArray, *, camera: Camera, frame: Frame, root_depth: float, depth_range_mm: float = DEPTH_RANGE_MM
) -> FloatArray:
    """Takes points in space to the box: projects them, maps the pixels to the input and normalises.

    Args:
        points: (…, 3) in millimetres in the camera's frame.
        camera: The camera of the image.
        frame: From the image to the network's input.
        root_depth: Depth in millimetres at the middle of the box.
        depth_range_mm: Depth of the box.

    Returns:
        (…, 3), as from `to_volume`.

    Raises:
        ValueError: If a point does not lie in front of the camera, or as in `to_volume`.

    >>> camera = Camera(np.eye(3), np.zeros(3), np.array([1000.0, 1000.0]), np.array([320.0, 240.0]))
    >>> frame = Frame(np.array([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]), (320, 240))
    >>> camera_to_volume(np.array([[0.0, 240.0, 2000.0]]), camera=camera, frame=frame, root_depth=1500.0)
    array([[0.  , 0.25, 0.25]])
    """
    pixels = frame.to_input(camera.project(points))
    return to_volume(pixels, points[..., 2] - root_depth, frame.size, depth_range_mm)


def volume_to_camera(
    points: FloatArray, *, camera: Camera, frame: Frame, root_depth: float, depth_range_mm: float = DEPTH_RANGE_MM
) -> FloatArray:
    """Takes points of the box back to millimetres in the camera's frame: the inverse of `camera_to_volume`.

    This is how Human3.6M is scored: with the true depth of the root, for a single image does not tell it.

    Args:
        points: (…, 3) u, v, d.
        camera: The camera of the image.
        frame: From the image to the network's input.
        root_depth: Depth in millimetres at the middle of the box.
        depth_range_mm: Depth of the box.

    Returns:
        (…, 3) in millimetres in the camera's frame.

    Raises:
        ValueError: As `from_volume` and `Camera.back_project`.

    >>> camera = Camera(np.eye(3), np.zeros(3), np.array([1000.0, 1000.0]), np.array([320.0, 240.0]))
    >>> frame = Frame(np.array([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]), (320, 240))
    >>> volume_to_camera(np.array([[0.0, 0.25, 0.25]]), camera=camera, frame=frame, root_depth=1500.0)
    array([[   0.,  240., 2000.]])
    """
    pixels, depth = from_volume(points, frame.size, depth_range_mm)
    return camera.back_project(frame.to_image(pixels), depth + root_depth)


def _check_box(function: str, input_size: tuple[int, int], depth_range_mm: float) -> None:
    if len(input_size) != 2 or not all(side > 0 for side in input_size):
        raise ValueError(message(function, "input_size", "be (width, height), both greater than 0", input_size))
    if not depth_range_mm > 0:
        raise ValueError(message(function, "depth_range_mm", "be greater than 0", depth_range_mm))
