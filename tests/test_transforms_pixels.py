"""Transforms, pixel by pixel: the warp against float64 sums over pixels, changes in place, the order of the planes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from heatpoint.datasets import Sample
from heatpoint.frames import Frame
from heatpoint.transforms import Augmentation, erase, make_example, photometric, warp

STILL: dict[str, Any] = {"rotation_deg": 0.0, "scale": 0.0, "translation": 0.0, "flip": 0.0}


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def turned(size: tuple[int, int], shrink: float, center: tuple[float, float], degrees: float) -> Frame:
    """`shrink` image pixels per input pixel, about `center`, turned and mirrored."""
    angle = math.radians(degrees)
    linear = np.array([[-math.cos(angle), math.sin(angle)], [math.sin(angle), math.cos(angle)]]) / shrink
    middle = (np.array(size) - 1) / 2
    return Frame(np.concatenate([linear, (middle - linear @ np.array(center))[:, None]], axis=1), size)


def bilinear(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Float64 bilinear values of an image that is 0 outside, at positions in pixels."""
    height, width = image.shape[:2]
    total = np.zeros((*x.shape, 3))
    for dy in (0, 1):
        for dx in (0, 1):
            column, row = np.floor(x).astype(int) + dx, np.floor(y).astype(int) + dy
            weight = (1 - np.abs(x - column)) * (1 - np.abs(y - row))
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            values = image[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)].astype(np.float64)
            total += np.where(inside[..., None], weight[..., None] * values, 0.0)
    return total


def plain_warp(image: np.ndarray, frame: Frame, *, fine: int) -> np.ndarray:
    """Means of fine x fine bilinear values within every input pixel."""
    width, height = frame.size
    inner = (np.arange(fine) + 0.5) / fine - 0.5
    total = np.zeros((height, width, 3))
    for v in inner:
        for u in inner:
            at = np.stack(np.meshgrid(np.arange(width) + u, np.arange(height) + v), axis=-1)
            place = frame.to_image(at)
            total += bilinear(image, place[..., 0], place[..., 1]) / fine**2
    return total / 255


@pytest.mark.parametrize(("shrink", "fine"), [(0.6, 1), (1.0, 1), (1.4, 2), (1.9, 2)])
@pytest.mark.parametrize("center", [(40.0, 30.0), (3.0, 52.0)], ids=["within", "over the border"])
def test_warp_is_the_sum_over_pixels(shrink: float, fine: int, center: tuple[float, float]) -> None:
    image = picture(58, 83)
    frame = turned((31, 37), shrink, center, 23.0)
    wanted = plain_warp(image, frame, fine=fine)
    # Positions below 100 pixels in float32 are off by up to 100 · 2^-23, times a contrast of 1 along either axis.
    np.testing.assert_allclose(warp(image, frame), wanted, rtol=0, atol=3e-5)
    assert wanted.std() > 0.1


def test_warp_of_floats_is_that_of_bytes() -> None:
    image, frame = picture(58, 83), turned((31, 37), 2.7, (40.0, 30.0), -41.0)
    of_floats = warp((image / np.float32(255)).astype(np.float32), frame)
    # Two roundings of numbers up to 1 more, in sums of 16 of them.
    np.testing.assert_allclose(of_floats, warp(image, frame), rtol=0, atol=1e-6)
    assert of_floats.shape == (37, 31, 3)
    assert of_floats.dtype == np.float32


def test_a_part_of_a_picture_need_not_be_contiguous() -> None:
    image, frame = picture(58, 83), turned((31, 37), 0.8, (20.0, 25.0), 12.0)
    part = image[5:50, 10:70]
    assert (warp(part, frame) == warp(part.copy(), frame)).all()


@pytest.mark.parametrize(
    "augmentation",
    [Augmentation(), Augmentation(channels=0.3), Augmentation(contrast=0), Augmentation(saturation=0, brightness=0)],
)
def test_colours_in_place_are_those_of_a_copy(augmentation: Augmentation) -> None:
    image = np.random.default_rng(3).random((23, 31, 3), dtype=np.float32)
    before = image.copy()
    copied = photometric(image, augmentation, np.random.default_rng(5))
    assert (image == before).all()
    changed = photometric(image, augmentation, np.random.default_rng(5), in_place=True)
    assert changed is image
    assert (changed == copied).all()
    assert np.abs(changed - before).max() > 0.01


def test_colours_without_ranges_are_left_as_they_are_and_draw_no_less() -> None:
    image = np.random.default_rng(3).random((23, 31, 3), dtype=np.float32)
    rng, other = np.random.default_rng(5), np.random.default_rng(5)
    plain = photometric(image, Augmentation(brightness=0, contrast=0, saturation=0), rng)
    assert plain is not image
    assert (plain == image).all()
    photometric(image, Augmentation(), other)
    assert rng.random() == other.random()


def test_erasing_in_place_is_that_of_a_copy() -> None:
    image = np.full((40, 30, 3), 2.0, dtype=np.float32)
    always = Augmentation(erase=1)
    copied = erase(image, always, np.random.default_rng(1))
    assert (image == 2).all()
    changed = erase(image, always, np.random.default_rng(1), in_place=True)
    assert changed is image
    assert (changed == copied).all()
    assert (changed != 2).any()


def test_planes_of_the_example_are_red_green_and_blue() -> None:
    image = picture(58, 83)
    sample = Sample(image, np.array([[20.0, 10.0], [60.0, 45.0]]), np.ones(2, bool), None, "s")
    example = make_example(sample, size=(34, 26), padding=1.2)
    crop = warp(image, example.frame)
    assert torch.equal(example.image, torch.from_numpy(crop).permute(2, 0, 1))
    assert example.image.is_contiguous()
    # What comes after the warp changes neither the picture nor the crop that another example gets.
    colours = Augmentation(**STILL, erase=1)
    make_example(sample, size=(34, 26), padding=1.2, augmentation=colours, rng=np.random.default_rng(0))
    assert (image == picture(58, 83)).all()
    assert torch.equal(make_example(sample, size=(34, 26), padding=1.2).image, example.image)
