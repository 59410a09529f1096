"""Sampling-argmax by the native CPU kernel under autograd: the error of samples, and the samples themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from heatpoint._distances import Distance, difference, norm
from heatpoint._lattice_draws import order_of
from heatpoint._numerics import log_probabilities
from heatpoint.kernels import _replayed
from heatpoint.kernels._call import Law, Sampled, sample
from heatpoint.kernels._kept_gradients import scaled
from heatpoint.kernels._library import library
from heatpoint.kernels._readable import unreadable
from heatpoint.support import Support


def why_not(logits: Tensor, **drawn: Any) -> str:
    """Why these maps need another form, in a few words; empty if the kernel takes them, whatever is drawn."""
    if logits.device.type != "cpu":
        return f"the logits are on {logits.device.type}"
    return library().reason


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

    Arguments are checked already. One seed of 63 bits is drawn from the generator per call; nothing is drawn in the backward
    pass. A second derivative takes the torch form, with the same draws.

    Raises:
        ValueError: If a map's logits are all −inf.
    """
    batch, ndim = logits.shape[:-1], support.ndim
    weight = None if axis_weight is None else axis_weight.expand(*batch, ndim)
    law = _law(num_samples, generator, is_lattice, drawn)
    target = target.float().expand(*batch, ndim)
    wants = torch.is_grad_enabled() and (logits.requires_grad or target.requires_grad)
    loss: Tensor = _SampledError.apply(logits.float(), target, weight, support, law, distance, function, wants)
    return loss


def sampled_points(
    logits: Tensor,
    support: Support,
    *,
    generator: torch.Generator | None = None,
    num_samples: int,
    is_lattice: bool = False,
    function: str = "sampling_argmax",
    **drawn: Any,
) -> Tensor:
    """(S, *batch, D) of `heatpoint.sampling.sampling_argmax`, differentiable in logits (*batch, cells).

    Arguments are checked already, and seeds drawn, as in `expected_error`; the backward pass makes the noise again.

    Raises:
        ValueError: If a map's logits are all −inf.
    """
    law = _law(num_samples, generator, is_lattice, drawn)
    points: Tensor = _SampledPoints.apply(logits.float(), support, law, function)
    return points


def _law(num_samples: int, generator: torch.Generator | None, is_lattice: bool, drawn: dict[str, Any]) -> Law:
    seed = int(torch.empty((), dtype=torch.int64, device="cpu").random_(generator=generator))
    return Law(seed, num_samples, order=order_of(num_samples) if is_lattice else 0, **drawn)


class _SampledError(torch.autograd.Function):
    """The mean distance of samples to the target, with the gradient made in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        axis_weight: Tensor | None,
        support: Support,
        law: Law,
        distance: Distance,
        function: str,
        wants_gradient: bool,
    ) -> Tensor:
        given: dict[str, Any] = {"target": target, "axis_weight": axis_weight, "distance": distance}
        drawn = sample(logits, support, law, wants_gradient=wants_gradient, **given)
        _check_maps(function, logits, drawn)
        if wants_gradient:
            ctx.save_for_backward(drawn.logits_gradient, drawn.target_gradient, logits, target, axis_weight)
            ctx.given = support, law, distance, function
        assert drawn.loss is not None
        return drawn.loss

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        *gradients, logits, target, axis_weight = ctx.saved_tensors
        support, law, distance, function = ctx.given
        if not torch.is_grad_enabled():

            def made_again() -> tuple[Tensor, ...]:
                given: dict[str, Any] = {"target": target, "axis_weight": axis_weight, "distance": distance}
                drawn = sample(logits, support, law, wants_gradient=True, **given)
                assert drawn.logits_gradient is not None
                assert drawn.target_gradient is not None
                return drawn.logits_gradient, drawn.target_gradient

            return (*scaled(ctx, gradients, slope, made_again), *(None,) * 6)
        # Somebody wants the gradient's gradient: the torch form, with the same draws, has it.
        samples = _replayed.samples(function, logits, support, law)
        error = norm(difference(samples, target, support), distance, axis_weight).mean(dim=0)
        return (*_replayed.gradients(error, (logits, target), slope), *(None,) * 6)


class _SampledPoints(torch.autograd.Function):
    """Samples of maps; the backward pass draws them again, with the slope of each known."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, support: Support, law: Law, function: str) -> Tensor:
        drawn = sample(logits, support, law, wants_samples=True)
        _check_maps(function, logits, drawn)
        ctx.save_for_backward(logits)
        ctx.given = support, law, function
        assert drawn.samples is not None
        return drawn.samples

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        (logits,) = ctx.saved_tensors
        support, law, function = ctx.given
        if not torch.is_grad_enabled() and not unreadable(slope):
            drawn = sample(logits, support, law, sample_gradient=slope, wants_gradient=True)
            return (drawn.logits_gradient, None, None, None)
        # Somebody wants the gradient's gradient, or many gradients at a time.
        with torch.enable_grad():
            samples = _replayed.samples(function, logits, support, law)
        return (*_replayed.gradients(samples, (logits,), slope), None, None, None)


def _check_maps(function: str, logits: Tensor, drawn: Sampled) -> None:
    """Raises, as the torch form does, for maps that have no distribution."""
    if drawn.num_forbidden or drawn.num_undefined:
        log_probabilities(function, logits.detach())
