"""Normalised mean error of faces, and what is read from its distribution."""

from __future__ import annotations

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from heatpoint.metrics.functional import area_under_curve, failure_rate, nme


class NormalizedMeanError(Metric):
    """Mean over faces of `functional.nme`, a fraction. Faces without a visible point are left out.

    The error of every face is kept, so the value does not depend on the batches or on the number of processes.

    >>> import torch
    >>> metric = NormalizedMeanError()
    >>> metric.update(torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]]]), torch.zeros(2, 1, 2), torch.tensor([50.0, 50.0]))
    >>> metric.compute()
    tensor(0.0500)
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    faces: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("faces", default=[], dist_reduce_fx="cat")

    def update(self, pred: Tensor, target: Tensor, normalizer: Tensor, visible: Tensor | None = None) -> None:
        """Adds faces.

        Args:
            pred: (N, K, D).
            target: (N, K, D).
            normalizer: (N,), as from `functional.normalizer_distance`.
            visible: (N, K) bool; None takes all points.
        """
        per_face = nme(pred, target, normalizer, visible=visible)
        self.faces.append(per_face if visible is None else per_face[visible.any(dim=-1)])

    def compute(self) -> Tensor:
        """The mean over all faces."""
        faces: Tensor = dim_zero_cat(self.faces)
        return faces.mean()


class FailureRate(NormalizedMeanError):
    """Share of faces whose normalised mean error is greater than a threshold.

    Args:
        threshold: A fraction.

    >>> import torch
    >>> metric = FailureRate(threshold=0.08)
    >>> metric.update(torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]]]), torch.zeros(2, 1, 2), torch.tensor([50.0, 50.0]))
    >>> metric.compute()
    tensor(0.5000)
    """

    def __init__(self, *, threshold: float = 0.1) -> None:
        super().__init__()
        self.threshold = threshold

    def compute(self) -> Tensor:
        """The share, as `functional.failure_rate` gives it."""
        return failure_rate(dim_zero_cat(self.faces), self.threshold)


class AreaUnderCurve(NormalizedMeanError):
    """Area under the cumulative error distribution up to a threshold, as a share of the whole.

    Args:
        threshold: A fraction.

    >>> import torch
    >>> metric = AreaUnderCurve()
    >>> metric.update(torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]]]), torch.zeros(2, 1, 2), torch.tensor([100.0, 50.0]))
    >>> metric.compute()
    tensor(0.7500)
    """

    higher_is_better = True

    def __init__(self, *, threshold: float = 0.1) -> None:
        super().__init__()
        self.threshold = threshold

    def compute(self) -> Tensor:
        """The area, as `functional.area_under_curve` gives it."""
        return area_under_curve(dim_zero_cat(self.faces), self.threshold)
