"""The figure that is rendered: random proportions and pose, its 17 joints in space, and the polygons to paint.

Lengths are in millimetres, in the frame of a figure that faces the camera: x to the right in the image (the subject's left), y
down, z away from the camera. Joints stand in the order of the skeleton "synthetic_body", which is that of Human3.6M.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from heatpoint.frames import FloatArray

Project = Callable[[FloatArray], FloatArray]

# Bones that are painted: from, to, radius at either end, colour.
LIMBS = (
    (1, 2, 78, 58, "trousers"), (2, 3, 55, 38, "socks"), (4, 5, 78, 58, "trousers"), (5, 6, 55, 38, "socks"),
    (0, 7, 115, 112, "shirt"), (7, 8, 118, 62, "shirt"), (1, 4, 92, 92, "trousers"), (14, 11, 60, 60, "shirt"),
    (11, 12, 50, 42, "sleeves"), (12, 13, 40, 28, "skin"), (14, 15, 50, 42, "sleeves"), (15, 16, 40, 28, "skin"),
    (8, 10, 52, 84, "skin"), (10, 10, 86, 86, "hair"), (9, 9, 26, 26, "nose"),
    (13, 13, 38, 38, "hands"), (16, 16, 38, 38, "hands"), (3, 3, 46, 46, "shoes"), (6, 6, 46, 46, "shoes"),
)  # fmt: skip
PIECES = 6  # A bone is painted in this many pieces along its length, each with the shade of its own depth.
COLORS = {
    "trousers": (0.20, 0.32, 0.85), "socks": (0.15, 0.75, 0.80), "shirt": (0.90, 0.25, 0.20), "sleeves": (0.95, 0.85, 0.20),
    "skin": (0.95, 0.68, 0.52), "hair": (0.45, 0.25, 0.10), "nose": (0.98, 0.45, 0.60), "hands": (0.98, 0.80, 0.85),
    "shoes": (0.55, 0.20, 0.70),
}  # fmt: skip
SHADE = 0.7  # Share of the light that is lost from NEAR to FAR.
REACH = 750.0  # Depths within ± this of the root, in millimetres, have shades of their own.


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure's joints in space.

    Attributes:
        joints: (17, 3) in millimetres, relative to the pelvis.
        size: Factor on all lengths.
    """

    joints: FloatArray
    size: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Figure:
        """Random proportions, within 5 % of the whole and 2 % of each bone, and a random pose facing the camera."""
        size = rng.uniform(0.95, 1.05)
        bone = {name: length * size * rng.uniform(0.98, 1.02) for name, length in BONES.items()}
        hips = _turn(rng, yaw=40, pitch=10, roll=8)
        chest = hips @ _turn(rng, yaw=12, pitch=(-22, 6), roll=10)
        face = chest @ _turn(rng, yaw=25, pitch=15, roll=12)
        joints = np.zeros((17, 3))
        joints[7] = hips @ np.array([0.0, -bone["spine"], 0.0])
        joints[8] = joints[7] + chest @ np.array([0.0, -bone["chest"], 0.0])
        joints[9] = joints[8] + face @ np.array([0.0, -bone["face"], -0.75 * bone["face"]])
        joints[10] = joints[8] + face @ np.array([0.0, -bone["head"], 0.0])
        for side, hip, shoulder in ((-1, 1, 14), (1, 4, 11)):
            joints[hip] = hips @ np.array([side * bone["hip"], 0.0, 0.0])
            upper, lower = _leg(rng, side)
            joints[hip + 1] = joints[hip] + bone["thigh"] * (hips @ upper)
            joints[hip + 2] = joints[hip + 1] + bone["shin"] * (hips @ lower)
            joints[shoulder] = joints[8] + chest @ np.array([side * bone["shoulder"], 0.12 * bone["shoulder"], 0.0])
            upper, lower = _arm(rng, side)
            joints[shoulder + 1] = joints[shoulder] + bone["upper_arm"] * (chest @ upper)
            joints[shoulder + 2] = joints[shoulder + 1] + bone["forearm"] * (chest @ lower)
        return cls(joints, size)


BONES = {
    "spine": 235.0, "chest": 255.0, "face": 118.0, "head": 205.0, "hip": 133.0, "thigh": 448.0, "shin": 445.0,
    "shoulder": 152.0, "upper_arm": 279.0, "forearm": 251.0,
}  # fmt: skip


