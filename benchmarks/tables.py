"""Records as Markdown tables, by section."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import surroundings
from benchmarks.markdown import factor, milliseconds, table, times
from benchmarks.measure import ratio
from benchmarks.required import required

Record = dict[str, Any]
REFERENCES = ("published", "published functions, put together by us", "plain")
NOISE = "within noise"
TITLES = {
    "machine": "Machine",
    "required": "Required and reached",
    "sampling": "Sampling-argmax, loss and gradient",
    "readouts": "Readouts",
    "losses": "Targets and losses",
    "slower": "Where another form is faster",
    "memory": "Peak memory beyond the maps, in multiples of them",
    "growth": "Exponents of our time",
    "roofline": "Share of the machine's limit",
    "pipeline": "The data pipeline",
    "step": "The localizer in a training step",
}
STAND_IN = "The published code was not given (`--sampling-argmax PATH`): the plain form stands in for it."


def sections(records: Sequence[Record]) -> dict[str, str]:
    """Name -> Markdown, of every section that has records."""
    found = {"machine": surroundings.machines([record for record in records if record["kind"] == "machine"])}
    parts: dict[str, Callable[[Sequence[Record]], str]] = {
        "required": required,
        "sampling": _sampling,
        "readouts": lambda given: _compared(given, "readouts"),
        "losses": lambda given: _compared(given, "losses"),
        "slower": _slower,
        "memory": _memory,
        "growth": surroundings.growth,
        "roofline": surroundings.roofline,
        "pipeline": surroundings.pipeline,
        "step": surroundings.step,
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
        has_peer = any(form["source"] == "peer" for record in found.values() for form in record["forms"].values())
        rows = []
        for task in tasks:
            given = [split.get((task, tau)) for tau in temperatures]
            # Not every form can take every temperature.
            for form in dict.fromkeys(name for record in given if record for name in record["forms"]):
                first = given[0]["forms"].get(form) if given[0] else None
                cells = [_sampled_cell(record, form) for record in given]
                rows.append([task, form, *cells, _rounds(*given), first["agreement"] if first else ""])
        heads = [f"τ = {tau}" for tau in temperatures]
        intro = "" if has_peer else f" {STAND_IN}"
        base = "published code's" if has_peer else "plain form's"
        texts.append(
            f"Allocations {allocations}: milliseconds, and the {base} time over it.{intro}\n\n"
            + table(["maps", "form", *heads, "rounds", f"mean loss at τ = {temperatures[0]}"], rows)
        )
    return "\n\n".join(texts)


def _sampled_cell(record: Record | None, form: str) -> str:
    if record is None or form not in record["forms"]:
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
                    _rounds(record, again),
                    theirs["agreement"],
                ]
            )
    allocations = "retained" if retained else "default"
    heads = ["operation", "against", "theirs, ms", "ours, ms", f"ratio, {allocations} allocations"]
    return table([*heads, "ratio, default allocations", "rounds", "largest difference"], rows) if rows else ""


def _rounds(*records: Record | None) -> str:
    """How many rounds each of the records has."""
    return ", ".join(str(len(next(iter(r["forms"].values()))["seconds"])) for r in records if r is not None)


def _ratio_in(record: Record | None, ours: str, other: str) -> str:
    if record is None:
        return ""
    return times(ratio(record["forms"][other]["seconds"], record["forms"][ours]["seconds"]))


def _slower(records: Sequence[Record]) -> str:
    """Every pair in which a form beat one of ours, the worst first: somebody else's, or our torch form the one that is chosen."""
    measured = [record for record in records if record["kind"] == "times"]
    found = []
    for record in measured:
        for ours, other in _rivals(record["forms"]):
            spread = ratio(record["forms"][other]["seconds"], record["forms"][ours]["seconds"])
            if spread.middle < 1:
                text = times(spread) if spread.high < 1 else f"{times(spread)} {NOISE}"
                found.append((spread.middle, [record["operation"], ours, other, record["allocations"], text]))
    rows = [row for _, row in sorted(found, key=lambda pair: pair[0])]
    if rows:
        return table(["operation", "ours", "faster", "allocations", "ratio"], rows)
    return "Nothing that was measured." if measured else ""


def _rivals(forms: Record) -> list[tuple[str, str]]:
    """Pairs (ours, another form)."""
    mine = [name for name, form in forms.items() if form["source"] == "ours"]
    others = [name for name in forms if name not in mine]
    by_torch = [(mine[0], name) for name in mine[1:] if name.endswith("torch form")]
    return by_torch + [(ours, other) for ours in mine for other in others]


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


def document(found: dict[str, str]) -> str:
    """All sections under their titles."""
    return "\n\n".join(f"## {TITLES[name]}\n\n{text}" for name, text in found.items()) + "\n"
