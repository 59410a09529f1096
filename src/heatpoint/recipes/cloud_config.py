"""The typed parts of recipes for point clouds: which clouds, and which network reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from heatpoint._checks import message


@dataclass(frozen=True)
class CloudDataConfig:
    """Which clouds, and how many of their points the network reads."""

    task: ClassVar[str] = "cloud"

    dataset: str = "keypointnet_airplane"
    """Name of the data set (heatpoint.datasets.CLOUDS)."""
    num_points: int = 2048
    """Points of each cloud that the network reads."""
    validation_fraction: float = 0.05
    """Share of the training split that is held out to choose the best epoch. 0: none is, and the last epoch is kept."""
    test_split: str = "test"
    """Split that the best epoch is scored on at the end. Empty: none."""
    by_heart: bool = False
    """Train and test on the same clouds, all that the set has: does the network learn them by heart?"""
    limit: int = 0
    """Use only the first so many clouds of each split. 0: all."""
    train_limit: int = 0
    """Train on only so many clouds, drawn by `limit_seed` after the hold-out. 0: all."""
    limit_seed: int = 0
    """Which clouds `train_limit` draws."""

    def __post_init__(self) -> None:
        name, fraction = type(self).__name__, self.validation_fraction
        _require(name, "num_points", self.num_points >= 16, "be at least 16", self.num_points)
        _require(name, "validation_fraction", 0 <= fraction < 1, "be from 0 to below 1", fraction)
        if self.by_heart:
            _require(
                name,
                "validation_fraction",
                not fraction,
                "be 0 for learning by heart, which holds nothing out",
                fraction,
            )
        _require(name, "limit", self.limit >= 0, "be at least 0", self.limit)
        _require(name, "train_limit", self.train_limit >= 0, "be at least 0", self.train_limit)


@dataclass(frozen=True)
class CloudModelConfig:
    """PointNet++, which emits one map over the points of a cloud for each keypoint."""

    grouping: Literal["single", "multi"] = "single"
    """Neighbourhoods of one radius on each level, or of several side by side."""
    width: float = 1.0
    """Factor on the channels of every layer. 1: as published."""
    centers: tuple[int, ...] = ()
    """Points that each level keeps, falling. Empty: as published, 512 and 128."""
    head_dropout: float = 0.5
    """Share of features dropped before the last layer in training."""
    start: str = ""
    """A model.safetensors of ours with the same network to start from; its last layer is drawn anew. Empty: from scratch."""
    logits_std: float | None = None
    """Spread of the last layer's first weights. None: the network's own."""

    def __post_init__(self) -> None:
        _check_network(self)


@dataclass(frozen=True)
class SkeletonDataConfig(CloudDataConfig):
    """Which clouds are reconstructed from their keypoints; annotated keypoints are looked at in testing only."""

    task: ClassVar[str] = "skeleton"


@dataclass(frozen=True)
class SkeletonModelConfig:
    """Skeleton Merger: PointNet++ emits the maps, and the strengths of the segments between the keypoints."""

    num_keypoints: int = 10
    """Keypoints that are looked for; their meaning is found in training."""
    points_per_edge: int = 0
    """Points on the segment between two keypoints in the loss. 0: one per 0.01 of its length, from 15 to 200, as published."""
    grouping: Literal["single", "multi"] = "multi"
    """Neighbourhoods of one radius on each level, or of several side by side."""
    width: float = 1.0
    """Factor on the channels of every layer. 1: as published."""
    head_dropout: float = 0.5
    """Share of features dropped before the maps in training."""
    start: str = ""
    """A model.safetensors of ours with the same network to start from; its last layer is drawn anew. Empty: from scratch."""
    logits_std: float | None = None
    """Spread of the last layer's first weights. None: the network's own."""

    def __post_init__(self) -> None:
        _require("SkeletonModelConfig", "num_keypoints", self.num_keypoints >= 2, "be at least 2", self.num_keypoints)
        number = self.points_per_edge
        _require(
            "SkeletonModelConfig", "points_per_edge", number == 0 or 2 <= number <= 200, "be 0, or 2 to 200", number
        )
        _check_network(self)


def _check_network(config: CloudModelConfig | SkeletonModelConfig) -> None:
    name, std = type(config).__name__, config.logits_std
    _require(name, "width", config.width > 0, "be greater than 0", config.width)
    _require(name, "head_dropout", 0 <= config.head_dropout < 1, "be from 0 to below 1", config.head_dropout)
    _require(name, "logits_std", std is None or std > 0, "be greater than 0, or None", std)


def _require(function: str, argument: str, holds: bool, rule: str, got: object) -> None:
    if not holds:
        raise ValueError(message(function, argument, rule, got))
