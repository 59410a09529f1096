"""Scores of clouds that look the same after a turn: by their annotations, and by the best of their turned labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from heatpoint.datasets.cloud import Cloud, CloudSet
from heatpoint.skeleton import Skeleton
from heatpoint.training.cloud_scores import Located, keypoint_scores

NAMES = ("a", "b", "c", "d", "top")
SQUARE = np.array([[1.0, 0.1, 0.0], [0.0, 0.1, 1.0], [-1.0, 0.1, 0.0], [0.0, 0.1, -1.0], [0.0, 0.9, 0.0]]) * 0.3


def stool(key: str, number: int, category: str = "table") -> Cloud:
    """A square of feet and a top, on a cloud with other points."""
    xyz = np.concatenate([SQUARE, np.random.default_rng(number).normal(size=(30 + number, 3)) * 5])
    visible = np.ones(5, dtype=np.bool_)
    return Cloud(xyz, SQUARE.copy(), visible, key, index=np.arange(5), category=category, rotations=((0, 1, 2, 3),))


def located(turns: list[int], shift: float = 0.0) -> Located:
    points = [SQUARE[np.r_[np.roll(np.arange(4), turn), 4]] + [0.0, shift, 0.0] for turn in turns]
    return Located(torch.from_numpy(np.stack(points)), torch.rand(len(turns), 5, dtype=torch.float64))


def test_each_reading_is_judged_by_its_own_best_label() -> None:
    plain = replace(stool("p", 1), rotations=())
    found = CloudSet("stools", "test", Skeleton(NAMES), (stool("s", 0), plain, stool("t", 2)))
    readings = {"turned": located([1, 2, 3]), "as_is": located([0, 0, 0]), "near": located([3, 0, 1], 0.02)}
    scores = keypoint_scores(readings, found)
    for by in ("euclidean", "geodesic"):
        # The top stays where it is; the cloud without groups gets no other label.
        assert scores["turned"]["pck"][by]["0.01"] == pytest.approx(1 / 5)
        assert scores["turned"]["pck_turned"][by]["0.01"] == pytest.approx((1 + 1 / 5 + 1) / 3)
        assert scores["as_is"]["pck_turned"] == scores["as_is"]["pck"]
        assert scores["as_is"]["pck"][by]["0.01"] == 1
    assert scores["near"]["pck_turned"]["euclidean"] == {"0.01": 0.0, "0.03": 1.0}
    assert scores["near"]["pck"]["euclidean"]["0.03"] == pytest.approx((1 / 5 + 1 + 1 / 5) / 3)


def test_circles_turn_by_more_steps() -> None:
    cloud = stool("s", 3)
    pair = replace(cloud, rotations=((0, 2),))
    points = {"a": located([1])}
    for sample, expected in ((pair, 1 / 5), (replace(pair, is_circle=True), 1.0)):
        scores = keypoint_scores(points, CloudSet("stools", "test", Skeleton(NAMES), (sample,)))
        assert scores["a"]["pck_turned"]["euclidean"]["0.01"] == pytest.approx(expected)


def test_chairs_and_sets_without_groups_have_no_turned_labels() -> None:
    for sample in (stool("s", 0, "chair"), replace(stool("s", 0), rotations=())):
        scores = keypoint_scores({"a": located([1])}, CloudSet("stools", "test", Skeleton(NAMES), (sample,)))
        assert "pck_turned" not in scores["a"]
        assert scores["a"]["pck"]["euclidean"]["0.01"] == pytest.approx(1 / 5)
