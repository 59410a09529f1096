"""The three sub-distributions: against scipy's distributions, quadrature, and each other."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from torch.autograd import gradcheck

from heatpoint.basis import BASES, Basis, Gaussian, Triangular, Uniform, check_basis_on_points, make_basis

CASES: list[tuple[Basis, Any]] = [
    (Uniform(), stats.uniform(-0.5, 1)),
    (Triangular(), stats.triang(0.5, -1, 2)),
    (Gaussian(), stats.norm()),
    (Gaussian(sigma=0.3), stats.norm(scale=0.3)),
]
IDS = [repr(basis) for basis, _ in CASES]
OFFSETS = np.array([-7.3, -1.4, -0.9, -0.45, -0.2, 0.0, 0.13, 0.37, 0.8, 1.2, 1.9, 2.6, 8.1])
# Both sides round a few float64 operations on numbers of order 1 to 30.
EXACT = {"rtol": 1e-12, "atol": 1e-13}


def tensor(values: Any) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(("basis", "law"), CASES, ids=IDS)
def test_density_cdf_quantile_and_variance_are_scipys(basis: Basis, law: Any) -> None:
    e = tensor(OFFSETS)
    np.testing.assert_allclose(basis.log_density(e).exp(), law.pdf(OFFSETS), **EXACT)
    np.testing.assert_allclose(basis.cdf(e), law.cdf(OFFSETS), **EXACT)
    u = np.linspace(0.01, 0.99, 37)
    np.testing.assert_allclose(basis.quantile(tensor(u)), law.ppf(u), rtol=1e-9, atol=1e-12)
    assert basis.variance == pytest.approx(law.var(), rel=1e-14)
    assert 2 * basis.reach == law.support()[1] - law.support()[0]


@pytest.mark.parametrize(("basis", "law"), CASES, ids=IDS)
def test_integrated_cdfs_are_the_integrals_of_the_cdf(basis: Basis, law: Any) -> None:
    start = max(law.support()[0], -12.0)
    breaks = [-1.0, -0.5, 0.0, 0.5, 1.0]
    for e in OFFSETS[3:]:
        inner = [b for b in breaks if start < b < e]
        once = integrate.quad(law.cdf, start, e, points=inner or None, epsabs=1e-12, limit=200)[0]
        twice = integrate.quad(lambda t, e=e: (e - t) * law.cdf(t), start, e, points=inner or None, epsabs=1e-12)[0]
        # quad stops at about 1e-10 of the integral.
        assert float(basis.integrated_cdf(tensor(e))) == pytest.approx(once, rel=1e-9, abs=1e-11)
        assert float(basis.twice_integrated_cdf(tensor(e))) == pytest.approx(twice, rel=1e-9, abs=1e-11)


@pytest.mark.parametrize(("basis", "law"), CASES, ids=IDS)
def test_gap_is_the_mean_distance_of_two_draws(basis: Basis, law: Any) -> None:
    for e in OFFSETS[2:]:

        def spread(t: float, e: float = e) -> float:
            first, second = law.cdf(t), law.cdf(t - e)
            return first * (1 - second) + second * (1 - first)

        reach = min(basis.reach, 9.0 * basis.variance**0.5)
        low, high = min(0.0, e) - reach, max(0.0, e) + reach
        points = sorted(
            {low, high, *(c + k for c in (0.0, e) for k in (-1.0, -0.5, 0.0, 0.5, 1.0) if low < c + k < high)}
        )
        total = sum(integrate.quad(spread, a, b, epsabs=1e-12)[0] for a, b in itertools.pairwise(points))
        assert float(basis.gap(tensor(e))) == pytest.approx(total, rel=1e-9, abs=1e-11)


def test_gap_closed_forms_at_zero() -> None:
    assert float(Uniform().gap(tensor(0.0))) == pytest.approx(1 / 3)
    assert float(Triangular().gap(tensor(0.0))) == pytest.approx(7 / 15)
    assert float(Gaussian(sigma=2.0).gap(tensor(0.0))) == pytest.approx(4 / math.sqrt(math.pi))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(e=st.floats(-20, 20), index=st.integers(0, len(CASES) - 1))
def test_properties_of_the_integrals(e: float, index: int) -> None:
    basis, x = CASES[index][0], tensor(e)
    # Symmetry of f: F(−e) = 1 − F(e), G(e) − G(−e) = e, H(e) + H(−e) = (e² + Var)/2, and Jensen: E|e − X| ≥ |e|.
    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(basis.cdf(-x), 1 - basis.cdf(x), **close)
    torch.testing.assert_close(basis.integrated_cdf(x) - basis.integrated_cdf(-x), x, **close)
    both = basis.twice_integrated_cdf(x) + basis.twice_integrated_cdf(-x)
    torch.testing.assert_close(both, (x**2 + basis.variance) / 2, **close)
    assert float(2 * basis.integrated_cdf(x) - x) >= abs(e) - 1e-12
    torch.testing.assert_close(basis.gap(x), basis.gap(-x), **close)
    assert float(basis.gap(x)) >= abs(e) - 1e-12


@settings(max_examples=30, deadline=None, derandomize=True)
@given(u=st.floats(1e-6, 1 - 1e-6), index=st.integers(0, len(CASES) - 1))
def test_quantile_inverts_the_cdf(u: float, index: int) -> None:
    basis = CASES[index][0]
    # A float64 offset of size 1 carries 1e-16, and every density here is below 1.4.
    assert float(basis.cdf(basis.quantile(tensor(u)))) == pytest.approx(u, abs=1e-12)


@pytest.mark.parametrize(("basis", "law"), CASES, ids=IDS)
def test_gradients(basis: Basis, law: Any) -> None:
    e = tensor([-1.7, -0.81, -0.33, 0.21, 0.47, 0.9, 1.6]).requires_grad_()
    for function in (basis.cdf, basis.integrated_cdf, basis.twice_integrated_cdf, basis.gap):
        assert gradcheck(function, (e,))
    inside = tensor([-0.41, -0.2, 0.11, 0.38]).requires_grad_()
    if not isinstance(basis, Uniform):
        assert gradcheck(basis.log_density, (inside,))


@pytest.mark.parametrize("basis", [Uniform(), Triangular()])
def test_outside_the_support_the_log_density_is_minus_infinity_with_zero_gradient(basis: Basis) -> None:
    e = torch.tensor([-1.5, 1.0001, 30.0], requires_grad=True)
    value = basis.log_density(e)
    assert bool((value == -torch.inf).all())
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value.sum(), e)
        assert bool((gradient == 0).all())


@pytest.mark.parametrize(("basis", "law"), CASES, ids=IDS)
def test_offsets_follow_the_cdf(basis: Basis, law: Any) -> None:
    drawn = basis.sample_offsets((5000, 3), generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    # Kolmogorov-Smirnov: a right sampler fails once in 1e4 seeds; the seed is fixed.
    assert stats.kstest(drawn.flatten().numpy(), law.cdf).pvalue > 1e-4
    again = basis.sample_offsets((5000, 3), generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    assert torch.equal(drawn, again)
    single = basis.sample_offsets((2, 4), dtype=torch.float32, device=torch.device("cpu"))
    assert single.dtype == torch.float32
    assert single.shape == (2, 4)


def test_offsets_come_from_the_published_noise() -> None:
    v = tensor([0.0, 0.125, 0.4, 0.5, 0.75, 1.0])
    torch.testing.assert_close(Uniform().offsets_from_noise(v), v - 0.5)
    expected = [math.sqrt(2 * x) - 1 if x < 0.5 else 1 - math.sqrt(2 - 2 * x) for x in v.tolist()]
    torch.testing.assert_close(Triangular().offsets_from_noise(v), tensor(expected))
    torch.testing.assert_close(Gaussian(sigma=0.25).offsets_from_noise(v), v / 4)
    noise = Gaussian(sigma=5.0).draw_noise((7,), generator=torch.Generator().manual_seed(1))
    assert torch.equal(noise, torch.randn(7, generator=torch.Generator().manual_seed(1)))
    assert [BASES[name]().draws_normals for name in ("uniform", "triangular", "gaussian")] == [False, False, True]


def test_make_basis_takes_names_instances_and_dicts() -> None:
    assert make_basis("uniform") == Uniform()
    assert make_basis("gaussian") == Gaussian()
    for basis, _ in CASES:
        assert make_basis(basis) is basis
        assert make_basis(basis.to_dict()) == basis
    assert Gaussian(sigma=2).to_dict() == {"name": "gaussian", "sigma": 2.0}


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: make_basis("triangle"),
            ValueError,
            "make_basis: basis must be one of gaussian, triangular, uniform, got 'triangle'. Did you mean triangular?",
        ),
        (
            lambda: make_basis(3),
            TypeError,
            "make_basis: basis must be a name, a Basis, or a dict that holds its name, got 3.",
        ),
        (
            lambda: make_basis({"name": "uniform", "sigma": 1.0}),
            ValueError,
            "make_basis: basis must hold only name for 'uniform', got 'sigma'.",
        ),
        (
            lambda: make_basis({"name": "gaussian", "width": 1.0}),
            ValueError,
            "make_basis: basis must hold only name and sigma for 'gaussian', got 'width'.",
        ),
        (lambda: Gaussian(sigma=0.0), ValueError, "Gaussian: sigma must be finite and greater than 0, got 0.0."),
        (lambda: Gaussian(sigma=math.nan), ValueError, "Gaussian: sigma must be finite and greater than 0, got nan."),
        (
            lambda: Gaussian(sigma="1"),
            TypeError,
            "Gaussian: sigma must be a number or None, got str.",
        ),
        (
            lambda: check_basis_on_points("f", Triangular()),
            ValueError,
            "f: basis must be Gaussian on Points, got Triangular(). Unordered points have no cells and no axes to be uniform "
            "or triangular over. Use Gaussian(sigma=…).",
        ),
        (
            lambda: check_basis_on_points("f", Gaussian()),
            ValueError,
            "f: basis must have a sigma on Points, got Gaussian(sigma=None). Unordered points have no spacing to take it "
            "from. Give it in the units of the points.",
        ),
    ],
)
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
