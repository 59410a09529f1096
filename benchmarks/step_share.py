"""Which share of a training step of the small network is the localizer's, under each form and sharing of draws.

    OMP_NUM_THREADS=1 python benchmarks/step_share.py
    OMP_NUM_THREADS=1 python benchmarks/step_share.py --samples 10 --forms auto torch --progress 0 0.5 1

A step is that of training, without its data: forward, the task's loss, backward and Adam on a fixed batch at 64 pixels, here
with 30 samples; of the network and recipe of `heatpoint demo`, 18 points and 16 images, and of the small one for 300-W, 68
points and 32 images, as the localizer's cost grows with the points and the network's hardly does. Beside it in every round
stand the localizer alone, its loss and gradient from fixed logits, and the network alone, whose logits get a fixed gradient.
The share is localizer / step; the last column, 1 − network / step, says the same from two large numbers, so that it is noisier,
and counts what the two share of memory and caches.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from faces300w_small import table

from heatpoint import kernels
from heatpoint.localizers import make_localizer
from heatpoint.recipes import get_recipe
from heatpoint.training.data import Batch
from heatpoint.training.tasks import task_of
from heatpoint.training.weights import build_model

Part = Callable[[], object]
PARTS = ("step", "localizer", "network")
# Recipe -> its points.
RECIPES = {"synthetic-sampling_argmax": 18, "faces300w-sampling_argmax-small": 68}


def parts_of(name: str, samples: int, noise: str, progress: float) -> dict[str, Part]:
    """A training step of a recipe's network by sampling-argmax, and its two parts alone."""
    recipe, num_points = get_recipe(name), RECIPES[name]
    num_images, (width, height) = recipe.optimization.batch_size, recipe.data.size
    options = {**recipe.localizer_options, "num_samples": samples, "noise": noise}
    recipe = replace(recipe, localizer_options=options)
    torch.manual_seed(0)
    model, grid = build_model(recipe, num_points)
    localizer = make_localizer(recipe.localizer, grid, **recipe.localizer_options)
    optimizer = torch.optim.Adam(model.parameters())
    points = (width - 1) * torch.rand(num_images, num_points, 2)
    visible = torch.ones(num_images, num_points, dtype=torch.bool)
    images = torch.rand(num_images, 3, height, width)
    batch = Batch(images, points, visible, torch.zeros(num_images, 2, 3), torch.ones(num_images))
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
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--samples", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--progress", type=float, nargs="+", default=[0.5], help="share of the training that is done")
    parser.add_argument("--noise", nargs="+", default=["independent", "image", "batch"])
    parser.add_argument("--forms", nargs="+", default=["auto"])
    arguments = parser.parse_args()
    lines = []
    settings = itertools.product(arguments.recipes, arguments.noise, arguments.progress, arguments.forms)
    for recipe, noise, progress, form in settings:
        parts = parts_of(recipe, arguments.samples, noise, progress)
        with kernels.use(form):
            seconds = measure(parts, arguments.rounds)
        milliseconds = [f"{1000 * statistics.median(seconds[name]):.1f}" for name in PARTS]
        paired = list(zip(*(seconds[name] for name in PARTS), strict=True))
        share = quartiles([100 * localizer / step for step, localizer, _ in paired], 1)
        rest = quartiles([100 * (1 - network / step) for step, _, network in paired], 1)
        lines.append([recipe, noise, form, f"{progress:g}", *milliseconds, *share, *rest])
    head = ["recipe", "noise", "form", "progress", *(f"{name}, ms" for name in PARTS), "share %", "middle half"]
    print(table([*head, "by difference %", "middle half"], lines))


if __name__ == "__main__":
    main()
