"""The flip test: points, or maps, of an image and of its mirror image, averaged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from heatpoint._checks import check_tensor, check_whole, message
from heatpoint.frames import check_swap, flip_points


def flip_average(points: Tensor, flipped_points: Tensor, *, width: float, swap: Sequence[int] | None = None) -> Tensor:
    """The mean of the points found in an image and in its mirror image, the latter mirrored back exactly.

    Args:
        points: (*batch, K, D) found in the input.
        flipped_points: (*batch, K, D) found in the mirrored input.
        width: Width of the input in pixels.
        swap: For every point the index of its mirror partner. None if no point has one.

    Returns:
        (*batch, K, D).

    Raises:
        ValueError: If the shapes differ, or swap is no permutation that is its own inverse.

    >>> import torch
    >>> flip_average(torch.tensor([[1.0, 2.0]]), torch.tensor([[5.0, 4.0]]), width=8)
    tensor([[1.5000, 3.0000]])
    """
    check_tensor("flip_average", "points", points)
    check_tensor("flip_average", "flipped_points", flipped_points)
    if points.shape != flipped_points.shape:
        got = tuple(flipped_points.shape)
        raise ValueError(
            message("flip_average", "flipped_points", f"have the points' shape {tuple(points.shape)}", got)
        )
    return (points + flip_points(flipped_points, width=width, swap=swap)) / 2


def flip_maps(maps: Tensor, *, swap: Sequence[int] | None = None, shift: int = 0, point_axis: int = 1) -> Tensor:
    """Mirrors maps left to right, column j to W − 1 − j, and exchanges the maps of mirrored points.

    With the offset (stride − 1) / 2 this is the mirror of the input exactly, x to width − 1 − x. With offset 0, which both
    papers publish, cell j of the mirrored input lies at width − 1 − stride · j, and its mirrored column at width − stride −
    stride · j: the maps come out stride − 1 pixels too far left. ``shift=1``, published as "shift heatmap" (HRNet, SimplePose
    and their successors), gives column j what column j − 1 had: one pixel too far right instead. `flip_average` is exact
    under every offset; maps are averaged for parity with published numbers. Column 0 keeps what it has, as published.

    The released code of Sampling-Argmax shifts in place over itself, so what it computes depends on the build of torch; this
    is what it means.

    Args:
        maps: (B, K, *grid.shape), or (B, K, C, *grid.shape), x last.
        swap: For every point the index of its mirror partner. None leaves the order.
        shift: Columns to move to the right after mirroring, at least 0 and fewer than there are.
        point_axis: Which axis counts the points.

    Returns:
        Of the maps' shape.

    Raises:
        TypeError: If maps is no tensor or shift no number.
        ValueError: If swap is no permutation that is its own inverse, or shift or point_axis does not fit.

    >>> flip_maps(torch.tensor([[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]]]), swap=[1, 0], point_axis=0)
    tensor([[[6., 5., 4.]],
    <BLANKLINE>
            [[3., 2., 1.]]])
    >>> flip_maps(torch.tensor([[[1.0, 2.0, 3.0]]]), shift=1)
    tensor([[[3., 3., 2.]]])
    """
    check_tensor("flip_maps", "maps", maps)
    if not -maps.ndim <= point_axis < maps.ndim or point_axis % maps.ndim == maps.ndim - 1:
        rule = f"be an axis of the maps {tuple(maps.shape)} before the last"
        raise ValueError(message("flip_maps", "point_axis", rule, point_axis))
    width = maps.shape[-1]
    rule = f"be from 0 to {width - 1}, fewer than the columns"
    shift = check_whole("flip_maps", "shift", shift, rule, least=0, most=width - 1)
    check_swap("flip_maps", swap, maps.shape[point_axis])
    flipped = maps.flip(-1)
    if swap is not None:
        flipped = flipped.index_select(point_axis, torch.tensor(list(swap), device=maps.device))
    if shift:
        flipped = torch.cat([flipped[..., :shift], flipped[..., :-shift]], dim=-1)
    return flipped
