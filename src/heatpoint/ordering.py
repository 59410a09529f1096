"""Surfaces that never cross: located rows put in order, differentiably, and a count of where they are not."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from heatpoint._checks import check_real, check_tensor, message, one_of
from heatpoint._numerics import full_precision, promote

Method = Literal["cumulative", "isotonic"]


@full_precision
def ordered(rows: Tensor, *, method: Method = "cumulative", dim: int = -2) -> Tensor:
    """Puts the rows of surfaces, top to bottom, in order: s_1 <= s_2 <= … in every column.

    "cumulative" is the topology guarantee of He et al. (MICCAI 2019), s_{k+1} = s_k + relu(r_{k+1} − s_k), which is the running
    maximum s_k = max_{i <= k} r_i, and computed as such: without the rounding error of the sums. Where surfaces touch, the
    gradient goes to the lower of them, in the recursion to the upper. A surface is only ever moved down, so one that is located
    too low takes all below along.

    "isotonic" is the nearest ordered rows, min_s Σ_k (s_k − r_k)² with s_1 <= s_2 <= …, by the formula
    s_k = max_{i <= k} min_{j >= k} mean(r_i, …, r_j) (Barlow et al. 1972): surfaces that cross meet at their mean, and the mean
    over surfaces stays. O(S³) per column.

    Rows that are in order stay what they are, with the gradient of the identity.

    Args:
        rows: (…, S, W) any real numbers; S surfaces along `dim`.
        method: "cumulative" or "isotonic".
        dim: The dimension of the surfaces.

    Returns:
        Of the same shape, in order without an exception for rounding. Gradients flow to the rows.

    Raises:
        TypeError: If the rows are no tensor.
        ValueError: If the method is unknown, or the rows have no such dimension.

    >>> rows = torch.tensor([[1.0, 5.0, 3.0, 4.0]])
    >>> ordered(rows, dim=-1), ordered(rows, method="isotonic", dim=-1)
    (tensor([[1., 5., 5., 5.]]), tensor([[1., 4., 4., 4.]]))
    """
    check_tensor("ordered", "rows", rows)
    one_of("ordered", "method", method, get_args(Method))
    if not -rows.ndim <= dim < rows.ndim or rows.shape[dim] == 0:
        rule = f"have the surfaces, at least one, along dimension {dim}"
        raise ValueError(message("ordered", "rows", rule, tuple(rows.shape)))
    rows = promote(rows)
    if method == "cumulative":
        return rows.cummax(dim=dim).values
    return _isotonic(rows.movedim(dim, -1)).movedim(-1, dim)


def _isotonic(rows: Tensor) -> Tensor:
    """The min-max formula along the last dimension."""
    number = rows.shape[-1]
    index = torch.arange(number, device=rows.device)
    first, last = index[:, None], index[None, :]
    # weight[k, i, j]: the share of row k in the mean of rows i to j.
    within = (first <= index[:, None, None]) & (index[:, None, None] <= last)
    weight = within.to(rows.dtype) / (last - first + 1).clamp(min=1)
    means = torch.where(first <= last, torch.einsum("...k,kij->...ij", rows, weight), torch.inf)
    least = means.flip(-1).cummin(dim=-1).values.flip(-1)
    return torch.where(first <= last, least, -torch.inf).amax(dim=-2)


def violations(rows: Tensor, visible: Tensor | None = None, *, tolerance: float = 0.0) -> int:
    """Counts where surfaces cross: pairs of neighbouring visible surfaces of a column of which the lower lies above the upper.

    Neighbours are visible surfaces of one column with no visible one between them. A row that is NaN lies nowhere: it counts as
    not visible.

    Args:
        rows: (…, S, W), surfaces top to bottom.
        visible: (…, S, W) bool; None takes all.
        tolerance: Rows that surfaces may cross by without being counted.

    Raises:
        ValueError: If a shape does not fit.

    >>> violations(torch.tensor([[1.0, 1.0, 4.0], [2.0, 0.0, 4.0], [1.5, 3.0, 3.0]]))
    3
    """
    check_tensor("violations", "rows", rows)
    check_real("violations", "tolerance", tolerance, "be at least 0", least=0)
    if rows.ndim < 2:
        raise ValueError(message("violations", "rows", "be (…, surfaces, columns)", tuple(rows.shape)))
    if visible is not None and visible.shape != rows.shape:
        rule = f"have the shape of rows, {tuple(rows.shape)}"
        raise ValueError(message("violations", "visible", rule, tuple(visible.shape)))
    above = torch.full_like(rows[..., 0, :], -torch.inf)
    count = torch.zeros((), dtype=torch.long, device=rows.device)
    for k in range(rows.shape[-2]):
        seen = ~rows[..., k, :].isnan()
        if visible is not None:
            seen = seen & visible[..., k, :]
        count += (seen & (rows[..., k, :] < above - tolerance)).sum()
        above = torch.where(seen, rows[..., k, :], above)
    return int(count)
