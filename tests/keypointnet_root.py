"""Writes a small part of KeypointNet in its published layout: mugs of 31 points."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from heatpoint.datasets.keypointnet import SYNSETS

SYNSET = "03797390"
IDS = {"aa": (0, 1, 2, 3), "bb": (2, 0, 5), "cc": (1, 3, 0), "dd": (0, 4)}
Change = Callable[[list[dict[str, Any]]], object]


def cloud_of(model: str) -> np.ndarray:
    return np.random.default_rng(list(model.encode())).integers(-400, 400, (31, 3)) / 1000


def record(model: str) -> dict[str, Any]:
    keypoints = [
        {
            # As published: more digits than the rows of the cloud have.
            "xyz": [v + 4e-7 for v in cloud_of(model)[7 * place]],
            "rgb": [1, 2, 3],
            "semantic_id": semantic,
            "pcd_info": {"point_index": 7 * place},
            "mesh_info": {"face_index": 0, "face_uv": [0.2, 0.4, 0.4]},
        }
        for place, semantic in enumerate(IDS[model])
    ]
    # Groups name places in the list of keypoints, not semantic ids.
    symmetries: dict[str, Any] = {"reflection": [], "rotation": []}
    if model == "cc":
        symmetries["reflection"] = [{"kp_indexes": [0, 1]}]
    if model == "bb":
        symmetries["rotation"] = [{"kp_indexes": [0, 2, 1], "is_circle": False, "circle": {}}]
    return {"class_id": SYNSET, "model_id": model, "keypoints": keypoints, "symmetries": symmetries}


def make_root(
    tmp_path: Path, *, change: Change | None = None, file: str = "all.json", clouds: str = "aa bb cc"
) -> Path:
    root = tmp_path / "keypointnet"
    for folder in ("annotations", f"pcds/{SYNSET}", "splits"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    records = [record(model) for model in IDS]
    records.insert(1, {"class_id": SYNSETS["chair"], "model_id": "aa", "keypoints": "of another category"})
    if change is not None:
        change(records)
    (root / "annotations" / file).write_text(json.dumps(records))
    for split, models in (("train", "aa bb dd"), ("val", "cc"), ("test", "")):
        lines = [f"{SYNSET}-{model}" for model in models.split()] + [f"{SYNSETS['chair']}-cc"]
        (root / "splits" / f"{split}.txt").write_text("\n".join(lines))
    for model in clouds.split():
        rows = "".join("{:.6f} {:.6f} {:.6f} 255\n".format(*row) for row in cloud_of(model))
        header = "VERSION .7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F U\nCOUNT 1 1 1 1\nPOINTS 31\nDATA ascii\n"
        (root / "pcds" / SYNSET / f"{model}.pcd").write_text(header + rows)
    return root
