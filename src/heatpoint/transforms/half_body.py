"""Half-body augmentation of HRNet: now and then only the upper or the lower half of a body fills the input."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from heatpoint._checks import message
from heatpoint.datasets.sample import Box
from heatpoint.frames import FloatArray
from heatpoint.skeleton import Skeleton
from heatpoint.transforms.augment import Augmentation

PADDING = 1.5
# The published code compares a normal, not a uniform number with ½: 0.691 of the draws choose the upper half.
UPPER_SHARE = (1 + math.erf(0.5 / math.sqrt(2))) / 2


def half_body(
    points: FloatArray, visible: npt.NDArray[np.bool_], upper_body: Sequence[int], rng: np.random.Generator
) -> Box | None:
    """A box about the upper or the lower half of a body, by the rule of HRNet and of sampling-argmax's presets.

    The upper half is chosen with probability Φ(½) = 0.691, if it has at least 3 visible points; otherwise the lower half, if it
    has at least 3, or else the upper. The box is as large as the chosen points' tight box, but its middle is their mean.

    Args:
        points: (K, 2) in image pixels.
        visible: (K,) bool.
        upper_body: Indices of the upper half.
        rng: Draws one number.

    Returns:
        (x1, y1, x2, y2), to be shown with a padding of 1.5; None if fewer than 2 points are left to choose from.

    >>> points = np.array([[0.0, 0.0], [6.0, 0.0], [3.0, 3.0], [3.0, 9.0]])
    >>> half_body(points, np.ones(4, bool), (0, 1, 2), np.random.default_rng(0))
    (0.0, -0.5, 6.0, 2.5)
    """
    is_upper = np.zeros(len(points), dtype=np.bool_)
    is_upper[list(upper_body)] = True
    upper, lower = points[visible & is_upper], points[visible & ~is_upper]
    takes_upper = (rng.random() < UPPER_SHARE and len(upper) > 2) or len(lower) <= 2
    chosen = upper if takes_upper else lower
    if len(chosen) < 2:
        return None
    middle, half = chosen.mean(axis=0), (chosen.max(axis=0) - chosen.min(axis=0)) / 2
    (x1, y1), (x2, y2) = (middle - half).tolist(), (middle + half).tolist()
    return (x1, y1, x2, y2)


def maybe_half_body(
    box: Box,
    padding: float,
    *,
    points: FloatArray,
    visible: npt.NDArray[np.bool_],
    skeleton: Skeleton | None,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> tuple[Box, float]:
    """The box and padding to show: those given, or with probability `augmentation.half_body` those of half a body.

    Its numbers come from a generator spawned from `rng`, so that the other changes of the image are the same with and without.

    Args:
        box: Of the whole body.
        padding: Factor on its sides.
        points: (K, 2) in image pixels.
        visible: (K,) bool; no half is shown unless more than `augmentation.half_body_points` are.
        skeleton: Says which points are the upper half.
        augmentation: Probability and least number of points.
        rng: Of the example.

    Raises:
        ValueError: If halves are asked for and the skeleton has none.
    """
    if augmentation.half_body == 0:
        return box, padding
    if skeleton is None or not skeleton.upper_body:
        remedy = "Give the skeleton upper_body, or set augmentation.half_body to 0."
        raise ValueError(message("make_example", "skeleton", "say which points are the upper half", "none", remedy))
    aside = rng.spawn(1)[0]
    is_drawn = aside.random() < augmentation.half_body
    if not is_drawn or visible.sum() <= augmentation.half_body_points:
        return box, padding
    half = half_body(points, visible, skeleton.upper_body, aside)
    return (box, padding) if half is None else (half, PADDING)
