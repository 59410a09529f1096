"""Two channels per point, "not here" and "here": trained by the cross-entropy of each cell, read by the second."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from heatpoint import scores
from heatpoint.localizers import localizer_from_dict, make_localizer
from heatpoint.rounding import activation_probabilities, binary_map, round_to_cells
from heatpoint.support import Grid

GRID = Grid((4, 6), stride=4, offset=0)


def logits(*batch: int) -> torch.Tensor:
    return torch.randn(*batch, 2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def targets(*batch: int) -> torch.Tensor:
    return torch.rand(*batch, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 12


@pytest.mark.parametrize("label", ["random", "expected", "round"])
def test_the_loss_is_the_weighted_mean_of_the_score(label: str) -> None:
    localizer = make_localizer("randomized_rounding", GRID, channels=2, label=label)
    maps, points = logits(3, 5), targets(3, 5)
    weight = torch.tensor([1.0, 0.0, 2.0, 1.0, 0.5]).expand(3, 5)

    def seed() -> torch.Generator:
        return torch.Generator().manual_seed(2)

    score = scores.two_channel_cross_entropy(maps, GRID, points, label=label, generator=seed())  # type: ignore[arg-type]
    torch.testing.assert_close(localizer.score(maps, points, generator=seed()), score)
    expected = (weight * score).sum() / weight.sum()
    hidden = torch.where(weight[..., None] > 0, points, torch.nan)
    loss = localizer.loss(maps, hidden, weight=weight, generator=seed())
    if label == "random":  # The hidden targets are drawn too, from another place.
        assert bool(loss.isfinite())
    else:
        torch.testing.assert_close(loss, expected.to(loss.dtype))


def test_training_moves_both_channels_towards_the_target() -> None:
    localizer = make_localizer(
        "randomized_rounding", GRID, channels=2, label="expected", readout={"name": "top_k", "k": 4}
    )
    maps = torch.zeros(2, 3, 2, 4, 6, requires_grad=True)
    target = torch.tensor([9.0, 5.0]).expand(2, 3, 2)
    optimizer = torch.optim.Adam([maps], lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        localizer.loss(maps, target).backward()
        optimizer.step()
    # The activation probabilities of Eq. 14: here the logit of a is log a − log(1 − a), up to the shared gauge.
    odds = maps.detach()[0, 0, 1] - maps.detach()[0, 0, 0]
    wanted = torch.zeros(4, 6)
    wanted[1, 2], wanted[1, 3], wanted[2, 2], wanted[2, 3] = 0.5625, 0.1875, 0.1875, 0.0625
    torch.testing.assert_close(odds.sigmoid(), wanted, rtol=0, atol=0.01)
    assert bool((maps.detach()[:, :, 0] == -maps.detach()[:, :, 1]).all())
    found = localizer.locate(maps.detach())
    assert found.points.shape == (2, 3, 2)
    assert (found.points - target).abs().max() < 2.0


def test_only_the_second_channel_is_read() -> None:
    localizer = make_localizer("randomized_rounding", GRID, channels=2)
    single = make_localizer("randomized_rounding", GRID)
    maps = logits(3, 5)
    found, expected = localizer.locate(maps), single.locate(maps[:, :, 1])
    for here, there in zip(found, expected, strict=True):
        assert torch.equal(here, there)
    assert torch.equal(localizer.confidence(maps), single.confidence(maps[:, :, 1]))


def test_nothing_to_learn_is_zero_and_attached() -> None:
    localizer = make_localizer("randomized_rounding", GRID, channels=2)
    maps = logits(3).requires_grad_()
    loss = localizer.loss(maps, targets(3), weight=torch.zeros(3))
    loss.backward()
    assert loss.item() == 0.0
    assert maps.grad is not None
    assert float(maps.grad.abs().max()) == 0.0


def test_the_option_is_printed_and_stored() -> None:
    localizer = make_localizer("randomized_rounding", GRID, channels=2)
    assert repr(localizer) == "make_localizer('randomized_rounding', Grid((4, 6), stride=4, offset=0), channels=2)"
    assert localizer_from_dict(localizer.to_dict()) == localizer


def test_error_texts() -> None:
    localizer = make_localizer("randomized_rounding", GRID, channels=2)
    text = (
        r"randomized_rounding: logits must be \(\*batch, 2, \*grid\.shape\) with channels=2, got \(3, 5, 24\) with its cells in "
        r"a row\. Make the network with channels_per_point=2\."
    )
    with pytest.raises(ValueError, match=text):
        localizer.loss(torch.zeros(3, 5, 4, 6), targets(3, 5))
    with pytest.raises(ValueError, match=text):
        localizer.locate(torch.zeros(3, 5, 4, 6))
    with pytest.raises(ValueError, match=text):
        localizer.confidence(torch.zeros(3, 5, 4, 6))
    with pytest.raises(ValueError, match=r"randomized_rounding: channels must be 1 or 2, got 3\."):
        make_localizer("randomized_rounding", GRID, channels=3)
    with pytest.raises(ValueError, match=r"randomized_rounding: channels must be at least 1, got 0\."):
        make_localizer("randomized_rounding", GRID, channels=0)
    with pytest.raises(TypeError, match=r"randomized_rounding: channels must be a whole number, got '2'\."):
        make_localizer("randomized_rounding", GRID, channels="2")


def per_cell(maps: torch.Tensor, here: torch.Tensor) -> torch.Tensor:
    """The mean over cells of −Σ_c y_c log softmax_c, 0 · ∞ = 0, with the label map y spelled out."""
    log_p = maps.log_softmax(dim=-3)
    both = torch.stack([1 - here, here], dim=-3)
    return -torch.where(both > 0, both * log_p, 0.0).sum(dim=-3).mean(dim=(-2, -1))


@pytest.mark.parametrize("grid", [GRID, Grid((4, 6), stride=4, offset=0, cyclic=(0,))], ids=["straight", "cyclic"])
@pytest.mark.parametrize("label", ["expected", "floor", "round", "ceil"])
def test_indices_score_as_label_maps_do(grid: Grid, label: Any) -> None:
    """Within the map, on its border and beyond it, where clipping makes cells one."""
    places = [[9.0, 5.0], [20.0, 12.0], [22.5, 3.0], [-9.0, 40.0], [4.0, 8.0], [-1.0, 5.5]]
    points = torch.tensor(places, dtype=torch.float64).reshape(3, 2, 2)
    maps = logits(3, 2).requires_grad_()
    if label == "expected":
        here = activation_probabilities(points, grid)
    else:
        here = binary_map(round_to_cells(points, grid, mode=label), grid, dtype=torch.float64)
    wanted = per_cell(maps, here)
    found = scores.two_channel_cross_entropy(maps, grid, points, label=label)
    # Sums of 24 terms below 10 in float64.
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-14)
    slopes = torch.tensor([[1.0, -2.0], [0.5, 3.0], [0.0, 1.5]], dtype=torch.float64)
    for one, other in zip(*(torch.autograd.grad((x * slopes).sum(), maps) for x in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-14)


def test_drawn_indices_score_as_label_maps_do() -> None:
    points, maps = targets(3, 5), logits(3, 5)
    cells = round_to_cells(points, GRID, mode="random", generator=torch.Generator().manual_seed(4))
    found = scores.two_channel_cross_entropy(maps, GRID, points, generator=torch.Generator().manual_seed(4))
    wanted = per_cell(maps, binary_map(cells, GRID, dtype=torch.float64))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("label", ["expected", "floor"])
@pytest.mark.parametrize("channel", [0, 1])
@pytest.mark.parametrize("is_labelled", [True, False])
def test_a_class_that_is_forbidden_costs_nothing_or_everything(label: Any, channel: int, is_labelled: bool) -> None:
    maps = logits(1)
    maps[0, channel, 1, 3] = -torch.inf
    maps.requires_grad_()
    # The centre of a cell: its four cells have probabilities 1, 0, 0 and 0.
    points = torch.tensor([[12.0, 4.0] if is_labelled else [8.0, 4.0]], dtype=torch.float64)
    here = binary_map(round_to_cells(points, GRID), GRID, dtype=torch.float64)
    found = scores.two_channel_cross_entropy(maps, GRID, points, label=label)
    assert found.isinf().item() == (channel == is_labelled)
    torch.testing.assert_close(found, per_cell(maps, here).detach(), rtol=0, atol=1e-14)
    found.sum().backward()
    assert maps.grad is not None
    assert bool(maps.grad.isfinite().all())


def test_second_derivatives_of_the_score() -> None:
    points, maps = targets(2), logits(2).requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda z: scores.two_channel_cross_entropy(z, GRID, points, label="expected"), maps
    )


def test_no_label_map_is_kept() -> None:
    """What waits for the backward pass: the log odds and one function of them, and indices."""
    grid = Grid((32, 48), stride=4, offset=0)
    maps = torch.randn(5, 2, 32, 48, generator=torch.Generator().manual_seed(0)).requires_grad_()
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        scores.two_channel_cross_entropy(maps, grid, targets(5).float(), label="expected")
    a_map = 5 * 32 * 48 * 4
    assert 2 * a_map <= sum(kept.values()) < 2.2 * a_map
