"""MATLAB files up to version 7.2, as the owners of older sets give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from heatpoint._checks import message, missing_package


def read_mat(function: str, path: Path, keys: tuple[str, ...] = (), *, structs: bool = False) -> dict[str, Any]:
    """Reads the variables of a .mat file.

    Args:
        function: The reader, for error texts.
        path: The file.
        keys: Variables that it must hold.
        structs: Turn structures into plain objects, with one attribute per field and sides of length 1 left out.

    Raises:
        ModuleNotFoundError: If scipy is not installed, saying how to get it.
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such file, or lacks a variable.
    """
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError as error:
        raise missing_package(function, error) from error
    if not path.is_file():
        raise FileNotFoundError(message(function, "data root", f"hold {path}", "no such file", "Copy the set again."))
    try:
        content: dict[str, Any] = loadmat(str(path), squeeze_me=structs, struct_as_record=not structs)
    except Exception as error:
        # scipy answers a damaged file with whatever its parser stumbled over.
        got = f"{type(error).__name__}: {error}"
        raise ValueError(message(function, str(path), "be a MATLAB file", got, "Copy the set again.")) from None
    missing = [key for key in keys if key not in content]
    if missing:
        held = ", ".join(sorted(key for key in content if not key.startswith("__"))) or "nothing"
        raise ValueError(message(function, str(path), f"hold {', '.join(missing)}", held, "Copy the set again."))
    return content
