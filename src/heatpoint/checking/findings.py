"""What is wrong with labels: one `Finding` per fault, their kinds, and the `Report` that groups and counts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning"]

KINDS: dict[str, str] = {
    "missing_image": "the image is not there",
    "unreadable_image": "the image is truncated or no image",
    "image_size": "the image has another size than the file states",
    "broken_record": "the record cannot be read",
    "unknown_image": "the record names an image that the file does not list",
    "duplicate_id": "two records share an id",
    "duplicate_record": "the same object stands twice in a split",
    "keypoint_count": "another number of points than the skeleton has",
    "num_keypoints": "the stated number of labelled points is not the number labelled",
    "visibility_flag": "a visibility other than 0, 1 or 2",
    "no_visible_point": "no point is labelled, though the record does not say so",
    "category": "the category is not known, or names other points than the skeleton",
    "not_finite": "a coordinate is NaN or infinite",
    "absurd_coordinates": "a point lies many images away",
    "point_outside": "a labelled point lies outside the image",
    "collapsed_points": "all points lie in one place",
    "swapped_pairs": "left and right are exchanged, by the shape of the other samples",
    "empty_box": "the box has no area",
    "box_outside": "the box reaches out of the image",
    "points_outside_box": "labelled points lie beside the box",
    "area": "the area makes object keypoint similarity meaningless",
    "sigmas": "the sigmas make object keypoint similarity meaningless",
    "skeleton": "the skeleton contradicts itself",
    "duplicate_across_splits": "the same picture lies in two splits",
    "near_duplicate_across_splits": "nearly the same picture lies in two splits",
    "duplicate_image": "the same picture has two names in one split",
    "image_without_points": "an image lies among the labelled ones without labels",
}
WARNINGS = {
    "num_keypoints",
    "no_visible_point",
    "near_duplicate_across_splits",
    "duplicate_image",
    "image_without_points",
}


@dataclass(frozen=True)
class Finding:
    """One fault.

    Args:
        kind: A key of `KINDS`.
        text: What is wrong, in words that follow the record's name.
        file: The annotation file, or the image, that holds the fault.
        record: Which record of it; "" where it is the file itself.
        split: Of the record.
        severity: "error" or "warning"; None takes the kind's own.
        sample: (split, index) of the sample to be drawn, None where nothing can be drawn.

    >>> str(Finding("image_size", "is 20 x 10, the file states 20 x 11", "labels.json", "image 3"))
    'labels.json: image 3 is 20 x 10, the file states 20 x 11'
    """

    kind: str
    text: str
    file: str = ""
    record: str = ""
    split: str = ""
    severity: Severity | None = None
    sample: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        if self.severity is None:
            object.__setattr__(self, "severity", "warning" if self.kind in WARNINGS else "error")

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.record) if part)
        return f"{place} {self.text}" if place else self.text


@dataclass(frozen=True)
class Report:
    """All that a check found.

    Args:
        data: What was checked.
        skeleton: By which skeleton, and how it was chosen.
        splits: Per split the number of "samples" and "images".
        findings: The faults.
        notes: What could not be looked at, and why.
    """

    data: str
    skeleton: str
    splits: Mapping[str, Mapping[str, int]]
    findings: Sequence[Finding]
    notes: Sequence[str] = field(default=())

    @property
    def num_errors(self) -> int:
        """Number of findings that are errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def num_warnings(self) -> int:
        """Number of findings that are warnings."""
        return len(self.findings) - self.num_errors

    def groups(self) -> dict[tuple[str, str], list[Finding]]:
        """(severity, kind) -> its findings: errors first, then in the order of `KINDS`."""
        found: dict[tuple[str, str], list[Finding]] = {}
        for severity in ("error", "warning"):
            for kind in KINDS:
                group = [f for f in self.findings if (f.severity, f.kind) == (severity, kind)]
                if group:
                    found[severity, kind] = group
        return found

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values.

        >>> Report("mice", "coco17", {}, [Finding("area", "has area 0", "a.json", "annotation 1")]).to_dict()["counts"]
        {'error': {'area': 1}, 'warning': {}}
        """
        counts: dict[str, dict[str, int]] = {"error": {}, "warning": {}}
        for (severity, kind), group in self.groups().items():
            counts[severity][kind] = len(group)
        keys = ("kind", "severity", "file", "record", "split", "text")
        return {
            "data": self.data,
            "skeleton": self.skeleton,
            "splits": {name: dict(numbers) for name, numbers in self.splits.items()},
            "counts": counts,
            "findings": [{key: getattr(finding, key) for key in keys} for finding in self.findings],
            "notes": list(self.notes),
        }
