"""The face that is rendered: random sizes and places of its features, its 18 points, and the polygons to paint.

Lengths are in half widths of the face; x runs to the right in the image and y downwards, from the middle of the face. The
subject's right is on the left (side −1). A polygon comes with its depth before the curved surface of the face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heatpoint.frames import FloatArray

Shape = tuple[FloatArray, float, FloatArray]


@dataclass(frozen=True)
class Face:
    """Sizes and places of the features, in half widths of the face; x to the right in the image, y downwards."""

    height: float
    jaw: float
    eye_x: float
    eye_y: float
    eye_half: float
    eye_open: float
    eye_tilt: float
    iris: float
    gaze_x: float
    gaze_y: float
    brow_gap: float
    brow_half: float
    brow_tilt: float
    brow_thick: float
    brow_arch: float
    nose_y: float
    nose_wing: float
    nose_length: float
    mouth_y: float
    mouth_half: float
    upper_lip: float
    lower_lip: float
    smile: float
    mouth_open: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Face:
        ranges = {
            "height": (1.2, 1.42), "jaw": (0.0, 0.22), "eye_x": (0.36, 0.46), "eye_y": (-0.3, -0.16),
            "eye_half": (0.13, 0.19), "eye_open": (0.035, 0.1), "eye_tilt": (-0.03, 0.03), "iris": (0.06, 0.085),
            "gaze_x": (-0.05, 0.05), "gaze_y": (-0.02, 0.02), "brow_gap": (0.16, 0.26), "brow_half": (0.17, 0.25),
            "brow_tilt": (-0.06, 0.06), "brow_thick": (0.025, 0.055), "brow_arch": (0.0, 0.07),
            "nose_y": (0.16, 0.3), "nose_wing": (0.11, 0.18), "nose_length": (0.25, 0.4), "mouth_y": (0.58, 0.72),
            "mouth_half": (0.24, 0.4), "upper_lip": (0.04, 0.09), "lower_lip": (0.06, 0.12), "smile": (-0.06, 0.1),
            "mouth_open": (-0.06, 0.16),
        }  # fmt: skip
        values = {name: float(rng.uniform(low, high)) for name, (low, high) in ranges.items()}
        return cls(**{**values, "mouth_open": max(0.0, values["mouth_open"])})

    def eye(self, side: int) -> tuple[FloatArray, FloatArray]:
        """Outer and inner corner of an eye; side −1 is left in the image."""
        outer = np.array([side * (self.eye_x + self.eye_half), self.eye_y - self.eye_tilt])
        return outer, np.array([side * (self.eye_x - self.eye_half), self.eye_y + self.eye_tilt])

    def pupil(self, side: int) -> FloatArray:
        return np.array([side * self.eye_x + self.gaze_x, self.eye_y + self.gaze_y])

    def brow(self, side: int) -> tuple[FloatArray, FloatArray]:
        """Outer and inner end of a brow."""
        y = self.eye_y - self.brow_gap
        outer = np.array([side * (self.eye_x + self.brow_half), y + self.brow_tilt])
        return outer, np.array([side * (self.eye_x - self.brow_half), y - self.brow_tilt])

    def points(self) -> FloatArray:
        """The 18 points in the order of the skeleton."""
        right, left = self.eye(-1), self.eye(1)
        brow_right, brow_left = self.brow(-1), self.brow(1)
        wing, corner = self.nose_wing * 0.6, self.mouth_y - self.smile
        middle = [(0.0, self.nose_y), (-wing, self.nose_y + 0.07), (wing, self.nose_y + 0.07)]
        middle += [(-self.mouth_half, corner), (self.mouth_half, corner)]
        middle += [(0.0, self.lip_top()), (0.0, self.lip_bottom()), (0.0, self.height)]
        eyes = np.stack([right[0], right[1], left[1], left[0], self.pupil(-1), self.pupil(1)])
        brows = np.stack([brow_right[0], brow_right[1], brow_left[1], brow_left[0]])
        return np.concatenate([eyes, brows, np.array(middle)])

    def depths(self) -> FloatArray:
        """How far each of the points stands out from the curved surface."""
        depths = np.zeros(18)
        depths[10:13] = (0.28, 0.12, 0.12)
        return depths

    def lip_top(self) -> float:
        return self.mouth_y - self.upper_lip - self.mouth_open / 2

    def lip_bottom(self) -> float:
        return self.mouth_y + self.lower_lip + self.mouth_open / 2

    def outline(self, grow: float) -> FloatArray:
        """The head's outline, narrower at the jaw, its lowest corner the chin; `grow` scales it."""
        angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        x, y = np.sin(angle), np.cos(angle)
        narrow = 1 - self.jaw * np.clip(y, 0, 1) ** 2
        return grow * np.stack([x * narrow, y * self.height], axis=1)


