"""Readouts of chosen cells: the largest, the k largest, a window, the cells around the true point."""

from __future__ import annotations

import torch
from torch import Tensor

from heatpoint._checks import check_real, check_whole, message, one_of
from heatpoint._largest import largest_cells
from heatpoint._lattice import (
    axis_steps,
    cells_within,
    center_at,
    onto_grid,
    outer,
    peak_index,
    shortest_steps,
    wrapped,
)
from heatpoint._numerics import full_precision, log_probabilities, probabilities, promote
from heatpoint.expectation import expected_position
from heatpoint.kernels import choose
from heatpoint.kernels._native_decoders import largest_mean, why_not_mean
from heatpoint.support import Grid, Support, check_grid, check_support, per_axis

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
    remedy = "1 is floor, 0.5 is round, 0 is ceil."
    threshold = check_real("argmax", "threshold", threshold, "lie in [0, 1]", least=0, most=1, remedy=remedy)
    if threshold != 0.5 and not isinstance(grid, Grid):
        raise ValueError(message("argmax", "threshold", "be 0.5 on Points", threshold, remedy))
    flat = promote(grid.flatten("argmax", logits)).detach()
    centers = center_at(grid, peak_index("argmax", flat), flat)
    if not isinstance(grid, Grid):
        return centers
    return wrapped(centers + (threshold - 0.5) * per_axis(grid.strides, flat), grid)


@full_precision
def top_k(logits: Tensor, grid: Support, *, k: int, weighting: str = "probability") -> Tensor:
    """The weighted mean of the k largest cells (Randomized Rounding, Eq. 17 with Eq. 20).

    weighting="probability" takes the softmax over all cells, renormalised over the k; that equals the softmax of the k logits
    alone, weighting="logits", which the published code computes: both names give the same numbers. "values" weights by the map's
    own values, for maps that are not logits; a negative value weighs nothing, and where none is positive all k weigh the same.
    Eq. 17 does not divide by the sum of the chosen weights, which is 1 for a map without error; here it is always divided.
    On cyclic axes the mean is taken over the steps from the peak, the short way round. Cost: one pass over the maps on the CPU,
    where all but a few cells are ruled out by the maxima of blocks; no sort.

    Args:
        logits: (*batch, *grid.shape), any real, −inf for a forbidden cell.
        grid: Grid or Points.
        k: Number of cells; the paper uses 9 for faces, 1 is the plain argmax. Which of several equal cells comes last is left
            open for k above 1.
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
    rule = f"be a whole number from 1 to the {grid.num_cells} cells of a map"
    k = check_whole("top_k", "k", k, rule, least=1, most=grid.num_cells, remedy="k=1 is the plain argmax.")
    flat = promote(grid.flatten("top_k", logits))
    found = None if k == 1 or weighting == "values" else _native_mean(flat, grid, k)
    if found is not None:
        return found
    # Among equal cells the k largest are any; the plain argmax takes the first.
    chosen = peak_index("top_k", flat).unsqueeze(-1) if k == 1 else largest_cells(flat.detach(), k, function="top_k")
    weights = _weights("top_k", flat.gather(-1, chosen), None, weighting)
    if not isinstance(grid, Grid):
        centers = grid.cell_centers(dtype=flat.dtype, device=flat.device).expand(*chosen.shape[:-1], -1, -1)
        picked = centers.gather(-2, chosen.unsqueeze(-1).expand(*chosen.shape, grid.ndim))
        return (weights.unsqueeze(-1) * picked).sum(dim=-2)
    cells = grid.unravel(chosen).to(flat.dtype)
    heaviest = weights.detach().argmax(dim=-1)[..., None, None].expand(*chosen.shape[:-1], 1, grid.ndim)
    origin = cells.gather(-2, heaviest)
    steps = (weights.unsqueeze(-1) * shortest_steps(cells - origin, grid)).sum(dim=-2)
    return wrapped(grid.to_points(origin.squeeze(-2) + steps), grid)


@full_precision
def window(logits: Tensor, grid: Grid, *, radius: int = 1, weighting: str = "probability") -> Tensor:
    """The weighted mean of the cells within `radius` of the largest on every axis (Eq. 17 with Eq. 19: radius 1, 3x3 cells).

    At the border the window is cut; on a cyclic axis it wraps around. Weightings are those of `top_k`. Cost: that of finding the
    peak; of a small window only its own cells are weighed.

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
    radius = check_whole("window", "radius", radius, "be a whole number of at least 0", least=0)
    flat = promote(grid.flatten("window", logits))
    peak = grid.unravel(peak_index("window", flat))
    if _is_small(radius, grid):
        index, exists = cells_within(radius, peak, grid)
        weights = _weights("window", flat.gather(-1, index), exists, weighting)
        steps = _offsets(radius, grid, weights)
        return wrapped(grid.to_points(peak.to(flat.dtype) + (weights.unsqueeze(-1) * steps).sum(dim=-2)), grid)
    rows = [axis_steps(peak.to(flat.dtype), grid, axis).abs() <= radius for axis in range(grid.ndim)]
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


