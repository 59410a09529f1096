"""What is done to sets whatever their samples are: cutting, drawing, holding out, an order by (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from heatpoint._checks import message
from heatpoint.datasets import grouped_split
from heatpoint.training.seeding import ORDER, numpy_generator
from heatpoint.training.task import Examples

HOLD_OUT_SEED = 0  # The same validation samples for every seed of a recipe, so that seeds can be compared.
AnySet = TypeVar("AnySet", bound=Any)


def limited(found: AnySet, limit: int) -> AnySet:
    """The first so many samples of a set, and in sets of images what is annotated in them; 0 is all."""
    if not limit or limit >= len(found):
        return found
    changes: dict[str, Any] = {"samples": found.samples[:limit]}
    if getattr(found, "annotations", ()):
        # Average precision counts every annotation: people in images that nobody looks at would all be missed.
        shown = {sample.ids.get("image_id") for sample in changes["samples"]}
        changes["annotations"] = tuple(record for record in found.annotations if record["image_id"] in shown)
    cut: AnySet = replace(found, **changes)
    return cut


def drawn(found: AnySet, number: int, *, seed: int = 0) -> AnySet:
    """So many samples of a set, the same ones on every machine; a greater number holds a smaller one's. 0 is all.

    Raises:
        ValueError: If the set has fewer.
    """
    if not number:
        return found
    if number > len(found):
        raise ValueError(message("train", "train_limit", f"be at most the {len(found)} training samples", number))
    order = numpy_generator(seed, ORDER).permutation(len(found))[:number]
    some: AnySet = replace(found, samples=tuple(found.samples[i] for i in sorted(order)))
    return some


def hold_out(found: AnySet, fraction: float, *, counted: str = "samples") -> tuple[AnySet, AnySet]:
    """Splits a set into training and validation, the same way for every seed; samples of one group stay together.

    Raises:
        ValueError: If a part that is wanted stays empty; `counted` is what samples are called.
    """
    kept, held = grouped_split(found.samples, fraction=fraction, seed=HOLD_OUT_SEED)
    if not kept or (fraction > 0 and not held):
        rule = f"leave at least one of the {counted} to train on and one to validate with"
        got = f"{len(kept)} and {len(held)}"
        raise ValueError(message("train", "validation_fraction", rule, got, "Change it, or --limit."))
    return replace(found, samples=kept), replace(found, samples=held, split="validation")


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index). The order depends on (seed, epoch) alone; each rank takes its share of equal length.

    >>> sampler = EpochSampler(5, seed=0, rank=1, world_size=2)
    >>> sampler.set_epoch(3)
    >>> len(sampler), [epoch for epoch, _ in sampler]
    (3, [3, 3, 3])
    """

    def __init__(self, length: int, *, seed: int, shuffle: bool = True, rank: int = 0, world_size: int = 1) -> None:
        self.length, self.seed, self.shuffle = length, seed, shuffle
        self.rank, self.world_size = rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch; Lightning calls it before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.length // self.world_size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.length)
        if self.shuffle:
            order = numpy_generator(self.seed, ORDER, self.epoch).permutation(self.length)
        # Ranks must take equally many steps, or they wait for each other for ever: the first samples fill up.
        order = np.resize(order, len(self) * self.world_size)
        return iter([(self.epoch, int(index)) for index in order[self.rank :: self.world_size]])


def make_loader(
    dataset: Examples,
    sampler: Sampler[tuple[int, int]],
    *,
    collate: Callable[[Sequence[Any]], Any],
    batch_size: int,
    workers: int,
    drop_last: bool = False,
) -> DataLoader[Any]:
    """A loader of batches. Without workers the steps' own process makes the examples, about 1 ms each at 64 pixels.

    With workers OpenCV is told to use one thread from here on: workers are forked, its pool of threads does not survive a fork,
    and a worker that touched it would wait for ever.
    """
    if workers:
        cv2.setNumThreads(1)
    found: Any = dataset
    return DataLoader(
        found,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        drop_last=drop_last,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        # Seeds of workers come from here, and not from the caller's own stream of random numbers.
        generator=torch.Generator().manual_seed(0),
    )
