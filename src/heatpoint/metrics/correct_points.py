"""Shares of correct points over a set."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torchmetrics import Metric

from heatpoint._checks import check_real
from heatpoint.metrics._gather import gather_processes, rows_of
from heatpoint.metrics.pck import (
    AUC_THRESHOLDS,
    choose_reading,
    mean_share,
    pckh_rows,
    relative_distances,
    share_correct,
)


class PCK(Metric):
    """Mean over the kinds of points of `pck.pck`, a fraction; kinds that no sample shows are left out.

    The distance of every point is kept, so the value does not depend on the batches, nor on the number of processes, unless
    a distributed sampler repeats samples to fill its last batch: those count twice.

    Args:
        threshold: Share of the length.
        inclusive: Whether a distance equal to the threshold is correct.

    >>> import torch
    >>> metric = PCK(threshold=0.2)
    >>> metric.update(torch.tensor([[[3.0, 4.0], [0.0, 1.0]]]), torch.zeros(1, 2, 2), torch.tensor([10.0]))
    >>> metric.compute()
    tensor(0.5000)
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    distances: list[Tensor]

    def __init__(self, *, threshold: float = 0.2, inclusive: bool = False) -> None:
        super().__init__(dist_sync_fn=gather_processes)
        self.threshold = check_real(type(self).__name__, "threshold", threshold, "be a finite number")
        self.inclusive = inclusive
        self.add_state("distances", default=[], dist_reduce_fx="cat")

    def update(self, pred: Tensor, target: Tensor, lengths: Tensor, visible: Tensor | None = None) -> None:
        """Adds samples.

        Args:
            pred: (N, K, D).
            target: (N, K, D).
            lengths: (N,) or (N, D); samples whose length is not greater than 0 are left out.
            visible: (N, K) bool; None takes all points.
        """
        self.distances.append(relative_distances(pred, target, lengths, visible=visible))

    def compute(self) -> Tensor:
        """The mean over the kinds of points.

        Raises:
            ValueError: If nothing was added.
        """
        return share_correct(rows_of(self, self.distances), self.threshold, inclusive=self.inclusive).nanmean()


class PCKh(PCK):
    """The mean of MPII's PCKh, a fraction, in a published reading; `rows` gives the whole line of the table.

    Args:
        reading: "hrnet" or "mmpose", as in `pck.pckh`.
        at: "0.5" or "0.1".

    >>> import torch
    >>> metric = PCKh()
    >>> metric.update(torch.full((1, 16, 2), 3.0), torch.zeros(1, 16, 2), torch.tensor([10.0]))
    >>> metric.compute(), metric.rows()["wrist"]
    (tensor(1.), tensor(1.))
    """

    def __init__(self, *, reading: str = "hrnet", at: str = "0.5") -> None:
        rule = choose_reading("PCKh", reading, at)
        super().__init__(threshold=rule.threshold, inclusive=rule.inclusive)
        self.reading, self.at = reading, at

    def rows(self) -> dict[str, Tensor]:
        """All rows over what this process has seen; within `with metric.sync_context():` over what all have."""
        return pckh_rows(rows_of(self, self.distances), threshold=self.threshold, inclusive=self.inclusive)

    def compute(self) -> Tensor:
        """The mean, weighted by how many samples show each point."""
        return self.rows()["mean"]


class PCKAreaUnderCurve(PCK):
    """Mean of PCK over thresholds, `pck.pck_auc`.

    Args:
        thresholds: Shares of the length.
        inclusive: Whether a distance equal to the threshold is correct.

    >>> import torch
    >>> metric = PCKAreaUnderCurve(thresholds=(0.25, 0.75))
    >>> metric.update(torch.tensor([[[3.0, 4.0], [0.0, 1.0]]]), torch.zeros(1, 2, 2), torch.tensor([10.0]))
    >>> metric.compute()
    tensor(0.7500)
    """

    def __init__(self, *, thresholds: Sequence[float] = AUC_THRESHOLDS, inclusive: bool = False) -> None:
        super().__init__(inclusive=inclusive)
        self.thresholds = tuple(thresholds)

    def compute(self) -> Tensor:
        """The mean over thresholds and kinds of points."""
        return mean_share(rows_of(self, self.distances), thresholds=self.thresholds, inclusive=self.inclusive)


class EndPointError(Metric):
    """Mean distance over all visible points of all samples, `pck.epe`, in the unit of the points.

    Samples that a distributed sampler repeats count twice.

    >>> import torch
    >>> metric = EndPointError()
    >>> metric.update(torch.tensor([[[3.0, 4.0], [0.0, 1.0]]]), torch.zeros(1, 2, 2))
    >>> metric.compute()
    tensor(3.)
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    distances: list[Tensor]

    def __init__(self) -> None:
        super().__init__(dist_sync_fn=gather_processes)
        self.add_state("distances", default=[], dist_reduce_fx="cat")

    def update(self, pred: Tensor, target: Tensor, visible: Tensor | None = None) -> None:
        """Adds samples.

        Args:
            pred: (N, K, D).
            target: (N, K, D).
            visible: (N, K) bool; None takes all points.
        """
        self.distances.append(relative_distances(pred, target, pred.new_ones(len(pred)), visible=visible))

    def compute(self) -> Tensor:
        """The mean over all visible points."""
        return rows_of(self, self.distances).nanmean()
