"""What a file of weights must carry, and what is said of one that does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from heatpoint.training.machine import Machine, check_device
from heatpoint.training.weights import KEY, load_weights, read_header


def written(path: Path, header: Any) -> Path:
    text = header if isinstance(header, str) else json.dumps(header)
    save_file({"weight": torch.zeros(2)}, path, metadata={KEY: text})
    return path


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("{oops", r"the heatpoint header of .*m\.safetensors is not JSON"),
        (
            {},
            r"the heatpoint header of .*m\.safetensors lacks .*recipe.*Give a file that `heatpoint train` has written",
        ),
        ([1], r"the heatpoint header of .*m\.safetensors lacks"),
    ],
)
def test_a_broken_header_is_named_with_its_file(tmp_path: Path, header: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        read_header(written(tmp_path / "m.safetensors", header))


def test_a_header_of_another_format_or_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    base = {"format": 1, "recipe": {"name": "a", "newer": 1}, "skeleton": {}, "localizer": {}}
    with pytest.raises(ValueError, match=r"the format of .*m\.safetensors must be 1, got 99\. Update heatpoint"):
        read_header(written(tmp_path / "m.safetensors", {**base, "format": 99}))
    with pytest.raises(ValueError, match=r"the header of .*m\.safetensors cannot be used: .*'newer'.*newer heatpoint"):
        load_weights(written(tmp_path / "m.safetensors", base))


@pytest.mark.parametrize("device", ["foo", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_in_one_line(device: str) -> None:
    with pytest.raises(
        ValueError, match=f"evaluate: --device must be one that this machine has, got '{device}'"
    ) as caught:
        check_device("evaluate", device)
    assert "\n" not in str(caught.value)


def test_impossible_machines_are_refused() -> None:
    with pytest.raises(ValueError, match="train: --workers must be at least 0, got -1"):
        Machine(workers=-1).check()
    with pytest.raises(ValueError, match="train: --precision must be one of .*got 'bf16-true'"):
        Machine(precision="bf16-true").check()
