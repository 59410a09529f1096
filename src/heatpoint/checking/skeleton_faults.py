"""Skeleton files with faults in them: what is wrong, and the skeleton that remains when it is left out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heatpoint.checking.findings import Finding
from heatpoint.checking.names import mirrored_pairs
from heatpoint.skeleton import Skeleton, load_skeleton


def read_skeleton(name_or_path: str | Path) -> tuple[Skeleton, list[Finding]]:
    """Reads a skeleton, leaving out what is wrong with it.

    Raises:
        ValueError: If the name is unknown, or the file is not JSON or names no points: then there is nothing to go by.
        FileNotFoundError: If the path does not exist.
    """
    path = Path(name_or_path)
    if path.suffix != ".json" or not path.is_file():
        skeleton = load_skeleton(name_or_path)
        return skeleton, doubtful_sigmas(skeleton, str(name_or_path))
    try:
        skeleton = load_skeleton(path)
        found: list[Finding] = []
    except ValueError as error:
        skeleton, found = _salvage(path, error)
    return skeleton, found + doubtful_sigmas(skeleton, str(path)) + _unlisted_pairs(skeleton, str(path))


def doubtful_sigmas(skeleton: Skeleton, file: str) -> list[Finding]:
    """A warning if all sigmas are equal: no human is equally exact everywhere, so they were filled in.

    >>> doubtful_sigmas(Skeleton(("a", "b"), sigmas=(0.5, 0.5)), "mine.json")[0].text
    'are all 0.5 (1/K for K = 2), a default and not a measurement: similarities depend on it'
    """
    sigmas = skeleton.sigmas
    if sigmas is None or len(sigmas) < 2 or len(set(sigmas)) > 1:
        return []
    number = len(sigmas)
    default = f" (1/K for K = {number})" if abs(sigmas[0] * number - 1) < 0.02 else ""
    text = f"are all {sigmas[0]:g}{default}, a default and not a measurement: similarities depend on it"
    return [Finding("sigmas", text, file, "sigmas", severity="warning")]


def _salvage(path: Path, error: ValueError) -> tuple[Skeleton, list[Finding]]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise error from None
    if not isinstance(values, Mapping) or not isinstance(values.get("points"), list):
        raise error
    kept: dict[str, Any] = {"points": values["points"]}
    Skeleton.from_dict(kept, source=str(path))  # Without sound names there is nothing to go by.
    found = []
    # The default is one of the normalisers: it comes after them.
    for key in sorted(values.keys() - {"points", "about"}, key=lambda key: (key == "default_normalizer", key)):
        value = values[key]
        for piece in _pieces(key, value):
            trial = {**kept, key: _joined(kept.get(key), piece)}
            fault = _fault(trial, str(path))
            if fault:
                found.append(
                    Finding("sigmas" if key == "sigmas" else "skeleton", f"has a fault: {fault}", str(path), key)
                )
            else:
                kept = trial
    return Skeleton.from_dict(kept), found


def _pieces(key: str, value: Any) -> list[Any]:
    """Pairs and normalisers one by one, the rest as a whole."""
    if isinstance(value, list) and key in ("edges", "swap_pairs"):
        return [[pair] for pair in value]
    if isinstance(value, Mapping) and key == "normalizers":
        return [{name: groups} for name, groups in value.items()]
    return [value]


def _joined(kept: Any, piece: Any) -> Any:
    if isinstance(kept, list):
        return [*kept, *piece]
    return {**kept, **piece} if isinstance(kept, dict) else piece


def _fault(values: Mapping[str, Any], source: str) -> str:
    try:
        Skeleton.from_dict(values, source=source)
    except ValueError as error:
        return str(error).removeprefix(f"{source}: ").partition(". Correct the skeleton")[0]
    return ""


def _unlisted_pairs(skeleton: Skeleton, file: str) -> list[Finding]:
    """Points whose names say left and right, but which no swap pair exchanges."""
    found = []
    for a, b in mirrored_pairs(skeleton.names):
        if skeleton.swap[a] != b:
            text = f"does not exchange {skeleton.names[a]} and {skeleton.names[b]}, which a mirrored picture does"
            found.append(Finding("skeleton", text, file, "swap_pairs", severity="warning"))
    return found
