"""Scans of one's own: images, and the rows of their surfaces per column in CSV or NPZ files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from heatpoint._checks import did_you_mean, message
from heatpoint.datasets._scan_lines import Lines, from_folder, from_long, from_npz
from heatpoint.datasets.image_files import image_size
from heatpoint.datasets.sample import settle
from heatpoint.datasets.scan import Scan, ScanSet, row_faults
from heatpoint.skeleton import Skeleton

REMEDY = "Correct what is named; an empty cell or nan is a row that is not annotated."


def read_scan_table(
    path: Path | str,
    *,
    surfaces: Sequence[str] | None = None,
    image_root: Path | str | None = None,
    row_offset: float = 0.0,
    first_column: int = 0,
    missing: float | None = None,
    axial_um: float | None = None,
    lateral_um: float | None = None,
    subject: Callable[[str], str] | None = None,
    split: str = "all",
    name: str = "scan_table",
    problems: list[str] | None = None,
) -> ScanSet:
    """Reads scans and the rows of their surfaces, in one of three forms that the path tells apart.

    - A .csv file in long form: a header with `image`, `surface`, `column`, `row` in any order, one line per row; a further
      column `subject` is the scan's group, others are ignored. What no line names is not visible.
    - A folder: beside every image a .csv file of the same stem, one line per surface: its name, then one row per column
      of the image. A first line that begins with `surface` is a header.
    - An .npz file: per image (its name without the ending) an array (S, W); an entry `surfaces` may hold the S names.

    An empty cell or nan is a row that is not annotated.

    Args:
        path: The file or folder.
        surfaces: Names of the surfaces, top to bottom. None: as the files name them, in the order in which they first do.
        image_root: Folder of the images; None is the folder of the file.
        row_offset: What is added to every row: 0 where rows are pixels with centres at whole numbers from 0, −1 where they
            are counted from 1, −0.5 where they are the first row below a boundary.
        first_column: The number of the first column in the long form, 0 or 1.
        missing: A number that stands for a row that is not annotated, as −1 or 0 in some files.
        axial_um: Micrometres per row of all scans.
        lateral_um: Micrometres per column of all scans.
        subject: Gives the subject of an image from its name, to be kept undivided between splits.
        split: What the file is a split of; stored only.
        name: Name of the set.
        problems: None raises what is wrong; a list takes it, and the scans concerned are left out.

    Raises:
        FileNotFoundError: If the file or folder is missing.
        ValueError: If the path is of no such form, a header or the names of the surfaces are missing; or, in one line, for
            everything that is wrong with files, lines and scans.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(message("read_scan_table", "path", "be an existing file or folder", path))
    if first_column not in (0, 1):
        raise ValueError(message("read_scan_table", "first_column", "be 0 or 1", first_column))
    root = Path(image_root) if image_root is not None else path if path.is_dir() else path.parent
    found: list[str] = []
    if path.is_dir():
        read = from_folder(path, root, found)
    elif path.suffix.lower() == ".csv":
        read = from_long(path, root, first_column, found)
    elif path.suffix.lower() == ".npz":
        read = from_npz(path, root, surfaces, found)
    else:
        rule = "be a folder, a .csv or an .npz file"
        raise ValueError(message("read_scan_table", "path", rule, path))
    names = tuple(surfaces) if surfaces is not None else tuple(dict.fromkeys(n for lines in read for n in lines.rows))
    if not names:
        settle(name, found, None, REMEDY)
        raise ValueError(message("read_scan_table", str(path), "name at least one surface", "none"))
    samples = []
    for lines in read:
        lines.shift(row_offset, missing)
        scan = _scan(lines, names, axial_um, lateral_um, subject)
        if isinstance(scan, Scan):
            samples.append(scan)
        else:
            found += [f"{lines.label} {fault}" for fault in scan]
    if not samples and not found:
        found.append(f"{path} holds no scan")
    settle(name, found, problems, REMEDY)
    protocol = {"scans": len(samples), "coordinates": f"rows of the file {row_offset:+g}", "axial_um": axial_um}
    return ScanSet(name, split, Skeleton(names), tuple(samples), protocol)


def _scan(
    lines: Lines,
    names: tuple[str, ...],
    axial_um: float | None,
    lateral_um: float | None,
    subject: Callable[[str], str] | None,
) -> Scan | list[str]:
    """A scan, or everything that is wrong with it."""
    try:
        width, height = image_size(lines.image)
    except (ValueError, FileNotFoundError) as error:
        return [f"has no scan: {str(error).rstrip('.')}"]
    faults = [
        f"names the unknown surface {surface!r}, not one of {', '.join(names)}. {did_you_mean(surface, names)}".rstrip()
        for surface in lines.rows
        if surface not in names
    ]
    rows, visible = np.zeros((len(names), width)), np.zeros((len(names), width), dtype=np.bool_)
    for surface, (columns, values) in lines.rows.items():
        if lines.is_full and len(values) != width:
            faults.append(f"surface {surface!r} must have {width} rows, one per column of the image, got {len(values)}")
        elif len(columns) and not 0 <= columns.min() <= columns.max() < width:
            worst = columns.max() if columns.max() >= width else columns.min()
            got = f"{worst + lines.first_column}"
            rule = f"must lie in the {width} columns of the image, from {lines.first_column}"
            faults.append(f"surface {surface!r} {rule}, got column {got}")
        elif np.isinf(values).any():
            faults.append(f"surface {surface!r} must hold finite rows, got infinity")
        elif surface in names:
            index, given = names.index(surface), ~np.isnan(values)
            rows[index, columns[given]], visible[index, columns[given]] = values[given], True
    faults += row_faults(names, rows, visible, height=height)
    if faults:
        return faults
    group = subject(lines.key) if subject is not None else lines.subject
    return Scan(lines.image, rows, visible, lines.key, group, axial_um=axial_um, lateral_um=lateral_um)
