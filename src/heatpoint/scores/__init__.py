"""Map × target -> one loss per point, unreduced: how well a map says where the target is.

Every score takes (logits, grid, target) and returns (*batch), lower is better, in the grid's coordinates (input pixels)
where it is a distance. A score is *proper* if no map expects a better score than the law from which the targets are drawn.
`log_score`, `crps`, `energy_score` and, for the law of the rounded targets, `rounded_cross_entropy` are proper;
`expected_error` and `error_of_expectation` are not.

Targets are finite; a missing point has weight 0 where scores are averaged.
"""

from heatpoint._distances import DISTANCES, Distance
from heatpoint.scores._expectation import error_of_expectation, expected_error
from heatpoint.scores._inputs import BasisLike
from heatpoint.scores._labels import (
    CENTERS,
    LABELS,
    MAP_ERRORS,
    Center,
    Label,
    MapError,
    map_error,
    rounded_cross_entropy,
    two_channel_cross_entropy,
)
from heatpoint.scores._proper import crps, energy_score, log_score

__all__ = [
    "CENTERS",
    "DISTANCES",
    "LABELS",
    "MAP_ERRORS",
    "BasisLike",
    "Center",
    "Distance",
    "Label",
    "MapError",
    "crps",
    "energy_score",
    "error_of_expectation",
    "expected_error",
    "log_score",
    "map_error",
    "rounded_cross_entropy",
    "two_channel_cross_entropy",
]
