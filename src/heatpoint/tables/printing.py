"""A filled table as Markdown and as JSON: measured beside published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from heatpoint.tables.filling import Filled
from heatpoint.tables.table import Table

Measured = Mapping[tuple[str, str], Filled]


def to_markdown(table: Table, filled: Measured, *, seeds: Sequence[int]) -> str:
    """The table, what lacks, and the protocol. A cell reads "measured ± spread (published)"."""
    lines = [f"## {table.name}: {table.title}", ""]
    unit = f", {table.unit}" if table.unit else ""
    lines += [
        f"Measured{unit} (mean ± standard deviation over {len(seeds)} seeds); in brackets what the paper prints.",
        "",
    ]
    lines += [f"| | {' | '.join(table.columns)} |", f"|---|{'---|' * len(table.columns)}"]
    for row in table.rows:
        shown = [_cell(table, filled, row, column) for column in table.columns]
        lines.append(f"| {row} | {' | '.join(shown)} |")
    lines.append("")
    for text, about in (("The paper's reading", table.claims), ("Differs from the paper", table.note)):
        lines += [f"{text}: {about}", ""] if about else []
    lines += [f"Missing: {text}" for text in missing(filled)]
    lines += [f"Protocol: {text}" for text in protocols(filled)]
    return "\n".join(lines).rstrip() + "\n"


def to_dict(table: Table, filled: Measured, *, seeds: Sequence[int]) -> dict[str, Any]:
    """The table as JSON values: every cell with its run, metric, values per seed and published value."""
    cells = []
    for cell in table.cells:
        found = filled[(cell.row, cell.column)]
        source = cell.source
        cells.append(
            {
                "row": cell.row,
                "column": cell.column,
                "published": cell.published,
                "values": list(found.values),
                "mean": found.mean if found.values else None,
                "spread": found.spread,
                "missing": found.missing,
                "runs": [] if source.compute else [source.run(seed) for seed in ([0] if source.weights else seeds)],
                "readout": source.readout,
                "split": source.split,
                "metric": source.metric or source.compute,
            }
        )
    return {
        "name": table.name,
        "title": table.title,
        "scale": table.scale,
        "unit": table.unit,
        "seeds": list(seeds),
        "claims": table.claims,
        "note": table.note,
        "rows": list(table.rows),
        "columns": list(table.columns),
        "cells": cells,
        "protocols": protocols(filled),
    }


def missing(filled: Measured) -> list[str]:
    """What lacks, each said once, with the number of cells that it empties."""
    counts: dict[str, int] = {}
    for found in filled.values():
        if found.missing:
            counts[found.missing] = counts.get(found.missing, 0) + 1
    return [f"{text} ({count} {'cell' if count == 1 else 'cells'})" for text, count in counts.items()]


def protocols(filled: Measured) -> list[str]:
    """The protocols of the measured cells, each once."""
    texts = []
    for found in filled.values():
        if found.protocol:
            shown = {k: v for k, v in found.protocol.items() if (k, v) != ("limit", 0)}
            texts.append(", ".join(f"{key} {'none' if value is None else value}" for key, value in shown.items()))
    return list(dict.fromkeys(texts))


def _cell(table: Table, filled: Measured, row: str, column: str) -> str:
    cell = table.cell(row, column)
    if cell is None:
        return ""
    found = filled[(row, column)]
    published = "" if cell.published is None else f" ({cell.published:g})"
    if not found.values:
        return f"–{published}"
    spread = "" if found.spread is None else f" ± {found.spread:.{table.digits}f}"
    # The heading tells the number of seeds: a cell that has fewer says so itself.
    fewer = f" [n = {len(found.values)}]" if found.missing else ""
    return f"{found.mean:.{table.digits}f}{spread}{fewer}{published}"
