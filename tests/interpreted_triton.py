"""The Triton kernels under Triton's interpreter, against the torch form in float64 with the same noise.

Not collected by its name: test_triton.py runs it in a process of its own, for the interpreter must be chosen before Triton is
imported, and stays.
"""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

import pytest
import torch

from heatpoint import scores
from heatpoint.basis import Basis, Gaussian, Triangular, Uniform
from heatpoint.kernels import _triton
from heatpoint.kernels._triton_call import Call, run
from heatpoint.support import Grid, Points, Support
from oracles_native import noise

# numpy warns of −inf − −inf, which a GPU does not.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

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
Made = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def maps(support: Support, batch: tuple[int, ...] = BATCH, scale: float = 2.0) -> torch.Tensor:
    return torch.randn(*batch, support.num_cells, generator=torch.Generator().manual_seed(7)) * scale


def targets(support: Support, batch: tuple[int, ...] = BATCH) -> torch.Tensor:
    generator = torch.Generator().manual_seed(8)
    if isinstance(support, Points):
        return torch.randn(*batch, support.ndim, generator=generator)
    size, origin = torch.tensor(support.size), torch.tensor(support.offsets)
    return torch.rand(*batch, support.ndim, generator=generator) * size + origin


def expected(
    logits: torch.Tensor, support: Support, target: torch.Tensor, basis: Basis | None, formula: str, **options: object
) -> Made:
    """Loss, and gradients with respect to logits and target, of the torch form in float64."""
    batch = tuple(logits.shape[:-1])
    drawn = noise(support, batch, basis=basis, per_cell=formula == "paper", seed=SEED, num_samples=SAMPLES)
    exact, place = logits.double().requires_grad_(), target.double().requires_grad_()
    if isinstance(support, Points):
        support = Points(support.xyz.double())
    loss = scores.expected_error(
        exact.reshape(*batch, *support.shape), support, place, basis=basis, formula=formula, noise=drawn, **options
    )
    loss.sum().backward()
    return loss.detach(), exact.grad, place.grad


def make_call(support: Support, is_split: bool = False, **options: object) -> Call:
    rows = {"longest_row": 64, "part": 64} if is_split else {}
    return Call(support, torch.tensor(SEED), SAMPLES, **rows, **options)


def fused(
    logits: torch.Tensor,
    support: Support,
    target: torch.Tensor,
    axis_weight: torch.Tensor | None = None,
    is_split: bool = False,
    **options: object,
) -> Made:
    given = {"distance": options.pop("distance", "l1")}
    call = make_call(support, is_split, **options)
    given["axis_weight"] = None if axis_weight is None else axis_weight.expand(target.shape)
    made = run(call, logits, target=target, wants_gradient=True, **given)
    return made.loss, made.logits_gradient, made.target_gradient


def assert_same(got: Made, wanted: Made) -> None:
    for found, exact in zip(got, wanted, strict=True):
        assert float((found - exact).abs().max() / exact.abs().max()) < TOLERANCE


@pytest.mark.parametrize(
    ("temperature", "is_split"),
    [(tau, False) for tau in (2.0, 1.0, 0.5, 0.7, 0.25, 30.0, 0.1)] + [(0.7, True), (0.1, True)],
)
@pytest.mark.parametrize("formula", ["paper", "released"])
def test_temperatures(temperature: float, formula: str, is_split: bool) -> None:
    support = GRIDS["2D"]
    logits, target = maps(support), targets(support)
    got = fused(logits, support, target, temperature=temperature, formula=formula, is_split=is_split)
    assert_same(got, expected(logits, support, target, None, formula, temperature=temperature))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("formula", ["paper", "released"])
def test_bases(grid: str, basis: str, formula: str) -> None:
    support, shape = GRIDS[grid], BASES[basis]
    logits, target = maps(support), targets(support)
    options = {"basis": shape, "temperature": 2.0, "formula": formula}
    wanted = expected(logits, support, target, shape, formula, temperature=2.0)
    whole = fused(logits, support, target, **options)
    assert_same(whole, wanted)
    if grid == "1D":
        return  # what is split is tested in 2D and 3D
    split = fused(logits, support, target, is_split=True, **options)
    assert_same(split, wanted)
    # Two orders of summing the same float32 weights: closer to each other than to the float64 ones.
    for one, other in zip(whole, split, strict=True):
        assert float((one - other).abs().max() / one.abs().max()) < 1e-6


