"""`heatpoint demo`: three methods on rendered faces, one table, one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True)
class DemoCommand:
    """Train one network three times under the same budget, with soft-argmax, sampling-argmax and randomized rounding.

    Prints one table of errors and correlations, and writes a page with maps, points and ellipses. Needs no data and at
    most three minutes on two cores.
    """

    data: Literal["synthetic", "faces300w"] = "synthetic"
    """synthetic: rendered faces with exact truth. faces300w: real ones, from the folder of the data sets; takes longer."""
    data_root: Path | None = None
    """Folder that holds faces300w/. Left out: the environment variable HEATPOINT_DATA."""
    out: Path = Path("heatpoint-demo")
    """Folder for the page and the weights; those of an earlier demo are replaced."""
    epochs: int | None = None
    """Passes over the training faces. Left out: 8 on rendered faces, 12 on real ones."""
    limit: int | None = None
    """Use only the first so many faces of each split, 0 for all. Left out: 1000 rendered faces, all real ones."""
    seed: int = 0
    """Of weights, order, augmentation and samples."""


def run(arguments: Sequence[str]) -> None:
    """Runs the verb."""
    command = tyro.cli(DemoCommand, prog="heatpoint demo", args=list(arguments))
    from heatpoint.report.demo import run_demo

    run_demo(
        data=command.data,
        out=command.out,
        data_root=command.data_root,
        epochs=command.epochs,
        limit=command.limit,
        seed=command.seed,
    )
