"""MTFL: faces with 5 points in a text list (Zhang et al., 2014)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from heatpoint.datasets.image_files import with_images
from heatpoint.datasets.sample import PointSet, Sample, check_split, report, require_folder, resolve_data_root, settle
from heatpoint.skeleton import load_skeleton

LISTS = {"train": "training.txt", "test": "testing.txt"}
GET = (
    "Get MTFL from mmlab.ie.cuhk.edu.hk/projects/TCDCN.html; the folder must hold training.txt and testing.txt beside AFLW/, "
    "lfw_5590/ and net_7876/."
)
REMEDY = "A line is: path, x1 … x5, y1 … y5, four attributes, and optionally original and present width and height."


def read_mtfl(root: Path | str, split: str, *, problems: list[str] | None = None) -> PointSet:
    """Reads a list of MTFL: a path, five x, five y, four attributes; blank lines are passed over.

    Where four more numbers follow (original width and height, present width and height), the images were made smaller:
    then `Sample.pixel_scale` is original / present width. The set does not say whether it counts pixels from 0 or 1;
    the points are taken as they stand. It gives no face box: its published preset shows the whole image.

    Args:
        root: The folder that holds training.txt, testing.txt and the image folders.
        split: "train" or "test".
        problems: None raises what is wrong; a list takes it.

    Raises:
        FileNotFoundError: If the folder or the list is missing; or, in one line, for all missing images.
        ValueError: If the split is unknown; or for all broken lines of the list, in one line.
    """
    check_split("mtfl", split, LISTS)
    root = require_folder("mtfl", Path(root), get=GET)
    path = root / LISTS[split]
    if not path.is_file():
        raise FileNotFoundError(f"mtfl: data root must hold the list {path}, got no such file. Copy the set again.")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(report(str(path), [f"it is not text in UTF-8 ({error})"], REMEDY)) from None
    samples: list[Sample] = []
    found = [] if any(line.strip() for line in lines) else ["it names no face"]
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        sample = _sample(root, line)
        if isinstance(sample, str):
            found.append(f"line {number} {sample}")
        else:
            samples.append(sample)
    settle(str(path), found, problems, REMEDY)
    protocol = {"list": LISTS[split], "coordinates": "as they stand in the list", "box": "none given"}
    kept = with_images("mtfl", samples, problems, remedy="Copy the set again: paths in the lists begin at its folder.")
    return PointSet("mtfl", split, load_skeleton("face5"), kept, protocol)


def open_mtfl(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> PointSet:
    """MTFL under `data_root`/mtfl; see `read_mtfl`."""
    return read_mtfl(resolve_data_root(data_root) / "mtfl", split, problems=problems)


def _sample(root: Path, line: str) -> Sample | str:
    name, *cells = line.split()
    if len(cells) not in (14, 18):
        return f"must hold 14 or 18 numbers after the path, got {len(cells)}"
    try:
        values = np.array([float(cell) for cell in cells])
    except ValueError:
        return "must hold numbers after the path"
    if not np.isfinite(values).all():
        return "must hold finite numbers"
    if len(values) == 18 and not (values[14:] > 0).all():
        return "must end in widths and heights greater than 0"
    points = np.stack([values[:5], values[5:10]], axis=1)
    scale = float(values[14] / values[16]) if len(values) == 18 else 1.0
    key = name.replace("\\", "/")
    return Sample(root / key, points, np.ones(5, dtype=np.bool_), None, key, pixel_scale=scale)
