"""Scores of a map against a target map: rounded labels for cross-entropies, Gaussians for map errors."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from heatpoint._checks import looks_at, message, one_of, value_checks_enabled
from heatpoint._numerics import full_precision, log_probabilities, promote
from heatpoint.kernels import choose
from heatpoint.kernels._native_decoders import why_not
from heatpoint.kernels._native_softmax import label_cross_entropy
from heatpoint.rounding._cells import activation_cells, cells_of
from heatpoint.rounding._maps import gaussian_of
from heatpoint.scores._inputs import fit_target, flat_and_target
from heatpoint.support import Grid, check_grid

Label = Literal["random", "expected", "floor", "round", "ceil"]
LABELS: tuple[Label, ...] = ("random", "expected", "floor", "round", "ceil")
Center = Literal["exact", "random", "floor", "round", "ceil"]
CENTERS: tuple[Center, ...] = ("exact", "random", "floor", "round", "ceil")
MapError = Literal["mse", "mae", "smooth_l1"]
MAP_ERRORS = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "smooth_l1": functional.smooth_l1_loss,
}


@full_precision
def rounded_cross_entropy(
    logits: Tensor,
    grid: Grid,
    target: Tensor,
    *,
    label: Label = "random",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Cross-entropy over space against a randomly rounded target: −log π at the label's cell (Randomized Rounding, Eq. 7, 15).

    With ``label="expected"`` it is Σ_i a_i (−log π_i) with a_i the activation probabilities of Eq. 14 and 22, the mean of
    the random label's loss over all roundings. The loss is linear in the label, so its gradient is the expected gradient
    as well, without the noise of the draw. "floor", "round" and "ceil" are the vanilla quantization systems (Table 1), the
    baseline that the paper compares with.

    Cost: one log softmax, of which the native kernel keeps two numbers per map for the backward pass. The label is the index of
    a cell, of 2^D cells if expected; no target map is made.

    Args:
        logits: (*batch, *grid.shape).
        grid: A Grid.
        target: (*batch, D), in the grid's coordinates; rounded into the grid.
        label: "random", "expected", "floor", "round" or "ceil".
        generator: Source of the rounding, for label="random".

    Returns:
        (*batch), in nats; +inf, with a finite gradient, where the label lies on a forbidden cell. Gradients flow to logits.

    Raises:
        TypeError: If grid is not a Grid.
        ValueError: If the shapes disagree or label is unknown.

    >>> logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    >>> rounded_cross_entropy(logits, Grid((3,), offset=0), torch.tensor([[0.5]]), label="expected")
    tensor([1.0397])
    """
    check_grid("rounded_cross_entropy", grid)
    flat, target = flat_and_target("rounded_cross_entropy", logits, grid, target)
    target = target.expand(*flat.shape[:-1], -1)
    index, weight = _label_cells("rounded_cross_entropy", grid, target, label, generator)

    def plain(maps: Tensor) -> Tensor:
        log_p = log_probabilities("rounded_cross_entropy", maps)
        return -_weighted(weight, log_p.gather(-1, index)).sum(dim=-1)

    obstacle = "the target needs a gradient" if weight.requires_grad else why_not(flat)
    if choose("rounded_cross_entropy", {"native": obstacle}) != "native":
        return plain(flat)
    loss = label_cross_entropy(flat, index, weight, plain=plain)
    if bool(loss.isnan().any()):
        # Says which maps have no distribution, as the torch form does.
        log_probabilities("rounded_cross_entropy", flat.detach())
    return loss


