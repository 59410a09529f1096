"""The command `python -m benchmarks`: that it runs, that what it compares computes the same, what it says of a wrong path."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from heatpoint.kernels import available
from pages import ROOT, code_blocks, page, run_sessions

SECTIONS = ("machine", "sampling", "readouts", "losses", "slower", "memory", "growth", "roofline")


def part(name: str) -> ModuleType:
    """A module of the folder, which belongs to the checkout and is not installed."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    return importlib.import_module(f"benchmarks.{name}")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_measures_and_writes_what_it_found(tmp_path: Path) -> None:
    target, records = tmp_path / "page.md", tmp_path / "records.json"
    target.write_text(
        "before\n<!-- machine -->\nold\n<!-- end of machine -->\n<!-- sampling -->\n<!-- end of sampling -->\n"
    )
    with target.open("a") as file:
        file.write("<!-- slower -->\n<!-- end of slower -->\nafter\n")
    options = ["--quick", "--threads", "1", "--allocations", "retained", "--only", "sampling oct-10 0.7"]
    done = command(*options, "--write", str(target), "--json", str(records))
    assert done.returncode == 0, done.stderr
    text = target.read_text()
    assert text.startswith("before\n<!-- machine -->\n")
    assert "old" not in text
    assert text.endswith("<!-- end of slower -->\nafter\n")
    assert "the plain form stands in for it" in text
    assert re.search(r"\| oct-10 \| torch form \| [\d.]+ ms, [\d.]+ \([\d.]+ to [\d.]+\)", text)
    machine, found = json.loads(records.read_text())
    assert machine["threads"] == 1
    assert machine["command"].endswith("--quick --only 'sampling oct-10 0.7'")
    assert found["allocations"] == "retained"
    assert {len(form["seconds"]) for form in found["forms"].values()} == {3}
    # Rendered again from the records, it is the same page.
    again = command("--from", str(records), "--write", str(target))
    assert again.returncode == 0, again.stderr
    assert target.read_text() == text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--h3r", "nowhere"),
            "benchmarks: --h3r: nowhere is not a folder. Give the root of a checkout of the code published with randomized "
            "rounding (baoshengyu/H3R).\n",
        ),
        (
            ("--mmpose", "."),
            "benchmarks: --mmpose: . has no mmpose/codecs/msra_heatmap.py. Give the root of a checkout of MMPose "
            "(open-mmlab/mmpose).\n",
        ),
        (("--threads", "0"), "benchmarks: --threads: give numbers of at least 1, got 0.\n"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert part("command").main(["--quick", *options]) == 2
    assert capsys.readouterr().err == message


def test_a_wrong_path_ends_the_command_with_status_2() -> None:
    done = command("--sampling-argmax", "nowhere")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_name_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert part("command").main(["--only", "nothing"]) == 2
    assert capsys.readouterr().err == "benchmarks: --only: no name contains nothing. --list shows all names.\n"


def peer_folder(root: Path, body: str) -> dict[str, str]:
    """A checkout of H3R with a decoder of our own."""
    folder = root / "torchalign" / "heatmap_head" / "transforms"
    folder.mkdir(parents=True)
    (folder / "functional.py").write_text(body)
    part("peers").check("h3r", str(root))
    return {"h3r": str(root)}


def test_every_readout_and_loss_is_the_same_in_every_form() -> None:
    suite = part("suite")
    for section in ("readouts", "losses"):
        wanted = suite.names(section)
        built = list(suite.build(wanted, "quick", {}))
        assert [f"{section} {operation.name}" for operation in built] == wanted
        for operation in built:
            apart = operation.differences()
            assert apart
            assert bool(operation.forms[operation.ours].run().abs().amax() > 0)
            assert any(operation.forms[form].source == "plain" for form in apart)
            for form, said in apart.items():
                # Coordinates up to 64 in float32, after sums over up to 576 cells; the softmax's gradients are below 64.
                assert said == "another loss" or float(said) < 1e-4, (operation.name, form, said)


def test_a_checkout_is_imported_by_its_path(tmp_path: Path) -> None:
    body = (
        "from torch import Tensor\nfrom benchmarks import plain\n\n"
        "def heatmap2coord(maps: Tensor, topk: int) -> Tensor:\n"
        "    return plain.top_k(maps.flatten(0, 1), topk).unflatten(0, maps.shape[:2])\n"
    )
    sys.modules.pop("published_rounding.functional", None)
    sys.modules.pop("published_rounding", None)
    (operation,) = part("suite").build(["readouts top_k 9"], "quick", peer_folder(tmp_path / "right", body))
    assert operation.forms["H3R"].source == "peer"
    assert float(operation.differences()["H3R"]) < 1e-4
    sys.modules.pop("published_rounding.functional")
    sys.modules.pop("published_rounding")
    broken = peer_folder(tmp_path / "wrong", "import no_such_package\n")
    rule = "--h3r: published_rounding.functional cannot be imported: ModuleNotFoundError: No module named 'no_such_package'"
    with pytest.raises(part("peers").PeerError, match=rule):
        list(part("suite").build(["readouts top_k 9"], "quick", broken))


def test_every_form_of_sampling_has_the_same_mean_loss() -> None:
    """Means over 1000 samples of 6 maps whose losses lie between 0 and 1.5: a standard error below 0.01 each."""
    sampling = part("sampling")
    for key in ("coco-30", "human36m-10", "oct-10", "points-30"):
        small = sampling.TASKS[key].shrunk("quick")
        task = sampling.Task(small.batch, small.cells, 1000, small.is_cloud)
        torch.manual_seed(0)
        forms, num_bytes = sampling.forms_of(task, 0.7, {})
        assert num_bytes == 4 * task.elements() // 1000
        means = {name: float(form.run().mean()) for name, form in forms.items() if "released" not in name}
        assert {"torch form", "plain", "gemm, noise per image"} <= set(means)
        assert ("native" in means) == (available()["native"] == "")
        assert max(means.values()) - min(means.values()) < 0.04, (key, means)


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


def test_the_floor_is_what_the_machine_needs_for_the_work() -> None:
    roofline = part("roofline")
    names = [name for name in roofline.names() if "coco-30 2, gemm" in name or name == "roofline argmax"]
    sampled, argmax = roofline.shares(names, "quick", 1)
    assert sampled["operation"] == "sampling coco-30 2, gemm, noise per image"
    task = part("sampling").TASKS["coco-30"].shrunk("quick")
    work, rates = roofline.product_work(task), sampled["rates"]
    elements = 2 * 3 * 6 * 7 * 20
    assert (work.multiplies, work.uniforms) == (6 * elements, elements)
    arithmetic, memory = (
        work.multiplies / rates["multiplies"],
        work.read / rates["read"] + work.written / rates["written"],
    )
    assert sampled["floor"] == pytest.approx(max(arithmetic, memory) + work.uniforms / rates["uniforms"])
    assert argmax["bound"] == "memory"
    assert argmax["share"] == pytest.approx(argmax["floor"] / argmax["seconds"])


def test_ratios_are_of_the_same_round_and_losses_are_marked() -> None:
    measure, tables = part("measure"), part("tables")
    spread = measure.ratio([2.0, 6.0, 40.0], [1.0, 2.0, 10.0])
    assert (spread.low, spread.middle, spread.high) == (2.5, 3.0, 3.5)
    assert tables.times(spread) == "3.00 (2.50 to 3.50)"
    assert tables.times(measure.ratio([1.0, 0.9], [2.0, 1.0])) == "0.70 (0.60 to 0.80) **slower**"

    def record(theirs: float) -> dict[str, Any]:
        forms = {"heatpoint": ("ours", 2.0), "theirs": ("package", theirs)}
        made = {name: {"source": source, "seconds": [s], "agreement": "0"} for name, (source, s) in forms.items()}
        shared = {"kind": "times", "section": "readouts", "threads": 1, "allocations": "retained"}
        return {**shared, "operation": f"at {theirs}", "size": "", "forms": made}

    found = tables.sections([record(1.5), record(1.0), record(3.0)])
    assert [line.split(" | ")[0] for line in found["slower"].splitlines()[2:]] == ["| at 1.0", "| at 1.5"]


def test_the_code_of_the_page_gives_the_output_shown() -> None:
    run_sessions(code_blocks(page("docs/performance.md"), "python"), {})


def test_the_page_has_a_place_for_every_table() -> None:
    text = page("docs/performance.md")
    for name in SECTIONS:
        begin, end = text.index(f"<!-- {name} -->"), text.index(f"<!-- end of {name} -->")
        assert len(text[begin:end].splitlines()) > 1, f"{name} is empty"
    assert part("tables").written(text, {"machine": "new"}).count("new\n<!-- end of machine -->") == 1
    with pytest.raises(ValueError, match="the page must hold <!-- some --> and <!-- end of some --> once, found 0"):
        part("tables").written(text, {"some": "new"})


@pytest.mark.slow
@pytest.mark.skipif(available()["native"] != "", reason=available()["native"])
def test_the_native_kernel_is_as_fast_and_as_small_as_the_page_says() -> None:
    """Half of the ratio to the plain form that the page shows, and its memory."""
    sampling, measure = part("sampling"), part("measure")
    forms, _ = sampling.forms_of(sampling.TASKS["coco-10"], 2.0, {})
    found = measure.interleaved({name: forms[name].run for name in ("native", "plain")}, rounds=5)
    assert measure.ratio(found["plain"], found["native"]).middle > 8
    given = {"section": "peak", "operation": "sampling coco-30 2", "form": "native", "size": "full", "peers": {}}
    (record,) = part("worker").in_fresh_process(given)
    assert record["multiple"] < 2.2
