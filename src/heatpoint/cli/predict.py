"""`heatpoint predict MODEL FILE…`: what was located as JSON, and pictures, for photographs, scans and point clouds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, UseAppendAction, arg

from heatpoint._checks import message
from heatpoint.cli.printing import check_folder

KEY = "heatpoint"  # Marks a file of predictions as ours.
# Flags that only some kinds of data have: field -> tasks.
ONLY_FOR = {"box": ("image",), "flip_test": ("image", "scan"), "level": ("image",), "axial_um": ("scan",)}
LEVEL = 0.9


@dataclass(frozen=True)
class PredictCommand:
    """Locate points in photographs, surfaces in scans or keypoints on point clouds: whatever the model was trained for.

    For each file, writes NAME.json (what was found, in the file's own coordinates) and pictures: NAME.points.png with ellipses
    that hold 90 % of a point's mass; NAME.surfaces.png with bands and NAME.thickness.png; or NAME.points.html to turn about.
    """

    model: Annotated[Path, Positional, arg(metavar="MODEL")]
    """A model.safetensors that `heatpoint train` has written."""
    files: Annotated[tuple[Path, ...], Positional, arg(metavar="FILE…")]
    """The photographs, scans or clouds."""
    box: Annotated[UseAppendAction[tuple[tuple[float, float, float, float], ...]], arg(metavar="X1 Y1 X2 Y2")] = ()
    """Photographs: first and last pixel of an object in every image; repeat it for more. Left out: one object
    that fills a good part of the image."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("predictions")
    """Folder to write to."""
    flip_test: bool | None = None
    """Photographs and scans: average over the image and its mirror image. Left out: as in the recipe."""
    device: str = "cpu"
    """Where the network runs: cpu, cuda, mps."""
    level: float | None = None
    """Photographs: share of a point's mass inside its ellipse. Left out: 0.9."""
    axial_um: float | None = None
    """Scans: micrometres per row in which thickness is told; the surfaces stay where they are. Left out: as the file
    or the recipe says."""


def run(arguments: Sequence[str]) -> None:
    """Runs the verb."""
    command = tyro.cli(PredictCommand, prog="heatpoint predict", args=list(arguments))
    from heatpoint.cli.predicting import WRITERS
    from heatpoint.cli.printing import make_console
    from heatpoint.training.files import write_json
    from heatpoint.training.weights import load_weights

    _check(command)
    trained = load_weights(command.model, device=command.device)
    _check_flags(command, trained.recipe.task)
    writer = WRITERS[trained.recipe.task](trained, command)
    for path in command.files:
        writer.look(path)  # All are looked at before anything is written.
    console = make_console()
    for path in command.files:
        found, line = writer.write(path)
        values = {**writer.describe(), "model": str(command.model)}
        write_json(command.out / f"{path.stem}.json", {KEY: values, "predictions": found})
        console.print(f"{path}: {line}", highlight=False, soft_wrap=True)


def _check_replaceable(path: Path) -> None:
    if not path.exists():
        return
    try:
        values = json.loads(path.read_text())
    except ValueError:
        values = None
    if not isinstance(values, dict) or KEY not in values:
        remedy = "It was not written by predict: give another --out."
        raise ValueError(message("predict", "--out", "hold no file of another kind", path, remedy))


def _check(command: PredictCommand) -> None:
    if not command.files:
        raise ValueError(message("predict", "FILE", "be given at least once", "none"))
    check_folder("predict", command.out)
    for path in command.files:
        _check_replaceable(command.out / f"{path.stem}.json")
    if command.level is not None and not 0 < command.level < 1:
        raise ValueError(message("predict", "--level", "lie between 0 and 1", command.level))
    if command.axial_um is not None and not 0 < command.axial_um < float("inf"):
        raise ValueError(message("predict", "--axial-um", "be greater than 0", command.axial_um))
    stems = [path.stem for path in command.files]
    for stem in stems:
        if stems.count(stem) > 1:
            remedy = "Call predict once for each, with its own --out."
            raise ValueError(message("predict", "FILE", "differ in name", f"{stem} more than once", remedy))


def _check_flags(command: PredictCommand, task: str) -> None:
    for name, tasks in ONLY_FOR.items():
        if getattr(command, name) not in (None, ()) and task not in tasks:
            rule = f"be left out for a model of a task {task!r}"
            raise ValueError(message("predict", f"--{name.replace('_', '-')}", rule, getattr(command, name)))