def figure_shapes(
    joints: FloatArray, size: float, project: Project, focal: float, rng: np.random.Generator
) -> tuple[list[FloatArray], list[FloatArray]]:
    """The polygons of a figure from back to front, in pixels, and their colours.

    The further a piece of a bone lies behind the pelvis, the darker and bluer it is painted: what depth the perspective and
    the foreshortening of the bones leave open, the shade tells.

    Args:
        joints: (17, 3) in the camera's frame, in millimetres.
        size: Of the figure, for the thickness of its limbs.
        project: Camera coordinates (N, 3) to pixels (N, 2).
        focal: Focal length in pixels.
        rng: Draws the colours, within 1 % of the palette: shade is to tell depth.
    """
    palette = {name: np.array(color) * rng.uniform(0.99, 1.01, 3) for name, color in COLORS.items()}
    starts, ends, radii, colors = [], [], [], []
    for first, last, at_first, at_last, color in LIMBS:
        pieces = PIECES if first != last else 1
        share = np.linspace(0, 1, pieces + 1)[:, None]
        line = joints[first] + share * (joints[last] - joints[first])
        radius = size * (at_first + share * (at_last - at_first))
        starts.append(line[:-1])
        ends.append(line[1:])
        radii.append(np.concatenate([radius[:-1], radius[1:]], axis=1))
        colors += [palette[color]] * pieces
    start, end, radius = np.concatenate(starts), np.concatenate(ends), np.concatenate(radii)
    depth = (start[:, 2] + end[:, 2]) / 2
    scale = focal / np.stack([start[:, 2], end[:, 2]], axis=1)
    polygons = _capsules(project(start), project(end), radius * scale)
    # A ball is seen by its near side.
    order = np.argsort(-(depth - radius.mean(axis=1)), kind="stable")
    shades = _shade(depth - joints[0, 2])
    return [polygons[i] for i in order], [colors[i] * shades[i] for i in order]


def _shade(relative: FloatArray) -> FloatArray:
    """Factors (N, 3) on red, green and blue at depths relative to the root; blue loses half as much."""
    share = np.clip((relative + REACH) / (2 * REACH), 0, 1)[:, None]
    return 1 - SHADE * share * np.array([1.0, 1.0, 0.5])


def _capsules(first: FloatArray, last: FloatArray, radius: FloatArray) -> FloatArray:
    """Outlines (N, 16, 2) of two circles each with their tangents."""
    along = np.arctan2(last[:, 1] - first[:, 1], last[:, 0] - first[:, 0])[:, None]
    turn = np.linspace(-np.pi / 2, np.pi / 2, 8)
    ahead = np.stack([np.cos(along + turn), np.sin(along + turn)], axis=-1)
    behind = -ahead
    outline = [last[:, None] + radius[:, 1, None, None] * ahead, first[:, None] + radius[:, 0, None, None] * behind]
    return np.concatenate(outline, axis=1)


def _turn(rng: np.random.Generator, *, yaw: float, pitch: float | tuple[float, float], roll: float) -> FloatArray:
    """A random rotation: within ± yaw and roll degrees, and within the range of pitch (negative leans to the camera)."""
    low, high = pitch if isinstance(pitch, tuple) else (-pitch, pitch)
    a, b, c = np.radians([rng.uniform(-yaw, yaw), rng.uniform(low, high), rng.uniform(-roll, roll)])
    about_y = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    about_z = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    turned: FloatArray = about_y @ about_x @ about_z
    return turned


def _leg(rng: np.random.Generator, side: int) -> tuple[FloatArray, FloatArray]:
    """Directions of thigh and shin: the thigh swings forwards and outwards, the knee bends backwards."""
    swing, spread, knee = np.radians([rng.uniform(-20, 55), rng.uniform(0, 25), rng.uniform(0, 70)])
    return _down(swing, side * spread), _down(swing - knee, side * spread)


def _arm(rng: np.random.Generator, side: int) -> tuple[FloatArray, FloatArray]:
    """Directions of upper arm and forearm: the arm is lifted to the side and the front, the elbow bends forwards."""
    swing, spread, elbow = np.radians([rng.uniform(-25, 65), rng.uniform(12, 80), rng.uniform(0, 85)])
    inwards = np.radians(rng.uniform(0, 30))
    return _down(swing, side * spread), _down(swing + elbow, side * (spread - inwards))


def _down(swing: float, spread: float) -> FloatArray:
    """The direction that points down when both angles are 0, swung to the front (−z) and spread to the right (+x)."""
    return np.array([math.sin(spread), math.cos(spread) * math.cos(swing), -math.cos(spread) * math.sin(swing)])
