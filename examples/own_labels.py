"""Labels of your own: a DeepLabCut CSV to train on, a COCO JSON to score on, and a picture to predict, in seconds.

The labelled pictures are rendered faces, of which five points are taken; nothing else is particular to them.
"""

import csv
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2

from heatpoint.datasets import PointSet, read_coco, read_deeplabcut, synthetic_faces
from heatpoint.inference import Predictor
from heatpoint.recipes import DataConfig, OptimizationConfig, get_recipe
from heatpoint.training import fit
from heatpoint.transforms import box_of

# What a set of points needs beyond its names, once per project: lines to draw and who is whose mirror image.
NAMES = ["right_pupil", "left_pupil", "nose_tip", "right_mouth_corner", "left_mouth_corner"]
SKELETON = {"points": NAMES, "edges": [NAMES[:2], NAMES[3:]], "swap_pairs": [NAMES[:2], NAMES[3:]]}


def write_labels(folder: Path, faces: PointSet) -> None:
    rows = [["scorer", *["me"] * 10], ["bodyparts", *[n for n in NAMES for _ in "xy"]], ["coords", *["x", "y"] * 5]]
    coco, chosen = {"images": [], "annotations": []}, [faces.skeleton.names.index(name) for name in NAMES]
    for i, sample in enumerate(faces.samples):
        cv2.imwrite(str(folder / (file := f"{faces.split}{i}.png")), sample.image[..., ::-1])
        points = sample.points[chosen].tolist()
        if i % 4 == 0:  # In the CSV a point that was not labelled is two empty cells, in the JSON three zeros.
            points[i % 5] = ["", ""]
        rows.append([file, *[v for point in points for v in point]])
        keypoints = [v for x, y in points for v in ([x, y, 2] if x != "" else [0, 0, 0])]
        coco["images"] += [{"id": i, "file_name": file}]
        coco["annotations"] += [{"image_id": i, "keypoints": keypoints}]
    with (folder / f"{faces.split}.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    (folder / f"{faces.split}.json").write_text(json.dumps(coco))


with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    (skeleton := folder / "skeleton.json").write_text(json.dumps(SKELETON))
    write_labels(folder, synthetic_faces(160, split="train"))
    write_labels(folder, synthetic_faces(16, split="test"))
    train = read_deeplabcut(folder / "train.csv", skeleton, name="my_faces", split="all")
    test = read_coco(folder / "test.json", folder, skeleton, name="my_faces", split="test")
    recipe = replace(
        get_recipe("synthetic-log_score"),
        data=DataConfig(input=48, flip_test=False),
        optimization=OptimizationConfig(epochs=8, batch_size=8, learning_rate=3e-3, milestones=(0.7, 0.9)),
    )
    result = fit(recipe, out=folder / "run", train=train, test=test)
    print(f"{test}: error {result.scores['scores']['recipe']['nme']['box']:.1%} of the box")
    sample = test.samples[1]  # Its box is of the kind that the recipe was trained on: tight around the points.
    (found,) = Predictor.load(result.paths["best"])(sample.image, boxes=[box_of(sample, "P1")])
    for point, (x, y), true in zip(found.names, found.points, sample.points, strict=True):
        print(f"  {point:<20}{x:6.1f}{y:6.1f}   labelled {true[0]:6.1f}{true[1]:6.1f}")
