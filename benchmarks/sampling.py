"""Sampling-argmax, loss and gradient, at the sizes of the papers' tasks: every form beside the plain and the published one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks import plain
from benchmarks.operation import Form, Operation, Size, Source, as_it_is
from benchmarks.peer_forms import SamplingArgmax
from heatpoint import Grid, Points, kernels
from heatpoint._relaxed import Formula
from heatpoint.kernels._shared_draws import LEAST_TEMPERATURE, Sharing
from heatpoint.scores import expected_error

# Three whose powers of E take few operations, any other one, and one at which products of matrices are refused.
TEMPERATURES = (2.0, 1.0, 0.5, 0.7, 0.2)
SIGMA = 0.01


@dataclass(frozen=True)
class Choice:
    """What is asked of our function: the form, who shares draws, the formula, and whether cells have offsets."""

    form: str
    noise: Sharing = "independent"
    formula: Formula = "paper"
    has_offsets: bool = True

    def fits(self, task: Task, temperature: float, *, is_huge: bool) -> bool:
        """Whether it can run here: the released formula needs a grid, products of matrices a temperature that keeps their digits;
        only on a cloud does the published code lack offsets.
        """
        is_missing = self.form == "native" and bool(kernels.available()["native"])
        is_refused = self.form == "gemm" and temperature < LEAST_TEMPERATURE
        has_meaning = self.formula == "paper" if task.is_cloud else self.has_offsets
        return has_meaning and not (is_missing or is_refused or (is_huge and self.form == "torch"))


OURS = {
    "native": Choice("native"),
    "native, released formula": Choice("native", formula="released"),
    "native, lattice": Choice("native", "lattice"),
    "native, no offsets": Choice("native", has_offsets=False),
    "native, noise per image": Choice("native", "image"),
    "native, noise per image, released formula": Choice("native", "image", "released"),
    "native, noise per image, no offsets": Choice("native", "image", has_offsets=False),
    "native, noise per batch": Choice("native", "batch"),
    "gemm, noise per image": Choice("gemm", "image"),
    "gemm, noise per image, no offsets": Choice("gemm", "image", has_offsets=False),
    "gemm, noise per batch": Choice("gemm", "batch"),
    "torch form": Choice("torch"),
}


@dataclass(frozen=True)
class Task:
    """Maps of one kind: their batch, whose last dimension is a group's, their cells, the samples drawn from each."""

    batch: tuple[int, ...]
    cells: tuple[int, ...]
    samples: int
    is_cloud: bool = False

    def shrunk(self, size: Size) -> Task:
        """The same kind of maps, a few small ones."""
        if size == "full":
            return self
        batch = (2, 2, 3)[-len(self.batch) :]
        cells = (40,) if len(self.cells) == 1 else (5, 6, 7)[-len(self.cells) :]
        return Task(batch, cells, 1 if size == "few" else min(self.samples, 20), self.is_cloud)

    def elements(self) -> int:
        """Cells of all maps, times samples."""
        return torch.Size((*self.batch, *self.cells, self.samples)).numel()


TASKS = {
    "coco-1": Task((32, 17), (64, 48), 1),
    "coco-10": Task((32, 17), (64, 48), 10),
    "coco-30": Task((32, 17), (64, 48), 30),
    "coco-300": Task((32, 17), (64, 48), 300),
    "human36m-10": Task((4, 18), (32, 64, 64), 10),
    "oct-10": Task((2, 1024, 9), (128,), 10),
    "points-30": Task((8, 10), (2048,), 30, is_cloud=True),
}
# What keeps samples x cells of them would take more than ten gigabytes.
HUGE = ("coco-300",)
# The published code has no class for rows of cells or points.
ASSEMBLED = "published functions, put together by us"


def support_of(task: Task) -> Grid | Points:
    """Cells at shares of each axis's length, less ½, the coordinates of the published code; or a cloud in a cube of 1."""
    if task.is_cloud:
        return Points(torch.rand(task.cells[0], 3, generator=torch.Generator().manual_seed(2)))
    return Grid(task.cells, stride=tuple(1 / length for length in reversed(task.cells)), offset=-0.5)


