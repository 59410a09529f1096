"""`heatpoint predict MODEL IMAGE…`: points as JSON, and a picture with ellipses, per image."""

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


@dataclass(frozen=True)
class PredictCommand:
    """Locate points in photographs.

    For each image, writes NAME.json (points, confidences, covariances in image pixels) and NAME.points.png (points with the
    ellipses that hold 90 % of their mass).
    """

    model: Annotated[Path, Positional, arg(metavar="MODEL")]
    """A model.safetensors that `heatpoint train` has written."""
    images: Annotated[tuple[Path, ...], Positional, arg(metavar="IMAGE…")]
    """The photographs."""
    box: Annotated[UseAppendAction[tuple[tuple[float, float, float, float], ...]], arg(metavar="X1 Y1 X2 Y2")] = ()
    """First and last pixel of an object in every image; repeat it for more. Left out: one object
    that fills a good part of the image."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("predictions")
    """Folder to write to."""
    flip_test: bool | None = None
    """Average over the image and its mirror image. Left out: as in the recipe."""
    device: str = "cpu"
    """Where the network runs: cpu, cuda, mps."""
    level: float = 0.9
    """Share of a point's mass inside its ellipse."""


def run(arguments: Sequence[str]) -> None:
    """Runs the verb."""
    command = tyro.cli(PredictCommand, prog="heatpoint predict", args=list(arguments))
    from heatpoint.cli.printing import make_console
    from heatpoint.datasets import load_image
    from heatpoint.inference import Predictor
    from heatpoint.inference.prediction import plot_all
    from heatpoint.training.files import write_json

    _check(command)
    predictor = Predictor.load(command.model, flip_test=command.flip_test, device=command.device)
    for path in command.images:
        load_image(path)  # All are looked at before anything is written.
    console = make_console()
    for path in command.images:
        found = predictor(path, boxes=command.box or None)
        picture = command.out / f"{path.stem}.points.png"
        plot_all(found, picture, level=command.level)
        values = {**predictor.describe(), "model": str(command.model)}
        content = {KEY: values, "predictions": [item.to_dict() for item in found]}
        write_json(command.out / f"{path.stem}.json", content)
        sure = sum(float(item.confidence.mean()) for item in found) / len(found)
        console.print(
            f"{path}: {len(found)} found, mean confidence {sure:.3f} -> {picture}", highlight=False, soft_wrap=True
        )


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
    if not command.images:
        raise ValueError(message("predict", "IMAGE", "be given at least once", "none"))
    check_folder("predict", command.out)
    for path in command.images:
        _check_replaceable(command.out / f"{path.stem}.json")
    if not 0 < command.level < 1:
        raise ValueError(message("predict", "--level", "lie between 0 and 1", command.level))
    stems = [path.stem for path in command.images]
    for stem in stems:
        if stems.count(stem) > 1:
            remedy = "Call predict once for each, with its own --out."
            raise ValueError(message("predict", "IMAGE", "differ in name", f"{stem} more than once", remedy))
