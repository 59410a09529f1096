"""Files of point clouds: .pcd, .ply, .off, .npy and rows of text; what is wrong with one is said in one line."""

from __future__ import annotations

import io
import re
import zipfile
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heatpoint._checks import message
from heatpoint.datasets.whole_files import AGAIN
from heatpoint.frames import FloatArray

# Behind x, y, z: a label or an intensity; normals or colours; both.
COLUMNS = (3, 4, 6, 7)
# 0,5 among other numbers: a decimal comma, or numbers joined by commas and by spaces.
INNER_COMMA = re.compile(r"\d,\d")
# The first line of a file, if it holds one whole number.
COUNT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?P<number>\d{1,18})[ \t]*(?=[\r\n])")
# The start of an object file to the end of its counts. ModelNet has files in which these follow OFF on its own line.
OFF_COUNTS = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])*OFF(?:\s|#[^\r\n]*[\r\n])*(?P<number>\d{1,18})(?![^\s#])[^\r\n]*")
PCD_KINDS = {"F": "f", "I": "i", "U": "u"}
PLY_KINDS = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4", "double": "f8",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4",
    "float64": "f8",
}  # fmt: skip


def read_cloud_file(path: Path | str) -> FloatArray:
    """Reads a cloud by the ending of its name; see `load_cloud`, which also checks the values.

    Raises:
        ValueError: If the ending is unknown, or the file is not of its kind.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(message("load_cloud", "cloud", f"be a file that ends in {', '.join(sorted(READERS))}", path))
    return reader(path)


def read_pcd(path: Path | str) -> FloatArray:
    """The points (N, 3) of a file of the Point Cloud Library, version 0.7 or before, ASCII or binary.

    Raises:
        ValueError: In one line, if the header has no x, y, z of one number each, the data are compressed, or points are missing.
    """
    data = Path(path).read_bytes()
    header, start = _pcd_header(path, data)
    names, kind = header.get("FIELDS", []), header.get("DATA", ["?"])[0].lower()
    sizes, types = header.get("SIZE", []), header.get("TYPE", [])
    counts = header.get("COUNT", ["1"] * len(names))
    try:
        number = int(header["POINTS"][0]) if "POINTS" in header else int(header["WIDTH"][0]) * int(header["HEIGHT"][0])
        formats = [(f"<{PCD_KINDS[t]}{int(s)}", (int(c),)) for t, s, c in zip(types, sizes, counts, strict=True)]
        dtype = np.dtype({"names": [f"{i}" for i in range(len(names))], "formats": formats})
        if number < 0:
            raise ValueError(f"{number} points")
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise _broken("read_pcd", "have a header of FIELDS, SIZE, TYPE, COUNT and POINTS", path, str(error)) from None
    if not {"x", "y", "z"} <= set(names) or any(counts[names.index(axis)] != "1" for axis in "xyz"):
        raise _broken("read_pcd", "have one x, y and z for each point", path, f"fields {' '.join(names)}")
    if kind == "ascii":
        # Fields of several numbers take as many columns.
        first = np.concatenate([[0], np.cumsum([int(c) for c in counts])])
        rows = _rows("read_pcd", path, data, start, width=int(first[-1]), number=number)
        return rows[:, [int(first[names.index(axis)]) for axis in "xyz"]]
    if kind != "binary":
        remedy = "Convert it: pcl_convert_pcd_ascii_binary IN OUT 0."
        raise ValueError(message("read_pcd", "file", "hold ascii or binary data", f"{kind} in {path}", remedy))
    table = _table("read_pcd", path, data[start:], dtype, number)
    return np.stack([table[str(names.index(axis))][:, 0] for axis in "xyz"], axis=1).astype(np.float64)


def read_ply(path: Path | str) -> FloatArray:
    """The vertices (N, 3) of a Stanford polygon file, ASCII or binary of either byte order; faces are left out.

    Raises:
        ValueError: In one line, if the file is not of this kind, its vertices have no x, y, z, or vertices are missing.
    """
    data = Path(path).read_bytes()
    kind, elements, start = _ply_header(path, data)
    order = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}.get(kind)
    if order is None or "vertex" not in elements:
        raise _broken("read_ply", "have a header with format and element vertex", path, f"format {kind or 'missing'}")
    if next(iter(elements)) != "vertex":
        raise _broken("read_ply", "begin with its vertices", path, f"element {next(iter(elements))} first")
    number, properties = elements["vertex"]
    names = [name for name, _ in properties]
    if not {"x", "y", "z"} <= set(names) or len(set(names)) < len(names) or any(k == "list" for _, k in properties):
        raise _broken("read_ply", "have vertices with x, y, z and no lists", path, f"properties {' '.join(names)}")
    if kind == "ascii":
        rows = _rows("read_ply", path, data, start, width=len(names), number=number, is_last=len(elements) == 1)
        return rows[:, [names.index(axis) for axis in "xyz"]]
    table = _table("read_ply", path, data[start:], np.dtype([(n, order + k) for n, k in properties]), number)
    return np.stack([table[axis] for axis in "xyz"], axis=1).astype(np.float64)


def read_off(path: Path | str) -> FloatArray:
    """The vertices (N, 3) of an object file (ModelNet's meshes): the corners of its faces, which need not cover its surface.

    Raises:
        ValueError: In one line, if the file is not of this kind or vertices are missing.
    """
    data = Path(path).read_bytes()
    counts = OFF_COUNTS.match(data)
    if counts is None:
        raise _broken("read_off", "begin with OFF and the number of vertices", path, "otherwise")
    return _rows("read_off", path, data, counts.end(), width=3, number=int(counts["number"]), is_last=False)


def read_rows(path: Path | str) -> FloatArray:
    """The points (N, 3) of a text file with a row x y z for each, or x, y, z; 4, 6 or 7 columns if more stands behind them.

    ShapeNet's parts have 7 (normal, label), ModelNet's resampled clouds 6 (normal). A .pts file may begin with a line that
    holds the number of its points alone, as Leica's do (intensity, or intensity and colour, behind x y z).

    Raises:
        ValueError: In one line, if rows hold anything but numbers, or as many as none of these; or are not as many as announced.
    """
    data = Path(path).read_bytes()
    count = COUNT.match(data) if Path(path).suffix.lower() == ".pts" else None
    if count is None:
        rows = _rows("read_rows", path, data)
    else:
        rows = _rows("read_rows", path, data, count.end(), number=int(count["number"]))
    return _three("read_rows", path, rows)


def read_npy(path: Path | str) -> FloatArray:
    """The points (N, 3) of a NumPy file of numbers with 3 columns, or 4, 6 or 7 if more stands behind x, y, z.

    Raises:
        ValueError: In one line, if the file is no array of numbers of this shape.
    """
    try:
        values = np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False)
    # MemoryError: a broken header may announce any number of points.
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise _broken("read_npy", "be an array saved by numpy.save", path, str(error)) from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise _broken("read_npy", "be an array of real numbers", path, str(getattr(values, "dtype", "an archive")))
    return _three("read_npy", path, values)


READERS: dict[str, Callable[[Path | str], FloatArray]] = {
    ".pcd": read_pcd, ".ply": read_ply, ".off": read_off, ".npy": read_npy,
    ".xyz": read_rows, ".txt": read_rows, ".pts": read_rows,
}  # fmt: skip


def _three(function: str, path: Path | str, values: npt.NDArray[np.generic]) -> FloatArray:
    if values.ndim != 2 or (values.shape[1] not in COLUMNS and len(values)):
        rule = "have 3 columns x, y, z, or 4, 6 or 7 with more behind them"
        raise _broken(function, rule, path, f"shape {values.shape}")
    return values[:, :3].astype(np.float64)


def _pcd_header(path: Path | str, data: bytes) -> tuple[dict[str, list[str]], int]:
    header: dict[str, list[str]] = {}
    start = 0
    while start < len(data) and "DATA" not in header:
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        words = data[start:end].decode("ascii", errors="replace").split("#")[0].split()
        if words:
            header[words[0].upper()] = words[1:]
        start = end + 1
        if len(header) > 20:
            break
    if not header.get("DATA"):
        raise _broken("read_pcd", "have a header that ends in DATA", path, "none")
    return header, start


def _ply_header(path: Path | str, data: bytes) -> tuple[str, dict[str, tuple[int, list[tuple[str, str]]]], int]:
    """Its format, per element the number and the properties (name, NumPy's code or "list"), and where the data begin."""
    marker = data.find(b"end_header")
    if data[:3] != b"ply" or marker < 0:
        raise _broken("read_ply", "begin with ply and a header that ends in end_header", path, "otherwise")
    kind, elements, current = "", {}, ""
    try:
        for line in data[:marker].decode("ascii", errors="replace").splitlines():
            words = line.split()
            if words[:1] == ["format"]:
                kind = words[1]
            elif words[:1] == ["element"]:
                current = words[1]
                elements[current] = (int(words[2]), list[tuple[str, str]]())
                if elements[current][0] < 0:
                    raise ValueError("below 0")
            elif words[:1] == ["property"]:
                code = "list" if words[1] == "list" else PLY_KINDS[words[1]]
                elements[current][1].append((words[-1], code))
    except (KeyError, ValueError, IndexError) as error:
        raise _broken("read_ply", "have a header of elements and properties", path, f"{line!r} ({error})") from None
    return kind, elements, data.index(b"\n", marker) + 1 if b"\n" in data[marker:] else len(data)


def _rows(
    function: str,
    path: Path | str,
    data: bytes,
    start: int = 0,
    *,
    width: int | None = None,
    number: int | None = None,
    is_last: bool = True,
) -> FloatArray:
    """Numbers of text, a row per line; empty lines and comments (#) count for nothing.

    Lines are read one at a time into an array of numbers: a list of words would take twenty times the memory of the file.

    Args:
        function: Who asks.
        path: To name in an error.
        data: The content of the file.
        start: Where in it the rows begin.
        width: Numbers per row; None takes that of the first row.
        number: Rows; None takes all there are.
        is_last: Whether nothing may follow the rows.
    """
    values, held = array("d"), 0
    for line, words in _lines(function, path, data, start):
        held += 1
        if number is not None and held > number:
            if is_last:
                continue
            break
        width = len(words) if width is None else width
        if len(words) != width:
            raise _broken(function, f"have {width} numbers in every row", path, f"{len(words)} in line {line}")
        try:
            values.extend(map(float, words))
        except ValueError as error:
            raise _broken(function, "hold rows of numbers", path, f"{error} in line {line}") from None
    if number is not None and (held < number or (is_last and held > number)):
        raise _broken(function, f"hold the {number} points that it announces", path, str(held))
    return np.frombuffer(values, dtype=np.float64).reshape(-1, 3 if width is None else width)


def _lines(function: str, path: Path | str, data: bytes, start: int) -> Iterator[tuple[int, list[str]]]:
    """The lines that hold something, with their number in the file, from 1."""
    file = io.BytesIO(data)
    file.seek(start)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace")
    for line, raw in enumerate(text, start=1 + data.count(b"\n", 0, start)):
        content = raw.partition("#")[0]
        if "," in content:
            _refuse_decimal_commas(function, path, line, content)
        words = content.replace(",", " ").replace(";", " ").split()
        if words:
            yield line, words


def _refuse_decimal_commas(function: str, path: Path | str, line: int, content: str) -> None:
    """Read as a separator, the comma of "0,5 0,2 0,1" would make six numbers, of which the first three pass for a point."""
    parts = content.replace(";", " ").split()
    if len(parts) > 1 and any(INNER_COMMA.search(part) for part in parts):
        remedy = "Write decimal points, and put either commas or spaces between numbers."
        got = f"{content.strip()[:40]!r} in line {line} of {path}"
        raise ValueError(message(function, "file", "hold numbers with decimal points", got, remedy))


def _table(function: str, path: Path | str, data: bytes, dtype: np.dtype[np.void], number: int) -> npt.NDArray[np.void]:
    if len(data) < number * dtype.itemsize:
        held = len(data) // dtype.itemsize
        raise _broken(function, f"hold the {number} points that it announces", path, str(held))
    return np.frombuffer(data, dtype=dtype, count=number)


def _broken(function: str, rule: str, path: Path | str, got: str) -> ValueError:
    return ValueError(message(function, "file", rule, f"{got} in {path}", AGAIN))