def centers_of(support: Grid | Points) -> Tensor:
    """(cells, D)."""
    return support.cell_centers().flatten(0, -2) if isinstance(support, Grid) else support.xyz


def forms_of(
    task: Task, temperature: float, peers: Mapping[str, str], *, is_huge: bool = False
) -> tuple[dict[str, Form], int]:
    """Name -> a step of loss and gradient on made-up maps; and the bytes of the maps."""
    generator = torch.Generator().manual_seed(0)
    support = support_of(task)
    logits = torch.randn(*task.batch, *task.cells, generator=generator).requires_grad_()
    target = torch.rand(*task.batch, support.ndim, generator=generator) - (0.0 if task.is_cloud else 0.5)
    basis = {"name": "gaussian", "sigma": SIGMA} if task.is_cloud else "triangular"

    def ours(choice: Choice) -> Tensor:
        with kernels.use(choice.form):
            return expected_error(
                logits,
                support,
                target,
                basis=basis if choice.has_offsets else None,
                num_samples=task.samples,
                temperature=temperature,
                formula=choice.formula,
                noise=choice.noise,
                generator=generator,
            )

    found = {
        name: Form(partial(_step, logits, partial(ours, choice)), "ours")
        for name, choice in OURS.items()
        if choice.fits(task, temperature, is_huge=is_huge)
    }
    if not is_huge:
        others = _others(task, support, logits, target, temperature, peers)
        found |= {
            name: Form(partial(_step, logits, loss), source, result) for name, (loss, source, result) in others.items()
        }
    return found, logits.numel() * logits.element_size()


def _step(logits: Tensor, loss: Callable[[], Tensor]) -> Tensor:
    logits.grad = None
    found = loss()
    found.mean().backward()
    return found.detach()


def _others(
    task: Task, support: Grid | Points, logits: Tensor, target: Tensor, temperature: float, peers: Mapping[str, str]
) -> dict[str, tuple[Callable[[], Tensor], Source, Callable[[Tensor], Tensor]]]:
    """The plain form and, where there is a checkout, the published one: loss, source, and how it becomes a mean over maps."""
    centers = centers_of(support)
    flat = logits.flatten(-len(task.cells))
    scale = torch.tensor((SIGMA,) * 3 if isinstance(support, Points) else support.strides)

    def plainly() -> Tensor:
        return plain.sampling_error(flat, centers, target, task.samples, temperature, scale, is_normal=task.is_cloud)

    found: dict[str, tuple[Callable[[], Tensor], Source, Callable[[Tensor], Tensor]]] = {}
    found["plain"] = (plainly, "plain", as_it_is)
    if "sampling-argmax" in peers:
        published = SamplingArgmax(peers["sampling-argmax"])
        maps, goal = logits.flatten(0, len(task.batch) - 2), target.flatten(0, len(task.batch) - 2)
        if task.is_cloud:

            def on_points() -> Tensor:
                return published.points_error(maps, centers, goal, task.samples, temperature)

            found[ASSEMBLED] = (on_points, "peer", as_it_is)
        else:
            error = published.error(task.cells, task.samples, temperature)
            per_map = published.per_map(task.cells, task.batch[-1])
            found[ASSEMBLED if len(task.cells) == 1 else "published"] = (lambda: error(maps, goal), "peer", per_map)
    return found


def operation(name: str, temperature: float, size: Size, peers: Mapping[str, str]) -> Operation:
    """The operation of one task at one temperature."""
    task = TASKS[name].shrunk(size)
    forms, num_bytes = forms_of(task, temperature, peers, is_huge=name in HUGE)
    maps = " x ".join(map(str, task.batch))
    cells = " x ".join(map(str, task.cells))
    described = f"{maps} maps of {cells}, {task.samples} samples"
    return Operation(f"sampling {name} {temperature:g}", described, forms, num_bytes, is_sampled=True)
