"""The JSON values of a skeleton file as the arguments of a `Skeleton`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LENGTHS = ("box", "box_max", "box_diagonal", "given")
KEYS = ("points", "edges", "swap_pairs", "sigmas", "normalizers", "default_normalizer", "upper_body", "about")


class SkeletonReader:
    """Turns the JSON values of one file into arguments and keeps a list of what is wrong with them."""

    def __init__(self, values: object) -> None:
        self.problems: list[str] = []
        self.values: Mapping[str, Any] = values if isinstance(values, Mapping) else {}
        if not isinstance(values, Mapping):
            self.problems.append(f"it must be a JSON object, got {type(values).__name__}")
        unknown = [key for key in self.values if key not in KEYS]
        if unknown:
            self.problems.append(f"unknown keys {', '.join(map(repr, unknown))} (known: {', '.join(KEYS)})")
        names = self.values.get("points", [])
        if not isinstance(names, Sequence) or isinstance(names, str) or not all(isinstance(n, str) for n in names):
            self.problems.append("'points' must be a list of names")
            names = []
        self.names = tuple(names)

    def arguments(self) -> dict[str, Any]:
        """What `Skeleton` takes, by name; to be used only where there are no problems."""
        sigmas = self.values.get("sigmas")
        if sigmas is not None and not _is_list_of(sigmas, (int, float)):
            self.problems.append("'sigmas' must be a list of numbers")
            sigmas = None
        return {
            "names": self.names,
            "edges": self._pairs("edges"),
            "swap_pairs": self._pairs("swap_pairs"),
            "sigmas": None if sigmas is None else tuple(float(s) for s in sigmas),
            "normalizers": self._normalizers(),
            "default_normalizer": str(self.values.get("default_normalizer", "")),
            "upper_body": self._points("upper_body"),
        }

    def _pairs(self, key: str) -> tuple[tuple[int, ...], ...]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(_is_list_of(pair, (int, str)) for pair in value):
            self.problems.append(f"'{key}' must be a list of pairs of points")
            return ()
        return tuple(self._indices(key, pair) for pair in value)

    def _points(self, key: str) -> tuple[int, ...]:
        value = self.values.get(key, [])
        if _is_list_of(value, (int, str)):
            return self._indices(key, value)
        self.problems.append(f"'{key}' must be a list of points")
        return ()

    def _normalizers(self) -> dict[str, Any]:
        value = self.values.get("normalizers", {})
        if not isinstance(value, Mapping):
            self.problems.append("'normalizers' must be an object")
            return {}
        result: dict[str, Any] = {}
        for name, groups in value.items():
            if groups in LENGTHS:
                result[name] = groups
            elif isinstance(groups, list) and all(_is_list_of(group, (int, str)) for group in groups):
                result[name] = tuple(self._indices(f"normalizer {name}", group) for group in groups)
            else:
                known = ", ".join(f'"{length}"' for length in LENGTHS)
                self.problems.append(f"normalizer {name} must be {known} or two lists of points, got {groups!r}")
        return result

    def _indices(self, key: str, points: Sequence[int | str]) -> tuple[int, ...]:
        indices = []
        for point in points:
            if isinstance(point, int):
                indices.append(point)
            elif point in self.names:
                indices.append(self.names.index(point))
            else:
                self.problems.append(f"{key} names the unknown point {point!r}")
        return tuple(indices)


def _is_list_of(value: object, types: tuple[type, ...]) -> bool:
    return isinstance(value, list) and all(isinstance(v, types) and not isinstance(v, bool) for v in value)
