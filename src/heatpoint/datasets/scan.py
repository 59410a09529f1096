"""Scans of layered tissue and their surfaces, one row per column and surface; what every set of scans yields."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
import numpy.typing as npt

from heatpoint._checks import message
from heatpoint.datasets.whole_files import AGAIN, read_whole
from heatpoint.frames import BoolArray, FloatArray
from heatpoint.skeleton import Skeleton

GreyImage = npt.NDArray[np.float32]


@runtime_checkable
class ScanSource(Protocol):
    """A scan that stands within a larger file (a slice of a volume): it reads itself, and `str` names file and slice."""

    def read(self) -> GreyImage:
        """(H, W) float32 in [0, 1]."""
        ...


ScanImage = Path | npt.NDArray[Any] | ScanSource


@dataclass(frozen=True, eq=False)
class Scan:
    """One cross-section (B-scan) and the rows of its surfaces.

    Args:
        image: Path of the scan, its pixels (H, W), uint8 or floating in [0, 1], or a slice of a volume.
        rows: (S, W) float64, the row of every surface in every column, top to bottom, in pixels of the scan, pixel centres
            at whole numbers: a boundary between pixels r − 1 and r lies at r − ½. Rows that are not visible are 0.
        visible: (S, W) bool; False where a surface is not annotated.
        key: Name of the scan within its set, the same on every machine.
        group: The subject, who must not be divided between splits; "" means the scan alone.
        axial_um: Micrometres per row, None where the set does not say.
        lateral_um: Micrometres per column, None where the set does not say.
        tags: Names of the subsets that the scan belongs to ("healthy").

    Raises:
        ValueError: If shapes or types do not fit, a row is not finite, or a spacing is not positive.
    """

    image: ScanImage
    rows: FloatArray
    visible: BoolArray
    key: str
    group: str = ""
    axial_um: float | None = None
    lateral_um: float | None = None
    tags: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.rows.ndim != 2 or not self.rows.size:
            raise ValueError(message("Scan", "rows", "be (S, W), S and W at least 1", self.rows.shape))
        if self.visible.shape != self.rows.shape or self.visible.dtype != np.bool_:
            got = f"{self.visible.dtype} {self.visible.shape}"
            raise ValueError(message("Scan", "visible", f"be bool {self.rows.shape}", got))
        if not np.isfinite(self.rows).all():
            remedy = "Give a missing row as 0 with visible False."
            raise ValueError(message("Scan", "rows", "be finite", f"NaN or infinity in {self.key}", remedy))
        for name, value in (("axial_um", self.axial_um), ("lateral_um", self.lateral_um)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(message("Scan", name, "be greater than 0", value, "Give None where it is not known."))
        if isinstance(self.image, np.ndarray):
            _check_pixels("Scan", self.image, self.key)
            if self.image.shape[1] != self.rows.shape[1]:
                rule = f"have as many columns as rows ({self.rows.shape[1]})"
                raise ValueError(message("Scan", "image", rule, f"{self.image.shape} in {self.key}"))


@dataclass(frozen=True, eq=False)
class ScanSet:
    """A split of a set of scans: its scans, the names of their surfaces, and the protocol to be printed beside a score.

    Args:
        name: Name of the set.
        split: Which part of it.
        skeleton: Names of the surfaces, top to bottom.
        samples: The scans.
        protocol: What a score depends on beside the scans; plain JSON values.
    """

    name: str
    split: str
    skeleton: Skeleton
    samples: tuple[Scan, ...]
    protocol: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = [scan.key for scan in self.samples if len(scan.rows) != self.skeleton.num_points]
        if wrong:
            rule = f"have the skeleton's {self.skeleton.num_points} surfaces"
            raise ValueError(message("ScanSet", "samples", rule, f"another number in {wrong[0]}"))

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        return f"ScanSet({self.name!r}, {self.split!r}, {len(self)} scans of {self.skeleton.num_points} surfaces)"


def load_scan(source: Scan | Path | str | npt.NDArray[Any] | ScanSource) -> GreyImage:
    """Reads a scan as (H, W) float32 in [0, 1]; files of 8 or 16 bits are divided by 255 or 65535, colours become grey.

    A file that ends too early is refused, as `load_image` does.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is no image or is truncated; or if an array is not (H, W), uint8 or floating in [0, 1].

    >>> load_scan(np.array([[0, 51, 255]], dtype=np.uint8))
    array([[0. , 0.2, 1. ]], dtype=float32)
    """
    if isinstance(source, Scan):
        source = source.image
    if isinstance(source, np.ndarray):
        _check_pixels("load_scan", source, "the array")
        pixels = source
    elif isinstance(source, ScanSource):
        return source.read()
    else:
        pixels = _decode(source)
    if pixels.dtype.kind == "f":
        return pixels.astype(np.float32, copy=False)
    return np.divide(pixels, np.iinfo(pixels.dtype).max, dtype=np.float32)


def row_faults(names: Sequence[str], rows: FloatArray, visible: BoolArray, *, height: int) -> list[str]:
    """What is wrong with the visible rows of a scan: outside the scan, or one surface above the one before it.

    Args:
        names: Of the S surfaces, top to bottom.
        rows: (S, W) rows; surfaces may touch, they may not cross.
        visible: (S, W) bool.
        height: Of the scan in pixels, which reaches from row −½ to height − ½.

    Returns:
        One text per fault, to be set behind the name of file and record.

    >>> rows, visible = np.array([[1.0, 5.0], [2.0, 4.0]]), np.ones((2, 2), dtype=bool)
    >>> row_faults(["top", "bottom"], rows, visible, height=9)
    ["surface 'bottom' lies above 'top' in 1 of 2 columns (the first is column 1)"]
    """
    faults = []
    for name, row, seen in zip(names, rows, visible, strict=True):
        outside = np.flatnonzero(seen & ((row < -0.5) | (row > height - 0.5)))
        if len(outside):
            where = f"row {row[outside[0]]:g} in column {outside[0]}"
            faults.append(f"surface {name!r} leaves the scan of {height} rows in {len(outside)} columns ({where})")
    for low in range(1, len(rows)):
        for high in range(low):
            crossed = np.flatnonzero(visible[low] & visible[high] & (rows[low] < rows[high]))
            if len(crossed):
                where = f"in {len(crossed)} of {rows.shape[1]} columns (the first is column {crossed[0]})"
                faults.append(f"surface {names[low]!r} lies above {names[high]!r} {where}")
    return faults


def _check_pixels(function: str, pixels: npt.NDArray[Any], key: str) -> None:
    if pixels.ndim != 2 or not pixels.size or not (pixels.dtype == np.uint8 or pixels.dtype.kind == "f"):
        got = f"{pixels.dtype} {pixels.shape} in {key}"
        raise ValueError(message(function, "image", "be (H, W), uint8 or floating in [0, 1]", got))
    if pixels.dtype.kind == "f" and not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
        got = f"{pixels.min():g} to {pixels.max():g} in {key}"
        raise ValueError(message(function, "image", "lie in [0, 1]", got, "Divide it by its largest value."))


def _decode(path: Path | str) -> npt.NDArray[Any]:
    """The grey pixels of a file, in its own depth of 8 or 16 bits."""
    data = read_whole("load_scan", "image", path)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    colors = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags) if data else None
    if colors is None or colors.dtype not in (np.uint8, np.uint16):
        rule = "be a readable image of 8 or 16 bits"
        raise ValueError(message("load_scan", "image", rule, path, AGAIN))
    grey: npt.NDArray[Any] = cv2.cvtColor(colors, cv2.COLOR_BGR2GRAY)
    return grey
