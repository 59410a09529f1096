"""What was asked of this library's speed and memory before it was measured, and what it reached, misses among it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.markdown import factor, table
from benchmarks.measure import Spread, ratio
from benchmarks.surroundings import localizer_share

Record = dict[str, Any]
MISSED, UNKNOWN = "**missed**", "not measured"
CHEAP, WARM, ANY = (2.0, 1.0, 0.5), (2.0, 1.0, 0.5, 0.7), (2.0, 1.0, 0.5, 0.7, 0.2)
IN_WORDS = {CHEAP: "τ = 2, 1, 0.5", WARM: "τ = 2, 1, 0.5, 0.7", ANY: "any τ"}
PUBLISHED = ("published", "published functions, put together by us", "plain")
TASKS = {"coco-30": "COCO", "human36m-10": "Human3.6M", "oct-10": "OCT", "points-30": "points"}
IMAGE, RELEASED = "noise per image", "native, released formula"


@dataclass(frozen=True)
class Ratio:
    """Least ratio of another form's time to ours, with retained allocations.

    Args:
        operations: As the records name them; the least ratio of all counts.
        form: Ours.
        others: Names of the other form in the order of preference, the last ones stand in.
        least: The ratio.
        said: The operations in words, if not by their names.
    """

    operations: tuple[str, ...]
    form: str
    others: tuple[str, ...]
    least: float
    said: str = ""


def _sampled(
    task: str, form: str, temperatures: tuple[float, ...], least: float, others: tuple[str, ...] = PUBLISHED
) -> Ratio:
    said = f"{TASKS[task]}, {IN_WORDS[temperatures]}"
    return Ratio(tuple(f"sampling {task} {tau:g}" for tau in temperatures), form, others, least, said)


def _of_grid(task: str, cheap: float, any_temperature: float) -> tuple[Ratio, ...]:
    """Of the formula that the published code computes, and of the paper's, which draws an offset for every cell."""
    forms = (RELEASED, "native")
    return tuple(
        _sampled(task, form, taus, least) for form in forms for taus, least in ((CHEAP, cheap), (ANY, any_temperature))
    )


# The published code has no offsets on points, where ours without them is its equal; the plain form has them.
RATIOS = (
    *_of_grid("coco-30", 18, 12),
    _sampled("coco-30", f"native, {IMAGE}", ANY, 9),
    _sampled("coco-30", f"gemm, {IMAGE}", WARM, 9),
    *_of_grid("human36m-10", 16, 10),
    _sampled("human36m-10", f"native, {IMAGE}", ANY, 6),
    _sampled("human36m-10", f"gemm, {IMAGE}", WARM, 6),
    *_of_grid("oct-10", 22, 18),
    _sampled("points-30", "native, no offsets", CHEAP, 14),
    _sampled("points-30", "native, no offsets", ANY, 11),
    _sampled("points-30", f"native, {IMAGE}, no offsets", ANY, 8),
    _sampled("points-30", f"gemm, {IMAGE}, no offsets", WARM, 8),
    _sampled("points-30", "native", CHEAP, 14, ("plain",)),
    _sampled("points-30", "native", ANY, 11, ("plain",)),
    _sampled("points-30", f"native, {IMAGE}", ANY, 8, ("plain",)),
    _sampled("points-30", f"gemm, {IMAGE}", WARM, 8, ("plain",)),
    Ratio(("top_k 9", "top_k 11"), "heatpoint", ("H3R", "plain, torch.topk (stands in for H3R)"), 6),
    Ratio(("soft_argmax and gradient",), "heatpoint", ("MMPose, integral head", "plain"), 2),
    Ratio(("gaussian_map",), "heatpoint", ("MMPose, msra", "plain, every cell (stands in for MMPose)"), 7),
    Ratio(("dark",), "heatpoint", ("MMPose, unbiased", "plain, whole maps (stands in for MMPose)"), 8),
    Ratio(("simcc and dark",), "heatpoint", ("MMPose", "plain (stands in for MMPose)"), 15),
)
MEMORY_TASKS = ("coco-30", "coco-300", "human36m-10", "oct-10", "points-30")
# Form -> most memory of a process beyond the maps, in multiples of them, the same for 300 samples as for 30; and where.
MEMORY = {
    "native": (2.2, MEMORY_TASKS),
    f"native, {IMAGE}": (5.0, MEMORY_TASKS),
    f"gemm, {IMAGE}": (5.0, MEMORY_TASKS),
    f"gemm, {IMAGE}, no offsets": (5.0, MEMORY_TASKS[-1:]),
}
IMAGES_PER_SECOND, PIPELINE = 250.0, "faces 256x256"
SHARE_OF_STEP, STEP = 5.0, ("synthetic-sampling_argmax", "independent", "auto", 0.5)


