"""Rendered faces: their truth, their determinism, their variety."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from heatpoint.datasets import DATASETS, render_face, synthetic_faces
from heatpoint.datasets.face_model import Face, Palette, face_shapes
from heatpoint.datasets.raster import fill
from heatpoint.datasets.synthetic import Pose
from heatpoint.skeleton import load_skeleton

SKELETON = load_skeleton("synthetic_face")


def test_same_seed_and_index_same_face_whatever_the_number() -> None:
    few, many = synthetic_faces(2, size=40, seed=3), synthetic_faces(4, size=40, seed=3)
    for a, b in zip(few.samples, many.samples, strict=False):
        assert (np.asarray(a.image) == np.asarray(b.image)).all()
        assert (a.points == b.points).all()
        assert a.box == b.box
        assert a.key == b.key


@pytest.mark.parametrize("change", [{"seed": 4}, {"split": "test"}, {"split": "validation"}])
def test_seed_and_split_give_other_faces(change: dict[str, object]) -> None:
    base = synthetic_faces(1, size=40, seed=3).samples[0]
    other = synthetic_faces(1, **{"size": 40, "seed": 3, **change}).samples[0]
    assert (base.points != other.points).all()


def test_point_set() -> None:
    points = synthetic_faces(3, size=50, seed=1, split="test")
    assert points.skeleton == SKELETON
    assert points.protocol == {"seed": 1, "size": 50, "num": 3}
    assert all(np.asarray(s.image).shape == (50, 50, 3) and s.visible.all() for s in points.samples)


def test_registered_reader_needs_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEATPOINT_DATA", raising=False)
    monkeypatch.setattr("heatpoint.datasets.synthetic.DEFAULT_COUNTS", {"train": 3, "validation": 1, "test": 2})
    assert len(DATASETS["synthetic_faces"](None, "test")) == 2


@pytest.mark.parametrize("size", [64, 97])
def test_truth_scales_with_the_picture(size: int) -> None:
    """The same face at another size: points follow the rule of resizing, x -> (x + ½)·s − ½, to rounding."""
    small, points, box = render_face(np.random.default_rng(5), size=size, degraded=False)
    _, large, large_box = render_face(np.random.default_rng(5), size=3 * size, degraded=False)
    np.testing.assert_allclose((points + 0.5) * 3 - 0.5, large, atol=1e-9)
    np.testing.assert_allclose((np.array(box) + 0.5) * 3 - 0.5, large_box, atol=1e-9)
    assert small.shape == (size, size, 3)


@pytest.mark.parametrize("seed", range(6))
def test_points_lie_in_the_middle_of_what_is_painted_at_them(seed: int) -> None:
    """Paints each iris, nostril and the nose's tip alone and compares its centroid with the point.

    A projected disc's centroid differs from the projected centre by the curvature of the surface within it: features
    are below 0.085 half widths wide and the surface turns by at most about 1 per half width, so second order terms are
    below 0.085² · 1.5 ≈ 0.011 half widths, 0.35 px at the largest scale of 31 px.
    """
    rng = np.random.default_rng(seed)
    face, pose, palette = Face.draw(rng), Pose.draw(rng, 96), Palette.draw(rng)
    # Wide open eyes and centred gaze: lids then hide nothing of the pupil.
    face = dataclasses.replace(face, eye_open=0.1, gaze_x=0.0, gaze_y=0.0, eye_tilt=0.0, iris=0.06)
    points = pose.project(face.points(), face, face.depths())
    found = []
    for polygon, depth, _ in face_shapes(face, palette, rng):
        offsets = np.abs(polygon.mean(axis=0) - face.points()).max(axis=1)
        index = int(offsets.argmin())
        if len(polygon) != 20 or offsets[index] > 1e-9:
            continue
        picture = np.zeros((96, 96, 3), dtype=np.float32)
        fill(picture, [pose.project(polygon, face, np.full(20, depth))], [np.ones(3)])
        mass = picture[..., 0].astype(np.float64)
        rows, columns = np.mgrid[:96, :96]
        center = np.array([(mass * columns).sum(), (mass * rows).sum()]) / mass.sum()
        assert np.linalg.norm(points[index] - center) < 0.35
        found.append(SKELETON.names[index])
    assert {"left_pupil", "right_pupil", "left_nostril", "right_nostril", "nose_tip"} <= set(found)


def test_corners_of_eyes_and_mouth_are_corners_of_what_is_painted() -> None:
    rng = np.random.default_rng(11)
    face, palette = Face.draw(rng), Palette.draw(rng)
    corners = np.concatenate([polygon for polygon, _, _ in face_shapes(face, palette, rng)])
    points = face.points()
    # All but pupils, nose and nostrils, which are middles of discs.
    for index in (0, 1, 2, 3, 6, 7, 8, 9, 13, 14, 15, 16, 17):
        assert np.abs(corners - points[index]).sum(axis=1).min() < 1e-12, SKELETON.names[index]


def test_mirrored_identity_exchanges_the_names() -> None:
    face = dataclasses.replace(Face.draw(np.random.default_rng(2)), gaze_x=0.0)
    points = face.points()
    mirrored = points * np.array([-1.0, 1.0])
    np.testing.assert_allclose(mirrored[list(SKELETON.swap)], points, atol=1e-12)


def test_frontal_pose_is_a_similarity_for_points_of_equal_depth() -> None:
    """Without turn and roll the projection only scales about the centre: x -> center + scale·near·x."""
    face = Face.draw(np.random.default_rng(0))
    pose = Pose(0.0, 0.0, 0.0, 20.0, np.array([30.0, 31.0]))
    chin = pose.project(np.array([[0.0, face.height]]), face, np.zeros(1))
    # 1 − 0.7 = 0.3 of the squared depth 0.75² is left at the chin.
    near = 7 / (7 - 0.75 * np.sqrt(0.3))
    np.testing.assert_allclose(chin, [[30.0, 31.0 + 20 * near * face.height]], atol=1e-12)


def test_faces_fill_the_picture_and_points_stay_inside() -> None:
    points = synthetic_faces(60, size=96, seed=0)
    stacked = np.stack([s.points for s in points.samples])
    inside = (stacked > -0.5) & (stacked < 95.5)
    assert inside.mean() > 0.99
    ocular = np.linalg.norm(stacked[:, 0] - stacked[:, 3], axis=1)
    assert ocular.min() > 15
    assert ocular.std() > 2
    # Every point lies in its head's box but for the chin, brows and corners on the silhouette's far side.
    boxes = np.array([s.box for s in points.samples])[:, None]
    within = (stacked >= boxes[..., :2] - 1) & (stacked <= boxes[..., 2:] + 1)
    assert within.mean() > 0.99


def test_degrading_changes_the_picture_but_not_the_truth() -> None:
    clean, points, _ = render_face(np.random.default_rng(8), size=48, degraded=False)
    image, same, _ = render_face(np.random.default_rng(8), size=48)
    assert (points == same).all()
    assert np.abs(clean.astype(int) - image).mean() > 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"num": 0}, "synthetic_faces: num must be at least 1, got 0."),
        ({"num": 1, "size": 8}, "synthetic_faces: size must be at least 16, got 8."),
        ({"num": 1, "split": "val"}, "split must be one of test, train, validation, got 'val'."),
    ],
)
def test_arguments_are_checked(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        synthetic_faces(**arguments)
    assert text in str(caught.value)
