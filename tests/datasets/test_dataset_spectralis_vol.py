"""Spectralis .vol files: what is written at the published places reads back, and what is broken is named."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from heatpoint.datasets import VolSlice, load_scan, read_vol_header, read_vol_lines
from heatpoint.datasets.spectralis_vol import LINES, REMEDY, read_vol_scan_header
from spectralis import INVALID, write_vol

SCANS = np.random.default_rng(5).uniform(0, 1, (3, 13, 11)).astype(np.float32)


def lines(number: int) -> np.ndarray:
    return np.arange(number * 11, dtype=np.float32).reshape(number, 11) / 8


def test_header_and_every_scan_read_back(tmp_path: Path) -> None:
    path = write_vol(tmp_path / "a.vol", SCANS, lines=[lines(2), lines(3), lines(0)], tail=b"thickness grid")
    header = read_vol_header(path)
    assert (header.version, header.width, header.height, header.num_scans) == ("HSF-OCT-103", 11, 13, 3)
    assert (header.lateral_mm, header.distance_mm, header.axial_mm) == (0.0056, 0.124, 0.0039)
    assert (header.fundus_size, header.eye, header.pattern) == ((7, 5), "OD", "volume")
    for index, scan in enumerate(SCANS):
        read = VolSlice(path, index).read()
        assert read.dtype == np.float32
        np.testing.assert_allclose(read, scan.astype(np.float64) ** 0.25, rtol=1e-6)
        assert (load_scan(VolSlice(path, index)) == read).all()
        assert (VolSlice(str(path), index).read() == read).all()
    assert str(VolSlice(path, 2)) == f"{path} B-scan 2"
    assert VolSlice(path, 2).spacings() == pytest.approx((3.9, 5.6))


def test_headers_of_scans_and_their_lines(tmp_path: Path) -> None:
    drawn = lines(3)
    drawn[1, 4:6] = INVALID
    path = write_vol(tmp_path / "a.vol", SCANS, lines=[lines(2), drawn, lines(0)])
    first, second = read_vol_scan_header(path, 0), read_vol_scan_header(path, 1)
    assert (first.start_mm, second.start_mm, second.end_mm) == ((1.5, 2.5), (1.5, 3.5), (7.25, 3.5))
    assert (first.quality, second.quality, second.shift) == (None, 21.5, -3)
    assert (first.num_lines, second.num_lines, second.lines_offset) == (2, 3, 256)
    rows, visible = read_vol_lines(path, 1)
    assert not visible[1, 4:6].any()
    assert visible.sum() == 33 - 2
    np.testing.assert_array_equal(rows, np.where(visible, drawn, 0))
    assert [len(read_vol_lines(path, index)[0]) for index in (0, 1, 2)] == [2, 3, 0]
    assert LINES[:3] == ("ILM", "BM", "RNFL")


def test_pixels_without_a_value_are_black(tmp_path: Path) -> None:
    scans = np.full((1, 2, 5), 0.0625)
    scans[0, 0, :4] = [INVALID, np.nan, -0.5, 1.5]
    read = VolSlice(write_vol(tmp_path / "a.vol", scans), 0).read()
    assert read.tolist() == [[0, 0, 0, 0, 0.5], [0.5] * 5]


@pytest.mark.parametrize(("code", "name"), [(0, "unknown"), (1, "line"), (2, "circle"), (5, "radial"), (9, "unknown")])
def test_patterns(code: int, name: str, tmp_path: Path) -> None:
    assert read_vol_header(write_vol(tmp_path / "a.vol", SCANS, pattern=code)).pattern == name


def test_a_header_longer_than_its_lines_is_skipped(tmp_path: Path) -> None:
    path = write_vol(tmp_path / "a.vol", SCANS, lines=[lines(1)] * 3, header_bytes=999)
    np.testing.assert_allclose(VolSlice(path, 2).read(), SCANS[2].astype(np.float64) ** 0.25, rtol=1e-6)
    assert (read_vol_lines(path, 2)[0] == lines(1)).all()


@pytest.mark.parametrize(
    ("length", "rule"),
    [
        (0, "begin with HSF-OCT-, as the raw data of a Spectralis do, got an empty file"),
        (50, "hold a header of 2048 bytes, got 50"),
        (103, "hold a header of 2048 bytes, got 103"),
        (1000, "hold 3 B-scans of 11 x 13, 4567 bytes in all, got 1000"),
        (4566, "hold 3 B-scans of 11 x 13, 4567 bytes in all, got 4566"),
    ],
)
def test_truncated_files_are_refused_before_a_scan_is_read(length: int, rule: str, tmp_path: Path) -> None:
    path = write_vol(tmp_path / "a.vol", SCANS)
    path.write_bytes(path.read_bytes()[:length])
    for read in (lambda: read_vol_header(path), lambda: VolSlice(path, 0).read(), lambda: read_vol_lines(path, 0)):
        with pytest.raises(ValueError) as caught:
            read()
        assert str(caught.value) == f"read_vol: {path} must {rule}. {REMEDY}"


def patched(path: Path, place: int, kind: str, value: float) -> Path:
    data = bytearray(path.read_bytes())
    struct.pack_into("<" + kind, data, place, value)
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize(
    ("place", "kind", "value", "got"),
    [
        (12, "i", 0, "SizeX 0"),
        (16, "i", -1, "NumBScans -1"),
        (20, "i", 0, "SizeZ 0"),
        (48, "i", -7, "SizeXSlo -7"),
        (52, "i", -5, "SizeYSlo -5"),
        (24, "d", 0.0, "ScaleX 0"),
        (40, "d", float("nan"), "ScaleZ nan"),
        (100, "i", 8, "BScanHdrSize 8"),
    ],
)
def test_headers_that_make_no_sense(place: int, kind: str, value: float, got: str, tmp_path: Path) -> None:
    path = patched(write_vol(tmp_path / "a.vol", SCANS), place, kind, value)
    with pytest.raises(ValueError) as caught:
        read_vol_header(path)
    text = f"read_vol: {path} must have sizes and spacings greater than 0 in its header, got {got}. {REMEDY}"
    assert str(caught.value) == text


@pytest.mark.parametrize(("number", "offset"), [(4, 256), (-1, 256), (2, 2), (2, 300)])
def test_lines_outside_their_header(number: int, offset: int, tmp_path: Path) -> None:
    path = write_vol(tmp_path / "a.vol", SCANS, lines=[lines(2)] * 3)
    place = 2048 + 35 + (344 + 4 * 11 * 13)  # The header of the second scan.
    patched(patched(path, place + 48, "i", number), place + 52, "i", offset)
    with pytest.raises(ValueError) as caught:
        read_vol_lines(path, 1)
    rule = "have its lines within the 344 bytes of the header of B-scan 1"
    assert str(caught.value) == f"read_vol: {path} must {rule}, got NumSeg {number} at OffSeg {offset}. {REMEDY}"
    assert len(read_vol_lines(path, 0)[0]) == 2


def test_other_files_and_scans_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.vol"
    with pytest.raises(FileNotFoundError) as missing:
        read_vol_header(path)
    assert str(missing.value) == f"read_vol: path must be an existing file, got {path}. Check the data folder."
    path.write_bytes(b"MDbData" + bytes(4000))
    with pytest.raises(ValueError) as other:
        VolSlice(path, 0).read()
    rule = "begin with HSF-OCT-, as the raw data of a Spectralis do"
    assert str(other.value) == f"read_vol: {path} must {rule}, got b'MDbData\\x00\\x00\\x00\\x00\\x00'. {REMEDY}"
    write_vol(path, SCANS)
    for index in (-1, 3):
        with pytest.raises(ValueError) as outside:
            VolSlice(path, index).read()
        assert str(outside.value) == f"read_vol: index must be from 0 to 2, the B-scans of {path}, got {index}."
