"""Tables of what stands around the comparisons: the machine, growth, the machine's limit, the pipeline, a training step."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.markdown import middle_half, number, table
from benchmarks.measure import Spread

Record = dict[str, Any]
PARTS = ("step", "localizer", "network")
VARYING = ("commit", "command")


def machines(found: Sequence[Record]) -> str:
    """A line for each machine; what was measured there in parts, at several commits, is one line."""
    merged: dict[str, dict[str, list[str]]] = {}
    for record in found:
        values = merged.setdefault(_machine(record), {key: [] for key in VARYING})
        for key in VARYING:
            text = record[key] if key == "commit" else f"`{record[key]}`"
            values[key] += [text] if text not in values[key] else []
    return "\n\n".join(
        f"{line}; {_commits(values['commit'])}; {', '.join(values['command'])}" for line, values in merged.items()
    )


def _machine(record: Record) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in record["packages"].items())
    checkouts = ", ".join(f"{name} {commit}" for name, commit in record["checkouts"].items())
    return (
        f"{record['processor']}, {record['cores']} cores, {record['instructions']}; torch {record['torch']}, Python "
        f"{record['python']}, {packages or 'neither kornia nor dsntnn'}; {checkouts or 'no checkouts'}"
    )


def _commits(commits: Sequence[str]) -> str:
    return f"commit {commits[0]}" if len(commits) == 1 else f"commits {commits[0]} to {commits[-1]}, in parts"


def growth(records: Sequence[Record]) -> str:
    """Exponents by operation and quantity."""
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


def roofline(records: Sequence[Record]) -> str:
    """The share of the limit that our forms reach in the rounds of the tables above."""
    found = [record for record in records if record["kind"] == "times" and any(_works(record))]
    settings = {record["allocations"] for record in found}
    found = [r for r in found if r["allocations"] == ("retained" if "retained" in settings else "default")]
    if not found:
        return ""
    # A limit is the fastest that was seen: a rate that something slowed down makes floors that a kernel can fall through.
    rates = {key: max(record["rates"][key] for record in found) for key in found[0]["rates"]}
    rows = []
    for record in found:
        for name, form in _works(record):
            seconds, limit = statistics.median(form["seconds"]), floor(form["work"], rates)
            shown = record["operation"] if name == "heatpoint" else f"{record['operation']}, {name}"
            share = f"{100 * limit['seconds'] / seconds:.0f} %"
            rows.append([shown, number(1000 * seconds), number(1000 * limit["seconds"]), limit["bound"], share])
    limits = (
        f"Measured limits: {number(rates['multiplies'] / 1e9)} G multiply-adds/s, reading {number(rates['read'] / 1e9)} GB/s, "
        f"writing {number(rates['written'] / 1e9)} GB/s, {number(rates['words'] / 1e6)} M words of random bits/s."
    )
    return f"{limits}\n\n{table(['kernel', 'ms', 'floor, ms', 'most of it', 'share reached'], rows)}"


def _works(record: Record) -> list[tuple[str, Record]]:
    return [(name, form) for name, form in record["forms"].items() if form["work"]]


def floor(work: dict[str, float], rates: dict[str, float]) -> dict[str, Any]:
    """The greater of arithmetic and memory, plus the random numbers that come before: {"seconds", "bound"}."""
    arithmetic, words = work["multiplies"] / rates["multiplies"], work["words"] / rates["words"]
    memory = work["read"] / rates["read"] + work["written"] / rates["written"]
    parts = {"arithmetic": arithmetic, "memory": memory, "random numbers": words}
    return {"seconds": max(arithmetic, memory) + words, "bound": max(parts, key=lambda part: parts[part])}


def pipeline(records: Sequence[Record]) -> str:
    """Images per second, and where the time goes."""
    speeds, shares, stages = [], [], []
    for record in (record for record in records if record["kind"] == "pipeline"):
        stages = list(record["stages"])
        whole = sum(record["stages"].values())
        processor = f"{statistics.median(record['processor']):.0f}"
        clock = middle_half(Spread.of(record["clock"]), 0)
        speeds.append([record["operation"], record["pictures"], *clock, processor, str(len(record["clock"]))])
        by_stage = (f"{100 * value / whole:.0f}" for value in record["stages"].values())
        shares.append([record["operation"], f"{1000 * whole:.2f}", *by_stage])
    if not speeds:
        return ""
    first = table(["row", "pictures", "images / s, median", "middle half", "by processor time", "rounds"], speeds)
    return f"{first}\n\n" + table(["row", "ms / image", *(f"{stage} %" for stage in stages)], shares)


def step(records: Sequence[Record]) -> str:
    """The localizer's share of a training step."""
    lines = []
    for record in (record for record in records if record["kind"] == "step"):
        seconds = record["seconds"]
        medians = [f"{1000 * statistics.median(seconds[name]):.1f}" for name in PARTS]
        share = middle_half(localizer_share(record), 1)
        rest = middle_half(
            Spread.of([100 * (1 - b / a) for a, b in zip(seconds["step"], seconds["network"], strict=True)]), 1
        )
        setting = [record["recipe"], record["noise"], record["form"], f"{record['progress']:g}", record["allocations"]]
        lines.append([*setting, *medians, *share, *rest, str(len(seconds["step"]))])
    head = ["recipe", "noise", "form", "progress", "allocations", *(f"{name}, ms" for name in PARTS), "share %"]
    return table([*head, "middle half", "by difference %", "middle half", "rounds"], lines) if lines else ""


def localizer_share(record: Record) -> Spread:
    """Percent of the step that the localizer takes by itself, round by round."""
    seconds = record["seconds"]
    return Spread.of([100 * a / b for a, b in zip(seconds["localizer"], seconds["step"], strict=True)])
