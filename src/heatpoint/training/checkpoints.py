"""Checkpoints that survive a kill at any moment, the best and the last weights, and the history of a run."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from heatpoint.recipes.config import Recipe, differences
from heatpoint.training.files import partial_path, write_bytes
from heatpoint.training.module import RECIPE_KEY, PointModule
from heatpoint.training.weights import make_header, save_weights

RESUME, BEST, LAST, HISTORY = "resume.ckpt", "model.safetensors", "last.safetensors", "history.csv"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there; reads tensors and plain values only, never code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes a checkpoint: whoever is killed meanwhile leaves the previous one."""
        partial = partial_path(Path(path))
        with partial.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Reads a checkpoint with torch's weights_only loader, always."""
        found: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        return found


class RunFiles(Checkpoint):
    """Keeps a run's files after each epoch: history, best weights, then the checkpoint to resume from.

    The order matters: a kill between two of them repeats the epoch from the earlier checkpoint, and writes the same again.

    Args:
        out: The run's folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.history: list[dict[str, float]] = []
        self.best: float | None = None
        self.seconds = 0.0
        self._began = 0.0

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run continues from."""
        return {"history": self.history, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues from a checkpoint."""
        self.history, self.best = list(state_dict["history"]), state_dict["best"]

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Starts the clock of an epoch."""
        if trainer.fit_loop.epoch_loop.batch_idx == 0:
            self._began = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        """Reads the clock: the time of an epoch is the time of its training steps and their data."""
        self.seconds = time.perf_counter() - self._began

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Writes the files of the epoch."""
        if not isinstance(pl_module, PointModule):
            raise TypeError(f"RunFiles: module must be a PointModule, got {type(pl_module).__name__}.")
        metrics = trainer.callback_metrics
        # Without validation the last epoch is the best there is.
        key = pl_module.monitor.key
        value = float(metrics[key]) if key in metrics else None
        self.history.append(
            {
                "epoch": trainer.current_epoch + 1,
                "train_loss": float(metrics["train_loss"]),
                **({} if value is None else {key: value}),
                "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
                "seconds": round(self.seconds, 4),
            }
        )
        improved = value is None or self._improves(value, bool(pl_module.validation_metric.higher_is_better))
        if improved:
            self.best = value
        if trainer.is_global_zero:
            write_bytes(self.out / HISTORY, _csv(self.history))
            if improved:
                self.save(pl_module, BEST)
        trainer.save_checkpoint(self.out / RESUME)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Writes the last weights."""
        if trainer.is_global_zero and isinstance(pl_module, PointModule) and self.history:
            self.save(pl_module, LAST)

    def save(self, module: PointModule, name: str) -> None:
        """Writes the module's weights with their header."""
        epoch = int(self.history[-1]["epoch"])
        scores = {key: value for key, value in self.history[-1].items() if key in ("epoch", module.monitor.key)}
        scores["epoch"] = epoch
        header = make_header(
            module.recipe, module.skeleton, module.localizer, module.grid, **module.facts, scores=scores
        )
        save_weights(self.out / name, module.model.state_dict(), header)

    def _improves(self, value: float, higher_is_better: bool) -> bool:
        if self.best is None or math.isnan(self.best):
            return True
        return value > self.best if higher_is_better else value < self.best


def check_resumable(path: Path, recipe: Recipe) -> None:
    """Raises ValueError, naming the fields that differ, if a checkpoint belongs to another recipe or cannot be read."""
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True).get(RECIPE_KEY)
    except Exception as error:
        raise ValueError(
            f"train: the checkpoint {path} cannot be read ({type(error).__name__}). Give another --out, or remove it."
        ) from error
    if stored is None:
        raise ValueError(f"train: {path} is not a checkpoint of heatpoint's. Give another --out.")
    _check_same(path, json.loads(stored), recipe, "a checkpoint")


def check_recipe_file(path: Path, recipe: Recipe) -> None:
    """Raises ValueError, naming the fields that differ, if a run's recipe.json is another recipe or cannot be read."""
    try:
        stored = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(
            f"train: {path} cannot be read ({type(error).__name__}). Give another --out, or remove it."
        ) from error
    _check_same(path, stored if isinstance(stored, dict) else {}, recipe, "the file")


def _check_same(path: Path, stored: dict[str, Any], recipe: Recipe, what: str) -> None:
    # A note is for people: its words may change while a run sleeps. Fields that came later had their defaults then.
    with contextlib.suppress(ValueError, TypeError):
        stored = Recipe.from_dict(stored).to_dict()
    found = differences({**stored, "note": recipe.note}, recipe.to_dict())
    if found:
        raise ValueError(
            f"train: --resume found {what} of another recipe in {path}: {'; '.join(found)}. "
            "Give the options of that run, or another --out."
        )


def _csv(rows: list[dict[str, float]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
