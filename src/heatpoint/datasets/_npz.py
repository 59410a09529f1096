"""Files of NumPy arrays, whose many ways to be broken become one error."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heatpoint._checks import message


def read_npz(function: str, path: Path, *, remedy: str = "") -> dict[str, npt.NDArray[Any]]:
    """All arrays of an .npz file by name; pickled objects are not read, since reading them runs what they say.

    Raises:
        ValueError: In one line, if the file is no .npz file, is cut off or holds objects.
    """
    try:
        # Opened here: NumPy leaves a file open that turns out to be no archive.
        with path.open("rb") as stream:
            content = np.load(stream)
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise ValueError("a single array (.npy)")
            return {name: content[name] for name in content.files}
    except (ValueError, OSError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        got = str(error) or type(error).__name__
        raise ValueError(message(function, str(path), "be an .npz file of plain arrays", got, remedy)) from None
