"""MATLAB files of every version as plain numpy arrays, strings and dicts; the readers of the data sets need no more.

Versions 4 to 7 are read by scipy, version 7.3 (which is HDF5) by h5py. Both are imported when a file is read, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from heatpoint._checks import did_you_mean, message, missing_package

REMEDY = "Download or copy the file again."
HDF5_MARK = b"\x89HDF\r\n\x1a\n"


def read_mat(path: Path | str, *, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Reads the variables of a MATLAB file (version 4 to 7.3) as arrays of the shapes that MATLAB shows.

    Numbers are arrays of at least two axes, (1, 1) for a scalar; logical ones are bool. A row of characters is a str,
    several rows an array of them. A cell array is an object array of the same shape. A struct is a dict of its fields, an
    array of structs an object array of dicts. An empty variable is an empty array, of characters "".

    Args:
        path: The file.
        names: The variables to read, each of which must be there; None reads all.

    Returns:
        The values by name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a MATLAB file, is cut short or holds something that has no such form; or, in one line, for
            all variables that are missing.
        ModuleNotFoundError: If scipy or, for version 7.3, h5py is not installed.
    """
    path = _existing(path)
    if _is_hdf5(path):
        return _read_hdf5(path, names)
    return _read_old(path, names)


def mat_cells(path: Path | str, name: str) -> Iterator[Any]:
    """Yields the values of a cell array one after another, in MATLAB's order, without holding them all (version 7.3).

    Raises:
        As `read_mat`; and ValueError if the variable is no cell array.
    """
    path = _existing(path)
    if not _is_hdf5(path):
        cells = _read_old(path, [name])[name]
        if not isinstance(cells, np.ndarray) or cells.dtype != object:
            raise _no_cells(path, name)
        yield from cells.ravel(order="F")
        return
    with _open_hdf5(path) as file:
        _require(path, [name], list(file))
        if not _is_references(file[name]):
            raise _no_cells(path, name)
        # The axes are stored in the opposite order: to go through them in C order is MATLAB's column order.
        for reference in _guarded(path, lambda: file[name][()]).ravel():
            yield _guarded(path, partial(_referred, path, file, reference))


def _existing(path: Path | str) -> Path:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(message("read_mat", "path", "be an existing file", path, "Check the data folder."))
    return path


def _is_hdf5(path: Path) -> bool:
    """Whether the HDF5 mark stands at one of its places: 0, 512, 1024, … (MATLAB writes a header of 512 bytes first)."""
    with path.open("rb") as file:
        head = file.read(4096)
    return any(head[start : start + 8] == HDF5_MARK for start in (0, 512, 1024, 2048))


def _require(path: Path, names: Sequence[str], present: Sequence[str]) -> None:
    missing = [name for name in names if name not in present]
    if missing:
        known = ", ".join(sorted(name for name in present if not name.startswith("#"))) or "none"
        rule = f"hold the variable{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
        remedy = did_you_mean(missing[0], present) or "Give the file that the set publishes."
        raise ValueError(message("read_mat", str(path), rule, known, remedy))


def _guarded(path: Path, read: Callable[[], Any]) -> Any:
    """Runs a read of scipy or h5py; whatever they raise on a broken file becomes one error that names the file."""
    try:
        return read()
    except ModuleNotFoundError as error:
        raise missing_package("heatpoint.datasets", error) from error
    # The errors of the two on broken bytes have nothing in common: zlib's, TypeError, IndexError, a plain Exception.
    except Exception as error:
        if str(error).startswith("read_mat: "):
            raise
        rule = "be a complete MATLAB file of numbers, characters, cells and structs"
        raise ValueError(message("read_mat", str(path), rule, f"{type(error).__name__} ({error})", REMEDY)) from None


def _read_old(path: Path, names: Sequence[str] | None) -> dict[str, Any]:
    def load() -> dict[str, Any]:
        from scipy.io import loadmat

        wanted = None if names is None else list(names)
        return dict(loadmat(str(path), appendmat=False, variable_names=wanted, spmatrix=False))

    found = {name: value for name, value in _guarded(path, load).items() if not name.startswith("__")}
    if names is not None and set(names) - set(found):
        _require(path, names, [name for name, _, _ in _guarded(path, lambda: _contents(path))])
    return {name: _guarded(path, partial(_from_scipy, path, value)) for name, value in found.items()}


