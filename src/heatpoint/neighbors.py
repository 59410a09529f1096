"""Neighbourhoods in point clouds: farthest points, balls, nearest points, and values taken or interpolated from them.

All are exact and batched. A squared distance is ((x − x′)² + (y − y′)²) + (z − z′)², every operation rounded in the dtype of the
coordinates (half precision counts as float32), so that a loop over points finds the same neighbours, bit by bit. Expanding the
square into a product of matrices would be faster, and wrong for points near the border of a ball.
"""

from __future__ import annotations

import torch
from torch import Tensor

from heatpoint._checks import check_real, check_tensor, check_whole, looks_at, message
from heatpoint._distances import root
from heatpoint._numerics import full_precision, promote
from heatpoint._pairs import checked_cloud, first_by_list, first_by_rank, squares_of_pairs

# Added to squared distances before they are inverted, as in PointNet++'s code: a point at distance 0 has a finite weight.
LEAST_SQUARE = 1e-8
# 2**64 divided by the golden ratio, made odd and signed.
HASH_FACTOR = 0x9E3779B97F4A7C15 - 2**64


@full_precision
def farthest_points(xyz: Tensor, num: int, *, start: int | Tensor | torch.Generator = 0) -> Tensor:
    """Farthest point sampling: each next point is the one farthest from those already taken.

    PointNet++ (Qi et al., 2017), 3.2. No point is taken twice, even if points coincide; of equally far points the one of the
    lowest index is taken. O(B · N · num) time in num steps, O(B · N) memory.

    Args:
        xyz: (B, N, D) finite coordinates.
        num: Points to take, from 1 to N.
        start: The first point: an index for all clouds, an index for each, (B,), or a generator that draws them.

    Returns:
        (B, num) int64, in the order in which they were taken. No gradient.

    Raises:
        TypeError: If xyz is no floating-point tensor, or start is neither of the three.
        ValueError: If shapes, num or start break these rules, or a coordinate is not finite (on the CPU always, elsewhere
            under HEATPOINT_CHECK=1).

    >>> farthest_points(torch.tensor([[[0.0], [1.0], [5.0], [2.0]]]), 3)
    tensor([[0, 2, 3]])
    """
    xyz = checked_cloud("farthest_points", "xyz", xyz).detach()
    batch, length, _ = xyz.shape
    remedy = "A smaller cloud has fewer points to offer."
    rule = f"be from 1 to the number of points {length}"
    num = check_whole("farthest_points", "num", num, rule, least=1, most=length, remedy=remedy)
    taken = _first(start, batch, length, xyz.device)[:, None]
    rows = xyz.permute(2, 0, 1).contiguous()
    gap, square = torch.empty_like(rows), torch.empty_like(rows[0])
    # The smallest squared distance to what was taken; −1 marks what was taken itself, and stays the minimum.
    near = torch.full_like(square, torch.inf)
    order = torch.empty(num, batch, 1, dtype=torch.int64, device=xyz.device)
    for step in range(num):
        order[step] = taken
        torch.sub(rows, rows.gather(2, taken.expand(len(rows), -1, -1)), out=gap)
        gap.mul_(gap)
        square.copy_(gap[0])
        for axis in gap[1:]:
            square.add_(axis)
        torch.minimum(near, square, out=near)
        near.scatter_(1, taken, -1.0)
        taken = near.argmax(dim=1, keepdim=True)
    return order[..., 0].T.contiguous()


@full_precision
def ball_query(xyz: Tensor, centers: Tensor, radius: float, num: int) -> Tensor:
    """The first `num` points, in the order of the cloud, within `radius` of each centre, border included.

    PointNet++ (Qi et al., 2017), 3.2, and the order of its code. Where fewer are within, the first of them fills the remaining
    places, so a maximum over the group is that over the ball. Where none is, the nearest point (the lowest index of equally
    near ones) fills all of them; the published kernels return index 0 or N there. Points that coincide count one by one.
    O(B · M · N) time; memory is O(B · M · num) and a bounded chunk of pairs.

    Args:
        xyz: (B, N, D) finite coordinates.
        centers: (B, M, D) finite coordinates; need not be points of the cloud.
        radius: In the cloud's units, greater than 0. A point is within if its squared distance is at most radius², rounded to
            the dtype of the coordinates.
        num: Places of each group, at least 1; may exceed N.

    Returns:
        (B, M, num) int64 rows of xyz. No gradient.

    Raises:
        TypeError: If xyz or centers is no floating-point tensor.
        ValueError: If shapes, radius or num break these rules, or a coordinate is not finite (on the CPU always, elsewhere
            under HEATPOINT_CHECK=1).

    >>> ball_query(torch.tensor([[[0.0], [9.0], [1.0], [2.0]]]), torch.tensor([[[1.0], [9.0], [5.5]]]), radius=1.0, num=3)
    tensor([[[0, 2, 3],
             [1, 1, 1],
             [1, 1, 1]]])
    """
    xyz, centers = _checked_pair("ball_query", xyz, centers)
    radius = check_real("ball_query", "radius", radius, "be greater than 0", above=0)
    num = check_whole("ball_query", "num", num, "be at least 1", least=1)
    found = []
    for squares in squares_of_pairs(xyz.detach(), centers.detach()):
        is_within = squares <= radius * radius
        if squares.device.type == "cpu":
            found.append(first_by_list(is_within, squares, num))
        else:
            found.append(first_by_rank(is_within, squares, num))
    return torch.cat(found, dim=1)


