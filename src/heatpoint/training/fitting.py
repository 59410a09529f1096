"""A recipe to weights and scores."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

from heatpoint._checks import message
from heatpoint.datasets import PointSet
from heatpoint.localizers import make_localizer
from heatpoint.recipes.config import Recipe
from heatpoint.training.checkpoints import BEST, HISTORY, LAST, RESUME, AtomicCheckpointIO, RunFiles, check_resumable
from heatpoint.training.data import hold_out, read_split
from heatpoint.training.datamodule import PointDataModule
from heatpoint.training.evaluation import OWN, evaluate
from heatpoint.training.files import write_json
from heatpoint.training.machine import Machine
from heatpoint.training.module import PointModule
from heatpoint.training.progress import EpochProgress, quiet_lightning
from heatpoint.training.seeding import WEIGHTS, derive
from heatpoint.training.weights import build_model, load_weights, read_header, save_weights

RECIPE, SCORES = "recipe.json", "scores.json"


@dataclass(frozen=True)
class FitResult:
    """What a run leaves.

    Attributes:
        scores: The content of scores.json; empty if there is no test split.
        paths: The run's files by role: best, last, history, scores, recipe.
    """

    scores: dict[str, Any]
    paths: dict[str, Path]


def fit(
    recipe: Recipe,
    *,
    out: str | Path,
    data_root: str | Path | None = None,
    resume: bool = False,
    machine: Machine | None = None,
    console: Console | None = None,
) -> FitResult:
    """Trains a recipe, keeps the best epoch by validation error, and scores it on the test split.

    The result on the CPU is a function of the recipe and the number of threads, also when the run was killed and resumed.

    Args:
        recipe: What to train.
        out: Folder of the run; must be new, or hold the run to resume.
        data_root: Folder of the data sets; None takes HEATPOINT_DATA.
        resume: Continue from the end of the last whole epoch.
        machine: Workers, precision, devices; None takes `Machine()`.
        console: Where progress is shown; None takes the terminal.

    Raises:
        FileNotFoundError: If the data or the run to resume are missing.
        ValueError: If the recipe is not as it must be, or `out` holds another run.
    """
    out, machine, console = Path(out), machine or Machine(), console or Console()
    root = None if data_root is None else Path(data_root)
    checkpoint = _checked_out(out, recipe, resume)
    train_set, validation_set = hold_out(read_split(recipe.data, root, "train"), recipe.data.validation_fraction)
    _require_images(recipe, train_set, validation_set)
    with torch.random.fork_rng(devices=[]):
        module = _module(recipe, train_set)
        write_json(out / RECIPE, recipe.to_dict())
        files = RunFiles(out)
        _train(module, train_set, validation_set, files, machine, console, checkpoint)
    paths = {"best": out / BEST, "last": out / LAST, "history": out / HISTORY, "recipe": out / RECIPE}
    scores: dict[str, Any] = {}
    if _is_first_process():
        scores = _score(recipe, out, root, files)
        paths["scores"] = out / SCORES
    return FitResult(scores, paths)


def _checked_out(out: Path, recipe: Recipe, resume: bool) -> Path | None:
    """The checkpoint to resume from, if there is one."""
    if not _is_first_process():
        return out / RESUME if resume and (out / RESUME).exists() else None
    if resume and not (out / RECIPE).exists():
        remedy = "Leave out --resume to begin a run there."
        raise FileNotFoundError(message("train", "--out", "hold the run to resume", out, remedy))
    if not resume and (out / RECIPE).exists():
        remedy = "Continue it with --resume, or give another --out."
        raise ValueError(message("train", "--out", "be a folder without a run", out, remedy))
    if resume and (out / RESUME).exists():
        check_resumable(out / RESUME, recipe)
        return out / RESUME
    return None


def _require_images(recipe: Recipe, train_set: PointSet, validation_set: PointSet) -> None:
    for split in (train_set, validation_set):
        if not len(split):
            rule = "leave at least one image to train on and one to validate with"
            got = f"{len(train_set)} and {len(validation_set)}"
            raise ValueError(message("train", "validation_fraction", rule, got, "Change it, or --limit."))
    name = recipe.data.normalizer
    if name and name not in train_set.skeleton.normalizers:
        names = ", ".join(train_set.skeleton.normalizers)
        raise ValueError(message("train", "normalizer", f"be one of {names}", repr(name)))


def _module(recipe: Recipe, train_set: PointSet) -> PointModule:
    torch.manual_seed(derive(recipe.seed, WEIGHTS))
    model, grid = build_model(recipe, train_set.skeleton.num_points, pretrained=recipe.model.pretrained)
    localizer = make_localizer(recipe.localizer, grid, **recipe.localizer_options)
    return PointModule(model, localizer, grid, recipe=recipe, skeleton=train_set.skeleton)


def _train(
    module: PointModule,
    train_set: PointSet,
    validation_set: PointSet,
    files: RunFiles,
    machine: Machine,
    console: Console,
    checkpoint: Path | None,
) -> None:
    given = module.recipe.optimization
    with quiet_lightning():
        trainer = lightning.Trainer(
            max_epochs=given.epochs,
            accelerator=machine.accelerator,
            devices=machine.devices,
            strategy=machine.strategy,
            precision=machine.precision,
            gradient_clip_val=given.clip_norm or None,
            logger=TensorBoardLogger(files.out, name="tensorboard", version=""),
            callbacks=[EpochProgress(files, console), files],
            plugins=[AtomicCheckpointIO()],
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
        data = PointDataModule(module.recipe, train_set, validation_set, workers=machine.workers)
        handler = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        except SystemExit:
            # Lightning turns Ctrl-C into an exit of the process and goes deaf to it: a library must do neither.
            raise KeyboardInterrupt from None
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, handler)


def _score(recipe: Recipe, out: Path, root: Path | None, files: RunFiles) -> dict[str, Any]:
    """Scores the best weights on the test split, and writes the scores beside and into them."""
    found = evaluate(out / BEST, data_root=root)
    seconds = [row["seconds"] for row in files.history]
    found["seconds_per_epoch"] = median(seconds)
    found["seconds_training"] = round(sum(seconds), 3)
    found["epochs"] = len(seconds)
    found["recipe_fields"] = recipe.to_dict()
    write_json(out / SCORES, found)
    header = read_header(out / BEST)
    header["scores"] = {**header["scores"], "test": found["scores"][OWN], "protocol": found["protocol"]}
    save_weights(out / BEST, load_weights(out / BEST).model.state_dict(), header)
    return found


def _is_first_process() -> bool:
    # Lightning starts the other processes of a run as this same program, with their number in LOCAL_RANK.
    return int(os.environ.get("LOCAL_RANK", "0")) == 0 and int(os.environ.get("NODE_RANK", "0")) == 0
