"""KeypointNet: clouds of 2048 points of ShapeNet's models in 16 categories, with semantic keypoints that are rows of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from heatpoint._checks import message, one_of
from heatpoint.datasets.cloud import SAME_PLACE, Cloud, CloudSet, load_cloud
from heatpoint.datasets.sample import check_split, require_folder, resolve_data_root, settle
from heatpoint.frames import FloatArray
from heatpoint.skeleton import Skeleton

# ShapeNet's synsets, as the benchmark of KeypointNet names them.
SYNSETS = {
    "airplane": "02691156", "bathtub": "02808440", "bed": "02818832", "bottle": "02876657", "cap": "02954340",
    "car": "02958343", "chair": "03001627", "guitar": "03467517", "helmet": "03513137", "knife": "03624134",
    "laptop": "03642806", "motorcycle": "03790512", "mug": "03797390", "skateboard": "04225987", "table": "04379243",
    "vessel": "04530566",
}  # fmt: skip
SPLITS = ("train", "val", "test", "all")
FOLDERS = ("keypointnet", "pointcloud_keypointnet")
GET = (
    "Get annotations, pcds.zip and splits from github.com/qq456cvb/KeypointNet; the folder must hold annotations/all.json or "
    "annotations/CATEGORY.json, pcds/SYNSET/MODEL.pcd and splits/{train,val,test}.txt."
)
REMEDY = f"Correct or leave out what is named. {GET}"
MOST_KEYPOINTS = 256
MOST_NUMBER = 2**31


@dataclass(frozen=True)
class _Record:
    """One model of the annotations, checked as far as it can be without its cloud."""

    model: str
    xyz: FloatArray
    semantic: tuple[int, ...]
    rows: tuple[int, ...]
    reflections: tuple[tuple[int, ...], ...]
    rotations: tuple[tuple[int, ...], ...]
    is_circle: bool


def read_keypointnet(root: Path | str, category: str, split: str, *, problems: list[str] | None = None) -> CloudSet:
    """Reads a category of KeypointNet; keypoint k of the set is semantic id k, in every split.

    The number of keypoints is one more than the greatest semantic id in the annotations of the category, as in the published
    benchmark; a model lacks many of them, and these are not visible. The set publishes no names: keypoint k is "keypoint_k".
    A semantic id never stands twice in a model. Symmetric places have ids of their own: the pairs that the set calls
    reflections become the skeleton's mirror partners, its rotation groups `Cloud.rotations`, and where all of them are circles
    `Cloud.is_circle`; which member of such a group is the first is an accident, which the benchmark forgives by taking the best
    of the turned labels (`metrics.turned_labels`).

    Coordinates are those of the files, as is ShapeNet's habit: the diagonal of the bounding box is about 1. In these units
    the published benchmark measures its errors (its `normalize_pc` is off), so 0.01 is a hundredth of the diagonal.

    Args:
        root: The folder that holds annotations/, pcds/ and splits/. Of the annotations <category>.json is read, else all.json,
            else the first <category>_*.json, a part of them: where it lacks the greatest id, there are fewer keypoints.
        category: One of the 16 names, "airplane" to "vessel".
        split: "train", "val" or "test" as in splits/, or "all": every annotated model.
        problems: None to raise; a list to append all problems to, models without a cloud too.

    Returns:
        The models of the split whose clouds are there; `protocol` says how many have none.

    Raises:
        FileNotFoundError: If the folder, the annotations, or all clouds of the split are missing.
        ValueError: If category or split is unknown or a file is not of its kind; or, in one line, for all broken records.
    """
    one_of("keypointnet", "category", category, SYNSETS)
    check_split("keypointnet", split, SPLITS)
    root = require_folder("keypointnet", Path(root), get=GET)
    path = _annotations(root, category)
    found: list[str] = []
    records = _records(path, category, found)
    if not records:
        settle("keypointnet", found, None, REMEDY)
    skeleton = _skeleton(records)
    wanted = set(records) if split == "all" else _listed(root / "splits" / f"{split}.txt", category)
    chosen = [record for model, record in records.items() if model in wanted]
    clouds = root / "pcds" / SYNSETS[category]
    there = [record for record in chosen if (clouds / f"{record.model}.pcd").is_file()]
    lacking = f"{len(chosen) - len(there)} of {len(chosen)}"
    if not there and not found:
        got = f"none for {len(chosen)} models of split {split} in {clouds}"
        if not chosen:
            got = f"no model of {category} ({SYNSETS[category]}) in {root / 'splits' / f'{split}.txt'} that {path.name} has"
        raise FileNotFoundError(message("keypointnet", "clouds", "be existing files", got, GET))
    if len(there) < len(chosen) and problems is not None:
        problems.append(f"{lacking} models of split {split} have no cloud in {clouds} and are left out")
    samples = [
        _sample(record, clouds / f"{record.model}.pcd", category, skeleton.num_points, path, found) for record in there
    ]
    settle("keypointnet", found, problems, REMEDY)
    protocol = {
        "annotations": path.name,
        "category": category,
        "keypoints_of_category": skeleton.num_points,
        "models_without_cloud": len(chosen) - len(there),
        "units": "of the files: the diagonal of the bounding box is about 1",
        "keypoints": "rows of the cloud; ids a model lacks are not visible",
    }
    found_samples = tuple(sample for sample in samples if sample is not None)
    return CloudSet(f"keypointnet_{category}", split, skeleton, found_samples, protocol)


def open_keypointnet(
    data_root: Path | str | None, split: str, *, category: str, problems: list[str] | None = None
) -> CloudSet:
    """A category of KeypointNet under `data_root`/keypointnet; see `read_keypointnet`."""
    root = resolve_data_root(data_root)
    folder = next((root / name for name in FOLDERS if (root / name).is_dir()), root / FOLDERS[0])
    return read_keypointnet(folder, category, split, problems=problems)


CATEGORIES = {f"keypointnet_{category}": partial(open_keypointnet, category=category) for category in SYNSETS}


def _annotations(root: Path, category: str) -> Path:
    """The file of the category, of all of them, or one that begins with the category's name and says what part it is."""
    folder = root / "annotations"
    names = [folder / f"{category}.json", folder / "all.json", *sorted(folder.glob(f"{category}_*.json"))]
    path = next((name for name in names if name.is_file()), None)
    if path is None:
        got = f"neither {category}.json nor all.json in {folder}"
        raise FileNotFoundError(message("keypointnet", "annotations", "be an existing file", got, GET))
    return path


