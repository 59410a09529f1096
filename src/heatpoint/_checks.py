"""Messages and checks shared by every room: one form of error text, one switch for checks of values."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
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
    return message(function, argument, f"be one of {', '.join(names)}", repr(name), did_you_mean(name, names))


def did_you_mean(name: object, valid: Iterable[str], *, at_most: int = 3) -> str:
    """The question that offers the names nearest to a wrong one; empty where none is near.

    >>> did_you_mean("soft_argmx", ["log_score", "soft_argmax"])
    'Did you mean soft_argmax?'
    """
    near = difflib.get_close_matches(str(name), list(valid), n=at_most, cutoff=0.5)
    return f"Did you mean {' or '.join(near)}?" if near else ""


def one_of(function: str, argument: str, value: Any, valid: Iterable[str]) -> None:
    """Raises ValueError, with the valid names, unless `value` is one of them."""
    names = list(valid)
    if value not in names:
        raise ValueError(unknown_name(function, argument, value, names))


def missing_package(room: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The error for a room whose package is not installed, as the mathematics alone does not need it: how to get it.

    >>> str(missing_package("heatpoint.datasets", ModuleNotFoundError(name="cv2")))[:68]
    "heatpoint.datasets needs the package 'cv2', which is not installed. "
    """
    text = f"{room} needs the package {error.name!r}, which is not installed."
    remedy = "Run: pip install 'heatpoint[train]', or in a checkout: pip install -e '.[all]'"
    return ModuleNotFoundError(f"{text} {remedy}", name=error.name)


def value_checks_enabled() -> bool:
    """Whether HEATPOINT_CHECK asks for checks of tensor values, which synchronise an accelerator."""
    return os.environ.get("HEATPOINT_CHECK", "0") not in ("", "0")


def is_traced() -> bool:
    """Whether torch traces, compiles or exports, or transforms by torch.func: tensors then hold no numbers to be read."""
    return (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
    )


def looks_at(tensor: Tensor) -> bool:
    """Whether a check may read values: on the CPU, where that is free, elsewhere under HEATPOINT_CHECK=1.

    Never where there are none to read, see `is_traced`.
    """
    return not is_traced() and (tensor.device.type == "cpu" or value_checks_enabled())


def broadcasts_to(shape: Sequence[int], full: Sequence[int]) -> bool:
    """Whether `shape` broadcasts with `full`, and leaves it as it is.

    >>> broadcasts_to((3, 1), (2, 3, 4)), broadcasts_to((2, 3, 4), (3, 1))
    (True, False)
    """
    # torch.broadcast_shapes takes longer than all other checks of a call together.
    return len(shape) <= len(full) and all(n in (m, 1) for n, m in zip(reversed(shape), reversed(full), strict=False))


def check_tensor(function: str, argument: str, value: object) -> None:
    """Raises TypeError unless `value` is a tensor."""
    if not isinstance(value, Tensor):
        remedy = "Make it one with torch.as_tensor." if value is not None else ""
        raise TypeError(message(function, argument, "be a torch.Tensor", type(value).__name__, remedy))


def check_real(
    function: str,
    argument: str,
    value: object,
    rule: str,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    most: float = math.inf,
    remedy: str = "",
) -> float:
    """Returns a number of any kind (Python's, numpy's) as a float, after checking that it is finite and within bounds.

    Raises:
        TypeError: If it is no number; a bool is none.
        ValueError: If it breaks the rule.

    >>> check_real("f", "sigma", 2, "be greater than 0", above=0)
    2.0
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(message(function, argument, rule, repr(value), remedy))
    number = float(value)
    if not (math.isfinite(number) and above < number and least <= number <= most):
        raise ValueError(message(function, argument, rule, value, remedy))
    return number


def check_whole(
    function: str,
    argument: str,
    value: object,
    rule: str,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    remedy: str = "",
) -> int:
    """Returns a whole number of any kind (Python's, numpy's) as an int, after checking that it lies within bounds.

    Raises:
        TypeError: If it is no number; a bool is none.
        ValueError: If it is not whole, or breaks the rule.

    >>> check_whole("f", "k", 3, "be at least 1", least=1)
    3
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(message(function, argument, rule, repr(value), remedy))
    number = int(value) if isinstance(value, Integral) else None
    if number is None or not least <= number <= most:
        raise ValueError(message(function, argument, rule, value, remedy))
    return number
