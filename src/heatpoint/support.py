"""Where cells lie: regular grids and point sets.

Half-pixel arithmetic is here and in `heatpoint.frames` only. Conventions (docs/conventions.md): a point is (x), (x, y) or
(x, y, z); a grid's shape is slowest axis first; pixel i and cell i have their centres at coordinate i.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from heatpoint._checks import check_tensor, message
from heatpoint._grid_arguments import CYCLIC_REMEDY, SHAPE_REMEDY, as_tuple, numbers_per_axis, shortest, whole_numbers


@dataclass(frozen=True, repr=False)
class Grid:
    """A regular lattice of cells in 1, 2 or 3 dimensions, and where its cells lie in the network's input.

    Input coordinate = offset + stride · cell, per axis. A cell's own interval reaches half a stride to either side of its
    centre, so the grid covers cells −½ to length − ½.

    Args:
        shape: Number of cells, slowest axis first: (W,), (H, W) or (D, H, W).
        stride: Distance between neighbouring cell centres, in input pixels: one number, or one per axis in point order
            (x, y, z). Greater than 0.
        offset: Coordinate of the centre of cell 0: one number, or one per axis in point order. None means (stride − 1) / 2,
            under which the cells tile the input's pixels exactly; both papers publish ``offset=0``.
        cyclic: Axes that wrap around, as indices in point order (0 is x). The period is stride · length.

    Raises:
        ValueError: If shape, stride, offset or cyclic break these rules.

    >>> grid = Grid((64, 48), stride=4)
    >>> grid.ndim, grid.offset
    (2, 1.5)
    >>> grid.to_points(torch.tensor([[0.0, 0.0], [47.0, 63.0]]))
    tensor([[  1.5000,   1.5000],
            [189.5000, 253.5000]])
    """

    shape: tuple[int, ...]
    stride: float | tuple[float, ...] = field(default=1.0, kw_only=True)
    offset: float | tuple[float, ...] | None = field(default=None, kw_only=True)
    cyclic: tuple[int, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        shape = whole_numbers("shape", self.shape, "hold 1 to 3 whole numbers of at least 1", SHAPE_REMEDY, least=1)
        if not 1 <= len(shape) <= 3:
            raise ValueError(
                message("Grid", "shape", "hold 1 to 3 whole numbers of at least 1", self.shape, SHAPE_REMEDY)
            )
        stride = numbers_per_axis("stride", self.stride, len(shape), "be greater than 0", above=0)
        if self.offset is not None:
            offset = numbers_per_axis("offset", self.offset, len(shape), "be finite")
        elif isinstance(stride, tuple):
            offset = tuple((s - 1) / 2 for s in stride)
        else:
            offset = (stride - 1) / 2
        rule = f"hold axes from 0 to {len(shape) - 1}"
        axes = whole_numbers("cyclic", self.cyclic, rule, CYCLIC_REMEDY, least=0, most=len(shape) - 1)
        cyclic = tuple(sorted(set(axes)))
        for name, value in (("shape", shape), ("stride", stride), ("offset", offset), ("cyclic", cyclic)):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        parts = [repr(self.shape)]
        if self.stride != 1.0:
            parts.append(f"stride={shortest(self.stride)}")
        if self.offset != Grid(self.shape, stride=self.stride).offset:
            parts.append(f"offset={shortest(self.offset)}")
        if self.cyclic:
            parts.append(f"cyclic={self.cyclic}")
        return f"Grid({', '.join(parts)})"

    @property
    def ndim(self) -> int:
        """Number of axes D."""
        return len(self.shape)

    @property
    def num_cells(self) -> int:
        """Number of cells of one map."""
        return math.prod(self.shape)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Number of cells per axis in point order: (W,), (W, H) or (W, H, D)."""
        return self.shape[::-1]

    @property
    def strides(self) -> tuple[float, ...]:
        """Stride per axis in point order."""
        return as_tuple(self.stride, self.ndim)

    @property
    def offsets(self) -> tuple[float, ...]:
        """Coordinate of the centre of cell 0 per axis in point order."""
        if self.offset is None:
            raise AssertionError("offset is resolved when the grid is made")
        return as_tuple(self.offset, self.ndim)

    @property
    def size(self) -> tuple[float, ...]:
        """Extent of the grid in input pixels per axis in point order: stride · length."""
        return tuple(s * n for s, n in zip(self.strides, self.lengths, strict=True))

    def map_dim(self, axis: int) -> int:
        """The dimension of a map, counted from the end, along which coordinate `axis` (0 is x) runs."""
        return -1 - axis

    def axis_centers(
        self, axis: int, *, dtype: torch.dtype | None = None, device: torch.device | None = None
    ) -> Tensor:
        """Coordinates of the cell centres along one axis (in point order), shape (length,)."""
        cells = torch.arange(self.lengths[axis], dtype=dtype or torch.get_default_dtype(), device=device)
        return cells * self.strides[axis] + self.offsets[axis]

    def cell_centers(self, *, dtype: torch.dtype | None = None, device: torch.device | None = None) -> Tensor:
        """Coordinates of all cell centres, shape (*shape, D), components in point order.

        >>> Grid((2, 3), stride=2, offset=0).cell_centers()[1, 2]
        tensor([4., 2.])
        """
        axes = [self.axis_centers(axis, dtype=dtype, device=device) for axis in reversed(range(self.ndim))]
        return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1)

    def to_cells(self, points: Tensor) -> Tensor:
        """Input coordinates (*batch, D) to cell coordinates (*batch, D); differentiable."""
        self.check_points("Grid.to_cells", points, "points")
        points = points if points.is_floating_point() else points.to(torch.get_default_dtype())
        return (points - per_axis(self.offsets, points)) / per_axis(self.strides, points)

    def to_points(self, cells: Tensor) -> Tensor:
        """Cell coordinates (*batch, D) to input coordinates (*batch, D); differentiable."""
        self.check_points("Grid.to_points", cells, "cells")
        cells = cells if cells.is_floating_point() else cells.to(torch.get_default_dtype())
        return cells * per_axis(self.strides, cells) + per_axis(self.offsets, cells)

    def flatten(self, function: str, maps: Tensor, argument: str = "logits") -> Tensor:
        """Maps (*batch, *shape) to (*batch, cells), row-major, after checking them for the caller `function`."""
        check_tensor(function, argument, maps)
        if maps.ndim < self.ndim or tuple(maps.shape[maps.ndim - self.ndim :]) != self.shape:
            remedy = "Check the order of the dimensions: maps are (*batch, *grid.shape), slowest axis first."
            raise ValueError(
                message(function, argument, f"end in the grid's shape {self.shape}", tuple(maps.shape), remedy)
            )
        return maps.flatten(maps.ndim - self.ndim)

    def unflatten(self, flat: Tensor) -> Tensor:
        """(*batch, cells) back to (*batch, *shape)."""
        return flat.unflatten(-1, self.shape)

    def unravel(self, index: Tensor) -> Tensor:
        """Row-major cell indices (*batch) to integer cells (*batch, D) in point order."""
        cells = []
        for length in self.lengths:
            cells.append(index % length)
            index = torch.div(index, length, rounding_mode="floor")
        return torch.stack(cells, dim=-1)

    def ravel(self, cells: Tensor) -> Tensor:
        """Integer cells (*batch, D) in point order to row-major indices (*batch)."""
        index = cells[..., -1]
        for axis in reversed(range(self.ndim - 1)):
            index = index * self.lengths[axis] + cells[..., axis]
        return index

    def marginals(self, maps: Tensor) -> tuple[Tensor, ...]:
        """Sums of maps (*batch, *shape) over all axes but one: one (*batch, length) per axis, in point order."""
        dims = set(range(-self.ndim, 0))
        return tuple(
            maps.sum(dim=tuple(dims - {self.map_dim(axis)})) if self.ndim > 1 else maps for axis in range(self.ndim)
        )

    def check_points(self, function: str, points: Tensor, argument: str = "target") -> None:
        """Raises ValueError unless `points` is (…, D)."""
        check_points(function, points, self.ndim, argument)


