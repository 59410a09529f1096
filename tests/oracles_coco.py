"""pycocotools as the oracle of poses' scores, and random sets that hold every oddity that it treats in its own way."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

NAMES = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
Records = list[dict[str, Any]]


def run_pycocotools(
    images: list[Any],
    annotations: Records,
    detections: Records,
    sigmas: np.ndarray,
    *,
    image_ids: Iterable[Any] | None = None,
    max_detections: int = 20,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The ten numbers and the arrays of COCOeval; images are those that the file lists."""
    categories = sorted({record["category_id"] for record in annotations}) or [1]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_of(images, annotations, categories)
        # loadRes asks the first detection what kind it is, and fails without one.
        found = truth.loadRes(copy.deepcopy(detections)) if detections else coco_of(images, [], categories)
        run = COCOeval(truth, found, "keypoints")
        run.params.kpt_oks_sigmas = sigmas
        run.params.maxDets = [max_detections]
        if image_ids is not None:
            run.params.imgIds = list(image_ids)
        run.evaluate()
        run.accumulate()
        numbers = _summary(run) if max_detections != 20 else _own_summary(run)
    return numbers, {name: run.eval[name] for name in ("precision", "recall", "scores")}


def coco_of(images: list[Any], annotations: Records, categories: list[int]) -> COCO:
    """The records as pycocotools holds them."""
    found = COCO()
    found.dataset = {
        "info": {},
        "images": [{"id": i} for i in images],
        "annotations": copy.deepcopy(annotations),
        "categories": [{"id": i, "name": str(i)} for i in categories],
    }
    found.createIndex()
    return found


def _own_summary(run: COCOeval) -> dict[str, float]:
    run.summarize()
    return dict(zip(NAMES, run.stats.tolist(), strict=True))


def _summary(run: COCOeval) -> dict[str, float]:
    """What `summarize` prints, which knows no other number of detections than 20."""
    found = {}
    for letter, curve in (("AP", run.eval["precision"]), ("AR", run.eval["recall"])):
        levels = {"": slice(None), "50": slice(0, 1), "75": slice(5, 6)}
        parts = {key: curve[level][..., 0, :] for key, level in levels.items()}
        parts |= {"M": curve[..., 1, :], "L": curve[..., 2, :]}
        for key, values in parts.items():
            defined = values[values > -1]
            found[letter + key] = defined.mean() if defined.size else -1.0
    return found


def random_set(
    rng: np.random.Generator,
    *,
    num_images: int = 12,
    num_points: int = 17,
    num_categories: int = 1,
    boxed: bool = False,
    most_detections: int = 6,
    text_ids: bool = False,
) -> tuple[list[Any], Records, Records]:
    """Images, annotations and detections: crowds, persons without points, areas at the bounds, equal scores, and so on."""
    images: list[Any] = rng.choice(10_000, size=num_images, replace=False).tolist()
    images = [f"image {i}" for i in images] if text_ids else images
    annotations: Records = []
    detections: Records = []
    for image in images:
        kind = rng.integers(8)
        people = (
            [] if kind == 0 else [_person(rng, image, num_points, num_categories) for _ in range(rng.integers(1, 6))]
        )
        if len(people) > 1 and rng.random() < 0.3:
            people.append(copy.deepcopy(people[0]))  # A person annotated twice: equal OKS.
        annotations += people
        if kind != 1:
            count = int(rng.integers(0, most_detections + 1))
            detections += [_pose(rng, image, people, num_points, num_categories, boxed) for _ in range(count)]
    for place, record in enumerate(rng.permutation(len(annotations))):
        annotations[record]["id"] = place + 1
    rng.shuffle(annotations)  # type: ignore[arg-type]
    rng.shuffle(detections)  # type: ignore[arg-type]
    return images, annotations, detections


def _person(rng: np.random.Generator, image: Any, num_points: int, num_categories: int) -> dict[str, Any]:
    size = rng.choice([rng.uniform(5, 300), 32.0, 96.0])
    corner = rng.uniform(0, 400, size=2).round(2)
    v = rng.choice(3, size=num_points, p=[0.3, 0.3, 0.4]) if rng.random() < 0.8 else np.full(num_points, 2)
    is_crowd = bool(rng.random() < 0.15)
    if rng.random() < 0.15:
        v = np.zeros(num_points, dtype=int)
    xy = (corner + rng.uniform(0, size, size=(num_points, 2))).round(int(rng.integers(0, 3)))
    # The counted points need not be those that are labelled: the scores look at the count, OKS at the labels.
    counted = int(rng.choice([(v > 0).sum(), 0, 3], p=[0.9, 0.05, 0.05]))
    area = float(
        rng.choice([size**2, size**2 * rng.uniform(0.3, 0.9), 0.0, 1e10, 2e10], p=[0.5, 0.44, 0.02, 0.02, 0.02])
    )
    return {
        "image_id": image,
        "category_id": int(rng.integers(1, num_categories + 1)),
        "keypoints": np.concatenate([np.where(v[:, None] > 0, xy, 0), v[:, None]], axis=1).reshape(-1).tolist(),
        "num_keypoints": counted,
        "area": area,
        "bbox": [*corner.tolist(), float(size), float(size)],
        "iscrowd": int(is_crowd),
        **({"ignore": 1} if rng.random() < 0.1 else {}),
    }


def _pose(
    rng: np.random.Generator, image: Any, people: Records, num_points: int, num_categories: int, boxed: bool
) -> dict[str, Any]:
    category = int(rng.integers(1, num_categories + 2))  # One more than is annotated.
    if people and rng.random() < 0.8:
        person = people[int(rng.integers(len(people)))]
        xy = np.array(person["keypoints"]).reshape(-1, 3)[:, :2]
        spread = rng.choice([0.0, 0.02, 0.05, 0.1]) * person["bbox"][2]
        xy = (xy + rng.normal(size=xy.shape) * spread).round(int(rng.integers(0, 4)))
        category = person["category_id"]
    else:
        size = rng.choice([rng.uniform(5, 300), 32.0, 96.0])
        xy = rng.uniform(0, 400, size=2).round() + rng.uniform(0, size, size=(num_points, 2))
        xy[:2] = [xy[0], xy[0] + size][: len(xy[:2])]
    return {
        "image_id": image,
        "category_id": category,
        "keypoints": np.concatenate([xy, rng.random((num_points, 1))], axis=1).reshape(-1).tolist(),
        "score": float(rng.choice([rng.random(), 0.5, round(rng.random(), 1)])),
        **({"bbox": rng.choice([20.0, 32.0, 96.0, 150.0], size=4).tolist()} if boxed else {}),
    }
