"""300-W: faces with 68 points in .pts files; the parts of it that are at hand everywhere, and the whole official set.

Two names, since "train" and "test" of the two are different faces: `faces300w` is what lies in helen/ and afw/ and may be a part
of the set, `w300` is the set of the papers (Sagonas et al., 2013 and 2016) with its common, challenge, full and private tests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from heatpoint.datasets._faces import photograph, remark_count, require_paths
from heatpoint.datasets.sample import PointSet, Sample, check_split, report, require_folder, resolve_data_root, settle
from heatpoint.frames import FloatArray
from heatpoint.skeleton import load_skeleton

SPLITS = {"train": ("helen/trainset", "afw"), "test": ("helen/testset",)}
COMMON, CHALLENGE = ("helen/testset", "lfpw/testset"), ("ibug",)
W300_SPLITS = {
    "train": ("afw", "helen/trainset", "lfpw/trainset"),
    "test": COMMON + CHALLENGE,
    "common": COMMON,
    "challenge": CHALLENGE,
    "full": COMMON + CHALLENGE,
    "private": ("300W/01_Indoor", "300W/02_Outdoor"),
}
W300_COUNTS = {"train": 3148, "test": 689, "common": 554, "challenge": 135, "full": 689, "private": 600}
TAGS = {
    "helen/testset": "common",
    "lfpw/testset": "common",
    "ibug": "challenge",
    "300W/01_Indoor": "indoor",
    "300W/02_Outdoor": "outdoor",
}
IMAGE_ENDINGS = (".jpg", ".png", ".jpeg")
REMEDY = "Correct or remove what is named, or copy the set again."
PARTS = (
    "Get 300-W from iBUG (ibug.doc.ic.ac.uk/resources/300-W); the folder must hold helen/trainset/, helen/testset/ and afw/, "
    "with a .pts file beside each image."
)
W300_REMEDY = (
    "Get 300-W from iBUG (ibug.doc.ic.ac.uk/resources/300-W); the folder must hold afw/, helen/trainset/, helen/testset/, "
    "lfpw/trainset/, lfpw/testset/ and ibug/, and for the private test 300W/01_Indoor/ and 300W/02_Outdoor/, with a .pts "
    "file beside each image."
)


def read_pts(path: Path | str, *, num_points: int | None = None) -> FloatArray:
    """Reads a .pts file: a header (version, n_points), then one "x y" line per point between braces.

    The files of 300-W count pixels from 1; what is returned counts from 0, so the first pixel's centre is at 0.

    Args:
        path: The file.
        num_points: How many points it must hold; None accepts what its header says, which must be true anyway.

    Returns:
        (K, 2) float64 points.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: With every problem of the file, in one line; or if it is a folder.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"read_pts: path must be an existing file, got {path}. Check the data folder.")
    points, problems = _parse_pts(path, num_points)
    if problems:
        raise ValueError(report(str(path), problems, REMEDY))
    return points


def read_faces300w(root: Path | str, split: str, *, problems: list[str] | None = None) -> PointSet:
    """Reads what there is of 300-W: train is helen/trainset and afw, test is helen/testset.

    Args:
        root: The folder that holds helen/ and afw/, each image beside its .pts file of the same stem.
        split: "train" or "test".
        problems: None raises what is wrong; a list takes it.

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If the split is unknown; or, in one line, for all files with a wrong number of points or no image, and
            all images without a file.
    """
    check_split("faces300w", split, SPLITS)
    root = require_folder("faces300w", Path(root), get=PARTS)
    folders = [require_folder("faces300w", root / folder, remedy=REMEDY) for folder in SPLITS[split]]
    samples, found, _ = _read_folders(root, folders, tags={})
    settle("faces300w", found, problems, REMEDY)
    protocol = {
        "train": "HELEN trainset + AFW",
        "test": "HELEN testset (part of the common test set of 300-W)",
        "coordinates": "files count from 1, points from 0",
    }
    return PointSet("faces300w", split, load_skeleton("face68"), samples, protocol)


