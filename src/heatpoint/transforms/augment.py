"""Random changes of a training image: one matrix for the frame, colours, an erased rectangle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from heatpoint._checks import message, missing_package, one_of
from heatpoint.frames import Frame, about, compose, flip_matrix
from heatpoint.transforms.warp import FloatImage

try:
    import cv2
except ModuleNotFoundError as error:
    raise missing_package("heatpoint.transforms", error) from error

# Share of red, green and blue in the grey value (ITU-R BT.601), as torchvision has it.
GREY = np.array([0.2989, 0.587, 0.114], dtype=np.float32)
ERASE_ATTEMPTS = 10
SHARES = ("scale", "brightness", "contrast", "saturation", "flip", "erase", "rotation_share", "half_body", "channels")


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes of a training image; the defaults are those of randomized rounding, section 5.3.

    The paper names torchvision's transforms; where it leaves a choice open, torchvision's default stands here. The published
    code for body poses draws otherwise: `rotation_share`, `law`, `zoom`, `half_body` and `channels` state how. They take no
    random number from the others, so that a recipe without them sees the same images as ever.

    Args:
        rotation_deg: Rotation about the input's centre, uniform within ± this.
        scale: Factor uniform in 1 ± this.
        translation: Shift per axis, uniform within ± this share of the input's size (16 of 256 pixels).
        flip: Probability of a mirrored image.
        brightness: Factor b uniform in 1 ± this: v -> b·v.
        contrast: Factor c uniform in 1 ± this: v -> c·v + (1 − c)·mean grey value.
        saturation: Factor s uniform in 1 ± this: v -> s·v + (1 − s)·grey value of the pixel.
        erase: Probability that a rectangle is overwritten with noise.
        erase_area: Least and greatest area of the rectangle as a share of the input's.
        erase_aspect: Least and greatest height / width of the rectangle; uniform in the logarithm.
        rotation_share: Probability that the image is rotated at all (0.6 in HRNet and SimplePose, 0.5 in sampling-argmax's COCO).
        law: Of rotation and scale. "uniform", or as in HRNet "normal": the ranges are standard deviations, and what lies
            beyond ± 2 of them (rotation) or ± 1 (scale) is drawn in to there.
        zoom: What the factor enlarges: the "object", or as in HRNet and sampling-argmax the "region" that is cut out, which
            makes the object smaller.
        half_body: Probability that only the upper or the lower half of a body is shown; see `heatpoint.transforms.half_body`.
        half_body_points: A body with no more visible points than this is shown whole.
        channels: Factor of each of red, green and blue on its own, uniform in 1 ± this.

    >>> Augmentation().rotation_deg
    30.0
    """

    rotation_deg: float = 30.0
    scale: float = 0.25
    translation: float = 16 / 256
    flip: float = 0.5
    brightness: float = 0.125
    contrast: float = 0.5
    saturation: float = 0.5
    erase: float = 0.5
    erase_area: tuple[float, float] = (0.02, 0.33)
    erase_aspect: tuple[float, float] = (0.3, 3.3)
    rotation_share: float = 1.0
    law: Literal["uniform", "normal"] = "uniform"
    zoom: Literal["object", "region"] = "object"
    half_body: float = 0.0
    half_body_points: int = 8
    channels: float = 0.0

    def __post_init__(self) -> None:
        one_of("Augmentation", "law", self.law, ("uniform", "normal"))
        one_of("Augmentation", "zoom", self.zoom, ("object", "region"))
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(message("Augmentation", name, "be from 0 to 1", getattr(self, name)))
        if self.scale == 1:
            raise ValueError(message("Augmentation", "scale", "be below 1", self.scale))
        for name in ("rotation_deg", "translation", "half_body_points"):
            if getattr(self, name) < 0:
                raise ValueError(message("Augmentation", name, "be at least 0", getattr(self, name)))
        for name in ("erase_area", "erase_aspect"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(message("Augmentation", name, "be (low, high) with 0 < low <= high", (low, high)))


def augment_frame(frame: Frame, augmentation: Augmentation, rng: np.random.Generator) -> tuple[Frame, bool]:
    """Follows a frame by a random rotation and scale about the input's centre, a shift and a flip, as ONE matrix.

    All numbers are drawn whatever the ranges, so that switching one change off leaves the others as they were.

    Returns:
        The new frame, and whether it mirrors the image: then the names of the points must be exchanged.

    >>> frame = Frame(np.eye(2, 3), (8, 6))
    >>> still = Augmentation(rotation_deg=0, scale=0, translation=0, flip=1)
    >>> augment_frame(frame, still, np.random.default_rng(0))[0].to_input(np.array([[0.0, 2.0]]))
    array([[7., 2.]])
    """
    turn, grow, shift_x, shift_y = rng.uniform(-1, 1, 4)
    flipped = bool(rng.random() < augmentation.flip)
    # A number within ± the share is, divided by it, again uniform within ± 1.
    share = augmentation.rotation_share
    turn = turn / share if 0 < abs(turn) <= share else 0.0
    angle = math.radians(_spread(turn, augmentation, most=2.0) * augmentation.rotation_deg)
    factor = 1 + _spread(grow, augmentation, most=1.0) * augmentation.scale
    if augmentation.zoom == "region":
        factor = 1 / factor
    cos, sin = factor * math.cos(angle), factor * math.sin(angle)
    size = np.array(frame.size, dtype=np.float64)
    center = (size - 1) / 2
    shift = augmentation.translation * size * np.array([shift_x, shift_y])
    matrix = about(center, np.array([[cos, -sin], [sin, cos]]), center + shift)
    if flipped:
        matrix = compose(flip_matrix(frame.size[0]), matrix)
    return frame.then(matrix), flipped


def _spread(uniform: float, augmentation: Augmentation, *, most: float) -> float:
    """A number uniform within ± 1 as it is, or as the standard normal number of the same quantile, cut to ± `most`."""
    if augmentation.law == "uniform":
        return uniform
    # The factor keeps the quantile from 0, where the normal number is infinite.
    normal = NormalDist().inv_cdf(0.5 + 0.5 * (1 - 1e-12) * uniform)
    return min(max(normal, -most), most)


def photometric(
    image: FloatImage, augmentation: Augmentation, rng: np.random.Generator, *, in_place: bool = False
) -> FloatImage:
    """Random brightness, contrast and saturation, in this order, with torchvision's definitions; then of the channels.

    brightness v -> b·v; contrast v -> c·v + (1 − c)·m, m the mean grey value; saturation v -> s·v + (1 − s)·g, g the
    pixel's grey value; channels v -> f·v with a factor per channel; each clipped to [0, 1]. torchvision's ColorJitter draws
    the same factors but also the order; the paper changes the photograph before it is cut, here the input is changed (its
    mean, its black border too).

    Args:
        image: (H, W, 3) float32 in [0, 1], RGB.
        augmentation: The ranges of the factors.
        rng: Draws the three factors; those of the channels come from a generator spawned from it.
        in_place: Changes `image` itself, which must be contiguous, instead of a copy.

    >>> bright = Augmentation(brightness=0, contrast=0, saturation=0)
    >>> float(photometric(np.full((2, 3, 3), 0.5, np.float32), bright, np.random.default_rng(0)).max())
    0.5
    """
    ranges = np.array([augmentation.brightness, augmentation.contrast, augmentation.saturation])
    brightness, contrast, saturation = (1 + ranges * rng.uniform(-1, 1, 3)).astype(np.float32)
    one = np.float32(1)
    if in_place and not image.flags.c_contiguous:
        remedy = "Give numpy.ascontiguousarray of it."
        raise ValueError(message("photometric", "image", "be contiguous to be changed in place", image.strides, remedy))
    result = image if in_place else image.copy()
    if augmentation.brightness > 0:
        result *= brightness
        np.clip(result, 0, 1, out=result)
    if augmentation.contrast > 0:
        mean = GREY @ np.array(cv2.mean(result)[:3], dtype=np.float32)
        result *= contrast
        result += (one - contrast) * mean
        np.clip(result, 0, 1, out=result)
    if augmentation.saturation > 0:
        # One product of 3x3 instead of a grey picture that is added to each channel.
        mixing = saturation * np.eye(3, dtype=np.float32) + (one - saturation) * GREY
        result = cv2.transform(result, mixing, dst=result)
        np.clip(result, 0, 1, out=result)
    if augmentation.channels > 0:
        result *= (1 + augmentation.channels * rng.spawn(1)[0].uniform(-1, 1, 3)).astype(np.float32)
        np.clip(result, 0, 1, out=result)
    return result


def erase(
    image: FloatImage, augmentation: Augmentation, rng: np.random.Generator, *, in_place: bool = False
) -> FloatImage:
    """Overwrites a random rectangle with uniform noise, with probability `augmentation.erase` (Random Erasing).

    Its area is uniform within `erase_area`, the logarithm of its aspect within that of `erase_aspect`; a rectangle that
    does not fit is drawn again, ten times at most. Points under it stay visible: they are to be inferred.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        augmentation: Probability and ranges.
        rng: Draws the rectangle and the noise.
        in_place: Changes `image` itself instead of a copy.

    >>> erase(np.zeros((8, 9, 3), np.float32), Augmentation(erase=0), np.random.default_rng(0)).max()
    np.float32(0.0)
    """
    if rng.random() >= augmentation.erase:
        return image
    height, width = image.shape[:2]
    low, high = (math.log(a) for a in augmentation.erase_aspect)
    for _ in range(ERASE_ATTEMPTS):
        area = height * width * rng.uniform(*augmentation.erase_area)
        aspect = math.exp(rng.uniform(low, high))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < h <= height and 0 < w <= width:
            y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            result = image if in_place else image.copy()
            result[y : y + h, x : x + w] = rng.random((h, w, image.shape[2]), dtype=np.float32)
            return result
    return image
