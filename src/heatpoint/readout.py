"""Map to point: from the plain argmax to expectations over all cells, a window, the k largest cells, or a fitted Gaussian.

Every readout takes maps (*batch, *grid.shape) and returns points (*batch, D) in the grid's coordinates. Which cells are chosen
(the peak, the window, the k largest) is constant under differentiation; gradients flow through the weights of the chosen cells.
Equal maxima: the first cell in row-major order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from heatpoint._checks import message, one_of
from heatpoint._dark import dark
from heatpoint._lattice import axis_steps, center_at, onto_grid, outer, peak_index, wrapped
from heatpoint._numerics import full_precision, probabilities, promote
from heatpoint._shift import quarter_shift, second_maximum_shift
from heatpoint._soft import kernel_soft_argmax, soft_argmax
from heatpoint.expectation import expected_position
from heatpoint.support import Grid, Support, check_grid, check_support, flip_points

__all__ = [
    "READOUTS",
    "argmax",
    "dark",
    "flip_average",
    "four_neighbours",
    "kernel_soft_argmax",
    "quarter_shift",
    "second_maximum_shift",
    "soft_argmax",
    "top_k",
    "window",
]

WEIGHTINGS = ("probability", "logits", "values")


@full_precision
def argmax(logits: Tensor, grid: Support, *, threshold: float = 0.5) -> Tensor:
    """The centre of the largest cell, moved by t − ½ cells on each axis (Randomized Rounding, Eq. 13).

    t is the threshold under which the targets were quantized (floor 1, round ½, ceil 0), so the bias of Table 1 is undone;
    t = ½ is the plain argmax (Eq. 2).

    Args:
        logits: (*batch, *grid.shape), any real.
        grid: Grid or Points. On Points nothing was quantized and only t = ½ makes sense.
        threshold: t in [0, 1].

    Returns:
        (*batch, D), at least float32. No gradient.

    Raises:
        TypeError: If grid is neither Grid nor Points.
        ValueError: If the logits do not end in the grid's shape, a map is forbidden throughout, or threshold lies outside [0, 1].

    >>> argmax(torch.tensor([0.0, 3.0, 1.0]), Grid((3,), stride=4, offset=0), threshold=1.0)
    tensor([6.])
    """
    check_support("argmax", grid)
    if not 0 <= threshold <= 1 or (threshold != 0.5 and not isinstance(grid, Grid)):
        rule = "lie in [0, 1]" if isinstance(grid, Grid) else "be 0.5 on Points"
        raise ValueError(message("argmax", "threshold", rule, threshold, "1 is floor, 0.5 is round, 0 is ceil."))
    flat = promote(grid.flatten("argmax", logits.detach()))
    centers = center_at(grid, peak_index("argmax", flat), flat)
    if not isinstance(grid, Grid):
        return centers
    strides = torch.tensor(grid.strides, dtype=flat.dtype, device=flat.device)
    return wrapped(centers + (threshold - 0.5) * strides, grid)


@full_precision
def top_k(logits: Tensor, grid: Support, *, k: int, weighting: str = "probability") -> Tensor:
    """The weighted mean of the k largest cells (Randomized Rounding, Eq. 17 with Eq. 20).

    weighting="probability" takes the softmax over all cells, renormalised over the k; that equals the softmax of the k logits
    alone, weighting="logits", which the published code computes: both names give the same numbers. "values" weights by the map's
    own values, for maps that are not logits; a negative value weighs nothing, and where none is positive all k weigh the same.
    Eq. 17 does not divide by the sum of the chosen weights, which is 1 for a map without error; here it is always divided.
    On cyclic axes the mean is taken over the steps from the peak, the short way round.

    Args:
        logits: (*batch, *grid.shape), any real, −inf for a forbidden cell.
        grid: Grid or Points.
        k: Number of cells; the paper uses 9 for faces. Which of several equal cells comes last is left open.
        weighting: "probability", "logits" or "values".

    Returns:
        (*batch, D), at least float32.

    Raises:
        TypeError: If grid is neither Grid nor Points.
        ValueError: If the logits do not end in the grid's shape, a map is forbidden throughout, k is not from 1 to the number of
            cells, or weighting is unknown.

    >>> top_k(torch.tensor([0.1, 0.6, 0.2, 0.0]), Grid((4,)), k=2, weighting="values")
    tensor([1.2500])
    """
    check_support("top_k", grid)
    one_of("top_k", "weighting", weighting, WEIGHTINGS)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= grid.num_cells:
        rule = f"be a whole number from 1 to the {grid.num_cells} cells of a map"
        raise ValueError(message("top_k", "k", rule, k, "k=1 is the plain argmax."))
    flat = promote(grid.flatten("top_k", logits))
    chosen = flat.detach().topk(k, dim=-1, sorted=False).indices
    mask = torch.zeros_like(flat, dtype=torch.bool).scatter(-1, chosen, True)
    return _mean_over("top_k", flat, mask, grid, weighting)


@full_precision
def window(logits: Tensor, grid: Grid, *, radius: int = 1, weighting: str = "probability") -> Tensor:
    """The weighted mean of the cells within `radius` of the largest on every axis (Eq. 17 with Eq. 19: radius 1, 3x3 cells).

    At the border the window is cut; on a cyclic axis it wraps around. Weightings are those of `top_k`.

    Args:
        logits: (*batch, *grid.shape), any real, −inf for a forbidden cell.
        grid: The grid.
        radius: Whole number of cells, at least 0.
        weighting: "probability", "logits" or "values".

    Returns:
        (*batch, D), at least float32.

    Raises:
        TypeError: If grid is not a Grid.
        ValueError: If the logits do not end in the grid's shape, a map is forbidden throughout, radius is negative or no whole
            number, or weighting is unknown.

    >>> window(torch.tensor([5.0, 0.2, 0.6, 0.2, 4.9]), Grid((5,)), weighting="values").item() < 0.1
    True
    """
    check_grid("window", grid)
    one_of("window", "weighting", weighting, WEIGHTINGS)
    if isinstance(radius, bool) or not isinstance(radius, int) or radius < 0:
        raise ValueError(message("window", "radius", "be a whole number of at least 0", radius))
    flat = promote(grid.flatten("window", logits))
    cells = grid.unravel(peak_index("window", flat)).to(flat.dtype)
    rows = [axis_steps(cells, grid, axis).abs() <= radius for axis in range(grid.ndim)]
    return _mean_over("window", flat, outer(rows, grid).flatten(-grid.ndim), grid, weighting)


@full_precision
def four_neighbours(logits: Tensor, grid: Grid, target: Tensor, *, weighting: str = "probability") -> Tensor:
    """The weighted mean of the 2^D cells around the true point (Eq. 17 with Eq. 18; four cells in 2D).

    It needs to know the answer: it is the oracle of Theorem 2, not a decoder. Weightings are those of `top_k`.

    Args:
        logits: (*batch, *grid.shape), any real, −inf for a forbidden cell.
        grid: The grid.
        target: (*batch, D), the true points in input units.
        weighting: "probability", "logits" or "values".

    Returns:
        (*batch, D), at least float32.

    Raises:
        TypeError: If grid is not a Grid.
        ValueError: If shapes do not fit, all cells around a target are forbidden, or weighting is unknown.

    >>> maps = torch.tensor([[0.0, 0.2, 0.3], [0.5, 0.0, 0.0]])
    >>> four_neighbours(maps, Grid((2, 3)), torch.tensor([1.4, 0.2]), weighting="values")
    tensor([1.6000, 0.0000])
    """
    check_grid("four_neighbours", grid)
    grid.check_points("four_neighbours", target)
    one_of("four_neighbours", "weighting", weighting, WEIGHTINGS)
    flat = promote(grid.flatten("four_neighbours", logits))
    lower = grid.to_cells(target.detach().to(flat.dtype)).floor()
    low, high = onto_grid(lower, grid), onto_grid(lower + 1, grid)
    rows = []
    for axis, length in enumerate(grid.lengths):
        index = torch.arange(length, device=flat.device)
        rows.append((index == low[..., axis, None]) | (index == high[..., axis, None]))
    mask = outer(rows, grid).flatten(-grid.ndim).expand(flat.shape)
    return _mean_over("four_neighbours", flat, mask, grid, weighting)


def flip_average(points: Tensor, flipped_points: Tensor, *, width: float, swap: Sequence[int] | None = None) -> Tensor:
    """The mean of the points found in an image and in its mirror image, the latter mirrored back exactly.

    Args:
        points: (*batch, K, D) found in the input.
        flipped_points: (*batch, K, D) found in the mirrored input.
        width: Width of the input in pixels.
        swap: For every point the index of its mirror partner. None if no point has one.

    Returns:
        (*batch, K, D).

    Raises:
        ValueError: If the shapes differ, or swap is no permutation that is its own inverse.

    >>> flip_average(torch.tensor([[1.0, 2.0]]), torch.tensor([[5.0, 4.0]]), width=8)
    tensor([[1.5000, 3.0000]])
    """
    if points.shape != flipped_points.shape:
        got = tuple(flipped_points.shape)
        raise ValueError(
            message("flip_average", "flipped_points", f"have the points' shape {tuple(points.shape)}", got)
        )
    return (points + flip_points(flipped_points, width=width, swap=swap)) / 2


def _mean_over(function: str, flat: Tensor, mask: Tensor, grid: Support, weighting: str) -> Tensor:
    """Mean position of the masked cells of flat maps (*batch, cells), under one of the WEIGHTINGS."""
    if weighting == "values":
        peak_index(function, flat)
        values = torch.where(mask, flat, 0.0).clamp(min=0.0)
        # Scaled first, because the sum of values near the largest number would overflow.
        values = values / values.detach().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(flat.dtype).tiny)
        total = values.sum(dim=-1, keepdim=True)
        is_empty = total.detach() <= 0
        weights = torch.where(
            is_empty, mask / mask.sum(dim=-1, keepdim=True), values / torch.where(is_empty, 1.0, total)
        )
    else:
        weights = probabilities(function, flat.masked_fill(~mask, -torch.inf))
    if not isinstance(grid, Grid) or not grid.cyclic:
        return expected_position(weights, grid)
    # The mean of a handful of cells is exact over steps from one of them; the mean direction would bend it towards the middle.
    index = weights.detach().argmax(dim=-1)
    cells = grid.unravel(index).to(flat.dtype)
    marginals = grid.marginals(grid.unflatten(weights))
    steps = [(m * axis_steps(cells, grid, axis)).sum(dim=-1) for axis, m in enumerate(marginals)]
    return wrapped(grid.to_points(cells + torch.stack(steps, dim=-1)), grid)


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
