"""Independent float64 loops for the metrics, and readers of published results."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import scipy.io


def mean_distances(pred: np.ndarray, target: np.ndarray, visible: np.ndarray) -> tuple[list[float], list[list[float]]]:
    """Mean distance over the visible points of each face, and every distance."""
    every = [
        [math.sqrt(sum((a - b) ** 2 for a, b in zip(p, q, strict=True))) for p, q in zip(*face, strict=True)]
        for face in zip(pred.tolist(), target.tolist(), strict=True)
    ]
    means = []
    for distances, flags in zip(every, visible.tolist(), strict=True):
        seen = [d for d, flag in zip(distances, flags, strict=True) if flag]
        means.append(sum(seen) / len(seen))
    return means, every


def auc_by_steps(errors: list[float], threshold: float, steps: int) -> float:
    """The area under the cumulative curve by the midpoint rule."""
    middles = [(i + 0.5) * threshold / steps for i in range(steps)]
    return sum(sum(e <= m for e in errors) / len(errors) for m in middles) / steps


def read_cofw68(folder: Path) -> np.ndarray:
    """True points (507, 68, 2) of COFW-68's test set, in the order of the numbers in the file names."""
    files = sorted(folder.glob("*_points.mat"), key=lambda path: int(path.name.split("_")[0]))
    return np.stack([scipy.io.loadmat(path)["Points"].astype(np.float64) for path in files])


def read_cofw68_results(path: Path) -> np.ndarray:
    """Predicted points (507, 68, 2): four lines per image, its number, 68 x, 68 y, 68 occlusion flags."""
    lines = path.read_text().splitlines()
    found = {
        int(lines[i]): np.stack([np.array(lines[i + j].split(), dtype=np.float64) for j in (1, 2)], axis=-1)
        for i in range(0, len(lines) - 3, 4)
    }
    return np.stack([found[number] for number in sorted(found)])
