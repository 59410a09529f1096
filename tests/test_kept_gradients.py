"""Gradients that the forward pass makes and the first backward pass gives away: right however often and however asked for."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint

from heatpoint import Grid, kernels
from heatpoint.scores import expected_error
from peaks import peak_of

GRID = Grid((5, 6), stride=2.0)


@pytest.fixture(params=["native", "native, image", "gemm, image"])
def step(request: pytest.FixtureRequest) -> Any:
    form, _, noise = request.param.partition(", ")
    if kernels.available()[form]:
        pytest.skip(kernels.available()[form])

    def run(logits: Tensor, target: Tensor) -> Tensor:
        with kernels.use(form):
            return expected_error(
                logits, GRID, target, num_samples=6, noise=noise or "independent",  # type: ignore[arg-type]
                generator=torch.Generator().manual_seed(3),
            )  # fmt: skip

    return run


def maps() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(3, 4, 5, 6, generator=generator)
    return logits.requires_grad_(), (3 * torch.randn(3, 4, 2, generator=generator)).requires_grad_()


def test_a_second_backward_pass_is_the_first_again(step: Any) -> None:
    logits, target = maps()
    slope = torch.rand(3, 4, generator=torch.Generator().manual_seed(2))
    error = step(logits, target)
    first = torch.autograd.grad(error, (logits, target), slope, retain_graph=True)
    kept = [gradient.clone() for gradient in first]
    second = torch.autograd.grad(error, (logits, target), 2 * slope, retain_graph=True)
    (third,) = torch.autograd.grad(error, logits, slope)
    for ours, again, before in zip(first, second, kept, strict=True):
        assert torch.equal(ours, before)  # What was given away is nobody else's.
        torch.testing.assert_close(again, 2 * ours)
    assert torch.equal(third, first[0])


def test_gradients_add_up_in_place(step: Any) -> None:
    logits, target = maps()
    error = step(logits, target).sum()
    error.backward(retain_graph=True)
    once = logits.grad.clone()  # type: ignore[union-attr]
    error.backward()
    torch.testing.assert_close(logits.grad, 2 * once)


def test_many_slopes_at_a_time(step: Any) -> None:
    logits, target = maps()
    error = step(logits, target)
    slopes = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(2))
    for _ in range(2):
        (many,) = torch.autograd.grad(error, logits, slopes, is_grads_batched=True, retain_graph=True)
        for slope, found in zip(slopes, many, strict=True):
            torch.testing.assert_close(torch.autograd.grad(error, logits, slope, retain_graph=True)[0], found)


def test_a_gradient_that_can_be_differentiated_after_one_that_was_given_away(step: Any) -> None:
    logits, target = maps()
    error = step(logits, target).sum()
    (plain,) = torch.autograd.grad(error, logits, retain_graph=True)
    (again,) = torch.autograd.grad(error, logits, create_graph=True)
    torch.testing.assert_close(again, plain, rtol=1e-4, atol=1e-6)
    assert torch.autograd.grad(again.square().sum(), logits)[0].isfinite().all()


def test_what_torch_keeps_elsewhere_or_makes_again_gives_the_same(step: Any) -> None:
    logits, target = maps()
    wanted = torch.autograd.grad(step(logits, target).sum(), (logits, target))
    with save_on_cpu():
        error = step(logits, target).sum()
    for _ in range(2):
        found = torch.autograd.grad(error, (logits, target), retain_graph=True)
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, wanted, strict=True))
    again: Tensor = checkpoint(step, logits, target, use_reentrant=False)
    for ours, theirs in zip(torch.autograd.grad(again.sum(), (logits, target)), wanted, strict=True):
        assert torch.equal(ours, theirs)


def test_threads_that_go_back_through_one_graph(step: Any) -> None:
    logits, target = maps()
    error = step(logits, target).sum()
    (wanted,) = torch.autograd.grad(3 * step(logits, target).sum(), logits)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(40):
                error = step(logits, target).sum()
                given = [(3 * error, logits, None, True)] * 4
                for (found,) in pool.map(lambda arguments: torch.autograd.grad(*arguments), given):
                    torch.testing.assert_close(found, wanted)
    finally:
        sys.setswitchinterval(before)


def test_autocast_around_the_backward_pass_changes_nothing(step: Any) -> None:
    logits, target = maps()
    error = step(logits, target).sum()
    (wanted,) = torch.autograd.grad(error, logits, retain_graph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = torch.autograd.grad(error, logits)
    torch.testing.assert_close(found, wanted)


def test_one_gradient_of_two(step: Any) -> None:
    logits, target = maps()
    wanted = torch.autograd.grad(step(logits, target).sum(), (logits, target))
    for index in range(2):
        given = [x if k == index else x.detach() for k, x in enumerate((logits, target))]
        (found,) = torch.autograd.grad(step(*given).sum(), (logits, target)[index])
        assert torch.equal(found, wanted[index])


@pytest.mark.skipif(bool(kernels.available()["native"]), reason=kernels.available()["native"] or "runs")
def test_a_step_takes_little_more_than_the_gradient() -> None:
    """With the published code's operations it takes some 200 times the maps."""
    assert 1 <= peak_of("sampling coco-300 2", "native") < 1.2
