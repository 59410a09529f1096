"""What a person sees of a training run: one bar on a terminal, one line per epoch elsewhere."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from heatpoint.training.checkpoints import RunFiles
from heatpoint.training.module import PointModule

# Advice of Lightning that does not apply here, by the beginning of its text.
UNWANTED = (
    r".*does not have many workers",  # Examples take about a millisecond: a process for them costs more.
    r".*The number of training batches",  # About its step-wise logging, which is not used.
    r".*GPU available but not used",
    r".*LeafSpec",  # Lightning calls a deprecated function of torch.
    r".*You have overridden `on_train_batch_start`",
)


class EpochProgress(Callback):
    """Shows epoch, loss, validation error and seconds per epoch.

    Args:
        files: Whose history is shown.
        console: Where to; on a terminal one bar is drawn, elsewhere one line per epoch is written.
    """

    def __init__(self, files: RunFiles, console: Console) -> None:
        self.files = files
        self.console = console
        self.bar: Progress | None = None
        self.task: TaskID | None = None

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Opens the bar."""
        if trainer.is_global_zero and self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[line]}"),
            )
            self.bar = Progress(*columns, console=self.console)
            epochs = trainer.max_epochs or 0
            steps = epochs * int(trainer.num_training_batches)
            self.task = self.bar.add_task("training", total=steps, completed=trainer.global_step, line="")
            self.bar.start()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Moves the bar."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=trainer.global_step)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Writes the epoch's line. Runs before or after the files: what it shows it takes from the trainer."""
        if not trainer.is_global_zero:
            return
        metrics = trainer.callback_metrics
        line = (
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  loss {float(metrics['train_loss']):.4g}  "
            f"{_validation(pl_module, metrics)}  {self.files.seconds:.1f} s"
        )
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, line=line)
        else:
            self.console.print(line, highlight=False)

    def on_train_end(self, *_: Any) -> None:
        """Closes the bar."""
        if self.bar is not None:
            self.bar.stop()

    def on_exception(self, *_: Any) -> None:
        """Closes the bar, so that an error is readable."""
        self.on_train_end()


def _validation(module: lightning.LightningModule, metrics: Mapping[str, Any]) -> str:
    monitor = module.monitor if isinstance(module, PointModule) else None
    if monitor is None or monitor.key not in metrics:
        return "no validation"
    return monitor.text(float(metrics[monitor.key]))


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keeps Lightning's advertisements and the advice in `UNWANTED` from a person's terminal, for as long as it lasts."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for text in UNWANTED:
            warnings.filterwarnings("ignore", message=text)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
