"""What the network sees of a scan: flattened about a line that is found in it, cut, resized and changed."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from heatpoint._checks import check_real, message, missing_package
from heatpoint.datasets.scan import Scan, load_scan
from heatpoint.frames import FloatArray
from heatpoint.scan_frame import FloatImage, ScanFrame

try:
    import cv2
except ModuleNotFoundError as error:
    raise missing_package("heatpoint.transforms", error) from error

# In micrometres: the bright band of photoreceptors and pigment epithelium, whose lower edge the line is; the tissue above that
# tells it from the nerve fibres; how far the line may climb from one coarse column to the next.
BAND_UM, TISSUE_UM, CLIMB_UM = 55.0, 320.0, 27.0
DEPTH_UM = 1920.0  # What a scan shows where its spacing is not known: the 496 rows of a Spectralis, 3.87 µm each.
COARSE_COLUMNS = 64
# Where the line lies in the cut: above it is the retina, up to 101 rows thick in `irdlayers`, below it little of interest.
LINE_SHARE = 0.85


def flattening_rows(image: npt.NDArray[np.floating], *, axial_um: float | None = None) -> FloatArray:
    """The line along which a scan of the retina is flattened, found in the image alone: about Bruch's membrane.

    He et al. (MICCAI 2019) flatten to an estimate of Bruch's membrane from gradients of the image. Here it is the lower edge of
    the brightest band, below other tissue, that runs through all columns: with m(a, b) the mean from a to b rows below a row,
    t = 55 µm and T = 320 µm, of what is brighter than the darkest quarter of the scan,

        score = relu(2 m(−t, 0) − ½ m(0, t) − 1½ m(−2t, −t)) · min(m(−T, −t) / b, 1)²,

    the first factor divided by its 99.5th percentile in each column, b half the 98th percentile of the mean that it divides:
    bright nerve fibres have no tissue above. Then the path of the largest sum by dynamic programming, smoothed by a running
    median and a Gaussian. On the 111 scans of irdlayers the lowest boundary lies 2.7 rows above it, with a standard deviation of
    3.2 and never further than 12 from there.

    Args:
        image: (H, W), bright tissue on dark, the vitreous at the top.
        axial_um: Micrometres per row; None takes the scan to show a depth of 1920 µm, as those of a Spectralis do.

    Returns:
        (W,) rows, not whole. A scan without contrast gets its middle. Nothing is drawn at random.

    Raises:
        ValueError: If the image is not finite (H, W), or the spacing not greater than 0.

    >>> image = np.zeros((70, 9), dtype=np.float32)
    >>> image[20:60] = 0.3
    >>> image[46:48] = 1.0
    >>> flattening_rows(image).round(3)
    array([47.5, 47.5, 47.5, 47.5, 47.5, 47.5, 47.5, 47.5, 47.5])
    """
    if image.ndim != 2 or not image.size:
        raise ValueError(message("flattening_rows", "image", "be (H, W) with at least one pixel", image.shape))
    # One NaN would spread over all sums and leave the middle of the scan, as if it had no contrast.
    if not np.isfinite(image).all():
        raise ValueError(message("flattening_rows", "image", "be finite", "NaN or infinity"))
    if axial_um is not None:
        check_real("flattening_rows", "axial_um", axial_um, "be greater than 0", above=0)
    height, width = image.shape
    spacing = axial_um or DEPTH_UM / height
    number = min(COARSE_COLUMNS, width)
    coarse = cv2.resize(image.astype(np.float32), (number, height), interpolation=cv2.INTER_AREA)
    coarse = cv2.GaussianBlur(coarse, (0, 0), sigmaX=1.0, sigmaY=max(5.0 / spacing, 0.3))
    score = _line_score(coarse.astype(np.float64), spacing)
    if not score.any():
        return np.full(width, (height - 1) / 2)
    rows = _smooth(_best_path(score, steps=math.ceil(CLIMB_UM / spacing * COARSE_COLUMNS / number)) - 0.5)
    centers = (np.arange(number) + 0.5) * width / number - 0.5
    line: FloatArray = np.interp(np.arange(width), centers, rows)
    return line


def _line_score(coarse: FloatArray, spacing: float) -> FloatArray:
    """(H, n) how well the upper edge of every pixel fits as the lower edge of the bright band."""
    height = len(coarse)
    coarse = np.maximum(coarse - np.quantile(coarse, 0.25), 0)
    total = np.concatenate([np.zeros((1, coarse.shape[1])), np.cumsum(coarse, axis=0)])
    rows = np.arange(height)

    def mean(first: int, last: int) -> FloatArray:
        ends = np.clip(rows + last, 0, height), np.clip(rows + first, 0, height)
        difference: FloatArray = total[ends[0]] - total[ends[1]]
        return difference / (last - first)

    band, tissue = max(2, round(BAND_UM / spacing)), max(3, round(TISSUE_UM / spacing))
    ridge = np.maximum(2 * mean(-band, 0) - 0.5 * mean(0, band) - 1.5 * mean(-2 * band, -band), 0)
    above = mean(-tissue, -band)
    enough = 0.5 * np.quantile(above, 0.98)
    score: FloatArray = ridge / (np.quantile(ridge, 0.995, axis=0) + 0.05)
    return score * np.minimum(above / enough, 1) ** 2 if enough > 0 else np.zeros_like(score)


def _best_path(score: FloatArray, *, steps: int) -> FloatArray:
    """The rows (n,) of the path with the largest sum of scores (H, n), at most `steps` rows from column to column."""
    height, number = score.shape
    best = score[:, 0]
    came_from = np.zeros((number, height), dtype=np.int64)
    for column in range(1, number):
        padded = np.pad(best, steps, constant_values=-np.inf)
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * steps + 1)
        came_from[column] = windows.argmax(axis=1) + np.arange(height) - steps
        best = windows.max(axis=1) + score[:, column]
    path = np.zeros(number, dtype=np.int64)
    path[-1] = best.argmax()
    for column in range(number - 1, 0, -1):
        path[column - 1] = came_from[column, path[column]]
    return path.astype(np.float64)


def _smooth(rows: FloatArray) -> FloatArray:
    """A running median over 1/8 of the columns and a Gaussian of 1/32 of them, continued beyond both ends by point reflection."""
    number = len(rows)
    half = number // 16
    sigma = number / 32
    reach = math.ceil(3 * sigma)
    if number <= half + reach:
        return rows
    extended = np.pad(rows, half + reach, mode="reflect", reflect_type="odd")
    median = np.median(np.lib.stride_tricks.sliding_window_view(extended, 2 * half + 1), axis=1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    smooth: FloatArray = np.convolve(median, kernel / kernel.sum(), mode="valid")
    return smooth


@dataclass(frozen=True)
class ScanAugmentation:
    """Ranges of the random changes of a training scan; those of its frame are composed into one.

    Args:
        flip: Probability of a mirrored scan.
        row_shift: Everything lower or higher, uniform within ± this share of the rows shown.
        tilt: A slope by which the outermost columns rise and sink, uniform within ± this share of the rows shown.
        bend: A parabola by which the outermost columns are lowered against the middle, uniform within ± this share of the rows
            shown.
        stretch: Factor of the rows, uniform in 1 ± this.
        zoom: Factor of the columns, uniform in 1 to 1 + this, about a random place.
        brightness: Added to the input, uniform within ± this.
        contrast: Factor c uniform in 1 ± this: v -> c·v + (1 − c)·mean.
        gamma: v -> v^g, the logarithm of g uniform within ± this.
        speckle: Noise v -> v · (1 + s·n), n standard normal per pixel, s uniform from 0 to this.
        shadow: Probability of the shadow of a vessel: a strip of columns darkened to 0.2 to 0.8 times its brightness.

    >>> ScanAugmentation().flip
    0.5
    """

    flip: float = 0.5
    row_shift: float = 0.04
    tilt: float = 0.04
    bend: float = 0.02
    stretch: float = 0.1
    zoom: float = 0.25
    brightness: float = 0.05
    contrast: float = 0.2
    gamma: float = 0.2
    speckle: float = 0.2
    shadow: float = 0.3

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(message("ScanAugmentation", name, "be from 0 to 1", getattr(self, name)))
        if self.stretch == 1:
            raise ValueError(message("ScanAugmentation", "stretch", "be below 1", self.stretch))


@dataclass(frozen=True, eq=False)
class ScanExample:
    """What the network and the loss see of one scan.

    Args:
        image: (1, h, w) float32 in [0, 1].
        rows: (S, w) float32 in input rows, 0 where not visible.
        visible: (S, w) bool; False where a surface is not annotated or lies outside the input.
        frame: Scan to input, a mirroring included.
    """

    image: Tensor
    rows: Tensor
    visible: Tensor
    frame: ScanFrame


def make_scan_example(
    scan: Scan,
    *,
    size: tuple[int, int],
    flatten: bool = True,
    crop_rows: int = 0,
    augmentation: ScanAugmentation | None = None,
    rng: np.random.Generator | None = None,
    reference: FloatArray | None = None,
) -> ScanExample:
    """Cuts a scan to the network's input and takes its surfaces along.

    Args:
        scan: Image and surfaces.
        size: (width, height) of the input: 128 x 1024 columns and rows is Sampling-Argmax's, 1024 x 128 that of He et al.
        flatten: Move the columns so that the line of `flattening_rows` is level.
        crop_rows: Scan rows shown, of which 85 % lie above the line; 0 shows as many rows as the scan has.
        augmentation: Random changes; needs `rng`. None leaves them out.
        rng: Draws the changes.
        reference: (W,) the line, to find it only once; None finds it.

    Raises:
        FileNotFoundError: If the image is missing.
        ValueError: If it cannot be read, or an argument does not fit.
    """
    if crop_rows < 0 or (crop_rows and not flatten):
        rule = "be at least 0, and 0 where flatten is off: there is no line to cut about"
        raise ValueError(message("make_scan_example", "crop_rows", rule, crop_rows))
    if augmentation is not None and rng is None:
        remedy = "Give a numpy Generator, e.g. numpy.random.default_rng(0)."
        raise ValueError(message("make_scan_example", "rng", "be given with an augmentation", None, remedy))
    pixels = load_scan(scan)
    scan_size = pixels.shape[1], pixels.shape[0]
    if scan_size[0] != scan.rows.shape[1]:
        rule = f"have the {scan.rows.shape[1]} columns that its rows are given in"
        remedy = "Give a row for every column of the image; missing ones as 0 with visible False."
        raise ValueError(message("make_scan_example", f"the image of {scan.key}", rule, scan_size[0], remedy))
    frame = ScanFrame.whole(scan_size, size)
    if flatten:
        line = flattening_rows(pixels, axial_um=scan.axial_um) if reference is None else reference
        share = LINE_SHARE if crop_rows else float(line.mean() + 0.5) / scan_size[1]
        frame = ScanFrame.around(line, scan_size, size, rows=crop_rows or scan_size[1], share=share)
    if augmentation is not None and rng is not None:
        frame = augment_scan_frame(frame, augmentation, rng)
    image = frame.warp(pixels)
    if augmentation is not None and rng is not None:
        image = scan_intensity(image, augmentation, rng)
    rows, visible = frame.rows_to_input(scan.rows, scan.visible)
    return ScanExample(
        image=torch.from_numpy(image[None]),
        rows=torch.from_numpy(rows.astype(np.float32)),
        visible=torch.from_numpy(visible),
        frame=frame,
    )


def augment_scan_frame(frame: ScanFrame, augmentation: ScanAugmentation, rng: np.random.Generator) -> ScanFrame:
    """Follows a frame by a random shift, tilt, bend and stretch of the rows, a zoom of the columns and a mirroring.

    All numbers are drawn whatever the ranges, so that switching one change off leaves the others as they were.

    >>> frame = ScanFrame.whole((4, 3), (4, 3))
    >>> still = ScanAugmentation(row_shift=0, tilt=0, bend=0, stretch=0, zoom=0, flip=1)
    >>> augment_scan_frame(frame, still, np.random.default_rng(0)).rows_to_scan(np.array([[0.0, 1.0, 2.0, 1.0]]))
    array([[1., 2., 1., 0.]])
    """
    shift, tilt, bend, stretch = rng.uniform(-1, 1, 4)
    zoom, place, flip = rng.random(3)
    across = np.linspace(-1, 1, frame.scan_size[0]) if frame.scan_size[0] > 1 else np.zeros(1)
    lower = augmentation.row_shift * shift + augmentation.tilt * tilt * across + augmentation.bend * bend * across**2
    frame = frame.lowered(lower * frame.rows).stretched(1 + augmentation.stretch * stretch)
    frame = frame.narrowed(1 + augmentation.zoom * zoom, share=place)
    return frame.mirrored() if flip < augmentation.flip else frame


def scan_intensity(image: FloatImage, augmentation: ScanAugmentation, rng: np.random.Generator) -> FloatImage:
    """Random contrast, brightness, gamma, a vessel's shadow and speckle, in this order, of an input (h, w) in [0, 1].

    >>> plain = ScanAugmentation(brightness=0, contrast=0, gamma=0, speckle=0, shadow=0)
    >>> float(scan_intensity(np.full((2, 3), 0.5, np.float32), plain, np.random.default_rng(0)).max())
    0.5
    """
    brightness, contrast, gamma = rng.uniform(-1, 1, 3)
    shadow, place, extent, depth, speckle = rng.random(5)
    factor = 1 + augmentation.contrast * contrast
    result = factor * image + (1 - factor) * image.mean() + augmentation.brightness * brightness
    result = np.clip(result, 0, 1) ** math.exp(augmentation.gamma * gamma)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    if shadow < augmentation.shadow:
        width = image.shape[1]
        # From 0.5 to 4 % of the columns to either side, with soft borders.
        distance = (np.arange(width) - place * width) / (width * (0.005 + 0.035 * extent))
        result = result * (1 - (0.2 + 0.6 * depth) * np.exp(-0.5 * distance**2))
    result = result * (1 + augmentation.speckle * speckle * noise)
    return np.clip(result, 0, 1).astype(np.float32)
