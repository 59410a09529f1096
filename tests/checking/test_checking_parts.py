"""The parts of a check on data made here: swaps and their power, near duplicates, boxes and areas, names, forms, proposals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from heatpoint.checking import Record, Report, check, open_data
from heatpoint.checking.findings import Finding
from heatpoint.checking.formats import find_labels, split_of
from heatpoint.checking.geometry import check_record, oks_range
from heatpoint.checking.names import mirrored_pairs
from heatpoint.checking.proposal import propose, repeated_sigmas, symmetric_pairs
from heatpoint.checking.skeleton_faults import doubtful_sigmas, read_skeleton
from heatpoint.checking.swaps import MIN_SAMPLES, find_swaps, swap_power
from heatpoint.datasets import DATASETS, Sample, read_coco, synthetic_faces
from heatpoint.skeleton import Skeleton, load_skeleton

FACE = load_skeleton("synthetic_face")


def shapes(number: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Points of rendered faces, each turned, grown and moved at will."""
    samples = synthetic_faces(number, split="train").samples
    points = np.stack([sample.points for sample in samples])
    rng = np.random.default_rng(5)
    turn = np.exp(1j * rng.uniform(-np.pi, np.pi, number)) * rng.uniform(0.5, 3, number)
    moved = (points[..., 0] + 1j * points[..., 1]) * turn[:, None] + rng.normal(0, 50, number)[:, None]
    return np.stack([moved.real, moved.imag], axis=-1), np.stack([sample.visible for sample in samples])


def test_swaps_are_found_in_any_direction_and_only_they() -> None:
    points, visible = shapes()
    assert find_swaps(points, visible, FACE) == []
    assert swap_power(points, visible, FACE)[0] == 1.0
    points[4] = points[4][list(FACE.swap)]
    a, b = FACE.swap_pairs[3]
    points[9, [a, b]] = points[9, [b, a]]
    found = find_swaps(points, visible, FACE)
    assert [(swap.index, swap.whole) for swap in found] == [(4, True), (9, False)]
    assert (found[0].pairs, found[1].pairs) == (FACE.swap_pairs, ((a, b),))


def test_swaps_need_samples_points_and_pairs() -> None:
    points, visible = shapes()
    points[4] = points[4][list(FACE.swap)]
    few = MIN_SAMPLES - 1
    assert find_swaps(points[:few], visible[:few], FACE) == []
    assert find_swaps(points, visible, Skeleton(FACE.names)) == []
    assert find_swaps(points, np.zeros_like(visible), FACE) == []
    assert swap_power(points[:few], visible[:few], FACE) == (0.0, 0.0)


def test_a_set_without_a_fixed_side_is_left_alone() -> None:
    points, visible = shapes()
    points[::2] = points[::2][:, list(FACE.swap)]  # half of them seen from behind
    assert find_swaps(points, visible, FACE) == []


def sample_with(**changes: Any) -> Record:
    values: dict[str, Any] = {
        "image": Path("a.png"),
        "points": np.array([[10.0, 10.0], [30.0, 20.0], [20.0, 40.0]]),
        "visible": np.ones(3, dtype=bool),
        "box": (5.0, 5.0, 40.0, 50.0),
        "key": "a",
    }
    return Record(Sample(**{**values, **changes}), "f.json", "annotation 1")


THREE = Skeleton(("nose", "left", "right"), swap_pairs=((1, 2),), sigmas=(0.05, 0.06, 0.07))


