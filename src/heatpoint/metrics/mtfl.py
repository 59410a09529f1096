"""Error of MTFL's five points."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torchmetrics import Metric

from heatpoint._checks import one_of
from heatpoint.metrics._gather import gather_processes, rows_of
from heatpoint.metrics.faces import mtfl_face_errors


class MTFLError(Metric):
    """Mean over faces of `faces.mtfl_face_errors`: the absolute error in pixels or the relative one in percent.

    Faces that a distributed sampler repeats count twice.

    Args:
        kind: "relative" (percent of the distance between the eyes) or "absolute" (pixels).
        eyes: Indices of the two eyes.

    Raises:
        ValueError: If the kind is unknown.

    >>> import torch
    >>> target = torch.tensor([[[0.0, 0.0], [10.0, 0.0]]])
    >>> metric = MTFLError(kind="relative")
    >>> metric.update(target + torch.tensor([3.0, 4.0]), target)
    >>> metric.compute()
    tensor(50.)
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    faces: list[Tensor]

    def __init__(self, *, kind: Literal["relative", "absolute"] = "relative", eyes: tuple[int, int] = (0, 1)) -> None:
        super().__init__(dist_sync_fn=gather_processes)
        one_of("MTFLError", "kind", kind, ("relative", "absolute"))
        self.kind = kind
        self.eyes = eyes
        self.add_state("faces", default=[], dist_reduce_fx="cat")

    def update(self, pred: Tensor, target: Tensor, pixel_scale: Tensor | None = None) -> None:
        """Adds faces.

        Args:
            pred: (N, K, 2).
            target: (N, K, 2).
            pixel_scale: (N,) factor to the original image's pixels; None is 1.
        """
        absolute, relative = mtfl_face_errors(pred, target, pixel_scale=pixel_scale, eyes=self.eyes)
        self.faces.append(absolute if self.kind == "absolute" else relative)

    def compute(self) -> Tensor:
        """The mean over all faces that count.

        Raises:
            ValueError: If nothing was added.
        """
        return rows_of(self, self.faces).mean()
