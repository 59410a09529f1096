"""`heatpoint check DATA`: everything that is wrong with labels and images, and a contact sheet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import Positional, arg

from heatpoint._checks import message

if TYPE_CHECKING:
    from heatpoint.checking import Report, Source
    from heatpoint.report.contact_sheet import Tile


@dataclass(frozen=True)
class CheckCommand:
    """Look for everything that is wrong with a set, and draw its points on a contact sheet.

    Reports all faults at once, grouped and counted, each with file and record. Exit code 0: no errors; 1: errors; 2: the
    command itself was wrong.
    """

    data: Annotated[str | None, Positional, arg(metavar="DATA")] = None
    """A set known by name (coco, faces300w, mtfl …), a COCO file, dlib's XML, DeepLabCut's CSV, or a folder that holds
    one of them or .pts files. A name goes before a folder: write ./coco for the folder."""
    train: Annotated[Path | None, arg(metavar="PATH")] = None
    """Labels to train on, in place of DATA; with --test."""
    test: Annotated[Path | None, arg(metavar="PATH")] = None
    """Labels to test on."""
    images: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Folder in which image paths begin. Left out: looked for beside the labels."""
    skeleton: Annotated[str | None, arg(metavar="NAME|FILE")] = None
    """The skeleton of the points. Left out: as the labels name them."""
    category: Annotated[str | None, arg(metavar="NAME")] = None
    """In a COCO file the one category to look at. Left out: all."""
    data_root: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Folder that holds the sets known by name. Left out: the environment variable HEATPOINT_DATA."""
    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """Also write the report to this JSON file."""
    sheet: Annotated[Path | None, arg(metavar="FILE")] = None
    """Picture to write the contact sheet to. Left out: NAME-check.png in the present folder."""
    samples: int = 24
    """Samples on the contact sheet, the faulty ones first; 0 draws none."""
    show: int = 5
    """Faults of a kind to print; the JSON file holds them all."""


def run(arguments: Sequence[str]) -> int:
    """Runs the verb; returns 1 if errors were found."""
    command = tyro.cli(CheckCommand, prog="heatpoint check", args=list(arguments))
    _check_outputs(command)
    from heatpoint.checking import check, open_data

    source = open_data(
        command.data,
        data_root=command.data_root,
        train=command.train,
        test=command.test,
        images=command.images,
        skeleton=command.skeleton,
        category=command.category,
    )
    report = check(source)
    print(summary(report, show=command.show))
    if command.samples:
        path = command.sheet or Path(f"{Path(report.data).stem or 'data'}-check.png")
        _draw_sheet(source, report, path, command.samples)
    if command.json is not None:
        command.json.parent.mkdir(parents=True, exist_ok=True)
        command.json.write_text(json.dumps(report.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"report: {command.json}")
    return 1 if report.num_errors else 0


def summary(report: Report, *, show: int = 5) -> str:
    """What the command prints: the splits, the faults by kind, the notes, and the verdict."""
    from heatpoint.checking import KINDS

    splits = ", ".join(f"{name} {n['samples']} samples in {n['images']} images" for name, n in report.splits.items())
    lines = [f"{report.data}: {splits}", f"skeleton: {report.skeleton}"]
    for (severity, kind), group in report.groups().items():
        lines.append(f"\n{severity} {kind} ({len(group)}): {KINDS[kind]}")
        lines += [f"  {finding}" for finding in group[:show]]
        lines += [f"  … and {len(group) - show} more"] * (len(group) > show)
    lines += ["", *(f"note: {note}" for note in report.notes)] if report.notes else [""]
    counts = [_count(report.num_errors, "error"), _count(report.num_warnings, "warning")]
    return "\n".join([*lines, f"{counts[0]}, {counts[1]}"])


def pick_tiles(source: Source, report: Report, limit: int) -> list[Tile]:
    """The samples to draw: the faulty ones first, errors before warnings, then others spread over the set."""
    from heatpoint.report.contact_sheet import Tile

    records = {(part.split, index): record for part, index, record in source.samples()}
    faults: dict[tuple[str, int], list[str]] = {}
    severities: dict[tuple[str, int], str] = {}
    for (severity, kind), group in report.groups().items():
        for finding in group:
            if finding.sample in records:
                faults.setdefault(finding.sample, []).append(kind)
                severities.setdefault(finding.sample, severity)
    sound = [place for place in records if place not in faults]
    rest = max(0, limit - len(faults))
    step = max(1, len(sound) // rest) if rest else 1
    places = [*list(faults)[:limit], *sound[::step][:rest]]
    return [
        Tile(
            records[place].sample,
            (f"{place[0]} {records[place].name}", ", ".join(dict.fromkeys(faults.get(place, [])))),
            severities.get(place, ""),
        )
        for place in places
    ]


def _draw_sheet(source: Source, report: Report, path: Path, limit: int) -> None:
    from heatpoint.report.contact_sheet import contact_sheet, save_sheet

    tiles = pick_tiles(source, report, limit)
    if not tiles:
        print("contact sheet: none, as no sample could be read")
        return
    save_sheet(path, contact_sheet(tiles, source.skeleton))
    faulty = sum(bool(tile.severity) for tile in tiles)
    print(f"contact sheet: {path} ({len(tiles)} samples, {faulty} of them faulty)")


def _check_outputs(command: CheckCommand) -> None:
    for flag, least, value in (("--samples", 0, command.samples), ("--show", 1, command.show)):
        if value < least:
            raise ValueError(message("check", flag, f"be at least {least}", value))
    for flag, path in (("--json", command.json), ("--sheet", command.sheet)):
        if path is not None and path.is_dir():
            raise ValueError(message("check", flag, "be a file to write", f"the folder {path}"))
    if command.sheet is not None and command.sheet.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ValueError(message("check", "--sheet", "end in .png or .jpg", command.sheet))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
