"""What the published U-Net of irdlayers scores on the same scans and columns as ours: mean |row error| and its spread.

    python benchmarks/irdlayers_unet.py
    python benchmarks/irdlayers_unet.py --split train --data-root shared/data

A boundary of the U-Net is where its mask changes, by the rule that made the set's own (`heatpoint.datasets.irdlayers.mask_rows`):
the first row of class 1, 2, 3 and the first row below class 3, less ½. Where a column has no class 2 the ONL has no thickness and
its upper boundary is its lower; a column that lacks class 1 or 3 has no such boundary, is counted and not scored. The same is
printed for the largest connected piece of the mask alone, since stray pixels are the U-Net's largest errors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from heatpoint.datasets import load_scan, read_irdlayers, resolve_data_root, unet_rows
from heatpoint.datasets.irdlayers import SURFACES

STATED = {"train": (0.34, 1.22, 0.64, 1.15), "test": (0.23, 1.47, 0.43, 0.54)}


def table(root: Path, split: str, largest_piece: bool) -> list[str]:
    """The lines of one table: per boundary and over all; then the scans with the largest errors and what is missing."""
    scans = read_irdlayers(root, split).samples
    found = unet_rows(root, split, largest_piece=largest_piece)
    errors, seen, means = [], [], {}
    for scan in scans:
        rows, visible = found[scan.key]
        both = scan.visible & visible
        error = np.where(both, np.abs(rows - scan.rows), np.nan)
        errors.append(error)
        seen.append((int(scan.visible.sum()), int(both.sum())))
        means[scan.key] = float(np.nanmean(error))
    whole = np.concatenate(errors, axis=1)
    parts = [*zip(SURFACES, whole, STATED[split], strict=True), ("all", whole.ravel(), float(np.mean(STATED[split])))]
    lines = [f"{'boundary':14} {'mean':>7} {'std':>7} {'95 %':>7} {'largest':>8} {'README':>7}"]
    for name, values, stated in parts:
        kept = values[~np.isnan(values)]
        numbers = f"{kept.mean():7.3f} {kept.std():7.3f} {np.quantile(kept, 0.95):7.2f} {kept.max():8.1f} {stated:7.2f}"
        lines.append(f"{name:14} {numbers}")
    spread = np.std(list(means.values()))
    worst = sorted(means, key=lambda key: -means[key])[:3]
    annotated, scored = (sum(pair[i] for pair in seen) for i in (0, 1))
    lines.append(f"spread over scans of their means: {spread:.3f}")
    lines.append("largest means: " + ", ".join(f"{key} {means[key]:.2f}" for key in worst))
    lines.append(f"rows scored: {scored} of {annotated} annotated; {annotated - scored} have no boundary of the U-Net")
    for tag in ("healthy", "ird"):
        part = np.concatenate([e for e, s in zip(errors, scans, strict=True) if tag in s.tags], axis=1)
        lines.append(
            f"{tag}: {' '.join(f'{value:.3f}' for value in np.nanmean(part, axis=1))}, all {np.nanmean(part):.3f}"
        )
    return lines


def without_onl(root: Path, split: str) -> tuple[int, int]:
    """Columns whose mask has no class 2, and all columns."""
    masks = [np.rint(255 * load_scan(root / split / f"{key}_unet.png")) for key in unet_rows(root, split)]
    return sum(int((~(mask == 2).any(axis=0)).sum()) for mask in masks), sum(mask.shape[1] for mask in masks)


def main() -> None:
    """Prints both tables of a split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("train", "test"), default="test")
    parser.add_argument("--data-root", default=None, help="the folder that holds oct/irdlayers; else HEATPOINT_DATA")
    arguments = parser.parse_args()
    root = resolve_data_root(arguments.data_root) / "oct" / "irdlayers"
    print(f"irdlayers {arguments.split}: |row error| in rows of the scan, over all annotated columns")
    for largest_piece, title in ((False, "the mask as it is"), (True, "the largest connected piece of the mask")):
        print(f"\n{title}")
        print("\n".join(table(root, arguments.split, largest_piece)))
    missing, columns = without_onl(root, arguments.split)
    print(f"\ncolumns without class 2, taken as an ONL of no thickness: {missing} of {columns}")


if __name__ == "__main__":
    main()
