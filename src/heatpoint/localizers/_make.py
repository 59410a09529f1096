"""Localizers by name, and back from their dict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from heatpoint._checks import message, unknown_name
from heatpoint.localizers._base import Localizer
from heatpoint.localizers._expectation import (
    DiscreteExpectation,
    SamplingArgmax,
    SoftArgmax,
    SoftArgmaxJS,
    SoftArgmaxVariance,
)
from heatpoint.localizers._labels import GaussianHeatmap, RandomizedRounding
from heatpoint.localizers._options import grid_from_dict
from heatpoint.localizers._proper import Crps, EnergyScore, LogScore
from heatpoint.support import Support

LOCALIZERS: dict[str, type[Localizer]] = {
    "soft_argmax": SoftArgmax,
    "soft_argmax_variance": SoftArgmaxVariance,
    "soft_argmax_js": SoftArgmaxJS,
    "discrete_expectation": DiscreteExpectation,
    "sampling_argmax": SamplingArgmax,
    "randomized_rounding": RandomizedRounding,
    "gaussian_heatmap": GaussianHeatmap,
    "log_score": LogScore,
    "energy_score": EnergyScore,
    "crps": Crps,
}


def make_localizer(name: str, grid: Support, **options: Any) -> Localizer:
    """A localizer by its name in `LOCALIZERS`, on a grid, with options; see the classes for their meaning.

    Args:
        name: soft_argmax, soft_argmax_variance, soft_argmax_js, discrete_expectation, sampling_argmax, randomized_rounding,
            gaussian_heatmap, log_score, energy_score or crps.
        grid: Where the cells lie: a Grid or Points. randomized_rounding and gaussian_heatmap need a Grid.
        options: The fields of the localizer's class. All take `readout` and `confidence_by`.

    Raises:
        TypeError: If grid is no support of this localizer.
        ValueError: If the name, an option or its value is unknown; names the nearest.

    >>> from heatpoint.support import Grid
    >>> make_localizer("gaussian_heatmap", Grid((16, 12), stride=4), readout="dark", sigma_cells=1.5)
    make_localizer('gaussian_heatmap', Grid((16, 12), stride=4), readout={'name': 'dark', 'sigma_cells': 1.5}, sigma_cells=1.5)
    """
    if name not in LOCALIZERS:
        raise ValueError(unknown_name("make_localizer", "name", name, LOCALIZERS))
    known = [item.name for item in fields(LOCALIZERS[name])[1:]]
    for option in options:
        if option in LOCALIZERS[name]._refused:
            reason = LOCALIZERS[name]._refused[option]
            raise ValueError(message(name, option, "be left out", repr(options[option]), reason))
        if option not in known:
            raise ValueError(unknown_name("make_localizer", f"an option of {name}", option, known))
    return LOCALIZERS[name](grid, **options)


def localizer_from_dict(values: Mapping[str, Any]) -> Localizer:
    """The inverse of `Localizer.to_dict`.

    Raises:
        ValueError: If "name" or "grid" is missing, or something is unknown.

    >>> from heatpoint.support import Grid
    >>> localizer = make_localizer("log_score", Grid((16, 12), stride=4))
    >>> localizer_from_dict(localizer.to_dict()) == localizer
    True
    """
    missing = [key for key in ("name", "grid") if key not in values]
    if missing:
        rule = "hold the name and the grid of a localizer"
        raise ValueError(message("localizer_from_dict", "values", rule, f"no {' and no '.join(missing)}"))
    options = {key: value for key, value in values.items() if key not in ("name", "grid")}
    return make_localizer(values["name"], grid_from_dict(values["grid"]), **options)
