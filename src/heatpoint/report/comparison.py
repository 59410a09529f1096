"""Recipes trained one after the other on one test set, and what each located there."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from heatpoint.datasets import PointSet
from heatpoint.frames import FloatArray
from heatpoint.recipes import Recipe
from heatpoint.training.evaluation import OWN
from heatpoint.training.files import write_bytes
from heatpoint.training.fitting import fit
from heatpoint.training.image_scores import locate_set
from heatpoint.training.weights import Trained, load_weights

COLUMNS = ("error, px", "NME, %", "correlation", "seconds")


@dataclass(frozen=True)
class Trial:
    """One recipe of a comparison.

    Attributes:
        name: Of its localizer.
        trained: Network and localizer.
        weights: The file they stand in.
        points: (N, K, 2) what it located on the test images, in image pixels.
        errors: (N, K) distances to the truth in image pixels; NaN where a point is not annotated.
        confidence: (N, K).
        report: What `heatpoint evaluate` would print, protocol and all.
        seconds: Spent on training and scoring.
    """

    name: str
    trained: Trained
    weights: Path
    points: FloatArray
    errors: FloatArray
    confidence: FloatArray
    report: dict[str, Any]
    seconds: float

    @property
    def error_px(self) -> float:
        """Mean distance to the truth, in image pixels."""
        return float(np.nanmean(self.errors))

    @property
    def nme(self) -> float:
        """Mean over the images of the mean error, as a share of the skeleton's default normaliser."""
        return float(self.report["scores"][OWN]["nme"][self.trained.skeleton.default_normalizer])

    @property
    def correlation(self) -> float:
        """Pearson correlation over all points of confidence with correctness, the negative normalised error."""
        return float(self.report["scores"][OWN]["correlation"]["confidence"]["point"])

    @property
    def numbers(self) -> tuple[str, ...]:
        """The row of a table, in the order of `COLUMNS`."""
        return f"{self.error_px:.2f}", f"{100 * self.nme:.2f}", f"{self.correlation:.2f}", f"{self.seconds:.0f}"


def run_trial(recipe: Recipe, test_set: PointSet, *, weights: Path, data_root: Path | None, console: Console) -> Trial:
    """Trains a recipe, writes its best weights, and locates the points of the test set.

    The run itself happens in a folder that is removed, so that a comparison can be repeated in place, and one that is
    stopped leaves no half of a run.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="heatpoint-") as folder:
        result = fit(recipe, out=Path(folder, "run"), data_root=data_root, console=console)
        write_bytes(weights, result.paths["best"].read_bytes())
    trained = load_weights(weights)
    found = locate_set(trained, {OWN: trained.localizer}, test_set, flip_test=recipe.data.flip_test)[OWN]
    truth = np.stack([sample.points for sample in test_set.samples])
    visible = np.stack([sample.visible for sample in test_set.samples])
    distance = np.linalg.norm(found.points.numpy() - truth, axis=-1)
    return Trial(
        name=recipe.localizer,
        trained=trained,
        weights=weights,
        points=found.points.numpy(),
        errors=np.where(visible, distance, np.nan),
        confidence=found.confidence.numpy(),
        report=result.scores,
        seconds=time.perf_counter() - started,
    )


def result_table(trials: Sequence[Trial], *, title: str) -> Table:
    """One row per trial, for a terminal."""
    table = Table(title=title, title_justify="left")
    table.add_column("localizer", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for trial in trials:
        table.add_row(trial.name, *trial.numbers)
    return table


def best_rows(trials: Sequence[Trial]) -> list[int | None]:
    """For each of `COLUMNS` the index of the best trial; None for the time, which is no merit."""
    errors = [trial.error_px for trial in trials]
    nmes = [trial.nme for trial in trials]
    correlations = [trial.correlation for trial in trials]
    return [int(np.argmin(errors)), int(np.argmin(nmes)), int(np.argmax(correlations)), None]
