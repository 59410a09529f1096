"""Numerical ground rules: float32 islands under autocast, log-probabilities that survive forbidden cells."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from heatpoint._checks import looks_at, value_checks_enabled

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Decorates a function of tensors so that autocast does not reach inside it.

    Coordinates need more digits than half precision has: at 200 px a float16 step is 0.125 px. Pair it with `promote`.
    """

    @functools.wraps(function)
    def island(*args: P.args, **kwargs: P.kwargs) -> R:
        device_type = next((a.device.type for a in (*args, *kwargs.values()) if isinstance(a, Tensor)), "cpu")
        if not torch.is_autocast_enabled(device_type):
            return function(*args, **kwargs)
        with torch.autocast(device_type, enabled=False):
            return function(*args, **kwargs)

    return island


def promote(tensor: Tensor) -> Tensor:
    """Takes half precision and integers to float32; leaves float32 and float64 as they are."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


@contextlib.contextmanager
def full_products(device: torch.device) -> Iterator[None]:
    """Products of float32 matrices in all their digits, whatever the process allows its networks (TF32 on GPUs)."""
    if device.type != "cuda":
        yield
        return
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed


def log_probabilities(function: str, flat_logits: Tensor, argument: str = "logits") -> Tensor:
    """Log softmax over the last dimension, with forbidden cells (−inf) allowed.

    Args:
        function: Name of the caller, for the error text.
        flat_logits: (*batch, cells), any real, −inf for a forbidden cell.
        argument: The caller's name for them, for the error text.

    Returns:
        (*batch, cells); the exponentials sum to 1 over the last dimension.

    Raises:
        ValueError: If every cell of a map is −inf (on the CPU always, elsewhere under HEATPOINT_CHECK=1), or a logit is
            NaN or +inf (under HEATPOINT_CHECK=1).
    """
    return check_normalised(function, argument, flat_logits, torch.log_softmax(promote(flat_logits), dim=-1))


def probabilities(function: str, flat_logits: Tensor, argument: str = "logits") -> Tensor:
    """Softmax over the last dimension; arguments and errors are those of `log_probabilities`.

    Not the exponential of the log softmax: in float32 that sums to 1 only to some 5e-7 on a map of a few thousand cells, which
    moves a coordinate of 100 px by 5e-5 px.
    """
    return check_normalised(function, argument, flat_logits, torch.softmax(promote(flat_logits), dim=-1))


def check_normalised(function: str, argument: str, flat_logits: Tensor, normalised: Tensor) -> Tensor:
    """Returns what was made of maps by subtracting their maximum, after the checks that `log_probabilities` promises."""
    if not looks_at(normalised) or normalised.shape[-1] == 0:
        return normalised
    # A map that is wholly forbidden, or that holds a NaN, is NaN in every cell: one look per map is enough.
    if bool(normalised.detach()[..., 0].isnan().any()):
        if bool((flat_logits.detach() == -torch.inf).all(dim=-1).any()):
            raise ValueError(
                f"{function}: {argument} must leave at least one cell of every map possible, got a map whose {argument} "
                "are all −inf. Give such a point weight 0 and any finite map."
            )
        if value_checks_enabled():
            raise ValueError(
                f"{function}: {argument} must be finite or −inf, got NaN or +inf (HEATPOINT_CHECK=1). "
                "Look for a diverged network, or an overflow in half precision, before the map."
            )
    return normalised
