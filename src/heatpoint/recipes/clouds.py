"""Keypoints of point clouds, annotated and unannotated, as in Sampling-Argmax (5.4, 5.5, Appendix A), and small stand-ins.

The paper gives 2048 points, Adam at 1e-3 halved every 10 of 100 epochs (50 without annotations), batches of 8, a Gaussian basis
of σ = 0.01 and the weights of the regularizers. These are the numbers of KeypointNet's own benchmark, whose jitter, shift and
weight decay stand here too; lengths are turned from its files' unit into that of the unit sphere, about 2.5 times as large.

The paper does not say in which unit its σ_t² = 4 is measured on points. Here it is 4 cells², as on grids, and a cell is the σ
of the basis: the target variance is 4 · 0.01² and the Gaussian of the other regularizer has σ = 0.02, in input units. Read as
4 squared units of the sphere, which no map over it can reach, it would push every map apart.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from heatpoint.recipes.cloud_config import CloudDataConfig, CloudModelConfig, SkeletonDataConfig, SkeletonModelConfig
from heatpoint.recipes.config import OptimizationConfig, Recipe
from heatpoint.recipes.published import SIX
from heatpoint.transforms.clouds import CloudAugmentation

CATEGORIES = (
    "airplane", "bathtub", "bed", "bottle", "cap", "car", "chair", "guitar", "helmet", "knife", "laptop", "motorcycle",
    "mug", "skateboard", "table", "vessel",
)  # fmt: skip
RENDERED = ("synthetic_chairs", "synthetic_tables", "synthetic_airplanes")
SIGMA = 0.01
BASIS = {"name": "gaussian", "sigma": SIGMA}
# A cell of a map over points is taken to be σ long.
VARIANCE, SPREAD = 4 * SIGMA**2, 2 * SIGMA

# Options that a localizer has on points; the weights of the regularizers are those of the paper on points.
OPTIONS: dict[str, dict[str, Any]] = {
    "soft_argmax": {},
    "soft_argmax_variance": {"target_variance": VARIANCE, "regularizer_weight": 1.0},
    "soft_argmax_js": {"sigma_cells": SPREAD, "regularizer_weight": 0.01},
    "discrete_expectation": {},
    "sampling_argmax": {"basis": BASIS, "num_samples": 30},
    "log_score": {"basis": BASIS},
    "energy_score": {},
    "crps": {"basis": BASIS},
}

NONE = CloudAugmentation()
# The benchmark's σ = 0.004, at most 0.01, and shifts of up to 0.02, in files whose objects have a radius of about 0.4.
BENCHMARK = CloudAugmentation(jitter=0.01, jitter_clip=0.025, translation=0.05)
TURNED = CloudAugmentation(rotation_deg=10, scale=0.1, translation=0.02, jitter=0.002, jitter_clip=0.01)

HALVED = tuple(step / 10 for step in range(1, 10))
SUPERVISED = OptimizationConfig(epochs=100, batch_size=8, milestones=HALVED, decay=0.5, weight_decay=1e-4)
UNSUPERVISED = OptimizationConfig(epochs=50, batch_size=8, milestones=(0.2, 0.4, 0.6, 0.8), decay=0.5)
BY_HEART = OptimizationConfig(epochs=150, batch_size=5, learning_rate=3e-3, milestones=(0.5, 0.75), decay=0.3)


def recipes() -> list[Recipe]:
    """All recipes of point clouds."""
    found = [_keypoints(category, localizer) for category in CATEGORIES for localizer in OPTIONS]
    found += [_skeleton(category, localizer) for category in CATEGORIES for localizer in SIX]
    found += [_by_heart(localizer) for localizer in OPTIONS]
    found += [_small_keypoints(dataset, localizer) for dataset in RENDERED for localizer in OPTIONS]
    found += [_small_skeleton(dataset, localizer) for dataset in RENDERED for localizer in SIX]
    return found


def _keypoints(category: str, localizer: str) -> Recipe:
    """`keypointnet_<category>-<localizer>`."""
    return Recipe(
        f"keypointnet_{category}-{localizer}",
        localizer,
        localizer_options=dict(OPTIONS[localizer]),
        data=CloudDataConfig(dataset=f"keypointnet_{category}"),
        model=CloudModelConfig(),
        optimization=SUPERVISED,
        augmentation=BENCHMARK,
        note="PointNet++, Sampling-Argmax, 5.4",
    )


def _skeleton(category: str, localizer: str) -> Recipe:
    """`keypointnet_<category>-skeleton-<localizer>`."""
    return Recipe(
        f"keypointnet_{category}-skeleton-{localizer}",
        localizer,
        localizer_options=dict(OPTIONS[localizer]),
        data=SkeletonDataConfig(dataset=f"keypointnet_{category}"),
        model=SkeletonModelConfig(),
        optimization=UNSUPERVISED,
        augmentation=NONE,
        note="Skeleton Merger without annotations, Sampling-Argmax, 5.5",
    )


def _by_heart(localizer: str) -> Recipe:
    """`keypointnet_airplane-<localizer>-overfit`: the annotated airplanes at hand, learnt and tested."""
    data = CloudDataConfig(dataset="keypointnet_airplane", by_heart=True, validation_fraction=0)
    return replace(
        _keypoints("airplane", localizer),
        name=f"keypointnet_airplane-{localizer}-overfit",
        data=data,
        model=CloudModelConfig(width=0.25, head_dropout=0.0),
        optimization=BY_HEART,
        augmentation=NONE,
        note="narrow PointNet++, trained and tested on the same clouds",
    )


def _small_keypoints(dataset: str, localizer: str) -> Recipe:
    """`<rendered set>-<localizer>`: a narrow network on all 2048 points, two minutes of one thread (five with 30 samples)."""
    return Recipe(
        f"{dataset}-{localizer}",
        localizer,
        localizer_options=dict(OPTIONS[localizer]),
        data=CloudDataConfig(dataset=dataset),
        model=CloudModelConfig(width=0.25, centers=(256, 64)),
        optimization=OptimizationConfig(epochs=4, batch_size=8, learning_rate=2e-3, milestones=(0.6, 0.8), decay=0.3),
        augmentation=TURNED,
        note="narrow PointNet++, made-up shapes",
    )


def _small_skeleton(dataset: str, localizer: str) -> Recipe:
    """`<rendered set>-skeleton-<localizer>`: without annotations, a few minutes of one thread."""
    return Recipe(
        f"{dataset}-skeleton-{localizer}",
        localizer,
        localizer_options=dict(OPTIONS[localizer]),
        data=SkeletonDataConfig(dataset=dataset, num_points=256),
        model=SkeletonModelConfig(num_keypoints=8, points_per_edge=8, grouping="single", width=0.25),
        optimization=OptimizationConfig(epochs=3, batch_size=8, learning_rate=2e-3, milestones=(0.67,), decay=0.5),
        augmentation=NONE,
        note="narrow Skeleton Merger, made-up shapes",
    )
