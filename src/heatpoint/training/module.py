"""The Lightning module: one network, one localizer, and nothing random that is not a function of (seed, step)."""

from __future__ import annotations

import json
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from heatpoint.localizers import Localizer
from heatpoint.recipes.config import Recipe
from heatpoint.skeleton import Skeleton
from heatpoint.support import Grid
from heatpoint.training.data import Batch
from heatpoint.training.locating import locate, to_image
from heatpoint.training.seeding import LOSS, NETWORK, derive, torch_generator
from heatpoint.training.space import Space, relative_depths, relative_errors

RECIPE_KEY = "heatpoint_recipe"
MONITOR, MONITOR_3D = "validation_nme", "validation_mpjpe_mm"


class PointModule(lightning.LightningModule):
    """Trains a network's maps with a localizer's loss; validates by normalised mean error without a flip test.

    Volumes are validated by the mean per-joint position error in millimetres, from the root.

    Args:
        model: Images to logits.
        localizer: Loss and readout.
        grid: Where the maps' cells lie.
        recipe: Optimisation and seed.
        skeleton: Normalisers.
    """

    def __init__(
        self, model: nn.Module, localizer: Localizer, grid: Grid, *, recipe: Recipe, skeleton: Skeleton
    ) -> None:
        from heatpoint.metrics import NormalizedMeanError

        super().__init__()
        self.model = model
        self.localizer = localizer
        self.grid = grid
        self.recipe = recipe
        self.skeleton = skeleton
        self.validation_metric = NormalizedMeanError()
        self.monitor = MONITOR_3D if recipe.data.depth_range_mm > 0 else MONITOR

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam. The rate is set at the start of each epoch from the epoch alone, so a resumed run has the same."""
        given = self.recipe.optimization
        return torch.optim.Adam(self.model.parameters(), lr=given.learning_rate, weight_decay=given.weight_decay)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Sets what an epoch starts with: the learning rate, and the seed of layers that draw (dropout)."""
        if batch_idx == 0:
            torch.manual_seed(derive(self.recipe.seed, NETWORK, self.current_epoch, self.global_rank))
            for group in self.trainer.optimizers[0].param_groups:
                group["lr"] = self.recipe.optimization.rate_at(self.current_epoch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The localizer's loss, weighted by visibility; its draws depend on (seed, step, rank)."""
        logits = self.model(batch.images)
        step = self.global_step
        loss: Tensor = self.localizer.loss(
            logits,
            batch.points,
            weight=weights_of(batch),
            progress=step / max(1, int(self.trainer.estimated_stepping_batches)),
            generator=torch_generator(logits.device, self.recipe.seed, LOSS, step, self.global_rank),
        )
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.images), sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Updates the normalised mean error, in image pixels, or the error of bodies in millimetres."""
        found = locate(self.model, {"": self.localizer}, batch.images)
        if batch.space is not None:
            self._validate_space(found[""].points, batch, batch.space)
            return
        target = to_image(batch.points, batch.matrices)
        keep = batch.lengths > 0
        if keep.any():
            pred, lengths = to_image(found[""].points, batch.matrices), batch.lengths
            self.validation_metric.update(pred[keep], target[keep], lengths[keep], visible=batch.visible[keep])

    def _validate_space(self, points: Tensor, batch: Batch, space: Space) -> None:
        data = self.recipe.data
        depths = relative_depths(points[..., 2], side=data.size[0], depth_range_mm=data.depth_range_mm)
        pred, target = relative_errors(to_image(points[..., :2], batch.matrices), depths, space)
        if len(pred):
            self.validation_metric.update(pred, target, pred.new_ones(len(pred)))  # A length of 1: the unit is kept.

    def on_validation_epoch_end(self) -> None:
        """Logs the error and forgets it."""
        self.log(self.monitor, self.validation_metric.compute())
        self.validation_metric.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Stores the recipe in the checkpoint, so that another recipe cannot resume from it."""
        checkpoint[RECIPE_KEY] = json.dumps(self.recipe.to_dict())


def weights_of(batch: Batch) -> Tensor:
    """What counts in the loss: (B, K); in volumes (B, K, 3), without depth where a sample tells none.

    >>> batch = Batch(torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 3), torch.tensor([[True, False]]), torch.zeros(1, 2, 3),
    ...     torch.ones(1), has_depth=torch.tensor([False]))
    >>> weights_of(batch)
    tensor([[[1., 1., 0.],
             [0., 0., 0.]]])
    """
    weight = batch.visible.to(torch.float32)
    if batch.has_depth is None:
        return weight
    return torch.stack([weight, weight, weight * batch.has_depth[:, None]], dim=-1)
