"""What a kernel cannot do without, and the machine's rates, which together give the floor of its time.

Four rates are measured before and after the rounds of an operation: reading (the largest of an array beyond the caches), writing
(filling it), fused multiply-adds (a product of matrices in float32) and numpy's words of random bits, for all threads what one of
them draws times their number. A kernel cannot be faster than the arithmetic it needs, nor than reading its maps once and writing
what it returns; a product of matrices needs its random numbers before.

Of the native kernel's arithmetic, multiplications, of bytes too, and fused multiply-adds are counted in its source by hand, per
number, on the path of AVX-512: those are what competes for the units whose rate a product of matrices shows. What else runs is
left out (additions, shifts, conversions, exclusive ors, approximate inverses and roots), so that the floor is a floor. A Philox
word takes as many whole-vector multiplications as a vector of words needs, of which one makes half a vector.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.growth import Step
from benchmarks.measure import interleaved
from benchmarks.operation import Size, Work
from benchmarks.sampling import TASKS, Task

# philox.hpp, Philox::rounds: a product and 2 in each of 5 more rounds for half a vector of 4 words; 22 for 4 vectors.
PHILOX = 5.5
# vectors.hpp, log2_parts: one for the exponent, a polynomial of 7 steps, times t.
LOGARITHM = 9.0
# sampling_weights.hpp, powered, with twice_over_root (4), or inverse (2) and base; else log2_split (4), 3 to scale and split it,
# exp2_fraction (5) and base.
POWER = {2.0: 4.0, 1.0: 3.0, 0.5: 4.0}
GENERAL_POWER = 4.0 + 9.0
# sampling_offsets.hpp, by_bytes: plus_bytes and one more; or Bytes::position: plus_bytes twice, for the sample and for the
# gradient; normals for two: logarithm, 1, square_root (4), sine_cosine (11), 2, and centered (1).
TRIANGULAR, NORMAL = 2.0, (LOGARITHM + 1 + 4 + 11 + 2 + 1) / 2
# sampling_offsets.hpp, Offsets::words: words of offsets for a cell, by the number of axes.
TRIANGULAR_WORDS, NORMAL_WORDS = {1: 0.5, 2: 1.0, 3: 1.5}, {1: 1.0, 2: 2.0, 3: 2.0}
# sampling_offsets.hpp, displace: a position and its sum, for each axis; displace_by_bytes: the sum.
DISPLACED, IN_BYTES = 2.0, 1.0
# sampling_released.hpp, add_marginal_gradients; and for each position of an axis displace_interpolated (3), sum (3) and
# find_slopes (2). Axes are much shorter than the map, unless there is but one.
RELEASED, AXIS = 1.0, 8.0
TEMPERATURES = (2.0, 0.7)
KERNELS = ("coco-30", "human36m-10", "oct-10", "points-30")
PROBES = 3


def _ndim(task: Task) -> int:
    return 3 if task.is_cloud else len(task.cells)


def _noise(task: Task, temperature: float, *, has_offsets: bool) -> float:
    """Of a cell of a sample: a draw, a power, offsets."""
    each = PHILOX + LOGARITHM + POWER.get(temperature, GENERAL_POWER)
    words, offset = (NORMAL_WORDS, NORMAL) if task.is_cloud else (TRIANGULAR_WORDS, TRIANGULAR)
    return each + (words[_ndim(task)] * PHILOX + _ndim(task) * offset if has_offsets else 0.0)


def native_work(task: Task, temperature: float, *, released: bool) -> Work:
    """Of the native kernel, per cell of every sample: noise, sums, the gradient."""
    is_axis = _ndim(task) == 1
    # sampling_gradient.hpp, add_gradients: a slope of every axis, times the weight.
    by_cells = _ndim(task) * ((DISPLACED if task.is_cloud else IN_BYTES) + 1) + 1
    rest = RELEASED + AXIS * is_axis if released else by_cells
    each = _noise(task, temperature, has_offsets=is_axis or not released) + rest
    maps = 4.0 * task.elements() / task.samples
    return Work(multiplies=each * task.elements(), read=maps, written=maps)


def shared_work(task: Task, temperature: float) -> Work:
    """Of the native kernel where maps share their draws: noise for each group, sums and the gradient for each map."""
    # sampling_offsets.hpp, displace: positions and their sums, which come with the noise. sampling_shared.hpp, add_sums and
    # add_slopes: a product, and for each axis a sum and a slope, times the powers of the noise.
    noise = _noise(task, temperature, has_offsets=True) + _ndim(task) * DISPLACED
    each = noise / task.batch[-1] + 2.0 * (1 + _ndim(task))
    maps = 4.0 * task.elements() / task.samples
    return Work(multiplies=each * task.elements(), read=maps, written=maps)


def product_work(task: Task) -> Work:
    """Of the matrix products, forward and back: 1 + D columns, on clouds the squares too, where a sample has one Gaussian offset.

    Per cell, sample and group half a word, and a quarter for each offset of a cell.
    """
    columns = 1.0 + _ndim(task) + task.is_cloud
    offsets = 0 if task.is_cloud else _ndim(task)
    maps = 4.0 * task.elements() / task.samples
    return Work(
        multiplies=2.0 * columns * task.elements(),
        read=maps,
        written=maps,
        words=(0.5 + 0.25 * offsets) * task.elements() / task.batch[-1],
    )


def readout_work(name: str, num_bytes: float) -> Work:
    """Of what works on maps: one reading, or one writing; a gradient is written once."""
    if name == "gaussian_map":
        return Work(written=num_bytes)
    return Work(read=num_bytes, written=num_bytes if "gradient" in name else 0.0)


def work_of(operation: str, form: str, num_bytes: float, size: Size) -> Work | None:
    """What a form of ours cannot do without; None where nothing is counted."""
    if not operation.startswith("sampling "):
        return readout_work(operation, num_bytes) if form == "heatpoint" else None
    _, key, temperature = operation.split(" ")
    tau = float(temperature)
    if key not in KERNELS or tau not in TEMPERATURES:
        return None
    task = TASKS[key].shrunk(size)
    if form == "gemm, noise per image":
        return product_work(task)
    if form == "native, noise per image":
        return shared_work(task, tau)
    released = form == "native, released formula"
    return native_work(task, tau, released=released) if released or form == "native" else None


class Rates:
    """Arrays to measure the rates on, made once."""

    def __init__(self, size: Size) -> None:
        number, side = (2**25, 1024) if size == "full" else (2**16, 64)
        values, matrix = torch.ones(number), torch.rand(side, side)
        bits, count = np.random.SFC64(0), 2**18 if size == "full" else 2**10
        # Rate -> what measures it, and how much of it that is.
        self.probes: dict[str, tuple[Step, float]] = {
            "multiplies": (lambda: matrix @ matrix, float(side**3)),
            "read": (values.amax, float(values.nbytes)),
            "written": (lambda: values.fill_(1.0), float(values.nbytes)),
            "words": (lambda: bits.random_raw(count), float(count * torch.get_num_threads())),
        }

    def measure(self) -> dict[str, list[float]]:
        """Rate -> its values in a few rounds."""
        found = interleaved({name: step for name, (step, _) in self.probes.items()}, rounds=PROBES)
        return {name: [self.probes[name][1] / seconds for seconds in values] for name, values in found.items()}
