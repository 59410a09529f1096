"""irdlayers: scans of healthy retinas and of inherited retinal diseases, four boundaries each, beside a published U-Net's.

The scans, masks and predictions are those that R. Mittas et al. published as figures (doi 10.1055/a-2227-3742).
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from heatpoint._checks import message
from heatpoint.datasets._faces import require_paths
from heatpoint.datasets._npz import read_npz
from heatpoint.datasets.image_files import image_size
from heatpoint.datasets.sample import check_split, require_folder, resolve_data_root, settle
from heatpoint.datasets.scan import Scan, ScanSet, load_scan, row_faults
from heatpoint.frames import BoolArray, FloatArray
from heatpoint.skeleton import Skeleton

# Above and below the three labelled layers: ILM to OPL/HFL, ONL, BMEIS to RPE.
SURFACES = ("ILM", "OPL/HFL-ONL", "ONL-BMEIS", "RPE-choroid")
SPLITS = ("train", "test")
SCANS_PER_VOLUME = 49
NAME = re.compile(r"((healthy|ird)_[a-z]+)(\d+)")
GET = (
    "The folder holds train/ and test/ with NAME.png and NAME_unet.png, train_boundaries.npz, test_boundaries.npz and "
    "index.csv, made from the figures in github.com/robinmittas/retinal-layer-segmentation."
)
REMEDY = "Copy the folder again, or take the named scans out of index.csv and the boundaries."


def read_irdlayers(root: Path | str, split: str, *, problems: list[str] | None = None) -> ScanSet:
    """Reads irdlayers: 84 scans of 496 x 512 to train on, 27 to test, with the tags "healthy" and "ird".

    The files give the first row r of what lies below a boundary, which is therefore at r − ½; −1 leaves a column out.
    Boundaries may touch: where the ONL has degenerated its two boundaries are one.

    Nothing in the set names patients. What the numbers in the names say is the volume: the authors cut volumes of 49
    scans, listed in the order of their names (0, 1, 10, 11, …, 19, 2, 20, …), so number n of a list is of volume n // 49.
    The pictures bear it out: numbers 12, 23, 34 and 45 of a volume, which this order makes its scans 2, 3, 4 and 6, look
    unlike the numbers beside them. The volume is the group; two volumes may show the two eyes of one patient. The
    authors divided patients, so no patient is in both splits.

    Args:
        root: The folder with the files.
        split: "train" or "test".
        problems: None raises what is wrong; a list takes it, and the scans concerned are left out.

    Raises:
        FileNotFoundError: If the folder or one of its files is missing.
        ValueError: If the split is unknown or a file is broken; or, in one line, for all broken scans.
    """
    check_split("irdlayers", split, SPLITS)
    root = require_folder("irdlayers", Path(root), get=GET)
    found: list[str] = []
    arrays = _boundaries(root, split, problems, found)
    samples = []
    for name in sorted(arrays, key=_order):
        scan = _scan(root, split, name, arrays[name])
        if isinstance(scan, Scan):
            samples.append(scan)
        else:
            found += [f"{root / _file(split)} {name} {fault}" for fault in scan]
    settle("irdlayers", found, problems, REMEDY)
    protocol = {
        "scans": len(samples),
        "coordinates": "row r of the file is the first below a boundary, which lies at r - 0.5",
        "left out": f"{sum(int((~s.visible).any(axis=0).sum()) for s in samples)} columns (-1 in the file)",
        "groups": "volumes of 49 scans; patients are not named",
        "spacing": "not given",
    }
    return ScanSet("irdlayers", split, Skeleton(SURFACES), tuple(samples), protocol)


def open_irdlayers(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> ScanSet:
    """irdlayers under `data_root`/oct/irdlayers; see `read_irdlayers`."""
    return read_irdlayers(resolve_data_root(data_root) / "oct" / "irdlayers", split, problems=problems)


def unet_rows(
    root: Path | str, split: str, *, largest_piece: bool = False, problems: list[str] | None = None
) -> dict[str, tuple[FloatArray, BoolArray]]:
    """The boundaries that the authors' U-Net found, from NAME_unet.png: per key of a scan its rows and which there are.

    Args:
        root: The folder with the files.
        split: "train" or "test".
        largest_piece: Look only at the largest connected piece of what is not background, as a reader of the mask would.
        problems: None raises what is wrong; a list takes it.

    Returns:
        By the scans' keys: (4, W) rows in the convention of `read_irdlayers`, and (4, W) bool; see `mask_rows`.

    Raises:
        FileNotFoundError: If the folder or one of its files is missing.
        ValueError: If the split is unknown or a file is broken; or, in one line, for all broken masks.
    """
    check_split("unet_rows", split, SPLITS)
    root = require_folder("unet_rows", Path(root), get=GET)
    found: list[str] = []
    results = {}
    for name, rows in _boundaries(root, split, problems, found).items():
        path = root / split / f"{name}_unet.png"
        try:
            mask = np.rint(255 * load_scan(path)).astype(np.uint8)
        except (ValueError, FileNotFoundError) as error:
            found.append(str(error))
            continue
        if mask.max() > 3 or mask.shape[1:] != rows.shape[1:]:
            got = f"{mask.shape} with classes up to {mask.max()}"
            columns = rows.shape[1] if rows.ndim == 2 else "no"
            found.append(f"{path} must hold classes 0 to 3 in {columns} columns, got {got}")
        else:
            results[name] = mask_rows(mask, largest_piece=largest_piece)
    settle("unet_rows", found, problems, REMEDY)
    return results


def mask_rows(mask: npt.NDArray[np.uint8], *, largest_piece: bool = False) -> tuple[FloatArray, BoolArray]:
    """The four boundaries in a mask of classes 0 (background) to 3, by the rule by which the set's own were made.

    They are the first row of class 1, of class 2 and of class 3, and the first row below class 3, each less ½. A column
    without class 2 has an ONL of no thickness: its upper boundary is its lower. Without class 1 there is no first
    boundary, without class 3 no third and fourth, and no second unless class 2 is there.

    Args:
        mask: (H, W) uint8.
        largest_piece: Count everything beside the largest connected piece of classes 1 to 3 as background.

    Returns:
        (4, W) rows, 0 where there is no boundary; (4, W) bool.

    >>> rows, visible = mask_rows(np.array([[0, 0], [1, 1], [2, 3], [3, 3], [0, 0]], dtype=np.uint8))
    >>> rows.T
    array([[0.5, 1.5, 2.5, 3.5],
           [0.5, 1.5, 1.5, 3.5]])
    """
    if largest_piece:
        _, pieces, stats, _ = cv2.connectedComponentsWithStats((mask > 0).astype(np.uint8))
        largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()) if len(stats) > 1 else 0
        mask = np.where(pieces == largest, mask, 0).astype(np.uint8) if largest else mask
    has = np.stack([(mask == layer).any(axis=0) for layer in (1, 2, 3)])
    first = np.stack([(mask == layer).argmax(axis=0) for layer in (1, 2, 3)])
    below = len(mask) - (mask[::-1] == 3).argmax(axis=0)
    rows = np.stack([first[0], np.where(has[1], first[1], first[2]), first[2], below]) - 0.5
    visible = np.stack([has[0], has[1] | has[2], has[2], has[2]])
    return np.where(visible, rows, 0.0), visible


def _boundaries(root: Path, split: str, problems: list[str] | None, found: list[str]) -> dict[str, npt.NDArray[Any]]:
    """The entries of a split's file; what it and index.csv do not both list goes into `found`."""
    files = [root / _file(split), root / "index.csv"]
    if len(require_paths("irdlayers", files, problems, remedy=GET)) < len(files):
        return {}
    path, index = files
    arrays = read_npz("irdlayers", path, remedy=REMEDY)
    with index.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        lines = list(csv.DictReader(file, restval=""))
    if not lines or not {"split", "name"} <= set(lines[0]):
        raise ValueError(message("irdlayers", str(index), "have the columns split and name", "others", REMEDY))
    listed = {line["name"] for line in lines if line["split"] == split}
    found += [
        f"{path} has no entry {name or repr(name)}, which {index.name} lists" for name in sorted(listed - set(arrays))
    ]
    found += [f"{path} {name} is not in {index.name}" for name in sorted(set(arrays) - listed)]
    return {name: rows for name, rows in arrays.items() if name in listed}


