"""Relaxed samples of maps that share their draws, and the matrix products that their sums over cells become.

With weights ∝ (π_i / E_i)^(1/τ), E_i exponential (Sampling-Argmax, Eq. 11, since a Gumbel variable is −log E), every sum over
cells that a sample needs is Σ_i W_mi F_si: W depends on the map alone, F on the draws alone. Where maps share draws, these sums
are one product of matrices for all maps and samples, and their gradient is another. Nothing of size samples x cells x maps
exists.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from heatpoint._distances import Distance, difference, norm
from heatpoint._draws import FreshChunk, remade
from heatpoint._numerics import check_normalised, full_products, log_probabilities
from heatpoint.kernels._columns import columns, positions
from heatpoint.kernels._shared_draws import Draw, fold, gathered, plain_samples, support_of
from heatpoint.support import Support

# What the draws give to the gradient is multiplied by it until the weights of the map have come to it: where they are small, it
# can be as large as their inverse, 10³³ at the least temperature.
SMALL = 2.0**-40


def product_samples(draw: Draw, flat: Tensor) -> Tensor:
    """What `plain_samples` gives, by one product of matrices for each block. Differentiable as often as wanted.

    Near the least temperature the gradient leaves float32 where the samples' own is of the order of 10¹².
    """
    batch = tuple(flat.shape[:-1])
    weights = _weights(draw, fold(draw, log_probabilities(draw.function, flat)))
    found: dict[int, list[Tensor]] = {}
    for part, chunk in draw.blocks(len(weights), flat.detach()):
        support = support_of(draw, part, len(weights), batch)
        samples = remade(draw.memory, _product_block, draw, support, weights[part], chunk)
        found.setdefault(part.start, []).append(samples)
    return gathered(draw, found, batch)


def _product_block(draw: Draw, support: Support, weights: Tensor, chunk: FreshChunk) -> Tensor:
    """Samples (s, g, maps, D) of one block."""
    made, center = columns(draw, support, *chunk())
    return positions(draw, _products(weights, made), center).permute(2, 0, 1, 3)


def product_error(
    draw: Draw, flat: Tensor, target: Tensor, *, distance: Distance, axis_weight: Tensor | None
) -> Tensor:
    """The mean distance of the samples of maps (*batch, cells) from targets, (*batch), with its gradient made as it goes.

    Memory beyond the maps: their weights, their gradient, and one block of draws, whatever the number of samples.

    Args:
        draw: The draws.
        flat: (*batch, cells) logits, float32 or float64.
        target: (*batch or what broadcasts to it, D).
        distance: As in `heatpoint.scores.expected_error`.
        axis_weight: (*batch or what broadcasts to it, D), or None.
    """
    batch = tuple(flat.shape[:-1])
    target = target.expand(*batch, target.shape[-1])
    if axis_weight is not None:
        axis_weight = axis_weight.expand(*batch, axis_weight.shape[-1]).to(flat.dtype)
    wants = torch.is_grad_enabled() and (flat.requires_grad or target.requires_grad)
    error: Tensor = _ProductError.apply(flat, target, axis_weight, draw, distance, wants)
    return error


class _ProductError(torch.autograd.Function):
    """Forward: the errors and, if wanted, their gradients. Backward: the gradients, scaled."""

    @staticmethod
    def forward(
        ctx: Any,
        flat: Tensor,
        target: Tensor,
        axis_weight: Tensor | None,
        draw: Draw,
        distance: Distance,
        wants: bool,
    ) -> Tensor:
        error, gradients = _error_and_gradients(draw, flat, target, axis_weight, distance, wants=wants)
        ctx.save_for_backward(flat, target, axis_weight, *gradients)
        ctx.draw, ctx.distance = draw, distance
        return error

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        flat, target, axis_weight, *made = ctx.saved_tensors
        if torch.is_grad_enabled():
            # Somebody wants the gradient's gradient: the plain form, with the same draws, has it.
            return (*_plain_gradients(ctx.draw, flat, target, axis_weight, ctx.distance, gradient), *(None,) * 4)
        scale = gradient[..., None]
        wanted = ctx.needs_input_grad
        return (made[0] * scale if wanted[0] else None, made[1] * scale if wanted[1] else None, *(None,) * 4)


def _plain_gradients(
    draw: Draw, flat: Tensor, target: Tensor, axis_weight: Tensor | None, distance: Distance, gradient: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    samples = plain_samples(draw, flat, is_again=True)
    error = norm(difference(samples, target, draw.support), distance, axis_weight).mean(dim=0)
    inputs = [tensor for tensor in (flat, target) if tensor.requires_grad]
    found = iter(torch.autograd.grad(error, inputs, gradient, create_graph=True))
    return (next(found) if flat.requires_grad else None, next(found) if target.requires_grad else None)


def _error_and_gradients(
    draw: Draw, flat: Tensor, target: Tensor, axis_weight: Tensor | None, distance: Distance, *, wants: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Errors (*batch) and, if wanted, their gradients with respect to maps and targets."""
    batch = tuple(flat.shape[:-1])
    targets = fold(draw, target)[:, :, None]
    axis_weights = None if axis_weight is None else fold(draw, axis_weight)[:, :, None]
    weights = _weights(draw, fold(draw, flat))
    error = torch.zeros_like(weights[..., 0])
    into_weights, into_target = (torch.zeros_like(x) if wants else None for x in (weights, targets[:, :, 0]))
    for part, chunk in draw.blocks(len(weights), weights):
        made, center = columns(draw, support_of(draw, part, len(weights), batch), *chunk())
        sums = _products(weights[part], made).requires_grad_(wants)
        goal = targets[part].detach().requires_grad_(wants)
        with torch.set_grad_enabled(wants):
            samples = positions(draw, sums, center)
            share = None if axis_weights is None else axis_weights[part]
            errors = norm(difference(samples, goal, draw.support), distance, share).sum(dim=-1)
            whole = errors.sum()
        error[part] += errors.detach()
        if into_weights is not None and into_target is not None:
            into_sums, into_goal = torch.autograd.grad(whole, (sums, goal))
            into_target[part] += into_goal[:, :, 0]
            into_weights[part].baddbmm_(into_sums.flatten(2), made.mul_(SMALL).flatten(1, 2))
    error = error.reshape(batch) / draw.num_samples
    if into_weights is None or into_target is None:
        return error, ()
    # The derivative of W = exp(scale · logits) is scale · W; samples do not change with a map's total, so nothing is added.
    scale = 1 / draw.temperature if draw.formula == "paper" else 1.0
    into_weights.mul_(weights).mul_(scale / (SMALL * draw.num_samples))
    return error, (into_weights.reshape(flat.shape), into_target.reshape(target.shape) / draw.num_samples)


def _weights(draw: Draw, logits: Tensor) -> Tensor:
    """W (groups, maps, cells): π^(1/τ), or π in the released formula, but for a factor for each map.

    Raises:
        ValueError: If every cell of a map is forbidden (on the CPU always, elsewhere under HEATPOINT_CHECK=1).
    """
    top = logits.detach().amax(dim=-1, keepdim=True)
    weights = logits - top
    check_normalised(draw.function, "logits", logits, weights[..., :1] if logits.shape[-1] == 0 else weights)
    scale = 1 / draw.temperature if draw.formula == "paper" else 1.0
    return (weights * scale).exp() if weights.requires_grad else weights.mul_(scale).exp_()


def _products(weights: Tensor, columns: Tensor) -> Tensor:
    """Σ_i W_mi F_sci: (g, maps, s, columns) from (g, maps, cells) and (g, s, columns, cells), in all digits."""
    with full_products(weights.device):
        sums = torch.bmm(weights, columns.flatten(1, 2).transpose(1, 2))
    return sums.unflatten(-1, columns.shape[1:3])
