"""Where cells lie: regular grids and point sets, and the frames that take a point from an image to the network's input.

This is the only place with half-pixel arithmetic. Conventions (docs/conventions.md): a point is (x), (x, y) or (x, y, z); a
grid's shape is slowest axis first; pixel i and cell i have their centres at coordinate i.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from heatpoint._checks import check_tensor, message

FloatArray = npt.NDArray[np.float64]


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


@dataclass(frozen=True)
class Frame:
    """One affine matrix that takes image pixels to the pixels of the network's input, and the input's size.

    Args:
        matrix: (2, 3) float64; input = matrix · (x, y, 1). Pixel centres at whole numbers on both sides.
        size: (width, height) of the input in pixels.

    >>> frame = Frame.from_box((10.0, 10.0, 29.0, 29.0), (40, 40))
    >>> frame.to_input(np.array([[9.5, 9.5], [29.5, 29.5]]))
    array([[-0.5, -0.5],
           [39.5, 39.5]])
    """

    matrix: FloatArray
    size: tuple[int, int]

    @classmethod
    def from_box(cls, box: Sequence[float], size: tuple[int, int], *, padding: float = 1.0) -> Frame:
        """The frame that shows a box, grown to the input's aspect and by `padding`, in the whole input.

        Args:
            box: (x1, y1, x2, y2), the coordinates of its first and last pixel; it covers x1 − ½ to x2 + ½.
            size: (width, height) of the input.
            padding: Factor on both sides of the box, about its centre.
        """
        x1, y1, x2, y2 = (float(v) for v in box)
        if not (x2 >= x1 and y2 >= y1):
            raise ValueError(message("Frame.from_box", "box", "have x2 >= x1 and y2 >= y1", tuple(box)))
        width, height = x2 - x1 + 1, y2 - y1 + 1
        scale = min(size[0] / width, size[1] / height) / padding
        center = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
        return cls(about(center, scale * np.eye(2), (np.array(size, dtype=np.float64) - 1) / 2), size)

    def then(self, matrix: FloatArray) -> Frame:
        """This frame followed by another (2, 3) map of the input onto itself (an augmentation)."""
        return Frame(compose(matrix, self.matrix), self.size)

    def to_input(self, points: FloatArray) -> FloatArray:
        """Image points (…, 2) to input pixels."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]

    def to_image(self, points: FloatArray) -> FloatArray:
        """Input points (…, 2) to image pixels."""
        return (points - self.matrix[:, 2]) @ np.linalg.inv(self.matrix[:, :2]).T

    def covariance_to_image(self, covariance: FloatArray) -> FloatArray:
        """Covariances (…, 2, 2) in input pixels² to image pixels²."""
        inverse = np.linalg.inv(self.matrix[:, :2])
        return inverse @ covariance @ inverse.T


def about(source: FloatArray, linear: FloatArray, destination: FloatArray) -> FloatArray:
    """The (2, 3) affine map with the given 2x2 part that takes the point `source` to `destination`."""
    return np.concatenate([linear, (destination - linear @ source)[:, None]], axis=1)


def compose(second: FloatArray, first: FloatArray) -> FloatArray:
    """The (2, 3) affine map that applies `first`, then `second`."""
    return np.concatenate([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2:] + second[:, 2:]], axis=1)


def resize_matrix(scale_x: float, scale_y: float) -> FloatArray:
    """The (2, 3) map of pixel centres under a resize: x -> (x + ½) · s − ½.

    >>> resize_matrix(0.5, 0.25)
    array([[ 0.5  ,  0.   , -0.25 ],
           [ 0.   ,  0.25 , -0.375]])
    """
    return np.array([[scale_x, 0.0, (scale_x - 1) / 2], [0.0, scale_y, (scale_y - 1) / 2]])


def flip_matrix(width: int) -> FloatArray:
    """The (2, 3) map of a horizontal flip: x -> width − 1 − x."""
    return np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0]])


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
