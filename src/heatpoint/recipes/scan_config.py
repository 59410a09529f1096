"""The parts of a recipe for surfaces in scans: which scans, what is shown of them, and the network that emits maps along rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from heatpoint._checks import message, missing_package

try:
    import tyro
except ModuleNotFoundError as error:
    raise missing_package("heatpoint.recipes", error) from error


@dataclass(frozen=True)
class ScanDataConfig:
    """Which scans, and what the network is shown of them."""

    task: ClassVar[str] = "scan"

    dataset: str = "irdlayers"
    """Name of the data set (heatpoint.datasets.SCANS)."""
    input: tuple[int, int] = (128, 1024)
    """Width and height of the network's input: columns and rows."""
    flatten: bool = True
    """Shift the columns so that a line found in the scan itself lies level before rows are cut off."""
    crop_rows: int = 0
    """Rows of the flattened scan that are shown, about the line. 0: all of them."""
    axial_um: float = 0.0
    """Micrometres per row of scans whose files do not say, by which they are flattened too; another one in testing changes
    scores in micrometres alone. 0: unknown, and nothing is reported in micrometres."""
    validation_fraction: float = 0.1
    """Share of the training split that is held out to choose the best epoch. 0: none is, and the last epoch is kept."""
    test_split: str = "test"
    """Split that the best epoch is scored on at the end. Empty: none."""
    flip_test: bool = False
    """Average what is found in each scan and in its mirror image, when testing."""
    limit: int = 0
    """Use only the first so many scans of each split. 0: all."""
    train_limit: int = 0
    """Train on only so many scans, drawn by `limit_seed` after the hold-out. 0: all."""
    limit_seed: int = 0
    """Which scans `train_limit` draws."""

    def __post_init__(self) -> None:
        name = type(self).__name__
        _require(name, "input", min(self.input) >= 16, "be at least 16 columns and 16 rows", self.input)
        _require(name, "crop_rows", self.crop_rows >= 0, "be at least 0", self.crop_rows)
        _require(name, "axial_um", self.axial_um >= 0, "be at least 0", self.axial_um)
        fraction = self.validation_fraction
        _require(name, "validation_fraction", 0 <= fraction < 1, "be from 0 to below 1", fraction)
        _require(name, "limit", self.limit >= 0, "be at least 0", self.limit)
        _require(name, "train_limit", self.train_limit >= 0, "be at least 0", self.train_limit)
        cropped = not self.crop_rows or self.flatten
        _require(name, "crop_rows", cropped, "be 0 where flatten is off: there is no line to cut about", self.crop_rows)

    @property
    def size(self) -> tuple[int, int]:
        """(columns, rows) of the network's input.

        >>> ScanDataConfig(input=(128, 160)).size
        (128, 160)
        """
        return self.input[0], self.input[1]


@dataclass(frozen=True)
class ScanModelConfig:
    """The network that emits a map along the rows for each surface and column."""

    network: Annotated[Literal["surface", "surface_small"], tyro.conf.arg(name="model")] = "surface"
    """surface: residual U-Net as wide as the paper's. surface_small: few channels, for one processor."""
    start: str = ""
    """A model.safetensors of ours with the same network to start from; its last layer is drawn anew. Empty: from scratch."""
    logits_std: float | None = None
    """Spread of the last layer's first weights. None: 0.001 for maps of values (gaussian_heatmap), else the network's own."""
    offset: float | None = None
    """Input row of the centre of cell 0. None: (stride - 1) / 2, which is 0 here: a cell is a row."""
    label_weight: float = 0.0
    """Weight in the loss of labelling each pixel with its layer (cross-entropy + Dice). 0: no such layer of the network."""
    ordering: Literal["none", "cumulative", "isotonic"] = "none"
    """How located rows are put in anatomical order when they are read."""
    order_weight: float = 0.0
    """Weight in the loss of the l1 error, in rows, of the located rows after ordering. 0: none."""

    def __post_init__(self) -> None:
        name = type(self).__name__
        _require(name, "label_weight", self.label_weight >= 0, "be at least 0", self.label_weight)
        _require(name, "order_weight", self.order_weight >= 0, "be at least 0", self.order_weight)
        ordered = not self.order_weight or self.ordering != "none"
        rule = "be 0 where ordering is none: there are no ordered rows"
        _require(name, "order_weight", ordered, rule, self.order_weight)


def _require(function: str, argument: str, holds: bool, rule: str, got: object) -> None:
    if not holds:
        raise ValueError(message(function, argument, rule, got))
