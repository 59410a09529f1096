"""What tests under Triton's interpreter share: made-up calls, and the torch form in float64 with the kernels' noise.

Files interpreted_triton_*.py are not collected by their names: test_triton.py runs them in a process of its own, for the
interpreter must be chosen before Triton is imported, and stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

if os.environ.get("TRITON_INTERPRET") != "1":
    # Collecting doctests imports every file, this one into a process whose other tests compile the kernels.
    pytest.skip("test_triton.py runs these tests", allow_module_level=True)

import torch

import oracles_native
from heatpoint import kernels, scores
from heatpoint.basis import Basis, Gaussian, Triangular, Uniform
from heatpoint.kernels import _triton
from heatpoint.kernels._triton_call import Call
from heatpoint.kernels._triton_launch import run
from heatpoint.support import Grid, Points, Support

# numpy warns of −inf − −inf, which a GPU does not.
in_silence = pytest.mark.filterwarnings("ignore::RuntimeWarning")

SEED, SAMPLES, BATCH = 0x7234_5678_9ABC_DEF0, 2, (1, 2)
BASES = {"none": None, "uniform": Uniform(), "triangular": Triangular(), "gaussian": Gaussian(sigma=0.7)}
GRIDS = {
    "1D": Grid((67,), stride=0.5, offset=3),
    "2D": Grid((11, 7), stride=(4, 2), offset=(1.5, -20)),
    "3D": Grid((2, 5, 9), stride=(1, 2, 3)),
}
# 4e-6 of the gradient's maximum: a float32 weight has an error of some 4 roundings, 2.4e-7, each of its three factors another,
# and the differences that it weighs are up to 2 diameters, where the maximum is of the order of one quarter.
TOLERANCE = 4e-6
Tensors = tuple[torch.Tensor, ...]


def quick(*wanted: tuple[object, ...], among: list[tuple[object, ...]]) -> list[object]:
    """All of them, those not wanted in every run marked slow."""
    assert set(wanted) <= set(among)
    return [case if case in wanted else pytest.param(*case, marks=pytest.mark.slow) for case in among]


@pytest.fixture(autouse=True)
def asked_for() -> Iterator[None]:
    with kernels.use("triton"):
        yield


def maps(support: Support, batch: tuple[int, ...] = BATCH, scale: float = 2.0) -> torch.Tensor:
    return torch.randn(*batch, support.num_cells, generator=torch.Generator().manual_seed(7)) * scale


def targets(support: Support, batch: tuple[int, ...] = BATCH) -> torch.Tensor:
    generator = torch.Generator().manual_seed(8)
    if isinstance(support, Points):
        return torch.randn(*batch, support.ndim, generator=generator) + 5
    size, origin = torch.tensor(support.size), torch.tensor(support.offsets)
    return torch.rand(*batch, support.ndim, generator=generator) * size + origin


def cloud(*batch: int) -> Points:
    return Points(torch.randn(*batch, 67, 3, generator=torch.Generator().manual_seed(3)) + 5)


def recorded(
    logits: torch.Tensor, support: Support, basis: Basis | None, formula: str, order: int = 0
) -> dict[str, object]:
    """Arguments that make the torch form replay the kernels' noise in float64."""
    sizes = {"seed": SEED, "num_samples": SAMPLES, "order": order}
    drawn = oracles_native.noise(support, tuple(logits.shape[:-1]), basis=basis, per_cell=formula == "paper", **sizes)
    return {"basis": basis, "formula": formula, "noise": drawn}


def expected(
    logits: torch.Tensor,
    support: Support,
    target: torch.Tensor,
    basis: Basis | None = None,
    formula: str = "paper",
    order: int = 0,
    **options: object,
) -> Tensors:
    """Loss, and gradients with respect to logits and target, of the torch form in float64."""
    exact, place = logits.double().requires_grad_(), target.double().requires_grad_()
    given = {**recorded(logits, support, basis, formula, order), **options}
    if isinstance(support, Points):
        support = Points(support.xyz.double())
    with kernels.use("torch"):
        loss = scores.expected_error(exact.reshape(*logits.shape[:-1], *support.shape), support, place, **given)
    loss.sum().backward()
    return loss.detach(), exact.grad, place.grad


def make_call(support: Support, is_split: bool = False, **options: object) -> Call:
    rows = {"longest_row": 64, "part": 64} if is_split else {}
    return Call(support, torch.tensor(SEED), **{"num_samples": SAMPLES, **rows, **options})


def fused(
    logits: torch.Tensor,
    support: Support,
    target: torch.Tensor,
    axis_weight: torch.Tensor | None = None,
    is_split: bool = False,
    distance: str = "l1",
    **options: object,
) -> Tensors:
    weight = None if axis_weight is None else axis_weight.expand(target.shape)
    call = make_call(support, is_split, **options)
    made = run(call, logits, target=target, axis_weight=weight, distance=distance, wants_gradient=True)
    return made.loss, made.logits_gradient, made.target_gradient


def assert_same(got: Tensors, wanted: Tensors, tolerance: float = TOLERANCE) -> None:
    for found, exact in zip(got, wanted, strict=True):
        assert float((found - exact).abs().max() / exact.abs().max()) < tolerance


def of_points(logits: torch.Tensor, support: Support, slope: torch.Tensor, call: Call) -> Tensors:
    """Samples and the gradient of their sum with these slopes, by autograd."""
    logits = logits.clone().requires_grad_()
    points = _triton.SampledPoints.apply(logits, call, "sampling_argmax")
    return points.detach(), *torch.autograd.grad(points, logits, slope)
