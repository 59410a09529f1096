"""The lengths by which errors are divided, sample by sample."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from heatpoint.datasets import PointSet, Sample
from heatpoint.skeleton import Skeleton
from heatpoint.training.normalizing import default_normalizer, distances, measures_box, normalizers_of, which_box

SKELETON = Skeleton(
    ("left", "right", "nose"),
    normalizers={
        "eyes": ((0,), (1,)),
        "root": "box",
        "side": "box_max",
        "diagonal": "box_diagonal",
        "head": "given",
        "torso": "given",
    },
)


def faces(skeleton: Skeleton = SKELETON) -> PointSet:
    """A face with a box and lengths; one without either; one whose only visible point measures nothing."""
    points = np.array([[[0, 0], [3, 4], [6, 1]], [[0, 0], [6, 8], [2, 2]], [[5, 5], [0, 0], [0, 0]]], dtype=np.float64)
    visible = np.array([[True] * 3, [True] * 3, [True, False, False]])
    pixels = np.zeros((30, 30, 3), dtype=np.uint8)
    boxes = ((1.0, 2.0, 13.0, 5.0), None, None)
    lengths = ({"head": 7.0, "torso": 9.0}, {"torso": 11.0}, {})
    samples = [Sample(pixels, points[i], visible[i], boxes[i], str(i), lengths=lengths[i]) for i in range(3)]
    return PointSet("hand", "test", skeleton, tuple(samples))


@pytest.mark.parametrize(
    ("normalizer", "expected"),
    [
        ("eyes", [5, 10, math.nan]),
        # The first face's box is 12 x 3; the second's tight box 6 x 8.
        ("root", [6, math.sqrt(48), 0]),
        ("side", [12, 8, 0]),
        ("diagonal", [math.sqrt(153), 10, 0]),
        ("head", [7, math.nan, math.nan]),
        ("torso", [9, 11, math.nan]),
    ],
)
def test_every_kind_of_length(normalizer: str, expected: list[float]) -> None:
    got = distances(faces(), normalizer)
    assert got.dtype == torch.float64
    assert got.tolist() == pytest.approx(expected, rel=1e-15, nan_ok=True)


def test_a_skeleton_without_normalizers_takes_the_box() -> None:
    plain = Skeleton(("left", "right", "nose"))
    assert (dict(normalizers_of(plain)), default_normalizer(plain)) == ({"box": "box"}, "box")
    assert distances(faces(plain), "box").tolist() == pytest.approx([6, math.sqrt(48), 0])
    assert default_normalizer(SKELETON) == "eyes"


def test_unknown_normalizers_are_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError) as caught:
        distances(faces(), "eye")
    text = "distances: normalizer must be one of diagonal, eyes, head, root, side, torso, got 'eye'. Did you mean eyes"
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("definition", "measures"),
    [("box", True), ("box_max", True), ("box_diagonal", True), ("given", False), (((0,), (1,)), False)],
)
def test_lengths_of_a_box_want_to_know_which(definition: object, measures: bool) -> None:
    assert measures_box(Skeleton(("a", "b"), normalizers={"x": definition})) is measures  # type: ignore[dict-item]


def test_which_box_is_told() -> None:
    some = faces()
    boxed, plain = some.samples[:1], some.samples[1:]
    assert which_box(replace(some, samples=boxed)) == "given"
    assert which_box(replace(some, samples=plain)) == "tight around visible points"
    assert which_box(some) == "given, else tight around visible points"
