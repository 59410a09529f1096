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
        shape = tuple(self.shape)
        if not 1 <= len(shape) <= 3 or any(int(n) != n or n < 1 for n in shape):
            remedy = "Give it slowest axis first: (W,), (H, W) or (D, H, W)."
            raise ValueError(message("Grid", "shape", "hold 1 to 3 whole numbers of at least 1", self.shape, remedy))
        shape = tuple(int(n) for n in shape)
        stride = _per_axis("stride", self.stride, len(shape))
        if any(not s > 0 for s in _tuple(stride, len(shape))):
            raise ValueError(message("Grid", "stride", "be greater than 0", self.stride))
        if self.offset is not None:
            offset = _per_axis("offset", self.offset, len(shape))
        elif isinstance(stride, tuple):
            offset = tuple((s - 1) / 2 for s in stride)
        else:
            offset = (stride - 1) / 2
        cyclic = tuple(sorted({int(a) for a in self.cyclic}))
        if any(not 0 <= a < len(shape) for a in cyclic):
            remedy = "Axes are counted in point order: 0 is x, 1 is y, 2 is z."
            raise ValueError(message("Grid", "cyclic", f"hold axes from 0 to {len(shape) - 1}", self.cyclic, remedy))
        for name, value in (("shape", shape), ("stride", stride), ("offset", offset), ("cyclic", cyclic)):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        parts = [repr(self.shape)]
        if self.stride != 1.0:
            parts.append(f"stride={_short(self.stride)}")
        if self.offset != Grid(self.shape, stride=self.stride).offset:
            parts.append(f"offset={_short(self.offset)}")
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
        return _tuple(self.stride, self.ndim)

    @property
    def offsets(self) -> tuple[float, ...]:
        """Coordinate of the centre of cell 0 per axis in point order."""
        if self.offset is None:
            raise AssertionError("offset is resolved when the grid is made")
        return _tuple(self.offset, self.ndim)

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
        return (points - self._row(self.offsets, points)) / self._row(self.strides, points)

    def to_points(self, cells: Tensor) -> Tensor:
        """Cell coordinates (*batch, D) to input coordinates (*batch, D); differentiable."""
        cells = cells if cells.is_floating_point() else cells.to(torch.get_default_dtype())
        return cells * self._row(self.strides, cells) + self._row(self.offsets, cells)

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

    def _row(self, values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device)


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
        try:
            expected = torch.broadcast_shapes(batch, maps.shape[:-1])
        except RuntimeError:
            expected = None
        if expected is None or len(batch) > maps.ndim - 1:
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


def flip_points(points: Tensor, *, width: float, swap: Sequence[int] | None = None) -> Tensor:
    """Mirrors points left to right, exactly: x -> width − 1 − x, then exchanges the names of mirrored points.

    Args:
        points: (*batch, K, D) in pixels of an image `width` wide (pixel centres at whole numbers).
        width: Width of the image in pixels.
        swap: For every point the index of its mirror partner (itself if it has none), length K. None leaves the order.

    Returns:
        (*batch, K, D). The function is its own inverse.

    >>> flip_points(torch.tensor([[0.0, 5.0], [7.0, 5.0]]), width=8, swap=[1, 0])
    tensor([[0., 5.],
            [7., 5.]])
    """
    check_swap("flip_points", swap, points.shape[-2] if points.ndim > 1 else 0)
    flipped = torch.cat([width - 1 - points[..., :1], points[..., 1:]], dim=-1)
    return flipped if swap is None else flipped[..., list(swap), :]


def check_swap(function: str, swap: Sequence[int] | None, num_points: int) -> None:
    """Raises ValueError unless `swap` is a permutation of the points that is its own inverse."""
    if swap is None:
        return
    if sorted(swap) != list(range(num_points)) or any(swap[swap[i]] != i for i in range(num_points)):
        rule = f"be a permutation of the {num_points} points that is its own inverse"
        raise ValueError(message(function, "swap", rule, list(swap), "Entry i names the mirror partner of point i."))


def _per_axis(argument: str, value: float | Sequence[float], ndim: int) -> float | tuple[float, ...]:
    if isinstance(value, int | float):
        return float(value)
    values = tuple(float(v) for v in value)
    if len(values) != ndim:
        raise ValueError(message("Grid", argument, f"be one number or {ndim}, in point order (x, y, z)", value))
    return values


def _tuple(value: float | tuple[float, ...], ndim: int) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,) * ndim


def _short(value: float | tuple[float, ...] | None) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(f'{v:g}' for v in value)}{',' if len(value) == 1 else ''})"
    return f"{value:g}"
