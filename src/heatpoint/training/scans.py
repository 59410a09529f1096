"""Surfaces in scans: a map along the rows for every surface and column."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from heatpoint._checks import message
from heatpoint.datasets.scan import ScanSet, load_scan
from heatpoint.datasets.whole_files import is_whole_picture
from heatpoint.localizers import Localizer
from heatpoint.models import SurfaceNet
from heatpoint.recipes.config import Recipe
from heatpoint.recipes.scan_config import ScanDataConfig
from heatpoint.skeleton import Skeleton
from heatpoint.support import Support
from heatpoint.training.scan_data import (
    AXIAL_UM,
    ScanBatch,
    ScanDataset,
    read_scans,
    spacing_of_training,
    stored_spacing,
    with_spacing,
)
from heatpoint.training.scan_losses import label_loss, label_maps
from heatpoint.training.scan_scores import score_scans
from heatpoint.training.surfaces import located_rows
from heatpoint.training.task import Monitor, Task, std_for_values
from heatpoint.training.weights import Trained

SPLITS = ("train", "validation", "test")
# Channels of the networks, from full resolution down.
WIDTHS: dict[str, tuple[int, ...]] = {"surface": (64, 64, 64, 64, 64), "surface_small": (16, 24, 32, 48, 48)}


class ScanTask(Task):
    """Surfaces in scans, validated by the mean distance of located rows in rows of the scan."""

    name: ClassVar[str] = "scan"
    counted: ClassVar[str] = "scans"
    free: ClassVar[tuple[str, ...]] = ("dataset", "flip_test", "axial_um", "limit")
    network: ClassVar[tuple[str, ...]] = ("network",)

    def read_split(self, data: ScanDataConfig, root: Path | None, split: str) -> ScanSet:
        """See `read_scans`."""
        return read_scans(data, root, split)

    def fingerprint(self, found: Any) -> str:
        """A digest of names, rows, visibility and spacing of the scans, in order."""
        digest = hashlib.sha256(f"{found.name}/{found.split}".encode())
        for scan in found.samples:
            digest.update(f"{scan.key}{scan.axial_um}".encode())
            digest.update(scan.rows.tobytes() + scan.visible.tobytes())
        return digest.hexdigest()

    def check_samples(self, found: Any, data: ScanDataConfig) -> None:
        """Looks at both ends of every file; decodes none that is whole.

        Raises:
            FileNotFoundError: If a scan is missing.
            ValueError: If a scan is not whole, or no surface is visible anywhere in the set.
        """
        for path in dict.fromkeys(scan.image for scan in found.samples if isinstance(scan.image, Path)):
            if not is_whole_picture(path):
                load_scan(path)  # Says what is wrong.
        if not any(scan.visible.any() for scan in found.samples):
            raise ValueError(message("train", "dataset", "have a visible surface in some scan", repr(found)))

    def build_model(self, recipe: Recipe, num_points: int, *, pretrained: bool = False) -> tuple[nn.Module, Support]:
        """The residual U-Net and the grid of its rows; nobody publishes weights of it.

        Raises:
            ValueError: If it is to emit two channels per surface.
        """
        if recipe.localizer_options.get("channels", 1) != 1:
            remedy = "Networks of surfaces emit one map per surface and column."
            raise ValueError(message("train", "channels", "be 1", recipe.localizer_options["channels"], remedy))
        model = SurfaceNet(
            num_points,
            input_size=recipe.data.size,
            widths=WIDTHS[recipe.model.network],
            num_labels=num_points + 1 if recipe.model.label_weight else 0,
        )
        return model, model.grid(recipe.model.offset)

    def first_std(self, recipe: Recipe) -> float | None:
        """Small for maps of values."""
        return std_for_values(recipe)

    def facts(self, recipe: Recipe, train_set: Any, validation_set: Any) -> dict[str, Any]:
        """The spacing by which scans without one are flattened, see `spacing_of_training`."""
        return {AXIAL_UM: spacing_of_training(recipe.data, train_set, validation_set)}

    def dataset(self, found: Any, recipe: Recipe, *, is_training: bool) -> ScanDataset:
        """Scans, flattened and cut, kept in memory decoded."""
        # A median is stored only where every scan has a spacing of its own, so none is flattened by it here.
        spacing = recipe.data.axial_um or None
        if is_training:
            return ScanDataset(found, recipe.data, augmentation=recipe.augmentation, seed=recipe.seed, axial_um=spacing)
        return ScanDataset(found, recipe.data, axial_um=spacing)

    def collate(self, examples: Sequence[Any]) -> ScanBatch:
        """Stacks examples."""
        return ScanBatch(
            torch.stack([example.image for example in examples]),
            torch.stack([example.rows for example in examples]),
            torch.stack([example.visible for example in examples]),
            torch.tensor([example.frame.rows_per_input_row for example in examples], dtype=torch.float32),
            torch.tensor([example.index for example in examples]),
        )

    def loss(
        self,
        model: nn.Module,
        localizer: Localizer,
        batch: ScanBatch,
        recipe: Recipe,
        *,
        progress: float,
        generator: torch.Generator,
    ) -> Tensor:
        """The localizer's loss over visible rows, and by their weights the labelling of pixels and the error after ordering."""
        given, weight = recipe.model, batch.visible.to(torch.float32)
        labels = None
        if given.label_weight:
            network: Any = model
            logits, labels = network.with_labels(batch.images)
        else:
            logits = model(batch.images)
        total = localizer.loss(logits, batch.rows[..., None], weight=weight, progress=progress, generator=generator)
        if labels is not None:
            target, counts = label_maps(batch.rows, batch.visible, num_rows=labels.shape[-2])
            total = total + given.label_weight * label_loss(labels, target, counts)
        if given.order_weight:
            errors = (located_rows(localizer, logits, ordering=given.ordering) - batch.rows).abs() * weight
            total = total + given.order_weight * errors.sum() / weight.sum().clamp(min=1)
        return total

    def check_split(self, recipe: Recipe, train_set: Any, validation_set: Any) -> None:
        """Raises ValueError if no held-out scan has a surface."""
        if len(validation_set) and not any(scan.visible.any() for scan in validation_set.samples):
            remedy = "Hold out more with --validation-fraction, or nothing with 0."
            rule = "hold out a scan with a visible surface"
            raise ValueError(message("train", "validation_fraction", rule, len(validation_set), remedy))

    def check_localizer(self, recipe: Recipe, localizer: Localizer) -> None:
        """Raises ValueError for `order_weight` beside a readout without a gradient, which that loss would not reach."""
        if not recipe.model.order_weight:
            return
        logits = torch.linspace(0, 1, localizer.grid.num_cells).square().requires_grad_()
        points = localizer.locate(logits).points
        if not points.requires_grad or not bool(torch.autograd.grad(points.sum(), logits)[0].any()):
            rule, remedy = "be 0 where the readout has no gradient", "Take the readout soft_argmax, or leave it out."
            raise ValueError(message("train", "order_weight", rule, repr(localizer.readout), remedy))

    def monitor(self, recipe: Recipe) -> Monitor:
        """The mean absolute distance in rows of the scan."""
        return Monitor("validation_mad_px", "MAD", digits=3, unit="px")

    def validation_errors(self, model: nn.Module, localizer: Localizer, batch: ScanBatch, recipe: Recipe) -> Tensor:
        """Mean distance (n,) of each scan with a visible surface, in its rows, at the columns of the input."""
        rows = located_rows(localizer, model(batch.images), ordering=recipe.model.ordering)
        weight = batch.visible.to(rows.dtype)
        count = weight.sum(dim=(1, 2))
        errors = ((rows - batch.rows).abs() * weight).sum(dim=(1, 2)) / count.clamp(min=1)
        return (errors * batch.rows_per_input_row)[count > 0]

    def score(
        self,
        trained: Trained,
        localizers: Mapping[str, Localizer],
        found: Any,
        *,
        flip_test: bool | None,
        batch_size: int,
        workers: int,
        device: str,
    ) -> dict[str, Any]:
        """See `scores_of_surfaces`; the recipe's `axial_um` turns rows into micrometres, and changes no row."""
        data = trained.recipe.data
        scores = score_scans(
            trained,
            localizers,
            with_spacing(found, data.axial_um),
            ScanDataset(found, data, axial_um=stored_spacing(trained), cache_megabytes=0),
            flip_test=data.flip_test if flip_test is None else flip_test,
            batch_size=batch_size,
            workers=workers,
            device=device,
        )
        return {"scores": scores}

    def protocol(self, recipe: Recipe, skeleton: Skeleton, found: Any, *, flip_test: bool | None) -> dict[str, Any]:
        """What a score of surfaces depends on."""
        data = recipe.data
        shown = [key for key in found.protocol if key not in SPLITS or key == found.split]
        spacings = {scan.axial_um or data.axial_um or None for scan in found.samples}
        return {
            "dataset": found.name,
            "split": found.split,
            **{f"dataset_{key}": value for key, value in found.protocol.items() if key in shown},
            "input": data.input,
            "flatten": data.flatten,
            "crop_rows": data.crop_rows,
            "offset": recipe.model.offset,
            "ordering": recipe.model.ordering,
            "flip_test": data.flip_test if flip_test is None else flip_test,
            "scored": "all columns of the scan with a truth, in its pixels",
            "axial_um": sorted(spacings, key=str) if len(spacings) > 1 else next(iter(spacings), None),
            "limit": data.limit,
        }
