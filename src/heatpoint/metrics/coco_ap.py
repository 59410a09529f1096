"""COCO's scores of poses as a metric that takes batches, on one device or many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from heatpoint._checks import check_whole, message
from heatpoint.metrics._coco_faults import Record, check_ids
from heatpoint.metrics._coco_records import Detected, annotated, as_array, extent
from heatpoint.metrics._gather import gather_processes
from heatpoint.metrics.coco import checked_sigmas, curves_of
from heatpoint.metrics.oks import pose_nms

NUM_FIXED = 4  # Columns before the points: index, place of the image, score, area.


class CocoKeypointAP(Metric):
    """The ten numbers of `coco.coco_keypoint_scores`, from poses that come in batches.

    Every process holds all annotations; the detections are gathered, as rows of numbers. With an `index` per pose the value is
    the same on any number of processes, to the last bit: poses are put in that order, which decides between equal scores,
    and a pose that a sampler repeated to fill a batch counts once.

    Args:
        annotations: All annotation records of the split, as for `coco_keypoint_scores`.
        sigmas: (K,), greater than 0.
        image_ids: The images that are scored, those without persons among them; None takes the annotated ones. A pose on
            another image is an error.
        category_id: Of the detections.
        max_detections: As many of each image are scored, the best first.
        nms_threshold: Suppresses similar poses of an image first, as `oks.pose_nms` does; None keeps all. With true boxes
            nothing is to be suppressed; with detected ones 0.9 is published.

    Raises:
        ValueError: If annotations or sigmas are not as `coco_keypoint_scores` wants them.

    >>> person = {"image_id": 7, "id": 1, "area": 1250.0, "keypoints": [10, 10, 2]}
    >>> metric = CocoKeypointAP([person], sigmas=[0.05])
    >>> metric.update(torch.tensor([[[13.0, 14.0]]]), torch.tensor([0.9]), [7])
    >>> metric.update(torch.tensor([[[10.0, 10.0]]]), torch.tensor([0.8]), [7])
    >>> metric.compute()["AP"]
    tensor(0.5000, dtype=torch.float64)
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    rows: list[Tensor]

    def __init__(
        self,
        annotations: Sequence[Record],
        *,
        sigmas: Sequence[float] | Tensor,
        image_ids: Iterable[Any] | None = None,
        category_id: int = 1,
        max_detections: int = 20,
        nms_threshold: float | None = None,
    ) -> None:
        super().__init__(dist_sync_fn=gather_processes)
        name = type(self).__name__
        check_whole(name, "max_detections", max_detections, "be at least 1", least=1)
        self.sigmas = checked_sigmas(name, sigmas)
        true = annotated(name, annotations, len(self.sigmas))
        self.images = sorted(set(check_ids(name, "image_ids", true.image if image_ids is None else image_ids)))
        self.places = {image: place for place, image in enumerate(self.images)}
        known = np.array([place for place, image in enumerate(true.image) if image in self.places], dtype=np.int64)
        self.categories = np.unique(true.category) if len(true.category) else np.array([category_id])
        self.true = true.taken(known)
        self.category_id = category_id
        self.max_detections = max_detections
        self.nms_threshold = nms_threshold
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    def update(
        self,
        points: Tensor,
        scores: Tensor,
        image_ids: Sequence[Any] | Tensor,
        *,
        areas: Tensor | None = None,
        index: Tensor | None = None,
    ) -> None:
        """Adds poses.

        Args:
            points: (N, K, 2) in pixels of the images.
            scores: (N,), as from `oks.rescored`.
            image_ids: N ids.
            areas: (N,) of the boxes, for the suppression; needed with `nms_threshold`.
            index: (N,) whole numbers, the place of each pose in the whole set. None takes the order of arrival, which
                depends on the number of processes.

        Raises:
            ValueError: If a shape does not fit, an image is unknown, or areas are missing.
        """
        name = f"{type(self).__name__}.update"
        if points.ndim != 3 or points.shape[1:] != (len(self.sigmas), 2):
            raise ValueError(message(name, "points", f"be (N, {len(self.sigmas)}, 2)", tuple(points.shape)))
        if areas is None and self.nms_threshold is not None:
            remedy = "They say how alike two poses must be to be one; give those of the boxes."
            raise ValueError(message(name, "areas", "be given with nms_threshold", None, remedy))
        ids = as_array(image_ids).tolist() if isinstance(image_ids, Tensor) else list(image_ids)
        if len(ids) != len(points):
            raise ValueError(message(name, "image_ids", f"hold {len(points)} ids, one per pose", len(ids)))
        unknown = sorted({str(image) for image in ids if image not in self.places})
        if unknown:
            remedy = "Give the class all image_ids of the split."
            raise ValueError(message(name, "image_ids", "be of the split", ", ".join(unknown[:5]), remedy))
        places = torch.tensor([self.places[image] for image in ids])
        columns = {
            "index": torch.full_like(places, -1) if index is None else index,
            "image_ids": places,
            "scores": scores,
            "areas": torch.ones_like(places) if areas is None else areas,
        }
        for column, values in columns.items():
            if values.shape != points.shape[:1]:
                raise ValueError(message(name, column, f"be ({len(points)},), one per pose", tuple(values.shape)))
        fixed = torch.stack([values.to(points.device, torch.float64) for values in columns.values()], dim=1)
        self.rows.append(torch.cat([fixed, points.detach().double().flatten(1)], dim=1))

    def compute(self) -> dict[str, Tensor]:
        """The ten numbers over everything added, each a float64 scalar; -1 where one is undefined.

        Raises:
            ValueError: If a pose or its score is not finite.
        """
        width = NUM_FIXED + 2 * len(self.sigmas)
        # A list of batches; one tensor once processes are joined.
        rows = dim_zero_cat(self.rows).cpu() if len(self.rows) else torch.zeros(0, width, dtype=torch.float64)
        broken = ~rows.isfinite().all(dim=1)
        if bool(broken.any()):
            images = sorted({str(self.images[int(place)]) for place in rows[broken, 1]})
            got = f"{int(broken.sum())} poses that are not, on image {', '.join(images[:5])}"
            raise ValueError(message(f"{type(self).__name__}.compute", "points", "be finite, with their scores", got))
        rows = _in_order(rows)
        if self.nms_threshold is not None:
            points, places = rows[:, NUM_FIXED:].unflatten(1, (-1, 2)), rows[:, 1].long()
            poses = points, rows[:, 2], rows[:, 3], places
            kept = pose_nms(*poses, sigmas=self.sigmas.tolist(), threshold=self.nms_threshold)
            rows = rows[kept]
        found = self._detected(rows.numpy())
        curves = curves_of(
            type(self).__name__, self.true, found, self.categories, self.sigmas, max_detections=self.max_detections
        )
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in curves.summary().items()}

    def _detected(self, rows: np.ndarray) -> Detected:
        x, y = (np.ascontiguousarray(rows[:, NUM_FIXED + axis :: 2]) for axis in (0, 1))
        area = extent(x) * extent(y)
        image = [self.images[place] for place in rows[:, 1].astype(int).tolist()]
        category = np.full(len(rows), self.category_id)
        return Detected(image, category, x, y, np.ascontiguousarray(rows[:, 2]), area)


def _in_order(rows: Tensor) -> Tensor:
    """Rows by their index; of those with the same the first, but all that have none (−1)."""
    rows = rows[rows[:, 0].argsort(stable=True)]
    index = rows[:, 0]
    is_new = torch.ones(len(rows), dtype=torch.bool)
    is_new[1:] = (index[1:] != index[:-1]) | (index[1:] < 0)
    return rows[is_new]
