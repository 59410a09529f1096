"""Heidelberg Spectralis .vol files ("raw data export"): the B-scans, their headers and the lines that the device drew.

The layout, all little endian, in which four public readers agree (octSpectralisReader.m of YufanHe/oct_preprocess,
HDEVolImporter.m of FabianRathke/octSegmentation, volReader.py of ayl/heyexReader, vol_reader.py of MedVisBonn/eyepy):

    0     char[12] "HSF-OCT-xxx"; int32 SizeX, NumBScans, SizeZ; float64 ScaleX, Distance, ScaleZ [mm];
    48    int32 SizeXSlo, SizeYSlo; float64 ScaleXSlo, ScaleYSlo [mm]; int32 FieldSizeSlo; float64 ScanFocus;
    84    char[4] ScanPosition ("OD", "OS"); int64 ExamTime; int32 ScanPattern, BScanHdrSize; then who was examined
    2048  uint8[SizeYSlo][SizeXSlo]: picture of the fundus
    then for each B-scan, BScanHdrSize bytes and the scan:
    + 0   char[12]; int32 BScanHdrSize; float64 StartX, StartY, EndX, EndY [mm]; int32 NumSeg, OffSeg;
    + 56  float32 Quality; int32 Shift
    + OffSeg        float32[NumSeg][SizeX]: rows of the lines
    + BScanHdrSize  float32[SizeZ][SizeX]: intensities from 0 to 1

The largest float32 (3.4e38) marks what has no value. What the header says of the patient is never read.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt

from heatpoint._checks import message
from heatpoint.frames import FloatArray

MAGIC = b"HSF-OCT-"
HEADER_BYTES = 2048
HEADER = struct.Struct("<12s3i3d2i2did4sq2i")
SCAN_HEADER = struct.Struct("<12si4d2ifi")
PATTERNS = ("unknown", "line", "circle", "volume", "fast volume", "radial")
# The order of the stored lines as eyepy names it; of most scans only the first two or three are there.
LINES = (
    "ILM",
    "BM",
    "RNFL",
    "GCL",
    "IPL",
    "INL",
    "OPL",
    "ONL",
    "ELM",
    "IOS",
    "OPT",
    "CHO",
    "VIT",
    "ANT",
    "PR1",
    "PR2",
    "RPE",
)
REMEDY = "Export or copy the file again."
Value = TypeVar("Value")


@dataclass(frozen=True)
class VolHeader:
    """What the head of a .vol file says of all its B-scans.

    Args:
        version: "HSF-OCT-103".
        width: Columns of a B-scan.
        height: Rows of a B-scan.
        num_scans: Number of B-scans.
        lateral_mm: Width of a pixel.
        axial_mm: Height of a pixel.
        distance_mm: From one B-scan to the next; 0 where there is one.
        fundus_size: (width, height) of the picture of the fundus in pixels.
        eye: "OD" (right), "OS" (left), or whatever else the file says.
        pattern: "line", "circle", "volume", "fast volume", "radial" or "unknown".
        scan_header_bytes: Length of the header before each B-scan.
    """

    version: str
    width: int
    height: int
    num_scans: int
    lateral_mm: float
    axial_mm: float
    distance_mm: float
    fundus_size: tuple[int, int]
    eye: str
    pattern: str
    scan_header_bytes: int

    def offset(self, index: int) -> int:
        """Place in the file of the header of B-scan `index`; that of one past the last is the length of file that is due."""
        block = self.scan_header_bytes + 4 * self.width * self.height
        return HEADER_BYTES + self.fundus_size[0] * self.fundus_size[1] + index * block


@dataclass(frozen=True)
class VolScanHeader:
    """What stands before one B-scan.

    Args:
        start_mm: (x, y) on the fundus where it begins.
        end_mm: (x, y) where it ends; of a circle its centre.
        num_lines: Number of stored lines.
        lines_offset: Their place in this header.
        quality: The device's measure of quality, None where there is none.
        shift: Columns by which a circle's classification is turned against its lines.
    """

    start_mm: tuple[float, float]
    end_mm: tuple[float, float]
    num_lines: int
    lines_offset: int
    quality: float | None
    shift: int


@dataclass(frozen=True)
class VolSlice:
    """One B-scan of a .vol file, read when it is asked for.

    Args:
        path: The file.
        index: Of the B-scan, counted from 0.
    """

    path: Path | str
    index: int

    def __str__(self) -> str:
        return f"{self.path} B-scan {self.index}"

    def read(self) -> npt.NDArray[np.float32]:
        """(H, W) float32 in [0, 1]: the fourth root of the stored intensities, 0 where there are none.

        Raises:
            As `read_vol_header`; and ValueError if the file has no such B-scan.
        """

        def pixels(file: BinaryIO, header: VolHeader) -> npt.NDArray[np.float32]:
            file.seek(_offset(Path(self.path), header, self.index) + header.scan_header_bytes)
            return _floats(file, (header.height, header.width))

        return displayed(_opened(self.path, pixels))

    def spacings(self) -> tuple[float, float]:
        """Micrometres per row and per column; raises as `read_vol_header`."""
        header = read_vol_header(self.path)
        return 1000 * header.axial_mm, 1000 * header.lateral_mm


def read_vol_header(path: Path | str) -> VolHeader:
    """Reads the head of a .vol file, after checking that all of its B-scans are there.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a .vol file, its sizes or spacings make no sense, or it is cut short.
    """
    return _opened(path, lambda file, header: header)


def read_vol_scan_header(path: Path | str, index: int) -> VolScanHeader:
    """Reads what stands before B-scan `index` (from 0).

    Raises:
        As `read_vol_header`; and ValueError if the file has no such B-scan or its header makes no sense.
    """
    path = Path(path)
    return _opened(path, lambda file, header: _scan_header(path, file, header, index))


def read_vol_lines(path: Path | str, index: int) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Reads the lines that the device or its user drew in B-scan `index`: rows (S, W) and whether they are there (S, W).

    Line s is `LINES[s]`, an order that is not that from top to bottom. The rows are given as they are stored: the layout
    does not say whether they count from 0 or 1, so they are no ground truth to the pixel. Rows that are not there are 0.

    Raises:
        As `read_vol_scan_header`.
    """
    path = Path(path)

    def lines(file: BinaryIO, header: VolHeader) -> npt.NDArray[np.float32]:
        scan = _scan_header(path, file, header, index)
        file.seek(header.offset(index) + scan.lines_offset)
        return _floats(file, (scan.num_lines, header.width))

    rows = _opened(path, lines).astype(np.float64)
    visible = np.isfinite(rows) & (np.abs(rows) < 1e6)
    return np.where(visible, rows, 0.0), visible


