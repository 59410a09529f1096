"""COCO's scores against golden numbers and pycocotools itself, equal to the last bit; records that are not sound; processes."""

from __future__ import annotations

import copy
import json
import runpy
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import heatpoint.metrics
from conftest import SHARED
from heatpoint.metrics import CocoKeypointAP, _coco_match
from heatpoint.metrics.coco import coco_keypoint_curves, coco_keypoint_scores, matched_oks
from heatpoint.metrics.coco_results import read_results, to_results
from heatpoint.metrics.oks import oks, pose_nms
from oracles_coco import NAMES, random_set, run_pycocotools

SIGMAS = [0.05, 0.1]
PERSON: dict[str, Any] = {
    "id": 4, "image_id": 7, "category_id": 1, "area": 2500.0, "keypoints": [10, 10, 2, 40, 50, 1], "num_keypoints": 2,
    "iscrowd": 0, "bbox": [5, 5, 50, 50],
}  # fmt: skip
POSE: dict[str, Any] = {"image_id": 7, "category_id": 1, "score": 0.9, "keypoints": [10, 10, 1, 40, 50, 1]}


def same(images: Any, annotations: Any, detections: Any, sigmas: Any, **options: Any) -> dict[str, float]:
    """Asserts that all arrays and numbers are pycocotools', to the last bit."""
    numbers, arrays = run_pycocotools(images, annotations, detections, np.asarray(sigmas), **options)
    curves = coco_keypoint_curves(annotations, detections, sigmas=sigmas, **options)
    for name, array in arrays.items():
        np.testing.assert_array_equal(getattr(curves, name), array, err_msg=name)
    assert curves.summary() == numbers
    assert coco_keypoint_scores(annotations, detections, sigmas=sigmas, **options) == numbers
    return numbers


def golden_records() -> tuple[Any, Any, Any]:
    paths = [SHARED / "goldens" / f"06_coco_{kind}.json" for kind in ("gt", "dt")]
    if not paths[0].exists():
        pytest.skip("golden numbers are absent: they lie beside the checkout, in shared/goldens")
    truth, found = (json.loads(path.read_text()) for path in paths)
    return [image["id"] for image in truth["images"]], truth["annotations"], found


def test_golden_numbers(goldens: Callable[[str], dict[str, np.ndarray]]) -> None:
    images, annotations, detections = golden_records()
    golden = goldens("06_coco_ap")
    curves = coco_keypoint_curves(annotations, detections, sigmas=golden["sigmas"])
    for name in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(getattr(curves, name), golden[name])
    assert list(curves.summary()) == list(NAMES)
    assert list(curves.summary().values()) == golden["stats"].tolist()
    same(images, annotations, detections, golden["sigmas"])


def test_golden_similarities(goldens: Callable[[str], dict[str, np.ndarray]]) -> None:
    _, annotations, detections = golden_records()
    golden = goldens("06_coco_ap")
    people = {record["id"]: record for record in annotations}
    best = np.zeros(len(detections))
    for (_, found, true), value in zip(golden["oks_image_dtid_gtid"], golden["oks_values"], strict=True):
        person = people[int(true)]
        if not person["iscrowd"] and any(person["keypoints"][2::3]):
            best[found - 1] = max(best[found - 1], value)
    # Detections beyond the best 20 of an image have no golden value.
    listed = np.unique(golden["oks_image_dtid_gtid"][:, 1]) - 1
    ours = matched_oks(annotations, detections, sigmas=golden["sigmas"])
    np.testing.assert_array_equal(ours[listed], best[listed])


@pytest.mark.parametrize("seed", range(24))
def test_random_sets_equal_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_points = int(rng.choice([17, 1, 5, 8, 9, 23, 133]))
    images, annotations, detections = random_set(
        rng,
        num_images=int(rng.choice([1, 3, 14, 25])),
        num_points=num_points,
        num_categories=1 + 2 * (seed % 4 == 0),
        boxed=seed % 3 == 0,
        most_detections=int(rng.choice([0, 3, 6, 40])),
        text_ids=seed % 5 == 0,
    )
    options: dict[str, Any] = {"max_detections": int(rng.choice([20, 20, 1, 5]))}
    if seed % 2:
        options["image_ids"] = [image for image in images if rng.random() < 0.6]
    same(images, annotations, detections, rng.uniform(0.02, 0.15, num_points), **options)


