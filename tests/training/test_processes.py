"""Two processes on the CPU train one network: by flags alone, from the command line."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from heatpoint.training import Machine
from runs import TINY


@pytest.mark.slow
def test_two_processes_by_flags(tmp_path: Path) -> None:
    out = tmp_path / "run"
    script = tmp_path / "heatpoint"
    script.write_text("import sys\nfrom heatpoint.cli import main\nsys.exit(main())\n")
    flags = ["--accelerator", "cpu", "--devices", "2", "--strategy", "ddp", "--out", str(out)]
    command = [sys.executable, str(script), "train", "synthetic-sampling_argmax", *TINY, *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list(csv.DictReader((out / "history.csv").read_text().splitlines()))) == 2
    assert json.loads((out / "scores.json").read_text())["num_images"] == 20
    assert done.stdout.count("epoch 2/2") == 1
    # A second run with the same seed and number of processes ends with the same scores.
    again = [argument.replace(str(out), str(tmp_path / "again")) for argument in command]
    subprocess.run(again, capture_output=True, env=environment, timeout=300, check=True)
    scores = [json.loads((folder / "scores.json").read_text())["scores"] for folder in (out, tmp_path / "again")]
    assert scores[0] == scores[1]


def test_an_accelerator_must_be_one_that_there_is() -> None:
    with pytest.raises(ValueError, match="train: --accelerator must be one of .*got 'gpuu'. Did you mean gpu"):
        Machine(accelerator="gpuu").check()


def test_scores_are_made_where_the_training_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Machine(accelerator="gpu", devices="1,").device == "cuda:1"
    assert Machine(accelerator="auto", devices="2").device == "cuda"
    assert Machine(accelerator="cpu").device == "cpu"