@pytest.mark.parametrize("is_split", [False, True])
@pytest.mark.parametrize("distance", ["l1", "l2", "smooth_l1", "squared"])
def test_distances(distance: str, is_split: bool) -> None:
    support = GRIDS["3D"]
    logits, target = maps(support), targets(support)
    got = fused(logits, support, target, basis=Triangular(), distance=distance, is_split=is_split)
    assert_same(got, expected(logits, support, target, Triangular(), "paper", distance=distance))


@pytest.mark.parametrize("is_split", [False, True])
def test_weights_of_axes(is_split: bool) -> None:
    support = GRIDS["2D"]
    logits, target, weight = maps(support), targets(support), torch.tensor([[[0.5, 0.0], [1.0, 3.0]]])
    got = fused(logits, support, target, weight, distance="smooth_l1", is_split=is_split)
    wanted = expected(logits, support, target, None, "paper", axis_weight=weight.double(), distance="smooth_l1")
    assert_same(got, wanted)


@pytest.mark.parametrize("is_split", [False, True])
@pytest.mark.parametrize(("basis", "batch"), [("gaussian", ()), ("none", (1, 2))])
def test_points(basis: str, batch: tuple[int, ...], is_split: bool) -> None:
    support = Points(torch.randn(*batch, 67, 3, generator=torch.Generator().manual_seed(3)) + 5)
    logits, target = maps(support), targets(support) + 5
    assert not _triton.obstacle(
        logits, support, basis=BASES[basis], formula="paper", temperature=0.7, sign_gradient=False
    )
    got = fused(logits, support, target, basis=BASES[basis], temperature=0.7, is_split=is_split)
    assert_same(got, expected(logits, support, target, BASES[basis], "paper", temperature=0.7))


@pytest.mark.parametrize("cells", [1, 63, 64, 65])
def test_sizes(cells: int) -> None:
    support = Grid((cells, 1), stride=(2, 3))
    logits, target = maps(support), targets(support)
    whole, split = (fused(logits, support, target, basis=Uniform(), is_split=is_split) for is_split in (False, True))
    wanted = expected(logits, support, target, Uniform(), "paper")
    for got in (whole, split):
        assert_same((got[0], got[1] + 1, got[2]), (wanted[0], wanted[1] + 1, wanted[2]))


@pytest.mark.parametrize("is_split", [False, True])
@pytest.mark.parametrize("temperature", [0.7, 0.1])
def test_forbidden_cells_get_no_gradient(temperature: float, is_split: bool) -> None:
    support = GRIDS["2D"]
    logits, target = maps(support), targets(support)
    logits[0, 0, 5:] = -torch.inf
    logits[0, 1, ::2] = -torch.inf
    got = fused(logits, support, target, basis=Triangular(), temperature=temperature, is_split=is_split)
    assert bool((got[1][logits == -torch.inf] == 0).all())
    assert_same(got, expected(logits, support, target, Triangular(), "paper", temperature=temperature))


@pytest.mark.parametrize("is_split", [False, True])
def test_maps_without_a_distribution_are_nan_alone(is_split: bool) -> None:
    support, batch = Grid((7, 11)), (4,)
    logits, target = maps(support, batch), targets(support, batch)
    good = fused(logits, support, target, is_split=is_split)
    logits[0] = -torch.inf
    logits[1, 5] = torch.nan
    logits[2, 76] = torch.inf
    for found, before in zip(fused(logits, support, target, is_split=is_split), good, strict=True):
        assert bool(found[:3].isnan().all())
        # The map beside them keeps its noise and its bits.
        assert torch.equal(found[3:], before[3:])


