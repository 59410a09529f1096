"""Files of a run: whole or absent, readable without running code, and refused with a remedy where they do not fit."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from heatpoint.recipes import get_recipe
from heatpoint.training import FitResult, load_weights, read_header
from heatpoint.training.checkpoints import RESUME, AtomicCheckpointIO, RunFiles, check_resumable
from heatpoint.training.files import remove_partial, write_bytes, write_json
from heatpoint.training.weights import KEY, save_weights
from runs import tiny


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scores.json"
    write_json(path, {"a": 1})

    def fail(*_: Any) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="the disk is full"):
            write_bytes(path, b"half")
    assert json.loads(path.read_text()) == {"a": 1}
    # Another process that was killed has left its own half.
    (tmp_path / ".scores.json.1.partial").write_bytes(b"ha")
    assert len(list(tmp_path.glob(".scores.json.*.partial"))) == 2
    remove_partial(tmp_path)
    write_bytes(path, b"whole")
    assert [found.name for found in tmp_path.iterdir()] == ["scores.json"]


def test_json_is_valid_where_a_number_is_undefined(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    write_json(path, {"a": [float("inf"), 1.5], "b": ({"c": float("nan")},), "d": "NaN"})

    def refuse(word: str) -> None:
        raise AssertionError(word)

    found = json.loads(path.read_text(), parse_constant=refuse)
    assert found == {"a": [None, 1.5], "b": [{"c": None}], "d": "NaN"}


def test_a_checkpoint_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, path = AtomicCheckpointIO(), tmp_path / RESUME
    files.save_checkpoint({"step": 1, "weight": torch.ones(3)}, path)

    class Unsaveable:
        def __reduce__(self) -> Any:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        files.save_checkpoint({"step": 2, "weight": Unsaveable()}, path)
    found = files.load_checkpoint(path)
    assert found["step"] == 1
    assert torch.equal(found["weight"], torch.ones(3))


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "owned"),)

    path = tmp_path / RESUME
    torch.save({"a": Evil()}, path)
    with pytest.raises(pickle.UnpicklingError):
        AtomicCheckpointIO().load_checkpoint(path)
    with pytest.raises(ValueError, match=r"resume\.ckpt cannot be read \(UnpicklingError\)"):
        check_resumable(path, tiny())
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / RESUME
    torch.save({"a": 1}, path)
    with pytest.raises(ValueError, match="is not a checkpoint of heatpoint's. Give another --out"):
        check_resumable(path, tiny())


def test_a_checkpoint_of_another_recipe_names_the_fields(trained_run: FitResult) -> None:
    path = trained_run.paths["best"].parent / RESUME
    recipe = tiny("soft_argmax", "--flip-test", "--seed", "5")
    check_resumable(path, recipe)
    other = replace(recipe, seed=6, localizer_options={"sign_gradient": True})
    with pytest.raises(ValueError, match="train: --resume found a checkpoint of another recipe in .*: ") as caught:
        check_resumable(path, other)
    assert "seed is 5 there, 6 here" in str(caught.value)
    assert "localizer_options.sign_gradient is None there, True here" in str(caught.value)
    assert str(caught.value).endswith("Give the options of that run, or another --out.")


@pytest.mark.parametrize(
    ("higher_is_better", "kept"), [(False, [True, True, False, False]), (True, [True, False, True, False])]
)
def test_the_best_epoch_knows_its_direction(tmp_path: Path, higher_is_better: bool, kept: list[bool]) -> None:
    files = RunFiles(tmp_path)
    found = []
    for value in (0.5, 0.3, 0.7, 0.5):
        found.append(files._improves(value, higher_is_better))
        files.best = value if found[-1] else files.best
    assert found == kept


def test_a_diverged_epoch_is_not_kept_over_a_number(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    assert files._improves(float("nan"), False)
    files.best = float("nan")
    assert files._improves(9.0, False)
    files.best = 9.0
    assert not files._improves(float("nan"), False)


def test_the_header_carries_all_that_a_score_depends_on(model_path: Path) -> None:
    header = read_header(model_path)
    assert header["recipe"] == tiny("soft_argmax", "--flip-test", "--seed", "5").to_dict()
    assert header["grid"] == {"shape": [8, 8], "stride": 4.0, "offset": 0.0, "cyclic": []}
    assert header["box_policy"] == "P1"
    assert header["normalizer"] == header["skeleton"]["default_normalizer"]
    assert set(header["conventions"]) == {"points", "grid", "flip", "resize"}
    assert set(header["versions"]) == {"heatpoint", "torch"}
    assert set(header["scores"]) == {"epoch", "validation_nme", "test", "protocol"}
    assert header["localizer"]["name"] == "soft_argmax"


def test_weights_load_into_what_was_saved(model_path: Path) -> None:
    trained = load_weights(model_path)
    assert not trained.model.training
    assert trained.recipe.name == "synthetic-soft_argmax"
    assert repr(trained.localizer) == "make_localizer('soft_argmax', Grid((8, 8), stride=4, offset=0))"
    stored = load_file(model_path)
    assert all(torch.equal(value, stored[name]) for name, value in trained.model.state_dict().items())


def test_a_missing_file_of_weights(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*model\.safetensors. Give the model\.safetensors"):
        load_weights(tmp_path / "model.safetensors")


def test_a_broken_file_of_weights(tmp_path: Path, model_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model\.safetensors is not a whole safetensors file"):
        load_weights(path)


def test_a_file_of_weights_of_something_else(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors carries no heatpoint header"):
        load_weights(tmp_path / "other.safetensors")


def test_weights_that_do_not_fit_their_recipe(tmp_path: Path, model_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(path, {"a": torch.ones(2)}, read_header(model_path))
    with pytest.raises(ValueError, match=r"the weights in .* do not fit its recipe synthetic-soft_argmax"):
        load_weights(path)
    assert KEY == "heatpoint"


def test_recipe_json_is_the_recipe(trained_run: FitResult) -> None:
    stored = json.loads(trained_run.paths["recipe"].read_text())
    assert stored["name"] == get_recipe("synthetic-soft_argmax").name
    assert stored["optimization"]["epochs"] == 2
