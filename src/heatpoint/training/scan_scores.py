"""Scores of surfaces, in rows of the scan, over all its columns that have a truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from heatpoint.datasets.scan import ScanSet
from heatpoint.frames import FloatArray
from heatpoint.localizers import Localizer
from heatpoint.metrics.functional import pearson_correlation
from heatpoint.metrics.surfaces import surface_scores
from heatpoint.training.sets import EpochSampler, make_loader
from heatpoint.training.surfaces import LEVEL, ScanFound, locate_surfaces, to_scan
from heatpoint.training.task import Examples
from heatpoint.training.weights import Trained

PEAK = "peak"


def locate_scans(
    trained: Trained,
    localizers: Mapping[str, Localizer],
    dataset: Examples,
    *,
    flip_test: bool,
    batch_size: int,
    workers: int,
    device: str,
) -> dict[str, list[ScanFound]]:
    """Locates the surfaces of all scans, running the network once per scan (twice in a flip test)."""
    found: dict[str, list[ScanFound]] = {name: [] for name in localizers}
    sampler = EpochSampler(len(dataset), seed=0, shuffle=False)
    loader = make_loader(dataset, sampler, collate=list, batch_size=batch_size, workers=workers)
    for examples in loader:
        images = torch.stack([example.image for example in examples]).to(device)
        ordering = trained.recipe.model.ordering
        located = locate_surfaces(trained.model, localizers, images, ordering=ordering, flip_test=flip_test)
        for name, surfaces in located.items():
            found[name] += [to_scan(surfaces, i, example.frame) for i, example in enumerate(examples)]
    return found


def score_scans(
    trained: Trained,
    localizers: Mapping[str, Localizer],
    scans: ScanSet,
    dataset: Examples,
    *,
    flip_test: bool,
    batch_size: int,
    workers: int,
    device: str,
) -> dict[str, dict[str, Any]]:
    """Scores of a set for every localizer, see `scores_of_surfaces`."""
    # The same maps once more, for the peak's correlation beside that of the localizer's own confidence.
    readings = {**localizers, PEAK: replace(trained.localizer, confidence_by="peak")}
    found = locate_scans(
        trained, readings, dataset, flip_test=flip_test, batch_size=batch_size, workers=workers, device=device
    )
    peaks = found.pop(PEAK)
    return {name: scores_of_surfaces(items, scans, peaks=peaks) for name, items in found.items()}


def scores_of_surfaces(found: Sequence[ScanFound], scans: ScanSet, *, peaks: Sequence[ScanFound]) -> dict[str, Any]:
    """All scores of what was located in a set.

    Args:
        found: In the order of the set's scans.
        scans: What is true.
        peaks: The same with the peak of the map for confidence.

    Returns:
        What `surface_scores` returns; "correlation" of confidence, and of the map's peak, with minus the error: over all rows
        ("row") and over the means of scans ("scan"); "band": its "level", the share of the true rows that lie in it
        ("coverage", by surface and overall), and its mean width; "subsets" where scans have tags.
    """
    visible = [scan.visible for scan in scans.samples]
    errors = [np.abs(item.rows - scan.rows) for item, scan in zip(found, scans.samples, strict=True)]
    scores = _distances(found, scans)
    scores["correlation"] = {
        "confidence": _correlations([item.confidence for item in found], errors, visible),
        "peak": _correlations([item.confidence for item in peaks], errors, visible),
    }
    scores["band"] = _band(found, scans)
    for tag in sorted(frozenset().union(*(scan.tags for scan in scans.samples))):
        places = [i for i, scan in enumerate(scans.samples) if tag in scan.tags]
        part = replace(scans, samples=tuple(scans.samples[i] for i in places))
        inside = _distances([found[i] for i in places], part)
        scores.setdefault("subsets", {})[tag] = {**inside, "num_scans": len(places)}
    return scores


def _distances(found: Sequence[ScanFound], scans: ScanSet) -> dict[str, Any]:
    pairs = zip(found, scans.samples, strict=True)
    rows = [(item.rows, scan.rows, scan.visible, scan.axial_um, scan.group or scan.key) for item, scan in pairs]
    return surface_scores(rows, names=scans.skeleton.names)


def _correlations(
    confidence: Sequence[FloatArray], errors: Sequence[FloatArray], visible: Sequence[npt.NDArray[np.bool_]]
) -> dict[str, float]:
    parts = [(c[v], -e[v]) for c, e, v in zip(confidence, errors, visible, strict=True) if v.any()]
    rows = [np.concatenate(column) for column in zip(*parts, strict=True)]
    means = [np.array([values.mean() for values in column]) for column in zip(*parts, strict=True)]
    return {"row": _correlation(*rows), "scan": _correlation(*means)}


def _correlation(a: FloatArray, b: FloatArray) -> float:
    if len(a) < 2:
        return float("nan")  # A single value goes with nothing.
    return float(pearson_correlation(torch.from_numpy(a), torch.from_numpy(b)))


def _band(found: Sequence[ScanFound], scans: ScanSet) -> dict[str, Any]:
    pairs = list(zip(found, scans.samples, strict=True))
    inside = np.concatenate([(item.low <= scan.rows) & (scan.rows <= item.high) for item, scan in pairs], axis=1)
    width = np.concatenate([item.high - item.low for item, _ in pairs], axis=1)
    visible = np.concatenate([scan.visible for _, scan in pairs], axis=1)
    names = scans.skeleton.names
    shares = {name: _mean(inside[s][visible[s]]) for s, name in enumerate(names)}
    return {
        "level": LEVEL,
        "coverage": {**shares, "overall": _mean(inside[visible])},
        "width_px": _mean(width[visible]),
    }


def _mean(values: npt.NDArray[Any]) -> float:
    return float(values.mean()) if values.size else float("nan")
