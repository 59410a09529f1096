"""From scans to batches: reading, decoded and flattened scans in memory, augmented examples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from heatpoint._checks import one_of
from heatpoint.datasets import SCANS, resolve_data_root, synthetic_scans
from heatpoint.datasets.scan import Scan, ScanSet, load_scan
from heatpoint.frames import FloatArray
from heatpoint.recipes.scan_config import ScanDataConfig
from heatpoint.training.seeding import AUGMENTATION, numpy_generator
from heatpoint.training.sets import limited
from heatpoint.training.weights import Trained
from heatpoint.transforms.scans import ScanAugmentation, ScanExample, flattening_rows, make_scan_example

# Sets that need no files.
RENDERED = {"synthetic_scans": synthetic_scans}
AXIAL_UM = "axial_um"  # In the header of weights.


class ScanBatch(NamedTuple):
    """What one step needs.

    Attributes:
        images: (B, 1, rows, columns) float32 in [0, 1].
        rows: (B, S, columns) float32, in input rows.
        visible: (B, S, columns) bool, False where there is nothing to learn.
        rows_per_input_row: (B,) float32, rows of the scan in one row of the input.
        places: (B,) int64, in the set.
    """

    images: Tensor
    rows: Tensor
    visible: Tensor
    rows_per_input_row: Tensor
    places: Tensor


@dataclass(frozen=True, eq=False)
class IndexedScan(ScanExample):
    """An example with its place in the set."""

    index: int = 0


class ScanDataset(Dataset[IndexedScan]):
    """Examples by (epoch, index): the same pair gives the same pixels in every run, process and order.

    Args:
        found: The scans.
        data: Input, flattening and cropping.
        augmentation: None for evaluation.
        seed: Of the run.
        axial_um: Micrometres per row by which scans are flattened that say none, see `spacing_of_training`.
        cache_megabytes: Decoded scans are kept until they fill this; the rest is decoded again each time.
    """

    def __init__(
        self,
        found: ScanSet,
        data: ScanDataConfig,
        *,
        augmentation: ScanAugmentation | None = None,
        seed: int = 0,
        axial_um: float | None = None,
        cache_megabytes: float = 2048.0,
    ) -> None:
        self.found = found
        self.data = data
        self.augmentation = augmentation
        self.seed = seed
        self.axial_um = axial_um
        self.samples: list[Scan] = list(found.samples)
        self._lines: dict[int, FloatArray] = {}
        self._room = cache_megabytes * 2**20

    def preload(self) -> None:
        """Decodes scans into memory and flattens them, before workers fork, until the room is used up. Broken files show here."""
        for index in range(len(self.samples)):
            if self._room <= 0:
                break
            self._line(index, self._decoded(index))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, item: tuple[int, int]) -> IndexedScan:
        epoch, index = item
        rng = numpy_generator(self.seed, AUGMENTATION, epoch, index) if self.augmentation else None
        scan = self._decoded(index)
        example = make_scan_example(
            scan,
            size=self.data.size,
            flatten=self.data.flatten,
            crop_rows=self.data.crop_rows,
            augmentation=self.augmentation,
            rng=rng,
            reference=self._line(index, scan),
        )
        return IndexedScan(**vars(example), index=index)

    def _decoded(self, index: int) -> Scan:
        scan = self.samples[index]
        if isinstance(scan.image, np.ndarray) and scan.image.dtype == np.float32:
            return scan
        pixels = load_scan(scan)
        scan = replace(scan, image=pixels)
        if self._room > 0:
            self._room -= pixels.nbytes
            self.samples[index] = scan
        return scan

    def _line(self, index: int, scan: Scan) -> FloatArray | None:
        """The line that the scan is flattened along, which takes as long to find as all the rest; found once."""
        if not self.data.flatten:
            return None
        if index not in self._lines:
            spacing = self.axial_um if scan.axial_um is None else scan.axial_um
            self._lines[index] = flattening_rows(load_scan(scan), axial_um=spacing)
        return self._lines[index]


def read_scans(data: ScanDataConfig, root: Path | None, split: str) -> ScanSet:
    """Reads one split of a set in `SCANS`, cut to `limit`; the spacings are those of the files.

    Raises:
        ValueError: If the data set is unknown.
        FileNotFoundError: If its folder is missing.
    """
    one_of("read_split", "dataset", data.dataset, SCANS)
    if data.dataset in RENDERED and data.limit:
        return RENDERED[data.dataset](data.limit, split=split)
    root = Path() if data.dataset in RENDERED else resolve_data_root(root)
    return limited(SCANS[data.dataset](root, split), data.limit)


def with_spacing(found: ScanSet, axial_um: float) -> ScanSet:
    """A set whose scans have this spacing of rows, in micrometres, where they have none; 0 leaves it open."""
    if not axial_um:
        return found
    samples = tuple(scan if scan.axial_um else replace(scan, axial_um=axial_um) for scan in found.samples)
    return replace(found, samples=samples)


def spacing_of_training(data: ScanDataConfig, *sets: Any) -> float | None:
    """Micrometres per row by which scans without a spacing are flattened: a network goes on seeing what it was trained on.

    Args:
        data: Its `axial_um`, if there is one, is what such scans have in training.
        sets: What is trained on and held out. If all its scans have a spacing, it is the median of these.

    Returns:
        None where neither says it: scans without a spacing were flattened as `flattening_rows` does without one.

    >>> spacing_of_training(ScanDataConfig(), synthetic_scans(2))
    3.87
    """
    if data.axial_um:
        return data.axial_um
    spacings = [scan.axial_um for found in sets for scan in found.samples]
    return median(spacings) if spacings and None not in spacings else None


def stored_spacing(trained: Trained) -> float | None:
    """What `spacing_of_training` was for these weights.

    Files that do not tell have that of the recipe that they were trained by, whatever testing has changed in it.
    """
    if AXIAL_UM in trained.header:
        stored: float | None = trained.header[AXIAL_UM]
        return stored
    recipe = trained.header.get("recipe") or trained.recipe.to_dict()
    return recipe["data"].get(AXIAL_UM) or None
