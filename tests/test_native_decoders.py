"""All native readouts against the torch forms: types and layouts, refusals, threads, and what must not change a bit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from heatpoint import kernels
from heatpoint.kernels import _library, _native_decoders, _native_softmax
from heatpoint.readout import argmax, dark, quarter_shift, second_maximum_shift, soft_argmax, top_k, window
from heatpoint.rounding import gaussian_map
from heatpoint.scores import error_of_expectation, rounded_cross_entropy
from heatpoint.support import Grid, Points
from native_maps import random_maps

pytestmark = pytest.mark.skipif(_library.library().handle is None, reason=_library.library().reason)


@pytest.fixture(autouse=True)
def automatic() -> Iterator[None]:
    with kernels.use("auto"):
        yield


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


def test_tensors_are_made_where_the_maps_are() -> None:
    """Under another default device too, and what is kept of a grid from there serves afterwards."""
    grid = Grid((26, 19), stride=1.5)
    bump = gaussian_map(torch.tensor([[11.0, 20.0], [17.0, 9.0]]), grid, sigma_cells=2.0)
    cloud, target = Points(random_maps(2, 26 * 19, 2, seed=18)), torch.tensor([[3.0, 4.0], [5.0, 6.0]])
    readers: list[Callable[[], Tensor]] = [
        lambda: soft_argmax(bump, grid),
        lambda: soft_argmax(bump.flatten(1), cloud),
        lambda: dark(bump, grid, sigma_cells=2.0),
        lambda: top_k(bump, grid, k=5),
        lambda: argmax(bump, grid),
        lambda: rounded_cross_entropy(bump, grid, target, label="expected"),
        lambda: rounded_cross_entropy(bump, grid, target, label="floor"),
    ]
    for reader in readers:
        with kernels.use("native"):
            with torch.device("meta"):
                elsewhere = reader()
            after = reader()
        with kernels.use("torch"):
            expected = reader()
        assert torch.equal(elsewhere, after)
        torch.testing.assert_close(after, expected, rtol=1e-5, atol=1e-4)


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
        (lambda: dark(maps, grid, sigma_cells=1.0, kernel_size=13), "dark.*the blur is far wider than the maps"),
        (lambda: top_k(maps.clone().requires_grad_(), grid, k=3), "top_k.*the maps need a gradient"),
        (lambda: top_k(maps.double(), grid, k=3), "top_k.*the maps are float64"),
        (lambda: top_k(maps, ring, k=3), "top_k.*an axis of the grid is cyclic"),
        (lambda: top_k(maps.flatten(1), cloud, k=3), "top_k.*the support is no grid"),
        (lambda: top_k(random_maps(2, 9, 9), Grid((9, 9)), k=65), "top_k.*k is above 64"),
        (lambda: torch.vmap(lambda m: argmax(m, grid))(maps), "argmax.*torch traces or transforms the call"),
    ]
    for call, text in cases:
        assert call().isfinite().all()
        with kernels.use("native"), pytest.raises(ValueError, match=text):
            call()
    # What follows the search for the largest cells has no other form here.
    with kernels.use("native"):
        for readout in (
            window,
            lambda m, g, **kind: top_k(m, g, k=3, **kind),
            lambda m, g, **kind: top_k(m, g, k=1, **kind),
        ):
            assert readout(maps.clone().requires_grad_(), ring, weighting="values").isfinite().all()
        assert top_k(maps.double(), ring, k=1).isfinite().all()
    (gradient,) = torch.autograd.grad(rounded_cross_entropy(maps, grid, moving, label="expected").sum(), moving)
    assert gradient.abs().sum() > 0
    if torch.cuda.is_available():
        torch.testing.assert_close(argmax(maps.cuda(), grid).cpu(), argmax(maps, grid))
    assert _native_decoders.why_not(torch.zeros(3, device="meta")) == "the maps are on meta"
