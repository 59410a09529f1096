"""Streams of random numbers for draws that maps share: their law, and that they come again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from heatpoint.basis import Basis, Gaussian, Triangular, Uniform
from heatpoint.kernels._streams import Stream, TableStream, TorchStream

SHAPE = (40, 100, 50)
BASES = [Uniform(), Triangular(), Gaussian(sigma=0.3)]
STREAMS: dict[str, Callable[[int, torch.dtype], Stream]] = {
    "table": lambda seed, dtype: TableStream(np.random.SeedSequence(seed), dtype),
    "torch": lambda seed, dtype: TorchStream(torch.Generator().manual_seed(seed), dtype),
}


@pytest.fixture(params=["table", "torch"])
def stream(request: pytest.FixtureRequest) -> Stream:
    return STREAMS[request.param](5, torch.float64)


def test_uniforms_are_uniform_and_independent(stream: Stream) -> None:
    found = stream.uniforms(SHAPE)
    assert found.shape == SHAPE
    values = found.flatten().numpy()
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    for lag in (1, 2, 50):
        assert abs(np.corrcoef(values[lag:], values[:-lag])[0, 1]) < 5 / len(values) ** 0.5


def test_single_precision_has_the_numbers_of_double_precision() -> None:
    out = torch.empty(4, 3, 100, 50)[:, 1]
    single = STREAMS["table"](1, torch.float32).uniforms((4, 100, 50), out)
    assert single is out
    double = STREAMS["table"](1, torch.float64).uniforms((4, 100, 50))
    assert torch.equal(single.double(), double)
    wide = torch.empty(4, 3, 100, 50, dtype=torch.float64)[:, 1]
    assert torch.equal(STREAMS["table"](1, torch.float64).uniforms((4, 100, 50), wide), double)
    many = STREAMS["table"](2, torch.float32).uniforms((2**24,))
    assert float(many.min()) > 0
    assert float(many.max()) < 1
    steps = (many[many > 0.5].double() * 2**24).remainder(1)
    assert (steps == 0).all()


@pytest.mark.parametrize("basis", BASES)
def test_offsets_have_the_law_of_the_basis(stream: Stream, basis: Basis) -> None:
    offsets = stream.offsets(basis, SHAPE)
    assert offsets.shape == SHAPE
    values = offsets.flatten()
    assert stats.kstest(values.numpy(), lambda x: basis.cdf(torch.as_tensor(x)).numpy()).pvalue > 1e-3
    assert abs(float(values.var()) / basis.variance - 1) < 0.02
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 5 / len(values) ** 0.5


@pytest.mark.parametrize("name", ["table", "torch"])
@pytest.mark.parametrize("basis", BASES)
def test_offsets_are_made_of_the_noise(name: str, basis: Basis) -> None:
    noise = STREAMS[name](9, torch.float64).noise(basis, (3, 7))
    offsets = STREAMS[name](9, torch.float64).offsets(basis, (3, 7))
    torch.testing.assert_close(basis.offsets_from_noise(noise), offsets, rtol=0, atol=1e-15)


def test_what_is_to_come_comes_again(stream: Stream) -> None:
    fresh = stream.again()
    stream.uniforms((7,))
    later = stream.again()
    first = [stream.offsets(Triangular(), (9,)), stream.uniforms((3, 5)), stream.noise(Gaussian(), (4,))]
    for other in (later, fresh):
        if other is fresh:
            other.uniforms((7,))
        again = [other.offsets(Triangular(), (9,)), other.uniforms((3, 5)), other.noise(Gaussian(), (4,))]
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_nothing_at_all_is_drawn_too(stream: Stream) -> None:
    assert stream.uniforms((0, 3)).shape == (0, 3)
    assert stream.offsets(Uniform(), (2, 0)).shape == (2, 0)
