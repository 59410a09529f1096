"""What the readers of face sets share: names of photographs, folders that must be there, and the official numbers of faces."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from heatpoint._checks import message


def photograph(stem: str) -> str:
    """The photograph that a face's file belongs to: faces of one are named "<photograph>_1", "<photograph>_2".

    A number that follows letters ("image_0001", "indoor_020") names the photograph itself and stays.

    >>> photograph("1051618982_1"), photograph("image_092 _01"), photograph("image_0001")
    ('1051618982', 'image_092', 'image_0001')
    """
    return re.sub(r"(?<=\d)\s*_\d+$", "", stem)


def require_paths(function: str, paths: list[Path], problems: list[str] | None, *, remedy: str) -> list[Path]:
    """The folders and files that are there; what is missing is raised, all in one line, or handed to who asked for a list.

    Args:
        function: The reader.
        paths: What must be there.
        problems: None to raise; a list to append one line per missing path to.
        remedy: Where to get the set and how its folder must look.

    Raises:
        FileNotFoundError: If something is missing and `problems` is None.
    """
    missing = [path for path in paths if not path.exists()]
    if missing and problems is None:
        rule = f"hold {', '.join(map(str, missing))}"
        raise FileNotFoundError(message(function, "data root", rule, "no such file or folder", remedy))
    if problems is not None:
        problems.extend(f"{path} is missing" for path in missing)
    return [path for path in paths if path not in missing]


def remark_count(function: str, split: str, found: int, official: int, problems: list[str] | None) -> None:
    """Says so where a split has another number of faces than its owner states: a score on it is not the published one.

    It is a warning and not an error, since a part of a set is good for much else; who asked for a list gets it there.

    Args:
        function: The reader.
        split: The split's name.
        found: Number of records that the files hold.
        official: Number of the official split.
        problems: None to warn; a list to append the remark to.
    """
    if found == official:
        return
    rule = f"hold the {official} faces of the official set"
    remedy = "A score on another number of faces cannot be compared with published ones."
    text = message(function, f"split {split!r}", rule, found, remedy)
    if problems is None:
        warnings.warn(text, UserWarning, stacklevel=3)
    else:
        problems.append(text)
