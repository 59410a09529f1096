"""Circular scans and their surfaces in the files of octSegmentation's label tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from heatpoint.datasets import load_scan, read_rathke
from heatpoint.datasets.rathke import GET, REMEDY, SURFACES, open_rathke

HEIGHT, WIDTH = 29, 14
B0 = np.random.default_rng(2).uniform(0, 1, (HEIGHT, WIDTH)).astype(np.float32)
ROWS = 3.25 + 2.5 * np.arange(9)[:, None] + np.linspace(0, 1, WIDTH)


def write(root: Path, name: str, *, number: int = 0, rows: Any = ROWS, **variables: Any) -> tuple[Path, Path]:
    root.mkdir(parents=True, exist_ok=True)
    paths = root / f"{name}.mat", root / f"{name}_{number}_coordinates.mat"
    scan = {f"B{number}": B0, "ScaleX": 0.0142, "ScaleZ": 0.0039, "PatientID": "someone  "} | variables
    savemat(paths[0], {key: value for key, value in scan.items() if value is not None})
    savemat(paths[1], {"interpolation": rows})
    return paths


def test_scan_and_surfaces(tmp_path: Path) -> None:
    write(tmp_path, "ring")
    found = read_rathke(tmp_path)
    (scan,) = found.samples
    assert (found.name, found.split, found.skeleton) == ("rathke", "test", SURFACES)
    assert (scan.key, scan.group) == ("ring/0", "ring")
    assert (scan.axial_um, scan.lateral_um) == pytest.approx((3.9, 14.2))
    # The file counts rows from 1.
    np.testing.assert_allclose(scan.rows, ROWS - 1, atol=1e-12)
    assert scan.visible.all()
    np.testing.assert_allclose(load_scan(scan), B0.astype(np.float64) ** 0.25, rtol=1e-6)


def test_further_scans_of_a_file_and_files_that_say_less(tmp_path: Path) -> None:
    write(tmp_path, "a_scan", number=12, ScaleX=None, ScaleZ=None, PatientID="")
    (scan,) = read_rathke(tmp_path).samples
    assert (scan.key, scan.group, scan.axial_um, scan.lateral_um) == ("a_scan/12", "a_scan", None, None)


def test_rows_that_are_missing_are_not_visible(tmp_path: Path) -> None:
    rows = ROWS.copy()
    rows[1, 3:5], rows[8] = np.nan, np.inf
    write(tmp_path, "a", rows=rows)
    (scan,) = read_rathke(tmp_path).samples
    np.testing.assert_array_equal(scan.visible, np.isfinite(rows))
    np.testing.assert_allclose(scan.rows, np.where(np.isfinite(rows), rows - 1, 0.0), atol=1e-12)


def test_broken_files_come_in_one_report(tmp_path: Path) -> None:
    crossed, outside, infinite = ROWS.copy(), ROWS.copy(), ROWS.copy()
    crossed[4, 3] = 8
    outside[8, 5:7] = 30
    infinite[:] = np.nan
    a = write(tmp_path, "a", B0=np.zeros((2, 3, 4)))[0]
    b = write(tmp_path, "b", rows=ROWS[:, 1:])[1]
    c = write(tmp_path, "c", rows=infinite)[1]
    d = write(tmp_path, "d", rows=crossed)[1]
    e = write(tmp_path, "e", rows=outside)[1]
    f = write(tmp_path, "f", ScaleZ=-0.0039)[0]
    g = write(tmp_path, "g")[0]
    g.unlink()
    write(tmp_path, "good")
    problems = ["earlier"]
    found = read_rathke(tmp_path, problems=problems)
    assert [scan.key for scan in found.samples] == ["good/0"]
    above = "(the first is column 3)"
    names = SURFACES.names
    assert problems == [
        "earlier",
        f"{a} must hold the intensities B0, numbers H x W, got (2, 3, 4)",
        f"{b} must hold interpolation 9 x 14, got (9, 13)",
        f"{c} must hold a finite row",
        "; ".join(f"{d}: surface '{names[4]}' lies above '{name}' in 1 of 14 columns {above}" for name in names[2:4]),
        f"{e}: surface 'RPE-choroid' leaves the scan of 29 rows in 2 columns (row 29 in column 5)",
        f"{f} must hold ScaleZ greater than 0 in millimetres, got [[-0.0039]]",
        f"read_mat: path must be an existing file, got {g}. Check the data folder",
    ]
    with pytest.raises(ValueError) as caught:
        read_rathke(tmp_path)
    assert str(caught.value) == f"rathke: {'; '.join(problems[1:6])}; and 2 more. {REMEDY}"


def test_a_missing_variable_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a", B0=None, B1=B0)[0]
    with pytest.raises(ValueError, match=r"must hold the intensities B0, numbers H x W, got NoneType\."):
        read_rathke(tmp_path)
    assert path.is_file()


def test_missing_folders_files_and_unknown_splits(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        open_rathke(tmp_path)
    folder = tmp_path / "oct" / "circular_rathke"
    remedy = f"Set HEATPOINT_DATA or --data-root to the folder that holds circular_rathke/. {GET}"
    assert str(caught.value) == f"rathke: data root must hold the folder {folder}, got no such folder. {remedy}"
    folder.mkdir(parents=True)
    with pytest.raises(ValueError) as empty:
        open_rathke(tmp_path)
    assert str(empty.value) == f"rathke: {folder} holds no files *_0_coordinates.mat. {REMEDY}"
    with pytest.raises(ValueError, match="rathke: split must be one of test, got 'train'"):
        open_rathke(tmp_path, "train")


def test_real_scan(data_root: Path) -> None:
    """The released scan: its surfaces lie on the steps of brightness, and close to a ring."""
    if not (data_root / "oct" / "circular_rathke").is_dir():
        pytest.skip("the circular scan is absent")
    found = open_rathke(data_root, "test")
    (scan,) = found.samples
    pixels = load_scan(scan)
    assert pixels.shape == (496, 768)
    assert (scan.axial_um, scan.lateral_um) == pytest.approx((3.8717, 14.2414), abs=1e-4)
    assert np.diff(scan.rows, axis=0).min() > 0
    # Brightness along the columns, moved so that a surface lies at 0: its steepest step is within half a pixel of it.
    offsets = np.arange(-4, 4.01, 0.25)
    for name, sign in (("ILM", 1), ("ONL-EZ", 1), ("RPE-choroid", -1)):
        rows = scan.rows[SURFACES.names.index(name)]
        profile = np.mean(
            [np.interp(rows[x] + offsets, np.arange(496), pixels[:, x]) for x in range(768)], axis=0, dtype=np.float64
        )
        steps = sign * (profile[4:] - profile[:-4])
        assert abs(offsets[2:-2][steps.argmax()]) <= 0.5, name
    # The annotators drew the ends, which are neighbours on the ring, four rows apart.
    assert np.abs(scan.rows[:, 0] - scan.rows[:, -1]).max() < 5
