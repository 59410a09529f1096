"""Scans, sets of them, and how their pixels are read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from heatpoint.datasets import Scan, ScanSet, load_scan
from heatpoint.datasets.sample import grouped_split
from heatpoint.datasets.scan import ScanSource, row_faults
from heatpoint.skeleton import Skeleton

RNG = np.random.default_rng(4)
PIXELS = RNG.integers(0, 256, (7, 5), dtype=np.uint8)


def scan(**changes: Any) -> Scan:
    given = {"image": PIXELS, "rows": np.full((2, 5), 3.0), "visible": np.ones((2, 5), dtype=np.bool_), "key": "a"}
    return Scan(**(given | changes))


class Slice:
    """A scan that reads itself."""

    def read(self) -> np.ndarray:
        return np.full((7, 5), 0.25, dtype=np.float32)

    def __str__(self) -> str:
        return "volume.vol slice 3"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rows": np.zeros(5)}, "Scan: rows must be (S, W), S and W at least 1, got (5,)."),
        ({"rows": np.zeros((0, 5))}, "Scan: rows must be (S, W), S and W at least 1, got (0, 5)."),
        ({"visible": np.ones((2, 4), dtype=bool)}, "Scan: visible must be bool (2, 5), got bool (2, 4)."),
        ({"visible": np.ones((2, 5), dtype=int)}, "Scan: visible must be bool (2, 5), got int64 (2, 5)."),
        (
            {"rows": np.full((2, 5), np.nan)},
            "Scan: rows must be finite, got NaN or infinity in a. Give a missing row as 0 with visible False.",
        ),
        ({"axial_um": 0.0}, "Scan: axial_um must be greater than 0, got 0.0. Give None where it is not known."),
        ({"lateral_um": np.nan}, "Scan: lateral_um must be greater than 0, got nan. Give None where it is not known."),
        ({"image": PIXELS[:, :4]}, "Scan: image must have as many columns as rows (5), got (7, 4) in a."),
        (
            {"image": np.zeros((7, 5, 3), np.uint8)},
            "Scan: image must be (H, W), uint8 or floating in [0, 1], got uint8 (7, 5, 3) in a.",
        ),
        (
            {"image": np.zeros((7, 5), np.int16)},
            "Scan: image must be (H, W), uint8 or floating in [0, 1], got int16 (7, 5) in a.",
        ),
        (
            {"image": np.full((7, 5), 1.5)},
            "Scan: image must lie in [0, 1], got 1.5 to 1.5 in a. Divide it by its largest value.",
        ),
    ],
)
def test_a_scan_says_what_is_wrong_with_it(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        scan(**changes)
    assert str(caught.value) == text


def test_a_set_has_the_surfaces_of_its_skeleton() -> None:
    samples = (scan(), scan(key="b", rows=np.zeros((3, 5)), visible=np.zeros((3, 5), dtype=bool)))
    with pytest.raises(ValueError) as caught:
        ScanSet("mine", "test", Skeleton(("top", "bottom")), samples)
    assert str(caught.value) == "ScanSet: samples must have the skeleton's 2 surfaces, got another number in b."
    found = ScanSet("mine", "test", Skeleton(("top", "bottom")), samples[:1], {"spacing": "none"})
    assert (len(found), repr(found)) == (1, "ScanSet('mine', 'test', 1 scans of 2 surfaces)")


def test_subjects_stay_together_when_scans_are_held_out() -> None:
    scans = [scan(key=f"{subject}{i}", group=subject) for subject in "abcde" for i in range(3)]
    kept, held = grouped_split(scans, fraction=0.3, seed=1)
    assert {s.group for s in kept}.isdisjoint({s.group for s in held})
    assert (len(kept), len(held)) == (9, 6)


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        (PIXELS, PIXELS / 255),
        (PIXELS.astype(np.uint16) * 200, PIXELS * (200 / 65535)),
        (np.repeat(PIXELS[..., None], 3, axis=2), PIXELS / 255),
        (np.concatenate([np.repeat(PIXELS[..., None], 3, 2), np.full((7, 5, 1), 9, np.uint8)], 2), PIXELS / 255),
    ],
    ids=["grey", "16 bits", "colour", "with opacity"],
)
def test_files_are_read_as_grey_shares(tmp_path: Path, stored: np.ndarray, wanted: np.ndarray) -> None:
    path = tmp_path / "scan.png"
    cv2.imwrite(str(path), stored)
    found = load_scan(path)
    assert (found.dtype, found.shape) == (np.float32, (7, 5))
    assert np.abs(found - wanted).max() < 1e-7
    assert np.array_equal(load_scan(scan(image=path)), found)
    assert np.array_equal(load_scan(str(path)), found)


def test_colours_become_grey_by_their_luminance(tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    blue_green_red = RNG.integers(0, 256, (7, 5, 3), dtype=np.uint8)
    cv2.imwrite(str(path), blue_green_red)
    wanted = blue_green_red @ np.array([0.114, 0.587, 0.299]) / 255
    assert np.abs(load_scan(path) - wanted).max() < 0.51 / 255  # rounded to whole grey levels


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_arrays_are_read_as_they_are(dtype: type) -> None:
    pixels = PIXELS if dtype is np.uint8 else (PIXELS / 255).astype(dtype)
    found = load_scan(pixels)
    assert found.dtype == np.float32
    assert np.abs(found - PIXELS / 255).max() < (1e-3 if dtype is np.float16 else 1e-7)


def test_a_slice_of_a_volume_reads_itself() -> None:
    source = Slice()
    assert isinstance(source, ScanSource)
    assert np.array_equal(load_scan(scan(image=source)), source.read())
    assert not isinstance(PIXELS, ScanSource)
    assert not isinstance(Path("a"), ScanSource)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    with pytest.raises(FileNotFoundError) as missing:
        load_scan(path)
    assert str(missing.value) == f"load_scan: image must be an existing file, got {path}. Check the data folder."
    cv2.imwrite(str(path), np.tile(PIXELS, (9, 9)))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError) as cut:
        load_scan(path)
    text = f"load_scan: image must be a complete file, got {path}, which is truncated. Copy or download the file again."
    assert str(cut.value) == text
    for content in (b"", b"no image"):
        path.write_bytes(content)
        with pytest.raises(ValueError) as other:
            load_scan(path)
        rule = "be a readable image of 8 or 16 bits"
        assert str(other.value) == f"load_scan: image must {rule}, got {path}. Copy or download the file again."
    with pytest.raises(ValueError) as array:
        load_scan(np.full((2, 3), -0.5))
    assert str(array.value).startswith("load_scan: image must lie in [0, 1], got -0.5 to -0.5 in the array.")


def test_faults_of_rows_name_surface_and_column() -> None:
    names = ["a", "b", "c"]
    rows = np.array([[1.0, 2, 3, 4, -0.6], [1, 1, 3, 5, 6], [4, 4, 2, 4, 8.6]])
    visible = np.ones((3, 5), dtype=np.bool_)
    assert row_faults(names, rows, visible, height=9) == [
        "surface 'a' leaves the scan of 9 rows in 1 columns (row -0.6 in column 4)",
        "surface 'c' leaves the scan of 9 rows in 1 columns (row 8.6 in column 4)",
        "surface 'b' lies above 'a' in 1 of 5 columns (the first is column 1)",
        "surface 'c' lies above 'a' in 1 of 5 columns (the first is column 2)",
        "surface 'c' lies above 'b' in 2 of 5 columns (the first is column 2)",
    ]
    # What is not visible is not looked at, and surfaces may touch: a and b do in column 0.
    visible[:, 1:] = False
    assert row_faults(names, rows, visible, height=9) == []
    assert row_faults(names[:2], np.array([[-0.5], [8.5]]), np.ones((2, 1), dtype=np.bool_), height=9) == []


def test_fields_that_a_reader_may_leave_out() -> None:
    plain = scan()
    assert (plain.group, plain.axial_um, plain.lateral_um, plain.tags) == ("", None, None, frozenset())
    assert replace(plain, axial_um=3.87).axial_um == 3.87
