"""Rounding: thresholds, random rounding and their laws; target maps; Table 1, and Theorems 1 and 2."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import oracles_readout as oracle
from heatpoint import readout
from heatpoint.rounding import (
    activation_probabilities,
    binary_map,
    gaussian_map,
    quantization_bias,
    round_to_cells,
)
from heatpoint.support import Grid, Points

Goldens = Callable[[str], dict[str, np.ndarray]]

GRIDS = [
    Grid((7,), stride=3.0),
    Grid((5, 6), stride=(4.0, 2.5), offset=0),
    Grid((4, 5, 3), stride=(2.0, 3.0, 0.5), offset=(0.0, 1.0, -2.0)),
    Grid((5, 6), stride=2.0, cyclic=(0,)),
    Grid((3, 1, 4), stride=2.0, cyclic=(2,)),
]
proofs = settings(deadline=None, derandomize=True, max_examples=60)
brief = settings(deadline=None, derandomize=True, max_examples=15)


@st.composite
def grids(draw: st.DrawFn, *, smallest: int = 2) -> Grid:
    ndim = draw(st.integers(1, 3))
    shape = tuple(draw(st.lists(st.integers(smallest, 9), min_size=ndim, max_size=ndim, unique=True)))
    stride = tuple(draw(st.floats(0.25, 64.0)) for _ in range(ndim))
    offset = tuple(draw(st.floats(-100.0, 100.0)) for _ in range(ndim))
    return Grid(shape, stride=stride, offset=offset)


@st.composite
def grids_and_cells(draw: st.DrawFn) -> tuple[Grid, Tensor]:
    """A grid and a batch of cell coordinates between the centres of its first and last cells."""
    grid = draw(grids())
    shares = [[draw(st.floats(0.0, 1.0)) for _ in range(grid.ndim)] for _ in range(3)]
    return grid, torch.tensor(shares, dtype=torch.float64) * (torch.tensor(grid.lengths) - 1)


def spread(grid: Grid, *, beyond: float = 0.0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Points (2, 3, D) all over the grid, up to `beyond` cells outside it."""
    generator = torch.Generator().manual_seed(7)
    share = torch.rand(2, 3, grid.ndim, generator=generator, dtype=torch.float64)
    cells = share * (torch.tensor(grid.lengths) - 1 + 2 * beyond) - beyond
    return grid.to_points(cells).to(dtype)


# Quantization


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
@pytest.mark.parametrize(("mode", "threshold"), [("floor", 1.0), ("round", 0.5), ("ceil", 0.0)])
def test_modes_follow_equation_10(grid: Grid, mode: str, threshold: float) -> None:
    points = spread(grid, beyond=2.0)
    cells = grid.to_cells(points).reshape(-1, grid.ndim).tolist()
    expected = [
        [
            oracle.put(oracle.round_cell(c, threshold), n, axis in grid.cyclic)
            for axis, (c, n) in enumerate(zip(row, grid.lengths, strict=True))
        ]
        for row in cells
    ]
    found = round_to_cells(points, grid, mode=mode)
    assert found.dtype == torch.long
    assert found.reshape(-1, grid.ndim).tolist() == expected
    assert torch.equal(round_to_cells(points, grid, threshold=threshold), found)


def test_whole_and_half_cells_follow_equation_10_to_the_letter() -> None:
    grid = Grid((9,), stride=2.0, offset=0)
    points = torch.tensor([[4.0], [5.0]])
    found = {mode: round_to_cells(points, grid, mode=mode).flatten().tolist() for mode in ("floor", "round", "ceil")}
    assert found == {"floor": [2, 2], "round": [2, 3], "ceil": [3, 3]}


def test_random_rounding_leaves_whole_cells() -> None:
    grid = Grid((6, 9), stride=2.0, offset=0)
    points = grid.to_points(torch.arange(5.0)[:, None].expand(5, 2)).expand(4000, 5, 2)
    found = round_to_cells(points, grid, mode="random", generator=torch.Generator().manual_seed(0))
    assert torch.equal(found, grid.to_cells(points).long())


