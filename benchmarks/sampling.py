"""Sampling-argmax, loss and gradient: each form beside the plain one, time and memory.

    python benchmarks/sampling.py
    python benchmarks/sampling.py --shapes coco-30 points-30 --temperatures 2 0.7 --rounds 7

Forms take turns in one process; a ratio is that of two neighbouring runs, shown as median and middle half. Memory is the peak
of a fresh process that takes a tiny step, makes the logits, takes one step and ends, less what it held with the logits made, in
multiples of the logits.
Both allocator settings are shown: glibc gives blocks above 32 MB back to the system, and the plain form pays for that;
MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ keep them ("retained").
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

RETAINED = {"MALLOC_MMAP_THRESHOLD_": str(2**34), "MALLOC_TRIM_THRESHOLD_": str(2**34)}
# Name -> maps (batch), cells, samples, basis; the maps of a group stand along the last dimension of the batch.
SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...], int, str]] = {
    "coco-30": ((32, 17), (64, 48), 30, "triangular"),
    "coco-300": ((32, 17), (64, 48), 300, "triangular"),
    "human36m-10": ((4, 18), (32, 64, 64), 10, "triangular"),
    "oct-10": ((2, 1024, 9), (128,), 10, "triangular"),
    "points-30": ((8, 10), (2048,), 30, "gaussian"),
}
# Form -> the setting of heatpoint.kernels, and who shares draws.
FORMS = {
    "plain": ("torch", "independent"),
    "native": ("native", "independent"),
    "native, lattice": ("native", "lattice"),
    "gemm, per image": ("gemm", "image"),
    "gemm, per batch": ("gemm", "batch"),
}


def make_step(shape: str, form: str, temperature: float, *, few: bool = False) -> tuple[Callable[[], None], int]:
    """A step (loss and gradient) on made-up maps, or on one cell each and a single sample, and the bytes of its logits."""
    import torch

    from heatpoint import Grid, Points, kernels
    from heatpoint.scores import expected_error

    batch, cells, samples, basis = SHAPES[shape]
    if few:
        batch, cells, samples = (1, 2), (8,) * len(cells), 1
    generator = torch.Generator().manual_seed(0)
    is_cloud = basis == "gaussian"
    support = Points(torch.rand(cells[0], 3, generator=generator)) if is_cloud else Grid(cells, stride=4.0)
    logits = torch.randn(*batch, *cells, generator=generator).requires_grad_()
    extent = 1.0 if is_cloud else 4.0 * min(cells)
    target = extent * torch.rand(*batch, support.ndim, generator=generator)
    kind, noise = FORMS[form]

    def step() -> None:
        logits.grad = None
        with kernels.use(kind):
            expected_error(
                logits,
                support,
                target,
                basis={"name": "gaussian", "sigma": 0.01} if is_cloud else basis,
                num_samples=samples,
                temperature=temperature,
                noise=noise,  # type: ignore[arg-type]
                generator=generator,
            ).sum().backward()

    return step, logits.numel() * logits.element_size()


def times(shape: str, temperature: float, rounds: int, forms: list[str]) -> None:
    """Prints milliseconds and ratios of one shape and temperature."""
    steps = {form: make_step(shape, form, temperature)[0] for form in forms}
    found: dict[str, list[float]] = {form: [] for form in forms}
    for number in range(rounds + 1):
        for form, step in steps.items():
            begin = time.perf_counter()
            step()
            if number:
                found[form].append(1000 * (time.perf_counter() - begin))
    for form in forms:
        ratios = [plain / ours for plain, ours in zip(found["plain"], found[form], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4) if rounds > 1 else (ratios[0],) * 3
        median = statistics.median(found[form])
        print(
            f"| {shape} | {temperature:g} | {form} | {median:.1f} | {middle:.1f} ({low:.1f} to {high:.1f}) |",
            flush=True,
        )


def peak_of_step(shape: str, form: str, temperature: float) -> float:
    """Peak memory of one step in this process beyond what it held before, in multiples of the logits; Linux only."""
    make_step(shape, form, temperature, few=True)[0]()  # What libraries set up once is not the step's.
    step, size = make_step(shape, form, temperature)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = _status("VmRSS")
    step()
    return (_status("VmHWM") - before) / size


def _status(key: str) -> int:
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(key))


def measured_apart(arguments: list[str], environment: dict[str, str]) -> str:
    """What this file prints in a fresh process."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=[name for name in SHAPES if name != "coco-300"], choices=SHAPES)
    parser.add_argument("--temperatures", nargs="+", type=float, default=[2.0, 0.7])
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=FORMS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--time-only", action="store_true", help="in this process, with its own allocator setting")
    parser.add_argument("--peak", nargs=2, metavar=("SHAPE", "FORM"), help="of one step in this process")
    given = parser.parse_args()
    if given.peak:
        print(json.dumps(peak_of_step(*given.peak, given.temperatures[0])))
        return
    if given.time_only:
        for shape in given.shapes:
            for temperature in given.temperatures:
                times(shape, temperature, given.rounds, ["plain", *(form for form in given.forms if form != "plain")])
        return
    flags = ["--temperatures", *map(str, given.temperatures), "--rounds", str(given.rounds), "--forms", *given.forms]
    for name, environment in (("retained", RETAINED), ("default", {})):
        print(
            f"\nallocations {name}\n| shape | temperature | form | ms | times plain |\n|---|---|---|---|---|",
            flush=True,
        )
        print(measured_apart(["--time-only", "--shapes", *given.shapes, *flags], environment), end="", flush=True)
    print("\n| shape | form | peak beyond the logits, in multiples of them |\n|---|---|---|", flush=True)
    for shape in dict.fromkeys([*given.shapes, *(["coco-300"] if "coco-30" in given.shapes else [])]):
        for form in given.forms:
            if shape == "coco-300" and form == "plain":
                continue  # Twelve gigabytes.
            peak = json.loads(measured_apart(["--peak", shape, form, "--temperatures", "2"], {}))
            print(f"| {shape} | {form} | {peak:.1f} |", flush=True)


if __name__ == "__main__":
    main()
