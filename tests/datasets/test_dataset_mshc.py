"""MSHC: Spectralis volumes with surfaces drawn through control points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.io import savemat

from heatpoint.datasets import load_scan, read_control_points, read_mshc
from heatpoint.datasets.mshc import BOUNDARIES, GET, REMEDY, SPLITS, SURFACES, USED, open_mshc, spline_rows
from spectralis import write_vol

WIDTH, HEIGHT, NUM = 19, 97, 3
SCANS = np.random.default_rng(4).uniform(0, 1, (NUM, HEIGHT, WIDTH)).astype(np.float32)


def cells(number: int = NUM) -> np.ndarray:
    """Control points of every used boundary, two columns from the left edge to the right: boundary b at rows 7 b + 10."""
    points = np.empty((number, 11), dtype=object)
    for scan, boundary in np.ndindex(points.shape):
        used = boundary in USED
        points[scan, boundary] = np.array([[1.0, 7 * boundary + 10], [WIDTH, 7 * boundary + 10 + scan]])
        if not used:
            points[scan, boundary] = np.zeros((0, 0))
    return points


def write(root: Path, subject: str, points: np.ndarray | None, scans: np.ndarray = SCANS) -> tuple[Path, Path]:
    for name in ("vol", "delineation"):
        (root / name).mkdir(parents=True, exist_ok=True)
    stem = f"{subject}_spectralis_macula_v1_s1_R"
    volume = write_vol(root / "vol" / f"{stem}.vol", scans)
    delineation = root / "delineation" / f"{stem}.mat"
    if points is not None:
        savemat(delineation, {"control_pts": points, "segmode": 1.0})
    return volume, delineation


def test_volumes_and_their_surfaces(tmp_path: Path) -> None:
    volume, _ = write(tmp_path, "ms02", cells())
    write(tmp_path, "hc08", cells())
    write(tmp_path, "hc09", cells())
    found = read_mshc(tmp_path, "test")
    stem = "spectralis_macula_v1_s1_R"
    assert [s.key for s in found.samples] == [f"{who}_{stem}_{i}" for who in ("hc08", "ms02") for i in (1, 2, 3)]
    assert [s.group for s in found.samples] == ["hc08"] * 3 + ["ms02"] * 3
    assert [s.tags for s in found.samples[::3]] == [{"healthy"}, {"ms"}]
    last = found.samples[-1]
    assert (last.axial_um, last.lateral_um) == pytest.approx((3.9, 5.6))
    # The files count columns and rows from 1.
    wanted = np.array([7 * boundary + 9 + np.linspace(0, 2, WIDTH) for boundary in USED])
    np.testing.assert_allclose(last.rows, wanted, atol=1e-12)
    assert last.visible.all()
    np.testing.assert_allclose(load_scan(last), SCANS[2].astype(np.float64) ** 0.25, rtol=1e-6)
    assert str(last.image) == f"{volume} B-scan 2"
    assert found.skeleton.names == SURFACES.names
    assert found.protocol["subjects"] == "2 of 20"
    assert found.protocol["subjects that are not there"].startswith("hc01, hc02")
    assert "hc08" not in found.protocol["subjects that are not there"]


def test_nine_of_eleven_boundaries_and_the_published_split() -> None:
    assert len(SURFACES.names) == 9
    assert {BOUNDARIES[2], BOUNDARIES[10]} == {"GCL-IPL", "choroid-sclera"} == set(BOUNDARIES) - set(SURFACES.names)
    assert {name: len(subjects) for name, subjects in SPLITS.items()} == {"train": 15, "val": 3, "test": 20}
    assert set(SPLITS["val"]) < set(SPLITS["train"])
    assert not set(SPLITS["train"]) & set(SPLITS["test"])
    assert len(set(SPLITS["train"]) | set(SPLITS["test"])) == 35


def test_spline_is_natural_in_the_number_of_the_point() -> None:
    columns = np.array([2.0, 3.0, 7.0, 8.0, 15.0, 22.0])
    values = np.random.default_rng(1).normal(50, 9, 6)
    rows, visible = spline_rows(np.stack([columns, values], axis=1)[[3, 0, 5, 1, 4, 2]], width=29)
    assert np.flatnonzero(visible).tolist() == list(range(2, 23))
    number = np.interp(np.arange(2, 23), columns, np.arange(6))
    oracle = CubicSpline(np.arange(6), values, bc_type="natural")(number)
    np.testing.assert_allclose(rows[2:23], oracle, rtol=1e-12)
    assert (rows[~visible] == 0).all()
    # A natural spline in the column is another curve.
    other = CubicSpline(columns, values, bc_type="natural")(np.arange(2, 23))
    assert np.abs(rows[2:23] - other).max() > 0.5


def test_of_points_in_one_column_the_first_counts() -> None:
    points = np.array([[1.0, 5.0], [4.0, 8.0], [4.0, 99.0], [6.0, 2.0]])
    rows, _ = spline_rows(points, width=8)
    np.testing.assert_array_equal(rows, spline_rows(points[[0, 1, 3]], width=8)[0])


def test_columns_beyond_the_points_and_boundaries_without_points_are_not_visible(tmp_path: Path) -> None:
    points = cells(1)
    points[0, 3] = np.array([[4.0, 31.0], [9.0, 31.0]])
    points[0, 6] = np.zeros((0, 2))
    _, path = write(tmp_path, "hc01", points, SCANS[:1])
    rows, visible = read_control_points(path, width=WIDTH)
    assert rows.shape == visible.shape == (1, 9, WIDTH)
    assert np.flatnonzero(visible[0, 2]).tolist() == list(range(3, 9))
    assert not visible[0, 5].any()
    assert visible[0].sum() == 7 * WIDTH + 6
    assert (rows[~visible] == 0).all()


def test_a_surface_above_the_one_before_is_put_onto_it(tmp_path: Path) -> None:
    points = cells(1)
    points[0, 0] = np.array([[1.0, 20.0], [WIDTH, 20.0]])
    points[0, 1] = np.array([[1.0, 11.0], [WIDTH, 29.0]])  # From 9 rows above the first to 9 below, with slope 1.
    points[0, 2] = np.array(
        [[1.0, 25.0], [WIDTH, 25.0]]
    )  # GCL-IPL, which pushes what is below it and is then left out.
    points[0, 3] = np.array([[1.0, 22.0], [WIDTH, 22.0]])
    _, path = write(tmp_path, "hc01", points, SCANS[:1])
    (rows,), _ = read_control_points(path, width=WIDTH)
    line = np.arange(10.0, 29.0)
    np.testing.assert_allclose(rows[1], np.maximum(line, 19.0))
    np.testing.assert_allclose(rows[2], np.maximum(line, 24.0))


def test_scans_without_control_points_are_left_out_and_counted(tmp_path: Path) -> None:
    points = cells()
    for boundary in range(11):
        points[1, boundary] = np.zeros((0, 0))
    write(tmp_path, "hc01", points)
    found = read_mshc(tmp_path, "test")
    assert [scan.key[-2:] for scan in found.samples] == ["_1", "_3"]
    assert found.protocol["scans without delineation, left out"] == 1


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (np.zeros((4, 3)), "must hold points (column, row), got (4, 3)"),
        (np.array([[1.0, 5.0], [9.0, np.nan]]), "must hold finite points"),
        (np.array([[3.0, 5.0], [3.0, 6.0]]), "must hold points in 2 columns at least, got 1"),
        (np.array([[0.0, 5.0], [9.0, 6.0]]), "must hold columns from 1 to 19, got 0 to 9"),
        (np.array([[1.0, 5.0], [20.0, 6.0]]), "must hold columns from 1 to 19, got 1 to 20"),
        ("text", "must hold points (column, row), got str"),
    ],
)
def test_cells_that_hold_something_else(content: object, fault: str, tmp_path: Path) -> None:
    points = cells()
    points[1, 4] = content
    _, path = write(tmp_path, "hc01", points)
    write(tmp_path, "hc02", cells())
    with pytest.raises(ValueError) as caught:
        read_mshc(tmp_path, "test")
    text = f"{path} B-scan 2 boundary 5 {fault}"
    assert str(caught.value) == f"mshc: {text}. {REMEDY}"
    problems = ["earlier"]
    found = read_mshc(tmp_path, "test", problems=problems)
    assert problems == ["earlier", text]
    # The other B-scans of the volume are read, and the broken one is not counted as one without delineation.
    assert [(scan.group, scan.key[-1]) for scan in found.samples] == [
        ("hc01", "1"), ("hc01", "3"), ("hc02", "1"), ("hc02", "2"), ("hc02", "3"),
    ]  # fmt: skip
    assert found.protocol["scans without delineation, left out"] == 0
    with pytest.raises(ValueError) as caught:
        read_control_points(path, width=WIDTH)
    assert str(caught.value) == f"read_control_points: {text}. {REMEDY}"


def test_files_that_do_not_fit_come_in_one_report(tmp_path: Path) -> None:
    volume, _ = write(tmp_path, "hc01", cells())
    volume.write_bytes(volume.read_bytes()[:-1])
    second, without = write(tmp_path, "hc02", None)
    third, short = write(tmp_path, "hc03", cells(2))
    deep = cells()
    deep[2, 9] = np.array([[1.0, 99.0], [WIDTH, 90.0]])
    _, outside = write(tmp_path, "hc04", deep)
    _, wrong = write(tmp_path, "hc05", cells()[:, :10])
    problems: list[str] = []
    found = read_mshc(tmp_path, "test", problems=problems)
    size = volume.stat().st_size
    assert problems == [
        f"read_vol: {volume} must hold 3 B-scans of 19 x 97, {size + 1} bytes in all, got {size}",
        f"{second} has no delineation {without}",
        f"{short} must hold as many B-scans as {third.name} (3), got 2",
        f"{outside} B-scan 3: surface 'RPE-choroid' leaves the scan of 97 rows in 3 columns (row 98 in column 0)",
        f"read_control_points: {wrong} must hold control_pts, N x 11 cells, got (3, 10)",
    ]
    assert [scan.group for scan in found.samples] == ["hc04", "hc04"]
    with pytest.raises(ValueError, match=r"^mshc: read_vol: .*; .* has no delineation .*; .*; .*; .*\. Copy or"):
        read_mshc(tmp_path, "test")


def test_missing_folders_volumes_and_unknown_splits(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as nothing:
        open_mshc(tmp_path, "test")
    folder = tmp_path / "oct" / "mshc"
    set_it = f"Set HEATPOINT_DATA or --data-root to the folder that holds mshc/. {GET}"
    assert str(nothing.value) == f"mshc: data root must hold the folder {folder}, got no such folder. {set_it}"
    write(folder, "hc01", cells())
    assert len(open_mshc(tmp_path, "test")) == 3
    with pytest.raises(FileNotFoundError) as caught:
        open_mshc(tmp_path, "train")
    rule = "hold volumes of the split train (hc09, hc10, hc11, …)"
    assert str(caught.value) == f"mshc: data root must {rule}, got none in {folder / 'vol'}. {GET}"
    with pytest.raises(ValueError, match="mshc: split must be one of test, train, val, got 'tset'. Did you mean test"):
        open_mshc(tmp_path, "tset")


def test_real_control_points(data_root: Path, tmp_path: Path) -> None:
    """The delineation that the authors publish with their tools, beside a volume of the size that it was drawn in."""
    source = data_root / "oct" / "jhu_controlpoints_format" / "example.mat"
    if not source.is_file():
        pytest.skip("the sample delineation is absent")
    rows, visible = read_control_points(source, width=1024)
    assert rows.shape == (49, 9, 1024)
    # One of the 441 surfaces ends a column short of the edge.
    assert np.argwhere(~visible).tolist() == [[48, 0, 1023]]
    both = visible[:, 1:] & visible[:, :-1]
    assert np.diff(rows, axis=1)[both].min() >= 0
    # Rows are 3.9 µm. The retina is some 300 µm thick; at the fovea, near the middle, its inner layers are all but gone.
    assert 290 < 3.9 * (rows[:, -1] - rows[:, 0]).mean() < 310
    inner = 3.9 * (rows[:, SURFACES.names.index("OPL-ONL")] - rows[:, 0])
    scan, column = np.unravel_index(inner[:, 100:-100].argmin(), (49, 824))
    assert (15 <= scan <= 33, 400 <= column + 100 <= 624) == (True, True)
    assert inner[scan, column + 100] < 30 < 100 < inner.mean()
    height = 260
    scans = np.zeros((49, height, 1024), np.float32)
    write(tmp_path, "hc01", None, scans)
    (tmp_path / "delineation" / "hc01_spectralis_macula_v1_s1_R.mat").symlink_to(source)
    found = read_mshc(tmp_path, "test")
    assert len(found) == 49
    np.testing.assert_array_equal(found.samples[24].rows, rows[24])
