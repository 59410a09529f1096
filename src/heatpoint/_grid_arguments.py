"""What the arguments of a Grid may be: numbers of any kind, one for all axes or one for each."""

from __future__ import annotations

import math
from collections.abc import Iterable

from heatpoint._checks import check_real, check_whole, message

SHAPE_REMEDY = "Give it slowest axis first: (W,), (H, W) or (D, H, W)."
CYCLIC_REMEDY = "Axes are counted in point order: 0 is x, 1 is y, 2 is z; one axis is (0,)."


def whole_numbers(
    argument: str, values: object, rule: str, remedy: str, *, least: int, most: float = math.inf
) -> tuple[int, ...]:
    """Whole numbers in any iterable as a tuple, each within bounds."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(message("Grid", argument, rule, repr(values), remedy))
    # Python counts 4.0 as equal to 4, and computed shapes often are floats.
    numbers = [int(v) if isinstance(v, float) and v.is_integer() else v for v in values]
    try:
        return tuple(check_whole("Grid", argument, number, rule, least=least, most=most) for number in numbers)
    except (TypeError, ValueError) as error:
        raise type(error)(message("Grid", argument, rule, values, remedy)) from None


def numbers_per_axis(
    argument: str, value: object, ndim: int, rule: str, *, above: float = -math.inf
) -> float | tuple[float, ...]:
    """One finite number, or a tuple of one per axis."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return check_real("Grid", argument, value, rule, above=above)
    values = tuple(check_real("Grid", argument, v, rule, above=above) for v in value)
    if len(values) != ndim:
        raise ValueError(message("Grid", argument, f"be one number or {ndim}, in point order (x, y, z)", value))
    return values


def as_tuple(value: float | tuple[float, ...], ndim: int) -> tuple[float, ...]:
    """One number per axis, from one for all or one for each."""
    return value if isinstance(value, tuple) else (value,) * ndim


def shortest(value: float | tuple[float, ...] | None) -> str:
    """The numbers as a reader would write them in a call."""
    if isinstance(value, tuple):
        return f"({', '.join(f'{v:g}' for v in value)}{',' if len(value) == 1 else ''})"
    return f"{value:g}"
