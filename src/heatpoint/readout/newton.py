"""DARK: the peak of a Gaussian fitted to a blurred map by one Newton step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from heatpoint._checks import check_real, check_whole, message, one_of
from heatpoint._lattice import onto_grid, peak_index, wrapped
from heatpoint._numerics import full_precision, promote
from heatpoint.support import Grid, check_grid, per_axis

# A map's logarithm at a fixed offset from the cell of its expansion, (*batch).
LogAt = Callable[[tuple[int, ...]], Tensor]

# OpenCV does not compute these kernels but holds them, in 1/256.
_SHORT_KERNELS = {
    1: (256,),
    3: (64, 128, 64),
    5: (16, 64, 96, 64, 16),
    7: (8, 28, 56, 72, 56, 28, 8),
    9: (4, 13, 30, 51, 60, 51, 30, 13, 4),
}


@dataclass(frozen=True)
class _Rule:
    """What distinguishes the published forms of DARK from each other."""

    floor: float
    ceiling: float
    curvature_step: int
    margin: int
    ridge: float = 0.0
    one_sided_cross: bool = False
    moves_inwards: bool = False


_RULES = {
    "dark": _Rule(floor=1e-10, ceiling=math.inf, curvature_step=2, margin=2),
    "udp": _Rule(floor=1e-3, ceiling=50.0, curvature_step=1, margin=0, ridge=2.0**-23, one_sided_cross=True),
    "inward": _Rule(floor=1e-10, ceiling=math.inf, curvature_step=1, margin=0, moves_inwards=True),
}


@full_precision
def dark(
    maps: Tensor, grid: Grid, *, sigma_cells: float, kernel_size: int | None = None, variant: str = "dark"
) -> Tensor:
    """The peak of the Gaussian that fits the map at its largest cell: m − H⁻¹ g, g and H of the logarithm of the blurred map.

    The map is blurred by a Gaussian (zeros beyond a straight border), rescaled to its old maximum, and expanded to second order
    at the largest cell of the map before the blur. Where H is singular the largest cell stays.

    * "dark", as published: g by central differences, second derivatives over steps of two cells, values from 1e-10; peaks
      within two cells of the border stay where they are.
    * "udp", as published with unbiased data processing: steps of one cell, values from 1e-3 to 50, the border replicated, a
      one-sided mixed derivative. (Its codes also rescale the result by input / (W − 1): give the grid that stride.)
    * "inward", ours: steps of one cell, values from 1e-10; at the border the expansion moves to the nearest cell whose
      neighbours all exist. On an exact Gaussian map without a blur (kernel_size=1) it is exact everywhere, the border
      included. The step is limited to 1.5 cells.

    Args:
        maps: (*batch, *grid.shape), values (not logits): what a network trained on Gaussian maps predicts. A forbidden cell
            (−inf) counts as the least value of the variant.
        grid: The grid.
        sigma_cells: Standard deviation of the Gaussian the maps were trained on. It sets the size of the blur only.
        kernel_size: Odd number of taps of the blur, 1 for none. None takes 2 ⌈2.5 sigma_cells⌉ + 1, the published pairs 11 for
            2 and 17 for 3. The taps are those of OpenCV for this size: standard deviation 0.3 ((size − 1) / 2 − 1) + 0.8, and its
            fixed tables up to 9.
        variant: "dark", "udp" or "inward".

    Returns:
        (*batch, D), at least float32. Gradients flow through g, H and the blur.

    Raises:
        TypeError: If grid is not a Grid.
        ValueError: If the maps do not end in the grid's shape, sigma_cells is not above 0, kernel_size is not odd and positive,
            or variant is unknown.

    >>> from heatpoint.rounding import gaussian_map
    >>> grid = Grid((24, 20), stride=4, offset=0)
    >>> dark(gaussian_map(torch.tensor([37.0, 51.0]), grid, sigma_cells=2), grid, sigma_cells=2).round(decimals=2)
    tensor([37., 51.])
    """
    check_grid("dark", grid)
    one_of("dark", "variant", variant, _RULES)
    taps = _taps(_kernel_size(sigma_cells, kernel_size))
    rule = _RULES[variant]
    flat = promote(grid.flatten("dark", maps, "maps"))
    peak = grid.unravel(peak_index("dark", flat, "maps"))
    center, is_active = _expansion_cell(peak, grid, rule)
    # The blur would take 0 · −inf, which is NaN, to every cell.
    blurred = _modulate(flat.masked_fill(flat == -torch.inf, rule.floor), grid, taps)

    def log_at(offset: tuple[int, ...]) -> Tensor:
        cell = onto_grid(center + per_axis(offset, center), grid)
        values = blurred.gather(-1, grid.ravel(cell).unsqueeze(-1)).squeeze(-1)
        return values.clamp(rule.floor, rule.ceiling).log()

    gradient, hessian = _derivatives(log_at, grid.ndim, rule)
    step, is_regular = _newton_step(gradient, hessian, is_active)
    if rule.moves_inwards:
        step = step.clamp(-1.5, 1.5)
    moves = is_regular & _has_margin(peak, grid, rule.margin)
    cells = torch.where(moves.unsqueeze(-1), center + step, peak.to(flat.dtype))
    return wrapped(grid.to_points(cells), grid)


def _kernel_size(sigma_cells: float, kernel_size: int | None) -> int:
    sigma_cells = check_real("dark", "sigma_cells", sigma_cells, "be greater than 0", above=0)
    if kernel_size is None:
        return 2 * math.ceil(2.5 * sigma_cells) + 1
    remedy = "1 means no blur."
    kernel_size = check_whole("dark", "kernel_size", kernel_size, "be odd and positive", least=1, remedy=remedy)
    if kernel_size % 2 == 0:
        raise ValueError(message("dark", "kernel_size", "be odd and positive", kernel_size, remedy))
    return kernel_size


def _taps(size: int) -> list[float]:
    if size in _SHORT_KERNELS:
        return [weight / 256 for weight in _SHORT_KERNELS[size]]
    radius = size // 2
    sigma = 0.3 * (radius - 1) + 0.8
    weights = [math.exp(-0.5 * (t / sigma) ** 2) for t in range(-radius, radius + 1)]
    return [weight / sum(weights) for weight in weights]


def _modulate(flat: Tensor, grid: Grid, taps: list[float]) -> Tensor:
    """Blurs flat maps along every axis and rescales each to its old maximum; (*batch, cells)."""
    if len(taps) == 1:
        return flat
    blurred = grid.unflatten(flat)
    for axis, length in enumerate(grid.lengths):
        # A product with a matrix, not a convolution: convolutions may run in TF32 by default, whose digits do not suffice.
        matrix = _blur_matrix(taps, length, axis in grid.cyclic, flat)
        blurred = (blurred.movedim(grid.map_dim(axis), -1) @ matrix).movedim(-1, grid.map_dim(axis))
    blurred = blurred.flatten(-grid.ndim)
    old, new = flat.amax(dim=-1, keepdim=True), blurred.amax(dim=-1, keepdim=True)
    is_flat = new == 0
    return blurred * torch.where(is_flat, 1.0, old / torch.where(is_flat, 1.0, new))


def _blur_matrix(taps: list[float], length: int, is_cyclic: bool, like: Tensor) -> Tensor:
    matrix = torch.zeros(length, length, dtype=torch.float64, device=like.device)
    index = torch.arange(length, device=like.device)
    step = index - index.unsqueeze(-1)
    for offset, weight in enumerate(taps, start=-(len(taps) // 2)):
        reaches = (step - offset) % length == 0 if is_cyclic else step == offset
        matrix += weight * reaches.to(matrix.dtype)
    return matrix.to(like.dtype)


def _expansion_cell(peak: Tensor, grid: Grid, rule: _Rule) -> tuple[Tensor, Tensor]:
    """The cell (*batch, D) to expand at, and the axes (D,) that have enough cells to be expanded along."""
    enough = [axis in grid.cyclic or length > 2 for axis, length in enumerate(grid.lengths)]
    is_active = per_axis(enough, peak) > 0
    if not rule.moves_inwards:
        return peak, torch.ones_like(is_active)
    columns = []
    for axis, length in enumerate(grid.lengths):
        column = peak[..., axis]
        columns.append(column if axis in grid.cyclic or length < 3 else column.clamp(1, length - 2))
    return torch.stack(columns, dim=-1), is_active


def _has_margin(peak: Tensor, grid: Grid, margin: int) -> Tensor:
    inside = torch.ones_like(peak[..., 0], dtype=torch.bool)
    for axis, length in enumerate(grid.lengths):
        if axis not in grid.cyclic:
            inside = inside & (peak[..., axis] >= margin) & (peak[..., axis] < length - margin)
    return inside


def _derivatives(log_at: LogAt, ndim: int, rule: _Rule) -> tuple[Tensor, Tensor]:
    """Gradient (*batch, D) and Hessian (*batch, D, D) of the logarithm of the map, in point order."""

    def at(*steps: tuple[int, int]) -> Tensor:
        offset = [0] * ndim
        for axis, step in steps:
            offset[axis] = step
        return log_at(tuple(offset))

    here, s = at(), rule.curvature_step
    gradient = torch.stack([(at((a, 1)) - at((a, -1))) / 2 for a in range(ndim)], dim=-1)
    rows: list[list[Tensor]] = [[here] * ndim for _ in range(ndim)]
    for a in range(ndim):
        rows[a][a] = (at((a, s)) - 2 * here + at((a, -s))) / s**2 + rule.ridge
        for b in range(a):
            if rule.one_sided_cross:
                ahead = at((a, 1), (b, 1)) - at((a, 1)) - at((b, 1))
                behind = at((a, -1), (b, -1)) - at((a, -1)) - at((b, -1))
                mixed = (ahead + 2 * here + behind) / 2
            else:
                rising = at((a, 1), (b, 1)) + at((a, -1), (b, -1))
                mixed = (rising - at((a, 1), (b, -1)) - at((a, -1), (b, 1))) / 4
            rows[a][b] = rows[b][a] = mixed
    return gradient, torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _newton_step(gradient: Tensor, hessian: Tensor, is_active: Tensor) -> tuple[Tensor, Tensor]:
    """−H⁻¹ g over the active axes (*batch, D), and where H can be inverted (*batch)."""
    identity = torch.eye(gradient.shape[-1], dtype=gradient.dtype, device=gradient.device)
    hessian = torch.where(is_active[:, None] & is_active, hessian, -identity)
    is_regular = torch.linalg.det(hessian.detach()) != 0
    safe = torch.where(is_regular[..., None, None], hessian, -identity)
    step = -torch.linalg.solve_ex(safe, (gradient * is_active).unsqueeze(-1))[0].squeeze(-1)
    return step, is_regular
