"""What every dataset yields: samples of one image and its points, and how images, folders and splits are read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from heatpoint._checks import message, missing_package, one_of
from heatpoint.cameras import Camera
from heatpoint.datasets.whole_files import AGAIN, read_whole
from heatpoint.frames import FloatArray
from heatpoint.skeleton import Skeleton

try:
    import cv2
except ModuleNotFoundError as error:
    raise missing_package("heatpoint.datasets", error) from error

Image = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Body:
    """The points of a sample in space, seen by a calibrated camera.

    Args:
        points: (K, 3) float64 in millimetres, in the camera's frame: x to the right, y down, z away from it.
        camera: The camera whose image is the sample's.
        root: Index of the point from which depths and errors are measured.
    """

    points: FloatArray
    camera: Camera
    root: int = 0

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 3 or not np.isfinite(self.points).all():
            raise ValueError(message("Body", "points", "be finite (K, 3)", self.points.shape))
        if not 0 <= self.root < len(self.points):
            raise ValueError(message("Body", "root", f"be from 0 to {len(self.points) - 1}", self.root))


@dataclass(frozen=True, eq=False)
class Sample:
    """One annotated object in one image.

    Args:
        image: Path of the image, or its pixels (H, W, 3) uint8 in RGB order.
        points: (K, 2) float64 in image pixels, pixel centres at whole numbers. Points that are not visible are 0.
        visible: (K,) bool; False where a point is not annotated.
        box: (x1, y1, x2, y2) of the object, its first and last pixel, as the set gives it; None if it gives none.
        key: Name of the sample within its set, the same on every machine.
        group: What must not be divided between splits (a photograph with several faces); "" means the sample alone.
        pixel_scale: Factor that turns an error in this image's pixels into pixels of the original image.
        area: Area of the object in image pixels² as the set gives it, for object keypoint similarity; None if it gives none.
        score: Score of a detected box; None where the box is annotated.
        lengths: Lengths in image pixels that the set itself gives to divide errors by, by name ("head" in MPII).
        tags: Names of the subsets that the sample belongs to ("occlusion", "challenge").
        occluded: (K,) bool, True where a point is annotated but hidden behind something; None if the set does not say.
        ids: Numbers or names by which the set knows the sample ("image_id", "annotation_id"), for files of results.
        body: The points in space, in sets that give them.
    """

    image: Path | Image
    points: FloatArray
    visible: npt.NDArray[np.bool_]
    box: Box | None
    key: str
    group: str = ""
    pixel_scale: float = 1.0
    area: float | None = None
    score: float | None = None
    lengths: Mapping[str, float] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    occluded: npt.NDArray[np.bool_] | None = None
    ids: Mapping[str, int | str] = field(default_factory=dict)
    body: Body | None = None

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 2:
            raise ValueError(message("Sample", "points", "be (K, 2)", self.points.shape))
        if self.visible.shape != self.points.shape[:1] or self.visible.dtype != np.bool_:
            got = f"{self.visible.dtype} {self.visible.shape}"
            raise ValueError(message("Sample", "visible", f"be bool ({len(self.points)},)", got))
        if self.occluded is not None and (self.occluded.shape != self.visible.shape or self.occluded.dtype != np.bool_):
            got = f"{self.occluded.dtype} {self.occluded.shape}"
            raise ValueError(message("Sample", "occluded", f"be bool ({len(self.points)},)", got))
        if self.body is not None and len(self.body.points) != len(self.points):
            raise ValueError(message("Sample", "body", f"hold {len(self.points)} points", len(self.body.points)))
        if not np.isfinite(self.points).all():
            remedy = "Give a missing point as 0, 0 with visible False."
            raise ValueError(message("Sample", "points", "be finite", f"NaN or infinity in {self.key}", remedy))


@dataclass(frozen=True, eq=False)
class PointSet:
    """A split of a dataset: its samples, their skeleton, and the protocol to be stored and printed beside a score.

    Args:
        name: Name of the dataset.
        split: Which part of it.
        skeleton: Of every sample.
        samples: The annotated objects.
        protocol: What a score depends on beside the samples; plain JSON values.
        annotations: In sets that are scored by COCO's average precision: every annotation of the split as a COCO record,
            also those that are no samples (crowds, people without points). Empty: the samples are all there is.
    """

    name: str
    split: str
    skeleton: Skeleton
    samples: tuple[Sample, ...]
    protocol: Mapping[str, Any] = field(default_factory=dict)
    annotations: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        wrong = [s.key for s in self.samples if len(s.points) != self.skeleton.num_points]
        if wrong:
            rule = f"have the skeleton's {self.skeleton.num_points} points"
            raise ValueError(message("PointSet", "samples", rule, f"another number in {wrong[0]}"))

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        return f"PointSet({self.name!r}, {self.split!r}, {len(self)} samples of {self.skeleton.num_points} points)"


def load_image(source: Sample | Path | str | Image) -> Image:
    """Reads an image as (H, W, 3) uint8 in RGB order, turned upright as its EXIF data say.

    A file that ends too early is refused: decoders fill the missing part with grey and warn on stderr only.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is no image or is truncated; or if an array is not (H, W, 3) uint8.

    >>> load_image(np.zeros((2, 3, 3), dtype=np.uint8)).shape
    (2, 3, 3)
    """
    if isinstance(source, Sample):
        source = source.image
    if isinstance(source, np.ndarray):
        if source.ndim != 3 or source.shape[2] != 3 or source.dtype != np.uint8:
            got = f"{source.dtype} {source.shape}"
            raise ValueError(message("load_image", "image", "be (H, W, 3) uint8 in RGB order", got))
        return source
    data = read_whole("load_image", "image", source)
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR) if data else None
    if pixels is None:
        raise ValueError(message("load_image", "image", "be a readable image", source, AGAIN))
    rgb: Image = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return rgb


def resolve_data_root(data_root: Path | str | None = None) -> Path:
    """The folder that holds the data sets: the argument, or else the environment variable HEATPOINT_DATA.

    Raises:
        FileNotFoundError: If neither is given, or the folder does not exist.
    """
    root = data_root or os.environ.get("HEATPOINT_DATA")
    if not root or not Path(root).is_dir():
        remedy = "Set HEATPOINT_DATA or --data-root to the folder that holds faces300w/, mtfl/, …"
        raise FileNotFoundError(message("datasets", "data root", "be an existing folder", root or "none", remedy))
    return Path(root)


def require_folder(function: str, folder: Path, *, remedy: str = "", get: str = "") -> Path:
    """Returns `folder`; raises FileNotFoundError, saying what to do, if it does not exist.

    Args:
        function: Who asks.
        folder: The folder.
        remedy: What to do; "" says what to set, for the folder of a set.
        get: After that: where the set can be had and how its folder must look.
    """
    if not folder.is_dir():
        remedy = remedy or f"Set HEATPOINT_DATA or --data-root to the folder that holds {folder.name}/."
        remedy = f"{remedy} {get}".strip()
        raise FileNotFoundError(message(function, "data root", f"hold the folder {folder}", "no such folder", remedy))
    return folder


def require_images(name: str, samples: Iterable[Sample], *, remedy: str) -> None:
    """Raises FileNotFoundError, in one line, if images of samples are not there: on reading, not hours into training."""
    paths = dict.fromkeys(sample.image for sample in samples if isinstance(sample.image, Path))
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        listed = f"{', '.join(missing[:5])}{more} ({len(missing)} of {len(paths)} missing)"
        raise FileNotFoundError(message(name, "images", "be existing files", listed, remedy))


def check_split(function: str, split: str, splits: Iterable[str]) -> None:
    """Raises ValueError, with the valid names, unless the set has this split."""
    one_of(function, "split", split, splits)


def settle(function: str, found: Sequence[str], problems: list[str] | None, remedy: str) -> None:
    """What a reader does at its end with what it found wrong: raises it all in one line, or hands it to who asked for a list.

    Args:
        function: The reader.
        found: Everything wrong, each naming file and record. The records themselves were left out.
        problems: None to raise; a list (as `heatpoint check` gives) to append to.
        remedy: What to do.

    Raises:
        ValueError: If something was found and `problems` is None.
    """
    if problems is not None:
        problems.extend(found)
    elif found:
        raise ValueError(report(function, found, remedy))


def report(function: str, problems: Sequence[str], remedy: str) -> str:
    """One line for all problems of a set of annotations: the first five in full, then how many more."""
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    text = f"{'; '.join(problems[:5])}{more}".rstrip(".")
    return f"{function}: {text}{'' if text.endswith('?') else '.'} {remedy}"


class Grouped(Protocol):
    """What `grouped_split` looks at."""

    @property
    def key(self) -> str:
        """Name of the sample within its set."""

    @property
    def group(self) -> str:
        """What must not be divided; "" means the sample alone."""


AnySample = TypeVar("AnySample", bound=Grouped)


def grouped_split(
    samples: Sequence[AnySample], *, fraction: float, seed: int = 0
) -> tuple[tuple[AnySample, ...], tuple[AnySample, ...]]:
    """Holds out about a share of the samples, never dividing a group (the faces of one photograph).

    Whole groups are drawn in an order given by `seed` and the groups' names alone, until the share is reached, so the
    same faces are held out on every machine and in whatever order the files were listed.

    Args:
        samples: The samples to divide.
        fraction: Share to hold out, 0 <= fraction < 1.
        seed: Of the order in which groups are drawn.

    Returns:
        (kept, held out), each in the given order.

    >>> samples = [Sample(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 2)), np.ones(1, bool), None, str(i)) for i in range(8)]
    >>> [len(part) for part in grouped_split(samples, fraction=0.25)]
    [6, 2]
    """
    if not 0 <= fraction < 1:
        raise ValueError(message("grouped_split", "fraction", "be from 0 to below 1", fraction))
    sizes: dict[str, int] = {}
    for sample in samples:
        group = sample.group or sample.key
        sizes[group] = sizes.get(group, 0) + 1
    names = sorted(sizes)
    held: set[str] = set()
    count, wanted = 0, round(fraction * len(samples))
    for index in np.random.default_rng(seed).permutation(len(names)):
        if count >= wanted:
            break
        held.add(names[index])
        count += sizes[names[index]]
    kept = tuple(s for s in samples if (s.group or s.key) not in held)
    return kept, tuple(s for s in samples if (s.group or s.key) in held)
