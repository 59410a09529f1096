"""DARK: the peak of a Gaussian fitted to a blurred map by one Newton step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from heatpoint._checks import check_real, check_whole, looks_at, message, one_of
from heatpoint._lattice import cells_within, onto_grid, peak_index, wrapped
from heatpoint._numerics import full_precision, promote
from heatpoint.kernels import choose
from heatpoint.kernels._native_decoders import newton_cells, why_not_newton
from heatpoint.readout._blur import band_matrix, modulate, opencv_taps
from heatpoint.support import Grid, check_grid, per_axis

# A map's logarithm at a fixed offset from the cell of its expansion, (*batch).
LogAt = Callable[[tuple[int, ...]], Tensor]


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

    Cost on the CPU: that of finding the peak, after which a native kernel or torch looks at the cells around it. Of a map far
    larger than the blur only the cells that reach the derivatives are blurred; the whole map is where a value near the peak is
    clamped, which the rescaling decides.

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
    taps = opencv_taps(_kernel_size(sigma_cells, kernel_size))
    rule = _RULES[variant]
    flat = promote(grid.flatten("dark", maps, "maps"))
    index = peak_index("dark", flat, "maps")
    obstacle = why_not_newton(flat, grid, num_taps=len(taps), curvature_step=rule.curvature_step)
    if choose("dark", {"native": obstacle}) != "native":
        return wrapped(grid.to_points(_peak_cells(flat, index, grid, rule, taps)), grid)
    cells, is_found = newton_cells(flat, index, grid, taps, **asdict(rule))
    if not bool(is_found.all()):
        cells[~is_found] = _peak_cells(flat[~is_found], index[~is_found], grid, rule, taps)
    return wrapped(grid.to_points(cells), grid)


def _peak_cells(flat: Tensor, index: Tensor, grid: Grid, rule: _Rule, taps: list[float]) -> Tensor:
    """The fitted peaks in cells (*batch, D), of flat maps (*batch, cells) with their largest cell at `index` (*batch)."""
    peak = grid.unravel(index)
    center, is_active = _expansion_cell(peak, grid, rule)
    may_move = _has_margin(peak, grid, rule.margin)
    largest = flat.detach().gather(-1, index.unsqueeze(-1)).squeeze(-1)
    is_bounded = (largest <= rule.ceiling) & largest.isfinite()
    step, is_regular = _step(flat, center, ~may_move, is_bounded, is_active, grid, rule, taps)
    if rule.moves_inwards:
        step = step.clamp(-1.5, 1.5)
    moves = is_regular & may_move
    return torch.where(moves.unsqueeze(-1), center + step, peak.to(flat.dtype))


def _step(
    flat: Tensor,
    center: Tensor,
    stays: Tensor,
    is_bounded: Tensor,
    is_active: Tensor,
    grid: Grid,
    rule: _Rule,
    taps: list[float],
) -> tuple[Tensor, Tensor]:
    """The step (*batch, D) from the cells of the expansion and where there is one (*batch), by patches where they suffice."""

    def newton(log_at: LogAt) -> tuple[Tensor, Tensor]:
        return _newton_step(*_derivatives(log_at, grid.ndim, rule), is_active)

    side = len(taps) + 2 * rule.curvature_step
    # A patch decides by its values whether it suffices.
    if not looks_at(flat) or 2 * side**grid.ndim > grid.num_cells:
        return newton(_logs_of_maps(flat, center, grid, rule, taps))
    batch = center.shape[:-1]
    flat, center = flat.reshape(-1, grid.num_cells), center.reshape(-1, grid.ndim)
    patches, least = _blurred_patches(flat, center, grid, rule, taps)
    # Rescaling a map adds a constant to its logarithm, which no derivative sees, unless a value is clamped. A blur lowers the
    # maximum, so the factor is at least 1: what is not below the floor stays so, and nothing comes to exceed the old maximum.
    suffices = stays.reshape(-1) | (is_bounded.reshape(-1) & (least >= rule.floor)) | (len(taps) == 1)
    if bool(suffices.all()):
        step, is_regular = newton(_logs_of_patches(patches, center, grid, rule))
    else:
        # Rows by themselves, not one chosen afterwards: an overflow in what is not chosen would make its gradient NaN.
        step, is_regular = patches.new_zeros(center.shape), torch.zeros_like(suffices)
        for rows, logs in (
            (suffices, _logs_of_patches(patches[suffices], center[suffices], grid, rule)),
            (~suffices, _logs_of_maps(flat[~suffices], center[~suffices], grid, rule, taps)),
        ):
            found, has_step = newton(logs)
            step, is_regular = step.index_put((rows,), found), is_regular.index_put((rows,), has_step)
    return step.view(*batch, grid.ndim), is_regular.view(batch)


def _logs_of_maps(flat: Tensor, center: Tensor, grid: Grid, rule: _Rule, taps: list[float]) -> LogAt:
    """The logarithm of whole maps, blurred and rescaled."""
    # The blur would take 0 · −inf, which is NaN, to every cell.
    blurred = modulate(flat.masked_fill(flat == -torch.inf, rule.floor), grid, taps)

    def log_at(offset: tuple[int, ...]) -> Tensor:
        cell = onto_grid(center + per_axis(offset, center), grid)
        values = blurred.gather(-1, grid.ravel(cell).unsqueeze(-1)).squeeze(-1)
        return values.clamp(rule.floor, rule.ceiling).log()

    return log_at


def _blurred_patches(flat: Tensor, center: Tensor, grid: Grid, rule: _Rule, taps: list[float]) -> tuple[Tensor, Tensor]:
    """Blurred maps around `center`, (rows, cells of the patch), and the least of each patch's cells that exist, (rows)."""
    reach = rule.curvature_step
    index, exists = cells_within(reach + len(taps) // 2, center, grid)
    values = flat.gather(-1, index)
    is_forbidden = values.detach() == -torch.inf
    if bool(is_forbidden.any()):
        values = values.masked_fill(is_forbidden, rule.floor)
    if not bool(exists.all()):
        values = values.masked_fill(~exists, 0.0)
    side = len(taps) + 2 * reach
    matrix = band_matrix(taps, side, 2 * reach + 1, flat)
    for _ in range(grid.ndim):
        # The first axis is blurred and goes last: after all have gone they stand where they stood.
        values = values.unflatten(-1, (side, values.shape[-1] // side)).transpose(-1, -2)
        values = (values.reshape(-1, side) @ matrix).unflatten(0, values.shape[:-1]).flatten(1)
    kept = values.detach().masked_fill(~cells_within(reach, center, grid)[1], torch.inf)
    return values, kept.amin(dim=-1)


def _logs_of_patches(patches: Tensor, center: Tensor, grid: Grid, rule: _Rule) -> LogAt:
    """The logarithm of patches of (2 curvature_step + 1)^D cells around `center`; beyond a straight border its last cell."""
    logs = patches.clamp(rule.floor, rule.ceiling).log()
    reach, side = rule.curvature_step, 2 * rule.curvature_step + 1

    def log_at(offset: tuple[int, ...]) -> Tensor:
        place = torch.zeros_like(center[..., 0])
        for axis in reversed(range(grid.ndim)):
            column, move = center[..., axis], torch.full_like(place, offset[axis])
            if axis not in grid.cyclic:
                move = (column + move).clamp(0, grid.lengths[axis] - 1) - column
            place = place * side + move + reach
        return logs.gather(-1, place.unsqueeze(-1)).squeeze(-1)

    return log_at


def _kernel_size(sigma_cells: float, kernel_size: int | None) -> int:
    sigma_cells = check_real("dark", "sigma_cells", sigma_cells, "be greater than 0", above=0)
    if kernel_size is None:
        return 2 * math.ceil(2.5 * sigma_cells) + 1
    remedy = "1 means no blur."
    kernel_size = check_whole("dark", "kernel_size", kernel_size, "be odd and positive", least=1, remedy=remedy)
    if kernel_size % 2 == 0:
        raise ValueError(message("dark", "kernel_size", "be odd and positive", kernel_size, remedy))
    return kernel_size


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
