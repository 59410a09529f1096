"""Options as text: KEY=VALUE on a command line, name:key=value for a readout."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from heatpoint._checks import message

NAMED = re.compile(r"\w+:\w+=.*")
WORDS = {"true": True, "false": False, "none": None}


def parse_options(items: Iterable[str], *, function: str = "train", argument: str = "--option") -> dict[str, Any]:
    """Reads KEY=VALUE texts; a value is a number, true, false, none, JSON, a name with options, or else a text.

    Raises:
        ValueError: If an item has no key or no equals sign.

    >>> parse_options(["formula=released", "num_samples=30", "sign_gradient=true"])
    {'formula': 'released', 'num_samples': 30, 'sign_gradient': True}
    >>> parse_options(["temperature=linear:start=2,end=0.5"])
    {'temperature': {'name': 'linear', 'start': 2, 'end': 0.5}}
    """
    found = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise ValueError(message(function, argument, "be KEY=VALUE", repr(item), "For example num_samples=30."))
        value = value.strip()
        named = NAMED.fullmatch(value)
        found[key.strip()] = parse_named(value, function=function, argument=argument) if named else _value(value)
    return found


def parse_named(text: str, *, function: str, argument: str) -> dict[str, Any]:
    """Reads "name" or "name:key=value,key=value" to {"name": name, key: value}.

    >>> parse_named("top_k:k=9,weighting=logits", function="evaluate", argument="--readout")
    {'name': 'top_k', 'k': 9, 'weighting': 'logits'}
    """
    name, _, given = text.partition(":")
    return {"name": name, **parse_options(given.split(",") if given else [], function=function, argument=argument)}


def _value(text: str) -> Any:
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