def _scan(root: Path, split: str, name: str, first: npt.NDArray[Any]) -> Scan | list[str]:
    """A scan, or everything that is wrong with it."""
    path = root / split / f"{name}.png"
    try:
        width, height = image_size(path)
    except (ValueError, FileNotFoundError) as error:
        return [f"has no scan: {str(error).rstrip('.')}"]
    parts = NAME.fullmatch(name)
    if parts is None:
        return ["must be named healthy_… or ird_… and a number"]
    if first.dtype.kind not in "iu" or first.shape != (len(SURFACES), width):
        rule = f"must be whole numbers, {len(SURFACES)} boundaries x {width} columns of {path.name}"
        return [f"{rule}, got {first.dtype} {first.shape}"]
    if (first < -1).any():
        return [f"must hold rows from 0, or -1 for a column left out, got {first.min()}"]
    visible = first >= 0
    rows = np.where(visible, first - 0.5, 0.0)
    faults = row_faults(SURFACES, rows, visible, height=height)
    if faults:
        return faults
    group = f"{parts[1]}/volume{int(parts[3]) // SCANS_PER_VOLUME}"
    return Scan(path, rows, visible, name, group, tags=frozenset({parts[2]}))


def _file(split: str) -> str:
    return f"{split}_boundaries.npz"


def _order(name: str) -> tuple[str, int]:
    parts = NAME.fullmatch(name)
    return (parts[1], int(parts[3])) if parts else (name, 0)