@dataclass(frozen=True, eq=False)
class Palette:
    skin: FloatArray
    hair: FloatArray
    lips: FloatArray
    iris: FloatArray
    cloth: FloatArray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Palette:
        tone = rng.uniform(0.3, 1.0)
        skin = tone * np.array([0.95, 0.75, 0.62]) * rng.uniform(0.93, 1.07, 3)
        hair = rng.uniform(0.05, 0.75) * np.array([0.9, 0.7, 0.5]) * rng.uniform(0.7, 1.3, 3)
        lips = skin * np.array([0.95, 0.6, 0.6]) * rng.uniform(0.85, 1.1)
        return cls(skin, np.clip(hair, 0, 1), lips, rng.uniform(0.05, 0.5, 3), rng.uniform(0, 1, 3))


def face_shapes(face: Face, palette: Palette, rng: np.random.Generator) -> list[Shape]:
    """All polygons of a face, from back to front: corners, depth before the surface, colour."""
    skin, dark = palette.skin, 0.72 * palette.skin
    neck = np.array(
        [[-0.5, 0.8], [0.5, 0.8], [0.6, 2.0], [2.2, 2.6], [2.2, 4.0], [-2.2, 4.0], [-2.2, 2.6], [-0.6, 2.0]]
    )
    length, fringe = rng.uniform(0.2, 1.6), rng.uniform(0.45, 0.95)
    hair = face.outline(1.16)
    hair[:, 1] = np.minimum(hair[:, 1], length)
    front = face.outline(1.03)
    line = -face.height * fringe + 0.15 * rng.uniform(-1, 1) * front[:, 0]
    front[:, 1] = np.minimum(front[:, 1], line)
    shapes: list[Shape] = [(neck * np.array([1, 0.9]), -0.6, palette.cloth), (hair, -0.3, palette.hair)]
    shapes += [(disc(side * 1.0, -0.05, 0.12, 0.22), -0.3, dark) for side in (-1, 1)]
    shapes += [(face.outline(1.0), 0.0, skin), (front, 0.0, palette.hair)]
    shapes += [(disc(side * 0.5, 0.3, 0.22, 0.16), 0.0, 0.94 * skin * np.array([1.04, 0.97, 0.97])) for side in (-1, 1)]
    for side in (-1, 1):
        shapes += _eye_shapes(face, palette, side)
    shapes += _nose_shapes(face, palette)
    return shapes + _mouth_shapes(face, palette)


def _eye_shapes(face: Face, palette: Palette, side: int) -> list[Shape]:
    outer, inner = face.eye(side)
    share = np.linspace(0, 1, 9)[:, None]
    upper, lower = _lids(face, side, share)
    middle = (outer + inner) / 2
    # The upper lid's edge ends in the corners, so that the corners stay those of the eye.
    edge = upper - np.array([0.0, 0.028]) * np.sin(np.pi * share)
    white = np.array([0.93, 0.92, 0.9]) * min(1.0, 0.4 + float(palette.skin.max()))
    return [
        (disc(middle[0], middle[1], 1.35 * face.eye_half, 0.14), 0.0, 0.88 * palette.skin),
        (_band(upper, lower), 0.0, white),
        (_iris(face, side, face.iris), 0.0, palette.iris),
        (_iris(face, side, 0.45 * face.iris), 0.0, np.array([0.06, 0.05, 0.05])),
        (_band(edge, upper), 0.0, 0.3 * palette.skin),
        (_brow(face, side), 0.0, 0.8 * palette.hair),
    ]


