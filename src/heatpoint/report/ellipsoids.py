"""Ellipsoids that hold a share of a normal distribution in space, as meshes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from heatpoint._checks import message
from heatpoint.frames import FloatArray


def ellipsoid_radius(level: float) -> float:
    """Mahalanobis radius of the ellipsoid that holds a share `level` of a normal distribution in space.

    The root of the quantile of χ² with three degrees of freedom: erf(r / √2) − √(2/π) r exp(−r²/2) = level, solved by halving.

    Raises:
        ValueError: If level is not between 0 and 1.

    >>> round(ellipsoid_radius(0.9), 4)
    2.5003
    """
    if not 0 < level < 1:
        raise ValueError(
            message("ellipsoid_radius", "level", "lie between 0 and 1", level, "0.9 draws 90 % ellipsoids.")
        )
    low, high = 0.0, 40.0
    for _ in range(80):
        middle = (low + high) / 2
        held = math.erf(middle / math.sqrt(2)) - math.sqrt(2 / math.pi) * middle * math.exp(-(middle**2) / 2)
        low, high = (middle, high) if held < level else (low, middle)
    return high


def ellipsoid_meshes(
    points: FloatArray, covariance: FloatArray, *, level: float = 0.9, rings: int = 9, turns: int = 16
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Closed surfaces mean + r Σ^{1/2} u over the unit sphere's u, with r from `ellipsoid_radius`.

    They are pictures of the first two moments: a map with two peaks is no ellipsoid.

    Args:
        points: (K, 3) means.
        covariance: (K, 3, 3), symmetric and positive semi-definite.
        level: Share of the mass inside.
        rings: Circles of latitude between the poles.
        turns: Vertices on each.

    Returns:
        Vertices (K, V, 3), the poles first and last, and triangles (F, 3) of them, the same for all.

    >>> vertices, triangles = ellipsoid_meshes(np.zeros((1, 3)), np.eye(3)[None])
    >>> np.linalg.norm(vertices, axis=-1).round(4).min(), vertices.shape, triangles.shape
    (np.float64(2.5003), (1, 146, 3), (288, 3))
    """
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    root = (eigenvectors * np.sqrt(np.clip(eigenvalues, 0, None))[:, None]) @ eigenvectors.mT
    sphere, triangles = _sphere(rings, turns)
    return points[:, None] + ellipsoid_radius(level) * sphere @ root, triangles


def _sphere(rings: int, turns: int) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    polar = np.pi * np.arange(1, rings + 1)[:, None] / (rings + 1)
    around = 2 * np.pi * np.arange(turns) / turns
    ring = [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar) + 0 * around]
    sphere = np.concatenate([[[0, 0, 1.0]], np.stack(ring, axis=-1).reshape(-1, 3), [[0, 0, -1.0]]])
    here = np.arange(turns)
    following, last = (here + 1) % turns, 1 + (rings - 1) * turns
    caps = [np.stack([0 * here, 1 + here, 1 + following], axis=1)]
    caps.append(np.stack([0 * here + len(sphere) - 1, last + following, last + here], axis=1))
    starts = 1 + turns * np.arange(rings - 1)[:, None]
    a, b = (starts + here).ravel(), (starts + following).ravel()
    bands = [np.stack([a, a + turns, b], axis=1), np.stack([b, a + turns, b + turns], axis=1)]
    return sphere, np.concatenate([*caps, *bands]).astype(np.int64)
