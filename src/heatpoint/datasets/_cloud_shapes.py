"""Chairs, tables and airplanes of random parts and sizes, as triangles with the places of their keypoints.

y points up, the front to −z and the object's right to +x, as in the clouds of KeypointNet. Every place is a corner of the
triangles or the centre of an end. A part that an object does not have leaves its keypoints out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from heatpoint.datasets._surfaces import bar, blade, body, box, rectangle, tube
from heatpoint.frames import FloatArray

SIDES = (("left", -1.0), ("right", 1.0))
CORNERS = tuple((f"{end}_{side}", x, z) for end, z in (("front", -1.0), ("back", 1.0)) for side, x in SIDES)


@dataclass
class Shape:
    """An object while it is put together.

    Attributes:
        parts: Triangles (T, 3, 3) of each part.
        places: Where each keypoint lies that the object has.
    """

    parts: list[FloatArray] = field(default_factory=list)
    places: dict[str, FloatArray] = field(default_factory=dict)

    def put(self, name: str, x: float, y: float, z: float) -> None:
        """Names the place of a keypoint."""
        self.places[name] = np.array([x, y, z])


def draw_chair(rng: np.random.Generator) -> Shape:
    """A chair: seat, a solid, slatted or ladder back, often arm rests, on four legs or a pedestal."""
    shape = Shape()
    width, depth, height = rng.uniform(0.42, 0.6), rng.uniform(0.42, 0.58), rng.uniform(0.36, 0.52)
    thick, narrow = rng.uniform(0.02, 0.07), rng.uniform(0.8, 1.0)
    front, back = width / 2, narrow * width / 2
    outline = np.array([(-front, 0, -depth / 2), (front, 0, -depth / 2), (back, 0, depth / 2), (-back, 0, depth / 2)])
    level = np.array([0.0, height, 0.0])
    shape.parts.append(body(outline + level - [0, thick, 0], outline + level))
    for name, x, z in CORNERS:
        shape.put(f"seat_{name}", x * (front if z < 0 else back), height, z * depth / 2)
    _back(shape, rng, half=back, height=height, z=depth / 2)
    if rng.random() < 0.5:
        _arms(shape, rng, front=front, back=back, height=height, depth=depth)
    if rng.random() < 0.2:
        _pedestal(shape, rng, top=height - thick, reach=0.8 * front)
    else:
        corners = np.array([(x * 0.9 * (front if z < 0 else back), z * 0.9 * depth / 2) for _, x, z in CORNERS])
        _legs(shape, rng, corners, top=height - thick)
    return shape


def _back(shape: Shape, rng: np.random.Generator, *, half: float, height: float, z: float) -> None:
    rise, lean, thick = rng.uniform(0.35, 0.62), rng.uniform(0.0, 0.14), rng.uniform(0.02, 0.045)
    wide = half * rng.uniform(0.8, 1.08)
    kind = rng.choice(["solid", "slats", "ladder"])

    def at(share: float) -> FloatArray:
        """Middle of the back's rear edge, the share of its height up, and its half width there."""
        return np.array([half + share * (wide - half), height + share * rise, z + share * lean])

    def panel(low: float, high: float, edge: float = 1.0, middle: float = 0.0) -> FloatArray:
        corners = []
        for x, y, rear in (at(low), at(high)):
            left, right = x * (middle - edge), x * (middle + edge)
            corners.append(rectangle((left, rear - thick), (right, rear), y))
        return body(corners[0], corners[1])

    if kind == "solid":
        shape.parts.append(panel(0.0, 1.0))
    else:
        shape.parts += [panel(0.0, 1.0, 0.1, side * 0.9) for _, side in SIDES]
        shape.parts.append(panel(rng.uniform(0.8, 0.9), 1.0, 0.8))
        number = int(rng.integers(2, 5))
        if kind == "slats":
            shape.parts += [panel(0.0, 0.8, 0.06, -0.8 + 1.6 * (i + 1) / (number + 1)) for i in range(number)]
        else:
            lows = 0.75 * np.arange(1, number + 1) / (number + 1)
            shape.parts += [panel(low, low + 0.1, 0.8) for low in lows]
    for name, side in SIDES:
        x, y, rear = at(1.0)
        shape.put(f"back_top_{name}", side * x, y, rear)


