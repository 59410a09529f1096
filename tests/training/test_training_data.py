"""Batches: the same in every run, process and order; whole shares for every rank; broken files before training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from heatpoint.datasets import PointSet, synthetic_faces
from heatpoint.recipes import DataConfig
from heatpoint.training.data import ExampleDataset, collate, read_split
from heatpoint.training.datamodule import PointDataModule
from heatpoint.training.sets import EpochSampler, hold_out, make_loader
from heatpoint.transforms import Augmentation, Example
from runs import tiny

DATA = DataConfig(dataset="synthetic_faces", input=32)


@pytest.fixture(scope="module")
def faces() -> PointSet:
    return synthetic_faces(7, size=48)


def files_of(faces: PointSet, folder: Path) -> PointSet:
    import cv2

    samples = []
    for number, sample in enumerate(faces.samples):
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), np.asarray(sample.image)[..., ::-1])
        samples.append(replace(sample, image=path))
    return replace(faces, samples=tuple(samples))


def equal(first: Example, second: Example) -> bool:
    return torch.equal(first.image, second.image) and torch.equal(first.points, second.points)


@pytest.mark.parametrize(("length", "world_size"), [(7, 1), (7, 2), (6, 3), (2, 5)])
def test_ranks_share_an_epoch_in_equal_parts(length: int, world_size: int) -> None:
    parts = []
    for rank in range(world_size):
        sampler = EpochSampler(length, seed=1, rank=rank, world_size=world_size)
        sampler.set_epoch(4)
        parts.append(list(sampler))
        assert len(parts[-1]) == len(sampler) == -(-length // world_size)
    assert {epoch for part in parts for epoch, _ in part} == {4}
    assert {index for part in parts for _, index in part} == set(range(length))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochSampler(30, seed=seed)
        sampler.set_epoch(epoch)
        return [index for _, index in sampler]

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)
    assert [index for _, index in EpochSampler(5, seed=0, shuffle=False)] == [0, 1, 2, 3, 4]


def test_an_example_depends_on_seed_epoch_and_index_alone(faces: PointSet) -> None:
    first = ExampleDataset(faces, DATA, augmentation=Augmentation(), seed=3)
    second = ExampleDataset(faces, DATA, augmentation=Augmentation(), seed=3)
    for index in reversed(range(7)):
        second[(0, index)]
    assert all(equal(first[(2, index)], second[(2, index)]) for index in range(7))
    assert not equal(first[(2, 1)], first[(3, 1)])
    assert not equal(first[(2, 1)], ExampleDataset(faces, DATA, augmentation=Augmentation(), seed=4)[(2, 1)])
    plain = ExampleDataset(faces, DATA, seed=3)
    assert equal(plain[(2, 1)], plain[(3, 1)])


def test_images_are_decoded_once_while_there_is_room(faces: PointSet, tmp_path: Path) -> None:
    on_disk = files_of(faces, tmp_path)
    megabytes_of_one = np.asarray(faces.samples[0].image).nbytes / 2**20
    cached = ExampleDataset(on_disk, DATA, cache_megabytes=2.5 * megabytes_of_one)
    uncached = ExampleDataset(on_disk, DATA, cache_megabytes=0)
    cached.preload()
    uncached.preload()
    kept = [isinstance(sample.image, np.ndarray) for sample in cached.samples]
    assert kept == [True, True, True, False, False, False, False]
    assert all(isinstance(sample.image, Path) for sample in uncached.samples)
    for index in (0, 6):
        assert equal(cached[(0, index)], uncached[(0, index)])


def test_a_truncated_image_is_named_before_training(faces: PointSet, tmp_path: Path) -> None:
    on_disk = files_of(faces, tmp_path)
    broken = tmp_path / "4.png"
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"4\.png, which is truncated"):
        ExampleDataset(on_disk, DATA).preload()


def test_workers_make_the_same_batches(faces: PointSet) -> None:
    cv2.setNumThreads(2)
    cv2.GaussianBlur(np.zeros((800, 800, 3), np.uint8), (9, 9), 2)  # Starts OpenCV's threads, which no fork survives.

    def batches(workers: int) -> list[torch.Tensor]:
        dataset = ExampleDataset(faces, DATA, augmentation=Augmentation(), seed=1)
        sampler = EpochSampler(len(dataset), seed=1)
        loader = make_loader(dataset, sampler, collate=collate, batch_size=3, workers=workers)
        found = [batch.images for batch in loader]
        sampler.set_epoch(1)
        return found + [batch.images for batch in loader]

    alone, helped = batches(0), batches(1)
    assert [len(images) for images in alone] == [3, 3, 1, 3, 3, 1]
    assert all(torch.equal(a, b) for a, b in zip(alone, helped, strict=True))


def test_a_batch_carries_what_takes_points_back(faces: PointSet) -> None:
    from heatpoint.training.locating import to_image

    dataset = ExampleDataset(faces, DATA)
    batch = next(
        iter(make_loader(dataset, EpochSampler(7, seed=0, shuffle=False), collate=collate, batch_size=7, workers=0))
    )
    truth = np.stack([sample.points for sample in faces.samples])
    # float32 coordinates below 64 have steps of 4e-6, and the matrices shrink by less than 4.
    np.testing.assert_allclose(to_image(batch.points, batch.matrices).numpy(), truth, atol=1e-4)


def test_limit_cuts_a_split_and_renders_no_more(tmp_path: Path) -> None:
    limited = read_split(replace(DATA, limit=3), None, "train")
    assert len(limited) == 3
    assert np.array_equal(limited.samples[2].points, synthetic_faces(3).samples[2].points)


def test_limit_cuts_real_data(data_root: Path) -> None:
    faces = read_split(DataConfig(limit=4), data_root, "test")
    assert (faces.name, len(faces)) == ("faces300w", 4)


def test_unknown_data_set_and_missing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"read_split: dataset must be one of .*Did you mean faces300w or"):
        read_split(replace(DATA, dataset="face300w"), None, "train")
    with pytest.raises(
        FileNotFoundError, match="Set HEATPOINT_DATA or --data-root to the folder that holds faces300w/"
    ):
        read_split(DataConfig(), tmp_path, "train")
    monkeypatch.delenv("HEATPOINT_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="Set HEATPOINT_DATA or --data-root"):
        read_split(DataConfig(), None, "train")


def test_the_hold_out_is_the_same_for_every_seed(faces: PointSet) -> None:
    kept, held = hold_out(faces, 0.3)
    assert (len(kept), len(held), held.split) == (5, 2, "validation")
    assert not {sample.key for sample in kept.samples} & {sample.key for sample in held.samples}
    again = hold_out(faces, 0.3)[1]
    assert [sample.key for sample in again.samples] == [sample.key for sample in held.samples]


def test_a_last_batch_is_left_out_only_where_a_whole_one_remains(faces: PointSet) -> None:
    recipe = tiny()
    for batch_size, steps in ((4, 1), (5, 1), (7, 1), (8, 1), (3, 2)):
        given = replace(recipe.optimization, batch_size=batch_size)
        module = PointDataModule(replace(recipe, optimization=given), faces, faces)
        assert len(module.train_dataloader()) == steps
        assert len(module.val_dataloader()) == -(-7 // batch_size)
