"""Datasets: one file each, yielding `Sample`, `Scan` or `Cloud`; `DATASETS`, `SCANS` and `CLOUDS` name the readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from heatpoint.datasets.aflw import open_aflw, read_aflw
from heatpoint.datasets.aflw2000 import open_aflw2000, read_aflw2000
from heatpoint.datasets.cloud import Cloud, CloudSet, load_cloud
from heatpoint.datasets.coco import open_coco, read_coco, read_coco_detections
from heatpoint.datasets.cofw import open_cofw, read_cofw
from heatpoint.datasets.cofw68 import open_cofw68, read_cofw68, read_cofw68_annotations
from heatpoint.datasets.deeplabcut import open_mirror_mouse, open_openfield_mouse, read_deeplabcut
from heatpoint.datasets.dlib_xml import read_dlib_xml
from heatpoint.datasets.faces300vw import open_faces300vw, read_faces300vw
from heatpoint.datasets.faces300w import open_faces300w, open_w300, read_faces300w, read_pts, read_w300
from heatpoint.datasets.faces300wlp import open_faces300wlp, read_faces300wlp
from heatpoint.datasets.human36m import mpii_as_human36m, open_human36m, read_human36m
from heatpoint.datasets.humaneva import open_humaneva, read_humaneva
from heatpoint.datasets.irdlayers import open_irdlayers, read_irdlayers, unet_rows
from heatpoint.datasets.keypointnet import CATEGORIES as KEYPOINTNET
from heatpoint.datasets.keypointnet import read_keypointnet
from heatpoint.datasets.lapa import open_lapa, read_lapa
from heatpoint.datasets.lspet import open_lspet, read_lspet
from heatpoint.datasets.lspet_upright import open_lspet_upright
from heatpoint.datasets.mpii import open_mpii, read_mpii, read_mpii_json
from heatpoint.datasets.mpii_mat import read_mpii_mat
from heatpoint.datasets.mshc import open_mshc, read_control_points, read_mshc
from heatpoint.datasets.mtfl import open_mtfl, read_mtfl
from heatpoint.datasets.nr206 import open_nr206, read_nr206
from heatpoint.datasets.pts import read_pts_folder
from heatpoint.datasets.rathke import open_rathke, read_rathke
from heatpoint.datasets.sample import (
    PointSet,
    Sample,
    grouped_split,
    load_image,
    require_folder,
    resolve_data_root,
)
from heatpoint.datasets.scan import Scan, ScanSet, load_scan
from heatpoint.datasets.scan_table import read_scan_table
from heatpoint.datasets.spectralis_vol import VolSlice, read_vol_header, read_vol_lines
from heatpoint.datasets.synthetic import open_synthetic_faces, render_face, synthetic_faces
from heatpoint.datasets.synthetic_bodies import open_synthetic_bodies, render_body, synthetic_bodies
from heatpoint.datasets.synthetic_clouds import CATEGORIES as SYNTHETIC_CLOUDS
from heatpoint.datasets.synthetic_clouds import synthetic_clouds
from heatpoint.datasets.synthetic_scans import open_synthetic_scans, render_scan, synthetic_scans
from heatpoint.datasets.wflw import open_wflw, read_wflw

DATASETS: dict[str, Callable[[Path | str | None, str], PointSet]] = {
    "aflw": open_aflw,
    "aflw2000": open_aflw2000,
    "coco": open_coco,
    "cofw": open_cofw,
    "cofw68": open_cofw68,
    "faces300vw": open_faces300vw,
    "faces300w": open_faces300w,
    "faces300wlp": open_faces300wlp,
    "human36m": open_human36m,
    "lapa": open_lapa,
    "lspet": open_lspet,
    "lspet_upright": open_lspet_upright,
    "mirror_mouse": open_mirror_mouse,
    "mpii": open_mpii,
    "mtfl": open_mtfl,
    "openfield_mouse": open_openfield_mouse,
    "synthetic_bodies": open_synthetic_bodies,
    "synthetic_faces": open_synthetic_faces,
    "w300": open_w300,
    "wflw": open_wflw,
}

SCANS: dict[str, Callable[..., ScanSet]] = {
    "irdlayers": open_irdlayers,
    "mshc": open_mshc,
    "nr206": open_nr206,
    "rathke": open_rathke,
    "synthetic_scans": open_synthetic_scans,
}

CLOUDS: dict[str, Callable[..., CloudSet]] = {**KEYPOINTNET, **SYNTHETIC_CLOUDS}

__all__ = [
    "CLOUDS",
    "DATASETS",
    "SCANS",
    "Cloud",
    "CloudSet",
    "PointSet",
    "Sample",
    "Scan",
    "ScanSet",
    "VolSlice",
    "grouped_split",
    "load_cloud",
    "load_image",
    "load_scan",
    "mpii_as_human36m",
    "open_humaneva",
    "read_aflw",
    "read_aflw2000",
    "read_coco",
    "read_coco_detections",
    "read_cofw",
    "read_cofw68",
    "read_cofw68_annotations",
    "read_control_points",
    "read_deeplabcut",
    "read_dlib_xml",
    "read_faces300vw",
    "read_faces300w",
    "read_faces300wlp",
    "read_human36m",
    "read_humaneva",
    "read_irdlayers",
    "read_keypointnet",
    "read_lapa",
    "read_lspet",
    "read_mpii",
    "read_mpii_json",
    "read_mpii_mat",
    "read_mshc",
    "read_mtfl",
    "read_nr206",
    "read_pts",
    "read_pts_folder",
    "read_rathke",
    "read_scan_table",
    "read_vol_header",
    "read_vol_lines",
    "read_w300",
    "read_wflw",
    "render_body",
    "render_face",
    "render_scan",
    "require_folder",
    "resolve_data_root",
    "synthetic_bodies",
    "synthetic_clouds",
    "synthetic_faces",
    "synthetic_scans",
    "unet_rows",
]
