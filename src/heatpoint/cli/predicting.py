"""What `heatpoint predict` does with a file, by the kind of data that the model was trained for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from heatpoint.cli.predict import LEVEL, PredictCommand
from heatpoint.datasets import VolSlice, load_image, load_scan, read_vol_header
from heatpoint.inference import CloudPredictor, Predictor, ScanPredictor
from heatpoint.inference.prediction import plot_all
from heatpoint.training.weights import Trained


class Writer(Protocol):
    """Looks at files, locates, and draws."""

    def look(self, path: Path) -> None:
        """Raises for a file that cannot be read."""

    def describe(self) -> dict[str, Any]:
        """What predictions depend on beside the file."""

    def write(self, path: Path) -> tuple[list[dict[str, Any]], str]:
        """Writes the pictures of a file; returns its predictions as plain values, and a line to be shown."""


class ImageWriter:
    """Points in photographs."""

    def __init__(self, trained: Trained, command: PredictCommand) -> None:
        self.predictor = Predictor(trained, flip_test=command.flip_test)
        self.describe = self.predictor.describe
        self.command = command

    def look(self, path: Path) -> None:
        """Decodes a photograph."""
        load_image(path)

    def write(self, path: Path) -> tuple[list[dict[str, Any]], str]:
        """Draws all objects into one picture."""
        found = self.predictor(path, boxes=self.command.box or None)
        picture = self.command.out / f"{path.stem}.points.png"
        plot_all(found, picture, level=self.command.level or LEVEL)
        sure = sum(float(item.confidence.mean()) for item in found) / len(found)
        return [item.to_dict() for item in found], f"{len(found)} found, mean confidence {sure:.3f} -> {picture}"


class ScanWriter:
    """Surfaces in scans."""

    def __init__(self, trained: Trained, command: PredictCommand) -> None:
        self.predictor = ScanPredictor(trained, flip_test=command.flip_test)
        self.describe = self.predictor.describe
        self.command = command

    def look(self, path: Path) -> None:
        """Decodes a scan, or all scans of a Spectralis volume."""
        for _, source in _scans_of(path):
            load_scan(source)

    def write(self, path: Path) -> tuple[list[dict[str, Any]], str]:
        """Draws the surfaces with their bands, and the thickness of the layers: two pictures per scan."""
        found = []
        for name, source in _scans_of(path):
            item = self.predictor(source, axial_um=self.command.axial_um)
            picture = item.plot(self.command.out / f"{name}.surfaces.png")
            if len(item.names) > 1:
                item.thickness(self.command.out / f"{name}.thickness.png")
            found.append(item)
        deviation = sum(float(item.std_px.mean()) for item in found) / len(found)
        scans = f"{len(found)} scans, " if len(found) > 1 else ""
        line = f"{scans}{len(found[0].names)} surfaces, mean deviation {deviation:.2f} px -> {picture}"
        return [item.to_dict() for item in found], line


def _scans_of(path: Path) -> list[tuple[str, Path | VolSlice]]:
    """The scans in a file: a name for pictures, and what is read."""
    if path.suffix.lower() != ".vol":
        return [(path.stem, path)]
    number = read_vol_header(path).num_scans
    return [(f"{path.stem}.{index:03d}", VolSlice(path, index)) for index in range(number)]


class CloudWriter:
    """Keypoints on point clouds."""

    def __init__(self, trained: Trained, command: PredictCommand) -> None:
        self.predictor = CloudPredictor(trained)
        self.describe = self.predictor.describe
        self.command = command

    def look(self, path: Path) -> None:
        """Reads a cloud, and refuses it where its keypoints cannot be located."""
        self.predictor.check(path)

    def write(self, path: Path) -> tuple[list[dict[str, Any]], str]:
        """Writes a page with the cloud, its maps and keypoints."""
        found = self.predictor(path)
        page = self.command.out / f"{path.stem}.points.html"
        found.view(page)
        line = f"{len(found.points)} keypoints, mean confidence {float(found.confidence.mean()):.3g} -> {page}"
        return [found.to_dict()], line


WRITERS: dict[str, Callable[[Trained, PredictCommand], Writer]] = {
    "image": ImageWriter,
    "scan": ScanWriter,
    "cloud": CloudWriter,
    "skeleton": CloudWriter,
}
