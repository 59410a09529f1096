"""Weights over cells to one position: the weighted mean on straight axes, the mean direction on axes that wrap around."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from heatpoint._checks import check_tensor, message
from heatpoint._numerics import full_precision, promote
from heatpoint.support import Grid, Support, check_support

# The constant that the published code of sampling-argmax puts in place of a position, in cells.
SIGN_AMPLITUDE = 2.0


@full_precision
def expected_position(
    weights: Tensor, support: Support, *, displacement: Sequence[Tensor] | None = None, sign_gradient: bool = False
) -> Tensor:
    """The mean of the positions of the cells under given weights.

    y = Σ_i w_i (c_i + e_i) per coordinate (Sampling-Argmax, Eq. 1 and 12), c_i the centre of cell i and e_i its displacement.
    On a cyclic axis of a grid, y is the direction of Σ_i w_i exp(2πi (c_i + e_i − c_0) / period) (the sinusoidal soft-argmax
    of Section 4), in [edge of cell 0, edge of cell 0 + period). Where that sum vanishes to rounding no direction exists: y is
    the centre of cell 0, without a gradient.

    Args:
        weights: (*batch, cells), row-major, each row summing to 1.
        support: Grid or Points.
        displacement: None, or one tensor per axis (in point order) that broadcasts against the weights, in the support's units.
        sign_gradient: Leaves the value as it is, and takes +2·stride for ∂y/∂w_i where position i is at or beyond y, −2·stride
            elsewhere, as the authors' published code does (no paper mentions it); on points, ±2 in their units. On a
            cyclic axis "beyond" means less than half a period ahead.

    Returns:
        (*batch, D) in point order. Gradients flow to weights, displacement and the coordinates of Points.

    Raises:
        TypeError: If support is neither Grid nor Points.
        ValueError: If the weights do not end in the number of cells, or displacement does not hold D tensors.

    >>> expected_position(torch.tensor([0.25, 0.0, 0.75]), Grid((3,), stride=4, offset=0))
    tensor([6.])
    """
    check_support("expected_position", support)
    _check_cells("expected_position", weights, support.num_cells)
    weights = promote(weights)
    if displacement is None and isinstance(support, Grid):
        marginals = support.marginals(support.unflatten(weights))
        return torch.stack(
            [marginal_position(m, support, axis=a, sign_gradient=sign_gradient) for a, m in enumerate(marginals)],
            dim=-1,
        )
    if displacement is not None and len(displacement) != support.ndim:
        rule = f"hold one tensor per axis, {support.ndim}"
        raise ValueError(message("expected_position", "displacement", rule, len(displacement)))
    centers = support.cell_centers(dtype=weights.dtype, device=weights.device)
    if isinstance(support, Grid):
        centers = centers.flatten(0, -2)
    coordinates = []
    for axis in range(support.ndim):
        positions = centers[..., axis]
        if displacement is not None:
            positions = positions + displacement[axis]
        coordinates.append(_position(weights, positions, support, axis, sign_gradient))
    return torch.stack(coordinates, dim=-1)


@full_precision
def marginal_position(
    marginal: Tensor, grid: Grid, *, axis: int, displacement: Tensor | None = None, sign_gradient: bool = False
) -> Tensor:
    """One coordinate of `expected_position`, from the weights of the cells along one axis.

    Args:
        marginal: (*batch, length), each row summing to 1.
        grid: The grid.
        axis: Coordinate in point order (0 is x).
        displacement: None or (*batch, length), in input units.
        sign_gradient: As in `expected_position`.

    Returns:
        (*batch).

    Raises:
        ValueError: If the marginal does not end in the length of the axis.

    >>> marginal_position(torch.tensor([0.5, 0.5]), Grid((3, 2), offset=0), axis=0)
    tensor(0.5000)
    """
    _check_cells("marginal_position", marginal, grid.lengths[axis])
    marginal = promote(marginal)
    positions = grid.axis_centers(axis, dtype=marginal.dtype, device=marginal.device)
    if displacement is not None:
        positions = positions + displacement
    return _position(marginal, positions, grid, axis, sign_gradient)


def wrap(coordinates: Tensor, grid: Grid, *, axis: int) -> Tensor:
    """Takes coordinates on a cyclic axis into [edge of cell 0, edge of cell 0 + period); the gradient is 1.

    >>> wrap(torch.tensor([-1.0, 4.25]), Grid((4,), offset=0, cyclic=(0,)), axis=0)
    tensor([3.0000, 0.2500])
    """
    edge, period = grid.offsets[axis] - grid.strides[axis] / 2, grid.size[axis]
    turned = torch.remainder(coordinates - edge, period)
    # A tiny negative remainder rounds up to a whole period, which is the same place as 0.
    return torch.where(turned >= period, turned - period, turned) + edge


def _position(weights: Tensor, positions: Tensor, support: Support, axis: int, sign_gradient: bool) -> Tensor:
    mean = _mean_direction if isinstance(support, Grid) and axis in support.cyclic else _mean
    if not sign_gradient:
        return mean(weights, positions, support, axis)
    position = mean(weights.detach(), positions, support, axis)
    signs = _signs(positions.detach() - position.detach().unsqueeze(-1), support, axis)
    surrogate = (weights * signs).sum(dim=-1)
    # The difference is exactly 0 and carries the gradient, so the value stays as it is to the last bit.
    return position + (surrogate - surrogate.detach())


def _mean(weights: Tensor, positions: Tensor, support: Support, axis: int) -> Tensor:
    return (weights * positions).sum(dim=-1)


def _mean_direction(weights: Tensor, positions: Tensor, support: Support, axis: int) -> Tensor:
    if not isinstance(support, Grid):
        raise AssertionError("only an axis of a grid wraps around")
    origin, period = support.offsets[axis], support.size[axis]
    phase = (positions - origin) * (2 * math.pi / period)
    cosine, sine = (weights * phase.cos()).sum(dim=-1), (weights * phase.sin()).sum(dim=-1)
    vanishes = torch.hypot(cosine, sine).detach() < 4 * torch.finfo(weights.dtype).eps
    # Both arguments are replaced, because the derivative of atan2 at (0, 0) is 0/0 and would survive a later `where`.
    angle = torch.atan2(torch.where(vanishes, 0.0, sine), torch.where(vanishes, 1.0, cosine))
    return wrap(angle * (period / (2 * math.pi)) + origin, support, axis=axis)


def _signs(ahead: Tensor, support: Support, axis: int) -> Tensor:
    amplitude, is_ahead = SIGN_AMPLITUDE, ahead >= 0
    if isinstance(support, Grid):
        amplitude *= support.strides[axis]
        if axis in support.cyclic:
            is_ahead = torch.remainder(ahead, support.size[axis]) < support.size[axis] / 2
    return (2 * is_ahead.to(ahead.dtype) - 1) * amplitude


def _check_cells(function: str, weights: Tensor, num_cells: int) -> None:
    check_tensor(function, "weights", weights)
    if weights.ndim < 1 or weights.shape[-1] != num_cells:
        remedy = "Weights are flat, row-major."
        raise ValueError(message(function, "weights", f"end in {num_cells} cells", tuple(weights.shape), remedy))
