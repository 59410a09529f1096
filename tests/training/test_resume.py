"""A run that is killed and resumed ends with the weights of one that was not, bit for bit."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from heatpoint.cli.train import parse
from heatpoint.training import fit, read_header

SILENT = Console(quiet=True)
ARGUMENTS = [
    *("synthetic-sampling_argmax", "--limit", "40", "--input", "32", "--batch-size", "8", "--epochs", "5"),
    *("--milestones", "0.4", "0.8", "--seed", "3", "--validation-fraction", "0.2"),
]
SMALL = ("--limit", "8", "--validation-fraction", "0.25", "--option", "num_samples=2")
CLOUD = ("--num-points", "96", "--width", "0.1", "--batch-size", "3")


def rows(out: Path) -> list[dict[str, str]]:
    path = out / "history.csv"
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def without_time(out: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows(out)]


def same_bits(first: Path, second: Path) -> bool:
    a, b = load_file(first), load_file(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def start(out: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    code = "import sys, torch; torch.set_num_threads(1); from heatpoint.cli import main; sys.exit(main())"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, "train", *arguments, "--out", str(out)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def kill_after(process: subprocess.Popen[bytes], out: Path, num_epochs: int) -> None:
    """Kills without warning as soon as so many epochs are written, in the middle of the next."""
    deadline = time.monotonic() + 120
    while len(rows(out)) < num_epochs:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = start(whole, ARGUMENTS)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    kill_after(start(killed, ARGUMENTS), killed, 2)
    assert 2 <= len(rows(killed)) < 5
    assert not (killed / "last.safetensors").exists()
    # Killed a second time, while it resumes.
    kill_after(start(killed, [*ARGUMENTS, "--resume"]), killed, 3)
    process = start(killed, [*ARGUMENTS, "--resume"])
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert same_bits(whole / "last.safetensors", killed / "last.safetensors")
    assert same_bits(whole / "model.safetensors", killed / "model.safetensors")
    assert without_time(whole) == without_time(killed)
    assert not list(killed.glob(".*.partial"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["synthetic-sampling_argmax", *ARGUMENTS[1:], "--limit", "20"],
        ["oct-synthetic-sampling_argmax_gaussian", *SMALL, "--input", "32", "64", "--batch-size", "2"],
        ["synthetic_chairs-sampling_argmax", *SMALL, *CLOUD, "--dropout", "0.3"],
        ["synthetic_chairs-skeleton-sampling_argmax", *SMALL, *CLOUD, "--num-keypoints", "4", "--points-per-edge", "3"],
    ],
    ids=["image", "scan", "cloud", "skeleton"],
)
def test_stopped_between_epochs_and_resumed_equals_uninterrupted(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from heatpoint.training.checkpoints import RunFiles

    _, recipe = parse([*arguments, "--epochs", "3"])
    fit(recipe, out=tmp_path / "whole", console=SILENT)

    def stop_after_two(self: RunFiles, trainer: object, module: object) -> None:
        write(self, trainer, module)
        if len(self.history) == 2:
            raise KeyboardInterrupt

    write = RunFiles.on_train_epoch_end
    with monkeypatch.context() as patched:
        patched.setattr(RunFiles, "on_train_epoch_end", stop_after_two)
        # As by Ctrl-C, which Lightning answers by leaving the process.
        with pytest.raises(KeyboardInterrupt):
            fit(recipe, out=tmp_path / "cut", console=SILENT)
    assert len(rows(tmp_path / "cut")) == 2
    fit(recipe, out=tmp_path / "cut", resume=True, console=SILENT)
    assert same_bits(tmp_path / "whole" / "last.safetensors", tmp_path / "cut" / "last.safetensors")
    assert without_time(tmp_path / "whole") == without_time(tmp_path / "cut")
    assert read_header(tmp_path / "cut" / "last.safetensors")["scores"]["epoch"] == 3


def test_a_run_killed_among_its_workers_resumes_to_the_same_weights(tmp_path: Path) -> None:
    # Killed and resumed in processes of their own, for worker processes must not be forked from one full of threads.
    arguments = [*ARGUMENTS, "--epochs", "4", "--limit", "20", "--test-split", ""]
    killed, helped = tmp_path / "killed", [*arguments, "--workers", "1"]
    kill_after(start(killed, helped), killed, 2)
    assert len(rows(killed)) < 4
    process = start(killed, [*helped, "--resume"])
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        fit(parse(arguments)[1], out=tmp_path / "whole", console=SILENT)
    finally:
        torch.set_num_threads(threads)
    assert same_bits(tmp_path / "whole" / "last.safetensors", killed / "last.safetensors")
    assert without_time(tmp_path / "whole") == without_time(killed)
    assert not list(killed.glob(".*.partial"))
