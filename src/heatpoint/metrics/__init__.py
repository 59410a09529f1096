"""Scores of predictions: plain functions in `functional`, torchmetrics classes over them, loaded when first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heatpoint.metrics.correct_points import PCK, EndPointError, PCKAreaUnderCurve, PCKh
    from heatpoint.metrics.correlation import ConfidenceCorrelation
    from heatpoint.metrics.mtfl import MTFLError
    from heatpoint.metrics.normalized_error import AreaUnderCurve, FailureRate, NormalizedMeanError
    from heatpoint.metrics.pose_error import MPJPE

__all__ = [
    "MPJPE",
    "PCK",
    "AreaUnderCurve",
    "ConfidenceCorrelation",
    "EndPointError",
    "FailureRate",
    "MTFLError",
    "NormalizedMeanError",
    "PCKAreaUnderCurve",
    "PCKh",
]

# torchmetrics takes seconds to import, and `functional` does without it.
_FILES = {
    "AreaUnderCurve": "normalized_error",
    "ConfidenceCorrelation": "correlation",
    "EndPointError": "correct_points",
    "FailureRate": "normalized_error",
    "MPJPE": "pose_error",
    "MTFLError": "mtfl",
    "NormalizedMeanError": "normalized_error",
    "PCK": "correct_points",
    "PCKAreaUnderCurve": "correct_points",
    "PCKh": "correct_points",
}


def __getattr__(name: str) -> Any:
    if name == "functional":
        return import_module(f"{__name__}.functional")
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
