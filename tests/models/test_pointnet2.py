"""PointNet++: against the plain form of its layers, and under permutations of the points."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from heatpoint.models import PointNet2
from heatpoint.models._pointnet2_layouts import PARTS, SCENES, Layout
from heatpoint.models.pointnet2 import Encoder, GroupLayer, SpreadLayer, per_point
from heatpoint.neighbors import ball_query, content_order, farthest_points, gather_rows, nearest

# As the paper (supplement, B.1) and its code list them: centres of each level, then radius, places and channels of each ball.
PUBLISHED = {
    "parts single": [[512, (0.2, 32, [64, 64, 128])], [128, (0.4, 64, [128, 128, 256])]],
    "parts multi": [
        [512, (0.1, 32, [32, 32, 64]), (0.2, 64, [64, 64, 128]), (0.4, 128, [64, 96, 128])],
        [128, (0.4, 64, [128, 128, 256]), (0.8, 128, [128, 196, 256])],
    ],
    "scenes single": [
        [1024, (0.1, 32, [32, 32, 64])],
        [256, (0.2, 32, [64, 64, 128])],
        [64, (0.4, 32, [128, 128, 256])],
        [16, (0.8, 32, [256, 256, 512])],
    ],
    "scenes multi": [
        [1024, (0.05, 16, [16, 16, 32]), (0.1, 32, [32, 32, 64])],
        [256, (0.1, 16, [64, 64, 128]), (0.2, 32, [64, 96, 128])],
        [64, (0.2, 16, [128, 196, 256]), (0.4, 32, [128, 196, 256])],
        [16, (0.4, 16, [256, 256, 512]), (0.8, 32, [256, 384, 512])],
    ],
}


def cloud(number: int, size: int, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Points on the unit sphere and within it, the last three of them repetitions of the first."""
    xyz = torch.randn(number, size, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    xyz = xyz / xyz.norm(dim=-1, keepdim=True).clamp(min=1)
    return torch.cat([xyz[:, :-3], xyz[:, :3]], dim=1)


def grouped_plainly(layer: GroupLayer, xyz: Tensor, features: Tensor, centers: Tensor) -> Tensor:
    """The perceptron over (features, place relative to the centre) of every place of every ball."""
    index = ball_query(xyz, centers, layer.radius, layer.places)
    relative = gather_rows(xyz, index) - centers[:, :, None]
    rows = torch.cat([gather_rows(features, index), relative], dim=-1)
    return per_point(nn.Sequential(layer.first, layer.rest), rows).amax(dim=2)


def spread_plainly(layer: SpreadLayer, values: Tensor, at: Tensor, xyz: Tensor, own: Tensor) -> Tensor:
    """The perceptron over (interpolated, own) features."""
    distances, index = nearest(at, xyz, min(3, at.shape[1]))
    weights = 1 / (distances**2 + 1e-8)
    spread = (gather_rows(values, index) * (weights / weights.sum(dim=-1, keepdim=True))[..., None]).sum(dim=2)
    rows = torch.cat([spread, own], dim=-1) if layer.skip else spread
    return per_point(nn.Sequential(layer.first, layer.rest), rows)


def encoded_plainly(encoder: Encoder, xyz: Tensor) -> tuple[Tensor, Tensor]:
    """The network level by level, each with a sampling of its own; the points in their own order."""
    start = (xyz - xyz.mean(dim=1, keepdim=True)).norm(dim=-1).argmax(dim=1)
    places, features = [xyz], [xyz]
    for level, number in zip(encoder.down, encoder.centers, strict=True):
        taken = farthest_points(places[-1], min(number, places[-1].shape[1]), start=start)
        centers = gather_rows(places[-1], taken)
        parts = [grouped_plainly(layer, places[-1], features[-1], centers) for layer in level.groups]
        places.append(centers)
        features.append(torch.cat(parts, dim=-1))
        start = torch.zeros_like(start)
    summary = features[-1].amax(dim=1)
    if encoder.whole is not None:
        summary = per_point(encoder.whole, torch.cat([features[-1], places[-1]], dim=-1)).amax(dim=1)
        places.append(torch.zeros_like(places[-1][:, :1]))
        features.append(summary[:, None])
    found = features[-1]
    for layer, level in zip(encoder.up, range(len(places) - 2, -1, -1), strict=True):
        found = spread_plainly(layer, found, places[level + 1], places[level], features[level])
    return found, summary


@pytest.mark.parametrize("layout", PUBLISHED)
def test_layers_are_those_of_the_plain_form_back_and_forth(layout: str) -> None:
    """In training, where every place of every ball counts in the normalisation."""
    room, grouping = layout.split()
    torch.manual_seed(3)
    given = {"parts": PARTS, "scenes": SCENES}[room][grouping]
    centers = (40, 12) if room == "parts" else (40, 24, 9, 2)
    encoder = Encoder(given, width=0.1, centers=centers).double()
    xyz = cloud(2, 67, dtype=torch.float64)
    xyz = gather_rows(xyz, content_order(xyz))
    found, summary, rows = encoder(xyz)
    assert torch.equal(rows, torch.arange(67).expand(2, 67))
    found = found, summary
    weights = [torch.randn(part.shape, dtype=torch.float64) for part in found]
    gradients = []
    for parts in (found, encoded_plainly(encoder, xyz)):
        total = sum((part * weight).sum() for part, weight in zip(parts, weights, strict=True))
        gradients.append(torch.autograd.grad(total, list(encoder.parameters())))
    for one, other in zip(found, encoded_plainly(encoder, xyz), strict=True):
        # Some ten layers, each of which divides by a standard deviation.
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("layout", PUBLISHED)
def test_layouts_are_the_published_ones(layout: str) -> None:
    room, grouping = layout.split()
    given: Layout = {"parts": PARTS, "scenes": SCENES}[room][grouping]
    levels = [
        [number, *((ball.radius, ball.places, list(ball.widths)) for ball in balls)]
        for number, balls in zip(given.centers, given.balls, strict=True)
    ]
    assert levels == PUBLISHED[layout]


def test_the_number_of_weights() -> None:
    """Linear layers of the listed channels, two numbers of normalisation for each, and one layer with a bias."""

    def weights(*widths: int) -> int:
        return sum(a * b + 2 * b for a, b in pairwise(widths))

    single = weights(6, 64, 64, 128) + weights(131, 128, 128, 256) + weights(259, 256, 512, 1024)
    single += weights(1280, 256, 256) + weights(384, 256, 128) + weights(131, 128, 128, 128) + weights(128, 128)
    multi = weights(6, 32, 32, 64) + weights(6, 64, 64, 128) + weights(6, 64, 96, 128)
    multi += weights(323, 128, 128, 256) + weights(323, 128, 196, 256) + weights(515, 256, 512, 1024)
    multi += weights(1536, 256, 256) + weights(576, 256, 128) + weights(131, 128, 128) + weights(128, 128)
    for grouping, expected in (("single", single), ("multi", multi)):
        model = PointNet2(7, grouping=grouping)
        assert sum(weight.numel() for weight in model.parameters()) == expected + 129 * 7


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("grouping", ["single", "multi"])
def test_permuted_points_have_permuted_logits_bit_by_bit(grouping: str, training: bool) -> None:
    torch.manual_seed(1)
    model = PointNet2(4, grouping=grouping, width=0.1, centers=(30, 8), dropout=0.0).train(training)
    # More points than places in most balls: which of them are looked at depends on their order.
    xyz = 0.2 * cloud(3, 150)
    assert int((torch.cdist(xyz, xyz) < 0.2).sum(dim=-1).median()) > 32
    unique = (torch.arange(150) >= 3) & (torch.arange(150) < 147)
    orders = torch.stack([torch.randperm(150, generator=torch.Generator().manual_seed(s)) for s in range(3)])
    with torch.no_grad():
        logits, moved = model(xyz), model(gather_rows(xyz, orders))
    assert logits.std() > 0
    for one, other, order in zip(logits, moved, orders, strict=True):
        assert torch.equal(one[:, order[unique[order]]], other[:, unique[order]])
        # Points that coincide change places among themselves: rows of a product of matrices round differently.
        torch.testing.assert_close(one[:, order], other, rtol=1e-4, atol=1e-5)


def test_clouds_of_a_batch_do_not_meet() -> None:
    model = PointNet2(3, width=0.1, centers=(20, 6)).eval()
    xyz = cloud(3, 50)
    together = model(xyz)
    for index in range(3):
        torch.testing.assert_close(model(xyz[index : index + 1])[0], together[index], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 5, 41])
