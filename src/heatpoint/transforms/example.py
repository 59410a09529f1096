"""What the network sees of a sample: its box, cut out and changed, and its points in the input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from heatpoint._checks import message, missing_package, one_of
from heatpoint.datasets.sample import Box, Image, Sample, load_image
from heatpoint.frames import FloatArray, Frame
from heatpoint.skeleton import Skeleton
from heatpoint.transforms.augment import Augmentation, augment_frame, erase, photometric
from heatpoint.transforms.depth import depth_to_input
from heatpoint.transforms.half_body import maybe_half_body
from heatpoint.transforms.warp import FloatImage, warp

try:
    import cv2
except ModuleNotFoundError as error:
    raise missing_package("heatpoint.transforms", error) from error

POLICIES = {
    "P1": "tight box around the visible points",
    "P2": "box given by the set",
    "image": "the whole image",
}


@dataclass(frozen=True, eq=False)
class Example:
    """What the network and the loss see of one sample.

    Args:
        image: (3, height, width) float32 in [0, 1].
        points: (K, 2) float32 in input pixels; of a mirrored example with the names exchanged. (K, 3) in a volume, the third
            along depth.
        visible: (K,) bool; False where a point is not annotated or lies outside the input, or outside the volume.
        frame: Image to input, the flip included.
        flipped: Whether the image is mirrored. To go back: frame.to_image(points), then points[swap].
        has_depth: Whether the third coordinate means something: False without a volume or without a body in the sample.
    """

    image: Tensor
    points: Tensor
    visible: Tensor
    frame: Frame
    flipped: bool
    has_depth: bool = False


def box_of(sample: Sample, policy: str = "P1", *, size: tuple[int, int] | None = None) -> Box:
    """The box that is shown to the network.

    Args:
        sample: Whose box.
        policy: "P1" is the tight box around the visible points, "P2" the box the set gives (randomized rounding,
            section 6), "image" the whole image (as in the published MTFL preset of sampling-argmax).
        size: (width, height) of the image; read from the sample if it is needed and not given.

    Returns:
        (x1, y1, x2, y2), the coordinates of its first and last pixel.

    Raises:
        ValueError: If the policy is unknown, or the sample has not what it asks for.

    >>> points = np.array([[3.0, 4.0], [8.0, 6.5]])
    >>> box_of(Sample(np.zeros((9, 9, 3), np.uint8), points, np.ones(2, bool), None, "a"))
    (3.0, 4.0, 8.0, 6.5)
    """
    one_of("box_of", "policy", policy, POLICIES)
    if policy == "image":
        width, height = size or load_image(sample).shape[1::-1]
        return (0.0, 0.0, width - 1.0, height - 1.0)
    if policy == "P2":
        if sample.box is None:
            remedy = f"{sample.key} gives no box: use P1 or image."
            raise ValueError(message("box_of", "policy", "be one the set supports", "P2", remedy))
        return sample.box
    if not sample.visible.any():
        remedy = "Leave the sample out, or use P2 or image."
        raise ValueError(message("box_of", "sample", "have a visible point for P1", sample.key, remedy))
    points = sample.points[sample.visible]
    (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
    return (float(x1), float(y1), float(x2), float(y2))


def make_example(
    sample: Sample,
    *,
    size: int | tuple[int, int],
    policy: str = "P1",
    padding: float = 1.0,
    skeleton: Skeleton | None = None,
    augmentation: Augmentation | None = None,
    rng: np.random.Generator | None = None,
    image: Image | None = None,
    depth_range_mm: float = 0.0,
) -> Example:
    """Cuts a sample out of its image and, in training, changes it at random.

    Args:
        sample: Image and points.
        size: (width, height) of the input, or its side.
        policy: Which box is shown; see `box_of`.
        padding: Factor on the box's sides.
        skeleton: Needed if the augmentation flips or shows halves of bodies: it says which names to exchange and what is a half.
        augmentation: None for evaluation.
        rng: Needed with `augmentation`; the same generator state gives the same example.
        image: The decoded image, if the caller keeps it; None reads it from the sample.
        depth_range_mm: Depth of the volume about the root of the sample's body; 0 leaves depth out.

    Raises:
        ValueError: If augmentation lacks `rng`, or a flip or a half body lacks `skeleton`.

    >>> sample = Sample(np.zeros((20, 30, 3), np.uint8), np.array([[4.0, 4.0], [11.0, 8.0]]), np.ones(2, bool), None, "a")
    >>> make_example(sample, size=16).points
    tensor([[ 0.5000,  3.5000],
            [14.5000, 11.5000]])
    """
    pixels = load_image(sample if image is None else image)
    size = (size, size) if isinstance(size, int) else size
    box = box_of(sample, policy, size=(pixels.shape[1], pixels.shape[0]))
    points, visible, depths, flipped = sample.points, sample.visible, _depths(sample), False
    if augmentation is not None and rng is None:
        raise ValueError(message("make_example", "rng", "be given with augmentation", None))
    if augmentation is not None and augmentation.flip > 0 and skeleton is None:
        remedy = "It says which names a flip exchanges."
        raise ValueError(message("make_example", "skeleton", "be given when augmentation.flip > 0", None, remedy))
    if augmentation is not None and rng is not None:
        box, padding = maybe_half_body(
            box, padding, points=points, visible=visible, skeleton=skeleton, augmentation=augmentation, rng=rng
        )
    frame = Frame.from_box(box, size, padding=padding)
    if augmentation is not None and rng is not None:
        frame, flipped = augment_frame(frame, augmentation, rng)
    crop = warp(pixels, frame)
    if augmentation is not None and rng is not None:
        crop = photometric(crop, augmentation, rng, in_place=True)
        crop = erase(crop, augmentation, rng, in_place=True)
    if flipped and skeleton is not None:
        order = list(skeleton.swap)
        points, visible, depths = points[order], visible[order], depths[order]
    placed = frame.to_input(points)
    inside = ((placed >= -0.5) & (placed <= np.array(size) - 0.5)).all(axis=-1)
    if depth_range_mm > 0:
        z = depth_to_input(depths, side=size[0], depth_range_mm=depth_range_mm)
        placed = np.concatenate([placed, z[:, None]], axis=1)
        inside &= np.abs(depths) <= depth_range_mm / 2
    return Example(
        image=_planes(crop),
        points=torch.from_numpy(placed.astype(np.float32)),
        visible=torch.from_numpy(visible & inside),
        frame=frame,
        flipped=flipped,
        has_depth=depth_range_mm > 0 and sample.body is not None,
    )


def _planes(image: FloatImage) -> Tensor:
    """An image (H, W, 3) as (3, H, W)."""
    result = np.empty((3, *image.shape[:2]), dtype=np.float32)
    cv2.split(image, list(result))
    return torch.from_numpy(result)


def _depths(sample: Sample) -> FloatArray:
    """Depths (K,) of the points behind the root in millimetres; 0 without a body."""
    if sample.body is None:
        return np.zeros(len(sample.points))
    z = sample.body.points[:, 2]
    return z - z[sample.body.root]
