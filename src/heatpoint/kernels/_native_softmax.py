"""Means and the cross-entropy under a softmax by native CPU kernels, and their gradients for autograd."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from heatpoint._checks import broadcasts_to
from heatpoint.kernels._library import (
    COLDEST,
    INSTRUCTION_SETS,
    InstructionSet,
    SoftmaxCall,
    address,
    cloud_of_map,
    run,
)
from heatpoint.kernels._native_decoders import why_not
from heatpoint.kernels._readable import unreadable
from heatpoint.support import Grid, Points, Support

# Rows of a map shorter than this leave lanes of a vector idle: further axes become part of the row.
_LEAST_ROW = 32

# A form of the same operation that autograd can look into: maps to results.
Plain = Callable[[Tensor], Tensor]


def why_not_mean(flat: Tensor, support: Support, *, temperature: float, sign_gradient: bool) -> str:
    """Why a mean position needs the torch form; empty if the kernel makes it."""
    if sign_gradient:
        return "sign_gradient is asked for"
    if temperature < COLDEST:
        return f"the temperature is below {COLDEST:g}"
    if isinstance(support, Grid):
        return "an axis of the grid is cyclic" if support.cyclic else why_not(flat)
    if support.xyz.requires_grad:
        return "the points need a gradient"
    if not broadcasts_to(support.xyz.shape[:-2], flat.shape[:-1]):
        return "there are fewer maps than clouds"
    return unreadable(support.xyz) or why_not(flat)


@dataclass(frozen=True, eq=False)
class Places:
    """Coordinates of the cells, less a middle: the first axes by the place in a row of cells, the others by the row."""

    middle: Tensor  # (*batch, D)
    columns: Tensor  # (clouds, axes, row length)
    rows: Tensor  # (rows, other axes)
    clouds: Tensor | None = None  # (*batch) which of the clouds a map lies on


def _zeros(*shape: int) -> Tensor:
    """On the CPU whatever the default device is: their memory is handed over, and those of a grid are kept."""
    return torch.zeros(shape, device="cpu")


# What a softmax without coordinates needs of them.
def _nowhere(num_cells: int) -> Places:
    return Places(_zeros(0), _zeros(1, 0, num_cells), _zeros(1, 0))


@functools.lru_cache(maxsize=64)
def _grid_places(grid: Grid) -> Places:
    device = torch.device("cpu")
    axes = [grid.axis_centers(axis, dtype=torch.float64, device=device) for axis in range(grid.ndim)]
    middle = torch.stack([(centers[0] + centers[-1]) / 2 for centers in axes])
    axes = [centers - centers.mean() for centers in axes]
    num_columns, row_length = 1, grid.lengths[0]
    while num_columns < grid.ndim and row_length < _LEAST_ROW:
        row_length *= grid.lengths[num_columns]
        num_columns += 1
    columns, rows = (
        torch.cartesian_prod(*part[::-1]).reshape(-1, len(part)).flip(-1) if part else _zeros(1, 0)
        for part in (axes[:num_columns], axes[num_columns:])
    )
    return Places(middle.float(), columns.float().mT.contiguous()[None], rows.float().contiguous())


def _cloud_places(points: Points, batch: torch.Size) -> Places:
    xyz = points.xyz.detach().double()
    middle = xyz.mean(dim=-2)
    columns = (xyz - middle.unsqueeze(-2)).float().mT.reshape(-1, points.ndim, points.num_cells).contiguous()
    return Places(middle.float(), columns, _zeros(1, 0), cloud_of_map(xyz.shape[:-2], batch))


def softmax_mean(
    flat: Tensor,
    places: Places,
    *,
    temperature: float = 1.0,
    stats: Tensor | None = None,
    slope: Tensor | None = None,
    constant: Tensor | None = None,
    num_threads: int | None = None,
    instruction_set: InstructionSet = "auto",
) -> Tensor:
    """The law of softmax(flat / temperature) in a few numbers per map, or given these a gradient with respect to flat.

    Args:
        flat: (*batch, cells) float32 on the CPU, −inf for a forbidden cell.
        places: Coordinates of the cells.
        temperature: Divides the maps.
        stats: What an earlier call has returned; with it the result is the gradient.
        slope: (*batch, D), gradient with respect to the means.
        constant: (*batch), c for the gradient p · (slope · (place − mean) / temperature + c).
        num_threads: None is torch.get_num_threads().
        instruction_set: For tests: which of the forms runs.

    Returns:
        stats (*batch, 2 + D), the largest logit, Σ exp((logit − largest) / temperature) and the means less the middle, NaN for a
        map without a law; or the gradient (*batch, cells).

    Raises:
        RuntimeError: If there is no library, or no such instruction set.
    """
    flat = flat.detach().contiguous()
    ndim = places.middle.shape[-1]
    gradient = None if stats is None else torch.empty_like(flat)
    stats = flat.new_empty(*flat.shape[:-1], 2 + ndim) if stats is None else stats
    slope = None if slope is None else slope.to(torch.float32).contiguous()
    constant = None if constant is None else constant.to(torch.float32).contiguous()
    run(
        SoftmaxCall(
            logits=flat.data_ptr(),
            columns=places.columns.data_ptr(),
            cloud_of_map=address(places.clouds),
            row_places=places.rows.data_ptr(),
            slope=address(slope),
            constant=address(constant),
            stats=stats.data_ptr(),
            gradient=address(gradient),
            num_maps=flat.shape[:-1].numel(),
            num_rows=places.rows.shape[0],
            row_length=places.columns.shape[-1],
            inverse_temperature=1 / temperature,
            ndim=ndim,
            num_columns=places.columns.shape[1],
            num_threads=torch.get_num_threads() if num_threads is None else num_threads,
            isa=INSTRUCTION_SETS.index(instruction_set),
        ),
        flat.numel(),
    )
    return stats if gradient is None else gradient


class _MeanPosition(torch.autograd.Function):
    """Mean positions (*batch, D) under a softmax; a second derivative is that of the plain form."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, places: Places, temperature: float, plain: Plain) -> Tensor:
        """The means; NaN where a map has no law."""
        stats = softmax_mean(flat, places, temperature=temperature)
        ctx.save_for_backward(flat, stats)
        ctx.places, ctx.temperature, ctx.plain = places, temperature, plain
        return stats[..., 2:] + places.middle

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """p · slope · (place − mean) / temperature, p made again from the maps."""
        flat, stats = ctx.saved_tensors
        if torch.is_grad_enabled() or unreadable(slope):
            return (_by_plain(ctx.plain, flat, slope), None, None, None)
        found = softmax_mean(flat, ctx.places, temperature=ctx.temperature, stats=stats, slope=slope)
        return found, None, None, None


