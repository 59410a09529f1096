"""The Jensen-Shannon regularizer's own derivatives: its gradient's gradient, and torch's transforms beside it."""

import pytest
import torch
from torch.autograd import forward_ad, gradgradcheck

from heatpoint.regularizers import jensen_shannon_regularizer
from heatpoint.support import Grid

GRID = Grid((5, 4), stride=(4.0, 3.0))


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss(logits, center):
    return jensen_shannon_regularizer(logits, GRID, sigma_cells=0.9, center=center)


@pytest.mark.parametrize("wanted", ["logits", "center", "both"])
def test_the_gradient_has_a_gradient(wanted):
    logits, center = draw(2, 5, 4), draw(2, 2, seed=1)
    inputs = tuple(x.requires_grad_(wanted in (name, "both")) for name, x in (("logits", logits), ("center", center)))
    assert gradgradcheck(loss, inputs)


def test_a_forbidden_cell_has_no_part_in_either_gradient():
    logits, center = draw(5, 4), draw(2, seed=1)
    logits[1, 2] = -torch.inf
    maps = logits.clone().requires_grad_()
    (first,) = torch.autograd.grad(loss(maps, center), maps, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), maps)
    assert first[1, 2] == second[1, 2] == 0
    assert first.isfinite().all()
    assert second.isfinite().all()
    # As if the cell were only very unlikely.
    unlikely = torch.where(logits == -torch.inf, -200.0, logits).requires_grad_()
    (near,) = torch.autograd.grad(loss(unlikely, center), unlikely)
    torch.testing.assert_close(first.detach(), near)


@pytest.mark.filterwarnings("ignore:`torch.jit.script:FutureWarning")  # torch's own, of its forward derivatives
def test_transforms_of_torch_see_the_same_function():
    logits, center, direction = draw(3, 5, 4), draw(3, 2, seed=1), draw(3, 5, 4, seed=2)
    maps = logits.clone().requires_grad_()
    found = loss(maps, center)
    (gradient,) = torch.autograd.grad(found.sum(), maps)
    torch.testing.assert_close(torch.func.vmap(loss)(logits, center), found.detach())
    torch.testing.assert_close(torch.func.grad(lambda z: loss(z, center).sum())(logits), gradient)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(loss(forward_ad.make_dual(logits, direction), center)).tangent
    torch.testing.assert_close(tangent, (gradient * direction).sum(dim=(-1, -2)))