@full_precision
def two_channel_cross_entropy(
    logits: Tensor,
    grid: Grid,
    target: Tensor,
    *,
    label: Label = "random",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Cross-entropy per cell between "not here" and "here", averaged over the cells (Randomized Rounding, Eq. 7).

    The published head of the paper ends in two channels per point, and its decoder reads channel 1; its training code was
    not published, so the mean over cells is the expectation of Eq. 7 as printed. The random label is 1 at the cell that
    the target is rounded to; the expected one is that label's mean, as in `rounded_cross_entropy`.

    Cost: one softplus. The label is the index of a cell, of 2^D cells if expected; no target map is made.

    Args:
        logits: (*batch, 2, *grid.shape): channel 0 "not here", channel 1 "here".
        grid: A Grid.
        target: (*batch, D), in the grid's coordinates.
        label: As in `rounded_cross_entropy`.
        generator: Source of the rounding, for label="random".

    Returns:
        (*batch), in nats. Gradients flow to logits.

    Raises:
        TypeError: If grid is not a Grid.
        ValueError: If the shapes disagree or label is unknown.

    >>> two_channel_cross_entropy(torch.zeros(3, 2, 5), Grid((5,)), torch.tensor([1.0]))
    tensor([0.6931, 0.6931, 0.6931])
    """
    check_grid("two_channel_cross_entropy", grid)
    flat = grid.flatten("two_channel_cross_entropy", logits)
    if flat.ndim < 2 or flat.shape[-2] != 2:
        rule = f"be (*batch, 2, *grid.shape) with grid.shape {grid.shape}"
        raise ValueError(message("two_channel_cross_entropy", "logits", rule, tuple(logits.shape)))
    log_odds = promote(flat[..., 1, :]) - promote(flat[..., 0, :])
    if looks_at(log_odds) and not bool(log_odds.detach().isfinite().all()):
        log_probabilities("two_channel_cross_entropy", flat.detach().transpose(-1, -2))
    batch = tuple(flat.shape[:-2])
    target = fit_target("two_channel_cross_entropy", batch, grid, target, log_odds.dtype).expand(*batch, grid.ndim)
    index, weight = _label_cells("two_channel_cross_entropy", grid, target, label, generator)
    # A cell that cannot be the label costs −log σ(−log_odds) = softplus(log_odds), which keeps less for the gradient. At −inf
    # it is 0, which leaves the listed cells out; beyond 40 it is log_odds itself in float64 too.
    elsewhere = functional.softplus(log_odds.scatter(-1, index, -torch.inf), threshold=40).sum(dim=-1)
    # A cell that clipping lists twice has the probability of both, and counts once.
    is_same = index.unsqueeze(-1) == index.unsqueeze(-2)
    here, times = (is_same * weight.unsqueeze(-2)).sum(dim=-1), is_same.sum(dim=-1)
    odds = log_odds.gather(-1, index)
    listed = _weighted(here, functional.logsigmoid(odds)) + _weighted(1 - here, functional.logsigmoid(-odds))
    return (elsewhere - (listed / times).sum(dim=-1)) / grid.num_cells


@full_precision
def map_error(
    maps: Tensor,
    grid: Grid,
    target: Tensor,
    *,
    kind: MapError = "mse",
    sigma_cells: float = 2.0,
    radius_sigmas: float | None = None,
    center: Center = "exact",
    generator: torch.Generator | None = None,
) -> Tensor:
    """The mean over cells of the error of a map against the Gaussian target map (Randomized Rounding, Eq. 3 and 6).

    With ``center="random"`` the Gaussian stands at the cell that random rounding chooses, as in the paper's experiments on poses
    and in its Table 9; published heatmap regression rounds ("round") and cuts the Gaussian off at three sigmas.

    Args:
        maps: (*batch, *grid.shape): values, not logits; no softmax is taken.
        grid: A Grid.
        target: (*batch, D), in the grid's coordinates.
        kind: "mse" (Eq. 6), "mae" or "smooth_l1" (quadratic within 1).
        sigma_cells: Standard deviation of the target map, in cells; 0 is the binary map of Eq. 5, of a cell.
        radius_sigmas: Half width, in sigmas, of the square outside which the target is 0; None: it goes on.
        center: "exact": the Gaussian has its peak of 1 at the target, between cells too; or at the cell that the target is
            rounded to: "random", "floor", "round" or "ceil".
        generator: Source of the rounding, for center="random".

    Returns:
        (*batch). Gradients flow to maps.

    Raises:
        TypeError: If grid is not a Grid.
        ValueError: If the shapes disagree, kind or center is unknown, sigma_cells is 0 with an exact center or
            (HEATPOINT_CHECK=1) a value is not finite.

    >>> map_error(torch.zeros(1, 5), Grid((5,), offset=0), torch.tensor([[2.0]]), kind="mae", sigma_cells=0.01)
    tensor([0.2000])
    """
    check_grid("map_error", grid)
    flat = promote(grid.flatten("map_error", maps, "maps"))
    if value_checks_enabled() and looks_at(flat) and not bool(flat.detach().isfinite().all()):
        remedy = "Look for a diverged network, or an overflow in half precision, before the map."
        raise ValueError(message("map_error", "maps", "be finite", "NaN or infinity (HEATPOINT_CHECK=1)", remedy))
    one_of("map_error", "kind", kind, MAP_ERRORS)
    one_of("map_error", "center", center, CENTERS)
    target = fit_target("map_error", tuple(flat.shape[:-1]), grid, target, flat.dtype)
    if center == "exact":
        if sigma_cells == 0:
            remedy = 'The binary map is that of a cell: choose one with center="random".'
            raise ValueError(message("map_error", "sigma_cells", 'be greater than 0 with center="exact"', 0, remedy))
    else:
        # A rounding of its own for every map, also where maps share a target.
        target = target.expand(*flat.shape[:-1], -1)
        cells = cells_of("map_error", "target", target, grid, mode=center, generator=generator)
        if sigma_cells == 0:
            binary = functional.one_hot(grid.ravel(cells), grid.num_cells).to(flat.dtype)
            return MAP_ERRORS[kind](flat, binary, reduction="none").mean(dim=-1)
        target = grid.to_points(cells.to(flat.dtype))
    gaussian = gaussian_of("map_error", "target", target, grid, sigma_cells=sigma_cells, radius_sigmas=radius_sigmas)
    wanted = grid.flatten("map_error", gaussian)
    return MAP_ERRORS[kind](flat, wanted.expand_as(flat), reduction="none").mean(dim=-1)


def _label_cells(
    function: str, grid: Grid, target: Tensor, label: Label, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """The cells that may be the label and the probability of each, both (*batch, 1), or (*batch, 2^D) if expected."""
    one_of(function, "label", label, LABELS)
    if label == "expected":
        return activation_cells(function, "target", target, grid)
    index = grid.ravel(cells_of(function, "target", target, grid, mode=label, generator=generator)).unsqueeze(-1)
    return index, torch.ones_like(index, dtype=target.dtype)


def _weighted(weights: Tensor, log_p: Tensor) -> Tensor:
    """weights · log_p with 0 · −inf = 0."""
    return weights * torch.where(weights > 0, log_p, 0.0)
