"""Map to point: from the plain argmax to expectations over all cells, a window, the k largest cells, or a fitted Gaussian.

Every readout takes maps (*batch, *grid.shape) and returns points (*batch, D) in the grid's coordinates. Which cells are chosen
(the peak, the window, the k largest) is constant under differentiation; gradients flow through the weights of the chosen cells.
The peak among equal maxima is the first cell in row-major order.

Native kernels find the largest cells of every readout, and make what follows in `soft_argmax`, in `top_k` by probability and
for k of 2 to 64 on straight grids, and in `dark`; the last two only where no gradient is recorded. Under
`heatpoint.kernels.use("native")` those three raise where theirs cannot; the torch form of the others is the only one.
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
