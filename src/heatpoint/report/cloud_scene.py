"""What a view of a point cloud shows."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
import numpy.typing as npt

from heatpoint._checks import message
from heatpoint.frames import FloatArray


@dataclass(frozen=True, eq=False)
class CloudScene:
    """What `write_cloud_view` shows; all in the cloud's own coordinates.

    Args:
        xyz: (N, 3) the cloud.
        points: (K, 3) located keypoints; one that is not finite is left out.
        names: Of the keypoints, for the menu and for what the pointer says.
        confidence: (K,), shown from orange (0) to blue (1). None: all blue.
        covariance: (K, 3, 3); each is drawn as the ellipsoid that holds a share `level`.
        probabilities: (K, N) maps over the cloud, none negative; without them there is no menu.
        truth: (T, 3) annotated keypoints; rows that are not finite are left out.
        truth_names: Of the annotated keypoints; empty where they have none.
        rows: (N,) what the pointer calls the points of the cloud, such as their rows in a file. None counts them.
        edges: Pairs of keypoints to join.
        strengths: One per edge, from 0 (hardly seen) to 1. None: all alike.

    Raises:
        ValueError: If an array has the wrong shape, naming it, or an edge joins what is no keypoint.
    """

    xyz: FloatArray
    points: FloatArray
    _: KW_ONLY
    names: Sequence[str] = ()
    confidence: FloatArray | None = None
    covariance: FloatArray | None = None
    probabilities: FloatArray | None = None
    truth: FloatArray | None = None
    truth_names: Sequence[str] = ()
    rows: npt.NDArray[np.int64] | None = None
    edges: Sequence[tuple[int, int]] = ()
    strengths: FloatArray | None = None

    def __post_init__(self) -> None:
        for letter, name in {"N": "xyz", "K": "points", "T": "truth"}.items():
            array = getattr(self, name)
            if array is not None and (array.ndim != 2 or array.shape[1] != 3):
                raise ValueError(message("CloudScene", name, f"be ({letter}, 3)", tuple(array.shape)))
        cells, number = len(self.xyz), len(self.points)
        rest = {
            "confidence": (number,),
            "covariance": (number, 3, 3),
            "probabilities": (number, cells),
            "rows": (cells,),
            "strengths": (len(self.edges),),
        }
        for name, shape in rest.items():
            array = getattr(self, name)
            if array is not None and tuple(array.shape) != shape:
                raise ValueError(message("CloudScene", name, f"be {shape}", tuple(array.shape)))
        many = {"names": number, "truth_names": 0 if self.truth is None else len(self.truth)}
        for name, expected in many.items():
            given = getattr(self, name)
            if given and len(given) != expected:
                raise ValueError(message("CloudScene", name, f"be {expected}, one per keypoint", len(given)))
        wrong = [edge for edge in self.edges if not all(0 <= end < number for end in edge)]
        if wrong:
            raise ValueError(message("CloudScene", "edges", f"join keypoints from 0 to {number - 1}", wrong[0]))

    @property
    def labels(self) -> list[str]:
        """The names as a browser shows them, numbers where there are none."""
        return [html.escape(name) for name in self.names or map(str, range(len(self.points)))]

    @property
    def shown(self) -> npt.NDArray[np.bool_]:
        """(K,) which keypoints are finite."""
        return np.asarray(np.isfinite(self.points).all(axis=1))
