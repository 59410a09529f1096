"""How well the line segments between keypoints, each with a strength, build a cloud: the loss of Skeleton Merger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from heatpoint._checks import check_real, check_tensor, check_whole, looks_at, message
from heatpoint._numerics import full_precision, promote

# Points on a segment when their number follows from its length: one per SPACING, within these bounds.
SPACING, FEWEST, MOST = 0.01, 15, 200
# Pairs of points per chunk, which bounds the memory.
CPU_PAIRS, DEVICE_PAIRS = 2**20, 2**25


class Sampling(NamedTuple):
    """Where the points of each segment lie: fractions of the way (E, P), which of P places are taken, and how many are (E,)."""

    fraction: Tensor
    is_taken: Tensor
    number: Tensor


def segment_ends(num_points: int, *, device: torch.device | None = None) -> Tensor:
    """The pairs of keypoints that segments join, (2, E) with E = K(K − 1) / 2: where each starts, and where it ends.

    The order is that of the released Skeleton Merger: by the later keypoint, then by the earlier one.

    >>> segment_ends(4)
    tensor([[0, 0, 1, 0, 1, 2],
            [1, 2, 2, 3, 3, 3]])
    """
    return torch.tril_indices(num_points, num_points, -1, device=device).flip(0)


@full_precision
def composite_chamfer(
    points: Tensor,
    strengths: Tensor,
    cloud: Tensor,
    *,
    offsets: Tensor | None = None,
    points_per_edge: int | None = None,
    softening: float = 1e-4,
    missing: float = 20.0,
) -> Tensor:
    """Composite Chamfer distance between a cloud and the segments between all pairs of keypoints, one for each cloud.

    Skeleton Merger (Shi et al., 2021), 3.3, as released. With d(p, q) = √(|p − q|² + softening), segments S_e and strengths a_e:

    - fidelity, (1 / E) Σ_e a_e · mean over s ∈ S_e of min_n d(s, x_n): a strong segment must lie along the cloud;
    - coverage, the mean over x_n of Σ_i w_i d_i: distances d_i = min over s ∈ S_e of d(s, x_n) from the nearest segment to the
      farthest, each with its strength, until the strengths add up to 1 (w_i is what is left of 1 if that is less);
    - missing · (1 − Σ_e a_e)₊, for strengths that add up to less than 1.

    The released loss is the mean over the batch. Nearest points are found by a product of matrices, and may be off by rounding
    where two are almost equally near; distances are then those of the found pairs, exactly. O(E · P · N) time for each cloud, P
    points on a segment. Memory is that of one cloud's E · N distances and a bounded chunk of pairs, whatever the batch; the
    gradient is found together with the value, and has none itself.

    Args:
        points: (*batch, K, 3), K >= 2; the batch may begin with samples (S, B).
        strengths: (*batch, K(K − 1) / 2), from 0 to 1, in the order of `segment_ends`.
        cloud: (*batch, N, 3) finite coordinates. The batches of the three broadcast.
        offsets: (E, P, 3) added to the points of the segments, wherever these lie; None for straight ones. Segments of
            fewer points take the first of them.
        points_per_edge: P, at least 2, ends included; None for one per 0.01 of the segment's mean length over all clouds
            and samples, from 15 to 200, as released, which reads the points (an accelerator is waited for).
        softening: At least 0, in squared units of the cloud. At 0 the gradient has no value where points meet.
        missing: Weight of strengths that are missing.

    Returns:
        (*batch). The gradient flows to points, strengths, offsets and cloud.

    Raises:
        TypeError: If a tensor is not floating point.
        ValueError: If shapes or numbers break these rules (values on the CPU always, elsewhere under HEATPOINT_CHECK=1).

    >>> ends, cloud = torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 3.0], [2.0, 0.0, 0.0]])
    >>> composite_chamfer(ends, torch.tensor([1.0]), cloud, points_per_edge=3, softening=0.0)
    tensor(2.8333)
    """
    points, strengths, cloud = _checked(points, strengths, cloud)
    check_real("composite_chamfer", "softening", softening, "be at least 0", least=0)
    check_real("composite_chamfer", "missing", missing, "be at least 0", least=0)
    sampling = _sampling(points, points_per_edge)
    if offsets is not None:
        offsets = _offsets_of_places(offsets, sampling).to(points)
    batch = _broadcast(points, strengths, cloud)
    given = [points.expand(*batch, -1, -1), strengths.expand(*batch, -1), cloud.expand(*batch, -1, -1)]
    if offsets is not None:
        given.append(offsets.expand(*batch, -1, -1, -1))
    flat = [tensor.flatten(0, len(batch) - 1) if batch else tensor[None] for tensor in given]
    room = CPU_PAIRS if cloud.device.type == "cpu" else DEVICE_PAIRS
    step = max(1, room // (sampling.fraction.numel() * cloud.shape[-2]))

    def few(*tensors: Tensor) -> Tensor:
        return _distance_of_few(*tensors, sampling=sampling, softening=softening, missing=missing)

    return _Chunked.apply(few, step, *flat).view(batch)


class _Chunked(torch.autograd.Function):
    """A function of some items at a time, whose gradient is found there and then: nothing of a chunk is kept but that.

    Each result must depend on its own item alone, so the gradient of the sum holds that of each.
    """

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], step: int, *tensors: Tensor) -> Tensor:
        needed = ctx.needs_input_grad[2:]
        found, gradients = [], []
        for few in zip(*(tensor.split(step) for tensor in tensors), strict=True):
            leaves = [tensor.detach().requires_grad_(needs) for tensor, needs in zip(few, needed, strict=True)]
            with torch.set_grad_enabled(any(needed)):
                result = function(*leaves)
                total = result.sum()
            found.append(result.detach())
            if any(needed):
                gradients.append(torch.autograd.grad(total, [leaf for leaf in leaves if leaf.requires_grad]))
        ctx.save_for_backward(*(torch.cat(parts) for parts in zip(*gradients, strict=True)))
        return torch.cat(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved = iter(ctx.saved_tensors)
        per_item = [next(saved) if needs else None for needs in ctx.needs_input_grad[2:]]
        scaled = [g if g is None else g * gradient.view(-1, *(1,) * (g.ndim - 1)) for g in per_item]
        return None, None, *scaled


def _distance_of_few(
    points: Tensor,
    strengths: Tensor,
    cloud: Tensor,
    offsets: Tensor | None = None,
    *,
    sampling: Sampling,
    softening: float,
    missing: float,
) -> Tensor:
    """The distance (c,) of c clouds; offsets (c, E, P, 3) have one row for each place of `sampling`."""
    start, end = points[:, segment_ends(points.shape[1], device=points.device)].unbind(dim=1)
    skeleton = start[:, :, None] + sampling.fraction[..., None] * (end - start)[:, :, None]
    if offsets is not None:
        skeleton = skeleton + offsets
    of_skeleton, of_cloud = _nearest_pairs(skeleton.detach(), cloud.detach())
    near = _take(cloud, of_skeleton.flatten(1)).view_as(skeleton)
    fidelity = ((near - skeleton).square().sum(dim=-1) + softening).sqrt()
    fidelity = torch.where(sampling.is_taken, fidelity, 0).sum(dim=-1) / sampling.number
    near = _take(skeleton.flatten(1, 2), of_cloud.flatten(1)).view(*of_cloud.shape, 3)
    gaps = ((near - cloud[:, None]).square().sum(dim=-1) + softening).sqrt()
    # Segments last: sorting runs along memory.
    ranked, order = gaps.transpose(1, 2).contiguous().sort(dim=-1, stable=True)
    spent = strengths[:, None].expand_as(ranked).gather(-1, order).cumsum(dim=-1).clamp(max=1)
    coverage = (ranked * torch.cat([spent[..., :1], spent.diff(dim=-1)], dim=-1)).sum(dim=-1)
    left = (1 - strengths.sum(dim=-1)).clamp(min=0)
    return (strengths * fidelity).mean(dim=-1) + coverage.mean(dim=-1) + missing * left


@torch.no_grad()
def _nearest_pairs(skeleton: Tensor, cloud: Tensor) -> tuple[Tensor, Tensor]:
    """For places (c, E, P, 3) the nearest rows (c, E, P) of the cloud, for its points (c, N, 3) the nearest places.

    The latter count through all segments, (c, E, N): e · P + p.
    """
    edges, places = skeleton.shape[1:3]
    middle = cloud.mean(dim=1, keepdim=True)
    cloud, skeleton = cloud - middle, skeleton - middle[:, None]
    across = cloud.transpose(1, 2).contiguous()
    size = across.square().sum(dim=1, keepdim=True)
    room = CPU_PAIRS if cloud.device.type == "cpu" else DEVICE_PAIRS
    step = max(1, room // (places * cloud.shape[0] * cloud.shape[1]))
    counter = torch.arange(places, device=cloud.device, dtype=torch.uint8 if places <= 256 else torch.int32)[:, None]
    rows, spots = [], []
    for first in range(0, edges, step):
        part = skeleton[:, first : first + step]
        flat = part.flatten(1, 2)
        squares = torch.baddbmm(size + flat.square().sum(dim=-1, keepdim=True), flat, across, alpha=-2)
        rows.append(squares.argmin(dim=-1).view(part.shape[:3]))
        squares = squares.view(*part.shape[:3], -1)
        # The last place that holds the minimum. Counted in bytes: some ten times as fast as argmin across memory.
        is_least = squares <= squares.amin(dim=2, keepdim=True)
        begin = places * torch.arange(first, first + part.shape[1], device=cloud.device)
        spots.append(is_least.to(counter.dtype).mul_(counter).amax(dim=2) + begin[:, None])
    return torch.cat(rows, dim=1), torch.cat(spots, dim=1)


def _take(values: Tensor, index: Tensor) -> Tensor:
    """values[c, index[c, i]] of values (c, n, 3), as (c, i, 3)."""
    first = torch.arange(len(values), device=values.device)[:, None] * values.shape[1]
    return values.flatten(0, 1).index_select(0, (index + first).flatten()).view(*index.shape, -1)


def _sampling(points: Tensor, points_per_edge: int | None) -> Sampling:
    num_edges = points.shape[-2] * (points.shape[-2] - 1) // 2
    if points_per_edge is not None:
        most = check_whole("composite_chamfer", "points_per_edge", points_per_edge, "be at least 2, or None", least=2)
        count = torch.full((num_edges, 1), most, device=points.device)
    else:
        start, end = points.detach()[..., segment_ends(points.shape[-2], device=points.device), :].unbind(dim=-3)
        # The released code softens lengths by 1e-3 as well.
        length = ((end - start).square().sum(dim=-1) + 1e-3).sqrt().reshape(-1, num_edges).mean(dim=0)
        count = (length.double() / SPACING).floor().clamp(FEWEST, MOST).long()[:, None]
        most = int(count.max())
    place = torch.arange(most, device=points.device)
    # Places beyond a segment's number repeat its end, which is never nearer than itself.
    fraction = torch.minimum(place, count - 1).to(points.dtype) / (count - 1)
    return Sampling(fraction, place < count, count[:, 0])


def _offsets_of_places(offsets: Tensor, sampling: Sampling) -> Tensor:
    check_tensor("composite_chamfer", "offsets", offsets)
    edges, most = sampling.fraction.shape
    if offsets.ndim != 3 or offsets.shape[0] != edges or offsets.shape[1] < most or offsets.shape[2] != 3:
        rule = f"be ({edges}, P, 3) with P >= {most}"
        raise ValueError(message("composite_chamfer", "offsets", rule, tuple(offsets.shape)))
    place = torch.arange(most, device=offsets.device)
    place = torch.minimum(place, sampling.number[:, None] - 1)
    return offsets.gather(1, place[..., None].expand(-1, -1, 3))


def _broadcast(points: Tensor, strengths: Tensor, cloud: Tensor) -> tuple[int, ...]:
    shapes = points.shape[:-2], strengths.shape[:-1], cloud.shape[:-2]
    try:
        return tuple(torch.broadcast_shapes(*shapes))
    except RuntimeError:
        found = ", ".join(str(tuple(shape)) for shape in shapes)
        rule = "have batches that broadcast"
        raise ValueError(message("composite_chamfer", "points, strengths and cloud", rule, found)) from None


def _checked(points: Tensor, strengths: Tensor, cloud: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    given = {"points": points, "strengths": strengths, "cloud": cloud}
    for name, tensor in given.items():
        check_tensor("composite_chamfer", name, tensor)
        if not tensor.is_floating_point():
            raise TypeError(message("composite_chamfer", name, "be floating point", tensor.dtype))
    if points.ndim < 2 or points.shape[-2] < 2 or points.shape[-1] != 3:
        raise ValueError(message("composite_chamfer", "points", "be (*batch, K, 3) with K >= 2", tuple(points.shape)))
    edges = points.shape[-2] * (points.shape[-2] - 1) // 2
    if strengths.ndim < 1 or strengths.shape[-1] != edges:
        rule = f"be (*batch, {edges}), one for each pair of {points.shape[-2]} points"
        raise ValueError(message("composite_chamfer", "strengths", rule, tuple(strengths.shape)))
    if cloud.ndim < 2 or cloud.shape[-2] < 1 or cloud.shape[-1] != 3:
        raise ValueError(message("composite_chamfer", "cloud", "be (*batch, N, 3) with N >= 1", tuple(cloud.shape)))
    if looks_at(cloud) and not bool(cloud.isfinite().all()):
        raise ValueError(message("composite_chamfer", "cloud", "be finite", "NaN or infinity"))
    if looks_at(strengths) and not bool(((strengths >= 0) & (strengths <= 1)).all()):
        found = f"values from {float(strengths.min()):g} to {float(strengths.max()):g}"
        raise ValueError(message("composite_chamfer", "strengths", "lie from 0 to 1", found, "Give sigmoids."))
    dtype = torch.promote_types(torch.promote_types(promote(points).dtype, strengths.dtype), cloud.dtype)
    return points.to(dtype), strengths.to(dtype), cloud.to(dtype)
