"""Surfaces as triangles, and points drawn on them uniformly by area: what the synthetic clouds are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heatpoint.frames import FloatArray

# The faces of a body with four corners below (0 to 3, around) and the same four above (4 to 7).
FACES = np.array([
    (0, 1, 2), (0, 2, 3), (4, 5, 6), (4, 6, 7), (0, 1, 5), (0, 5, 4),
    (1, 2, 6), (1, 6, 5), (2, 3, 7), (2, 7, 6), (3, 0, 4), (3, 4, 7),
])  # fmt: skip
SIDES = 16


def body(below: FloatArray, above: FloatArray) -> FloatArray:
    """The (12, 3, 3) triangles of a body with six faces.

    Args:
        below: (4, 3) corners of one face, around it.
        above: (4, 3) corners of the opposite face, in the same order.
    """
    triangles: FloatArray = np.concatenate([below, above])[FACES]
    return triangles


def rectangle(low: Sequence[float], high: Sequence[float], y: float) -> FloatArray:
    """The (4, 3) corners of a level rectangle at height y, from (x, z) = `low` to `high`, around it."""
    (x1, z1), (x2, z2) = low, high
    return np.array([(x1, y, z1), (x2, y, z1), (x2, y, z2), (x1, y, z2)])


def box(low: Sequence[float], high: Sequence[float]) -> FloatArray:
    """The (12, 3, 3) triangles of a box between two corners."""
    (x1, y1, z1), (x2, y2, z2) = low, high
    return body(rectangle((x1, z1), (x2, z2), y1), rectangle((x1, z1), (x2, z2), y2))


def bar(start: FloatArray, end: FloatArray, width: float, depth: float) -> FloatArray:
    """The (12, 3, 3) triangles of an upright or leaning bar with level ends, `width` along x and `depth` along z."""
    half = rectangle((-width / 2, -depth / 2), (width / 2, depth / 2), 0.0)
    return body(start + half, end + half)


def tube(centers: FloatArray, radii: FloatArray, *, axis: str = "y", sides: int = SIDES) -> FloatArray:
    """Triangles of a tube around a line of centres, closed at both ends; its rings are square to one axis.

    Args:
        centers: (R, 3) centres of the rings.
        radii: (R,) radii, or (R, 2) along the two other axes (of x, y, z in this order).
        axis: Which axis the rings are square to.
        sides: Corners of a ring; the first lies along the first of the two other axes.

    Returns:
        (2·sides·(R − 1) + 2·sides, 3, 3).
    """
    first, second = (i for i in range(3) if i != "xyz".index(axis))
    angles = 2 * np.pi * np.arange(sides) / sides
    spread = np.broadcast_to(radii if radii.ndim == 2 else radii[:, None], (len(centers), 2))
    rings = np.repeat(centers[:, None], sides, axis=1)
    rings[:, :, first] += spread[:, :1] * np.cos(angles)
    rings[:, :, second] += spread[:, 1:] * np.sin(angles)
    after = np.roll(rings, -1, axis=1)
    lower = np.stack([rings[:-1], after[:-1], rings[1:]], axis=2)
    upper = np.stack([after[:-1], after[1:], rings[1:]], axis=2)
    middles = np.repeat(centers[[0, -1], None], sides, axis=1)
    ends = np.stack([middles, rings[[0, -1]], after[[0, -1]]], axis=2)
    return np.concatenate([part.reshape(-1, 3, 3) for part in (lower, upper, ends)])


def blade(front: FloatArray, back: FloatArray, thickness: FloatArray) -> FloatArray:
    """The (10, 3, 3) triangles of a wing: two edges, thickest midway between them, closed at its tip.

    Args:
        front: (2, 3) leading edge, from root to tip.
        back: (2, 3) trailing edge.
        thickness: (3,) vector from the lower to the upper surface at the root; in proportion to the chord at the tip.
    """
    middle = (front + back) / 2
    chord = np.linalg.norm(back - front, axis=1)
    rise = (chord / chord[0])[:, None] * thickness / 2
    outline = np.stack([front, middle + rise, back, middle - rise], axis=1)
    after = np.roll(outline, -1, axis=1)
    lower = np.stack([outline[0], after[0], outline[1]], axis=1)
    upper = np.stack([after[0], after[1], outline[1]], axis=1)
    tip = outline[1][[(0, 1, 2), (0, 2, 3)]]
    return np.concatenate([lower, upper, tip])


def draw_points(triangles: FloatArray, number: int, rng: np.random.Generator) -> FloatArray:
    """Points (number, 3), independent and uniform on the surface of the triangles (T, 3, 3).

    A triangle is drawn by its area; in it the point a + √u·(b − a) + √u·v·(c − b), u and v uniform (Turk 1990).

    >>> draw_points(np.array([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]]), 5, np.random.default_rng(0)).shape
    (5, 3)
    """
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    total = np.cumsum(np.linalg.norm(np.cross(b - a, c - a), axis=1))
    chosen = np.searchsorted(total, total[-1] * rng.random(number), side="right")
    root, share = np.sqrt(rng.random((number, 1))), rng.random((number, 1))
    return a[chosen] + root * (b - a)[chosen] + root * share * (c - b)[chosen]
