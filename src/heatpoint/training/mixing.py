"""Two sets in every batch: half with bodies in space, half with points in the image plane alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from torch.utils.data import Dataset, Sampler

from heatpoint._checks import message
from heatpoint.datasets import PointSet, Sample
from heatpoint.skeleton import Skeleton
from heatpoint.training.data import Measured
from heatpoint.training.seeding import ORDER, numpy_generator
from heatpoint.training.sets import EpochSampler
from heatpoint.training.task import Examples

# Names by which another set calls nearly the same point: what the published mix of MPII into Human3.6M takes for one.
ALIASES = {"neck": "upper_neck", "head": "head_top"}
SECOND = 1  # Tells the second set's stream of random numbers from the first's.


class MixedDataset(Dataset[Measured]):
    """Two sets of examples one after the other; see `ExampleDataset`.

    Args:
        first: The set that is trained for.
        second: The set that is mixed in, with the same points.
    """

    def __init__(self, first: Examples, second: Examples) -> None:
        self.first, self.second = first, second

    def preload(self) -> None:
        """Decodes images into memory."""
        self.first.preload()
        self.second.preload()

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, item: tuple[int, int]) -> Measured:
        epoch, index = item
        beyond = index - len(self.first)
        found: Measured = self.first[epoch, index] if beyond < 0 else self.second[epoch, beyond]
        return found


class MixedSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index) of a `MixedDataset` so that half of each batch comes from each set.

    An epoch is one pass over the first set. The second set's images come in an order of their own, all of them before one comes
    again; a larger set gives other images in each epoch. The order depends on (seed, epoch) alone, and every rank takes its share
    of both sets, in equal numbers. The published code mixes whole epochs instead, so that half of a batch is the mean only.

    Args:
        first: Number of images in the set that is trained for.
        second: Number of images in the set that is mixed in.
        batch_size: Even; consecutive so many indices are a batch.
        seed: Of the run.
        rank: Of this process.
        world_size: Number of processes.

    Raises:
        ValueError: If batch_size is odd, or a set is empty.

    >>> sampler = MixedSampler(3, 2, batch_size=4, seed=0)
    >>> [index >= 3 for _, index in sampler]
    [False, False, True, True, False, True]
    """

    def __init__(
        self, first: int, second: int, *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        if batch_size < 2 or batch_size % 2:
            remedy = "Half of each batch comes from each set."
            raise ValueError(message("train", "batch_size", "be even with mixed_dataset", batch_size, remedy))
        for name, number in (("first", first), ("second", second)):
            if number < 1:
                raise ValueError(message("MixedSampler", name, "be at least 1", number))
        self.own = EpochSampler(first, seed=seed, rank=rank, world_size=world_size)
        self.second, self.half = second, batch_size // 2
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch; Lightning calls it before each."""
        self.epoch = epoch
        self.own.set_epoch(epoch)

    def __len__(self) -> int:
        return 2 * len(self.own)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        first = list(self.own)
        rank, world_size = self.own.rank, self.own.world_size
        rng = numpy_generator(self.own.seed, ORDER, self.epoch, SECOND)
        passes = -(-len(first) * world_size // self.second)
        order = np.concatenate([rng.permutation(self.second) for _ in range(passes)])[rank::world_size]
        for start in range(0, len(first), self.half):
            part = first[start : start + self.half]
            yield from part
            for index in order[start : start + len(part)]:
                yield self.epoch, self.own.length + int(index)


def with_points_of(point_set: PointSet, skeleton: Skeleton) -> PointSet:
    """The same images with the points of another skeleton: matched by name, or by `ALIASES`, hidden where the set has neither.

    Raises:
        ValueError: If no name is common.

    >>> from heatpoint.datasets import synthetic_bodies
    >>> bodies = synthetic_bodies(1, size=32)
    >>> some = with_points_of(bodies, Skeleton(("head", "tail", "nose")))
    >>> some.samples[0].visible
    array([ True, False,  True])
    """
    where = {name: index for index, name in enumerate(point_set.skeleton.names)}
    source = [where.get(name, where.get(ALIASES.get(name, ""), -1)) for name in skeleton.names]
    if max(source) < 0:
        rule = f"share names of points with {', '.join(skeleton.names[:4])} …"
        got = f"{point_set.name} with {', '.join(point_set.skeleton.names[:4])} …"
        raise ValueError(message("train", "mixed_dataset", rule, got))
    samples = tuple(_with_points(sample, np.array(source)) for sample in point_set.samples)
    return replace(point_set, skeleton=skeleton, samples=samples)


def _with_points(sample: Sample, source: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Sample:
    has = source >= 0
    # A body would need all points; what is mixed in is there for x and y.
    return replace(
        sample,
        points=np.where(has[:, None], sample.points[source], 0.0),
        visible=sample.visible[source] & has,
        occluded=None if sample.occluded is None else sample.occluded[source] & has,
        body=None,
    )