def test_a_threshold_per_coordinate_replays_random_draws() -> None:
    grid = Grid((5, 7), stride=4.0, offset=0)
    points = torch.tensor([[5.0, 5.0], [5.0, 5.0]])  # 1.25 cells
    threshold = torch.tensor([[0.2, 0.3], [0.25, 1.0]])
    assert round_to_cells(points, grid, threshold=threshold).tolist() == [[2, 1], [2, 1]]
    per_axis = torch.tensor([0.0, 1.0])
    assert round_to_cells(points, grid, threshold=per_axis, mode="ceil").tolist() == [[2, 1], [2, 1]]


def test_the_generator_decides_the_random_cells() -> None:
    grid = Grid((50, 40))
    points = spread(grid)

    def draw(seed: int) -> Tensor:
        return round_to_cells(points, grid, mode="random", generator=torch.Generator().manual_seed(seed))

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))


def test_cells_beyond_the_border_are_clipped_wrapped_or_kept() -> None:
    grid = Grid((5, 4), cyclic=(0,))
    points = torch.tensor([[-1.0, -3.0], [4.0, 1e30]])
    assert round_to_cells(points, grid).tolist() == [[3, 0], [0, 4]]
    assert round_to_cells(points[:1], grid, clip=False).tolist() == [[3, -3]]


