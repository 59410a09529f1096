"""Random words of cells and of positions on an axis: each on its own, or a lattice over the samples.

Words of a lattice are base + sample · step modulo 2³², where base is the word of sample 0, and step is j 2³² / P with j from 1 to
P − 1 by the word of sample 1 (`heatpoint._lattice_draws`). Bases and steps are made before the first sample and kept.
"""

import triton
import triton.language as tl

from heatpoint.kernels._gpu.numbers import GAUSSIAN, NONE, TRIANGULAR

ROUNDS = tl.constexpr(7)


@triton.jit
def _cell_words(seed, quad, sample, index, D: tl.constexpr, BASIS: tl.constexpr, LINE: tl.constexpr):
    """Four words of every stream that the cells of the quads have: 0, and where each cell has an offset 1 and 2.

    Where an offset takes half a word, two blocks of cells share one.
    """
    found = tl.philox(seed, quad, sample, index, 0, ROUNDS)
    if BASIS != NONE and LINE == 0:
        both = quad // 32 * 16 + quad % 16
        if BASIS == GAUSSIAN:
            found = found + tl.philox(seed, quad, sample, index, 1, ROUNDS)
            if D > 1:
                found = found + tl.philox(seed, quad, sample, index, 2, ROUNDS)
        elif D == 1:
            found = found + tl.philox(seed, both, sample, index, 1, ROUNDS)
        else:
            found = found + tl.philox(seed, quad, sample, index, 1, ROUNDS)
            if D == 3:
                found = found + tl.philox(seed, both, sample, index, 2, ROUNDS)
    return found


@triton.jit
def _word_at(four, k):
    return tl.where(k < 2, tl.where(k == 0, four[0], four[1]), tl.where(k == 2, four[2], four[3]))


@triton.jit
def _position_words(seed, place, sample, index, D: tl.constexpr, BASIS: tl.constexpr):
    """Of the words that the cells at these places have in streams 1 and 2, those that make their offsets."""
    k, quad, both = place % 64 // 16, place // 64 * 16 + place % 16, place // 128 * 16 + place % 16
    if BASIS == GAUSSIAN:
        a = tl.philox(seed, quad, sample, index, 1, ROUNDS)
        if D == 1:
            found = (_word_at(a, k // 2), _word_at(a, 2 + k // 2))
        else:
            b = tl.philox(seed, quad, sample, index, 2, ROUNDS)
            if D == 2:
                found = (_word_at(a, k), _word_at(b, k))
            else:
                even = k // 2 * 2
                found = (_word_at(a, k), _word_at(b, 2 + k // 2), _word_at(b, k // 2))
                found = found + (_word_at(a, even), _word_at(a, even + 1))
    elif D == 1:
        found = (_word_at(tl.philox(seed, both, sample, index, 1, ROUNDS), k),)
    else:
        found = (_word_at(tl.philox(seed, quad, sample, index, 1, ROUNDS), k),)
        if D == 3:
            found = found + (_word_at(tl.philox(seed, both, sample, index, 2, ROUNDS), k),)
    return found


@triton.jit
def _line_words(seed, sample, index, D: tl.constexpr, BASIS: tl.constexpr, LINE: tl.constexpr):
    """Words of an axis's positions; of the triangular basis those of their neighbours, before and after, too."""
    found = ()
    if LINE > 0:
        place = tl.arange(0, LINE)
        found = _position_words(seed, place, sample, index, D, BASIS)
        if BASIS == TRIANGULAR:
            found = found + _position_words(seed, tl.maximum(place - 1, 0), sample, index, D, BASIS)
            found = found + _position_words(seed, place + 1, sample, index, D, BASIS)
    return found


@triton.jit
def _steps(words, lattice):
    """Steps of a lattice, lattice being P and 2⁶³ / P: with P² below 2³¹, j times that is rounded as j 2³² / P is."""
    steps, others = (), tl.cast(lattice[0] - 1, tl.uint32)
    for i in tl.static_range(len(words)):
        number = 1 + tl.umulhi(words[i], others).to(tl.int64)
        steps = steps + (((number * lattice[1] + 1073741824) >> 31).to(tl.uint32),)
    return steps


@triton.jit
def _word_of_lattice(bases, steps, sample):
    found, times = (), tl.cast(sample, tl.uint32)
    for i in tl.static_range(len(bases)):
        found = found + (bases[i] + times * steps[i],)
    return found


@triton.jit
def kept_noise(seed, quad, index, lattice, D: tl.constexpr, BASIS: tl.constexpr, LINE: tl.constexpr):
    """Bases and steps of cells and positions; nothing where lattice is None."""
    kept = ()
    if lattice is not None:
        cells = _cell_words(seed, quad, 0, index, D, BASIS, LINE)
        cell_steps = _steps(_cell_words(seed, quad, 1, index, D, BASIS, LINE), lattice)
        line = _line_words(seed, 0, index, D, BASIS, LINE)
        line_steps = _steps(_line_words(seed, 1, index, D, BASIS, LINE), lattice)
        kept = (cells, cell_steps, line, line_steps)
    return kept


@triton.jit
def noise_of(kept, seed, quad, sample, index, lattice, D: tl.constexpr, BASIS: tl.constexpr, LINE: tl.constexpr):
    """One sample's words: of the cells four of each stream, and of the positions."""
    if lattice is None:
        cells = _cell_words(seed, quad, sample, index, D, BASIS, LINE)
        line = _line_words(seed, sample, index, D, BASIS, LINE)
    else:
        cells = _word_of_lattice(kept[0], kept[1], sample)
        line = _word_of_lattice(kept[2], kept[3], sample)
    return cells, line
