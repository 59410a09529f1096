"""A skeleton proposed from labels: their names and edges, mirror partners by name or by the symmetry of the mean shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heatpoint.checking.formats import find_labels, named_points
from heatpoint.checking.names import mirrored_pairs
from heatpoint.checking.raw_coco import Category
from heatpoint.checking.records import Record
from heatpoint.checking.sources import open_labels
from heatpoint.checking.swaps import mean_shape
from heatpoint.frames import FloatArray
from heatpoint.skeleton import Skeleton

MIN_SHAPES = 3
MIN_REPEATS = 10
# As a share of the shape's root mean square radius: how far a mirrored point may lie from its partner.
SYMMETRY = 0.15
REPEATED = 0.1


@dataclass(frozen=True)
class Proposal:
    """A skeleton for labels, and what in it is a guess.

    Args:
        skeleton: To be written.
        by_name: Swap pairs that the names say.
        by_shape: Swap pairs guessed from the symmetry of the mean shape.
        notes: How each part was found, one sentence each.
    """

    skeleton: Skeleton
    by_name: tuple[tuple[int, int], ...]
    by_shape: tuple[tuple[int, int], ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The content of the skeleton file: pairs and edges by name, and what to look at under "about"."""
        values = self.skeleton.to_dict()
        names = self.skeleton.names
        for key in ("edges", "swap_pairs"):
            values[key] = [[names[a], names[b]] for a, b in values[key]]
        return {"about": " ".join(self.notes), **values}


def propose(annotations: Path, *, category: Category = None, images: Path | None = None) -> Proposal:
    """Proposes a skeleton for labels in any form of `formats.FORMS`.

    Names and edges are those of the labels. Swap pairs are read from the names; only where no name says left or right they are
    guessed from the mean shape. Sigmas are measured where objects were labelled more than once, and absent otherwise:
    a guess would turn similarities into numbers that mean nothing.

    Args:
        annotations: The file, or the folder of .pts files.
        category: In a COCO file the one category.
        images: The folder in which image paths begin, for files that need it to be read.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has no form that can be read, or names no points.
    """
    points = named_points(find_labels(annotations), category)
    source = open_labels(annotations, images=images, skeleton=points, category=category)
    records = [record for _, _, record in source.samples()]
    by_name = tuple(mirrored_pairs(points.names))
    by_shape = () if by_name else _guessed_pairs(records, points.num_points)
    sigmas, repeats = repeated_sigmas(records, points.num_points)
    skeleton = replace(points, swap_pairs=by_name or by_shape, sigmas=sigmas)
    return Proposal(skeleton, by_name, by_shape, tuple(_notes(skeleton, by_name, by_shape, repeats)))


def symmetric_pairs(shape: npt.NDArray[np.complex128]) -> tuple[tuple[int, int], ...]:
    """Mirror partners of a shape: the points that exchange places when it is reflected about its best axis.

    All axes through the centroid are tried, in steps of one degree. Points pair up if each is the other's nearest after the
    reflection; a point that is nearest to itself lies on the axis.

    Args:
        shape: (K,) complex, x + iy.

    Returns:
        The pairs; empty if the shape is not symmetric.

    >>> symmetric_pairs(np.array([-1 + 1j, 1 + 1j, 0, -0.7 - 1j, 0.72 - 1j]))
    ((0, 1), (3, 4))
    """
    centered = shape - shape.mean()
    radius = float(np.sqrt(np.mean(np.abs(centered) ** 2)))
    best: tuple[float, tuple[tuple[int, int], ...]] = (np.inf, ())
    for turn in np.exp(2j * np.pi * np.arange(180) / 180):
        mirrored = turn * np.conj(centered)
        distance = np.abs(mirrored[:, None] - centered[None, :])
        nearest = distance.argmin(axis=1)
        order = np.arange(len(shape))
        if (nearest[nearest] != order).any():
            continue
        cost = float(distance[order, nearest].max())
        if cost < best[0]:
            best = cost, tuple((int(k), int(nearest[k])) for k in order if k < nearest[k])
    return best[1] if best[0] < SYMMETRY * radius else ()


def repeated_sigmas(records: Sequence[Record], num_points: int) -> tuple[tuple[float, ...] | None, int]:
    """Sigmas from objects that were labelled twice, as COCO measured its own.

    σ_k² is the mean of d_k² / s² with s² the object's area and d_k the distance of a label from the truth; the distance of two
    labels of one object has twice that mean. Two records are one object if they lie in one image, differ, and their
    points are less than a tenth of the object's size apart on average. Without areas that of the box is taken, or of the box
    round the points.

    Returns:
        The sigmas, None with fewer than 10 repeats of any point; and the number of objects found twice.
    """
    images: dict[object, list[Record]] = {}
    for record in records:
        key = record.sample.image if isinstance(record.sample.image, Path) else id(record.sample.image)
        images.setdefault(key, []).append(record)
    squares = np.zeros(num_points)
    counts = np.zeros(num_points, dtype=int)
    repeats = 0
    for group in images.values():
        for index, first in enumerate(group):
            for second in group[index + 1 :]:
                both = first.sample.visible & second.sample.visible
                area = _area(first)
                distance = np.linalg.norm(first.sample.points - second.sample.points, axis=1)
                if both.sum() < 2 or not area > 0 or not 0 < distance[both].mean() < REPEATED * area**0.5:
                    continue
                repeats += 1
                squares[both] += distance[both] ** 2 / (2 * area)
                counts[both] += 1
    if counts.min() < MIN_REPEATS or not (squares > 0).all():
        return None, repeats
    return tuple(round(float(sigma), 4) for sigma in np.sqrt(squares / counts)), repeats


def _area(record: Record) -> float:
    sample = record.sample
    if sample.area is not None:
        return sample.area
    corners: FloatArray = sample.points[sample.visible]
    if sample.box is not None:
        corners = np.array([sample.box[:2], sample.box[2:]])
    return float((np.ptp(corners, axis=0) + 1).prod()) if len(corners) else 0.0


def _guessed_pairs(records: Sequence[Record], num_points: int) -> tuple[tuple[int, int], ...]:
    shown = [record.sample for record in records if record.sample.visible.sum() >= 3]
    if len(shown) < MIN_SHAPES or num_points < 3:
        return ()
    points = np.stack([sample.points[:, 0] + 1j * sample.points[:, 1] for sample in shown])
    shape = mean_shape(points, np.stack([sample.visible for sample in shown]))
    return symmetric_pairs(shape) if np.isfinite(shape).all() else ()


def _notes(
    skeleton: Skeleton,
    by_name: Sequence[tuple[int, int]],
    by_shape: Sequence[tuple[int, int]],
    repeats: int,
) -> list[str]:
    if by_name:
        pairs = f"{len(by_name)} swap pairs read from the names: look them through."
    elif by_shape:
        pairs = f"{len(by_shape)} swap pairs are GUESSES from the symmetry of the mean shape: check every one."
    else:
        pairs = "No swap pairs: neither names nor symmetry say which points mirror each other; add them if any do."
    edges = f"{len(skeleton.edges)} edges as in the labels." if skeleton.edges else "The labels give no edges."
    if skeleton.sigmas is None:
        found = f"only {repeats} objects were" if repeats else "no object was"
        sigmas = (
            f"No sigmas: {found} labelled twice, and they cannot be measured otherwise; similarities (OKS) need them."
        )
    else:
        sigmas = f"Sigmas measured on {repeats} objects that were labelled twice."
    return [
        pairs,
        edges,
        sigmas,
        "Errors are divided by the root of the box's area unless another normalizer is added.",
    ]
