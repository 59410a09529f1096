"""Sums over cells with places beside the maps, and Gaussian offsets drawn once for all cells of a sample."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from heatpoint import Grid, Points, kernels, sampling_argmax
from heatpoint.basis import Gaussian, make_basis
from heatpoint.kernels import _shared_draws, _sums
from heatpoint.kernels._shared_draws import Draw, make_draw, plain_samples
from heatpoint.kernels.shared import product_error, product_samples
from heatpoint.scores import expected_error
from heatpoint.support import Support
from peaks import peak_of

GAUSSIAN = {"name": "gaussian", "sigma": 0.7}
CLOUD = torch.rand(600, 3, generator=torch.Generator().manual_seed(4))


def draw_of(support: Support, *, basis: Any, temperature: float, num_samples: int = 24, sharing: Any = "image") -> Draw:
    return make_draw(
        "test", support, basis=None if basis is None else make_basis(basis), formula="paper", temperature=temperature,
        num_samples=num_samples, sharing=sharing, sign_gradient=False, generator=torch.Generator().manual_seed(0),
        device=torch.device("cpu"),
    )  # fmt: skip


def error_and_gradient(draw: Draw, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.clone().requires_grad_()
    error = product_error(draw, logits, target, distance="l1", axis_weight=None)
    return error.detach(), torch.autograd.grad(error.sum(), logits)[0]


def plain_error_and_gradient(draw: Draw, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.clone().requires_grad_()
    error = (plain_samples(draw, logits) - target).abs().sum(dim=-1).mean(dim=0)
    return error.detach(), torch.autograd.grad(error.sum(), logits)[0]


@pytest.mark.parametrize("temperature", [2.0, 1.0, 0.7, 0.5])
@pytest.mark.parametrize("width", [0.05, 0.2, 1.0])
@pytest.mark.parametrize("shift", [0.0, 512.0])
@pytest.mark.parametrize("basis", [None, {"name": "gaussian", "sigma": 0.01}])
def test_digits_do_not_depend_on_where_the_cloud_lies(
    temperature: float, width: float, shift: float, basis: Any
) -> None:
    # Multiples of 2⁻¹³, which float32 has at 512 too.
    xyz = (CLOUD * 2**13).round() / 2**13 + shift
    middle = torch.tensor([[0.2, 0.3, 0.4], [0.5, 0.55, 0.6], [0.8, 0.1, 0.9]]) + shift
    logits = -(((xyz - middle[:, None]) ** 2).sum(dim=-1) / (2 * width**2)).expand(2, 3, 600)
    target = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(1)) + shift
    given: dict[str, Any] = {"basis": basis, "temperature": temperature}
    ours = error_and_gradient(draw_of(Points(xyz), **given), logits, target)
    exact = plain_error_and_gradient(draw_of(Points(xyz.double()), **given), logits.double(), target.double())
    for found, wanted in zip(ours, exact, strict=True):
        assert float((found.double() - wanted).abs().max()) < 4e-6 * float(wanted.abs().max())


@pytest.mark.parametrize("own_clouds", [False, True])
@pytest.mark.parametrize("basis", [None, GAUSSIAN])
@pytest.mark.parametrize(("samples_of_a_block", "number_of_parts"), [(2 * 24, 3), (4, 5)])
@pytest.mark.parametrize("wanted", [(True, False), (False, True), (True, True)])
def test_parts_of_some_groups_and_the_gradients_that_are_wanted(
    own_clouds: bool,
    basis: Any,
    samples_of_a_block: int,
    number_of_parts: int,
    wanted: tuple[bool, bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Two groups in a part and one in the last, or parts of one group in several blocks. Squares take as much room again.
    room = samples_of_a_block * 30 * (1 if basis is None else 2)
    monkeypatch.setattr(_shared_draws, "BLOCK", (room, room))
    support = Points(CLOUD[:150].double().view(5, 1, 30, 3) if own_clouds else CLOUD[:30].double())
    generator = torch.Generator().manual_seed(1)
    maps = 2 * torch.randn(5, 4, 30, generator=generator, dtype=torch.float64)
    target = torch.randn(5, 4, 3, generator=generator, dtype=torch.float64)
    weight, slopes = torch.rand(5, 4, 3, generator=generator).double(), torch.randn(5, 4, generator=generator).double()
    needed = [x.requires_grad_() for x, is_wanted in zip((maps, target), wanted, strict=True) if is_wanted]
    first, second = (draw_of(support, basis=basis, temperature=0.6) for _ in range(2))
    assert len(first.parts(5, maps)) == number_of_parts
    error = product_error(first, maps, target, distance="l1", axis_weight=weight)
    # After maps, targets and weights it keeps the gradients, if they are wanted.
    assert tuple(kept is not None for kept in error.grad_fn.saved_tensors[3:]) == wanted  # type: ignore[union-attr]
    plain = ((plain_samples(second, maps) - target).abs() * weight).sum(dim=-1).mean(dim=0)
    torch.testing.assert_close(error, plain, rtol=1e-9, atol=1e-9)
    for retain_graph in (True, False):  # A second pass has the gradients made again.
        found = torch.autograd.grad(error, needed, slopes, retain_graph=retain_graph)
        exact = torch.autograd.grad(plain, needed, slopes, retain_graph=retain_graph)
        torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("batch", [(0, 4), (3, 0), (0,)])
@pytest.mark.parametrize("basis", [None, GAUSSIAN])
def test_no_maps_have_no_errors(batch: tuple[int, ...], basis: Any) -> None:
    logits, target = torch.empty(*batch, 30).requires_grad_(), torch.empty(*batch, 3)
    draw = draw_of(Points(CLOUD[:30]), basis=basis, temperature=1.0)
    error = product_error(draw, logits, target, distance="l1", axis_weight=None)
    assert error.shape == batch
    assert torch.autograd.grad(error.sum(), logits)[0].shape == logits.shape


@pytest.mark.parametrize("support", [Grid((5, 6), stride=(4.0, 2.0)), Points(CLOUD[:30].double())])
@pytest.mark.parametrize(("maps", "samples"), [(3, 5), (40, 5), (40, 2), (1, 1)])
@pytest.mark.parametrize("sharing", ["image", "batch"])
def test_squares_of_many_and_few_maps(support: Support, maps: int, samples: int, sharing: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(3, maps, 30, generator=generator, dtype=torch.float64)
    target = torch.randn(3, maps, support.ndim, generator=generator, dtype=torch.float64)
    given: dict[str, Any] = {"basis": GAUSSIAN, "temperature": 0.6, "num_samples": samples, "sharing": sharing}
    assert draw_of(support, **given).is_pooled
    plain = plain_error_and_gradient(draw_of(support, **given), logits, target)
    for found, wanted in zip(error_and_gradient(draw_of(support, **given), logits, target), plain, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    samples_of = [f(draw_of(support, **given), logits) for f in (plain_samples, product_samples)]
    torch.testing.assert_close(*samples_of, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", ["gemm", "torch"])
@pytest.mark.parametrize("temperature", [0.5, 1.5])
@pytest.mark.parametrize("support", [Grid((6, 5), stride=(2.0, 3.0)), Points(CLOUD[:30])])
def test_one_offset_for_all_cells_has_the_law_of_one_for_each(form: str, temperature: float, support: Support) -> None:
    # A wide map, a narrow one, and one cell: the weights' squares add up to little, to much, and to 1.
    scores = torch.randn(30, generator=torch.Generator().manual_seed(3))
    logits = torch.stack([0.1 * scores, 3 * scores, torch.where(torch.arange(30) == 7, 60.0, 0.0)])
    logits = logits.unflatten(-1, support.shape)
    given: dict[str, Any] = {"basis": GAUSSIAN, "num_samples": 4000, "temperature": temperature}
    alone = sampling_argmax(logits, support, generator=torch.Generator().manual_seed(5), **given)
    with kernels.use(form):
        together = sampling_argmax(logits, support, noise="image", generator=torch.Generator().manual_seed(6), **given)
    for k in range(3):
        for axis in range(support.ndim):
            assert stats.ks_2samp(alone[:, k, axis].numpy(), together[:, k, axis].numpy()).pvalue > 1e-3
        both = [torch.cov(samples[:, k].T.double()) for samples in (alone, together)]
        torch.testing.assert_close(*both, rtol=0.2, atol=0.1 * float(both[0].diagonal().max()))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_its_gradient_has_the_same_mean_and_varies_no_more(temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid((4, 4))
    logits = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(3))
    target = torch.tensor([[[1.0, 2.0], [2.5, 0.5]]])
    found = {}
    for name, least in (("once", 0.5), ("each", torch.inf)):
        monkeypatch.setattr(_shared_draws, "LEAST_SQUARED", least)
        generator, gradients = torch.Generator().manual_seed(7), []
        for _ in range(1500):
            maps = logits.clone().requires_grad_()
            with kernels.use("gemm"):
                error = expected_error(
                    maps, grid, target, basis=Gaussian(sigma=1.0), num_samples=2, temperature=temperature, distance="squared",
                    noise="image", generator=generator,
                )  # fmt: skip
            gradients.append(torch.autograd.grad(error.sum(), maps)[0].flatten().double())
        found[name] = torch.stack(gradients)
    means = [values.mean(dim=0) for values in found.values()]
    spread = sum(values.var(dim=0) / len(values) for values in found.values())
    assert float((((means[0] - means[1]) / spread.sqrt()) ** 2).mean()) < 2
    assert float(found["once"].var(dim=0).sum()) < 1.02 * float(found["each"].var(dim=0).sum())


def test_cold_samples_have_an_offset_for_each_cell() -> None:
    for temperature, is_pooled in ((0.5, True), (0.49, False)):
        draw = draw_of(Grid((5, 6)), basis=GAUSSIAN, temperature=temperature)
        assert (draw.is_pooled, draw.is_per_cell) == (is_pooled, not is_pooled)


def test_gradients_with_squares_stay_finite_where_one_cell_has_all_the_weight() -> None:
    logits = torch.zeros(2, 4096)
    logits[:, 2048] = 30.0
    logits.requires_grad_()
    error = expected_error(
        logits, Grid((4096,), stride=4000.0), torch.zeros(2, 1), basis=GAUSSIAN, num_samples=1000, temperature=0.5,
        distance="squared", noise="image", generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    (gradient,) = torch.autograd.grad(error.sum(), logits)
    assert error.isfinite().all()
    assert gradient.isfinite().all()


def test_a_forbidden_cell_has_no_gradient_where_its_square_is_largest() -> None:
    # A slope as of coordinates of millions, and a draw at its end for a cell without weight.
    for maps in (1, 40):
        weights = torch.tensor([1.0, 0.0]).expand(1, maps, 2)
        squared = torch.tensor([1e-4, 2.0**96]).expand(1, 1, 2)
        into, slope = torch.zeros(1, maps, 2), torch.full((1, maps, 1, 3), 1e15)
        _sums._give_squares(slope, squared, weights, into)
        torch.testing.assert_close(into, torch.tensor([2e11, 0.0]).expand(1, maps, 2))


@pytest.mark.parametrize("temperature", [2.0, 1.0, 0.7, 0.5])
@pytest.mark.parametrize(("grid", "basis", "formula"), [
    (Grid((1, 1, 1)), None, "paper"), (Grid((1, 1, 1)), GAUSSIAN, "paper"), (Grid((1,)), "triangular", "released"),
    (Grid((1, 1)), "triangular", "released"), (Grid((1, 2)), "triangular", "paper"),
])  # fmt: skip
def test_maps_of_one_cell_in_single_precision(grid: Grid, basis: Any, formula: Any, temperature: float) -> None:
    # Columns of one cell lie as far apart as they are many.
    logits = torch.randn(3, 4, grid.num_cells, generator=torch.Generator().manual_seed(2))
    for samples in (2, 9):
        given: dict[str, Any] = {"basis": basis, "temperature": temperature, "num_samples": samples}
        draws = [replace(draw_of(grid, **given), formula=formula) for _ in range(2)]
        wanted = plain_samples(draws[0], logits.double())
        torch.testing.assert_close(product_samples(draws[1], logits).double(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("basis", [None, GAUSSIAN])
def test_maps_in_any_order_of_memory_and_errors_alone(basis: Any) -> None:
    grid = Grid((5, 6))
    logits = torch.randn(30, 4, 3, generator=torch.Generator().manual_seed(1)).permute(2, 1, 0)
    target = torch.zeros(3, 4, 2)
    given: dict[str, Any] = {"basis": basis, "temperature": 0.7}
    wanted = error_and_gradient(draw_of(grid, **given), logits.contiguous(), target)
    for found, right in zip(error_and_gradient(draw_of(grid, **given), logits, target), wanted, strict=True):
        torch.testing.assert_close(found, right)
    with torch.inference_mode():
        alone = product_error(draw_of(grid, **given), logits, target, distance="l1", axis_weight=None)
    torch.testing.assert_close(alone, wanted[0])


@pytest.mark.parametrize("basis", [None, GAUSSIAN])
def test_gradients_are_ordinary_tensors_whatever_the_threads(basis: Any) -> None:
    # Small maps' sums are made in inference mode, by another thread or, where there is but one, by the caller's.
    logits = torch.randn(3, 4, 600, generator=torch.Generator().manual_seed(1))
    target = torch.rand(3, 4, 3, generator=torch.Generator().manual_seed(2))
    found, before = [], torch.get_num_threads()
    for threads in (2, 1):
        torch.set_num_threads(threads)
        try:
            leaf, draw = logits.clone().requires_grad_(), draw_of(Points(CLOUD), basis=basis, temperature=1.0)
            error = product_error(draw, leaf, target, distance="l2", axis_weight=None)
            first, again = (torch.autograd.grad(error.sum(), leaf, retain_graph=True)[0] for _ in range(2))
            (second,) = torch.autograd.grad((first.requires_grad_() * leaf).sum(), leaf)
        finally:
            torch.set_num_threads(before)
        assert not any(tensor.is_inference() for tensor in (error, first, again))
        assert torch.equal(first, again)
        assert torch.equal(second, first)
        found.append((error.detach(), first.detach()))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_memory_on_points_stays_below_five_times_the_maps() -> None:
    for form in ("gemm, noise per image", "gemm, noise per image, no offsets"):
        assert peak_of("sampling points-30 2", form) < 5
