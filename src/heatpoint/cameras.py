"""Calibrated cameras: from the world to the camera, to pixels and back, in float64.

Points in space are in millimetres; a pixel's centre is at whole numbers, as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heatpoint._checks import message
from heatpoint.frames import FloatArray


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera with lens distortion k1, k2, p1, p2, k3 (Brown-Conrady, in OpenCV's order).

    Camera coordinates are X_cam = R · (X_world − T): x to the right, y down, z away from the camera.

    Args:
        rotation: (3, 3) R, from the world to the camera.
        position: (3,) T, the camera's place in the world, in millimetres.
        focal: (2,) focal lengths in pixels.
        center: (2,) principal point in pixels.
        distortion: (5,) k1, k2, p1, p2, k3; zeros for an ideal lens.

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
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value.shape != shape or not np.isfinite(value).all():
                raise ValueError(message("Camera", name, f"be finite {shape}", value.shape))
        if self.distortion is not None and self.distortion.shape != (5,):
            raise ValueError(message("Camera", "distortion", "be (5,): k1, k2, p1, p2, k3", self.distortion.shape))

    def from_world(self, points: FloatArray) -> FloatArray:
        """World points (…, 3) in millimetres to camera coordinates."""
        return (points - self.position) @ self.rotation.T

    def to_world(self, points: FloatArray) -> FloatArray:
        """Camera coordinates (…, 3) in millimetres to the world."""
        return points @ self.rotation + self.position

    def project(self, points: FloatArray) -> FloatArray:
        """Camera coordinates (…, 3) to pixels (…, 2)."""
        flat = points[..., :2] / points[..., 2:]
        return self._distorted(flat) * self.focal + self.center

    def back_project(self, pixels: FloatArray, depth: FloatArray) -> FloatArray:
        """Pixels (…, 2) of an ideal lens and their depths (…) in millimetres to camera coordinates (…, 3)."""
        flat = (pixels - self.center) / self.focal
        return np.concatenate([flat * depth[..., None], depth[..., None]], axis=-1)

    def _distorted(self, flat: FloatArray) -> FloatArray:
        if self.distortion is None:
            return flat
        k1, k2, p1, p2, k3 = self.distortion
        x, y = flat[..., 0], flat[..., 1]
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        shift_x = 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        shift_y = p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
        return np.stack([x * radial + shift_x, y * radial + shift_y], axis=-1)
