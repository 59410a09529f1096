"""Trained weights as a function from scans to surfaces."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heatpoint._checks import check_real, message
from heatpoint.datasets.scan import GreyImage, Scan, ScanImage, load_scan
from heatpoint.datasets.spectralis_vol import VolSlice
from heatpoint.frames import BoolArray, FloatArray
from heatpoint.skeleton import Skeleton
from heatpoint.training.machine import check_device
from heatpoint.training.scan_data import stored_spacing
from heatpoint.training.surfaces import LEVEL, locate_surfaces, to_scan
from heatpoint.training.weights import CONVENTIONS, Trained, load_weights
from heatpoint.transforms.scans import make_scan_example


@dataclass(frozen=True, eq=False)
class ScanPrediction:
    """The surfaces of one scan, in its rows and at all its columns.

    Attributes:
        rows: (S, W), pixel centres at whole numbers, ordered if the recipe orders them.
        std_px: (S, W) standard deviation of the map, in rows.
        low: (S, W) upper end of the band that holds a share `level` of the map.
        high: (S, W) its lower end.
        confidence: (S, W), larger is surer; what it measures is the localizer's choice.
        shown: (W,) which columns the network was shown; what stands at the others is that of the nearest one.
        skeleton: Names of the surfaces, top to bottom.
        image: The scan, (H, W) float32 in [0, 1].
        source: Where it came from; "" for an array.
        axial_um: Micrometres per row, None if not known.
        lateral_um: Micrometres per column, None if not known.
        level: Of the bands.
    """

    rows: FloatArray
    std_px: FloatArray
    low: FloatArray
    high: FloatArray
    confidence: FloatArray
    shown: BoolArray
    skeleton: Skeleton
    image: GreyImage = field(repr=False)
    source: str = ""
    axial_um: float | None = None
    lateral_um: float | None = None
    level: float = LEVEL

    @property
    def names(self) -> tuple[str, ...]:
        """The surfaces' names, top to bottom."""
        return self.skeleton.names

    @property
    def bands(self) -> FloatArray:
        """(S, 2, W) both ends of the bands."""
        return np.stack([self.low, self.high], axis=1)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the S − 1 layers between neighbouring surfaces, "ILM to RPE"."""
        return tuple(f"{above} to {below}" for above, below in zip(self.names, self.names[1:], strict=False))

    @property
    def unit(self) -> str:
        """Of `layer_thickness`: "µm" if the spacing of rows is known, else "px"."""
        return "px" if self.axial_um is None else "µm"

    def layer_thickness(self) -> FloatArray:
        """(S − 1, W) distance between neighbouring surfaces along the column, in micrometres, or in rows without `axial_um`.

        Below 0 where surfaces cross, which only an ordering forbids.
        """
        return np.diff(self.rows, axis=0) * (1.0 if self.axial_um is None else self.axial_um)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: names, rows, deviations, bands, confidences, which columns were shown, spacings, source."""
        return {
            "source": self.source,
            "names": list(self.names),
            "rows": self.rows.tolist(),
            "std_px": self.std_px.tolist(),
            "level": self.level,
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "confidence": self.confidence.tolist(),
            "shown": self.shown.tolist(),
            "axial_um": self.axial_um,
            "lateral_um": self.lateral_um,
        }

    def plot(self, path: str | Path, *, truth: FloatArray | None = None, visible: BoolArray | None = None) -> Path:
        """Draws the scan with its surfaces and bands; `truth` (S, W) as white dots where `visible`.

        Raises:
            ValueError: If the path does not end in .png, .svg or .pdf, or truth has another shape.
        """
        from heatpoint.report.scan_figures import save_figure, scan_figure

        figure = scan_figure(self.image, self.rows, self.low, self.high, names=self.names, truth=truth, visible=visible)
        return save_figure(figure, path)

    def thickness(self, path: str | Path) -> Path:
        """Draws the thickness of every layer along the columns.

        Raises:
            ValueError: If there is a single surface, which bounds no layer, or the path does not end in .png, .svg or .pdf.
        """
        from heatpoint.report.scan_figures import save_figure, thickness_figure

        if len(self.rows) < 2:
            raise ValueError(message("ScanPrediction.thickness", "rows", "hold at least 2 surfaces", len(self.rows)))
        figure = thickness_figure(self.layer_thickness(), names=self.layers, unit=self.unit, lateral_um=self.lateral_um)
        return save_figure(figure, path)


