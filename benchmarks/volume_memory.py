"""Peak memory of one training step of sampling-argmax on volumes: loss and gradient, memory "normal" beside "low".

    python benchmarks/volume_memory.py
    python benchmarks/volume_memory.py --batch 4 --points 18 --side 64 --samples 10

Every figure is the peak resident memory of a fresh process that makes logits (B, K, S, S, S), takes the loss and its gradient,
and ends; what the process held before the logits were made is printed beside it. No network is involved: what it needs comes on
top.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

GIB = 2**30
FORMULAS, MEMORY = ("paper", "released"), ("normal", "low")


def peak() -> int:
    """Peak resident memory of this process in bytes (Linux counts kilobytes, macOS bytes)."""
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found * 1024


def step(batch: int, points: int, side: int, samples: int, formula: str, memory: str) -> dict[str, float]:
    """One step in this process: peak before, peak after, seconds."""
    import torch

    from heatpoint.localizers import make_localizer
    from heatpoint.support import Grid

    grid = Grid((side,) * 3, stride=256 / side, offset=0)
    localizer = make_localizer("sampling_argmax", grid, num_samples=samples, formula=formula, memory=memory)
    before = peak()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, points, *grid.shape, generator=generator).requires_grad_()
    target = 256 * torch.rand(batch, points, 3, generator=generator)
    began = time.perf_counter()
    loss = localizer.loss(logits, target, generator=generator)
    loss.backward()
    seconds = time.perf_counter() - began
    if logits.grad is None or not bool(logits.grad.isfinite().all()):
        raise RuntimeError("the gradient is not finite")
    return {"before": before, "peak": peak(), "seconds": seconds, "loss": loss.item()}


def measure(batch: int, points: int, side: int, samples: int, formula: str, memory: str) -> dict[str, float] | None:
    """One step in a fresh process; None if it did not survive."""
    arguments = [str(value) for value in (batch, points, side, samples, formula, memory)]
    done = subprocess.run([sys.executable, __file__, "--step", *arguments], capture_output=True, text=True, check=False)
    if done.returncode < 0 or "not enough memory" in done.stderr:
        return None
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, default in (("batch", 4), ("points", 18), ("side", 64), ("samples", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--memory", choices=MEMORY, action="append", help="only this one")
    parser.add_argument("--formula", choices=FORMULAS, action="append", help="only this one")
    parser.add_argument("--step", nargs=6, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        numbers = [int(value) for value in given.step[:4]]
        print(json.dumps(step(*numbers, *given.step[4:])))
        return
    sizes = (given.batch, given.points, given.side, given.samples)
    volume = given.batch * given.points * given.side**3 * 4 / GIB
    print(
        f"B={given.batch}, K={given.points}, {given.side}^3 cells, {given.samples} samples: logits of {volume:.2f} GiB"
    )
    for formula in given.formula or FORMULAS:
        for memory in given.memory or MEMORY:
            found = measure(*sizes, formula, memory)
            if found is None:
                print(f"{formula:9} {memory:7} did not fit into this machine's memory")
                continue
            line = (
                f"peak {found['peak'] / GIB:6.2f} GiB (before {found['before'] / GIB:.2f})  {found['seconds']:6.1f} s"
            )
            print(f"{formula:9} {memory:7} {line}  loss {found['loss']:.6f}")


if __name__ == "__main__":
    main()
