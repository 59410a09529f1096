"""Random changes of body poses as the published code draws them; what was there before draws what it drew."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from heatpoint.datasets import Sample
from heatpoint.frames import Frame
from heatpoint.skeleton import Skeleton, load_skeleton
from heatpoint.transforms import Augmentation, augment_frame, make_example, photometric
from heatpoint.transforms.half_body import PADDING, UPPER_SHARE, half_body

LSP14 = load_skeleton("lsp14")
FRAME = Frame.from_box((3, 4, 42, 63), (40, 60))
PLAIN = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "erase": 0.0, "translation": 0.0, "flip": 0.0}
# What the published code for poses does; every new range at once.
POSE = Augmentation(erase=0, rotation_share=0.6, law="normal", zoom="region", half_body=1.0, channels=0.2)


def linear(augmentation: Augmentation, seed: int) -> tuple[float, float]:
    """Angle in degrees and factor of one draw."""
    new, _ = augment_frame(FRAME, augmentation, np.random.default_rng(seed))
    part = new.matrix[:, :2] @ np.linalg.inv(FRAME.matrix[:, :2])
    return math.degrees(math.atan2(part[1, 0], part[0, 0])), math.sqrt(np.linalg.det(part))


def numbers(seed: int) -> tuple[float, float]:
    """The two numbers within ± 1 from which angle and factor are made."""
    turn, grow = np.random.default_rng(seed).uniform(-1, 1, 4)[:2]
    return float(turn), float(grow)


def body(**changes: Any) -> Sample:
    rng = np.random.default_rng(3)
    points = rng.uniform((20, 10), (60, 70), (14, 2))
    image = rng.integers(0, 256, (83, 91, 3), dtype=np.uint8)
    values = {"image": image, "points": points, "visible": np.ones(14, bool), "box": None, "key": "s"}
    return Sample(**{**values, **changes})


def test_published_results_keep_their_stream_of_random_numbers() -> None:
    rng = np.random.default_rng(5)
    new, flipped = augment_frame(FRAME, Augmentation(), rng)
    expected = [
        [-1.0956077839428846, 0.36234135286513874, 31.93611201252205],
        [0.36234135286513874, 1.0956077839428846, -16.9620308508912],
    ]
    np.testing.assert_allclose(new.matrix, expected, rtol=1e-13)
    assert flipped
    assert rng.random() == 0.38336888078551823
    image = np.full((3, 4, 3), 0.5, np.float32)
    image[..., 0] = 0.25
    rng = np.random.default_rng(7)
    pixel = photometric(image, Augmentation(), rng)[0, 0]
    np.testing.assert_allclose(pixel, [0.11642909, 0.57596618, 0.57596618], rtol=1e-6)
    assert rng.random() == 0.22520718999059186


def test_new_changes_take_no_number_from_the_old() -> None:
    for augmentation in (Augmentation(erase=0), POSE):
        rng = np.random.default_rng(8)
        make_example(body(), size=24, skeleton=LSP14, augmentation=augmentation, rng=rng)
        # Four of the geometry, one of the flip, three of the colours, one of the rectangle that is not erased.
        assert rng.random() == np.random.default_rng(8).random(10)[9]
    # Half bodies change the box; flip and shift stay what they were.
    still = {"size": 24, "skeleton": LSP14}
    seen = [
        make_example(body(), augmentation=Augmentation(half_body=p), rng=np.random.default_rng(2), **still)
        for p in (0.0, 1.0)
    ]
    assert seen[0].flipped == seen[1].flipped
    turns = [math.atan2(e.frame.matrix[1, 0], e.frame.matrix[0, 0]) for e in seen]
    assert turns[0] == pytest.approx(turns[1], abs=1e-12)
    assert abs(np.linalg.det(seen[0].frame.matrix[:, :2])) != pytest.approx(
        abs(np.linalg.det(seen[1].frame.matrix[:, :2])), rel=0.05
    )


@pytest.mark.parametrize("seed", range(12))
def test_normal_law_has_the_quantiles_of_the_normal_distribution(seed: int) -> None:
    turn, grow = numbers(seed)
    angle, factor = linear(Augmentation(rotation_deg=20, scale=0.3, law="normal", **PLAIN), seed)
    assert angle == pytest.approx(20 * np.clip(stats.norm.ppf((1 + turn) / 2), -2, 2), abs=1e-6)
    assert factor == pytest.approx(1 + 0.3 * np.clip(stats.norm.ppf((1 + grow) / 2), -1, 1), abs=1e-8)


def test_normal_law_reaches_its_bounds() -> None:
    drawn = np.array([linear(Augmentation(rotation_deg=20, scale=0.3, law="normal", **PLAIN), s) for s in range(300)])
    assert np.abs(drawn[:, 0]).max() == pytest.approx(40, abs=1e-9)
    # A share 0.317 of normal numbers lies beyond 1 deviation; four deviations of the binomial share are 0.108.
    at_bound = np.isclose(np.abs(drawn[:, 1] - 1), 0.3, atol=1e-9)
    assert abs(at_bound.mean() - 0.317) < 0.108


@pytest.mark.parametrize("share", [0.6, 0.25])
def test_a_share_of_the_images_is_rotated_as_ever(share: float) -> None:
    angles = []
    for seed in range(200):
        turn, _ = numbers(seed)
        angle, _ = linear(Augmentation(rotation_deg=40, rotation_share=share, **PLAIN), seed)
        assert angle == pytest.approx(40 * turn / share if abs(turn) <= share else 0.0, abs=1e-9)
        angles.append(angle)
    rotated = np.abs(angles) > 1e-9
    # Four standard deviations of a binomial share of 200.
    assert abs(rotated.mean() - share) < 4 * math.sqrt(share * (1 - share) / 200)
    assert np.abs(angles).max() > 0.9 * 40
    assert linear(Augmentation(rotation_share=0.0, **PLAIN), 0)[0] == 0


def test_a_larger_region_makes_the_object_smaller() -> None:
    for law in ("uniform", "normal"):
        for seed in range(5):
            _, larger = linear(Augmentation(scale=0.4, law=law, **PLAIN), seed)
            _, smaller = linear(Augmentation(scale=0.4, law=law, zoom="region", **PLAIN), seed)
            assert larger * smaller == pytest.approx(1, abs=1e-12)


def test_each_channel_has_a_factor() -> None:
    image = np.full((2, 3, 3), 0.5, np.float32)
    image[0] = 0.95
    factors = []
    for seed in range(100):
        changed = photometric(image, Augmentation(channels=0.2, **PLAIN), np.random.default_rng(seed))
        factor = changed[1, 0] / 0.5
        np.testing.assert_allclose(changed[0], np.minimum(0.95 * factor, 1)[None].repeat(3, 0), rtol=1e-5)
        factors.append(factor)
    low, high = np.min(factors, axis=0), np.max(factors, axis=0)
    # 100 uniform draws come within 5 % of both ends but for odds of 1 % per channel (fixed seeds: no odds).
    assert ((low > 0.8 - 1e-6) & (low < 0.82)).all()
    assert ((high < 1.2 + 1e-6) & (high > 1.18)).all()
    assert abs(np.corrcoef(np.array(factors).T) - np.eye(3)).max() < 0.4


def half_body_oracle(points: np.ndarray, visible: np.ndarray, upper: tuple[int, ...], normal: float) -> Any:
    """Centre and size by the published rule, from its normal number."""
    groups: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for index, point in enumerate(points):
        if visible[index]:
            groups[index in upper].append(point)
    if normal < 0.5 and len(groups[True]) > 2:
        chosen = groups[True]
    elif len(groups[False]) > 2:
        chosen = groups[False]
    else:
        chosen = groups[True]
    if len(chosen) < 2:
        return None
    xs, ys = [p[0] for p in chosen], [p[1] for p in chosen]
    return (sum(xs) / len(xs), sum(ys) / len(ys)), (max(xs) - min(xs), max(ys) - min(ys))


def test_halves_are_chosen_by_the_published_rule() -> None:
    assert pytest.approx(stats.norm.cdf(0.5), abs=1e-15) == UPPER_SHARE
    kinds = set()
    for seed in range(300):
        rng = np.random.default_rng(seed)
        points, visible = rng.uniform(0, 80, (14, 2)), rng.random(14) < rng.choice([0.1, 0.3, 0.9])
        normal = stats.norm.ppf(np.random.default_rng(seed + 1000).random())
        expected = half_body_oracle(points, visible, LSP14.upper_body, normal)
        box = half_body(points, visible, LSP14.upper_body, np.random.default_rng(seed + 1000))
        if expected is None or box is None:
            assert expected is None
            assert box is None
            kinds.add("none")
            continue
        (cx, cy), (width, height) = expected
        np.testing.assert_allclose(box, (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2), atol=1e-9)
        kinds.add("upper" if normal < 0.5 else "lower")
    assert kinds == {"none", "upper", "lower"}


def test_half_bodies_fill_the_input_with_the_published_padding() -> None:
    s = body()
    options = {"size": (30, 40), "padding": 1.25, "skeleton": LSP14}
    still = {"rotation_deg": 0.0, "scale": 0.0, **PLAIN}
    shown = {"upper": 0, "lower": 0}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        example = make_example(s, augmentation=Augmentation(half_body=1.0, **still), rng=rng, **options)
        # The box is drawn from a generator spawned from the example's: its second number chooses the half.
        is_upper = np.random.default_rng(seed).spawn(1)[0].random(2)[1] < UPPER_SHARE
        chosen = s.points[[i for i in range(14) if (i in LSP14.upper_body) == is_upper]]
        extent = np.ptp(chosen, axis=0) + 1
        scale = min(30 / extent[0], 40 / extent[1]) / PADDING
        np.testing.assert_allclose(example.frame.matrix[:, :2], scale * np.eye(2), rtol=1e-12)
        np.testing.assert_allclose(example.frame.to_input(chosen.mean(axis=0)), (14.5, 19.5), atol=1e-9)
        shown["upper" if is_upper else "lower"] += 1
    assert min(shown.values()) > 5


def test_few_points_and_small_odds_leave_the_whole_body() -> None:
    options = {"size": 30, "skeleton": LSP14}
    still = {"rotation_deg": 0.0, "scale": 0.0, **PLAIN}

    def is_whole(s: Sample, seed: int, **changes: Any) -> bool:
        augmentation = Augmentation(**{"half_body": 1.0, **still, **changes})
        frame = make_example(s, augmentation=augmentation, rng=np.random.default_rng(seed), **options).frame
        return bool(np.allclose(frame.matrix, make_example(s, **options).frame.matrix))

    for visible, whole in ((8, True), (9, False)):
        assert is_whole(body(visible=np.arange(14) < visible), 0) == whole
        assert is_whole(body(visible=np.arange(14) < visible), 0, half_body_points=visible)
    shares = np.mean([is_whole(body(), seed, half_body=0.3) for seed in range(200)])
    assert abs(shares - 0.7) < 4 * math.sqrt(0.3 * 0.7 / 200)
    # One visible point above and none below: no half to show.
    one = np.arange(14) == 7
    assert half_body(body().points, one, LSP14.upper_body, np.random.default_rng(0)) is None
    assert is_whole(body(visible=one), 0, half_body_points=0)


@pytest.mark.parametrize("skeleton", [None, Skeleton(tuple("abcdefghijklmn"))])
def test_halves_need_a_skeleton_that_tells_them(skeleton: Skeleton | None) -> None:
    augmentation, rng = Augmentation(half_body=0.5, flip=0.0), np.random.default_rng(0)
    with pytest.raises(ValueError) as caught:
        make_example(body(), size=20, skeleton=skeleton, augmentation=augmentation, rng=rng)
    rule = "make_example: skeleton must say which points are the upper half, got none."
    assert str(caught.value) == f"{rule} Give the skeleton upper_body, or set augmentation.half_body to 0."


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"law": "gauss"}, "Augmentation: law must be one of normal, uniform, got 'gauss'."),
        ({"zoom": "box"}, "Augmentation: zoom must be one of object, region, got 'box'."),
        ({"rotation_share": 1.5}, "Augmentation: rotation_share must be from 0 to 1, got 1.5."),
        ({"half_body": -0.5}, "Augmentation: half_body must be from 0 to 1, got -0.5."),
        ({"half_body_points": -1}, "Augmentation: half_body_points must be at least 0, got -1."),
        ({"channels": 1.5}, "Augmentation: channels must be from 0 to 1, got 1.5."),
    ],
)
def test_ranges_of_poses_that_make_no_sense(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        Augmentation(**changes)
    assert str(caught.value).startswith(text)
