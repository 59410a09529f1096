"""The lengths by which errors are divided, per sample of a set: from what was annotated, not from what the network is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from heatpoint.datasets import PointSet
from heatpoint.metrics.functional import normalizer_distance
from heatpoint.skeleton import Normalizer, Skeleton

BOX: Literal["box"] = "box"


def normalizers_of(skeleton: Skeleton) -> Mapping[str, Normalizer]:
    """The skeleton's normalisers; the box where it has none."""
    return skeleton.normalizers or {BOX: BOX}


def default_normalizer(skeleton: Skeleton) -> str:
    """The name of the one to report first.

    >>> default_normalizer(Skeleton(("nose", "tail")))
    'box'
    """
    return skeleton.default_normalizer or BOX


def distances(point_set: PointSet, normalizer: str) -> Tensor:
    """The length (N,) float64 by which each sample's errors are divided.

    The box is the one that the set gives, √(w·h) between the centres of its first and last pixel, or the tight box of the
    visible points where it gives none. NaN or 0 where the length is undefined, because its points are hidden or coincide:
    leave the sample out.
    """
    target = torch.stack([torch.from_numpy(sample.points) for sample in point_set.samples]).double()
    visible = torch.stack([torch.from_numpy(sample.visible) for sample in point_set.samples])
    definition = normalizers_of(point_set.skeleton)[normalizer]
    length = normalizer_distance(target, definition, visible=visible)
    given = torch.tensor([sample.box is not None for sample in point_set.samples])
    if definition != BOX or not given.any():
        return length
    boxes = torch.tensor([sample.box or (0.0, 0.0, 0.0, 0.0) for sample in point_set.samples], dtype=torch.float64)
    return torch.where(given, normalizer_distance(target, definition, box=boxes), length)


def which_box(point_set: PointSet) -> str:
    """Which box the normaliser "box" measures, for the protocol."""
    given = sum(sample.box is not None for sample in point_set.samples)
    if given == len(point_set):
        return "given"
    return "tight around visible points" if not given else "given, else tight around visible points"