def _arms(shape: Shape, rng: np.random.Generator, *, front: float, back: float, height: float, depth: float) -> None:
    lift, wide, thick = rng.uniform(0.16, 0.26), rng.uniform(0.03, 0.06), rng.uniform(0.02, 0.035)
    reach = -depth / 2 * rng.uniform(0.6, 1.0)
    is_panel = rng.random() < 0.3
    for name, side in SIDES:
        x = side * (max(front, back) - wide / 2)
        y = height + lift
        shape.parts.append(box((x - wide / 2, y - thick, reach), (x + wide / 2, y, depth / 2)))
        foot = depth * rng.uniform(0.35, 0.6) if is_panel else thick
        shape.parts.append(box((x - thick / 2, height, reach), (x + thick / 2, y - thick, reach + foot)))
        shape.put(f"arm_front_{name}", x, y, reach)
        shape.put(f"arm_back_{name}", x, y, depth / 2)


def _legs(shape: Shape, rng: np.random.Generator, corners: FloatArray, *, top: float) -> None:
    """Four legs below the corners (4, 2), x and z in the order of CORNERS: square ones, or round ones that stand apart."""
    thick = rng.uniform(0.025, 0.05)
    is_round = rng.random() < 0.4
    apart, taper = (rng.uniform(1.0, 1.2), rng.uniform(0.5, 0.9)) if is_round else (1.0, 1.0)
    for (name, _, _), (x, z) in zip(CORNERS, corners, strict=True):
        start, end = np.array([x, top, z]), np.array([apart * x, 0.0, apart * z])
        if is_round:
            shape.parts.append(tube(np.stack([start, end]), thick / 2 * np.array([1.0, taper]), sides=12))
        else:
            shape.parts.append(bar(end, start, thick, thick))
        shape.put(f"leg_{name}", apart * x, 0.0, apart * z)
    if not is_round and rng.random() < 0.35:
        y, t = top * rng.uniform(0.25, 0.6), 0.4 * thick
        for i, j in ((0, 2), (1, 3)):
            (x1, z1), (x2, z2) = corners[i], corners[j]
            ends = [np.array([(x - t, y - t, z), (x + t, y - t, z), (x + t, y + t, z), (x - t, y + t, z)])
                    for x, z in ((x1, z1), (x2, z2))]  # fmt: skip
            shape.parts.append(body(ends[0], ends[1]))


def _pedestal(shape: Shape, rng: np.random.Generator, *, top: float, reach: float) -> None:
    """A column on a round plate or on a star of five feet."""
    base, radius = top * rng.uniform(0.06, 0.14), rng.uniform(0.025, 0.05)
    column = np.array([(0, 0, 0), (0, base, 0), (0, top, 0)])
    if rng.random() < 0.5:
        wide = reach * rng.uniform(0.6, 1.0)
        plate = np.array([(0.0, 0.0, 0.0), (0.0, base / 2, 0.0)])
        shape.parts += [tube(plate, np.array([wide, 0.9 * wide]), sides=24), tube(column[1:], np.full(2, radius))]
    else:
        shape.parts.append(tube(column, np.full(3, radius)))
        for angle in 2 * np.pi * np.arange(5) / 5:
            x, z = reach * np.sin(angle), -reach * np.cos(angle)
            along = np.array([(0.0, base, 0.0), (x, base / 2, z)])
            shape.parts.append(tube(along, radius * np.array([0.7, 0.4]), sides=8))
    shape.put("pedestal_foot", 0.0, 0.0, 0.0)


