"""Checkouts that a person names by path: found, checked, and imported file by file. Nothing of theirs is in this repository.

Their packages are not installed, so what a file imports beside torch, numpy and OpenCV is replaced by an empty stand-in of that
name while it is imported. This file needs neither torch nor heatpoint.
"""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

Result = TypeVar("Result")


class Checkout(NamedTuple):
    """What a checkout is of, the files that must be there, and the revision that its adapter was tested with."""

    what: str
    files: tuple[str, ...]
    revision: str


CHECKOUTS: dict[str, Checkout] = {
    "sampling-argmax": Checkout(
        "the code published with sampling-argmax (Jeff-sjtu/sampling-argmax)",
        tuple(f"sampling_argmax/models/{name}.py" for name in ("simplepose", "simplepose3d", "criterion")),
        "12c8074",
    ),
    "h3r": Checkout(
        "the code published with randomized rounding (baoshengyu/H3R)",
        ("torchalign/heatmap_head/transforms/functional.py",),
        "52a8bde",
    ),
    "mmpose": Checkout(
        "MMPose (open-mmlab/mmpose)",
        (
            "mmpose/codecs/msra_heatmap.py",
            "mmpose/codecs/simcc_label.py",
            "mmpose/models/heads/regression_heads/integral_regression_head.py",
        ),
        "759b39c",
    ),
}


class PeerError(Exception):
    """A checkout cannot be used; the message is one line for the person who named it."""


def check(peer: str, path: str) -> None:
    """That a path holds the files that are needed of a checkout.

    Raises:
        PeerError: If it does not.
    """
    what, files, _ = CHECKOUTS[peer]
    root = Path(path)
    if not root.is_dir():
        raise PeerError(f"--{peer}: {path} is not a folder. Give the root of a checkout of {what}.")
    missing = [name for name in files if not (root / name).is_file()]
    if missing:
        raise PeerError(f"--{peer}: {path} has no {missing[0]}. Give the root of a checkout of {what}.")


def revision(path: str) -> str:
    """The commit of a checkout, with a + where files differ from it; "no checkout" of a folder that is none by itself."""
    if not (Path(path) / ".git").exists():
        return "no checkout"
    command = ["git", "-C", path, "describe", "--always", "--dirty=+", "--exclude", "*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def guarded(peer: str) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """A decorator: what a call of a checkout's code raises becomes a `PeerError` that names the revision we tested."""

    def decorated(function: Callable[..., Result]) -> Callable[..., Result]:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Result:
            try:
                return function(*arguments, **options)
            except PeerError:
                raise
            except Exception as problem:
                raise PeerError(_told(peer, "its code fails", problem)) from problem

        return call

    return decorated


def _told(peer: str, what: str, problem: Exception) -> str:
    """One line: what happened, and the revision that is known to work."""
    text = f"--{peer}: {what}: {type(problem).__name__}: {problem}. Tested with revision {CHECKOUTS[peer].revision}."
    return " ".join(text.split())


class Registry:
    """Stands in for a registry: registers nothing, and returns what it is asked to register."""

    def register_module(self, item: Any = None) -> Any:
        """The decorator, written with or without parentheses."""
        return item if item is not None else lambda registered: registered


class Attributes(dict[str, Any]):
    """A dict whose keys are attributes too, as `easydict.EasyDict`."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


def import_file(peer: str, name: str, folders: dict[str, Path], stand_ins: dict[str, dict[str, Any]]) -> ModuleType:
    """Imports one module of a checkout.

    Args:
        peer: Key of `CHECKOUTS`, for the error text.
        name: Dotted name of the module.
        folders: Packages by dotted name and where their files lie; their own __init__ is not run.
        stand_ins: Modules by dotted name and their attributes; one that is installed is still replaced.

    Raises:
        PeerError: If the import fails.
    """
    made = []
    for package, folder in folders.items():
        if package not in sys.modules:
            sys.modules[package] = module = ModuleType(package)
            module.__path__ = [str(folder)]
    before = {key: sys.modules.get(key) for key in stand_ins}
    for key, attributes in stand_ins.items():
        sys.modules[key] = module = ModuleType(key)
        module.__dict__.update(attributes)
        made.append(key)
    try:
        return importlib.import_module(name)
    except Exception as problem:
        raise PeerError(_told(peer, f"{name} cannot be imported", problem)) from problem
    finally:
        for key in made:
            kept = before[key]
            if kept is None:
                del sys.modules[key]
            else:
                sys.modules[key] = kept
