"""Whether confidence tells right from wrong."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from heatpoint._checks import message, one_of
from heatpoint.metrics._gather import gather_processes, rows_of
from heatpoint.metrics.functional import pearson_correlation


class ConfidenceCorrelation(Metric):
    """Pearson's correlation of confidence with correctness, which is minus the error (Sampling-Argmax, 4.1, Table 3).

    The paper takes the peak of a map for confidence and, for people, OKS for correctness; a face has no OKS.
    Samples that a distributed sampler repeats count twice.

    Args:
        per: "point" correlates all visible points; "face" the means over each face's visible points.

    Raises:
        ValueError: If `per` is unknown.

    >>> import torch
    >>> metric = ConfidenceCorrelation(per="point")
    >>> metric.update(torch.tensor([[0.9, 0.6, 0.3]]), torch.tensor([[1.0, 2.0, 3.0]]))
    >>> metric.compute()
    tensor(1.)
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    confidences: list[Tensor]
    correctness: list[Tensor]

    def __init__(self, *, per: Literal["point", "face"] = "point") -> None:
        super().__init__(dist_sync_fn=gather_processes)
        one_of("ConfidenceCorrelation", "per", per, ("point", "face"))
        self.per = per
        self.add_state("confidences", default=[], dist_reduce_fx="cat")
        self.add_state("correctness", default=[], dist_reduce_fx="cat")

    def update(self, confidence: Tensor, errors: Tensor, visible: Tensor | None = None) -> None:
        """Adds points.

        Args:
            confidence: (N, K).
            errors: (N, K), normalised so that faces of all sizes compare.
            visible: (N, K) bool; None takes all points.

        Raises:
            ValueError: If the shapes differ.
        """
        visible = torch.ones_like(errors, dtype=torch.bool) if visible is None else visible.bool()
        if confidence.ndim != 2 or not confidence.shape == errors.shape == visible.shape:
            got = f"{tuple(confidence.shape)}, {tuple(errors.shape)} and {tuple(visible.shape)}"
            rule = "be (N, K), as errors and visible"
            raise ValueError(message("ConfidenceCorrelation.update", "confidence", rule, got))
        for state, values in ((self.confidences, confidence), (self.correctness, -errors)):
            if self.per == "point":
                state.append(values[visible])
            else:
                kept = visible.any(dim=-1)
                total = torch.where(visible, values, torch.zeros_like(values)).sum(dim=-1)
                state.append(total[kept] / visible.sum(dim=-1)[kept])

    def compute(self) -> Tensor:
        """The correlation over everything added.

        Raises:
            ValueError: If nothing was added.
        """
        return pearson_correlation(rows_of(self, self.confidences), rows_of(self, self.correctness))
