"""Scores of keypoints on point clouds over a set."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torchmetrics import Metric

from heatpoint._checks import check_real, check_whole, message, one_of
from heatpoint.metrics._gather import gather_processes, rows_of
from heatpoint.metrics.alignment import DualAlignment, alignment_labels, alignment_of
from heatpoint.metrics.clouds import DISTANCES, THRESHOLDS, cloud_errors, share_within
from heatpoint.metrics.geodesics import NUM_NEIGHBORS
from heatpoint.metrics.turned_labels import Groups, best_targets


class CloudPCK(Metric):
    """Mean over models of the share of keypoints nearer than a threshold, `clouds.cloud_pck`; `curve` gives any thresholds.

    The error of every keypoint is kept, so the value does not depend on the batches, nor on the number of processes, unless a
    distributed sampler repeats samples to fill its last batch: those count twice.

    Args:
        threshold: In the unit of the points.
        distance: "euclidean" or "geodesic".
        num_neighbors: Neighbours that a point is joined to where distances go along the cloud.

    >>> import torch
    >>> metric = CloudPCK()
    >>> metric.update(torch.tensor([[[0.0, 0.02, 0.0], [0.0, 0.0, 0.0]]]), torch.zeros(1, 2, 3))
    >>> metric.compute(), metric.curve((0.01, 0.03))
    (tensor(0.5000), tensor([0.5000, 1.0000]))
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    errors: list[Tensor]

    def __init__(
        self, *, threshold: float = 0.01, distance: str = "euclidean", num_neighbors: int = NUM_NEIGHBORS
    ) -> None:
        super().__init__(dist_sync_fn=gather_processes)
        self.threshold = check_real("CloudPCK", "threshold", threshold, "be a finite number")
        one_of("CloudPCK", "distance", distance, DISTANCES)
        self.distance = distance
        self.num_neighbors = check_whole("CloudPCK", "num_neighbors", num_neighbors, "be at least 1", least=1)
        self.add_state("errors", default=[], dist_reduce_fx="cat")

    def update(
        self,
        pred: Tensor,
        target: Tensor,
        visible: Tensor | None = None,
        clouds: Sequence[Tensor] | Tensor | None = None,
        *,
        rotations: Sequence[Groups] | None = None,
        circles: Sequence[bool] | None = None,
    ) -> None:
        """Adds models.

        Args:
            pred: (N, K, D).
            target: (N, K, D).
            visible: (N, K) bool; None takes all points.
            clouds: The N clouds, for geodesic distances and for turned labels.
            rotations: As in `clouds.cloud_pck`: None judges by the annotations, groups by the best of the turned labels.
            circles: As in `clouds.cloud_pck`.
        """
        if rotations is not None:
            target = best_targets(pred, target, visible, clouds, rotations, circles)
        errors = cloud_errors(
            pred, target, visible=visible, distance=self.distance, clouds=clouds, num_neighbors=self.num_neighbors
        )
        self.errors.append(errors)

    def compute(self) -> Tensor:
        """The share at the threshold.

        Raises:
            ValueError: If nothing was added.
        """
        return share_within(rows_of(self, self.errors), (self.threshold,))[0]

    def curve(self, thresholds: Sequence[float] = THRESHOLDS) -> Tensor:
        """The shares (T,) over what this process has seen; within `with metric.sync_context():` over what all have."""
        return share_within(rows_of(self, self.errors), thresholds)


class DualAlignmentScore(Metric):
    """Dual alignment score of keypoints without names, `alignment.dual_alignment`; `parts` gives forward and backward too.

    What each model's predictions and keypoints are nearest to is kept, so the value does not depend on the batches, nor on the
    number of processes, unless a distributed sampler repeats samples to fill its last batch: those count twice.

    Args:
        num_points: K, the predictions on each model.

    >>> import torch
    >>> metric = DualAlignmentScore(2)
    >>> target = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])
    >>> metric.update(target, target)
    >>> metric.update(target.flip(1), target)
    >>> metric.compute(), metric.parts().forward
    (tensor(0.5000, dtype=torch.float64), tensor(0.5000, dtype=torch.float64))
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    taken: list[Tensor]
    number: list[Tensor]
    names: list[Tensor]

    def __init__(self, num_points: int) -> None:
        super().__init__(dist_sync_fn=gather_processes)
        self.num_points = check_whole("DualAlignmentScore", "num_points", num_points, "be at least 1", least=1)
        for state in ("taken", "number", "names"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, pred: Tensor, target: Tensor, visible: Tensor | None = None, names: Tensor | None = None) -> None:
        """Adds models.

        Args:
            pred: (N, K, D).
            target: (N, G, D), with the same G in every batch.
            visible: (N, G) bool; None takes all keypoints.
            names: (N, G) whole numbers; None names each keypoint by its place.
        """
        if pred.ndim == 3 and pred.shape[1] != self.num_points:
            rule = f"hold the metric's {self.num_points} points"
            raise ValueError(message("DualAlignmentScore.update", "pred", rule, tuple(pred.shape)))
        taken, number, own = alignment_labels(pred, target, visible, names=names)
        self.taken.append(taken)
        self.number.append(number)
        self.names.append(own)

    def parts(self) -> DualAlignment:
        """Forward, backward and mean over what this process has seen; within `with metric.sync_context():` over what all have.

        Raises:
            ValueError: If nothing was added.
        """
        labels = [rows_of(self, state) for state in (self.taken, self.number, self.names)]
        return alignment_of(*labels, num_points=self.num_points)

    def compute(self) -> Tensor:
        """The mean of forward and backward."""
        return self.parts().mean
