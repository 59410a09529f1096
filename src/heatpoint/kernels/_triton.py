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
from heatpoint._distances import Distance, difference, norm
from heatpoint._lattice_draws import order_of
from heatpoint._numerics import log_probabilities
from heatpoint._relaxed import Formula
from heatpoint.basis import Basis
from heatpoint.kernels import _replayed
from heatpoint.kernels._kept_gradients import scaled
from heatpoint.kernels._readable import unreadable
from heatpoint.kernels._triton_call import LONGEST_AXES, Call
from heatpoint.kernels._triton_launch import run
from heatpoint.kernels.choice import current
from heatpoint.support import Grid, Support

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


def why_not(logits: Tensor, *, support: Support, basis: Basis | None, formula: Formula) -> str:
    """Why the Triton kernels cannot take these maps, or ""."""
    # The interpreter is slow: it is for those who ask for it.
    if logits.device.type != "cuda" and not (is_interpreted() and current() == "triton"):
        return f"the logits are on {logits.device.type}"
    if why_not_here():
        return why_not_here()
    if logits.is_cuda and torch.cuda.get_device_capability(logits.device) < OLDEST_GPU:
        return "the GPU is older than compute capability {}.{}".format(*OLDEST_GPU)
    longest = LONGEST_AXES[support.ndim]
    if formula == "released" and basis is not None and isinstance(support, Grid) and max(support.lengths) > longest:
        return f"offsets of an axis of more than {longest} cells do not fit into registers"
    return ""


class SampledError(torch.autograd.Function):
    """The mean distance of samples to the target, (*batch), with its gradient made in the forward pass.

    `apply(flat (*batch, cells), target (*batch, D), axis_weight, call, distance, function)`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        flat: Tensor,
        target: Tensor,
        axis_weight: Tensor | None,
        call: Call,
        distance: Distance,
        function: str,
        wants: bool,
    ) -> Tensor:
        """Loss of every map; NaN where a map has no distribution."""
        made = run(call, flat, target=target, axis_weight=axis_weight, distance=distance, wants_gradient=wants)
        if wants:
            ctx.save_for_backward(made.logits_gradient, made.target_gradient, flat, target, axis_weight)
            ctx.given = call, distance, function
        assert made.loss is not None
        return made.loss

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """The kept gradients, each map's times the slope of its loss."""
        *kept, flat, target, axis_weight = ctx.saved_tensors
        call, distance, function = ctx.given
        if not torch.is_grad_enabled():

            def made_again() -> tuple[Tensor, ...]:
                made = run(call, flat, target=target, axis_weight=axis_weight, distance=distance, wants_gradient=True)
                assert made.logits_gradient is not None
                assert made.target_gradient is not None
                return made.logits_gradient, made.target_gradient

            into_flat, into_target = scaled(ctx, kept, slope, made_again)
            found = [
                None if gradient is None else gradient.to(of.dtype)
                for gradient, of in ((into_flat, flat), (into_target, target))
            ]
            return (*found, *(None,) * 5)
        # Somebody wants the gradient's gradient: the torch form, with the same draws, has it.
        samples = _replayed.samples(function, flat, call.support, call.law)
        error = norm(difference(samples, target, call.support), distance, axis_weight).mean(dim=0)
        return (*_replayed.gradients(error, (flat, target), slope), *(None,) * 5)


class SampledPoints(torch.autograd.Function):
    """Samples (S, *batch, D); their gradient draws the same noise again, and keeps nothing but the maps.

    `apply(flat (*batch, cells), call, function)`.
    """

    @staticmethod
    def forward(ctx: Any, flat: Tensor, call: Call, function: str) -> Tensor:
        """The points; NaN where a map has no distribution."""
        ctx.save_for_backward(flat)
        ctx.given = call, function
        made = run(call, flat, wants_samples=True)
        assert made.samples is not None
        return made.samples

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, None, None]:
        """The gradient of Σ samples · slope."""
        (flat,) = ctx.saved_tensors
        call, function = ctx.given
        if torch.is_grad_enabled() or unreadable(slope):
            samples = _replayed.samples(function, flat, call.support, call.law)
            return _replayed.gradients(samples, (flat,), slope)[0], None, None
        made = run(call, flat, sample_gradient=slope, wants_gradient=True)
        assert made.logits_gradient is not None
        return made.logits_gradient.to(flat.dtype), None, None


def expected_error(
    logits: Tensor,
    support: Support,
    target: Tensor,
    *,
    num_samples: int,
    distance: Distance = "l1",
    axis_weight: Tensor | None = None,
    generator: torch.Generator | None = None,
    is_lattice: bool = False,
    function: str = "expected_error",
    **drawn: Any,
) -> Tensor:
    """(*batch) of `heatpoint.scores.expected_error` with num_samples, differentiable in logits (*batch, cells) and target.

    Arguments are checked already, and `why_not` is "". One seed of 63 bits is drawn from the generator per call; nothing is
    drawn in the backward pass. A second derivative takes the torch form, with the same draws.

    Raises:
        ValueError: If every cell of a map is forbidden (on the CPU always, elsewhere under HEATPOINT_CHECK=1).
    """
    batch, ndim = logits.shape[:-1], support.ndim
    weight = None if axis_weight is None else axis_weight.expand(*batch, ndim)
    call = _call(support, logits.device, num_samples, generator, is_lattice, drawn)
    wants = torch.is_grad_enabled() and (logits.requires_grad or target.requires_grad)
    loss: Tensor = SampledError.apply(logits, target.expand(*batch, ndim), weight, call, distance, function, wants)
    _check_maps(function, logits, loss)
    return loss


def sampled_points(
    logits: Tensor,
    support: Support,
    *,
    num_samples: int,
    generator: torch.Generator | None = None,
    is_lattice: bool = False,
    function: str = "sampling_argmax",
    **drawn: Any,
) -> Tensor:
    """(S, *batch, D) of `heatpoint.sampling.sampling_argmax`, differentiable in logits (*batch, cells).

    As `expected_error`: the same seed gives the same samples.

    Raises:
        ValueError: If every cell of a map is forbidden (on the CPU always, elsewhere under HEATPOINT_CHECK=1).
    """
    call = _call(support, logits.device, num_samples, generator, is_lattice, drawn)
    points: Tensor = SampledPoints.apply(logits, call, function)
    _check_maps(function, logits, points)
    return points


def _call(
    support: Support,
    device: torch.device,
    num_samples: int,
    generator: torch.Generator | None,
    is_lattice: bool,
    drawn: dict[str, Any],
) -> Call:
    order = order_of(num_samples) if is_lattice else 0
    return Call(support, _seed(generator, device), num_samples, order=order, **drawn)


def _seed(generator: torch.Generator | None, device: torch.device) -> Tensor:
    """() int64, drawn where the generator is and never read by the CPU unless it is there."""
    home = device if generator is None else generator.device
    return torch.empty((), dtype=torch.int64, device=home).random_(generator=generator).to(device)


def _check_maps(function: str, logits: Tensor, made: Tensor) -> None:
    """Says which maps have no distribution, as the torch form does; a NaN may come from the target too."""
    if looks_at(made) and bool(made.detach().isnan().any()):
        log_probabilities(function, logits.detach())
