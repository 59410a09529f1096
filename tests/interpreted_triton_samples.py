"""Samples of the interpreted Triton kernels and their gradient, the native kernel's, and second derivatives."""

from __future__ import annotations

import pytest
import torch

import oracles_native
from heatpoint import kernels, scores
from heatpoint.kernels import _library
from heatpoint.sampling import sampling_argmax
from heatpoint.support import Points, Support
from interpreted_triton import (
    BASES,
    BATCH,
    GRIDS,
    SAMPLES,
    TOLERANCE,
    Tensors,
    asked_for,
    assert_same,
    cloud,
    in_silence,
    make_call,
    maps,
    of_points,
    quick,
    recorded,
    targets,
)

pytestmark = [in_silence, pytest.mark.usefixtures(asked_for.__name__)]


@pytest.mark.parametrize(
    ("formula", "basis", "space", "is_split"),
    quick(
        ("paper", "gaussian", "clouds", False),
        among=[
            *(
                (formula, basis, grid, is_split)
                for formula, basis in (("paper", "none"), ("paper", "triangular"), ("released", "triangular"))
                for grid in GRIDS
                for is_split in (False, True)
            ),
            *(("paper", basis, "clouds", is_split) for basis in ("none", "gaussian") for is_split in (False, True)),
        ],
    ),
)
def test_points_drawn_and_their_gradient(formula: str, basis: str, space: str, is_split: bool) -> None:
    support: Support = cloud(1, 2) if space == "clouds" else GRIDS[space]
    shape, logits = BASES[basis], maps(support)
    slope = torch.randn(SAMPLES, *BATCH, support.ndim, generator=torch.Generator().manual_seed(5))
    exact = logits.double().requires_grad_()
    wide = Points(support.xyz.double()) if isinstance(support, Points) else support
    with kernels.use("torch"):
        points = sampling_argmax(
            exact.reshape(*BATCH, *support.shape),
            wide,
            temperature=0.7,
            **recorded(logits, support, shape, formula),
        )
    wanted = (points.detach(), *torch.autograd.grad(points, exact, slope.double()))
    call = make_call(support, is_split, basis=shape, formula=formula, temperature=0.7)
    assert_same(of_points(logits, support, slope, call), wanted)


@pytest.mark.skipif(_library.library().handle is None, reason=_library.library().reason)
@pytest.mark.parametrize(
    ("formula", "basis", "grid", "noise", "temperature"),
    quick(
        ("released", "triangular", "2D", "lattice", 0.7),
        among=[
            (formula, basis, grid, noise, t)
            for formula in ("paper", "released")
            for basis in BASES
            for grid in GRIDS
            for noise, t in ((None, 0.7), (None, 0.1), ("lattice", 0.7))
        ],
    ),
)
def test_the_same_seed_gives_what_the_native_kernel_gives(
    formula: str, basis: str, grid: str, noise: str | None, temperature: float
) -> None:
    support = GRIDS[grid]
    logits, target = maps(support).reshape(*BATCH, *support.shape).requires_grad_(), targets(support).requires_grad_()
    found: dict[str, Tensors] = {}
    for form in ("triton", "native"):
        generator = torch.Generator().manual_seed(4)
        given = {"basis": BASES[basis], "formula": formula, "temperature": temperature, "noise": noise}
        given |= {"num_samples": 3, "generator": generator}
        with kernels.use(form):
            loss = scores.expected_error(logits, support, target, **given)
            points = sampling_argmax(logits.detach(), support, **given)
        found[form] = (loss.detach(), *torch.autograd.grad(loss.sum(), (logits, target)), points)
    # Each is within the tolerance of the exact result.
    assert_same(found["triton"], found["native"], 2 * TOLERANCE)


@pytest.mark.parametrize(
    ("formula", "basis", "space", "noise"),
    quick(
        ("paper", "gaussian", "1D", "lattice"),
        among=[
            *(
                (formula, basis, grid, noise)
                for formula in ("paper", "released")
                for basis in BASES
                for grid in GRIDS
                for noise in (None, "lattice")
            ),
            *(("paper", basis, "clouds", None) for basis in ("none", "gaussian")),
        ],
    ),
)
def test_second_derivatives_are_those_of_the_torch_form(
    formula: str, basis: str, space: str, noise: str | None
) -> None:
    support: Support = cloud(1, 2) if space == "clouds" else GRIDS[space]
    generator = torch.Generator().manual_seed(4)
    seed = int(torch.empty((), dtype=torch.int64).random_(generator=generator.clone_state())) % 2**64
    drawn = oracles_native.noise(
        support,
        BATCH,
        basis=BASES[basis],
        per_cell=formula == "paper",
        seed=seed,
        num_samples=3,
        order=3 if noise else 0,
    )
    slope = torch.randn(3, *BATCH, support.ndim, generator=torch.Generator().manual_seed(5))
    weight = torch.rand(*BATCH, support.ndim, generator=torch.Generator().manual_seed(6))

    def twice(dtype: torch.dtype, form: str, **draws: object) -> Tensors:
        logits = maps(support).to(dtype).reshape(*BATCH, *support.shape).requires_grad_()
        target = targets(support).to(dtype).requires_grad_()
        on = Points(support.xyz.to(dtype)) if isinstance(support, Points) else support
        given = {"basis": BASES[basis], "formula": formula, "temperature": 0.8, "num_samples": 3, **draws}
        with kernels.use(form):
            points = sampling_argmax(logits, on, **given)
            if "generator" in draws:
                given["generator"] = torch.Generator().manual_seed(4)
            options = {"distance": "squared", "axis_weight": weight.to(dtype)}
            loss = scores.expected_error(logits, on, target, **given, **options)
        found = []
        for value, inputs in (((points * slope.to(dtype)).square().sum(), (logits,)), (loss.sum(), (logits, target))):
            gradients = torch.autograd.grad(value, inputs, create_graph=True)
            total = sum(gradient.square().sum() for gradient in gradients)
            found += [*gradients, *torch.autograd.grad(total, inputs)]
        return tuple(tensor.detach() for tensor in found)

    ours = twice(torch.float32, "triton", noise=noise, generator=generator)
    # Derivatives of the torch form in float32, through squares of squares: a few tens of roundings.
    assert_same(ours, twice(torch.float64, "torch", noise=drawn), 2e-5)
