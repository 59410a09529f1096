"""Random bits of draws that maps share: their law, and that they come again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from heatpoint import Grid, Points
from heatpoint.basis import Basis, Gaussian, Triangular, Uniform
from heatpoint.kernels._random_bits import Bits, DeviceBits, Drawn, HostBits
from heatpoint.support import Support

CLOUD = Points(torch.zeros(50, 3))
SOURCES: dict[str, Callable[[int], Bits]] = {
    "host": lambda seed: HostBits(np.random.SeedSequence(seed)),
    "device": lambda seed: DeviceBits(torch.Generator().manual_seed(seed)),
}


@pytest.fixture(params=["host", "device"])
def bits(request: pytest.FixtureRequest) -> Bits:
    return SOURCES[request.param](5)


def drawn(bits: Bits, support: Support, basis: Basis | None, **changes: bool) -> Drawn:
    return Drawn(bits, support, basis, (40, 100), torch.float64, is_per_cell=changes.get("is_per_cell", True))


def test_words_are_uniform_and_independent(bits: Bits) -> None:
    words = bits.words(2**18).numpy().view(np.uint32)
    halves = bits.halves(2**18 + 3).to(torch.int64).numpy()
    assert len(halves) == 2**18 + 3
    for values, size in ((words, 2**32), (halves, 2**16)):
        share = (values + 0.5) / size
        assert stats.kstest(share, "uniform").pvalue > 1e-3
        assert abs(np.corrcoef(share[1:], share[:-1])[0, 1]) < 5 / len(share) ** 0.5
    for bit in range(32):
        assert abs(float((words >> bit & 1).mean()) - 0.5) < 5 * 0.5 / len(words) ** 0.5


def test_what_is_to_come_comes_again(bits: Bits) -> None:
    fresh = bits.again()
    bits.words(7)
    later = bits.again()
    assert torch.equal(bits.halves(9), later.halves(9))
    assert torch.equal(bits.words(11), later.words(11))
    fresh.words(7)
    fresh.halves(9)
    fresh.words(11)
    assert torch.equal(fresh.words(5), bits.words(5))


def test_uniforms_lie_strictly_between_their_ends(bits: Bits) -> None:
    uniforms = drawn(bits, CLOUD, None).uniforms()
    assert uniforms.shape == (40, 100, 50)
    odd = uniforms * 2**24
    assert torch.equal(odd, odd.round())
    assert (odd % 2 == 1).all()
    assert stats.kstest(uniforms.flatten().numpy(), "uniform").pvalue > 1e-3
    out = torch.empty(40, 100, 50)
    single = Drawn(SOURCES["host"](1), CLOUD, None, (40, 100), torch.float32, is_per_cell=True)
    double = drawn(SOURCES["host"](1), CLOUD, None)
    assert torch.equal(single.uniforms(out=out).double(), double.uniforms())


@pytest.mark.parametrize("basis", [Uniform(), Triangular(), Gaussian(sigma=0.3)])
def test_offsets_have_the_law_of_the_basis(bits: Bits, basis: Basis) -> None:
    offsets = drawn(bits, CLOUD, basis).offsets(0)
    assert offsets.shape == (40, 100, 50)
    values = offsets.flatten()
    assert stats.kstest(values.numpy(), lambda x: basis.cdf(torch.as_tensor(x)).numpy()).pvalue > 1e-3
    assert abs(float(values.var()) / basis.variance - 1) < 0.02


@pytest.mark.parametrize("basis", [Uniform(), Triangular(), Gaussian(sigma=0.3)])
def test_offsets_are_made_of_the_noise(basis: Basis) -> None:
    noise, offsets = (getattr(drawn(SOURCES["host"](9), CLOUD, basis), name)(1) for name in ("noise", "offsets"))
    torch.testing.assert_close(basis.offsets_from_noise(noise), offsets, rtol=0, atol=1e-15)


def test_positions_of_an_axis_have_one_each() -> None:
    grid = Grid((4, 7))
    for axis, length in enumerate(grid.lengths):
        assert drawn(SOURCES["host"](2), grid, Triangular(), is_per_cell=False).noise(axis).shape == (40, 100, length)