def test_half_precision_points_are_rounded_in_single_precision() -> None:
    grid = Grid((300,), stride=0.5, offset=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert round_to_cells(torch.tensor([100.25], dtype=torch.float16), grid, threshold=0.5).tolist() == [201]


# Table 1


@pytest.mark.parametrize("t", [0.0, 0.2, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("grid", GRIDS[:3], ids=repr)
def test_bias_is_the_integral_of_the_decoding_error(grid: Grid, t: float) -> None:
    # The error is linear in ε on both sides of t. With every tested t between nodes of the midpoint rule the integral is exact.
    num = 2000
    epsilon = (torch.arange(num, dtype=torch.float64) + 0.5) / num
    points = grid.to_points((1 + epsilon)[:, None].expand(num, grid.ndim))
    decoded = grid.to_points(round_to_cells(points, grid, threshold=t).double())
    bias = (decoded - points).mean(dim=0)
    stated = quantization_bias(torch.tensor(t, dtype=torch.float64), grid)
    torch.testing.assert_close(stated, bias, rtol=0, atol=1e-11)
    torch.testing.assert_close(quantization_bias(t, grid).double(), stated, rtol=1e-6, atol=0)


def test_bias_of_the_named_modes_is_table_1() -> None:
    grid = Grid((6, 5), stride=(4.0, 3.0))
    table = {mode: quantization_bias(mode, grid).tolist() for mode in ("floor", "round", "ceil", "random")}
    assert table == {"floor": [-2.0, -1.5], "round": [0.0, 0.0], "ceil": [2.0, 1.5], "random": [0.0, 0.0]}
    assert quantization_bias(torch.tensor([1.0, 0.0], dtype=torch.float64), grid).tolist() == [-2.0, 1.5]


# Theorem 1


@proofs
@given(grid_and_cells=grids_and_cells(), t=st.floats(0.0, 1.0))
def test_theorem_1_the_corrected_decode_errs_by_at_most_half_a_diagonal(
    grid_and_cells: tuple[Grid, Tensor], t: float
) -> None:
    grid, cells = grid_and_cells
    points = grid.to_points(cells)
    maps = binary_map(round_to_cells(points, grid, threshold=t, clip=True), grid, dtype=torch.float64)
    # Interior: the chosen cell was not clipped, which ceil does to a point on the last centre.
    inside = (round_to_cells(points, grid, threshold=t, clip=False) < torch.tensor(grid.lengths)).all(dim=-1)
    error = (readout.argmax(maps, grid, threshold=t) - points)[inside]
    strides = torch.tensor(grid.strides, dtype=torch.float64)
    # Coordinates reach 700, so one rounding of their difference is below 700 · 2⁻⁵² < 2e-13.
    assert bool((error.abs() <= strides / 2 + 1e-12).all())
    assert bool((error.norm(dim=-1) <= strides.norm() / 2 + 1e-12).all())


@proofs
@given(ndim=st.integers(1, 3), stride=st.floats(0.25, 64.0), offset=st.floats(-100.0, 100.0), t=st.floats(1e-6, 1.0))
def test_theorem_1_the_bound_is_tight(ndim: int, stride: float, offset: float, t: float) -> None:
    grid = Grid((5, 6, 7)[:ndim], stride=stride, offset=offset)
    # ε just under t on every axis: the supremum √D · s / 2 is approached as the gap closes.
    gap = min(1e-9, t / 2)
    points = grid.to_points(torch.full((1, ndim), 2 + t - gap, dtype=torch.float64))
    maps = binary_map(round_to_cells(points, grid, threshold=t), grid, dtype=torch.float64)
    error = (readout.argmax(maps, grid, threshold=t) - points).norm().item()
    assert error == pytest.approx(math.sqrt(ndim) * stride / 2, rel=1e-8)


def test_theorem_1_the_bound_is_reached_at_the_threshold() -> None:
    grid = Grid((5, 6), stride=4.0, offset=0)
    for t in (0.0, 0.25, 0.5, 0.75):
        points = grid.to_points(torch.full((1, 2), 2 + t, dtype=torch.float64))
        maps = binary_map(round_to_cells(points, grid, threshold=t), grid)
        error = (readout.argmax(maps, grid, threshold=t) - points).norm().item()
        assert error == pytest.approx(math.sqrt(2) * 2.0, rel=1e-12)


# Theorem 2


@proofs
@given(grids_and_cells())
def test_theorem_2_random_rounding_is_unbiased_and_lossless_in_exact_expectation(
    grid_and_cells: tuple[Grid, Tensor],
) -> None:
    grid, cells = grid_and_cells
    points = grid.to_points(cells)
    probabilities = activation_probabilities(points, grid)
    flat = probabilities.flatten(1)
    torch.testing.assert_close(flat.sum(dim=-1), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-14)
    expectation = flat @ grid.cell_centers(dtype=torch.float64).reshape(-1, grid.ndim)
    torch.testing.assert_close(expectation, points, rtol=0, atol=1e-9)
    logits = probabilities.log()
    k = min(9, grid.num_cells)
    decoded = {
        "four": readout.four_neighbours(logits, grid, points),
        "four values": readout.four_neighbours(probabilities, grid, points, weighting="values"),
        "window": readout.window(logits, grid),
        "window values": readout.window(probabilities, grid, weighting="values"),
        "top 2^D": readout.top_k(logits, grid, k=2**grid.ndim),
        "top 9": readout.top_k(logits, grid, k=k, weighting="logits") if k >= 2**grid.ndim else points,
        "top values": readout.top_k(probabilities, grid, k=2**grid.ndim, weighting="values"),
        "all": readout.soft_argmax(logits, grid),
    }
    for name, found in decoded.items():
        assert (found - points).abs().max().item() <= 1e-9, name


@brief
@given(grids_and_cells(), st.integers(0, 2**31))
def test_theorem_2_by_sampling(grid_and_cells: tuple[Grid, Tensor], seed: int) -> None:
    grid, cells = grid_and_cells
    points = grid.to_points(cells)
    num, failure_rate = 4000, 1e-9
    generator = torch.Generator().manual_seed(seed)
    drawn = round_to_cells(points.expand(num, *points.shape), grid, mode="random", generator=generator)
    # Hoeffding: the mean of `num` draws from two neighbouring cells is off by more than this with probability below failure_rate.
    bound = math.sqrt(math.log(2 / failure_rate) / (2 * num))
    assert (drawn.double().mean(dim=0) - cells).abs().max().item() <= bound
    frequency = binary_map(drawn, grid, dtype=torch.float64).mean(dim=0)
    decoded = readout.four_neighbours(frequency, grid, points, weighting="values")
    assert (grid.to_cells(decoded) - cells).abs().max().item() <= bound + 1e-9


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
def test_random_cells_follow_the_activation_probabilities(grid: Grid) -> None:
    points = spread(grid, beyond=0.7).reshape(-1, grid.ndim)
    num, failure_rate = 5000, 1e-9
    generator = torch.Generator().manual_seed(11)
    drawn = round_to_cells(points.expand(num, *points.shape), grid, mode="random", generator=generator)
    frequency = binary_map(drawn, grid, dtype=torch.float64).mean(dim=0)
    # Hoeffding per cell, and a union over the cells of all maps.
    bound = math.sqrt(math.log(2 * frequency.numel() / failure_rate) / (2 * num))
    assert (frequency - activation_probabilities(points, grid)).abs().max().item() <= bound


def test_rounding_is_lossless_on_a_cyclic_axis_too() -> None:
    grid = Grid((3, 8), stride=2.0, offset=0, cyclic=(0,))
    points = torch.tensor([[15.5, 2.5], [0.25, 0.5], [7.0, 4.0], [-0.5, 1.0]], dtype=torch.float64)
    logits = activation_probabilities(points, grid).log()
    for found in (
        readout.window(logits, grid),
        readout.top_k(logits, grid, k=9),
        readout.four_neighbours(logits, grid, points),
    ):
        apart = torch.remainder(found[..., 0] - points[..., 0] + 8.0, 16.0) - 8.0
        assert apart.abs().max().item() <= 1e-9
        torch.testing.assert_close(found[..., 1], points[..., 1], rtol=0, atol=1e-9)
        assert bool(((found[..., 0] >= -1) & (found[..., 0] < 15)).all())


# Maps


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
def test_maps_equal_the_oracle(grid: Grid) -> None:
    points = spread(grid, beyond=1.3)
    cells = grid.to_cells(points).reshape(-1, grid.ndim).tolist()
    sigmas = [1.5, 0.7, 2.0][: grid.ndim]
    probabilities = activation_probabilities(points, grid)
    gaussians = gaussian_map(points, grid, sigma_cells=sigmas)
    assert probabilities.shape == gaussians.shape == (2, 3, *grid.shape)
    for i, c in enumerate(cells):
        expected = oracle.activation(c, grid.shape, grid.cyclic)
        np.testing.assert_allclose(probabilities[i // 3, i % 3].numpy(), expected, rtol=0, atol=1e-13)
        expected = oracle.gaussian(c, grid.shape, sigmas, grid.cyclic)
        np.testing.assert_allclose(gaussians[i // 3, i % 3].numpy(), expected, rtol=0, atol=1e-13)


def test_a_gaussian_map_has_height_one_on_a_cell_and_is_cut_to_a_square() -> None:
    grid = Grid((9, 11), stride=4.0, offset=0)
    cut = gaussian_map(torch.tensor([20.0, 16.0]), grid, sigma_cells=1.0, radius_sigmas=2.0)
    full = gaussian_map(torch.tensor([20.0, 16.0]), grid, sigma_cells=1.0)
    assert cut[4, 5].item() == 1.0
    square = torch.zeros(9, 11)
    square[2:7, 3:8] = 1
    assert torch.equal(cut, full * square)


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
def test_a_binary_map_is_one_hot(grid: Grid) -> None:
    cells = round_to_cells(spread(grid), grid)
    maps = binary_map(cells, grid, dtype=torch.float64)
    assert torch.equal(grid.unravel(maps.flatten(2).argmax(dim=-1)), cells)
    assert torch.equal(maps.flatten(2).sum(dim=-1), torch.ones(2, 3, dtype=torch.float64))
    assert binary_map(cells, grid).dtype == torch.float32


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
def test_gradients_reach_the_points(grid: Grid) -> None:
    # The bilinear weight has kinks at whole cells; these points stay at least 0.01 cells away from them.
    points = grid.to_points(
        torch.tensor([0.31, 0.62, 0.43], dtype=torch.float64)[: grid.ndim].expand(2, -1).clone()
    ).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: activation_probabilities(p, grid), (points,))
    assert torch.autograd.gradcheck(lambda p: gaussian_map(p, grid, sigma_cells=1.2), (points,))


def test_maps_are_finite_far_from_the_grid_and_in_half_precision() -> None:
    grid = Grid((5, 6), stride=4.0)
    points = torch.tensor([[1e4, -1e4], [3.0, 7.0], [-0.5, 21.5]], dtype=torch.float16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = [activation_probabilities(points, grid), gaussian_map(points, grid, sigma_cells=1.0)]
    assert all(m.dtype == torch.float32 for m in maps)
    assert all(bool(m.isfinite().all()) for m in maps)
    (gradient,) = torch.autograd.grad(sum(m.square().sum() for m in maps), points)
    assert bool(gradient.isfinite().all())
    assert maps[0][0, 0, 5] == 1.0


# Golden numbers


def test_golden_random_rounding_of_gaussian_targets(goldens: Goldens) -> None:
    data = goldens("03_h3r_pose_fork")
    width, height = (int(n) for n in data["enc_heatmap_wh"])
    stride = float(data["enc_input_wh"][0]) / width
    grid = Grid((height, width), stride=stride, offset=0)
    joints = torch.from_numpy(data["enc_joints_input_px"])
    draws = torch.from_numpy(data["enc_uniform_draws"])
    cells = round_to_cells(joints.expand(draws.shape), grid, threshold=draws, clip=False)
    sigma = float(data["enc_sigma"])
    maps = gaussian_map(grid.to_points(cells.double()), grid, sigma_cells=sigma, radius_sigmas=3.0)
    reach = 3 * sigma
    size = torch.tensor([width, height])
    in_reach = ((cells - reach < size) & (cells + reach + 1 >= 0)).all(dim=-1)
    weight = torch.from_numpy(data["enc_visible"]) * in_reach
    np.testing.assert_array_equal(weight.numpy(), data["enc_target_weight"][..., 0])
    expected = data["enc_target"]
    np.testing.assert_allclose((maps * (weight > 0.5)[..., None, None]).numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["msra_unbiased_sigma2", "msra_sigma2"])
def test_golden_gaussian_encoders(goldens: Goldens, name: str) -> None:
    data = goldens("04_mmpose_encode_a")
    width, height = (int(n) for n in data["heatmap_wh"])
    stride = float(data["input_wh"][0]) / width
    grid = Grid((height, width), stride=stride, offset=0)
    points = torch.from_numpy(data["keypoints"][0]).double()
    weight = torch.from_numpy(data[f"{name}__keypoint_weights"][0])
    if name == "msra_sigma2":
        # Its truncation rounds coordinates from −1.5 to −½ cells up to 0, where rounding goes down: compared elsewhere.
        weight = weight * (points >= -stride / 2).all(dim=-1)
        points = grid.to_points(round_to_cells(points, grid, mode="round", clip=False).double())
    maps = gaussian_map(points, grid, sigma_cells=2.0, radius_sigmas=3.0 if name == "msra_sigma2" else None)
    compared = weight > 0.5
    assert int(compared.sum()) >= 8
    expected = data[f"{name}__heatmaps"][compared.numpy()]
    np.testing.assert_allclose(maps[compared].numpy(), expected, rtol=0, atol=1e-6)


# Errors


@pytest.mark.parametrize(
    "call",
    [
        lambda g: round_to_cells(torch.zeros(2), g),
        lambda g: activation_probabilities(torch.zeros(2), g),
        lambda g: gaussian_map(torch.zeros(2), g, sigma_cells=1.0),
        lambda g: binary_map(torch.zeros(2, dtype=torch.long), g),
        lambda g: quantization_bias("floor", g),
    ],
)
def test_points_have_no_lattice_to_round_to(call: Callable[[object], Tensor]) -> None:
    with pytest.raises(TypeError, match="grid must be a heatpoint.Grid, got Points"):
        call(Points(torch.zeros(5, 2)))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda g: round_to_cells(torch.zeros(4, 2), g, mode="flor"),
            "round_to_cells: mode must be one of ceil, floor, random, round, got 'flor'. Did you mean floor",
        ),
        (
            lambda g: round_to_cells(torch.zeros(4, 3), g),
            r"round_to_cells: points must hold 2 coordinates \(x, y\) in its last dimension, got \(4, 3\)",
        ),
        (
            lambda g: round_to_cells(torch.full((1, 2), torch.nan), g),
            "round_to_cells: points must be finite, got NaN or infinity. Give a missing point weight 0",
        ),
        (
            lambda g: round_to_cells(torch.zeros(4, 2), g, threshold=1.5),
            r"round_to_cells: threshold must lie in \[0, 1\], got 1.5. 1 is floor, 0.5 is round, 0 is ceil.",
        ),
        (
            lambda g: round_to_cells(torch.zeros(4, 2), g, threshold=torch.tensor([0.5, -0.1])),
            r"round_to_cells: threshold must lie in \[0, 1\]",
        ),
        (lambda g: quantization_bias(-0.5, g), r"quantization_bias: mode_or_threshold must lie in \[0, 1\], got -0.5"),
        (
            lambda g: quantization_bias("random_round", g),
            "quantization_bias: mode_or_threshold must be one of ceil, floor, random, round",
        ),
        (
            lambda g: binary_map(torch.tensor([[0, 0], [5, 4]]), g),
            r"binary_map: cells must lie within \(5, 6\) \(in point order\), got \(5, 4\)",
        ),
        (lambda g: binary_map(torch.zeros(4, 1, dtype=torch.long), g), "binary_map: cells must hold 2 coordinates"),
        (
            lambda g: gaussian_map(torch.zeros(2), g, sigma_cells=0.0),
            r"gaussian_map: sigma_cells must be greater than 0: one number or 2, in point order \(x, y, z\), got 0.0",
        ),
        (lambda g: gaussian_map(torch.zeros(2), g, sigma_cells=(1.0, 2.0, 3.0)), "gaussian_map: sigma_cells must be"),
        (
            lambda g: gaussian_map(torch.zeros(2), g, sigma_cells=1.0, radius_sigmas=0.0),
            "gaussian_map: radius_sigmas must be greater than 0, got 0.0",
        ),
        (
            lambda g: activation_probabilities(torch.full((2,), torch.inf), g),
            "activation_probabilities: points must be",
        ),
    ],
)
def test_bad_values_are_refused(call: Callable[[Grid], Tensor], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call(Grid((6, 5)))


def test_real_numbers_are_no_cells() -> None:
    with pytest.raises(TypeError, match=r"binary_map: cells must hold whole numbers \(torch.long\), got torch.float32"):
        binary_map(torch.zeros(2), Grid((6, 5)))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda p, g: round_to_cells(p, g, threshold="floor"), r"round_to_cells: threshold must lie in \[0, 1\]"),
        (lambda p, g: round_to_cells([1.0, 2.0], g), "round_to_cells: points must be a torch.Tensor, got list"),
        (
            lambda p, g: quantization_bias(None, g),
            r"quantization_bias: mode_or_threshold must lie in \[0, 1\], got None",
        ),
        (lambda p, g: gaussian_map(p, g, sigma_cells=None), "gaussian_map: sigma_cells must be greater than 0"),
        (lambda p, g: gaussian_map(p, g, sigma_cells=1, radius_sigmas="3"), "gaussian_map: radius_sigmas must be"),
        (lambda p, g: binary_map(None, g), "binary_map: cells must be a torch.Tensor, got NoneType"),
    ],
)
def test_arguments_of_the_wrong_kind_are_named(call: Callable[[Tensor, Grid], Tensor], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        call(torch.zeros(4, 2), Grid((5, 6)))
