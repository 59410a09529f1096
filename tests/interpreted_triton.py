"""The Triton kernels under Triton's interpreter, against the torch form in float64 with the same noise.

Not collected by its name: test_triton.py runs it in a process of its own, for the interpreter must be chosen before Triton is
imported, and stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

if os.environ.get("TRITON_INTERPRET") != "1":
    # Collecting doctests imports every file, this one into a process whose other tests compile the kernels.
    pytest.skip("test_triton.py runs these tests", allow_module_level=True)

import torch
from torch.utils.checkpoint import checkpoint

import oracles_native
from heatpoint import kernels, scores
from heatpoint.basis import Basis, Gaussian, Triangular, Uniform
from heatpoint.kernels import _library, _triton
from heatpoint.kernels import fused as forms
from heatpoint.kernels._triton_call import LONGEST_AXES, Call
from heatpoint.kernels._triton_launch import Made, run
from heatpoint.sampling import sampling_argmax
from heatpoint.support import Grid, Points, Support

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
        among=[
            (formula, basis, grid, is_split)
            for formula in ("paper", "released")
            for basis in BASES
            for grid in GRIDS
            for is_split in (False, True)
        ],
    ),
)
def test_bases(formula: str, basis: str, grid: str, is_split: bool) -> None:
    support, shape = GRIDS[grid], BASES[basis]
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
        among=[(0.7, 0.1, 1), (0.7, 0.6, 2), (0.7, 4.0, 5), (0.1, 0.6, 1), (0.1, 1.2, 2), (0.1, 4.0, 5)],
    ),
)
def test_samples_in_chunks(temperature: float, room: float, chunk: int) -> None:
    support, options = GRIDS["2D"], {"basis": Triangular(), "formula": "released", "temperature": temperature}
    logits, target = maps(support), targets(support)
    call = make_call(support, is_split=True, num_samples=5, room=room, **options)
    assert call.chunk == chunk
    chunks, whole = (
        run(each, logits, target=target, wants_gradient=True, wants_samples=True)
        for each in (call, make_call(support, num_samples=5, **options))
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


def of_points(logits: torch.Tensor, support: Support, slope: torch.Tensor, call: Call) -> Tensors:
    """Samples and the gradient of their sum with these slopes, by autograd."""
    logits = logits.clone().requires_grad_()
    points = _triton.SampledPoints.apply(logits, call, "sampling_argmax")
    return points.detach(), *torch.autograd.grad(points, logits, slope)


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


@pytest.mark.parametrize(
    ("temperature", "formula", "is_split"),
    quick(
        among=[(t, f, s) for t in (0.7, 0.1) for f in ("paper", "released") for s in (False, True)],
    ),
)
def test_forbidden_cells_get_no_gradient(temperature: float, formula: str, is_split: bool) -> None:
    support = GRIDS["2D"]
    logits, target = maps(support), targets(support)
    logits[0, 0, 5:] = -torch.inf
    logits[0, 1, ::2] = -torch.inf
    options = {"basis": Triangular(), "temperature": temperature, "formula": formula}
    got = fused(logits, support, target, is_split=is_split, **options)
    assert bool((got[1][logits == -torch.inf] == 0).all())
    assert_same(got, expected(logits, support, target, **options))


@pytest.mark.parametrize("is_split", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("temperature", [1.0, pytest.param(0.1, marks=pytest.mark.slow)])
def test_maps_without_a_distribution_are_nan_alone(is_split: bool, temperature: float) -> None:
    support, batch = Grid((7, 11)), (4,)
    logits, target = maps(support, batch), targets(support, batch)
    call = make_call(support, is_split, temperature=temperature, num_samples=1)

    def all_of() -> Tensors:
        made = run(call, logits, target=target, wants_gradient=True, wants_samples=True)
        return made.loss, made.logits_gradient, made.target_gradient, made.samples.movedim(0, 1)

    good = all_of()
    logits[0] = -torch.inf
    logits[1, 5] = torch.nan
    logits[2, 76] = torch.inf
    for found, before in zip(all_of(), good, strict=True):
        assert bool(found[:3].isnan().all())
        # The map beside them keeps its noise and its bits.
        assert torch.equal(found[3:], before[3:])


@pytest.mark.parametrize(
    ("temperature", "formula", "scale", "is_split"),
    quick(
        (1e-30, "paper", 1e30, False),
        among=[
            (t, formula, scale, is_split)
            for t in (1e-30, 0.25)
            for formula in ("paper", "released")
            for scale in (0.0, 1e30)
            for is_split in (False, True)
        ],
    ),
)
def test_degenerate_maps_stay_finite(temperature: float, formula: str, scale: float, is_split: bool) -> None:
    support, batch = Grid((1, 67)), (1,)
    logits, target = maps(support, batch, scale), targets(support, batch)
    options = {"basis": Triangular(), "temperature": temperature, "formula": formula, "is_split": is_split}
    for tensor in fused(logits, support, target, **options):
        assert bool(tensor.isfinite().all())


CYCLIC, LONG = Grid((67,), cyclic=(0,)), Grid((1, 2, LONGEST_AXES[3] + 1))
RELEASED = {"basis": Triangular(), "formula": "released"}
OBSTACLES = {
    "the logits are float64": {"logits": torch.zeros(5, dtype=torch.float64)},
    "sign_gradient is asked for": {"sign_gradient": True},
    "an axis of the grid is cyclic": {"support": CYCLIC},
    "offsets of an axis of more than 1024 cells do not fit into registers": {"support": LONG, **RELEASED},
    "": {"support": Grid((LONGEST_AXES[2], 1)), **RELEASED},
}


@pytest.mark.parametrize("reason", OBSTACLES)
def test_obstacles(reason: str) -> None:
    call = {"logits": torch.zeros(5), "support": GRIDS["1D"], "basis": None, "formula": "paper"}
    call |= {"temperature": 1.0, "sign_gradient": False, "noise": None, **OBSTACLES[reason]}
    maps, support = call.pop("logits"), call.pop("support")
    assert forms.obstacles(maps, support, None, **call)["triton"] == reason
    with kernels.use("auto"):
        assert forms.obstacles(maps, support, None, **call)["triton"] == "the logits are on cpu"


@pytest.mark.slow
@pytest.mark.parametrize("is_split", [False, True])
def test_the_same_bits_every_time(is_split: bool) -> None:
    support = GRIDS["1D"]
    logits, target = maps(support, (1,)), targets(support, (1,))
    one, other = (
        fused(logits, support, target, basis=Triangular(), formula="released", is_split=is_split) for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def error(
    logits: torch.Tensor, target: torch.Tensor | None = None, seed: int | None = 1, **given: object
) -> torch.Tensor:
    """The public function on a small line, by the form that is set."""
    support = Grid((67,))
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    place = torch.full((*logits.shape[:-1], 1), 20.0) if target is None else target
    return scores.expected_error(logits, support, place, basis=None, num_samples=2, generator=generator, **given)


def test_autograd_scales_the_gradient() -> None:
    support = GRIDS["2D"]
    logits, target = maps(support).requires_grad_(), targets(support).requires_grad_()
    slope, options = torch.tensor([[2.0, -3.0]]), (None, make_call(support), "l1", "expected_error", True)
    loss_of = _triton.SampledError.apply
    found = torch.autograd.grad(loss_of(logits, target, *options), (logits, target), slope)
    made = fused(logits, support, target)[1:]
    for got, own in zip(found, made, strict=True):
        assert torch.equal(got, own * slope[..., None])
    (only,) = torch.autograd.grad(loss_of(logits, target.detach(), *options).sum(), logits)
    assert torch.equal(only, made[0])
    assert not loss_of(logits.detach(), target.detach(), *options).requires_grad


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    support = GRIDS["1D"]
    logits, call = maps(support).to(dtype).requires_grad_(), make_call(support)
    points = _triton.SampledPoints.apply(logits, call, "sampling_argmax")
    (found,) = torch.autograd.grad(points.sum(), logits)
    wide = of_points(logits.detach().float(), support, torch.ones_like(points), call)
    assert (points.dtype, found.dtype) == (torch.float32, dtype)
    assert torch.equal(points, wide[0])
    assert torch.equal(found, wide[1].to(dtype))
    loss = error(logits)
    (found,) = torch.autograd.grad(loss.sum(), logits)
    assert (loss.dtype, found.dtype) == (torch.float32, dtype)
    assert torch.equal(loss, error(logits.detach().float()))


def test_the_seed_comes_from_the_generator_and_stays_on_its_device() -> None:
    logits = maps(GRIDS["1D"], (1,))
    assert torch.equal(error(logits), error(logits))
    assert not torch.equal(error(logits), error(logits, seed=2))
    # A meta tensor has no value that the CPU could read.
    seed = _triton._seed(None, torch.device("meta"))
    assert (seed.device.type, seed.dtype, seed.shape) == ("meta", torch.int64, ())


@pytest.mark.slow  # it imports the compiler
def test_checkpointing_draws_the_same_noise_again() -> None:
    logits = maps(GRIDS["1D"], (1,)).requires_grad_()
    gradients = []
    for is_kept in (True, False):
        torch.manual_seed(3)
        value = (
            error(logits, seed=None)
            if is_kept
            else checkpoint(lambda maps: error(maps, seed=None), logits, use_reentrant=False)
        )
        gradients.append(torch.autograd.grad(value.sum(), logits)[0])
    assert torch.equal(*gradients)


def test_what_has_no_distribution_is_an_error() -> None:
    logits, target = maps(GRIDS["1D"]), torch.tensor([[[20.0], [torch.nan]]])
    assert error(logits, target).isnan().tolist() == [[False, True]]
    with pytest.raises(ValueError, match="expected_error: logits must leave at least one cell of every map possible"):
        error(logits - torch.inf)
    with pytest.raises(ValueError, match="expected_error: logits must be finite or −inf, got NaN"):
        error(logits * torch.nan)
    with pytest.raises(ValueError, match="energy_score: logits must leave at least one cell of every map possible"):
        _triton.sampled_points(logits - torch.inf, GRIDS["1D"], num_samples=2, function="energy_score")
    with pytest.raises(ValueError, match="loss: logits must leave at least one cell of every map possible"):
        _triton.expected_error(logits - torch.inf, GRIDS["1D"], target, num_samples=2, function="loss")


def test_no_maps_give_no_losses() -> None:
    assert error(torch.zeros(0, 3, 67)).shape == (0, 3)
    assert run(make_call(GRIDS["1D"]), torch.zeros(0, 67), wants_samples=True).samples.shape == (SAMPLES, 0, 1)
    assert run(make_call(GRIDS["1D"]), torch.zeros(0, 67)) == Made()