def mean_position(flat: Tensor, support: Support, *, temperature: float, plain: Plain) -> Tensor:
    """Mean positions (*batch, D) of the cells under softmax(flat / temperature), flat (*batch, cells); NaN without a law.

    Gradients flow to flat. For the backward pass the maps themselves are kept and O(1) numbers for each. `plain` makes the same
    in torch: backward passes that are recorded or transformed go through it. The backward pass raises where the maps have
    been changed in place since, which the torch form, with a map of weights of its own, would not notice.
    """
    places = _grid_places(support) if isinstance(support, Grid) else _cloud_places(support, flat.shape[:-1])
    found: Tensor = _MeanPosition.apply(flat, places, temperature, plain)
    return found


class _LabelCrossEntropy(torch.autograd.Function):
    """−Σ_k weight_k log p of the cell index_k, (*batch); a second derivative is that of the plain form."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, index: Tensor, weight: Tensor, plain: Plain) -> Tensor:
        """The cross-entropies; NaN where a map has no law."""
        places = _nowhere(flat.shape[-1])
        stats = softmax_mean(flat, places)
        ctx.save_for_backward(flat, stats, index, weight)
        ctx.places, ctx.plain = places, plain
        log_p = flat.gather(-1, index) - stats[..., :1] - stats[..., 1:].log()
        return -(weight * log_p.where(weight > 0, 0.0)).sum(dim=-1)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """slope · (Σ weight · p − weight at the labels), p made again from the maps."""
        flat, stats, index, weight = ctx.saved_tensors
        if torch.is_grad_enabled() or unreadable(slope):
            return (_by_plain(ctx.plain, flat, slope), None, None, None)
        found = softmax_mean(flat, ctx.places, stats=stats, constant=slope * weight.sum(dim=-1))
        return found.scatter_add_(-1, index, -slope.unsqueeze(-1) * weight), None, None, None


def label_cross_entropy(flat: Tensor, index: Tensor, weight: Tensor, *, plain: Plain) -> Tensor:
    """−Σ_k weight_k log softmax(flat) at index_k, (*batch), of maps (*batch, cells) and labels (*batch, k); NaN without a law.

    Gradients flow to flat; `plain` as in `mean_position`.
    """
    found: Tensor = _LabelCrossEntropy.apply(flat, index, weight, plain)
    return found


def _by_plain(plain: Plain, flat: Tensor, slope: Tensor) -> Tensor:
    """The gradient of plain(flat): it can be differentiated again where gradients are recorded, and mapped over slopes."""
    is_recorded = torch.is_grad_enabled()
    with torch.enable_grad():
        (found,) = torch.autograd.grad(plain(flat), flat, slope, create_graph=is_recorded)
    return found
