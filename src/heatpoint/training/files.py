"""Files that are whole or absent: written beside their place, then moved there in one step."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


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
    """Writes JSON, indented, atomically."""
    write_bytes(path, (json.dumps(values, indent=2) + "\n").encode())


def partial_path(path: Path) -> Path:
    """Where a file lies until it is whole: hidden, beside its place; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.partial")
