"""Transforms: the frame tells where every feature of the warped picture lies; colours follow the written formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from heatpoint.datasets import Sample
from heatpoint.frames import Frame, flip_points
from heatpoint.skeleton import load_skeleton
from heatpoint.transforms import (
    Augmentation,
    augment_frame,
    box_of,
    erase,
    make_example,
    photometric,
    warp,
)
from heatpoint.transforms.augment import GREY

FACE5 = load_skeleton("face5")
GEOMETRY_ONLY = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "erase": 0.0}


def sample(
    points: Any = ((30.0, 25.0), (50.0, 26.0), (40.0, 37.0), (33.0, 48.0), (47.0, 47.5)), **changes: Any
) -> Sample:
    points = np.array(points, dtype=np.float64)
    image = np.random.default_rng(0).integers(0, 256, (71, 83, 3), dtype=np.uint8)
    values = {"image": image, "points": points, "visible": np.ones(len(points), bool), "box": None, "key": "s"}
    return Sample(**{**values, **changes})


def random_frame(rng: np.random.Generator, shrink: float) -> Frame:
    """A box about (110, 105) that is shown `shrink` image pixels per input pixel, with every geometric augmentation."""
    size = (int(rng.integers(33, 44)), int(rng.integers(45, 58)))
    half = shrink * np.array(size) / 2 - 0.5
    center = np.array([110.0, 105.0]) + shrink * rng.uniform(-3, 3, 2)
    box = (*(center - half), *(center + half))
    return augment_frame(Frame.from_box(box, size), Augmentation(translation=3 / 256), rng)[0]


def centroid(picture: np.ndarray) -> np.ndarray:
    mass = picture[..., 0].astype(np.float64)
    rows, columns = np.mgrid[: mass.shape[0], : mass.shape[1]]
    return np.array([(mass * columns).sum(), (mass * rows).sum()]) / mass.sum()


def blob(center: np.ndarray, sigma: float) -> np.ndarray:
    rows, columns = np.mgrid[:211, :223]
    value = np.exp(-((columns - center[0]) ** 2 + (rows - center[1]) ** 2) / (2 * sigma**2))
    return np.repeat(value[..., None], 3, axis=2).astype(np.float32)


@pytest.mark.parametrize("shrink", [0.4, 0.9, 1.3, 1.9, 2.1, 3.7, 4.5])
@pytest.mark.parametrize("is_float", [True, False])
def test_blob_lands_where_the_frame_says(shrink: float, is_float: bool) -> None:
    """A Gaussian moves with rotation, scale, shift and flip; its centroid lies within 0.02 px of where it should.

    Sampling a Gaussian of sigma s at whole pixels moves its centroid by at most 4πs²·exp(−2π²s²) (Poisson): s is at least
    1 pixel in the image and 1.1 in the input, so below 1e-7. The rest is float32, opencv's own weights (exact in
    opencv 5, positions in steps of 1/32 px before) and, for 8 bits, the rounding of the picture.
    """
    rng = np.random.default_rng([int(10 * shrink), is_float])
    for _ in range(6):
        frame = random_frame(rng, shrink)
        true = np.array([110.0, 105.0]) + rng.uniform(-1, 1, 2)
        picture = blob(true, max(1.0, 1.5 * shrink))
        found = centroid(warp(picture if is_float else np.rint(255 * picture).astype(np.uint8), frame))
        assert np.abs(found - frame.to_input(true)).max() < 0.02


@pytest.mark.parametrize("shrink", [0.6, 1.0, 1.5, 2.0, 3.0, 4.9, 8.2])
def test_linear_pictures_are_exact_at_every_pixel(shrink: float) -> None:
    """Bilinear weights and means of 2x2 pixels keep a linear function: every output pixel is known in closed form."""
    rng = np.random.default_rng(int(10 * shrink))
    rows, columns = np.mgrid[:611, :623]
    picture = np.stack([columns / 623, rows / 611, 0.3 + (columns - rows) / 2000], axis=-1).astype(np.float32)
    for _ in range(3):
        size = (23, 31)
        half = shrink * np.array(size) / 2 - 0.5
        center = np.array([300.0, 290.0]) + rng.uniform(-3, 3, 2)
        frame = Frame.from_box((*(center - half), *(center + half)), size)
        frame = augment_frame(frame, Augmentation(), rng)[0]
        pixels = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), axis=-1).astype(np.float64)
        x, y = np.moveaxis(frame.to_image(pixels), -1, 0)
        expected = np.stack([x / 623, y / 611, 0.3 + (x - y) / 2000], axis=-1)
        # float32 carries 6e-8 of values up to 1, coordinates up to 611 weigh it by 1e-3 of a pixel; opencv 4 rounds
        # positions to 1/32 px: 1/64 px · 1/611 per px = 3e-5.
        assert np.abs(warp(picture, frame) - expected).max() < 1e-4


def test_identity_returns_the_pixels() -> None:
    image = sample().image
    assert isinstance(image, np.ndarray)
    frame = Frame(np.array([[1.0, 0.0, -7.0], [0.0, 1.0, -11.0]]), (13, 17))
    np.testing.assert_allclose(warp(image, frame), image[11:28, 7:20] / 255, atol=1e-6)


def test_halving_takes_means_of_four_pixels() -> None:
    image = sample().image
    assert isinstance(image, np.ndarray)
    frame = Frame.from_box((2, 4, 41, 23), (20, 10))
    means = image[4:24, 2:42].reshape(10, 2, 20, 2, 3).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(warp(image, frame), means, atol=1e-6)


@pytest.mark.parametrize("shrink", [1.4, 2.6, 4.3])
def test_shrinking_does_not_alias(shrink: float) -> None:
    """A checkerboard of single pixels is grey from afar; plain bilinear sampling leaves its full contrast in places."""
    board = (np.indices((240, 260)).sum(axis=0) % 2).astype(np.float32)
    frame = Frame.from_box((20, 20, 20 + 32 * shrink, 20 + 32 * shrink), (33, 33))
    result = warp(np.repeat(board[..., None], 3, axis=2), frame)
    assert abs(result.mean() - 0.5) < 0.02
    assert result.std() < 0.2


def test_outside_of_the_image_is_black_and_inside_is_untouched() -> None:
    white = np.full((40, 60, 3), 255, dtype=np.uint8)
    for size in ((30, 20), (15, 10), (7, 5)):
        result = warp(white, Frame.from_box((-30, 0, 29, 39), size))
        half = size[0] // 2
        assert (result[:, : half - 1] == 0).all()
        # Halving grows an odd side by a black line, and weights reach one pixel: the border itself blends.
        np.testing.assert_allclose(result[2:-2, half + 2 :], 1, atol=1e-6)
    assert (warp(white, Frame.from_box((500, 500, 520, 530), (8, 9))) == 0).all()


def test_a_frame_of_another_part_does_not_depend_on_the_rest() -> None:
    """Only the crop is read: far pixels change nothing, near ones do."""
    image = sample().image
    assert isinstance(image, np.ndarray)
    frame = Frame.from_box((10, 10, 33, 33), (9, 9))
    changed = image.copy()
    changed[60:, 60:] = 0
    assert (warp(image, frame) == warp(changed, frame)).all()


def test_flip_is_exact_in_pixels_points_and_names() -> None:
    s = sample(visible=np.array([True, True, False, True, True]))
    still = {"rotation_deg": 0.0, "scale": 0.0, "translation": 0.0, **GEOMETRY_ONLY}
    keep, flip = (Augmentation(flip=p, **still) for p in (0.0, 1.0))
    options = {"size": (26, 34), "padding": 1.4, "skeleton": FACE5}
    plain = make_example(s, augmentation=keep, rng=np.random.default_rng(0), **options)
    mirrored = make_example(s, augmentation=flip, rng=np.random.default_rng(0), **options)
    assert (plain.flipped, mirrored.flipped) == (False, True)
    expected = flip_points(plain.points, width=26, swap=FACE5.swap)
    torch.testing.assert_close(mirrored.points, expected, atol=1e-5, rtol=0)
    assert mirrored.visible.tolist() == plain.visible[list(FACE5.swap)].tolist()
    # 1e-6: float32 products of the same numbers in another order.
    torch.testing.assert_close(mirrored.image, plain.image.flip(-1), atol=2e-6, rtol=0)
    back = mirrored.frame.to_image(mirrored.points.double().numpy())[list(FACE5.swap)]
    np.testing.assert_allclose(back, s.points, atol=1e-5)


def test_augmented_points_are_the_frame_of_the_points() -> None:
    s = sample()
    seen = set()
    for seed in range(8):
        rng = np.random.default_rng(seed)
        example = make_example(s, size=(24, 32), padding=1.25, skeleton=FACE5, augmentation=Augmentation(), rng=rng)
        points = s.points[list(FACE5.swap)] if example.flipped else s.points
        np.testing.assert_allclose(example.points.numpy(), example.frame.to_input(points), atol=1e-5)
        seen.add(example.flipped)
    assert seen == {True, False}


def test_ranges_of_the_geometry() -> None:
    frame = Frame.from_box((3, 4, 42, 63), (40, 60))
    angles, factors, shifts, flips = [], [], [], []
    for seed in range(600):
        new, flipped = augment_frame(frame, Augmentation(), np.random.default_rng(seed))
        linear = new.matrix[:, :2] @ np.linalg.inv(frame.matrix[:, :2])
        linear = np.diag([-1, 1]) @ linear if flipped else linear
        angles.append(math.degrees(math.atan2(linear[1, 0], linear[0, 0])))
        factors.append(math.sqrt(np.linalg.det(linear)))
        middle = new.to_input(np.array([22.5, 33.5]))
        middle[0] = 39 - middle[0] if flipped else middle[0]
        shifts.append((middle - np.array([19.5, 29.5])) / np.array([40, 60]))
        flips.append(flipped)
    # 600 uniform draws come within 2 % of both ends but for odds of 2·exp(−600·0.01) = 0.5 % (fixed seeds: no odds).
    for values, low, high in ((angles, -30, 30), (factors, 0.75, 1.25), (np.ravel(shifts), -0.0625, 0.0625)):
        room = 0.02 * (high - low)
        assert low <= min(values) < low + room
        assert high - room < max(values) <= high
    # A binomial share of 600 has a standard deviation of 0.0204: four of them.
    assert abs(np.mean(flips) - 0.5) < 0.082


def test_switching_one_change_off_leaves_the_others() -> None:
    frame = Frame.from_box((3, 4, 42, 63), (40, 60))
    full, flipped = augment_frame(frame, Augmentation(), np.random.default_rng(5))
    still, _ = augment_frame(frame, Augmentation(rotation_deg=0), np.random.default_rng(5))
    assert flipped
    np.testing.assert_allclose(np.linalg.det(full.matrix[:, :2]), np.linalg.det(still.matrix[:, :2]), rtol=1e-12)
    assert still.matrix[0, 1] == 0
    np.testing.assert_allclose(full.to_input(np.array([22.5, 33.5])), still.to_input(np.array([22.5, 33.5])), atol=1e-9)


def photometric_oracle(image: np.ndarray, b: float, c: float, s: float) -> np.ndarray:
    result = np.clip(image.astype(np.float64) * b, 0, 1)
    total = 0.0
    for row in result:
        for pixel in row:
            total += 0.2989 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]
    mean = total / (result.shape[0] * result.shape[1])
    result = np.clip(c * result + (1 - c) * mean, 0, 1)
    for row in result:
        for pixel in row:
            grey = 0.2989 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]
            pixel[:] = np.clip(s * pixel + (1 - s) * grey, 0, 1)
    return result


@pytest.mark.parametrize("seed", range(4))
def test_colours_follow_the_formulas(seed: int) -> None:
    image = np.random.default_rng(seed).random((7, 9, 3), dtype=np.float32)
    before = image.copy()
    result = photometric(image, Augmentation(), np.random.default_rng(seed + 50))
    u = np.random.default_rng(seed + 50).uniform(-1, 1, 3)
    expected = photometric_oracle(image, 1 + 0.125 * u[0], 1 + 0.5 * u[1], 1 + 0.5 * u[2])
    # About ten float32 operations on values up to 1.5.
    np.testing.assert_allclose(result, expected, atol=3e-6)
    assert (image == before).all()
    assert result.dtype == np.float32


def test_colours_agree_with_torchvision() -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    image = np.random.default_rng(0).random((8, 6, 3), dtype=np.float32)
    u = np.random.default_rng(9).uniform(-1, 1, 3)
    for name, ranges in (("brightness", (0.125, 0, 0)), ("contrast", (0, 0.5, 0)), ("saturation", (0, 0, 0.5))):
        ranges_by_name = dict(zip(("brightness", "contrast", "saturation"), ranges, strict=True))
        result = photometric(image, Augmentation(**ranges_by_name), np.random.default_rng(9))
        factor = 1 + sum(r * v for r, v in zip(ranges, u, strict=True))
        expected = getattr(functional, f"adjust_{name}")(torch.from_numpy(image).permute(2, 0, 1), factor)
        np.testing.assert_allclose(result, expected.permute(1, 2, 0).numpy(), atol=1e-6)


def test_grey_stays_grey_and_white_does_not_overflow() -> None:
    assert abs(float(GREY.sum()) - 1) < 1e-3
    for seed in range(20):
        result = photometric(np.ones((4, 5, 3), np.float32), Augmentation(), np.random.default_rng(seed))
        assert 0.8 < result.min() <= result.max() <= 1


def test_erasing_overwrites_one_rectangle_of_the_stated_area_and_aspect() -> None:
    image = np.full((120, 90, 3), 2.0, dtype=np.float32)
    areas, aspects = [], []
    for seed in range(300):
        result = erase(image, Augmentation(), np.random.default_rng(seed))
        changed = (result != 2).all(axis=-1)
        if not changed.any():
            assert result is image
            continue
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        h, w = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        assert changed.sum() == h * w
        assert result[changed].min() >= 0
        assert result[changed].max() < 1
        areas.append(h * w / (120 * 90))
        aspects.append(h / w)
    # Half of 300 within four standard deviations of 8.7.
    assert abs(len(areas) - 150) < 35
    # Rounding each side by half a pixel changes area and aspect by under 1/14 + 1/14 for the smallest sides of 8 px.
    assert 0.02 * 0.86 < min(areas) < 0.04
    assert 0.3 < max(areas) < 0.33 * 1.04
    assert 0.3 * 0.9 < min(aspects) < 0.5
    assert 2 < max(aspects) < 3.3 * 1.1
    assert (image == 2).all()


def test_erasing_gives_up_on_a_rectangle_that_never_fits() -> None:
    image = np.zeros((10, 12, 3), dtype=np.float32)
    tall = Augmentation(erase=1, erase_area=(0.9, 0.9), erase_aspect=(9, 9))
    assert erase(image, tall, np.random.default_rng(0)) is image


def test_erased_points_stay_visible_and_points_outside_do_not() -> None:
    s = sample(points=((30.0, 25.0), (50.0, 26.0), (40.0, 37.0), (33.0, 48.0), (47.0, 47.5)))
    still = {"flip": 0, "rotation_deg": 0, "scale": 0, "translation": 0}
    everything = Augmentation(erase=1, erase_area=(1.0, 1.0), erase_aspect=(1.0, 1.0), **still)
    example = make_example(s, size=24, padding=1.3, augmentation=everything, rng=np.random.default_rng(0))
    assert example.visible.all()
    assert example.image.std() > 0.25
    outside = make_example(s, size=24, padding=0.5)
    points = outside.points.numpy()
    inside = ((points >= -0.5) & (points <= 23.5)).all(axis=1)
    assert outside.visible.tolist() == inside.tolist()
    assert 0 < inside.sum() < 5


def test_example_of_the_whole_box() -> None:
    s = sample(box=(10.0, 12.0, 59.0, 61.0))
    example = make_example(s, size=25, policy="P2")
    assert example.image.shape == (3, 25, 25)
    assert example.image.dtype == example.points.dtype == torch.float32
    assert example.visible.dtype == torch.bool
    assert isinstance(s.image, np.ndarray)
    means = s.image[12:62, 10:60].reshape(25, 2, 25, 2, 3).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(example.image.permute(1, 2, 0).numpy(), means, atol=1e-6)
    np.testing.assert_allclose(example.points.numpy(), (s.points - [9.5, 11.5]) / 2 - 0.5, atol=1e-5)


def test_the_same_generator_gives_the_same_example_and_a_given_image_is_used() -> None:
    s = sample()
    options: dict[str, Any] = {"size": (20, 30), "skeleton": FACE5, "augmentation": Augmentation()}
    first = make_example(s, rng=np.random.default_rng([1, 2, 3]), **options)
    again = make_example(s, rng=np.random.default_rng([1, 2, 3]), image=s.image, **options)
    other = make_example(s, rng=np.random.default_rng([1, 2, 4]), **options)
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.points, again.points)
    assert not torch.equal(first.points, other.points)
    black = make_example(s, size=(20, 30), image=np.zeros((71, 83, 3), np.uint8))
    assert (black.image == 0).all()


def test_boxes_by_policy() -> None:
    s = sample(visible=np.array([True, True, False, True, False]), box=(1.0, 2.0, 70.0, 60.0))
    assert box_of(s, "P1") == (30.0, 25.0, 50.0, 48.0)
    assert box_of(s, "P2") == (1.0, 2.0, 70.0, 60.0)
    assert box_of(s, "image") == (0.0, 0.0, 82.0, 70.0)
    assert box_of(s, "image", size=(9, 7)) == (0.0, 0.0, 8.0, 6.0)


def test_tight_boxes_are_those_of_the_published_script(goldens: Any) -> None:
    """Its points count from 1 and lose 1 before the box is taken, as a reader of .pts files does."""
    arrays = goldens("06_nme_faces")
    for truth, box in zip(arrays["f300w_gt"].astype(np.float64) - 1, arrays["f300w_h3r_script_p1_boxes"], strict=True):
        found = box_of(sample(points=truth, image=np.zeros((3, 4, 3), np.uint8)), "P1")
        np.testing.assert_allclose(found, box, atol=1e-4)


def test_crops_have_the_extent_of_the_published_script(goldens: Any) -> None:
    """Its side is 1.25·max(x2 − x1 + 1, y2 − y1 + 1). Its rectangle counts from the corner of the first pixel with
    the centre at (x1 + x2 + 1)/2, ours from the pixel's centre, so that the same crop begins at X − ½."""
    arrays = goldens("03_h3r_geometry")
    side = int(arrays["g0_input_size"])
    for box, (left, top, right, bottom) in zip(arrays["g0_bbox"], arrays["g0_rect_f64"], strict=True):
        frame = Frame.from_box(tuple(box), (side, side), padding=1.25)
        first, last = frame.to_image(np.array([[-0.5, -0.5], [side - 0.5, side - 0.5]]))
        np.testing.assert_allclose(first + 0.5, [left, top], atol=1e-4)
        np.testing.assert_allclose(last + 0.5, [right, bottom], atol=1e-4)


