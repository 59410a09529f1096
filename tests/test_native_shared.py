"""The native kernel of maps that share their noise against the torch form in float64 with the same noise."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from heatpoint import Grid, Points, kernels
from heatpoint.basis import Basis, Gaussian, Triangular, Uniform
from heatpoint.kernels import fused
from heatpoint.kernels._call import Law, Sampled, sample
from heatpoint.kernels._library import library
from heatpoint.kernels._shared_draws import make_draw
from heatpoint.sampling import Noise, sampling_argmax
from heatpoint.scores import expected_error
from heatpoint.support import Support
from native_maps import PRESENT, random_maps
from oracles_native import noise
from peaks import peak_of

pytestmark = pytest.mark.skipif(library().handle is None, reason=library().reason)

SEED, SAMPLES = 0x1234_5678_9ABC_DEF0, 5
BASES = {"none": None, "uniform": Uniform(), "triangular": Triangular(), "gaussian": Gaussian(sigma=0.7)}
GRIDS = {
    "1D": Grid((131,), stride=0.5, offset=3),
    "2D": Grid((13, 37), stride=(4, 2), offset=(1.5, -20)),
    "3D": Grid((5, 7, 11), stride=(1, 2, 3)),
}
# Groups of 7 maps: once as many as are summed together, and three maps more.
BATCH = (2, 7)
# Of the gradient's maximum, as for the kernel of independent maps (test_native.py).
TOLERANCE = 4e-6
SHARINGS = ("image", "batch")


def targets(support: Support, batch: tuple[int, ...] = BATCH) -> Tensor:
    share = torch.rand(*batch, support.ndim, generator=torch.Generator().manual_seed(8))
    if isinstance(support, Points):
        return share + support.xyz.mean(dim=-2)
    return share * torch.tensor(support.size) + torch.tensor(support.offsets)


def group_of(batch: tuple[int, ...], sharing: str) -> int:
    """How many maps share their noise."""
    return batch[-1] if sharing == "image" else torch.Size(batch).numel()


def shared_noise(support: Support, batch: tuple[int, ...], sharing: str, seed: int = SEED, **drawn: Any) -> Noise:
    """What groups of maps draw, in float64, for each of their maps."""
    number, count = torch.Size(batch).numel(), group_of(batch, sharing)
    found = noise(support, (number // count,), seed=seed, num_samples=SAMPLES, **drawn)

    def spread(tensor: Tensor) -> Tensor:
        return tensor.repeat_interleave(count, dim=1).reshape(SAMPLES, *batch, *tensor.shape[2:])

    offsets = None if found.offsets is None else [spread(axis) for axis in found.offsets]
    return Noise(spread(found.gumbel_uniform), offsets)


def expected(
    logits: Tensor, support: Support, target: Tensor, sharing: str, basis: Basis | None, formula: str, **options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, and gradients with respect to logits and target, of the torch form in float64."""
    batch = tuple(logits.shape[:-1])
    drawn = shared_noise(support, batch, sharing, basis=basis, per_cell=formula == "paper")
    exact, place = logits.double().requires_grad_(), target.double().requires_grad_()
    on = Points(support.xyz.double()) if isinstance(support, Points) else support
    maps = exact.reshape(*batch, *support.shape)
    loss = expected_error(maps, on, place, basis=basis, formula=formula, noise=drawn, **options)  # type: ignore[arg-type]
    loss.sum().backward()
    assert exact.grad is not None
    assert place.grad is not None
    return loss.detach(), exact.grad, place.grad


def law(batch: tuple[int, ...], sharing: str, **options: Any) -> Law:
    return Law(**{"seed": SEED, "num_samples": SAMPLES, "maps_per_group": group_of(batch, sharing), **options})


