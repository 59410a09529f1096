"""What every score checks of its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from heatpoint._checks import message
from heatpoint._numerics import promote
from heatpoint.basis import Basis
from heatpoint.support import Support, check_support

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
    try:
        fits = tuple(torch.broadcast_shapes(target.shape[:-1], batch)) == batch
    except RuntimeError:
        fits = False
    if not fits:
        rule = f"have the batch dimensions of the maps, {batch}, before its last"
        raise ValueError(message(function, argument, rule, tuple(target.shape)))
    return target.to(dtype)
