"""Coordinates to cells: by a threshold or at random, the law of the random cell, and the bias of all of them."""

from __future__ import annotations

import torch
from torch import Tensor

from heatpoint._checks import check_real, looks_at, message, one_of
from heatpoint._lattice import onto_grid, outer
from heatpoint._numerics import full_precision, promote
from heatpoint.support import Grid, check_grid, per_axis

# The thresholds t of Eq. 10 that give the usual integer operations.
THRESHOLDS = {"floor": 1.0, "round": 0.5, "ceil": 0.0}


def round_to_cells(
    points: Tensor,
    grid: Grid,
    *,
    mode: str = "floor",
    threshold: float | Tensor | None = None,
    generator: torch.Generator | None = None,
    clip: bool = True,
) -> Tensor:
    """The cell that stands for a point: ⌊c⌋ where ε < t, ⌊c⌋ + 1 elsewhere (Eq. 10; random t per coordinate: Eq. 15).

    Thresholds are floor t = 1, round t = ½ (a half goes up), ceil t = 0, random t ~ U(0, 1]. Eq. 10 is followed to the letter:
    under ceil a whole cell coordinate has ε = 0 ≥ t and goes up by one, so that the bias is +½ cell without exception. The
    random threshold is never 0, so random rounding leaves a whole cell coordinate where it is.

    Where the paper assumes points inside the map, cells beyond it are clipped to the border cell; cyclic axes wrap.

    Args:
        points: (*batch, D) in input units.
        grid: The grid.
        mode: "floor", "round", "ceil" or "random".
        threshold: Overrides the mode: t in [0, 1], or a tensor of thresholds that broadcasts against the points. Recorded
            uniform numbers given here replay a random rounding.
        generator: Source of the random thresholds.
        clip: False leaves cells beyond a straight axis as they are, for targets that lie outside the map.

    Returns:
        Whole cells (*batch, D), torch.long, in point order. No gradient.

    Raises:
        TypeError: If grid is not a Grid.
        ValueError: If the points do not end in D coordinates, or are not finite, the mode is unknown, or a threshold lies outside
            [0, 1] (tensors are looked at on the CPU, elsewhere under HEATPOINT_CHECK=1).

    >>> points = torch.tensor([[4.0, 7.0]])
    >>> grid = Grid((8, 6), stride=4, offset=0)
    >>> [round_to_cells(points, grid, mode=mode).tolist() for mode in ("floor", "round", "ceil")]
    [[[1, 1]], [[1, 2]], [[2, 2]]]
    """
    return cells_of(
        "round_to_cells", "points", points, grid, mode=mode, threshold=threshold, generator=generator, clip=clip
    )


@full_precision
def cells_of(
    function: str,
    argument: str,
    points: Tensor,
    grid: Grid,
    *,
    mode: str = "floor",
    threshold: float | Tensor | None = None,
    generator: torch.Generator | None = None,
    clip: bool = True,
) -> Tensor:
    """`round_to_cells` on behalf of the caller `function`, whose `argument` holds the points."""
    check_grid(function, grid)
    cells = checked_cells(function, argument, points, grid).detach()
    if threshold is not None:
        _check_threshold(function, "threshold", threshold)
        t = threshold.to(cells) if isinstance(threshold, Tensor) else cells.new_full((), threshold)
    else:
        one_of(function, "mode", mode, [*THRESHOLDS, "random"])
        if mode == "random":
            t = 1 - torch.rand(cells.shape, generator=generator, dtype=cells.dtype, device=cells.device)
        else:
            t = cells.new_full((), THRESHOLDS[mode])
    lower = cells.floor()
    rounded = lower + (cells - lower >= t)
    inside = onto_grid(rounded, grid)
    if clip:
        return inside
    kept = inside if grid.cyclic else rounded.long()
    columns = [(kept if axis in grid.cyclic else rounded.long())[..., axis] for axis in range(grid.ndim)]
    return torch.stack(columns, dim=-1)


def activation_probabilities(points: Tensor, grid: Grid) -> Tensor:
    """Probability of every cell to be the one that random rounding chooses (Eq. 14, 22): Π_axes (1 − ε) at ⌊c⌋, ε at ⌊c⌋ + 1.

    It is the bilinear weight of the 2^D cells around the point, clipped and wrapped as `round_to_cells` does.

    Args:
        points: (*batch, D) in input units.
        grid: The grid.

    Returns:
        (*batch, *grid.shape), at least float32, each map summing to 1. Gradients flow to points on the grid; beyond its border
        the map is constant.

    Raises:
        TypeError: If grid is not a Grid.
        ValueError: If the points do not end in D coordinates or are not finite.

    >>> activation_probabilities(torch.tensor([5.0]), Grid((4,), stride=4, offset=0))
    tensor([0.0000, 0.7500, 0.2500, 0.0000])
    """
    return activation_of("activation_probabilities", "points", points, grid)


