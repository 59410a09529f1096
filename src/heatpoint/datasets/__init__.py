"""Datasets: one file each, all yielding the same `Sample`; `DATASETS` names the readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from heatpoint.datasets.faces300w import faces300w, read_faces300w, read_pts
from heatpoint.datasets.sample import (
    PointSet,
    Sample,
    grouped_split,
    load_image,
    require_folder,
    resolve_data_root,
)

DATASETS: dict[str, Callable[[Path, str], PointSet]] = {
    "faces300w": faces300w,
}

__all__ = [
    "DATASETS",
    "PointSet",
    "Sample",
    "faces300w",
    "grouped_split",
    "load_image",
    "read_faces300w",
    "read_pts",
    "require_folder",
    "resolve_data_root",
]
