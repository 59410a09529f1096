"""A whole run: what it leaves, what it learns, and that a mistake leaves nothing."""

from __future__ import annotations

import csv
import io
import itertools
import json
import signal
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from heatpoint.datasets import DATASETS, PointSet, Sample, synthetic_faces
from heatpoint.recipes import get_recipe
from heatpoint.skeleton import Skeleton
from heatpoint.training import FitResult, Machine, evaluate, fit, read_header
from heatpoint.training.checkpoints import RunFiles
from heatpoint.training.module import PointModule
from heatpoint.training.weights import build_model
from runs import SILENT, tiny


def test_what_a_run_leaves(trained_run: FitResult) -> None:
    out = trained_run.paths["best"].parent
    names = {"history.csv", "last.safetensors", "model.safetensors", "recipe.json", "resume.ckpt", "scores.json"}
    assert {path.name for path in out.iterdir()} == names | {"tensorboard"}
    assert list((out / "tensorboard").glob("events.*"))
    assert json.loads(trained_run.paths["scores"].read_text()) == trained_run.scores


def test_scores_name_seed_time_and_recipe(trained_run: FitResult) -> None:
    scores = trained_run.scores
    assert (scores["seed"], scores["epochs"], scores["split"]) == (5, 2, "test")
    assert scores["recipe_fields"]["localizer"] == "soft_argmax"
    assert 0 < scores["seconds_per_epoch"] <= scores["seconds_training"]
    assert set(scores["scores"]["recipe"]) >= {"nme", "failure_rate", "area_under_curve", "correlation"}
    assert read_header(trained_run.paths["best"])["scores"]["test"] == scores["scores"]["recipe"]


def test_the_history_has_a_row_per_epoch(trained_run: FitResult) -> None:
    rows = list(csv.DictReader(io.StringIO(trained_run.paths["history"].read_text())))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    # Milestones at 0.4 and 0.8 of two epochs: both before the second ends, the first before it begins.
    assert [float(row["learning_rate"]) for row in rows] == [2e-3, 2e-4]
    assert all(float(row["seconds"]) > 0 for row in rows)
    best = min(rows, key=lambda row: float(row["validation_nme"]))
    assert read_header(trained_run.paths["best"])["scores"]["epoch"] == int(best["epoch"])


def test_without_validation_epochs_are_timed_and_the_last_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock that goes on by 10 s at every look: at the first step, and after each of the two.
    ticks = itertools.count(step=10)
    monkeypatch.setattr("heatpoint.training.checkpoints.time.perf_counter", lambda: next(ticks))
    shown = Console(file=io.StringIO(), width=160)
    fit(tiny("soft_argmax", "--validation-fraction", "0"), out=tmp_path / "run", console=shown)
    lines = shown.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.partition("  no validation  ")[2] for line in lines] == ["20.0 s", "20.0 s"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "run" / "history.csv").read_text())))
    assert [(row["epoch"], row["seconds"]) for row in rows] == [("1", "20"), ("2", "20")]
    assert "validation_nme" not in rows[0]
    assert read_header(tmp_path / "run" / "model.safetensors")["scores"]["epoch"] == 2


@pytest.mark.parametrize(
    ("localizer", "given", "expected"),
    [("gaussian_heatmap", None, 0.001), ("gaussian_heatmap", 0.02, 0.02), ("log_score", None, 0.1), ("crps", 0.3, 0.3)],
)
@pytest.mark.parametrize("backbone", ["small", "resnet18"])
def test_maps_start_as_their_localizer_needs(
    localizer: str, given: float | None, expected: float, backbone: str
) -> None:
    recipe = tiny(localizer)
    recipe = replace(recipe, model=replace(recipe.model, backbone=backbone, logits_std=given))
    model, _ = build_model(recipe, 18)
    (layer,) = (layer for name, layer in model.named_modules() if name.endswith("logits"))
    if backbone == "resnet18" and given is None:
        expected = 0.001
    # At least 1152 weights: the relative error of their spread is below 1 / sqrt(2 * 1152) = 2 %; five times that.
    assert float(layer.get_parameter("weight").detach().std()) == pytest.approx(expected, rel=0.1)


def test_a_run_is_a_function_of_its_recipe_and_leaves_the_callers_numbers_alone(tmp_path: Path) -> None:
    recipe = tiny("sampling_argmax", "--epochs", "1")
    torch.manual_seed(11)
    expected = torch.rand(3)
    scores = []
    for name in ("a", "b"):
        torch.manual_seed(11 if name == "a" else 12)
        scores.append(fit(recipe, out=tmp_path / name, console=SILENT).scores["scores"])
        if name == "a":
            assert torch.equal(torch.rand(3), expected)
    assert scores[0] == scores[1]
    other = fit(replace(recipe, seed=1), out=tmp_path / "c", console=SILENT).scores["scores"]
    assert other != scores[0]