@pytest.mark.parametrize("portion", [1, 7])
def test_pairs_are_compared_in_portions(portion: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images, annotations, detections = random_set(np.random.default_rng(5), num_points=3)
    sigmas = [0.1, 0.2, 0.3]
    whole = matched_oks(annotations, detections, sigmas=sigmas)
    monkeypatch.setattr(_coco_match, "PAIRS_AT_ONCE", portion)
    np.testing.assert_array_equal(matched_oks(annotations, detections, sigmas=sigmas), whole)
    same(images, annotations, detections, sigmas)


def person(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(PERSON), **changes}


def pose(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(POSE), **changes}


FAR = [900, 900, 1, 910, 910, 1]


@pytest.mark.parametrize(
    ("annotations", "detections", "ap", "apm"),
    [
        ([person()], [], 0.0, 0.0),
        ([], [pose()], -1.0, -1.0),
        ([], [], -1.0, -1.0),
        ([person()], [pose(image_id=8)], 0.0, 0.0),
        ([person()], [pose(), pose(image_id=8, score=0.95)], 0.5, 0.5),
        ([person(num_keypoints=0)], [pose()], -1.0, -1.0),
        ([person(iscrowd=1)], [pose(), pose()], -1.0, -1.0),
        # A crowd takes any number of detections, which are then no errors.
        ([person(), person(id=5, iscrowd=1, keypoints=FAR)], [pose(), *[pose(keypoints=FAR, score=1.0)] * 3], 1.0, 1.0),
        # Without it they are, or without a labelled point: nearness to its box excuses a detection only once.
        ([person()], [pose(), *[pose(keypoints=FAR, score=1.0)] * 3], 0.25, None),
        (
            [person(), person(id=5, num_keypoints=0, keypoints=[0] * 6, bbox=[900, 900, 9, 9])],
            [pose(), pose(keypoints=FAR, score=1.0), pose(keypoints=FAR, score=0.99)],
            0.5,
            None,
        ),
        # A labelled person of which the record counts no point is ignored, and one whose record says ignore is not.
        ([person(ignore=1)], [pose()], 1.0, 1.0),
        # Bounds of a range belong to it, on both sides.
        ([person(area=32.0**2)], [pose()], 1.0, 1.0),
        ([person(area=96.0**2)], [pose()], 1.0, 1.0),
        ([person(area=96.0**2 + 1)], [pose()], 1.0, -1.0),
        ([person(area=1e10)], [pose()], 1.0, -1.0),
        ([person(area=1.1e10)], [pose()], -1.0, -1.0),
        # Equal scores keep the order of images, not of records; within an image that of records.
        ([person()], [pose(image_id=9), pose()], 1.0, 1.0),
        ([person()], [pose(image_id=3), pose()], 0.5, None),
        ([person()], [pose(keypoints=FAR), pose()], 0.5, None),
        # Half of the points exact and half nowhere: a similarity of exactly 0.5, which is enough.
        ([person()], [pose(keypoints=[10, 10, 1, 9000, 9000, 1])], 0.1, None),
        # A mean over two categories, one of which is found.
        ([person(), person(id=5, category_id=3)], [pose()], 0.5, 0.5),
        ([person()], [pose(category_id=2, score=1.0), pose()], 1.0, 1.0),
    ],
)
def test_planted_oddities(annotations: Any, detections: Any, ap: float, apm: float | None) -> None:
    found = same([3, 7, 8, 9], annotations, detections, SIGMAS)
    assert found["AP"] == pytest.approx(ap, abs=1e-12)
    if apm is not None:
        assert found["APM"] == pytest.approx(apm, abs=1e-12)


def test_the_box_of_detections_measures_them_where_they_have_one() -> None:
    """A false pose of medium size counts against medium persons; its box, if it has one, says how large it is."""
    wrong = [900, 900, 1, 950, 950, 1]
    plain = [pose(), pose(keypoints=wrong, score=1.0)]
    assert same([7], [person()], plain, SIGMAS)["APM"] == pytest.approx(0.5)
    boxed = [pose(bbox=[0, 0, 9, 9]), pose(keypoints=wrong, score=1.0, bbox=[0, 0, 200, 200])]
    assert same([7], [person()], boxed, SIGMAS)["APM"] == pytest.approx(1.0)
    assert same([7], [person()], [pose(bbox=[]), plain[1]], SIGMAS)["APM"] == pytest.approx(0.5)


def test_missing_fields_that_are_plain_are_filled_in() -> None:
    bare = {key: PERSON[key] for key in ("image_id", "area", "keypoints")}
    assert coco_keypoint_scores([bare], [pose()], sigmas=SIGMAS) == coco_keypoint_scores(
        [PERSON], [pose()], sigmas=SIGMAS
    )
    without = {key: POSE[key] for key in ("image_id", "score", "keypoints")}
    assert coco_keypoint_scores([bare], [without], sigmas=torch.tensor(SIGMAS))["AP"] == pytest.approx(1.0)
    hidden = {**bare, "keypoints": [10, 10, 2, float("nan"), 7, 0]}
    assert coco_keypoint_scores([hidden], [pose(keypoints=[10, 10, 0, -5, 9, 0])], sigmas=SIGMAS)[
        "AP"
    ] == pytest.approx(1)
    nobody = {**bare, "keypoints": [0] * 6, "bbox": [0, 0, 1, 1]}
    assert coco_keypoint_scores([nobody], [pose()], sigmas=SIGMAS)["AP"] == -1


def test_a_point_beyond_measure_is_a_point_that_is_wrong() -> None:
    distant = pose(keypoints=[1e170, 10, 1, 1e170, 10, 1])
    assert coco_keypoint_scores([person()], [distant], sigmas=SIGMAS)["AP"] == 0.0


def test_nothing_that_is_given_is_changed() -> None:
    annotations, detections = [person()], [pose()]
    coco_keypoint_scores(annotations, detections, sigmas=SIGMAS)
    assert annotations == [PERSON]
    assert detections == [POSE]


def test_matched_oks_is_the_best_of_the_image() -> None:
    near = [13, 14, 1, 40, 50, 1]
    people = [person(), person(id=5, keypoints=near), person(id=6, iscrowd=1, keypoints=FAR), person(id=8, image_id=8)]
    poses = [pose(keypoints=FAR), pose(keypoints=near, score=0.1), pose(image_id=8, keypoints=near), pose(image_id=9)]
    found = matched_oks(people, poses, sigmas=SIGMAS)
    points = torch.tensor([[10.0, 10.0], [40.0, 50.0]], dtype=torch.float64)
    moved = torch.tensor([[13.0, 14.0], [40.0, 50.0]], dtype=torch.float64)
    one = float(oks(moved[None], points[None], area=torch.tensor([2500.0]), sigmas=SIGMAS)[0])
    # Half of the pose is exact.
    assert found.tolist() == pytest.approx([0.0, 1.0, one, 0.0], rel=1e-12)
    assert matched_oks([], poses, sigmas=SIGMAS).tolist() == [0.0] * 4
    assert matched_oks(people, [], sigmas=SIGMAS).tolist() == []


def test_results_go_out_and_come_back(tmp_path: Path) -> None:
    points = torch.tensor([[[1.5, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    records = to_results(points, torch.tensor([0.5, 0.25]), torch.tensor([7, 9]), confidence=torch.ones(2, 2) / 2)
    assert records[0] == {"image_id": 7, "category_id": 1, "keypoints": [1.5, 2.0, 0.5, 3.0, 4.0, 0.5], "score": 0.5}
    assert to_results(points, [1, 2], ["a", "b"], category_id=3)[1] == {  # type: ignore[arg-type]
        "image_id": "b", "category_id": 3, "keypoints": [5.0, 6.0, 1.0, 7.0, 8.0, 1.0], "score": 2.0,
    }  # fmt: skip
    path = tmp_path / "results.json"
    path.write_text(json.dumps(records))
    assert read_results(path, num_points=2, image_ids=[9, 7]) == records
    assert read_results(path, num_points=2) == records
    path.write_text("[]")
    assert read_results(path, num_points=2) == []


def fed(metric: CocoKeypointAP, detections: Any, rows: Any, **options: Any) -> CocoKeypointAP:
    """The metric after updates of two with these rows of the detections."""
    for start in range(0, len(rows), 2):
        own = rows[start : start + 2]
        points = torch.tensor([detections[i]["keypoints"] for i in own], dtype=torch.float64).unflatten(1, (-1, 3))
        scores = torch.tensor([detections[i]["score"] for i in own], dtype=torch.float64)
        given = {name: torch.as_tensor(column)[own] for name, column in options.items()}
        metric.update(points[..., :2], scores, [detections[i]["image_id"] for i in own], **given)
    return metric


def joined(first: CocoKeypointAP, second: CocoKeypointAP) -> CocoKeypointAP:
    """Two processes, as torchmetrics joins them: the states gathered and concatenated."""
    reduce = first._reductions["rows"]
    assert callable(reduce)
    # A tensor, which is no list of batches any more.
    first.rows = reduce([torch.cat(metric.rows) for metric in (first, second)])
    return first


@pytest.mark.parametrize("seed", range(6))
def test_the_class_equals_the_function_on_one_process_and_two(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, annotations, detections = random_set(
        rng, num_images=9, num_points=4, most_detections=7, text_ids=seed % 2 == 0
    )
    for record in detections:
        record["category_id"] = 1
    sigmas = rng.uniform(0.05, 0.2, 4).tolist()
    expected = coco_keypoint_scores(annotations, detections, sigmas=sigmas, max_detections=5)
    index, shuffled = np.arange(len(detections)), rng.permutation(len(detections))

    def make() -> CocoKeypointAP:
        return CocoKeypointAP(annotations, sigmas=sigmas, image_ids=images, max_detections=5)

    def numbers(metric: CocoKeypointAP) -> dict[str, float]:
        return {name: float(value) for name, value in metric.compute().items()}

    assert numbers(fed(make(), detections, index)) == expected
    assert numbers(fed(make(), detections, shuffled, index=index)) == expected
    # A sampler gives every process as many poses, and repeats the first to do so.
    halves = shuffled[::2], np.append(shuffled[1::2], shuffled[:1])
    first, second = (fed(make(), detections, half, index=index) for half in halves)
    assert numbers(joined(first, second)) == expected
    second.reset()
    assert numbers(fed(second, detections, index)) == expected


def test_the_class_suppresses_within_images() -> None:
    rng = np.random.default_rng(11)
    images, annotations, detections = random_set(rng, num_images=9, num_points=4, most_detections=9)
    for record in detections:
        record["category_id"] = 1
    sigmas, areas = [0.1] * 4, torch.tensor(rng.uniform(1e3, 1e4, len(detections)))
    points = torch.tensor([record["keypoints"] for record in detections], dtype=torch.float64).unflatten(1, (-1, 3))
    scores = torch.tensor([record["score"] for record in detections], dtype=torch.float64)
    ids = [record["image_id"] for record in detections]
    kept = pose_nms(points[..., :2], scores, areas, ids, sigmas=sigmas, threshold=0.5)
    assert len(kept) < len(detections)
    expected = coco_keypoint_scores(annotations, [detections[i] for i in sorted(kept.tolist())], sigmas=sigmas)
    assert expected != coco_keypoint_scores(annotations, detections, sigmas=sigmas)
    metric = CocoKeypointAP(annotations, sigmas=sigmas, image_ids=images, nms_threshold=0.5)
    found = fed(metric, detections, np.arange(len(detections)), areas=areas).compute()
    assert {name: float(value) for name, value in found.items()} == expected


def test_the_class_scores_the_images_and_the_category_that_it_is_told() -> None:
    people = [person(), person(id=5, image_id=8), person(id=6, category_id=2)]
    points = torch.tensor([[[10.0, 10.0], [40.0, 50.0]]])

    def ap(**options: Any) -> float:
        metric = CocoKeypointAP(people, sigmas=SIGMAS, **options)
        metric.update(points, torch.tensor([0.9]), [7])
        return float(metric.compute()["AP"])

    assert ap() == pytest.approx(51 / 101 / 2)  # Half of the persons of one category, none of the other.
    assert ap(image_ids=[7]) == pytest.approx(1 / 2)
    assert ap(image_ids=[7], category_id=2) == pytest.approx(1 / 2)
    assert ap(category_id=2) == pytest.approx(1 / 2)
    assert ap(category_id=3) == 0.0
    with pytest.warns(UserWarning, match="called before the ``update``"):
        assert float(CocoKeypointAP(people, sigmas=SIGMAS).compute()["AR"]) == 0.0
    nobody = CocoKeypointAP([], sigmas=SIGMAS, image_ids=[1])
    nobody.update(points[:0], torch.ones(0), [])
    assert float(nobody.compute()["AR"]) == -1.0
    assert heatpoint.metrics.CocoKeypointAP is CocoKeypointAP
    assert CocoKeypointAP.higher_is_better is True


SOUND = "Give the records of a COCO keypoints file, crowds and persons without points among them."
RESULTS = "Give COCO keypoint results, as to_results makes them."
UNSORTABLE = "all ids must be whole numbers or all text, and no area larger than a float holds"
NAN = float("nan")


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (3, "annotation number 0 must be a record with named fields"),
        (person(image_id=1.5), "annotation 4 must hold an image_id, a whole number or text, got 1.5"),
        (person(id=None, image_id=True), "annotation number 0 must hold an image_id, a whole number or text, got True"),
        (person(category_id="a"), "annotation 4 must hold a category_id that is a whole number, got 'a'"),
        (person(keypoints=[1, 2, 2]), "annotation 4 must hold 3 x 2 keypoint numbers, got 3"),
        (person(keypoints=None), "annotation 4 must hold 3 x 2 keypoint numbers, got none"),
        (person(keypoints=[1, 2, 2, 3, None, 2]), "annotation 4 must hold finite keypoint numbers"),
        (person(keypoints=[1, 2, 2, 3, NAN, 2]), "annotation 4 must hold finite keypoint numbers"),
        (person(area=-1), "annotation 4 must hold an area of at least 0, got -1"),
        (person(area="big"), "annotation 4 must hold an area of at least 0, got big"),
        (person(area=None), "annotation 4 must hold an area of at least 0, got None"),
        (person(keypoints=[0] * 6, bbox=None), "annotation 4 must hold a bbox, for it has no labelled point"),
        (person(bbox=[1, 2, 3]), "annotation 4 must hold a bbox of four finite numbers, got [1, 2, 3]"),
        (person(bbox=[1, 2, 3, NAN]), "annotation 4 must hold a bbox of four finite numbers, got [1, 2, 3, nan]"),
        (person(num_keypoints="2"), "annotation 4 must hold num_keypoints of at least 0, got 2"),
        (person(num_keypoints=-1), "annotation 4 must hold num_keypoints of at least 0, got -1"),
        (person(id=[4]), "annotation [4] must hold an id that is a whole number, got [4]"),
        (person(id=0), "annotation 0 must have another id, since COCO's evaluator reads a match with 0 as none"),
    ],
)
def test_faulty_annotations(record: Any, fault: str) -> None:
    text = f"coco_keypoint_scores: annotations must be sound, got {fault}. {SOUND}"
    with pytest.raises(ValueError) as raised:
        coco_keypoint_scores([record], [POSE], sigmas=SIGMAS)
    assert str(raised.value) == text
    with pytest.raises(ValueError) as raised:
        CocoKeypointAP([record], sigmas=SIGMAS)
    assert str(raised.value) == text.replace("coco_keypoint_scores", "CocoKeypointAP")


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ([], "detection number 1 must be a record with named fields"),
        (pose(image_id=None), "detection number 1 must hold an image_id, a whole number or text, got None"),
        (pose(keypoints=[1, 2, 3]), "detection number 1 must hold 3 x 2 keypoint numbers, got 3"),
        (pose(keypoints=[1, 2, 3, 4, NAN, 6]), "detection number 1 must hold finite keypoint numbers"),
        (pose(keypoints=[1, 2, 3, 4, [5], 6]), "detection number 1 must hold finite keypoint numbers"),
        (pose(score=NAN), "detection number 1 must hold a finite score, got nan"),
        (pose(score="0.5"), "detection number 1 must hold a finite score, got 0.5"),
        ({"image_id": 7, "keypoints": [1] * 6}, "detection number 1 must hold a finite score, got None"),
        (pose(bbox=[1, 2, 3, 4]), "detection number 1 must hold no bbox, as the first detection"),
        (
            pose(segmentation=[]),
            "detection number 1 must hold no segmentation, by which COCO's evaluator would measure its area",
        ),
        (pose(image_id="seven"), UNSORTABLE),
        (pose(keypoints=[-1e200, -1e200, 1, 1e200, 1e200, 1]), UNSORTABLE),
        (pose(keypoints=[10**400, 0, 1, 0, 0, 1]), "detection number 1 must hold finite keypoint numbers"),
    ],
)
def test_faulty_detections(record: Any, fault: str) -> None:
    for function in (coco_keypoint_scores, matched_oks):
        with pytest.raises(ValueError) as raised:
            function([PERSON], [POSE, record], sigmas=SIGMAS)
        assert str(raised.value) == f"{function.__name__}: detections must be sound, got {fault}. {RESULTS}"


def test_all_faults_come_in_one_report(tmp_path: Path) -> None:
    people = [person(id=2), person(id=3, area=-5), *[person(id=i, keypoints=[]) for i in range(10, 16)]]
    with pytest.raises(ValueError) as raised:
        coco_keypoint_scores(people, [], sigmas=SIGMAS)
    lines = "; ".join(f"annotation {i} must hold 3 x 2 keypoint numbers, got 0" for i in range(10, 14))
    expected = f"annotation 3 must hold an area of at least 0, got -5; {lines}; and 2 more"
    assert str(raised.value) == f"coco_keypoint_scores: annotations must be sound, got {expected}. {SOUND}"
    with pytest.raises(ValueError, match="annotation 4 must have an id of its own, 2 have it"):
        coco_keypoint_scores([PERSON, PERSON], [], sigmas=SIGMAS)
    boxed = [pose(bbox=[1, 2, 3, 4]), pose(), pose(bbox=[1, 2, 3])]
    with pytest.raises(ValueError) as raised:
        coco_keypoint_scores([PERSON], boxed, sigmas=SIGMAS)
    expected = (
        "detection number 1 must hold a bbox, as the first detection; "
        "detection number 2 must hold a bbox of four finite numbers, got [1, 2, 3]"
    )
    assert str(raised.value) == f"coco_keypoint_scores: detections must be sound, got {expected}. {RESULTS}"
    path = tmp_path / "found.json"
    path.write_text(json.dumps([POSE, pose(image_id=8), pose(score=None)]))
    with pytest.raises(ValueError) as raised:
        read_results(path, num_points=2, image_ids=[7])
    expected = "detection number 1 refers to the unknown image 8; detection number 2 must hold a finite score, got None"
    assert str(raised.value) == f"read_results(found.json): detections must be sound, got {expected}. {RESULTS}"


def unfinished(**changes: Any) -> None:
    metric = CocoKeypointAP([PERSON], sigmas=SIGMAS, nms_threshold=0.9)
    points, scores = torch.zeros(1, 2, 2), torch.ones(1)
    metric.update(**({"points": points, "scores": scores, "image_ids": [7], "areas": scores} | changes))
    metric.compute()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: coco_keypoint_scores([], [], sigmas=[0.1, 0.0]),
            "coco_keypoint_scores: sigmas must be (K,), each greater than 0, got [0.1, 0.0].",
        ),
        (lambda: matched_oks([], [], sigmas=[]), "matched_oks: sigmas must be (K,), each greater than 0, got []."),
        (
            lambda: coco_keypoint_scores([], [], sigmas=SIGMAS, max_detections=0),
            "coco_keypoint_scores: max_detections must be at least 1, got 0.",
        ),
        (
            lambda: coco_keypoint_scores([], [], sigmas=SIGMAS, image_ids=[1, "a"]),
            "coco_keypoint_scores: image_ids must be whole numbers only or text only, got [1, 'a'].",
        ),
        (
            lambda: coco_keypoint_scores([PERSON], [pose(image_id="7")], sigmas=SIGMAS),
            "coco_keypoint_scores: image_ids of annotations and detections must be whole numbers only or text only, got "
            "[7, '7'].",
        ),
        (lambda: to_results(torch.zeros(2, 3), ONE, [1]), "to_results: points must be (N, K, 2), got (2, 3)."),
        (lambda: to_results(ONE, torch.ones(2), [1]), "to_results: scores must be (1,), got (2,)."),
        (
            lambda: to_results(ONE, torch.ones(1), [1], confidence=torch.ones(1, 4)),
            "to_results: confidence must be (1, 3), got (1, 4).",
        ),
        (
            lambda: to_results(ONE, torch.ones(1), [1, 2]),
            "to_results: image_ids must hold 1 ids, one per pose, got 2.",
        ),
        (
            lambda: to_results(ONE, torch.ones(1), [0.5]),
            "to_results: image_ids must be whole numbers only or text only, got [0.5].",
        ),
        (
            lambda: to_results(ONE * NAN, torch.ones(1), [4]),
            "to_results: points must be finite, with scores and confidence, got 1 poses that are not, the first number 0 on "
            "image 4.",
        ),
        (
            lambda: CocoKeypointAP([], sigmas=SIGMAS, max_detections=0),
            "CocoKeypointAP: max_detections must be at least 1, got 0.",
        ),
        (
            lambda: unfinished(points=torch.zeros(1, 3, 2)),
            "CocoKeypointAP.update: points must be (N, 2, 2), got (1, 3, 2).",
        ),
        (
            lambda: unfinished(areas=None),
            "CocoKeypointAP.update: areas must be given with nms_threshold, got None. They say how alike two poses must be "
            "to be one; give those of the boxes.",
        ),
        (
            lambda: unfinished(image_ids=[7, 7]),
            "CocoKeypointAP.update: image_ids must hold 1 ids, one per pose, got 2.",
        ),
        (
            lambda: unfinished(image_ids=torch.tensor([8])),
            "CocoKeypointAP.update: image_ids must be of the split, got 8. Give the class all image_ids of the split.",
        ),
        (
            lambda: unfinished(scores=torch.ones(2)),
            "CocoKeypointAP.update: scores must be (1,), one per pose, got (2,).",
        ),
        (
            lambda: unfinished(index=torch.ones(2)),
            "CocoKeypointAP.update: index must be (1,), one per pose, got (2,).",
        ),
        (
            lambda: unfinished(points=torch.full((1, 2, 2), NAN)),
            "CocoKeypointAP.compute: points must be finite, with their scores, got 1 poses that are not, on image 7.",
        ),
    ],
)
def test_error_texts(call: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError) as raised:
        call()
    assert str(raised.value) == text


