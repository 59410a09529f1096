"""Which points of a cloud the network reads in training and in evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from heatpoint.datasets.cloud import Cloud, CloudSet
from heatpoint.datasets.synthetic_clouds import synthetic_clouds
from heatpoint.recipes import get_recipe
from heatpoint.training.task import Examples
from heatpoint.training.tasks import get_task


def relabelled(cloud: Cloud) -> Cloud:
    """The same points with keypoints at the first rows."""
    assert isinstance(cloud.xyz, np.ndarray)
    index = np.where(cloud.visible, np.arange(len(cloud.points)), 0)
    points = np.where(cloud.visible[:, None], cloud.xyz[index], 0.0)
    return replace(cloud, points=points, index=index)


def task_set(name: str, found: CloudSet, *, is_training: bool) -> Examples:
    recipe = get_recipe(name)
    recipe = replace(recipe, data=replace(recipe.data, num_points=40))
    return get_task(recipe.task).dataset(found, recipe, is_training=is_training)


@pytest.mark.parametrize(
    ("name", "is_training"),
    [
        ("synthetic_tables-soft_argmax", False),
        ("synthetic_tables-skeleton-soft_argmax", True),
        ("synthetic_tables-skeleton-soft_argmax", False),
    ],
)
def test_the_points_read_do_not_tell_where_the_keypoints_are(name: str, is_training: bool) -> None:
    found = synthetic_clouds(3, category="table", num_points=90)
    other = CloudSet(found.name, found.split, found.skeleton, tuple(map(relabelled, found.samples)))
    for index, cloud in enumerate(found.samples):
        here, there = (task_set(name, clouds, is_training=is_training)[0, index] for clouds in (found, other))
        assert torch.equal(here.xyz, there.xyz)
        assert torch.equal(here.rows, there.rows)
        wanted = here.frame.to_input(cloud.points)[cloud.visible]
        np.testing.assert_array_equal(here.points[here.visible].numpy(), wanted.astype(np.float32))
        assert cloud.index is not None
        assert not set(cloud.index[cloud.visible].tolist()) <= set(here.rows.tolist())


def test_training_with_annotations_reads_the_rows_of_keypoints() -> None:
    found = synthetic_clouds(3, category="table", num_points=90)
    examples = task_set("synthetic_tables-soft_argmax", found, is_training=True)
    for index, cloud in enumerate(found.samples):
        assert cloud.index is not None
        assert set(cloud.index[cloud.visible].tolist()) <= set(examples[0, index].rows.tolist())
