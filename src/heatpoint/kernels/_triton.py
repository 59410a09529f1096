"""Sampling-argmax on a GPU in one pass: what the Triton kernels take, and their gradient handed to autograd.

Importing this imports no Triton; the first call does.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
from typing import Any

import torch
from torch import Tensor

from heatpoint._checks import looks_at
from heatpoint._distances import Distance
from heatpoint._numerics import log_probabilities
from heatpoint._relaxed import Formula
from heatpoint.basis import Basis, Gaussian
from heatpoint.kernels._once import Once
from heatpoint.kernels._triton_call import Call
from heatpoint.kernels._triton_launch import run
from heatpoint.kernels.choice import current
from heatpoint.support import Grid, Support

# The gradient is divided by the temperature, in float32.
COLDEST = 1e-30
# Of Triton, whose older versions have no tuples in kernels, and of the GPU's compute capability.
OLDEST_TRITON = (3, 3)
OLDEST_GPU = (8, 0)


def is_interpreted() -> bool:
    """Whether Triton runs its kernels in Python, for tests on machines without a GPU; to be set before its import."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@functools.cache
def version() -> tuple[int, ...]:
    """The installed Triton's major and minor version; () if there is none."""
    for package in ("triton", "triton-windows"):
        try:
            return tuple(map(int, re.findall(r"\d+", importlib.metadata.version(package))[:2]))
        except importlib.metadata.PackageNotFoundError:
            continue
    return ()


def why_not_here() -> str:
    """Why there are no Triton kernels on this machine, "" if there are."""
    if not version():
        return "Triton is not installed; it comes with torch for CUDA"
    if version() < OLDEST_TRITON:
        return "Triton {}.{} is older than {}.{}".format(*version(), *OLDEST_TRITON)
    if is_interpreted():
        return ""
    if torch.version.hip is not None:
        return "the Triton kernels were never tried on ROCm"
    return "" if torch.cuda.is_available() else "there is no CUDA device"


def why_not(
    logits: Tensor, support: Support, *, basis: Basis | None, formula: Formula, temperature: float, sign_gradient: bool
) -> str:
    """Why the Triton kernels cannot compute this, or ""."""
    # The interpreter is slow: it is for those who ask for it.
    if logits.device.type != "cuda" and not (is_interpreted() and current() == "triton"):
        return f"the logits are on {logits.device.type}"
    if why_not_here():
        return why_not_here()
    if logits.is_cuda and torch.cuda.get_device_capability(logits.device) < OLDEST_GPU:
        return "the GPU is older than compute capability {}.{}".format(*OLDEST_GPU)
    if logits.dtype == torch.float64:
        return "the logits are float64"
    if sign_gradient:
        return "sign_gradient is asked for"
    if temperature < COLDEST:
        return f"the temperature is below {COLDEST}"
    if isinstance(support, Grid):
        return "an axis of the grid is cyclic" if support.cyclic else ""
    if formula == "released" or not (basis is None or isinstance(basis, Gaussian)):
        return "the formula or the basis has no meaning on points"
    return "the points need a gradient" if support.xyz.requires_grad else ""


class SampledError(torch.autograd.Function):
    """The mean distance of samples to the target, (*batch), with its gradient made in the forward pass.

    `apply(flat (*batch, cells), target (*batch, D), axis_weight, call, distance)`. Not twice differentiable: a second backward
    pass raises.
    """

    @staticmethod
    def forward(
        ctx: Any, flat: Tensor, target: Tensor, axis_weight: Tensor | None, call: Call, distance: Distance
    ) -> Tensor:
        """Loss of every map; NaN where a map has no distribution."""
        wants = any(ctx.needs_input_grad[:2])
        made = run(call, flat, target=target, axis_weight=axis_weight, distance=distance, wants_gradient=wants)
        if wants:
            ctx.save_for_backward(made.logits_gradient, made.target_gradient, flat, target)
        assert made.loss is not None
        return made.loss

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """The kept gradients, each map's times the slope of its loss."""
        *kept, flat, target = ctx.saved_tensors
        with torch.no_grad():
            found = [
                (gradient * slope.unsqueeze(-1)).to(of.dtype) if is_needed else None
                for gradient, of, is_needed in zip(kept, (flat, target), ctx.needs_input_grad, strict=False)
            ]
        return (*(_once("expected_error", gradient, slope, flat, target) for gradient in found), None, None, None)


