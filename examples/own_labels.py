"""Points of one's own, in two common forms: DeepLabCut's CSV and COCO's JSON read as the same kind of set.

Labels one small picture in both forms in a temporary folder, reads both, and cuts the network's input from either.
"""

import json
import tempfile
from pathlib import Path

import cv2
import numpy as np

from heatpoint.datasets import read_coco, read_deeplabcut
from heatpoint.transforms import make_example

NAMES = ["nose", "left_ear", "right_ear", "tail"]
POINTS = np.array([[20.5, 30.0], [28.0, 24.5], [28.25, 35.5], [70.0, 30.25]])
# What a set of points needs beyond its names, once per project: lines to draw and who is whose mirror image.
SKELETON = {"points": NAMES, "edges": [["nose", "tail"]], "swap_pairs": [["left_ear", "right_ear"]]}


def write_labels(folder: Path) -> None:
    cv2.imwrite(str(folder / "mouse.png"), np.full((60, 90, 3), 127, np.uint8))
    (folder / "skeleton.json").write_text(json.dumps(SKELETON))
    rows = [["scorer", *["me"] * 8], ["bodyparts", *[n for n in NAMES for _ in "xy"]], ["coords", *["x", "y"] * 4]]
    # The tail was not labelled: its two cells are empty.
    rows.append(["mouse.png", *[str(v) for v in POINTS[:3].ravel()], "", ""])
    (folder / "labels.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    keypoints = [v for x, y in POINTS[:3] for v in (x, y, 2)] + [0, 0, 0]
    coco = {
        "images": [{"id": 1, "file_name": "mouse.png", "width": 90, "height": 60}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "keypoints": keypoints, "bbox": [10, 15, 70, 30]}],
        "categories": [{"id": 1, "name": "mouse", "keypoints": NAMES}],
    }
    (folder / "labels.json").write_text(json.dumps(coco))


with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    write_labels(folder)
    sets = [
        read_deeplabcut(folder / "labels.csv", folder / "skeleton.json", name="my_csv"),
        read_coco(folder / "labels.json", folder, folder / "skeleton.json", name="my_json"),
    ]
    for point_set in sets:
        sample = point_set.samples[0]
        print(f"{point_set}\n  visible: {dict(zip(NAMES, sample.visible.tolist(), strict=True))}")
        # The tight box of the visible points, a quarter larger, on an input of 64 x 64 pixels.
        example = make_example(sample, size=64, policy="P1", padding=1.25, skeleton=point_set.skeleton)
        back = example.frame.to_image(example.points[example.visible].double().numpy())
        # Points are handed to the network as float32, which is what is left of the way there and back.
        print(f"  way to the input and back: {np.abs(back - POINTS[:3]).max():.0e} px")
