"""Sampling-argmax by the native CPU kernel: tensors handed over to it, and its gradient to autograd."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from heatpoint._distances import Distance
from heatpoint._numerics import log_probabilities
from heatpoint._relaxed import Formula
from heatpoint.basis import Basis, Gaussian
from heatpoint.kernels._library import INSTRUCTION_SETS, InstructionSet, SamplingCall, library
from heatpoint.support import Grid, Support

BASES = {"uniform": 1, "triangular": 2, "gaussian": 3}
FORMULAS = {"paper": 0, "released": 1}
DISTANCES: dict[Distance, int] = {"l1": 0, "l2": 1, "smooth_l1": 2, "squared": 3}


def why_not(logits: Tensor, support: Support, *, basis: Basis | None, formula: Formula, sign_gradient: bool) -> str:
    """Why these arguments need the torch form, in a few words; empty if the kernel takes them."""
    if library().handle is None:
        return library().reason
    if logits.device.type != "cpu":
        return f"the logits are on {logits.device.type}"
    if logits.dtype == torch.float64:
        return "the logits are float64"
    if sign_gradient:
        return "sign_gradient is asked for"
    if isinstance(support, Grid):
        return "an axis of the grid is cyclic" if support.cyclic else ""
    if formula == "released" or not (basis is None or isinstance(basis, Gaussian)):
        return "the formula or the basis has no meaning on points"
    return "the points need a gradient" if support.xyz.requires_grad else ""


@dataclass(frozen=True)
class Sampled:
    """What one call of the kernel returns; None where it was not asked for."""

    loss: Tensor | None
    logits_gradient: Tensor | None
    target_gradient: Tensor | None
    samples: Tensor | None
    num_forbidden: int
    num_undefined: int


def sample(
    logits: Tensor,
    support: Support,
    *,
    seed: int,
    num_samples: int,
    target: Tensor | None = None,
    axis_weight: Tensor | None = None,
    sample_gradient: Tensor | None = None,
    basis: Basis | None = None,
    temperature: float = 1.0,
    formula: Formula = "paper",
    distance: Distance = "l1",
    wants_gradient: bool = False,
    wants_samples: bool = False,
    num_threads: int | None = None,
    instruction_set: InstructionSet = "auto",
) -> Sampled:
    """One call of the kernel, without autograd: arguments are those of `heatpoint.sampling.sampling_argmax` and of its error.

    The noise is Philox4x32-7 (native/philox.hpp) with the key `seed` and the counter (quad of cells, sample, map, stream); stream
    0 makes the Gumbel draws, the following the basis's offsets. Results do not depend on the number of threads.

    Args:
        logits: (*batch, cells) float32 on the CPU, −inf for a forbidden cell.
        support: A Grid without cyclic axes, or Points.
        seed: 64 bits.
        num_samples: S.
        target: (*batch, D); with it the loss is made.
        axis_weight: (*batch, D).
        sample_gradient: (S, *batch, D), in place of the distance's slope: the gradient is that of Σ samples · sample_gradient.
        basis: Sub-distribution of a cell, or None.
        temperature: τ.
        formula: "paper" or "released".
        distance: As in `heatpoint.scores.expected_error`.
        wants_gradient: Whether gradients are made, of each map's own loss.
        wants_samples: Whether the points are returned.
        num_threads: None is torch.get_num_threads().
        instruction_set: For tests: which of the forms runs.

    Returns:
        The loss (*batch), its gradients in the shapes of logits and target, samples (S, *batch, D).

    Raises:
        RuntimeError: If there is no library, no memory, or the call is not one the kernel knows.
    """
    found = library()
    if found.handle is None:
        raise RuntimeError(found.reason)
    batch, cells, ndim = logits.shape[:-1], logits.shape[-1], support.ndim
    logits = _plain(logits)
    target = None if target is None else _plain(target.expand(*batch, ndim))
    axis_weight = None if axis_weight is None else _plain(axis_weight.expand(*batch, ndim))
    sample_gradient = None if sample_gradient is None else _plain(sample_gradient.expand(num_samples, *batch, ndim))
    result = Sampled(
        loss=None if target is None else logits.new_empty(batch),
        logits_gradient=torch.empty_like(logits) if wants_gradient else None,
        target_gradient=torch.empty_like(target) if wants_gradient and target is not None else None,
        samples=logits.new_empty(num_samples, *batch, ndim) if wants_samples else None,
        num_forbidden=0,
        num_undefined=0,
    )
    points, clouds = (None, None) if isinstance(support, Grid) else _clouds(support.xyz, tuple(batch))
    call = SamplingCall(
        logits=logits.data_ptr(),
        points=_address(points),
        cloud_of_map=_address(clouds),
        target=_address(target),
        axis_weight=_address(axis_weight),
        sample_gradient=_address(sample_gradient),
        loss=_address(result.loss),
        logits_gradient=_address(result.logits_gradient),
        target_gradient=_address(result.target_gradient),
        samples=_address(result.samples),
        num_maps=batch.numel(),
        num_cells=cells,
        num_samples=num_samples,
        temperature=temperature,
        sigma=basis.scale if isinstance(basis, Gaussian) else 1.0,
        seed=seed,
        ndim=ndim,
        basis=0 if basis is None else BASES[basis.name],
        formula=FORMULAS[formula],
        distance=DISTANCES[distance],
        num_threads=torch.get_num_threads() if num_threads is None else num_threads,
        isa=INSTRUCTION_SETS.index(instruction_set),
    )
    for axis in range(3):
        is_axis = isinstance(support, Grid) and axis < ndim
        call.lengths[axis] = support.lengths[axis] if isinstance(support, Grid) and is_axis else 1
        call.strides[axis] = support.strides[axis] if isinstance(support, Grid) and is_axis else 1.0
        call.offsets[axis] = support.offsets[axis] if isinstance(support, Grid) and is_axis else 0.0
    status = int(found.handle.hp_sampling_argmax(ctypes.byref(call)))
    if status:
        reasons = {1: "it does not know this call", 2: "there is no memory", 3: f"no {instruction_set} here"}
        raise RuntimeError(f"the native kernel of sampling-argmax gave up: {reasons.get(status, status)}")
    return Sampled(
        result.loss,
        result.logits_gradient,
        result.target_gradient,
        result.samples,
        int(call.num_forbidden),
        int(call.num_undefined),
    )


class SampledError(torch.autograd.Function):
    """The mean distance of samples to the target, (maps), with the gradient made in the forward pass.

    `apply(logits (maps, cells), target (maps, D), axis_weight, support, options)`, options those of `sample`. Not twice
    differentiable: a second backward pass raises.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        axis_weight: Tensor | None,
        support: Support,
        options: Mapping[str, Any],
    ) -> Tensor:
        """Loss of every map; NaN where a map has no distribution."""
        wants_gradient = any(ctx.needs_input_grad[:2])
        drawn = sample(
            logits, support, target=target, axis_weight=axis_weight, wants_gradient=wants_gradient, **options
        )
        if wants_gradient:
            ctx.save_for_backward(drawn.logits_gradient, drawn.target_gradient, logits, target)
        assert drawn.loss is not None
        return drawn.loss

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """The kept gradients, each map's times the slope of its loss."""
        logits_gradient, target_gradient, *inputs = ctx.saved_tensors
        # Nothing in here is to be recorded: the second derivative would lack all but the slope's part.
        with torch.no_grad():
            found = [
                gradient * slope.unsqueeze(-1) if is_needed else None
                for gradient, is_needed in zip((logits_gradient, target_gradient), ctx.needs_input_grad, strict=False)
            ]
        if torch.is_grad_enabled():
            found = [None if gradient is None else _NotTwice.apply(gradient, slope, *inputs) for gradient in found]
        return (*found, None, None, None)


