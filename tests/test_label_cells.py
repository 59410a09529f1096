"""Labels as indices of cells against labels as maps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import oracles_plain as plain
from heatpoint.rounding import activation_probabilities, binary_map, round_to_cells
from heatpoint.rounding._cells import activation_cells
from heatpoint.scores import rounded_cross_entropy
from heatpoint.support import Grid

GRIDS = [
    Grid((7,), stride=3.0),
    Grid((5, 6), stride=(4.0, 2.5), offset=0),
    Grid((4, 5, 3), stride=2.0, offset=(0.0, 1.0, -2.0)),
    Grid((5, 6), stride=(2.0, 3.0), cyclic=(0,)),
    Grid((1,)),
    Grid((1, 4)),
]


def cases(grid: Grid) -> tuple[Tensor, Tensor]:
    """Logits (4, 3, *shape), some forbidden, and targets (4, 3, D) within, on whole cells, and far outside."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, *grid.shape, generator=generator, dtype=torch.float64)
    cells = torch.rand(4, 3, grid.ndim, generator=generator, dtype=torch.float64) * torch.tensor(grid.lengths)
    cells[1] = cells[1].floor()
    cells[2] = 3 * cells[2] - 6
    logits[3] = logits[3].masked_fill(logits[3] < -0.5, -torch.inf)
    logits[3].view(3, -1)[:, 0] = 0.0
    return logits, grid.to_points(cells)


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
@pytest.mark.parametrize("label", ["expected", "random", "floor", "round", "ceil"])
def test_the_loss_and_its_gradient_are_those_of_a_label_map(grid: Grid, label: str) -> None:
    logits, target = cases(grid)
    if label == "expected":
        label_map = activation_probabilities(target, grid)
    else:
        generator = torch.Generator().manual_seed(7)
        label_map = binary_map(round_to_cells(target, grid, mode=label, generator=generator), grid, dtype=logits.dtype)
    a, b = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    found = rounded_cross_entropy(a, grid, target, label=label, generator=torch.Generator().manual_seed(7))
    expected = plain.label_cross_entropy(b.flatten(2), label_map.flatten(2))
    # Sums of at most 60 terms below 10 in float64; forbidden labels are infinite in both.
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
    (grad,), (expected_grad,) = (torch.autograd.grad(f.sum(), leaf) for f, leaf in ((found, a), (expected, b)))
    assert bool(grad.isfinite().all())
    torch.testing.assert_close(grad, expected_grad, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
def test_the_cells_make_up_the_activation_map(grid: Grid) -> None:
    _, target = cases(grid)
    target.requires_grad_()
    index, weight = activation_cells("f", "target", target, grid)
    assert index.shape == weight.shape == (4, 3, 2**grid.ndim)
    found = torch.zeros(4, 3, grid.num_cells, dtype=weight.dtype).scatter_add(-1, index, weight)
    expected = activation_probabilities(target, grid).flatten(2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)
    slope = torch.linspace(-1, 1, grid.num_cells, dtype=weight.dtype).square()
    grads = [torch.autograd.grad((m * slope).sum(), target, retain_graph=True)[0] for m in (found, expected)]
    torch.testing.assert_close(grads[0], grads[1], rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_and_empty_batches(dtype: torch.dtype) -> None:
    grid = GRIDS[1]
    logits, target = cases(grid)
    for label in ("expected", "random"):
        found = rounded_cross_entropy(logits.to(dtype), grid, target, label=label)
        assert found.dtype == torch.float32
        assert rounded_cross_entropy(logits[:0].to(dtype), grid, target[:0], label=label).shape == (0, 3)


def test_second_derivatives() -> None:
    grid = GRIDS[1]
    logits, target = cases(grid)
    leaf = logits[0, :2].clone().requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda m: rounded_cross_entropy(m, grid, target[0, :2], label="expected"), (leaf,)
    )
