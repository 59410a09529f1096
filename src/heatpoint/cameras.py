"""Calibrated cameras: from the world to the camera, to pixels and back, in float64.

Points in space are in millimetres; a pixel's centre is at whole numbers, as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heatpoint._checks import message
from heatpoint.frames import FloatArray

# Published rotations have six digits.
ROTATION_TOLERANCE = 1e-4
NEWTON_STEPS = 40
# In units of the focal length: 1e-9 of a pixel.
NEWTON_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera with lens distortion k1, k2, p1, p2, k3 (Brown-Conrady, in OpenCV's order).

    Camera coordinates are X_cam = R · (X_world − T): x to the right, y down, z away from the camera.

    Args:
        rotation: (3, 3) R, from the world to the camera.
        position: (3,) T, the camera's place in the world, in millimetres.
        focal: (2,) focal lengths in pixels.
        center: (2,) principal point in pixels.
        distortion: (5,) k1, k2, p1, p2, k3; None for an ideal lens.

    Raises:
        ValueError: If a shape is another, a number is not finite, the rotation is none (a reflection, a scale) or a focal
            length is 0.

    >>> camera = Camera(np.eye(3), np.zeros(3), np.array([1000.0, 1000.0]), np.array([320.0, 240.0]))
    >>> camera.project(np.array([[100.0, 0.0, 2000.0]]))
    array([[370., 240.]])
    """

    rotation: FloatArray
    position: FloatArray
    focal: FloatArray
    center: FloatArray
    distortion: FloatArray | None = None

    def __post_init__(self) -> None:
        shapes = {"rotation": (3, 3), "position": (3,), "focal": (2,), "center": (2,)}
        if self.distortion is not None:
            shapes["distortion"] = (5,)
        for name, shape in shapes.items():
            value = np.asarray(getattr(self, name), dtype=np.float64)
            if value.shape != shape or not np.isfinite(value).all():
                remedy = "Its order is k1, k2, p1, p2, k3." if name == "distortion" else ""
                raise ValueError(message("Camera", name, f"be finite {shape}", value.shape, remedy))
            object.__setattr__(self, name, value)
        excess = np.abs(self.rotation @ self.rotation.T - np.eye(3)).max()
        if excess > ROTATION_TOLERANCE or np.linalg.det(self.rotation) < 0:
            got = f"R Rᵀ off the identity by {excess:.2g}, determinant {np.linalg.det(self.rotation):.3g}"
            raise ValueError(message("Camera", "rotation", "be a rotation matrix", got))
        if not (self.focal != 0).all():
            raise ValueError(message("Camera", "focal", "differ from 0", self.focal.tolist()))

    @classmethod
    def from_translation(
        cls,
        rotation: FloatArray,
        translation: FloatArray,
        focal: FloatArray,
        center: FloatArray,
        distortion: FloatArray | None = None,
    ) -> Camera:
        """The camera of the other usual form, X_cam = R · X_world + t; its position is −Rᵀ t.

        >>> turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        >>> Camera.from_translation(turn, np.array([1.0, 2.0, 3.0]), np.ones(2), np.zeros(2)).position
        array([-2.,  1., -3.])
        """
        return cls(rotation, -np.asarray(rotation).T @ np.asarray(translation), focal, center, distortion)

    def from_world(self, points: FloatArray) -> FloatArray:
        """World points (…, 3) in millimetres to camera coordinates."""
        return (points - self.position) @ self.rotation.T

    def to_world(self, points: FloatArray) -> FloatArray:
        """Camera coordinates (…, 3) in millimetres to the world."""
        return points @ self.rotation + self.position

    def project(self, points: FloatArray) -> FloatArray:
        """Camera coordinates (…, 3) to pixels (…, 2).

        Published code adds 1e-8 to the depth, which moves nothing that can be measured.

        Raises:
            ValueError: If a point does not lie in front of the camera.
        """
        _check_depth("project", points[..., 2:])
        return self._distorted(points[..., :2] / points[..., 2:]) * self.focal + self.center

    def project_weak(self, points: FloatArray, depth: float) -> FloatArray:
        """Camera coordinates (…, 3) to pixels (…, 2) as if all points lay at one depth (weak perspective), the root's as a rule.

        Raises:
            ValueError: If the depth is not greater than 0.
        """
        _check_depth("project_weak", np.float64(depth))
        return self._distorted(points[..., :2] / depth) * self.focal + self.center

    def weak_parameters(self, depth: float) -> FloatArray:
        """(3,) s, c_x, c_y of weak perspective at a depth, pixel = s · (x, y) + c, with s = (f_x + f_y) / (2 · depth).

        Published with one s for both axes; `project_weak` keeps their two focal lengths.

        >>> Camera(np.eye(3), np.zeros(3), np.array([900.0, 1100.0]), np.array([320.0, 240.0])).weak_parameters(2000.0)
        array([  0.5, 320. , 240. ])
        """
        _check_depth("weak_parameters", np.float64(depth))
        return np.array([self.focal.mean() / depth, *self.center])

    def back_project(self, pixels: FloatArray, depth: FloatArray) -> FloatArray:
        """Pixels (…, 2) and their depths (…) in millimetres to camera coordinates (…, 3): the inverse of `project`.

        Raises:
            ValueError: If the shapes do not fit, a depth is not greater than 0, or a pixel lies where the lens model has no
                inverse, far outside the image.

        >>> camera = Camera(np.eye(3), np.zeros(3), np.array([1000.0, 1000.0]), np.array([320.0, 240.0]))
        >>> camera.back_project(np.array([[370.0, 240.0]]), np.array([2000.0]))
        array([[ 100.,    0., 2000.]])
        """
        if pixels.shape != (*depth.shape, 2):
            rule = f"be {(*depth.shape, 2)}, two numbers for each depth"
            raise ValueError(message("Camera.back_project", "pixels", rule, pixels.shape))
        if (depth <= 0).any():  # NaN, as a diverged prediction gives, stays NaN.
            raise ValueError(message("Camera.back_project", "depth", "be greater than 0", float(np.nanmin(depth))))
        flat = self._undistorted((pixels - self.center) / self.focal)
        return np.concatenate([flat * depth[..., None], depth[..., None]], axis=-1)

    def _distorted(self, flat: FloatArray) -> FloatArray:
        return flat if self.distortion is None else _distort(flat, self.distortion)[0]

    def _undistorted(self, flat: FloatArray) -> FloatArray:
        """Newton's method on `_distort`, whose error is squared in every step."""
        if self.distortion is None or not flat.size:
            return flat
        ideal = flat.copy()
        for _ in range(NEWTON_STEPS):
            image, slope = _distort(ideal, self.distortion)
            excess = image - flat
            if np.abs(excess).max() < NEWTON_TOLERANCE:
                if _is_upright(ideal, flat, slope):
                    return ideal
                break
            with np.errstate(all="ignore"):
                ideal = ideal - _solve(slope, excess)
            if not np.isfinite(ideal).all():
                break
        worst = np.abs(flat).max() * np.abs(self.focal).max()
        got = f"one {worst:.0f} pixels from the principal point"
        remedy = "Give pixels of the image, or a camera without distortion."
        raise ValueError(
            message("Camera.back_project", "pixels", "lie where the lens model has an inverse", got, remedy)
        )