@pytest.mark.parametrize(
    ("changes", "kind", "severity", "text"),
    [
        ({"box": (9.0, 9.0, 8.0, 20.0)}, "empty_box", "error", "which holds no pixel"),
        ({"box": (5.0, 5.0, 75.0, 50.0)}, "box_outside", "warning", "which reaches out of the 60 x 70 image"),
        ({"box": (70.0, 5.0, 90.0, 50.0)}, "box_outside", "error", "wholly outside the 60 x 70 image"),
        ({"box": (5.0, 5.0, 15.0, 15.0)}, "points_outside_box", "warning", "2 of 3 points beside its box"),
        (
            {"points": np.array([[10.0, 10.0], [62.0, 20.0], [20.0, 40.0]])},
            "point_outside",
            "warning",
            "left (62.0, 20.0)",
        ),
        (
            {"points": np.array([[10.0, 10.0], [30.0, 99.0], [20.0, 40.0]])},
            "point_outside",
            "error",
            "left (30.0, 99.0)",
        ),
        ({"points": np.full((3, 2), 7.0)}, "collapsed_points", "error", "all 3 points at (7.0, 7.0)"),
        ({"area": 2.0}, "area", "error", "an error of 1 pixel gives the similarity 0.00"),
        ({"area": 4000.0}, "area", "warning", "has an area 2.4 times that of its box"),
        ({"area": -1.0}, "area", "error", "has the area -1, so its similarity is 0"),
    ],
)
def test_records_that_cannot_be(changes: dict[str, Any], kind: str, severity: str, text: str) -> None:
    found = check_record(sample_with(**changes), THREE, (60, 70), split="train", index=3)
    assert any((f.kind, f.severity) == (kind, severity) and text in str(f) for f in found), [str(f) for f in found]
    assert all(f.sample == ("train", 3) for f in found)


def test_a_sound_record_and_points_on_the_border_are_left_alone() -> None:
    points = np.array([[-1.0, 0.0], [60.0, 20.0], [20.0, 70.0]])
    record = sample_with(points=points, box=(-1.0, 0.0, 60.0, 70.0), area=1500.0)
    assert check_record(record, THREE, (60, 70), split="train", index=0) == []
    assert check_record(sample_with(), THREE, None, split="train", index=0) == []


def test_oks_range_is_cocos_formula() -> None:
    sigmas = np.array(THREE.sigmas)
    expected = np.mean([np.exp(-25.0 / (2 * 900.0 * (2 * s) ** 2)) for s in sigmas])
    assert oks_range(900.0, sigmas, 5.0)[1] == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["LShoulder", "RShoulder", "Head"], [(0, 1)]),
        (["hip_L", "hip_R"], [(0, 1)]),
        (["kneeL", "kneeR"], [(0, 1)]),
        (["eye left", "eye right", "bright"], [(0, 1)]),
        (["r-ear", "l-ear"], [(0, 1)]),
        (["light", "night", "lip"], []),
    ],
)
def test_mirror_partners_by_name(names: list[str], pairs: list[tuple[int, int]]) -> None:
    assert [tuple(sorted(pair)) for pair in mirrored_pairs(names)] == pairs


def test_mirror_partners_of_every_skeleton_here_follow_from_its_names() -> None:
    for name in ("coco17", "synthetic_face", "openfield_mouse", "mirror_mouse", "face5"):
        skeleton = load_skeleton(name)
        found = {frozenset(pair) for pair in mirrored_pairs(skeleton.names)}
        assert found == {frozenset(pair) for pair in skeleton.swap_pairs}, name


def test_shapes_without_symmetry_give_no_pairs() -> None:
    assert symmetric_pairs(np.array([0, 1, 3 + 2j, -2 + 5j, 7j - 4])) == ()


def test_skeleton_files_keep_what_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    values = {"points": ["a", "left_b", "right_b"], "edges": [[0, 1], [0, 9]], "sigmas": [1, 2], "odd": 1}
    path.write_text(json.dumps({**values, "normalizers": {"box": "box", "x": "y"}, "default_normalizer": "x"}))
    skeleton, found = read_skeleton(path)
    assert (skeleton.edges, skeleton.sigmas, dict(skeleton.normalizers)) == (((0, 1),), None, {"box": "box"})
    said = "\n".join(str(finding) for finding in found)
    for text in (
        "edge (0, 9) must hold indices from 0 to 2",
        "there must be one sigma per point (3), got 2",
        "unknown keys 'odd'",
        "normalizer x must be",
        "default_normalizer 'x' must be one of the normalizers",
        "does not exchange left_b and right_b, which a mirrored picture does",
    ):
        assert text in said, said
    path.write_text("[]")
    with pytest.raises(ValueError, match="must be a JSON object"):
        read_skeleton(path)
    assert doubtful_sigmas(load_skeleton("coco17"), "x") == []
    (doubt,) = doubtful_sigmas(Skeleton(("a", "b"), sigmas=(0.3, 0.3)), "x")
    assert (doubt.severity, doubt.text[:13]) == ("warning", "are all 0.3, ")


