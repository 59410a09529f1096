"""The native kernel's noise: the generator that is meant, its law, and the same numbers wherever it is made again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from heatpoint.basis import Basis, Gaussian, Triangular, Uniform
from heatpoint.kernels import _replayed
from heatpoint.kernels._call import Law, sample
from heatpoint.kernels._library import library
from heatpoint.support import Grid
from native_sampling import BASES, law, recorded
from oracles_native import offsets, philox, uniforms, words

pytestmark = pytest.mark.skipif(library().handle is None, reason=library().reason)


def test_philox_is_the_published_one() -> None:
    # Known answers of the authors' Random123, kat_vectors: philox4x32 10.
    zero = (np.zeros(1, dtype=np.uint64),) * 4
    assert [hex(int(w[0])) for w in philox(zero, 0, rounds=10)] == [
        "0x6627e8d5",
        "0xe169c58d",
        "0xbc57ac4c",
        "0x9b00dbd8",
    ]
    ones = (np.full(1, 0xFFFFFFFF, dtype=np.uint64),) * 4
    got = [hex(int(w[0])) for w in philox(ones, 2**64 - 1, rounds=10)]
    assert got == ["0x408f276d", "0x41c83b0e", "0xa20bc7c6", "0x6d5451fd"]


def test_noise_is_uniform_and_independent() -> None:
    # Seeds are fixed, so these pass always; for a new seed each fails once in a thousand.
    drawn = uniforms(words(3072, seed=3, num_samples=20, num_maps=30, stream=0))
    assert 0 < drawn.min() <= drawn.max() < 1
    counts = np.histogram(drawn, bins=4096, range=(0, 1))[0]
    assert stats.chisquare(counts).pvalue > 1e-3
    assert stats.kstest(-np.log(drawn[0]).ravel(), "expon").pvalue > 1e-3
    centred = (drawn - 0.5) * np.sqrt(12)
    for lagged in (
        centred[..., 1:] * centred[..., :-1],
        centred[..., 16:] * centred[..., :-16],
        centred[1:] * centred[:-1],
        centred[:, 1:] * centred[:, :-1],
    ):
        assert abs(lagged.mean() * np.sqrt(lagged.size)) < 3.3


@pytest.mark.parametrize("basis", [Uniform(), Triangular(), Gaussian(sigma=1.5)])
def test_offsets_follow_the_basis(basis: Basis) -> None:
    # A map of one cell has weight 1 in every sample: its samples are the cell's sub-samples.
    drawn = Law(11, 200, basis)
    samples = sample(torch.zeros(1000, 1), Grid((1, 1, 1), offset=0), drawn, wants_samples=True).samples
    assert samples is not None
    for axis in range(3):
        fit = stats.kstest(samples[..., axis].double().ravel().numpy(), lambda e: basis.cdf(torch.as_tensor(e)).numpy())
        assert fit.pvalue > 1e-3
    assert np.abs(np.corrcoef(samples.reshape(-1, 3).T)[np.triu_indices(3, 1)]).max() < 3.3 / np.sqrt(200_000)


@pytest.mark.parametrize("basis", [Uniform(), Triangular()])
def test_offsets_of_a_sample_share_what_is_less_than_a_256th_and_lattices_nothing(basis: Basis) -> None:
    sizes = {"seed": 7, "num_samples": 40, "num_maps": 50}
    for order in (0, 41):
        parts = []
        for raw in offsets(130, basis, 3, **sizes, order=order):
            in_bytes = 256 * basis.quantile(torch.from_numpy(raw)).numpy()
            apart = in_bytes - in_bytes[..., :1]
            assert (np.abs(apart - apart.round()).max() < 1e-6) == (order == 0)
            parts.append(in_bytes[..., 0].ravel() % 1)
        if order == 0:
            # Uniform, so of 256 times less spread than the offsets, and another along each axis.
            assert all(stats.kstest(part, "uniform").pvalue > 1e-3 for part in parts)
            assert np.abs(np.corrcoef(parts)[np.triu_indices(3, 1)]).max() < 3.3 / np.sqrt(2000)


def test_cold_draws_follow_the_map() -> None:
    probability = torch.tensor([0.1, 0.2, 0.0, 0.3, 0.4])
    grid, n = Grid((5,), offset=0), 40_000
    cells = sample(probability.log()[None], grid, Law(5, n, temperature=1e-6), wants_samples=True).samples
    assert cells is not None
    counts = torch.bincount(cells.flatten().round().long(), minlength=5)
    assert counts[2] == 0
    kept = probability > 0
    assert stats.chisquare(counts[kept].numpy(), (n * probability[kept]).numpy()).pvalue > 1e-3


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("order", [0, 5])
def test_draws_made_again_in_torch_are_the_kernels(basis: str, ndim: int, order: int) -> None:
    support, wanted = Grid((5, 7, 11)[:ndim]), BASES[basis]
    for formula in ("paper", "released"):
        draws = recorded(support, (3,), "independent", formula=formula, basis=wanted, num_samples=4, order=order)
        drawn = law(basis=wanted, formula=formula, order=order)
        (uniform,), raw = _replayed.draws(support, 3, torch.arange(1, 4), drawn)
        assert torch.equal(uniform.double(), draws.gumbel_uniform[1:].flatten(2))
        for ours, theirs in zip(raw, draws.offsets or [], strict=True):
            # Normals are made in float32 here: of a large one the cosine's argument has a rounding of 2e-7.
            torch.testing.assert_close(ours.double(), theirs[1:].flatten(2), rtol=0, atol=2e-6)
