"""The Lightning data module: which batches each process of a run sees."""

from __future__ import annotations

from typing import Any

import lightning
from torch.utils.data import DataLoader

from heatpoint.recipes.config import Recipe
from heatpoint.training.mixing import MixedDataset, MixedSampler
from heatpoint.training.sets import EpochSampler, make_loader
from heatpoint.training.task import Examples, SampleSet
from heatpoint.training.tasks import task_of


class PointDataModule(lightning.LightningDataModule):
    """Augmented training samples, shared out among processes, and the whole validation set for each of them.

    Args:
        recipe: Batch size, augmentation, seed.
        train_set: Samples to train on.
        validation_set: Samples held out; empty for a training without validation.
        workers: Processes that prepare samples, per training process.
        mixed_set: Samples that give half of every training batch, with the same points; None mixes nothing in.
    """

    def __init__(
        self,
        recipe: Recipe,
        train_set: SampleSet,
        validation_set: SampleSet,
        *,
        workers: int = 0,
        mixed_set: SampleSet | None = None,
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.workers = workers
        self.train_set = train_set
        self.task = task_of(recipe)
        self.facts = self.task.facts(recipe, train_set, validation_set)
        self.mixed_data = None if mixed_set is None else self.task.second_dataset(mixed_set, recipe)
        self.train_data = self.task.dataset(train_set, recipe, is_training=True)
        self.validation_data: Examples | None = None
        if len(validation_set):
            self.validation_data = self.task.dataset(validation_set, recipe, is_training=False)

    def preload(self) -> None:
        """Reads the samples into memory, before workers fork; a broken file shows here, before any training."""
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
        dataset: Examples
        if self.mixed_data is None:
            dataset = self.train_data
            sampler = EpochSampler(len(dataset), seed=self.recipe.seed, rank=rank, world_size=world_size)
        else:
            dataset = MixedDataset(self.train_data, self.mixed_data)
            numbers = len(self.train_data), len(self.mixed_data)
            sampler = MixedSampler(*numbers, batch_size=size, seed=self.recipe.seed, rank=rank, world_size=world_size)
        # Lightning asks worker processes for the first batches of a resumed run before it names the epoch to the sampler.
        sampler.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed if self.trainer else 0)
        # A last batch of one sample has no batch statistics: it is left out wherever a whole batch remains.
        whole = len(sampler) >= size
        return make_loader(
            dataset, sampler, collate=self.task.collate, batch_size=size, workers=self.workers, drop_last=whole
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Every process validates on all held-out samples: the set is small, and the mean is the same for all."""
        if self.validation_data is None:
            raise ValueError("PointDataModule: validation_set must hold a sample to validate with, got none.")
        sampler = EpochSampler(len(self.validation_data), seed=self.recipe.seed, shuffle=False)
        size = self.recipe.optimization.batch_size
        return make_loader(
            self.validation_data, sampler, collate=self.task.collate, batch_size=size, workers=self.workers
        )
