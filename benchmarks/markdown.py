"""Numbers and rows as Markdown, and the page that holds tables between markers."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence

from benchmarks.measure import Spread

SLOWER = "**slower**"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float) -> str:
    """Three digits, more only before the point.

    >>> [number(value) for value in (0.01234, 1.234, 12.34, 1234.5)]
    ['0.0123', '1.23', '12.3', '1234']
    """
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def factor(value: float) -> str:
    """Two digits after the point, one from 10 on.

    >>> [factor(value) for value in (0.996, 12.34)]
    ['1.00', '12.3']
    """
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}"


def middle_half(spread: Spread, digits: int) -> list[str]:
    """A median, and the middle half around it."""
    return [f"{spread.middle:.{digits}f}", f"{spread.low:.{digits}f} to {spread.high:.{digits}f}"]


def times(spread: Spread, *, is_ours: bool = True) -> str:
    """A ratio with its middle half, marked where we are compared and even the upper quartile is below 1."""
    text = f"{factor(spread.middle)} ({factor(spread.low)} to {factor(spread.high)})"
    return f"{text} {SLOWER}" if is_ours and spread.high < 1 else text


def milliseconds(seconds: Sequence[float]) -> str:
    """The median."""
    return number(1000 * statistics.median(seconds))


def written(page: str, found: dict[str, str]) -> str:
    """A page with each section's text between its markers, `<!-- NAME -->` and `<!-- end of NAME -->`; others stay.

    Raises:
        ValueError: If the page lacks a section's markers.
    """
    for name, text in found.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", flags=re.DOTALL)
        # As parts, so that no character of the text means anything.
        parts = pattern.split(page)
        count = len(parts) // 3
        page = "".join([*parts[:2], f"{text}\n", *parts[2:]])
        if count != 1:
            raise ValueError(f"the page must hold <!-- {name} --> and <!-- end of {name} --> once, found {count}")
    return page
