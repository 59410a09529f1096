"""Options of localizers in plain form: numbers, names, and dicts of a name and options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field
from numbers import Integral, Real
from typing import Any

import torch

from heatpoint._checks import message, unknown_name
from heatpoint.basis import Gaussian, make_basis
from heatpoint.support import Grid, Points, Support

# A name, or a dict of a name and options.
Named = str | dict[str, Any]


def check_numbers(
    function: str, argument: str, value: Any, *, minimum: float, exclusive: bool = False, whole: bool = False
) -> None:
    """Raises TypeError or ValueError unless `value`, or each of a tuple, is a number from `minimum` on."""
    numbers = value if isinstance(value, tuple) else (value,)
    kind = Integral if whole else Real
    if any(isinstance(n, bool) or not isinstance(n, kind) for n in numbers):
        raise TypeError(message(function, argument, f"be a {'whole ' if whole else ''}number", repr(value)))
    if not all(minimum < n < float("inf") or (n == minimum and not exclusive) for n in numbers):
        rule = f"be {'greater than' if exclusive else 'at least'} {minimum}"
        raise ValueError(message(function, argument, rule, value))


def named(
    function: str, option: str, value: Any, table: Mapping[str, Callable[..., Any]], fallback: dict[str, Any]
) -> Named:
    """A name, or a dict of a name and options, as itself if complete; needed options that lack take the fallback's."""
    if not isinstance(value, str | Mapping) or (isinstance(value, Mapping) and "name" not in value):
        raise TypeError(message(function, option, "be a name, or a dict with a name", repr(value)))
    name, options = split(value)
    if name not in table:
        raise ValueError(unknown_name(function, option, name, table))
    keywords = {
        key: parameter
        for key, parameter in inspect.signature(table[name]).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    for key in options:
        if key not in keywords:
            raise ValueError(unknown_name(function, f"an option of {option} {name}", key, keywords))
    for key, parameter in keywords.items():
        if key in fallback and (parameter.default is inspect.Parameter.empty or key == "basis"):
            options.setdefault(key, fallback[key])
        if parameter.default is inspect.Parameter.empty and key not in options:
            raise ValueError(message(function, option, f"give the option {key} of {name}", repr(value)))
    if options.get("basis") is not None:
        options["basis"] = plain_basis(options["basis"])
    return (
        {"name": name, **{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}} if options else name
    )


def plain_number(value: Any) -> Any:
    """A number of any library, or a tuple of them, as Python's own; anything else as it is."""
    if isinstance(value, tuple):
        return tuple(plain_number(item) for item in value)
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def split(value: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if isinstance(value, str):
        return value, {}
    return value["name"], {key: item for key, item in value.items() if key != "name"}


def plain_basis(basis: Any) -> Any:
    if basis is None:
        return None
    made = make_basis(basis)
    return made.to_dict() if isinstance(made, Gaussian) and made.sigma is not None else made.name


def default_of(item: Field[Any]) -> Any:
    return item.default_factory() if item.default_factory is not MISSING else item.default


def json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: json(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def grid_to_dict(grid: Support) -> dict[str, Any]:
    if isinstance(grid, Points):
        return {"xyz": grid.xyz.detach().tolist(), "dtype": str(grid.xyz.dtype).removeprefix("torch.")}
    return {
        "shape": list(grid.shape),
        "stride": json(grid.stride),
        "offset": json(grid.offset),
        "cyclic": list(grid.cyclic),
    }


def grid_from_dict(values: Mapping[str, Any]) -> Support:
    """The inverse of the "grid" entry of `Localizer.to_dict`."""
    if "xyz" in values:
        return Points(torch.tensor(values["xyz"], dtype=getattr(torch, values.get("dtype", "float32"))))
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Grid(plain.pop("shape"), **plain)
