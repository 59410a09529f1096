"""Streams of random numbers for draws that maps share: their law, and that they come again."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats

from heatpoint.basis import Basis, Gaussian, Triangular, Uniform
from heatpoint.kernels._streams import Stream, TableStream, TorchStream

SHAPE = (40, 100, 50)
BASES = [Uniform(), Triangular(), Gaussian(sigma=0.3)]
STREAMS: dict[str, Callable[[int, torch.dtype], Stream]] = {
    "table": lambda seed, dtype: TableStream(words_of(seed), dtype),
    "torch": lambda seed, dtype: TorchStream(torch.Generator().manual_seed(seed), dtype),
}


def words_of(seed: int) -> npt.NDArray[np.uint64]:
    return np.random.SeedSequence(seed).generate_state(3, np.uint64)


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


@pytest.mark.parametrize("name", ["table", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [2.0, 1.0, 0.7, 0.5, 0.3])
def test_powers_are_those_of_the_uniforms(name: str, dtype: torch.dtype, temperature: float) -> None:
    uniforms = STREAMS[name](3, dtype).uniforms((300, 1000)).double()
    uniforms[0, :4] = torch.tensor([2.0**-24, 1 - 2.0**-24, 1 - 3 * 2.0**-24, 0.5])
    stream = STREAMS[name](3, dtype)
    stream.uniforms = lambda shape, out=None: uniforms.to(dtype)  # type: ignore[method-assign]
    wanted = (-uniforms.log()) ** (-1 / temperature)
    found = stream.powers((300, 1000), temperature)
    assert found.dtype == dtype
    # In single precision a logarithm of a logarithm has an error of its own size, which the power multiplies.
    digits = 1e-12 if dtype == torch.float64 else 6e-7 * (1 + 8 / temperature)
    torch.testing.assert_close(found.double(), wanted, rtol=digits, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [2.0, 1.0, 0.7, 0.5])
def test_powers_come_where_they_are_wanted(dtype: torch.dtype, temperature: float) -> None:
    for cells, columns in itertools.product((1, 2, 50), range(1, 9)):
        plain = STREAMS["table"](1, dtype).powers((4, 3, cells), temperature)
        out = torch.full((4, 3, columns, cells), torch.nan, dtype=dtype)[:, :, 0]
        assert STREAMS["table"](1, dtype).powers((4, 3, cells), temperature, out) is out
        assert torch.equal(out, plain)


@pytest.mark.parametrize("name", ["table", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normals_are_normal_and_come_again(name: str, dtype: torch.dtype) -> None:
    stream = STREAMS[name](8, dtype)
    stream.uniforms((5,))
    again = stream.again()
    found = stream.normals((40, 500))
    assert found.dtype == dtype
    assert torch.equal(again.normals((40, 500)), found)
    assert stats.kstest(found.flatten().numpy(), "norm").pvalue > 1e-3
    assert torch.equal(stream.uniforms((9,)), again.uniforms((9,)))


def test_streams_that_begin_with_other_words_are_others() -> None:
    first, second = (TableStream(words, torch.float32).uniforms((64,)) for words in (words_of(0), words_of(1)))
    assert not torch.equal(first, second)
    assert torch.equal(TableStream(words_of(0), torch.float32).uniforms((64,)), first)


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
