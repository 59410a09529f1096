"""Scores of predictions: plain functions in `functional`, `faces`, …, and torchmetrics classes, loaded when asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heatpoint.metrics.cloud_scores import CloudPCK, DualAlignmentScore
    from heatpoint.metrics.coco_ap import CocoKeypointAP
    from heatpoint.metrics.correct_points import PCK, EndPointError, PCKAreaUnderCurve, PCKh
    from heatpoint.metrics.correlation import ConfidenceCorrelation
    from heatpoint.metrics.mtfl import MTFLError
    from heatpoint.metrics.normalized_error import (
        AreaUnderCurve,
        ErrorCurve,
        FailureRate,
        NormalizedMeanError,
        SubsetError,
    )
    from heatpoint.metrics.pose_error import MPJPE
    from heatpoint.metrics.surface_distance import SurfaceDistance

__all__ = [
    "MPJPE",
    "PCK",
    "AreaUnderCurve",
    "CloudPCK",
    "CocoKeypointAP",
    "ConfidenceCorrelation",
    "DualAlignmentScore",
    "EndPointError",
    "ErrorCurve",
    "FailureRate",
    "MTFLError",
    "NormalizedMeanError",
    "PCKAreaUnderCurve",
    "PCKh",
    "SubsetError",
    "SurfaceDistance",
]

# torchmetrics takes seconds to import, and the plain functions do without it.
_FILES = {
    "AreaUnderCurve": "normalized_error",
    "CloudPCK": "cloud_scores",
    "CocoKeypointAP": "coco_ap",
    "ConfidenceCorrelation": "correlation",
    "DualAlignmentScore": "cloud_scores",
    "EndPointError": "correct_points",
    "ErrorCurve": "normalized_error",
    "FailureRate": "normalized_error",
    "MPJPE": "pose_error",
    "MTFLError": "mtfl",
    "NormalizedMeanError": "normalized_error",
    "PCK": "correct_points",
    "PCKAreaUnderCurve": "correct_points",
    "PCKh": "correct_points",
    "SubsetError": "normalized_error",
    "SurfaceDistance": "surface_distance",
}


def __getattr__(name: str) -> Any:
    if name in ("faces", "functional"):
        return import_module(f"{__name__}.{name}")
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
