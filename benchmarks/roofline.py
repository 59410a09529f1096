"""What share of the machine's limit a kernel reaches: the limit is measured beside it, in the same rounds.

Four rates are measured: reading (the largest of an array beyond the caches), writing (filling it), fused multiply-adds (a
product of matrices in float32) and torch's uniform numbers, which it draws on one thread. A kernel cannot be faster than the
arithmetic it needs, nor than reading its maps once and writing what it returns; a product of matrices needs its random numbers
before.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from benchmarks import decoders
from benchmarks.growth import CALLS, Step
from benchmarks.measure import interleaved
from benchmarks.operation import Size
from benchmarks.sampling import TASKS, Task, forms_of

# Multiplications and fused multiply-adds of the native kernel for one number, counted in kernels/native: additions, shifts and
# conversions run beside them. Philox makes four words by 24 products of half the lanes.
PHILOX, LOGARITHM = 6.0, 8.0
POWER = {2.0: 5.0, 1.0: 3.0, 0.5: 4.0}
GENERAL_POWER = 10.0
TRIANGULAR, NORMAL = 5.0, 16.0
EXPONENTIAL = 9.0
TEMPERATURES = (2.0, 0.7)
KERNELS = ("coco-30", "human36m-10", "oct-10", "points-30")
FORMS = ("native", "native, released formula", "gemm, noise per image")


@dataclass(frozen=True)
class Work:
    """What a kernel cannot do without."""

    multiplies: float = 0.0
    read: float = 0.0
    written: float = 0.0
    uniforms: float = 0.0


def native_work(task: Task, temperature: float, *, released: bool) -> Work:
    """Of the native kernel, per cell of every sample: a draw, a power, offsets and sums, the gradient."""
    ndim = 3 if task.is_cloud else len(task.cells)
    each = PHILOX + LOGARITHM + POWER.get(temperature, GENERAL_POWER)
    if released:
        each += 2
    else:
        streams = (4 if ndim > 2 else 2) if task.is_cloud else (2 if ndim > 2 else 1)
        each += streams * PHILOX + ndim * ((NORMAL if task.is_cloud else TRIANGULAR) + 2) + ndim + 1
    maps = 4.0 * task.elements() / task.samples
    return Work(multiplies=each * task.elements(), read=maps, written=maps)


def product_work(task: Task) -> Work:
    """Of the matrix products: 1 + D columns, forward and back, and one uniform per cell, sample and group for each."""
    ndim = 3 if task.is_cloud else len(task.cells)
    maps = 4.0 * task.elements() / task.samples
    return Work(
        multiplies=2.0 * (1 + ndim) * task.elements(),
        read=maps,
        written=maps,
        uniforms=(1.0 + ndim) * task.elements() / task.batch[-1],
    )


def readout_work(name: str, num_bytes: float) -> Work:
    """Of what works on maps: one reading, or one writing; a gradient is written once."""
    exponentials = EXPONENTIAL * num_bytes / 4
    if name == "gaussian_map":
        return Work(written=num_bytes)
    if name == "soft_argmax":
        return Work(multiplies=exponentials, read=num_bytes)
    if "gradient" in name:
        return Work(multiplies=2 * exponentials, read=num_bytes, written=num_bytes)
    return Work(read=num_bytes)


def names() -> list[str]:
    """`roofline NAME` of every kernel."""
    sampled = [
        f"roofline sampling {task} {tau:g}, {form}" for task in KERNELS for tau in TEMPERATURES for form in FORMS
    ]
    return sampled + [f"roofline {name}" for name in CALLS]


def _kernels(wanted: list[str], size: Size) -> Iterator[tuple[str, Step, Work]]:
    for key in KERNELS:
        task = TASKS[key].shrunk(size)
        for tau in TEMPERATURES:
            for form in FORMS:
                name = f"sampling {key} {tau:g}, {form}"
                made = forms_of(task, tau, {})[0].get(form) if f"roofline {name}" in wanted else None
                if made is not None:
                    work = product_work(task) if "gemm" in form else native_work(task, tau, released="released" in form)
                    yield name, made.run, work
    given = decoders.Maps.of(size)
    if any(f"roofline {name}" in wanted for name in CALLS):
        maps, points = given.peaked(given.square, given.number)
        for name, call in CALLS.items():
            if f"roofline {name}" in wanted:
                yield name, partial(call, maps, given.square, points), readout_work(name, maps.nbytes)


def _probes(size: Size) -> tuple[dict[str, Step], dict[str, float]]:
    """What measures each rate, and how much of it that is."""
    number, side = (2**25, 1024) if size == "full" else (2**16, 64)
    values, matrix = torch.ones(number), torch.rand(side, side)
    uniforms = torch.empty(2**20 if size == "full" else 2**12)
    steps: dict[str, Step] = {
        "multiplies": lambda: matrix @ matrix,
        "read": lambda: values.amax(),
        "written": lambda: values.fill_(1.0),
        "uniforms": lambda: uniforms.uniform_(),
    }
    amounts = {"multiplies": side**3, "read": values.nbytes, "written": values.nbytes, "uniforms": uniforms.numel()}
    return steps, {name: float(amount) for name, amount in amounts.items()}


def shares(wanted: list[str], size: Size, rounds: int) -> Iterator[dict[str, Any]]:
    """One record for each kernel: its time, the floor, what the floor is made of, the share of the limit reached."""
    probes, amounts = _probes(size)
    for name, step, work in _kernels(wanted, size):
        found = interleaved({"kernel": step, **probes}, rounds=rounds, seconds=10)
        rates = {key: amount / statistics.median(found[key]) for key, amount in amounts.items()}
        seconds = statistics.median(found["kernel"])
        arithmetic, uniforms = work.multiplies / rates["multiplies"], work.uniforms / rates["uniforms"]
        memory = work.read / rates["read"] + work.written / rates["written"]
        parts = {"arithmetic": arithmetic, "memory": memory, "random numbers": uniforms}
        floor = max(arithmetic, memory) + uniforms
        yield {
            "kind": "roofline",
            "operation": name,
            "seconds": seconds,
            "floor": floor,
            "bound": max(parts, key=lambda part: parts[part]),
            "share": floor / seconds,
            "rates": rates,
        }
