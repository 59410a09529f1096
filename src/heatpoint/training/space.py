"""From volumes to millimetres: located points back-projected by the camera, and their errors from the root."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from heatpoint.datasets import PointSet
from heatpoint.datasets.sample import Body
from heatpoint.metrics.pose3d import axis_errors, mpjpe, n_mpjpe, pa_mpjpe
from heatpoint.transforms import depth_to_mm

ROOT_DEPTH = (
    "true"  # An image alone does not say how far the root is: the published scores take it from the annotation.
)


class Space(NamedTuple):
    """The bodies of a batch and the cameras that see them, in the cameras' frames.

    Attributes:
        points: (B, K, 3) in millimetres; NaN where a sample has no body.
        focal: (B, 2) in pixels.
        center: (B, 2), the principal points in pixels.
        root: (B,) indices of the roots.
    """

    points: Tensor
    focal: Tensor
    center: Tensor
    root: Tensor


def space_of(bodies: Sequence[Body | None], num_points: int, *, dtype: torch.dtype = torch.float64) -> Space:
    """Stacks the bodies of a batch, in float32 for devices that know no other: a millimetre at 10 m has 3 digits left.

    >>> space_of([None, None], 5).points.shape
    torch.Size([2, 5, 3])
    """
    points = torch.full((len(bodies), num_points, 3), torch.nan, dtype=dtype)
    focal = torch.full((len(bodies), 2), torch.nan, dtype=dtype)
    center, root = focal.clone(), torch.zeros(len(bodies), dtype=torch.long)
    for i, body in enumerate(bodies):
        if body is not None:
            points[i] = torch.from_numpy(body.points)
            focal[i], center[i] = torch.from_numpy(body.camera.focal), torch.from_numpy(body.camera.center)
            root[i] = body.root
    return Space(points, focal, center, root)


def relative_depths(z: Tensor, *, side: float, depth_range_mm: float) -> Tensor:
    """Third coordinates of located points (…) in input pixels to millimetres behind the root."""
    return depth_to_mm(z, side=side, depth_range_mm=depth_range_mm)


def to_camera(pixels: Tensor, depths: Tensor, space: Space) -> Tensor:
    """Image pixels (B, K, 2) and depths behind the root (B, K) to the camera's frame (B, K, 3), in millimetres.

    With the true depth of the root, as Human3.6M is scored: X = (x − c) / f · z, z = depth + z_root. The lens is taken as ideal.

    >>> space = Space(torch.tensor([[[0.0, 0.0, 2000.0]]]), torch.full((1, 2), 1000.0), torch.zeros(1, 2), torch.tensor([0]))
    >>> to_camera(torch.tensor([[[50.0, 0.0]]]), torch.tensor([[-400.0]]), space)
    tensor([[[  80.,    0., 1600.]]])
    """
    root = space.points[torch.arange(len(space.root)), space.root, 2]
    z = depths + root[:, None]
    flat = (pixels - space.center[:, None]) / space.focal[:, None]
    return torch.cat([flat * z[..., None], z[..., None]], dim=-1)


def relative_errors(pixels: Tensor, depths: Tensor, space: Space) -> tuple[Tensor, Tensor]:
    """Located and true points (B, K, 3) in millimetres, both measured from their own root, of the samples that have bodies."""
    known = space.points[:, 0, 0].isfinite()
    found, true = to_camera(pixels, depths, space), space.points
    order = torch.arange(len(space.root))
    found = found - found[order, space.root][:, None]
    true = true - true[order, space.root][:, None]
    return found[known], true[known]


def space_scores(points: Tensor, depths: Tensor, point_set: PointSet) -> dict[str, Any]:
    """Errors in millimetres of what was located in a set; empty for a set without bodies.

    Args:
        points: (N, K, 2) in image pixels.
        depths: (N, K) in millimetres behind the root.
        point_set: The samples, in the same order.

    Returns:
        mpjpe, pa_mpjpe and n_mpjpe, means over samples of the means over the points that a sample shows, the root included (its
        error is 0, as published); the mean absolute error per axis; and how many samples were scored.
    """
    space = space_of([sample.body for sample in point_set.samples], point_set.skeleton.num_points)
    found, true = relative_errors(points.double(), depths.double(), space)
    if not len(found):
        return {}
    known = space.points[:, 0, 0].isfinite()
    visible = torch.stack([torch.from_numpy(sample.visible) for sample in point_set.samples])[known]
    axes = axis_errors(found, true, visible=visible).nanmean(dim=0)
    return {
        "mpjpe_mm": float(mpjpe(found, true, visible=visible).nanmean()),
        "pa_mpjpe_mm": float(pa_mpjpe(found, true, visible=visible).nanmean()),
        "n_mpjpe_mm": float(n_mpjpe(found, true, visible=visible).nanmean()),
        "axes_mm": dict(zip(("x", "y", "z"), axes.tolist(), strict=True)),
        "scored": len(found),
    }