@dataclass(frozen=True, eq=False)
class Points:
    """An unordered set of N points in D dimensions: the cells of a map over a point cloud.

    Args:
        xyz: (*batch, N, D) coordinates. The batch dimensions broadcast against those of the logits (*batch, N) from the
            right, as in torch: for logits (B, K, N) over one cloud per item give ``xyz[:, None]``, (B, 1, N, D).

    Raises:
        ValueError: If xyz has fewer than two dimensions, no points, or more than three coordinates.
        TypeError: If xyz is not a floating-point tensor.

    >>> cloud = Points(torch.zeros(5, 2048, 3))
    >>> cloud.ndim, cloud.shape
    (3, (2048,))
    """

    xyz: Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.xyz, Tensor) or not self.xyz.is_floating_point():
            got = self.xyz.dtype if isinstance(self.xyz, Tensor) else type(self.xyz).__name__
            raise TypeError(message("Points", "xyz", "be a floating-point tensor (*batch, N, D)", got))
        if self.xyz.ndim < 2 or self.xyz.shape[-2] < 1 or not 1 <= self.xyz.shape[-1] <= 3:
            rule = "be (*batch, N, D) with N >= 1 and D from 1 to 3"
            raise ValueError(message("Points", "xyz", rule, tuple(self.xyz.shape)))

    def __repr__(self) -> str:
        return f"Points({tuple(self.xyz.shape)})"

    @property
    def ndim(self) -> int:
        """Number of coordinates D."""
        return int(self.xyz.shape[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one map: (N,)."""
        return (int(self.xyz.shape[-2]),)

    @property
    def num_cells(self) -> int:
        """Number of points N."""
        return int(self.xyz.shape[-2])

    def cell_centers(self, *, dtype: torch.dtype | None = None, device: torch.device | None = None) -> Tensor:
        """The coordinates (*batch, N, D)."""
        return self.xyz.to(dtype=dtype, device=device)

    def flatten(self, function: str, maps: Tensor, argument: str = "logits") -> Tensor:
        """Checks that logits are (*batch, N) and broadcast against the points; returns them as they are."""
        check_tensor(function, argument, maps)
        batch = tuple(self.xyz.shape[:-2])
        if maps.ndim < 1 or maps.shape[-1] != self.num_cells:
            raise ValueError(
                message(function, argument, f"end in the number of points {self.num_cells}", tuple(maps.shape))
            )
        fits = all(n == m or 1 in (n, m) for n, m in zip(reversed(batch), reversed(maps.shape[:-1]), strict=False))
        if not fits or len(batch) > maps.ndim - 1:
            remedy = (
                "Batch dimensions align from the right: for logits (B, K, N) over one cloud per item give xyz[:, None]."
            )
            rule = f"have batch dimensions that broadcast with those of the points {batch}"
            raise ValueError(message(function, argument, rule, tuple(maps.shape), remedy))
        return maps

    def unflatten(self, flat: Tensor) -> Tensor:
        """Maps over points are flat already."""
        return flat

    def check_points(self, function: str, points: Tensor, argument: str = "target") -> None:
        """Raises ValueError unless `points` is (…, D)."""
        check_points(function, points, self.ndim, argument)


Support = Grid | Points


def check_support(function: str, support: object) -> None:
    """Raises TypeError unless `support` is a Grid or Points."""
    if not isinstance(support, Grid | Points):
        raise TypeError(message(function, "grid", "be a heatpoint.Grid or heatpoint.Points", type(support).__name__))


def check_points(function: str, points: Tensor, ndim: int, argument: str) -> None:
    """Raises TypeError unless `points` is a tensor, ValueError unless its last dimension holds `ndim` coordinates."""
    check_tensor(function, argument, points)
    if points.ndim < 1 or points.shape[-1] != ndim:
        names = ("x", "x, y", "x, y, z")[ndim - 1]
        rule = f"hold {ndim} coordinate{'s' if ndim > 1 else ''} ({names}) in its last dimension"
        raise ValueError(
            message(function, argument, rule, tuple(points.shape), "It has the support's dimension, not the map's.")
        )


def check_grid(function: str, grid: object) -> None:
    """Raises TypeError unless `grid` is a Grid: for what has no meaning on unordered points."""
    if not isinstance(grid, Grid):
        remedy = "It needs neighbouring cells or axes, which unordered points do not have."
        raise TypeError(message(function, "grid", "be a heatpoint.Grid", type(grid).__name__, remedy))


def per_axis(values: Sequence[float], like: Tensor) -> Tensor:
    """One number per axis as a tensor (D,) of the dtype and on the device of `like`.

    The numbers travel as arguments of kernels: torch.tensor(values, device=…) copies from memory and makes the GPU wait.

    >>> per_axis((2.0, 3.0), torch.zeros(4, 2))
    tensor([2., 3.])
    """
    if len(set(values)) == 1:
        return like.new_full((len(values),), values[0])
    return torch.stack([like.new_full((), value) for value in values])
