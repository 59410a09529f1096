"""A recipe to weights and scores."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from rich.console import Console

from heatpoint._checks import message
from heatpoint.localizers import make_localizer
from heatpoint.recipes.config import Recipe
from heatpoint.training.checkpoints import (
    BEST,
    HISTORY,
    LAST,
    RESUME,
    AtomicCheckpointIO,
    RunFiles,
    check_recipe_file,
    check_resumable,
)
from heatpoint.training.datamodule import PointDataModule
from heatpoint.training.evaluation import OWN, evaluate
from heatpoint.training.files import remove_partial, write_json
from heatpoint.training.machine import Machine, is_first_process
from heatpoint.training.module import PointModule
from heatpoint.training.progress import EpochProgress, quiet_lightning
from heatpoint.training.seeding import WEIGHTS, derive
from heatpoint.training.sets import drawn, hold_out, limited
from heatpoint.training.task import SampleSet
from heatpoint.training.tasks import check_set, task_of
from heatpoint.training.weights import build_model, read_header, read_state, save_weights, start_from

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
    train: SampleSet | None = None,
    test: SampleSet | None = None,
) -> FitResult:
    """Trains a recipe, keeps the best epoch by validation error (or the last, without validation), and scores it.

    The result on the CPU is a function of the recipe and the number of threads, also when the run was killed and resumed.

    Args:
        recipe: What to train.
        out: Folder of the run; must be new, or hold the run to resume.
        data_root: Folder of the data sets; None takes HEATPOINT_DATA.
        resume: Continue from the end of the last whole epoch.
        machine: Workers, precision, devices; None takes `Machine()`.
        console: Where progress is shown; None takes the terminal.
        train: A set of one's own to train on, in place of the recipe's; a share of it is held out to choose the epoch.
        test: A set of one's own to score on; only with `train`. None scores nothing then.

    Raises:
        FileNotFoundError: If the data or the run to resume are missing.
        TypeError: If a set of one's own is of another kind of data than the recipe.
        ValueError: If the recipe is not as it must be, or `out` holds another run.
    """
    out, machine, console = Path(out), machine or Machine(), console or Console()
    root = None if data_root is None else Path(data_root)
    machine.check()
    recipe = _named_after(recipe, train, test)
    checkpoint = _checked_out(out, recipe, resume)
    data = _data(recipe, root, machine, train, test)
    files = RunFiles(out)
    with torch.random.fork_rng(devices=[]), quiet_lightning():
        module = _module(recipe, data, is_new=checkpoint is None)
        trainer = _trainer(recipe, files, machine, console)
        data.preload()
        # Until here nothing is written: a mistake in the recipe, the data or the flags leaves no trace.
        if is_first_process():
            remove_partial(out)
            write_json(out / RECIPE, recipe.to_dict())
        _run(trainer, module, data, checkpoint)
    paths = {"best": out / BEST, "last": out / LAST, "history": out / HISTORY, "recipe": out / RECIPE}
    scores: dict[str, Any] = {}
    if recipe.data.test_split and is_first_process():
        scores = _score(recipe, out, root, files, test, machine)
        paths["scores"] = out / SCORES
    return FitResult(scores, paths)


def _named_after(recipe: Recipe, train: SampleSet | None, test: SampleSet | None) -> Recipe:
    """The recipe with the names of the sets that it is trained and scored on."""
    if train is None:
        if test is not None:
            raise ValueError(message("train", "test", "be given with train", "test alone"))
        return recipe
    check_set("train", "train", train, recipe)
    if test is not None:
        check_set("train", "test", test, recipe)
    if test is not None and test.skeleton.names != train.skeleton.names:
        raise ValueError(message("train", "test", "have the points of train", test))
    return replace(recipe, data=replace(recipe.data, dataset=train.name, test_split=test.split if test else ""))


def _checked_out(out: Path, recipe: Recipe, resume: bool) -> Path | None:
    """The checkpoint to resume from, if there is one."""
    if not is_first_process():
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
    if resume:
        check_recipe_file(out / RECIPE, recipe)
    return None


def _data(
    recipe: Recipe, root: Path | None, machine: Machine, train: SampleSet | None, test: SampleSet | None
) -> PointDataModule:
    """Reads and checks what is trained on and scored, so that a mistake shows before anything is written."""
    task = task_of(recipe)
    if recipe.data.test_split:
        task.check_samples(test or task.read_split(recipe.data, root, recipe.data.test_split), recipe.data)
    whole = limited(train, recipe.data.limit) if train is not None else task.read_split(recipe.data, root, "train")
    task.check_samples(whole, recipe.data)
    train_set, validation_set = hold_out(whole, recipe.data.validation_fraction, counted=task.counted)
    train_set = drawn(train_set, recipe.data.train_limit, seed=recipe.data.limit_seed)
    task.check_split(recipe, train_set, validation_set)
    second = task.second_set(recipe, root, train_set.skeleton)
    return PointDataModule(recipe, train_set, validation_set, workers=machine.workers, mixed_set=second)


def _module(recipe: Recipe, data: PointDataModule, *, is_new: bool) -> PointModule:
    skeleton = data.train_set.skeleton
    torch.manual_seed(derive(recipe.seed, WEIGHTS))
    pretrained = getattr(recipe.model, "pretrained", False)  # Of images alone: nobody publishes weights of the others.
    model, grid = build_model(recipe, skeleton.num_points, pretrained=pretrained)
    if recipe.model.start and is_new:
        start_from(model, recipe)
    localizer = make_localizer(recipe.localizer, grid, **recipe.localizer_options)
    task_of(recipe).check_localizer(recipe, localizer)
    return PointModule(model, localizer, grid, recipe=recipe, skeleton=skeleton, facts=data.facts)


def _trainer(recipe: Recipe, files: RunFiles, machine: Machine, console: Console) -> lightning.Trainer:
    try:
        return lightning.Trainer(
            max_epochs=recipe.optimization.epochs,
            accelerator=machine.accelerator,
            devices=machine.devices,
            strategy=machine.strategy,
            precision=machine.precision,
            gradient_clip_val=recipe.optimization.clip_norm or None,
            logger=TensorBoardLogger(files.out, name="tensorboard", version=""),
            callbacks=[EpochProgress(files, console), files],
            plugins=[AtomicCheckpointIO()],
            num_sanity_val_steps=0,
            limit_val_batches=1.0 if recipe.data.validation_fraction > 0 else 0,
            use_distributed_sampler=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
    except (MisconfigurationException, ValueError) as error:
        raise ValueError(f"train: {machine} does not suit this machine: {error}") from error


def _run(trainer: lightning.Trainer, module: PointModule, data: PointDataModule, checkpoint: Path | None) -> None:
    on_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:
        # Lightning turns Ctrl-C into an exit of the process and goes deaf to it: a library must do neither.
        raise KeyboardInterrupt from None
    finally:
        if on_main_thread:
            signal.signal(signal.SIGINT, handler)


def _score(
    recipe: Recipe, out: Path, root: Path | None, files: RunFiles, test: SampleSet | None, machine: Machine
) -> dict[str, Any]:
    """Scores the best weights on the test split, and writes the scores beside and into them."""
    found = evaluate(
        out / BEST,
        data_root=root,
        split=recipe.data.test_split,
        point_set=test,
        workers=machine.workers,
        device=machine.device,
    )
    seconds = [row["seconds"] for row in files.history]
    found["seconds_per_epoch"] = median(seconds)
    found["seconds_training"] = round(sum(seconds), 3)
    found["epochs"] = len(seconds)
    found["recipe_fields"] = recipe.to_dict()
    write_json(out / SCORES, found)
    header = read_header(out / BEST)
    header["scores"] = {**header["scores"], "test": found["scores"][OWN], "protocol": found["protocol"]}
    save_weights(out / BEST, read_state(out / BEST), header)
    return found
