"""Dual alignment: whether keypoints found without names mean the same thing on every model."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from heatpoint._checks import message
from heatpoint._numerics import full_precision, promote

NOTHING = -1  # Label of what has no meaning: a prediction that is not finite, a hidden keypoint.


class DualAlignment(NamedTuple):
    """The two scores and their mean, scalars from 0 to 1.

    Attributes:
        forward: Do predictions of the same number lie nearest to the same named keypoint?
        backward: Do keypoints of the same name lie nearest to the prediction of the same number?
        mean: Of both.
    """

    forward: Tensor
    backward: Tensor
    mean: Tensor


def dual_alignment(
    pred: Tensor, target: Tensor, visible: Tensor | None = None, *, names: Tensor | None = None
) -> DualAlignment:
    """Dual alignment score of predictions without names (Shi et al. 2021, section 4.3), with named keypoints to judge them.

    Forward: every prediction takes the name of its nearest keypoint; the share of equal names over all ordered pairs of models,
    Σ_k Σ_s (n_ks / N)² / K, where n_ks of N models call prediction k s. Backward: every keypoint takes the number of its nearest
    prediction; Σ_k (m_sk / m_s)² is the share of equal numbers among the m_s keypoints named s, and the score its mean over the
    names that occur. Pairs of a model with itself count, as in the published code, so that N models that agree in nothing still
    score 1 / N. The code prints the two apart; `mean` is what a single published figure is taken to be.

    Args:
        pred: (N, K, D), the K predictions of each model in the same order on all.
        target: (N, G, D), in the coordinates of `pred` on each model.
        visible: (N, G) bool; None takes all. Models without a visible keypoint are left out of the forward score.
        names: (N, G) whole numbers not below 0, which name the keypoints; None names each by its place in `target`.

    Returns:
        Scalars; NaN where there is no keypoint at all. A prediction that is not finite agrees with no other, nor with itself.

    Raises:
        ValueError: If a shape does not fit, or a name is below 0.

    >>> target = torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.1], [1.0, 0.1]]])
    >>> swapped = torch.stack([target[0], target[1].flip(0)])
    >>> [value.item() for value in dual_alignment(target, target)], [value.item() for value in dual_alignment(swapped, target)]
    ([1.0, 1.0, 1.0], [0.5, 0.5, 0.5])
    """
    return alignment_of(*alignment_labels(pred, target, visible, names=names), num_points=pred.shape[1])


@full_precision
def alignment_labels(
    pred: Tensor, target: Tensor, visible: Tensor | None = None, *, names: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """What `dual_alignment` counts, model by model; arguments and errors are its own.

    Returns:
        The name (N, K) that each prediction takes, the number (N, G) of the prediction that each keypoint takes, and the
        keypoints' names (N, G); −1 where there is none.
    """
    _check(pred, target, visible, names)
    shown = torch.ones(target.shape[:2], dtype=torch.bool, device=target.device) if visible is None else visible.bool()
    if names is None:
        names = torch.arange(target.shape[1], device=target.device).expand(target.shape[:2])
    names = torch.where(shown, names, NOTHING)
    # Differences, not the product form of cdist, whose rounding decides between keypoints that are nearly as far.
    squares = (promote(pred)[:, :, None] - promote(target)[:, None]).square().sum(dim=-1)
    squares = torch.nan_to_num(squares, nan=torch.inf, posinf=torch.inf)
    squares = torch.where(shown[:, None], squares, torch.inf)
    to_target, to_pred = squares.min(dim=2), squares.min(dim=1)
    taken = torch.where(to_target.values.isfinite(), names.gather(1, to_target.indices), NOTHING)
    return taken, torch.where(to_pred.values.isfinite(), to_pred.indices, NOTHING), names


def alignment_of(taken: Tensor, number: Tensor, names: Tensor, *, num_points: int) -> DualAlignment:
    """The scores of any number of models from their labels, as `alignment_labels` gives them.

    >>> labels = torch.tensor([[0, 1], [0, 1], [0, 0]])
    >>> round(alignment_of(labels, labels, torch.tensor([[0, 1]] * 3), num_points=2).forward.item(), 4)
    0.7778
    """
    num_names = int(names.max()) + 1 if names.numel() else 0
    judged = taken[(names >= 0).any(dim=1)]
    calls = torch.nn.functional.one_hot(judged + 1, num_names + 1)[..., 1:].sum(dim=0).double()
    forward = (calls / len(judged)).square().sum(dim=1).mean() if len(judged) else calls.new_tensor(torch.nan)
    is_named = names >= 0
    # One table of counts, name by number; the column 0 is of those that no prediction is near to.
    cells = names[is_named] * (num_points + 1) + number[is_named] + 1
    counts = torch.bincount(cells, minlength=num_names * (num_points + 1)).view(num_names, num_points + 1).double()
    totals = counts.sum(dim=1)
    occurs = totals > 0
    shares = counts[occurs, 1:] / totals[occurs, None]
    backward = shares.square().sum(dim=1).mean()
    return DualAlignment(forward, backward, (forward + backward) / 2)


def _check(pred: Tensor, target: Tensor, visible: Tensor | None, names: Tensor | None) -> None:
    if pred.ndim != 3 or not pred.shape[1]:
        raise ValueError(message("dual_alignment", "pred", "be (N, K, D) with K >= 1", tuple(pred.shape)))
    if target.ndim != 3 or not target.shape[1] or (target.shape[0], target.shape[2]) != (pred.shape[0], pred.shape[2]):
        rule = f"be ({pred.shape[0]}, G, {pred.shape[2]}) with G >= 1, as pred {tuple(pred.shape)}"
        raise ValueError(message("dual_alignment", "target", rule, tuple(target.shape)))
    shape = tuple(target.shape[:2])
    if visible is not None and tuple(visible.shape) != shape:
        raise ValueError(
            message("dual_alignment", "visible", f"be {shape}, one flag per keypoint", tuple(visible.shape))
        )
    if names is None:
        return
    if tuple(names.shape) != shape or names.dtype not in (torch.int64, torch.int32):
        got = f"{tuple(names.shape)} {names.dtype}"
        raise ValueError(message("dual_alignment", "names", f"be {shape} whole numbers", got))
    given = names if visible is None else names[visible.bool()]
    if given.numel() and int(given.min()) < 0:
        remedy = "Mark keypoints that are missing in `visible`."
        raise ValueError(message("dual_alignment", "names", "not be below 0", int(given.min()), remedy))
