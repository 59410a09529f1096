"""Circular scans with nine surfaces as the label tool of Rathke et al. (Medical Image Analysis 2014) stores them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from heatpoint.datasets._mat import read_mat
from heatpoint.datasets.sample import check_split, require_folder, resolve_data_root, settle
from heatpoint.datasets.scan import Scan, ScanSet, row_faults
from heatpoint.datasets.spectralis_vol import displayed
from heatpoint.skeleton import Skeleton

NAME = "rathke"
# The files do not name the surfaces; these are what the lines lie on in the released scan.
SURFACES = Skeleton(("ILM", "NFL-GCL", "IPL-INL", "INL-OPL", "OPL-ONL", "ONL-EZ", "EZ-OS", "OS-RPE", "RPE-choroid"))
SPLITS = ("test",)
LABELS = re.compile(r"(?P<name>.+)_(?P<number>\d+)_coordinates")
GET = (
    "Get circularScan.mat and circularScan_0_coordinates.mat from github.com/FabianRathke/octSegmentation "
    "(datafiles/exampleScans) and put them into circular_rathke/."
)
REMEDY = "Copy or download the files again."


def read_rathke(root: Path | str, split: str = "test", *, problems: list[str] | None = None) -> ScanSet:
    """Reads scans and surfaces of octSegmentation's label tool: NAME.mat and NAME_<k>_coordinates.mat, k the B-scan.

    NAME.mat holds the intensities B<k>, (H, W) from 0 to 1, which become their fourth root as the tool shows them, and what
    the device's header says (`ScaleX` and `ScaleZ` in millimetres). All scans of a file are of one group, NAME.
    NAME_<k>_coordinates.mat holds `interpolation`, the row of each surface in each column to a fraction of a pixel, counted
    from 1, drawn through points that were set by hand; where it is NaN, the surface is not visible.

    A circular scan is a closed ring about the optic nerve head: its first column follows its last. Nothing is made of that
    here; a network that pads with zeros sees two ends. The release holds one scan, so there is one split.

    Args:
        root: The folder with the files.
        split: "test".
        problems: None raises what is wrong; a list takes it.

    Raises:
        FileNotFoundError: If the folder is missing.
        ValueError: If the split is unknown; or, in one line, for all files that are broken, missing or do not fit together.
        ModuleNotFoundError: If scipy or h5py is not installed.
    """
    check_split(NAME, split, SPLITS)
    root = require_folder(NAME, Path(root), get=GET)
    files = [(path, match) for path in sorted(root.glob("*.mat")) if (match := LABELS.fullmatch(path.stem))]
    found = [] if files else [f"{root} holds no files *_0_coordinates.mat"]
    scans: list[Scan] = []
    for path, match in files:
        try:
            scans.append(_scan(path, match["name"], int(match["number"])))
        except (FileNotFoundError, ValueError) as error:
            found.append(str(error).removesuffix("Download or copy the file again.").strip(" ."))
    settle(NAME, found, problems, REMEDY)
    protocol = {
        "scans": len(scans),
        "coordinates": "the files count from 1, rows from 0",
        "columns": "a ring: the first follows the last; read as if it were not",
    }
    return ScanSet(NAME, split, SURFACES, tuple(scans), protocol)


def open_rathke(data_root: Path | str | None, split: str = "test", *, problems: list[str] | None = None) -> ScanSet:
    """The circular scans under `data_root`/oct/circular_rathke; see `read_rathke`."""
    return read_rathke(resolve_data_root(data_root) / "oct" / "circular_rathke", split, problems=problems)


def _scan(labels: Path, name: str, number: int) -> Scan:
    """A scan; ValueError, beginning with the file, where something is wrong with it."""
    path = labels.with_name(f"{name}.mat")
    variable = f"B{number}"
    scan = read_mat(path)
    intensities = scan.get(variable)
    if not _is_picture(intensities):
        got = getattr(intensities, "shape", type(intensities).__name__)
        raise ValueError(f"{path} must hold the intensities {variable}, numbers H x W, got {got}")
    height, width = intensities.shape
    rows = read_mat(labels, names=["interpolation"])["interpolation"]
    if not _is_picture(rows) or rows.shape != (SURFACES.num_points, width):
        got = getattr(rows, "shape", type(rows).__name__)
        raise ValueError(f"{labels} must hold interpolation {SURFACES.num_points} x {width}, got {got}")
    visible = np.isfinite(rows)
    if not visible.any():
        raise ValueError(f"{labels} must hold a finite row")
    rows = np.where(visible, np.asarray(rows, dtype=np.float64) - 1, 0.0)
    faults = row_faults(SURFACES.names, rows, visible, height=height)
    if faults:
        raise ValueError("; ".join(f"{labels}: {fault}" for fault in faults))
    axial, lateral = _um(path, scan, "ScaleZ"), _um(path, scan, "ScaleX")
    # Not the header's PatientID: groups are written into files of scores, which get about.
    return Scan(
        displayed(intensities), rows, visible, f"{name}/{number}", group=name, axial_um=axial, lateral_um=lateral
    )


def _is_picture(values: Any) -> TypeGuard[npt.NDArray[Any]]:
    return isinstance(values, np.ndarray) and values.dtype.kind in "fiu" and values.ndim == 2 and values.size > 0


def _um(path: Path, scan: dict[str, Any], name: str) -> float | None:
    """A spacing of the header in micrometres, None where the file has none."""
    if name not in scan:
        return None
    value = scan[name]
    if not _is_picture(value) or value.size != 1 or not (np.isfinite(value).all() and value.item() > 0):
        raise ValueError(f"{path} must hold {name} greater than 0 in millimetres, got {value}")
    return 1000 * float(value.item())