def test_a_network_learns_by_heart(tmp_path: Path) -> None:
    recipe = tiny("log_score", "--limit", "10", "--epochs", "8", "--batch-size", "2")
    still = replace(
        recipe.augmentation,
        **dict.fromkeys(("rotation_deg", "scale", "translation", "flip", "brightness", "contrast", "saturation"), 0),
        erase=0,
    )
    result = fit(replace(recipe, augmentation=still), out=tmp_path / "run", console=SILENT)
    rows = list(csv.DictReader(io.StringIO(result.paths["history"].read_text())))
    losses = [float(row["train_loss"]) for row in rows]
    # Uniform over 8 x 8 cells of 16 square pixels: log 1024 = 6.9 nats. Known to about 6 cells: log 96 = 4.6.
    assert losses[0] > 6.0
    assert losses[-1] < 4.5


def test_clipped_gradients_and_half_precision(tmp_path: Path) -> None:
    recipe = tiny("randomized_rounding", "--epochs", "1", "--clip-norm", "0.5")
    result = fit(recipe, out=tmp_path / "run", machine=Machine(precision="bf16-mixed"), console=SILENT)
    assert all(value > 0 for value in result.scores["scores"]["recipe"]["nme"].values())


def test_a_set_of_ones_own_needs_no_table(tmp_path: Path) -> None:
    bare = Skeleton(tuple(f"p{i}" for i in range(18)))
    mine, others = (replace(synthetic_faces(12, split=s), name="mine", skeleton=bare) for s in ("train", "test"))
    recipe = tiny("soft_argmax", "--epochs", "1", "--flip", "0")
    result = fit(recipe, out=tmp_path / "run", train=mine, test=others, console=SILENT)
    assert (result.scores["protocol"]["dataset"], result.scores["num_images"]) == ("mine", 12)
    assert (result.scores["protocol"]["normalizer"], result.scores["protocol"]["normalizer_box"]) == ("box", "given")
    found = evaluate(result.paths["best"], point_set=others)
    assert found["scores"]["recipe"]["nme"] == result.scores["scores"]["recipe"]["nme"]
    with pytest.raises(ValueError, match="point_set must have the points the weights were trained on"):
        evaluate(result.paths["best"], point_set=synthetic_faces(3))
    with pytest.raises(ValueError, match="test must be given with train"):
        fit(recipe, out=tmp_path / "b", test=others, console=SILENT)


def test_a_finished_run_resumes_to_its_own_scores(tmp_path: Path) -> None:
    recipe = tiny("soft_argmax", "--epochs", "1")
    first = fit(recipe, out=tmp_path / "run", console=SILENT)
    again = fit(recipe, out=tmp_path / "run", resume=True, console=SILENT)
    assert again.scores == first.scores


def test_a_run_without_a_checkpoint_yet_resumes_from_its_start(tmp_path: Path) -> None:
    recipe = tiny("soft_argmax", "--epochs", "1")
    out = tmp_path / "run"
    out.mkdir()
    (out / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    with pytest.raises(ValueError, match=r"the file of another recipe in .*recipe\.json: seed is 0 there, 1 here"):
        fit(replace(recipe, seed=1), out=out, resume=True, console=SILENT)
    assert fit(recipe, out=out, resume=True, console=SILENT).scores["epochs"] == 1


def test_a_folder_that_holds_a_run_is_not_overwritten(trained_run: FitResult) -> None:
    out = trained_run.paths["best"].parent
    with pytest.raises(ValueError, match=r"--out must be a folder without a run, got .*Continue it with --resume, or"):
        fit(tiny(), out=out, console=SILENT)


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="--out must hold the run to resume, got .*Leave out --resume"):
        fit(tiny(), out=tmp_path / "run", resume=True, console=SILENT)


def broken_set(tmp_path: Path) -> PointSet:
    faces = synthetic_faces(6)
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    first = faces.samples[0]
    sample = Sample(path, first.points, first.visible, first.box, first.key)
    return replace(faces, samples=(sample, *faces.samples[1:]))


