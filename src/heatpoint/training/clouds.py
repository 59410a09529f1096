"""Keypoints in point clouds: one map over the points of a cloud for every keypoint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from heatpoint._checks import message, one_of
from heatpoint.datasets import CLOUDS, resolve_data_root
from heatpoint.datasets.cloud import Cloud, CloudSet, load_cloud
from heatpoint.datasets.synthetic_clouds import synthetic_clouds
from heatpoint.localizers import Localizer
from heatpoint.models import PointNet2
from heatpoint.recipes.cloud_config import CloudDataConfig
from heatpoint.recipes.config import Recipe
from heatpoint.skeleton import Skeleton
from heatpoint.support import Points, Support
from heatpoint.training.cloud_scores import Located, keypoint_scores, pck_protocol, protocol_of
from heatpoint.training.seeding import AUGMENTATION, numpy_generator
from heatpoint.training.sets import EpochSampler, limited, make_loader
from heatpoint.training.task import Examples, Monitor, Task
from heatpoint.training.weights import Trained
from heatpoint.transforms.clouds import CloudAugmentation, CloudExample, make_cloud_example

# What the names of sets begin with that need no files; the plural of a category follows.
RENDERED = "synthetic_"
BY_HEART_SPLITS = ("train", "test", "all")  # Each of them is all that was learnt by heart.
ARGMAX = "argmax"  # The reading that is scored beside the recipe's own.


class CloudBatch(NamedTuple):
    """What one step needs.

    Attributes:
        xyz: (B, N, 3) float32, the points that the network reads, in the unit sphere.
        points: (B, K, 3) float32, keypoints in the same coordinates.
        visible: (B, K) bool, False where a cloud has no such keypoint.
        matrices: (B, 3, 4) float32, a cloud's own coordinates to those of the input.
    """

    xyz: Tensor
    points: Tensor
    visible: Tensor
    matrices: Tensor


class CloudDataset(Dataset[CloudExample]):
    """Examples by (epoch, index): the same pair gives the same points in every run, process and order.

    Args:
        found: The clouds.
        data: How many points are read.
        augmentation: None for evaluation.
        seed: Of the run.
        keep_keypoints: Whether the rows of keypoints are always among the points read, see `make_cloud_example`: where the
            annotation is the target. Otherwise the choice of points would tell where the keypoints are.
        cache_megabytes: Clouds that were read are kept until they fill this; the rest is read again each time.
    """

    def __init__(
        self,
        found: CloudSet,
        data: CloudDataConfig,
        *,
        augmentation: CloudAugmentation | None = None,
        seed: int = 0,
        keep_keypoints: bool = False,
        cache_megabytes: float = 2048.0,
    ) -> None:
        self.found = found
        self.data = data
        self.augmentation = augmentation
        self.seed = seed
        self.keep_keypoints = keep_keypoints
        self.samples: list[Cloud] = list(found.samples)
        self._room = cache_megabytes * 2**20

    def preload(self) -> None:
        """Reads clouds into memory, before workers fork, until the room is used up. A broken file shows here."""
        for index in range(len(self.samples)):
            if self._room <= 0:
                break
            self._read(index)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, item: tuple[int, int]) -> CloudExample:
        epoch, index = item
        rng = numpy_generator(self.seed, AUGMENTATION, epoch, index) if self.augmentation else None
        return make_cloud_example(
            self._read(index),
            num_points=self.data.num_points,
            augmentation=self.augmentation,
            rng=rng,
            keep_keypoints=self.keep_keypoints,
        )

    def _read(self, index: int) -> Cloud:
        cloud = self.samples[index]
        if isinstance(cloud.xyz, np.ndarray):
            return cloud
        xyz = load_cloud(cloud)
        cloud = replace(cloud, xyz=xyz)
        if self._room > 0:
            self._room -= xyz.nbytes
            self.samples[index] = cloud
        return cloud


class CloudTask(Task):
    """Keypoints in point clouds, validated by their mean distance in the cloud's own unit.

    Attributes:
        is_supervised: Whether the annotated keypoints are the target of training.
    """

    name: ClassVar[str] = "cloud"
    counted: ClassVar[str] = "clouds"
    network: ClassVar[tuple[str, ...]] = ("grouping", "width", "centers")
    is_supervised: ClassVar[bool] = True

    def read_split(self, data: CloudDataConfig, root: Path | None, split: str) -> CloudSet:
        """Reads one split of a set in `CLOUDS`, cut to the recipe's `limit`.

        Raises:
            ValueError: If the data set or the split is unknown.
            FileNotFoundError: If its folder is missing.
        """
        one_of("read_split", "dataset", data.dataset, CLOUDS)
        is_rendered = data.dataset.startswith(RENDERED)
        if data.by_heart:
            one_of("read_split", "split", split, BY_HEART_SPLITS)
            split = "train" if is_rendered else "all"
        if is_rendered and data.limit:
            category = data.dataset.removeprefix(RENDERED).removesuffix("s")
            return synthetic_clouds(data.limit, category=category, split=split)
        found: CloudSet = CLOUDS[data.dataset](Path() if is_rendered else resolve_data_root(root), split)
        return limited(found, data.limit)

    def fingerprint(self, found: Any) -> str:
        """A digest of names, keypoints and visibility of the clouds, in order."""
        digest = hashlib.sha256(f"{found.name}/{found.split}".encode())
        for cloud in found.samples:
            digest.update(cloud.key.encode())
            digest.update(cloud.points.tobytes() + cloud.visible.tobytes())
        return digest.hexdigest()

    def check_samples(self, found: Any, data: CloudDataConfig) -> None:
        """Reads every cloud once: its files are small, and a broken one must not stop a training in its middle.

        Raises:
            FileNotFoundError: If a cloud is missing.
            ValueError: If a cloud is not whole or has too few points, or no keypoint that is to be learnt is visible anywhere
                in the set.
        """
        for cloud in found.samples:
            make_cloud_example(cloud, num_points=data.num_points)
        if self.is_supervised and len(found) and not any(cloud.visible.any() for cloud in found.samples):
            raise ValueError(message("train", "dataset", "have a keypoint in some cloud", repr(found)))

    def build_model(self, recipe: Recipe, num_points: int, *, pretrained: bool = False) -> tuple[nn.Module, Support]:
        """PointNet++, and a placeholder: each cloud is its own support."""
        given = recipe.model
        model = PointNet2(
            num_points,
            grouping=given.grouping,
            width=given.width,
            centers=given.centers or None,
            dropout=given.head_dropout,
        )
        return model, placeholder(recipe.data.num_points)

    def dataset(self, found: Any, recipe: Recipe, *, is_training: bool) -> Examples:
        """Clouds in the unit sphere, kept in memory."""
        if is_training:
            return CloudDataset(
                found,
                recipe.data,
                augmentation=recipe.augmentation,
                seed=recipe.seed,
                keep_keypoints=self.is_supervised,
            )
        return CloudDataset(found, recipe.data)

    def collate(self, examples: Sequence[Any]) -> CloudBatch:
        """Stacks examples."""
        return CloudBatch(
            torch.stack([example.xyz for example in examples]),
            torch.stack([example.points for example in examples]),
            torch.stack([example.visible for example in examples]),
            torch.from_numpy(np.stack([example.frame.matrix for example in examples])).float(),
        )

    def loss(
        self,
        model: nn.Module,
        localizer: Localizer,
        batch: CloudBatch,
        recipe: Recipe,
        *,
        progress: float,
        generator: torch.Generator,
    ) -> Tensor:
        """The localizer's loss over the keypoints that a cloud has, in units of the unit sphere."""
        return over(localizer, batch.xyz).loss(
            model(batch.xyz),
            batch.points,
            weight=batch.visible.to(torch.float32),
            progress=progress,
            generator=generator,
        )

    def monitor(self, recipe: Recipe) -> Monitor:
        """The mean distance of keypoints, in the cloud's own unit."""
        return Monitor("validation_distance", "distance", digits=4)

    def validation_errors(self, model: nn.Module, localizer: Localizer, batch: CloudBatch, recipe: Recipe) -> Tensor:
        """Mean distance (n,) of the keypoints of each cloud that has one, in the cloud's own unit."""
        found = over(localizer, batch.xyz).locate(model(batch.xyz)).points
        weight = batch.visible.to(found.dtype)
        distance = torch.linalg.vector_norm(
            to_cloud(found, batch.matrices) - to_cloud(batch.points, batch.matrices), dim=-1
        )
        count = weight.sum(dim=1)
        return ((distance * weight).sum(dim=1) / count.clamp(min=1))[count > 0]

    def score(
        self,
        trained: Trained,
        localizers: Mapping[str, Localizer],
        found: Any,
        *,
        flip_test: bool | None,
        batch_size: int,
        workers: int,
        device: str,
    ) -> dict[str, Any]:
        """See `keypoint_scores`; the maps are read once more by their largest value.

        Raises:
            ValueError: If a flip test is asked for.
        """
        refuse_flip(flip_test)
        readings = {**localizers, ARGMAX: replace(trained.localizer, readout=ARGMAX)}
        located = locate_clouds(self, trained, readings, found, batch_size=batch_size, workers=workers, device=device)
        return {"scores": keypoint_scores(located, found), "decoders": {k: repr(v) for k, v in readings.items()}}

    def protocol(self, recipe: Recipe, skeleton: Skeleton, found: Any, *, flip_test: bool | None) -> dict[str, Any]:
        """See `protocol_of` and `pck_protocol`."""
        return {**protocol_of(recipe, found), **pck_protocol()}


