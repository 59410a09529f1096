"""What the kernels have in common: a map's cells before any noise, and one sample's words, shares and moments."""

import triton
import triton.language as tl

from heatpoint.kernels._gpu.cells import centers_of, shares_and_moments
from heatpoint.kernels._gpu.noise import kept_noise, noise_of
from heatpoint.kernels._gpu.numbers import base_weights, cells_from, joined, load_cells
from heatpoint.kernels._gpu.offsets import rests_of


@triton.jit
def prepared(
    logits,
    tops,
    centers,
    cloud_of_map,
    seed,
    index,
    first_quad,
    num_cells,
    lattice,
    sharpness,
    axes,
    D: tl.constexpr,
    BASIS: tl.constexpr,
    POWER: tl.constexpr,
    IS_PAPER: tl.constexpr,
    LINE: tl.constexpr,
    QUADS: tl.constexpr,
):
    """Quads and cells of a tile, whether its map has no distribution, weights without noise, and what `sample_of` needs.

    The latter are coordinates, and the noise that is kept for all samples. tops are the maps' largest logits, None if a tile
    is a map. axes are lengths, strides and units.
    """
    far = index.to(tl.int64)
    quad, cell = cells_from(first_quad, QUADS)
    logit = load_cells(logits + far * num_cells, quad, num_cells, float("-inf"), 1)
    if tops is None:
        top = tl.max(logit)
        is_void = (tl.sum((logit != logit).to(tl.int32)) > 0) | (tl.abs(top) == float("inf"))
    else:
        top = tl.load(tops + far)
        is_void = (top != top) | (tl.abs(top) == float("inf"))
    base = base_weights(logit, top, sharpness, IS_PAPER, POWER)
    cloud = centers
    if cloud_of_map is not None:
        cloud += tl.load(cloud_of_map + far) * num_cells * D
    places = centers_of(cloud, quad, cell, num_cells, axes[0], axes[1], D, POWER)
    return quad, cell, is_void, base, (places, kept_noise(seed, quad, index, lattice, D, BASIS, LINE))


@triton.jit
def sample_of(
    common,
    lines,
    program,
    seed,
    quad,
    sample,
    index,
    num_cells,
    lattice,
    axes,
    D: tl.constexpr,
    BASIS: tl.constexpr,
    LINE: tl.constexpr,
    WEIGHS: tl.constexpr,
):
    """One sample's words of the cells' weights, and the `shares_and_moments` of the cells."""
    words, line_words = noise_of(common[1], seed, quad, sample, index, lattice, D, BASIS, LINE)
    rests = rests_of(seed, sample, index, D, BASIS, lattice is not None)
    shares, moments = shares_and_moments(
        common[0], lines, program, quad, num_cells, words, line_words, rests, axes, D, BASIS, LINE, WEIGHS
    )
    return joined(words[0], words[1], words[2], words[3]), shares, moments
