"""Starting from the weights of another run: all but the last layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from heatpoint.datasets import PointSet, synthetic_faces
from heatpoint.recipes.changes import changed
from heatpoint.skeleton import Skeleton
from heatpoint.training import fit
from heatpoint.training.seeding import WEIGHTS, derive
from heatpoint.training.weights import build_model, read_state, start_from
from runs import SILENT, tiny


def three_points() -> PointSet:
    """Rendered faces of which three points are labelled."""
    samples = [
        replace(sample, points=sample.points[:3], visible=sample.visible[:3]) for sample in synthetic_faces(12).samples
    ]
    return PointSet("three", "train", Skeleton(("a", "b", "c")), tuple(samples))


def test_all_but_the_last_layer_is_taken(model_path: Path) -> None:
    recipe = changed(tiny("sampling_argmax"), {"model.start": str(model_path), "seed": 3})
    torch.manual_seed(derive(recipe.seed, WEIGHTS))
    fresh, _ = build_model(recipe, 3)
    model, _ = build_model(recipe, 3)
    model.load_state_dict(fresh.state_dict())
    start_from(model, recipe)
    given, own, found = read_state(model_path), fresh.state_dict(), model.state_dict()
    last = {key for key in found if "logits" in key}
    assert {key.rpartition(".")[2] for key in last} == {"weight", "bias"}
    for key, value in found.items():
        assert torch.equal(value, own[key] if key in last else given[key]), key


def test_a_run_starts_there_and_resumes_without_the_file(model_path: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    start.write_bytes(model_path.read_bytes())
    changes = {"model.start": str(start), "data.validation_fraction": 0.25, "optimization.learning_rate": 1e-9}
    recipe = changed(tiny("soft_argmax"), {**changes, "optimization.epochs": 1})
    run = fit(recipe, out=tmp_path / "run", train=three_points(), console=SILENT)
    given, found = read_state(model_path), read_state(run.paths["last"])
    kept = [key for key in found if key.endswith("weight") and "logits" not in key]
    assert kept
    for key in kept:
        np.testing.assert_allclose(found[key].numpy(), given[key].numpy(), atol=1e-6)
    start.unlink()
    again = fit(recipe, out=tmp_path / "run", train=three_points(), resume=True, console=SILENT)
    for key, value in read_state(again.paths["last"]).items():
        assert torch.equal(value, found[key])


def test_weights_of_another_network_are_refused_before_anything_is_written(model_path: Path, tmp_path: Path) -> None:
    recipe = changed(tiny("soft_argmax"), {"model.start": str(model_path)})
    text = (
        r"train: --start must hold a network with backbone 'tiny', got 'small'. Give --model small, or other weights."
    )
    with pytest.raises(ValueError, match=text):
        fit(changed(recipe, {"model.backbone": "tiny"}), out=tmp_path / "run", console=SILENT)
    with pytest.raises(FileNotFoundError, match="there is no file .*absent.safetensors"):
        fit(
            changed(recipe, {"model.start": str(tmp_path / "absent.safetensors")}), out=tmp_path / "run", console=SILENT
        )
    assert not (tmp_path / "run").exists()