def refuse_flip(flip_test: bool | None) -> None:
    """Raises ValueError if a flip test is asked for."""
    if flip_test:
        remedy = "Leave it out."
        raise ValueError(
            message("evaluate", "--flip-test", "be given for images and scans only", "point clouds", remedy)
        )


def placeholder(num_points: int) -> Points:
    """The support that a localizer is made on before there is a cloud.

    >>> placeholder(16).shape
    (16,)
    """
    return Points(torch.zeros(num_points, 3))


def over(localizer: Localizer, xyz: Tensor) -> Localizer:
    """A localizer over the points (B, N, 3) of a batch of clouds, for maps (B, K, N)."""
    return replace(localizer, grid=Points(xyz[:, None]))


def to_cloud(points: Tensor, matrices: Tensor) -> Tensor:
    """Input points (B, K, 3) to the clouds' own coordinates, by the inverses of (B, 3, 4) matrices.

    >>> matrix = torch.tensor([[[2.0, 0.0, 0.0, 1.0], [0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]]])
    >>> to_cloud(torch.tensor([[[3.0, 4.0, 0.0]]]), matrix)
    tensor([[[1., 2., 0.]]])
    """
    shifted = (points - matrices[:, None, :, 3]).transpose(-1, -2)
    return torch.linalg.solve(matrices[:, :, :3], shifted).transpose(-1, -2)


@torch.no_grad()
def locate_clouds(
    task: Task,
    trained: Trained,
    localizers: Mapping[str, Localizer],
    found: CloudSet,
    *,
    batch_size: int,
    workers: int,
    device: str,
) -> dict[str, Located]:
    """Locates the keypoints of all clouds of a set, running the network once for each."""
    dataset = task.dataset(found, trained.recipe, is_training=False)
    loader = make_loader(
        dataset,
        EpochSampler(len(dataset), seed=0, shuffle=False),
        collate=task.collate,
        batch_size=batch_size,
        workers=workers,
    )
    parts: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in localizers}
    for batch in loader:
        xyz = batch.xyz.to(device)
        logits = trained.model(xyz)
        for name, localizer in localizers.items():
            item = over(localizer, xyz).locate(logits)
            points = to_cloud(item.points.double().cpu(), batch.matrices.double())
            parts[name].append((points, item.confidence.double().cpu()))
    return {name: Located(*(torch.cat(column) for column in zip(*rows, strict=True))) for name, rows in parts.items()}
