"""Readouts that look only at the cells around the peak, against their former form, which goes over whole maps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from heatpoint._lattice import cells_within
from heatpoint.readout import cells as cells_module
from heatpoint.readout import dark, newton, window
from heatpoint.rounding import gaussian_map
from heatpoint.support import Grid

GRIDS = [
    Grid((61,), stride=3.0),
    Grid((40, 37), stride=(4.0, 2.5), offset=0),
    Grid((23, 21, 22), stride=(2.0, 3.0, 0.5)),
    Grid((38, 41), stride=2.0, cyclic=(0,)),
    Grid((36, 43), offset=0, cyclic=(0, 1)),
    Grid((3, 300)),
    Grid((1,)),
    Grid((1, 6)),
]
VARIANTS = ("dark", "udp", "inward")
HALF = (torch.float16, torch.bfloat16)


def peaks(grid: Grid, *, seed: int = 0, noise: float = 0.02, number: int = 24) -> Tensor:
    """Maps (4, number / 4, *grid.shape) with peaks everywhere, on the borders too, over a positive background."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor(grid.lengths)
    cells = torch.rand(number, grid.ndim, generator=generator, dtype=torch.float64) * (lengths - 1)
    cells[: number // 3] = (cells[: number // 3] / (lengths - 1).clamp(min=1)).round() * (lengths - 1)
    maps = gaussian_map(grid.to_points(cells), grid, sigma_cells=2.0)
    maps = maps + noise * torch.rand(maps.shape, generator=generator, dtype=torch.float64) + 1e-4
    return maps.unflatten(0, (4, number // 4))


def both(monkeypatch: pytest.MonkeyPatch, read: object, maps: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The points and the gradient of their weighted sum: as they are, and by the form that goes over whole maps."""
    results = []
    for whole in (False, True):
        with monkeypatch.context() as patch:
            if whole:
                patch.setattr(newton, "looks_at", lambda _: False)
                patch.setattr(cells_module, "_is_small", lambda radius, grid: False)
            leaf = maps.clone().requires_grad_()
            found = read(leaf)  # type: ignore[operator]
            weights = torch.linspace(0.5, 1.5, max(found.numel(), 1)).view(-1)[: found.numel()].view(found.shape)
            results.append([found.detach(), *torch.autograd.grad((found * weights).sum(), leaf)])
    return results[0], results[1]


def assert_same(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kernel_size", [None, 1, 5])
def test_dark_of_a_patch_is_dark_of_the_map(
    grid: Grid, variant: str, kernel_size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = peaks(grid)

    def read(m: Tensor) -> Tensor:
        return dark(m, grid, sigma_cells=2.0, kernel_size=kernel_size, variant=variant)

    # Ill-conditioned Hessians on the noise at the border multiply the rounding of float64 by up to some 1e5.
    assert_same(*both(monkeypatch, read, maps), 1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_dark_goes_over_the_map_where_a_value_is_clamped(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = GRIDS[1]
    maps = peaks(grid)
    factor = torch.tensor([1.0, 1e-9, 100.0, -1.0], dtype=torch.float64)[:, None, None, None]
    mixed = factor * maps
    mixed[0, 0] -= 0.8  # negative around the peak
    mixed[0, 1] = mixed[0, 1].masked_fill(mixed[0, 1] < 0.5, -torch.inf)
    mixed[0, 2] = 0.0
    mixed[0, 3] = 7.0
    mixed[2, 0, 3:5, 3:5] = 0.0

    def read(m: Tensor) -> Tensor:
        return dark(m, grid, sigma_cells=2.0, variant=variant)

    assert_same(*both(monkeypatch, read, mixed), 1e-9)


@pytest.mark.parametrize("dtype", [*HALF, torch.float32])
def test_dark_of_a_patch_in_other_types(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid((40, 37))
    generator = torch.Generator().manual_seed(3)
    points = 6 + torch.rand(2, 5, 2, generator=generator) * torch.tensor([24.0, 27.0])
    maps = gaussian_map(points, grid, sigma_cells=2.0).to(dtype)
    found, expected = both(monkeypatch, lambda m: dark(m, grid, sigma_cells=2.0), maps)
    # 1 / curvature = 4 times the rounding of logarithms of sums of 121 terms.
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-4)
    assert found[0].dtype == torch.float32


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
@pytest.mark.parametrize("radius", [0, 1, 3])
@pytest.mark.parametrize("weighting", ["probability", "logits", "values"])
def test_a_window_alone_is_the_window_of_the_map(
    grid: Grid, radius: int, weighting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = 5 * peaks(grid, noise=0.3)
    maps[0, 0] = -maps[0, 0]
    maps[1] = maps[1].masked_fill(maps[1] < maps[1].amax() / 2, -torch.inf)
    maps[1, :, (0,) * grid.ndim] = 1.0
    maps[2, 0] = 0.0
    # Sums of some hundred terms below 200 in float64.
    assert_same(*both(monkeypatch, lambda m: window(m, grid, radius=radius, weighting=weighting), maps), 1e-11)


@pytest.mark.parametrize("batch", [(), (0, 3), (1,)])
def test_batches_of_one_none_and_no_dimension(batch: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid((40, 37))
    maps = peaks(grid)[0, 0].expand(*batch, *grid.shape)
    for read in (lambda m: window(m, grid), lambda m: dark(m, grid, sigma_cells=2.0)):
        found, expected = both(monkeypatch, read, maps)
        assert found[0].shape == (*batch, 2)
        assert_same(found, expected, 1e-9)


def test_maps_may_lie_anyhow_in_memory() -> None:
    grid = Grid((37, 40))
    maps = peaks(Grid((40, 37))).transpose(-1, -2)
    for read in (lambda m: window(m, grid), lambda m: dark(m, grid, sigma_cells=2.0)):
        torch.testing.assert_close(read(maps), read(maps.contiguous()), rtol=0, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_second_derivatives_of_a_patch(variant: str) -> None:
    grid = Grid((10, 11))
    maps = gaussian_map(torch.tensor([5.3, 4.4], dtype=torch.float64), grid, sigma_cells=2.0) + 0.01
    maps.requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda m: dark(m, grid, sigma_cells=2.0, kernel_size=3, variant=variant), (maps,)
    )


def test_cells_around_a_cell() -> None:
    index, exists = cells_within(1, torch.tensor([[0, 2], [3, 1]]), Grid((4, 5), cyclic=(0,)))
    assert index.tolist() == [[9, 5, 6, 14, 10, 11, 19, 15, 16], [2, 3, 4, 7, 8, 9, 12, 13, 14]]
    assert bool(exists.all())
    index, exists = cells_within(1, torch.tensor([3]), Grid((4,)))
    assert index.tolist() == [2, 3, 3]
    assert exists.tolist() == [True, True, False]
