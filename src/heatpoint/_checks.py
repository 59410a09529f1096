"""Messages and checks shared by every room: one form of error text, one switch for checks of values."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def message(function: str, argument: str, rule: str, got: object, remedy: str = "") -> str:
    """Builds an error text: ``function: argument must <rule>, got <value>. <what to do>``.

    >>> message("top_k", "k", "be at least 1", 0, "Use k=1 for plain argmax.")
    'top_k: k must be at least 1, got 0. Use k=1 for plain argmax.'
    """
    text = f"{function}: {argument} must {rule}, got {got}."
    return f"{text} {remedy}" if remedy else text


def unknown_name(function: str, argument: str, name: object, valid: Iterable[str]) -> str:
    """Builds the error text for a name that is not in a table: the nearest names first, then all of them.

    >>> unknown_name("make_localizer", "name", "soft_argmx", ["soft_argmax", "log_score"])
    "make_localizer: name must be one of log_score, soft_argmax, got 'soft_argmx'. Did you mean soft_argmax?"
    """
    names = sorted(valid)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    remedy = f"Did you mean {' or '.join(near)}?" if near else ""
    return message(function, argument, f"be one of {', '.join(names)}", repr(name), remedy)


def one_of(function: str, argument: str, value: Any, valid: Iterable[str]) -> None:
    """Raises ValueError, with the valid names, unless `value` is one of them."""
    names = list(valid)
    if value not in names:
        raise ValueError(unknown_name(function, argument, value, names))


def value_checks_enabled() -> bool:
    """Whether HEATPOINT_CHECK asks for checks of tensor values, which synchronise an accelerator."""
    return os.environ.get("HEATPOINT_CHECK", "0") not in ("", "0")


def looks_at(tensor: Tensor) -> bool:
    """Whether a check may read values: on the CPU, where that is free, elsewhere under HEATPOINT_CHECK=1.

    Never where there are none to read: while torch traces, compiles or exports, and inside torch.func transforms.
    """
    if (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
    ):
        return False
    return tensor.device.type == "cpu" or value_checks_enabled()


def check_tensor(function: str, argument: str, value: object) -> None:
    """Raises TypeError unless `value` is a tensor."""
    if not isinstance(value, Tensor):
        remedy = "Make it one with torch.as_tensor." if value is not None else ""
        raise TypeError(message(function, argument, "be a torch.Tensor", type(value).__name__, remedy))
