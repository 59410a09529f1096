"""Rendered scans of a retina with exact surfaces: a task that needs no data, with speckle, shadows of vessels and haze.

A retina is nine smooth surfaces (`heatpoint.datasets.retina_model`). Each pixel holds the brightness of the layers by the
share of its area that each covers, so that a surface between two rows shows where it lies; speckle then multiplies it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from heatpoint._checks import check_real, check_whole, message
from heatpoint.datasets.irdlayers import SURFACES as FOUR
from heatpoint.datasets.raster import FloatImage, coverage
from heatpoint.datasets.retina_model import LEAST_UM, Retina
from heatpoint.datasets.retina_model import SURFACES as NINE
from heatpoint.datasets.sample import Image, check_split
from heatpoint.datasets.scan import Scan, ScanSet
from heatpoint.frames import FloatArray
from heatpoint.skeleton import Skeleton

SPLITS = ("train", "validation", "test")
DEFAULT_COUNTS = {"train": 400, "validation": 50, "test": 100}
# The names of what is annotated, and which of the nine surfaces that is.
CHOICES = {4: (FOUR, [0, 4, 6, 8]), 9: (NINE, list(range(9)))}
FIELD_UM = 6000.0  # width of a scan of the macula
ILL_SHARE = 0.4
# Vitreous, RNFL, GCL + IPL, INL, OPL, ONL, inner segments, outer segments, RPE, choroid.
BRIGHTNESS = np.array([0.04, 0.66, 0.44, 0.29, 0.46, 0.19, 0.33, 0.68, 0.8, 0.46])


def synthetic_scans(
    number: int,
    *,
    split: str = "train",
    seed: int = 0,
    size: tuple[int, int] = (128, 160),
    surfaces: int = 4,
    axial_um: float = 3.87,
) -> ScanSet:
    """Renders scans with exact surfaces; scan i of a split is the same whatever `number` is.

    Args:
        number: How many, at least 1.
        split: "train", "validation" or "test": streams of their own.
        seed: At least 0; another seed gives other scans.
        size: (width, height) of the scans in pixels, at least 16 columns, and rows for 490 µm. The width always shows 6 mm.
        surfaces: 4 as in irdlayers, or 9; the same nine are drawn in either case.
        axial_um: Micrometres per row; 3.87 is that of a Spectralis.

    Returns:
        Scans with the tag "healthy", or "ird" where photoreceptors are lost and the ONL ends in nothing.

    Raises:
        TypeError: If a number is none.
        ValueError: If an argument breaks these rules.

    >>> scans = synthetic_scans(2, size=(64, 144))
    >>> scans, scans.samples[1].image.shape, scans.samples[1].rows.shape
    (ScanSet('synthetic_scans', 'train', 2 scans of 4 surfaces), (144, 64), (4, 64))
    """
    check_split("synthetic_scans", split, SPLITS)
    check_whole("synthetic_scans", "number", number, "be a whole number, at least 1", least=1)
    check_whole("synthetic_scans", "seed", seed, "be a whole number, at least 0", least=0)
    check_real("synthetic_scans", "axial_um", axial_um, "be greater than 0", above=0)
    if surfaces not in CHOICES:
        raise ValueError(message("synthetic_scans", "surfaces", "be 4 or 9", surfaces))
    least = math.ceil(LEAST_UM / axial_um)
    if size[0] < 16 or size[1] < least:
        rule = f"be at least 16 columns and, at {axial_um:g} µm per row, {least} rows"
        raise ValueError(message("synthetic_scans", "size", rule, size))
    names, chosen = CHOICES[surfaces]
    samples = []
    for index in range(number):
        rng = np.random.default_rng([seed, SPLITS.index(split), index])
        is_ill = bool(rng.random() < ILL_SHARE)
        image, rows = render_scan(rng, size=size, axial_um=axial_um, is_ill=is_ill)
        tags = frozenset({"ird" if is_ill else "healthy"})
        visible = np.ones((surfaces, size[0]), dtype=np.bool_)
        key, lateral_um = f"{split}/{seed}/{index}", FIELD_UM / size[0]
        samples.append(Scan(image, rows[chosen], visible, key, axial_um=axial_um, lateral_um=lateral_um, tags=tags))
    protocol = {"seed": seed, "size": list(size), "number": number, "axial_um": axial_um}
    return ScanSet("synthetic_scans", split, Skeleton(names), tuple(samples), protocol)


def open_synthetic_scans(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> ScanSet:
    """The default synthetic scans: 400 for training, 50 for validation, 100 for testing; needs no `data_root`."""
    check_split("synthetic_scans", split, SPLITS)
    return synthetic_scans(DEFAULT_COUNTS[split], split=split)


def render_scan(
    rng: np.random.Generator,
    *,
    size: tuple[int, int] = (128, 160),
    axial_um: float = 3.87,
    is_ill: bool = False,
    degraded: bool = True,
) -> tuple[Image, FloatArray]:
    """Renders one random scan.

    Args:
        rng: Draws the retina, its brightness and, if `degraded`, vessels, haze, blur and speckle.
        size: (width, height) in pixels.
        axial_um: Micrometres per row.
        is_ill: Whether photoreceptors are lost away from the fovea, or everywhere.
        degraded: False leaves the clean drawing.

    Returns:
        (height, width) uint8; (9, width) rows of all surfaces at the centres of the columns.

    >>> image, rows = render_scan(np.random.default_rng(0), size=(32, 160))
    >>> image.shape, rows.shape, bool((np.diff(rows, axis=0) >= 0).all())
    ((160, 32), (9, 32), True)
    """
    lateral_um = FIELD_UM / size[0]
    retina = Retina.draw(rng, size=size, axial_um=axial_um, lateral_um=lateral_um, is_ill=is_ill)
    scene = Scene.draw(rng, retina, size)
    picture = scene.degraded(rng) if degraded else scene.picture
    pixels: Image = np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)
    return pixels, scene.rows


@dataclass(frozen=True, eq=False)
class Scene:
    """The clean drawing of a retina, the shares of the pixels below each surface, and the rows at the columns' centres."""

    picture: FloatImage
    below: FloatImage
    rows: FloatArray
    retina: Retina

    @classmethod
    def draw(cls, rng: np.random.Generator, retina: Retina, size: tuple[int, int]) -> Scene:
        width, height = size
        x = np.arange(-1, 2 * width) / 2  # borders and centres of the columns
        rows = retina.rows(x)
        below = _below(x, rows, size)
        brightness = (BRIGHTNESS * rng.uniform(0.88, 1.12, len(BRIGHTNESS))).astype(np.float32)
        steps = np.diff(brightness)
        picture = brightness[0] + np.tensordot(steps, below, axes=1)
        # The choroid loses light with depth; the factor is 1 at its surface, so that the edge there keeps its place.
        depth = np.arange(height, dtype=np.float32)[:, None] - rows[8, 1::2].astype(np.float32)
        fading = np.exp(-np.maximum(depth, 0) * np.float32(retina.spacing[1] / rng.uniform(120, 260)))
        picture *= 1 - below[8] * (1 - fading)
        return cls(picture.astype(np.float32), below, rows[:, 1::2], retina)

    def degraded(self, rng: np.random.Generator) -> FloatImage:
        """The drawing with vessels and what lies in the choroid, uneven light, the beam's blur, speckle and noise."""
        height, width = self.picture.shape
        picture = self.picture * (
            1 + self.below[8] * np.float32(rng.uniform(0.15, 0.4)) * _texture(rng, (height, width))
        )
        picture = self._vessels(rng, picture)
        if rng.random() < 0.3:
            picture += self._hyaloid(rng)
        across = np.linspace(-1, 1, width, dtype=np.float32)
        light = 1 + np.float32(rng.uniform(-0.2, 0.2)) * across + np.float32(rng.uniform(-0.25, 0)) * across**2
        # The beam's point spread is even on both sides, so it widens an edge without moving it.
        picture = cv2.GaussianBlur(picture * light, (0, 0), sigmaX=rng.uniform(0.3, 0.8), sigmaY=rng.uniform(0.5, 0.9))
        picture = picture * speckle(rng, (height, width), looks=int(rng.integers(1, 5)))
        noise = np.abs(rng.normal(0, rng.uniform(0.01, 0.06), (height, width)).astype(np.float32))
        result: FloatImage = np.float32(rng.uniform(0.75, 1.1)) * picture + noise
        return result

    def _vessels(self, rng: np.random.Generator, picture: FloatImage) -> FloatImage:
        """Bright cross-sections in the nerve fibre layer, and the shadows below that layer that they cast."""
        x = np.arange(picture.shape[1], dtype=np.float32)
        for _ in range(int(rng.integers(0, 6))):
            center, radius = rng.uniform(0, len(x)), rng.uniform(25, 90) / self.retina.spacing[0]
            profile = np.exp(-0.5 * ((x - np.float32(center)) / np.float32(max(radius, 0.6))) ** 2)
            shadow, gleam = np.float32(rng.uniform(0.25, 0.85)), np.float32(rng.uniform(0, 0.25))
            fibres = self.below[0] - self.below[1]
            picture = picture * (1 - shadow * profile * self.below[1]) + gleam * profile * fibres
        return picture

    def _hyaloid(self, rng: np.random.Generator) -> FloatImage:
        """The detached rear face of the vitreous: a faint line above the retina that is no surface of it."""
        height, width = self.picture.shape
        across = np.linspace(-1, 1, width, dtype=np.float32)
        line = self.rows[0].min() - rng.uniform(8, 30) + rng.uniform(-15, 5) * (across - rng.uniform(-0.5, 0.5)) ** 2
        distance = np.arange(height, dtype=np.float32)[:, None] - line.astype(np.float32)
        result: FloatImage = np.float32(rng.uniform(0.05, 0.25)) * np.exp(-0.5 * distance**2) * (1 - self.below[0])
        return result


