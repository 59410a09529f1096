"""Records as Markdown tables, and the page that holds them between markers."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.measure import Spread, ratio

Record = dict[str, Any]
REFERENCES = ("published", "plain")
SLOWER = "**slower**"
TITLES = {
    "machine": "Machine",
    "sampling": "Sampling-argmax, loss and gradient",
    "readouts": "Readouts",
    "losses": "Targets and losses",
    "slower": "Where another form is faster",
    "memory": "Peak memory beyond the maps, in multiples of them",
    "growth": "Exponents of our time",
    "roofline": "Share of the machine's limit",
}
STAND_IN = "The published code was not given (`--sampling-argmax PATH`): the plain form stands in for it."


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


def times(spread: Spread, *, is_ours: bool = True) -> str:
    """A ratio with its middle half, marked where we are compared and even the upper quartile is below 1."""
    text = f"{factor(spread.middle)} ({factor(spread.low)} to {factor(spread.high)})"
    return f"{text} {SLOWER}" if is_ours and spread.high < 1 else text


def milliseconds(seconds: Sequence[float]) -> str:
    """The median."""
    return number(1000 * statistics.median(seconds))


def sections(records: Sequence[Record]) -> dict[str, str]:
    """Name -> Markdown, of every section that has records."""
    found = {"machine": _machines([record for record in records if record["kind"] == "machine"])}
    parts = {
        "sampling": _sampling,
        "readouts": lambda given: _compared(given, "readouts"),
        "losses": lambda given: _compared(given, "losses"),
        "slower": _slower,
        "memory": _memory,
        "growth": _growth,
        "roofline": _roofline,
    }
    threads = sorted({record["threads"] for record in records if "threads" in record and record["kind"] != "machine"})
    for name, make in parts.items():
        made = {t: make([r for r in records if r.get("threads") == t and r["kind"] != "machine"]) for t in threads}
        texts = [
            f"{t} thread{'s' * (t != 1)}:\n\n{text}" if len(threads) > 1 else text for t, text in made.items() if text
        ]
        if texts:
            found[name] = "\n\n".join(texts)
    return {name: text for name, text in found.items() if text}


def _machines(machines: Sequence[Record]) -> str:
    lines = []
    for found in machines:
        packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
        line = (
            f"{found['processor']}, {found['cores']} cores, {found['instructions']}; torch {found['torch']}, Python "
            f"{found['python']}, {packages or 'neither kornia nor dsntnn'}; commit {found['commit']}; `{found['command']}`"
        )
        if line not in lines:
            lines.append(line)
    return "\n\n".join(lines)


def _timed(records: Sequence[Record], section: str, allocations: str) -> dict[str, Record]:
    return {
        record["operation"]: record
        for record in records
        if record["kind"] == "times" and record["section"] == section and record["allocations"] == allocations
    }


def _sampling(records: Sequence[Record]) -> str:
    texts = []
    for allocations in ("retained", "default"):
        found = _timed(records, "sampling", allocations)
        if not found:
            continue
        split = {tuple(name.split(" ")[1:]): record for name, record in found.items()}
        tasks = list(dict.fromkeys(task for task, _ in split))
        temperatures = list(dict.fromkeys(tau for _, tau in split))
        has_peer = any("published" in record["forms"] for record in found.values())
        rows = []
        for task in tasks:
            given = [split.get((task, tau)) for tau in temperatures]
            for form in next(record["forms"] for record in given if record):
                loss = next(record["forms"][form]["agreement"] for record in given if record)
                rows.append([task, form, *(_sampled_cell(record, form) for record in given), loss])
        heads = [f"τ = {tau}" for tau in temperatures]
        intro = "" if has_peer else f" {STAND_IN}"
        base = "published code's" if has_peer else "plain form's"
        texts.append(
            f"Allocations {allocations}: milliseconds, and the {base} time over it.{intro}\n\n"
            + table(["maps", "form", *heads, f"mean loss at τ = {temperatures[0]}"], rows)
        )
    return "\n\n".join(texts)


def _sampled_cell(record: Record | None, form: str) -> str:
    if record is None:
        return ""
    forms = record["forms"]
    base = next((name for name in REFERENCES if name in forms), None)
    text = f"{milliseconds(forms[form]['seconds'])} ms"
    if base is None or form == base:
        return text
    spread = ratio(forms[base]["seconds"], forms[form]["seconds"])
    return f"{text}, {times(spread, is_ours=forms[form]['source'] == 'ours')}"


def _compared(records: Sequence[Record], section: str) -> str:
    retained, default = (_timed(records, section, allocations) for allocations in ("retained", "default"))
    rows = []
    for operation, record in (retained or default).items():
        ours, *others = record["forms"]
        for place, other in enumerate(others):
            mine, theirs = record["forms"][ours], record["forms"][other]
            again = default.get(operation) if retained else None
            rows.append(
                [
                    "" if place else f"{operation}: {record['size']}",
                    other,
                    milliseconds(theirs["seconds"]),
                    milliseconds(mine["seconds"]),
                    times(ratio(theirs["seconds"], mine["seconds"])),
                    _ratio_in(again, ours, other),
                    theirs["agreement"],
                ]
            )
    allocations = "retained" if retained else "default"
    heads = ["operation", "against", "theirs, ms", "ours, ms", f"ratio, {allocations} allocations"]
    return table([*heads, "ratio, default allocations", "largest difference"], rows) if rows else ""


def _ratio_in(record: Record | None, ours: str, other: str) -> str:
    if record is None:
        return ""
    return times(ratio(record["forms"][other]["seconds"], record["forms"][ours]["seconds"]))


def _slower(records: Sequence[Record]) -> str:
    """Where somebody else's form is faster than ours, worst first."""
    found = []
    measured = [record for record in records if record["kind"] == "times"]
    for record in measured:
        forms = record["forms"]
        mine = [name for name, form in forms.items() if form["source"] == "ours" and name != "torch form"]
        for other in (name for name, form in forms.items() if form["source"] != "ours"):
            for ours in mine:
                spread = ratio(forms[other]["seconds"], forms[ours]["seconds"])
                if spread.high < 1:
                    found.append(
                        (spread.middle, [record["operation"], ours, other, record["allocations"], times(spread)])
                    )
    if not measured:
        return ""
    rows = [row for _, row in sorted(found, key=lambda pair: pair[0])]
    return (
        table(["operation", "ours", "faster", "allocations", "ratio"], rows) if rows else "Nothing that was measured."
    )


