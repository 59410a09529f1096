"""The interpreted Triton kernels where maps, seeds or calls are out of the ordinary."""

from __future__ import annotations

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from heatpoint import kernels, scores
from heatpoint.basis import Triangular
from heatpoint.kernels import _triton
from heatpoint.kernels import fused as forms
from heatpoint.kernels._triton_call import LONGEST_AXES
from heatpoint.kernels._triton_launch import Made, run
from heatpoint.support import Grid
from interpreted_triton import (
    GRIDS,
    SAMPLES,
    Tensors,
    asked_for,
    assert_same,
    expected,
    fused,
    in_silence,
    make_call,
    maps,
    of_points,
    quick,
    targets,
)

pytestmark = [in_silence, pytest.mark.usefixtures(asked_for.__name__)]


@pytest.mark.parametrize(
    ("temperature", "formula", "is_split"),
    quick(
        (0.7, "paper", True),
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
