"""How a form is chosen: the setting, and which calls of error and samples the native kernel takes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from heatpoint import Grid, kernels, sampling_argmax
from heatpoint.kernels import _triton
from heatpoint.kernels._library import library
from heatpoint.scores import expected_error


@pytest.fixture(autouse=True)
def automatic() -> Iterator[None]:
    with kernels.use("auto"):
        yield


def some_maps(grid: Grid) -> Tensor:
    return 2 * torch.randn(2, 3, *grid.shape, generator=torch.Generator().manual_seed(1))


def test_the_setting_is_a_context_and_a_setting() -> None:
    assert kernels.current() == "auto"
    with kernels.use("torch"):
        assert kernels.current() == "torch"
        with kernels.use("gemm"):
            assert kernels.current() == "gemm"
        assert kernels.current() == "torch"
    kernels.use("torch")
    assert kernels.current() == "torch"
    assert list(kernels.available()) == list(kernels.FORMS)
    reasons = {"triton": _triton.why_not_here(), "native": library().reason, "gemm": "", "torch": ""}
    assert kernels.available() == reasons
    with pytest.raises(
        ValueError, match=r"heatpoint.kernels.use: form must be one of auto, gemm, native, torch, triton, got 'cuda'"
    ):
        kernels.use("cuda")


def test_a_context_may_be_entered_again() -> None:
    context = kernels.use("torch")
    with context:
        assert kernels.current() == "torch"
        with kernels.use("gemm"), context:
            assert kernels.current() == "torch"
        assert kernels.current() == "torch"
    assert kernels.current() == "auto"
    with context:
        assert kernels.current() == "torch"
    assert kernels.current() == "auto"


@pytest.mark.skipif(bool(library().reason), reason=library().reason)
@pytest.mark.parametrize("noise", ["independent", "image", "batch"])
def test_errors_take_the_native_kernel(noise: Any) -> None:
    grid = Grid((9, 7), stride=4.0)
    logits = some_maps(grid).flatten(-2).requires_grad_()
    target = torch.full((2, 3, 2), 12.0)

    def error(form: str, seed: int = 0, **given: Any) -> Tensor:
        with kernels.use(form):
            generator = torch.Generator().manual_seed(seed)
            maps = logits.unflatten(-1, grid.shape)
            given = {"num_samples": 2000, "noise": noise, **given}
            return expected_error(maps, grid, target, generator=generator, **given)

    chosen = error("auto")
    assert torch.equal(chosen, error("native"))
    assert not torch.equal(chosen, error("native", seed=1))
    # Other numbers, the same law: the mean over 2000 samples, and its gradient.
    torch.testing.assert_close(chosen, error("torch"), rtol=0.05, atol=0.05)
    ours, theirs = (torch.autograd.grad(error(form).sum(), logits)[0] for form in ("native", "torch"))
    torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.1 * float(theirs.abs().max()))
    rule = "expected_error: kernels must be able to compute this call, got 'native': "
    with pytest.raises(ValueError, match=rule + "sign_gradient is asked for"):
        error("native", sign_gradient=True)
    for form in ("native", "torch"):
        with (
            kernels.use(form),
            pytest.raises(ValueError, match="expected_error: num_samples must be at least 1, got 0"),
        ):
            expected_error(logits.unflatten(-1, grid.shape), grid, target, num_samples=0, noise=noise)
    double = logits.detach().double().unflatten(-1, grid.shape)
    with kernels.use("native"), pytest.raises(ValueError, match=rule + "the logits are float64"):
        expected_error(double, grid, target, num_samples=2, noise=noise)


@pytest.mark.skipif(bool(library().reason), reason=library().reason)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("noise", ["independent", "image", "batch"])
def test_samples_take_the_native_kernel(dtype: torch.dtype, noise: Any) -> None:
    grid = Grid((9, 7), stride=4.0)
    maps = some_maps(grid).to(dtype).requires_grad_()

    def samples(form: str, seed: int = 0, **given: Any) -> Tensor:
        with kernels.use(form):
            generator = torch.Generator().manual_seed(seed)
            return sampling_argmax(maps, grid, num_samples=3000, noise=noise, generator=generator, **given)

    chosen = samples("auto")
    assert chosen.dtype == torch.float32
    assert torch.equal(chosen, samples("native"))
    assert torch.equal(chosen, samples("auto", memory="low"))
    assert not torch.equal(chosen, samples("auto", seed=1))
    plain = samples("torch")
    for image, point, axis in itertools.product(range(2), range(3), range(2)):
        both = [drawn[:, image, point, axis].detach().numpy() for drawn in (chosen, plain)]
        assert stats.ks_2samp(*both).pvalue > 1e-3
    ours, theirs = (torch.autograd.grad(drawn.square().mean(), maps)[0].float() for drawn in (chosen, plain))
    torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.1 * float(theirs.abs().max()))
    with pytest.raises(ValueError, match="sampling_argmax: kernels must be able to compute this call, got 'native': "):
        samples("native", sign_gradient=True)
