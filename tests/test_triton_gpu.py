"""The Triton kernels on a GPU, and the benchmark that measures them there."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest
import torch

from heatpoint import kernels
from heatpoint.basis import Gaussian, Triangular
from heatpoint.kernels import _replayed, _triton
from heatpoint.kernels._triton_call import Call
from heatpoint.kernels._triton_launch import run
from heatpoint.sampling import Noise, sampling_argmax
from heatpoint.scores import expected_error
from heatpoint.support import Grid
from oracles_native import noise
from pages import ROOT

gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(bool(_triton.why_not_here()), reason=_triton.why_not_here() or "-"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
GRIDS = {"1D": Grid((131,)), "COCO": Grid((64, 48), stride=4), "long": Grid((10, 40, 50), stride=(1, 2, 3))}
BASES = {"none": None, "triangular": Triangular(), "gaussian": Gaussian(sigma=0.7)}
SEED, SAMPLES, BATCH = 0x1234_5678_9ABC_DEF0, 5, (2, 3)
# See native_sampling.py.
TOLERANCE = 4e-6


def on_gpu(function: Any) -> Any:
    for mark in gpu:
        function = mark(function)
    return function


def maps(grid: Grid) -> torch.Tensor:
    return 2 * torch.randn(*BATCH, grid.num_cells, generator=torch.Generator().manual_seed(1))


@on_gpu
@pytest.mark.parametrize("order", [0, 5])
@pytest.mark.parametrize("temperature", [2.0, 1.0, 0.5, 0.7, 0.1])
@pytest.mark.parametrize("formula", ["paper", "released"])
@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("basis", BASES)
def test_the_torch_form_in_float64_with_the_same_noise(
    basis: str, name: str, formula: Any, temperature: float, order: int
) -> None:
    grid, shape = GRIDS[name], BASES[basis]
    logits, target = maps(grid), torch.full((*BATCH, grid.ndim), 7.0)
    exact, place = logits.double().requires_grad_(), target.double().requires_grad_()
    sizes = {"seed": SEED, "num_samples": SAMPLES, "order": order}
    drawn = noise(grid, BATCH, basis=shape, per_cell=formula == "paper", **sizes)
    given: dict[str, Any] = {"basis": shape, "formula": formula, "temperature": temperature}
    points = sampling_argmax(exact.unflatten(-1, grid.shape), grid, noise=drawn, **given)
    loss = (points - place).abs().sum(dim=-1).mean(dim=0)
    wanted = (loss.detach(), *torch.autograd.grad(loss.sum(), (exact, place)), points.detach())
    call = Call(grid, torch.tensor(SEED, device="cuda"), SAMPLES, order=order, **given)
    made, again = (
        run(call, logits.cuda(), target=target.cuda(), wants_gradient=True, wants_samples=True) for _ in range(2)
    )
    for field, other in zip(("loss", "logits_gradient", "target_gradient", "samples"), wanted, strict=True):
        ours = getattr(made, field)
        assert float((ours.cpu() - other).abs().max() / other.abs().max()) < TOLERANCE
        assert torch.equal(ours, getattr(again, field))


@on_gpu
@pytest.mark.parametrize("formula", ["paper", "released"])
def test_second_derivatives_are_those_of_the_torch_form_on_the_cpu(formula: Any) -> None:
    grid, found = GRIDS["1D"], []
    for device in ("cuda", "cpu"):
        logits = maps(grid).to(device).requires_grad_()
        call = Call(grid, torch.tensor(SEED, device=device), SAMPLES, Triangular(), 0.8, formula)
        if device == "cuda":
            points = _triton.SampledPoints.apply(logits, call, "sampling_argmax")
        else:
            points = _replayed.samples("sampling_argmax", logits, grid, call.law)
        (gradient,) = torch.autograd.grad(points.square().sum(), logits, create_graph=True)
        found.append(torch.autograd.grad(gradient.square().sum(), logits)[0].cpu())
    assert float((found[0] - found[1]).abs().max() / found[1].abs().max()) < 2e-5


@on_gpu
def test_the_cpu_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEATPOINT_CHECK")
    grid, generator = GRIDS["COCO"], torch.Generator("cuda").manual_seed(0)
    logits = maps(grid).cuda().unflatten(-1, grid.shape).requires_grad_()
    target = torch.full((*BATCH, 2), 7.0, device="cuda")
    with kernels.use("triton"):
        for number in range(2):  # What is compiled the first time may wait.
            torch.cuda.set_sync_debug_mode("error" if number else "default")
            try:
                expected_error(logits, grid, target, num_samples=3, generator=generator).sum().backward()
            finally:
                torch.cuda.set_sync_debug_mode("default")
    assert bool(logits.grad.isfinite().all())


@on_gpu
def test_maps_on_a_gpu_take_it() -> None:
    grid = GRIDS["COCO"]
    target, found = torch.full((*BATCH, 2), 7.0, device="cuda"), {}
    for form in ("auto", "triton"):
        with kernels.use(form):
            generator = torch.Generator("cuda").manual_seed(0)
            logits = maps(grid).cuda().half().unflatten(-1, grid.shape)
            found[form] = expected_error(logits, grid, target, num_samples=3, generator=generator)
    assert torch.equal(found["auto"], found["triton"])


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.triton_sampling")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_benchmark_says_what_it_needs(benchmark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["triton_sampling.py"])
    with pytest.raises(SystemExit, match=r"^This compares forms on a CUDA GPU: .+\.$"):
        benchmark.main()


@pytest.mark.parametrize("formula", ["paper", "released"])
def test_the_benchmark_beats_the_formula_that_is_meant(formula: Any, benchmark: Any) -> None:
    grid, basis = Grid((5, 7), stride=4), Triangular()
    logits = maps(grid).unflatten(-1, grid.shape)
    target = torch.full((*BATCH, 2), 7.0)
    torch.manual_seed(0)
    found = benchmark.plain_error(logits, target, grid, SAMPLES, 0.7, formula)
    torch.manual_seed(0)
    uniform = torch.rand(SAMPLES, *logits.shape[:2], grid.num_cells).unflatten(-1, grid.shape)
    sizes = [grid.shape] * 2 if formula == "paper" else [(length,) for length in grid.lengths]
    drawn = Noise(uniform, [torch.rand(SAMPLES, *BATCH, *size) for size in sizes])
    given: dict[str, Any] = {"basis": basis, "temperature": 0.7, "formula": formula}
    torch.testing.assert_close(found, expected_error(logits, grid, target, noise=drawn, **given))


@pytest.mark.parametrize("form", ["plain", "triton"])
@on_gpu
def test_the_benchmark_counts_the_gradient_as_memory_of_the_step(benchmark: Any, form: str) -> None:
    step, logits = benchmark.make_step("coco-30", form, 2.0, "paper")
    assert benchmark.peak(step, logits) >= logits.numel() * logits.element_size()


def test_the_benchmark_takes_the_step_before_for_no_part_of_a_step(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(benchmark.SHAPES, "tiny", ((2,), (5, 7), 3))
    found: list[Any] = []
    monkeypatch.setattr(benchmark, "plain_error", lambda logits, *_: found.append(logits.grad) or logits.sum())
    step, logits = benchmark.make_step("tiny", "plain", 2.0, "paper", "cpu")
    step()
    step()
    assert found == [None, None]
    assert logits.grad is not None
