"""The largest cells of maps by the native kernel against stable sorts."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from heatpoint.kernels import _library, _native_decoders
from heatpoint.support import Grid
from native_maps import PRESENT, random_maps

pytestmark = pytest.mark.skipif(_library.library().handle is None, reason=_library.library().reason)

# One cell, less than a vector, vectors with and without a rest, one chunk and many, chunks of every length, a prime, a volume.
CELLS = (1, 3, 16, 33, 64, 257, 384, 1617, 2961, 3072, 3119, 4096, 20000)


def awkward(cells: int) -> dict[str, Tensor]:
    """Maps (5, cells) on which a shortcut could go wrong."""
    maps = random_maps(5, cells, seed=3)
    nan = maps.clone()
    nan[1, cells // 2], nan[2, 0], nan[2, -1] = torch.nan, -torch.nan, torch.nan
    rising = torch.arange(cells).expand(5, cells).float()
    return {
        "random": maps,
        "ties": maps.round(),
        "constant": torch.full_like(maps, -0.25),
        "signed zeros": torch.where(maps > 0, 0.0, -0.0),
        "rectified": (maps - 5).clamp(min=0),
        "forbidden": maps.masked_fill(maps < 3, -torch.inf),
        "infinite": maps.masked_fill(maps > 5, torch.inf),
        "nan": nan,
        "rising": rising,
        "falling": -rising,
        "tiny": maps * 1e-43,
        "large": maps * 1e37,
    }


@pytest.mark.parametrize("instruction_set", PRESENT)
@pytest.mark.parametrize("cells", CELLS)
def test_the_largest_cells_are_those_of_a_stable_sort(cells: int, instruction_set: str) -> None:
    for (case, maps), dtype in itertools.product(awkward(cells).items(), (torch.float32, torch.float64)):
        ordered = maps.to(dtype).sort(dim=-1, descending=True, stable=True)
        for k in {min(k, cells) for k in (1, 2, 4, 8, 9, 16, 64, 65, 300)}:
            values, index = _native_decoders.largest(maps.to(dtype), k, instruction_set=instruction_set)
            assert torch.equal(index, ordered.indices[:, :k]), (case, dtype, k)
            torch.testing.assert_close(values, ordered.values[:, :k], rtol=0, atol=0, equal_nan=True)
        first = maps.to(dtype).max(dim=-1)
        assert torch.equal(_native_decoders.largest(maps.to(dtype), 1)[1].squeeze(-1), first.indices), case


@pytest.mark.parametrize("instruction_set", PRESENT)
@pytest.mark.parametrize("cells", [3, 33, 384, 1617, 3072, 3119])
def test_a_nan_is_seen_wherever_it_is(cells: int, instruction_set: str) -> None:
    where = torch.arange(0, cells, 1 if cells < 1000 else 7)
    maps = random_maps(len(where) + 1, cells, seed=4)
    maps[torch.arange(len(where)), where] = torch.nan
    maps[-1, -1], where = torch.nan, torch.cat([where, torch.tensor([cells - 1])])
    for k, dtype in itertools.product((1, 2, 9), (torch.float32, torch.float64)):
        values, index = _native_decoders.largest(maps.to(dtype), min(k, cells), instruction_set=instruction_set)
        assert values[:, 0].isnan().all()
        assert torch.equal(index[:, 0], where)


@pytest.mark.parametrize("instruction_set", PRESENT)
@pytest.mark.parametrize("k", [2, 9, 64])
@pytest.mark.parametrize("shape", [(519,), (13, 37), (5, 7, 34)])
def test_the_mean_of_the_largest_cells(shape: tuple[int, ...], k: int, instruction_set: str) -> None:
    grid = Grid(shape)
    maps = random_maps(6, grid.num_cells, seed=5)
    maps[1] = maps[1].masked_fill(maps[1] < 5, -torch.inf)
    values, index = maps.double().topk(k, dim=-1)
    expected = (values.softmax(dim=-1).unsqueeze(-1) * grid.unravel(index)).sum(dim=-2)
    found = _native_decoders.largest_mean(maps, grid, k, instruction_set=instruction_set)
    # The mean is taken over steps of up to a side from the largest cell, whose weights have errors of some 4 roundings.
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=max(shape) * 8 * 2.0**-24)


def test_the_mean_is_made_of_as_many_cells_as_the_library_keeps() -> None:
    maps, grid, most = random_maps(2, 100), Grid((10, 10)), _native_decoders.MOST_KEPT
    assert _native_decoders.largest_mean(maps, grid, most).isfinite().all()
    with pytest.raises(RuntimeError, match="it does not know this call"):
        _native_decoders.largest_mean(maps, grid, most + 1)


def test_a_call_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(RuntimeError, match="a native kernel gave up: it does not know this call"):
        _native_decoders.largest(torch.zeros(2, 3), 4)
    if _library.library().best_instruction_set != "avx512":
        with pytest.raises(RuntimeError, match="no such instruction set here"):
            _native_decoders.largest(torch.zeros(2, 3), 1, instruction_set="avx512")