def _lids(face: Face, side: int, share: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Upper and lower lid at shares (N, 1) of the way from the outer to the inner corner."""
    outer, inner = face.eye(side)
    line = outer + share * (inner - outer)
    arc = 4 * share * (1 - share) * np.array([0.0, face.eye_open])
    return line - 1.25 * arc, line + 0.8 * arc


def _iris(face: Face, side: int, radius: float) -> FloatArray:
    """A disc about the pupil, as far as the lids leave it open."""
    outer, inner = face.eye(side)
    x, y = face.pupil(side).tolist()
    corners = disc(x, y, radius, radius)
    share = np.clip((corners[:, :1] - outer[0]) / (inner[0] - outer[0]), 0, 1)
    upper, lower = _lids(face, side, share)
    corners[:, 1] = np.clip(corners[:, 1], upper[:, 1], lower[:, 1])
    return corners


def _brow(face: Face, side: int) -> FloatArray:
    outer, inner = face.brow(side)
    share = np.linspace(0, 1, 9)[:, None]
    line = outer + share * (inner - outer) - 4 * share * (1 - share) * np.array([0.0, face.brow_arch])
    thick = np.array([0.0, face.brow_thick]) * np.sqrt(4 * share * (1 - share))
    return _band(line - thick, line + thick)


def _nose_shapes(face: Face, palette: Palette) -> list[Shape]:
    y, wing = face.nose_y, face.nose_wing
    bridge = np.array([[0.02, y - face.nose_length], [0.06, y - 0.1], [wing, y + 0.06], [0.02, y + 0.1]])
    return [
        (disc(0, y + 0.03, wing, 0.09), 0.1, 0.9 * palette.skin),
        (bridge, 0.16, 0.85 * palette.skin),
        (disc(-0.6 * wing, y + 0.07, 0.04, 0.025), 0.12, 0.3 * palette.skin),
        (disc(0.6 * wing, y + 0.07, 0.04, 0.025), 0.12, 0.3 * palette.skin),
        (disc(0, y, 0.06, 0.05), 0.28, np.minimum(1.15 * palette.skin + 0.05, 1)),
    ]


def _mouth_shapes(face: Face, palette: Palette) -> list[Shape]:
    x = np.linspace(-1, 1, 17)
    corner = face.mouth_y - face.smile
    bow = 1 - x**2
    # A dip in the middle of the upper lip between two peaks; zero at the middle, where the point lies.
    dip = 0.15 * (np.exp(-((x / 0.15) ** 2)) - 1) * np.exp(-((x / 0.4) ** 2))
    top = corner + (face.lip_top() - corner) * (1 - dip) * bow
    bottom = corner + (face.lip_bottom() - corner) * bow
    middle = corner + (face.mouth_y - corner) * bow
    gap = face.mouth_open / 2 * bow + 0.008 * np.sqrt(bow)
    across = face.mouth_half * x

    def curve(y: FloatArray) -> FloatArray:
        return np.stack([across, y], axis=1)

    inside = np.array([0.2, 0.06, 0.06]) if face.mouth_open < 0.07 else np.array([0.75, 0.68, 0.66])
    lips, opening = _band(curve(top), curve(bottom)), _band(curve(middle - gap), curve(middle + gap))
    return [(lips, 0.0, palette.lips), (opening, 0.0, inside)]


def _band(upper: FloatArray, lower: FloatArray) -> FloatArray:
    """The polygon between two curves that meet at their ends."""
    return np.concatenate([upper, lower[-2:0:-1]])


def disc(x: float, y: float, half_width: float, half_height: float) -> FloatArray:
    """An ellipse as a polygon of 20 corners."""
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    return np.stack([x + half_width * np.cos(angle), y + half_height * np.sin(angle)], axis=1)
