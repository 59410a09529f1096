"""What a check looks at: the splits of a set, as samples that know the file and record they come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from heatpoint.checking.findings import Finding
from heatpoint.datasets.sample import Sample
from heatpoint.skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class Record:
    """A sample and where it stands.

    Args:
        sample: As far as it could be read; its box may be anything.
        file: The annotation file.
        name: Of the record in it ("annotation 12").
        stated_size: (width, height) of the image by the file, None if it does not say.
    """

    sample: Sample
    file: str
    name: str
    stated_size: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Part:
    """A split to be checked.

    Args:
        split: Its name.
        records: What could be read.
        images: Further images that the file lists, beside those of the records.
        by_oks: Whether the set is of the kind that object keypoint similarity scores: it gives areas.
    """

    split: str
    records: tuple[Record, ...]
    images: tuple[Path, ...] = ()
    by_oks: bool = False

    def image_paths(self) -> list[Path]:
        """Every image file once."""
        own = (record.sample.image for record in self.records)
        return list(dict.fromkeys([*(path for path in own if isinstance(path, Path)), *self.images]))


@dataclass(eq=False)
class Source:
    """A set as far as it could be read, and what was found wrong on the way.

    Args:
        data: What was asked for.
        skeleton: Of all parts.
        skeleton_name: How it was chosen, in words.
        parts: The splits.
        findings: Faults of files and records.
        notes: What was not looked at.
    """

    data: str
    skeleton: Skeleton
    skeleton_name: str
    parts: list[Part]
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def samples(self) -> Iterator[tuple[Part, int, Record]]:
        """Every record with its split and place."""
        for part in self.parts:
            for index, record in enumerate(part.records):
                yield part, index, record
