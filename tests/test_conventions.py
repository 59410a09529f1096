"""docs/conventions.md, executed and pinned: one test per convention, of the same number."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

import heatpoint as hp
from heatpoint.frames import Frame, compose, flip_matrix, flip_points, resize_matrix
from pages import code_blocks, page, run_sessions, sections

SECTIONS = sections(page("docs/conventions.md"))
SHAPES = [(5,), (3, 7), (2, 5, 3)]


def run_rule(number: int) -> None:
    """Executes what the page says under its heading of this number, after the page's imports and rules 1 to number − 1."""
    (title,) = [t for t in SECTIONS if t.startswith(f"{number}. ")]
    names: dict[str, object] = {}
    run_sessions(code_blocks(SECTIONS[""], "python"), names)
    names["grid"] = hp.Grid((2, 3))
    blocks = code_blocks(SECTIONS[title], "python")
    assert blocks, f"convention {number} has no line that runs"
    run_sessions(blocks, names)


def test_the_page_states_nine_rules() -> None:
    numbers = [int(m.group(1)) for t in SECTIONS if (m := re.match(r"(\d+)\. ", t))]
    assert numbers == list(range(1, 10))


@pytest.mark.parametrize("shape", SHAPES)
def test_convention_1(shape: tuple[int, ...]) -> None:
    run_rule(1)
    # One-hot maps: the index of the hot cell, reversed, is its point.
    grid = hp.Grid(shape)
    for index in np.ndindex(*shape):
        logits = torch.full(shape, -torch.inf)
        logits[index] = 0.0
        assert hp.soft_argmax(logits, grid).tolist() == list(index[::-1])


@pytest.mark.parametrize("shape", SHAPES)
def test_convention_2(shape: tuple[int, ...]) -> None:
    run_rule(2)
    centers = hp.Grid(shape).cell_centers()
    for index in np.ndindex(*shape):
        assert centers[index].tolist() == list(index[::-1])


@pytest.mark.parametrize("stride", [1.0, 3.0, 4.0])
def test_convention_3(stride: float) -> None:
    run_rule(3)
    grid, published = hp.Grid((5, 6), stride=stride), hp.Grid((5, 6), stride=stride, offset=0)
    cells = torch.tensor([[0.0, 0.0], [4.25, 3.5]])
    assert torch.equal(grid.to_points(cells), (stride - 1) / 2 + stride * cells)
    assert torch.equal(published.to_points(cells), stride * cells)
    # The default composes: a map of stride 2 on an input that is itself an image shrunk by `stride` is a map of
    # stride 2 · stride on the image. All numbers here are exact in binary.
    inner = hp.Grid((5, 6), stride=2)
    outer = hp.Grid((5, 6), stride=2 * stride)
    unshrink = Frame(resize_matrix(stride, stride), (1, 1))
    composed = unshrink.to_input(inner.to_points(cells.double()).numpy())
    np.testing.assert_array_equal(composed, outer.to_points(cells.double()).numpy())


def test_convention_4() -> None:
    run_rule(4)
    points = np.array([[0.0, 0.0], [30.25, 17.5]])
    shrink = Frame(resize_matrix(0.25, 0.25), (16, 8))
    np.testing.assert_array_equal(shrink.to_input(points), (points + 0.5) * 0.25 - 0.5)
    np.testing.assert_allclose(shrink.to_image(shrink.to_input(points)), points, rtol=0, atol=1e-13)
    # A flip after a resize is one matrix, equal to the flip in coordinates.
    flipped = Frame(compose(flip_matrix(16), shrink.matrix), (16, 8)).to_input(points)
    np.testing.assert_array_equal(flipped, flip_points(torch.tensor(shrink.to_input(points)), width=16).numpy())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_convention_5(shape: tuple[int, ...], batch: tuple[int, ...]) -> None:
    run_rule(5)
    grid = hp.Grid(shape)
    logits = torch.zeros(*batch, *shape)
    assert hp.soft_argmax(logits, grid).shape == (*batch, len(shape))
    assert hp.sampling_argmax(logits, grid, num_samples=6).shape == (6, *batch, len(shape))
    density = hp.Density(logits, grid)
    assert density.sample((6,)).shape == (6, *batch, len(shape))
    assert density.log_prob(torch.zeros(*batch, len(shape))).shape == batch


def test_convention_6() -> None:
    run_rule(6)
    grid = hp.Grid((3, 7))
    logits = torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    # Dividing by a power of two is exact, so the two ways agree bit for bit.
    assert torch.equal(hp.soft_argmax(logits, grid, temperature=4.0), hp.soft_argmax(logits / 4.0, grid))


@pytest.mark.parametrize("name", sorted(hp.localizers.LOCALIZERS))
def test_convention_7(name: str) -> None:
    run_rule(7)
    grid = hp.Grid((4, 5), stride=2)
    localizer = hp.make_localizer(name, grid)
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    target = torch.full((2, 3, 2), 3.0)
    weight = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])

    def loss(target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return localizer.loss(logits, target, weight=weight, generator=torch.Generator().manual_seed(1))

    # What the target of a missing point holds makes no difference, even far outside.
    moved = torch.where(weight[..., None] > 0, target, -1e4)
    assert torch.equal(loss(target, weight), loss(moved, weight))
    nothing = loss(target, torch.zeros(2, 3))
    (gradient,) = torch.autograd.grad(nothing, logits)
    assert nothing.item() == 0.0
    assert not gradient.any()


def test_convention_8() -> None:
    run_rule(8)
    grid = hp.Grid((3, 7))
    density = hp.Density(torch.zeros(3, 7), grid)
    state = torch.get_rng_state()

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(7)

    assert torch.equal(density.sample((5,), generator=seeded()), density.sample((5,), generator=seeded()))
    # A generator of one's own leaves the global one alone.
    assert torch.equal(state, torch.get_rng_state())


def test_convention_9() -> None:
    run_rule(9)
    localizer = hp.make_localizer("randomized_rounding", hp.Grid((4, 5), stride=2, offset=0))
    stored = json.loads(json.dumps(localizer.to_dict()))
    restored = hp.localizer_from_dict(stored)
    assert restored == localizer
    assert eval(repr(localizer), {**vars(hp), "hp": hp, "heatpoint": hp}) == localizer
