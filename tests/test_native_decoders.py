"""The native readouts and cross-entropy against stable sorts and the torch forms in float64, and what must not change a bit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from heatpoint import kernels
from heatpoint.kernels import _library, _native_decoders, _native_softmax
from heatpoint.readout import argmax, dark, quarter_shift, second_maximum_shift, soft_argmax, top_k, window
from heatpoint.rounding import gaussian_map
from heatpoint.scores import error_of_expectation, rounded_cross_entropy
from heatpoint.support import Grid, Points, Support

pytestmark = pytest.mark.skipif(_library.library().handle is None, reason=_library.library().reason)

INSTRUCTION_SETS = _library.INSTRUCTION_SETS[
    1 : 1 + _library.INSTRUCTION_SETS.index(_library.library().best_instruction_set or "auto")
]
# One cell, less than a vector, vectors with and without a rest, one chunk and many, a prime, a volume.
CELLS = (1, 3, 16, 33, 64, 257, 384, 2961, 4096, 20000)
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


def random_maps(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def awkward(cells: int) -> dict[str, Tensor]:
    """Maps (5, cells) on which a shortcut could go wrong."""
    maps = random_maps(5, cells, seed=3)
    nan = maps.clone()
    nan[1, cells // 2], nan[2, 0], nan[2, -1] = torch.nan, -torch.nan, torch.nan
    rising = torch.arange(cells).expand(5, cells).float()
    return {
        "random": maps,
        "ties": maps.round(),
        "constant": torch.full_like(maps, -0.25),
        "signed zeros": torch.where(maps > 0, 0.0, -0.0),
        "rectified": (maps - 5).clamp(min=0),
        "forbidden": maps.masked_fill(maps < 3, -torch.inf),
        "infinite": maps.masked_fill(maps > 5, torch.inf),
        "nan": nan,
        "rising": rising,
        "falling": -rising,
        "tiny": maps * 1e-43,
        "large": maps * 1e37,
    }


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("cells", CELLS)
def test_the_largest_cells_are_those_of_a_stable_sort(cells: int, instruction_set: str) -> None:
    for (case, maps), dtype in itertools.product(awkward(cells).items(), (torch.float32, torch.float64)):
        ordered = maps.to(dtype).sort(dim=-1, descending=True, stable=True)
        for k in {min(k, cells) for k in (1, 2, 9, 64, 65, 300)}:
            values, index = _native_decoders.largest(maps.to(dtype), k, instruction_set=instruction_set)
            assert torch.equal(index, ordered.indices[:, :k]), (case, dtype, k)
            torch.testing.assert_close(values, ordered.values[:, :k], rtol=0, atol=0, equal_nan=True)
        first = maps.to(dtype).max(dim=-1)
        assert torch.equal(_native_decoders.largest(maps.to(dtype), 1)[1].squeeze(-1), first.indices), case


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("k", [2, 9, 64])
@pytest.mark.parametrize("shape", [(519,), (13, 37), (5, 7, 34)])
def test_the_mean_of_the_largest_cells(shape: tuple[int, ...], k: int, instruction_set: str) -> None:
    grid = Grid(shape)
    maps = random_maps(6, grid.num_cells, seed=5)
    maps[1] = maps[1].masked_fill(maps[1] < 5, -torch.inf)
    values, index = maps.double().topk(k, dim=-1)
    expected = (values.softmax(dim=-1).unsqueeze(-1) * grid.unravel(index)).sum(dim=-2)
    found = _native_decoders.largest_mean(maps, grid, k, instruction_set=instruction_set)
    # The mean is taken over steps of up to a side from the largest cell, whose weights have errors of some 4 roundings.
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=max(shape) * 8 * 2.0**-24)


@pytest.mark.parametrize("name", SUPPORTS)
@pytest.mark.parametrize("temperature", [1.0, 0.3, 20.0])
@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
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


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    maps = random_maps(150, 64 * 61, seed=8)
    grid = Grid((64, 61))
    places = _native_softmax._grid_places(grid)
    slope = torch.ones(150, 2)

    def results(threads: int) -> list[Tensor]:
        stats = _native_softmax.softmax_mean(maps, places, num_threads=threads)
        gradient = _native_softmax.softmax_mean(maps, places, stats=stats, slope=slope, num_threads=threads)
        blurred = maps.abs() + 1
        peak = blurred.argmax(dim=-1)
        rule = {"floor": 1e-10, "ceiling": 1e9, "curvature_step": 2, "margin": 2, "ridge": 0.0}
        cells, _ = _native_decoders.newton_cells(
            blurred,
            peak,
            grid,
            [0.25, 0.5, 0.25],
            **rule,
            one_sided_cross=False,
            moves_inwards=False,
            num_threads=threads,
        )
        return [stats, gradient, cells, *_native_decoders.largest(maps, 9, num_threads=threads)]

    for one, many in zip(results(1), results(3), strict=True):
        assert torch.equal(one, many)


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


def dark_cases() -> Iterator[tuple[Grid, Tensor]]:
    """Peaks inside, on the border and beyond it, maps with forbidden cells, in noise, of steps and flat ones."""
    for grid in (
        Grid((43,), stride=2.0),
        Grid((2,)),
        Grid((29, 26), stride=4.0),
        Grid((29, 26), cyclic=(0,)),
        Grid((23, 2)),
        Grid((19, 17, 23)),
    ):
        share = torch.rand(12, grid.ndim, generator=torch.Generator().manual_seed(14)) * 1.2 - 0.1
        maps = gaussian_map(grid.to_points(share * torch.tensor(grid.lengths)), grid, sigma_cells=2.0)
        flat = maps.flatten(1) + random_maps(12, grid.num_cells, seed=15, scale=1e-2).abs()
        flat[3] = flat[3].masked_fill(flat[3] < 0.02, -torch.inf)
        flat[4], flat[5], flat[6], flat[7] = 0.5, flat[5].round(), flat[6] * 80, -flat[7]
        yield grid, flat.unflatten(-1, grid.shape)


@pytest.mark.parametrize("kernel_size", [1, 5, 11])
@pytest.mark.parametrize("variant", ["dark", "udp", "inward"])
def test_dark(variant: str, kernel_size: int) -> None:
    for grid, maps in dark_cases():
        found = []
        for form in ("native", "torch"):
            with kernels.use(form):
                found.append(dark(maps, grid, sigma_cells=2.0, variant=variant, kernel_size=kernel_size))
        cells = [grid.to_cells(points) for points in found]
        # A step is a quotient: where the curvature is small, the rounding of logarithms, 1e-6, is divided by it.
        step = (cells[1] - cells[1].round()).abs() + 1
        close = (cells[0] - cells[1]).abs() <= 1e-4 * step.square()
        assert bool((close | (cells[1].abs() > 1e3)).all()), (grid, found)


def test_readings_are_those_of_torch() -> None:
    """In every type and layout, of one map and of none."""
    grid = Grid((37, 29), stride=4.0)
    every = random_maps(2, 3, 37, 58, seed=16)
    bump = gaussian_map(torch.tensor([61.0, 70.0]), grid, sigma_cells=2.0)
    sources = {
        "half": every[..., :29].half(),
        "bfloat16": every[..., :29].bfloat16(),
        "double": every[..., :29].double(),
        "strided": every[..., ::2],
        "turned": random_maps(29, 2, 37, 3, seed=17).permute(1, 3, 2, 0),
        "one": every[0, 0, :, :29],
        "none": every[:0, :, :, :29],
        "shared": every[:1, :1, :, :29].expand(4, 3, 37, 29),
    }
    readers: list[Callable[[Tensor], Tensor]] = [
        lambda m: argmax(m, grid),
        lambda m: soft_argmax(m, grid),
        lambda m: window(m, grid),
        lambda m: top_k(m, grid, k=5),
        lambda m: top_k(m, grid, k=70),
        lambda m: quarter_shift(m, grid),
        lambda m: second_maximum_shift(m, grid),
        lambda m: dark(bump + 0.01 * m.float().abs(), grid, sigma_cells=2.0),
        lambda m: rounded_cross_entropy(m, grid, torch.full((*m.shape[:-2], 2), 33.0), label="expected"),
    ]
    for (name, maps), (number, reader) in itertools.product(sources.items(), enumerate(readers)):
        found = reader(maps)
        with kernels.use("torch"):
            expected = reader(maps)
        assert found.dtype == expected.dtype
        # Among equal values, of which half precision has many, those of torch.topk are any.
        if number not in (3, 4) or name not in ("half", "bfloat16"):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-3)


def test_maps_without_a_law_are_refused_as_in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    grid, target = Grid((5, 4)), torch.zeros(3, 2)
    forbidden, nan = torch.zeros(3, 5, 4), torch.zeros(3, 5, 4)
    forbidden[1], nan[1, 2, 2] = -torch.inf, torch.nan
    readers: list[Callable[[Tensor], Tensor]] = [
        lambda m: soft_argmax(m, grid),
        lambda m: top_k(m, grid, k=3),
        lambda m: error_of_expectation(m, grid, target),
        lambda m: rounded_cross_entropy(m, grid, target),
        lambda m: dark(m, grid, sigma_cells=1.0),
    ]
    for reader, maps in itertools.product(readers, (forbidden, nan)):
        texts = []
        for form in ("native", "torch"):
            with kernels.use(form), pytest.raises(ValueError) as caught:
                reader(maps)
            texts.append(str(caught.value))
        assert texts[0] == texts[1]
    monkeypatch.setenv("HEATPOINT_CHECK", "0")
    for reader in (readers[0], readers[3]):
        leaf = nan.clone().requires_grad_()
        with kernels.use("native"):
            found = reader(leaf)
        (gradient,) = torch.autograd.grad(found.sum(), leaf)
        assert found.isnan().flatten(1).any(dim=-1).tolist() == [False, True, False] if found.ndim > 1 else True
        assert gradient.flatten(1).isnan().all(dim=-1).tolist() == [False, True, False]
        assert gradient[[0, 2]].isfinite().all()


def test_what_the_kernels_cannot_do_takes_the_torch_form_or_raises() -> None:
    grid, ring = Grid((6, 5)), Grid((6, 5), cyclic=(0,))
    maps = random_maps(2, 6, 5)
    moving = torch.zeros(2, 2, requires_grad=True)
    cloud = Points(torch.randn(30, 2, requires_grad=True))
    cases: list[tuple[Callable[[], Tensor], str]] = [
        (lambda: soft_argmax(maps.double(), grid), "soft_argmax.*the maps are float64"),
        (lambda: soft_argmax(maps, ring), "soft_argmax.*an axis of the grid is cyclic"),
        (lambda: soft_argmax(maps, grid, sign_gradient=True), "soft_argmax.*sign_gradient is asked for"),
        (lambda: soft_argmax(maps, grid, temperature=1e-31), "soft_argmax.*the temperature is below 1e-30"),
        (lambda: soft_argmax(maps.flatten(1), cloud), "soft_argmax.*the points need a gradient"),
        (lambda: soft_argmax(maps[:1, 0], Points(torch.randn(3, 5, 2))), "soft_argmax.*fewer maps than clouds"),
        (lambda: dark(maps.abs().requires_grad_(), grid, sigma_cells=1.0), "dark.*the maps need a gradient"),
        (
            lambda: rounded_cross_entropy(maps, grid, moving, label="expected"),
            "rounded_cross_entropy.*the target needs a gradient",
        ),
        (lambda: torch.vmap(lambda m: argmax(m, grid))(maps), "argmax.*torch traces or transforms the call"),
    ]
    for call, text in cases:
        assert call().isfinite().all()
        with kernels.use("native"), pytest.raises(ValueError, match=text):
            call()
    (gradient,) = torch.autograd.grad(rounded_cross_entropy(maps, grid, moving, label="expected").sum(), moving)
    assert gradient.abs().sum() > 0
    if torch.cuda.is_available():
        torch.testing.assert_close(argmax(maps.cuda(), grid).cpu(), argmax(maps, grid))
    assert _native_decoders.why_not(torch.zeros(3, device="meta")) == "the maps are on meta"


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


def test_a_call_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(RuntimeError, match="a native kernel gave up: it does not know this call"):
        _native_decoders.largest(torch.zeros(2, 3), 4)
    if _library.library().best_instruction_set != "avx512":
        with pytest.raises(RuntimeError, match="no such instruction set here"):
            _native_decoders.largest(torch.zeros(2, 3), 1, instruction_set="avx512")