def test_sigmas_are_measured_where_objects_were_labelled_twice() -> None:
    rng = np.random.default_rng(2)
    truth, spread = np.array([[20.0, 20.0], [60.0, 30.0], [40.0, 90.0]]), np.array([0.02, 0.04, 0.03])
    records = []
    for index in range(600):
        for _ in range(2):
            # d² is that of both axes, as in COCO's definition.
            points = truth + rng.normal(0, 1, (3, 2)) * (spread * 100 / 2**0.5)[:, None]
            sample = Sample(Path(f"{index}.png"), points, np.ones(3, bool), None, "", area=10000.0)
            records.append(Record(sample, "f", "r"))
    sigmas, repeats = repeated_sigmas(records, 3)
    assert repeats == 600
    # 1200 squares each: a standard error of 1 / sqrt(1200) / 2 = 1.4 %, so 6 % are four of them.
    np.testing.assert_allclose(sigmas, spread, rtol=0.06)
    assert repeated_sigmas(records[:10], 3) == (None, 5)


def test_forms_are_told_apart(tmp_path: Path) -> None:
    assert [split_of(name) for name in ("my_train", "Test-2", "person_keypoints_val2017", "contest")] == [
        *("train", "test", "val", "all")
    ]
    with pytest.raises(FileNotFoundError, match="DATA must be a set's name, a file or a folder"):
        find_labels(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"must hold labels in one form .*, got none\."):
        find_labels(tmp_path)
    (tmp_path / "a.pts").write_text("{\n1 1\n}")
    (tmp_path / "b.xml").write_text("<dataset/>")
    with pytest.raises(
        ValueError, match=r"got a folder of images with \.pts files: a\.pts; dlib's XML \(\.xml\): b\.xml"
    ):
        find_labels(tmp_path)
    (tmp_path / "b.txt").write_text("")
    with pytest.raises(ValueError, match=r"Give the folder of \.pts files"):
        find_labels(tmp_path / "b.txt")
    (tmp_path / "list.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="got a list of 2"):
        open_data(tmp_path / "list.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match="must be JSON"):
        open_data(tmp_path / "bad.json")
    with pytest.raises(ValueError, match="DATA must be given, or both --train and --test, got none of them"):
        open_data(None)
    for alone in ("train", "test"):
        with pytest.raises(ValueError, match=f"or both --train and --test, got --{alone} alone"):
            open_data(None, **{alone: tmp_path})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="DATA must be left out"):
        open_data(tmp_path / "a", train=tmp_path, test=tmp_path)
    with pytest.raises(ValueError, match=r"Did you mean mtfl\?"):
        open_data("mtlf")
    for name in ("train", "test", "images", "skeleton", "category"):
        options: dict[str, Any] = {name: "x"}
        with pytest.raises(
            ValueError, match=f"check: --{name} must be left out for the set coco, got x. .* write a path"
        ):
            open_data("coco", **options)
    (tmp_path / "odd.csv").write_text("a,b\n")
    with pytest.raises(ValueError, match="begin with the rows scorer, bodyparts, coords"):
        open_data(tmp_path / "odd.csv")
    with pytest.raises(ValueError, match="must have one form"):
        open_data(None, train=tmp_path / "odd.csv", test=tmp_path / "b.xml")


def test_deeplabcut_pts_and_dlib_are_read_too(tmp_path: Path) -> None:
    head = "scorer,me,me,me,me\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\n"
    (tmp_path / "dlc").mkdir()
    (tmp_path / "dlc" / "CollectedData.csv").write_text(head + "a.png,1,2,3,4\nb.png,1,x,3,4\nc.png,1,2,70,4\n")
    pts = tmp_path / "pts" / "train"
    pts.mkdir(parents=True)
    (pts / "a.pts").write_text("version: 1\nn_points: 2\n{\n1 1\n5 4\n}\n")
    xml = '<dataset><images><image file="a.png"><box top="2" left="3" width="9" height="8">'
    parts = '<part name="0" x="4" y="5"/><part name="1" x="40" y="5"/>'
    (tmp_path / "faces.xml").write_text(f"{xml}{parts}</box></image></images></dataset>")
    for folder in (tmp_path / "dlc", pts, tmp_path):
        cv2.imwrite(str(folder / "a.png"), np.zeros((20, 30, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "dlc" / "c.png"), np.ones((20, 30, 3), np.uint8))
    said = {
        name: [(f.kind, str(f)) for f in check(open_data(tmp_path / name)).findings]
        for name in ("dlc", "pts", "faces.xml")
    }
    assert [kind for kind, _ in said["dlc"]] == ["broken_record", "point_outside"]
    assert "row b.png must hold numbers, got 1, x" in said["dlc"][0][1]
    assert said["pts"] == []
    assert open_data(tmp_path / "pts").parts[0].split == "train"
    assert [kind for kind, _ in said["faces.xml"]] == ["point_outside", "points_outside_box"]


def test_proposals_go_the_whole_way_to_the_reader(tmp_path: Path, data_root: Path) -> None:
    coco = data_root / "samples" / "coco"
    proposal = propose(coco / "test_coco.json")
    path = tmp_path / "people.json"
    path.write_text(json.dumps(proposal.to_dict()))
    known = load_skeleton("coco17")
    assert (load_skeleton(path).names, load_skeleton(path).swap_pairs) == (known.names, known.swap_pairs)
    assert set(load_skeleton(path).edges) == set(known.edges)
    assert len(read_coco(coco / "test_coco.json", coco, path)) == 12
    assert "No sigmas" in proposal.to_dict()["about"]
    for name in ("openfield_mouse", "mirror_mouse"):
        skeleton = propose(data_root / "animals" / name).skeleton
        pairs = {frozenset(pair) for pair in skeleton.swap_pairs}
        assert skeleton.names == load_skeleton(name).names
        assert pairs == {frozenset(pair) for pair in load_skeleton(name).swap_pairs}
    faces = propose(data_root / "faces300w" / "afw")
    assert faces.by_shape == load_skeleton("face68").swap_pairs or set(faces.by_shape) == set(
        load_skeleton("face68").swap_pairs
    )
    assert faces.by_name == ()
    assert "29 swap pairs are GUESSES" in faces.to_dict()["about"]


def test_the_report_groups_errors_first() -> None:
    found = [Finding("duplicate_image", "b"), Finding("area", "x"), Finding("area", "y", severity="warning")]
    report = Report("d", "s", {}, found)
    assert list(report.groups()) == [("error", "area"), ("warning", "area"), ("warning", "duplicate_image")]
    assert (report.num_errors, report.num_warnings) == (1, 2)


@pytest.mark.parametrize(("name", "lost"), [("mtfl", 0), ("faces300w", 1)])
def test_no_false_alarm_on_real_faces_and_planted_swaps_are_found(name: str, lost: int, data_root: Path) -> None:
    point_set = DATASETS[name](data_root, "test")
    points = np.stack([sample.points for sample in point_set.samples])
    visible = np.ones(points.shape[:2], dtype=bool)
    assert find_swaps(points, visible, point_set.skeleton) == []
    drawn = np.random.default_rng(1).permutation(len(points))[: len(points) // 16]
    whole, single = drawn[::2], drawn[1::2]
    points[whole] = points[whole][:, list(point_set.skeleton.swap)]
    for order, index in enumerate(single):
        a, b = point_set.skeleton.swap_pairs[order % len(point_set.skeleton.swap_pairs)]
        points[index, [a, b]] = points[index, [b, a]]
    found = {swap.index: swap.whole for swap in find_swaps(points, visible, point_set.skeleton)}
    assert all(found[int(index)] for index in whole)
    assert found.keys() <= {int(index) for index in drawn}
    # Of lips that are closed, or a profile, one pair may lie too near for its order to be told.
    assert len(drawn) - len(found) <= lost
