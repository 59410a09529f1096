"""`heatpoint evaluate MODEL`: scores with the protocol beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, UseAppendAction, arg

from heatpoint._checks import check_real, message


@dataclass(frozen=True)
class EvaluateCommand:
    """Score trained weights, and print the protocol that the score depends on."""

    model: Annotated[Path, Positional, arg(metavar="MODEL")]
    """A model.safetensors that `heatpoint train` has written."""
    readout: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME[:KEY=VALUE,…]")] = ()
    """Another way to read the same maps, such as top_k:k=25 or dark:sigma_cells=1; repeat it for more."""
    split: str | None = None
    """Split of the recipe's data set. Left out: the one that the recipe is tested on."""
    data_root: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Folder that holds the data sets. Left out: the environment variable HEATPOINT_DATA."""
    flip_test: bool | None = None
    """Average over the image or scan and its mirror image. Left out: as in the recipe."""
    batch_size: int = 32
    """Samples at a time."""
    workers: int = 0
    """Processes that prepare samples. 0: this process itself."""
    device: str = "cpu"
    """Where the network runs: cpu, cuda, mps."""
    limit: int | None = None
    """Use only the first so many samples."""
    axial_um: float | None = None
    """Scans: micrometres per row where the files do not say; only scores in micrometres depend on it. Left out: as in the
    recipe."""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """Also write the scores to this JSON file."""


def run(arguments: Sequence[str]) -> None:
    """Runs the verb."""
    command = tyro.cli(EvaluateCommand, prog="heatpoint evaluate", args=list(arguments))

    from heatpoint.cli.printing import make_console, print_scores
    from heatpoint.training import evaluate
    from heatpoint.training.files import write_json

    if command.out is not None and command.out.is_dir():
        raise ValueError(message("evaluate", "--out", "be a file to write", f"the folder {command.out}"))
    changes = {} if command.axial_um is None else _spacing(command.model, command.axial_um)
    found = evaluate(
        command.model,
        data_root=command.data_root,
        split=command.split,
        readouts=command.readout,
        flip_test=command.flip_test,
        batch_size=command.batch_size,
        workers=command.workers,
        device=command.device,
        limit=command.limit,
        changes=changes,
    )
    console = make_console()
    print_scores(found, console)
    if command.out is not None:
        write_json(command.out, found)
        console.print(f"scores: {command.out}", highlight=False, soft_wrap=True)


def _spacing(model: Path, axial_um: float) -> dict[str, float]:
    """The change of the recipe that the spacing is."""
    from heatpoint.training import read_header

    check_real("evaluate", "--axial-um", axial_um, "be greater than 0", above=0)
    task = read_header(model)["recipe"].get("task", "image")
    if task != "scan":
        raise ValueError(message("evaluate", "--axial-um", f"be left out for a model of a task {task!r}", axial_um))
    return {"data.axial_um": axial_um}
