"""Trained weights as a function from point clouds to keypoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from heatpoint._checks import message
from heatpoint.chamfer import segment_ends
from heatpoint.cloud_frame import CloudFrame, named_sphere
from heatpoint.datasets.cloud import Cloud, load_cloud
from heatpoint.frames import FloatArray
from heatpoint.skeleton import Skeleton
from heatpoint.training.clouds import over
from heatpoint.training.machine import check_device
from heatpoint.training.weights import Trained, load_weights

CloudSource = Cloud | str | Path | FloatArray
TASKS = ("cloud", "skeleton")
ARRAY = "an array"  # The name of a cloud without a file.
SEED = 0  # Of the choice of points: the same cloud gives the same keypoints.


@dataclass(frozen=True, eq=False)
class CloudPrediction:
    """The keypoints of one cloud, in its own coordinates.

    Attributes:
        points: (K, 3).
        confidence: (K,), larger is surer; what it measures is the localizer's choice.
        covariance: (K, 3, 3), in the cloud's unit².
        probabilities: (K, M) the maps over the points that the network read; each sums to 1.
        rows: (M,) int64, which rows of the cloud these are, ascending.
        xyz: (N, 3) the whole cloud.
        skeleton: Names and edges. Keypoints that were found without names are numbered, and every two of them joined.
        strengths: (edges,) from 0 to 1, how much of the cloud each edge explains, where that was learned; else None.
        source: Where the cloud came from; "" for an array.
    """

    points: FloatArray
    confidence: FloatArray
    covariance: FloatArray
    probabilities: FloatArray = field(repr=False)
    rows: npt.NDArray[np.int64] = field(repr=False)
    xyz: FloatArray = field(repr=False)
    skeleton: Skeleton
    strengths: FloatArray | None = None
    source: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The keypoints' names."""
        return self.skeleton.names

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: names, points, confidences, covariances, source, how many points were read, and what edges weigh."""
        edges = {} if self.strengths is None else {"edges": [list(edge) for edge in self.skeleton.edges]}
        return {
            "source": self.source,
            "names": list(self.names),
            "points": self.points.tolist(),
            "confidence": self.confidence.tolist(),
            "covariance": self.covariance.tolist(),
            "points_in_cloud": len(self.xyz),
            "points_read": len(self.rows),
            **edges,
            **({} if self.strengths is None else {"strengths": self.strengths.tolist()}),
        }

    def view(
        self,
        path: str | Path,
        *,
        truth: FloatArray | None = None,
        visible: npt.NDArray[np.bool_] | None = None,
        level: float = 0.9,
        up: Literal["x", "y", "z"] = "y",
    ) -> Path:
        """Writes one HTML file in which the cloud, its maps and keypoints can be turned about; see `write_cloud_view`.

        Args:
            path: Ends in .html.
            truth: (T, 3) annotated keypoints to show beside, named as the prediction's where the network was told names.
            visible: (T,) bool; None shows all.
            level: Share of the mass inside an ellipsoid.
            up: The axis that points up.

        Raises:
            ValueError: If truth or visible has another shape, or as `write_cloud_view` does.
            ModuleNotFoundError: If plotly is not installed.
        """
        from heatpoint.report.cloud_scene import CloudScene
        from heatpoint.report.cloud_view import write_cloud_view

        if truth is not None and visible is not None:
            if visible.shape != truth.shape[:1]:
                rule = f"be {truth.shape[:1]}, one flag per keypoint"
                raise ValueError(message("CloudPrediction.view", "visible", rule, visible.shape))
            truth = np.where(visible[:, None], truth, np.nan)
        scene = CloudScene(
            xyz=self.xyz[self.rows],
            points=self.points,
            names=self.names,
            confidence=self.confidence,
            covariance=self.covariance,
            probabilities=self.probabilities,
            truth=truth,
            truth_names=()
            if truth is None or self.strengths is not None or len(truth) != len(self.points)
            else self.names,
            rows=self.rows,
            edges=self.skeleton.edges,
            strengths=self.strengths,
        )
        return write_cloud_view(path, scene, title=Path(self.source).name, level=level, up=up)


class CloudPredictor:
    """Locates keypoints in point clouds, which are taken to the unit sphere as in training.

    The network reads as many points as in training. Of a larger cloud it is shown that many rows, drawn evenly without
    replacement by a fixed seed. Of a smaller one it is shown all, and some of them again to fill up, as training with dropout
    does; that costs accuracy, and a cloud sampled more densely is better. The frame is that of the whole cloud either way.

    Args:
        trained: Network, localizer, recipe and skeleton.
        device: Where the network runs; None leaves it where it is.

    Raises:
        ValueError: If the weights are not those of a network for clouds.
    """

    def __init__(self, trained: Trained, *, device: torch.device | str | None = None) -> None:
        if trained.recipe.task not in TASKS:
            remedy = "heatpoint.inference has a predictor for each kind of data."
            raise ValueError(message("CloudPredictor", "trained", "read point clouds", trained.recipe.name, remedy))
        self.trained = trained
        own = next(trained.model.parameters()).device
        self.device = own if device is None else check_device("CloudPredictor", device)
        trained.model.to(self.device).eval()

    @classmethod
    def load(cls, path: str | Path, *, device: torch.device | str = "cpu") -> CloudPredictor:
        """Loads the weights that `heatpoint train` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is not one of heatpoint's, or of another kind of data.
        """
        return cls(load_weights(path, device=device), device=device)

    def __repr__(self) -> str:
        recipe = self.trained.recipe
        return f"CloudPredictor({recipe.name!r}, num_points={recipe.data.num_points})"

    def describe(self) -> dict[str, Any]:
        """What predictions depend on beside the cloud; plain JSON values."""
        recipe = self.trained.recipe
        return {
            "recipe": recipe.name,
            "seed": recipe.seed,
            "num_points": recipe.data.num_points,
            "conventions": {
                "points": "(x, y, z) in the cloud's own coordinates",
                "input": "(x - mean) / greatest distance from the mean, over the whole cloud",
                "points_read": f"num_points rows drawn by seed {SEED}; a smaller cloud is filled up with rows drawn again",
            },
        }

    def __call__(self, source: CloudSource) -> CloudPrediction:
        """Locates all keypoints of one cloud.

        Args:
            source: A path, (N, 3) numbers, or a Cloud, whose own keypoints are not looked at.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the cloud cannot be read, has fewer points than there are keypoints, or lies at one place; or if the
                network's points are not finite.
        """
        xyz, frame = self._read(source)
        name = _name_of(source)
        shown = _rows_shown(len(xyz), self.trained.recipe.data.num_points)
        cells = torch.from_numpy(frame.to_input(xyz[shown])).float()[None].to(self.device)
        logits, strengths = self._maps(cells)
        localizer = over(self.trained.localizer, cells)
        points, confidence, covariance = (_array(value[0]) for value in localizer.locate(logits))
        if not np.isfinite(points).all():
            remedy = "The training has diverged: train again, at a lower learning rate."
            raise ValueError(message("CloudPredictor", "the weights", "give finite points", "NaN or infinity", remedy))
        # The map that the localizer's confidence and covariance are of.
        maps = torch.softmax(localizer._map_logits(localizer._read(logits))[0].double(), dim=-1)
        rows, probabilities = _merged(shown, _array(maps))
        return CloudPrediction(
            points=frame.to_cloud(points),
            confidence=confidence,
            covariance=frame.covariance_to_cloud(covariance),
            probabilities=probabilities,
            rows=rows,
            xyz=xyz,
            skeleton=self._skeleton(len(points)),
            strengths=None if strengths is None else _array(strengths[0]),
            source=name,
        )

    def check(self, source: CloudSource) -> None:
        """Reads a cloud, and raises what a call would raise."""
        self._read(source)

    def _read(self, source: CloudSource) -> tuple[FloatArray, CloudFrame]:
        """The cloud, and its frame in the unit sphere."""
        xyz, name = load_cloud(source), _name_of(source) or ARRAY
        recipe = self.trained.recipe
        number = recipe.model.num_keypoints if recipe.task == "skeleton" else self.trained.skeleton.num_points
        if len(xyz) < number:
            rule = f"have at least as many points as the {number} keypoints"
            remedy = "Sample the shape more densely."
            raise ValueError(message("CloudPredictor", "cloud", rule, f"{len(xyz)} in {name}", remedy))
        return xyz, named_sphere("CloudPredictor", xyz, name)

    @torch.no_grad()
    def _maps(self, cells: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.trained.recipe.task == "skeleton":
            logits, strengths = self.trained.model.encode(cells)  # type: ignore[operator]
            return logits, strengths
        return self.trained.model(cells), None

    def _skeleton(self, number: int) -> Skeleton:
        if self.trained.recipe.task != "skeleton":
            return self.trained.skeleton
        # The order in which the network emits the strengths.
        ends = segment_ends(number).T.tolist()
        return Skeleton(tuple(str(k) for k in range(number)), edges=tuple((a, b) for a, b in ends))


def _rows_shown(number: int, num_points: int) -> npt.NDArray[np.int64]:
    """Rows (num_points,) of a cloud of `number` points, ascending.

    >>> _rows_shown(3, 5)
    array([0, 1, 1, 2, 2])
    """
    rng = np.random.default_rng(SEED)
    if number >= num_points:
        return np.sort(rng.choice(number, num_points, replace=False))
    return np.sort(np.concatenate([np.arange(number), rng.integers(0, number, num_points - number)]))


def _merged(shown: npt.NDArray[np.int64], maps: FloatArray) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Each of the ascending rows once, with the sum of its probabilities: a row that was shown twice has them in two cells."""
    rows, first = np.unique(shown, return_index=True)
    return rows, np.add.reduceat(maps, first, axis=1)


def _array(values: Tensor) -> FloatArray:
    found: FloatArray = values.detach().double().cpu().numpy()
    return found


def _name_of(source: CloudSource) -> str:
    if isinstance(source, Cloud):
        return source.key
    return "" if isinstance(source, np.ndarray) else str(source)
