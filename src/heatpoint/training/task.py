"""What training, scoring and tables ask of a kind of data: images, scans, point clouds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from heatpoint.localizers import Localizer
from heatpoint.recipes.config import Recipe
from heatpoint.skeleton import Skeleton
from heatpoint.support import Support

if TYPE_CHECKING:
    from heatpoint.training.weights import Trained

# Localizers whose maps are values from 0 to 1. From the small network's wide start (0.1), made for logits, the squared error of
# such maps needs most of a short training to find the background: 62 % NME after 6 epochs on 300-W at 64 px, 10 % from 0.001.
VALUE_MAPS, VALUE_STD = ("gaussian_heatmap",), 0.001


class SampleSet(Protocol):
    """What every split of every set has, whatever its samples are."""

    @property
    def name(self) -> str:
        """Of the data set."""

    @property
    def split(self) -> str:
        """Which part of it."""

    @property
    def skeleton(self) -> Skeleton:
        """Names of the points, surfaces or keypoints."""

    @property
    def samples(self) -> Sequence[Any]:
        """Its samples; each has a `key` and a `group`."""

    @property
    def protocol(self) -> Mapping[str, Any]:
        """What a score depends on beside the samples."""

    def __len__(self) -> int: ...


class Examples(Protocol):
    """Examples by (epoch, index): the same pair gives the same numbers in every run, process and order."""

    def __len__(self) -> int: ...
    def __getitem__(self, item: tuple[int, int], /) -> Any: ...
    def preload(self) -> None:
        """Reads into memory what fits, before workers fork. A broken file shows here."""


@dataclass(frozen=True)
class Monitor:
    """The error on held-out samples by which the best epoch is chosen; smaller is better.

    Args:
        key: Its name in histories.
        label: Its name on a terminal.
        factor: What it is multiplied by for people.
        digits: Behind the point.
        unit: After the number.

    >>> Monitor("validation_nme", "NME", factor=100, digits=2, unit="%").text(0.0512)
    'validation NME 5.12 %'
    """

    key: str
    label: str
    factor: float = 1.0
    digits: int = 2
    unit: str = ""

    def text(self, value: float) -> str:
        """The error in words."""
        return f"validation {self.label} {self.factor * value:.{self.digits}f} {self.unit}".rstrip()


class Task(ABC):
    """A kind of data, from its files to its scores. One object per kind; it holds no state.

    Attributes:
        name: As recipes store it.
        counted: What the samples are called, for messages.
        free: Fields of a recipe's data that testing may change; the others are fixed by the weights.
        network: Fields of a recipe's model that must agree for `--start` to take over another run's weights.
    """

    name: ClassVar[str]
    counted: ClassVar[str]
    free: ClassVar[tuple[str, ...]] = ("dataset", "limit")
    network: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def read_split(self, data: Any, root: Path | None, split: str) -> SampleSet:
        """Reads one split of a recipe's data set, cut to its `limit`.

        Raises:
            ValueError: If the data set or the split is unknown.
            FileNotFoundError: If its folder is missing.
        """

    @abstractmethod
    def fingerprint(self, found: SampleSet) -> str:
        """A digest of what a set is scored by, so that kept scores are not taken for those of another set."""

    @abstractmethod
    def check_samples(self, found: SampleSet, data: Any) -> None:
        """Looks at every sample of a set, decoding as little as possible; raises for what training would stumble over."""

    @abstractmethod
    def build_model(self, recipe: Recipe, num_points: int, *, pretrained: bool = False) -> tuple[nn.Module, Support]:
        """The recipe's network and the support of its maps (a placeholder where each sample has its own)."""

    @abstractmethod
    def dataset(self, found: SampleSet, recipe: Recipe, *, is_training: bool) -> Examples:
        """Examples of a set, augmented if they are to be trained on."""

    @abstractmethod
    def collate(self, examples: Sequence[Any]) -> Any:
        """Stacks examples into a batch: a NamedTuple of tensors."""

    @abstractmethod
    def loss(
        self,
        model: nn.Module,
        localizer: Localizer,
        batch: Any,
        recipe: Recipe,
        *,
        progress: float,
        generator: torch.Generator,
    ) -> Tensor:
        """The training loss of a batch, a scalar; `generator` is on the device of the batch."""

    @abstractmethod
    def monitor(self, recipe: Recipe) -> Monitor:
        """The error by which the best epoch is chosen."""

    @abstractmethod
    def validation_errors(self, model: nn.Module, localizer: Localizer, batch: Any, recipe: Recipe) -> Tensor:
        """Errors (n,) of a batch of held-out samples, without those that have none; their mean over the set is the monitor."""

    @abstractmethod
    def score(
        self,
        trained: Trained,
        localizers: Mapping[str, Localizer],
        found: SampleSet,
        *,
        flip_test: bool | None,
        batch_size: int,
        workers: int,
        device: str,
    ) -> dict[str, Any]:
        """Scores of a set: {"scores": {name of the localizer: {…}}, and what else there is to tell}."""

    @abstractmethod
    def protocol(
        self, recipe: Recipe, skeleton: Skeleton, found: SampleSet, *, flip_test: bool | None
    ) -> dict[str, Any]:
        """Everything beside the weights that changes a score."""

    def header(self, recipe: Recipe, skeleton: Skeleton) -> dict[str, Any]:
        """What a file of weights of this kind says beside recipe, skeleton and localizer."""
        return {}

    def facts(self, recipe: Recipe, train_set: SampleSet, validation_set: SampleSet) -> dict[str, Any]:
        """What a file of weights says of the samples that they were trained on and chosen by; plain JSON values."""
        return {}

    def first_std(self, recipe: Recipe) -> float | None:
        """Spread of the last layer's first weights where a recipe names none; None leaves the network's own."""
        return None

    def check_split(  # noqa: B027  (most tasks have nothing to check)
        self, recipe: Recipe, train_set: SampleSet, validation_set: SampleSet
    ) -> None:
        """Raises for a division from which the best epoch cannot be told."""

    def check_localizer(self, recipe: Recipe, localizer: Localizer) -> None:  # noqa: B027
        """Raises for a localizer that cannot be trained by this recipe."""

    def second_set(self, recipe: Recipe, root: Path | None, skeleton: Skeleton) -> SampleSet | None:
        """A set that gives half of every training batch; None if the recipe mixes nothing in."""
        return None

    def second_dataset(self, found: SampleSet, recipe: Recipe) -> Examples:
        """Examples of the second set, augmented."""
        raise NotImplementedError(f"{self.name} recipes mix nothing in.")


def std_for_values(recipe: Recipe) -> float | None:
    """Spread of the last layer's first weights where the localizer's maps are values; None where they are logits."""
    return VALUE_STD if recipe.localizer in VALUE_MAPS else None
