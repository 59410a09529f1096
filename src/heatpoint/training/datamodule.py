"""The Lightning data module: which batches each process of a run sees."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import lightning
from torch.utils.data import DataLoader

from heatpoint.datasets import PointSet
from heatpoint.recipes.config import Recipe
from heatpoint.training.data import EpochSampler, ExampleDataset, make_loader
from heatpoint.training.mixing import SECOND, MixedDataset, MixedSampler
from heatpoint.training.seeding import AUGMENTATION, derive


class PointDataModule(lightning.LightningDataModule):
    """Augmented training images, shared out among processes, and the whole validation set for each of them.

    Args:
        recipe: Batch size, augmentation, seed.
        train_set: Samples to train on.
        validation_set: Samples held out; empty for a training without validation.
        workers: Processes that prepare images, per training process.
        mixed_set: Samples that give half of every training batch, with the same points; None mixes nothing in.
    """

    def __init__(
        self,
        recipe: Recipe,
        train_set: PointSet,
        validation_set: PointSet,
        *,
        workers: int = 0,
        mixed_set: PointSet | None = None,
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.workers = workers
        self.mixed_data: ExampleDataset | None = None
        if mixed_set is not None:
            data = replace(recipe.data, padding=recipe.data.mixed_padding or recipe.data.padding)
            seed = derive(recipe.seed, AUGMENTATION, SECOND)
            self.mixed_data = ExampleDataset(mixed_set, data, augmentation=recipe.augmentation, seed=seed)
        self.train_data = ExampleDataset(train_set, recipe.data, augmentation=recipe.augmentation, seed=recipe.seed)
        self.validation_data = ExampleDataset(validation_set, recipe.data) if len(validation_set) else None

    def preload(self) -> None:
        """Decodes the images into memory, before workers fork; a broken file shows here, before any training."""
        self.train_data.preload()
        if self.mixed_data is not None:
            self.mixed_data.preload()
        if self.validation_data is not None:
            self.validation_data.preload()

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of this process's share, in an order that depends on seed and epoch alone."""
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        size = self.recipe.optimization.batch_size
        sampler: EpochSampler | MixedSampler
        dataset: ExampleDataset | MixedDataset
        if self.mixed_data is None:
            dataset = self.train_data
            sampler = EpochSampler(len(dataset), seed=self.recipe.seed, rank=rank, world_size=world_size)
        else:
            dataset = MixedDataset(self.train_data, self.mixed_data)
            numbers = len(self.train_data), len(self.mixed_data)
            sampler = MixedSampler(*numbers, batch_size=size, seed=self.recipe.seed, rank=rank, world_size=world_size)
        # Lightning asks worker processes for the first batches of a resumed run before it names the epoch to the sampler.
        sampler.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed if self.trainer else 0)
        # A last batch of one image has no batch statistics: it is left out wherever a whole batch remains.
        whole = len(sampler) >= size
        return make_loader(dataset, sampler, batch_size=size, workers=self.workers, drop_last=whole)

    def val_dataloader(self) -> DataLoader[Any]:
        """Every process validates on all held-out images: the set is small, and the mean is the same for all."""
        if self.validation_data is None:
            raise ValueError("PointDataModule: validation_set must hold a sample to validate with, got none.")
        sampler = EpochSampler(len(self.validation_data), seed=self.recipe.seed, shuffle=False)
        size = self.recipe.optimization.batch_size
        return make_loader(self.validation_data, sampler, batch_size=size, workers=self.workers)
