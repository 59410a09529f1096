"""The anti-aliased warp: pixels of the input from pixels of the image, through one frame."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from heatpoint._checks import missing_package
from heatpoint.frames import FloatArray, Frame, compose, resize_matrix

try:
    import cv2
except ModuleNotFoundError as error:
    raise missing_package("heatpoint.transforms", error) from error

FloatImage = npt.NDArray[np.float32]


def warp(image: npt.NDArray[np.uint8] | FloatImage, frame: Frame) -> FloatImage:
    """Samples an image on the input's pixels, anti-aliased, 0 outside the image.

    Where the frame shrinks the image, it is first halved by 2x2 means as often as it can be without falling below the
    input's resolution; what shrinking is left is done by sampling at twice the input's resolution and taking 2x2 means.
    Each step composes its exact half-pixel matrix, so that a feature at p lies at frame.to_input(p).

    Pixels have a fourth channel on the way, which nobody reads: opencv's loops over four floats are vectorised, those over three
    are not. The three that count are the same to the last bit, after halving to rounding.

    Args:
        image: (H, W, 3) uint8, or float32 in [0, 1].
        frame: Image to input.

    Returns:
        (height, width, 3) float32 in [0, 1]; bilinear weights in float, nothing is rounded to 8 bits.

    >>> warp(np.full((5, 7, 3), 255, dtype=np.uint8), Frame(np.eye(2, 3), (4, 3))).shape
    (3, 4, 3)
    """
    width, height = frame.size
    shrink = 1 / math.sqrt(abs(float(np.linalg.det(frame.matrix[:, :2]))))
    # The small term keeps a factor of 2 a factor of 2 after rounding.
    halvings = max(0, math.floor(math.log2(shrink) + 1e-9))
    region, matrix = _crop(image, frame, 2**halvings)
    if region.size == 0:
        return np.zeros((height, width, 3), dtype=np.float32)
    for _ in range(halvings):
        region = _halve(region)
        matrix = compose(matrix, resize_matrix(2, 2))
    doubled = shrink > 2**halvings * (1 + 1e-9)
    if doubled:
        matrix = compose(resize_matrix(2, 2), matrix)
    target = (2 * width, 2 * height) if doubled else (width, height)
    result: FloatImage = cv2.warpAffine(region, matrix, target, flags=cv2.INTER_LINEAR, borderValue=0)
    if doubled:
        result = _halve(result)
    result = cv2.cvtColor(result, cv2.COLOR_RGBA2RGB)
    if image.dtype == np.uint8:
        result *= np.float32(1 / 255)
    return result


def _crop(image: npt.NDArray[np.uint8] | FloatImage, frame: Frame, multiple: int) -> tuple[FloatImage, FloatArray]:
    """The part of the image that the frame shows, as float (H, W, 4) with sides of a multiple, and its matrix to the input."""
    right, bottom = frame.size[0] - 0.5, frame.size[1] - 0.5
    corners = frame.to_image(np.array([[-0.5, -0.5], [right, -0.5], [-0.5, bottom], [right, bottom]]))
    # Bilinear weights reach one pixel of the halved image further than the corners. The first pixel is counted from the
    # frame's corner in whole steps, so that an upright frame with a power of 2 between the pixels gets plain means.
    first = np.floor(corners.min(axis=0) + 0.5 + 1e-9).astype(int) - 2 * multiple
    last = np.ceil(corners.max(axis=0)).astype(int) + 2 * multiple
    first += np.maximum(-first // multiple, 0) * multiple
    limit = np.array([image.shape[1], image.shape[0]])
    start = np.minimum(np.maximum(first, 0), limit)
    stop = np.clip(last + 1, start, limit)
    shown = image[start[1] : stop[1], start[0] : stop[0]]
    if shown.size == 0:
        return np.zeros((0, 0, 4), dtype=np.float32), frame.matrix
    # Bytes are copied before they are made four times as large; what opencv has no colours of, after.
    pixels = shown if shown.dtype == np.uint8 else shown.astype(np.float32, copy=False)
    region: FloatImage = cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA).astype(np.float32, copy=False)
    if multiple > 1:
        (left, top), (right, bottom) = start - first, -(stop - first) % multiple
        if top or bottom or left or right:
            region = cv2.copyMakeBorder(region, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)
        start = first
    shift = np.array([[1.0, 0.0, start[0]], [0.0, 1.0, start[1]]])
    return region, compose(frame.matrix, shift)


def _halve(image: FloatImage) -> FloatImage:
    result: FloatImage = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return result
