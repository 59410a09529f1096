"""What the Triton kernels draw, in their terms."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from heatpoint._relaxed import Formula
from heatpoint.basis import Basis, Gaussian, Triangular
from heatpoint.kernels._call import Law
from heatpoint.support import Grid, Support

# Temperatures at which E^(−1/τ) needs no logarithm; other temperatures, and those below COLD, where it overflows.
POWERS = {2.0: 0, 1.0: 1, 0.5: 2}
GENERAL, LOGARITHMIC = 3, 4
COLD = 0.25
# Cells of a part, and of the longest row that one program holds in its registers.
PART, ROW = 2048, 4096
ROOM = 0.25
# By D, the longest axis whose offsets of the released formula a program makes in registers, once per sample: they take memory of
# at most 4 times the logits, and longer axes spill.
LONGEST_AXES = (0, 2048, 2048, 1024)


def power_of_two(number: int) -> int:
    """The smallest power of two that is not less."""
    return 1 << (number - 1).bit_length()


@dataclass(frozen=True, eq=False)
class Call:
    """What is drawn.

    Args:
        support: A Grid without cyclic axes, or Points.
        seed: () int64 on the device of the maps: it is read there, and no one waits for it.
        num_samples: S.
        basis: Sub-distribution of a cell, or None.
        temperature: τ.
        formula: "paper" or "released".
        order: 0, or the prime order of lattices over the samples, see `heatpoint._lattice_draws.order_of`.
        longest_row: Cells of the longest row that one program takes whole; None is as many as fit into registers.
        part: Cells of a part of a longer one; a power of two, at least 64, as is longest_row.
        room: What sums of parts may take, as a share of the logits' memory in float32; those of one sample they always take.
    """

    support: Support
    seed: Tensor
    num_samples: int
    basis: Basis | None = None
    temperature: float = 1.0
    formula: Formula = "paper"
    order: int = 0
    longest_row: int | None = None
    part: int = PART
    room: float = ROOM

    @property
    def law(self) -> Law:
        """The same for the form that makes the draws again in torch."""
        return Law(self.seed, self.num_samples, self.basis, self.temperature, self.formula, self.order)

    @property
    def lattice(self) -> tuple[int, int] | None:
        """Order P of the lattices and 2⁶³ / P; None if there are none."""
        return (self.order, (2**63 + self.order // 2) // self.order) if self.order else None

    @property
    def power(self) -> int:
        """How the kernels make E^(−1/τ)."""
        return LOGARITHMIC if self.temperature < COLD else POWERS.get(self.temperature, GENERAL)

    @property
    def sharpness(self) -> tuple[float, float]:
        """1/τ as a sum of two; the first has 12 binary digits, so that its product with a float's exponent is exact."""
        inverse = 1 / self.temperature
        fraction, exponent = math.frexp(inverse)
        head = math.ldexp(round(fraction * 2**12) / 2**12, exponent)
        return head, inverse - head

    @property
    def scale(self) -> float:
        """What the derivative of a sample with respect to the logits is multiplied by."""
        return 1 / self.temperature if self.formula == "paper" else 1.0

    @property
    def line(self) -> int:
        """Room for the positions of an axis, which the offsets of the released formula belong to; 0 if there are none."""
        if self.formula == "paper" or self.basis is None or not isinstance(self.support, Grid):
            return 0
        return max(16, power_of_two(max(self.support.lengths)))

    @property
    def weighs(self) -> bool:
        """Whether a position's offset changes what its weight counts."""
        is_plane = isinstance(self.basis, Gaussian) and self.support.ndim == 2
        return self.line > 0 and (isinstance(self.basis, Triangular) or is_plane)

    @property
    def padded(self) -> int:
        """Cells of the tile that holds a row."""
        return max(64, power_of_two(self.support.num_cells))

    @property
    def is_split(self) -> bool:
        """Whether rows are cut into parts."""
        return self.padded > (self.registers if self.longest_row is None else self.longest_row)

    @property
    def is_crammed(self) -> bool:
        """Whether a thread has room for half as many cells of whole rows as of others: with doubles and shares of the axes."""
        return self.power == LOGARITHMIC and self.weighs

    @property
    def registers(self) -> int:
        """Cells that fit: fewer with doubles, which cold weights are, offsets along three axes, or long axes."""
        if self.is_crammed:
            return PART // 2
        is_crowded = self.power == LOGARITHMIC or (self.support.ndim == 3 and self.basis is not None)
        return PART if is_crowded or self.line > 1024 else ROW

    @property
    def num_parts(self) -> int:
        """Parts of a row."""
        return -(-self.support.num_cells // self.part)

    @property
    def sums(self) -> int:
        """Numbers that are summed over the cells of a part for each sample."""
        return 1 + (2 if self.weighs else 1) * self.support.ndim

    @property
    def chunk(self) -> int:
        """Samples of which the sums of parts are in memory at a time, with a point and slopes of each: no more than in `room`."""
        ndim, is_cold = self.support.ndim, self.power == LOGARITHMIC
        of_sums = (self.sums + is_cold) * self.num_parts + 1 + 2 * ndim
        each = (2 if is_cold else 1) * of_sums + 1 + ndim
        return max(1, min(self.num_samples, int(self.room * self.support.num_cells / each)))

    def geometry(self) -> dict[str, tuple[float, ...]]:
        """Lengths and strides of the axes, and units of the offsets: arguments of the kernels."""
        support, ndim = self.support, self.support.ndim
        lengths = support.lengths if isinstance(support, Grid) else (1,) * ndim
        strides = tuple(map(float, support.strides)) if isinstance(support, Grid) else (1.0,) * ndim
        sigma = self.basis.scale if isinstance(self.basis, Gaussian) else 1.0
        return {"lengths": lengths, "strides": strides, "units": tuple(stride * sigma for stride in strides)}

    def middle(self) -> tuple[float, ...]:
        """The middle of a grid, from which positions are measured; 0 for points, whose targets are moved instead."""
        if not isinstance(self.support, Grid):
            return (0.0,) * self.support.ndim
        axes = zip(self.support.lengths, self.support.strides, self.support.offsets, strict=True)
        return tuple(float(offset + stride * (length - 1) / 2) for length, stride, offset in axes)
