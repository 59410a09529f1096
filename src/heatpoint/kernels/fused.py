"""The fused forms of sampling-argmax, loss and gradient in one pass: native on CPUs, Triton on GPUs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from heatpoint._checks import broadcasts_to, check_whole
from heatpoint._draws import Noise
from heatpoint._relaxed import Formula
from heatpoint.basis import Basis, Gaussian
from heatpoint.kernels import _native, _triton
from heatpoint.kernels._library import COLDEST
from heatpoint.kernels._readable import unreadable
from heatpoint.kernels._shared_draws import INDEPENDENT, Draw, Sharing
from heatpoint.support import Grid, Support

# Form -> a module with why_not, expected_error and sampled_points, whose arguments are those of the other.
FORMS = {"triton": _triton, "native": _native}
MATTERS = ("basis", "formula", "temperature", "sign_gradient")
SHARED, RECORDED = "it draws for each map alone", "the noise is recorded"


def obstacles(
    flat: Tensor,
    support: Support,
    draw: Draw | None,
    *,
    noise: Noise | Sharing | None,
    weight: Tensor | None = None,
    **drawn: Any,
) -> dict[str, str]:
    """Form -> why it cannot compute this call of sampling-argmax, "" if it can; "torch" always can.

    Args:
        flat: (*batch, cells).
        support: Grid or Points.
        draw: What maps share, None where they do not.
        noise: Recorded draws, or who shares them.
        weight: Weights of the coordinates in an error.
        drawn: basis, formula, temperature, sign_gradient, and what does not matter here.
    """
    all_forms = _unreadable(flat, weight)
    if isinstance(noise, Noise):
        return {**dict.fromkeys(FORMS, RECORDED), "gemm": INDEPENDENT}
    both = all_forms or _not_fused(flat, support, **{key: drawn[key] for key in MATTERS})
    chosen = {"support": support, "basis": drawn["basis"], "formula": drawn["formula"]}
    if draw is not None:
        native = _native.why_not(flat, **chosen) or both
        return {"triton": SHARED, "native": native, "gemm": all_forms or draw.obstacle()}
    return {"gemm": INDEPENDENT, **{name: form.why_not(flat, **chosen) or both for name, form in FORMS.items()}}


def checked_count(function: str, num_samples: int | None) -> int:
    """S, where it is not said 1.

    Raises:
        ValueError: If it is below 1.
    """
    return check_whole(function, "num_samples", 1 if num_samples is None else num_samples, "be at least 1", least=1)


def _unreadable(flat: Tensor, weight: Tensor | None) -> str:
    if weight is not None and weight.requires_grad:
        return "the weights of the coordinates need a gradient"
    return unreadable(flat)


def _not_fused(
    flat: Tensor, support: Support, *, basis: Basis | None, formula: Formula, temperature: float, sign_gradient: bool
) -> str:
    """Why neither fused form can compute a call, whatever the machine."""
    if flat.dtype == torch.float64:
        return "the logits are float64"
    if sign_gradient:
        return "sign_gradient is asked for"
    if temperature < COLDEST:
        return f"below a temperature of {COLDEST} the gradient leaves float32"
    if isinstance(support, Grid):
        return "an axis of the grid is cyclic" if support.cyclic else ""
    if formula == "released" or not (basis is None or isinstance(basis, Gaussian)):
        return "the formula or the basis has no meaning on points"
    if not broadcasts_to(support.xyz.shape[:-2], flat.shape[:-1]):
        return "there are more clouds than maps"
    return "the points need a gradient" if support.xyz.requires_grad else ""
