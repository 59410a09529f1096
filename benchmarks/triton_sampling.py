"""Sampling-argmax on a GPU, loss and gradient: the Triton kernels beside the plain formula, eager and compiled.

    python -m benchmarks.triton_sampling
    python -m benchmarks.triton_sampling --shapes coco-30 --formulas released --temperatures 2 --rounds 50

The plain formula is the library's torch form without its checks, so that torch.compile takes it in one graph. Forms take turns
in one process. "as called" is the time between two CUDA events round one step, in which a GPU may wait for Python; "on the GPU"
is that of the same step replayed as a CUDA graph. Ratios are of neighbouring runs, as median and middle half. Memory is the
allocator's peak of one step beyond the logits. The losses differ by their noise only.

The floor counts instructions: some 40 for a cell in a sample (seven rounds of Philox for four cells, two logarithms, sums, and
the gradient), which the GPU issues 128 of per multiprocessor and cycle; rows that are cut into parts make their weights twice.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import Spread, interleaved, ratio
from heatpoint import Grid, kernels
from heatpoint._relaxed import paper_positions, relaxed_weights, released_positions
from heatpoint.basis import Triangular
from heatpoint.kernels._triton_call import Call
from heatpoint.scores import expected_error

# Name -> maps, cells, samples.
SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...], int]] = {
    "coco-30": ((32, 17), (64, 48), 30),
    "coco-300": ((32, 17), (64, 48), 300),
    "human36m-10": ((4, 18), (32, 64, 64), 10),
}
FORMS = ("plain", "compiled", "triton")
INSTRUCTIONS, PER_CYCLE = 40, 128
Step = Callable[[], Tensor]


def plain_error(logits: Tensor, target: Tensor, grid: Grid, samples: int, temperature: float, formula: Any) -> Tensor:
    """(*batch) the mean L1 distance of samples, Sampling-Argmax, Eq. 11 to 14, or as the authors' code has it."""
    basis, batch = Triangular(), logits.shape[: -grid.ndim]
    log_p = torch.log_softmax(logits.flatten(-grid.ndim), dim=-1)
    uniform = torch.rand(samples, *log_p.shape, device=logits.device)
    weights = relaxed_weights(log_p, uniform, temperature, formula, False)
    sizes = [(grid.num_cells,)] * grid.ndim if formula == "paper" else [(length,) for length in grid.lengths]
    raw = [torch.rand(samples, *batch, *size, device=logits.device) for size in sizes]
    positions = paper_positions if formula == "paper" else released_positions
    points = positions(weights, grid, basis, raw, False)
    return (points - target).abs().sum(dim=-1).mean(dim=0)


def make_step(shape: str, form: str, temperature: float, formula: str, device: str = "cuda") -> tuple[Step, Tensor]:
    """A step (loss and gradient) on made-up maps, and its logits."""
    batch, cells, samples = SHAPES[shape]
    generator = torch.Generator(device).manual_seed(0)
    grid = Grid(cells, stride=4.0)
    logits = torch.randn(*batch, *cells, device=device, generator=generator).requires_grad_()
    target = 4.0 * min(cells) * torch.rand(*batch, grid.ndim, device=device, generator=generator)
    plain = torch.compile(plain_error, fullgraph=True) if form == "compiled" else plain_error

    def step() -> Tensor:
        # Gradients of the step before would be freed in this one, and its memory be understated by theirs.
        logits.grad = None
        if form == "triton":
            with kernels.use("triton"):
                options: dict[str, Any] = {"temperature": temperature, "formula": formula}
                loss = expected_error(logits, grid, target, num_samples=samples, **options).sum()
        else:
            loss = plain(logits, target, grid, samples, temperature, formula).sum()
        loss.backward()
        return loss.detach()

    return step, logits


def as_graph(step: Step) -> Step:
    """The step replayed without Python; its memory and its noise's offset are the graph's."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()

    def replay() -> Tensor:
        graph.replay()
        return loss

    return replay


def milliseconds(step: Step) -> tuple[float, Tensor]:
    """Between two events round one step, and its loss."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    loss = step()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end), loss


def floor(shape: str, temperature: float, formula: Any) -> float:
    """Milliseconds that this GPU needs to issue the instructions of a step."""
    batch, cells, samples = SHAPES[shape]
    grid = Grid(cells)
    call = Call(grid, torch.empty((), dtype=torch.int64), samples, Triangular(), temperature, formula)
    passes = 2 if call.is_split else 1
    properties = torch.cuda.get_device_properties(0)
    each_second = properties.multi_processor_count * PER_CYCLE * properties.clock_rate * 1000
    return 1000 * passes * INSTRUCTIONS * samples * torch.Size(batch).numel() * grid.num_cells / each_second


def peak(step: Step, logits: Tensor) -> int:
    """Bytes that one step takes beyond what is there, its gradient of the logits among them."""
    step()
    logits.grad = None
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def shown(spread: Spread) -> str:
    """A median and its middle half."""
    return f"{spread.middle:.3g} ({spread.low:.3g} to {spread.high:.3g})"


def compare(shape: str, temperature: float, formula: str, rounds: int, forms: list[str]) -> None:
    """Prints the rows of one table."""
    made = {form: make_step(shape, form, temperature, formula) for form in forms}
    steps = {form: step for form, (step, _) in made.items()}
    losses = {form: float(step()) for form, step in steps.items()}
    peaks = {
        form: peak(step, logits) / (logits.numel() * logits.element_size()) for form, (step, logits) in made.items()
    }
    called = interleaved(steps, rounds=rounds, timer=milliseconds)
    replayed = interleaved({form: as_graph(step) for form, step in steps.items()}, rounds=rounds, timer=milliseconds)
    for form in forms:
        share = (
            f"{floor(shape, temperature, formula) / statistics.median(replayed[form]):.0%}" if form == "triton" else ""
        )
        times = (shown(Spread.of(called[form])), shown(Spread.of(replayed[form])))
        cells = (shape, formula, f"{temperature:g}", form, *times, shown(ratio(replayed["plain"], replayed[form])))
        print(f"| {' | '.join((*cells, share, f'{peaks[form]:.1f}', f'{losses[form]:.1f}'))} |")


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["coco-30", "human36m-10"], choices=SHAPES)
    parser.add_argument("--formulas", nargs="+", default=["paper", "released"], choices=("paper", "released"))
    parser.add_argument("--temperatures", nargs="+", type=float, default=[2.0, 0.7])
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=FORMS)
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    missing = kernels.available()["triton"]
    if missing or not torch.cuda.is_available():
        sys.exit(f"This compares forms on a CUDA GPU: {missing or 'there is no CUDA device'}.")
    properties = torch.cuda.get_device_properties(0)
    print(
        f"{properties.name}, {properties.clock_rate / 1e6:.2f} GHz, torch {torch.__version__}; {given.rounds} rounds\n"
    )
    print(
        "| shape | formula | temperature | form | ms as called | ms on the GPU | times plain | of the floor | peak | loss |"
    )
    print("|" + "---|" * 10)
    forms = ["plain", *(form for form in given.forms if form != "plain")]
    for shape in given.shapes:
        for formula in given.formulas:
            for temperature in given.temperatures:
                compare(shape, temperature, formula, given.rounds, forms)


if __name__ == "__main__":
    main()
