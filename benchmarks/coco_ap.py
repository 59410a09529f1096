"""COCO's scores of poses by heatpoint and by pycocotools: equality of all numbers, and time, interleaved in one process.

    OMP_NUM_THREADS=1 python benchmarks/coco_ap.py

The sets are made here, with as many images, persons and detections as COCO's validation images of 2017: once with one
detection for every true box, once with some twenty detections per image, as published detectors give them. "Whole" goes
from records to numbers: COCO, loadRes, evaluate and accumulate of pycocotools. "Scoring" is evaluate and accumulate alone,
against ours without the reading of records. Seconds are those of the processor. If faster-coco-eval is installed, it takes
part. docs/results.md holds the output.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import statistics
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from heatpoint.metrics import coco
from heatpoint.metrics._coco_records import annotated, detected
from heatpoint.skeleton import load_skeleton

Records = list[dict[str, Any]]
Timed = tuple[float, float, tuple[np.ndarray, np.ndarray]]  # Seconds whole, seconds of scoring, precision and recall.
SIGMAS = np.array(load_skeleton("coco17").sigmas)
OTHERS = {"pycocotools": ("pycocotools.coco", "COCO", "pycocotools.cocoeval", "COCOeval")}
FASTER = ("faster_coco_eval", "COCO", "faster_coco_eval", "COCOeval_faster")


def make_set(rng: np.random.Generator, num_images: int, most: int) -> tuple[Records, Records]:
    """Annotations and detections; `most` detections of an image, or one for each person with points if it is 0."""
    annotations: Records = []
    detections: Records = []
    for image in range(num_images):
        # 54 % of the images show persons, 4.1 of them on average, of whom 58 % have labelled points.
        people = [_person(rng, image) for _ in range(rng.geometric(1 / 4.1) if rng.random() < 0.54 else 0)]
        annotations += people
        seen = [person for person in people if person["num_keypoints"]]
        poses = [_pose(rng, image, person) for person in seen]
        if most:
            poses += [_pose(rng, image, people[i % len(people)] if people else None) for i in range(rng.poisson(most))]
        detections += poses
    for number, record in enumerate(annotations, start=1):
        record["id"] = number
    return annotations, detections


def _person(rng: np.random.Generator, image: int) -> dict[str, Any]:
    width, height = np.exp(rng.normal(4.0, 0.9)), np.exp(rng.normal(4.7, 0.9))
    corner = rng.uniform(0, 500, size=2)
    v = rng.choice(3, size=17, p=[0.35, 0.1, 0.55]) if rng.random() < 0.58 else np.zeros(17, dtype=int)
    xy = (corner + rng.uniform(0, 1, size=(17, 2)) * [width, height]).round()
    return {
        "image_id": image,
        "category_id": 1,
        "keypoints": np.concatenate([xy * (v[:, None] > 0), v[:, None]], axis=1).astype(int).reshape(-1).tolist(),
        "num_keypoints": int((v > 0).sum()),
        "area": float(0.55 * width * height),
        "bbox": [*corner.tolist(), float(width), float(height)],
        "iscrowd": int(rng.random() < 0.02),
    }


def _pose(rng: np.random.Generator, image: int, person: dict[str, Any] | None) -> dict[str, Any]:
    if person is None or rng.random() < 0.5:
        xy = rng.uniform(0, 500, size=2) + rng.uniform(0, np.exp(rng.normal(4.3, 0.9)), size=(17, 2))
    else:
        xy = np.array(person["keypoints"]).reshape(17, 3)[:, :2]
        xy = xy + rng.normal(size=xy.shape) * 0.03 * np.sqrt(person["area"]) * rng.exponential()
    keypoints = np.concatenate([xy, rng.random((17, 1))], axis=1).reshape(-1).tolist()
    return {"image_id": image, "category_id": 1, "keypoints": keypoints, "score": float(rng.random())}


def other(names: tuple[str, str, str, str], num_images: int, annotations: Records, detections: Records) -> Timed:
    """An evaluator of pycocotools' interface: seconds whole and of scoring, and its arrays."""
    truth_class = getattr(import_module(names[0]), names[1])
    eval_class = getattr(import_module(names[2]), names[3])
    # Both write into what they are given.
    annotations, detections = copy.deepcopy(annotations), copy.deepcopy(detections)
    with contextlib.redirect_stdout(io.StringIO()):
        began = time.process_time()
        truth = truth_class()
        truth.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(num_images)],
            "annotations": annotations,
            "categories": [{"id": 1, "name": "person"}],
        }
        truth.createIndex()
        run = eval_class(truth, truth.loadRes(detections), "keypoints")
        run.params.kpt_oks_sigmas = SIGMAS
        loaded = time.process_time()
        run.evaluate()
        run.accumulate()
        ended = time.process_time()
    return ended - began, ended - loaded, (run.eval["precision"], run.eval["recall"])


def ours(annotations: Records, detections: Records) -> Timed:
    """Seconds whole and of scoring, and the arrays."""
    began = time.process_time()
    curves = coco.coco_keypoint_curves(annotations, detections, sigmas=SIGMAS)
    ended = time.process_time()
    true, found = annotated("benchmark", annotations, 17), detected("benchmark", detections, 17)
    loaded = time.process_time()
    coco.curves_of("benchmark", true, found, np.array([1]), SIGMAS, max_detections=20)
    return ended - began, time.process_time() - loaded, (curves.precision, curves.recall)


def measure(title: str, runs: dict[str, Callable[[], Timed]], rounds: int) -> list[str]:
    """Lines of the table, after an untimed round in which all arrays are compared."""
    first = {name: run() for name, run in runs.items()}
    own = first["heatpoint"][2]
    times: dict[str, list[Timed]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(run())
    lines = []
    for name, found in times.items():
        gap = max(float(np.abs(a - b).max()) for a, b in zip(own, first[name][2], strict=True))
        cells = [title, name, "0" if gap == 0 else f"{gap:.1e}"]
        for part in (0, 1):
            ratios = [his[part] / mine[part] for his, mine in zip(found, times["heatpoint"], strict=True)]
            cells.append(f"{statistics.median(one[part] for one in found):.2f}")
            cells.append(f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    evaluators = OTHERS | ({"faster-coco-eval": FASTER} if find_spec("faster_coco_eval") else {})
    print("| set | evaluator | greatest gap | whole, s | ratio | scoring, s | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for title, most in (("true boxes", 0), ("detected boxes", 20)):
        annotations, detections = make_set(np.random.default_rng(0), arguments.images, most)
        named = f"{title}: {arguments.images} images, {len(annotations)} persons, {len(detections)} detections"
        runs: dict[str, Callable[[], Timed]] = {"heatpoint": lambda a=annotations, d=detections: ours(a, d)}
        for name, names in evaluators.items():
            runs[name] = lambda n=names, a=annotations, d=detections: other(n, arguments.images, a, d)
        print("\n".join(measure(named, runs, arguments.rounds)), flush=True)


if __name__ == "__main__":
    main()
