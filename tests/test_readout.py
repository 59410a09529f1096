"""Readouts against independent loops, golden numbers of published code, and the degenerate maps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import oracles_readout as oracle
from heatpoint.readout import (
    READOUTS,
    argmax,
    dark,
    flip_average,
    four_neighbours,
    kernel_soft_argmax,
    quarter_shift,
    second_maximum_shift,
    soft_argmax,
    top_k,
    window,
)
from heatpoint.rounding import gaussian_map
from heatpoint.support import Grid, Points, Support

Goldens = Callable[[str], dict[str, np.ndarray]]

GRIDS = [
    Grid((9,), stride=3.0),
    Grid((5, 7), stride=(4.0, 2.5), offset=0),
    Grid((4, 5, 3), stride=(2.0, 3.0, 0.5), offset=(0.0, 1.0, -2.0)),
]
CYCLIC = Grid((5, 8), stride=(2.0, 3.0), offset=(1.0, 0.0), cyclic=(0,))
# Every readout with the options it needs; the second group also reads point sets.
ON_GRIDS: dict[str, dict[str, object]] = {
    "soft_argmax": {},
    "kernel_soft_argmax": {"sigma_cells": 1.5},
    "argmax": {"threshold": 1.0},
    "quarter_shift": {},
    "second_maximum_shift": {},
    "top_k": {"k": 3},
    "window": {"radius": 1},
    "dark": {"sigma_cells": 1.0},
}
ON_POINTS = {"soft_argmax": {}, "kernel_soft_argmax": {"sigma_cells": 0.7}, "argmax": {}, "top_k": {"k": 3}}
DIFFERENTIABLE = ("soft_argmax", "kernel_soft_argmax", "top_k", "window", "dark")
brief = settings(deadline=None, derandomize=True, max_examples=20)


def random_maps(grid: Support, *, seed: int = 0, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(2, 3, *grid.shape, generator=generator, dtype=torch.float64)


def cloud(ndim: int, *, seed: int = 5) -> Points:
    generator = torch.Generator().manual_seed(seed)
    return Points(torch.randn(2, 1, 11, ndim, generator=generator, dtype=torch.float64))


def assert_oracle(found: Tensor, maps: Tensor, grid: Grid, reference: Callable[..., list[float]]) -> None:
    """Compares points (2, 3, D) with an oracle that reads one map in cells."""
    assert found.shape == (2, 3, grid.ndim)
    expected = torch.tensor(
        [[reference(maps[b, k].numpy()) for k in range(maps.shape[1])] for b in range(maps.shape[0])],
        dtype=torch.float64,
    )
    # Sums of at most 60 terms below 50 in float64 agree to 60 · 50 · 2⁻⁵² < 1e-12.
    torch.testing.assert_close(grid.to_cells(found), expected, rtol=0, atol=1e-11)


# Against loops


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
@pytest.mark.parametrize("temperature", [1.0, 0.3, 5.0])
def test_soft_argmax_is_the_mean_under_the_softmax(grid: Grid, temperature: float) -> None:
    maps = random_maps(grid)
    found = soft_argmax(maps, grid, temperature=temperature)
    assert_oracle(found, maps, grid, lambda m: oracle.soft_argmax(m, temperature=temperature))


def test_soft_argmax_on_a_cyclic_axis_is_the_mean_direction() -> None:
    maps = random_maps(CYCLIC)
    assert_oracle(soft_argmax(maps, CYCLIC), maps, CYCLIC, lambda m: oracle.soft_argmax(m, cyclic=(0,)))


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
@pytest.mark.parametrize("kernel_on", ["probability", "logits"])
def test_kernel_soft_argmax_windows_the_map(grid: Grid, kernel_on: str) -> None:
    maps = random_maps(grid)
    sigmas = [0.8, 1.7, 1.1][: grid.ndim]
    found = kernel_soft_argmax(maps, grid, sigma_cells=sigmas, kernel_on=kernel_on)
    assert_oracle(found, maps, grid, lambda m: oracle.kernel_soft_argmax(m, sigmas, kernel_on))
    cooled = kernel_soft_argmax(3 * maps, grid, sigma_cells=sigmas, kernel_on=kernel_on, temperature=3.0)
    torch.testing.assert_close(cooled, found, rtol=0, atol=1e-10)


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_argmax_is_corrected_by_the_threshold(grid: Grid, threshold: float) -> None:
    maps = random_maps(grid)
    found = argmax(maps, grid, threshold=threshold)
    assert_oracle(found, maps, grid, lambda m: [c + threshold - 0.5 for c in oracle.largest(m)])


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
@pytest.mark.parametrize("k", [1, 2, 5, 9])
@pytest.mark.parametrize("weighting", ["probability", "logits", "values"])
def test_top_k_is_the_weighted_mean_of_the_largest_cells(grid: Grid, k: int, weighting: str) -> None:
    maps = random_maps(grid)
    assert_oracle(top_k(maps, grid, k=k, weighting=weighting), maps, grid, lambda m: oracle.top_k(m, k, weighting))


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
@pytest.mark.parametrize("radius", [0, 1, 2])
@pytest.mark.parametrize("weighting", ["probability", "logits", "values"])
def test_window_is_the_weighted_mean_around_the_peak(grid: Grid, radius: int, weighting: str) -> None:
    maps = random_maps(grid)
    found = window(maps, grid, radius=radius, weighting=weighting)
    assert_oracle(found, maps, grid, lambda m: oracle.window(m, radius, weighting))


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
@pytest.mark.parametrize("weighting", ["probability", "logits", "values"])
def test_four_neighbours_reads_the_cells_around_the_target(grid: Grid, weighting: str) -> None:
    maps = random_maps(grid).abs()
    c = [1.3, 2.8, 0.4][: grid.ndim]
    target = grid.to_points(torch.tensor(c, dtype=torch.float64))
    found = four_neighbours(maps, grid, target, weighting=weighting)
    assert_oracle(found, maps, grid, lambda m: oracle.neighbours(m, c, weighting))
    one_each = four_neighbours(maps, grid, target.expand(2, 3, -1), weighting=weighting)
    assert torch.equal(one_each, found)


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
@pytest.mark.parametrize("border", ["neighbours", "msra", "hrnet"])
def test_quarter_shift_moves_to_the_larger_neighbour(grid: Grid, border: str) -> None:
    for seed in range(4):
        maps = random_maps(grid, seed=seed)
        found = quarter_shift(maps, grid, border=border)
        assert_oracle(found, maps, grid, lambda m: oracle.quarter(m, border))


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
def test_second_maximum_shift_moves_to_the_second_largest_cell(grid: Grid) -> None:
    maps = random_maps(grid)
    assert_oracle(second_maximum_shift(maps, grid), maps, grid, oracle.second_maximum)


@pytest.mark.parametrize("shape", [(13,), (12, 11), (9, 8, 7)])
def test_dark_is_one_newton_step_on_the_blurred_logarithm(shape: tuple[int, ...]) -> None:
    grid = Grid(shape, stride=4.0, offset=0)
    generator = torch.Generator().manual_seed(1)
    cells = 2.5 + torch.rand(2, 3, grid.ndim, generator=generator, dtype=torch.float64) * (
        torch.tensor(grid.lengths) - 6
    )
    maps = gaussian_map(grid.to_points(cells), grid, sigma_cells=1.2)
    maps = maps + 0.02 * torch.rand(maps.shape, generator=generator, dtype=torch.float64)
    maps[0, 0] = 0
    maps[0, 0].view(-1)[1] = 1.0  # a peak at the border stays
    taps = np.exp(-0.5 * (np.arange(-5, 6) / 2.0) ** 2)
    taps /= taps.sum()
    found = dark(maps, grid, sigma_cells=2.0)
    assert_oracle(found, maps, grid, lambda m: oracle.dark(m, list(taps)))
    assert_oracle(dark(maps, grid, sigma_cells=2.0, kernel_size=1), maps, grid, lambda m: oracle.dark(m, [1.0]))
    assert_oracle(
        dark(maps, grid, sigma_cells=1.0, kernel_size=5),
        maps,
        grid,
        lambda m: oracle.dark(m, [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16]),
    )


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_readouts_of_point_sets(ndim: int) -> None:
    points = cloud(ndim)
    logits = random_maps(points)
    weights = torch.softmax(logits, dim=-1)
    xyz = points.xyz.expand(2, 3, 11, ndim)
    peak = logits.argmax(dim=-1)
    at_peak = xyz[torch.arange(2)[:, None], torch.arange(3), peak]
    torch.testing.assert_close(soft_argmax(logits, points), (weights[..., None] * xyz).sum(dim=-2))
    assert torch.equal(argmax(logits, points), at_peak)
    kernel = torch.exp(-0.5 * ((xyz - at_peak[..., None, :]) / 0.7).square().sum(dim=-1))
    windowed = weights * kernel / (weights * kernel).sum(dim=-1, keepdim=True)
    found = kernel_soft_argmax(logits, points, sigma_cells=0.7)
    torch.testing.assert_close(found, (windowed[..., None] * xyz).sum(dim=-2))
    values, index = logits.topk(3, dim=-1)
    chosen = xyz.gather(-2, index[..., None].expand(*index.shape, ndim))
    expected = (values.softmax(dim=-1)[..., None] * chosen).sum(dim=-2)
    torch.testing.assert_close(top_k(logits, points, k=3), expected)


# Properties


@pytest.mark.parametrize("name", READOUTS)
@pytest.mark.parametrize("grid", [*GRIDS, CYCLIC], ids=repr)
def test_any_batch_shape_reads_each_map_by_itself(name: str, grid: Grid) -> None:
    maps = random_maps(grid).abs()
    found = READOUTS[name](maps, grid, **ON_GRIDS[name])
    assert found.dtype == torch.float64
    one = READOUTS[name](maps[1, 2], grid, **ON_GRIDS[name])
    assert one.shape == (grid.ndim,)
    torch.testing.assert_close(found[1, 2], one, rtol=0, atol=1e-12)
    assert READOUTS[name](maps[:0], grid, **ON_GRIDS[name]).shape == (0, 3, grid.ndim)


@pytest.mark.parametrize("name", READOUTS)
@pytest.mark.parametrize("shift", [1, 3, 6])
def test_readouts_turn_with_a_cyclic_axis(name: str, shift: int) -> None:
    # A cyclic axis has no first cell: turning the map turns the point.
    maps = random_maps(CYCLIC).abs()
    before = READOUTS[name](maps, CYCLIC, **ON_GRIDS[name])
    after = READOUTS[name](maps.roll(shift, dims=-1), CYCLIC, **ON_GRIDS[name])
    period = CYCLIC.size[0]
    apart = torch.remainder(after[..., 0] - before[..., 0] - 2.0 * shift + period / 2, period) - period / 2
    assert apart.abs().max().item() < 1e-9
    torch.testing.assert_close(after[..., 1], before[..., 1], rtol=0, atol=1e-9)
    assert bool(((after[..., 0] >= 0.0) & (after[..., 0] < period)).all())


@brief
@given(st.integers(0, 2**31), st.floats(-50.0, 50.0), st.sampled_from(GRIDS))
def test_a_constant_added_to_the_logits_changes_nothing(seed: int, constant: float, grid: Grid) -> None:
    maps = random_maps(grid, seed=seed)
    for name in (
        "soft_argmax",
        "kernel_soft_argmax",
        "argmax",
        "quarter_shift",
        "second_maximum_shift",
        "top_k",
        "window",
    ):
        before = READOUTS[name](maps, grid, **ON_GRIDS[name])
        after = READOUTS[name](maps + constant, grid, **ON_GRIDS[name])
        torch.testing.assert_close(after, before, rtol=0, atol=1e-9)


@brief
@given(st.integers(0, 2**31), st.sampled_from(GRIDS), st.integers(1, 9))
def test_weighting_by_probability_is_the_softmax_of_the_k_logits(seed: int, grid: Grid, k: int) -> None:
    maps = random_maps(grid, seed=seed)
    assert torch.equal(top_k(maps, grid, k=k), top_k(maps, grid, k=k, weighting="logits"))
    everything = top_k(maps, grid, k=grid.num_cells)
    torch.testing.assert_close(everything, soft_argmax(maps, grid), rtol=0, atol=1e-10)
    torch.testing.assert_close(window(maps, grid, radius=9), everything, rtol=0, atol=1e-10)


@brief
@given(st.data(), st.integers(1, 3), st.floats(0.8, 3.0))
def test_inward_dark_recovers_every_exact_gaussian(data: st.DataObject, ndim: int, sigma: float) -> None:
    grid = Grid((9, 8, 7)[:ndim], stride=4.0)
    share = torch.tensor([data.draw(st.floats(0.0, 1.0)) for _ in range(ndim)], dtype=torch.float64)
    points = grid.to_points(share * (torch.tensor(grid.lengths) - 1))
    maps = gaussian_map(points, grid, sigma_cells=sigma)
    # Within 1.5 cells the values stay above exp(−½ · 3 · (2.5 / 0.8)²) > 1e-7 > the floor of 1e-10.
    found = dark(maps, grid, sigma_cells=sigma, kernel_size=1, variant="inward")
    torch.testing.assert_close(found, points, rtol=0, atol=1e-9)


def test_inward_dark_leaves_axes_of_fewer_than_three_cells_and_bounds_its_step() -> None:
    grid = Grid((2, 9), stride=1.0, offset=0)
    row = gaussian_map(torch.tensor([4.3], dtype=torch.float64), Grid((9,), offset=0), sigma_cells=1.5)
    maps = torch.stack([0.5 * row, row])
    found = dark(maps, grid, sigma_cells=1.5, kernel_size=1, variant="inward")
    torch.testing.assert_close(found, torch.tensor([4.3, 1.0], dtype=torch.float64), rtol=0, atol=1e-9)
    steep = torch.tensor([1.0, 0.9, 0.7, 0.1, 0.0])  # almost straight in the logarithm: the fit lies far outside
    assert dark(steep, Grid((5,), offset=0), sigma_cells=1.0, kernel_size=1, variant="inward").item() >= -0.5


def test_dark_of_a_flat_or_empty_map_is_its_first_cell() -> None:
    grid = Grid((9, 8), stride=4.0, offset=0)
    for maps in (torch.zeros(9, 8), torch.full((9, 8), -1.0)):
        assert dark(maps, grid, sigma_cells=2.0).tolist() == [0.0, 0.0]
        assert dark(maps, grid, sigma_cells=2.0, kernel_size=1, variant="inward").tolist() == [0.0, 0.0]


def test_the_kernel_follows_sigma_cells() -> None:
    grid = Grid((24, 21), stride=4.0)
    maps = random_maps(grid).abs()
    for sigma, size in ((1.0, 7), (2.0, 11), (3.0, 17)):
        assert torch.equal(dark(maps, grid, sigma_cells=sigma), dark(maps, grid, sigma_cells=9.0, kernel_size=size))


def test_equal_maxima_read_the_first_cell() -> None:
    grid = Grid((4, 5), offset=0)
    maps = torch.zeros(4, 5)
    maps[1, 3] = maps[2, 0] = 1.0
    for found in (argmax(maps, grid), quarter_shift(maps, grid), window(maps, grid, radius=0)):
        assert found.tolist() == [3.0, 1.0]


def test_values_that_are_not_positive_weigh_nothing() -> None:
    grid = Grid((5,), offset=0)
    maps = torch.tensor([-1.0, 2.0, 1.0, -5.0, -torch.inf])
    assert top_k(maps, grid, k=4, weighting="values").item() == pytest.approx(4 / 3)
    assert top_k(-maps.abs(), grid, k=2, weighting="values").item() == 1.0  # cells 0 and 2, alike
    assert top_k(torch.tensor([1.0, 3e38, 3e38]), Grid((3,), offset=0), k=2, weighting="values").item() == 1.5


def test_soft_argmax_sign_gradient_keeps_the_value() -> None:
    grid = GRIDS[1]
    maps = random_maps(grid).requires_grad_()
    plain, signed = soft_argmax(maps, grid), soft_argmax(maps, grid, sign_gradient=True)
    assert torch.equal(plain, signed)
    (gradient,) = torch.autograd.grad(signed.sum(), maps)
    weights = torch.softmax(maps.detach().flatten(2), dim=-1)
    centers = grid.cell_centers(dtype=torch.float64).reshape(-1, 2)
    ahead = centers >= plain.detach()[..., None, :]
    slope = ((4 * ahead.double() - 2) * torch.tensor(grid.strides, dtype=torch.float64)).sum(dim=-1)
    expected = weights * (slope - (weights * slope).sum(dim=-1, keepdim=True))
    torch.testing.assert_close(gradient.flatten(2), expected, rtol=0, atol=1e-12)


# Gradients


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize("grid", [*GRIDS, CYCLIC], ids=repr)
def test_gradients_are_those_of_finite_differences(name: str, grid: Grid) -> None:
    maps = random_maps(grid)[:1, :2].abs().requires_grad_()
    assert torch.autograd.gradcheck(lambda m: READOUTS[name](m, grid, **ON_GRIDS[name]), (maps,))


@pytest.mark.parametrize("weighting", ["logits", "values"])
def test_gradients_of_the_weightings(weighting: str) -> None:
    grid = GRIDS[1]
    maps = random_maps(grid)[:1, :2].abs().requires_grad_()
    assert torch.autograd.gradcheck(lambda m: top_k(m, grid, k=5, weighting=weighting), (maps,))
    assert torch.autograd.gradcheck(lambda m: window(m, grid, weighting=weighting), (maps,))


@pytest.mark.parametrize("variant", ["dark", "udp", "inward"])
def test_gradients_of_dark(variant: str) -> None:
    grid = Grid((9, 8), stride=2.0)
    points = grid.to_points(torch.tensor([[3.2, 4.4], [3.9, 5.3]], dtype=torch.float64))
    maps = gaussian_map(points, grid, sigma_cells=2.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: dark(m, grid, sigma_cells=2.0, variant=variant), (maps,))


@pytest.mark.parametrize("name", ON_POINTS)
def test_gradients_reach_logits_and_points(name: str) -> None:
    logits = random_maps(cloud(3)).requires_grad_(name != "argmax")
    xyz = cloud(3).xyz.clone().requires_grad_()
    if name == "kernel_soft_argmax":  # its window is constant under differentiation, which finite differences are not
        found = kernel_soft_argmax(logits, Points(xyz), sigma_cells=0.7)
        assert all(bool(g.isfinite().all()) for g in torch.autograd.grad(found.sum(), (logits, xyz)))
    else:
        assert torch.autograd.gradcheck(lambda m, p: READOUTS[name](m, Points(p), **ON_POINTS[name]), (logits, xyz))


# Degenerate maps


def degenerate(grid: Support) -> dict[str, Tensor]:
    cells = int(np.prod(grid.shape))
    one_hot = torch.zeros(cells)
    one_hot[cells // 2] = 1.0
    only = torch.full((cells,), -torch.inf)
    only[cells // 3] = 0.0
    border = torch.zeros(cells)
    border[-1] = 9.0
    wild = 1e4 * torch.where(torch.arange(cells) % 3 == 0, -1.0, 1.0)
    cases = {"one-hot": one_hot, "sharp": 1e4 * one_hot, "only": only, "border": border, "wild": wild}
    cases["uniform"] = torch.zeros(cells)
    return {name: flat.reshape(grid.shape) for name, flat in cases.items()}


SUPPORTS: list[Support] = [*GRIDS, CYCLIC, Grid((1,)), Grid((1, 6)), Grid((6, 1, 2)), cloud(2)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("support", SUPPORTS, ids=repr)
def test_degenerate_maps_give_finite_points_and_gradients(support: Support, dtype: torch.dtype) -> None:
    options = dict(ON_GRIDS) if isinstance(support, Grid) else dict(ON_POINTS)
    options["top_k"] = {"k": min(3, int(np.prod(support.shape)))}
    support = support if isinstance(support, Grid) else Points(support.xyz[0, 0])
    calls = [(name, options[name]) for name in options]
    calls.append(("top_k", {**options["top_k"], "weighting": "values"}))
    if isinstance(support, Grid):
        calls += [("dark", {"sigma_cells": 1.0, "variant": variant}) for variant in ("udp", "inward")]
        calls.append(("window", {"weighting": "values"}))
    calls.append(("kernel_soft_argmax", {"sigma_cells": 0.01, "kernel_on": "logits"}))
    for case, maps in degenerate(support).items():
        for name, option in calls:
            if name == "dark" and case == "only":
                continue  # takes values, for which −inf has no meaning
            leaf = maps.to(dtype).requires_grad_()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = READOUTS[name](leaf, support, **option)
            assert found.dtype == torch.float32
            assert bool(found.isfinite().all()), (case, name)
            if found.requires_grad:
                (gradient,) = torch.autograd.grad(found.sum(), leaf)
                assert bool(gradient.isfinite().all()), (case, name)


# Flip


def test_flip_average_mirrors_back_exactly() -> None:
    points = torch.tensor([[[1.25, 2.0], [6.0, 3.5]]], dtype=torch.float64)
    mirrored = torch.tensor([[[1.0, 3.5], [5.75, 2.0]]], dtype=torch.float64)
    assert torch.equal(flip_average(points, mirrored, width=8, swap=[1, 0]), points)
    unswapped = flip_average(points, mirrored, width=8)
    assert unswapped.tolist() == [[[3.625, 2.75], [3.625, 2.75]]]


# Golden numbers


@pytest.mark.parametrize("k", [1, 2, 4, 5, 9, 11, 25])
def test_golden_top_k(goldens: Goldens, k: int) -> None:
    data = goldens("03_h3r_decode")
    maps = torch.from_numpy(data["heatmap"])
    grid = Grid(tuple(maps.shape[-2:]), offset=0)
    np.testing.assert_allclose(top_k(maps, grid, k=k, weighting="logits"), data[f"coord_k{k}"], rtol=0, atol=1e-5)
    for weighting in ("logits", "probability"):
        found = top_k(maps.double(), grid, k=k, weighting=weighting)
        np.testing.assert_allclose(found, data[f"coord_k{k}_f64"], rtol=0, atol=1e-12)


def test_golden_top_k_of_two_channels_and_its_gradient(goldens: Goldens) -> None:
    data = goldens("03_h3r_decode")
    two = torch.from_numpy(data["heatmap2class"])
    for j, stride in enumerate(data["strides"].tolist()):
        grid = Grid(tuple(two.shape[-2:]), stride=stride, offset=0)
        for k in (5, 9):
            found = top_k(two[:, 1].double(), grid, k=k)
            np.testing.assert_allclose(found, data[f"binary_stride{j}_k{k}_f64"], rtol=0, atol=1e-11)
    maps = torch.from_numpy(data["heatmap"]).double().requires_grad_()
    found = top_k(maps, Grid(tuple(maps.shape[-2:]), offset=0), k=9)
    (gradient,) = torch.autograd.grad((found * torch.from_numpy(data["grad_weight"])).sum(), maps)
    np.testing.assert_allclose(gradient, data["grad_heatmap_k9_f64"], rtol=0, atol=1e-12)


def test_golden_top_k_of_gaussian_heatmaps(goldens: Goldens) -> None:
    data = goldens("03_h3r_pose_fork")
    maps = torch.from_numpy(data["dec_heatmap"])
    height, width = maps.shape[-2:]
    for item in range(len(maps)):
        stride = 200 * data["dec_scale_200"][item, 0] / width
        offset = tuple(data["dec_center"][item] - stride * np.array([width, height]) / 2)
        grid = Grid((height, width), stride=stride, offset=offset)
        for k in (1, 2, 5, 11, 25):
            found = top_k(maps[item], grid, k=k, weighting="logits")
            np.testing.assert_allclose(found, data[f"dec_preds_k{k}"][item], rtol=0, atol=3e-4)


def test_golden_flip_average_of_landmarks(goldens: Goldens) -> None:
    data = goldens("03_h3r_geometry")
    for prefix in ("g0", "g1"):
        width = float(data[f"{prefix}_input_size"])
        for name, order in (("wflw", "wflw"), ("f300w", "300w"), ("lapa", "lapa")):
            swap = data[f"flip_order_{order}"].tolist()
            direct = torch.from_numpy(data[f"{prefix}_{name}_direct"])
            mirrored = torch.from_numpy(data[f"{prefix}_{name}_from_flipped_image"])
            found = flip_average(direct, mirrored, width=width, swap=swap)
            np.testing.assert_allclose(found, data[f"{prefix}_{name}_average"], rtol=0, atol=2e-5)


def test_golden_face_detector_from_logits_to_image(goldens: Goldens) -> None:
    data = goldens("03_h3r_geometry")
    size, stride, k = float(data["full_input_size"]), float(data["full_stride"]), int(data["full_topk"])
    logits = torch.from_numpy(data["full_logits_direct"])[:, 1]
    mirrored = torch.from_numpy(data["full_logits_flipped"])[:, 1]
    grid = Grid(tuple(logits.shape[-2:]), stride=stride, offset=0)
    swap = data["flip_order_300w"].tolist()
    found = flip_average(top_k(logits, grid, k=k), top_k(mirrored, grid, k=k), width=size, swap=swap).double().numpy()
    for item, (x1, y1, x2, y2) in enumerate(data["full_bbox"].astype(np.float64)):
        edge = float(data["scale"]) * max(x2 - x1 + 1, y2 - y1 + 1)
        corner = np.array([(x1 + x2 - edge + 1) / 2, (y1 + y2 - edge + 1) / 2])
        image = found[item] * edge / size + corner
        np.testing.assert_allclose(image, data["full_landmark_image"][item], rtol=0, atol=1e-4)


def decoded(goldens: Goldens) -> tuple[dict[str, np.ndarray], Tensor, np.ndarray]:
    """The maps of section 4a and which of them have a positive value (elsewhere the references return −1 or 0)."""
    data = goldens("04_mmpose_decode_a")
    has_peak = data["max_vals"] > 0
    assert int(has_peak.sum()) == 28
    return data, torch.from_numpy(data["heatmaps"]), has_peak


def test_golden_quarter_shift(goldens: Goldens) -> None:
    data, maps, has_peak = decoded(goldens)
    shape = tuple(maps.shape[-2:])
    ratio = float(data["input_wh"][0] / data["heatmap_wh"][0])
    found = quarter_shift(maps, Grid(shape, stride=ratio, offset=0), border="msra")
    np.testing.assert_array_equal(found[has_peak], data["msra_quarter"][has_peak])
    found = quarter_shift(maps, Grid(shape, offset=0), border="hrnet")
    for name in ("hrnet_quarter_hmunits", "sa_simple_quarter_hmunits"):
        np.testing.assert_array_equal(found[has_peak], data[name][has_peak])
    peak = argmax(maps, Grid(shape, offset=0))
    np.testing.assert_array_equal(peak[has_peak], data["max_locs"][has_peak])


def test_golden_dark(goldens: Goldens) -> None:
    data, maps, has_peak = decoded(goldens)
    shape = tuple(maps.shape[-2:])
    width, height = (float(n) for n in data["input_wh"])
    grid = Grid(shape, stride=width / shape[1], offset=0)
    for sigma, size in ((1.0, 7), (2.0, 11), (3.0, 17)):
        for found in (dark(maps, grid, sigma_cells=sigma), dark(maps, grid, sigma_cells=2.0, kernel_size=size)):
            np.testing.assert_allclose(found[has_peak], data[f"msra_dark_bk{size}"][has_peak], rtol=0, atol=5e-5)
    found = dark(maps, Grid(shape, offset=0), sigma_cells=2.0)
    np.testing.assert_allclose(found[has_peak], data["darkpose_bk11_hmunits"][has_peak], rtol=0, atol=5e-5)
    corners = Grid(shape, stride=(width / (shape[1] - 1), height / (shape[0] - 1)), offset=0)
    found = dark(maps, corners, sigma_cells=2.0, variant="udp")
    np.testing.assert_allclose(found[has_peak], data["udp_dark_bk11"][has_peak], rtol=0, atol=5e-5)


def test_golden_round_trips(goldens: Goldens) -> None:
    data = goldens("04_mmpose_roundtrip_a")
    width, height = (int(n) for n in data["heatmap_wh"])
    grid = Grid((height, width), stride=float(data["input_wh"][0]) / width, offset=0)
    points = torch.from_numpy(data["msra_dark_in"])
    maps = gaussian_map(points, grid, sigma_cells=2.0)
    found = dark(maps, grid, sigma_cells=2.0)
    np.testing.assert_allclose(found, data["msra_dark_roundtrip"], rtol=0, atol=5e-5)


def test_golden_integral_regression(goldens: Goldens) -> None:
    data = goldens("04_mmpose_integral")
    maps = torch.from_numpy(data["feats"])
    height, width = maps.shape[-2:]
    grid = Grid((height, width), stride=(1 / width, 1 / height), offset=0)
    for i, beta in enumerate(data["betas"].tolist()):
        leaf = maps.double().requires_grad_()
        found = soft_argmax(leaf, grid, temperature=1 / beta)
        np.testing.assert_allclose(found.detach(), data[f"b{i}_coords_f64"], rtol=0, atol=1e-12)
        (gradient,) = torch.autograd.grad((found * torch.from_numpy(data["grad_weight"])).sum(), leaf)
        np.testing.assert_allclose(gradient, data[f"b{i}_grad_f64"], rtol=0, atol=1e-12)
        found = soft_argmax(maps, grid, temperature=1 / beta)
        np.testing.assert_allclose(found, data[f"b{i}_coords"], rtol=0, atol=1e-6)


def test_golden_kornia_soft_argmax(goldens: Goldens) -> None:
    data = goldens("05_kornia")
    maps = torch.from_numpy(data["logits"]).double()
    height, width = maps.shape[-2:]
    kinds = {
        "pix": Grid((height, width), offset=0),
        "norm": Grid((height, width), stride=(2 / (width - 1), 2 / (height - 1)), offset=-1),
    }
    for i, multiplier in enumerate(data["temperatures"].tolist()):
        for kind, grid in kinds.items():
            leaf = maps.clone().requires_grad_()
            found = soft_argmax(leaf, grid, temperature=1 / multiplier)
            # The reference holds its cell positions in float32: 1e-7 of a half width, gradients up to the multiplier times that.
            np.testing.assert_allclose(found.detach(), data[f"soft_argmax_{kind}_t{i}_f64"], rtol=0, atol=1e-6)
            (gradient,) = torch.autograd.grad((found * torch.from_numpy(data["grad_weight"])).sum(), leaf)
            np.testing.assert_allclose(gradient, data[f"soft_argmax_{kind}_t{i}_grad_f64"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_golden_dsnt(goldens: Goldens, ndim: int) -> None:
    data = goldens(f"05_dsntnn_{ndim}d")
    maps = torch.from_numpy(data["logits"]).double()
    shape = tuple(maps.shape[2:])
    lengths = np.array(shape[::-1])
    grid = Grid(shape, stride=tuple(2 / lengths), offset=tuple(1 / lengths - 1))
    suffix = "normalized_f64" if ndim == 2 else "f64"
    np.testing.assert_allclose(soft_argmax(maps, grid), data[f"dsnt_{suffix}"], rtol=0, atol=1e-12)
    pixels = soft_argmax(maps, Grid(shape, offset=0))
    np.testing.assert_allclose(pixels, data["dsnt_pixel_f64"], rtol=0, atol=1e-12)


def test_golden_released_soft_argmax_with_its_sign_gradient(goldens: Goldens) -> None:
    data = goldens("01_sa2d_soft_none")
    leaf = torch.from_numpy(data["logits"]).double().requires_grad_()
    height, width = leaf.shape[-2:]
    grid = Grid((height, width), offset=0)
    size = torch.tensor([width, height])
    target = torch.from_numpy(data["target_uv"]).double().reshape(*leaf.shape[:2], 2)
    weight = torch.from_numpy(data["target_uv_weight"]).double().reshape(*leaf.shape[:2], 2)
    for sign_gradient, name in ((True, "clip"), (False, "plain")):
        found = soft_argmax(leaf, grid, sign_gradient=sign_gradient) / size - 0.5
        np.testing.assert_allclose(found.detach(), data["pred_jts_f64"], rtol=0, atol=1e-12)
        loss = (weight * (found - target).abs()).sum() / len(leaf)
        (gradient,) = torch.autograd.grad(loss, leaf)
        np.testing.assert_allclose(gradient, data[f"grad_logits_{name}_f64"], rtol=0, atol=1e-12)


# Errors


@pytest.mark.parametrize("name", READOUTS)
def test_every_readout_checks_its_grid_and_its_maps(name: str) -> None:
    options = ON_GRIDS[name]
    with pytest.raises(TypeError, match=rf"{name}: grid must be a heatpoint.Grid"):
        READOUTS[name](torch.zeros(5, 6), (5, 6), **options)
    argument = "maps" if name in ("quarter_shift", "second_maximum_shift", "dark") else "logits"
    with pytest.raises(TypeError, match=rf"{name}: {argument} must be a torch.Tensor, got ndarray"):
        READOUTS[name](np.zeros((5, 6)), Grid((5, 6)), **options)
    with pytest.raises(ValueError, match=rf"{name}: {argument} must end in the grid's shape \(5, 6\), got \(6, 5\)"):
        READOUTS[name](torch.zeros(6, 5), Grid((5, 6)), **options)
    with pytest.raises(ValueError, match=rf"{name}: {argument} must leave at least one cell of every map possible"):
        READOUTS[name](torch.full((2, 5, 6), -torch.inf), Grid((5, 6)), **options)
    with pytest.raises(ValueError, match=rf"{name}: {argument} must be finite or −inf, got NaN"):
        READOUTS[name](torch.full((2, 5, 6), torch.nan), Grid((5, 6)), **options)


@pytest.mark.parametrize("name", ["quarter_shift", "second_maximum_shift", "window", "dark"])
def test_readouts_of_neighbours_need_a_grid(name: str) -> None:
    with pytest.raises(TypeError, match="got Points. It needs neighbouring cells"):
        READOUTS[name](torch.zeros(11), cloud(2), **ON_GRIDS[name])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m, g: soft_argmax(m, g, temperature=0.0), "soft_argmax: temperature must be greater than 0, got 0.0"),
        (
            lambda m, g: kernel_soft_argmax(m, g, sigma_cells=1.0, temperature=-1.0),
            "kernel_soft_argmax: temperature must be greater than 0, got -1.0",
        ),
        (
            lambda m, g: kernel_soft_argmax(m, g, sigma_cells=-1.0),
            r"kernel_soft_argmax: sigma_cells must be greater than 0: one number or 2, in point order \(x, y, z\), got -1.0",
        ),
        (
            lambda m, g: kernel_soft_argmax(m, g, sigma_cells=1.0, kernel_on="prob"),
            "kernel_soft_argmax: kernel_on must be one of logits, probability, got 'prob'",
        ),
        (
            lambda m, g: kernel_soft_argmax(m[0, 0], cloud(2), sigma_cells=(1.0, 2.0)),
            "kernel_soft_argmax: logits must end in the number of points 11",
        ),
        (
            lambda m, g: kernel_soft_argmax(torch.zeros(2, 3, 11), cloud(2), sigma_cells=(1.0, 2.0)),
            r"kernel_soft_argmax: sigma_cells must be one number greater than 0, in the units of the points, got \(1.0, 2.0\)",
        ),
        (
            lambda m, g: argmax(m, g, threshold=1.5),
            r"argmax: threshold must lie in \[0, 1\], got 1.5. 1 is floor, 0.5 is round, 0 is ceil.",
        ),
        (
            lambda m, g: argmax(torch.zeros(2, 3, 11), cloud(2), threshold=1.0),
            "argmax: threshold must be 0.5 on Points, got 1.0",
        ),
        (
            lambda m, g: top_k(m, g, k=0),
            "top_k: k must be a whole number from 1 to the 30 cells of a map, got 0. k=1 is the plain argmax.",
        ),
        (lambda m, g: top_k(m, g, k=31), "top_k: k must be a whole number from 1 to the 30 cells of a map, got 31"),
        (
            lambda m, g: top_k(m, g, k=4, weighting="logit"),
            "top_k: weighting must be one of logits, probability, values, got 'logit'. Did you mean logits?",
        ),
        (lambda m, g: window(m, g, radius=-1), "window: radius must be a whole number of at least 0, got -1"),
        (lambda m, g: window(m, g, weighting="x"), "window: weighting must be one of"),
        (lambda m, g: four_neighbours(m, g, torch.zeros(3)), "four_neighbours: target must hold 2 coordinates"),
        (
            lambda m, g: four_neighbours(m, g, torch.zeros(2), weighting="x"),
            "four_neighbours: weighting must be one of",
        ),
        (
            lambda m, g: quarter_shift(m, g, border="mmpose"),
            "quarter_shift: border must be one of hrnet, msra, neighbours, got 'mmpose'",
        ),
        (lambda m, g: dark(m, g, sigma_cells=0.0), "dark: sigma_cells must be greater than 0, got 0.0"),
        (
            lambda m, g: dark(m, g, sigma_cells=2.0, kernel_size=4),
            "dark: kernel_size must be odd and positive, got 4. 1 means no blur.",
        ),
        (
            lambda m, g: dark(m, g, sigma_cells=2.0, variant="udf"),
            "dark: variant must be one of dark, inward, udp, got 'udf'. Did you mean udp?",
        ),
        (
            lambda m, g: flip_average(torch.zeros(4, 2), torch.zeros(5, 2), width=8),
            r"flip_average: flipped_points must have the points' shape \(4, 2\), got \(5, 2\)",
        ),
        (
            lambda m, g: top_k(torch.full_like(m, -torch.inf), g, k=3, weighting="values"),
            "top_k: logits must leave at least one cell of every map possible",
        ),
    ],
)
def test_bad_arguments_are_refused(call: Callable[[Tensor, Grid], Tensor], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call(torch.zeros(2, 3, 5, 6), Grid((5, 6)))


def test_four_neighbours_needs_a_grid() -> None:
    with pytest.raises(TypeError, match="four_neighbours: grid must be a heatpoint.Grid, got Points"):
        four_neighbours(torch.zeros(11), cloud(2), torch.zeros(2))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m, g: soft_argmax(m, g, temperature=None), "soft_argmax: temperature must be greater than 0, got None"),
        (lambda m, g: argmax(m, g, threshold="floor"), r"argmax: threshold must lie in \[0, 1\], got 'floor'"),
        (lambda m, g: top_k(m, g, k=None), "top_k: k must be a whole number"),
        (lambda m, g: window(m, g, radius="1"), "window: radius must be a whole number"),
        (lambda m, g: dark(m, g, sigma_cells=None), "dark: sigma_cells must be greater than 0, got None"),
        (lambda m, g: kernel_soft_argmax(m, g, sigma_cells=None), "kernel_soft_argmax: sigma_cells must be"),
        (lambda m, g: four_neighbours(m, g, [0.0, 0.0]), "four_neighbours: target must be a torch.Tensor, got list"),
        (lambda m, g: flip_average(m, None, width=6), "flip_average: flipped_points must be a torch.Tensor"),
    ],
)
def test_arguments_of_the_wrong_kind_are_named(call: Callable[[Tensor, Grid], Tensor], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        call(torch.zeros(2, 3, 5, 6), Grid((5, 6)))


def test_numbers_of_numpy_are_numbers() -> None:
    maps, grid = random_maps(Grid((5, 6))), Grid((5, 6))
    assert torch.equal(top_k(maps, grid, k=np.int64(3)), top_k(maps, grid, k=3))
    assert torch.equal(window(maps, grid, radius=np.int32(1)), window(maps, grid))
    assert torch.equal(soft_argmax(maps, grid, temperature=np.float32(2)), soft_argmax(maps, grid, temperature=2))


@pytest.mark.parametrize("weighting", ["probability", "logits", "values"])
def test_the_one_largest_cell_is_the_plain_argmax_also_among_equals(weighting: str) -> None:
    for grid in (*GRIDS, CYCLIC):
        for maps in (torch.zeros(2, 3, *grid.shape), random_maps(grid).float()):
            torch.testing.assert_close(top_k(maps, grid, k=1, weighting=weighting), argmax(maps, grid), rtol=0, atol=0)


@pytest.mark.parametrize("variant", ["dark", "udp", "inward"])
def test_forbidden_cells_count_as_the_floor_of_dark(variant: str) -> None:
    grid = Grid((14, 13), stride=2.0)
    maps = gaussian_map(torch.tensor([[11.0, 13.0], [9.5, 14.2]]), grid, sigma_cells=1.5)
    floor = 1e-3 if variant == "udp" else 1e-10
    forbidden = torch.zeros_like(maps, dtype=torch.bool)
    forbidden[:, 1], forbidden[0, 8, 9] = True, True
    leaf = maps.masked_fill(forbidden, -torch.inf).requires_grad_()
    found = dark(leaf, grid, sigma_cells=1.5, variant=variant)
    filled = maps.masked_fill(forbidden, floor).requires_grad_()
    assert torch.equal(found, dark(filled, grid, sigma_cells=1.5, variant=variant))
    (gradient,) = torch.autograd.grad(found.sum(), leaf)
    assert found.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", READOUTS)
def test_readouts_run_under_vmap(name: str) -> None:
    grid = Grid((5, 7), stride=2.0)
    maps = random_maps(grid).abs()
    found = torch.func.vmap(lambda m: READOUTS[name](m, grid, **ON_GRIDS[name]))(maps)
    torch.testing.assert_close(found, READOUTS[name](maps, grid, **ON_GRIDS[name]), rtol=0, atol=1e-9)


def test_soft_argmax_exports() -> None:
    class Reader(torch.nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            return soft_argmax(maps, Grid((5, 6)))

    maps = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    program = torch.export.export(Reader(), (maps,))
    torch.testing.assert_close(program.module()(maps), soft_argmax(maps, Grid((5, 6))))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", [n for n in READOUTS if n != "dark"])
def test_readouts_never_make_the_gpu_wait(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATPOINT_CHECK", "0")
    for grid in (*GRIDS, CYCLIC):
        maps = random_maps(grid).cuda()
        torch.cuda.set_sync_debug_mode("error")
        try:
            found = READOUTS[name](maps, grid, **ON_GRIDS[name])
            grid.to_points(grid.to_cells(found))
        finally:
            torch.cuda.set_sync_debug_mode("default")