def read_w300(root: Path | str, split: str, *, problems: list[str] | None = None) -> PointSet:
    """Reads the official 300-W: 3148 faces to train on; common (554), challenge (135), both (689) and private (600) to test.

    Faces of the tests are tagged "common" and "challenge", those of the private test "indoor" and "outdoor", so that a
    score on the full test is also the score on its parts. No box is given (policy P1).

    Args:
        root: The folder with afw/, helen/, lfpw/, ibug/ and, for the private test, 300W/.
        split: "train"; "test" and "full", which are the same; "common", "challenge" or "private".
        problems: None raises what is wrong; a list takes it.

    Raises:
        FileNotFoundError: If folders are missing, all in one line.
        ValueError: If the split is unknown; or, in one line, for all files with a wrong number of points or no image, and
            all images without a file.

    Warns:
        UserWarning: If the split has not the official number of faces.
    """
    check_split("w300", split, W300_SPLITS)
    root = require_folder("w300", Path(root), get=W300_REMEDY)
    folders = require_paths("w300", [root / folder for folder in W300_SPLITS[split]], problems, remedy=W300_REMEDY)
    samples, found, count = _read_folders(root, folders, tags=TAGS)
    settle("w300", found, problems, REMEDY)
    remark_count("w300", split, count, W300_COUNTS[split], problems)
    protocol = {
        split: " + ".join(W300_SPLITS[split]),
        "faces": f"{len(samples)} of {W300_COUNTS[split]}",
        "coordinates": "files count from 1, points from 0",
        "box": "none given",
    }
    return PointSet("w300", split, load_skeleton("face68"), samples, protocol)


def open_faces300w(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> PointSet:
    """300-W, as far as it is there, under `data_root`/faces300w; see `read_faces300w`."""
    return read_faces300w(resolve_data_root(data_root) / "faces300w", split, problems=problems)


def open_w300(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> PointSet:
    """The official 300-W under `data_root`/w300; see `read_w300`."""
    return read_w300(resolve_data_root(data_root) / "w300", split, problems=problems)


def _read_folders(
    root: Path, folders: Sequence[Path], *, tags: Mapping[str, str]
) -> tuple[tuple[Sample, ...], list[str], int]:
    """The sound faces of folders, what is wrong with the others, and how many .pts files there are."""
    samples, found, count = [], [], 0
    for folder in folders:
        files = sorted(folder.glob("*.pts"))
        images = _images(folder)
        stems = {path.stem for path in files}
        count += len(files)
        found += [] if files else [f"{folder} holds no .pts files"]
        found += [f"{path} has no .pts file beside it" for stem, path in images.items() if stem not in stems]
        for path in files:
            points, wrong = _parse_pts(path, 68)
            image = images.get(path.stem)
            found += [f"{path} {text}" for text in wrong + ([] if image else ["has no image beside it"])]
            if image and not wrong:
                samples.append(_sample(image, points, folder.relative_to(root).as_posix(), tags))
    return tuple(samples), found, count


def _images(folder: Path) -> dict[str, Path]:
    """The images of a folder by stem; of two with one stem the ending that stands first in `IMAGE_ENDINGS`."""
    files = sorted(folder.iterdir())
    return {p.stem: p for ending in reversed(IMAGE_ENDINGS) for p in files if p.suffix.lower() == ending}


def _sample(image: Path, points: FloatArray, folder: str, tags: Mapping[str, str]) -> Sample:
    visible = np.ones(len(points), dtype=np.bool_)
    group = f"{folder.split('/')[0]}/{photograph(image.stem)}"
    tagged = frozenset({tags[folder]} if folder in tags else ())
    return Sample(image, points, visible, None, f"{folder}/{image.stem}", group=group, tags=tagged)


def _parse_pts(path: Path, num_points: int | None) -> tuple[FloatArray, list[str]]:
    empty = np.zeros((0, 2))
    if not path.is_file():
        return empty, ["is no file"]
    head, brace, rest = path.read_text(encoding="utf-8", errors="replace").partition("{")
    if not brace or "}" not in rest:
        return empty, ["has no list of points between braces"]
    lines = rest.partition("}")[0].split("\n")
    rows = [line.split() for line in lines if line.strip()]
    try:
        points = np.array([[float(v) for v in row] for row in rows], dtype=np.float64).reshape(len(rows), 2)
    except ValueError:
        return empty, ["must hold two numbers per point"]
    problems = []
    if not np.isfinite(points).all():
        problems.append("holds points that are not finite")
    stated = re.search(r"n_points:\s*(\d+)", head)
    wanted = num_points if num_points is not None else int(stated[1]) if stated else len(points)
    if len(points) != wanted:
        problems.append(f"must hold {wanted} points, got {len(points)}")
    elif stated and int(stated[1]) != len(points):
        problems.append(f"must hold as many points as its n_points, {stated[1]}, got {len(points)}")
    return points - 1.0, problems
