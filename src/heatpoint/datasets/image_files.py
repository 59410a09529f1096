"""Image files of a set: which are there, and how large they are by their headers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from heatpoint.datasets.sample import Sample, load_image, require_images

# Start-of-frame markers of JPEG: all of 0xC0 to 0xCF but the tables (C4), the reserved one (C8) and arithmetic coding's (CC).
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
PNG = b"\x89PNG\r\n\x1a\n"


def with_images(name: str, samples: Sequence[Sample], problems: list[str] | None, *, remedy: str) -> tuple[Sample, ...]:
    """The samples whose image file exists; what is missing is raised, or handed to who asked for a list.

    Args:
        name: Of the reader.
        samples: Of the split.
        problems: None to raise; a list to append one line per missing image to.
        remedy: What to do.

    Raises:
        FileNotFoundError: In one line, if images are missing and `problems` is None.
    """
    if problems is None:
        require_images(name, samples, remedy=remedy)
        return tuple(samples)
    paths = dict.fromkeys(sample.image for sample in samples if isinstance(sample.image, Path))
    missing = {path for path in paths if not path.is_file()}
    problems.extend(f"image {path} is missing" for path in paths if path in missing)
    return tuple(sample for sample in samples if not (isinstance(sample.image, Path) and sample.image in missing))


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels of a file as `load_image` reads it, without decoding it where the header suffices.

    A JPEG file with EXIF data is decoded, since these may turn the image.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is no image, or is truncated in a way that reading its size shows.
    """
    if path.is_file():
        with path.open("rb") as file:
            size = _size(file.read(1 << 16))
        if size is not None:
            return size
    height, width = load_image(path).shape[:2]
    return width, height


def _size(head: bytes) -> tuple[int, int] | None:
    """The size that the first bytes of a file state; None if they leave it open."""
    if head[:8] == PNG and head[12:16] == b"IHDR" and len(head) >= 24:
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if head[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 9 <= len(head) and head[position] == 0xFF:
        marker, length = head[position + 1], int.from_bytes(head[position + 2 : position + 4], "big")
        if marker == 0xE1 and head[position + 4 : position + 8] == b"Exif":
            return None
        if marker in FRAMES:
            height, width = head[position + 5 : position + 7], head[position + 7 : position + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        position += 2 + length
    return None