@full_precision
def nearest(xyz: Tensor, centers: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` points nearest to each centre, nearest first; of equally near ones the lowest index first.

    O(B · M · N) time for float32 (O(B · M · N log N) for float64); memory is O(B · M · k) and a bounded chunk of pairs.

    Args:
        xyz: (B, N, D) finite coordinates.
        centers: (B, M, D) finite coordinates; a centre that is a point of the cloud finds itself, at distance 0.
        k: From 1 to N.

    Returns:
        Euclidean distances (B, M, k) in the cloud's units, and rows of xyz (B, M, k) int64. The gradient flows to both
        clouds through the distances, and is 0 where a distance is exactly 0.

    Raises:
        TypeError: If xyz or centers is no floating-point tensor.
        ValueError: If shapes or k break these rules, or a coordinate is not finite (on the CPU always, elsewhere under
            HEATPOINT_CHECK=1).

    >>> nearest(torch.tensor([[[0.0], [4.0], [1.0], [4.0]]]), torch.tensor([[[3.0]]]), k=3)
    (tensor([[[1., 1., 2.]]]), tensor([[[1, 3, 2]]]))
    """
    xyz, centers = _checked_pair("nearest", xyz, centers)
    length = xyz.shape[1]
    k = check_whole("nearest", "k", k, f"be from 1 to the number of points {length}", least=1, most=length)
    index = _nearest_rows(xyz, centers, k)
    return root(_square_gaps(xyz, centers, index)), index


def gather_rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows of each item of a batch: out[b, i, …] = values[b, index[b, i, …]].

    O(size of the result) time and memory, back and forth; the gradient flows to the values, summed over repeated rows.

    Args:
        values: (B, N, C).
        index: (B, …) int64, from 0 to N − 1.

    Returns:
        (B, …, C).

    Raises:
        TypeError: If index is not int64.
        ValueError: If the shapes do not match, or an index is out of range (on the CPU always, elsewhere under
            HEATPOINT_CHECK=1).

    >>> gather_rows(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([[[1, 0, 1]]]))
    tensor([[[[3., 4.],
              [1., 2.],
              [3., 4.]]]])
    """
    check_tensor("gather_rows", "values", values)
    check_tensor("gather_rows", "index", index)
    if index.dtype != torch.int64:
        raise TypeError(message("gather_rows", "index", "be int64", index.dtype))
    if values.ndim != 3:
        raise ValueError(message("gather_rows", "values", "be (B, N, C)", tuple(values.shape)))
    batch, length, channels = values.shape
    if index.ndim < 1 or index.shape[0] != batch:
        raise ValueError(message("gather_rows", "index", f"be ({batch}, …), as values", tuple(index.shape)))
    # Rows of other clouds lie on either side: an index out of range would silently find them.
    if index.numel() and looks_at(index) and not (int(index.min()) >= 0 and int(index.max()) < length):
        found = f"indices from {int(index.min())} to {int(index.max())}"
        raise ValueError(message("gather_rows", "index", f"lie from 0 to {length - 1}", found))
    first = torch.arange(batch, device=index.device) * length
    flat = (index + first.view(batch, *(1,) * (index.ndim - 1))).flatten()
    return values.reshape(batch * length, channels).index_select(0, flat).view(*index.shape, channels)


@full_precision
def interpolate_nearest(values: Tensor, xyz: Tensor, centers: Tensor, *, k: int = 3) -> Tensor:
    """Values at the centres, from the `k` nearest points weighted by inverse squared distance.

    PointNet++ (Qi et al., 2017), Eq. 2, p = 2: f(c) = Σ_i w_i f_i / Σ_i w_i with w_i = 1 / (d_i² + 1e-8); the small number, which
    the paper does not have, is that of its code. Clouds of fewer than k points use all of them. Costs as `nearest`.

    Args:
        values: (B, N, C), one row for each point.
        xyz: (B, N, D) finite coordinates of the values.
        centers: (B, M, D) finite coordinates.
        k: At least 1.

    Returns:
        (B, M, C). The gradient flows to the values and, through the weights, to both clouds.

    Raises:
        TypeError: If one of the tensors is not floating point.
        ValueError: If shapes or k break these rules, or a coordinate is not finite (on the CPU always, elsewhere under
            HEATPOINT_CHECK=1).

    >>> cloud = torch.tensor([[[0.0], [1.0], [3.0]]])
    >>> interpolate_nearest(10 * cloud, cloud, torch.tensor([[[0.5], [3.0]]]), k=2)
    tensor([[[ 5.],
             [30.]]])
    """
    xyz, centers = _checked_pair("interpolate_nearest", xyz, centers)
    check_tensor("interpolate_nearest", "values", values)
    if not values.is_floating_point():
        raise TypeError(message("interpolate_nearest", "values", "be floating point", values.dtype))
    if values.ndim != 3 or values.shape[:2] != xyz.shape[:2]:
        rule = f"be ({xyz.shape[0]}, {xyz.shape[1]}, C), one row for each point"
        raise ValueError(message("interpolate_nearest", "values", rule, tuple(values.shape)))
    k = check_whole("interpolate_nearest", "k", k, "be at least 1", least=1)
    index = _nearest_rows(xyz, centers, min(k, xyz.shape[1]))
    weights = (_square_gaps(xyz, centers, index) + LEAST_SQUARE).reciprocal()
    weights = weights / weights.sum(dim=-1, keepdim=True)
    return (gather_rows(promote(values), index) * weights[..., None]).sum(dim=-2)


def content_order(xyz: Tensor) -> Tensor:
    """An order of the points that depends on where they are and not on how they are listed, and that is otherwise arbitrary.

    Sorts by a hash of the coordinates' bits. Taking the first few points of a ball in this order is as good as taking them at
    random, and the same however the cloud is permuted. Points that coincide keep their order among themselves, which then does
    not matter. O(B · N log N) time.

    Args:
        xyz: (B, N, D) finite coordinates.

    Returns:
        (B, N) int64: the row of xyz that comes first, second, …. No gradient.

    Raises:
        TypeError: If xyz is no floating-point tensor.
        ValueError: If it is not (B, N, D), or a coordinate is not finite (on the CPU always, elsewhere under HEATPOINT_CHECK=1).

    >>> cloud = torch.tensor([[[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]])
    >>> moved = cloud[:, [2, 0, 1]]
    >>> torch.equal(gather_rows(cloud, content_order(cloud)), gather_rows(moved, content_order(moved)))
    True
    """
    xyz = checked_cloud("content_order", "xyz", xyz).detach()
    # Adding 0 makes −0 the same as 0, as they are in space.
    bits = (xyz + 0.0).contiguous().view(torch.int32 if xyz.dtype == torch.float32 else torch.int64).long()
    mixed = torch.zeros_like(bits[..., 0])
    for axis in bits.unbind(dim=-1):
        # Two rounds of multiplication by a large odd number, wrapping around, and of folding the upper bits onto the lower.
        for _ in range(2):
            mixed = (mixed ^ axis) * HASH_FACTOR
            mixed = mixed ^ (mixed >> 29)
    return mixed.argsort(dim=1, stable=True)


def _nearest_rows(xyz: Tensor, centers: Tensor, k: int) -> Tensor:
    rows = torch.arange(xyz.shape[1], device=xyz.device)
    found = []
    for squares in squares_of_pairs(xyz.detach(), centers.detach()):
        if squares.dtype == torch.float32:
            # The bits of floats of at least 0 are ordered as the floats are; the row below them settles ties.
            keys = (squares.view(torch.int32).long() << 32) | rows
            found.append(keys.topk(k, largest=False).values & 0xFFFFFFFF)
        else:
            found.append(squares.sort(dim=-1, stable=True).indices[..., :k])
    return torch.cat(found, dim=1)


def _square_gaps(xyz: Tensor, centers: Tensor, index: Tensor) -> Tensor:
    return (gather_rows(xyz, index) - centers[:, :, None]).square().sum(dim=-1)


def _first(start: int | Tensor | torch.Generator, batch: int, length: int, device: torch.device) -> Tensor:
    if isinstance(start, torch.Generator):
        return torch.randint(length, (batch,), generator=start, device=start.device).to(device)
    rule = f"be an index from 0 to {length - 1}, one for each cloud, or a generator"
    if not isinstance(start, Tensor):
        index = check_whole("farthest_points", "start", start, rule, least=0, most=length - 1)
        return torch.full((batch,), index, device=device)
    if start.dtype != torch.int64:
        raise TypeError(message("farthest_points", "start", rule, start.dtype))
    if tuple(start.shape) != (batch,):
        raise ValueError(message("farthest_points", "start", rule, f"shape {tuple(start.shape)} for {batch} clouds"))
    if looks_at(start) and not bool(((start >= 0) & (start < length)).all()):
        raise ValueError(message("farthest_points", "start", rule, start.tolist()))
    return start.to(device)


def _checked_pair(function: str, xyz: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    xyz, centers = checked_cloud(function, "xyz", xyz), checked_cloud(function, "centers", centers, least=0)
    if (xyz.shape[0], xyz.shape[2]) != (centers.shape[0], centers.shape[2]):
        rule = f"be ({xyz.shape[0]}, M, {xyz.shape[2]}), as xyz"
        raise ValueError(message(function, "centers", rule, tuple(centers.shape)))
    dtype = torch.promote_types(xyz.dtype, centers.dtype)
    return xyz.to(dtype), centers.to(dtype)