def rotation_from_quaternion(quaternion: FloatArray) -> FloatArray:
    """The (3, 3) rotation of a quaternion (w, x, y, z), which is normalised first.

    Raises:
        ValueError: If it is not (4,), not finite or 0.

    >>> rotation_from_quaternion(np.array([1.0, 0.0, 0.0, 1.0])).round(6)
    array([[ 0., -1.,  0.],
           [ 1.,  0.,  0.],
           [ 0.,  0.,  1.]])
    """
    quaternion = np.asarray(quaternion, dtype=np.float64)
    if quaternion.shape != (4,) or not np.isfinite(quaternion).all() or not quaternion.any():
        rule = "be finite (4,), w, x, y, z, and not all 0"
        raise ValueError(message("rotation_from_quaternion", "quaternion", rule, quaternion.tolist()))
    w, *axis = quaternion / np.linalg.norm(quaternion)
    x, y, z = axis
    vector = np.array(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    rotation: FloatArray = (w * w - vector @ vector) * np.eye(3) + 2 * np.outer(vector, vector) + 2 * w * cross
    return rotation


def _distort(flat: FloatArray, coefficients: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Where the lens shows points (…, 2) of the plane at depth 1, and the derivatives (…, 2, 2) of that."""
    k1, k2, p1, p2, k3 = coefficients
    x, y = flat[..., 0], flat[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    growth = 2 * (k1 + r2 * (2 * k2 + r2 * 3 * k3))
    image = np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        axis=-1,
    )
    mixed = x * y * growth + 2 * p1 * x + 2 * p2 * y
    first = np.stack([radial + x * x * growth + 2 * p1 * y + 6 * p2 * x, mixed], axis=-1)
    second = np.stack([mixed, radial + y * y * growth + 6 * p1 * y + 2 * p2 * x], axis=-1)
    return image, np.stack([first, second], axis=-2)


def _is_upright(ideal: FloatArray, flat: FloatArray, slope: FloatArray) -> bool:
    """Whether all points lie on the branch of the lens model that holds its centre, not where the polynomial has folded over."""
    turns = slope[..., 0, 0] * slope[..., 1, 1] - slope[..., 0, 1] * slope[..., 1, 0]
    return bool((turns > 0).all() and ((ideal * flat).sum(axis=-1) >= -NEWTON_TOLERANCE).all())


def _solve(matrices: FloatArray, right: FloatArray) -> FloatArray:
    """Solves (…, 2, 2) symmetric systems; infinite where one is singular, which no caller's loop survives unseen."""
    a, b, d = matrices[..., 0, 0], matrices[..., 0, 1], matrices[..., 1, 1]
    x, y = right[..., 0], right[..., 1]
    solution: FloatArray = np.stack([d * x - b * y, a * y - b * x], axis=-1) / (a * d - b * b)[..., None]
    return solution


def _check_depth(function: str, depth: FloatArray | np.float64) -> None:
    if not (depth > 0).all():
        rule = "lie in front of the camera, at a depth greater than 0"
        raise ValueError(message(f"Camera.{function}", "points", rule, float(np.min(depth))))
