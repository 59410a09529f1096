"""Keypoints of point clouds that nobody has annotated: those from whose skeleton the cloud can be built again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from heatpoint._checks import message
from heatpoint.chamfer import composite_chamfer
from heatpoint.localizers import Localizer, SamplingArgmax, SoftArgmaxJS, SoftArgmaxVariance
from heatpoint.models import SkeletonMerger
from heatpoint.readout import soft_argmax
from heatpoint.recipes.config import Recipe
from heatpoint.regularizers import jensen_shannon_regularizer, variance_regularizer
from heatpoint.sampling import make_schedule, sampling_argmax
from heatpoint.skeleton import Skeleton
from heatpoint.support import Points, Support
from heatpoint.training.cloud_scores import alignment_scores, protocol_of
from heatpoint.training.clouds import ARGMAX, CloudBatch, CloudTask, locate_clouds, over, placeholder, refuse_flip
from heatpoint.training.task import Monitor
from heatpoint.training.weights import Trained

# Localizers whose points are functions of the maps alone; the others need to be told where a keypoint is.
WITHOUT_TARGET = ("soft_argmax", "soft_argmax_variance", "soft_argmax_js", "sampling_argmax")


class SkeletonTask(CloudTask):
    """Skeleton Merger (Shi et al., 2021) with any readout that draws or averages, as in Sampling-Argmax, 5.5.

    The maps give keypoints, the keypoints line segments, and the segments, each with a strength, the cloud: no annotation
    is looked at in training. Validated by the loss of the keypoints that the recipe reads.
    """

    name: ClassVar[str] = "skeleton"
    network: ClassVar[tuple[str, ...]] = ("num_keypoints", "grouping", "width")
    is_supervised: ClassVar[bool] = False

    def build_model(self, recipe: Recipe, num_points: int, *, pretrained: bool = False) -> tuple[nn.Module, Support]:
        """The encoder with as many maps as the recipe asks for, whatever the set annotates; and a placeholder."""
        given = recipe.model
        model = SkeletonMerger(
            given.num_keypoints, grouping=given.grouping, width=given.width, dropout=given.head_dropout
        )
        return model, placeholder(recipe.data.num_points)

    def check_localizer(self, recipe: Recipe, localizer: Localizer) -> None:
        """Raises ValueError for a localizer whose loss needs a target."""
        if recipe.localizer not in WITHOUT_TARGET:
            rule = f"be one of {', '.join(WITHOUT_TARGET)} without annotated keypoints"
            raise ValueError(message("train", "localizer", rule, recipe.localizer, "The others need a target."))

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
        """The mean over draws and clouds of the composite Chamfer distance of drawn keypoints, and the penalties.

        Sampling-Argmax, 5.5: the soft-argmax of Skeleton Merger becomes a draw Ŷ, and the expected loss E[d(Ŷ)] the mean over
        N_s draws. The regularizers of Eq. 15 and 16 need no target, and are added as the mean over keypoints; the penalty of
        the segments' offsets is that of the released Skeleton Merger.
        """
        merger = cast(SkeletonMerger, model)
        logits, strengths = merger.encode(batch.xyz)
        points = drawn_points(localizer, logits, batch.xyz, progress=progress, generator=generator)
        loss = self._distance(merger, points, strengths, batch.xyz, recipe).mean()
        return loss + merger.offset_penalty() + shape_penalty(localizer, logits, batch.xyz).mean()

    def monitor(self, recipe: Recipe) -> Monitor:
        """The composite Chamfer distance of the keypoints as they are read."""
        return Monitor("validation_chamfer", "Chamfer", digits=4)

    def validation_errors(self, model: nn.Module, localizer: Localizer, batch: CloudBatch, recipe: Recipe) -> Tensor:
        """Composite Chamfer distance (B,) of each cloud from the skeleton of the keypoints that are read."""
        merger = cast(SkeletonMerger, model)
        logits, strengths = merger.encode(batch.xyz)
        points = over(localizer, batch.xyz).locate(logits).points
        return self._distance(merger, points, strengths, batch.xyz, recipe)

    def _distance(
        self, merger: SkeletonMerger, points: Tensor, strengths: Tensor, xyz: Tensor, recipe: Recipe
    ) -> Tensor:
        """Composite Chamfer distances (…, B) of clouds from the segments between keypoints (…, B, K, 3)."""
        number = recipe.model.points_per_edge or None
        return composite_chamfer(points, strengths, xyz, offsets=merger.offsets, points_per_edge=number)

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
        """The dual alignment score, see `alignment_scores`; the maps are read once more by their largest value.

        Raises:
            ValueError: If there are no two clouds that could agree, none has a keypoint, or a flip test is asked for.
        """
        refuse_flip(flip_test)
        if len(found) < 2 or not any(cloud.visible.any() for cloud in found.samples):
            rule = "hold at least two clouds, and annotated keypoints, for keypoints to agree with"
            raise ValueError(message("evaluate", "clouds", rule, repr(found)))
        readings = {**localizers, ARGMAX: replace(trained.localizer, readout=ARGMAX)}
        located = locate_clouds(self, trained, readings, found, batch_size=batch_size, workers=workers, device=device)
        return {"scores": alignment_scores(located, found), "decoders": {k: repr(v) for k, v in readings.items()}}

    def protocol(self, recipe: Recipe, skeleton: Skeleton, found: Any, *, flip_test: bool | None) -> dict[str, Any]:
        """See `protocol_of`; and how many keypoints were looked for."""
        return {**protocol_of(recipe, found), "num_keypoints": recipe.model.num_keypoints, "das": "mean of both"}


def drawn_points(
    localizer: Localizer, logits: Tensor, xyz: Tensor, *, progress: float, generator: torch.Generator | None
) -> Tensor:
    """The keypoints (S, B, K, 3) that the loss sees: N_s draws of sampling-argmax, or the one soft-argmax of the others.

    Args:
        localizer: One of those without a target.
        logits: (B, K, N).
        xyz: (B, N, 3).
        progress: Share of the training that is done.
        generator: Source of the draws.

    >>> from heatpoint.localizers import make_localizer
    >>> xyz = torch.tensor([[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]])
    >>> drawn_points(make_localizer("soft_argmax", Points(xyz[0])), torch.zeros(1, 1, 2), xyz, progress=0.0, generator=None)
    tensor([[[[1., 0., 0.]]]])
    """
    points = Points(xyz[:, None])
    if not isinstance(localizer, SamplingArgmax):
        return soft_argmax(logits, points)[None]
    return sampling_argmax(
        logits,
        points,
        basis=localizer.basis,
        num_samples=localizer.num_samples,
        temperature=make_schedule(localizer.temperature)(progress),
        formula=localizer.formula,
        generator=generator,
        sign_gradient=localizer.sign_gradient,
        memory=localizer.memory,
    )


def shape_penalty(localizer: Localizer, logits: Tensor, xyz: Tensor) -> Tensor:
    """The weighted regularizer (B, K) of the maps in the localizers that have one, 0 in the others."""
    points = Points(xyz[:, None])
    if isinstance(localizer, SoftArgmaxVariance):
        penalty = variance_regularizer(logits, points, target_variance=localizer.target_variance)
        return localizer.regularizer_weight * penalty
    if isinstance(localizer, SoftArgmaxJS):
        penalty = jensen_shannon_regularizer(
            logits, points, sigma_cells=localizer.sigma_cells, detach_mean=localizer.detach_mean
        )
        return localizer.regularizer_weight * penalty
    return logits.new_zeros(logits.shape[:-1])