def _memory(records: Sequence[Record]) -> str:
    found: dict[tuple[str, str], dict[str, float]] = {}
    for record in records:
        if record["kind"] == "memory":
            found.setdefault((record["operation"], record["form"]), {})[record["allocations"]] = record["multiple"]
    kinds = [kind for kind in ("retained", "default") if any(kind in values for values in found.values())]
    rows = [
        [*key, *(factor(values[kind]) if kind in values else "" for kind in kinds)] for key, values in found.items()
    ]
    return table(["operation", "form", *(f"{kind} allocations" for kind in kinds)], rows) if rows else ""


def _growth(records: Sequence[Record]) -> str:
    found: dict[str, dict[str, Record]] = {}
    for record in records:
        if record["kind"] == "growth":
            found.setdefault(record["operation"], {})[record["quantity"]] = record
    quantities = [q for q in ("samples", "cells", "maps", "dimensions") if any(q in row for row in found.values())]
    rows = [[name, *(_exponent(row.get(quantity)) for quantity in quantities)] for name, row in found.items()]
    return table(["operation", *quantities], rows) if rows else ""


def _exponent(record: Record | None) -> str:
    if record is None:
        return ""
    return f"{record['exponent']:.2f} ({len(record['sizes'])} sizes, {record['sizes'][0]} to {record['sizes'][-1]})"


def _roofline(records: Sequence[Record]) -> str:
    found = [record for record in records if record["kind"] == "roofline"]
    if not found:
        return ""
    rates = {key: statistics.median(record["rates"][key] for record in found) for key in found[0]["rates"]}
    rows = [
        [
            record["operation"],
            number(1000 * record["seconds"]),
            number(1000 * record["floor"]),
            record["bound"],
            f"{100 * record['share']:.0f} %",
        ]
        for record in found
    ]
    limits = (
        f"Measured limits: {number(rates['multiplies'] / 1e9)} G multiply-adds/s, reading {number(rates['read'] / 1e9)} GB/s, "
        f"writing {number(rates['written'] / 1e9)} GB/s, {number(rates['uniforms'] / 1e6)} M uniform numbers/s."
    )
    return f"{limits}\n\n{table(['kernel', 'ms', 'floor, ms', 'most of it', 'share reached'], rows)}"


def document(found: dict[str, str]) -> str:
    """All sections under their titles."""
    return "\n\n".join(f"## {TITLES[name]}\n\n{text}" for name, text in found.items()) + "\n"


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
