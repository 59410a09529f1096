"""COCO's result records: made of predicted poses, and read back with every fault found."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from heatpoint._checks import message
from heatpoint.metrics._coco_faults import check_ids
from heatpoint.metrics._coco_records import Floats, as_array, detected


def to_results(
    points: Tensor | Floats,
    scores: Tensor | Floats,
    image_ids: Iterable[Any],
    *,
    confidence: Tensor | Floats | None = None,
    category_id: int = 1,
) -> list[dict[str, Any]]:
    """COCO result records of predicted poses, ready for `json.dump`.

    Args:
        points: (N, K, 2) in pixels of the images, the first pixel's centre at 0.
        scores: (N,).
        image_ids: N ids.
        confidence: (N, K), the third number of every point; None writes 1. The scores do not look at it.
        category_id: 1 is a person in COCO.

    Raises:
        ValueError: If a shape does not fit, or a number is not finite.

    >>> to_results(np.array([[[1.0, 2.0]]]), np.array([0.5]), [7])
    [{'image_id': 7, 'category_id': 1, 'keypoints': [1.0, 2.0, 1.0], 'score': 0.5}]
    """
    found, certain = as_array(points), as_array(scores)
    ids = check_ids(
        "to_results", "image_ids", as_array(image_ids).tolist() if isinstance(image_ids, Tensor) else image_ids
    )
    if found.ndim != 3 or found.shape[-1] != 2:
        raise ValueError(message("to_results", "points", "be (N, K, 2)", found.shape))
    third = np.ones(found.shape[:2]) if confidence is None else as_array(confidence)
    for name, values, shape in (("scores", certain, found.shape[:1]), ("confidence", third, found.shape[:2])):
        if values.shape != shape:
            raise ValueError(message("to_results", name, f"be {shape}", values.shape))
    if len(ids) != len(found):
        raise ValueError(message("to_results", "image_ids", f"hold {len(found)} ids, one per pose", len(ids)))
    keypoints = np.concatenate([found, third[..., None]], axis=-1).reshape(len(found), -1).astype(np.float64)
    broken = np.flatnonzero(~np.isfinite(keypoints).all(axis=1) | ~np.isfinite(certain))
    if len(broken):
        got = f"{len(broken)} poses that are not, the first number {broken[0]} on image {ids[broken[0]]!r}"
        raise ValueError(message("to_results", "points", "be finite, with scores and confidence", got))
    rows = zip(ids, keypoints.tolist(), certain.astype(np.float64).tolist(), strict=True)
    return [{"image_id": i, "category_id": category_id, "keypoints": k, "score": s} for i, k, s in rows]


def read_results(path: str | Path, *, num_points: int, image_ids: Iterable[Any] | None = None) -> list[dict[str, Any]]:
    """Reads COCO results back from a JSON file, and checks every record.

    Args:
        path: The file.
        num_points: K, points of a pose.
        image_ids: The images of the set; a detection of another is faulty. None lets all pass.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a JSON list; or, in one line, for all broken records.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(message("read_results", "path", "be an existing file", path))
    remedy = "Give a file of COCO results, a list of records."
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(message("read_results", "path", "hold JSON", f"{path} ({error})", remedy)) from None
    if not isinstance(records, list):
        raise ValueError(message("read_results", "path", "hold a list", f"{type(records).__name__} in {path}", remedy))
    detected(f"read_results({path.name})", records, num_points, image_ids)
    return records
