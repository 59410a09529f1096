"""Files that a sample names: that they are there, and that pictures among them are whole."""

from __future__ import annotations

import os
from pathlib import Path

from heatpoint._checks import message

AGAIN = "Copy or download the file again."


def read_whole(function: str, argument: str, path: object) -> bytes:
    """The bytes of a file that exists and, if it is a JPEG or PNG picture, has its end.

    Raises:
        TypeError: If `path` is neither text nor a path.
        FileNotFoundError: If there is no such file.
        ValueError: If a picture is truncated.
    """
    found = existing_file(function, argument, path)
    data = found.read_bytes()
    if is_truncated(data):
        raise ValueError(message(function, argument, "be a complete file", f"{found}, which is truncated", AGAIN))
    return data


def existing_file(function: str, argument: str, path: object) -> Path:
    """The path of a file that exists.

    Raises:
        TypeError: If `path` is neither text nor a path.
        FileNotFoundError: If there is no such file.
    """
    if not isinstance(path, str | os.PathLike):
        remedy = "Make numbers an array with numpy.asarray."
        raise TypeError(message(function, argument, "be a path, an array or a sample", type(path).__name__, remedy))
    found = Path(path)
    if not found.is_file():
        raise FileNotFoundError(message(function, argument, "be an existing file", found, "Check the data folder."))
    return found


def is_whole_picture(path: Path) -> bool:
    """Whether a file is there, begins as a picture and has its end: looking at both ends takes a hundredth of decoding."""
    import cv2  # Not above: `datasets.sample`, which says what to install if it is missing, imports this file first.

    return path.is_file() and cv2.haveImageReader(str(path)) and not is_truncated(path.read_bytes())


def is_truncated(data: bytes) -> bool:
    """Whether a JPEG or PNG picture ends too early; False for any other file."""
    if data[:2] == b"\xff\xd8":
        # Thumbnails in the header have an end marker of their own: look behind the first scan. In the scans a 0xff is
        # followed by 0x00 or a restart marker, so the two bytes of the end marker cannot occur by chance.
        return data.rfind(b"\xff\xd9") < _first_scan(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _ends_early(data)
    return False


def _ends_early(data: bytes) -> bool:
    """Whether a PNG file ends before its last chunk; whatever follows that is not part of the picture."""
    position = 8
    while position + 12 <= len(data):
        if data[position + 4 : position + 8] == b"IEND":
            return False
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    return True


def _first_scan(data: bytes) -> int:
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        if data[position + 1] == 0xDA:
            return position
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return len(data)
