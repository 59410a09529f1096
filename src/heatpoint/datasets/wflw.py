"""WFLW: faces with 98 points, a box and six attributes in text lists (Wu et al., 2018)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from heatpoint.datasets._faces import remark_count, require_paths
from heatpoint.datasets.image_files import with_images
from heatpoint.datasets.sample import PointSet, Sample, check_split, report, require_folder, resolve_data_root, settle
from heatpoint.skeleton import load_skeleton

LISTS = "WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{}.txt"
COUNTS = {"train": 7500, "test": 2500}
ATTRIBUTES = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")
NUM_POINTS = 98
GET = (
    "Get images and annotations from wywu.github.io/projects/LAB/WFLW.html; the folder must hold WFLW_images/ and "
    "WFLW_annotations/list_98pt_rect_attr_train_test/ with list_98pt_rect_attr_train.txt and …_test.txt."
)
REMEDY = "A line is: x1 y1 … x98 y98, the box x1 y1 x2 y2, six attributes of 0 or 1, and the path of the image."


def read_wflw(root: Path | str, split: str, *, problems: list[str] | None = None) -> PointSet:
    """Reads a list of WFLW: 7500 faces to train on, 2500 to test; several faces of an image are one group.

    The tags of a face are its attributes: "pose" (large), "expression", "illumination", "make-up", "occlusion" and "blur"
    name the six subsets of the test. The box is that of the list (policy P2). The list does not say whether it counts
    pixels from 0 or 1, and all published code takes its numbers from 0; so are they here. Points may lie outside the image.

    Args:
        root: The folder with WFLW_annotations/ and WFLW_images/.
        split: "train" or "test".
        problems: None raises what is wrong; a list takes it.

    Raises:
        FileNotFoundError: If a folder or the list is missing; or, in one line, for all missing images.
        ValueError: If the split is unknown; or, in one line, for all broken lines.

    Warns:
        UserWarning: If the split has not the official number of faces.
    """
    check_split("wflw", split, COUNTS)
    root = require_folder("wflw", Path(root), get=GET)
    path, folder = require_paths("wflw", [root / LISTS.format(split), root / "WFLW_images"], None, remedy=GET)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(report(str(path), [f"it is not text in UTF-8 ({error})"], REMEDY)) from None
    records = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    samples, found = [], [] if records else [f"{path} names no face"]
    for number, line in records:
        sample = _sample(folder, line, f"{split}/{number}")
        if isinstance(sample, str):
            found.append(f"{path} line {number} {sample}")
        else:
            samples.append(sample)
    settle("wflw", found, problems, REMEDY)
    remark_count("wflw", split, len(records), COUNTS[split], problems)
    protocol = {
        "list": path.name,
        "faces": f"{len(samples)} of {COUNTS[split]}",
        "coordinates": "as they stand in the list, taken from 0",
        "box": "of the list (policy P2)",
    }
    kept = with_images("wflw", samples, problems, remedy=GET)
    return PointSet("wflw", split, load_skeleton("face98"), kept, protocol)


def open_wflw(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> PointSet:
    """WFLW under `data_root`/wflw; see `read_wflw`."""
    return read_wflw(resolve_data_root(data_root) / "wflw", split, problems=problems)


def _sample(folder: Path, line: str, key: str) -> Sample | str:
    """The face of a line, or what is wrong with it."""
    cells = line.split(maxsplit=2 * NUM_POINTS + 4 + len(ATTRIBUTES))
    if len(cells) != 2 * NUM_POINTS + 4 + len(ATTRIBUTES) + 1:
        return f"must hold 206 numbers and a path, got {len(cells)} of these 207"
    try:
        values = np.array([float(cell) for cell in cells[:-1]])
    except ValueError:
        return "must hold 206 numbers before the path"
    if not np.isfinite(values).all():
        return "must hold finite numbers"
    points, box, flags = np.split(values, (2 * NUM_POINTS, 2 * NUM_POINTS + 4))
    x1, y1, x2, y2 = box.tolist()
    if x1 >= x2 or y1 >= y2:
        return f"must hold a box of x1 < x2 and y1 < y2, got {x1:g} {y1:g} {x2:g} {y2:g}"
    if not np.isin(flags, (0, 1)).all():
        return f"must hold attributes of 0 or 1, got {' '.join(f'{flag:g}' for flag in flags)}"
    name = cells[-1].strip()
    tags = frozenset(tag for tag, flag in zip(ATTRIBUTES, flags, strict=True) if flag)
    visible = np.ones(NUM_POINTS, dtype=np.bool_)
    return Sample(folder / name, points.reshape(-1, 2), visible, (x1, y1, x2, y2), key, group=name, tags=tags)