def native(logits: Tensor, support: Support, target: Tensor, sharing: str, **options: Any) -> Sampled:
    drawn = {key: options.pop(key) for key in ("basis", "temperature", "formula") if key in options}
    together = law(tuple(logits.shape[:-1]), sharing, **drawn)
    return sample(logits, support, together, target=target, wants_gradient=True, **options)


def assert_same(got: Sampled, wanted: tuple[Tensor, Tensor, Tensor]) -> None:
    for found, exact in zip((got.loss, got.logits_gradient, got.target_gradient), wanted, strict=True):
        assert found is not None
        assert float((found - exact).abs().max() / exact.abs().max()) < TOLERANCE


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("formula", ["paper", "released"])
@pytest.mark.parametrize("sharing", SHARINGS)
def test_bases(grid: str, basis: str, formula: str, sharing: str) -> None:
    support = GRIDS[grid]
    logits, target = random_maps(*BATCH, support.num_cells), targets(support)
    options = {"basis": BASES[basis], "formula": formula}
    wanted = expected(logits, support, target, sharing, **options, temperature=2.0)
    for instruction_set in PRESENT:
        given = {**options, "temperature": 2.0, "instruction_set": instruction_set}
        assert_same(native(logits, support, target, sharing, **given), wanted)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.7, 0.25, 30.0, 0.2, 0.05])
@pytest.mark.parametrize("formula", ["paper", "released"])
def test_temperatures(temperature: float, formula: str) -> None:
    support = GRIDS["2D"]
    logits, target = random_maps(*BATCH, support.num_cells), targets(support)
    options = {"basis": Triangular(), "formula": formula, "temperature": temperature}
    wanted = expected(logits, support, target, "image", **options)
    for instruction_set in PRESENT:
        got = native(logits, support, target, "image", **options, instruction_set=instruction_set)
        assert_same(got, wanted)


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("distance", ["l2", "smooth_l1", "squared", "weighed"])
def test_distances_and_weights_of_axes(sharing: str, distance: str) -> None:
    support = GRIDS["2D"]
    logits, target = random_maps(*BATCH, support.num_cells), targets(support)
    weight = torch.tensor([[0.5, 0.0], [1.0, 3.0]])[torch.arange(14) % 2].view(*BATCH, 2)
    options = {"axis_weight": weight} if distance == "weighed" else {"distance": distance}
    exact = {"axis_weight": weight.double()} if distance == "weighed" else options
    got = native(logits, support, target, sharing, basis=Triangular(), **options)
    assert_same(got, expected(logits, support, target, sharing, Triangular(), "paper", **exact))


@pytest.mark.parametrize("basis", ["none", "gaussian"])
@pytest.mark.parametrize(("clouds", "sharing"), [((), "image"), ((), "batch"), ((2, 1), "image")])
def test_points(basis: str, clouds: tuple[int, ...], sharing: str) -> None:
    support = Points(random_maps(*clouds, 131, 3, seed=3, scale=1.0) + 5)
    logits, target = random_maps(*BATCH, 131), targets(support)
    options = {"basis": BASES[basis], "formula": "paper", "temperature": 0.7}
    got = native(logits, support, target, sharing, **options)
    assert_same(got, expected(logits, support, target, sharing, **options))


@pytest.mark.parametrize("shape", [(3100,), (70, 90), (20, 21, 22)])
@pytest.mark.parametrize("count", [1, 40])
def test_maps_of_many_cells(shape: tuple[int, ...], count: int) -> None:
    # More cells than are summed in floats, and one sample at a time or several, as there is room.
    support = Grid(shape)
    logits, target = random_maps(2, count, support.num_cells), targets(support, (2, count))
    options = {"basis": Uniform(), "formula": "paper", "temperature": 1.0}
    got = native(logits, support, target, "batch", **options)
    assert_same(got, expected(logits, support, target, "batch", **options))


