"""A set of named points: edges, mirror partners, sigmas and normalisers; one small JSON file per set.

A skeleton file is a JSON object. Points are referred to by name or by index; only `points` is required:

    {"points": ["left_eye", "right_eye", "nose"],
     "edges": [["left_eye", "nose"]],
     "swap_pairs": [["left_eye", "right_eye"]],
     "sigmas": [0.025, 0.025, 0.026],
     "normalizers": {"inter_ocular": [["left_eye"], ["right_eye"]], "box": "box"},
     "default_normalizer": "inter_ocular"}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from heatpoint._checks import message, unknown_name
from heatpoint._skeleton_file import SkeletonReader

Normalizer = tuple[tuple[int, ...], tuple[int, ...]] | Literal["box", "box_max", "box_diagonal", "given"]
FOLDER = Path(__file__).with_name("skeletons")


@dataclass(frozen=True)
class Skeleton:
    """Names of the points of an object and what relates them.

    Args:
        names: One name per point; the order is that of every (K, 2) array.
        edges: Pairs of indices to draw lines between.
        swap_pairs: Pairs of indices that exchange their names in a mirrored image. Points in no pair keep theirs.
        sigmas: Per point the spread of human annotation as a share of the object's size (COCO's constants), or None.
        normalizers: Name to a length by which errors are divided: two groups of indices (the distance between the means
            of the groups); "box", "box_max" or "box_diagonal" for √(w·h), max(w, h) or √(w² + h²) of the box; or "given" for
            the length that each sample gives under this name (`Sample.lengths`).
        default_normalizer: Name of the one to report first; "" is the first of `normalizers`.
        upper_body: Indices of the upper half of the points, for half-body augmentation; empty where there are no halves.

    Raises:
        ValueError: With every problem found, in one line.

    >>> skeleton = Skeleton(("left", "middle", "right"), swap_pairs=((0, 2),))
    >>> skeleton.num_points, skeleton.swap
    (3, (2, 1, 0))
    """

    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()
    swap_pairs: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] | None = None
    normalizers: Mapping[str, Normalizer] = field(default_factory=dict)
    default_normalizer: str = ""
    upper_body: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        problems = _problems(self)
        if problems:
            raise ValueError(_report("Skeleton", problems))
        if not self.default_normalizer and self.normalizers:
            object.__setattr__(self, "default_normalizer", next(iter(self.normalizers)))

    @property
    def num_points(self) -> int:
        """Number of points K."""
        return len(self.names)

    @property
    def swap(self) -> tuple[int, ...]:
        """For every point the index of its mirror partner, itself where it has none: a permutation, its own inverse."""
        order = list(range(self.num_points))
        for a, b in self.swap_pairs:
            order[a], order[b] = b, a
        return tuple(order)

    def to_dict(self) -> dict[str, Any]:
        """The skeleton as JSON values, in the form of a skeleton file with indices."""
        values: dict[str, Any] = {
            "points": list(self.names),
            "edges": [list(pair) for pair in self.edges],
            "swap_pairs": [list(pair) for pair in self.swap_pairs],
            "normalizers": {
                name: value if isinstance(value, str) else [list(group) for group in value]
                for name, value in self.normalizers.items()
            },
            "default_normalizer": self.default_normalizer,
        }
        if self.sigmas is not None:
            values["sigmas"] = list(self.sigmas)
        if self.upper_body:  # Only where there is one: earlier releases know no such key.
            values["upper_body"] = list(self.upper_body)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str = "Skeleton.from_dict") -> Skeleton:
        """Builds a skeleton from JSON values; points may be given by name or index.

        Args:
            values: The keys of a skeleton file.
            source: What to name in an error: the file, where there is one.

        Raises:
            ValueError: With every problem found, in one line that begins with `source`.

        >>> Skeleton.from_dict({"points": ["a", "b"], "swap_pairs": [["a", "b"]]}).swap
        (1, 0)
        """
        reader = SkeletonReader(values)
        arguments = reader.arguments()
        if reader.problems:
            raise ValueError(_report(source, reader.problems))
        try:
            return cls(**arguments)
        except ValueError as error:
            raise ValueError(str(error).replace("Skeleton", source, 1)) from None


def load_skeleton(name_or_path: str | Path) -> Skeleton:
    """Reads a skeleton of this package by name, or a skeleton file by path.

    Args:
        name_or_path: A name from `skeleton_names()`, or a path that ends in .json.

    Raises:
        ValueError: If the name is unknown, or with every problem of the file in one line.
        FileNotFoundError: If the path does not exist.

    >>> load_skeleton("face5").names[:2]
    ('left_eye', 'right_eye')
    """
    path = Path(name_or_path)
    if path.suffix != ".json" and str(name_or_path) not in skeleton_names():
        raise ValueError(unknown_name("load_skeleton", "name", str(name_or_path), skeleton_names()))
    path = path if path.suffix == ".json" else FOLDER / f"{name_or_path}.json"
    if not path.exists():
        rule = "be an existing skeleton file"
        raise FileNotFoundError(message("load_skeleton", "path", rule, path, "Give a .json file or a known name."))
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(_report(str(path), [f"it is not JSON ({error})"])) from None
    return Skeleton.from_dict(values, source=str(path))


def skeleton_names() -> list[str]:
    """Names of the skeletons that come with the package.

    >>> "face68" in skeleton_names()
    True
    """
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def _problems(skeleton: Skeleton) -> list[str]:
    names = skeleton.names
    problems = [] if names else ["there must be at least one point"]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        problems.append(f"point names must differ, {', '.join(map(repr, repeated))} repeat")
    for pair in skeleton.edges:
        problems += _pair_problems("edge", pair, names)
    partners: dict[int, tuple[int, ...]] = {}
    for pair in skeleton.swap_pairs:
        wrong = _pair_problems("swap pair", pair, names)
        problems += wrong
        for point in () if wrong else pair:
            if point in partners:
                rule = "a point has one mirror partner"
                problems.append(f"swap pairs {partners[point]} and {pair} share {names[point]!r}, but {rule}")
            partners[point] = pair
    return problems + _sigma_problems(skeleton) + _normalizer_problems(skeleton) + _upper_body_problems(skeleton)


def _pair_problems(kind: str, pair: Sequence[int], names: Sequence[str]) -> list[str]:
    if len(pair) != 2:
        return [f"{kind} {tuple(pair)} must hold two points"]
    if any(not 0 <= point < len(names) for point in pair):
        return [f"{kind} {tuple(pair)} must hold indices from 0 to {len(names) - 1}"]
    if pair[0] == pair[1]:
        return [f"{kind} {tuple(pair)} must join two different points"]
    return []


def _sigma_problems(skeleton: Skeleton) -> list[str]:
    sigmas, number = skeleton.sigmas, len(skeleton.names)
    if sigmas is not None and len(sigmas) != number:
        return [f"there must be one sigma per point ({number}), got {len(sigmas)}"]
    return [] if all(0 < s < math.inf for s in sigmas or ()) else ["sigmas must be finite and greater than 0"]


def _upper_body_problems(skeleton: Skeleton) -> list[str]:
    upper, number = skeleton.upper_body, len(skeleton.names)
    if any(not 0 <= point < number for point in upper) or len(set(upper)) != len(upper):
        return [f"upper_body must hold indices from 0 to {number - 1}, each once"]
    divided = [pair for pair in skeleton.swap_pairs if len({point in upper for point in pair}) > 1]
    whole = ["upper_body must leave points to the lower half"] if upper and len(upper) == number else []
    return whole + [f"upper_body must hold both or none of swap pair {tuple(pair)}" for pair in divided]


def _normalizer_problems(skeleton: Skeleton) -> list[str]:
    problems = []
    for name, value in skeleton.normalizers.items():
        if isinstance(value, str):
            continue
        if len(value) != 2 or not all(value):
            problems.append(f"normalizer {name} must be two groups of points, none empty")
        elif any(not 0 <= point < len(skeleton.names) for group in value for point in group):
            problems.append(f"normalizer {name} must hold indices from 0 to {len(skeleton.names) - 1}")
        elif sorted(value[0]) == sorted(value[1]):
            problems.append(f"normalizer {name} must be two different groups: from one to itself the distance is 0")
    default = skeleton.default_normalizer
    if default and default not in skeleton.normalizers:
        known = ", ".join(sorted(skeleton.normalizers)) or "none"
        problems.append(f"default_normalizer {default!r} must be one of the normalizers ({known})")
    return problems


def _report(source: str, problems: Sequence[str]) -> str:
    return f"{source}: {'; '.join(problems)}. Correct the skeleton and load it again."