@pytest.mark.parametrize("is_split", [False, True])
@pytest.mark.parametrize("temperature", [1e-30, 0.25])
@pytest.mark.parametrize("scale", [0.0, 1e30])
def test_degenerate_maps_stay_finite(temperature: float, scale: float, is_split: bool) -> None:
    support, batch = Grid((1, 67)), (1,)
    logits, target = maps(support, batch, scale), targets(support, batch)
    for tensor in fused(logits, support, target, basis=Triangular(), temperature=temperature, is_split=is_split):
        assert bool(tensor.isfinite().all())


CYCLIC, CLOUD = Grid((67,), cyclic=(0,)), Points(torch.zeros(67, 3))
OBSTACLES = {
    "the logits are float64": {"logits": torch.zeros(67, dtype=torch.float64)},
    "sign_gradient is asked for": {"sign_gradient": True},
    "the temperature is below 1e-30": {"temperature": 1e-31},
    "an axis of the grid is cyclic": {"support": CYCLIC},
    "the released formula weighs the offsets of this basis": {"formula": "released", "basis": Triangular()},
    "the formula or the basis has no meaning on points": {"support": CLOUD, "basis": Uniform()},
    "the points need a gradient": {"support": Points(torch.zeros(67, 3, requires_grad=True))},
    "": {},
}


@pytest.mark.parametrize("reason", OBSTACLES)
def test_obstacles(reason: str) -> None:
    call = {"logits": torch.zeros(67), "support": GRIDS["1D"], "basis": None, "formula": "paper"}
    call |= {"temperature": 1.0, "sign_gradient": False}
    assert _triton.obstacle(**{**call, **OBSTACLES[reason]}) == reason


@pytest.mark.parametrize("is_split", [False, True])
def test_the_same_bits_every_time(is_split: bool) -> None:
    support = GRIDS["2D"]
    logits, target = maps(support), targets(support)
    one, other = (fused(logits, support, target, basis=Triangular(), is_split=is_split) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_autograd_scales_the_gradient() -> None:
    support = GRIDS["2D"]
    logits, target = maps(support).requires_grad_(), targets(support).requires_grad_()
    slope = torch.tensor([[2.0, -3.0]])
    call = _triton.Call(support, torch.tensor(SEED), SAMPLES)
    found = torch.autograd.grad(_triton.SampledError.apply(logits, target, None, call), (logits, target), slope)
    for got, made in zip(found, fused(logits, support, target)[1:], strict=True):
        assert torch.equal(got, made * slope[..., None])
    only = torch.autograd.grad(_triton.SampledError.apply(logits, target.detach(), None, call).sum(), logits)
    assert torch.equal(only[0], fused(logits, support, target)[1])
    assert not _triton.SampledError.apply(logits.detach(), target.detach(), None, call).requires_grad


def test_half_precision_gets_its_gradient_in_half_precision() -> None:
    support = GRIDS["1D"]
    logits, target = maps(support).bfloat16().requires_grad_(), targets(support)
    call = _triton.Call(support, torch.tensor(SEED), SAMPLES)
    loss = _triton.SampledError.apply(logits, target, None, call)
    (found,) = torch.autograd.grad(loss.sum(), logits)
    assert (loss.dtype, found.dtype) == (torch.float32, torch.bfloat16)
    assert torch.equal(found, fused(logits.float(), support, target)[1].bfloat16())


def test_a_second_derivative_is_refused() -> None:
    support = GRIDS["1D"]
    logits, target = maps(support).requires_grad_(), targets(support)
    call = _triton.Call(support, torch.tensor(SEED), SAMPLES, distance="squared")
    loss = _triton.SampledError.apply(logits, target, None, call)
    with pytest.raises(RuntimeError, match="expected_error: create_graph must be False"):
        torch.autograd.grad(loss.sum(), logits, create_graph=True)


def test_expected_error_draws_its_seed_from_the_generator() -> None:
    support = GRIDS["2D"]
    logits, target = maps(support), targets(support)

    def error(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return _triton.expected_error(logits, support, target, generator=generator, num_samples=2)

    assert torch.equal(error(1), error(1))
    assert not torch.equal(error(1), error(2))
    with pytest.raises(ValueError, match="leave at least one cell"):
        _triton.expected_error(logits - torch.inf, support, target, num_samples=2)
