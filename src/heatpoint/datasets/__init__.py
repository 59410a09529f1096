"""Datasets: one file each, all yielding the same `Sample`; `DATASETS` names the readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from heatpoint.datasets.coco import open_coco, read_coco
from heatpoint.datasets.deeplabcut import open_mirror_mouse, open_openfield_mouse, read_deeplabcut
from heatpoint.datasets.faces300w import open_faces300w, read_faces300w, read_pts
from heatpoint.datasets.lspet import open_lspet, read_lspet
from heatpoint.datasets.mtfl import open_mtfl, read_mtfl
from heatpoint.datasets.sample import (
    PointSet,
    Sample,
    grouped_split,
    load_image,
    require_folder,
    resolve_data_root,
)
from heatpoint.datasets.synthetic import open_synthetic_faces, render_face, synthetic_faces

DATASETS: dict[str, Callable[[Path | str | None, str], PointSet]] = {
    "coco": open_coco,
    "faces300w": open_faces300w,
    "lspet": open_lspet,
    "mirror_mouse": open_mirror_mouse,
    "mtfl": open_mtfl,
    "openfield_mouse": open_openfield_mouse,
    "synthetic_faces": open_synthetic_faces,
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
    "read_lspet",
    "read_mtfl",
    "read_pts",
    "render_face",
    "require_folder",
    "resolve_data_root",
    "synthetic_faces",
]
