"""Writes Spectralis .vol files field by field, at the places where public readers look for them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

INVALID = np.finfo(np.float32).max


def write_vol(
    path: Path,
    scans: np.ndarray,
    *,
    lines: list[np.ndarray] | None = None,
    scale_mm: tuple[float, float, float] = (0.0056, 0.124, 0.0039),
    fundus: tuple[int, int] = (7, 5),
    pattern: int = 3,
    header_bytes: int | None = None,
    tail: bytes = b"",
) -> Path:
    """A file of intensities (N, H, W); `lines` are the rows (S, W) stored with each scan, `scale_mm` is (x, distance, z)."""
    number, height, width = scans.shape
    lines = lines if lines is not None else [np.zeros((0, width), np.float32)] * number
    header_bytes = header_bytes or 256 + 4 * width * max(len(rows) for rows in lines)
    head = bytearray(2048)

    def put(place: int, kind: str, *values: object) -> None:
        struct.pack_into("<" + kind, head, place, *values)

    put(0, "12s", b"HSF-OCT-103")
    put(12, "i", width)
    put(16, "i", number)
    put(20, "i", height)
    put(24, "d", scale_mm[0])
    put(32, "d", scale_mm[1])
    put(40, "d", scale_mm[2])
    put(48, "ii", *fundus)
    put(56, "dd", 0.011, 0.012)
    put(72, "i", 30)
    put(76, "d", -1.25)
    put(84, "4s", b"OD")
    put(88, "q", 129235011807231250)
    put(96, "i", pattern)
    put(100, "i", header_bytes)
    put(140, "21s", b"a patient's number")
    blocks = [bytes(head), bytes(range(fundus[0] * fundus[1]))]
    for index, (scan, rows) in enumerate(zip(scans, lines, strict=True)):
        block = bytearray(header_bytes)
        struct.pack_into("<12s", block, 0, b"HSF-BS-103")
        struct.pack_into("<i", block, 12, header_bytes)
        struct.pack_into("<4d", block, 16, 1.5, 2.5 + index, 7.25, 2.5 + index)
        struct.pack_into("<ii", block, 48, len(rows), 256)
        struct.pack_into("<f", block, 56, INVALID if index == 0 else 20.5 + index)
        struct.pack_into("<i", block, 60, -3)
        block[256 : 256 + 4 * rows.size] = rows.astype("<f4").tobytes()
        blocks += [bytes(block), scan.astype("<f4").tobytes()]
    path.write_bytes(b"".join(blocks) + tail)
    return path
