"""The frame that takes surfaces and pixels of a scan to the network's input and back: flattened, cropped, resized.

Half-pixel arithmetic as in `heatpoint.frames`: row r has its centre at r, and covers r − ½ to r + ½; columns alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from heatpoint._checks import message
from heatpoint.frames import BoolArray, FloatArray

FloatImage = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ScanFrame:
    """Every scan column moved along its rows, a band of rows cut out, and both sides resized.

    A scan point (column x, row r) lies in the input at

        column = column_offset + column_scale · x
        row = (r − top(x) + ½) · height / rows − ½,

    with the input's size (width, height). `top` is read linearly between columns, and stays what it is at the border beyond.

    Args:
        top: (W,) scan row, whole or not, of which the centre begins the band in every column.
        rows: Scan rows that the band is high.
        column_offset: Input column of scan column 0.
        column_scale: Input columns per scan column; below 0 in a mirrored frame.
        size: (width, height) of the input.
        scan_size: (width, height) of the scan.

    >>> frame = ScanFrame.whole((6, 8), (3, 4))
    >>> frame.rows_to_scan(np.array([[0.0, 1.0, 2.0]])).round(3)
    array([[0.5, 1. , 2. , 3. , 4. , 4.5]])
    """

    top: FloatArray
    rows: float
    column_offset: float
    column_scale: float
    size: tuple[int, int]
    scan_size: tuple[int, int]

    def __post_init__(self) -> None:
        _check_sizes(self.scan_size, self.size)
        width = self.scan_size[0]
        if self.top.shape != (width,) or not np.isfinite(self.top).all():
            got = f"shape {self.top.shape}" if self.top.shape != (width,) else "a number that is not finite"
            raise ValueError(message("ScanFrame", "top", f"be ({width},) finite scan rows, one per scan column", got))
        if not (np.isfinite(self.rows) and self.rows > 0):
            raise ValueError(message("ScanFrame", "rows", "be a finite number above 0", self.rows))
        if not (np.isfinite(self.column_scale) and self.column_scale != 0):
            raise ValueError(message("ScanFrame", "column_scale", "be a finite number other than 0", self.column_scale))

    @classmethod
    def whole(cls, scan_size: tuple[int, int], size: tuple[int, int]) -> ScanFrame:
        """The frame that shows the whole scan, as it is."""
        _check_sizes(scan_size, size)
        scale = size[0] / scan_size[0]
        return cls(np.zeros(scan_size[0]), float(scan_size[1]), (scale - 1) / 2, scale, size, scan_size)

    @classmethod
    def around(
        cls,
        reference: FloatArray,
        scan_size: tuple[int, int],
        size: tuple[int, int],
        *,
        rows: float,
        share: float = 0.5,
    ) -> ScanFrame:
        """The frame that makes a line straight, and shows a band of rows about it.

        Args:
            reference: (W,) scan rows of the line.
            scan_size: (width, height) of the scan.
            size: (width, height) of the input.
            rows: Scan rows of the band.
            share: Where the line lies in the band, from 0, its upper edge, to 1.

        >>> frame = ScanFrame.around(np.array([9.0, 8.0, 7.0]), (3, 20), (3, 4), rows=8.0)
        >>> visible = np.ones((1, 3), dtype=bool)
        >>> frame.rows_to_input(np.array([[9.0, 8.0, 9.0]]), visible)[0]
        array([[1.5, 1.5, 2.5]])
        """
        return replace(cls.whole(scan_size, size), top=reference + 0.5 - share * rows, rows=float(rows))

    def lowered(self, rows: float | FloatArray) -> ScanFrame:
        """The frame in whose input everything lies lower by `rows` scan rows: one number, or one per scan column."""
        return replace(self, top=self.top - rows)

    def stretched(self, factor: float, *, share: float = 0.5) -> ScanFrame:
        """The frame in whose input rows are `factor` times as high, about the place `share` of the band, which stays."""
        rows = self.rows / factor
        return replace(self, top=self.top + share * (self.rows - rows), rows=rows)

    def mirrored(self) -> ScanFrame:
        """This frame with the input's columns in the opposite order."""
        return replace(self, column_offset=self.size[0] - 1 - self.column_offset, column_scale=-self.column_scale)

    def narrowed(self, factor: float, *, share: float = 0.5) -> ScanFrame:
        """The frame that shows 1 / `factor` of its columns in the whole input, about the place `share`, which stays."""
        center = share * self.size[0] - 0.5
        return replace(
            self,
            column_offset=center + factor * (self.column_offset - center),
            column_scale=factor * self.column_scale,
        )

    @property
    def rows_per_input_row(self) -> float:
        """Scan rows per input row: what an error in input rows is multiplied by."""
        return self.rows / self.size[1]

    @property
    def shown(self) -> BoolArray:
        """(W,) which scan columns lie in the input."""
        columns = self._input_columns()
        return (columns >= -0.5) & (columns <= self.size[0] - 0.5)

    def rows_to_input(self, rows: FloatArray, visible: BoolArray) -> tuple[FloatArray, BoolArray]:
        """Surfaces of the scan to the input's columns, linear between scan columns.

        Args:
            rows: (S, W) scan rows; what they hold where they are not visible does not matter.
            visible: (S, W).

        Returns:
            Rows (S, w) in the input, 0 where not visible, and visibility (S, w): both neighbouring scan columns are visible
            (the one where a column is met exactly) and the row lies in the input.

        Raises:
            ValueError: If a shape does not fit.
        """
        if rows.ndim != 2 or rows.shape[1] != self.scan_size[0]:
            rule = f"be (surfaces, {self.scan_size[0]}), one row per scan column"
            raise ValueError(message("rows_to_input", "rows", rule, rows.shape))
        if visible.shape != rows.shape:
            raise ValueError(
                message("rows_to_input", "visible", f"have the shape of rows, {rows.shape}", visible.shape)
            )
        flattened = np.where(visible, (rows - self.top + 0.5) / self.rows_per_input_row - 0.5, 0.0)
        columns = self._scan_columns()
        left, right, share = _neighbours(columns, self.scan_size[0])
        placed = flattened[:, left] * (1 - share) + flattened[:, right] * share
        inside = (columns >= 0) & (columns <= self.scan_size[0] - 1)
        seen = inside & (visible[:, left] | (share == 1)) & (visible[:, right] | (share == 0))
        seen &= (placed >= -0.5) & (placed <= self.size[1] - 0.5)
        return np.where(seen, placed, 0.0), seen

    def rows_to_scan(self, rows: FloatArray) -> FloatArray:
        """Surfaces of the input (S, w) to every scan column, (S, W): linear between input columns, level beyond the outermost."""
        flattened = self._at_scan_columns("rows_to_scan", "rows", rows)
        return (flattened + 0.5) * self.rows_per_input_row - 0.5 + self.top

    def variance_to_scan(self, variance: FloatArray) -> FloatArray:
        """Variances (S, w) in input rows² to scan rows² at every scan column, (S, W)."""
        return self._at_scan_columns("variance_to_scan", "variance", variance) * self.rows_per_input_row**2

    def warp(self, image: npt.NDArray[np.floating]) -> FloatImage:
        """Pixels of the input: means over the part of the scan that each stands for, first along rows, then along columns.

        A pixel that stands for less than a scan pixel averages over the size of one, which is linear interpolation. Outside
        the scan there is 0.

        Args:
            image: (H, W), the scan.

        Returns:
            (height, width) float32.

        Raises:
            ValueError: If the image is not of the scan's size.

        >>> frame = ScanFrame.whole((4, 2), (2, 2))
        >>> frame.warp(np.array([[0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 4.0]]))
        array([[0.5, 0. ],
               [1. , 2. ]], dtype=float32)
        """
        if image.shape != self.scan_size[::-1]:
            rule = f"be {self.scan_size[::-1]}, the scan that the frame was made for"
            raise ValueError(message("warp", "image", rule, image.shape))
        step = self.rows_per_input_row
        centers = self.top[:, None] + (np.arange(self.size[1]) + 0.5) * step - 0.5
        band = _means(image.T.astype(np.float64), centers, max(step, 1.0))
        return _means(band.T, self._scan_columns()[None], max(1 / abs(self.column_scale), 1.0)).astype(np.float32)

    def _scan_columns(self) -> FloatArray:
        """(w,) the scan column at the centre of every input column."""
        columns: FloatArray = (np.arange(self.size[0], dtype=np.float64) - self.column_offset) / self.column_scale
        return columns

    def _input_columns(self) -> FloatArray:
        """(W,) the input column at the centre of every scan column."""
        columns: FloatArray = self.column_offset + self.column_scale * np.arange(self.scan_size[0], dtype=np.float64)
        return columns

    def _at_scan_columns(self, function: str, argument: str, values: FloatArray) -> FloatArray:
        width = self.size[0]
        if values.ndim != 2 or values.shape[1] != width:
            rule = f"be (surfaces, {width}), one number per input column"
            raise ValueError(message(function, argument, rule, values.shape))
        left, right, share = _neighbours(self._input_columns(), width)
        return values[:, left] * (1 - share) + values[:, right] * share


