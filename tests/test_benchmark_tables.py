"""What `python -m benchmarks` makes of its records: rounds, ratios, what was required, floors, exponents, the page."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from measured import part, timed
from pages import code_blocks, page, run_sessions

SECTIONS = (
    *("machine", "required", "sampling", "readouts", "losses", "slower", "memory", "growth", "roofline"),
    *("pipeline", "step"),
)


def test_slow_forms_have_five_rounds_and_the_table_says_how_many() -> None:
    measure, tables = part("measure"), part("tables")
    found = measure.interleaved({"slow": lambda: None}, rounds=11, seconds=0.0)
    assert len(found["slow"]) == measure.LEAST_ROUNDS == 5
    assert len(measure.interleaved({"fast": lambda: None}, rounds=11)["fast"]) == 11
    compared = tables.sections([timed("some", 2.0, rounds=5), timed("some", 2.0, rounds=7, allocations="default")])
    assert compared["readouts"].splitlines()[2].split(" | ")[6] == "5, 7"


@pytest.mark.parametrize(
    ("options", "rounds", "long"), [((), 31, 11), (("--quick",), 3, 3), (("--rounds", "40"), 40, 11)]
)
def test_forms_of_milliseconds_have_rounds_enough(
    options: tuple[str, ...], rounds: int, long: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, worker, tasks = part("command"), part("worker"), []

    def run(task: Any, threads: int) -> Any:
        tasks.append(task)
        yield from [{"names": ["sampling points-30 2"]}] if task.get("is_list") else [timed("points-30", 2.0)]

    monkeypatch.setattr(command, "_run", run)
    assert command.main([*options, "--allocations", "retained", "--only", "points-30"]) == 0
    assert [task["rounds"] for task in tasks if "rounds" in task] == [rounds]
    given: list[int] = []
    monkeypatch.setattr(part("step_share"), "records", lambda wanted, rounds: given.append(rounds) or [])
    assert not list(worker.records({**tasks[-1], "section": "step", "only": []}))
    assert given == [long]


def test_ratios_are_of_the_same_round_and_losses_are_marked() -> None:
    measure, tables = part("measure"), part("tables")
    spread = measure.ratio([2.0, 6.0, 40.0], [1.0, 2.0, 10.0])
    assert (spread.low, spread.middle, spread.high) == (2.5, 3.0, 3.5)
    assert tables.times(spread) == "3.00 (2.50 to 3.50)"
    assert tables.times(measure.ratio([1.0, 0.9], [2.0, 1.0])) == "0.70 (0.60 to 0.80) **slower**"

    noisy = timed("noisy", 2.0, rounds=3)
    noisy["forms"]["theirs"]["seconds"] = [1.0, 1.9, 3.0]
    by_torch = timed("ours", 1.0, name="heatpoint's torch form")
    by_torch["forms"]["heatpoint's torch form"]["source"] = "ours"
    given = [timed("at 1.5", 1.5), timed("at 1.0", 1.0), timed("at 3.0", 3.0), noisy, by_torch]
    lines = tables.sections(given)["slower"].splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == ["| at 1.0", "| ours", "| at 1.5", "| noisy"]
    assert lines[1].startswith("| ours | heatpoint | heatpoint's torch form | retained | 0.50")
    assert [line.endswith("within noise |") for line in lines] == [False, False, False, True]


def test_a_form_is_shown_at_the_temperatures_it_can_take() -> None:
    warm, cold = (timed(f"sampling task {tau}", 6.0, name="plain") | {"section": "sampling"} for tau in (2, 0.2))
    cold["forms"]["cold only"] = cold["forms"].pop("heatpoint")
    text = part("tables").sections([warm, cold])["sampling"]
    assert text.splitlines()[-3:] == [
        "| task | heatpoint | 2000 ms, 3.00 (3.00 to 3.00) |  | 1, 1 | 0 |",
        "| task | plain | 6000 ms | 6000 ms | 1, 1 | 0 |",
        "| task | cold only |  | 2000 ms, 3.00 (3.00 to 3.00) | 1, 1 |  |",
    ]
    sampling = part("sampling")
    cold_forms, _ = sampling.forms_of(sampling.TASKS["points-30"].shrunk("quick"), 0.2, {})
    assert "torch form" in cold_forms
    assert not [name for name in cold_forms if name.startswith("gemm")]


def test_peak_memory_has_what_was_given_back_and_no_pages_of_files(tmp_path: Path) -> None:
    peak_beyond, size = part("measure").peak_beyond, 2**26
    path = tmp_path / "pages"
    path.write_bytes(bytes(size))

    def map_a_file() -> None:
        mapped = np.memmap(path, dtype=np.uint8, mode="r")
        mapped.sum()
        kept.append(mapped)

    kept: list[np.memmap[Any, Any]] = []
    assert 0.95 * size < peak_beyond(lambda: np.ones(size, dtype=np.uint8).sum()) < 1.5 * size
    assert peak_beyond(map_a_file) < size / 4


def test_what_was_required_is_shown_and_misses_are_marked() -> None:
    required = part("required")
    known = {name.removeprefix("readouts ").removeprefix("losses ") for name in part("worker").names("all", "retained")}
    for asked in required.RATIOS:
        assert set(asked.operations) <= known
    assert required.ANY == part("sampling").TEMPERATURES
    records = [
        timed("dark", 16.0, name="MMPose, unbiased"),
        timed("soft_argmax and gradient", 3.0, name="plain"),
        timed("dark", 1.0, name="MMPose, unbiased", allocations="default"),
        timed("top_k 9", 16.0, name="H3R"),  # but not top_k 11
        {"kind": "memory", "operation": "sampling coco-30 2", "form": "native", "multiple": 2.1, "threads": 1},
        {"kind": "pipeline", "operation": "faces 256x256", "clock": [100.0, 300.0, 200.0], "threads": 1},
    ]
    rows = required.required(records).splitlines()[2:]
    assert "| top_k 9 and top_k 11 |  | ≥ 6x |  | not measured |" in rows
    assert required.required([timed("window", 1.0)]) == ""
    assert [row for row in rows if not row.endswith("not measured |")] == [
        "| soft_argmax and gradient | plain | ≥ 2x | 1.50 (1.50 to 1.50) | **missed** |",
        "| dark | MMPose, unbiased | ≥ 8x | 8.00 (8.00 to 8.00) | reached |",
        "| memory, coco-30: native |  | ≤ 2.2x the maps | 2.10 | reached |",
        "| data pipeline, one process: faces 256x256 |  | ≥ 250 images / s | 200 (150 to 250) | **missed** |",
    ]


def test_parts_measured_at_several_commits_are_told_as_such() -> None:
    machine: dict[str, Any] = {
        "kind": "machine",
        "processor": "P",
        "cores": "2",
        "instructions": "avx2",
        "torch": "2",
        "python": "3",
    }
    machine |= {"packages": {"kornia": "1"}, "checkouts": {"h3r": "52a8bde"}, "threads": 1, "allocations": "retained"}
    parts = [machine | {"commit": commit, "command": f"run {commit}"} for commit in ("a", "b", "b", "c")]
    merged = part("surroundings").machines
    shared = "P, 2 cores, avx2; torch 2, Python 3, kornia 1; h3r 52a8bde; "
    assert merged(parts[:1]) == f"{shared}commit a; `run a`"
    assert merged(parts) == f"{shared}commits a to c, in parts; `run a`, `run b`, `run c`"
    again = timed("some", 5.0)
    latest = part("command").latest([parts[0], timed("some", 3.0), timed("other", 3.0), parts[1], again])
    assert [record["kind"] for record in latest] == ["machine", "times", "times", "machine"]
    assert again in latest


def test_the_page_has_a_place_for_every_table() -> None:
    text = page("docs/performance.md")
    for name in SECTIONS:
        begin, end = text.index(f"<!-- {name} -->"), text.index(f"<!-- end of {name} -->")
        assert len(text[begin:end].splitlines()) > 1, f"{name} is empty"
    assert part("markdown").written(text, {"machine": "new"}).count("new\n<!-- end of machine -->") == 1
    with pytest.raises(ValueError, match="the page must hold <!-- some --> and <!-- end of some --> once, found 0"):
        part("markdown").written(text, {"some": "new"})


def test_the_code_of_the_page_gives_the_output_shown() -> None:
    run_sessions(code_blocks(page("docs/performance.md"), "python"), {})


def test_the_floor_is_what_the_machine_needs_for_the_work() -> None:
    roofline, floor = part("roofline"), part("surroundings").floor
    work = roofline.work_of("sampling coco-30 2", "gemm, noise per image", 1.0, "quick")
    elements = 2 * 3 * 6 * 7 * 20
    assert (work.multiplies, work.words) == (6 * elements, elements / 3)
    rates = {name: statistics.median(values) for name, values in roofline.Rates("quick").measure().items()}
    arithmetic = work.multiplies / rates["multiplies"]
    memory = work.read / rates["read"] + work.written / rates["written"]
    found = floor(vars(work), rates)
    assert found["seconds"] == pytest.approx(max(arithmetic, memory) + work.words / rates["words"])
    # One reading of the maps, and one writing of a gradient; forms that are not ours have none.
    both = roofline.work_of("soft_argmax and gradient", "heatpoint", 100.0, "full")
    assert vars(both) == {"multiplies": 0.0, "read": 100.0, "written": 100.0, "words": 0.0}
    assert roofline.work_of("dark", "MMPose, unbiased", 100.0, "full") is None
    # Philox, logarithm, power; half a word, an offset's bytes twice; sum, gradient.
    row = roofline.work_of("sampling oct-10 2", "native", 1.0, "full")
    assert row.multiplies == (5.5 + 9 + 4 + 2.75 + 2 + 1 + 2) * part("sampling").TASKS["oct-10"].elements()
    # The released formula's offsets count where an axis is as long as the map.
    row = roofline.work_of("sampling oct-10 2", "native, released formula", 1.0, "full")
    assert row.multiplies == (5.5 + 9 + 4 + 2.75 + 2 + 8 + 1) * part("sampling").TASKS["oct-10"].elements()
    map_of_axes = roofline.work_of("sampling coco-30 2", "native, released formula", 1.0, "full")
    assert map_of_axes.multiplies == (5.5 + 9 + 4 + 1) * part("sampling").TASKS["coco-30"].elements()
    # Those of two axes once for 17 maps; a product, two sums, two slopes and a product for each of them.
    shared = roofline.work_of("sampling coco-30 2", "native, noise per image", 1.0, "full")
    noise = 5.5 + 9 + 4 + 5.5 + 2 * (2 + 2)
    assert shared.multiplies == pytest.approx((noise / 17 + 6) * part("sampling").TASKS["coco-30"].elements())


def test_growth_is_fitted_over_four_sizes() -> None:
    growth, measure = part("growth"), part("measure")
    assert measure.exponent([10, 20, 40, 80], [3.0, 12.0, 48.0, 192.0]) == pytest.approx(2.0)
    found = list(growth.fits(["growth sampling, torch form", "growth argmax"], "quick", 1))
    # A grid has one, two or three dimensions.
    expected = {"samples": 4, "cells": 4, "maps": 5, "dimensions": 3}
    assert {record["quantity"]: len(record["sizes"]) for record in found[:4]} == expected
    assert {(record["operation"], record["quantity"]) for record in found[4:]} == {
        ("argmax", "cells"),
        ("argmax", "maps"),
    }
    for record in found:
        assert len(record["seconds"]) == len(record["sizes"])
    for quantities in (growth.sampled("full"), growth.readouts("full")):
        assert all(len(sizes) >= 4 for quantity, sizes in quantities.items() if quantity != "dimensions")


def test_the_pipeline_and_a_step_are_measured_and_shown() -> None:
    pipeline, step, tables = part("data_pipeline"), part("step_share"), part("tables")
    (row,) = pipeline.records(["pipeline poses 192x256"], "quick", 1)
    assert set(row["stages"]) == {*pipeline.STAGES, "rest"}
    (name,) = [name for name in step.names() if name.endswith("argmax, image")]
    (share,) = step.records([name], 1)
    assert share["seconds"]["localizer"][0] < share["seconds"]["step"][0]
    found = tables.sections([{"threads": 1, "allocations": "retained", **record} for record in (row, share)])
    assert set(found) == {"pipeline", "step"}
    assert found["step"].splitlines()[2].startswith("| synthetic-sampling_argmax | image | auto | 0.5 | retained |")
