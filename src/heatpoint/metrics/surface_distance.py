"""Distance of surfaces over a set, as a running metric."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torchmetrics import Metric

from heatpoint._checks import check_whole, message, one_of
from heatpoint.metrics._gather import gather_processes, rows_of
from heatpoint.metrics.surfaces import Moments, surface_errors

Statistic = Literal["mad", "std", "scan_mad", "scan_std"]


class SurfaceDistance(Metric):
    """One figure of `surfaces.surface_scores`, in the unit of the rows.

    Number, sum and squares of the distances of every scan and surface are kept, so the value does not depend on the batches,
    nor on the number of processes, unless a distributed sampler repeats scans to fill its last batch: those count twice.

    Args:
        statistic: "mad" (mean absolute distance over columns), "std" (its deviation over columns), "scan_mad" (mean over scans
            of their mean distances) or "scan_std" (the deviation of these over scans).
        surface: Index of one surface; None takes all together.

    >>> metric = SurfaceDistance()
    >>> metric.update(torch.tensor([[[1.0, 5.0]]]), torch.tensor([[[2.0, 2.0]]]))
    >>> metric.compute()
    tensor(2., dtype=torch.float64)
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    moments: list[Tensor]

    def __init__(self, *, statistic: Statistic = "mad", surface: int | None = None) -> None:
        super().__init__(dist_sync_fn=gather_processes)
        one_of("SurfaceDistance", "statistic", statistic, get_args(Statistic))
        if surface is not None:
            surface = check_whole("SurfaceDistance", "surface", surface, "be the index of a surface", least=0)
        self.statistic = statistic
        self.surface = surface
        self.add_state("moments", default=[], dist_reduce_fx="cat")

    def update(self, pred: Tensor, target: Tensor, visible: Tensor | None = None) -> None:
        """Adds scans.

        Args:
            pred: (N, S, W) rows; W may differ from call to call.
            target: (N, S, W).
            visible: (N, S, W) bool; None takes all.

        Raises:
            ValueError: If a shape does not fit, or there is no such surface.
        """
        if target.ndim != 3:
            rule = "be (N, S, W), scans of surfaces"
            raise ValueError(
                message("SurfaceDistance", "target", rule, tuple(target.shape), "Give one scan as scan[None].")
            )
        if self.surface is not None and self.surface >= target.shape[-2]:
            rule = f"be below the number of surfaces, {target.shape[-2]}"
            raise ValueError(message("SurfaceDistance", "surface", rule, self.surface))
        seen = torch.ones_like(target, dtype=torch.bool) if visible is None else visible
        found = Moments.of(surface_errors(pred, target, seen), seen).with_overall()
        self.moments.append(torch.stack([found.number, found.total, found.squares], dim=-1))

    def compute(self) -> Tensor:
        """The figure over all scans, float64; NaN where nothing is visible.

        Raises:
            ValueError: If nothing was added.
        """
        column = -1 if self.surface is None else self.surface
        scans = Moments(*rows_of(self, self.moments)[:, column].unbind(-1))
        if self.statistic in ("mad", "std"):
            pooled = scans.pooled()
            return pooled.mean if self.statistic == "mad" else pooled.std
        center = scans.mean.nanmean()
        return center if self.statistic == "scan_mad" else (scans.mean - center).square().nanmean().sqrt()