def draw_table(rng: np.random.Generator) -> Shape:
    """A table: a rectangular or round top on four legs, two panels or a pedestal, some with an apron or a shelf."""
    shape = Shape()
    width, height, thick = rng.uniform(0.8, 1.3), rng.uniform(0.4, 0.8), rng.uniform(0.02, 0.06)
    is_round = rng.random() < 0.3
    depth = width * (rng.uniform(0.75, 1.0) if is_round else rng.uniform(0.45, 0.85))
    half = np.array([width / 2, depth / 2])
    if is_round:
        centers = np.array([(0.0, height - thick, 0.0), (0.0, height, 0.0)])
        shape.parts.append(tube(centers, np.stack([half, half]), sides=32))
        for name, x, z in (("left", -1.0, 0.0), ("right", 1.0, 0.0), ("front", 0.0, -1.0), ("back", 0.0, 1.0)):
            shape.put(f"rim_{name}", x * half[0], height, z * half[1])
    else:
        shape.parts.append(box((-half[0], height - thick, -half[1]), (half[0], height, half[1])))
        for name, x, z in CORNERS:
            shape.put(f"top_{name}", x * half[0], height, z * half[1])
    kind = rng.random()
    inset = rng.uniform(0.55, 0.66) if is_round else rng.uniform(0.8, 0.94)
    if kind < 0.25:
        _pedestal(shape, rng, top=height - thick, reach=half[1] * 0.8)
    elif kind < 0.45 and not is_round:
        _panels(shape, rng, inset * half, top=height - thick)
    else:
        corners = np.array([(x * inset * half[0], z * inset * half[1]) for _, x, z in CORNERS])
        _legs(shape, rng, corners, top=height - thick)
        if rng.random() < 0.4:
            low, (x, z) = (height - thick) * rng.uniform(0.82, 0.92), inset * half
            shape.parts += [box((-x, low, end * z - 0.01), (x, height - thick, end * z + 0.01)) for end in (-1.0, 1.0)]
    return shape


def _panels(shape: Shape, rng: np.random.Generator, half: FloatArray, *, top: float) -> None:
    """A panel at either end; its lower outer corners are where the legs end."""
    thick = rng.uniform(0.025, 0.06)
    for name, x, z in CORNERS:
        shape.put(f"leg_{name}", x * half[0], 0.0, z * half[1])
    for _, side in SIDES:
        inner, outer = sorted((side * half[0], side * (half[0] - thick)))
        shape.parts.append(box((inner, 0.0, -half[1]), (outer, top, half[1])))
    if rng.random() < 0.5:
        low, z = top * rng.uniform(0.1, 0.7), half[1] * rng.uniform(0.0, 0.9)
        shape.parts.append(box((-half[0], low, z - 0.01), (half[0], low + 0.2 * top, z + 0.01)))


def draw_airplane(rng: np.random.Generator) -> Shape:
    """An airplane: fuselage, swept wings, fin, tailplane low or on the fin, and none, two or four engines."""
    shape = Shape()
    radius, nose = rng.uniform(0.045, 0.075), rng.uniform(0.1, 0.2)
    taper = rng.uniform(0.2, 0.35)
    lift = radius * rng.uniform(0.2, 0.7)
    share = np.linspace(0, 1, 6)
    z = np.concatenate([-0.5 + nose * share**2, 0.5 - taper * (1 - share)])
    around = radius * np.concatenate([np.sqrt(1 - (1 - share**2) ** 2), 1 - 0.85 * share**1.5])
    rise = np.concatenate([np.zeros(6), lift * share**1.5])
    shape.parts.append(tube(np.stack([np.zeros(12), rise, z], axis=1), around, axis="z"))
    shape.put("nose", 0.0, 0.0, -0.5)
    shape.put("tail", 0.0, lift, 0.5)
    _engines(shape, rng, _wings(shape, rng, radius), radius)
    _tail(shape, rng, z, rise + around)
    return shape


