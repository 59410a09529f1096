"""The Lightning module: one network, one localizer, and nothing random that is not a function of (seed, step)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from heatpoint.localizers import Localizer
from heatpoint.recipes.config import Recipe
from heatpoint.skeleton import Skeleton
from heatpoint.support import Support
from heatpoint.training.seeding import LOSS, NETWORK, derive, torch_generator
from heatpoint.training.tasks import task_of

RECIPE_KEY = "heatpoint_recipe"


class PointModule(lightning.LightningModule):
    """Trains a network's maps with the loss of its recipe's task; validates by the task's error, without a flip test.

    Args:
        model: Inputs to logits.
        localizer: Loss and readout.
        grid: Where the maps' cells lie.
        recipe: Optimisation and seed.
        skeleton: Names of the points.
        facts: What files of weights are to say of the samples, see `Task.facts`.
    """

    def __init__(
        self,
        model: nn.Module,
        localizer: Localizer,
        grid: Support,
        *,
        recipe: Recipe,
        skeleton: Skeleton,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        from heatpoint.metrics import NormalizedMeanError

        super().__init__()
        self.model = model
        self.localizer = localizer
        self.grid = grid
        self.recipe = recipe
        self.skeleton = skeleton
        self.facts = dict(facts or {})
        self.task = task_of(recipe)
        self.validation_metric = NormalizedMeanError()
        self.monitor = self.task.monitor(recipe)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam. The rate is set at the start of each epoch from the epoch alone, so a resumed run has the same."""
        given = self.recipe.optimization
        return torch.optim.Adam(self.model.parameters(), lr=given.learning_rate, weight_decay=given.weight_decay)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Sets what an epoch starts with: the learning rate, and the seed of layers that draw (dropout)."""
        if batch_idx == 0:
            torch.manual_seed(derive(self.recipe.seed, NETWORK, self.current_epoch, self.global_rank))
            for group in self.trainer.optimizers[0].param_groups:
                group["lr"] = self.recipe.optimization.rate_at(self.current_epoch)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The task's loss; its draws depend on (seed, step, rank)."""
        step = self.global_step
        loss = self.task.loss(
            self.model,
            self.localizer,
            batch,
            self.recipe,
            progress=step / max(1, int(self.trainer.estimated_stepping_batches)),
            generator=torch_generator(batch[0].device, self.recipe.seed, LOSS, step, self.global_rank),
        )
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch[0]), sync_dist=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Gathers the errors of held-out samples."""
        errors = self.task.validation_errors(self.model, self.localizer, batch, self.recipe)
        if len(errors):
            errors = errors[:, None, None]
            self.validation_metric.update(errors, torch.zeros_like(errors), torch.ones_like(errors[:, 0, 0]))

    def on_validation_epoch_end(self) -> None:
        """Logs the error and forgets it."""
        self.log(self.monitor.key, self.validation_metric.compute())
        self.validation_metric.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Stores the recipe in the checkpoint, so that another recipe cannot resume from it."""
        checkpoint[RECIPE_KEY] = json.dumps(self.recipe.to_dict())
