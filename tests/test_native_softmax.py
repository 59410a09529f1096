"""Means and cross-entropies under a softmax by the native kernel against float64, with their derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from heatpoint import kernels
from heatpoint.kernels import _library, _native_softmax
from heatpoint.kernels._call import Law, sample
from heatpoint.readout import soft_argmax, top_k
from heatpoint.scores import error_of_expectation, rounded_cross_entropy
from heatpoint.support import Grid, Points, Support
from native_maps import PRESENT, random_maps

pytestmark = pytest.mark.skipif(_library.library().handle is None, reason=_library.library().reason)

SUPPORTS: dict[str, Support] = {
    "cell": Grid((1,)),
    "short line": Grid((5,), stride=2.0),
    "line": Grid((2311,), stride=0.5, offset=-3.0),
    "narrow": Grid((7, 5), stride=(4.0, 2.0), offset=(1.5, -20.0)),
    "plane": Grid((13, 37), stride=4.0),
    "volume": Grid((5, 7, 34), stride=(1.0, 2.0, 3.0)),
    "narrow volume": Grid((6, 5, 3)),
    "cloud": Points(torch.randn(301, 3, generator=torch.Generator().manual_seed(3)) + 5),
    "clouds": Points(torch.randn(4, 1, 301, 2, generator=torch.Generator().manual_seed(4)) + 5),
}
# Of a gradient's maximum: a weight has an error of some 4 roundings, 2.4e-7, and so has each of its few factors.
TOLERANCE = 2e-6


@pytest.fixture(autouse=True)
def automatic() -> Iterator[None]:
    with kernels.use("auto"):
        yield


@pytest.mark.parametrize("name", SUPPORTS)
@pytest.mark.parametrize("temperature", [1.0, 0.3, 20.0])
@pytest.mark.parametrize("instruction_set", PRESENT)
def test_means_and_gradients(name: str, temperature: float, instruction_set: str) -> None:
    support = SUPPORTS[name]
    maps = random_maps(4, 3, support.num_cells, seed=6)
    maps[0, 1, 1:] = maps[0, 1, 1:].masked_fill(maps[0, 1, 1:] < -1, -torch.inf)
    maps[1] *= 5000
    maps[2, 0] += 1e4
    slope = random_maps(4, 3, support.ndim, seed=7)
    exact = maps.double().requires_grad_()
    doubled = Points(support.xyz.double()) if isinstance(support, Points) else support
    expected = soft_argmax(exact.reshape(4, 3, *support.shape), doubled, temperature=temperature)
    (gradient,) = torch.autograd.grad((expected * slope).sum(), exact)
    if isinstance(support, Grid):
        places, extent = _native_softmax._grid_places(support), max(support.size)
    else:
        places, extent = _native_softmax._cloud_places(support, maps.shape[:-1]), 8.0
    options = {"temperature": temperature, "instruction_set": instruction_set}
    stats = _native_softmax.softmax_mean(maps, places, **options)
    found = stats[..., 2:] + places.middle
    # Weights have errors of some 4 roundings, the results those of coordinates of this size.
    largest = extent + float(places.middle.abs().max())
    assert float((found - expected.detach()).abs().max()) < 4 * 2.0**-24 * largest
    slopes = _native_softmax.softmax_mean(maps, places, stats=stats, slope=slope, **options)
    # Where all weight lies on a few cells their distances from the mean, which is rounded, are small.
    rounding = 2.0**-24 * extent * float(slope.abs().sum(dim=-1).max()) / temperature
    assert float((slopes - gradient).abs().max()) < TOLERANCE * float(gradient.abs().max()) + rounding
    assert bool((slopes[maps == -torch.inf] == 0).all())


def readings(support: Support) -> dict[str, Callable[[Tensor], Tensor]]:
    """What is differentiable, as functions of maps (*batch, cells)."""
    target = random_maps(4, 3, support.ndim, seed=9).abs()
    found: dict[str, Callable[[Tensor], Tensor]] = {
        "soft_argmax": lambda m: soft_argmax(m.unflatten(-1, support.shape), support, temperature=0.7),
        "error": lambda m: error_of_expectation(m.unflatten(-1, support.shape), support, target, distance="squared"),
        "top_k": lambda m: top_k(m.unflatten(-1, support.shape), support, k=min(5, support.num_cells)),
    }
    if isinstance(support, Grid):
        for label in ("expected", "round"):
            found[label] = lambda m, label=label: rounded_cross_entropy(
                m.unflatten(-1, support.shape), support, target, label=label
            )
    return found


@pytest.mark.parametrize("name", ["line", "narrow", "volume", "clouds"])
def test_first_and_second_derivatives(name: str) -> None:
    """The same as in float64, where the torch form runs."""
    support = SUPPORTS[name]
    maps = random_maps(4, 3, support.num_cells, seed=10)
    maps[0, 1, 1] = -torch.inf
    direction = random_maps(4, 3, support.num_cells, seed=11)
    for reading, function in readings(support).items():
        found = []
        for dtype in (torch.float32, torch.float64):
            leaf = maps.to(dtype).requires_grad_()
            once = function(leaf)
            (plain,) = torch.autograd.grad(once.square().sum(), leaf, retain_graph=True)
            (first,) = torch.autograd.grad(once.square().sum(), leaf, create_graph=True)
            (second,) = torch.autograd.grad((first * direction).sum(), leaf)
            found.append([once.detach(), plain, first.detach(), second])
        for single, double in zip(*found, strict=True):
            scale = float(double.abs().max())
            assert float((single - double).abs().max()) < 1e-5 * scale, reading


def saved_by(function: Callable[[], Tensor]) -> list[Tensor]:
    """What autograd keeps for the backward pass."""
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        function()
    return kept


def test_what_is_kept_for_the_backward_pass_are_the_maps_and_a_few_numbers() -> None:
    grid = Grid((24, 31))
    maps = random_maps(6, *grid.shape).requires_grad_()
    for function in (
        lambda: soft_argmax(maps, grid, temperature=0.5),
        lambda: rounded_cross_entropy(maps, grid, torch.full((6, 2), 3.3), label="expected"),
    ):
        kept = saved_by(function)
        others = [t for t in kept if t.data_ptr() != maps.data_ptr()]
        assert len(others) < len(kept)
        assert sum(t.numel() for t in others) <= 6 * (2 + 4 + 4)


@pytest.mark.parametrize("label", ["expected", "floor", "round"])
@pytest.mark.parametrize("name", ["short line", "plane", "volume"])
def test_cross_entropies(name: str, label: str) -> None:
    grid = SUPPORTS[name]
    assert isinstance(grid, Grid)
    maps = random_maps(4, 3, *grid.shape, seed=12)
    # Beyond the border labels fall together.
    target = grid.to_points(random_maps(4, 3, grid.ndim, seed=13) * torch.tensor(grid.lengths) / 2)
    found = []
    for dtype in (torch.float32, torch.float64):
        leaf = maps.to(dtype).requires_grad_()
        loss = rounded_cross_entropy(leaf, grid, target, label=label)
        found.append((loss.detach(), *torch.autograd.grad((loss * torch.arange(12.0).view(4, 3)).sum(), leaf)))
    for single, double in zip(*found, strict=True):
        assert float((single - double).abs().max()) < TOLERANCE * float(double.abs().max())


def test_a_label_on_a_forbidden_cell() -> None:
    grid = Grid((4, 5))
    maps = random_maps(2, 4, 5)
    maps[0, 1, 2] = -torch.inf
    target = torch.tensor([[2.0, 1.0], [2.0, 1.0]])
    for label in ("round", "expected"):
        results = []
        for form in ("native", "torch"):
            leaf = maps.clone().requires_grad_()
            with kernels.use(form):
                loss = rounded_cross_entropy(leaf, grid, target, label=label)
            results.append((loss.detach(), *torch.autograd.grad(loss.sum(), leaf)))
        assert results[0][0].isinf().tolist() == [True, False]
        for native, plain in zip(*results, strict=True):
            torch.testing.assert_close(native, plain, rtol=1e-6, atol=1e-6)


def losses() -> dict[str, Callable[[Tensor], Tensor]]:
    """Functions of maps (4, 6, 5)."""
    grid, target = Grid((6, 5)), torch.tensor([2.3, 3.4]).expand(4, 2)
    return {
        "soft_argmax": lambda m: soft_argmax(m, grid, temperature=0.7),
        "rounded_cross_entropy": lambda m: rounded_cross_entropy(m, grid, target, label="expected"),
    }


@pytest.mark.parametrize("name", losses())
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")
def test_backward_passes_for_many_slopes_at_once(name: str) -> None:
    function, maps = losses()[name], random_maps(4, 6, 5, seed=20)
    each = torch.autograd.functional.jacobian(function, maps)
    together = torch.autograd.functional.jacobian(function, maps, vectorize=True)
    tolerance = TOLERANCE * float(each.abs().max())
    torch.testing.assert_close(together, each, rtol=0, atol=tolerance)
    leaf = maps.clone().requires_grad_()
    found = function(leaf)
    slopes = torch.eye(found.numel()).view(-1, *found.shape)
    (batched,) = torch.autograd.grad(found, leaf, slopes, is_grads_batched=True)
    torch.testing.assert_close(batched, each.view_as(batched), rtol=0, atol=tolerance)
    assert not batched.requires_grad


@pytest.mark.parametrize("name", losses())
def test_maps_changed_before_their_backward_pass_are_refused(name: str) -> None:
    """Since they are what is kept: the torch form keeps the weights, and does not notice."""

    def gradient(form: str) -> Tensor:
        leaf = random_maps(4, 6, 5, seed=21).requires_grad_()
        maps = leaf * 1
        with kernels.use(form):
            found = losses()[name](maps)
        maps.add_(1)
        return torch.autograd.grad(found.sum(), leaf)[0]

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        gradient("native")
    assert gradient("torch").isfinite().all()


def test_the_coldest_temperature_is_that_of_the_library() -> None:
    grid, maps = Grid((7, 5)), random_maps(3, 35, seed=22)
    places, coldest = _native_softmax._grid_places(grid), _library.COLDEST
    with kernels.use("native"):
        points = soft_argmax(maps.view(3, 7, 5), grid, temperature=coldest)
    assert torch.equal(points, grid.unravel(maps.argmax(dim=-1)).float())
    assert sample(maps, grid, Law(5, 2, temperature=coldest), wants_samples=True).samples is not None
    for call in (
        lambda: _native_softmax.softmax_mean(maps, places, temperature=0.99 * coldest),
        lambda: sample(maps, grid, Law(5, 2, temperature=0.99 * coldest), wants_samples=True),
    ):
        with pytest.raises(RuntimeError, match="it does not know this call"):
            call()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")
def test_forward_mode_derivatives_stay() -> None:
    grid = Grid((6, 5))
    maps, direction = random_maps(2, 6, 5), random_maps(2, 6, 5, seed=1)
    with forward_ad.dual_level():
        point = soft_argmax(forward_ad.make_dual(maps, direction), grid)
        tangent = forward_ad.unpack_dual(point).tangent
    step = 1e-3
    ahead, behind = (soft_argmax(maps.double() + s * direction, grid) for s in (step, -step))
    torch.testing.assert_close(tangent.double(), (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-5)