class _NotTwice(torch.autograd.Function):
    """A gradient as it is, whose own gradient is an error instead of silently missing."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *depends_on: Tensor) -> Tensor:
        """The gradient."""
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *slope: Tensor) -> tuple[Tensor | None, ...]:
        """Raises."""
        raise RuntimeError(
            "expected_error: the native kernel makes first derivatives only, got a second backward pass. "
            'Use the torch form for it: heatpoint.kernels.use("torch").'
        )


def expected_error(
    logits: Tensor,
    support: Support,
    target: Tensor,
    *,
    axis_weight: Tensor | None = None,
    generator: torch.Generator | None = None,
    **options: Any,
) -> Tensor:
    """(*batch) of `heatpoint.scores.expected_error` with num_samples, differentiable in logits (*batch, cells) and target.

    Arguments are checked already. One 64-bit seed is drawn from the generator per call; nothing is drawn in the backward pass.

    Raises:
        ValueError: If a map's logits are all −inf.
    """
    batch, ndim = logits.shape[:-1], support.ndim
    weight = None if axis_weight is None else axis_weight.expand(*batch, ndim)
    seed = int(torch.empty((), dtype=torch.int64).random_(generator=generator))
    loss = SampledError.apply(
        logits.float(), target.float().expand(*batch, ndim), weight, support, {"seed": seed, **options}
    )
    if bool(loss.isnan().any()):
        # Says which maps have no distribution, as the torch form does; a NaN may come from the target too.
        log_probabilities("expected_error", logits.detach())
    return loss


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float32).contiguous()


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _clouds(xyz: Tensor, batch: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
    """The clouds (n, N, D), and which of them each map lies on: None if there is one for all."""
    leading, own = xyz.shape[:-2], _plain(xyz)
    if leading.numel() == 1:
        return own, None
    return own, torch.arange(leading.numel()).view(leading).expand(batch).contiguous()
