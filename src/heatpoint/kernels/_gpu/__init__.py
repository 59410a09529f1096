"""Triton kernels of sampling-argmax: a sample's weights, its point and the gradient, without anything of size S x cells.

What is computed and how the random numbers are made is that of the native kernel (native/philox.hpp, noise.hpp and
sampling_offsets.hpp), so that both give the same samples to rounding: Philox4x32-7 with the key `seed`, read from memory, and the
counter (quad of cells, sample, map, stream). The cells of a map are taken in blocks of 64, and quad q = 16 b + l gives cell
64 b + 16 k + l its word k. A tile of cells has the shape (quads, 2, 2), k = i + 2 j, so that a thread has all four words of its
quads. Stream 0 makes the Gumbel draws, 1 and 2 the basis's offsets, 3 what those of a sample share, which stands in the quad's
place there. Or the words are lattices over the samples (noise.py), whose offsets share nothing.

A sample's weight of cell i is (p_i / E_i)^(1/τ) (paper) or p_i E_i^(−1/τ) (released), E_i = −log u_i, up to a factor that
cancels. All sums have one order: the same call gives the same bits.

The files are read by Triton, whose types are not Python's and which knows no starred tuple: pyproject.toml tells mypy and ruff.
Nothing here is imported before the kernels run.
"""
