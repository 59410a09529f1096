"""What every form of sampling-argmax owes its caller, whichever takes the call."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.autograd import forward_ad

from heatpoint import Grid, Points, kernels, sampling_argmax
from heatpoint.kernels import choose
from heatpoint.scores import expected_error

GRID = Grid((16, 32), stride=(2, 3), offset=1)
NOISES = ("independent", "lattice", "image", "batch")


def maps(*batch: int, cells: tuple[int, ...] = GRID.shape) -> torch.Tensor:
    return torch.randn(*batch, *cells, generator=torch.Generator().manual_seed(1))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def kept(num_samples: int, function: Any, **options: Any) -> int:
    """Numbers saved for the backward pass, those of the maps themselves aside."""
    logits, sizes = maps(4, 3).requires_grad_(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: (sizes.append(x.numel()), x)[1], lambda x: x):
        given = (torch.zeros(4, 3, 2),) if function is expected_error else ()
        function(logits, GRID, *given, num_samples=num_samples, generator=seeded(), **options)
    return sum(sizes)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("function", [sampling_argmax, expected_error])
def test_low_memory_does_not_grow_by_cells(function: Any, noise: str) -> None:
    with kernels.use("torch"):
        few, many = (kept(number, function, noise=noise, memory="low") for number in (10, 100))
    # 90 samples more: 4 · 3 points of two coordinates each, held a few times, and not 512 cells.
    assert many - few < 90 * 12 * 2 * 10


@pytest.mark.parametrize("form", ["torch", "gemm"])
@pytest.mark.parametrize("noise", ["image", "batch"])
def test_low_memory_is_the_same_numbers(form: str, noise: Any) -> None:
    found = []
    for memory in ("normal", "low"):
        logits = maps(4, 3).requires_grad_()
        with kernels.use(form):
            points = sampling_argmax(logits, GRID, num_samples=40, noise=noise, memory=memory, generator=seeded())
        (gradient,) = torch.autograd.grad(points.square().sum(), logits)
        found.append((points, gradient))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("batch", "clouds"), [((1,), (3,)), ((2, 1), (2, 3))])
def test_maps_on_more_clouds_than_there_are_maps(batch: tuple[int, ...], clouds: tuple[int, ...]) -> None:
    support = Points(torch.randn(*clouds, 11, 2, generator=seeded()))
    points = sampling_argmax(maps(*batch, cells=(11,)), support, num_samples=5, basis=None)
    assert points.shape == (5, *torch.broadcast_shapes(batch, clouds), 2)


@pytest.mark.parametrize("noise", NOISES)
def test_weights_of_coordinates_get_their_gradient(noise: Any) -> None:
    weight = torch.tensor([1.0, 0.5], requires_grad=True)
    error = expected_error(
        maps(4, 3), GRID, torch.zeros(4, 3, 2), num_samples=9, noise=noise, axis_weight=weight, generator=seeded()
    )
    (gradient,) = torch.autograd.grad(error.sum(), weight)
    # The error is linear in them.
    assert float(gradient @ weight.detach()) == pytest.approx(float(error.detach().sum()), rel=1e-5)


# torch's own rules for derivatives forward are scripts.
@pytest.mark.filterwarnings(
    "ignore:.*torch.jit.script.*:FutureWarning", "ignore:.*torch.jit.script.*:DeprecationWarning"
)
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("function", [sampling_argmax, expected_error])
def test_derivatives_forward(function: Any, noise: str) -> None:
    given = (torch.zeros(2, 3, 2),) if function is expected_error else ()
    options: dict[str, Any] = {"num_samples": 4, "noise": noise}
    logits, step = maps(2, 3), maps(2, 3).flip(0)
    with forward_ad.dual_level():
        dual = function(forward_ad.make_dual(logits, step), GRID, *given, generator=seeded(), **options)
        tangent = forward_ad.unpack_dual(dual).tangent
    with kernels.use("torch"):
        found = function(logits.requires_grad_(), GRID, *given, generator=seeded(), **options)
        (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert float(tangent.sum()) == pytest.approx(float((gradient * step).sum()), rel=1e-3)


@pytest.mark.parametrize("function", [sampling_argmax, expected_error])
def test_many_gradients_at_a_time(function: Any) -> None:
    given = (torch.zeros(2, 2),) if function is expected_error else ()
    logits = maps(2, cells=(3, 4)).requires_grad_()
    grid = Grid((3, 4))
    found = function(logits, grid, *given, num_samples=4, generator=seeded())
    slopes = torch.eye(found.numel()).view(-1, *found.shape)
    (batched,) = torch.autograd.grad(found, logits, slopes, is_grads_batched=True, retain_graph=True)
    for one, slope in zip(batched, slopes, strict=True):
        (alone,) = torch.autograd.grad(found, logits, slope, retain_graph=True)
        torch.testing.assert_close(one, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("noise", NOISES)
def test_a_leaf_without_a_graph(noise: Any) -> None:
    logits = maps(4, 3).requires_grad_()
    for without in (torch.no_grad, torch.inference_mode):
        with without():
            error = expected_error(logits, GRID, torch.zeros(4, 3, 2), num_samples=3, noise=noise)
        assert not error.requires_grad
        assert error.shape == (4, 3)


@pytest.mark.parametrize("batch", [(0,), (2, 0), (0, 3)])
@pytest.mark.parametrize("form", ["torch", "auto"])
@pytest.mark.parametrize("noise", NOISES)
def test_no_maps(batch: tuple[int, ...], form: str, noise: Any) -> None:
    logits = maps(*batch).requires_grad_()
    with kernels.use(form):
        points = sampling_argmax(logits, GRID, num_samples=3, noise=noise)
        error = expected_error(logits, GRID, torch.zeros(*batch, 2), num_samples=3, noise=noise)
    assert points.shape == (3, *batch, 2)
    assert error.shape == batch
    for found in (points, error):
        (gradient,) = torch.autograd.grad(found.sum(), logits, create_graph=True)
        assert gradient.shape == logits.shape


def test_another_default_device() -> None:
    logits, target = maps(4, 3).requires_grad_(), torch.zeros(4, 3, 2)
    with torch.device("meta"):
        error = expected_error(logits, GRID, target, num_samples=3, generator=seeded())
        (gradient,) = torch.autograd.grad(error.sum(), logits, create_graph=True)
    again = expected_error(logits, GRID, target, num_samples=3, generator=seeded())
    assert torch.equal(error, again)
    assert gradient.device.type == "cpu"


def test_a_second_derivative_leaves_the_generator_alone() -> None:
    generator, logits = seeded(), maps(4, 3).requires_grad_()
    error = expected_error(logits, GRID, torch.zeros(4, 3, 2), num_samples=3, noise="image", generator=generator)
    state = generator.get_state()
    torch.autograd.grad(error.sum(), logits, create_graph=True)
    assert torch.equal(generator.get_state(), state)


def test_a_form_that_a_function_has_not_is_no_error() -> None:
    with kernels.use("gemm"):
        assert choose("soft_argmax", {"native": ""}) == "torch"
        with pytest.raises(ValueError, match="'gemm': it is another"):
            choose("sampling_argmax", {"gemm": "it is another"})


@pytest.mark.parametrize("form", [form for form in ("gemm", "native", "torch") if not kernels.available()[form]])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("cell", [0, 3])
def test_a_map_that_holds_nan_or_inf_is_named_by_every_form(form: str, bad: float, cell: int) -> None:
    logits = torch.zeros(2, 3, 8)
    logits[1, 2, cell] = bad
    with (
        kernels.use(form),
        pytest.raises(ValueError, match="expected_error: logits must be finite or −inf, got NaN or"),
    ):
        expected_error(logits, Grid((8,)), torch.zeros(2, 3, 1), num_samples=4, noise="image")
