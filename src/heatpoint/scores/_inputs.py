"""What every score checks of its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from heatpoint._checks import broadcasts_to, check_tensor, message
from heatpoint._distances import Distance
from heatpoint._numerics import promote
from heatpoint.basis import Basis
from heatpoint.support import Support, check_support

# Distances that are sums over the coordinates, so that each coordinate can have a weight of its own.
BY_AXIS: tuple[Distance, ...] = ("l1", "smooth_l1", "squared")

BasisLike = str | Basis | Mapping[str, Any]


def flat_and_target(
    function: str, logits: Tensor, grid: Support, target: Tensor, argument: str = "target"
) -> tuple[Tensor, Tensor]:
    """Logits as (*batch, cells), in float32 or float64, and the target in their dtype, after checking the shapes."""
    check_support(function, grid)
    flat = promote(grid.flatten(function, logits))
    return flat, fit_target(function, tuple(flat.shape[:-1]), grid, target, flat.dtype, argument)


def fit_target(
    function: str,
    batch: tuple[int, ...],
    grid: Support,
    target: Tensor,
    dtype: torch.dtype,
    argument: str = "target",
) -> Tensor:
    """The target in `dtype`; raises ValueError unless it is (…, D) with dimensions that broadcast to `batch`."""
    grid.check_points(function, target, argument)
    if not broadcasts_to(target.shape[:-1], batch):
        rule = f"have the batch dimensions of the maps, {batch}, before its last"
        raise ValueError(message(function, argument, rule, tuple(target.shape)))
    return target.to(dtype)


def fit_axis_weight(
    function: str, axis_weight: Tensor | None, batch: tuple[int, ...], grid: Support, distance: Distance
) -> Tensor | None:
    """Weights of the coordinates as they are; raises ValueError unless they are (…, D) and the distance is a sum over them."""
    if axis_weight is None:
        return None
    if distance not in BY_AXIS:
        remedy = f"Take one of {', '.join(BY_AXIS)}, which are sums over coordinates."
        raise ValueError(message(function, "axis_weight", f"be None for distance {distance!r}", "weights", remedy))
    check_tensor(function, "axis_weight", axis_weight)
    if not broadcasts_to(axis_weight.shape, (*batch, grid.ndim)) or axis_weight.shape[-1:] != (grid.ndim,):
        rule = f"broadcast to {(*batch, grid.ndim)}, one weight per coordinate"
        raise ValueError(message(function, "axis_weight", rule, tuple(axis_weight.shape)))
    return axis_weight
