"""The files of `read_scan_table`, read as they stand: per image, surface and column a number."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heatpoint._checks import message
from heatpoint.datasets._npz import read_npz
from heatpoint.datasets.pts import IMAGE_ENDINGS, image_beside
from heatpoint.frames import FloatArray

HEADER = ("image", "surface", "column", "row")
MOST_DIGITS = 9  # Of a column, which then is a number that every machine holds.
Columns = npt.NDArray[np.intp]


@dataclass(eq=False)
class Lines:
    """What files say of one scan.

    Args:
        label: File and record, to begin an error with.
        image: Its path.
        key: Its name within the set.
        rows: Per surface the columns, counted from 0, and the numbers there; NaN where there is none.
        is_full: Whether every surface must have one number per column of the image.
        first_column: The number of the first column in the file.
        subject: "" where the file does not say.
    """

    label: str
    image: Path
    key: str
    rows: dict[str, tuple[Columns, FloatArray]] = field(default_factory=dict)
    is_full: bool = True
    first_column: int = 0
    subject: str = ""

    def shift(self, offset: float, missing: float | None) -> None:
        """Takes out the number that means "missing", then adds `offset` to the rest."""
        for surface, (columns, values) in self.rows.items():
            kept = values if missing is None else np.where(values == missing, np.nan, values)
            self.rows[surface] = (columns, kept + offset)


def from_long(path: Path, root: Path, first_column: int, found: list[str]) -> list[Lines]:
    """One file with a line per image, surface and column; what is wrong with lines goes into `found`, as line numbers.

    Raises:
        ValueError: If the file is no CSV file in UTF-8 or its header lacks a column.
    """
    lines = _cells(path)
    header = [cell.strip().lower() for cell in next(lines, (0, []))[1]]
    lacking = [name for name in HEADER if name not in header]
    if lacking:
        got = f"{', '.join(header) or 'nothing'}, without {', '.join(lacking)}"
        remedy = "One line per image would be a folder of CSV files."
        raise ValueError(
            message("read_scan_table", str(path), f"begin with the header {','.join(HEADER)}", got, remedy)
        )
    twice = [name for name in (*HEADER, "subject") if header.count(name) > 1]
    if twice:
        raise ValueError(message("read_scan_table", str(path), "name each column once", f"{twice[0]} twice"))
    places = [header.index(name) for name in HEADER]
    subject_at = header.index("subject") if "subject" in header else None
    gathered: dict[str, dict[str, dict[int, float]]] = {}
    subjects: dict[str, str] = {}
    for number, cells in lines:
        if len(cells) != len(header):
            found.append(f"{path} line {number} must have {len(header)} cells, got {len(cells)}")
            continue
        image, surface, column, row = (cells[place].strip() for place in places)
        if not image or not surface:
            found.append(f"{path} line {number} must name an image and a surface, got {image!r} and {surface!r}")
            continue
        fault = _add(gathered.setdefault(image, {}).setdefault(surface, {}), column, row, first_column)
        if subject_at is not None:
            subject = cells[subject_at].strip()
            if subjects.setdefault(image, subject) != subject:
                fault = f"must name one subject of {image}, got {subject} after {subjects[image]}"
        if fault:
            found.append(f"{path} line {number} {fault}")
    return [
        Lines(f"{path} {image}", root / image, image, _arrays(rows), False, first_column, subjects.get(image, ""))
        for image, rows in gathered.items()
    ]


def from_folder(path: Path, root: Path, found: list[str]) -> list[Lines]:
    """A CSV file per image, with a line per surface."""
    results = []
    for file in sorted(path.glob("*.csv")):
        image = image_beside(file, root)
        if image is None:
            found.append(f"{file} has no image of the same stem in {root}")
            continue
        try:
            cells = list(_cells(file))
        except ValueError as error:
            found.append(str(error))
            continue
        lines = Lines(str(file), image, file.stem)
        for number, (surface, *texts) in cells:
            surface = surface.strip()
            if surface.lower() == "surface" and number == cells[0][0]:
                continue
            numbers = [_number(text) for text in texts]
            wrong = [text for text, value in zip(texts, numbers, strict=True) if value is None]
            if wrong or not surface or _number(surface) is not None or surface in lines.rows:
                got = repr(wrong[0]) if wrong else f"{surface!r} at its beginning"
                found.append(f"{file} line {number} must hold the name of a surface, each once, and numbers, got {got}")
                break
            lines.rows[surface] = np.arange(len(texts)), np.array(numbers, dtype=np.float64)
        else:
            results.append(lines)
    return results


def from_npz(path: Path, root: Path, surfaces: Sequence[str] | None, found: list[str]) -> list[Lines]:
    """One file with an array (S, W) per image.

    Raises:
        ValueError: If the file is no .npz file of plain arrays, or neither it nor the caller names the surfaces.
    """
    arrays = read_npz("read_scan_table", path)
    stored = arrays.pop("surfaces", None)
    names = [_text(name) for name in stored.ravel()] if stored is not None else list(surfaces or ())
    if not names:
        remedy = "Give surfaces=(…), or store the names in the entry 'surfaces'."
        raise ValueError(message("read_scan_table", str(path), "name its surfaces", "no names", remedy))
    if len(set(names)) < len(names):
        raise ValueError(message("read_scan_table", str(path), "name each surface once", ", ".join(names)))
    results = []
    for key, values in arrays.items():
        label = f"{path} {key}"
        image = image_beside(root / f"{key}.npz")
        if image is None:
            found.append(f"{label} has no image of this name in {root} ({', '.join(IMAGE_ENDINGS)})")
        elif values.dtype.kind not in "iuf" or values.ndim != 2 or len(values) != len(names):
            rule = f"must be numbers, {len(names)} surfaces x columns"
            found.append(f"{label} {rule}, got {values.dtype} {values.shape}")
        else:
            columns, numbers = np.arange(values.shape[1]), values.astype(np.float64)
            results.append(Lines(label, image, key, {n: (columns, row) for n, row in zip(names, numbers, strict=True)}))
    return results


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines of a CSV file that are not empty, with their numbers."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            yield from ((reader.line_num, cells) for cells in reader if cells)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(message("read_scan_table", str(path), "be a CSV file in UTF-8", error)) from None


def _text(name: object) -> str:
    return name.decode("utf-8", errors="replace") if isinstance(name, bytes) else str(name)


def _number(text: str) -> float | None:
    """A cell as a number, NaN where it is empty; None if it is none."""
    try:
        return float(text) if text.strip() else math.nan
    except ValueError:
        return None


def _add(rows: dict[int, float], column: str, row: str, first_column: int) -> str:
    """Takes one line of the long form in; the fault if there is one."""
    if not column.isdecimal() or len(column) > MOST_DIGITS:
        return f"must hold a whole column number, got {column!r}"
    value = _number(row)
    if value is None:
        return f"must hold a number as row, got {row!r}"
    if int(column) - first_column in rows:
        return f"must not repeat a column of its surface, got {column} again"
    rows[int(column) - first_column] = value
    return ""


def _arrays(rows: dict[str, dict[int, float]]) -> dict[str, tuple[Columns, FloatArray]]:
    return {
        surface: (np.array(list(found), dtype=np.intp), np.array(list(found.values()), dtype=np.float64))
        for surface, found in rows.items()
    }
