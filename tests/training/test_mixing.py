"""Half of every batch from a set without depths."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_volumes import tiny

from heatpoint.datasets import PointSet, Sample, synthetic_bodies, synthetic_faces
from heatpoint.recipes.changes import changed
from heatpoint.skeleton import Skeleton, load_skeleton
from heatpoint.training import fit
from heatpoint.training.data import ExampleDataset
from heatpoint.training.datamodule import PointDataModule
from heatpoint.training.mixing import MixedDataset, MixedSampler, with_points_of
from runs import SILENT


def batches(sampler: MixedSampler, size: int) -> list[list[int]]:
    indices = [index for _, index in sampler]
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def test_half_of_each_batch_comes_from_each_set() -> None:
    sampler = MixedSampler(10, 7, batch_size=6, seed=0)
    found = batches(sampler, 6)
    assert [len(batch) for batch in found] == [6, 6, 6, 2]
    for batch in found:
        assert sum(index < 10 for index in batch) == len(batch) // 2
    assert len(sampler) == 20
    own = [index for batch in found for index in batch if index < 10]
    assert sorted(own) == list(range(10))
    other = Counter(index - 10 for batch in found for index in batch if index >= 10)
    assert set(other) == set(range(7))
    assert sorted(other.values()) == [1, 1, 1, 1, 2, 2, 2]


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    def order(epoch: int, seed: int = 0) -> list[tuple[int, int]]:
        sampler = MixedSampler(9, 30, batch_size=4, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(3) == order(3)
    assert {epoch for epoch, _ in order(3)} == {3}
    for other in (order(4), order(3, seed=1)):
        assert [index for _, index in order(3)] != [index for _, index in other]
    # A larger set gives other images in another epoch.
    assert {i for _, i in order(3) if i >= 9} != {i for _, i in order(4) if i >= 9}


def test_ranks_share_both_sets_in_equal_numbers() -> None:
    samplers = [MixedSampler(9, 12, batch_size=4, seed=0, rank=rank, world_size=2) for rank in range(2)]
    found = [[index for _, index in sampler] for sampler in samplers]
    assert [len(indices) for indices in found] == [len(samplers[0])] * 2 == [10, 10]
    assert {i for indices in found for i in indices if i < 9} == set(range(9))
    second = [i for indices in found for i in indices if i >= 9]
    assert len(second) == len(set(second)) == 10
    for indices in found:
        for start in range(0, 10, 4):
            batch = indices[start : start + 4]
            assert sum(i < 9 for i in batch) == len(batch) // 2


def test_refused_numbers() -> None:
    with pytest.raises(ValueError, match="train: batch_size must be even with mixed_dataset, got 5"):
        MixedSampler(3, 3, batch_size=5, seed=0)
    with pytest.raises(ValueError, match="MixedSampler: second must be at least 1, got 0"):
        MixedSampler(3, 0, batch_size=4, seed=0)


def test_points_are_matched_by_name() -> None:
    body = synthetic_bodies(2, size=32)
    sample = replace(body.samples[0], occluded=np.arange(17) == 10, visible=np.arange(17) != 3)
    point_set = replace(body, samples=(sample,))
    found = with_points_of(point_set, Skeleton(("head", "tail", "right_ankle", "nose"))).samples[0]
    assert found.visible.tolist() == [True, False, False, True]
    np.testing.assert_array_equal(found.points[[0, 3]], sample.points[[10, 9]])
    assert found.points[1].tolist() == [0, 0]
    assert found.occluded is not None
    assert found.occluded.tolist() == [True, False, False, False]
    assert found.body is None
    with pytest.raises(ValueError, match="train: mixed_dataset must share names of points with pelvis, right_hip, "):
        with_points_of(synthetic_faces(1, size=32), body.skeleton)


def test_mpii_is_mixed_into_human36m_as_the_released_code_does() -> None:
    mpii, human = load_skeleton("mpii16"), load_skeleton("human36m18")
    points = np.stack([np.arange(16.0), np.zeros(16)], axis=1)
    sample = Sample(np.zeros((4, 4, 3), np.uint8), points, np.ones(16, dtype=bool), None, "a")
    found = with_points_of(PointSet("mpii", "train", mpii, (sample,)), human).samples[0]
    # sampling_argmax/datasets/h36m_mpii.py: torso and nose have no partner.
    published = [6, 2, 1, 0, 3, 4, 5, -1, 8, -1, 9, 13, 14, 15, 12, 11, 10, 7]
    assert np.where(found.visible, found.points[:, 0], -1).tolist() == published


def test_batches_of_two_sets_know_whose_depth_is_known() -> None:
    recipe = changed(tiny(), {"data.mixed_padding": 2.0})
    first, second = synthetic_bodies(6, size=48), synthetic_bodies(5, size=48, split="test")
    module = PointDataModule(recipe, first, first, mixed_set=with_points_of(second, first.skeleton))
    module.preload()
    batch = next(iter(module.train_dataloader()))
    assert batch.images.shape == (8, 3, 32, 32)
    assert batch.has_depth.tolist() == [True] * 4 + [False] * 4
    assert bool(batch.space.points[:4].isfinite().all())
    assert bool(batch.space.points[4:].isnan().all())
    scale = torch.linalg.det(batch.matrices[:, :, :2]).abs().sqrt()
    assert scale[4:].mean() < 0.7 * scale[:4].mean()  # Padding 2.0 against 1.1.


def test_the_second_set_is_changed_by_a_stream_of_its_own() -> None:
    recipe = tiny()
    first = synthetic_bodies(3, size=48)
    module = PointDataModule(recipe, first, first, mixed_set=first)
    assert module.mixed_data is not None
    mixed = MixedDataset(module.train_data, module.mixed_data)
    assert len(mixed) == 6
    assert not torch.equal(mixed[0, 1].image, mixed[0, 4].image)
    assert isinstance(module.train_data, ExampleDataset)
    assert torch.equal(mixed[0, 1].image, module.train_data[0, 1].image)


def test_training_with_a_mixed_set_needs_a_loss_of_coordinates(tmp_path: Path) -> None:
    recipe = changed(tiny(), {"data.mixed_dataset": "synthetic_bodies", "optimization.epochs": 1})
    result = fit(recipe, out=tmp_path / "mixed", console=SILENT)
    assert result.scores["scores"]["recipe"]["space"]["scored"] == 20
    text = "train: localizer must be one whose loss is a sum over coordinates, with mixed_dataset, got log_score"
    with pytest.raises(ValueError, match=text):
        fit(replace(recipe, localizer="log_score"), out=tmp_path / "other", console=SILENT)
