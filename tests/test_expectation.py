"""Mean positions: against loops, golden numbers, and the rules of straight axes, cyclic axes and the sign gradient."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from heatpoint.expectation import expected_position, marginal_position, wrap
from heatpoint.support import Grid, Points
from oracles_sampling import cells_of, circular_mean, straight_mean

BATCH = (2, 3)
GRIDS = {
    "1d": Grid((7,), stride=2.5, offset=-1.0),
    "2d": Grid((5, 7), stride=(4.0, 3.0)),
    "3d": Grid((3, 5, 4), stride=(1.0, 0.5, 2.0), offset=0.25),
    "1d_cyclic": Grid((7,), stride=2.5, offset=-1.0, cyclic=(0,)),
    "2d_cyclic_x": Grid((5, 7), stride=(4.0, 3.0), cyclic=(0,)),
    "3d_cyclic_yz": Grid((3, 5, 4), stride=(1.0, 0.5, 2.0), cyclic=(1, 2)),
}
SUPPORTS = {**GRIDS, "points2": None, "points3": None}


def make_support(name):
    if name.startswith("points"):
        generator = torch.Generator().manual_seed(3)
        return Points(torch.randn(2, 1, 11, int(name[-1]), generator=generator, dtype=torch.float64))
    return GRIDS[name]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def oracle(weights, support, displacement):
    """Loops over every map and cell."""
    result = np.zeros((*BATCH, support.ndim))
    for b in range(BATCH[0]):
        for k in range(BATCH[1]):
            w = weights[b, k].tolist()
            for axis in range(support.ndim):
                if isinstance(support, Points):
                    positions = support.xyz[b, 0, :, axis].tolist()
                else:
                    first, stride = support.offsets[axis], support.strides[axis]
                    positions = [first + stride * cell[axis] for cell in cells_of(support.shape)]
                if displacement is not None:
                    positions = [p + e for p, e in zip(positions, displacement[axis][b, k].tolist(), strict=True)]
                if isinstance(support, Grid) and axis in support.cyclic:
                    result[b, k, axis] = circular_mean(w, positions, first, stride, support.lengths[axis])
                else:
                    result[b, k, axis] = straight_mean(w, positions)
    return torch.from_numpy(result)


@pytest.mark.parametrize("is_displaced", [False, True])
@pytest.mark.parametrize("name", SUPPORTS)
def test_agrees_with_loops_and_gradcheck(name, is_displaced):
    support = make_support(name)
    logits = draw(*BATCH, support.num_cells).requires_grad_()
    displacement = [draw(*BATCH, support.num_cells, seed=9 + a) for a in range(support.ndim)] if is_displaced else None
    found = expected_position(logits.softmax(-1), support, displacement=displacement)
    # Sums of at most 60 float64 terms of size 10.
    torch.testing.assert_close(found, oracle(logits.softmax(-1), support, displacement), rtol=1e-12, atol=1e-12)
    assert found.shape == (*BATCH, support.ndim)
    moved = [] if displacement is None else [d.requires_grad_() for d in displacement]
    assert gradcheck(
        lambda z, *d: expected_position(z.softmax(-1), support, displacement=list(d) or None), (logits, *moved)
    )


def test_gradient_reaches_the_points_themselves():
    xyz = draw(2, 1, 5, 3).requires_grad_()
    weights = draw(2, 3, 5, seed=1).softmax(-1)
    assert gradcheck(lambda p: expected_position(weights, Points(p)), (xyz,))
    assert gradcheck(lambda p: expected_position(weights, Points(p), sign_gradient=True), (xyz,))


@pytest.mark.parametrize("is_displaced", [False, True])
@pytest.mark.parametrize("name", SUPPORTS)
def test_sign_gradient_keeps_the_value_and_replaces_the_gradient(name, is_displaced):
    support = make_support(name)
    weights = draw(*BATCH, support.num_cells).softmax(-1).requires_grad_()
    displacement = [draw(*BATCH, support.num_cells, seed=9 + a) for a in range(support.ndim)] if is_displaced else None
    plain = expected_position(weights, support, displacement=displacement)
    signed = expected_position(weights, support, displacement=displacement, sign_gradient=True)
    assert torch.equal(plain, signed)
    upstream = draw(*plain.shape, seed=5)
    (found,) = torch.autograd.grad(signed, weights, upstream)
    expected = torch.zeros_like(weights)
    centers = support.cell_centers(dtype=torch.float64)
    centers = (centers.flatten(0, -2) if isinstance(support, Grid) else centers).expand(*BATCH, -1, -1)
    for axis in range(support.ndim):
        stride = support.strides[axis] if isinstance(support, Grid) else 1.0
        position = centers[..., axis] + (0 if displacement is None else displacement[axis])
        ahead = position - plain.detach()[..., axis, None]
        if isinstance(support, Grid) and axis in support.cyclic:
            period = support.size[axis]
            sign = torch.where(torch.sin(2 * math.pi * ahead / period) >= 0, 1.0, -1.0)
        else:
            sign = torch.where(ahead >= 0, 1.0, -1.0)
        expected += upstream[..., axis, None] * 2 * stride * sign
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


def test_sign_gradient_counts_a_position_at_the_mean_as_beyond_it():
    weights = torch.tensor([0.25, 0.5, 0.25], requires_grad=True)
    expected_position(weights, Grid((3,), stride=4), sign_gradient=True).sum().backward()
    assert weights.grad.tolist() == [-8.0, 8.0, 8.0]


@settings(deadline=None, derandomize=True, max_examples=30)
@given(shift=st.floats(-50, 50), stride=st.floats(0.1, 9), seed=st.integers(0, 99))
def test_moves_with_the_grid(shift, stride, seed):
    weights = draw(*BATCH, 35, seed=seed).softmax(-1)
    here = expected_position(weights, Grid((5, 7), offset=0))
    there = expected_position(weights, Grid((5, 7), stride=stride, offset=shift))
    # 35 terms below 150: rounding of about 35 · 150 · 2^-53.
    torch.testing.assert_close(there, here * stride + shift, rtol=0, atol=1e-12)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(turn=st.integers(0, 6), seed=st.integers(0, 99))
def test_cyclic_mean_turns_with_the_map(turn, seed):
    grid = Grid((5, 7), stride=(4.0, 3.0), cyclic=(0,))
    weights = draw(*BATCH, 5, 7, seed=seed).flatten(-2).softmax(-1).unflatten(-1, (5, 7))
    here = expected_position(weights.flatten(-2), grid)
    there = expected_position(weights.roll(turn, dims=-1).flatten(-2), grid)
    difference = torch.remainder(there[..., 0] - here[..., 0] - 4.0 * turn + 14.0, 28.0) - 14.0
    # The direction's rounding grows as the resultant of 35 random weights shrinks; 1e-3 of its length is never met here.
    assert difference.abs().max() < 1e-9
    torch.testing.assert_close(there[..., 1], here[..., 1])
    assert ((there[..., 0] >= grid.offsets[0] - 2) & (there[..., 0] < grid.offsets[0] + 26)).all()


def test_cyclic_mean_of_a_peak_across_the_seam_stays_on_the_seam():
    grid = Grid((4,), offset=0, cyclic=(0,))
    assert expected_position(torch.tensor([0.5, 0.0, 0.0, 0.5]), grid).item() == pytest.approx(-0.5, abs=1e-6)
    assert expected_position(torch.tensor([0.5, 0.0, 0.0, 0.5]), Grid((4,), offset=0)).item() == 1.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cyclic_mean_without_a_direction_is_cell_0_without_a_gradient(dtype):
    grid = Grid((6,), stride=2.0, offset=3.0, cyclic=(0,))
    for logits in (torch.zeros(6), torch.tensor([5.0, -torch.inf, -torch.inf, 5.0, -torch.inf, -torch.inf])):
        logits = logits.to(dtype).requires_grad_()
        found = expected_position(logits.softmax(-1), grid)
        found.sum().backward()
        assert found.item() == 3.0
        assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_wrap_is_half_open():
    grid = Grid((5,), stride=2.0, offset=1.0, cyclic=(0,))
    found = wrap(torch.tensor([0.0, 10.0, -1e-9, 9.999, 25.0, -10.0]), grid, axis=0)
    # −1e-9 is below the rounding of a coordinate near 10 in float32: it is the edge itself.
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, 0.0, 9.999, 5.0, 0.0]), rtol=1e-6, atol=0)
    assert (found < 10).all()


def test_marginal_position_is_one_coordinate():
    grid = GRIDS["2d"]
    weights = draw(*BATCH, 5, 7).flatten(-2).softmax(-1).unflatten(-1, (5, 7))
    both = expected_position(weights.flatten(-2), grid)
    torch.testing.assert_close(marginal_position(weights.sum(-2), grid, axis=0), both[..., 0])
    torch.testing.assert_close(marginal_position(weights.sum(-1), grid, axis=1), both[..., 1])
    moved = marginal_position(weights.sum(-2), grid, axis=0, displacement=torch.full((7,), 0.5, dtype=torch.float64))
    torch.testing.assert_close(moved, both[..., 0] + 0.5)


def test_half_precision_is_promoted_and_autocast_stays_outside():
    grid = Grid((64, 48), stride=4.0)
    weights = torch.zeros(64, 48, dtype=torch.float16)
    weights[40, 45] = 1.0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = expected_position(weights.flatten(), grid)
    assert found.dtype == torch.float32
    assert found.tolist() == [181.5, 161.5]


@pytest.mark.parametrize("name", SUPPORTS)
@pytest.mark.parametrize("sign_gradient", [False, True])
def test_degenerate_maps_have_finite_values_and_gradients(name, sign_gradient):
    support = make_support(name)
    cells = support.num_cells
    for logits in degenerate_logits(cells):
        logits = logits.expand(2, 1, cells).clone().requires_grad_()
        found = expected_position(logits.softmax(-1), support, sign_gradient=sign_gradient)
        found.sum().backward()
        assert found.isfinite().all()
        assert logits.grad.isfinite().all()


def degenerate_logits(cells):
    one_hot = torch.full((cells,), -1e4)
    one_hot[-1] = 1e4
    single = torch.full((cells,), -torch.inf)
    single[0] = 0.0
    return [torch.zeros(cells), one_hot, single, torch.linspace(-1e4, 1e4, cells)]


def test_an_axis_of_one_cell():
    for cyclic in ((), (0, 1)):
        grid = Grid((1, 1), stride=3.0, offset=2.0, cyclic=cyclic)
        weights = torch.ones(2, 1, requires_grad=True)
        found = expected_position(weights, grid)
        found.sum().backward()
        assert found.tolist() == [[2.0, 2.0], [2.0, 2.0]]
        assert weights.grad.isfinite().all()


@pytest.mark.parametrize("size", ["1d", "2d", "3d"])
def test_dsntnn_coordinates(goldens, size):
    arrays = goldens(f"05_dsntnn_{size}")
    suffix = {"1d": "dsnt", "2d": "dsnt_normalized", "3d": "dsnt"}[size]
    shape = arrays["logits"].shape[2:]
    normalized = Grid(shape, stride=tuple(2 / n for n in shape[::-1]), offset=tuple(1 / n - 1 for n in shape[::-1]))
    pixels = Grid(shape, offset=0)
    # float64 to the rounding of sums of 200 terms; float32 as the golden numbers state.
    for dtype, ending, tolerance in ((torch.float64, "_f64", 1e-13), (torch.float32, "", 1e-6)):
        logits = torch.from_numpy(arrays["logits"]).to(dtype)
        weights = logits.flatten(2).softmax(-1)
        for grid, key, scale in ((normalized, suffix, 1), (pixels, "dsnt_pixel", 5)):
            expected = torch.from_numpy(arrays[key + ending])
            torch.testing.assert_close(expected_position(weights, grid), expected, rtol=0, atol=scale * tolerance)


def test_dsntnn_gradients_and_converters(goldens):
    arrays = goldens("05_dsntnn_2d")
    shape = arrays["logits"].shape[2:]
    normalized = Grid(shape, stride=tuple(2 / n for n in shape[::-1]), offset=tuple(1 / n - 1 for n in shape[::-1]))
    pixels = Grid(shape, offset=0)
    for dtype, ending, tolerance in ((torch.float64, "_f64", 1e-13), (torch.float32, "", 1e-6)):
        upstream = torch.from_numpy(arrays["coord_grad_weight"]).to(dtype)
        logits = torch.from_numpy(arrays["logits"]).to(dtype).requires_grad_()
        weights = logits.flatten(2).softmax(-1)
        torch.testing.assert_close(
            weights.unflatten(-1, shape), torch.from_numpy(arrays["flat_softmax" + ending]), rtol=0, atol=tolerance
        )
        for grid, name, scale in ((normalized, "normalized", 1), (pixels, "pixel", 5)):
            (found,) = torch.autograd.grad(expected_position(weights, grid), logits, upstream, retain_graph=True)
            expected = torch.from_numpy(arrays[f"dsnt_{name}_grad_logits{ending}"])
            torch.testing.assert_close(found, expected, rtol=0, atol=scale * tolerance)
        (found,) = torch.autograd.grad(expected_position(weights, normalized), weights, upstream)
        expected = torch.from_numpy(arrays["dsnt_normalized_grad_heatmap" + ending])
        torch.testing.assert_close(found.unflatten(-1, shape), expected, rtol=0, atol=4 * tolerance)
        given_pixels = torch.from_numpy(arrays["pixel_coords_in"]).to(dtype)
        expected = torch.from_numpy(arrays["pixel_to_normalized" + ending])
        torch.testing.assert_close(normalized.to_points(given_pixels), expected, rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: expected_position(torch.ones(3), (3,)),
            TypeError,
            "expected_position: grid must be a heatpoint.Grid or heatpoint.Points, got tuple.",
        ),
        (
            lambda: expected_position(torch.ones(2, 5, 7), Grid((5, 7))),
            ValueError,
            "expected_position: weights must end in 35 cells, got (2, 5, 7). Weights are flat, row-major.",
        ),
        (
            lambda: expected_position(torch.ones(35), Grid((5, 7)), displacement=[torch.zeros(35)]),
            ValueError,
            "expected_position: displacement must hold one tensor per axis, 2, got 1.",
        ),
        (
            lambda: marginal_position(torch.ones(5), Grid((5, 7)), axis=0),
            ValueError,
            "marginal_position: weights must end in 7 cells, got (5,). Weights are flat, row-major.",
        ),
    ],
)
def test_error_texts(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
