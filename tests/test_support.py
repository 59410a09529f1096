"""Supports: where cells lie, which axis is which, and the frames from image to input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heatpoint.support import Grid, Points, check_grid, check_support

GRIDS = [
    Grid((7,), stride=3.0),
    Grid((5, 6), stride=4.0),
    Grid((4, 5, 3), stride=(2.0, 3.0, 0.5), offset=(0.0, 1.0, -2.0)),
]
once = settings(deadline=None, derandomize=True, max_examples=40)


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
def test_cell_centers_are_to_points_of_the_unravelled_index(grid: Grid) -> None:
    index = torch.arange(grid.num_cells)
    cells = grid.unravel(index)
    assert torch.equal(grid.ravel(cells), index)
    centers = grid.cell_centers(dtype=torch.float64).reshape(-1, grid.ndim)
    torch.testing.assert_close(grid.to_points(cells.double()), centers, rtol=0, atol=1e-12)
    torch.testing.assert_close(grid.to_cells(centers), cells.double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
def test_axis_order_is_reversed_between_points_and_maps(grid: Grid) -> None:
    for axis in range(grid.ndim):
        centers = grid.cell_centers()[..., axis]
        along = centers.movedim(grid.map_dim(axis), -1)
        torch.testing.assert_close(along.reshape(-1, grid.lengths[axis])[0], grid.axis_centers(axis))
        assert along.shape[-1] == grid.lengths[axis] == grid.shape[-1 - axis]


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
def test_marginals_sum_over_every_other_axis(grid: Grid) -> None:
    maps = torch.rand(2, 3, *grid.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for axis, marginal in enumerate(grid.marginals(maps)):
        moved = maps.movedim(grid.map_dim(axis), -1).reshape(2, 3, -1, grid.lengths[axis])
        torch.testing.assert_close(marginal, moved.sum(-2))


@once
@given(stride=st.floats(0.5, 16), length=st.integers(1, 40))
def test_default_offset_tiles_the_input_exactly(stride: float, length: int) -> None:
    grid = Grid((length,), stride=stride)
    first = grid.to_points(torch.tensor([-0.5], dtype=torch.float64)).item()
    last = grid.to_points(torch.tensor([length - 0.5], dtype=torch.float64)).item()
    assert first == pytest.approx(-0.5, abs=1e-9)
    assert last == pytest.approx(grid.size[0] - 0.5, abs=1e-9)


def test_default_offset_composes_under_rescaling() -> None:
    once_by_eight = Grid((4,), stride=8.0).to_points(torch.tensor([2.0]))
    twice = Grid((16,), stride=2.0).to_points(Grid((4,), stride=4.0).to_points(torch.tensor([2.0])))
    torch.testing.assert_close(once_by_eight, twice)


@pytest.mark.parametrize(
    ("text", "grid"),
    [
        ("Grid((5, 6))", Grid((5, 6))),
        ("Grid((5, 6), stride=4)", Grid((5, 6), stride=4)),
        ("Grid((5,), stride=4, offset=0)", Grid((5,), stride=4, offset=0)),
        ("Grid((5, 6), stride=(4, 2), cyclic=(0,))", Grid((5, 6), stride=(4, 2), cyclic=[0])),
    ],
)
def test_repr_is_the_call_that_makes_an_equal_grid(text: str, grid: Grid) -> None:
    assert repr(grid) == text
    assert eval(text) == grid


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"shape": (2, 3, 4, 5)}, "Grid: shape must hold 1 to 3 whole numbers of at least 1, got (2, 3, 4, 5)."),
        ({"shape": (0, 3)}, "Grid: shape must hold 1 to 3 whole numbers"),
        ({"shape": (4, 3), "stride": 0.0}, "Grid: stride must be greater than 0, got 0.0."),
        ({"shape": (4, 3), "stride": (1, 2, 3)}, "Grid: stride must be one number or 2, in point order (x, y, z)"),
        ({"shape": (4, 3), "cyclic": (2,)}, "Grid: cyclic must hold axes from 0 to 1, got (2,). Axes are counted"),
    ],
)
def test_grid_refuses(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        Grid(**arguments)  # type: ignore[arg-type]
    assert text in str(caught.value)


def test_maps_and_points_of_another_shape_are_refused() -> None:
    grid = Grid((5, 6))
    with pytest.raises(ValueError, match=r"soft_argmax: logits must end in the grid's shape \(5, 6\), got \(2, 6, 5\)"):
        grid.flatten("soft_argmax", torch.zeros(2, 6, 5))
    with pytest.raises(
        ValueError, match=r"crps: target must hold 2 coordinates \(x, y\) in its last dimension, got \(4, 3\)"
    ):
        grid.check_points("crps", torch.zeros(4, 3))
    with pytest.raises(TypeError, match=r"crps: grid must be a heatpoint.Grid or heatpoint.Points, got tuple"):
        check_support("crps", (5, 6))
    with pytest.raises(TypeError, match=r"argmax: grid must be a heatpoint.Grid, got Points"):
        check_grid("argmax", Points(torch.zeros(4, 3)))


def test_points_broadcast_against_maps_from_the_right() -> None:
    cloud = Points(torch.zeros(4, 1, 7, 3))
    assert (cloud.ndim, cloud.shape, cloud.num_cells) == (3, (7,), 7)
    maps = torch.zeros(4, 2, 7)
    assert cloud.unflatten(cloud.flatten("f", maps)) is maps
    assert cloud.cell_centers(dtype=torch.float64).dtype == torch.float64
    with pytest.raises(ValueError, match="for logits \\(B, K, N\\) over one cloud per item give xyz"):
        Points(torch.zeros(4, 7, 3)).flatten("f", torch.zeros(4, 2, 7))
    with pytest.raises(ValueError, match="f: logits must end in the number of points 7, got \\(4, 2, 6\\)"):
        cloud.flatten("f", torch.zeros(4, 2, 6))
    with pytest.raises(ValueError, match="f: target must hold 3 coordinates"):
        cloud.check_points("f", torch.zeros(2))


def test_points_refuse_what_is_no_cloud() -> None:
    with pytest.raises(TypeError, match="Points: xyz must be a floating-point tensor"):
        Points(torch.zeros(4, 3, dtype=torch.long))
    with pytest.raises(TypeError, match="got list"):
        Points([[0.0, 0.0]])  # type: ignore[arg-type]
    for shape in ((3,), (0, 3), (5, 4)):
        with pytest.raises(ValueError, match="Points: xyz must be"):
            Points(torch.zeros(shape))


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"shape": 64}, TypeError, "Grid: shape must hold 1 to 3 whole numbers of at least 1, got 64. Give it slowest"),
        ({"shape": "64"}, TypeError, "Grid: shape must hold 1 to 3 whole numbers of at least 1, got '64'."),
        ({"shape": ("a", 4)}, TypeError, "Grid: shape must hold 1 to 3 whole numbers of at least 1, got ('a', 4)."),
        ({"shape": (4, 2.5)}, ValueError, "Grid: shape must hold 1 to 3 whole numbers of at least 1, got (4, 2.5)."),
        ({"shape": (4,), "cyclic": 0}, TypeError, "Grid: cyclic must hold axes from 0 to 0, got 0. Axes are counted"),
        ({"shape": (4,), "cyclic": (0.5,)}, ValueError, "Grid: cyclic must hold axes from 0 to 0, got (0.5,)."),
        ({"shape": (4,), "stride": "4"}, TypeError, "Grid: stride must be greater than 0, got '4'."),
        ({"shape": (4,), "stride": None}, TypeError, "Grid: stride must be greater than 0, got None."),
        ({"shape": (4,), "stride": float("inf")}, ValueError, "Grid: stride must be greater than 0, got inf."),
        ({"shape": (4,), "offset": float("nan")}, ValueError, "Grid: offset must be finite, got nan."),
        ({"shape": (4, 3), "offset": (0.0, float("inf"))}, ValueError, "Grid: offset must be finite, got inf."),
    ],
)
def test_grid_names_arguments_of_the_wrong_kind(arguments: dict[str, object], error: type, text: str) -> None:
    with pytest.raises(error) as caught:
        Grid(**arguments)  # type: ignore[arg-type]
    assert text in str(caught.value)


def test_grid_takes_numbers_of_numpy_and_shapes_of_torch() -> None:
    grid = Grid(torch.zeros(5, 6).shape, stride=np.int64(4), offset=np.float32(0.5), cyclic=(np.int64(0),))
    assert grid == Grid((5, 6), stride=4, offset=0.5, cyclic=(0,))
    assert Grid(np.array([5, 6]), stride=np.array([2.0, 3.0])) == Grid((5.0, 6), stride=(2, 3))  # type: ignore[arg-type]
    assert all(type(n) is int for n in grid.shape)


@pytest.mark.parametrize("shape", [(3,), (5, 1), ()])
def test_coordinates_of_another_dimension_are_not_broadcast(shape: tuple[int, ...]) -> None:
    grid = Grid((5, 6))
    with pytest.raises(ValueError, match="Grid.to_cells: points must hold 2 coordinates"):
        grid.to_cells(torch.zeros(shape))
    with pytest.raises(ValueError, match="Grid.to_points: cells must hold 2 coordinates"):
        grid.to_points(torch.zeros(shape))
    with pytest.raises(TypeError, match=r"Grid.to_cells: points must be a torch.Tensor, got list"):
        grid.to_cells([0.0, 0.0])  # type: ignore[arg-type]


def test_whole_coordinates_become_floating_ones() -> None:
    grid = Grid((5, 6), stride=(2.0, 4.0), offset=0)
    torch.testing.assert_close(grid.to_cells(torch.tensor([3, 2])), torch.tensor([1.5, 0.5]))
