"""300-VW: clips of one talking face each, 68 points in every frame (Shen et al., 2015)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from heatpoint._checks import message
from heatpoint.datasets.pts import image_beside, points_of
from heatpoint.datasets.sample import PointSet, Sample, check_split, require_folder, resolve_data_root, settle
from heatpoint.skeleton import load_skeleton

NAME = "faces300vw"
# The owners' scenarios: well lit; unconstrained light, as before a computer; anything, with occlusion.
CLIPS = {
    "train": """001 002 003 004 007 009 010 011 013 015 016 017 018 019 020 022 025 027 028 029 031 033 034 035 037 039 041
        043 044 046 047 048 049 053 057 059 112 113 115 119 120 123 138 143 144 160 204 205 223 225""",
    "category_a": """114 124 125 126 150 158 401 402 505 506 507 508 509 510 511 514 515 518 519 520 521 522 524 525 537
        538 540 541 546 547 548""",
    "category_b": "203 208 211 212 213 214 218 224 403 404 405 406 407 408 409 412 550 551 553",
    "category_c": "410 411 516 517 526 528 529 530 531 533 557 558 559 562",
}
CATEGORIES = ("category_a", "category_b", "category_c")
SPLITS = {name: clips.split() for name, clips in CLIPS.items()}
SPLITS["test"] = sorted(clip for category in CATEGORIES for clip in SPLITS[category])
BROKEN = "broken_frames.json"
REMEDY = (
    "300-VW is given out by iBUG (ibug.doc.ic.ac.uk/resources/300-VW); a clip is a folder 001/ with annot/000001.pts and "
    "imgs/000001.jpg for every frame."
)


def read_faces300vw(root: Path | str, split: str, *, problems: list[str] | None = None) -> PointSet:
    """Reads a split of 300-VW: one sample for every annotated frame; a clip is one group and names its category as a tag.

    The download holds videos. Frames are read as images, in any order, which a video cannot give: a clip whose video has not
    been unpacked is refused together with the one command that does it. Frames that the folder's `broken_frames.json`
    names, {"401": [12, 13], …}, are left out, as in the published protocol, whose list comes with the set's evaluation
    code; without that file no frame is left out, and `protocol` says so. The files count pixels from 1, the points here
    from 0.

    Args:
        root: The folder of the clips.
        split: "train" (50 clips), "test" (64), or one category of the test: "category_a" (31), "category_b" (19),
            "category_c" (14). Clips that are not there are left out, and `protocol` names them.
        problems: None raises on what is wrong; a list takes it.

    Returns:
        Samples of skeleton "face68", without boxes.

    Raises:
        FileNotFoundError: If the folder is missing or holds no clip of the split.
        ValueError: If the split is unknown; or, in one line, for all broken files, frames without an image and videos.
    """
    check_split(NAME, split, SPLITS)
    root = require_folder(NAME, Path(root), get=REMEDY)
    clips = [clip for clip in SPLITS[split] if (root / clip / "annot").is_dir()]
    if not clips:
        rule = f"hold a clip of the split {split} ({', '.join(SPLITS[split][:3])}, …)"
        raise FileNotFoundError(message(NAME, "data root", rule, f"none in {root}", REMEDY))
    skip, found = _broken_frames(root / BROKEN)
    samples: list[Sample] = []
    for clip in clips:
        read, wrong = _clip(root, clip, skip.get(clip, frozenset()))
        samples += read
        found += wrong
    settle(NAME, found, problems, REMEDY)
    absent = [clip for clip in SPLITS[split] if clip not in clips]
    protocol = {
        "clips": f"{len(clips)} of {len(SPLITS[split])}" + (f", without {' '.join(absent)}" if absent else ""),
        "broken frames": f"left out as {BROKEN} says" if skip else "none left out",
        "coordinates": "files count from 1, points from 0",
        "box": "none given",
    }
    return PointSet(NAME, split, load_skeleton("face68"), tuple(samples), protocol)


def open_faces300vw(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> PointSet:
    """300-VW under `data_root`/faces300vw; see `read_faces300vw`."""
    return read_faces300vw(resolve_data_root(data_root) / NAME, split, problems=problems)


def _clip(root: Path, clip: str, skip: frozenset[int]) -> tuple[list[Sample], list[str]]:
    """The frames of a clip and what is wrong with it."""
    folder = root / clip
    files = sorted((folder / "annot").glob("*.pts"))
    images = folder / "imgs"
    if not files:
        return [], [f"{folder / 'annot'} holds no .pts files"]
    if not images.is_dir():
        if (folder / "vid.avi").is_file():
            command = f"mkdir {images} && ffmpeg -i {folder / 'vid.avi'} -start_number 1 -q:v 2 {images}/%06d.jpg"
            return [], [f"{folder} has not been unpacked (run: {command})"]
        return [], [f"{folder} has neither the folder imgs nor vid.avi"]
    tags = frozenset(category for category in CATEGORIES if clip in SPLITS[category])
    samples, found = [], []
    for path in files:
        if path.stem.isdigit() and int(path.stem) in skip:
            continue
        points, wrong = points_of(path, 68)
        image = image_beside(path, images)
        found += wrong + ([] if image else [f"{path} has no image of its number in imgs"])
        if image and points is not None:
            visible = np.ones(len(points), dtype=np.bool_)
            samples.append(Sample(image, points, visible, None, f"{clip}/{path.stem}", group=clip, tags=tags))
    return samples, found


def _broken_frames(path: Path) -> tuple[dict[str, frozenset[int]], list[str]]:
    if not path.is_file():
        return {}, []
    wrong = f'{path} must be a JSON object of clips and lists of frame numbers, {{"401": [12, 13]}}'
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        return {}, [wrong]
    if not isinstance(content, dict) or not all(_is_numbers(frames) for frames in content.values()):
        return {}, [wrong]
    unknown = sorted(set(content) - set(SPLITS["train"]) - set(SPLITS["test"]))
    if unknown:
        return {}, [f"{path} names {', '.join(unknown)}, which the set does not hold"]
    return {clip: frozenset(frames) for clip, frames in content.items()}, []


def _is_numbers(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(n, int) and not isinstance(n, bool) for n in value)