@pytest.mark.parametrize(
    ("policy", "changes", "text"),
    [
        ("P3", {}, "box_of: policy must be one of P1, P2, image, got 'P3'. Did you mean P"),
        ("P2", {}, "box_of: policy must be one the set supports, got P2. s gives no box: use P1 or image."),
        (
            "P1",
            {"visible": np.zeros(5, bool)},
            "box_of: sample must have a visible point for P1, got s. Leave the sample out, or use P2 or image.",
        ),
    ],
)
def test_boxes_that_cannot_be_had(policy: str, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        box_of(sample(**changes), policy)
    assert text in str(caught.value)


def test_augmentation_needs_a_generator_and_a_flip_a_skeleton() -> None:
    with pytest.raises(ValueError, match="make_example: rng must be given with augmentation, got None"):
        make_example(sample(), size=20, augmentation=Augmentation(), skeleton=FACE5)
    with pytest.raises(ValueError, match=r"make_example: skeleton must be given when augmentation.flip > 0, got None"):
        make_example(sample(), size=20, augmentation=Augmentation(), rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"flip": 1.5}, "Augmentation: flip must be from 0 to 1, got 1.5."),
        ({"scale": 1.0}, "Augmentation: scale must be below 1, got 1.0."),
        ({"rotation_deg": -1.0}, "Augmentation: rotation_deg must be at least 0, got -1.0."),
        (
            {"erase_area": (0.3, 0.1)},
            "Augmentation: erase_area must be (low, high) with 0 < low <= high, got (0.3, 0.1).",
        ),
    ],
)
def test_ranges_that_make_no_sense(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        Augmentation(**changes)
    assert str(caught.value) == text


def test_a_picture_of_doubles_is_warped_as_one_of_floats() -> None:
    image = np.random.default_rng(3).random((24, 30, 3))
    frame = Frame.from_box((4, 3, 20, 19), (16, 16))
    assert np.array_equal(warp(image, frame), warp(image.astype(np.float32), frame))


def test_a_picture_that_is_changed_in_place_is_contiguous() -> None:
    image = np.zeros((6, 8, 3), np.float32)[:, ::2]
    with pytest.raises(ValueError, match="photometric: image must be contiguous to be changed in place"):
        photometric(image, Augmentation(), np.random.default_rng(0), in_place=True)
