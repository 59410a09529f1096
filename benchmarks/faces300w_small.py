"""Every method of both papers on 300-W faces at 64 pixels, under one budget: trains what is missing, prints Markdown tables.

    OMP_NUM_THREADS=1 python benchmarks/faces300w_small.py --data-root FOLDER --out runs/faces300w --seeds 0 1 2

A run whose scores.json exists is not trained again, and one that was cut off is resumed, so the command may be stopped at
any time, and two of them may share the work on a folder if they are given different seeds. docs/results.md holds its output.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that this file runs by its path too

from benchmarks.markdown import table
from heatpoint.recipes import Recipe, get_recipe
from heatpoint.training import evaluate, fit

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "soft_argmax": ("soft_argmax", {}),
    "soft_argmax-sign": ("soft_argmax", {"sign_gradient": True}),
    "sampling_argmax": ("sampling_argmax", {}),
    "sampling_argmax-released": ("sampling_argmax", {"formula": "released"}),
    "sampling_argmax-released-sign": ("sampling_argmax", {"formula": "released", "sign_gradient": True}),
    "randomized_rounding": ("randomized_rounding", {}),
    "randomized_rounding-expected": ("randomized_rounding", {"label": "expected"}),
    "gaussian_heatmap": ("gaussian_heatmap", {}),
    "log_score": ("log_score", {}),
    "crps": ("crps", {}),
    "energy_score": ("energy_score", {}),
}
DECODERS = ("soft_argmax", "argmax", "quarter_shift", "top_k:k=9", "window")


def recipe_of(row: str, seed: int) -> Recipe:
    """The recipe of a row: the small variant with the row's options."""
    localizer, options = ROWS[row]
    base = get_recipe(f"faces300w-{localizer}-small")
    return replace(base, localizer_options={**base.localizer_options, **options}, seed=seed)


def scores_of(row: str, seed: int, out: Path, data_root: Path | None) -> dict[str, Any]:
    """The scores of one run, after training it if they are not there."""
    folder = out / f"{row}-seed{seed}"
    if not (folder / "scores.json").exists():
        fit(recipe_of(row, seed), out=folder, data_root=data_root, resume=(folder / "recipe.json").exists())
    found = json.loads((folder / "scores.json").read_text())
    # A recipe's note is for people and changes no number.
    if replace(Recipe.from_dict(found["recipe_fields"]), note="") != replace(recipe_of(row, seed), note=""):
        raise SystemExit(f"{folder} holds a run of another recipe; give another --out.")
    return found


def decoded(row: str, seed: int, out: Path, data_root: Path | None) -> dict[str, float]:
    """NME of the same weights under each decoder."""
    path = out / f"{row}-seed{seed}" / "decoders.json"
    if not path.exists():
        model = path.parent / "model.safetensors"
        scores = evaluate(model, data_root=data_root, readouts=DECODERS)["scores"]
        path.write_text(json.dumps({name: scores[name]["nme"]["inter_ocular"] for name in DECODERS}))
    return json.loads(path.read_text())


def spread(values: list[float], digits: int = 2) -> str:
    """Mean ± standard deviation over the seeds."""
    text = f"{mean(values):.{digits}f}"
    return f"{text} ± {stdev(values):.{digits}f}" if len(values) > 1 else text


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/faces300w"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    arguments = parser.parse_args()
    first, second = [], []
    for row in arguments.rows:
        runs = [scores_of(row, seed, arguments.out, arguments.data_root) for seed in arguments.seeds]
        own = [run["scores"]["recipe"] for run in runs]
        first.append(
            [
                row,
                spread([100 * s["nme"]["inter_ocular"] for s in own]),
                spread([100 * s["failure_rate"] for s in own], 1),
                spread([s["area_under_curve"] for s in own], 3),
                spread([s["correlation"]["peak"]["point"] for s in own]),
                spread([s["correlation"]["peak"]["face"] for s in own]),
                spread([run["seconds_per_epoch"] for run in runs], 1),
            ]
        )
        readings = [decoded(row, seed, arguments.out, arguments.data_root) for seed in arguments.seeds]
        second.append([row, *(spread([100 * r[name] for r in readings]) for name in DECODERS)])
    print(table(["training", "NME %", "FR %", "AUC", "r, points", "r, faces", "s / epoch"], first))
    print("\n" + table(["training", *DECODERS], second))


if __name__ == "__main__":
    main()
