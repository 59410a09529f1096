"""Rendered faces with exact points: a task that needs no data, with blur, noise, shadow and things in front of the face.

A face is a set of polygons on a curved surface. They are turned, projected and painted by exact pixel coverage; the points
go through the same projection, so the truth is exact, also under an occluder, where it can only be inferred.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from heatpoint._checks import message
from heatpoint.datasets.face_model import Face, Palette, disc, face_shapes
from heatpoint.datasets.raster import FloatImage, fill
from heatpoint.datasets.sample import Box, Image, PointSet, Sample, check_split
from heatpoint.frames import FloatArray
from heatpoint.skeleton import load_skeleton

SPLITS = ("train", "validation", "test")
DEFAULT_COUNTS = {"train": 2000, "validation": 250, "test": 500}
CAMERA_DISTANCE = 7.0  # in half widths of the face


def synthetic_faces(num: int, *, size: int = 96, seed: int = 0, split: str = "train") -> PointSet:
    """Renders `num` faces with 18 points; face i of a split is the same whatever `num` is.

    Args:
        num: How many, at least 1.
        size: Side of the square images in pixels, at least 16.
        seed: Another seed gives other faces.
        split: "train", "validation" or "test": streams of their own.

    Raises:
        ValueError: If an argument breaks these rules.

    >>> faces = synthetic_faces(2, size=48)
    >>> faces, faces.samples[1].image.shape
    (PointSet('synthetic_faces', 'train', 2 samples of 18 points), (48, 48, 3))
    """
    check_split("synthetic_faces", split, SPLITS)
    for name, value, least in (("num", num, 1), ("size", size, 16)):
        if value < least:
            raise ValueError(message("synthetic_faces", name, f"be at least {least}", value))
    samples = []
    for index in range(num):
        rng = np.random.default_rng([seed, SPLITS.index(split), index])
        image, points, box = render_face(rng, size=size)
        visible = np.ones(len(points), dtype=np.bool_)
        samples.append(Sample(image, points, visible, box, f"{split}/{seed}/{index}"))
    protocol = {"seed": seed, "size": size, "num": num}
    return PointSet("synthetic_faces", split, load_skeleton("synthetic_face"), tuple(samples), protocol)


def open_synthetic_faces(data_root: Path | str | None, split: str) -> PointSet:
    """The default synthetic faces: 2000 for training, 250 for validation, 500 for testing; needs no `data_root`."""
    check_split("synthetic_faces", split, SPLITS)
    return synthetic_faces(DEFAULT_COUNTS[split], split=split)


def render_face(rng: np.random.Generator, *, size: int = 96, degraded: bool = True) -> tuple[Image, FloatArray, Box]:
    """Renders one random face.

    Args:
        rng: Draws identity, pose and, if `degraded`, light, occluders, blur and noise.
        size: Side of the image in pixels.
        degraded: False leaves the clean drawing.

    Returns:
        (size, size, 3) uint8 RGB; (18, 2) points in the order of the skeleton "synthetic_face"; the head's box.

    >>> image, points, box = render_face(np.random.default_rng(0), size=64)
    >>> image.shape, points.shape
    ((64, 64, 3), (18, 2))
    """
    picture = _background(rng, size)
    face, pose = Face.draw(rng), Pose.draw(rng, size)
    palette = Palette.draw(rng)
    shapes = face_shapes(face, palette, rng)
    counts = [len(polygon) for polygon, _, _ in shapes]
    corners = np.concatenate([polygon for polygon, _, _ in shapes])
    placed = pose.project(corners, face, np.repeat([depth for _, depth, _ in shapes], counts))
    fill(picture, np.split(placed, np.cumsum(counts)[:-1]), [color for _, _, color in shapes])
    points = pose.project(face.points(), face, face.depths())
    outline = pose.project(face.outline(1.0), face, 0.0)
    if degraded:
        picture = _degrade(picture, points, pose.scale, rng)
    (x1, y1), (x2, y2) = outline.min(axis=0), outline.max(axis=0)
    pixels: Image = np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)
    return pixels, points, (float(x1), float(y1), float(x2), float(y2))


@dataclass(frozen=True, eq=False)
class Pose:
    """Turn of the head (radians), and size and place in the image."""

    yaw: float
    pitch: float
    roll: float
    scale: float
    center: FloatArray

    @classmethod
    def draw(cls, rng: np.random.Generator, size: int) -> Pose:
        yaw, pitch, roll = np.radians(rng.uniform(-1, 1, 3) * np.array([32, 15, 25]))
        scale = size * rng.uniform(0.24, 0.31)
        center = (size - 1) / 2 + size * rng.uniform(-0.06, 0.06, 2)
        return cls(float(yaw), float(pitch), float(roll), float(scale), center)

    def project(self, points: FloatArray, face: Face, depth: float | FloatArray) -> FloatArray:
        """Points of the face, on its surface or `depth` before it, to the image: turn, perspective, roll, scale."""
        x, y = points[:, 0], points[:, 1]
        round_off = 1 - 0.9 * x**2 - 0.7 * (y / face.height) ** 2
        z = 0.75 * np.sqrt(np.maximum(round_off, 0)) + depth
        x, z = x * math.cos(self.yaw) + z * math.sin(self.yaw), z * math.cos(self.yaw) - x * math.sin(self.yaw)
        y, z = y * math.cos(self.pitch) + z * math.sin(self.pitch), z * math.cos(self.pitch) - y * math.sin(self.pitch)
        near = CAMERA_DISTANCE / (CAMERA_DISTANCE - z)
        cos, sin = self.scale * math.cos(self.roll), self.scale * math.sin(self.roll)
        flat = np.stack([x * near, y * near], axis=1)
        return flat @ np.array([[cos, sin], [-sin, cos]]) + self.center


def _background(rng: np.random.Generator, size: int) -> FloatImage:
    low, high = rng.uniform(0, 1, (2, 3))
    ramp = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    picture = np.broadcast_to((low + ramp * (high - low)), (size, size, 3)).astype(np.float32)
    num = int(rng.integers(0, 5))
    corners = rng.uniform(-0.2, 1.2, (num, 1, 2)) + rng.uniform(0.1, 0.4, (num, 1, 1)) * rng.uniform(-1, 1, (num, 4, 2))
    fill(picture, list(size * corners), list(rng.uniform(0, 1, (num, 3))), rng.uniform(0.3, 1, num).tolist())
    return picture


def _degrade(picture: FloatImage, points: FloatArray, scale: float, rng: np.random.Generator) -> FloatImage:
    """Occluders, then light, blur and noise."""
    _occlude(picture, points, scale, rng)
    size = picture.shape[0]
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    turn, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.6)
    slope = np.float32(math.cos(turn)) * axis[None] + np.float32(math.sin(turn)) * axis[:, None]
    light = np.float32(rng.uniform(0.6, 1.1)) * (1 + np.float32(strength) * slope)
    picture = picture * light[..., None].astype(np.float32)
    sigma = float(rng.choice([0.0, rng.uniform(0.3, 0.8), rng.uniform(0.8, 2.0)], p=[0.4, 0.4, 0.2])) * size / 96
    if sigma > 0:
        picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    noise = np.float32(rng.uniform(0, 0.07)) * rng.standard_normal(picture.shape, dtype=np.float32)
    result: FloatImage = picture + noise
    return result


def _occlude(picture: FloatImage, points: FloatArray, scale: float, rng: np.random.Generator) -> None:
    """Dark glasses on some faces, and up to two shapes near a point."""
    if rng.random() < 0.12:
        centers = (points[[0, 3]] + points[[1, 2]]) / 2
        glasses = [disc(x, y, 0.3 * scale, 0.24 * scale) for x, y in centers.tolist()]
        fill(picture, glasses, [rng.uniform(0, 0.2, 3)] * 2, [float(rng.uniform(0.7, 1))] * 2)
    num = int(rng.choice(3, p=[0.45, 0.4, 0.15]))
    centers = points[rng.integers(len(points), size=num)] + scale * rng.uniform(-0.3, 0.3, (num, 2))
    angle = np.sort(rng.uniform(0, 2 * np.pi, (num, 7)), axis=1)
    radius = scale * rng.uniform(0.15, 0.55, (num, 7, 1))
    corners = centers[:, None] + radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    fill(picture, list(corners), list(rng.uniform(0, 1, (num, 3))))
