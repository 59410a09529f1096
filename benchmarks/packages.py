"""kornia and dsntnn, where they are installed (`pip install -e '.[bench]'`), called on maps (number, H, W)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

PACKAGES = ("kornia", "dsntnn")


def installed() -> dict[str, str]:
    """Package -> its version, of those that are there."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def soft_argmax_forms() -> dict[str, Callable[[Tensor], Tensor]]:
    """Name -> a soft-argmax in cells, (number, 2)."""
    functions = {"kornia": _kornia_soft_argmax, "dsntnn": _dsntnn_soft_argmax}
    return {name: partial(functions[name], importlib.import_module(name)) for name in installed()}


def dsnt_loss_forms(sigma: float) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Name -> the distance of the expectation to points, in cells, plus the divergence from a Gaussian around them, (number)."""
    functions = {"kornia": _kornia_loss, "dsntnn": _dsntnn_loss}
    return {name: partial(functions[name], importlib.import_module(name), sigma) for name in installed()}


def _kornia_soft_argmax(kornia: Any, maps: Tensor) -> Tensor:
    points: Tensor = kornia.geometry.subpix.spatial_soft_argmax2d(maps.unsqueeze(0), normalized_coordinates=False)
    return points[0]


def _dsntnn_soft_argmax(dsntnn: Any, maps: Tensor) -> Tensor:
    points: Tensor = dsntnn.dsnt(dsntnn.flat_softmax(maps.unsqueeze(0)), normalized_coordinates=False)
    return points[0]


def _kornia_loss(kornia: Any, sigma: float, maps: Tensor, points: Tensor) -> Tensor:
    subpix, maps, points = kornia.geometry.subpix, maps.unsqueeze(0), points.unsqueeze(0)
    p = subpix.spatial_softmax2d(maps)
    spread = torch.full_like(points, sigma)
    q = subpix.render_gaussian2d(points, spread, tuple(maps.shape[-2:]), normalized_coordinates=False)
    distance = (subpix.spatial_expectation2d(p, normalized_coordinates=False) - points).norm(dim=-1)
    loss: Tensor = distance + kornia.losses.js_div_loss_2d(p, q, reduction="none")
    return loss[0]


def _dsntnn_loss(dsntnn: Any, sigma: float, maps: Tensor, points: Tensor) -> Tensor:
    maps, points = maps.unsqueeze(0), points.unsqueeze(0)
    p = dsntnn.flat_softmax(maps)
    normalised = dsntnn.pixel_to_normalized_coordinates(points, maps.shape[-2:])
    distance = dsntnn.euclidean_losses(dsntnn.dsnt(p, normalized_coordinates=False), points)
    loss: Tensor = distance + dsntnn.js_reg_losses(p, normalised, sigma)
    return loss[0]
