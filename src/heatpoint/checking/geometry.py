"""Where points, boxes and areas of single records cannot be: outside the image, without extent, beside each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from heatpoint.checking.findings import Finding, Severity
from heatpoint.checking.records import Record
from heatpoint.frames import FloatArray
from heatpoint.skeleton import Skeleton

Size = tuple[float, float]
Fault = tuple[str, str, Severity | None]

TOLERANCE_PX = 1.0  # Labels on the border, rounding, and files that count from 1.
FAR = 0.1  # As a share of the image's longer side: farther out is no person cut off by the border.
ABSURD = 10.0
# Boxes are drawn round what is seen, or found by a detector: a few points may lie beside them, but not far.
BOX_MARGIN = 0.1
MOST_BESIDE = 0.25
FAR_FROM_BOX = 0.5


def check_record(record: Record, skeleton: Skeleton, size: Size | None, *, split: str, index: int) -> list[Finding]:
    """What is wrong with one record, given the size of its image (None if that cannot be read)."""
    faults = [*_points(record, skeleton, size), *_box(record, size), *_area(record, skeleton)]
    place = (split, index)
    return [Finding(kind, text, record.file, record.name, split, severity, place) for kind, text, severity in faults]


def oks_range(area: float, sigmas: FloatArray, reach: float) -> tuple[float, float]:
    """Object keypoint similarity at an error of 1 pixel, and at one of `reach` pixels: what it can still tell apart.

    As COCO defines it, the mean over points of exp(−d² / (2 · area · (2σ)²)).

    >>> [round(value, 3) for value in oks_range(10000.0, np.array([0.05, 0.1]), 70.0)]
    [0.997, 0.001]
    """
    scale = 2 * area * (2 * sigmas) ** 2
    near, far = (float(np.exp(-(distance**2) / scale).mean()) for distance in (1.0, reach))
    return near, far


def _points(record: Record, skeleton: Skeleton, size: Size | None) -> Iterator[Fault]:
    sample = record.sample
    shown = sample.points[sample.visible]
    if len(shown) > 1 and np.ptp(shown, axis=0).max() == 0:
        yield "collapsed_points", f"has all {len(shown)} points at {_place(shown[0])}", None
    if size is None or not len(shown):
        return
    last = np.array(size) - 1
    beyond = np.where(sample.visible, np.maximum(-sample.points, sample.points - last).max(axis=1), 0.0)
    side = max(size)
    absurd = beyond > ABSURD * side
    outside = (beyond > TOLERANCE_PX) & ~absurd
    listed = {
        name: ", ".join(f"{skeleton.names[k]} {_place(sample.points[k])}" for k in np.flatnonzero(flags)[:3])
        for name, flags in (("absurd", absurd), ("outside", outside))
    }
    where = f"the {size[0]:g} x {size[1]:g} image"
    if absurd.any():
        yield "absurd_coordinates", f"has {int(absurd.sum())} points far from {where}: {listed['absurd']}", None
    if outside.any():
        severity: Severity = "error" if beyond[outside].max() > FAR * side else "warning"
        text = f"has {int(outside.sum())} of {len(shown)} points outside {where}: {listed['outside']}"
        yield "point_outside", text, severity


def _box(record: Record, size: Size | None) -> Iterator[Fault]:
    box = record.sample.box
    if box is None:
        return
    x1, y1, x2, y2 = box
    shown_box = "({:g}, {:g}, {:g}, {:g})".format(*box)
    if not (x2 >= x1 and y2 >= y1):
        yield "empty_box", f"has the box {shown_box}, which holds no pixel", None
        return
    low, high = np.array([x1, y1]), np.array([x2, y2])
    if size is not None:
        last = np.array(size) - 1
        if (low > last).any() or (high < 0).any():
            yield "box_outside", f"has the box {shown_box}, wholly outside the {size[0]:g} x {size[1]:g} image", None
        elif max(float(np.max(-low)), float(np.max(high - last))) > TOLERANCE_PX:
            text = f"has the box {shown_box}, which reaches out of the {size[0]:g} x {size[1]:g} image"
            yield "box_outside", text, "warning"
    points = record.sample.points[record.sample.visible]
    if len(points):
        margin = max(TOLERANCE_PX, BOX_MARGIN * float((high - low).max() + 1))
        beside = np.maximum(low - points, points - high).max(axis=1)
        far = float(beside.max()) > FAR_FROM_BOX * float((high - low).max() + 1)
        beside = beside > margin
        if far or beside.mean() > MOST_BESIDE:
            text = f"has {int(beside.sum())} of {len(points)} points beside its box {shown_box}"
            yield "points_outside_box", text, "error" if beside.all() else "warning"


def _area(record: Record, skeleton: Skeleton) -> Iterator[Fault]:
    sample = record.sample
    area = sample.area
    if area is None or not sample.visible.any():
        return
    if not area > 0:
        yield "area", f"has the area {area:g}, so its similarity is 0 whatever is predicted", None
        return
    reach = None
    if sample.box is not None and sample.box[2] >= sample.box[0] and sample.box[3] >= sample.box[1]:
        sides = np.array(sample.box[2:]) - np.array(sample.box[:2]) + 1
        reach = float(np.hypot(*sides)) / 2
        if area > 1.5 * float(sides.prod()):
            share = area / float(sides.prod())
            yield "area", f"has an area {share:.1f} times that of its box", "warning"
    if skeleton.sigmas is None:
        return
    sigmas = np.array(skeleton.sigmas)[sample.visible]
    near, far = oks_range(area, sigmas, reach or float(np.sqrt(area)))
    if near < 0.1:
        yield "area", f"has the area {area:g}: an error of 1 pixel gives the similarity {near:.2f}", None
    elif far > 0.5:
        yield "area", f"has the area {area:g}: points half a box away give the similarity {far:.2f}", None


def _place(point: FloatArray) -> str:
    return f"({point[0]:.1f}, {point[1]:.1f})"
