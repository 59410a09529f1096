"""Coordinates to cells: quantization by a threshold or at random, its bias, and the target maps of heatmap regression.

Equations are those of Randomized Rounding (Yu and Tao). A coordinate y is first taken to cells, c = (y − offset) / stride, with
the fractional part ε = c − ⌊c⌋. The paper publishes offset 0; here the grid carries its own.
"""

from heatpoint.rounding._cells import THRESHOLDS, activation_probabilities, quantization_bias, round_to_cells
from heatpoint.rounding._maps import binary_map, gaussian_map

__all__ = [
    "THRESHOLDS",
    "activation_probabilities",
    "binary_map",
    "gaussian_map",
    "quantization_bias",
    "round_to_cells",
]
