"""Left and right exchanged in a sample: which labels contradict the shape that the rest of the set has.

Every sample is laid onto the mean shape by a similarity (shift, turn, scale; never a mirror image). Two questions follow.

One pair: v, the vector from a point to its partner, has mean μ and covariance Σ over the other samples; exchanging the two
turns v into −v, so exchanging them is the more likely by a log-likelihood ratio of −2 vᵀΣ⁻¹μ. Twice that is the `gain`, in units
of squared standard deviations: a sample reaches a gain of g only if v lies at least √g standard deviations off its mean.

All pairs: the mean squared distance from the mean shape, in standard deviations per point, against the same after the exchange
and a new alignment.

Both are blind where the set itself is: people seen from the front and from behind have no fixed side, so μ is near 0 or Σ is
wide, nothing is gained by an exchange, and nothing is reported. `swap_power` says how blind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heatpoint.frames import FloatArray
from heatpoint.skeleton import Skeleton

Complex = npt.NDArray[np.complex128]
Flags = npt.NDArray[np.bool_]

MIN_SAMPLES = 20
PAIR_GAIN = 25.0  # √25: v lies 5 standard deviations off.
WHOLE_GAIN = 12.0
ROUNDS = 3


@dataclass(frozen=True)
class Swap:
    """A sample whose labels fit better with some pairs exchanged.

    Args:
        index: Of the sample.
        pairs: The pairs, as indices of points.
        whole: Whether it is the sample as a whole, all pairs at once. Of two pairs, one that is wrong may look like both.
        gain: How much better, in squared standard deviations.
    """

    index: int
    pairs: tuple[tuple[int, int], ...]
    whole: bool
    gain: float


def find_swaps(points: FloatArray, visible: Flags, skeleton: Skeleton) -> list[Swap]:
    """The samples that contradict the set's own shape until left and right are exchanged.

    Args:
        points: (N, K, 2).
        visible: (N, K); samples with fewer than 3 visible points are passed over.
        skeleton: Its swap pairs are looked at.

    Returns:
        One entry per sample found; empty if there are fewer than 20 samples to compare with, or no pairs.

    >>> skeleton = Skeleton(("left", "right", "tail"), swap_pairs=((0, 1),))
    >>> points = np.random.default_rng(0).normal([[0, 0], [4, 0], [2, 9]], 0.2, (30, 3, 2))
    >>> points[7] = points[7, [1, 0, 2]]
    >>> [(swap.index, swap.pairs) for swap in find_swaps(points, np.ones((30, 3), bool), skeleton)]
    [(7, ((0, 1),))]
    """
    pairs = np.array(skeleton.swap_pairs, dtype=np.intp).reshape(-1, 2)
    usable = np.flatnonzero(visible.sum(axis=1) >= 3)
    if len(usable) < MIN_SAMPLES or not len(pairs) or skeleton.num_points < 3:
        return []
    shapes = points[usable, :, 0] + 1j * points[usable, :, 1]
    seen = visible[usable]
    swap = np.array(skeleton.swap)
    trusted = np.ones(len(usable), dtype=np.bool_)
    found: dict[int, Swap] = {}
    for _ in range(ROUNDS):
        mean = mean_shape(shapes[trusted], seen[trusted])
        found = {}
        whole = _whole_gains(shapes, seen, trusted, mean, swap)
        for index in np.flatnonzero(whole > WHOLE_GAIN):
            found[int(index)] = Swap(int(usable[index]), skeleton.swap_pairs, True, float(whole[index]))
        gains = _pair_gains(shapes, seen, trusted, mean, pairs)
        for index in np.flatnonzero((gains > PAIR_GAIN).any(axis=1)):
            chosen = tuple(
                pair for pair, gain in zip(skeleton.swap_pairs, gains[index], strict=True) if gain > PAIR_GAIN
            )
            found.setdefault(int(index), Swap(int(usable[index]), chosen, False, float(gains[index].max())))
        now = np.ones(len(usable), dtype=np.bool_)
        now[list(found)] = False
        if (now == trusted).all() or now.sum() < MIN_SAMPLES:
            break
        trusted = now
    return [found[index] for index in sorted(found)]


def mean_shape(shapes: Complex, seen: Flags, *, starts: int = 8, rounds: int = 8) -> Complex:
    """The shape that the samples have in common: medians after alignment, repeated; NaN where no sample shows a point.

    Samples may be turned in any direction, so it begins with one of them. Several are tried, those with the most points first,
    and the result that the samples fit best is kept.

    >>> square = np.array([0, 1, 1 + 1j, 1j])
    >>> mean = mean_shape(np.stack([square, 2 * square + 5, 3j * square]), np.ones((3, 4), bool))
    >>> bool(np.allclose(np.abs(mean - np.roll(mean, 1)), 1))
    True
    """
    order = np.argsort(-seen.sum(axis=1), kind="stable")
    complete = int((seen.sum(axis=1) == seen.sum(axis=1).max()).sum())
    tried = np.unique(np.linspace(0, complete - 1, min(starts, complete)).astype(int))
    part = np.linspace(0, len(shapes) - 1, min(len(shapes), 1000)).astype(int)
    best, least = shapes[order[0]], np.inf
    for start in order[tried]:
        mean = np.where(seen[start], shapes[start], np.nan)
        for _ in range(rounds):
            mean = _median(align(shapes[part], seen[part], _unit(mean)), seen[part])
        mean = _unit(mean)
        distance = np.abs(align(shapes[part], seen[part], mean) - mean)
        spread = float(np.nanmedian(np.where(seen[part], distance, np.nan)))
        if spread < least:
            best, least = mean, spread
    return best


def align(shapes: Complex, seen: Flags, mean: Complex) -> Complex:
    """Lays each sample onto the mean shape: the shift, turn and scale of least squared distance over the points it shows.

    In the complex plane a turn and a scale are one factor, a = Σ conj(z − z̄)(m − m̄) / Σ |z − z̄|².
    """
    weight = seen & np.isfinite(mean)
    target = np.where(weight, np.nan_to_num(mean), 0)
    number = np.maximum(weight.sum(axis=1, keepdims=True), 1)
    center = np.where(weight, shapes, 0).sum(axis=1, keepdims=True) / number
    goal = target.sum(axis=1, keepdims=True) / number
    spread = np.where(weight, shapes - center, 0)
    size = (np.abs(spread) ** 2).sum(axis=1, keepdims=True)
    factor = (np.conj(spread) * np.where(weight, target - goal, 0)).sum(axis=1, keepdims=True) / np.maximum(size, 1e-12)
    return np.asarray(factor * (shapes - center) + goal)


def _unit(mean: Complex) -> Complex:
    centered = mean - np.nanmean(mean)
    return np.asarray(centered / max(float(np.sqrt(np.nanmean(np.abs(centered) ** 2))) * np.sqrt(2), 1e-12))


def _median(aligned: Complex, seen: Flags) -> Complex:
    shown = np.where(seen, aligned, np.nan)
    empty = ~seen.any(axis=0)
    shown[:, empty] = 0
    result = np.nanmedian(shown.real, axis=0) + 1j * np.nanmedian(shown.imag, axis=0)
    result[empty] = np.nan
    return np.asarray(result)


def _whole_gains(shapes: Complex, seen: Flags, trusted: Flags, mean: Complex, swap: npt.NDArray[np.intp]) -> FloatArray:
    """Mean squared deviation of the paired points as labelled, less that with all of them exchanged."""
    as_labelled = np.abs(align(shapes, seen, mean) - mean) ** 2
    exchanged = np.abs(align(shapes[:, swap], seen[:, swap], mean) - mean) ** 2
    known = seen & np.isfinite(mean)
    variance = np.array([_trimmed_mean(as_labelled[trusted & known[:, k], k]) for k in range(shapes.shape[1])])
    paired = swap != np.arange(len(swap))
    both = known & known[:, swap] & paired
    number = np.maximum(both.sum(axis=1), 1)
    gain = np.where(both, as_labelled / variance, 0).sum(axis=1) - np.where(both, exchanged / variance, 0).sum(axis=1)
    # With fewer than 3 points in common an alignment fits anything.
    return np.where((both.sum(axis=1) >= 2) & (known.sum(axis=1) >= 3), gain / number, 0.0)


def _trimmed_mean(values: FloatArray) -> float:
    """Mean of squared distances from their lower nine tenths, so that gross errors have no say.

    For a normal distribution in the plane a square is exponential, and the mean of its lower share q is 1 + (1 − q) ln(1 − q) / q
    times its mean: 0.744 for q = 0.9.
    """
    if not len(values):
        return 1.0
    kept = np.sort(values)[: max(1, round(0.9 * len(values)))]
    return max(float(kept.mean()) / 0.744, 1e-9)


def _pair_gains(shapes: Complex, seen: Flags, trusted: Flags, mean: Complex, pairs: npt.NDArray[np.intp]) -> FloatArray:
    """−4 vᵀΣ⁻¹μ per sample and pair, with μ and Σ of the trusted samples other than the sample itself."""
    gains = np.zeros((len(shapes), len(pairs)))
    for column, (a, b) in enumerate(pairs):
        # The pair itself has no say in the alignment: two of five points that are wrong would turn it.
        others = seen & np.isfinite(mean)
        others[:, [a, b]] = False
        both = seen[:, a] & seen[:, b] & (others.sum(axis=1) >= 2)
        used = both & trusted
        if used.sum() < MIN_SAMPLES:
            continue
        aligned = align(shapes, others, mean)
        difference = aligned[:, b] - aligned[:, a]
        vectors = np.stack([difference.real, difference.imag], axis=1)
        number = used.sum() - used.astype(np.float64)  # without the sample itself
        own = np.where(used[:, None], vectors, 0)
        usual = (own.sum(axis=0) - own) / number[:, None]
        squares = own[:, :, None] * own[:, None, :]
        second = (squares.sum(axis=0) - squares) / number[:, None, None]
        covariance = second - usual[:, :, None] * usual[:, None, :] + 1e-9 * np.eye(2)
        gains[:, column] = -4 * np.einsum("ni,nij,nj->n", vectors, np.linalg.inv(covariance), usual)
        gains[~both, column] = 0
    return gains


def swap_power(points: FloatArray, visible: Flags, skeleton: Skeleton) -> tuple[float, float]:
    """How much of what `find_swaps` looks for it would find: shares of the samples, by exchanging each in turn.

    An exchange turns every gain into its negative, so no sample need be changed.

    Returns:
        (all pairs at once, a single pair; of that the mean over pairs).
    """
    pairs = np.array(skeleton.swap_pairs, dtype=np.intp).reshape(-1, 2)
    usable = np.flatnonzero(visible.sum(axis=1) >= 3)
    if len(usable) < MIN_SAMPLES or not len(pairs) or skeleton.num_points < 3:
        return 0.0, 0.0
    shapes, seen = points[usable, :, 0] + 1j * points[usable, :, 1], visible[usable]
    trusted = np.ones(len(usable), dtype=np.bool_)
    mean = mean_shape(shapes, seen)
    whole = _whole_gains(shapes, seen, trusted, mean, np.array(skeleton.swap))
    gains = _pair_gains(shapes, seen, trusted, mean, pairs)
    both = seen[:, pairs[:, 0]] & seen[:, pairs[:, 1]]
    single = ((gains < -PAIR_GAIN) & both).sum() / max(int(both.sum()), 1)
    return float((whole < -WHOLE_GAIN).mean()), float(single)
