"""The native kernel against the torch form in float64 with the same noise, and what must not change a bit."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from heatpoint.basis import Basis, Gaussian, Triangular, Uniform
from heatpoint.kernels._library import library
from heatpoint.support import Grid, Points
from native_maps import PRESENT, random_maps
from native_sampling import (
    BASES,
    GRIDS,
    SAMPLES,
    THIN,
    assert_equal,
    assert_same,
    assert_samples_and_their_gradient,
    expected,
    inputs,
    native,
    results,
    targets,
)

pytestmark = pytest.mark.skipif(library().handle is None, reason=library().reason)

BATCH = (2, 3)


@pytest.mark.parametrize("temperature", [2.0, 1.0, 0.5, 0.7, 0.3, 30.0, 0.2, 0.1])
@pytest.mark.parametrize("formula", ["paper", "released"])
@pytest.mark.parametrize("instruction_set", PRESENT)
def test_temperatures(temperature: float, formula: str, instruction_set: str) -> None:
    support = GRIDS["2D"]
    options: dict[str, Any] = {"formula": formula, "temperature": temperature}
    logits, target = inputs(support, BATCH)
    got = native(logits, support, target, instruction_set=instruction_set, **options)
    assert_same(got, expected(logits, support, target, **options))


@pytest.mark.parametrize("grid", [*GRIDS, *THIN])
@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("formula", ["paper", "released"])
@pytest.mark.parametrize("instruction_set", PRESENT)
def test_bases(grid: str, basis: str, formula: str, instruction_set: str) -> None:
    support = {**GRIDS, **THIN}[grid]
    logits, target = inputs(support, BATCH)
    options: dict[str, Any] = {"basis": BASES[basis], "formula": formula, "temperature": 2.0}
    got = native(logits, support, target, instruction_set=instruction_set, **options)
    assert_same(got, expected(logits, support, target, **options))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("instruction_set", PRESENT)
def test_noise_that_is_a_lattice_over_the_samples(grid: str, basis: str, instruction_set: str) -> None:
    support = GRIDS[grid]
    logits, target = inputs(support, BATCH)
    for formula, temperature, order in (("paper", 1.0, 5), ("released", 0.7, 7), ("paper", 0.2, 11)):
        options: dict[str, Any] = {
            "basis": BASES[basis],
            "formula": formula,
            "temperature": temperature,
            "order": order,
        }
        got = native(logits, support, target, instruction_set=instruction_set, **options)
        assert_same(got, expected(logits, support, target, **options))


@pytest.mark.parametrize("distance", ["l1", "l2", "smooth_l1", "squared"])
def test_distances(distance: str) -> None:
    support = GRIDS["3D"]
    options: dict[str, Any] = {"basis": Triangular(), "distance": distance}
    logits, target = inputs(support, BATCH)
    assert_same(native(logits, support, target, **options), expected(logits, support, target, **options))


def test_weights_of_axes() -> None:
    support, weight = GRIDS["2D"], torch.tensor([[[0.5, 0.0]], [[1.0, 3.0]]])
    logits, target = inputs(support, BATCH)
    got = native(logits, support, target, axis_weight=weight)
    assert_same(got, expected(logits, support, target, axis_weight=weight.double()))


@pytest.mark.parametrize("basis", ["none", "gaussian"])
@pytest.mark.parametrize("clouds", [(), (2, 1)])
def test_points(basis: str, clouds: tuple[int, ...]) -> None:
    support = Points(random_maps(*clouds, 131, 3, seed=3, scale=1.0) + 5)
    logits, target = inputs(support, BATCH)
    options: dict[str, Any] = {"basis": BASES[basis], "temperature": 0.7}
    assert_same(native(logits, support, target, **options), expected(logits, support, target, **options))


@pytest.mark.parametrize("formula", ["paper", "released"])
def test_samples_and_their_gradient(formula: str) -> None:
    support = GRIDS["2D"]
    logits, slope = random_maps(*BATCH, support.num_cells), random_maps(SAMPLES, *BATCH, 2, seed=5)
    options: dict[str, Any] = {"basis": Triangular(), "formula": formula}
    assert_samples_and_their_gradient(logits, support, slope, "independent", **options)


@pytest.mark.parametrize("basis", ["none", "triangular", "gaussian"])
@pytest.mark.parametrize("temperature", [2.0, 0.1])
def test_the_number_of_threads_changes_no_bit(basis: str, temperature: float) -> None:
    support, batch = Grid((64, 48)), (41,)
    logits, target = inputs(support, batch)
    # A thread starts for 65536 draws.
    assert logits.numel() * SAMPLES > 7 * 65536
    options: dict[str, Any] = {"basis": BASES[basis], "temperature": temperature}
    one = native(logits, support, target, num_threads=1, **options)
    for threads in (2, 3, 7):
        assert_equal(native(logits, support, target, num_threads=threads, **options), one)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not tell threads their processors")
def test_threads_take_turns_on_a_single_processor() -> None:
    support, batch = Grid((64, 48)), (41,)
    logits, target = inputs(support, batch)
    several = native(logits, support, target, num_threads=3)
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert_equal(native(logits, support, target, num_threads=3), several)
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="this system does not show a process's threads")
def test_threads_may_use_all_processors_and_leave_the_callers_alone() -> None:
    support, batch = Grid((64, 64)), (600,)
    logits, target = inputs(support, batch)
    allowed, before, seen = os.sched_getaffinity(0), set(os.listdir("/proc/self/task")), []

    def call() -> None:
        for threads in (2, 9, 3):
            native(logits, support, target, num_threads=threads)
            seen.append(os.sched_getaffinity(0))

    caller = Thread(target=call)
    caller.start()
    others = {}
    while caller.is_alive():
        for number in set(os.listdir("/proc/self/task")) - before - {str(caller.native_id)}:
            with suppress(OSError):  # One that has ended since.
                others[number] = os.sched_getaffinity(int(number))
        time.sleep(0.001)
    # What was seen last of each, for at its start it may use fewer.
    assert len(others) >= 3
    assert all(processors == allowed for processors in [*seen, *others.values()])


@pytest.mark.parametrize("temperature", [2.0, 1.0, 0.5, 0.7, 0.249, 0.1])
@pytest.mark.parametrize("formula", ["paper", "released"])
@pytest.mark.parametrize("instruction_set", PRESENT)
def test_forbidden_cells_get_no_gradient(temperature: float, formula: str, instruction_set: str) -> None:
    support = GRIDS["2D"]
    logits, target = inputs(support, BATCH)
    logits[0, :, 5:] = -torch.inf
    logits[1, :, ::2] = -torch.inf
    options: dict[str, Any] = {"basis": Triangular(), "temperature": temperature, "formula": formula}
    got = native(logits, support, target, instruction_set=instruction_set, **options)
    assert bool((results(got)[1][logits == -torch.inf] == 0).all())
    assert_same(got, expected(logits, support, target, **options))


def test_maps_without_a_distribution_are_nan_alone() -> None:
    support, batch = GRIDS["2D"], (5,)
    logits, target = inputs(support, batch)
    good = native(logits, support, target)
    logits[0] = -torch.inf
    logits[1, 100] = torch.nan
    logits[2, 480] = torch.inf
    got = native(logits, support, target)
    assert (got.num_forbidden, got.num_undefined) == (1, 2)
    for found, before in zip(results(got), results(good), strict=True):
        assert bool(found[:3].isnan().all())
        # The maps beside them keep their noise and their bits.
        assert torch.equal(found[3:], before[3:])


@pytest.mark.parametrize("temperature", [1e-30, 1e-6, 0.01, 0.249, 0.25, 1e6])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4, 1e30])
def test_degenerate_maps_stay_finite(temperature: float, scale: float) -> None:
    support, batch = Grid((1, 67)), (4,)
    logits, target = inputs(support, batch, scale)
    for formula in ("paper", "released"):
        options: dict[str, Any] = {"basis": Triangular(), "temperature": temperature, "formula": formula}
        for tensor in results(native(logits, support, target, **options)):
            assert bool(tensor.isfinite().all())


@pytest.mark.parametrize("basis", [None, Gaussian(sigma=0.7)])
@pytest.mark.parametrize("instruction_set", PRESENT)
def test_gradients_where_one_cell_has_nearly_all_weight(basis: Gaussian | None, instruction_set: str) -> None:
    # They are small: what the cells' positions lose beside the sample's point would be a thousand times the tolerance.
    support = Grid((131,))
    logits, target = random_maps(*BATCH, 131, seed=7, scale=12.0), targets(support, BATCH)
    options: dict[str, Any] = {"basis": basis, "temperature": 0.1}
    got = native(logits, support, target, instruction_set=instruction_set, **options)
    assert_same(got, expected(logits, support, target, **options))


@pytest.mark.parametrize("temperature", [0.1, 0.2, 0.3, 0.7, 2.0])
@pytest.mark.parametrize("formula", ["paper", "released"])
@pytest.mark.parametrize("instruction_set", PRESENT)
def test_peaked_maps_far_from_zero(temperature: float, formula: str, instruction_set: str) -> None:
    # Their weights span more than float32 does. Rounded as they come, the logits' exponents would lose all that counts.
    support = Grid((5, 41))
    logits, target = random_maps(*BATCH, support.num_cells, seed=7, scale=12.0) + 3000, targets(support, BATCH)
    options: dict[str, Any] = {"basis": Triangular(), "temperature": temperature, "formula": formula}
    got = native(logits, support, target, instruction_set=instruction_set, **options)
    assert_same(got, expected(logits, support, target, **options))


@pytest.mark.parametrize(
    ("basis", "formula"),
    [(Uniform(), "released"), (Gaussian(sigma=0.7), "released"), (Uniform(), "paper"), (Triangular(), "paper")],
)
@pytest.mark.parametrize("shape", [(61,), (5, 7, 11)])
@pytest.mark.parametrize("instruction_set", PRESENT)
def test_one_possible_cell_has_no_gradient(
    basis: Basis, formula: str, shape: tuple[int, ...], instruction_set: str
) -> None:
    # Not one of a rounding error either, which would be all that there is of it: in the log domain, where the one weight is 1.
    support = Grid(shape, offset=1000.25)
    logits = torch.full((*BATCH, support.num_cells), -torch.inf)
    logits[..., support.num_cells // 3] = 1.0
    options: dict[str, Any] = {"basis": basis, "formula": formula, "temperature": 0.1}
    got = native(logits, support, targets(support, BATCH), instruction_set=instruction_set, **options)
    assert not bool(results(got)[1].any())


@pytest.mark.parametrize("length", [16384, 16385, 33000])
@pytest.mark.parametrize("basis", [Uniform(), Triangular()])
@pytest.mark.parametrize("instruction_set", PRESENT)
def test_axes_as_long_as_bytes_are_exact_and_longer_ones(basis: Basis, length: int, instruction_set: str) -> None:
    support = Grid((length, 1), stride=(0.5, 2), offset=(1000.25, -3))
    logits, target = inputs(support, (2,))
    options: dict[str, Any] = {"basis": basis, "temperature": 1.0}
    got = native(logits, support, target, instruction_set=instruction_set, **options)
    assert_same(got, expected(logits, support, target, **options))


def test_long_rows_keep_their_digits() -> None:
    support, batch = Grid((32, 64, 64)), (1,)
    logits, target = inputs(support, batch)
    for formula in ("paper", "released"):
        options: dict[str, Any] = {"basis": Triangular(), "formula": formula, "temperature": 2.0}
        assert_same(native(logits, support, target, **options), expected(logits, support, target, **options))


def test_denormals_are_left_as_they_were() -> None:
    support = GRIDS["2D"]
    native(random_maps(*BATCH, support.num_cells), support, targets(support, BATCH), num_threads=1)
    assert float(torch.tensor(1e-30) * torch.tensor(1e-10)) > 0