class SampledPoints(torch.autograd.Function):
    """Samples (S, *batch, D); their gradient draws the same noise again, and keeps nothing but the maps.

    `apply(flat (*batch, cells), call)`. Not twice differentiable: a second backward pass raises.
    """

    @staticmethod
    def forward(ctx: Any, flat: Tensor, call: Call) -> Tensor:
        """The points; NaN where a map has no distribution."""
        ctx.save_for_backward(flat)
        ctx.call = call
        made = run(call, flat, wants_samples=True)
        assert made.samples is not None
        return made.samples

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, None]:
        """The gradient of Σ samples · slope."""
        (flat,) = ctx.saved_tensors
        with torch.no_grad():
            made = run(ctx.call, flat, sample_gradient=slope, wants_gradient=True)
            assert made.logits_gradient is not None
            gradient = made.logits_gradient.to(flat.dtype)
        return _once("sampling_argmax", gradient, slope, flat), None


def expected_error(
    logits: Tensor,
    support: Support,
    target: Tensor,
    *,
    axis_weight: Tensor | None = None,
    generator: torch.Generator | None = None,
    distance: Distance = "l1",
    **drawn: Any,
) -> Tensor:
    """(*batch) of `heatpoint.scores.expected_error` with num_samples, differentiable in logits (*batch, cells) and target.

    Arguments are checked already, and `obstacle` is "". One 64-bit seed is drawn from the generator per call; nothing is drawn in
    the backward pass.

    Raises:
        ValueError: If every cell of a map is forbidden (on the CPU always, elsewhere under HEATPOINT_CHECK=1).
    """
    batch, ndim = logits.shape[:-1], support.ndim
    weight = None if axis_weight is None else axis_weight.expand(*batch, ndim)
    call = Call(support, _seed(generator, logits.device), **drawn)
    loss: Tensor = SampledError.apply(logits, target.expand(*batch, ndim), weight, call, distance)
    _check_maps("expected_error", logits, loss)
    return loss


def sampled_points(
    logits: Tensor,
    support: Support,
    *,
    generator: torch.Generator | None = None,
    num_samples: int,
    basis: Basis | None = None,
    temperature: float = 1.0,
    formula: Formula = "paper",
) -> Tensor:
    """(S, *batch, D) of `heatpoint.sampling.sampling_argmax`, differentiable in logits (*batch, cells).

    As `expected_error`: the same seed gives the same samples.

    Raises:
        ValueError: If every cell of a map is forbidden (on the CPU always, elsewhere under HEATPOINT_CHECK=1).
    """
    call = Call(support, _seed(generator, logits.device), num_samples, basis, temperature, formula)
    points: Tensor = SampledPoints.apply(logits, call)
    _check_maps("sampling_argmax", logits, points)
    return points


def _seed(generator: torch.Generator | None, device: torch.device) -> Tensor:
    """() int64, drawn where the generator is and never read by the CPU unless it is there."""
    home = device if generator is None else generator.device
    return torch.empty((), dtype=torch.int64, device=home).random_(generator=generator).to(device)


def _check_maps(function: str, logits: Tensor, made: Tensor) -> None:
    """Says which maps have no distribution, as the torch form does; a NaN may come from the target too."""
    if looks_at(made) and bool(made.detach().isnan().any()):
        log_probabilities(function, logits.detach())


def _once(function: str, gradient: Tensor | None, *depends_on: Tensor) -> Tensor | None:
    if gradient is None or not torch.is_grad_enabled():
        return gradient
    found: Tensor = Once.apply(function, "Triton", gradient, *depends_on)
    return found