@pytest.mark.parametrize(
    ("change", "machine", "text"),
    [
        (
            {"localizer_options": {"num_smples": 3}},
            {},
            r"option of sampling_argmax must be .* Did you mean num_samples\?",
        ),
        ({"localizer": "soft_argmx"}, {}, r"make_localizer: name must be one of .*Did you mean soft_argmax"),
        ({"backbone": "resnet19"}, {}, r"resnet18"),
        ({"input": 66}, {}, r"input_size must be a multiple of 4"),
        ({"dataset": "face300w"}, {}, r"Did you mean faces300w or"),
        ({"test_split": "nope"}, {}, r"split must be one of"),
        ({"normalizer": "eyes"}, {}, r"train: normalizer must be one of"),
        ({"limit": 1}, {}, r"leave at least one of the images to train on and one to validate with, got 1 and 0"),
        ({}, {"accelerator": "abacus"}, r"train: --accelerator must be one of auto, cpu, .*got 'abacus'"),
        ({}, {"strategy": "abacus"}, r"train: Machine\(.*'abacus'.*\) does not suit this machine"),
        ({}, {"precision": "bf16-true"}, r"--precision must be one of .*'bf16-true'\. Did you mean bf16-mixed"),
        ({}, {"workers": -1}, r"train: --workers must be at least 0, got -1"),
        ({"dataset": "broken_test"}, {}, r"broken\.jpg, which is truncated"),
        ({"dataset": "boxless", "box_policy": "P2"}, {}, r"box_of: policy must be one the set supports, got P2"),
        ({"dataset": "broken"}, {}, r"broken\.jpg, which is truncated"),
    ],
)
def test_a_mistake_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], machine: dict[str, Any], text: str
) -> None:
    monkeypatch.setitem(DATASETS, "broken", lambda root, split: broken_set(tmp_path))
    monkeypatch.setitem(
        DATASETS, "broken_test", lambda root, split: broken_set(tmp_path) if split == "test" else synthetic_faces(6)
    )
    bare = replace(synthetic_faces(6), samples=tuple(replace(s, box=None) for s in synthetic_faces(6).samples))
    monkeypatch.setitem(DATASETS, "boxless", lambda root, split: bare)
    monkeypatch.setenv("HEATPOINT_DATA", str(tmp_path))
    recipe = tiny("sampling_argmax")
    for key, value in change.items():
        part = next((p for p in ("data", "model") if hasattr(getattr(recipe, p), key)), None)
        if part is None:
            recipe = replace(recipe, **{key: value})
        else:
            recipe = replace(recipe, **{part: replace(getattr(recipe, part), **{key: value})})
    with pytest.raises(ValueError, match=text):
        fit(recipe, out=tmp_path / "run", machine=Machine(**machine), console=SILENT)
    assert not (tmp_path / "run").exists()


def test_a_terminal_sees_one_bar_and_a_file_one_line_per_epoch(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny("soft_argmax", "--epochs", "2", "--test-split", "")
    plain, drawn = io.StringIO(), io.StringIO()
    fit(recipe, out=tmp_path / "a", console=Console(file=plain, width=100))
    lines = plain.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2  loss ")
    assert "validation NME " in lines[1]
    fit(recipe, out=tmp_path / "b", console=Console(file=drawn, width=100, force_terminal=True))
    assert "epoch 2/2" in drawn.getvalue()
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == ""


def test_nothing_stays_quiet_after_a_run_and_without_a_test_split_there_are_no_scores(tmp_path: Path) -> None:
    import logging

    level = logging.getLogger("lightning.pytorch").level
    handler = signal.getsignal(signal.SIGINT)
    result = fit(tiny("soft_argmax", "--epochs", "1", "--test-split", ""), out=tmp_path / "run", console=SILENT)
    assert result.scores == {}
    assert not (tmp_path / "run" / "scores.json").exists()
    assert logging.getLogger("lightning.pytorch").level == level
    assert signal.getsignal(signal.SIGINT) is handler
    with pytest.warns(UserWarning, match="does not have many workers"):
        warnings.warn("The loader does not have many workers", UserWarning, stacklevel=1)


def test_run_files_serve_one_kind_of_module(tmp_path: Path) -> None:
    import lightning

    with pytest.raises(TypeError, match="RunFiles: module must be a PointModule, got LightningModule"):
        RunFiles(tmp_path).on_train_epoch_end(lightning.Trainer.__new__(lightning.Trainer), lightning.LightningModule())
    assert issubclass(PointModule, lightning.LightningModule)


@pytest.mark.slow
def test_faces300w_small_learns(tmp_path: Path, data_root: Path) -> None:
    base = get_recipe("faces300w-soft_argmax-small")
    recipe = replace(base, optimization=replace(base.optimization, epochs=6))
    result = fit(recipe, out=tmp_path / "run", data_root=data_root, console=SILENT)
    # Forty epochs reach 0.058 here; predicting the mean face gives about 0.2.
    assert result.scores["scores"]["recipe"]["nme"]["inter_ocular"] < 0.14
