"""Modules of the folder of benchmarks, and records as they make them."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from pages import ROOT


def part(name: str) -> ModuleType:
    """A module of the folder, which belongs to the checkout and is not installed."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    return importlib.import_module(f"benchmarks.{name}")


def timed(
    operation: str,
    theirs: float,
    *,
    name: str = "theirs",
    ours: float = 2.0,
    rounds: int = 1,
    allocations: str = "retained",
) -> dict[str, Any]:
    """A record of two forms."""
    forms = {"heatpoint": ("ours", ours), name: ("package", theirs)}
    made = {
        name: {"source": source, "seconds": [s] * rounds, "agreement": "0", "work": None}
        for name, (source, s) in forms.items()
    }
    shared = {"kind": "times", "section": "readouts", "threads": 1, "allocations": allocations}
    return {**shared, "operation": operation, "size": "", "rates": {}, "forms": made}
