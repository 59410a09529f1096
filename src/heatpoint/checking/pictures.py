"""Every image of a set, read once: its size, digests of its bytes and pixels, and a thumbnail to compare by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from heatpoint.datasets.sample import Image, load_image

SIDE = 32
Thumbnail = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Picture:
    """What is kept of an image.

    Args:
        size: (width, height) as it is read, turned upright.
        file_digest: Of the file's bytes.
        pixel_digest: Of its pixels and size.
        thumbnail: (32, 32) uint8, grey, the means of the areas.
    """

    size: tuple[int, int]
    file_digest: bytes
    pixel_digest: bytes
    thumbnail: Thumbnail


def read_pictures(paths: Iterable[Path]) -> tuple[dict[Path, Picture], dict[Path, str]]:
    """Reads every image, and goes on after those that cannot be read.

    Returns:
        What is kept of each, and of those that cannot be read the reason.
    """
    pictures, faults = {}, {}
    for path in paths:
        if not path.is_file():
            faults[path] = "is missing"
            continue
        try:
            pictures[path] = make_picture(load_image(path), path.read_bytes())
        except ValueError as error:
            faults[path] = "is truncated" if "truncated" in str(error) else "is no readable image"
    return pictures, faults


def make_picture(image: Image, content: bytes) -> Picture:
    """What is kept of an image and the bytes of its file.

    >>> make_picture(np.zeros((4, 6, 3), np.uint8), b"").size
    (6, 4)
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    thumbnail = np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    height, width = image.shape[:2]
    pixels = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16, person=f"{width}x{height}".encode())
    return Picture((width, height), hashlib.blake2b(content, digest_size=16).digest(), pixels.digest(), thumbnail)
