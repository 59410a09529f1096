"""DARK by the native kernel against the torch form."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from heatpoint import kernels
from heatpoint.kernels import _library
from heatpoint.readout import dark
from heatpoint.rounding import gaussian_map
from heatpoint.support import Grid
from native_maps import random_maps

pytestmark = pytest.mark.skipif(_library.library().handle is None, reason=_library.library().reason)


@pytest.fixture(autouse=True)
def automatic() -> Iterator[None]:
    with kernels.use("auto"):
        yield


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
