"""Draws that maps share, as products of matrices: the plain form's numbers, their law, what they cannot do and what they cost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from heatpoint import Grid, Points, kernels, make_localizer, sampling_argmax
from heatpoint._distances import norm, slope
from heatpoint.basis import make_basis
from heatpoint.kernels import _shared_draws
from heatpoint.kernels._shared_draws import Draw, make_draw, plain_samples
from heatpoint.kernels.shared import product_error, product_samples
from heatpoint.scores import expected_error
from heatpoint.support import Support
from pages import ROOT, load_module
from peaks import peak_of

GAUSSIAN = {"name": "gaussian", "sigma": 0.7}
CLOUD = torch.randn(11, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
CLOUDS = torch.randn(3, 1, 11, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
SUPPORTS: dict[str, Support] = {
    "line": Grid((7,), stride=2.0),
    "plane": Grid((5, 6), stride=(4.0, 2.0)),
    "volume": Grid((3, 4, 5)),
    "cloud": Points(CLOUD),
    "clouds": Points(CLOUDS),
}
ON_GRIDS = [
    (name, basis, formula)
    for name in ("line", "plane", "volume")
    for basis in (None, "uniform", "triangular", GAUSSIAN)
    for formula in ("paper", "released")
]
CASES = [*ON_GRIDS, *((name, basis, "paper") for name in ("cloud", "clouds") for basis in (None, GAUSSIAN))]
BATCH = (3, 4)
PLAIN: dict[str, Any] = {
    "basis": None, "formula": "paper", "temperature": 0.7, "num_samples": 5, "sharing": "image", "sign_gradient": False
}  # fmt: skip


@pytest.fixture(autouse=True)
def automatic() -> Iterator[None]:
    with kernels.use("auto"):
        yield


@pytest.fixture(params=["auto", "gemm"])
def each_form(request: pytest.FixtureRequest) -> Iterator[None]:
    with kernels.use(request.param):
        yield


def draw_of(support: Support, *, seed: int = 0, **changes: Any) -> Draw:
    given = {**PLAIN, "basis": "triangular", **changes}
    given["basis"] = None if given["basis"] is None else make_basis(given["basis"])
    generator = torch.Generator().manual_seed(seed)
    return make_draw("test", support, generator=generator, device=torch.device("cpu"), **given)


def some_maps(support: Support, *, batch: tuple[int, ...] = BATCH, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(*batch, support.num_cells, generator=generator, dtype=torch.float64)
    target = 3 * torch.randn(*batch, support.ndim, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), target.requires_grad_()


@pytest.mark.parametrize(("name", "basis", "formula"), CASES)
@pytest.mark.parametrize("temperature", [2.0, 1.0, 0.5, 0.3])
@pytest.mark.parametrize("block", [_shared_draws.BLOCK, (1, 40)])
def test_products_of_matrices_equal_the_plain_form(
    name: str, basis: Any, formula: str, temperature: float, block: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_shared_draws, "BLOCK", block)
    support = SUPPORTS[name]
    logits, target = some_maps(support)
    given = {"basis": basis, "formula": formula, "temperature": temperature}
    for sharing in ("image",) if name == "clouds" else ("image", "batch"):
        plain, product = (
            f(draw_of(support, sharing=sharing, **given), logits) for f in (plain_samples, product_samples)
        )
        assert product.shape == (5, *BATCH, support.ndim)
        torch.testing.assert_close(product, plain, rtol=1e-9, atol=1e-9)
        wanted = (plain - target).abs().sum(dim=-1).mean(dim=0)
        draw = draw_of(support, sharing=sharing, **given)
        found = product_error(draw, logits, target, distance="l1", axis_weight=None)
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
        share = torch.rand(BATCH, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
        for ours, theirs in zip(
            torch.autograd.grad(found, (logits, target), share),
            torch.autograd.grad(wanted, (logits, target), share),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("distance", ["l1", "l2", "smooth_l1", "squared"])
@pytest.mark.parametrize("weighed", [False, True])
def test_every_distance_and_the_weights_of_axes(distance: Any, weighed: bool) -> None:
    if weighed and distance == "l2":
        return
    grid = Grid((5, 6))
    logits, target = some_maps(grid)
    maps = logits.unflatten(-1, grid.shape)
    weight = torch.rand(*BATCH, 2, generator=torch.Generator().manual_seed(3)).round(decimals=1) if weighed else None
    found = {}
    for form in ("torch", "gemm"):
        with kernels.use(form):
            error = expected_error(
                maps, grid, target, num_samples=6, noise="image", distance=distance, axis_weight=weight,
                generator=torch.Generator().manual_seed(0),
            )  # fmt: skip
        found[form] = (error, *torch.autograd.grad(error.sum(), (logits, target)))
    for ours, theirs in zip(found["gemm"], found["torch"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("temperature", [2.0, 1.0, 0.5, 0.25, 1.3])
@pytest.mark.parametrize("width", [0.3, 2.0, 12.0])
def test_float32_has_the_digits_of_float64_with_the_same_draws(temperature: float, width: float) -> None:
    grid = Grid((24, 20), stride=4.0)
    middle = torch.tensor([[5.0, 6.0], [9.5, 3.25], [14.0, 20.0]])
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(20.0), indexing="ij")
    square = (columns - middle[:, 0, None, None]) ** 2 + (rows - middle[:, 1, None, None]) ** 2
    logits = (-square / (2 * width**2)).flatten(1).requires_grad_()
    target = torch.tensor([[22.0, 30.0], [35.0, 12.0], [70.0, 66.0]])
    draw = draw_of(grid, temperature=temperature, num_samples=9)
    error = product_error(draw, logits, target, distance="l1", axis_weight=None)
    (gradient,) = torch.autograd.grad(error.sum(), logits)
    exact = logits.detach().double().requires_grad_()
    samples = plain_samples(draw_of(grid, temperature=temperature, num_samples=9), exact)
    wanted = (samples - target.double()).abs().sum(dim=-1).mean(dim=0)
    (right,) = torch.autograd.grad(wanted.sum(), exact)
    # Where one cell has all the weight, error and gradient vanish, and a place of 80 px has its rounding still.
    for ours, exactly in ((error, wanted), (gradient, right)):
        scale = max(float(exactly.detach().abs().max()), grid.strides[0])
        assert float((ours.detach().double() - exactly.detach()).abs().max()) < 4e-6 * scale


@pytest.mark.usefixtures("each_form")
@pytest.mark.parametrize("sharing", ["image", "batch"])
def test_the_law_of_a_maps_samples_does_not_depend_on_who_shares_them(sharing: Any) -> None:
    grid = Grid((6, 5))
    logits = some_maps(grid, batch=(2, 2))[0].detach().float().unflatten(-1, grid.shape)
    given = {"num_samples": 3000, "temperature": 0.6}
    together = sampling_argmax(logits, grid, noise=sharing, generator=torch.Generator().manual_seed(7), **given)  # type: ignore[arg-type]
    with kernels.use("auto"):
        alone = sampling_argmax(logits, grid, generator=torch.Generator().manual_seed(7), **given)  # type: ignore[arg-type]
    for image, point, axis in itertools.product(range(2), range(2), range(2)):
        both = [samples[:, image, point, axis].numpy() for samples in (alone, together)]
        assert stats.ks_2samp(*both).pvalue > 1e-3


def test_maps_that_share_their_draws_move_together() -> None:
    grid = Grid((6, 5))
    one = some_maps(grid, batch=(1,))[0].detach().unflatten(-1, grid.shape)
    same = one.expand(2, 3, 6, 5)
    for noise, within, across in (("independent", False, False), ("image", True, False), ("batch", True, True)):
        samples = sampling_argmax(same, grid, noise=noise, num_samples=4)  # type: ignore[arg-type]
        assert torch.allclose(samples[:, 0, 0], samples[:, 0, 1]) is within
        assert torch.allclose(samples[:, 0, 0], samples[:, 1, 0]) is across


def test_a_generator_is_used_once_and_goes_on() -> None:
    grid = Grid((5, 6))
    logits, target = some_maps(grid)
    maps = logits.unflatten(-1, grid.shape)

    def twice(form: str) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(3)
        with kernels.use(form):
            return tuple(  # type: ignore[return-value]
                expected_error(maps, grid, target, num_samples=4, noise="image", generator=generator) for _ in range(2)
            )

    first, second = twice("gemm")
    assert not torch.allclose(first, second)
    for ours, theirs in zip(twice("torch"), (first, second), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    torch.manual_seed(0)
    one = expected_error(maps, grid, target, num_samples=4, noise="batch")
    torch.manual_seed(0)
    assert torch.equal(one, expected_error(maps, grid, target, num_samples=4, noise="batch"))


def test_parts_and_calls_have_streams_of_their_own() -> None:
    generator = torch.Generator().manual_seed(0)

    def words_of(generator: torch.Generator, number: int) -> list[Tensor]:
        draw = make_draw("test", Grid((4,)), generator=generator, device=torch.device("cpu"), **PLAIN)
        parts = [_shared_draws.Part(slice(k, k + 1), (3,)) for k in range(number)]
        first, again = (
            [stream.uniforms((64,)) for stream in draw.streams(parts, torch.float32, is_again=flag)]
            for flag in (False, True)
        )
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        return first

    words = [part for _ in range(2) for part in words_of(generator, 3)]
    assert all(not torch.equal(a, b) for k, a in enumerate(words) for b in words[:k])
    longer = words_of(torch.Generator().manual_seed(0), 5)
    assert all(torch.equal(a, b) for a, b in zip(words[:3], longer, strict=False))


@pytest.mark.parametrize("formula", ["paper", "released"])
def test_low_memory_draws_the_same_again(formula: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shared_draws, "BLOCK", (200, 200))
    grid = Grid((5, 6))
    logits, _ = some_maps(grid)
    found = []
    for function, memory in itertools.product((plain_samples, product_samples), ("normal", "low")):
        samples = function(draw_of(grid, formula=formula, memory=memory, num_samples=7), logits)
        found.append((samples, *torch.autograd.grad(samples.square().sum(), logits)))
    for other in found[1:]:
        for ours, theirs in zip(other, found[0], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_checkpointing_draws_the_same_again() -> None:
    grid = Grid((5, 6))
    logits, target = some_maps(grid)

    def loss(logits: Tensor) -> Tensor:
        maps = logits.unflatten(-1, grid.shape)
        return expected_error(maps, grid, target.detach(), num_samples=4, noise="image").sum()

    torch.manual_seed(2)
    (plain,) = torch.autograd.grad(loss(logits), logits)
    torch.manual_seed(2)
    (again,) = torch.autograd.grad(checkpoint(loss, logits, use_reentrant=False), logits)
    assert torch.equal(plain, again)


def test_the_gradient_has_a_gradient() -> None:
    grid = Grid((3, 4))
    logits, target = some_maps(grid, batch=(2, 2))

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return expected_error(
            logits.unflatten(-1, grid.shape), grid, target, num_samples=3, noise="image", distance="squared",
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip

    assert torch.autograd.gradcheck(loss, (logits, target))
    assert torch.autograd.gradgradcheck(loss, (logits, target))
    assert torch.autograd.gradgradcheck(lambda logits: loss(logits, target.detach()), (logits,))


def test_forbidden_cells_weigh_nothing_and_broken_maps_stay_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATPOINT_CHECK", "0")
    grid = Grid((5, 6))
    logits, target = some_maps(grid)
    with torch.no_grad():
        logits[0, 1, 3:20] = -torch.inf
        logits[2, 2, 4] = torch.nan
    error = product_error(draw_of(grid), logits, target, distance="l1", axis_weight=None)
    assert error.isnan().nonzero().tolist() == [[2, 2]]
    (gradient,) = torch.autograd.grad(error[0].sum(), logits)
    assert (gradient[0, 1, 3:20] == 0).all()
    assert gradient[0].isfinite().all()
    with torch.no_grad():
        logits[1, 0] = -torch.inf
    with pytest.raises(ValueError, match="test: logits must leave at least one cell of every map possible"):
        product_error(draw_of(grid), logits, target, distance="l1", axis_weight=None)


@pytest.mark.usefixtures("each_form")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_taken_to_float32(dtype: torch.dtype) -> None:
    grid = Grid((5, 6))
    logits, target = some_maps(grid)
    half = logits.detach().to(dtype).requires_grad_()
    for maps in (half, half.detach().float().requires_grad_()):
        error = expected_error(
            maps.unflatten(-1, grid.shape), grid, target.detach(), num_samples=4, noise="image",
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        assert error.dtype == torch.float32
        (gradient,) = torch.autograd.grad(error.sum(), maps)
        assert gradient.dtype == maps.dtype
        assert gradient.isfinite().all()
        if maps is half:
            first = error
    assert torch.equal(first, error)


@pytest.mark.usefixtures("each_form")
@pytest.mark.parametrize("temperature", [2.0, 0.5, 0.3])
def test_a_map_that_is_masked_by_the_least_number(temperature: float) -> None:
    logits = some_maps(Grid((4, 5)))[0].detach().float()
    logits[1] = torch.finfo(torch.float32).min
    logits.requires_grad_()
    error = expected_error(
        logits.unflatten(-1, (4, 5)),
        Grid((4, 5)),
        torch.zeros(*BATCH, 2),
        num_samples=5,
        temperature=temperature,
        noise="image",
    )
    assert error.isfinite().all()
    assert torch.autograd.grad(error.sum(), logits)[0].isfinite().all()


@pytest.mark.parametrize("form", ["torch", "gemm"])
def test_a_default_device_is_not_asked(form: str) -> None:
    logits, target = some_maps(Grid((5, 6)))
    with kernels.use(form), torch.device("meta"):
        error = expected_error(logits.unflatten(-1, (5, 6)), Grid((5, 6)), target, num_samples=3, noise="image")
    assert error.isfinite().all()


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_transformed_calls_draw_by_torch() -> None:
    grid = Grid((5, 6))
    maps = torch.zeros(3, 4, 5, 6)

    def loss(maps: Tensor) -> Tensor:
        return expected_error(maps, grid, torch.zeros(4, 2), num_samples=3, noise="image").sum()

    different = torch.func.vmap(loss, randomness="different")(maps)
    assert len(set(different.tolist())) == 3
    exported = torch.export.export(Module(grid), (maps,))
    assert exported.module()(maps).isfinite().all()


class Module(torch.nn.Module):
    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, maps: Tensor) -> Tensor:
        """The error of samples with draws that maps share."""
        return expected_error(maps, self.grid, torch.zeros(3, 4, 2), num_samples=3, noise="image")


@pytest.mark.usefixtures("each_form")
def test_logits_far_apart_and_a_single_cell() -> None:
    grid = Grid((4, 3))
    logits = torch.zeros(1, 2, 4, 3)
    logits[0, 0, 2, 1], logits[0, 1] = 1e4, -1e4
    logits.requires_grad_()
    error = expected_error(logits, grid, torch.ones(1, 2, 2), num_samples=8, noise="image", temperature=0.3, basis=None)
    (gradient,) = torch.autograd.grad(error.sum(), logits)
    assert error.isfinite().all()
    assert gradient.isfinite().all()
    torch.testing.assert_close(error[0, 0], torch.tensor(1.0))
    one = expected_error(
        torch.zeros(2, 3, 1), Grid((1,)), torch.zeros(2, 3, 1), num_samples=4, noise="image", basis=None
    )
    assert torch.equal(one, torch.zeros(2, 3))
    nobody = expected_error(torch.zeros(0, 3, 4), Grid((4,)), torch.zeros(0, 3, 1), num_samples=4, noise="image")
    assert nobody.shape == (0, 3)


@pytest.mark.usefixtures("each_form")
def test_gradients_at_the_least_temperature_stay_finite() -> None:
    # One cell has nearly all the weight: where another wins a sample, its draw is as much larger as its weight is smaller.
    logits = torch.zeros(2, 4096)
    logits[:, 2048] = 15.0
    logits.requires_grad_()
    error = expected_error(
        logits,
        Grid((4096,), stride=4000.0),
        torch.zeros(2, 1),
        basis=None,
        num_samples=1000,
        temperature=0.25,
        distance="squared",
        noise="image",
        generator=torch.Generator().manual_seed(3),
    )
    (gradient,) = torch.autograd.grad(error.sum(), logits)
    assert gradient.isfinite().all()


def test_what_products_cannot_do_takes_the_plain_form_or_is_refused() -> None:
    grid, ring = Grid((5, 6)), Grid((6,), cyclic=(0,))
    maps = torch.zeros(2, 3, 5, 6)
    target = torch.zeros(2, 3, 2)
    xyz = CLOUD.clone().requires_grad_()

    def error(**given: Any) -> Tensor:
        return expected_error(maps, grid, target, num_samples=3, generator=torch.Generator().manual_seed(0), **given)

    cases: list[tuple[Any, str]] = [
        (lambda: error(), "it needs draws that maps share, noise"),
        (lambda: error(noise="independent"), "it needs draws that maps share"),
        (lambda: error(noise="image", temperature=0.2), "below a temperature of 0.25 its sums lose digits"),
        (
            lambda: error(noise="image", sign_gradient=True),
            "the signs of sign_gradient depend on each sample's position",
        ),
        (
            lambda: expected_error(torch.zeros(2, 6), ring, torch.zeros(2, 1), num_samples=3, noise="image"),
            "a position on a cyclic axis is no quotient of sums over the cells",
        ),
        (
            lambda: sampling_argmax(torch.zeros(2, 11), Points(xyz), basis=GAUSSIAN, noise="batch"),
            "it gives the coordinates of Points no gradient",
        ),
    ]
    for call, reason in cases:
        assert call().isfinite().all()
        with kernels.use("gemm"), pytest.raises(ValueError) as caught:
            call()
        function = "sampling_argmax" if "Points" in reason else "expected_error"
        assert str(caught.value).startswith(
            f"{function}: kernels must be able to compute this call, got 'gemm': {reason}"
        )
        assert str(caught.value).endswith('Take heatpoint.kernels.use("auto"), or change the call.')


def test_maps_on_different_clouds_cannot_share() -> None:
    two = Points(torch.randn(2, 4, 11, 3))
    with pytest.raises(ValueError, match="sampling_argmax: Points must have the same coordinates for maps that share"):
        sampling_argmax(torch.zeros(2, 4, 11), two, basis=GAUSSIAN, noise="image")
    with pytest.raises(
        ValueError, match="sampling_argmax: noise must be one of batch, image, independent, lattice, got 'imgae'"
    ):
        sampling_argmax(torch.zeros(2, 6), Grid((6,)), noise="imgae")  # type: ignore[arg-type]


def test_a_localizer_shares_by_option() -> None:
    localizer = make_localizer("sampling_argmax", Grid((5, 6)), noise="image", num_samples=3)
    assert "noise='image'" in repr(localizer)
    assert localizer.to_dict()["noise"] == "image"
    logits, target = some_maps(Grid((5, 6)))
    weight = torch.tensor([[1.0, 0.0, 1.0, 1.0]] * 3)
    results = []
    for form in ("gemm", "torch"):
        with kernels.use(form):
            loss = localizer.loss(
                logits.unflatten(-1, (5, 6)), target, weight=weight, generator=torch.Generator().manual_seed(0)
            )
        results.append((loss, *torch.autograd.grad(loss, logits)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    with pytest.raises(
        ValueError, match="sampling_argmax: noise must be one of batch, image, independent, lattice, got 'some'"
    ):
        make_localizer("sampling_argmax", Grid((5, 6)), noise="some")


def test_what_sharing_costs_is_what_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load_module(ROOT / "docs" / "measure_shared_noise.py")
    monkeypatch.setattr(module, "REPEATS", 60)
    for same, low, high in ((False, 0.8, 1.6), (True, 3.0, 16.0)):
        logits, target = module.maps(same=same)
        alone, together = (
            module.variances(logits, target, noise=noise, temperature=0.5) for noise in ("independent", "image")
        )
        assert low < together[0] / alone[0] < high


def test_memory_does_not_grow_with_the_number_of_samples() -> None:
    """Five times the logits and no more, at COCO's size, with ten times the samples too."""
    for task, sharing in (("coco-30", "image"), ("coco-300", "image"), ("coco-300", "batch")):
        assert peak_of(f"sampling {task} 2", f"gemm, noise per {sharing}") < 5


@pytest.mark.parametrize("distance", ["l1", "l2", "smooth_l1", "squared"])
def test_the_slope_of_a_distance_is_its_derivative(distance: Any) -> None:
    delta = torch.tensor([[0.0, 0.0], [0.3, -0.2], [1.0, -1.0], [4.0, 0.0], [-2.5, 7.0]], dtype=torch.float64)
    for weight in (None, torch.tensor([0.5, 3.0], dtype=torch.float64)):
        if weight is not None and distance == "l2":
            continue
        points = delta.clone().requires_grad_()
        (wanted,) = torch.autograd.grad(norm(points, distance, weight).sum(), points)
        torch.testing.assert_close(slope(delta, distance, weight), wanted)
