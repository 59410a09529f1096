"""What runs in a fresh process: one section's measurements, as records, one JSON object a line.

``python -m benchmarks.worker '{"section": "sampling", …}'``; `benchmarks.command` starts it, with threads and allocations set by
the environment.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from benchmarks.peers import PeerError, revision

Record = dict[str, Any]
SECTIONS = ("sampling", "readouts", "losses", "memory", "growth", "pipeline", "step")
# Those that need what training needs.
TRAINING = ("pipeline", "step")
# Seconds after which no further round of an operation is begun.
PATIENCE = 15.0
# At most, where a round takes seconds: of all sizes, of many pictures, of steps.
LONG_ROUNDS = 11
# With the default allocations the slow forms take several times longer: two temperatures say enough there.
DEFAULT_TEMPERATURES = (2.0, 0.7)
PEAKS = (
    *(f"sampling {task} 2" for task in ("coco-30", "coco-300", "human36m-10", "oct-10", "points-30")),
    "readouts soft_argmax and gradient",
    "losses cross-entropy of random rounding and gradient",
    "losses DSNT's loss and gradient",
)


def names(section: str, allocations: str) -> list[str]:
    """Names of what a section can measure; none that would say the same with other allocations."""
    from benchmarks import growth, suite

    if section == "all":
        return [name for each in SECTIONS for name in names(each, allocations)]
    if section == "memory":
        return [f"memory {name}" for name in PEAKS]
    if section in TRAINING:
        return _training_names(section, allocations)
    if section == "growth":
        return growth.names() if allocations == "retained" else []
    if section == "sampling" and allocations == "default":
        return suite.sampling_names(DEFAULT_TEMPERATURES)
    return suite.names(section)


def _training_names(section: str, allocations: str) -> list[str]:
    """Names of what needs `heatpoint[train]`; none where that is not installed, which is said."""
    try:
        from benchmarks import data_pipeline, step_share
    except ModuleNotFoundError as problem:
        print(f"benchmarks: {section} is left out: {problem}", file=sys.stderr)
        return []
    if section == "step":
        return step_share.names()
    return data_pipeline.names() if allocations == "retained" else []


def records(task: Record) -> Iterator[Record]:
    """Measures what a task names: {"section", "allocations", "only", "size", "peers", "rounds"}."""
    from benchmarks import growth

    section = task["section"]
    if section == "peak":
        yield peak(task)
        return
    found = names(section, task["allocations"])
    wanted = [name for name in found if not task["only"] or any(text in name for text in task["only"])]
    if task.get("is_list"):
        yield {"kind": "names", "names": wanted}
    elif section == "memory":
        yield from peaks(wanted, task)
    elif section == "growth":
        yield from growth.fits(wanted, task["size"], _long_rounds(task))
    elif section == "pipeline" and wanted:
        from benchmarks import data_pipeline

        yield from data_pipeline.records(wanted, task["size"], _long_rounds(task))
    elif section == "step" and wanted:
        from benchmarks import step_share

        yield from step_share.records(wanted, _long_rounds(task))
    elif section not in TRAINING:
        yield from times(wanted, task)


def _long_rounds(task: Record) -> int:
    return min(task["rounds"], LONG_ROUNDS)


def times(wanted: list[str], task: Record) -> Iterator[Record]:
    """One record for each operation: seconds of every round of every form, how far results lie apart, the machine's rates."""
    from benchmarks.measure import interleaved
    from benchmarks.roofline import Rates, work_of
    from benchmarks.suite import build

    rates = Rates(task["size"])
    for operation in build(wanted, task["size"], task["peers"]):
        means: dict[str, list[float]] = {name: [] for name in operation.forms}
        keep: Callable[[str, Any], None] | None = None
        if operation.is_sampled:

            def keep(name: str, loss: Any, means: Any = means, forms: Any = operation.forms) -> None:
                means[name].append(float(forms[name].result(loss).mean()))

        apart = {} if operation.is_sampled else operation.differences()
        runs = {name: form.run for name, form in operation.forms.items()}
        first = {name: form.before for name, form in operation.forms.items() if form.before}
        around = rates.measure()
        found = interleaved(runs, rounds=task["rounds"], seconds=PATIENCE, keep=keep, before=first)
        for name, values in rates.measure().items():
            around[name] += values
        if operation.is_sampled:
            apart = {name: _mean(values) for name, values in means.items()}
        yield {
            "kind": "times",
            "section": task["section"],
            "operation": operation.name,
            "size": operation.size,
            "rates": {name: max(values) for name, values in around.items()},
            "forms": {
                name: {
                    "source": form.source,
                    "seconds": found[name],
                    "agreement": apart.get(name, ""),
                    "work": _work(work_of(operation.name, name, operation.num_bytes, task["size"])),
                }
                for name, form in operation.forms.items()
            },
        }


def _work(work: Any) -> Record | None:
    return None if work is None else asdict(work)


def _mean(values: list[float]) -> str:
    spread = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{statistics.mean(values):.5f} ± {spread:.5f}"


def peaks(wanted: list[str], task: Record) -> Iterator[Record]:
    """One record for each operation and form, each measured in a process of its own."""
    from benchmarks.suite import build

    # Quick is for seeing that it runs.
    limit = 1 if task["size"] == "quick" else None
    alone = {**task, "section": "peak", "wants_machine": False}
    for name in wanted[:limit]:
        key = name.removeprefix("memory ")
        for operation in build([key], "few", task["peers"]):
            for form in list(operation.forms)[:limit]:
                found = in_fresh_process({**alone, "operation": key, "form": form})
                yield {"kind": "memory", "operation": operation.name, "form": form, **found[0]}


def peak(task: Record) -> Record:
    """The peak of one step in this process beyond what it held before, in multiples of the maps."""
    from benchmarks.measure import peak_beyond
    from benchmarks.suite import build

    key, form = task["operation"], task["form"]
    for operation in build([key], "few", task["peers"]):
        operation.forms[form].once()  # What libraries set up once is not the step's.
    (operation,) = build([key], task["size"], task["peers"])
    before = operation.forms[form].before
    if before is not None:
        before()
    beyond = peak_beyond(operation.forms[form].run)
    return {"size": operation.size, "multiple": beyond / operation.num_bytes}


def in_fresh_process(task: Record) -> list[Record]:
    """The records of a task, measured in a fresh process with this one's environment."""
    command = [sys.executable, "-m", "benchmarks.worker", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main(given: str) -> int:
    """Runs one task and prints its records."""
    import torch

    from benchmarks.machine import machine
    from benchmarks.packages import installed

    task: Record = json.loads(given)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(0)
    if task.get("wants_machine"):
        checkouts = {peer: revision(path) for peer, path in task["peers"].items()}
        print(json.dumps({"kind": "machine", **machine(), "packages": installed(), "checkouts": checkouts}), flush=True)
    try:
        for record in records(task):
            print(json.dumps(record), flush=True)
    except PeerError as problem:
        print(json.dumps({"kind": "problem", "message": str(problem)}), flush=True)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