@pytest.mark.parametrize("formula", ["paper", "released"])
@pytest.mark.parametrize("sharing", SHARINGS)
def test_samples_and_their_gradient(formula: str, sharing: str) -> None:
    support, basis = GRIDS["2D"], Triangular()
    logits = random_maps(*BATCH, support.num_cells)
    slope = random_maps(SAMPLES, *BATCH, 2, seed=5)
    drawn = shared_noise(support, BATCH, sharing, basis=basis, per_cell=formula == "paper")
    exact = logits.double().requires_grad_()
    maps = exact.reshape(*BATCH, *support.shape)
    points = sampling_argmax(maps, support, basis=basis, noise=drawn, formula=formula)  # type: ignore[arg-type]
    (points * slope).sum().backward()
    together = law(BATCH, sharing, basis=basis, formula=formula)
    got = sample(logits, support, together, sample_gradient=slope, wants_gradient=True, wants_samples=True)
    assert got.loss is None
    assert got.samples is not None
    assert got.logits_gradient is not None
    assert exact.grad is not None
    assert float((got.samples - points.detach()).abs().max()) < 2e-5
    assert float((got.logits_gradient - exact.grad).abs().max() / exact.grad.abs().max()) < TOLERANCE


@pytest.mark.parametrize("formula", ["paper", "released"])
@pytest.mark.parametrize("basis", ["none", "triangular", "gaussian"])
@pytest.mark.parametrize("batch", [(1, 41), (3, 11), (150,)])
def test_the_number_of_threads_changes_no_bit(formula: str, basis: str, batch: tuple[int, ...]) -> None:
    support = Grid((24, 19))
    logits, target = random_maps(*batch, support.num_cells), targets(support, batch)
    options = {"basis": BASES[basis], "formula": formula}
    one = native(logits, support, target, "image", num_threads=1, **options)
    for threads in (2, 3, 7):
        more = native(logits, support, target, "image", num_threads=threads, **options)
        for name in ("loss", "logits_gradient", "target_gradient"):
            assert torch.equal(getattr(one, name), getattr(more, name))


@pytest.mark.parametrize("basis", BASES)
def test_a_map_has_the_noise_of_an_independent_one_with_its_groups_number(basis: str) -> None:
    support = GRIDS["2D"]
    logits, target = random_maps(3, 4, support.num_cells), targets(support, (3, 4))
    together = native(logits, support, target, "image", basis=BASES[basis])
    for number in range(4):
        alone = native(logits[:, number, None], support, target[:, number, None], "image", basis=BASES[basis])
        for name in ("loss", "logits_gradient", "target_gradient"):
            one, among = getattr(alone, name)[:, 0], getattr(together, name)[:, number]
            torch.testing.assert_close(among, one, rtol=1e-6, atol=1e-6 * float(one.abs().max()))


@pytest.mark.parametrize("formula", ["paper", "released"])
def test_forbidden_cells_and_maps_without_a_distribution(formula: str) -> None:
    support = GRIDS["2D"]
    logits, target = random_maps(*BATCH, support.num_cells), targets(support)
    logits[0, :, 5:] = -torch.inf
    logits[1, :, ::2] = -torch.inf
    options = {"basis": Triangular(), "formula": formula}
    good = native(logits, support, target, "batch", **options)
    assert good.logits_gradient is not None
    assert bool((good.logits_gradient[logits == -torch.inf] == 0).all())
    assert_same(good, expected(logits, support, target, "batch", **options))
    logits[0, 0], logits[0, 5, 100], logits[1, 6, 480] = -torch.inf, torch.nan, torch.inf
    got = native(logits, support, target, "batch", **options)
    assert (got.num_forbidden, got.num_undefined) == (1, 2)
    broken = torch.zeros(BATCH, dtype=torch.bool)
    broken[0, 0] = broken[0, 5] = broken[1, 6] = True
    for name in ("loss", "logits_gradient", "target_gradient"):
        assert bool(getattr(got, name)[broken].isnan().all())
        # The maps beside them keep their bits.
        assert torch.equal(getattr(got, name)[~broken], getattr(good, name)[~broken])


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4, 1e30])
def test_degenerate_maps_stay_finite(scale: float) -> None:
    support = Grid((1, 67))
    logits, target = random_maps(4, 67, scale=scale), targets(support, (4,))
    for formula, temperature in itertools.product(("paper", "released"), (1e-30, 0.01, 0.249, 0.25, 1e6)):
        options = {"basis": Triangular(), "formula": formula, "temperature": temperature}
        got = native(logits, support, target, "batch", **options)
        for name in ("loss", "logits_gradient", "target_gradient"):
            assert bool(getattr(got, name).isfinite().all())