ONE = torch.zeros(1, 3, 2)


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    with pytest.raises(FileNotFoundError) as missing:
        read_results(path, num_points=2)
    assert str(missing.value) == f"read_results: path must be an existing file, got {path}."
    remedy = "Give a file of COCO results, a list of records."
    path.write_text("{")
    with pytest.raises(ValueError) as raised:
        read_results(path, num_points=2)
    assert str(raised.value).startswith(f"read_results: path must hold JSON, got {path} (")
    assert str(raised.value).endswith(remedy)
    path.write_text("{}")
    with pytest.raises(ValueError) as raised:
        read_results(path, num_points=2)
    assert str(raised.value) == f"read_results: path must hold a list, got dict in {path}. {remedy}"


@pytest.mark.slow
def test_ten_times_faster_than_pycocotools() -> None:
    """The claim of the docs, on a fifth of the images; the benchmark measures all 5,000."""
    path = Path(__file__).parents[2] / "benchmarks" / "coco_ap.py"
    benchmark: dict[str, Any] = runpy.run_path(str(path))
    for most in (0, 20):
        annotations, detections = benchmark["make_set"](np.random.default_rng(1), 1000, most)
        ratios = []
        for _ in range(3):
            seconds, _, own = benchmark["ours"](annotations, detections)
            others, _, his = benchmark["other"](benchmark["OTHERS"]["pycocotools"], 1000, annotations, detections)
            ratios.append(others / seconds)
            for mine, theirs in zip(own, his, strict=True):
                np.testing.assert_array_equal(mine, theirs)
        assert statistics.median(ratios) >= 10, ratios