def required(records: Sequence[Record]) -> str:
    """The table of all that was asked for; empty if nothing of it was measured."""
    rows = [*_ratio_rows(records), *_memory_rows(records), *_pipeline_rows(records), *_step_rows(records)]
    is_measured = any(row[-1] != UNKNOWN for row in rows)
    return table(["what", "against", "required", "reached", ""], rows) if is_measured else ""


def _row(what: str, against: str, required: str, reached: str, *, is_reached: bool) -> list[str]:
    return [what, against, required, reached, "reached" if is_reached else MISSED]


def _unknown(what: str, required: str) -> list[str]:
    return [what, "", required, "", UNKNOWN]


def _ratio_rows(records: Sequence[Record]) -> list[list[str]]:
    found = {r["operation"]: r for r in records if r["kind"] == "times" and r["allocations"] == "retained"}
    rows = []
    for asked in RATIOS:
        measured = []
        for operation in asked.operations:
            forms = found[operation]["forms"] if operation in found else {}
            other = next((name for name in asked.others if name in forms), None)
            if other and asked.form in forms:
                measured.append((ratio(forms[other]["seconds"], forms[asked.form]["seconds"]), operation, other))
        what = f"{asked.said}: {asked.form}" if asked.said else " and ".join(asked.operations)
        if len(measured) < len(asked.operations):
            rows.append(_unknown(what, f"≥ {asked.least:g}x"))
            continue
        spread, operation, other = min(measured, key=lambda each: each[0].middle)
        where = f", at {operation}" if len(asked.operations) > 1 else ""
        reached = f"{factor(spread.middle)} ({factor(spread.low)} to {factor(spread.high)}){where}"
        rows.append(_row(what, other, f"≥ {asked.least:g}x", reached, is_reached=spread.middle >= asked.least))
    return rows


def _memory_rows(records: Sequence[Record]) -> list[list[str]]:
    found: dict[tuple[str, str], float] = {}
    for r in records:
        if r["kind"] == "memory":
            key = (r["operation"], r["form"])
            found[key] = max(r["multiple"], found.get(key, 0.0))
    rows = []
    for form, (most, tasks) in MEMORY.items():
        for task in tasks:
            value = found.get((f"sampling {task} 2", form))
            what, asked = f"memory, {task}: {form}", f"≤ {most:g}x the maps"
            if value is None:
                rows.append(_unknown(what, asked))
            else:
                rows.append(_row(what, "", asked, factor(value), is_reached=value <= most))
    return rows


def _pipeline_rows(records: Sequence[Record]) -> list[list[str]]:
    what, asked = f"data pipeline, one process: {PIPELINE}", f"≥ {IMAGES_PER_SECOND:g} images / s"
    rows = []
    for record in (r for r in records if r["kind"] == "pipeline" and r["operation"] == PIPELINE):
        spread = Spread.of(record["clock"])
        reached = f"{spread.middle:.0f} ({spread.low:.0f} to {spread.high:.0f})"
        rows.append(_row(what, "", asked, reached, is_reached=spread.middle >= IMAGES_PER_SECOND))
    return rows or [_unknown(what, asked)]


def _step_rows(records: Sequence[Record]) -> list[list[str]]:
    what, asked = f"localizer in a training step, {STEP[0]}, 30 samples", f"≤ {SHARE_OF_STEP:g} %"
    keys = ("recipe", "noise", "form", "progress")
    rows = []
    for record in (r for r in records if r["kind"] == "step" and tuple(r[key] for key in keys) == STEP):
        spread = localizer_share(record)
        reached = f"{spread.middle:.1f} ({spread.low:.1f} to {spread.high:.1f})"
        where = f"{what}, {record['allocations']} allocations"
        rows.append(_row(where, "", asked, reached, is_reached=spread.middle <= SHARE_OF_STEP))
    return rows or [_unknown(what, asked)]
