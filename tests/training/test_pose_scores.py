"""Scores of body poses: of annotated and of detected boxes, of part of a set, and the suppression of doubles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from heatpoint.cli.printing import make_console, print_scores
from heatpoint.datasets import PointSet, Sample
from heatpoint.skeleton import load_skeleton
from heatpoint.training.pose_scores import PoseRule
from heatpoint.training.scoring import Found, scores_of
from heatpoint.training.sets import limited

COCO = load_skeleton("coco17")
PIXELS = np.zeros((9, 9, 3), dtype=np.uint8)
RNG = np.random.default_rng(0)
PEOPLE = RNG.uniform((10, 20), (110, 220), (4, 17, 2)).round(1)
IMAGES = (7, 7, 3, 5)


def annotation(number: int) -> dict[str, Any]:
    keypoints = [value for x, y in PEOPLE[number].tolist() for value in (x, y, 2)]
    values = {"id": number + 1, "image_id": IMAGES[number], "category_id": 1, "num_keypoints": 17, "iscrowd": 0}
    return {**values, "keypoints": keypoints, "area": 12_000.0, "bbox": [10.0, 20.0, 100.0, 200.0]}


def people(*, detected: bool = False) -> PointSet:
    """Four people in three pictures: as annotated, or as boxes that a detector found, whose points nobody knows."""
    samples = tuple(
        Sample(
            PIXELS,
            np.zeros((17, 2)) if detected else PEOPLE[number],
            np.full(17, not detected),
            (10.0, 20.0, 110.0, 220.0),
            str(number),
            ids={"image_id": IMAGES[number]},
            area=None if detected else 12_000.0,
            score=0.9 - 0.1 * number if detected else None,
        )
        for number in range(4)
    )
    return PointSet("coco", "val", COCO, samples, annotations=tuple(map(annotation, range(4))))


def scored(point_set: PointSet, points: np.ndarray[Any, Any], rule: PoseRule | None = None) -> dict[str, Any]:
    ones = torch.ones(points.shape[:2], dtype=torch.float64)
    return scores_of(Found(torch.from_numpy(points), ones), point_set, peaks=ones, rule=rule)


@pytest.mark.parametrize("detected", [False, True])
def test_the_truth_has_an_average_precision_of_1(detected: bool) -> None:
    found = scored(people(detected=detected), PEOPLE)
    assert found["coco"]["AP"] == found["coco"]["AR"] == pytest.approx(1.0)
    assert ("oks" in found) is not detected  # A detected box has no points to compare with.
    assert "pckh" not in found
    moved = PEOPLE.copy()
    moved[3] += 500
    # One of four is wrong, and as sure as the others: at most three of four are found.
    assert scored(people(detected=detected), moved)["coco"]["AR"] == pytest.approx(0.75)


def test_part_of_a_set_is_scored_by_the_people_in_its_pictures() -> None:
    some = limited(people(), 2)
    assert [record["id"] for record in some.annotations] == [1, 2]
    assert scored(some, PEOPLE[:2])["coco"]["AP"] == pytest.approx(1.0)
    for limit in (0, 4, 9):
        assert (len(limited(people(), limit)), len(limited(people(), limit).annotations)) == (4, 4)


def test_doubles_are_dropped_by_the_area_that_was_shown() -> None:
    points = PEOPLE.copy()
    points[1] = points[0] + 5.0
    second = [value for x, y in points[1].tolist() for value in (x, y, 2)]
    detected = people(detected=True)
    records = [{**record, "keypoints": second} if record["id"] == 2 else record for record in detected.annotations]
    detected = replace(detected, annotations=tuple(records))
    # The first two stand in one picture and are truly so close, 5 √2 apart at 17 points: only in boxes of 100 x 200 that are
    # shown in 3:4 and grown by 1.5 are they as similar as doubles, and the second is lost.
    variances = (2 * torch.tensor(COCO.sigmas, dtype=torch.float64)) ** 2
    plain, shown = (float((-50 / (2 * area * variances)).exp().mean()) for area in (100 * 200, 150 * 200 * 1.5**2))
    assert plain < 0.9 < shown
    for expected, rule in (
        (1.0, PoseRule()),
        (1.0, PoseRule(padding=1.5, aspect=0.75, nms="never")),
        (0.75, PoseRule(padding=1.5, aspect=0.75)),
        (0.75, PoseRule(padding=1.5, aspect=0.75, nms="always")),
    ):
        assert scored(detected, points, rule)["coco"]["AR"] == pytest.approx(expected), rule


def test_bodies_are_printed_with_their_own_scores(capsys: pytest.CaptureFixture[str]) -> None:
    found = scored(people(), PEOPLE)
    found["pckh"] = {"hrnet": {"0.5": {"mean": 0.9}, "0.1": {"mean": 0.375}}}
    found["space"] = {"mpjpe_mm": 49.53, "pa_mpjpe_mm": 39.1, "n_mpjpe_mm": 48.0}
    found["subsets"] = {"blur": {"nme": {"box": 0.043}}}
    told = {
        "recipe": "r",
        "task": "image",
        "num_images": 4,
        "split": "val",
        "decoders": {},
        "protocol": {"normalizer": "box"},
    }
    print_scores({**told, "scores": {"recipe": found}}, make_console())
    out = capsys.readouterr().out
    assert "recipe: COCO AP 1.000, AP50 1.000" in out
    assert "recipe: OKS 1.000, its correlation with the peak" in out
    assert "recipe: PCKh % (hrnet) @0.5 90.00, @0.1 37.50" in out
    assert "recipe: MPJPE 49.5 mm, PA-MPJPE 39.1 mm, N-MPJPE 48.0 mm" in out
    assert "recipe: NME % box by subset: blur 4.300" in out