@full_precision
def activation_of(function: str, argument: str, points: Tensor, grid: Grid) -> Tensor:
    """`activation_probabilities` on behalf of the caller `function`, whose `argument` holds the points."""
    check_grid(function, grid)
    low, high, fraction = _around(function, argument, points, grid)
    rows = []
    for axis, length in enumerate(grid.lengths):
        index = torch.arange(length, device=fraction.device)
        epsilon = fraction[..., axis, None]
        at_low, at_high = index == low[..., axis, None], index == high[..., axis, None]
        rows.append(at_low * (1 - epsilon) + at_high * epsilon)
    return outer(rows, grid)


@full_precision
def activation_cells(function: str, argument: str, points: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The cells of `activation_probabilities` that may be chosen and their probabilities, both (*batch, 2^D), without the map.

    A cell that clipping makes the same as another is listed for each; the probabilities add up.

    >>> activation_cells("f", "points", torch.tensor([5.0]), Grid((4,), stride=4, offset=0))
    (tensor([1, 2]), tensor([0.7500, 0.2500]))
    """
    check_grid(function, grid)
    low, high, fraction = _around(function, argument, points, grid)
    index, weight = torch.zeros_like(low[..., :1]), torch.ones_like(fraction[..., :1])
    for axis in reversed(range(grid.ndim)):
        ends = torch.stack([low[..., axis], high[..., axis]], dim=-1)
        shares = torch.stack([1 - fraction[..., axis], fraction[..., axis]], dim=-1)
        index = (index.unsqueeze(-1) * grid.lengths[axis] + ends.unsqueeze(-2)).flatten(-2)
        weight = (weight.unsqueeze(-1) * shares.unsqueeze(-2)).flatten(-2)
    return index, weight


def quantization_bias(mode_or_threshold: str | float | Tensor, grid: Grid) -> Tensor:
    """Mean of (decoded − true) under plain argmax decoding, for a fractional part that is uniform: (½ − t) · stride (Table 1).

    Args:
        mode_or_threshold: "floor" (−stride/2), "round" (0), "ceil" (stride/2), "random" (0), or t in [0, 1], a number or a
            tensor (D,).
        grid: The grid.

    Returns:
        (D,) in input units, point order.

    Raises:
        TypeError: If grid is not a Grid.
        ValueError: If the mode is unknown or a threshold lies outside [0, 1].

    >>> quantization_bias("floor", Grid((8, 6), stride=4))
    tensor([-2., -2.])
    """
    check_grid("quantization_bias", grid)
    if isinstance(mode_or_threshold, str):
        one_of("quantization_bias", "mode_or_threshold", mode_or_threshold, [*THRESHOLDS, "random"])
        mode_or_threshold = THRESHOLDS.get(mode_or_threshold, 0.5)
    _check_threshold("quantization_bias", "mode_or_threshold", mode_or_threshold)
    given = mode_or_threshold
    t = promote(given) if isinstance(given, Tensor) else torch.tensor(float(given), dtype=torch.get_default_dtype())
    return (0.5 - t) * per_axis(grid.strides, t)


def checked_cells(function: str, argument: str, points: Tensor, grid: Grid) -> Tensor:
    """Coordinates in cells, at least float32, after checking that the points are finite and have D coordinates."""
    grid.check_points(function, points, argument)
    points = promote(points)
    if looks_at(points) and not bool(points.detach().isfinite().all()):
        remedy = "Give a missing point weight 0 and any finite place."
        raise ValueError(message(function, argument, "be finite", "NaN or infinity", remedy))
    return grid.to_cells(points)


def _around(function: str, argument: str, points: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """The cells ⌊c⌋ and ⌊c⌋ + 1, put onto the grid, and ε between them, each (*batch, D)."""
    cells = checked_cells(function, argument, points, grid)
    lower = cells.detach().floor()
    return onto_grid(lower, grid), onto_grid(lower + 1, grid), cells - lower


def _check_threshold(function: str, argument: str, threshold: float | Tensor) -> None:
    remedy = "1 is floor, 0.5 is round, 0 is ceil."
    if not isinstance(threshold, Tensor):
        check_real(function, argument, threshold, "lie in [0, 1]", least=0, most=1, remedy=remedy)
    elif looks_at(threshold) and not bool(((threshold >= 0) & (threshold <= 1)).all()):
        raise ValueError(message(function, argument, "lie in [0, 1]", threshold, remedy))
