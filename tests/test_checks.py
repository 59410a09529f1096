"""Error texts and the numerical ground rules."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from heatpoint._checks import check_real, check_tensor, check_whole, looks_at, message, one_of, value_checks_enabled
from heatpoint._numerics import full_precision, log_probabilities, promote


def test_message_without_a_remedy_ends_with_the_value() -> None:
    assert message("f", "x", "be 1", 2) == "f: x must be 1, got 2."


def test_one_of_lists_the_valid_names_and_the_nearest() -> None:
    one_of("f", "kind", "mse", ["mse", "mae"])
    with pytest.raises(ValueError, match="f: kind must be one of mae, mse, got 'msa'. Did you mean mse or mae?"):
        one_of("f", "kind", "msa", ["mse", "mae"])
    with pytest.raises(ValueError, match=r"got 'quite else'\.$"):
        one_of("f", "kind", "quite else", ["mse", "mae"])


@pytest.mark.parametrize(("value", "expected"), [("", False), ("0", False), ("1", True)])
def test_value_checks_follow_the_environment(monkeypatch: pytest.MonkeyPatch, value: str, expected: bool) -> None:
    monkeypatch.setenv("HEATPOINT_CHECK", value)
    assert value_checks_enabled() is expected


def test_autocast_does_not_reach_inside_and_half_is_promoted() -> None:
    @full_precision
    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return promote(a) @ promote(b)

    a, b = torch.ones(2, 3, dtype=torch.bfloat16), torch.ones(3, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert product(a, b=b).dtype == torch.float32
    assert product(a, b).dtype == torch.float32
    assert promote(b.double()).dtype == torch.float64


def test_forbidden_cells_are_allowed_as_long_as_one_is_not() -> None:
    logits = torch.tensor([[0.0, -torch.inf, 1.0], [-torch.inf, 2.0, -torch.inf]], requires_grad=True)
    p = log_probabilities("f", logits).exp()
    torch.testing.assert_close(p.sum(-1), torch.ones(2))
    (p[:, 1] * 3).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_wholly_forbidden_maps_are_an_error_even_without_value_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATPOINT_CHECK", "0")
    with pytest.raises(ValueError, match="f: logits must leave at least one cell of every map possible"):
        log_probabilities("f", torch.tensor([[0.0, 1.0], [-torch.inf, -torch.inf]]))


def test_nan_logits_are_an_error_under_value_checks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.tensor([[0.0, 1.0], [torch.nan, 0.0]])
    with pytest.raises(ValueError, match="f: logits must be finite or −inf, got NaN or"):
        log_probabilities("f", logits)
    monkeypatch.setenv("HEATPOINT_CHECK", "0")
    assert log_probabilities("f", logits)[1].isnan().all()


def test_no_value_is_read_where_torch_has_none_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATPOINT_CHECK", "1")
    seen: list[bool] = []

    def look(x: torch.Tensor) -> torch.Tensor:
        seen.append(looks_at(x))
        return x * 2

    torch.func.vmap(look)(torch.ones(3))
    look(torch.ones(3))
    assert seen == [False, True]
    monkeypatch.setenv("HEATPOINT_CHECK", "0")
    assert looks_at(torch.ones(3))
    assert not looks_at(torch.ones(3, device="meta"))


def test_the_error_text_names_the_callers_argument() -> None:
    with pytest.raises(ValueError, match="f: maps must leave at least one cell of every map possible"):
        log_probabilities("f", torch.full((2,), -torch.inf), "maps")


@pytest.mark.parametrize(("value", "name"), [(None, "NoneType"), ([1.0], "list"), (np.zeros(3), "ndarray")])
def test_what_is_no_tensor_is_named(value: object, name: str) -> None:
    with pytest.raises(TypeError, match=rf"f: target must be a torch.Tensor, got {name}\."):
        check_tensor("f", "target", value)


def test_numbers_of_any_kind_are_numbers_and_bools_are_none() -> None:
    assert (check_real("f", "x", np.float32(0.5), "r"), check_whole("f", "k", np.int64(3), "r")) == (0.5, 3)
    for value in (True, None, "1", torch.ones(())):
        with pytest.raises(TypeError, match="f: x must r, got"):
            check_real("f", "x", value, "r")
        with pytest.raises(TypeError, match="f: k must r, got"):
            check_whole("f", "k", value, "r")
    for value in (float("nan"), float("inf"), 0.0, 3.0):
        with pytest.raises(ValueError, match="f: x must r, got"):
            check_real("f", "x", value, "r", above=0, most=2)
    for value in (2.0, 0, 4):
        with pytest.raises(ValueError, match="f: k must r, got"):
            check_whole("f", "k", value, "r", least=1, most=3)