def _wings(shape: Shape, rng: np.random.Generator, radius: float) -> tuple[FloatArray, FloatArray]:
    """Puts both wings on; returns the leading edge (2, 3) of the right one, from root to tip, and its chords (2,)."""
    chord = rng.uniform(0.14, 0.24)
    chords = np.array([chord, chord * rng.uniform(0.2, 0.6)])
    span, sweep, rise = rng.uniform(0.32, 0.52), rng.uniform(0.0, 0.26), rng.uniform(-0.01, 0.06)
    height, z = radius * rng.choice([-0.6, 0.0, 0.7]), rng.uniform(-0.16, -0.02)
    front = np.array([(np.sqrt(radius**2 - height**2), height, z), (span, height + rise, z + sweep)])
    back = front + np.array([(0.0, 0.0, chords[0]), (0.0, 0.0, chords[1])])
    for name, side in SIDES:
        mirror = np.array([side, 1.0, 1.0])
        shape.parts.append(blade(front * mirror, back * mirror, np.array([0.0, 0.12 * chord, 0.0])))
        shape.put(f"wing_root_{name}", *(front[0] * mirror))
        shape.put(f"wing_tip_{name}", *(front[1] * mirror))
    return front, chords


def _tail(shape: Shape, rng: np.random.Generator, z: FloatArray, top: FloatArray) -> None:
    """Puts fin and tailplane on a fuselage whose highest points lie at `top` above `z`."""
    chord, height, sweep = rng.uniform(0.1, 0.16), rng.uniform(0.11, 0.2), rng.uniform(0.04, 0.12)
    ends = np.array([0.48 - chord, 0.48])
    roots = np.stack([np.zeros(2), np.interp(ends, z, top), ends], axis=1)
    tip = np.array([0.0, roots[1, 1] + height, ends[0] + sweep])
    front = np.stack([roots[0], tip])
    back = np.stack([roots[1], tip + np.array([0.0, 0.0, chord * rng.uniform(0.4, 0.7)])])
    shape.parts.append(blade(front, back, np.array([0.12 * chord, 0.0, 0.0])))
    shape.put("fin_root", *front[0])
    shape.put("fin_top", *front[1])
    root = tip if rng.random() < 0.3 else roots[1] - [0.0, 0.01, 0.9 * chord]
    span, wide, swept = rng.uniform(0.12, 0.2), chord * rng.uniform(0.6, 0.8), rng.uniform(0.0, 0.08)
    edge = np.stack([root, root + np.array([span, 0.0, swept])])
    for name, side in SIDES:
        lead = edge * np.array([side, 1.0, 1.0])
        trail = lead + np.array([(0.0, 0.0, wide), (0.0, 0.0, 0.6 * wide)])
        shape.parts.append(blade(lead, trail, np.array([0.0, 0.1 * wide, 0.0])))
        shape.put(f"stabilizer_{name}", *lead[1])


def _engines(shape: Shape, rng: np.random.Generator, wing: tuple[FloatArray, FloatArray], radius: float) -> None:
    edge, chords = wing
    kind = rng.choice(["none", "two", "four", "rear"], p=[0.2, 0.4, 0.2, 0.2])
    size, length = radius * rng.uniform(0.4, 0.6), rng.uniform(0.09, 0.14)
    if kind == "rear":
        places = {"engine": np.array([1.5 * radius, 0.4 * radius, rng.uniform(0.18, 0.24)])}
    elif kind == "none":
        places = {}
    else:
        shares = {"engine": rng.uniform(0.2, 0.32)}
        if kind == "four":
            shares["outer_engine"] = rng.uniform(0.5, 0.62)
        places = {}
        for name, share in shares.items():
            at = edge[0] + share * (edge[1] - edge[0])
            chord = chords[0] + share * (chords[1] - chords[0])
            places[name] = at + np.array([0.0, -1.1 * size - 0.03 * chord, 0.35 * chord - length])
    profile = size * np.array([0.75, 1.0, 1.0, 0.6])
    for name, place in places.items():
        for label, side in SIDES:
            start = place * np.array([side, 1.0, 1.0])
            line = start + np.outer([0.0, 0.25, 0.7, 1.0], [0.0, 0.0, length])
            shape.parts.append(tube(line, profile, axis="z", sides=12))
            shape.put(f"{name}_{label}", *start)