def _check_sizes(scan_size: tuple[int, int], size: tuple[int, int]) -> None:
    for name, given in (("size", size), ("scan_size", scan_size)):
        if min(given) < 1:
            raise ValueError(message("ScanFrame", name, "be (width, height) of at least 1", given))


def _neighbours(positions: FloatArray, length: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray]:
    """The whole positions on either side, within 0 to length − 1, and the share of the right one."""
    # A frame's arithmetic may miss a whole column by a rounding error, which must not ask for a second visible one.
    nearest = np.round(positions)
    clamped = np.clip(np.where(np.abs(positions - nearest) < 1e-9, nearest, positions), 0, length - 1)
    left = np.floor(clamped).astype(np.int64)
    return left, np.minimum(left + 1, length - 1), clamped - left


def _means(values: FloatArray, centers: FloatArray, extent: float) -> FloatArray:
    """Means of piecewise constant lines over intervals: values (L, n), centres (L or 1, m), their common extent; (L, m).

    Position i of a line stands for i − ½ to i + ½; outside of it there is 0.
    """
    length = values.shape[1]
    total: FloatArray = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)

    def integral(ends: FloatArray) -> FloatArray:
        inside: FloatArray = np.clip(ends + 0.5, 0, length)
        whole: FloatArray = np.minimum(np.floor(inside), length - 1.0)
        index = np.broadcast_to(whole.astype(np.int64), (len(values), whole.shape[1]))
        below: FloatArray = np.take_along_axis(total, index, axis=1)
        inner: FloatArray = np.take_along_axis(values, index, axis=1)
        return below + (inside - whole) * inner

    return (integral(centers + extent / 2) - integral(centers - extent / 2)) / extent