def test_without_maps_there_is_nothing() -> None:
    for batch in ((0, 3), (3, 0), (0,)):
        for noise_of in SHARINGS:
            with kernels.use("native"):
                logits = torch.zeros(*batch, 5, requires_grad=True)
                error = expected_error(logits, Grid((5,)), torch.zeros(*batch, 1), num_samples=2, noise=noise_of)  # type: ignore[arg-type]
            assert error.shape == batch
            error.sum().backward()
            assert logits.grad is not None


@pytest.mark.parametrize("support", [*GRIDS.values(), Points(torch.rand(19, 3, generator=torch.Generator()))])
@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("formula", ["paper", "released"])
def test_derivatives_are_those_of_the_torch_form(support: Support, sharing: str, formula: str) -> None:
    """First and second ones of the public functions, with the same draws."""
    if isinstance(support, Points) and formula == "released":
        return
    batch, basis = (2, 3), Gaussian(0.1) if isinstance(support, Points) else Triangular()
    seed = int(torch.empty((), dtype=torch.int64).random_(generator=torch.Generator().manual_seed(0)))
    recorded = shared_noise(support, batch, sharing, seed % 2**64, basis=basis, per_cell=formula == "paper")
    slope, along = random_maps(SAMPLES, *batch, support.ndim, seed=1), random_maps(*batch, *support.shape, seed=2)

    def derivatives(dtype: torch.dtype, form: str, draws: Noise | str) -> list[Tensor]:
        logits = random_maps(*batch, *support.shape).to(dtype).requires_grad_()
        target = targets(support, batch).to(dtype).requires_grad_()
        on = Points(support.xyz.to(dtype)) if isinstance(support, Points) else support
        found = []
        for name in ("samples", "error"):
            given: Any = {"basis": basis, "formula": formula, "temperature": 0.8, "num_samples": SAMPLES}
            given |= {"noise": draws, "generator": torch.Generator().manual_seed(0) if draws is sharing else None}
            with kernels.use(form):
                if name == "samples":
                    value = (sampling_argmax(logits, on, **given) * slope.to(dtype)).square().sum()
                else:
                    value = expected_error(logits, on, target, distance="squared", **given).square().sum()
            found.append(torch.autograd.grad(value, logits, retain_graph=True)[0])
            (gradient,) = torch.autograd.grad(value, logits, create_graph=True)
            inputs = (logits,) if name == "samples" else (logits, target)
            found += [gradient, *torch.autograd.grad((gradient * along.to(dtype)).sum(), inputs)]
        return [tensor.detach() for tensor in found]

    ours, exact = derivatives(torch.float32, "native", sharing), derivatives(torch.float64, "torch", recorded)
    for found, right in zip(ours, exact, strict=True):
        # Derivatives of the torch form in float32, through squares of squares: a few tens of roundings.
        assert float((found - right).abs().max() / right.abs().max()) < 2e-5


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


@pytest.mark.parametrize("sharing", ["image", pytest.param("batch", marks=pytest.mark.slow)])
def test_memory_is_at_most_two_and_a_half_times_the_maps(sharing: str) -> None:
    """At COCO's size, with ten times its samples."""
    assert peak_of("sampling coco-300 2", f"native, noise per {sharing}") < 2.5
