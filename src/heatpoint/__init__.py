"""heatpoint turns maps into points.

A network emits a map of logits over the cells of a support; heatpoint says where the point is, how sure that is, and how
to train the network so that both are right. The mathematics needs torch and numpy only; `Predictor` needs the extra `train`.

>>> import torch
>>> import heatpoint as hp
>>> hp.soft_argmax(torch.zeros(4, 6), hp.Grid((4, 6), stride=4))
tensor([11.5000,  7.5000])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from heatpoint import (
    basis,
    confidence,
    density,
    expectation,
    frames,
    localizers,
    readout,
    regularizers,
    rounding,
    sampling,
    schedules,
    scores,
    support,
)
from heatpoint._checks import missing_package as _missing_package
from heatpoint.basis import Gaussian, Triangular, Uniform
from heatpoint.density import Density
from heatpoint.localizers import Localizer, Located, localizer_from_dict, make_localizer
from heatpoint.readout import soft_argmax
from heatpoint.sampling import sampling_argmax
from heatpoint.support import Grid, Points

if TYPE_CHECKING:
    from heatpoint import metrics
    from heatpoint.inference import Predictor

__version__ = "0.1.0"

__all__ = [
    "Density",
    "Gaussian",
    "Grid",
    "Localizer",
    "Located",
    "Points",
    "Predictor",
    "Triangular",
    "Uniform",
    "basis",
    "confidence",
    "density",
    "expectation",
    "frames",
    "localizer_from_dict",
    "localizers",
    "make_localizer",
    "metrics",
    "readout",
    "regularizers",
    "rounding",
    "sampling",
    "sampling_argmax",
    "schedules",
    "scores",
    "soft_argmax",
    "support",
]


def __getattr__(name: str) -> Any:
    """Loads `metrics`, and `Predictor`, which needs more than torch and numpy, when they are first asked for."""
    if name == "metrics":
        return import_module("heatpoint.metrics")
    if name != "Predictor":
        raise AttributeError(f"module 'heatpoint' has no attribute {name!r}")
    try:
        from heatpoint.inference import Predictor
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "heatpoint":
            raise
        raise _missing_package("heatpoint.Predictor", error) from error
    return Predictor


def __dir__() -> list[str]:
    """The public names, the lazy ones too."""
    return sorted({*globals(), *__all__})
