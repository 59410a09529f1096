"""What the network sees of a cloud: the frame, the rows that stay, every change of augmentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from heatpoint.cloud_frame import CloudFrame, turn_about
from heatpoint.datasets import Cloud
from heatpoint.transforms import CloudAugmentation, CloudExample, make_cloud_example

NUM, ROWS = 301, (17, 0, 260, 5)
XYZ = np.random.default_rng(0).uniform(-1, 2, (NUM, 3)) * [1.0, 0.4, 0.7]


def cloud(**changes: Any) -> Cloud:
    visible = np.array([True, True, False, True])
    index = np.where(visible, ROWS, 0)
    points = np.where(visible[:, None], XYZ[index], 0.0)
    return Cloud(**({"xyz": XYZ, "points": points, "visible": visible, "key": "a", "index": index} | changes))


def example(
    seed: int = 0, *, num_points: int | None = None, source: Cloud | None = None, **ranges: Any
) -> CloudExample:
    return make_cloud_example(
        source or cloud(),
        num_points=num_points,
        augmentation=CloudAugmentation(**ranges),
        rng=np.random.default_rng(seed),
    )


def test_evaluation_shows_the_whole_cloud_in_the_unit_sphere() -> None:
    found = make_cloud_example(cloud())
    frame = CloudFrame.unit_sphere(XYZ)
    assert (found.xyz.dtype, found.points.dtype, found.visible.dtype) == (torch.float32, torch.float32, torch.bool)
    np.testing.assert_array_equal(found.frame.matrix, frame.matrix)
    np.testing.assert_allclose(found.xyz.numpy(), frame.to_input(XYZ), atol=1e-6)
    assert float(found.xyz.norm(dim=1).max()) == pytest.approx(1, abs=1e-6)
    assert found.rows.tolist() == list(range(NUM))
    assert found.visible.tolist() == [True, True, False, True]
    assert found.index.tolist() == [17, 0, 0, 5]
    assert torch.equal(found.points[found.visible], found.xyz[found.index[found.visible]])
    assert found.points[2].tolist() == [0, 0, 0]


def test_own_coordinates_are_kept_on_demand() -> None:
    found = make_cloud_example(cloud(), normalization="none")
    assert found.frame.scale == 1
    np.testing.assert_array_equal(found.xyz.numpy(), XYZ.astype(np.float32))


@pytest.mark.parametrize("num_points", [4, 5, 77, 300, NUM])
def test_keypoints_survive_resampling(num_points: int) -> None:
    found = make_cloud_example(cloud(), num_points=num_points)
    again = make_cloud_example(cloud(), num_points=num_points)
    assert len(found.xyz) == num_points == len(set(found.rows.tolist()))
    assert torch.equal(found.rows, again.rows)
    assert torch.equal(found.rows, found.rows.sort().values)
    assert found.rows[found.index].tolist()[:2] == [17, 0]
    # The frame is that of the whole cloud, however few of its points are shown.
    np.testing.assert_allclose(
        found.xyz.numpy(), CloudFrame.unit_sphere(XYZ).to_input(XYZ[found.rows.numpy()]), atol=1e-6
    )
    assert torch.equal(found.points[found.visible], found.xyz[found.index[found.visible]])


@pytest.mark.parametrize("num_points", [4, 77, 300, NUM])
@pytest.mark.parametrize("is_row", [True, False])
def test_in_evaluation_the_choice_of_points_does_not_know_the_labels(is_row: bool, num_points: int) -> None:
    source = cloud() if is_row else cloud(index=None)
    found = make_cloud_example(source, num_points=num_points, keep_keypoints=False)
    turned = np.roll(np.arange(NUM), 9)[list(ROWS)]
    other = cloud(points=np.where(source.visible[:, None], XYZ[turned], 0.0), index=np.where(source.visible, turned, 0))
    assert torch.equal(found.rows, make_cloud_example(other, num_points=num_points, keep_keypoints=False).rows)
    assert torch.equal(found.xyz, make_cloud_example(other, num_points=num_points, keep_keypoints=False).xyz)
    assert len(set(found.rows.tolist())) == num_points
    if num_points == 77:
        assert not torch.equal(found.rows, make_cloud_example(source, num_points=num_points).rows)
    # What is shown of a cloud without any labels, and by the predictor.
    assert found.rows.tolist() == sorted(np.random.default_rng(0).choice(NUM, num_points, replace=False).tolist())
    # The keypoints are those of the set, whether or not their rows are shown; `index` names what is nearest of what is.
    wanted = CloudFrame.unit_sphere(XYZ).to_input(source.points)
    np.testing.assert_array_equal(found.points.numpy()[[0, 1, 3]], wanted[[0, 1, 3]].astype(np.float32))
    for keypoint in (0, 1, 3):
        away = [float(np.linalg.norm(row - wanted[keypoint])) for row in found.xyz.double().numpy()]
        assert int(found.index[keypoint]) == away.index(min(away))
    assert (found.index[2], found.points[2].abs().max()) == (0, 0)


def test_without_keeping_keypoints_dropout_and_jitter_take_them_too() -> None:
    rng = np.random.default_rng
    changes = CloudAugmentation(dropout=0.9, jitter=0.02)
    drawn = [make_cloud_example(cloud(), augmentation=changes, rng=rng(s), keep_keypoints=False) for s in range(20)]
    assert not all(17 in found.rows.tolist() for found in drawn)
    for found in drawn:
        np.testing.assert_allclose(found.points.numpy()[0], found.frame.to_input(XYZ[17]), atol=1e-6)


def test_training_draws_other_points_every_time() -> None:
    one, same, other = (example(seed, num_points=77) for seed in (1, 1, 2))
    assert torch.equal(one.rows, same.rows)
    assert not torch.equal(one.rows, other.rows)


def test_the_rest_of_the_points_is_drawn_fairly() -> None:
    counts = np.zeros(NUM)
    for seed in range(400):
        counts[example(seed, num_points=77).rows.numpy()] += 1
    kept = [17, 0, 5]
    assert (counts[kept] == 400).all()
    rest = np.delete(counts, kept)
    # Each of 298 rows is taken in 74 of 298 draws: 99.3 ± 8.6; of 298 rows none is beyond 5 deviations (p < 2e-4).
    assert np.abs(rest - 400 * 74 / 298).max() < 5 * np.sqrt(400 * 74 / 298 * (1 - 74 / 298))


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_rotation_turns_about_the_up_axis(up: Any) -> None:
    angles = []
    plain = make_cloud_example(cloud()).xyz.numpy()
    axis = "xyz".index(up)
    for seed in range(60):
        found = example(seed, rotation_deg=30.0, up=up)
        np.testing.assert_allclose(found.xyz.numpy()[:, axis], plain[:, axis], atol=1e-6)
        linear = found.frame.matrix[:, :3] / found.frame.scale
        first, second = (axis + 1) % 3, (axis + 2) % 3
        angles.append(np.degrees(np.arctan2(linear[second, first], linear[first, first])))
        np.testing.assert_allclose(linear, turn_about(up, angles[-1])[:, :3], atol=1e-12)
    assert -30 <= min(angles) < -25
    assert 25 < max(angles) <= 30


def test_scale_and_translation_stay_in_their_ranges_and_in_the_frame() -> None:
    plain = CloudFrame.unit_sphere(XYZ)
    factors, lengths = [], []
    for seed in range(80):
        found = example(seed, scale=0.2, translation=0.1)
        factors.append(found.frame.scale / plain.scale)
        lengths.append(np.linalg.norm(found.frame.to_input(XYZ.mean(axis=0))))
        np.testing.assert_allclose(found.frame.to_cloud(found.xyz.numpy().astype(np.float64)), XYZ, atol=1e-6)
    assert 0.8 <= min(factors) < 0.82
    assert 1.18 < max(factors) <= 1.2
    assert 0 <= min(lengths) < 0.01
    assert 0.09 < max(lengths) <= 0.1


def test_jitter_moves_points_and_the_targets_are_the_rows_that_moved() -> None:
    plain = make_cloud_example(cloud())
    found = example(3, jitter=0.02, jitter_clip=0.03)
    shift = (found.xyz - plain.xyz).numpy()
    assert np.abs(shift).max() == pytest.approx(0.03, abs=1e-6)
    # Of a normal number cut at 1.5 deviations the variance is 0.778 of the whole; 903 of them settle it within 10 %.
    assert shift.std() == pytest.approx(0.02 * np.sqrt(0.778), rel=0.1)
    assert torch.equal(found.points[found.visible], found.xyz[[17, 0, 5]])
    assert not torch.equal(found.points, plain.points)
    # The frame knows nothing of it.
    np.testing.assert_array_equal(found.frame.matrix, plain.frame.matrix)


def test_dropout_puts_copies_in_the_place_of_lost_points() -> None:
    shares = []
    for seed in range(60):
        found = example(seed, dropout=0.6, jitter=0.01)
        rows = found.rows.numpy()
        assert len(found.xyz) == NUM
        lost = set(range(NUM)) - set(rows.tolist())
        assert not lost & {17, 0, 5}
        is_copy = rows != np.arange(NUM)
        assert set(np.flatnonzero(is_copy).tolist()) == lost
        # A copy is the very point, jitter included.
        assert torch.equal(found.xyz[is_copy.nonzero()[0]], found.xyz[torch.from_numpy(rows[is_copy])])
        assert torch.equal(found.points[found.visible], found.xyz[found.index[found.visible]])
        assert found.rows[found.index].tolist()[:2] == [17, 0]
        shares.append(len(lost) / NUM)
    assert min(shares) < 0.05
    assert 0.5 < max(shares) < 0.7


def test_one_point_is_left_of_a_cloud_without_rows_to_keep() -> None:
    hidden = cloud(visible=np.zeros(4, bool), points=np.zeros((4, 3)))
    for seed in range(20):
        found = example(seed, num_points=4, source=hidden, dropout=0.99)
        assert len(found.xyz) == 4
        assert torch.isfinite(found.xyz).all()
        assert found.points.abs().max() == 0


def test_switching_one_change_off_leaves_the_others() -> None:
    ranges = {"rotation_deg": 20.0, "scale": 0.1, "translation": 0.1, "jitter": 0.01, "dropout": 0.3}
    whole = example(5, **ranges)
    without = example(5, **(ranges | {"rotation_deg": 0.0}))
    assert torch.equal(whole.rows, without.rows)
    assert whole.frame.scale == pytest.approx(without.frame.scale)
    np.testing.assert_allclose(
        whole.frame.to_input(XYZ.mean(axis=0)), without.frame.to_input(XYZ.mean(axis=0)), atol=1e-12
    )
    assert not np.allclose(whole.frame.matrix, without.frame.matrix)


def test_keypoints_that_are_no_rows_move_with_the_frame_alone() -> None:
    points = np.where(cloud().visible[:, None], cloud().points + 0.003, 0.0)
    found = example(6, source=cloud(index=None, points=points), jitter=0.05, rotation_deg=40.0, dropout=0.5)
    np.testing.assert_allclose(found.points.numpy()[[0, 1, 3]], found.frame.to_input(points[[0, 1, 3]]), atol=1e-6)
    # The nearest rows stay, and are named.
    assert found.rows[found.index].tolist()[:2] == [17, 0]
    assert int(found.rows[found.index[3]]) == 5


def test_points_may_be_given() -> None:
    found = make_cloud_example(cloud(xyz=Path("not read.npy")), xyz=XYZ)
    assert torch.equal(found.xyz, make_cloud_example(cloud()).xyz)
    with pytest.raises(
        ValueError, match="make_cloud_example: index must name the rows at which the keypoints lie, got row"
    ):
        make_cloud_example(cloud(), xyz=XYZ + 5.0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"num_points": 302}, "make_cloud_example: cloud must have at least num_points = 302 points, got 301 in a. "
         "Take num_points <= 301, or sample the surface more densely."),
        ({"num_points": 3}, "make_cloud_example: num_points must be at least the number of keypoints (4), got 3."),
        ({"xyz": XYZ[:3]}, "make_cloud_example: cloud must have at least as many points as the 4 keypoints, got 3 in a."),
        ({"normalization": "box"}, "make_cloud_example: normalization must be one of none, sphere, got 'box'."),
        ({"augmentation": CloudAugmentation()}, "make_cloud_example: rng must be given with augmentation, got None."),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        make_cloud_example(cloud(), **arguments)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([17, 0, 0, 301], "make_cloud_example: index must name rows from 0 to 300, got 301 in a."),
        ([17, 0, 0, -1], "make_cloud_example: index must name rows from 0 to 300, got -1 in a."),
        (
            [17, 0, 0, 6],
            "make_cloud_example: index must name the rows at which the keypoints lie, got row 6 of a, which",
        ),
    ],
)
def test_the_index_of_a_cloud_in_a_file_is_compared_with_it(rows: list[int], text: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", XYZ)
    make_cloud_example(cloud(xyz=tmp_path / "a.npy"))
    with pytest.raises(ValueError, match="^" + re.escape(text)):
        make_cloud_example(cloud(xyz=tmp_path / "a.npy", index=np.array(rows)))


def test_a_cloud_at_one_place_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((7, 3)))
    text = "make_cloud_example: cloud must hold finite points at two places or more, got 7 that do not in a."
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        make_cloud_example(cloud(xyz=tmp_path / "a.npy", index=None))


@pytest.mark.parametrize(
    ("ranges", "text"),
    [
        ({"up": "w"}, "CloudAugmentation: up must be one of x, y, z, got 'w'"),
        ({"rotation_deg": -1.0}, "CloudAugmentation: rotation_deg must be at least 0 and finite, got -1.0."),
        ({"translation": float("inf")}, "CloudAugmentation: translation must be at least 0 and finite, got inf."),
        ({"jitter": float("nan")}, "CloudAugmentation: jitter must be at least 0 and finite, got nan."),
        ({"jitter_clip": -0.1}, "CloudAugmentation: jitter_clip must be at least 0 and finite, got -0.1."),
        ({"scale": 1.0}, "CloudAugmentation: scale must be from 0 to below 1, got 1.0."),
        ({"dropout": 1.0}, "CloudAugmentation: dropout must be from 0 to below 1, got 1.0."),
    ],
)
def test_ranges_are_checked(ranges: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(text)):
        CloudAugmentation(**ranges)
