"""Points in images: maps of the image plane, and volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from heatpoint._checks import message, one_of
from heatpoint.datasets import PointSet
from heatpoint.localizers import Localizer
from heatpoint.metrics.functional import nme
from heatpoint.models import make_model
from heatpoint.recipes.config import DataConfig, Recipe
from heatpoint.skeleton import Skeleton
from heatpoint.support import Support
from heatpoint.training import data as examples
from heatpoint.training.data import Batch, ExampleDataset, Measured
from heatpoint.training.image_scores import PEAK, activation_readings, locate_set, pose_rule, protocol
from heatpoint.training.locating import locate, to_image
from heatpoint.training.mixing import SECOND, with_points_of
from heatpoint.training.normalizing import default_normalizer, distances, normalizers_of
from heatpoint.training.scoring import scores_of
from heatpoint.training.seeding import AUGMENTATION, derive
from heatpoint.training.space import Space, relative_depths, relative_errors
from heatpoint.training.task import Monitor, Task, std_for_values
from heatpoint.training.weights import Trained

MONITOR = Monitor("validation_nme", "NME", factor=100, digits=2, unit="%")
MONITOR_3D = Monitor("validation_mpjpe_mm", "MPJPE", digits=1, unit="mm")


class ImageTask(Task):
    """Points in images, validated by the normalised mean error; in volumes by the position error from the root."""

    name: ClassVar[str] = "image"
    counted: ClassVar[str] = "images"
    free: ClassVar[tuple[str, ...]] = (
        "dataset",
        "box_policy",
        "padding",
        "flip_test",
        "flip_average",
        "pose_score",
        "normalizer",
        "limit",
    )
    network: ClassVar[tuple[str, ...]] = ("backbone", "head")

    def read_split(self, data: DataConfig, root: Path | None, split: str) -> PointSet:
        """See `training.data.read_split`."""
        return examples.read_split(data, root, split)

    def fingerprint(self, found: Any) -> str:
        """See `training.data.fingerprint`."""
        return examples.fingerprint(found)

    def check_samples(self, found: Any, data: DataConfig) -> None:
        """See `training.data.check_samples`."""
        examples.check_samples(found, data)

    def build_model(self, recipe: Recipe, num_points: int, *, pretrained: bool = False) -> tuple[nn.Module, Support]:
        """A network of `make_model` and its grid.

        Raises:
            ValueError: If only one of `depth` and `depth_range_mm` is given.
        """
        if (recipe.model.depth > 0) != (recipe.data.depth_range_mm > 0):
            got = f"{recipe.model.depth} and {recipe.data.depth_range_mm:g}"
            rule = "be greater than 0 where depth_range_mm is, and only there"
            raise ValueError(message("train", "depth", rule, got, "Give both for volumes, neither for maps."))
        model = make_model(
            recipe.model.backbone,
            num_points=num_points,
            input_size=recipe.data.size,
            head=recipe.model.head,
            pretrained=pretrained,
            channels_per_point=channels_of(recipe),
            depth=recipe.model.depth,
        )
        return model, model.grid(recipe.model.offset)

    def dataset(self, found: Any, recipe: Recipe, *, is_training: bool) -> ExampleDataset:
        """Crops of images, kept in memory decoded."""
        if is_training:
            return ExampleDataset(found, recipe.data, augmentation=recipe.augmentation, seed=recipe.seed)
        return ExampleDataset(found, recipe.data)

    def collate(self, examples_: Sequence[Measured]) -> Batch:
        """See `training.data.collate`."""
        return examples.collate(examples_)

    def loss(
        self,
        model: nn.Module,
        localizer: Localizer,
        batch: Batch,
        recipe: Recipe,
        *,
        progress: float,
        generator: torch.Generator,
    ) -> Tensor:
        """The localizer's loss, weighted by visibility."""
        logits = model(batch.images)
        return localizer.loss(logits, batch.points, weight=weights_of(batch), progress=progress, generator=generator)

    def monitor(self, recipe: Recipe) -> Monitor:
        """The normalised mean error; of volumes, the error in millimetres."""
        return MONITOR_3D if recipe.data.depth_range_mm > 0 else MONITOR

    def validation_errors(self, model: nn.Module, localizer: Localizer, batch: Batch, recipe: Recipe) -> Tensor:
        """Mean errors (n,) of the samples that have one."""
        points = locate(model, {"": localizer}, batch.images)[""].points
        if batch.space is not None:
            return _errors_in_space(points, batch, batch.space, recipe.data)
        keep = batch.visible.any(dim=1) & (batch.lengths > 0)
        pred, target = to_image(points, batch.matrices)[keep], to_image(batch.points, batch.matrices)[keep]
        return nme(pred, target, batch.lengths[keep], visible=batch.visible[keep])

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
        """See `scores_of`; under "activations" the mean activations of randomized rounding (its Table 2), by rank."""
        data = trained.recipe.data
        # The same maps once more, for the peak's correlation beside that of the localizer's own confidence.
        readings = {
            **localizers,
            PEAK: replace(trained.localizer, confidence_by="peak"),
            **activation_readings(trained),
        }
        located = locate_set(
            trained,
            readings,
            found,
            flip_test=_flips(data, flip_test),
            batch_size=batch_size,
            workers=workers,
            device=device,
        )
        peaks = located.pop(PEAK).confidence
        shares = [float(located.pop(name).confidence.mean()) for name in activation_readings(trained)]
        scores = {name: scores_of(item, found, peaks=peaks, rule=pose_rule(data)) for name, item in located.items()}
        return {"scores": scores, **({"activations": shares} if shares else {})}

    def protocol(self, recipe: Recipe, skeleton: Skeleton, found: Any, *, flip_test: bool | None) -> dict[str, Any]:
        """See `image_scores.protocol`."""
        return protocol(recipe, skeleton, found, flip_test=_flips(recipe.data, flip_test))

    def header(self, recipe: Recipe, skeleton: Skeleton) -> dict[str, Any]:
        """How objects are cut out, and what errors are divided by."""
        return {
            "box_policy": recipe.data.box_policy,
            "normalizer": recipe.data.normalizer or default_normalizer(skeleton),
        }

    def first_std(self, recipe: Recipe) -> float | None:
        """0.001 for maps of values."""
        return std_for_values(recipe)

    def check_split(self, recipe: Recipe, train_set: Any, validation_set: Any) -> None:
        """The normaliser must be one of the skeleton's, and have a length in a validation image."""
        name = recipe.data.normalizer or default_normalizer(train_set.skeleton)
        one_of("train", "normalizer", name, normalizers_of(train_set.skeleton))
        if len(validation_set) and not bool((distances(validation_set, name) > 0).any()):
            remedy = "Its points coincide or are hidden in all: choose another with --normalizer, or give boxes."
            raise ValueError(message("train", "normalizer", "have a length in a validation image", repr(name), remedy))

    def check_localizer(self, recipe: Recipe, localizer: Localizer) -> None:
        """Mixed volumes need a loss that is a sum over coordinates."""
        if recipe.data.mixed_dataset and recipe.model.depth and not localizer.weighs_axes:
            rule = "be one whose loss is a sum over coordinates, with mixed_dataset"
            remedy = "Depths of the mixed set are unknown: take soft_argmax or sampling_argmax, with distance l1."
            raise ValueError(message("train", "localizer", rule, recipe.localizer, remedy))

    def second_set(self, recipe: Recipe, root: Path | None, skeleton: Skeleton) -> PointSet | None:
        """The training split of the set that is mixed in, with the points of the recipe's own."""
        if not recipe.data.mixed_dataset:
            return None
        data = replace(recipe.data, dataset=recipe.data.mixed_dataset)
        found = with_points_of(examples.read_split(data, root, "train"), skeleton)
        examples.check_samples(found, data)
        return found

    def second_dataset(self, found: Any, recipe: Recipe) -> ExampleDataset:
        """Crops of the mixed set, with a padding of its own."""
        data = replace(recipe.data, padding=recipe.data.mixed_padding or recipe.data.padding)
        seed = derive(recipe.seed, AUGMENTATION, SECOND)
        return ExampleDataset(found, data, augmentation=recipe.augmentation, seed=seed)


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


def channels_of(recipe: Recipe) -> int:
    """Channels per point that the recipe's localizer reads: the network follows it.

    >>> channels_of(Recipe("a", "randomized_rounding", localizer_options={"channels": 2})), channels_of(Recipe("b", "crps"))
    (2, 1)
    """
    wanted = recipe.localizer_options.get("channels", 1) if recipe.localizer == "randomized_rounding" else 1
    return 2 if wanted == 2 else 1  # What is neither, the localizer refuses in its own words.


def _errors_in_space(points: Tensor, batch: Batch, space: Space, data: DataConfig) -> Tensor:
    depths = relative_depths(points[..., 2], side=data.size[0], depth_range_mm=data.depth_range_mm)
    pred, target = relative_errors(to_image(points[..., :2], batch.matrices), depths, space)
    return nme(pred, target, pred.new_ones(len(pred)))  # A length of 1: the unit is kept.


def _flips(data: DataConfig, flip_test: bool | None) -> bool:
    return data.flip_test if flip_test is None else flip_test