def _contents(path: Path) -> list[tuple[str, Any, str]]:
    from scipy.io import whosmat

    return list(whosmat(str(path), appendmat=False))


def _from_scipy(path: Path, value: Any) -> Any:
    """A value of scipy's in the form of `read_mat`."""
    if not isinstance(value, np.ndarray):
        raise _unknown_kind(path, type(value).__name__)
    if value.dtype.names is not None:
        structs = np.empty(value.shape, dtype=object)
        for index in np.ndindex(value.shape):
            structs[index] = {name: _from_scipy(path, value[index][name]) for name in value.dtype.names}
        return structs[(0,) * value.ndim] if value.size == 1 else structs
    if value.dtype == object:
        cells = np.empty(value.shape, dtype=object)
        for index in np.ndindex(value.shape):
            cells[index] = _from_scipy(path, value[index])
        return cells
    if value.dtype.kind == "U":
        return str(value.reshape(-1)[0]) if value.size == 1 else value if value.size else ""
    return value


def _read_hdf5(path: Path, names: Sequence[str] | None) -> dict[str, Any]:
    with _open_hdf5(path) as file:
        present = [name for name in file if not name.startswith("#")]
        _require(path, names or (), present)
        wanted = present if names is None else names
        return {name: _guarded(path, partial(_from_hdf5, path, file, file[name])) for name in wanted}


def _open_hdf5(path: Path) -> Any:
    def load() -> Any:
        import h5py

        return h5py.File(path, "r")

    return _guarded(path, load)


def _from_hdf5(path: Path, file: Any, item: Any) -> Any:
    """A group or dataset of a 7.3 file in the form of `read_mat`; its axes are stored in the opposite order."""
    kind = item.attrs.get("MATLAB_class", b"")
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    if "MATLAB_sparse" in item.attrs or kind == "function_handle":
        raise _unknown_kind(path, "a sparse matrix" if "MATLAB_sparse" in item.attrs else "a function handle")
    if hasattr(item, "keys"):
        return _struct(path, file, item)
    if "MATLAB_empty" in item.attrs:
        return _empty(kind, tuple(int(side) for side in item[()]))
    values = item[()]
    if _is_references(item):
        cells = np.empty(values.shape, dtype=object)
        for index in np.ndindex(values.shape):
            cells[index] = _referred(path, file, values[index])
        return cells.T
    if kind == "char":
        rows = ["".join(map(chr, row)) for row in values.T.tolist()]
        return rows[0] if len(rows) == 1 else np.array(rows)
    if values.dtype.names is not None:
        values = values["real"] + 1j * values["imag"]
    values = np.asarray(values).T
    return values.astype(np.bool_) if kind == "logical" else values


def _referred(path: Path, file: Any, reference: Any) -> Any:
    return _from_hdf5(path, file, file[reference])


def _struct(path: Path, file: Any, group: Any) -> Any:
    """A dict; or, where the fields hold references but are no cell arrays, an array of structs."""
    fields = {name: group[name] for name in group}
    if not fields or not all(_is_references(f) and "MATLAB_class" not in f.attrs for f in fields.values()):
        return {name: _from_hdf5(path, file, field) for name, field in fields.items()}
    shape = next(iter(fields.values())).shape[::-1]
    structs = np.empty(shape, dtype=object)
    for index in np.ndindex(shape):
        structs[index] = {n: _referred(path, file, f[index[::-1]]) for n, f in fields.items()}
    return structs


def _empty(kind: str, shape: tuple[int, ...]) -> Any:
    if kind == "char":
        return ""
    kinds: dict[str, Any] = {"cell": object, "struct": object, "logical": np.bool_}
    return np.empty(shape, dtype=kinds.get(kind, np.float64))


def _is_references(item: Any) -> bool:
    """Whether a dataset holds references, as cell arrays and arrays of structs do."""
    return not hasattr(item, "keys") and item.dtype == object and "MATLAB_empty" not in item.attrs


def _unknown_kind(path: Path, kind: str) -> ValueError:
    remedy = "Save it in MATLAB as full arrays, cells and structs."
    return ValueError(message("read_mat", str(path), "hold numbers, characters, cells and structs only", kind, remedy))


def _no_cells(path: Path, name: str) -> ValueError:
    return ValueError(message("read_mat", f"{name} of {path}", "be a cell array", "something else", REMEDY))
