"""What the arguments of sampling-argmax must be, whoever takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from heatpoint._checks import check_real, message, one_of
from heatpoint._draws import Noise
from heatpoint._relaxed import Formula
from heatpoint.basis import Basis, check_basis_on_points, make_basis
from heatpoint.kernels._shared_draws import SHARINGS, Draw, Sharing, make_draw
from heatpoint.support import Points, Support

FORMULAS: tuple[Formula, ...] = ("paper", "released")
MEMORY = ("normal", "low")


def shared_draw(
    function: str,
    logits: Tensor,
    grid: Support,
    *,
    basis: Basis | None,
    num_samples: int | None,
    temperature: float,
    formula: Formula,
    generator: torch.Generator | None,
    noise: Noise | Sharing | None,
    sign_gradient: bool,
    memory: str,
) -> Draw | None:
    """What is drawn for maps that share it, None where none do; the caller has checked all but `noise` and `num_samples`."""
    if isinstance(noise, str):
        one_of(function, "noise", noise, SHARINGS)
    if not isinstance(noise, str) or noise in ("independent", "lattice"):
        return None
    return make_draw(
        function,
        grid,
        basis=basis,
        formula=formula,
        temperature=temperature,
        num_samples=num_samples,
        sharing=noise,
        sign_gradient=sign_gradient,
        generator=generator,
        device=logits.device,
        memory=memory,
    )


def checked_basis(
    function: str, basis: str | Basis | Mapping[str, Any] | None, grid: Support, formula: Formula
) -> Basis | None:
    made = None if basis is None else make_basis(basis, function=function)
    if isinstance(grid, Points):
        if formula == "released":
            remedy = "Unordered points have no axes to take marginals along."
            raise ValueError(message(function, "formula", "be 'paper' on Points", repr(formula), remedy))
        return None if made is None else check_basis_on_points(function, made)
    return made


def check_choices(function: str, temperature: float, formula: str, memory: str) -> None:
    one_of(function, "formula", formula, FORMULAS)
    one_of(function, "memory", memory, MEMORY)
    remedy = "It divides; towards 0 the draws become exact (formula 'paper')."
    check_real(function, "temperature", temperature, "be a finite number greater than 0", above=0, remedy=remedy)
