"""Labelling of every pixel with its layer: the second task of He et al. 2019, which shapes the features that the maps share."""

from __future__ import annotations

import torch
from torch import Tensor

SMOOTHING = 1.0  # Added to both sides of Dice's fraction: a layer that is nowhere, and is found nowhere, costs nothing.


def label_maps(rows: Tensor, visible: Tensor, *, num_rows: int) -> tuple[Tensor, Tensor]:
    """Which layer each pixel belongs to, from the rows of the surfaces: the number of surfaces above its centre.

    Args:
        rows: (B, S, columns), top to bottom, in input rows.
        visible: (B, S, columns) bool.
        num_rows: Of the input.

    Returns:
        Labels (B, num_rows, columns) int64 from 0 to S, and which columns count, (B, columns) bool: those in which all
        surfaces are visible, since a missing one would join two layers.

    >>> labels, counts = label_maps(torch.tensor([[[0.5], [2.5]]]), torch.ones(1, 2, 1, dtype=torch.bool), num_rows=4)
    >>> labels.flatten().tolist(), counts.tolist()
    ([0, 1, 1, 2], [[True]])
    """
    pixels = torch.arange(num_rows, dtype=rows.dtype, device=rows.device)[:, None]
    return (pixels > rows[:, :, None]).sum(dim=1), visible.all(dim=1)


def label_loss(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Cross-entropy plus Dice loss of labelled pixels (He et al. 2019), over the columns that count.

    −mean log p_label + 1 − mean_l (2 Σ p_l g_l + ε) / (Σ p_l + Σ g_l + ε), g the labels one-hot, sums over all pixels of the
    batch, ε = 1.

    Args:
        logits: (B, L, rows, columns).
        labels: (B, rows, columns) int64.
        counts: (B, columns) bool.

    Returns:
        A scalar; 0, still attached to the graph, where no column counts.

    >>> sure = torch.tensor([0.0, 40.0]).reshape(1, 2, 1, 1)
    >>> float(label_loss(sure, torch.ones(1, 1, 1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.bool)))
    0.0
    """
    log_p = torch.log_softmax(logits.float(), dim=1)
    weight = counts[:, None, :].expand(labels.shape).to(log_p.dtype)
    truth = torch.nn.functional.one_hot(labels, logits.shape[1]).movedim(-1, 1) * weight[:, None]
    pixels = weight.sum()
    entropy = -(truth * log_p).sum() / pixels.clamp(min=1)
    p = log_p.exp() * weight[:, None]
    sums = (0, 2, 3)
    overlap = (2 * (p * truth).sum(sums) + SMOOTHING) / (p.sum(sums) + truth.sum(sums) + SMOOTHING)
    return entropy + torch.where(pixels > 0, 1 - overlap.mean(), 0.0)
