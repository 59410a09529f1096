"""Noise that is a lattice over the samples: the law of each sample, what hangs together and what does not, and what it saves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from heatpoint import Grid, Points, kernels, make_localizer, sampling_argmax
from heatpoint._lattice_draws import Lattice, order_of
from heatpoint.kernels import _native, _replayed
from heatpoint.kernels._call import Law
from heatpoint.kernels._library import library
from heatpoint.scores import energy_score, expected_error
from pages import ROOT, load_module

FORMS = [
    "torch",
    pytest.param("native", marks=pytest.mark.skipif(bool(library().reason), reason=library().reason)),
]
BASES: dict[str, Any] = {
    "none": None,
    "uniform": "uniform",
    "triangular": "triangular",
    "gaussian": {"name": "gaussian", "sigma": 0.7},
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniforms(form: str, *, num_samples: int, num_maps: int, cells: int, seed: int = 3) -> Tensor:
    """(S, maps, cells), as the torch form draws them or as the kernel does."""
    if form == "torch":
        lattice = Lattice.draw((num_maps, cells), order_of(num_samples), seeded(seed), torch.device("cpu"))
        return lattice.uniforms(range(num_samples), torch.float32)
    law = Law(seed, num_samples, order=order_of(num_samples))
    (drawn,), _ = _replayed.draws(Grid((cells,)), num_maps, torch.arange(num_samples), law)
    return drawn


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("basis", ["uniform", "triangular"])
@pytest.mark.parametrize("number", [5, 16, 30, 127, 256])
def test_offsets_are_spread_over_the_samples_too(number: int, basis: str, form: str) -> None:
    # Of maps of one cell a sample is the offset. The mean square of a lattice's varies less than half as much as that of others.
    maps = 2000
    with kernels.use(form):  # type: ignore[arg-type]
        options: dict[str, Any] = {"basis": basis, "num_samples": number, "generator": seeded(), "noise": "lattice"}
        points = sampling_argmax(torch.zeros(maps, 1, 1), Grid((1, 1), offset=0), **options)
    squares = points.double().square().mean(dim=0)
    truth, fourth = {"uniform": (1 / 12, 1 / 80), "triangular": (1 / 6, 1 / 15)}[basis]
    independent = (fourth - truth**2) / number
    assert float((squares - truth).square().mean()) < independent / 2


def test_the_order_is_the_next_prime() -> None:
    primes = [n for n in range(2, 400) if all(n % d for d in range(2, n))]
    for number in range(1, 390):
        assert order_of(number) == next(p for p in primes if p >= number)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_samples", [1, 5, 6, 10, 30])
def test_each_sample_alone_is_uniform_and_its_cells_are_independent(form: str, num_samples: int) -> None:
    # Seeds are fixed, so these pass always; for a new seed each fails once in a thousand.
    drawn = uniforms(form, num_samples=num_samples, num_maps=40, cells=2000).double().numpy()
    assert drawn.min() > 0
    assert drawn.max() < 1
    for number in {0, 1 % num_samples, num_samples - 1}:
        counts = np.histogram(drawn[number], bins=512, range=(0, 1))[0]
        assert stats.chisquare(counts).pvalue > 1e-3
        assert stats.kstest(-np.log(drawn[number]).ravel(), "expon").pvalue > 1e-3
        centred = (drawn[number] - 0.5) * np.sqrt(12)
        for lagged in (
            centred[:, 1:] * centred[:, :-1],
            centred[:, 16:] * centred[:, :-16],
            centred[1:] * centred[:-1],
        ):
            assert abs(lagged.mean() * np.sqrt(lagged.size)) < 3.3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_samples", [2, 7, 10, 24, 31])
def test_a_cells_draws_are_spread_evenly(form: str, num_samples: int) -> None:
    order = order_of(num_samples)
    drawn = uniforms(form, num_samples=num_samples, num_maps=3, cells=70).double()
    ordered = drawn.sort(dim=0).values
    gaps = torch.cat([ordered.diff(dim=0), 1 + ordered[:1] - ordered[-1:]]) * order
    # A gap is one spacing, or several where points of the prime order are left out. Words and uniforms are rounded.
    torch.testing.assert_close(gaps, gaps.round(), rtol=0, atol=order * (2.0**-23 + num_samples * 2.0**-32))
    assert int(gaps.round().min()) == 1
    assert torch.equal(gaps.round().sum(dim=0), torch.full((3, 70), float(order)).double())
    # Every step is met, from cell to cell another.
    steps = ((drawn[1] - drawn[0]) % 1 * order).round()
    assert steps.unique().tolist() == list(range(1, order))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("formula", ["paper", "released"])
def test_samples_have_the_law_of_independent_ones(form: str, basis: str, formula: Any) -> None:
    grid = Grid((6, 5))
    logits = (2 * torch.randn(6, 5, generator=seeded(1))).expand(4000, 6, 5).contiguous()
    given: dict[str, Any] = {"basis": BASES[basis], "formula": formula, "temperature": 0.6}
    with kernels.use(form):
        even = sampling_argmax(logits, grid, noise="lattice", num_samples=6, generator=seeded(2), **given)
    with kernels.use("torch"):
        alone = sampling_argmax(logits, grid, num_samples=1, generator=seeded(3), **given)
    for number in (0, 5):
        for axis in range(2):
            assert stats.ks_2samp(even[number, :, axis].numpy(), alone[0, :, axis].numpy()).pvalue > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_gradients_reach_the_logits_in_every_precision(dtype: torch.dtype) -> None:
    grid = Grid((4, 5))
    logits = torch.randn(2, 3, 4, 5, generator=seeded()).to(dtype).requires_grad_()
    found = []
    for memory in ("normal", "low"):
        given: dict[str, Any] = {"noise": "lattice", "num_samples": 4, "generator": seeded(), "memory": memory}
        with kernels.use("torch"):
            points = sampling_argmax(logits, grid, **given)
        found.append((points, *torch.autograd.grad(points.square().sum(), logits)))
    assert found[0][0].dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert found[0][1].isfinite().all()
    for first, second in zip(*found, strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("form", FORMS)
def test_it_goes_on_with_the_generator(form: str) -> None:
    grid, generator = Grid((4, 5)), seeded()
    with kernels.use(form):
        first, second = (
            expected_error(
                torch.zeros(2, 4, 5), grid, torch.ones(2, 2), noise="lattice", num_samples=4, generator=generator
            )
            for _ in range(2)
        )
        again = expected_error(
            torch.zeros(2, 4, 5), grid, torch.ones(2, 2), noise="lattice", num_samples=4, generator=seeded()
        )
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_on_points_and_with_the_error_of_num_samples() -> None:
    cloud = Points(torch.randn(11, 3, generator=seeded()))
    points = sampling_argmax(torch.zeros(2, 11), cloud, basis=BASES["gaussian"], noise="lattice", num_samples=3)
    assert points.shape == (3, 2, 3)
    for form in ("torch", "auto"):
        with (
            kernels.use(form),
            pytest.raises(ValueError, match="sampling_argmax: num_samples must be at least 1, got 0"),
        ):
            sampling_argmax(torch.zeros(2, 4), Grid((4,)), noise="lattice", num_samples=0)


def test_an_energy_score_needs_independent_pairs() -> None:
    rule = "energy_score: noise must be recorded draws or None, got 'lattice'. Its pairs of samples must be independent"
    with pytest.raises(TypeError, match=rule):
        energy_score(torch.zeros(2, 5), Grid((5,)), torch.ones(2, 1), num_samples=3, noise="lattice")  # type: ignore[arg-type]


def test_a_localizer_takes_it_by_option() -> None:
    localizer = make_localizer("sampling_argmax", Grid((5, 6)), noise="lattice", num_samples=3)
    assert localizer.to_dict()["noise"] == "lattice"
    logits, target = torch.randn(2, 3, 5, 6, generator=seeded()), torch.ones(2, 3, 2)
    weight = torch.ones(2, 3)
    ours = localizer.loss(logits, target, weight=weight, generator=seeded(4))
    alone = make_localizer("sampling_argmax", Grid((5, 6)), num_samples=3).loss(
        logits, target, weight=weight, generator=seeded(4)
    )
    assert not torch.equal(ours, alone)


def test_what_it_saves_is_what_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load_module(ROOT / "docs" / "measure_lattice_noise.py")
    monkeypatch.setattr(module, "REPEATS", 100)
    logits, target = module.maps()
    for temperature, low, high in ((2.0, 1.2, 1.7), (0.5, 0.95, 1.25)):
        alone, even = (
            module.variance(logits, target, noise, temperature, 10)[0] for noise in ("independent", "lattice")
        )
        assert low < alone / even < high


@pytest.mark.skipif(bool(library().reason), reason=library().reason)
def test_an_order_that_is_no_prime_makes_gradients_noisier(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load_module(ROOT / "docs" / "measure_lattice_noise.py")
    monkeypatch.setattr(module, "REPEATS", 100)
    logits, target = module.maps()
    alone = module.variance(logits, target, "independent", 2.0, 30)[0]
    monkeypatch.setattr(_native, "order_of", lambda num_samples: num_samples)
    composite = module.variance(logits, target, "lattice", 2.0, 30)[0]
    assert 1.8 < composite / alone < 3.0
