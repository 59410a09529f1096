"""The lengths by which errors are divided, per sample of a set: from what was annotated, not from what the network is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from heatpoint._checks import one_of
from heatpoint.datasets import PointSet
from heatpoint.metrics.functional import BOX_LENGTHS, normalizer_distance
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

    Between groups of points: of the annotated ones. Of a box (√(w·h), max(w, h) or √(w² + h²)): the box that the set gives,
    between the centres of its first and last pixel, or the tight box of the visible points where it gives none. Given: the
    sample's length of the normaliser's name. NaN or 0 where the length is undefined, because its points are hidden or
    coincide or the sample gives none: leave the sample out.

    Args:
        point_set: The samples.
        normalizer: A name among the skeleton's normalisers.

    Raises:
        ValueError: If the skeleton has no such normaliser.
    """
    one_of("distances", "normalizer", normalizer, normalizers_of(point_set.skeleton))
    target = torch.stack([torch.from_numpy(sample.points) for sample in point_set.samples]).double()
    visible = torch.stack([torch.from_numpy(sample.visible) for sample in point_set.samples])
    definition = normalizers_of(point_set.skeleton)[normalizer]
    if definition == "given":
        lengths = [sample.lengths.get(normalizer, torch.nan) for sample in point_set.samples]
        return normalizer_distance(target, definition, given=torch.tensor(lengths, dtype=torch.float64))
    length = normalizer_distance(target, definition, visible=visible)
    has_box = torch.tensor([sample.box is not None for sample in point_set.samples])
    if definition not in BOX_LENGTHS or not has_box.any():
        return length
    boxes = torch.tensor([sample.box or (0.0, 0.0, 0.0, 0.0) for sample in point_set.samples], dtype=torch.float64)
    return torch.where(has_box, normalizer_distance(target, definition, box=boxes), length)


def measures_box(skeleton: Skeleton) -> bool:
    """Whether a normaliser of the skeleton is a length of the box, so that it matters which box that is.

    >>> measures_box(Skeleton(("a", "b"), normalizers={"width": "box_max"}))
    True
    """
    return any(definition in BOX_LENGTHS for definition in normalizers_of(skeleton).values())


def which_box(point_set: PointSet) -> str:
    """Which box the normalisers of a box measure, for the protocol."""
    given = sum(sample.box is not None for sample in point_set.samples)
    if given == len(point_set):
        return "given"
    return "tight around visible points" if not given else "given, else tight around visible points"
