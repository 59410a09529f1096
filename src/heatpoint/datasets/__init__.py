"""Datasets: one file each, all yielding the same `Sample`; `DATASETS` names the readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from heatpoint.datasets.coco import coco, read_coco
from heatpoint.datasets.deeplabcut import mirror_mouse, openfield_mouse, read_deeplabcut
from heatpoint.datasets.faces300w import faces300w, read_faces300w, read_pts
from heatpoint.datasets.mtfl import mtfl, read_mtfl
from heatpoint.datasets.sample import (
    PointSet,
    Sample,
    grouped_split,
    load_image,
    require_folder,
    resolve_data_root,
)
from heatpoint.datasets.synthetic import render_face, synthetic, synthetic_faces

DATASETS: dict[str, Callable[[Path | str | None, str], PointSet]] = {
    "coco": coco,
    "faces300w": faces300w,
    "mirror_mouse": mirror_mouse,
    "mtfl": mtfl,
    "openfield_mouse": openfield_mouse,
    "synthetic_faces": synthetic,
}

__all__ = [
    "DATASETS",
    "PointSet",
    "Sample",
    "grouped_split",
    "load_image",
    "read_coco",
    "read_deeplabcut",
    "read_faces300w",
    "read_mtfl",
    "read_pts",
    "render_face",
    "require_folder",
    "resolve_data_root",
    "synthetic_faces",
]