def _listed(path: Path, category: str) -> set[str]:
    if not path.is_file():
        raise FileNotFoundError(message("keypointnet", "split", "be an existing file", path, GET))
    pairs = (line.strip().partition("-") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {model for synset, _, model in pairs if synset == SYNSETS[category]}


def _records(path: Path, category: str, found: list[str]) -> dict[str, _Record]:
    """The records of the category by model; what is wrong with others goes to `found`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(message("keypointnet", "annotations", "be JSON", f"{error} in {path}", GET)) from None
    if not isinstance(content, list):
        raise ValueError(message("keypointnet", "annotations", "be a list of models", f"otherwise in {path}", GET))
    records: dict[str, _Record] = {}
    for number, values in enumerate(content):
        name = f"{path.name} record {number}"
        if not isinstance(values, dict) or not isinstance(values.get("model_id"), str):
            found.append(f"{name} has no model_id")
        elif values.get("class_id") == SYNSETS[category]:
            model = values["model_id"]
            record = _record(model, values, f"{name} ({model})", found)
            if model in records:
                found.append(f"{name} ({model}) is there twice")
            elif record is not None:
                records[model] = record
    if not records and not found:
        found.append(f"{path.name} has no model of class {SYNSETS[category]} ({category})")
    return records


def _record(model: str, values: Mapping[str, Any], name: str, found: list[str]) -> _Record | None:
    try:
        keypoints = values["keypoints"]
        if keypoints == []:
            raise ValueError("no keypoints")
        xyz = np.array([[float(v) for v in keypoint["xyz"]] for keypoint in keypoints])
        semantic = tuple(_whole(keypoint["semantic_id"]) for keypoint in keypoints)
        rows = tuple(_whole(keypoint["pcd_info"]["point_index"]) for keypoint in keypoints)
        groups = values.get("symmetries") or {}
        reflections, rotations = (
            tuple(_members(semantic, group["kp_indexes"]) for group in groups.get(kind, ()))
            for kind in ("reflection", "rotation")
        )
        circles = [_flag(g["is_circle"]) for g in groups.get("rotation", ())]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        found.append(f"{name} cannot be read ({type(error).__name__}: {error})")
        return None
    wrong = ""
    if xyz.ndim != 2 or xyz.shape[1] != 3 or not np.isfinite(xyz).all():
        wrong = "must have keypoints with finite x, y, z"
    elif len(set(semantic)) < len(semantic):
        twice = next(i for i in semantic if semantic.count(i) > 1)
        wrong = f"has semantic id {twice} twice"
    elif outside := [i for i in semantic if not 0 <= i < MOST_KEYPOINTS]:
        wrong = f"must have semantic ids from 0 to {MOST_KEYPOINTS - 1}, got {outside[0]}"
    if wrong:
        found.append(f"{name} {wrong}")
        return None
    return _Record(model, xyz, semantic, rows, reflections, rotations, bool(circles) and all(circles))


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value != int(value):
        raise ValueError(f"{value!r} is no whole number")
    if abs(value) > MOST_NUMBER:
        raise ValueError(f"{value!r} is beyond all numbers of points")
    return int(value)


def _members(semantic: tuple[int, ...], places: Iterable[object]) -> tuple[int, ...]:
    """The semantic ids at places in the list of keypoints."""
    found = [_whole(place) for place in places]
    outside = [place for place in found if not 0 <= place < len(semantic)]
    if outside:
        raise ValueError(f"kp_indexes must be from 0 to {len(semantic) - 1}, got {outside[0]}")
    return tuple(semantic[place] for place in found)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _skeleton(records: Mapping[str, _Record]) -> Skeleton:
    """Keypoints named by their semantic ids; those that are each other's only reflections are mirror partners."""
    number = 1 + max(max(record.semantic) for record in records.values())
    partners: dict[int, set[int]] = {}
    for group in _groups(records.values()):
        for point in group:
            partners.setdefault(point, set()).update(set(group) - {point})
    pairs = {(a, min(b)) for a, b in partners.items() if len(b) == 1 and partners[min(b)] == {a} and a < min(b)}
    return Skeleton(tuple(f"keypoint_{i}" for i in range(number)), swap_pairs=tuple(sorted(pairs)))


def _groups(records: Iterable[_Record]) -> set[tuple[int, ...]]:
    return {group for record in records for group in record.reflections}


def _sample(record: _Record, path: Path, category: str, number: int, source: Path, found: list[str]) -> Cloud | None:
    """The cloud with its keypoints at the rows that the annotations name, if these agree with the coordinates there."""
    name = f"{source.name} {record.model}"
    try:
        xyz = load_cloud(path)
    except ValueError as error:
        found.append(str(error).removesuffix("."))
        return None
    rows = np.array(record.rows, dtype=np.int64)
    outside = rows[(rows < 0) | (rows >= len(xyz))]
    if len(outside):
        found.append(f"{name} has point_index {outside[0]}, but {path.name} has rows 0 to {len(xyz) - 1}")
        return None
    apart = np.abs(xyz[rows] - record.xyz).max(axis=1)
    if apart.max() > SAME_PLACE * np.abs(xyz).max():
        worst = int(apart.argmax())
        found.append(
            f"{name} has keypoint {record.semantic[worst]} {apart[worst]:.3g} away from row {rows[worst]} of {path.name}"
        )
        return None
    points, index, visible = np.zeros((number, 3)), np.zeros(number, dtype=np.int64), np.zeros(number, dtype=np.bool_)
    ids = list(record.semantic)
    points[ids], index[ids], visible[ids] = xyz[rows], rows, True
    key = f"{SYNSETS[category]}-{record.model}"
    groups, is_circle = record.rotations, record.is_circle
    return Cloud(xyz, points, visible, key, index=index, category=category, rotations=groups, is_circle=is_circle)
