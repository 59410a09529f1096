"""Mirror partners from the names of points: left_eye and right_eye, l_hip and r_hip, LShoulder and RShoulder."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What stands for left, and what for right in its place; the first form that gives another point's name decides.
FORMS = (
    (r"left", "right"),
    (r"Left", "Right"),
    (r"LEFT", "RIGHT"),
    (r"(?<![A-Za-z])l(?![A-Za-z])", "r"),
    (r"(?<![A-Za-z])L(?![A-Za-z])", "R"),
    (r"(?<![A-Za-z])L(?=[A-Z])", "R"),
    (r"(?<![A-Za-z])l(?=[A-Z])", "r"),
    (r"(?<=[a-z])L(?![a-z])", "R"),
)


def mirrored_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs (left, right) of points whose names differ in nothing but left and right.

    Where no such partner exists, numbers within names may differ too, if that leaves one candidate only.

    >>> mirrored_pairs(["nose", "left_ear", "right_ear", "lHip", "rHip"])
    [(1, 2), (3, 4)]
    >>> mirrored_pairs(["paw1LH_top", "paw2LF_top", "paw3RF_top", "paw4RH_top"])
    [(0, 3), (1, 2)]
    """
    pairs = _matched(list(names))
    taken = {index for pair in pairs for index in pair}
    rest = [index for index in range(len(names)) if index not in taken]
    without_numbers = [re.sub(r"\d+", "#", names[index]) for index in rest]
    unique = {name: without_numbers.count(name) == 1 for name in without_numbers}
    loose = _matched([name if unique[name] else "" for name in without_numbers])
    return sorted([*pairs, *((rest[a], rest[b]) for a, b in loose)])


def _matched(names: Sequence[str]) -> list[tuple[int, int]]:
    places = {name: index for index, name in enumerate(names) if name}
    pairs: list[tuple[int, int]] = []
    taken: set[int] = set()
    for index, name in enumerate(names):
        for pattern, right in FORMS:
            partner = places.get(re.sub(pattern, right, name), index)
            if partner != index and not {index, partner} & taken:
                pairs.append((index, partner))
                taken |= {index, partner}
                break
    return pairs