def speckle(rng: np.random.Generator, shape: tuple[int, int], *, looks: int) -> FloatImage:
    """A field of mean 1 that multiplies a scan: the displayed strength of light that coheres over neighbouring pixels.

    The light of each look is a complex Gaussian field, smooth over the size of the point spread; the intensity is the
    mean of the looks' |z|², hence gamma distributed with shape `looks`, and the display takes a root of it.

    Args:
        rng: Draws fields, widths and the root.
        shape: (H, W).
        looks: Number of frames averaged.

    >>> field = speckle(np.random.default_rng(0), (90, 70), looks=2)
    >>> field.shape, round(float(field.mean()), 2)
    ((90, 70), 1.0)
    """
    axial, lateral, root = rng.uniform(0.5, 1.1), rng.uniform(0.3, 1.0), rng.uniform(0.25, 0.5)
    kernels = [cv2.getGaussianKernel(7, sigma, cv2.CV_32F) for sigma in (lateral, axial)]
    kernels = [kernel / np.sqrt((kernel**2).sum()) for kernel in kernels]
    intensity = np.zeros(shape, dtype=np.float32)
    for _ in range(2 * looks):
        field = cv2.sepFilter2D(rng.standard_normal(shape, dtype=np.float32), -1, *kernels)
        intensity += field**2
    displayed = np.power(intensity, np.float32(root))
    result: FloatImage = displayed / displayed.mean()
    return result


def _below(x: FloatArray, rows: FloatArray, size: tuple[int, int]) -> FloatImage:
    """The share of every pixel that lies below each surface, (9, H, W), exact for surfaces straight between the x."""
    width, height = size
    bottom = np.array([[x[-1], height], [x[0], height]])
    polygons = [np.concatenate([np.stack([x, row], axis=1), bottom]) for row in rows]
    shares = np.zeros((len(rows), height, width), dtype=np.float32)
    for share, (area, window) in zip(shares, coverage(polygons, size=size), strict=True):
        share[window] = area
    return shares


def _texture(rng: np.random.Generator, shape: tuple[int, int]) -> FloatImage:
    """Blotches of mean about 0 and spread about 1, as vessels of the choroid make."""
    small = rng.standard_normal((shape[0] // 8 + 2, shape[1] // 6 + 2), dtype=np.float32)
    result: FloatImage = cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return result
