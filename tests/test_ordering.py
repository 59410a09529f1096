"""Ordered surfaces: He's recursion, least squares by enumeration, gradients, and the count of crossings."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from heatpoint.ordering import Method, ordered, violations

METHODS: tuple[Method, ...] = ("cumulative", "isotonic")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3


def recursion(rows: Tensor) -> Tensor:
    """He et al. 2019 as printed: s_{k+1} = s_k + relu(r_{k+1} − s_k), surfaces along dimension −2."""
    found = [rows[..., 0, :]]
    for k in range(1, rows.shape[-2]):
        found.append(found[-1] + torch.relu(rows[..., k, :] - found[-1]))
    return torch.stack(found, dim=-2)


def nearest_by_enumeration(rows: list[float]) -> list[float]:
    """The nearest ordered rows: the best of all ways to cut the surfaces into blocks that share their mean."""
    size = len(rows)
    best, best_cost = rows, float("inf")
    for cuts in itertools.product([False, True], repeat=size - 1):
        ends = [i + 1 for i, cut in enumerate(cuts) if cut] + [size]
        found: list[float] = []
        for end in ends:
            block = rows[len(found) : end]
            found += [sum(block) / len(block)] * len(block)
        cost = sum((a - b) ** 2 for a, b in zip(found, rows, strict=True))
        if all(a <= b + 1e-12 for a, b in itertools.pairwise(found)) and cost < best_cost:
            best, best_cost = found, cost
    return best


def test_cumulative_is_hes_recursion_with_its_gradient() -> None:
    rows = draw(2, 5, 7).requires_grad_()
    weight = draw(2, 5, 7, seed=1).round()  # Whole numbers, whose sums do not round.
    found, expected = ordered(rows), recursion(rows)
    # The sums of the recursion round: s + (r − s) is r to within two roundings of numbers below 16.
    torch.testing.assert_close(found, expected, rtol=0, atol=16 * 2**-52)
    gradients = [torch.autograd.grad((x * weight).sum(), rows)[0] for x in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
    assert not torch.equal(found, rows)


def test_isotonic_is_the_nearest_in_order() -> None:
    rows = draw(3, 6, 11)
    found = ordered(rows, method="isotonic")
    for b, x in np.ndindex(3, 11):
        assert found[b, :, x].tolist() == pytest.approx(nearest_by_enumeration(rows[b, :, x].tolist()), abs=1e-12)
    torch.testing.assert_close(found.mean(dim=1), rows.mean(dim=1), rtol=0, atol=1e-13)


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=7))
def test_results_are_in_order_and_stay_so(method: Method, values: list[float]) -> None:
    rows = torch.tensor(values, dtype=torch.float32)[:, None]
    found = ordered(rows, method=method)
    assert found.shape == rows.shape
    assert bool((found.diff(dim=0) >= 0).all())
    # Means of equal rows round once more.
    torch.testing.assert_close(ordered(found, method=method), found, rtol=1e-6, atol=0)
    assert violations(found) == 0


@pytest.mark.parametrize("method", METHODS)
def test_rows_in_order_stay_with_the_gradient_of_the_identity(method: Method) -> None:
    rows = draw(4, 6).sort(dim=0).values.requires_grad_()
    found = ordered(rows, method=method)
    torch.testing.assert_close(found, rows, rtol=0, atol=0)
    weight = draw(4, 6, seed=2)
    torch.testing.assert_close(torch.autograd.grad((found * weight).sum(), rows)[0], weight, rtol=0, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_gradients(method: Method) -> None:
    rows = draw(2, 5, 3, seed=4).requires_grad_()
    assert violations(rows) > 0
    assert gradcheck(lambda x: ordered(x, method=method), (rows,))


@pytest.mark.parametrize("method", METHODS)
def test_degenerate_rows_have_finite_gradients(method: Method) -> None:
    for rows in (torch.zeros(4, 3), torch.full((4, 3), -1e4), torch.tensor([[1e4], [-1e4], [0.0]]), torch.ones(1, 5)):
        leaf = rows.clone().requires_grad_()
        found = ordered(leaf, method=method)
        found.sum().backward()
        assert leaf.grad is not None
        assert bool(found.isfinite().all())
        # Every mean is shared out completely: moving all rows by 1 moves all results by 1.
        torch.testing.assert_close(leaf.grad.sum(dim=0), torch.full(rows.shape[1:], float(len(rows))))


@pytest.mark.parametrize("method", METHODS)
def test_the_dimension_of_the_surfaces_and_half_precision(method: Method) -> None:
    rows = draw(2, 5, 7)
    moved = ordered(rows.permute(1, 2, 0), method=method, dim=0)
    torch.testing.assert_close(moved.permute(2, 0, 1), ordered(rows, method=method))
    assert ordered(rows.half(), method=method).dtype == torch.float32


def crossings(rows: list[list[float]], visible: list[list[bool]], tolerance: float) -> int:
    count = 0
    for x in range(len(rows[0])):
        seen = [rows[s][x] for s in range(len(rows)) if visible[s][x]]
        count += sum(below < above - tolerance for above, below in itertools.pairwise(seen))
    return count


def test_violations_agree_with_loops() -> None:
    rows = draw(6, 40).round(decimals=1)
    visible = draw(6, 40, seed=5) > -1.5
    for mask, tolerance in ((visible, 0.0), (visible, 1.5), (torch.ones_like(visible), 0.0)):
        expected = crossings(rows.tolist(), mask.tolist(), tolerance)
        assert expected > 0
        assert violations(rows, mask, tolerance=tolerance) == expected
    assert violations(rows) == crossings(rows.tolist(), torch.ones_like(visible).tolist(), 0.0)
    batch = torch.stack([rows, ordered(rows)])
    assert violations(batch) == violations(rows)


def test_hidden_rows_may_hold_anything() -> None:
    rows = torch.tensor([[1.0], [float("nan")], [0.0]])
    assert violations(rows, torch.tensor([[True], [False], [True]])) == 1
    rows[1] = -5.0
    assert violations(rows, torch.tensor([[True], [False], [True]])) == 1
    assert violations(rows, torch.tensor([[True], [False], [False]])) == 0


def test_rows_that_are_no_numbers_hide_no_crossing() -> None:
    rows = torch.tensor([[3.0, float("nan")], [float("nan"), 5.0], [2.0, 4.0], [4.0, float("nan")]])
    visible = torch.ones(4, 2, dtype=torch.bool)
    assert violations(rows) == violations(rows, visible) == violations(rows, ~rows.isnan()) == 2


def test_errors() -> None:
    rows = torch.zeros(3, 4)
    with pytest.raises(TypeError, match="ordered: rows must be a torch.Tensor, got ndarray"):
        ordered(np.zeros((3, 4)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ordered: method must be one of cumulative, isotonic, got 'isotone'"):
        ordered(rows, method="isotone")  # type: ignore[arg-type]
    for bad, dim in ((rows, 2), (torch.zeros(0, 4), -2), (torch.zeros(4), -2)):
        with pytest.raises(
            ValueError, match=f"ordered: rows must have the surfaces, at least one, along dimension {dim}"
        ):
            ordered(bad, dim=dim)
    with pytest.raises(ValueError, match=r"violations: rows must be \(…, surfaces, columns\), got \(4,\)"):
        violations(torch.zeros(4))
    with pytest.raises(ValueError, match=r"violations: visible must have the shape of rows, \(3, 4\), got \(4, 3\)"):
        violations(rows, torch.ones(4, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="violations: tolerance must be at least 0, got -1"):
        violations(rows, tolerance=-1)
