"""What one process of the data pipeline delivers, from files to batches of changed crops, and where its time goes.

    OMP_NUM_THREADS=1 HEATPOINT_DATA=FOLDER python benchmarks/data_pipeline.py
    HEATPOINT_DATA=FOLDER python -m benchmarks --only pipeline

The recipes' own set and augmentation, nothing kept decoded, one process and one thread. Rows: 300-W faces as "Heatmap
Regression via Randomized Rounding", 5.3, changes them (flip, brightness, contrast, saturation, rotation, scale, shift, erased
rectangle), the face filling half of a JPEG of 272 pixels or all of it; body poses at 192x256 (width x height) as
Sampling-Argmax and as HRNet change them. Pictures longer than 272 pixels are cut to that about their object first; without a
folder of data, rendered pictures stand in for the photographs.

Images per second are by the clock and by the processor's time, which does not count what other processes took. The stages are
timed in rounds of their own, as timing them costs a little.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import torch

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that this file runs by its path too

from benchmarks.measure import interleaved
from benchmarks.operation import Size
from benchmarks.surroundings import pipeline
from heatpoint.datasets import PointSet, Sample, load_image, synthetic_bodies, synthetic_faces
from heatpoint.datasets.image_files import image_size
from heatpoint.frames import Frame
from heatpoint.recipes import Recipe, get_recipe
from heatpoint.skeleton import load_skeleton
from heatpoint.training import data
from heatpoint.training.data import ExampleDataset, read_split
from heatpoint.training.sets import limited
from heatpoint.transforms import box_of, example, warp

SIDE = 272
SURROUNDINGS = 2.2
FACES = get_recipe("faces300w-randomized_rounding")
POSES = get_recipe("lspet-sampling_argmax")
ROWS: dict[str, Recipe] = {
    "faces 256x256": FACES,
    "faces that fill the file": replace(FACES, data=replace(FACES.data, box_policy="image", padding=1.0)),
    "poses 192x256": POSES,
    "poses, as HRNet": replace(POSES, augmentation=get_recipe("coco-gaussian_heatmap-hrnet_w32").augmentation),
}
# Stage -> the functions whose time it is, where their callers find them; none calls another.
STAGES: dict[str, tuple[tuple[ModuleType, str], ...]] = {
    "decode": ((data, "load_image"),),
    "warp": ((example, "warp"),),
    "colours": ((example, "photometric"),),
    "erase": ((example, "erase"),),
    "planes": ((example, "_planes"),),
    "draws, box": (
        (data, "numpy_generator"),
        (example, "box_of"),
        (example, "maybe_half_body"),
        (example, "augment_frame"),
    ),
    "collate": ((data, "collate"),),
}


def on_disk(found: PointSet, folder: Path) -> PointSet:
    """The set with a JPEG of at most 272 pixels for every sample: its own file where that is one, or else a new one."""
    samples = []
    for number, sample in enumerate(found.samples):
        if isinstance(sample.image, Path) and max(image_size(sample.image)) <= SIDE:
            samples.append(sample)
            continue
        samples.append(_cut(sample, folder / f"{number}.jpg"))
    return replace(found, samples=tuple(samples))


def _cut(sample: Sample, path: Path) -> Sample:
    frame = Frame.from_box(box_of(sample), (SIDE, SIDE), padding=SURROUNDINGS)
    pixels = np.rint(255 * warp(load_image(sample), frame)).astype(np.uint8)
    cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])
    return replace(sample, image=path, points=np.where(sample.visible[:, None], frame.to_input(sample.points), 0.0))


def set_of(recipe: Recipe, data_root: Path | None, images: int, folder: Path) -> tuple[PointSet, str]:
    """So many samples of the recipe's set, and what they are."""
    try:
        found = limited(read_split(recipe.data, data_root, "train"), images)
        kind = recipe.data.dataset
    except FileNotFoundError:
        is_face = recipe.data.dataset == FACES.data.dataset
        found, kind = (synthetic_faces if is_face else synthetic_bodies)(images, size=SIDE), "rendered"
        if not is_face:  # As many joints, and it says which are the upper half.
            found = replace(found, skeleton=load_skeleton("coco17"))
    folder.mkdir()
    return on_disk(found, folder), kind


def one_pass(dataset: ExampleDataset, batch_size: int, epoch: int) -> None:
    """Every sample of the set once, in batches."""
    for start in range(0, len(dataset), batch_size):
        data.collate([dataset[epoch, index] for index in range(start, min(start + batch_size, len(dataset)))])


@contextmanager
def timed_stages() -> Iterator[dict[str, float]]:
    """Adds up the seconds of every stage as long as it lasts."""
    seconds = dict.fromkeys(STAGES, 0.0)
    originals = [(module, name, getattr(module, name), stage) for stage, at in STAGES.items() for module, name in at]

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            result = function(*arguments, **options)
            seconds[stage] += time.perf_counter() - began
            return result

        return call

    for module, name, function, stage in originals:
        setattr(module, name, timed(stage, function))
    try:
        yield seconds
    finally:
        for module, name, function, _ in originals:
            setattr(module, name, function)


def measure(dataset: ExampleDataset, batch_size: int, rounds: int) -> tuple[list[float], list[float], dict[str, float]]:
    """Images per second by the clock and by the processor's time, one of each per round; seconds per image by stage."""
    used: list[float] = []

    def timed_pass() -> None:
        began = time.process_time()
        one_pass(dataset, batch_size, len(used))
        used.append(time.process_time() - began)

    count = len(dataset)
    by_clock = [count / seconds for seconds in interleaved({"pass": timed_pass}, rounds=rounds)["pass"]]
    by_processor = [count / seconds for seconds in used[1:]]
    with timed_stages() as stages:
        began = time.perf_counter()
        for number in range(rounds):
            one_pass(dataset, batch_size, number)
        stages["rest"] = time.perf_counter() - began - sum(stages.values())
    return by_clock, by_processor, {stage: value / (rounds * count) for stage, value in stages.items()}


def rows(wanted: Sequence[str], data_root: Path | None, images: int, rounds: int) -> Iterator[dict[str, Any]]:
    """One record for each row, on one thread."""
    threads = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            for number, row in enumerate(wanted):
                recipe = ROWS[row]
                found, kind = set_of(recipe, data_root, images, Path(folder) / str(number))
                dataset = ExampleDataset(found, recipe.data, augmentation=recipe.augmentation, cache_megabytes=0)
                clock, processor, stages = measure(dataset, recipe.optimization.batch_size, rounds)
                record = {"kind": "pipeline", "operation": row, "pictures": kind, "clock": clock}
                yield record | {"processor": processor, "stages": stages}
    finally:
        cv2.setNumThreads(threads[0])
        torch.set_num_threads(threads[1])


def names() -> list[str]:
    """`pipeline ROW` of every row."""
    return [f"pipeline {row}" for row in ROWS]


def records(wanted: Sequence[str], size: Size, rounds: int) -> Iterator[dict[str, Any]]:
    """One record for each of these names."""
    images = 256 if size == "full" else 8
    return rows([name.removeprefix("pipeline ") for name in wanted], None, images, rounds)


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS))
    given = parser.parse_args()
    print(pipeline(list(rows(given.only, given.data_root, given.images, given.rounds))))


if __name__ == "__main__":
    main()
