"""Which share of a training step of the small network is the localizer's, under each form and sharing of draws.

    OMP_NUM_THREADS=1 python benchmarks/step_share.py
    python -m benchmarks --only step
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
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that this file runs by its path too

from benchmarks.measure import interleaved
from benchmarks.surroundings import PARTS, step
from heatpoint import kernels
from heatpoint.localizers import make_localizer
from heatpoint.recipes import get_recipe
from heatpoint.training.data import Batch
from heatpoint.training.tasks import task_of
from heatpoint.training.weights import build_model

Part = Callable[[], object]
# Recipe -> its points.
RECIPES = {"synthetic-sampling_argmax": 18, "faces300w-sampling_argmax-small": 68}
NOISES = ("independent", "image", "batch")
SAMPLES, PROGRESS = 30, 0.5
Setting = tuple[str, str, float, str]


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

    def whole() -> None:
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

    return dict(zip(PARTS, (whole, localizer_alone, network_alone), strict=True))


def shares(settings: Iterable[Setting], samples: int, rounds: int) -> Iterator[dict[str, Any]]:
    """One record for each setting: recipe, noise, progress, form."""
    for recipe, noise, progress, form in settings:
        with kernels.use(form):
            seconds = interleaved(parts_of(recipe, samples, noise, progress), rounds=rounds)
        setting = {"recipe": recipe, "noise": noise, "progress": progress, "form": form}
        yield {"kind": "step", "operation": f"{recipe}, {noise}", **setting, "seconds": seconds}


def names() -> list[str]:
    """`step RECIPE, NOISE` of every recipe and sharing of draws."""
    return [f"step {recipe}, {noise}" for recipe in RECIPES for noise in NOISES]


def records(wanted: Sequence[str], rounds: int) -> Iterator[dict[str, Any]]:
    """One record for each of these names."""
    pairs = (name.removeprefix("step ").split(", ") for name in wanted)
    return shares([(recipe, noise, PROGRESS, "auto") for recipe, noise in pairs], SAMPLES, rounds)


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument(
        "--progress", type=float, nargs="+", default=[PROGRESS], help="share of the training that is done"
    )
    parser.add_argument("--noise", nargs="+", default=list(NOISES))
    parser.add_argument("--forms", nargs="+", default=["auto"])
    given = parser.parse_args()
    settings = itertools.product(given.recipes, given.noise, given.progress, given.forms)
    print(step([record | {"allocations": "as set"} for record in shares(settings, given.samples, given.rounds)]))


if __name__ == "__main__":
    main()
