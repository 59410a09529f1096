"""The command `python -m benchmarks`: that it runs, that what it compares computes the same, what it says of a wrong path."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from heatpoint.kernels import available
from measured import part
from pages import ROOT


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
    names = ("sampling", "slower", "roofline")
    places = "".join(f"<!-- {name} -->\n<!-- end of {name} -->\n" for name in names)
    target.write_text(f"before\n<!-- machine -->\nold\n<!-- end of machine -->\n{places}after\n")
    only = ["--allocations", "retained", "--only", "sampling oct-10 0.7"]
    options = ["--quick", "--threads", "1", "--rounds", "2", *only]
    done = command(*options, "--write", str(target), "--json", str(records))
    assert done.returncode == 0, done.stderr
    text = target.read_text()
    assert text.startswith("before\n<!-- machine -->\n")
    assert "old" not in text
    assert text.endswith("<!-- end of roofline -->\nafter\n")
    assert "the plain form stands in for it" in text
    assert re.search(r"\| oct-10 \| torch form \| [\d.]+ ms, [\d.]+ \([\d.]+ to [\d.]+\)", text)
    machine, found = json.loads(records.read_text())
    assert machine["threads"] == 1
    assert machine["command"].endswith("--quick --rounds 2 --allocations retained --only 'sampling oct-10 0.7'")
    assert found["allocations"] == "retained"
    assert {len(form["seconds"]) for form in found["forms"].values()} == {2}
    # The share of the limit is of the same rounds.
    (cell,) = re.findall(r"\| oct-10 \| gemm, noise per image \| ([\d.]+) ms", text)
    assert re.search(rf"\| sampling oct-10 0.7, gemm, noise per image \| {cell} \|", text)
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
        (("--rounds", "0"), "benchmarks: --rounds: give at least 1, got 0.\n"),
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


def test_what_is_measured_is_what_the_list_shows() -> None:
    asked, only = part("command"), ["top_k", "step faces300w", "coco-1 2"]
    names = asked._names([])
    assert {name.split(" ")[0] for name in names} == set(asked.SECTIONS)
    shown = [name for name in names if any(text in name for text in only)]
    assert asked._sections_of(only) == list(dict.fromkeys(name.split(" ")[0] for name in shown))
    assert asked._sections_of(only) == ["sampling", "readouts", "growth", "step"]


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
    rule = (
        "^--h3r: published_rounding.functional cannot be imported: ModuleNotFoundError: No module named 'no_such_package'. "
        "Tested with revision 52a8bde.$"
    )
    with pytest.raises(part("peers").PeerError, match=rule):
        list(part("suite").build(["readouts top_k 9"], "quick", broken))


def test_a_checkout_whose_code_fails_is_told_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = peer_folder(tmp_path, "def heatmap2coord(maps, k):\n    raise ValueError('two\\nlines')\n")["h3r"]
    options = ["--quick", "--threads", "1", "--allocations", "retained", "--only", "readouts top_k 9"]
    assert part("command").main([*options, "--h3r", root]) == 2
    said = "benchmarks: --h3r: its code fails: ValueError: two lines. Tested with revision 52a8bde.\n"
    assert capfd.readouterr().err == said


def test_a_checkout_is_told_by_its_commit_only_if_it_is_one(tmp_path: Path) -> None:
    revision = part("peers").revision
    assert revision(str(tmp_path)) == "no checkout"
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert revision(str(tmp_path)) == "unknown"
    identity = ["-c", "user.name=a", "-c", "user.email=a"]
    subprocess.run(["git", "-C", tmp_path, *identity, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    assert re.fullmatch("[0-9a-f]{7,}", revision(str(tmp_path)))


def test_what_writes_into_its_input_is_given_it_afresh() -> None:
    measure, operation = part("measure"), part("operation")
    number = torch.zeros(())
    form = operation.Form(lambda: float(number.add_(1)), "peer", before=number.zero_)
    seen: list[float] = []
    measure.interleaved(
        {"form": form.run},
        rounds=4,
        keep=lambda name, result: seen.append(result),
        before={"form": form.before},
    )
    assert seen == [1.0] * 4
    assert form.once() == form.once() == 1


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


@pytest.mark.parametrize("given", [["benchmarks/step_share.py"], ["-m", "benchmarks.step_share"]])
def test_a_measurement_runs_by_path_and_as_a_module(given: list[str]) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PYTHONPATH"] = str(ROOT / "src")
    done = subprocess.run(
        [sys.executable, *given, "--help"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


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
