"""From images to batches: reading, decoded images in memory, augmented examples."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from heatpoint._checks import one_of
from heatpoint.datasets import (
    DATASETS,
    PointSet,
    load_image,
    resolve_data_root,
    synthetic_bodies,
    synthetic_faces,
)
from heatpoint.datasets import Sample as FaceSample
from heatpoint.datasets.sample import Body
from heatpoint.datasets.whole_files import is_whole_picture
from heatpoint.recipes.config import DataConfig
from heatpoint.training.normalizing import default_normalizer, distances
from heatpoint.training.seeding import AUGMENTATION, numpy_generator
from heatpoint.training.sets import limited
from heatpoint.training.space import Space, space_of
from heatpoint.transforms import Augmentation, Example, box_of, make_example

# The data sets that need no files.
RENDERED = {"synthetic_faces": synthetic_faces, "synthetic_bodies": synthetic_bodies}


class Batch(NamedTuple):
    """What one step needs.

    Attributes:
        images: (B, 3, H, W) float32 in [0, 1].
        points: (B, K, 2) float32 in input pixels; (B, K, 3) in volumes.
        visible: (B, K) bool, False where there is nothing to learn.
        matrices: (B, 2, 3) float32, image pixels to input pixels.
        lengths: (B,) float32, what errors in image pixels are divided by; NaN or 0 where it is undefined.
        has_depth: (B,) bool, in volumes where it is not so everywhere: whether the third coordinate is known. Else None.
        space: In volumes: the cameras and the bodies. None in maps.
    """

    images: Tensor
    points: Tensor
    visible: Tensor
    matrices: Tensor
    lengths: Tensor
    has_depth: Tensor | None = None
    space: Space | None = None


@dataclass(frozen=True, eq=False)
class Measured(Example):
    """An example with the length by which its errors are divided, and in volumes the body of its sample."""

    length: float = math.nan
    body: Body | None = None


def read_split(data: DataConfig, root: Path | None, split: str) -> PointSet:
    """Reads one split of a recipe's data set, cut to the recipe's `limit`.

    Raises:
        ValueError: If the data set is unknown.
        FileNotFoundError: If its folder is missing.
    """
    one_of("read_split", "dataset", data.dataset, DATASETS)
    if data.dataset in RENDERED and data.limit:
        return RENDERED[data.dataset](data.limit, split=split)
    root = Path() if data.dataset in RENDERED else resolve_data_root(root)
    return limited(DATASETS[data.dataset](root, split), data.limit)


def fingerprint(point_set: PointSet) -> str:
    """A digest of what a set is scored by: names, points, visibility and boxes of its samples, in order.

    >>> a, b = synthetic_faces(2), synthetic_faces(3)
    >>> fingerprint(a) == fingerprint(limited(b, 2)), fingerprint(a) == fingerprint(b)
    (True, False)
    """
    digest = hashlib.sha256(f"{point_set.name}/{point_set.split}".encode())
    for sample in point_set.samples:
        digest.update(f"{sample.key}{sample.box}".encode())
        digest.update(sample.points.tobytes() + sample.visible.tobytes())
    return digest.hexdigest()


def check_samples(point_set: PointSet, data: DataConfig) -> None:
    """Looks at every sample of a set, decoding none: that it has the box asked for, and that its file is whole.

    Raises:
        FileNotFoundError: If an image is missing.
        ValueError: If an image is not whole, or a sample has no box of the recipe's policy.
    """
    for sample in point_set.samples:
        box_of(sample, data.box_policy, size=(1, 1))
    for path in dict.fromkeys(sample.image for sample in point_set.samples if isinstance(sample.image, Path)):
        if not is_whole_picture(path):
            load_image(path)  # Says what is wrong.


class ExampleDataset(Dataset[Measured]):
    """Examples by (epoch, index): the same pair gives the same pixels in every run, process and order.

    Args:
        point_set: The samples.
        data: Size, box policy and padding.
        augmentation: None for evaluation.
        seed: Of the run.
        cache_megabytes: Decoded images are kept until they fill this; the rest is decoded again each time.
    """

    def __init__(
        self,
        point_set: PointSet,
        data: DataConfig,
        *,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        cache_megabytes: float = 2048.0,
    ) -> None:
        self.point_set = point_set
        self.data = data
        self.augmentation = augmentation
        self.seed = seed
        self.samples: list[FaceSample] = list(point_set.samples)
        by = data.normalizer or default_normalizer(point_set.skeleton)
        self.lengths: list[float] = distances(point_set, by).tolist()
        self._room = cache_megabytes * 2**20

    def preload(self) -> None:
        """Decodes images into memory, before workers fork, until the room is used up. A broken file shows here."""
        for index in range(len(self.samples)):
            if self._room <= 0:
                break
            self._decoded(index)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, item: tuple[int, int]) -> Measured:
        epoch, index = item
        rng = numpy_generator(self.seed, AUGMENTATION, epoch, index) if self.augmentation else None
        example = make_example(
            self._decoded(index),
            size=self.data.size,
            policy=self.data.box_policy,
            padding=self.data.padding,
            augmentation=self.augmentation,
            rng=rng,
            skeleton=self.point_set.skeleton,
            depth_range_mm=self.data.depth_range_mm,
        )
        body = self.samples[index].body if self.data.depth_range_mm > 0 else None
        return Measured(**vars(example), length=self.lengths[index], body=body)

    def _decoded(self, index: int) -> FaceSample:
        sample = self.samples[index]
        if isinstance(sample.image, np.ndarray):
            return sample
        sample = replace(sample, image=load_image(sample))
        if self._room > 0 and isinstance(sample.image, np.ndarray):
            self._room -= sample.image.nbytes
            self.samples[index] = sample
        return sample


def collate(examples: Sequence[Measured]) -> Batch:
    """Stacks examples into a batch."""
    in_volume = examples[0].points.shape[-1] == 3
    has_depth = torch.tensor([example.has_depth for example in examples])
    return Batch(
        images=torch.stack([example.image for example in examples]),
        points=torch.stack([example.points for example in examples]),
        visible=torch.stack([example.visible for example in examples]),
        matrices=torch.from_numpy(np.stack([example.frame.matrix for example in examples])).float(),
        lengths=torch.tensor([example.length for example in examples], dtype=torch.float32),
        has_depth=has_depth if in_volume and not bool(has_depth.all()) else None,
        space=_space(examples) if in_volume else None,
    )


def _space(examples: Sequence[Measured]) -> Space:
    return space_of([example.body for example in examples], len(examples[0].points), dtype=torch.float32)
