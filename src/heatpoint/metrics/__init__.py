"""Scores of predictions: plain functions in `functional`, torchmetrics classes over them, loaded when first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heatpoint.metrics.correlation import ConfidenceCorrelation
    from heatpoint.metrics.mtfl import MTFLError
    from heatpoint.metrics.normalized_error import AreaUnderCurve, FailureRate, NormalizedMeanError

__all__ = ["AreaUnderCurve", "ConfidenceCorrelation", "FailureRate", "MTFLError", "NormalizedMeanError"]

# torchmetrics takes seconds to import, and `functional` does without it.
_FILES = {
    "AreaUnderCurve": "normalized_error",
    "ConfidenceCorrelation": "correlation",
    "FailureRate": "normalized_error",
    "MTFLError": "mtfl",
    "NormalizedMeanError": "normalized_error",
}


def __getattr__(name: str) -> Any:
    if name == "functional":
        return import_module(f"{__name__}.functional")
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
