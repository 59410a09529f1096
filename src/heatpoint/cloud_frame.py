"""The frame that takes a point cloud to the network's input, the unit sphere, and back, as one affine matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from heatpoint._checks import message, one_of
from heatpoint.frames import FloatArray


@dataclass(frozen=True, eq=False)
class CloudFrame:
    """One affine matrix that takes a cloud's own coordinates to those of the network's input; angles are kept.

    Args:
        matrix: (3, 4) float64; input = matrix · (x, y, z, 1). Its linear part is a rotation (or a mirrored one) times `scale`.

    Raises:
        ValueError: If the matrix is not finite (3, 4) or changes angles.

    >>> frame = CloudFrame.unit_sphere(np.array([[1.0, 0.0, 0.0], [5.0, 0.0, 0.0]]))
    >>> frame.to_input(np.array([[5.0, 2.0, 0.0]])), frame.scale
    (array([[1., 1., 0.]]), 0.5)
    """

    matrix: FloatArray

    def __post_init__(self) -> None:
        if self.matrix.shape != (3, 4) or not np.isfinite(self.matrix).all():
            raise ValueError(message("CloudFrame", "matrix", "be finite (3, 4)", _seen(self.matrix)))
        square = self.matrix[:, :3] @ self.matrix[:, :3].T
        size = np.trace(square) / 3
        if not (size > 0 and np.allclose(square, size * np.eye(3), rtol=0, atol=1e-9 * size)):
            got = self.matrix[:, :3].tolist()
            raise ValueError(message("CloudFrame", "matrix", "rotate and scale alike along all axes", got))

    @classmethod
    def identity(cls) -> CloudFrame:
        """The frame of an input in the cloud's own coordinates.

        >>> CloudFrame.identity().scale
        1.0
        """
        return cls(np.eye(3, 4))

    @classmethod
    def unit_sphere(cls, xyz: FloatArray, *, center: Literal["centroid", "box"] = "centroid") -> CloudFrame:
        """The frame x -> (x − c) / max‖x − c‖, in which the furthest point of the cloud lies on the unit sphere.

        PointNet++ and the benchmark of KeypointNet take the mean of the points as c.

        Args:
            xyz: (N, 3) points of the cloud.
            center: "centroid" is the mean of the points, "box" the middle of their bounding box.

        Raises:
            ValueError: If the points are not finite (N, 3), or all lie at one place.
        """
        one_of("CloudFrame.unit_sphere", "center", center, ("centroid", "box"))
        if xyz.ndim != 2 or xyz.shape[1] != 3 or not len(xyz) or not np.isfinite(xyz).all():
            raise ValueError(message("CloudFrame.unit_sphere", "xyz", "be finite (N, 3), N at least 1", _seen(xyz)))
        middle = xyz.mean(axis=0) if center == "centroid" else (xyz.min(axis=0) + xyz.max(axis=0)) / 2
        radius = float(np.linalg.norm(xyz - middle, axis=1).max())
        # Against rounding in the mean: points at one place may end up a rounding error away from it.
        if not radius > 1e-12 * float(np.abs(xyz).max()):
            got = f"{len(xyz)} at one place"
            raise ValueError(message("CloudFrame.unit_sphere", "xyz", "hold points at two places or more", got))
        return cls(np.concatenate([np.eye(3), -middle[:, None]], axis=1) / radius)

    @property
    def scale(self) -> float:
        """Input units per unit of the cloud: divide an error in the input by it to have it in the cloud's units."""
        return float(np.sqrt(np.trace(self.matrix[:, :3] @ self.matrix[:, :3].T) / 3))

    def then(self, matrix: FloatArray) -> CloudFrame:
        """This frame followed by another (3, 4) map of the input onto itself (an augmentation).

        >>> CloudFrame.identity().then(2 * np.eye(3, 4)).scale
        2.0
        """
        linear = matrix[:, :3] @ self.matrix
        linear[:, 3] += matrix[:, 3]
        return CloudFrame(linear)

    def to_input(self, points: FloatArray) -> FloatArray:
        """Points (…, 3) of the cloud to the input."""
        return points @ self.matrix[:, :3].T + self.matrix[:, 3]

    def to_cloud(self, points: FloatArray) -> FloatArray:
        """Points (…, 3) of the input to the cloud's own coordinates."""
        return (points - self.matrix[:, 3]) @ self._inverse().T

    def covariance_to_cloud(self, covariance: FloatArray) -> FloatArray:
        """Covariances (…, 3, 3) in input units² to the cloud's units²."""
        inverse = self._inverse()
        return inverse @ covariance @ inverse.T

    def _inverse(self) -> FloatArray:
        # The linear part is a rotation times the scale, so that its inverse is its transpose over the scale's square.
        return self.matrix[:, :3].T / self.scale**2


def _seen(values: FloatArray) -> str:
    return str(values.shape) if np.isfinite(values).all() else f"NaN or infinity in {values.shape}"


def named_sphere(function: str, xyz: FloatArray, name: str) -> CloudFrame:
    """`CloudFrame.unit_sphere` of a cloud that is known by a name or a file.

    Raises:
        ValueError: In one line that names the cloud, if its points are not finite or all lie at one place.

    >>> named_sphere("show", np.array([[1.0, 0.0, 0.0], [5.0, 0.0, 0.0]]), "a.pcd").scale
    0.5
    """
    try:
        return CloudFrame.unit_sphere(xyz)
    except ValueError:
        rule = "hold finite points at two places or more"
        raise ValueError(message(function, "cloud", rule, f"{len(xyz)} that do not in {name}")) from None


def turn_about(axis: Literal["x", "y", "z"], degrees: float) -> FloatArray:
    """The (3, 4) rotation about one axis through the origin, counter-clockwise as seen from its positive end.

    >>> turn_about("y", 90).round(6) @ np.array([0.0, 0.0, 1.0, 1.0])
    array([1., 0., 0.])
    """
    one_of("turn_about", "axis", axis, ("x", "y", "z"))
    fixed = "xyz".index(axis)
    first, second = (fixed + 1) % 3, (fixed + 2) % 3
    angle = np.radians(degrees)
    matrix = np.eye(3, 4)
    matrix[[first, second], [first, second]] = np.cos(angle)
    matrix[second, first] = np.sin(angle)
    matrix[first, second] = -np.sin(angle)
    return matrix