def test_clouds_smaller_than_the_levels_keep_all_their_points(size: int) -> None:
    model = PointNet2(3, width=0.1).eval()
    logits = model(torch.rand(2, size, 3, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (2, 3, size)
    assert bool(logits.isfinite().all())


def test_width_centers_and_dropout_matter() -> None:
    torch.manual_seed(0)
    xyz = cloud(2, 40)
    narrow, wide = PointNet2(3, width=0.1, centers=(9, 4)), PointNet2(3, width=0.2, centers=(9, 4))
    assert [model.logits.in_features for model in (narrow, wide)] == [13, 26]
    assert narrow.encoder.centers == (9, 4)
    assert [name for name, _ in narrow.named_children()][-1] == "logits"
    dropping, keeping = (PointNet2(3, width=0.1, centers=(9, 4), dropout=share) for share in (0.9, 0.0))
    assert not torch.equal(dropping(xyz), dropping(xyz))
    assert torch.equal(keeping(xyz), keeping(xyz))


def test_clouds_are_read_in_the_precision_of_the_weights() -> None:
    model = PointNet2(3, width=0.1, centers=(9, 4)).eval()
    xyz = cloud(2, 40)
    assert torch.equal(model(xyz.double()), model(xyz))
    assert model.double()(xyz).dtype == torch.float64


def test_it_learns_which_point_is_highest_and_which_lowest() -> None:
    torch.manual_seed(0)
    model = PointNet2(2, width=0.125, centers=(24, 8), dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for step in range(30):
        xyz = cloud(8, 60, seed=step)
        target = torch.stack([xyz[..., 1].argmax(dim=1), xyz[..., 1].argmin(dim=1)], dim=1)
        loss = nn.functional.cross_entropy(model(xyz).flatten(0, 1), target.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 3.5
    assert sum(losses[-5:]) / 5 < 2.5


MODEL = PointNet2(2, width=0.1, centers=(4, 2)).eval()
REFUSED: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: PointNet2(0), ValueError, "PointNet2: num_maps must be at least 1, got 0."),
    (lambda: PointNet2(2, width=0.0), ValueError, "PointNet2: width must be greater than 0, got 0.0."),
    (lambda: PointNet2(2, dropout=1.5), ValueError, "PointNet2: dropout must be from 0 to 1, got 1.5."),
    (
        lambda: PointNet2(2, grouping="multiple"),
        ValueError,
        "PointNet2: grouping must be one of multi, single, got 'multiple'. Did you mean multi?",
    ),
    (
        lambda: PointNet2(2, centers=(64,)),
        ValueError,
        "PointNet2: centers must hold 2 falling numbers of at least 1, one for each level, got (64,).",
    ),
    (lambda: PointNet2(2, centers=(64, 64)), ValueError, "one for each level, got (64, 64)."),
    (lambda: PointNet2(2, centers=(64, 0)), ValueError, "one for each level, got (64, 0)."),
    (lambda: MODEL(torch.zeros(2, 5, 2)), ValueError, "PointNet2.forward: xyz must be (B, N, 3), got (2, 5, 2)."),
    (lambda: MODEL(torch.zeros(5, 3)), ValueError, "PointNet2.forward: xyz must be (B, N, D) with N >= 1, got (5, 3)."),
    (lambda: MODEL(torch.zeros(2, 5, 3).long()), TypeError, "PointNet2.forward: xyz must be floating point, got torch.int64."),
    (lambda: MODEL(torch.zeros(2, 5, 3) / 0), ValueError, "PointNet2.forward: xyz must be finite, got NaN or infinity."),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), REFUSED)
def test_refused(call: Callable[[], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        call()
