"""Skeleton Merger: maps, strengths and offsets, and that its loss leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from heatpoint.chamfer import composite_chamfer
from heatpoint.models import SkeletonMerger


def crosses(number: int, *, size: int = 90, seed: int = 0) -> Tensor:
    """Clouds (number, size, 3) of two crossing bars whose lengths differ."""
    generator = torch.Generator().manual_seed(seed)
    along = torch.rand(number, size, generator=generator) * 2 - 1
    which = torch.arange(size) % 2
    longer = torch.rand(number, 1, generator=generator) * 0.5 + 0.5
    x, y = along * which, along * longer * (1 - which)
    return torch.stack([x, y, 0.02 * torch.randn(number, size, generator=generator)], dim=-1)


@pytest.mark.parametrize("grouping", ["single", "multi"])
def test_shapes_and_ranges(grouping: str) -> None:
    torch.manual_seed(0)
    model = SkeletonMerger(5, grouping=grouping, width=0.1, points_per_edge=7)
    logits, strengths = model.encode(crosses(3))
    assert logits.shape == (3, 5, 90)
    assert strengths.shape == (3, 10)
    assert bool(((strengths > 0) & (strengths < 1)).all())
    assert model.offsets.shape == (10, 7, 3)
    assert [name for name, _ in model.named_modules()].count("logits") == 1
    model.eval()
    assert torch.equal(model(crosses(2)), model.encode(crosses(2))[0])


def test_maps_are_normalised_over_keypoints_and_then_mixed() -> None:
    """A number added to all maps of a point changes nothing: the log softmax takes it away."""
    torch.manual_seed(0)
    model = SkeletonMerger(4, grouping="single", width=0.1).eval()
    xyz = crosses(2)
    before = model(xyz)
    with torch.no_grad():
        model.maps.bias += 3.0
        torch.testing.assert_close(model(xyz), before, rtol=1e-4, atol=1e-5)
        model.maps.bias[1] += 3.0
        assert not torch.allclose(model(xyz), before, rtol=1e-2, atol=1e-2)
        model.logits.weight.copy_(torch.eye(4))
        model.logits.bias.zero_()
        probabilities = model(xyz).exp().sum(dim=1)
    torch.testing.assert_close(probabilities, torch.ones(2, 90))


def test_offsets_start_small_and_are_penalised() -> None:
    torch.manual_seed(0)
    model = SkeletonMerger(10, width=0.1)
    assert model.offsets.shape == (45, 200, 3)
    # The standard error of a standard deviation from 27 000 draws is 0.4 %.
    assert model.offsets.std().item() == pytest.approx(0.002, rel=0.02)
    assert model.offset_penalty().item() == pytest.approx(0.01 * 27000 * 0.002**2, rel=0.04)
    model.offset_penalty().backward()
    torch.testing.assert_close(model.offsets.grad, 0.02 * model.offsets.detach())


def test_permuted_points_have_permuted_maps_and_the_same_strengths() -> None:
    torch.manual_seed(0)
    model = SkeletonMerger(4, width=0.1).eval()
    xyz = crosses(2)
    order = torch.randperm(90, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        (logits, strengths), (moved, same) = model.encode(xyz), model.encode(xyz[:, order])
    assert torch.equal(logits[..., order], moved)
    assert torch.equal(strengths, same)


def test_the_loss_leads_to_keypoints_that_build_the_clouds() -> None:
    torch.manual_seed(0)
    model = SkeletonMerger(4, grouping="single", width=0.125, points_per_edge=12, dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for step in range(25):
        xyz = crosses(6, seed=step)
        logits, strengths = model.encode(xyz)
        points = logits.softmax(dim=-1) @ xyz
        loss = composite_chamfer(points, strengths, xyz, offsets=model.offsets, points_per_edge=12).mean()
        optimizer.zero_grad()
        (loss + model.offset_penalty()).backward()
        if step == 0:
            assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
            assert model.offsets.grad is not None
            assert bool((model.offsets.grad != 0).any())
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.6 * losses[0]


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: SkeletonMerger(1), "SkeletonMerger: num_points must be at least 2, got 1."),
    (lambda: SkeletonMerger(3, points_per_edge=1), "SkeletonMerger: points_per_edge must be at least 2, got 1."),
    (lambda: SkeletonMerger(3, dropout=-0.1), "SkeletonMerger: dropout must be from 0 to 1, got -0.1."),
    (
        lambda: SkeletonMerger(3, grouping="multy"),
        "SkeletonMerger: grouping must be one of multi, single, got 'multy'.",
    ),
    (
        lambda: SkeletonMerger(3, grouping="single", width=0.1)(crosses(1)),
        "SkeletonMerger.encode: xyz must hold two clouds or more in training, got 1.",
    ),
]


@pytest.mark.parametrize(("call", "text"), REFUSED)
def test_refused(call: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        call()
