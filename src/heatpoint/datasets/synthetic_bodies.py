"""Rendered figures with exact joints in space and known cameras: pose in 3D without any data.

A figure stands some metres before a pinhole camera; its limbs are tapered and painted by exact pixel coverage, from back to
front, in the shade of their depth. Figures face the camera (within 40 degrees), and left and right wear the same, so that a
mirrored image is an image of the mirrored figure.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from heatpoint._checks import message
from heatpoint.cameras import Camera
from heatpoint.datasets.body_model import Figure, figure_shapes
from heatpoint.datasets.raster import FloatImage, fill
from heatpoint.datasets.sample import Body, Image, PointSet, Sample, check_split
from heatpoint.skeleton import load_skeleton

SPLITS = ("train", "validation", "test")
DEFAULT_COUNTS = {"train": 4000, "validation": 400, "test": 500}
FOCAL = 2.0  # in sides of the image
DISTANCE = (3800.0, 4600.0)  # of the pelvis from the camera, in millimetres
MARGIN = 60.0  # Millimetres from the joints to the border of the box, about the thickness of a limb.


def synthetic_bodies(num: int, *, size: int = 96, seed: int = 0, split: str = "train") -> PointSet:
    """Renders `num` figures with 17 joints; figure i of a split is the same whatever `num` is.

    Args:
        num: How many, at least 1.
        size: Side of the square images in pixels, at least 16.
        seed: Another seed gives other figures.
        split: "train", "validation" or "test": streams of their own.

    Raises:
        ValueError: If an argument breaks these rules.

    >>> bodies = synthetic_bodies(2, size=48)
    >>> bodies, bodies.samples[1].body.points.shape
    (PointSet('synthetic_bodies', 'train', 2 samples of 17 points), (17, 3))
    """
    check_split("synthetic_bodies", split, SPLITS)
    for name, value, least in (("num", num, 1), ("size", size, 16)):
        if value < least:
            raise ValueError(message("synthetic_bodies", name, f"be at least {least}", value))
    samples = []
    for index in range(num):
        rng = np.random.default_rng([seed, SPLITS.index(split), index])
        image, body = render_body(rng, size=size)
        points = body.camera.project(body.points)
        margin = MARGIN * body.camera.focal[0] / body.points[body.root, 2]
        (x1, y1), (x2, y2) = points.min(axis=0) - margin, points.max(axis=0) + margin
        box = (float(x1), float(y1), float(x2), float(y2))
        visible = np.ones(len(points), dtype=np.bool_)
        samples.append(Sample(image, points, visible, box, f"{split}/{seed}/{index}", body=body))
    protocol = {"seed": seed, "size": size, "num": num, "camera": "pinhole, true root depth known"}
    return PointSet("synthetic_bodies", split, load_skeleton("synthetic_body"), tuple(samples), protocol)


def open_synthetic_bodies(data_root: Path | str | None, split: str) -> PointSet:
    """The default synthetic figures: 4000 for training, 400 for validation, 500 for testing; needs no `data_root`."""
    check_split("synthetic_bodies", split, SPLITS)
    return synthetic_bodies(DEFAULT_COUNTS[split], split=split)


def render_body(rng: np.random.Generator, *, size: int = 96) -> tuple[Image, Body]:
    """Renders one random figure.

    Args:
        rng: Draws proportions, pose, place, colours, background, blur and noise.
        size: Side of the image in pixels.

    Returns:
        (size, size, 3) uint8 RGB, and the figure in space with its camera.

    >>> image, body = render_body(np.random.default_rng(0), size=64)
    >>> image.shape, body.camera.focal
    ((64, 64, 3), array([128., 128.]))
    """
    camera = Camera(np.eye(3), np.zeros(3), np.full(2, FOCAL * size), np.full(2, (size - 1) / 2))
    figure = Figure.draw(rng)
    middle = (figure.joints.min(axis=0) + figure.joints.max(axis=0)) / 2
    place = np.array([*rng.uniform(-100, 100, 2), rng.uniform(*DISTANCE)]) - np.array([middle[0], middle[1], 0.0])
    joints = figure.joints + place
    picture = _background(rng, size)
    polygons, colors = figure_shapes(joints, figure.size, camera.project, float(camera.focal[0]), rng)
    fill(picture, polygons, colors)
    sigma = rng.uniform(0, 0.5) * size / 96
    if sigma > 0.1:
        picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    picture += np.float32(rng.uniform(0, 0.015)) * rng.standard_normal(picture.shape, dtype=np.float32)
    pixels: Image = np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)
    return pixels, Body(joints, camera)


def _background(rng: np.random.Generator, size: int) -> FloatImage:
    """A grey ramp with a few pale shapes: a figure has all the colour."""
    low, high = rng.uniform(0, 1, 2)
    ramp = np.linspace(low, high, size, dtype=np.float32)[:, None, None]
    picture = np.broadcast_to(ramp, (size, size, 3)).astype(np.float32)
    num = int(rng.integers(0, 4))
    corners = rng.uniform(-0.2, 1.2, (num, 1, 2)) + rng.uniform(0.1, 0.4, (num, 1, 1)) * rng.uniform(-1, 1, (num, 4, 2))
    greys = rng.uniform(0, 1, (num, 1)) + rng.uniform(-0.05, 0.05, (num, 3))
    fill(picture, list(size * corners), list(greys), rng.uniform(0.3, 1, num).tolist())
    return picture
