"""Training: the data and Lightning modules, checkpoints that survive a kill, resuming, and scores.

Nothing is imported until it is asked for, so that reading weights does not load Lightning.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heatpoint.training.evaluation import evaluate
    from heatpoint.training.fitting import FitResult, fit
    from heatpoint.training.machine import Machine
    from heatpoint.training.published import convert_published
    from heatpoint.training.weights import Trained, load_weights, read_header

__all__ = ["FitResult", "Machine", "Trained", "convert_published", "evaluate", "fit", "load_weights", "read_header"]

_HOMES = {
    "evaluate": "evaluation",
    "FitResult": "fitting",
    "Machine": "machine",
    "convert_published": "published",
    "fit": "fitting",
    "Trained": "weights",
    "load_weights": "weights",
    "read_header": "weights",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'heatpoint.training' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"heatpoint.training.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
