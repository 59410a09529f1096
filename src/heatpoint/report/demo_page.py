"""What the demo shows: maps, points and ellipses of a typical and of a hard face, curves, and how it was made."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from heatpoint import __version__
from heatpoint.datasets import PointSet, Sample, load_image
from heatpoint.density import Density
from heatpoint.frames import FloatArray, Frame, compose, resize_matrix
from heatpoint.report.comparison import COLUMNS, Trial, best_rows
from heatpoint.report.curves import coverage_curve, error_curve
from heatpoint.report.figures import Picture, draw_prediction, overlay_maps
from heatpoint.report.html import Section, code, curve, gallery, picture, table, text, write_report
from heatpoint.support import Support
from heatpoint.training.weights import Trained
from heatpoint.transforms import make_example, warp

WIDTH = 384  # of the picture of one face, in pixels
# Which test faces are shown, by rank of their mean error over all methods: chosen before anybody looks.
SHOWN = {"a typical face (median error)": 0.5, "a hard face (95th percentile)": 0.95}
LEAD = (
    "One network, trained three times with the same faces, steps, learning rate and seed. Only the loss, and how the map is "
    "read, differ."
)
MAPS = (
    "Each picture lays all {count} maps over what the network saw: a square is a cell, its brightness the share of its map's "
    "peak (by the root, so that weak mass far away stays visible). The error of the expectation asks of a map only that "
    "its mean be right; the other two ask that its mass be near the point."
)
POINTS = (
    "Dots are located points, white crosses the truth. An ellipse holds 90 % of the normal distribution that has the map's "
    "mean and covariance. A dot is blue where its confidence is among the highest of that method on all test faces, orange "
    "where it is among the lowest."
)


@dataclass(frozen=True)
class View:
    """One face through one trained network, in the pixels of a picture.

    Attributes:
        image: (W, W, 3) what the network saw, in a finer resolution.
        frame: Picture to the network's input.
        points: (K, 2), located.
        covariance: (K, 2, 2).
        truth: (K, 2), NaN where not annotated.
        maps: (K, h, w), probabilities.
        grid: Of the maps, in the network's input.
    """

    image: Picture
    frame: Frame
    points: FloatArray
    covariance: FloatArray
    truth: FloatArray
    maps: FloatArray
    grid: Support


def view(trained: Trained, sample: Sample, *, width: int = WIDTH) -> View:
    """Runs a network with a square input on one face and takes everything to a picture `width` pixels wide."""
    data, grid = trained.recipe.data, trained.localizer.grid
    side = data.size[0]
    example = make_example(
        sample, size=data.size, policy=data.box_policy, padding=data.padding, skeleton=trained.skeleton
    )
    with torch.no_grad():
        logits = trained.model(example.image[None])[0]
    found = trained.localizer.locate(logits)
    to_input = Frame(resize_matrix(side / width, side / width), data.size)
    enlarge = resize_matrix(width / side, width / side)
    image = warp(load_image(sample), Frame(compose(enlarge, example.frame.matrix), (width, width)))
    truth = to_input.to_image(example.points.double().numpy())
    truth[~example.visible.numpy()] = np.nan
    maps = Density(logits.double(), grid).probabilities
    return View(
        image=(255 * image).round().astype(np.uint8),
        frame=to_input,
        points=to_input.to_image(found.points.double().numpy()),
        covariance=to_input.covariance_to_image(found.covariance.double().numpy()),
        truth=truth,
        maps=maps.numpy(),
        grid=grid,
    )


def shown_faces(trials: Sequence[Trial]) -> dict[str, int]:
    """What kind of face -> its index in the test set."""
    mean = np.mean([np.nanmean(trial.errors, axis=1) for trial in trials], axis=0)
    order = np.argsort(mean, kind="stable")
    return {kind: int(order[round(share * (len(order) - 1))]) for kind, share in SHOWN.items()}


def write_demo_page(path: Path, trials: Sequence[Trial], test_set: PointSet, *, command: str) -> Path:
    """Writes the demo's page.

    Args:
        path: The file.
        trials: What is compared.
        test_set: The faces it was compared on.
        command: The command line that made it.

    Returns:
        The path.
    """
    faces = shown_faces(trials)
    views = {kind: [view(trial.trained, test_set.samples[index]) for trial in trials] for kind, index in faces.items()}
    maps, points = [], []
    for kind, index in faces.items():
        for seen, trial in zip(views[kind], trials, strict=True):
            error = f"`{trial.name}`, {kind}: mean error {np.nanmean(trial.errors[index]):.2f} px"
            maps.append(picture(_maps(seen), alt=f"Maps of {trial.name} on {kind}", caption=f"`{trial.name}`, {kind}"))
            points.append(picture(_points(seen, trial, index), alt=f"Points of {trial.name} on {kind}", caption=error))
    columns = len(trials)
    sections = [
        Section("The same budget, three losses", (_results(trials), text(_reading(trials, test_set)))),
        Section(
            "What the maps look like",
            (text(MAPS.format(count=test_set.skeleton.num_points)), gallery(maps, columns=columns)),
        ),
        Section("Where the points are, and how sure that is", (text(POINTS), gallery(points, columns=columns))),
        Section("How large errors are, and whether confidence knows it", (_curves(trials),)),
        Section("How this page was made", _making(trials, test_set, command)),
    ]
    kind = "rendered" if test_set.name.startswith("synthetic") else "real"
    return write_report(path, sections, title=f"Three ways to train one network, on {kind} faces", lead=LEAD)


def overview(trials: Sequence[Trial], test_set: PointSet, *, width: int = 256, gap: int = 6) -> Picture:
    """The typical face as one picture: maps above, points and ellipses below, a column per method."""
    index = next(iter(shown_faces(trials).values()))
    height = 2 * width + gap
    columns = []
    for trial in trials:
        seen = view(trial.trained, test_set.samples[index], width=width)
        space = np.full((gap, width, 3), 255, np.uint8)
        columns += [
            np.vstack([_maps(seen), space, _points(seen, trial, index)]),
            np.full((height, gap, 3), 255, np.uint8),
        ]
    return np.hstack(columns[:-1])


def _maps(seen: View) -> Picture:
    return overlay_maps(seen.image, seen.maps, seen.grid, frame=seen.frame)


def _points(seen: View, trial: Trial, index: int) -> Picture:
    rank = np.searchsorted(np.sort(trial.confidence, axis=None), trial.confidence[index]) / trial.confidence.size
    skeleton = trial.trained.skeleton
    return draw_prediction(seen.image, seen.points, seen.covariance, rank, skeleton, truth=seen.truth)


def _results(trials: Sequence[Trial]) -> str:
    rows = [[f"`{trial.name}`", *trial.numbers] for trial in trials]
    return table(["localizer", *COLUMNS], rows, best=[None, *best_rows(trials)])


def _reading(trials: Sequence[Trial], test_set: PointSet) -> str:
    normalizer = trials[0].trained.skeleton.default_normalizer.replace("_", "-")
    return (
        f"Mean over {len(test_set)} test faces of {test_set.skeleton.num_points} points. Errors are in pixels of the image; NME "
        f"divides them by the {normalizer} distance. Correlation is between a point's confidence (the map's peak) and its "
        "correctness: 0 means that confidence says nothing of the error, 1 that the error is a straight line of it. One seed "
        "and a short training: small differences mean little, and the order of the methods may change in a long one."
    )


def _curves(trials: Sequence[Trial]) -> str:
    annotated = {trial.name: np.isfinite(trial.errors) for trial in trials}
    errors = {trial.name: trial.errors[annotated[trial.name]] for trial in trials}
    confidences = {trial.name: trial.confidence[annotated[trial.name]] for trial in trials}
    limit = max(float(np.quantile(values, 0.95)) for values in errors.values())
    left = curve(
        error_curve(errors, limit=limit, label="error, px"),
        alt="Share of the points within an error",
        caption="The share of points whose error is at most so many pixels: higher is better.",
    )
    right = curve(
        coverage_curve(errors, confidences, label="error, px"),
        alt="Mean error of the most confident points",
        caption="The mean error of the most confident points: it falls to the left where confidence knows the error.",
    )
    return gallery([left, right], columns=2)


def _making(trials: Sequence[Trial], test_set: PointSet, command: str) -> tuple[str, ...]:
    recipe = trials[0].trained.recipe
    given, data = recipe.optimization, recipe.data
    network = (
        f"Network `{recipe.model.backbone}` at {data.size[0]} x {data.size[1]} pixels, "
        f"maps of {trials[0].trained.localizer.grid}; "
        f"{given.epochs} epochs in batches of {given.batch_size}, Adam at {given.learning_rate:g}; boxes {data.box_policy} x "
        f"{data.padding:g}; flip test {'on' if data.flip_test else 'off'}; seed {recipe.seed}."
    )
    shown = f"The faces above were chosen by rank of their mean error over all methods: {', '.join(SHOWN)}."
    if data.flip_test:
        shown += " Errors average each image with its mirror image; the pictures show what the image alone gives."
    machine = f"heatpoint {__version__}, torch {torch.__version__}, {os.cpu_count()} cores, {platform.machine()}."
    calls = "\n".join(repr(trial.trained.localizer) for trial in trials)
    return code(command), text(network), code(calls), text(f"{shown} {machine}")
