"""A random retina as nine smooth surfaces: layers of varying thickness on a tilted, curved base, with a foveal pit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from heatpoint.frames import FloatArray

SURFACES = ("ILM", "RNFL-GCL", "IPL-INL", "INL-OPL", "OPL-ONL", "ELM", "IS-OS", "OS-RPE", "BM")
# RNFL, GCL + IPL, INL, OPL, ONL, inner segments, outer segments, RPE: usual thickness in micrometres.
THICKNESS_UM = np.array([35.0, 70.0, 38.0, 28.0, 75.0, 28.0, 32.0, 22.0])
# How far a full foveal pit thins each layer (below 0: it thickens), and half its width at 61 % of the depth.
PIT_DEPTH = np.array([0.97, 0.96, 0.95, 0.9, -0.35, -0.1, -0.25, 0.0])
PIT_WIDTH_UM = np.array([650.0, 480.0, 400.0, 350.0, 420.0, 400.0, 300.0, 400.0])
# What remains of each layer where photoreceptors have died.
REMAINS = np.array([0.9, 0.85, 0.9, 0.8, 0.0, 0.35, 0.3, 0.9])
LEAST_UM = 490.0
TOP_ROWS, BOTTOM_ROWS = 6.0, 10.0  # margins of the scan that stay free
MOST_BEND_ROWS = 120.0


@dataclass(frozen=True, eq=False)
class Retina:
    """The drawn numbers of one retina; `rows` evaluates its surfaces anywhere.

    Args:
        spacing: Micrometres per column and per row.
        thickness: (8,) micrometres.
        waves: (9, 4, 2) amplitude and phase of slow waves: of each layer's thickness, and last of the base in rows.
        bend: Rows that the base falls by a tilt and by a curvature, over half the width.
        fovea: Its column as a share of the width from the centre, and the depth of its pit, 0 to 1.
        loss: Where photoreceptors have died: the share that is gone, the radius of what remains and the width of its
            border in micrometres.
        base: Row of the base at the centre.
        width: Columns of the scan.
    """

    spacing: tuple[float, float]
    thickness: FloatArray
    waves: FloatArray
    bend: tuple[float, float]
    fovea: tuple[float, float]
    loss: tuple[float, float, float]
    base: float
    width: int

    @classmethod
    def draw(
        cls, rng: np.random.Generator, *, size: tuple[int, int], axial_um: float, lateral_um: float, is_ill: bool
    ) -> Retina:
        """Draws a retina that lies within a scan of (width, height) `size`, as steep as the room allows."""
        width, height = size
        thickness = THICKNESS_UM * rng.uniform(0.88, 1.1) * rng.uniform(0.9, 1.1, len(THICKNESS_UM))
        waves = np.stack([rng.normal(0, 0.05, (9, 4)) / np.arange(1, 5), rng.uniform(0, 2 * np.pi, (9, 4))], axis=-1)
        waves[8, :, 0] *= 15.0 / axial_um / np.arange(1, 5)  # the base is smoother than what lies on it
        fovea = (float(rng.uniform(-0.35, 0.35)), float(rng.choice([0.0, rng.uniform(0.5, 1.0)], p=[0.4, 0.6])))
        gone = float(rng.uniform(0.85, 1)) if is_ill else 0.0
        radius = rng.uniform(300, 2200) if fovea[1] else rng.uniform(-1500, -500)  # beside the fovea nothing is spared
        loss = (gone, float(radius), float(rng.uniform(200, 500)))
        flat = cls((lateral_um, axial_um), thickness, waves, (0.0, 0.0), fovea, loss, 0.0, width)
        x = np.arange(-1, 2 * width) / 2
        room = max(height - float(np.ptp(flat.rows(x))) - TOP_ROWS - BOTTOM_ROWS, 0.0)
        steep, direction = rng.uniform(0.0, 0.8) * min(room, MOST_BEND_ROWS), rng.uniform(0, 2 * np.pi)
        # A tilt by b moves the two ends by 2b against each other, a curvature by b moves them by b against the centre.
        placed = replace(flat, bend=(steep * float(np.cos(direction)) / 2, steep * float(np.sin(direction))))
        rows = placed.rows(x)
        low, high = TOP_ROWS - rows.min(), height - 1 - BOTTOM_ROWS - rows.max()
        return replace(placed, base=float(low + rng.uniform() * max(high - low, 0.0)))

    def rows(self, x: FloatArray) -> FloatArray:
        """The nine surfaces at columns x, (9, len(x)) in rows, ordered: no layer is thinner than nothing."""
        across = (2 * x + 1 - self.width) / self.width  # −1 to 1 over the width of the scan
        turns = np.pi * np.arange(1, 5)[:, None] * across
        waves = (self.waves[:, :, :1] * np.cos(turns + self.waves[:, :, 1:])).sum(axis=1)
        eccentricity = self.spacing[0] * (x - (self.width - 1) / 2 - self.fovea[0] * self.width)
        pit = self.fovea[1] * np.exp(-0.5 * (eccentricity / PIT_WIDTH_UM[:, None]) ** 2)
        gone, radius, border = self.loss
        lost = gone / (1 + np.exp(np.clip((radius - np.hypot(eccentricity, 200)) / border, -50, 50)))
        factor = (1 - PIT_DEPTH[:, None] * pit) * (1 + waves[:8]) * (1 - lost * (1 - REMAINS[:, None]))
        layers = self.thickness[:, None] * np.maximum(factor, 0) / self.spacing[1]
        bottom = self.base + self.bend[0] * across + self.bend[1] * across**2 + waves[8]
        above = np.cumsum(layers[::-1], axis=0)[::-1]
        rows: FloatArray = np.concatenate([bottom - above, bottom[None]])
        return rows