def _native_mean(flat: Tensor, grid: Support, k: int) -> Tensor | None:
    """The softmax-weighted mean (*batch, D) of the k largest cells by the native kernel; None where that has no such form."""
    if choose("top_k", {"native": why_not_mean(flat, grid, k)}) != "native" or not isinstance(grid, Grid):
        return None
    cells = largest_mean(flat, grid, k)
    if bool(cells.isnan().any()):
        # Says which maps have no distribution, as the torch form does.
        log_probabilities("top_k", flat.detach())
    return grid.to_points(cells)


def _is_small(radius: int, grid: Grid) -> bool:
    """Whether a window has far fewer cells than the map, and no step within it is shorter the other way round."""
    turns = any(4 * radius >= grid.lengths[axis] for axis in grid.cyclic)
    return not turns and 4 * (2 * radius + 1) ** grid.ndim <= grid.num_cells


def _offsets(radius: int, grid: Grid, like: Tensor) -> Tensor:
    """Steps (cells, D) from the centre of a window to its cells, row-major, in point order."""
    steps = torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)
    return torch.stack(torch.meshgrid([steps] * grid.ndim, indexing="ij")[::-1], dim=-1).reshape(-1, grid.ndim)


def _mean_over(function: str, flat: Tensor, mask: Tensor, grid: Support, weighting: str) -> Tensor:
    """Mean position of the masked cells of flat maps (*batch, cells), under one of the WEIGHTINGS."""
    weights = _weights(function, flat, mask, weighting)
    if not isinstance(grid, Grid) or not grid.cyclic:
        return expected_position(weights, grid)
    # The mean of a handful of cells is exact over steps from one of them; the mean direction would bend it towards the middle.
    index = weights.detach().argmax(dim=-1)
    cells = grid.unravel(index).to(flat.dtype)
    marginals = grid.marginals(grid.unflatten(weights))
    steps = [(m * axis_steps(cells, grid, axis)).sum(dim=-1) for axis, m in enumerate(marginals)]
    return wrapped(grid.to_points(cells + torch.stack(steps, dim=-1)), grid)


def _weights(function: str, flat: Tensor, mask: Tensor | None, weighting: str) -> Tensor:
    """Weights of the cells in the last dimension, of the masked ones only, under one of the WEIGHTINGS."""
    if weighting != "values":
        return probabilities(function, flat if mask is None else flat.masked_fill(~mask, -torch.inf))
    peak_index(function, flat)
    mask = torch.ones_like(flat, dtype=torch.bool) if mask is None else mask
    values = torch.where(mask, flat, 0.0).clamp(min=0.0)
    # Scaled first, because the sum of values near the largest number would overflow.
    values = values / values.detach().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(flat.dtype).tiny)
    total = values.sum(dim=-1, keepdim=True)
    is_empty = total.detach() <= 0
    return torch.where(
        is_empty, mask.to(flat.dtype) / mask.sum(dim=-1, keepdim=True), values / torch.where(is_empty, 1.0, total)
    )