class ScanPredictor:
    """Locates surfaces in scans, which are flattened, cropped and resized as in training.

    Args:
        trained: Network, localizer, recipe and skeleton.
        flip_test: Average over the scan and its mirror image; None takes the recipe's choice.
        device: Where the network runs; None leaves it where it is.

    Raises:
        ValueError: If the weights are not those of a network of surfaces.
    """

    def __init__(
        self, trained: Trained, *, flip_test: bool | None = None, device: torch.device | str | None = None
    ) -> None:
        if trained.recipe.task != "scan":
            remedy = "heatpoint.inference has a predictor for each kind of data."
            raise ValueError(
                message("ScanPredictor", "trained", "locate surfaces in scans", trained.recipe.name, remedy)
            )
        self.trained = trained
        self.flip_test = trained.recipe.data.flip_test if flip_test is None else flip_test
        own = next(trained.model.parameters()).device
        self.device = own if device is None else check_device("ScanPredictor", device)
        trained.model.to(self.device).eval()

    @classmethod
    def load(
        cls, path: str | Path, *, flip_test: bool | None = None, device: torch.device | str = "cpu"
    ) -> ScanPredictor:
        """Loads the weights that `heatpoint train` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is not one of heatpoint's, or of another kind of data.
        """
        return cls(load_weights(path, device=device), flip_test=flip_test, device=device)

    def __repr__(self) -> str:
        recipe = self.trained.recipe
        return f"ScanPredictor({recipe.name!r}, input={recipe.data.input}, flatten={recipe.data.flatten})"

    def describe(self) -> dict[str, Any]:
        """What predictions depend on beside the scan; plain JSON values."""
        recipe = self.trained.recipe
        return {
            "recipe": recipe.name,
            "seed": recipe.seed,
            "input": list(recipe.data.input),
            "flatten": recipe.data.flatten,
            "crop_rows": recipe.data.crop_rows,
            "ordering": recipe.model.ordering,
            "flip_test": self.flip_test,
            "level": LEVEL,
            "conventions": CONVENTIONS,
        }

    def __call__(self, source: Scan | ScanImage | str, *, axial_um: float | None = None) -> ScanPrediction:
        """Locates all surfaces of one scan.

        Args:
            source: A path, (H, W) uint8 or floating in [0, 1], a slice of a volume, or a Scan, whose own surfaces are
                not looked at. It is flattened by its own spacing of rows, which slices of .vol files and Scans may have, or
                else by that of the scans in training, which the weights store.
            axial_um: Micrometres per row in which thickness is told; None takes the source's, or the recipe's. It changes
                no row: to flatten by another spacing, give a Scan that has it.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the scan cannot be read, the spacing is not greater than 0, or the network's rows are not finite.
        """
        if axial_um is not None:
            check_real("ScanPredictor", "axial_um", axial_um, "be greater than 0", above=0)
        image = load_scan(source)
        shape = (self.trained.skeleton.num_points, image.shape[1])
        data = self.trained.recipe.data
        own_um, lateral_um = _spacings(source)
        flatten_um = stored_spacing(self.trained) if own_um is None else own_um
        scan = Scan(image, np.zeros(shape), np.zeros(shape, dtype=np.bool_), key="", axial_um=flatten_um)
        example = make_scan_example(scan, size=data.size, flatten=data.flatten, crop_rows=data.crop_rows)
        surfaces = locate_surfaces(
            self.trained.model,
            {"": self.trained.localizer},
            example.image[None].to(self.device),
            ordering=self.trained.recipe.model.ordering,
            flip_test=self.flip_test,
        )[""]
        found = to_scan(surfaces, 0, example.frame)
        if not np.isfinite(found.rows).all():
            remedy = "The training has diverged: train again, at a lower learning rate."
            raise ValueError(message("ScanPredictor", "the weights", "give finite rows", "NaN or infinity", remedy))
        return ScanPrediction(
            rows=found.rows,
            std_px=np.sqrt(found.variance),
            low=found.low,
            high=found.high,
            confidence=found.confidence,
            shown=example.frame.shown,
            skeleton=self.trained.skeleton,
            image=image,
            source=_name_of(source),
            axial_um=next((um for um in (axial_um, own_um) if um is not None), data.axial_um or None),
            lateral_um=lateral_um,
        )


def _spacings(source: Scan | ScanImage | str) -> tuple[float | None, float | None]:
    """Micrometres per row and per column, as far as the source says."""
    if isinstance(source, Scan):
        return source.axial_um, source.lateral_um
    return source.spacings() if isinstance(source, VolSlice) else (None, None)


def _name_of(source: Scan | ScanImage | str) -> str:
    if isinstance(source, Scan):
        return source.key
    return "" if isinstance(source, np.ndarray) else str(source)
