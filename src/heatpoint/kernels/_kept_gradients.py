"""Gradients that a forward pass has made and a backward pass only scales: in place, so that they are there once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from heatpoint.kernels._readable import unreadable

_giving = threading.Lock()


def scaled(
    ctx: Any,
    kept: Sequence[Tensor | None],
    slope: Tensor,
    made_again: Callable[[], Sequence[Tensor | None]],
    factors: Sequence[float] = (1.0, 1.0),
) -> list[Tensor | None]:
    """Each gradient times the slope and its factor; None for an input that needs none.

    The first backward pass gives the kept ones away, scaled in place. One that follows it, by `retain_graph=True`, has them made
    again.

    Args:
        ctx: Of the autograd function, whose first inputs the gradients belong to.
        kept: Gradients (*batch, n) from `ctx.saved_tensors`, or None.
        slope: What they are multiplied by, (*batch).
        made_again: Makes them as they were.
        factors: One for each gradient, finite.
    """
    # Of many slopes at a time there is no place for what comes.
    is_in_place = not unreadable(slope)
    with _giving:
        is_given_away = getattr(ctx, "is_given_away", False)
        ctx.is_given_away = is_given_away or is_in_place
    gradients = made_again() if is_given_away else kept
    found: list[Tensor | None] = []
    for gradient, factor, is_needed in zip(gradients, factors, ctx.needs_input_grad, strict=False):
        if gradient is None or not is_needed:
            found.append(None)
            continue
        by = (slope if factor == 1 else slope * factor)[..., None]
        # As .data: torch counts changes of what it keeps, and would refuse a later pass, which does not read it.
        found.append(gradient.data.mul_(by) if is_in_place else gradient * by)
    return found
