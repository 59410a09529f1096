"""Files that are whole or absent: written beside their place, then moved there in one step."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

PARTIAL = ".partial"


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file so that whoever is killed, whenever, leaves the old file or the new one.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_bytes(Path(folder, "new", "a.bin"), b"123")
    ...     sorted(path.name for path in Path(folder, "new").iterdir())
    ['a.bin']
    """
    partial = partial_path(path)
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_json(path: Path, values: Any) -> None:
    """Writes JSON, indented, atomically; numbers that are not finite, which JSON does not know, become null."""
    write_bytes(path, (json.dumps(finite(values), indent=2, allow_nan=False) + "\n").encode())


def finite(values: Any) -> Any:
    """The same JSON values with None for each number that is not finite.

    >>> finite({"nme": [0.5, float("nan")], "epoch": 1})
    {'nme': [0.5, None], 'epoch': 1}
    """
    if isinstance(values, dict):
        return {key: finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def partial_path(path: Path) -> Path:
    """Where a file lies until it is whole: hidden, beside its place; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes may write one file at a time, each whole.
    return path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")


def remove_partial(folder: Path) -> None:
    """Removes what killed processes have left half-written in a folder."""
    for path in folder.glob(f".*{PARTIAL}"):
        path.unlink(missing_ok=True)
