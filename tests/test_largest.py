"""The largest cells found through blocks in torch against torch.max and torch.topk, which look at every cell."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import oracles_plain as plain
from heatpoint import _largest, kernels
from heatpoint._largest import first_largest, largest_cells
from heatpoint.readout import argmax, second_maximum_shift, top_k
from heatpoint.support import Grid, Points

# Divided into blocks: 4096, 3136 and 384 cells; plain: 2961 (odd), 257 (prime), 5 (too few).
CELLS = (4096, 3136, 384, 2961, 257, 5)
ORDERS = (
    *(Grid((56, 64), stride=4, cyclic=cyclic) for cyclic in ((), (0,), (0, 1))),
    Grid((1536,), stride=0.5, offset=0),
    Grid((7, 16, 32)),
)


@pytest.fixture(autouse=True)
def small_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks are taken, by the torch form, for a handful of maps too."""
    monkeypatch.setattr(_largest, "_LEAST_TO_COMPARE", 0)
    monkeypatch.setattr(_largest, "_LEAST_TO_RANK", 0)
    with kernels.use("torch"):
        yield


def random_maps(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def awkward(cells: int) -> dict[str, Tensor]:
    """Maps (3, 2, cells) on which a shortcut could go wrong."""
    maps = random_maps(3, 2, cells, seed=3)
    few = torch.full_like(maps, -torch.inf)
    few[..., cells // 3] = -7.0
    nan = maps.clone()
    nan[1, 0, cells // 2], nan[2, 1, 0], nan[2, 1, -1] = torch.nan, -torch.nan, torch.nan
    zeros = torch.where(maps > 0, 0.0, -0.0)
    one_block = maps.clone()
    one_block[..., : min(cells, 20)] += 50
    rising = torch.arange(cells).expand(3, 2, cells).float()
    return {
        "random": maps,
        "negative": -maps.abs() - 1,
        "ties": maps.round(),
        "constant": torch.full_like(maps, 0.25),
        "signed zeros": zeros,
        "forbidden": maps.masked_fill(maps < 0.3, -torch.inf),
        "one allowed": few,
        "infinite": maps.masked_fill(maps > 2.9, torch.inf),
        "nan": nan,
        "one block": one_block,
        "rising": rising,
        "falling": -rising,
        "tiny": maps * 1e-42,
        "large": maps * 1e37,
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cells", CELLS)
def test_the_first_largest_cell_is_that_of_max(cells: int, dtype: torch.dtype) -> None:
    for case, maps in awkward(cells).items():
        maps = maps.to(dtype)
        values, index = first_largest(maps)
        expected_values, expected = plain.first_largest(maps)
        assert torch.equal(index, expected), case
        torch.testing.assert_close(values, expected_values, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("k", [1, 2, 9, 25])
@pytest.mark.parametrize("cells", CELLS)
def test_the_k_largest_cells_have_the_values_of_topk(cells: int, k: int) -> None:
    k = min(k, cells)
    for (case, maps), dtype in itertools.product(awkward(cells).items(), (torch.float32, torch.float64)):
        maps = maps.to(dtype)
        index = largest_cells(maps, k)
        assert index.shape == (3, 2, k)
        # Each cell once, and the k values of the plain form; with different values these are the same cells.
        assert bool((index.sort(dim=-1).values.diff(dim=-1) > 0).all()), case
        found = maps.gather(-1, index).sort(dim=-1).values
        expected = maps.gather(-1, plain.largest_cells(maps, k)).sort(dim=-1).values
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True, msg=case)


def test_all_cells_may_be_asked_for() -> None:
    assert largest_cells(random_maps(2, 512), 512).sort().values.tolist() == [list(range(512))] * 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("grid", ORDERS, ids=repr)
def test_points_and_gradients_are_those_of_topk(
    grid: Grid, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Values without ties, in every type: half precision holds whole numbers up to 256 exactly, so neighbours differ.
    maps = random_maps(2, 3, *grid.shape, seed=5, dtype=dtype)
    spread = torch.linspace(200, 256, 15).round()
    flat = maps.flatten(2)
    for b, j in itertools.product(range(2), range(3)):
        flat[b, j, torch.randperm(grid.num_cells, generator=torch.Generator().manual_seed(b + 2 * j))[:15]] = spread.to(
            dtype
        )
    readings = []
    for _ in range(2):
        for weighting in ("probability", "values"):
            leaf = maps.clone().requires_grad_()
            found = top_k(leaf / 64, grid, k=9, weighting=weighting)
            readings += [found, *torch.autograd.grad(found.square().sum(), leaf)]
        readings += [argmax(maps, grid), second_maximum_shift(maps, grid)]
        monkeypatch.setattr(_largest, "_LEAST_CELLS", 10**9)
    half = len(readings) // 2
    # The k cells come in another order, so sums of 9 positions below 256 differ by rounding: 9 · 256 · eps.
    eps = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).eps
    for found, expected in zip(readings[:half], readings[half:], strict=True):
        assert found.dtype == expected.dtype
        torch.testing.assert_close(found, expected, rtol=200 * torch.finfo(found.dtype).eps, atol=9 * 256 * eps)


def test_maps_may_lie_anyhow_in_memory() -> None:
    maps = random_maps(6, 64, 48, 5)
    turned = maps.permute(3, 0, 2, 1)
    grid = Grid((48, 64))
    assert torch.equal(argmax(turned, grid), argmax(turned.contiguous(), grid))
    torch.testing.assert_close(top_k(turned, grid, k=9), top_k(turned.contiguous(), grid, k=9), rtol=0, atol=1e-5)
    every_second = random_maps(4, 2048)[:, ::2]
    assert torch.equal(first_largest(every_second)[1], every_second.max(dim=-1).indices)
    assert torch.equal(largest_cells(every_second, 4).sort().values, every_second.topk(4).indices.sort().values)
    shared = random_maps(1024).expand(3, 2, 1024)
    assert torch.equal(first_largest(shared)[1], shared.max(dim=-1).indices)


def test_there_may_be_one_map_or_none() -> None:
    one = random_maps(4096)
    assert first_largest(one)[1].shape == ()
    assert largest_cells(one, 9).sort().values.tolist() == one.topk(9).indices.sort().values.tolist()
    none = one.expand(0, 3, 4096)
    assert first_largest(none)[1].shape == (0, 3)
    assert largest_cells(none, 9).shape == (0, 3, 9)
    assert top_k(none.unflatten(-1, (64, 64)), Grid((64, 64)), k=9).shape == (0, 3, 2)


def test_points_are_read_through_blocks_too() -> None:
    points = Points(random_maps(2, 1, 2048, 3, seed=8))
    logits = random_maps(2, 5, 2048, seed=9)
    values, index = logits.topk(9, dim=-1)
    cells = points.xyz.expand(2, 5, 2048, 3).gather(-2, index.unsqueeze(-1).expand(2, 5, 9, 3))
    expected = (values.softmax(dim=-1).unsqueeze(-1) * cells).sum(dim=-2)
    torch.testing.assert_close(top_k(logits, points, k=9), expected)


def test_forbidden_maps_are_refused_as_before() -> None:
    maps = torch.zeros(3, 64, 64)
    maps[1] = -torch.inf
    for read in (lambda: argmax(maps, Grid((64, 64))), lambda: top_k(maps, Grid((64, 64)), k=9)):
        with pytest.raises(ValueError, match="must leave at least one cell of every map possible"):
            read()


def test_transforms_of_torch_take_the_plain_form() -> None:
    maps = random_maps(5, 4096)
    assert torch.equal(torch.vmap(lambda m: first_largest(m)[1])(maps), maps.max(dim=-1).indices)
    chosen = torch.vmap(lambda m: largest_cells(m, 9))(maps)
    assert torch.equal(chosen.sort().values, maps.topk(9).indices.sort().values)


@pytest.mark.parametrize(("cells", "block"), [(4096, 64), (3072, 64), (512, 32), (2961, 0), (63, 0)])
def test_blocks_have_lengths_that_vector_instructions_divide(cells: int, block: int) -> None:
    assert _largest._peak_block(cells) == block
    rounds = _largest._rounds(cells, 9)
    if rounds is not None:
        length, group = rounds
        assert cells % length == 0 == length % group == length % 32
        assert cells // length >= 9
