"""Normalised mean error of faces, and what is read from its distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from heatpoint._checks import message, one_of
from heatpoint.metrics._gather import gather_processes, rows_of
from heatpoint.metrics.faces import area_under_curve, error_curve, failure_rate, subset_mask
from heatpoint.metrics.functional import nme

SCORES = ("mean", "failure_rate", "area_under_curve")


class NormalizedMeanError(Metric):
    """Mean over faces of `functional.nme`, a fraction; NaN if none counts.

    Faces without a visible point are left out, and those whose normalizer is NaN or not greater than 0. The error of every
    face is kept, so the value does not depend on the batches, nor on the number of processes, unless a distributed sampler
    repeats samples to fill its last batch: those count twice.

    >>> import torch
    >>> metric = NormalizedMeanError()
    >>> metric.update(torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]]]), torch.zeros(2, 1, 2), torch.tensor([50.0, 50.0]))
    >>> metric.compute()
    tensor(0.0500)
    """

    higher_is_better: bool | None = False
    is_differentiable = False
    full_state_update = False
    faces: list[Tensor]

    def __init__(self) -> None:
        super().__init__(dist_sync_fn=gather_processes)
        self.add_state("faces", default=[], dist_reduce_fx="cat")

    def update(self, pred: Tensor, target: Tensor, normalizer: Tensor, visible: Tensor | None = None) -> None:
        """Adds faces.

        Args:
            pred: (N, K, D).
            target: (N, K, D).
            normalizer: (N,), as from `functional.normalizer_distance`; NaN, 0 or less leaves a face out.
            visible: (N, K) bool; None takes all points.
        """
        per_face, counts = _face_errors(pred, target, normalizer, visible)
        self.faces.append(per_face[counts])

    def compute(self) -> Tensor:
        """The mean over all faces that count.

        Raises:
            ValueError: If nothing was added.
        """
        return self._scored(rows_of(self, self.faces))

    def _scored(self, faces: Tensor) -> Tensor:
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

    def _scored(self, faces: Tensor) -> Tensor:
        return failure_rate(faces, self.threshold) if len(faces) else faces.mean()


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

    def _scored(self, faces: Tensor) -> Tensor:
        return area_under_curve(faces, self.threshold) if len(faces) else faces.mean()


class ErrorCurve(NormalizedMeanError):
    """The cumulative error distribution (CED) at evenly spaced thresholds.

    Args:
        limit: The last threshold.
        num_thresholds: T, from 0 to the limit.

    >>> import torch
    >>> metric = ErrorCurve(limit=0.2, num_thresholds=3)
    >>> metric.update(torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]]]), torch.zeros(2, 1, 2), torch.tensor([40.0, 50.0]))
    >>> metric.compute()
    tensor([[0.0000, 0.1000, 0.2000],
            [0.5000, 0.5000, 1.0000]])
    """

    higher_is_better = None

    def __init__(self, *, limit: float = 0.1, num_thresholds: int = 101) -> None:
        super().__init__()
        self.limit = limit
        self.num_thresholds = num_thresholds

    def compute(self) -> Tensor:
        """(2, T): the thresholds, and the shares of faces, as `faces.error_curve` gives them; NaN shares of no face."""
        return super().compute()

    def _scored(self, faces: Tensor) -> Tensor:
        known = faces if len(faces) else faces.new_zeros(1)
        thresholds, shares = error_curve(known, limit=self.limit, num_thresholds=self.num_thresholds)
        return torch.stack([thresholds, shares if len(faces) else torch.full_like(shares, torch.nan)])


class SubsetError(Metric):
    """A score of each named subset of faces, as `faces.by_subset` gives it for one process.

    The names are given beforehand, so that all processes agree on them whatever faces each has seen. Faces without a
    visible point are left out, and those whose normalizer is NaN or not greater than 0; those that a distributed sampler
    repeats count twice.

    Args:
        subsets: Names of the subsets to report; other tags are passed over.
        score: "mean" of the errors, "failure_rate" or "area_under_curve".
        threshold: Of the latter two; a fraction.

    Raises:
        ValueError: If there is no name or one is there twice, or the score is unknown.

    >>> import torch
    >>> metric = SubsetError(["blur", "pose"])
    >>> pred, tags = torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]]]), [frozenset({"blur"}), frozenset({"blur", "pose"})]
    >>> metric.update(pred, torch.zeros(2, 1, 2), torch.tensor([50.0, 50.0]), tags)
    >>> metric.compute()
    {'blur': tensor(0.0500), 'pose': tensor(0.)}
    """

    higher_is_better: bool | None = None
    is_differentiable = False
    full_state_update = False
    faces: list[Tensor]
    members: list[Tensor]

    def __init__(
        self,
        subsets: Sequence[str],
        *,
        score: Literal["mean", "failure_rate", "area_under_curve"] = "mean",
        threshold: float = 0.1,
    ) -> None:
        super().__init__(dist_sync_fn=gather_processes)
        self.subsets = tuple(subsets)
        if not self.subsets or len(set(self.subsets)) < len(self.subsets):
            raise ValueError(message("SubsetError", "subsets", "be at least one name, none twice", list(subsets)))
        one_of("SubsetError", "score", score, SCORES)
        self.score = score
        self.threshold = threshold
        self.add_state("faces", default=[], dist_reduce_fx="cat")
        self.add_state("members", default=[], dist_reduce_fx="cat")

    def update(
        self,
        pred: Tensor,
        target: Tensor,
        normalizer: Tensor,
        tags: Sequence[frozenset[str]],
        visible: Tensor | None = None,
    ) -> None:
        """Adds faces.

        Args:
            pred: (N, K, D).
            target: (N, K, D).
            normalizer: (N,), as from `functional.normalizer_distance`; NaN, 0 or less leaves a face out.
            tags: The subsets of each face, N of them.
            visible: (N, K) bool; None takes all points.

        Raises:
            ValueError: If the numbers of faces and tags differ.
        """
        per_face, counts = _face_errors(pred, target, normalizer, visible)
        if len(tags) != len(per_face):
            rule = f"be {len(per_face)}, the subsets of each face"
            raise ValueError(message("SubsetError.update", "tags", rule, len(tags)))
        members = torch.stack([subset_mask(tags, name) for name in self.subsets], dim=-1).to(per_face.device)
        self.faces.append(per_face[counts])
        self.members.append(members[counts])

    def compute(self) -> dict[str, Tensor]:
        """The score of each subset; NaN where no face belongs to it.

        Raises:
            ValueError: If nothing was added.
        """
        faces, members = rows_of(self, self.faces), rows_of(self, self.members)
        return {name: self._scored(faces[members[:, place]]) for place, name in enumerate(self.subsets)}

    def _scored(self, errors: Tensor) -> Tensor:
        if self.score == "mean" or not len(errors):
            return errors.mean()
        score = failure_rate if self.score == "failure_rate" else area_under_curve
        return score(errors, self.threshold)


def _face_errors(pred: Tensor, target: Tensor, normalizer: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor]:
    """The error of every face, and which faces have one."""
    is_defined = normalizer > 0
    per_face = nme(pred, target, torch.where(is_defined, normalizer, torch.ones_like(normalizer)), visible=visible)
    return per_face, is_defined if visible is None else is_defined & visible.any(dim=-1)
