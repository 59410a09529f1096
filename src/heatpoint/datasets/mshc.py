"""MSHC: macular volumes of people with multiple sclerosis and healthy controls, nine surfaces (He et al., Data in Brief 2019)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heatpoint._checks import message
from heatpoint.datasets._mat import read_mat
from heatpoint.datasets.sample import check_split, require_folder, resolve_data_root, settle
from heatpoint.datasets.scan import Scan, ScanSet, row_faults
from heatpoint.datasets.spectralis_vol import REMEDY as VOL_REMEDY
from heatpoint.datasets.spectralis_vol import VolHeader, VolSlice, read_vol_header
from heatpoint.frames import BoolArray, FloatArray
from heatpoint.skeleton import Skeleton

NAME = "mshc"
# The eleven columns of `control_pts`, as octViewer.m of the release names them.
BOUNDARIES = (
    "ILM",
    "RNFL-GCL",
    "GCL-IPL",
    "IPL-INL",
    "INL-OPL",
    "OPL-ONL",
    "ELM",
    "IS-OS",
    "OS-RPE",
    "RPE-choroid",
    "choroid-sclera",
)
# Preprocess.m drops columns 3 and 11: GCL-IPL and choroid-sclera are not delineated.
USED = tuple(column for column in range(11) if column not in (2, 10))
SURFACES = Skeleton(tuple(BOUNDARIES[column] for column in USED))


def _subjects(kind: str, first: int, last: int) -> tuple[str, ...]:
    return tuple(f"{kind}{number:02}" for number in range(first, last + 1))


SPLITS = {
    "train": _subjects("hc", 9, 14) + _subjects("ms", 13, 21),
    "val": ("hc09", "ms13", "ms14"),
    "test": _subjects("hc", 1, 8) + _subjects("ms", 1, 12),
}
GET = (
    'Get "OCT Manual Delineations" from JHU\'s IACL (iacl.ece.jhu.edu/index.php/Resources) and unpack it to mshc/vol/*.vol and '
    "mshc/delineation/*.mat, named alike (hc01_spectralis_macula_v1_s1_R)."
)
REMEDY = "Copy or download the files again."


def read_mshc(root: Path | str, split: str, *, problems: list[str] | None = None) -> ScanSet:
    """Reads a split of MSHC: the B-scans of Spectralis volumes and the surfaces through their delineated control points.

    A .mat file holds `control_pts`, for each of 49 B-scans and 11 boundaries the points (column, row) that were set by hand,
    counted from 1. `spline_rows` says how the curve runs between them. As in the release (readControlPoints.m) a surface
    that the splines lead above the one before it is put onto that one. Of the 11 the nine are used that are delineated:
    columns 3 (GCL-IPL) and 11 (choroid-sclera) are left out. Columns before the first or behind the last control point are
    not visible; the release extends the first and the last row there, and its scores count them. B-scans without any
    control point are left out, as in the release.

    Args:
        root: The folder that holds vol/ and delineation/.
        split: "train" (hc09–hc14 and ms13–ms21) or "test" (hc01–hc08 and ms01–ms12), the split of He et al. (MICCAI 2019) as
            the release states it; or "val", those three subjects of "train" that it offers for validation (hc09, ms13,
            ms14). Subjects whose volume is not there are left out, and `protocol` names them.
        problems: None raises what is wrong; a list takes it.

    Returns:
        Scans that are read from the volumes when they are asked for; the subject is the group, "healthy" or "ms" the tag.

    Raises:
        FileNotFoundError: If a folder is missing, or holds no volume of the split.
        ValueError: If the split is unknown; or, in one line, for all volumes and delineations that are broken, missing or do
            not fit together.
        ModuleNotFoundError: If scipy or h5py is not installed.
    """
    check_split(NAME, split, SPLITS)
    root = require_folder(NAME, Path(root), get=GET)
    volumes, delineations = (require_folder(NAME, root / name, remedy=GET) for name in ("vol", "delineation"))
    paths = {subject: sorted(volumes.glob(f"{subject}_*.vol")) for subject in SPLITS[split]}
    absent = [subject for subject, files in paths.items() if not files]
    if len(absent) == len(paths):
        rule = f"hold volumes of the split {split} ({', '.join(SPLITS[split][:3])}, …)"
        raise FileNotFoundError(message(NAME, "data root", rule, f"none in {volumes}", GET))
    scans: list[Scan] = []
    found: list[str] = []
    without = 0
    for subject, files in paths.items():
        for path in files:
            read, wrong, empty = _volume(subject, path, delineations / f"{path.stem}.mat")
            scans += read
            found += wrong
            without += empty
    settle(NAME, found, problems, REMEDY)
    protocol = {
        "subjects": f"{len(SPLITS[split]) - len(absent)} of {len(SPLITS[split])}",
        "subjects that are not there": ", ".join(absent) or "none",
        "scans without delineation, left out": without,
        "surfaces": "natural cubic spline in the number of the control point; never above the one before",
        "columns beyond the control points": "not visible",
        "coordinates": "the files count from 1, rows from 0",
    }
    return ScanSet(NAME, split, SURFACES, tuple(scans), protocol)


def open_mshc(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> ScanSet:
    """MSHC under `data_root`/oct/mshc; see `read_mshc`."""
    return read_mshc(resolve_data_root(data_root) / "oct" / "mshc", split, problems=problems)


def read_control_points(path: Path | str, *, width: int) -> tuple[FloatArray, BoolArray]:
    """Reads a delineation: rows (N, 9, W) of the nine surfaces in N B-scans, and where they are visible.

    Rows are counted from 0; those that are not visible are 0.

    Args:
        path: The .mat file.
        width: Columns W of the B-scans.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is broken; or, in one line, for all cells that hold something else than points.
    """
    rows, visible, faults = _splines(path, width)
    settle("read_control_points", [f"{path} {fault}" for found in faults.values() for fault in found], None, REMEDY)
    return rows, visible


def _splines(path: Path | str, width: int) -> tuple[FloatArray, BoolArray, dict[int, list[str]]]:
    """What `read_control_points` gives, and the faults of each B-scan that has some: no row of it is visible."""
    cells = read_mat(path, names=["control_pts"])["control_pts"]
    if (
        not isinstance(cells, np.ndarray)
        or cells.dtype != object
        or cells.ndim != 2
        or cells.shape[1] != len(BOUNDARIES)
    ):
        got = getattr(cells, "shape", type(cells).__name__)
        raise ValueError(message("read_control_points", str(path), "hold control_pts, N x 11 cells", got, REMEDY))
    rows = np.zeros((len(cells), len(BOUNDARIES), width))
    visible = np.zeros(rows.shape, dtype=np.bool_)
    faults: dict[int, list[str]] = {}
    for scan, boundary in np.ndindex(cells.shape):
        points = cells[scan, boundary]
        if np.size(points) == 0:
            continue
        fault = _fault(points, width)
        if fault:
            faults.setdefault(scan, []).append(f"B-scan {scan + 1} boundary {boundary + 1} {fault}")
            continue
        row, seen = spline_rows(points - 1.0, width=width)
        if boundary:
            row = np.where(seen, np.maximum(row, _lowest(rows[scan], visible[scan])), 0.0)
        rows[scan, boundary], visible[scan, boundary] = row, seen
    rows[list(faults)], visible[list(faults)] = 0.0, False
    return rows[:, USED], visible[:, USED], faults


def spline_rows(points: npt.NDArray[Any], *, width: int) -> tuple[FloatArray, BoolArray]:
    """The row in every column of the curve through control points, as JHU's readControlPoints.m draws it.

    The points (x_i, y_i) are sorted by column; of several in one column the first is kept. The row is a natural cubic spline
    in the number of the point, y(i + t), and t runs linearly from one point's column to the next, t = (x − x_i) / (x_i+1 − x_i).
    It so passes through every point, but has a kink where the columns of three points are unevenly spaced, which a spline
    in the column had not.

    Args:
        points: (n, 2) columns and rows, counted from 0; n at least 2, in two columns at least.
        width: Number of columns W.

    Returns:
        Rows (W,), 0 outside the points, and which columns lie between the first point and the last.

    >>> rows, visible = spline_rows(np.array([[1.0, 5.0], [3.0, 9.0]]), width=5)
    >>> rows, visible.tolist()
    (array([0., 5., 7., 9., 0.]), [False, True, True, True, False])
    """
    columns, first = np.unique(points[:, 0], return_index=True)
    knots = points[first, 1].astype(np.float64)
    slopes = _natural_slopes(knots)
    x = np.arange(width, dtype=np.float64)
    visible = (x >= columns[0]) & (x <= columns[-1])
    i = np.clip(np.searchsorted(columns, x, side="right") - 1, 0, len(columns) - 2)
    t = (x - columns[i]) / (columns[i + 1] - columns[i])
    rise = knots[i + 1] - knots[i]
    bend = slopes[i] * (1 - t) - slopes[i + 1] * t - rise * (1 - 2 * t)
    return np.where(visible, knots[i] + rise * t + t * (1 - t) * bend, 0.0), visible


def _natural_slopes(knots: FloatArray) -> FloatArray:
    """The slopes D at knots one apart that make the curvature continuous, and 0 at both ends.

    D_i−1 + 4 D_i + D_i+1 = 3 (y_i+1 − y_i−1), and 2 D_0 + D_1 = 3 (y_1 − y_0), likewise at the other end.
    """
    count = len(knots)
    system = 4 * np.eye(count) + np.eye(count, k=1) + np.eye(count, k=-1)
    system[0, 0] = system[-1, -1] = 2
    before, after = np.concatenate([knots[:1], knots[:-1]]), np.concatenate([knots[1:], knots[-1:]])
    slopes: FloatArray = np.linalg.solve(system, 3 * (after - before))
    return slopes


def _lowest(rows: FloatArray, visible: BoolArray) -> FloatArray:
    """Per column the lowest (largest) row that is visible, −∞ where none is."""
    lowest: FloatArray = np.where(visible, rows, -np.inf).max(axis=0)
    return lowest


def _fault(points: Any, width: int) -> str:
    """What is wrong with the content of a cell; "" if nothing is."""
    if not isinstance(points, np.ndarray) or points.dtype.kind not in "fiu" or points.ndim != 2 or points.shape[1] != 2:
        return f"must hold points (column, row), got {getattr(points, 'shape', type(points).__name__)}"
    if not np.isfinite(points).all():
        return "must hold finite points"
    if len(np.unique(points[:, 0])) < 2:
        return "must hold points in 2 columns at least, got 1"
    low, high = float(points[:, 0].min()), float(points[:, 0].max())
    if low < 1 or high > width:
        return f"must hold columns from 1 to {width}, got {low:g} to {high:g}"
    return ""


def _volume(subject: str, path: Path, delineation: Path) -> tuple[list[Scan], list[str], int]:
    """The scans of a volume, what is wrong with it, and how many of its scans are not delineated."""
    try:
        header = read_vol_header(path)
        if not delineation.is_file():
            return [], [f"{path} has no delineation {delineation}"], 0
        rows, visible, broken = _splines(delineation, header.width)
    except ValueError as error:
        return [], [str(error).removesuffix(REMEDY).removesuffix(VOL_REMEDY).strip(" .")], 0
    if len(rows) != header.num_scans:
        text = f"{delineation} must hold as many B-scans as {path.name} ({header.num_scans}), got {len(rows)}"
        return [], [text], 0
    scans, found = [], [f"{delineation} {fault}" for faults in broken.values() for fault in faults]
    for index in np.flatnonzero(visible.any(axis=(1, 2))).tolist():
        faults = row_faults(SURFACES.names, rows[index], visible[index], height=header.height)
        found += [f"{delineation} B-scan {index + 1}: {fault}" for fault in faults]
        if not faults:
            scans.append(_scan(subject, path, index, header, rows[index], visible[index]))
    return scans, found, int((~visible.any(axis=(1, 2))).sum()) - len(broken)


def _scan(subject: str, path: Path, index: int, header: VolHeader, rows: FloatArray, visible: BoolArray) -> Scan:
    return Scan(
        VolSlice(path, index),
        rows,
        visible,
        f"{path.stem}_{index + 1}",
        group=subject,
        axial_um=1000 * header.axial_mm,
        lateral_um=1000 * header.lateral_mm,
        tags=frozenset({"healthy" if subject.startswith("hc") else "ms"}),
    )