def displayed(intensities: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Intensities as the device shows them, I^(1/4); 0 for what lies outside [0, 1], as the mark for "no value" does.

    The rule is that of JHU's octReader.m. Heidelberg's own viewer takes a logarithm with nearly the same look.

    >>> displayed(np.array([[0.0, 0.0016, 1.0, np.finfo(np.float32).max]], dtype=np.float32)).round(3)
    array([[0. , 0.2, 1. , 0. ]], dtype=float32)
    """
    values = np.asarray(intensities, dtype=np.float32)
    # NaN compares False and so becomes 0 too.
    return np.sqrt(np.sqrt(np.where((values >= 0) & (values <= 1), values, np.float32(0))))


def _opened(path: Path | str, read: Callable[[BinaryIO, VolHeader], Value]) -> Value:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(message("read_vol", "path", "be an existing file", path, "Check the data folder."))
    with path.open("rb") as file:
        return read(file, _header(path, file))


def _header(path: Path, file: BinaryIO) -> VolHeader:
    head = file.read(HEADER.size)
    if not head.startswith(MAGIC):
        got = f"{head[:12]!r}" if head else "an empty file"
        raise _broken(path, f"begin with {MAGIC.decode()}, as the raw data of a Spectralis do", got)
    if len(head) < HEADER.size:
        raise _broken(path, f"hold a header of {HEADER_BYTES} bytes", len(head))
    fields = HEADER.unpack(head)
    version, width, num_scans, height, lateral, distance, axial, fundus_width, fundus_height = fields[:9]
    eye, pattern, scan_header_bytes = fields[13], fields[15], fields[16]
    sizes = {"SizeX": width, "NumBScans": num_scans, "SizeZ": height}
    wrong = [f"{name} {size}" for name, size in sizes.items() if size < 1]
    wrong += [f"{name} {size}" for name, size in (("SizeXSlo", fundus_width), ("SizeYSlo", fundus_height)) if size < 0]
    wrong += [f"{n} {v:g}" for n, v in (("ScaleX", lateral), ("ScaleZ", axial)) if not (math.isfinite(v) and v > 0)]
    if scan_header_bytes < SCAN_HEADER.size:
        wrong.append(f"BScanHdrSize {scan_header_bytes}")
    if wrong:
        raise _broken(path, "have sizes and spacings greater than 0 in its header", ", ".join(wrong))
    header = VolHeader(
        version=_text(version),
        width=width,
        height=height,
        num_scans=num_scans,
        lateral_mm=lateral,
        axial_mm=axial,
        distance_mm=distance,
        fundus_size=(fundus_width, fundus_height),
        eye=_text(eye),
        pattern=PATTERNS[pattern] if 0 <= pattern < len(PATTERNS) else PATTERNS[0],
        scan_header_bytes=scan_header_bytes,
    )
    due, size = header.offset(num_scans), path.stat().st_size
    if size < due:
        raise _broken(path, f"hold {num_scans} B-scans of {width} x {height}, {due} bytes in all", size)
    return header


def _scan_header(path: Path, file: BinaryIO, header: VolHeader, index: int) -> VolScanHeader:
    file.seek(_offset(path, header, index))
    fields = SCAN_HEADER.unpack(file.read(SCAN_HEADER.size))
    start_x, start_y, end_x, end_y, num_lines, offset, quality, shift = fields[2:]
    end = offset + 4 * header.width * num_lines
    if num_lines < 0 or (num_lines and not SCAN_HEADER.size <= offset <= end <= header.scan_header_bytes):
        rule = f"have its lines within the {header.scan_header_bytes} bytes of the header of B-scan {index}"
        raise _broken(path, rule, f"NumSeg {num_lines} at OffSeg {offset}")
    known = math.isfinite(quality) and abs(quality) < 1e6
    return VolScanHeader((start_x, start_y), (end_x, end_y), num_lines, offset, quality if known else None, shift)


def _offset(path: Path, header: VolHeader, index: int) -> int:
    if not 0 <= index < header.num_scans:
        rule = f"be from 0 to {header.num_scans - 1}, the B-scans of {path}"
        raise ValueError(message("read_vol", "index", rule, index))
    return header.offset(index)


def _floats(file: BinaryIO, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    data = np.frombuffer(file.read(4 * shape[0] * shape[1]), dtype="<f4")
    return data.reshape(shape).astype(np.float32)


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("ascii", errors="replace").strip()


def _broken(path: Path, rule: str, got: object) -> ValueError:
    return ValueError(message("read_vol", str(path), rule, got, REMEDY))
