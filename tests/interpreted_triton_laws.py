"""Loss and gradients of the interpreted Triton kernels: temperatures, bases, noise, distances, supports, and parts."""

from __future__ import annotations

import pytest
import torch

from heatpoint.basis import Triangular, Uniform
from heatpoint.kernels._triton_launch import run
from heatpoint.support import Grid
from interpreted_triton import (
    BASES,
    GRIDS,
    TOLERANCE,
    asked_for,
    assert_same,
    cloud,
    expected,
    fused,
    in_silence,
    make_call,
    maps,
    quick,
    targets,
)
from native_sampling import THIN

pytestmark = [in_silence, pytest.mark.usefixtures(asked_for.__name__)]


@pytest.mark.parametrize(
    ("formula", "temperature", "is_split"),
    quick(
        ("paper", 0.1, False),
        among=[
            (formula, temperature, is_split)
            for formula in ("paper", "released")
            for temperature in (2.0, 1.0, 0.5, 0.7, 0.25, 30.0, 0.1)
            for is_split in (False, True)
        ],
    ),
)
def test_temperatures(formula: str, temperature: float, is_split: bool) -> None:
    support = GRIDS["2D"]
    logits, target = maps(support), targets(support)
    got = fused(logits, support, target, temperature=temperature, formula=formula, is_split=is_split)
    assert_same(got, expected(logits, support, target, None, formula, temperature=temperature))


@pytest.mark.parametrize(
    ("formula", "basis", "grid", "is_split"),
    quick(
        ("paper", "triangular", "3D", False),
        ("released", "triangular", "3D", True),
        ("released", "gaussian", "1x37", False),
        among=[
            (formula, basis, grid, is_split)
            for formula in ("paper", "released")
            for basis in BASES
            for grid in (*GRIDS, *THIN)
            for is_split in (False, True)
        ],
    ),
)
def test_bases(formula: str, basis: str, grid: str, is_split: bool) -> None:
    support, shape = {**GRIDS, **THIN}[grid], BASES[basis]
    logits, target = maps(support), targets(support)
    got = fused(logits, support, target, basis=shape, temperature=2.0, formula=formula, is_split=is_split)
    assert_same(got, expected(logits, support, target, shape, formula, temperature=2.0))


@pytest.mark.parametrize(
    ("formula", "basis", "grid", "order", "is_split"),
    quick(
        ("released", "gaussian", "3D", 3, False),
        among=[
            (formula, basis, grid, order, is_split)
            for formula in ("paper", "released")
            for basis in BASES
            for grid in GRIDS
            for order, is_split in ((3, False), (3, True), *([(2, False), (46337, False)] if grid == "2D" else []))
        ],
    ),
)
def test_noise_that_is_a_lattice_over_the_samples(
    formula: str, basis: str, grid: str, order: int, is_split: bool
) -> None:
    support, shape, options = GRIDS[grid], BASES[basis], {"temperature": 0.1 if order == 2 else 1.0, "order": order}
    logits, target = maps(support), targets(support)
    got = fused(logits, support, target, basis=shape, formula=formula, is_split=is_split, **options)
    assert_same(got, expected(logits, support, target, shape, formula, **options))


@pytest.mark.parametrize(
    ("distance", "is_split"),
    quick(
        ("l2", False),
        among=[(name, is_split) for name in ("l1", "l2", "smooth_l1", "squared") for is_split in (False, True)],
    ),
)
def test_distances(distance: str, is_split: bool) -> None:
    support = GRIDS["3D"]
    logits, target = maps(support), targets(support)
    got = fused(logits, support, target, distance=distance, is_split=is_split)
    assert_same(got, expected(logits, support, target, distance=distance))


@pytest.mark.parametrize("is_split", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_weights_of_axes(is_split: bool) -> None:
    support = GRIDS["2D"]
    logits, target, weight = maps(support), targets(support), torch.tensor([[[0.5, 0.0], [1.0, 3.0]]])
    got = fused(logits, support, target, weight, distance="smooth_l1", is_split=is_split)
    assert_same(got, expected(logits, support, target, axis_weight=weight.double(), distance="smooth_l1"))


@pytest.mark.parametrize(
    ("temperature", "room", "chunk"),
    # A row of 77 cells in parts of 64 takes 18 numbers for each sample, in the log domain 37.
    quick(
        (0.7, 0.6, 2),
        among=[(0.7, 0.1, 1), (0.7, 0.6, 2), (0.7, 4.0, 3), (0.1, 0.6, 1), (0.1, 1.2, 2), (0.1, 4.0, 3)],
    ),
)
def test_samples_in_chunks(temperature: float, room: float, chunk: int) -> None:
    support, options = GRIDS["2D"], {"basis": Triangular(), "formula": "released", "temperature": temperature}
    logits, target = maps(support, (1,)), targets(support, (1,))
    call = make_call(support, is_split=True, num_samples=3, room=room, **options)
    assert call.chunk == chunk
    chunks, whole = (
        run(each, logits, target=target, wants_gradient=True, wants_samples=True)
        for each in (call, make_call(support, num_samples=3, **options))
    )
    assert_same(*((m.loss, m.logits_gradient, m.target_gradient, m.samples) for m in (chunks, whole)), 2 * TOLERANCE)


@pytest.mark.parametrize(
    ("basis", "batch", "is_split"),
    quick(
        ("none", (1, 2), False),
        among=[(*case, is_split) for case in (("gaussian", ()), ("none", (1, 2))) for is_split in (False, True)],
    ),
)
def test_points(basis: str, batch: tuple[int, ...], is_split: bool) -> None:
    support = cloud(*batch)
    logits, target = maps(support), targets(support)
    got = fused(logits, support, target, basis=BASES[basis], temperature=0.7, is_split=is_split)
    assert_same(got, expected(logits, support, target, BASES[basis], temperature=0.7))


@pytest.mark.slow
@pytest.mark.parametrize(("cells", "is_split"), [(n, s) for n in (1, 63, 64, 65) for s in (0, 1)])
def test_sizes(cells: int, is_split: int) -> None:
    support = Grid((cells, 1), stride=(2, 3))
    logits, target = maps(support), targets(support)
    got = fused(logits, support, target, basis=Uniform(), is_split=bool(is_split))
    wanted = expected(logits, support, target, Uniform())
    # The gradient of a map of one cell is 0.
    assert_same((got[0], got[1] + 1, got[2]), (wanted[0], wanted[1] + 1, wanted[2]))
