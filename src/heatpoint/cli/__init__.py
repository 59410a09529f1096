"""The command line: one verb per file, loaded when it is called for.

A person's mistake is one line on stderr and exit code 2; HEATPOINT_TRACEBACK=1 shows where it arose.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from heatpoint._checks import missing_package, unknown_name

VERBS = {
    "demo": ("demo", "train three methods on rendered faces and write a page; needs no data, three minutes"),
    "recipes": ("recipes", "list what can be trained"),
    "train": ("train", "train a recipe: heatpoint train faces300w-sampling_argmax-small"),
    "evaluate": ("evaluate", "score trained weights: heatpoint evaluate runs/…/model.safetensors"),
    "check": ("check", "look for everything that is wrong with a set: heatpoint check faces300w, or a file of labels"),
    "skeleton": (
        "skeleton",
        "write a skeleton file from labels, or show one: heatpoint skeleton init labels.json --out FILE",
    ),
    "doctor": ("doctor", "say what this installation can do, and why not where it cannot"),
    "table": ("table", "a table of the papers, measured beside published: heatpoint table list"),
    "predict": (
        "predict",
        "locate points in images, surfaces in scans, keypoints in clouds: heatpoint predict MODEL FILE…",
    ),
}
USER_ERRORS = (ValueError, TypeError, OSError)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Args:
        argv: The arguments after the program's name; None takes the process's own.

    Returns:
        0; 1 where `check` finds errors; or 2 after a person's mistake.

    >>> main(["--version"])
    heatpoint ...
    0
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb == "--version":
        from heatpoint import __version__

        print(f"heatpoint {__version__}")
        return 0
    try:
        if verb not in VERBS:
            raise ValueError(unknown_name("heatpoint", "the verb", verb, VERBS))
        module, _ = VERBS[verb]
        code = _run(module, rest)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, `head` perhaps, has seen enough; Python must not flush into the closed pipe again on its way out.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except USER_ERRORS as error:
        if os.environ.get("HEATPOINT_TRACEBACK", "0") not in ("", "0"):
            raise
        print(f"heatpoint: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("heatpoint: stopped. A run of train continues with --resume.", file=sys.stderr)
        return 130
    return code


def _run(module: str, arguments: Sequence[str]) -> int:
    """Runs a verb; its exit code, 0 where it returns none."""
    try:
        verb: Any = importlib.import_module(f"heatpoint.cli.{module}")
        return verb.run(arguments) or 0
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "heatpoint":
            raise
        raise ValueError(str(missing_package(f"the verb {module}", error))) from error


def overview() -> str:
    """What `heatpoint --help` prints."""
    lines = [f"  {verb:<10}{about}" for verb, (_, about) in VERBS.items()]
    head = "usage: heatpoint VERB …\n\nTurns maps into points: sub-pixel landmarks from probability maps.\n"
    return "\n".join([head, *lines, "", "heatpoint VERB --help tells what a verb takes."])


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
