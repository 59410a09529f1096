"""The same picture or object twice: between splits, where it makes scores too good, and within one.

Byte for byte and pixel for pixel, duplicates are exact. Copies that were encoded again or resized are found by their thumbnails:
two are taken for one picture if, after subtracting the means, they correlate by more than 0.99 and differ by at most 30 grey
levels at the place where they differ most. Crops and mirrored copies are not found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heatpoint.checking.findings import Finding
from heatpoint.checking.pictures import Picture
from heatpoint.checking.records import Part

CORRELATION = 0.99
MOST_LEVELS = 30.0
BLOCK = 1024
FloatMatrix = npt.NDArray[np.float32]


def find_duplicates(parts: Sequence[Part], pictures: Mapping[Path, Picture]) -> list[Finding]:
    """Pictures in two splits, pictures with two names in one, and objects that stand twice in one."""
    found: list[Finding] = []
    for number, part in enumerate(parts):
        found += _records_twice(part, pictures) + _images_twice(part, pictures)
        for other in parts[:number]:
            found += _across(other, part, pictures)
    return found


def near_duplicates(first: Sequence[Picture], second: Sequence[Picture]) -> list[tuple[int, int]]:
    """Pairs (index in `first`, index in `second`) of pictures that look the same; of each of `second` the nearest one.

    >>> picture = lambda seed: np.random.default_rng(seed).integers(0, 256, (32, 32)).astype(np.uint8)
    >>> make = lambda pixels: Picture((32, 32), b"", b"", pixels)
    >>> near_duplicates([make(picture(0)), make(picture(1))], [make(picture(1) // 8 * 8)])
    [(1, 0)]
    """
    if not first or not second:
        return []
    left, right = _normalized(first), _normalized(second)
    pairs = []
    for start in range(0, len(right), BLOCK):
        alike = right[start : start + BLOCK] @ left.T
        for row, best in enumerate(alike.argmax(axis=1)):
            index = start + row
            if alike[row, best] > CORRELATION and _levels_apart(first[best], second[index]) <= MOST_LEVELS:
                pairs.append((int(best), index))
    return pairs


def _normalized(pictures: Sequence[Picture]) -> FloatMatrix:
    values = np.stack([picture.thumbnail.reshape(-1) for picture in pictures]).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    # A picture of one colour resembles every other: it is left to the exact comparison.
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(
        np.where(length > 2 * values.shape[1] ** 0.5, values / np.maximum(length, 1), 0), dtype=np.float32
    )


def _levels_apart(first: Picture, second: Picture) -> float:
    difference = first.thumbnail.astype(np.float64) - second.thumbnail
    return float(np.abs(difference - difference.mean()).max())


def _across(first: Part, second: Part, pictures: Mapping[Path, Picture]) -> list[Finding]:
    ours = [path for path in first.image_paths() if path in pictures]
    theirs = [path for path in second.image_paths() if path in pictures]
    by_pixels = {pictures[path].pixel_digest: path for path in reversed(ours)}
    places = _first_records(second)
    found, rest = [], []
    for path in theirs:
        twin = by_pixels.get(pictures[path].pixel_digest)
        if twin is None:
            rest.append(path)
            continue
        same_bytes = pictures[twin].file_digest == pictures[path].file_digest
        how = "is the same file" if twin == path else "has the same bytes" if same_bytes else "has the same pixels"
        text = f"{how} as {twin} of {first.split}"
        found.append(Finding("duplicate_across_splits", text, str(path), "", second.split, sample=places.get(path)))
    for a, b in near_duplicates([pictures[path] for path in ours], [pictures[path] for path in rest]):
        path, text = rest[b], f"looks the same as {ours[a]} of {first.split}"
        found.append(
            Finding("near_duplicate_across_splits", text, str(path), "", second.split, sample=places.get(path))
        )
    return found


def _first_records(part: Part) -> dict[Path, tuple[str, int]]:
    places: dict[Path, tuple[str, int]] = {}
    for index, record in enumerate(part.records):
        if isinstance(record.sample.image, Path):
            places.setdefault(record.sample.image, (part.split, index))
    return places


def _images_twice(part: Part, pictures: Mapping[Path, Picture]) -> list[Finding]:
    seen: dict[bytes, Path] = {}
    found = []
    for path in part.image_paths():
        if path not in pictures:
            continue
        twin = seen.setdefault(pictures[path].pixel_digest, path)
        if twin != path:
            found.append(Finding("duplicate_image", f"has the same pixels as {twin}", str(path), "", part.split))
    return found


def _records_twice(part: Part, pictures: Mapping[Path, Picture]) -> list[Finding]:
    seen: dict[tuple[object, ...], str] = {}
    found = []
    for index, record in enumerate(part.records):
        sample = record.sample
        image: object = id(sample.image)
        if isinstance(sample.image, Path):
            image = pictures[sample.image].pixel_digest if sample.image in pictures else sample.image
        identity = (image, sample.points.tobytes(), sample.visible.tobytes())
        if not sample.visible.any():
            continue
        if identity in seen:
            text = f"has the image and the points of {seen[identity]}"
            place = (part.split, index)
            found.append(Finding("duplicate_record", text, record.file, record.name, part.split, sample=place))
        seen.setdefault(identity, record.name)
    return found
