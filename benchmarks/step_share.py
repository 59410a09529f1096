"""Which share of a training step of the small network is the localizer's, under each form and sharing of draws.

    OMP_NUM_THREADS=1 python benchmarks/step_share.py
    OMP_NUM_THREADS=1 python benchmarks/step_share.py --samples 10 --forms auto torch --progress 0 0.5 1

A step is that of training, without its data: forward, the task's loss, backward and Adam on a fixed batch of 32 images at 64
pixels with 68 points, here with 30 samples. Beside it in every round stand the localizer alone, its loss and gradient from fixed
logits, and the network alone, whose logits get a fixed gradient. The share is localizer / step; the last column, 1 − network /
step, says the same from two large numbers, so that it is noisier, and counts what the two share of memory and caches.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from faces300w_small import recipe_of, table

from heatpoint import kernels
from heatpoint.localizers import make_localizer
from heatpoint.training.data import Batch
from heatpoint.training.tasks import task_of
from heatpoint.training.weights import build_model

Part = Callable[[], object]
PARTS = ("step", "localizer", "network")
NUM_IMAGES, NUM_POINTS, SIDE = 32, 68, 64


def parts_of(samples: int, noise: str, progress: float) -> dict[str, Part]:
    """A training step of the small network by sampling-argmax, and its two parts alone."""
    recipe = recipe_of("sampling_argmax", 0)
    options = {**recipe.localizer_options, "num_samples": samples, "noise": noise}
    recipe = replace(recipe, localizer_options=options)
    torch.manual_seed(0)
    model, grid = build_model(recipe, NUM_POINTS)
    localizer = make_localizer(recipe.localizer, grid, **recipe.localizer_options)
    optimizer = torch.optim.Adam(model.parameters())
    points = (SIDE - 1) * torch.rand(NUM_IMAGES, NUM_POINTS, 2)
    visible = torch.ones(NUM_IMAGES, NUM_POINTS, dtype=torch.bool)
    images = torch.rand(NUM_IMAGES, 3, SIDE, SIDE)
    batch = Batch(images, points, visible, torch.zeros(NUM_IMAGES, 2, 3), torch.ones(NUM_IMAGES))
    task, generator = task_of(recipe), torch.Generator().manual_seed(0)
    logits = model(images).detach().requires_grad_()
    slopes = torch.randn_like(logits)
    nothing, given = torch.nn.Identity(), batch._replace(images=logits)

    def step() -> None:
        optimizer.zero_grad()
        task.loss(model, localizer, batch, recipe, progress=progress, generator=generator).backward()
        optimizer.step()

    def localizer_alone() -> None:
        logits.grad = None
        task.loss(nothing, localizer, given, recipe, progress=progress, generator=generator).backward()

    def network_alone() -> None:
        optimizer.zero_grad()
        model(images).backward(slopes)
        optimizer.step()

    return dict(zip(PARTS, (step, localizer_alone, network_alone), strict=True))


def measure(parts: dict[str, Part], rounds: int) -> dict[str, list[float]]:
    """Seconds of every part, one of each per round, after two rounds that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(rounds + 2):
        for name, part in parts.items():
            began = time.perf_counter()
            part()
            if number >= 2:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def quartiles(values: list[float], digits: int) -> list[str]:
    """Median, and the middle half."""
    quarter = statistics.quantiles(values, n=4)
    return [f"{quarter[1]:.{digits}f}", f"{quarter[0]:.{digits}f} to {quarter[2]:.{digits}f}"]


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--progress", type=float, nargs="+", default=[0.5], help="share of the training that is done")
    parser.add_argument("--noise", nargs="+", default=["independent", "image", "batch"])
    parser.add_argument("--forms", nargs="+", default=["auto"])
    arguments = parser.parse_args()
    lines = []
    for noise, progress, form in itertools.product(arguments.noise, arguments.progress, arguments.forms):
        parts = parts_of(arguments.samples, noise, progress)
        with kernels.use(form):
            seconds = measure(parts, arguments.rounds)
        milliseconds = [f"{1000 * statistics.median(seconds[name]):.1f}" for name in PARTS]
        paired = list(zip(*(seconds[name] for name in PARTS), strict=True))
        share = quartiles([100 * localizer / step for step, localizer, _ in paired], 1)
        rest = quartiles([100 * (1 - network / step) for step, _, network in paired], 1)
        lines.append([noise, form, f"{progress:g}", *milliseconds, *share, *rest])
    head = ["noise", "form", "progress", *(f"{name}, ms" for name in PARTS), "share %", "middle half"]
    print(table([*head, "by difference %", "middle half"], lines))


if __name__ == "__main__":
    main()
