"""Faults planted in copies of real sets: each found by itself, all found in one run, and nothing found on the clean copy."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from conftest import SHARED
from heatpoint.checking import Report, check, open_data
from heatpoint.datasets import DATASETS, Sample, load_image, read_pts
from heatpoint.skeleton import load_skeleton

# In frame img0102 of the public set the ears are exchanged: it is no part of a clean copy.
FRAMES = {"train": range(0, 60, 2), "test": range(70, 88, 2)}


class Mice:
    """A COCO-style set made from the open-field mouse: two files, one skeleton file, images at half their size, linked."""

    def __init__(self, folder: Path, samples: list[Sample]) -> None:
        self.folder = folder
        self.files: dict[str, dict[str, Any]] = {}
        self.skeleton = {
            "points": ["snout", "leftear", "rightear", "tailbase"],
            "edges": [["snout", "leftear"], ["snout", "rightear"]],
            "swap_pairs": [["leftear", "rightear"]],
            "sigmas": [0.03, 0.04, 0.05, 0.06],
            "normalizers": {"box": "box"},
        }
        for split, numbers in FRAMES.items():
            images, annotations = [], []
            for number in numbers:
                sample = samples[number]
                (folder / split).mkdir(exist_ok=True, parents=True)
                source = Path(str(sample.image))
                (folder / split / source.name).symlink_to(source)
                images.append({"id": number, "file_name": f"{split}/{source.name}", "width": 256, "height": 192})
                rows = [[float(x), float(y), 2] for x, y in sample.points]
                low = np.maximum(sample.points.min(axis=0) - 6, 0)
                sides = np.minimum(sample.points.max(axis=0) + 6, [255, 191]) - low + 1
                annotations.append(
                    {
                        "id": 500 + number,
                        "image_id": number,
                        "category_id": 1,
                        "iscrowd": 0,
                        "num_keypoints": 4,
                        "keypoints": [v for row in rows for v in row],
                        "bbox": [*low.tolist(), *sides.tolist()],
                        "area": 0.5 * float(sides.prod()),
                    }
                )
            category = {"id": 1, "name": "mouse", "keypoints": self.skeleton["points"], "skeleton": [[1, 2], [1, 3]]}
            self.files[split] = {"images": images, "annotations": annotations, "categories": [category]}

    def record(self, place: int, split: str = "train") -> dict[str, Any]:
        return dict.__getitem__(self.files[split], "annotations")[place]

    def image(self, place: int, split: str = "train") -> Path:
        return self.folder / self.files[split]["images"][place]["file_name"]

    def check(self) -> Report:
        for split, content in self.files.items():
            (self.folder / f"{split}.json").write_text(json.dumps(content))
        (self.folder / "skeleton.json").write_text(json.dumps(self.skeleton))
        return check(open_data(self.folder, skeleton=self.folder / "skeleton.json"))


def replace_file(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def swap_ears(mice: Mice) -> None:
    values = mice.record(3)["keypoints"]
    values[3:6], values[6:9] = values[6:9], values[3:6]


def near_copy(mice: Mice) -> None:
    picture = cv2.imread(str(mice.image(5)))
    replace_file(mice.image(2, "test"), cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 70])[1].tobytes())


def twice(mice: Mice) -> None:
    mice.files["test"]["annotations"].append({**mice.record(0, "test"), "id": 9001})


def point_to(place: int, values: list[float]) -> Callable[[Mice], None]:
    def plant(mice: Mice) -> None:
        mice.record(place)["keypoints"][9:12] = values

    return plant


def set_to(place: int, key: str, value: Any) -> Callable[[Mice], None]:
    def plant(mice: Mice) -> None:
        mice.record(place)[key] = value

    return plant


def collapse(mice: Mice) -> None:
    mice.record(20)["keypoints"] = [100.0, 75.0, 2] * 4


def unlabel(mice: Mice) -> None:
    mice.record(6, "test").update(keypoints=[0, 0, 0] * 4, num_keypoints=4)


def truncate(path: Path) -> None:
    replace_file(path, path.read_bytes()[:3000])


# Name -> (what is planted, the kinds that it is found as, what the finding says).
MICE_FAULTS: dict[str, tuple[Callable[[Mice], Any], set[str], str]] = {
    "missing image": (lambda m: m.image(0).unlink(), {"missing_image"}, "img0000.jpg is missing"),
    "truncated image": (lambda m: truncate(m.image(1)), {"unreadable_image"}, "img0002.jpg is truncated"),
    "text for an image": (
        lambda m: replace_file(m.image(1, "test"), b"not found"),
        {"unreadable_image"},
        "img0072.jpg is no readable image",
    ),
    "wrong size": (
        lambda m: m.files["train"]["images"][4].update(width=320),
        {"image_size"},
        "img0008.jpg is 256 x 192, ",
    ),
    "point outside": (
        point_to(7, [310.0, 50.0, 2]),
        {"point_outside", "points_outside_box"},
        "tailbase (310.0, 50.0)",
    ),
    "absurd point": (point_to(8, [1e7, 0.0, 2]), {"absurd_coordinates", "points_outside_box"}, "annotation 516 "),
    "NaN": (
        point_to(9, [math.nan, 40.0, 2]),
        {"not_finite"},
        "annotation 518 has 1 points that are not finite: tailbase",
    ),
    "swapped ears": (swap_ears, {"swapped_pairs"}, "annotation 506 (train/img0006.jpg) has all left and right points"),
    "copied across": (
        lambda m: replace_file(m.image(3, "test"), m.image(10).read_bytes()),
        {"duplicate_across_splits"},
        "img0076.jpg has the same bytes as ",
    ),
    "encoded again across": (near_copy, {"near_duplicate_across_splits"}, "img0074.jpg looks the same as "),
    "record twice": (twice, {"duplicate_record"}, "annotation 9001 (test/img0070.jpg) has the image and the points of"),
    "id twice": (set_to(11, "id", 520), {"duplicate_id"}, "annotation 520 has the id of the record at place 10"),
    "image id twice": (
        lambda m: m.files["test"]["images"].append(dict(m.files["test"]["images"][4])),
        {"duplicate_id"},
        "image 78 (test/img0078.jpg) has the id of",
    ),
    "empty box": (
        set_to(12, "bbox", [10.0, 10.0, 0.0, 40.0]),
        {"empty_box"},
        "annotation 524 has the bbox [10.0, 10.0, 0.0",
    ),
    "box outside": (
        set_to(16, "bbox", [300.0, 20.0, 40.0, 40.0]),
        {"box_outside", "points_outside_box"},
        "wholly outside the 256 x 192 image",
    ),
    "area 0": (
        set_to(1, "area", 0),
        {"area"},
        "annotation 502 (train/img0002.jpg) has the area 0, so its similarity is 0",
    ),
    "area too large": (set_to(17, "area", 1e9), {"area"}, "points half a box away give the similarity 1.00"),
    "no area": (lambda m: m.record(21).pop("area"), {"area"}, "annotation 542 has no area, as other records do"),
    "keypoint count": (
        set_to(18, "keypoints", [1, 2, 2] * 3),
        {"keypoint_count"},
        "annotation 536 must hold 3 x 4 keypoint numbers, got 9",
    ),
    "unknown image": (set_to(14, "image_id", 77), {"unknown_image"}, "refers to the image 77, which is not listed"),
    "visibility 3": (
        lambda m: m.record(15)["keypoints"].__setitem__(11, 3),
        {"visibility_flag"},
        "has the visibilities 3; 0, 1 and 2 exist",
    ),
    "nothing labelled": (
        unlabel,
        {"no_visible_point", "num_keypoints"},
        "annotation 582 states 4 labelled points and has 0",
    ),
    "points in one place": (collapse, {"collapsed_points", "points_outside_box"}, "has all 4 points at (100.0, 75.0)"),
    "unknown category": (set_to(19, "category_id", 3), {"category"}, "annotation 538 has the unknown category 3"),
    "renamed point": (
        lambda m: m.files["test"]["categories"][0].update(keypoints=["nose", "leftear", "rightear", "tailbase"]),
        {"category"},
        "names its points otherwise than the skeleton ('nose' for 'snout')",
    ),
    "edge out of range": (
        lambda m: m.files["test"]["categories"][0].update(skeleton=[[1, 5]]),
        {"skeleton"},
        "has the edge [1, 5], which must join two of the points 1 to 4",
    ),
    "shared partner": (
        lambda m: m.skeleton["swap_pairs"].append(["leftear", "snout"]),
        {"skeleton"},
        "swap pairs (1, 2) and (1, 0) share 'leftear', but a point has one mirror partner",
    ),
    "sigma 0": (
        lambda m: m.skeleton.update(sigmas=[0.0, 0.1, 0.1, 0.2]),
        {"sigmas"},
        "skeleton.json: sigmas has a fault: sigmas must be finite and greater than 0",
    ),
}


@pytest.fixture(scope="module")
def small_frames(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """The frames and points of the open-field mouse, at half their size."""
    root = Path(os.environ.get("HEATPOINT_DATA") or SHARED / "data")
    if not (root / "animals").is_dir():
        pytest.skip("real data is absent: set HEATPOINT_DATA to a folder that holds animals, …")
    folder = tmp_path_factory.mktemp("frames")
    small = []
    for sample in (s for split in ("train", "test") for s in DATASETS["openfield_mouse"](root, split).samples):
        path = folder / Path(str(sample.image)).name
        halved = cv2.resize(load_image(sample)[..., ::-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(path), halved)
        small.append(replace(sample, image=path, points=(sample.points - 0.5) / 2))
    return small


@pytest.fixture
def mice(tmp_path: Path, small_frames: list[Sample]) -> Mice:
    return Mice(tmp_path / "mice", small_frames)


def test_a_clean_copy_of_a_coco_set_has_no_faults(mice: Mice) -> None:
    report = mice.check()
    assert [str(finding) for finding in report.findings] == []
    assert report.splits == {"test": {"samples": 9, "images": 9}, "train": {"samples": 30, "images": 30}}


@pytest.mark.parametrize("name", MICE_FAULTS)
def test_each_fault_of_a_coco_set_is_found(name: str, mice: Mice) -> None:
    plant, kinds, text = MICE_FAULTS[name]
    plant(mice)
    report = mice.check()
    # Without sigmas that hold, the areas are still looked at.
    extra = {"sigmas"} if name == "sigma 0" else set()
    assert {finding.kind for finding in report.findings} == kinds | extra
    assert any(text in str(finding) for finding in report.findings), [str(f) for f in report.findings]


def test_all_faults_of_a_coco_set_are_found_in_one_run(mice: Mice) -> None:
    for plant, _, _ in MICE_FAULTS.values():
        plant(mice)
    report = mice.check()
    said = "\n".join(str(finding) for finding in report.findings)
    # Without sigmas no similarity can be computed from an area: the faults of the skeleton hide this one.
    assert [name for name, (_, _, text) in MICE_FAULTS.items() if text not in said] == ["area too large"], said
    kinds = {kind for _, planted, _ in MICE_FAULTS.values() for kind in planted}
    assert {finding.kind for finding in report.findings} == kinds
    assert len(kinds) >= 20
    assert report.num_errors > 20


class Faces:
    """A copy of parts of 300-W, in its own folders."""

    def __init__(self, root: Path, data_root: Path) -> None:
        self.root = root
        for folder, number in (("helen/trainset", 18), ("afw", 4), ("helen/testset", 8)):
            (root / "faces300w" / folder).mkdir(parents=True)
            for path in sorted((data_root / "faces300w" / folder).glob("*.pts"))[:number]:
                for file in (path, path.with_suffix(".jpg")):
                    shutil.copy(file, root / "faces300w" / folder / file.name)

    def pts(self, place: int, folder: str = "helen/trainset") -> Path:
        return sorted((self.root / "faces300w" / folder).glob("*.pts"))[place]

    def check(self) -> Report:
        return check(open_data("faces300w", data_root=self.root))


def write_pts(path: Path, points: np.ndarray) -> None:
    lines = "\n".join(f"{x + 1:.4f} {y + 1:.4f}" for x, y in points)
    path.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{lines}\n}}\n")


def move(place: int, index: int, to: tuple[float, float]) -> Callable[[Faces], None]:
    def plant(faces: Faces) -> None:
        points = read_pts(faces.pts(place))
        points[index] = to
        write_pts(faces.pts(place), points)

    return plant


def reorder(place: int, pairs: list[tuple[int, int]] | None) -> Callable[[Faces], None]:
    def plant(faces: Faces) -> None:
        points = read_pts(faces.pts(place))
        for a, b in pairs or load_skeleton("face68").swap_pairs:
            points[[a, b]] = points[[b, a]]
        write_pts(faces.pts(place), points)

    return plant


def text_in_pts(place: int, text: str) -> Callable[[Faces], None]:
    def plant(faces: Faces) -> None:
        faces.pts(place).write_text(text)

    return plant


def copied(faces: Faces, *, again: bool) -> None:
    """A training face in the test: its bytes, or encoded again at another size."""
    source = faces.pts(11 + again).with_suffix(".jpg")
    target = faces.pts(4 + again, "helen/testset").with_suffix(".jpg")
    content = source.read_bytes()
    if again:
        content = cv2.imencode(".jpg", cv2.imread(str(source)), [cv2.IMWRITE_JPEG_QUALITY, 75])[1].tobytes()
    size = cv2.imread(str(target)).shape
    target.write_bytes(content)
    points = read_pts(target.with_suffix(".pts"))
    scale = np.array(cv2.imread(str(target)).shape[1::-1]) / np.array(size[1::-1])
    write_pts(target.with_suffix(".pts"), points * scale)


def face_twice(faces: Faces) -> None:
    for ending in (".pts", ".jpg"):
        path = faces.pts(1, "afw").with_suffix(ending)
        shutil.copy(path, path.with_stem("zz_copy"))


FACE_FAULTS: dict[str, tuple[Callable[[Faces], Any], set[str], str]] = {
    "missing image": (lambda f: f.pts(0).with_suffix(".jpg").unlink(), {"missing_image"}, "has no image beside it"),
    "truncated image": (
        lambda f: f.pts(1).with_suffix(".jpg").write_bytes(f.pts(1).with_suffix(".jpg").read_bytes()[:5000]),
        {"unreadable_image"},
        ".jpg is truncated",
    ),
    "empty image": (
        lambda f: f.pts(2).with_suffix(".jpg").write_bytes(b""),
        {"unreadable_image"},
        ".jpg is no readable image",
    ),
    "67 points": (
        lambda f: write_pts(f.pts(3), read_pts(f.pts(3))[:67]),
        {"keypoint_count"},
        "must hold 68 points, got 67",
    ),
    "NaN": (move(4, 30, (math.nan, 5.0)), {"not_finite"}, "holds points that are not finite"),
    "no braces": (text_in_pts(5, "1 2\n3 4\n"), {"broken_record"}, "has no list of points between braces"),
    "a word": (text_in_pts(6, "n_points: 1\n{\n1 two\n}\n"), {"broken_record"}, "must hold two numbers per point"),
    "point outside": (move(7, 8, (-80.0, 20.0)), {"point_outside"}, "1 of 68 points outside"),
    "absurd point": (move(8, 8, (-9e5, 20.0)), {"absurd_coordinates"}, "has 1 points far from"),
    "mirrored labels": (reorder(9, None), {"swapped_pairs"}, "has all left and right points exchanged"),
    "eye corners": (reorder(10, [(36, 45)]), {"swapped_pairs"}, "has right_eye_0 and left_eye_3 exchanged"),
    "copied across": (lambda f: copied(f, again=False), {"duplicate_across_splits"}, "has the same bytes as "),
    "encoded again across": (
        lambda f: copied(f, again=True),
        {"near_duplicate_across_splits"},
        "looks the same as ",
    ),
    "face twice": (
        face_twice,
        {"duplicate_record", "duplicate_image"},
        "afw/zz_copy has the image and the points of afw/",
    ),
    "points in one place": (
        lambda f: write_pts(f.pts(13), np.full((68, 2), 50.0)),
        {"collapsed_points"},
        "has all 68 points at (50.0, 50.0)",
    ),
    "image without points": (
        lambda f: f.pts(14).unlink(),
        {"image_without_points"},
        "has no .pts file beside it",
    ),
}


@pytest.fixture
def faces(tmp_path: Path, data_root: Path) -> Faces:
    return Faces(tmp_path, data_root)


def test_a_clean_copy_of_300w_has_no_faults(faces: Faces) -> None:
    report = faces.check()
    assert [str(finding) for finding in report.findings] == []
    assert report.splits == {"train": {"samples": 22, "images": 22}, "test": {"samples": 8, "images": 8}}


@pytest.mark.parametrize("name", ["67 points", "no braces", "eye corners", "face twice", "image without points"])
def test_each_fault_of_300w_is_found(name: str, faces: Faces) -> None:
    plant, kinds, text = FACE_FAULTS[name]
    plant(faces)
    report = faces.check()
    assert {finding.kind for finding in report.findings} == kinds
    assert any(text in str(finding) for finding in report.findings), [str(f) for f in report.findings]


def test_all_faults_of_300w_are_found_in_one_run(faces: Faces) -> None:
    places = [faces.pts(place) for place in range(15)]
    faces.pts = lambda place, folder="": places[place] if not folder else Faces.pts(faces, place, folder)  # type: ignore[method-assign]
    for plant, _, _ in FACE_FAULTS.values():
        plant(faces)
    report = faces.check()
    said = "\n".join(str(finding) for finding in report.findings)
    assert [name for name, (_, _, text) in FACE_FAULTS.items() if text not in said] == [], said
    assert {kind for _, kinds, _ in FACE_FAULTS.values() for kind in kinds} == {f.kind for f in report.findings}
