"""The plain forms of operations that have a faster one: torch functions that look at every cell of every map."""

from __future__ import annotations

import torch
from torch import Tensor


def first_largest(flat: Tensor) -> tuple[Tensor, Tensor]:
    values, index = flat.max(dim=-1)
    return values, index


def largest_cells(flat: Tensor, k: int) -> Tensor:
    return flat.topk(k, dim=-1, sorted=False).indices


def label_cross_entropy(flat_logits: Tensor, label_map: Tensor) -> Tensor:
    """−Σ label · log softmax over maps (*batch, cells), with 0 · −∞ = 0."""
    log_p = flat_logits.log_softmax(dim=-1)
    return -(label_map * torch.where(label_map > 0, log_p, 0.0)).sum(dim=-1)
