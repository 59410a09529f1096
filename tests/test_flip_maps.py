"""The flip test on maps: an exact mirror, names exchanged, and the published shift by one column."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from heatpoint.readout import argmax, flip_maps
from heatpoint.support import Grid

Goldens = Callable[[str], dict[str, np.ndarray]]


def numbers(*shape: int) -> torch.Tensor:
    return torch.arange(float(np.prod(shape))).reshape(shape)


def test_the_mirror_is_its_own_inverse_and_exchanges_names() -> None:
    maps = numbers(2, 3, 4, 5)
    there = flip_maps(maps, swap=[1, 0, 2])
    assert torch.equal(there[:, 0], maps[:, 1].flip(-1))
    assert torch.equal(there[:, 2], maps[:, 2].flip(-1))
    assert torch.equal(flip_maps(there, swap=[1, 0, 2]), maps)
    assert torch.equal(flip_maps(maps), maps.flip(-1))


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 2, 4, 5), (2, 3, 6, 4, 5)])
def test_channels_and_depth_stay_where_they_are(shape: tuple[int, ...]) -> None:
    maps = numbers(*shape)
    assert torch.equal(flip_maps(maps, swap=[2, 1, 0]), maps.flip(-1).flip(1))


def test_the_axis_of_points_may_be_another() -> None:
    maps = numbers(3, 2, 4, 5)
    assert torch.equal(flip_maps(maps, swap=[2, 1, 0], point_axis=0), maps.flip(-1).flip(0))
    assert torch.equal(flip_maps(maps, swap=[2, 1, 0], point_axis=-4), maps.flip(-1).flip(0))


@pytest.mark.parametrize("shift", [1, 2])
def test_a_shift_gives_column_j_what_an_earlier_one_had_and_leaves_the_first(shift: int) -> None:
    maps = numbers(2, 3, 4, 5)
    plain, moved = flip_maps(maps), flip_maps(maps, shift=shift)
    assert torch.equal(moved[..., shift:], plain[..., :-shift])
    assert torch.equal(moved[..., :shift], plain[..., :shift])


@pytest.mark.parametrize(
    ("offset", "shift", "error"), [(None, 0, 0.0), (0.0, 0, -3.0), (0.0, 1, 1.0)], ids=["tiling", "zero", "shifted"]
)
def test_where_a_mirrored_map_lies_under_each_offset(offset: float | None, shift: int, error: float) -> None:
    """A peak at x is found in the mirrored input at width − 1 − x; mirrored back it is at x + error. Stride 4."""
    grid = Grid((2, 6), stride=4, offset=offset)
    x = float(grid.cell_centers()[0, 2, 0])
    mirrored_column = (24 - 1 - x - float(grid.cell_centers()[0, 0, 0])) / 4
    # Between the cells where the offset is 0: spread over both sides of it, read as the mean.
    low = int(np.floor(mirrored_column))
    maps = torch.zeros(1, 1, 2, 6)
    maps[..., 1, low] = 1 - (mirrored_column - low)
    maps[..., 1, low + 1] += mirrored_column - low
    columns = grid.cell_centers()[0, :, 0]
    back = flip_maps(maps, shift=shift)[0, 0, 1]
    assert float((back * columns).sum() / back.sum()) == pytest.approx(x + error)


@pytest.mark.parametrize("name", ["07_sa_crop_a", "07_sa_crop_b"])
def test_golden_mirrored_maps(goldens: Goldens, name: str) -> None:
    data = goldens(name)
    swap = list(range(17))
    for left, right in data["joint_pairs"]:
        swap[left], swap[right] = int(right), int(left)
    maps = torch.from_numpy(data["flip_heatmap_in"])
    plain = data["flip_heatmap_noshift"]
    np.testing.assert_array_equal(flip_maps(maps, swap=swap), plain)
    # What the released code means by its shift; what it stores depends on the build of torch.
    moved = flip_maps(maps, swap=swap, shift=1).numpy()
    np.testing.assert_array_equal(moved[..., 1:], plain[..., :-1])


def test_gradients_flow_through() -> None:
    maps = numbers(1, 2, 3, 4).requires_grad_()
    flip_maps(maps, swap=[1, 0], shift=1).sum().backward()
    # The last column is pushed out, the first stays and is copied: mirrored, columns 0 and 3.
    assert maps.grad is not None
    assert maps.grad[0, 0, 0].tolist() == [0.0, 1.0, 1.0, 2.0]
    assert argmax(maps[0].detach(), Grid((3, 4))).shape == (2, 2)


@pytest.mark.parametrize(
    ("error", "arguments", "text"),
    [
        (
            TypeError,
            {"maps": [1.0]},
            "flip_maps: maps must be a torch.Tensor, got list. Make it one with torch.as_tensor.",
        ),
        (ValueError, {"shift": 5}, "flip_maps: shift must be from 0 to 4, fewer than the columns, got 5."),
        (ValueError, {"shift": -1}, "flip_maps: shift must be from 0 to 4, fewer than the columns, got -1."),
        (TypeError, {"shift": True}, "flip_maps: shift must be from 0 to 4, fewer than the columns, got True."),
        (
            ValueError,
            {"swap": [1, 2, 0]},
            "flip_maps: swap must be a permutation of the 3 points that is its own inverse, got [1, 2, 0]. Entry i names the "
            "mirror partner of point i.",
        ),
        (
            ValueError,
            {"point_axis": 3},
            "flip_maps: point_axis must be an axis of the maps (2, 3, 4, 5) before the last, got 3.",
        ),
        (
            ValueError,
            {"point_axis": -5},
            "flip_maps: point_axis must be an axis of the maps (2, 3, 4, 5) before the last, got -5.",
        ),
    ],
)
def test_error_texts(error: type[Exception], arguments: dict[str, object], text: str) -> None:
    with pytest.raises(error) as raised:
        flip_maps(**{"maps": numbers(2, 3, 4, 5), **arguments})  # type: ignore[arg-type]
    assert str(raised.value) == text
