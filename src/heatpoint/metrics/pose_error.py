"""Error of poses in space over a set, as they are or aligned."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor
from torchmetrics import Metric

from heatpoint._checks import check_whole, one_of
from heatpoint.metrics._gather import gather_processes, rows_of
from heatpoint.metrics.pose3d import mpjpe, n_mpjpe, pa_mpjpe, root_relative

Score = Callable[..., Tensor]

ALIGNMENTS: Mapping[str, Score] = {
    "none": mpjpe,
    "scale": n_mpjpe,
    "rotation": lambda pred, target, *, visible: pa_mpjpe(pred, target, visible=visible, scale=False),
    "similarity": pa_mpjpe,
}


class MPJPE(Metric):
    """Mean over samples of `pose3d.mpjpe`, in the unit of the points. Samples without a visible point are left out.

    The error of every sample is kept, so the value does not depend on the batches, nor on the number of processes, unless a
    distributed sampler repeats samples to fill its last batch: those count twice.

    Args:
        alignment: "none" (MPJPE), "similarity" (PA-MPJPE), "scale" (N-MPJPE) or "rotation" (a similarity of scale 1).
        root: Index of the point from which both sides are measured before; Human3.6M's is 0, the pelvis. None takes the
            points as they are.

    >>> import torch
    >>> metric = MPJPE(root=0)
    >>> target = torch.zeros(1, 2, 3)
    >>> metric.update(target + torch.tensor([[[1.0, 0.0, 0.0], [1.0, 3.0, 4.0]]]), target)
    >>> metric.compute()
    tensor(2.5000)
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    errors: list[Tensor]

    def __init__(self, *, alignment: str = "none", root: int | None = None) -> None:
        super().__init__(dist_sync_fn=gather_processes)
        one_of("MPJPE", "alignment", alignment, ALIGNMENTS)
        self.alignment = alignment
        self.root = None if root is None else check_whole("MPJPE", "root", root, "be the index of a point", least=0)
        self.add_state("errors", default=[], dist_reduce_fx="cat")

    def update(self, pred: Tensor, target: Tensor, visible: Tensor | None = None) -> None:
        """Adds samples.

        Args:
            pred: (N, K, 3).
            target: (N, K, 3).
            visible: (N, K) bool, the points that count, to align by too; the root is taken as visible. None takes all points.
        """
        if self.root is not None:
            pred, target = root_relative(pred, self.root), root_relative(target, self.root)
        errors = ALIGNMENTS[self.alignment](pred, target, visible=visible)
        self.errors.append(errors if visible is None else errors[visible.any(dim=-1)])

    def compute(self) -> Tensor:
        """The mean over all samples.

        Raises:
            ValueError: If nothing was added.
        """
        return rows_of(self, self.errors).mean()
