"""The native kernel of maps that share their noise against the torch form in float64 with the same noise."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from heatpoint import Grid, Points, kernels
from heatpoint.basis import Basis, Triangular, Uniform
from heatpoint.kernels import fused
from heatpoint.kernels._call import Law, sample
from heatpoint.kernels._library import library
from heatpoint.kernels._shared_draws import make_draw
from heatpoint.sampling import sampling_argmax
from heatpoint.scores import expected_error
from heatpoint.support import Support
from native_maps import PRESENT, random_maps
from native_sampling import (
    BASES,
    GRIDS,
    SAMPLES,
    THIN,
    assert_derivatives_are_those_of_the_torch_form,
    assert_equal,
    assert_same,
    assert_samples_and_their_gradient,
    expected,
    inputs,
    law,
    native,
    recorded,
    results,
)
from peaks import peak_of

pytestmark = pytest.mark.skipif(library().handle is None, reason=library().reason)

# Groups of 7 maps: once as many as are summed together, and three maps more.
BATCH = (2, 7)
SHARINGS = ("image", "batch")


@pytest.mark.parametrize("grid", [*GRIDS, *THIN])
@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("formula", ["paper", "released"])
@pytest.mark.parametrize("sharing", SHARINGS)
def test_bases(grid: str, basis: str, formula: str, sharing: str) -> None:
    support = {**GRIDS, **THIN}[grid]
    logits, target = inputs(support, BATCH)
    options: dict[str, Any] = {"basis": BASES[basis], "formula": formula, "temperature": 2.0}
    wanted = expected(logits, support, target, sharing, **options)
    for instruction_set in PRESENT:
        assert_same(native(logits, support, target, sharing, instruction_set=instruction_set, **options), wanted)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.7, 0.25, 30.0, 0.2, 0.05])
@pytest.mark.parametrize("formula", ["paper", "released"])
def test_temperatures(temperature: float, formula: str) -> None:
    support = GRIDS["2D"]
    logits, target = inputs(support, BATCH)
    options: dict[str, Any] = {"basis": Triangular(), "formula": formula, "temperature": temperature}
    wanted = expected(logits, support, target, "image", **options)
    for instruction_set in PRESENT:
        assert_same(native(logits, support, target, "image", instruction_set=instruction_set, **options), wanted)


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("distance", ["l2", "smooth_l1", "squared", "weighed"])
def test_distances_and_weights_of_axes(sharing: str, distance: str) -> None:
    support = GRIDS["2D"]
    logits, target = inputs(support, BATCH)
    weight = torch.tensor([[0.5, 0.0], [1.0, 3.0]])[torch.arange(14) % 2].view(*BATCH, 2)
    options: Any = {"axis_weight": weight} if distance == "weighed" else {"distance": distance}
    exact = {"axis_weight": weight.double()} if distance == "weighed" else options
    got = native(logits, support, target, sharing, basis=Triangular(), **options)
    assert_same(got, expected(logits, support, target, sharing, basis=Triangular(), **exact))


@pytest.mark.parametrize("basis", ["none", "gaussian"])
@pytest.mark.parametrize(("clouds", "sharing"), [((), "image"), ((), "batch"), ((2, 1), "image")])
def test_points(basis: str, clouds: tuple[int, ...], sharing: str) -> None:
    support = Points(random_maps(*clouds, 131, 3, seed=3, scale=1.0) + 5)
    logits, target = inputs(support, BATCH)
    options: dict[str, Any] = {"basis": BASES[basis], "temperature": 0.7}
    got = native(logits, support, target, sharing, **options)
    assert_same(got, expected(logits, support, target, sharing, **options))


@pytest.mark.parametrize(
    ("shape", "count"),
    # More cells than are summed in floats. As there is room, four samples at a time, two, or of the last shape one.
    [*itertools.product([(3100,), (70, 90), (20, 21, 22)], [1, 40]), ((25, 26, 27), 2)],
)
@pytest.mark.parametrize("formula", ["paper", "released"])
def test_maps_of_many_cells(shape: tuple[int, ...], count: int, formula: str) -> None:
    support, batch = Grid(shape), (2, count)
    logits, target = inputs(support, batch)
    options: dict[str, Any] = {"basis": Uniform(), "formula": formula}
    got = native(logits, support, target, "batch", **options)
    assert_same(got, expected(logits, support, target, "batch", **options))


@pytest.mark.parametrize("formula", ["paper", "released"])
def test_more_maps_than_a_thread_takes_at_a_time(formula: str) -> None:
    # 131 maps are 68 and 63.
    support, batch = GRIDS["2D"], (2, 131)
    logits, target = inputs(support, batch)
    options: dict[str, Any] = {"basis": Triangular(), "formula": formula}
    got = native(logits, support, target, "image", **options)
    assert_same(got, expected(logits, support, target, "image", **options))


@pytest.mark.parametrize("formula", ["paper", "released"])
@pytest.mark.parametrize("sharing", SHARINGS)
def test_samples_and_their_gradient(formula: str, sharing: str) -> None:
    support = GRIDS["2D"]
    logits, slope = random_maps(*BATCH, support.num_cells), random_maps(SAMPLES, *BATCH, 2, seed=5)
    options: dict[str, Any] = {"basis": Triangular(), "formula": formula}
    assert_samples_and_their_gradient(logits, support, slope, sharing, **options)


@pytest.mark.parametrize("formula", ["paper", "released"])
@pytest.mark.parametrize("basis", [None, Uniform()])
def test_large_slopes_at_the_lowest_temperature_stay_finite(basis: Basis | None, formula: str) -> None:
    # One draw of this seed is as close to 1 as they come: the cell's E^(−1/τ) is 8e28, and its weight in the map e^−68, so that
    # the sample lies between it and the peak.
    support, batch, seed, sampled, cell = Grid((1031,)), (3,), 223, 3, 272
    uniform = recorded(support, batch, "batch", seed=seed).gumbel_uniform
    assert float(uniform[sampled, 0, cell]) == float(uniform.max()) == 1 - 2.0**-24
    logits, slope = torch.zeros(*batch, 1031), 1e12 * random_maps(SAMPLES, *batch, 1, seed=5)
    logits[:, 600] = 17.0 if formula == "paper" else 68.0
    logits[1, cell] = -torch.inf
    logits[2] = random_maps(1031)
    options: dict[str, Any] = {"basis": basis, "formula": formula, "temperature": 0.25, "seed": seed}
    gradient = assert_samples_and_their_gradient(logits, support, slope, "batch", **options)
    assert bool(gradient.isfinite().all())
    assert float(gradient[1, cell]) == 0
    # However large the sum that a forbidden cell has no part in.
    drawn = law(batch, "batch", **options)
    beyond = sample(logits, support, drawn, sample_gradient=1e13 * slope, wants_gradient=True).logits_gradient
    assert beyond is not None
    assert float(beyond[1, cell]) == 0


@pytest.mark.parametrize("formula", ["paper", "released"])
def test_small_slopes_at_the_lowest_temperature_are_kept(formula: str) -> None:
    # Those of a mean over some images, in maps of whose samples some have weights that add to 1e20.
    support, batch = Grid((32, 64, 64)), (2,)
    logits, slope = random_maps(*batch, support.num_cells, scale=1.0), 1e-6 * random_maps(SAMPLES, *batch, 3, seed=5)
    options: dict[str, Any] = {"basis": None, "formula": formula, "temperature": 0.25}
    assert_samples_and_their_gradient(logits, support, slope, "batch", **options)


@pytest.mark.parametrize("formula", ["paper", "released"])
@pytest.mark.parametrize("basis", ["none", "triangular", "gaussian"])
@pytest.mark.parametrize("batch", [(1, 41), (3, 11), (150,)])
def test_the_number_of_threads_changes_no_bit(formula: str, basis: str, batch: tuple[int, ...]) -> None:
    support = Grid((48, 61))
    logits, target = inputs(support, batch)
    # A thread starts for 65536 draws.
    assert logits.numel() * SAMPLES > 7 * 65536
    options: dict[str, Any] = {"basis": BASES[basis], "formula": formula}
    one = native(logits, support, target, "image", num_threads=1, **options)
    for threads in (2, 3, 7):
        assert_equal(native(logits, support, target, "image", num_threads=threads, **options), one)


@pytest.mark.parametrize("basis", BASES)
def test_a_map_has_the_noise_of_an_independent_one_with_its_groups_number(basis: str) -> None:
    support = GRIDS["2D"]
    logits, target = inputs(support, (3, 4))
    together = results(native(logits, support, target, "image", basis=BASES[basis]))
    for number in range(4):
        alone = native(logits[:, number, None], support, target[:, number, None], "image", basis=BASES[basis])
        for found, every in zip(results(alone), together, strict=True):
            one, among = found[:, 0], every[:, number]
            torch.testing.assert_close(among, one, rtol=1e-6, atol=1e-6 * float(one.abs().max()))


@pytest.mark.parametrize("formula", ["paper", "released"])
def test_forbidden_cells_and_maps_without_a_distribution(formula: str) -> None:
    support = GRIDS["2D"]
    logits, target = inputs(support, BATCH)
    logits[0, :, 5:] = -torch.inf
    logits[1, :, ::2] = -torch.inf
    options: dict[str, Any] = {"basis": Triangular(), "formula": formula}
    good = native(logits, support, target, "batch", **options)
    assert bool((results(good)[1][logits == -torch.inf] == 0).all())
    assert_same(good, expected(logits, support, target, "batch", **options))
    logits[0, 0], logits[0, 5, 100], logits[1, 6, 480] = -torch.inf, torch.nan, torch.inf
    got = native(logits, support, target, "batch", **options)
    assert (got.num_forbidden, got.num_undefined) == (1, 2)
    broken = torch.zeros(BATCH, dtype=torch.bool)
    broken[0, 0] = broken[0, 5] = broken[1, 6] = True
    for found, before in zip(results(got), results(good), strict=True):
        assert bool(found[broken].isnan().all())
        # The maps beside them keep their bits.
        assert torch.equal(found[~broken], before[~broken])


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4, 1e30])
def test_degenerate_maps_stay_finite(scale: float) -> None:
    support, batch = Grid((1, 67)), (4,)
    logits, target = inputs(support, batch, scale)
    for formula, temperature in itertools.product(("paper", "released"), (1e-30, 0.01, 0.249, 0.25, 1e6)):
        options: dict[str, Any] = {"basis": Triangular(), "formula": formula, "temperature": temperature}
        for tensor in results(native(logits, support, target, "batch", **options)):
            assert bool(tensor.isfinite().all())


def test_without_maps_there_is_nothing() -> None:
    for batch in ((0, 3), (3, 0), (0,)):
        for noise_of in SHARINGS:
            with kernels.use("native"):
                logits = torch.zeros(*batch, 5, requires_grad=True)
                error = expected_error(logits, Grid((5,)), torch.zeros(*batch, 1), num_samples=2, noise=noise_of)  # type: ignore[arg-type]
            assert error.shape == batch
            error.sum().backward()
            assert logits.grad is not None


@pytest.mark.parametrize(
    "support", [*GRIDS.values(), *THIN.values(), Points(torch.rand(19, 3, generator=torch.Generator()))]
)
@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("formula", ["paper", "released"])
def test_derivatives_are_those_of_the_torch_form(support: Support, sharing: str, formula: str) -> None:
    """First and second ones of the public functions, with the same draws."""
    if isinstance(support, Points) and formula == "released":
        return
    assert_derivatives_are_those_of_the_torch_form(support, (2, 3), sharing, formula)


def test_what_needs_another_form() -> None:
    def reason(support: Support = GRIDS["1D"], dtype: torch.dtype = torch.float32, **options: Any) -> str:
        given = {"basis": None, "formula": "paper", "temperature": 1.0, "sign_gradient": False, **options}
        draw = make_draw(
            "test", support, num_samples=2, sharing="image", generator=None, device=torch.device("cpu"), **given
        )
        return fused.obstacles(torch.zeros(2, support.num_cells, dtype=dtype), support, draw, noise="image", **given)[
            "native"
        ]

    assert reason() == ""
    assert reason(formula="released", basis=Triangular()) == ""
    assert reason(dtype=torch.float64) == "the logits are float64"
    assert reason(temperature=1e-30) == ""
    assert reason(temperature=9e-31) == "below a temperature of 1e-30 the gradient leaves float32"
    assert reason(sign_gradient=True) == "sign_gradient is asked for"
    assert reason(Grid((5,), cyclic=(0,))) == "an axis of the grid is cyclic"
    assert reason(Points(torch.zeros(5, 2, requires_grad=True))) == "the points need a gradient"
    for clouds, sharing in (((2, 3), "image"), ((2, 1), "batch")):
        with pytest.raises(ValueError, match="Points must have the same coordinates for maps that share"):
            sampling_argmax(torch.zeros(2, 3, 5), Points(torch.rand(*clouds, 5, 2)), basis=None, noise=sharing)  # type: ignore[arg-type]


def test_the_kernel_refuses_what_it_cannot_do() -> None:
    logits, grid = torch.zeros(6, 5), Grid((5,))
    for refused in ({"maps_per_group": 4}, {"maps_per_group": -1}, {"order": 5}):
        given: dict[str, Any] = {"seed": 1, "num_samples": 2, "maps_per_group": 3, **refused}
        with pytest.raises(RuntimeError, match="it does not know this call"):
            sample(logits, grid, Law(**given), wants_samples=True)
    for temperature in (1.0, 0.1):
        given = {"seed": 1, "num_samples": 2, "maps_per_group": 3, "temperature": temperature}
        with pytest.raises(RuntimeError, match="it does not know this call"):
            sample(logits, Points(torch.rand(6, 5, 2)), Law(**given), wants_samples=True)


@pytest.mark.parametrize("sharing", ["image", pytest.param("batch", marks=pytest.mark.slow)])
def test_memory_is_at_most_two_and_a_half_times_the_maps(sharing: str) -> None:
    """At COCO's size, with ten times its samples."""
    assert peak_of("sampling coco-300 2", f"native, noise per {sharing}") < 2.5
