"""The fused forms of sampling-argmax: draws for each map alone, loss and gradient in one pass; native on CPUs, Triton on GPUs."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from heatpoint._checks import check_whole
from heatpoint._draws import Noise
from heatpoint.kernels import _native, _triton
from heatpoint.kernels._shared_draws import INDEPENDENT, Draw, Sharing
from heatpoint.support import Support

# Form -> a module with why_not, expected_error and sampled_points, whose arguments are those of the other.
FORMS = {"triton": _triton, "native": _native}
SHARED, RECORDED = "it draws for each map alone", "the noise is recorded"


def obstacles(
    flat: Tensor, support: Support, draw: Draw | None, *, noise: Noise | Sharing | None, **drawn: Any
) -> dict[str, str]:
    """Form -> why it cannot compute this call of sampling-argmax, "" if it can; "torch" always can.

    Args:
        flat: (*batch, cells).
        support: Grid or Points.
        draw: What maps share, None where they do not.
        noise: Recorded draws, or who shares them.
        drawn: basis, formula, temperature, sign_gradient, and what does not matter here.
    """
    if draw is not None:
        return {**dict.fromkeys(FORMS, SHARED), "gemm": draw.obstacle()}
    if isinstance(noise, Noise):
        return {**dict.fromkeys(FORMS, RECORDED), "gemm": INDEPENDENT}
    given = {key: drawn[key] for key in ("basis", "formula", "temperature", "sign_gradient")}
    return {"gemm": INDEPENDENT, **{name: form.why_not(flat, support, **given) for name, form in FORMS.items()}}


def options(function: str, *, num_samples: int | None, noise: Noise | Sharing | None, **drawn: Any) -> dict[str, Any]:
    """What expected_error and sampled_points of a fused form are given beside maps and targets.

    Raises:
        ValueError: If num_samples is below 1.
    """
    number = check_whole(function, "num_samples", 1 if num_samples is None else num_samples, "be at least 1", least=1)
    given = {key: drawn[key] for key in ("basis", "formula", "temperature", "generator")}
    return {"function": function, "num_samples": number, "is_lattice": noise == "lattice", **given}
