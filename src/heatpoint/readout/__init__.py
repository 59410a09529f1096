"""Map to point: from the plain argmax to expectations over all cells, a window, the k largest cells, or a fitted Gaussian.

Every readout takes maps (*batch, *grid.shape) and returns points (*batch, D) in the grid's coordinates. Which cells are chosen
(the peak, the window, the k largest) is constant under differentiation; gradients flow through the weights of the chosen cells.
The peak among equal maxima is the first cell in row-major order.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from heatpoint.readout.cells import argmax, four_neighbours, top_k, window
from heatpoint.readout.flip import flip_average, flip_maps
from heatpoint.readout.newton import dark
from heatpoint.readout.shift import quarter_shift, second_maximum_shift
from heatpoint.readout.soft import kernel_soft_argmax, soft_argmax

__all__ = [
    "READOUTS",
    "argmax",
    "dark",
    "flip_average",
    "flip_maps",
    "four_neighbours",
    "kernel_soft_argmax",
    "quarter_shift",
    "second_maximum_shift",
    "soft_argmax",
    "top_k",
    "window",
]

# What every readout takes before its own options: the maps and their grid.
READOUTS: dict[str, Callable[..., Tensor]] = {
    "soft_argmax": soft_argmax,
    "kernel_soft_argmax": kernel_soft_argmax,
    "argmax": argmax,
    "quarter_shift": quarter_shift,
    "second_maximum_shift": second_maximum_shift,
    "top_k": top_k,
    "window": window,
    "dark": dark,
}
