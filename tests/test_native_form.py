"""The native kernel as a form of the public functions: its derivatives, what it leaves to the torch form, and its absence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from heatpoint.basis import Uniform
from heatpoint.kernels import _library, _native, fused
from heatpoint.scores import expected_error
from heatpoint.support import Grid, Points, Support
from native_maps import random_maps
from native_sampling import GRIDS, SAMPLES, THIN, assert_derivatives_are_those_of_the_torch_form, native, results

pytestmark = pytest.mark.skipif(_library.library().handle is None, reason=_library.library().reason)


def test_autograd_scales_the_gradients_of_each_map() -> None:
    support, target = GRIDS["2D"], torch.tensor([20.0, 0.0], requires_grad=True)
    logits, slope = (
        random_maps(2, 3, support.num_cells).requires_grad_(),
        torch.tensor([[1.0, 0.0, -2.0], [0.5, 3.0, 1.0]]),
    )
    generator = torch.Generator().manual_seed(1)
    seed = int(torch.empty((), dtype=torch.int64).random_(generator=generator.clone_state()))
    loss = _native.expected_error(logits, support, target, num_samples=SAMPLES, basis=Uniform(), generator=generator)
    loss.backward(slope)
    alone = results(native(logits, support, target, basis=Uniform(), seed=seed))
    assert torch.equal(loss.detach(), alone[0])
    assert logits.grad is not None
    assert torch.equal(logits.grad, alone[1] * slope[..., None])
    torch.testing.assert_close(target.grad, (alone[2] * slope[..., None]).sum((0, 1)))


@pytest.mark.parametrize(
    "support", [*GRIDS.values(), *THIN.values(), Points(torch.rand(19, 3, generator=torch.Generator()))]
)
@pytest.mark.parametrize("formula", ["paper", "released"])
def test_second_derivatives_are_those_of_the_torch_form_with_the_same_draws(support: Support, formula: str) -> None:
    if isinstance(support, Points) and formula == "released":
        return
    assert_derivatives_are_those_of_the_torch_form(support, (2,), "independent", formula)


def test_a_wholly_forbidden_map_is_an_error() -> None:
    with pytest.raises(ValueError, match="must leave at least one cell of every map possible"):
        _native.expected_error(torch.full((2, 5), -torch.inf), Grid((5,)), torch.ones(2, 1), num_samples=2)


def test_a_nan_in_the_target_is_not_blamed_on_the_map() -> None:
    target = torch.tensor([[1.0], [torch.nan]])
    loss = _native.expected_error(torch.zeros(2, 5), Grid((5,)), target, num_samples=2)
    assert loss.isnan().tolist() == [False, True]
    with pytest.raises(ValueError, match="got NaN or"):
        _native.expected_error(torch.full((2, 5), torch.nan), Grid((5,)), torch.ones(2, 1), num_samples=2)


def test_what_needs_the_torch_form() -> None:
    def reason(logits: Tensor, support: Support, **options: Any) -> str:
        given: Any = {"basis": None, "formula": "paper", "temperature": 1.0, "sign_gradient": False, "noise": None}
        return fused.obstacles(logits, support, None, **{**given, **options})["native"]

    logits, grid = torch.zeros(5), Grid((5,))
    assert reason(logits, grid) == ""
    assert reason(logits.double(), grid) == "the logits are float64"
    assert reason(logits, Grid((5,), cyclic=(0,))) == "an axis of the grid is cyclic"
    assert reason(logits, grid, sign_gradient=True) == "sign_gradient is asked for"
    assert reason(logits, Points(torch.zeros(5, 2, requires_grad=True))) == "the points need a gradient"
    assert reason(logits, grid, temperature=1e-30) == ""
    assert reason(logits, grid, temperature=9e-31) == "below a temperature of 1e-30 the gradient leaves float32"
    assert (
        reason(logits, grid, weight=torch.ones(1).requires_grad_()) == "the weights of the coordinates need a gradient"
    )
    assert reason(logits, Points(torch.zeros(3, 5, 2))) == "there are more clouds than maps"
    seen: list[str] = []
    torch.func.vmap(lambda row: seen.append(reason(row, grid)) or row)(logits[None])  # type: ignore[func-returns-value]
    assert seen == ["torch traces or transforms the call"]


def test_a_missing_library_says_so(tmp_path: Path) -> None:
    found = _library.load(tmp_path)
    assert found.handle is None
    assert "without its native kernels" in found.reason
    (tmp_path / "libheatpoint.so").write_bytes(b"no library")
    assert "cannot be loaded" in _library.load(tmp_path).reason


def test_a_missing_library_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_library, "FOLDER", tmp_path)
    _library.library.cache_clear()
    try:
        for _ in range(3):
            expected_error(torch.zeros(2, 5), Grid((5,)), torch.ones(2, 1), num_samples=2)
    finally:
        _library.library.cache_clear()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "there was no C++ compiler" in record.getMessage()
