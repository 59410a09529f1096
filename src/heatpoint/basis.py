"""The sub-distributions f_i of the mixture density p(y) = Σ π_i f_i(y) (Sampling-Argmax, Eq. 6): one per cell.

Each basis is one function of the offset e from a cell's centre, symmetric about 0. On a grid e counts cells, so that the
distance c between neighbouring cells is 1; on a point set it counts the units of the points.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from heatpoint._checks import message, unknown_name


class _Basis(ABC):
    """A standardised one-dimensional distribution around 0, its integrals and its draws."""

    name: ClassVar[str]
    draws_normals: ClassVar[bool] = False

    @abstractmethod
    def log_density(self, offset: Tensor) -> Tensor:
        """log f(e), −inf (with zero gradient) outside the support; any shape, float."""

    @abstractmethod
    def cdf(self, offset: Tensor) -> Tensor:
        """F(e) = ∫_{−∞}^e f."""

    @abstractmethod
    def integrated_cdf(self, offset: Tensor) -> Tensor:
        """G(e) = ∫_{−∞}^e F = E (e − X)₊. So E|e − X| = 2 G(e) − e."""

    @abstractmethod
    def twice_integrated_cdf(self, offset: Tensor) -> Tensor:
        """H(e) = ∫_{−∞}^e G = ½ E (e − X)₊²."""

    @abstractmethod
    def gap(self, offset: Tensor) -> Tensor:
        """E|e + X − X'| for two independent draws X and X': the distance of two cells' sub-distributions e apart."""

    @abstractmethod
    def quantile(self, u: Tensor) -> Tensor:
        """F⁻¹(u) for u in [0, 1]."""

    def draw_noise(
        self,
        shape: Sequence[int],
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
    ) -> Tensor:
        """The raw draws that `offsets_from_noise` takes: uniforms on [0, 1), or standard normals for a Gaussian."""
        draw = torch.randn if self.draws_normals else torch.rand
        return draw(tuple(shape), generator=generator, dtype=dtype, device=device)

    def offsets_from_noise(self, noise: Tensor) -> Tensor:
        """Raw draws to offsets: the quantile function of uniforms."""
        return self.quantile(noise)

    def sample_offsets(
        self,
        shape: Sequence[int],
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
    ) -> Tensor:
        """Independent draws of the offset e, of the given shape; same generator state, same numbers."""
        return self.offsets_from_noise(self.draw_noise(shape, generator=generator, dtype=dtype, device=device))

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that `make_basis` takes back."""
        return {"name": self.name}


@dataclass(frozen=True)
class Uniform(_Basis):
    """f(e) = 1 for |e| ≤ ½ (Eq. 7, with c = 1): the target lies anywhere in its cell.

    >>> Uniform().cdf(torch.tensor([-0.5, 0.0, 0.25]))
    tensor([0.0000, 0.5000, 0.7500])
    """

    name: ClassVar[str] = "uniform"
    variance: ClassVar[float] = 1 / 12
    reach: ClassVar[float] = 0.5

    def log_density(self, offset: Tensor) -> Tensor:
        """0 inside, −inf outside."""
        return torch.zeros_like(offset).masked_fill(offset.abs() > 0.5, -torch.inf)

    def cdf(self, offset: Tensor) -> Tensor:
        """F(e) = e + ½ inside."""
        return (offset + 0.5).clamp(0, 1)

    def integrated_cdf(self, offset: Tensor) -> Tensor:
        """G(e) = (e + ½)²/2 inside, e beyond."""
        return (offset + 0.5).clamp(0, 1) ** 2 / 2 + (offset - 0.5).clamp(min=0)

    def twice_integrated_cdf(self, offset: Tensor) -> Tensor:
        """H(e) = (e + ½)³/6 inside, (e² + 1/12)/2 beyond."""
        beyond = (offset - 0.5).clamp(min=0)
        return (offset + 0.5).clamp(0, 1) ** 3 / 6 + beyond * (1 + beyond) / 2

    def gap(self, offset: Tensor) -> Tensor:
        """1/3 + e² − |e|³/3 for |e| < 1, |e| beyond."""
        inside = offset.abs().clamp(max=1)
        return offset.abs() - inside + 1 / 3 + inside**2 - inside**3 / 3

    def quantile(self, u: Tensor) -> Tensor:
        """u − ½."""
        return u - 0.5


@dataclass(frozen=True)
class Triangular(_Basis):
    """f(e) = 1 − |e| for |e| ≤ 1 (Eq. 8, with c = 1): p(y) interpolates the map linearly between cell centres.

    >>> Triangular().quantile(torch.tensor([0.125, 0.5, 0.875]))
    tensor([-0.5000,  0.0000,  0.5000])
    """

    name: ClassVar[str] = "triangular"
    variance: ClassVar[float] = 1 / 6
    reach: ClassVar[float] = 1.0

    def log_density(self, offset: Tensor) -> Tensor:
        """log(1 − |e|) inside, −inf outside."""
        height = 1 - offset.abs()
        inside = height > 0
        return torch.where(inside, height, 1.0).log().masked_fill(~inside, -torch.inf)

    def cdf(self, offset: Tensor) -> Tensor:
        """F(e) = (1 + e)²/2 left of the centre, 1 − (1 − e)²/2 right of it."""
        left, right = (1 + offset).clamp(0, 1), (1 - offset).clamp(0, 1)
        return torch.where(offset < 0, left**2 / 2, 1 - right**2 / 2)

    def integrated_cdf(self, offset: Tensor) -> Tensor:
        """G(e) = (1 + e)³/6 left of the centre, e + (1 − e)³/6 right of it."""
        left, right = (1 + offset).clamp(0, 1), (1 - offset).clamp(0, 1)
        return torch.where(offset < 0, left**3 / 6, offset + right**3 / 6)

    def twice_integrated_cdf(self, offset: Tensor) -> Tensor:
        """H(e) = (1 + e)⁴/24 left of the centre, (e² + 1/6)/2 − (1 − e)⁴/24 right of it."""
        left, right = (1 + offset).clamp(0, 1), (1 - offset).clamp(0, 1)
        return torch.where(offset < 0, left**4 / 24, (offset**2 + 1 / 6) / 2 - right**4 / 24)

    def gap(self, offset: Tensor) -> Tensor:
        """7/15 + 2e²/3 − e⁴/6 + |e|⁵/20 for |e| < 1, |e| + (2 − |e|)⁵/60 to |e| = 2, |e| beyond.

        X − X' has the density of a cubic B-spline; this is its |e|-smoothed distance.
        """
        size = offset.abs()
        near = size.clamp(max=1)
        inner = 7 / 15 + 2 * near**2 / 3 - near**4 / 6 + near**5 / 20
        return torch.where(size < 1, inner, size + (2 - size).clamp(0, 1) ** 5 / 60)

    def quantile(self, u: Tensor) -> Tensor:
        """√(2u) − 1 for u < ½, 1 − √(2 − 2u) from there."""
        return torch.where(u < 0.5, (2 * u).sqrt() - 1, 1 - (2 - 2 * u).clamp(min=0).sqrt())

    def offsets_from_noise(self, noise: Tensor) -> Tensor:
        """Raw draws to offsets: the quantile function, in half the passes.

        2u − 1 is exact for what a generator draws (multiples of 2⁻²⁴ in float32); for other u close to 0 it loses digits.
        """
        signed = 2 * noise - 1
        return torch.copysign(1 - (1 - signed.abs()).sqrt(), signed)


@dataclass(frozen=True)
class Gaussian(_Basis):
    """f(e) = exp(−½ (e/σ)²) / (σ √2π) (Eq. 9).

    Args:
        sigma: Standard deviation: in cells on a grid, in the units of the points on a point set. None is the paper's
            default, the spacing c, which is 1 on a grid; a point set has no spacing and needs a number.

    Raises:
        TypeError: If sigma is neither None nor a number.
        ValueError: If sigma is not finite and greater than 0.

    >>> Gaussian().variance, Gaussian(sigma=0.5).variance
    (1.0, 0.25)
    """

    name: ClassVar[str] = "gaussian"
    reach: ClassVar[float] = math.inf
    draws_normals: ClassVar[bool] = True
    sigma: float | None = None

    def __post_init__(self) -> None:
        if self.sigma is None:
            return
        if isinstance(self.sigma, bool) or not isinstance(self.sigma, int | float):
            raise TypeError(message("Gaussian", "sigma", "be a number or None", type(self.sigma).__name__))
        if not 0 < self.sigma < math.inf:
            raise ValueError(message("Gaussian", "sigma", "be finite and greater than 0", self.sigma))
        object.__setattr__(self, "sigma", float(self.sigma))

    @property
    def scale(self) -> float:
        """σ as a number: None counts as the spacing of a grid, 1."""
        return 1.0 if self.sigma is None else self.sigma

    @property
    def variance(self) -> float:
        """σ²."""
        return self.scale**2

    def log_density(self, offset: Tensor) -> Tensor:
        """−½ (e/σ)² − log(σ √2π)."""
        return -0.5 * (offset / self.scale) ** 2 - math.log(self.scale * math.sqrt(2 * math.pi))

    def cdf(self, offset: Tensor) -> Tensor:
        """F(e) = Φ(e/σ), with full relative precision in the lower tail."""
        return torch.special.erfc(offset / (-math.sqrt(2) * self.scale)) / 2

    def integrated_cdf(self, offset: Tensor) -> Tensor:
        """G(e) = e Φ(e/σ) + σ² f(e)."""
        return offset * self.cdf(offset) + self.variance * self.log_density(offset).exp()

    def twice_integrated_cdf(self, offset: Tensor) -> Tensor:
        """H(e) = ((e² + σ²) Φ(e/σ) + e σ² f(e)) / 2."""
        tail = offset * self.variance * self.log_density(offset).exp()
        return ((offset**2 + self.variance) * self.cdf(offset) + tail) / 2

    def gap(self, offset: Tensor) -> Tensor:
        """E|N(e, 2σ²)| = e erf(e/2σ) + 2σ/√π exp(−(e/2σ)²)."""
        z = offset / (2 * self.scale)
        return offset * torch.erf(z) + 2 * self.scale / math.sqrt(math.pi) * (-(z**2)).exp()

    def quantile(self, u: Tensor) -> Tensor:
        """σ Φ⁻¹(u); −inf at 0 and +inf at 1."""
        return torch.special.ndtri(u) * self.scale

    def offsets_from_noise(self, noise: Tensor) -> Tensor:
        """Raw draws to offsets: σ times standard normals."""
        return noise * self.scale

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that `make_basis` takes back."""
        return {"name": self.name, "sigma": self.sigma}


Basis = Uniform | Triangular | Gaussian

BASES: dict[str, type[Basis]] = {"uniform": Uniform, "triangular": Triangular, "gaussian": Gaussian}


def make_basis(basis: str | Basis | Mapping[str, Any], *, function: str = "make_basis") -> Basis:
    """A basis from its name, from the dict of its `to_dict`, or from itself; errors name the caller `function`.

    Raises:
        ValueError: If the name, or an option in the dict, is unknown.
        TypeError: If `basis` is none of the three.

    >>> make_basis("triangular"), make_basis({"name": "gaussian", "sigma": 2.0})
    (Triangular(), Gaussian(sigma=2.0))
    """
    if isinstance(basis, Basis):
        return basis
    options: Mapping[str, Any] = {"name": basis} if isinstance(basis, str) else basis
    if not isinstance(options, Mapping) or "name" not in options:
        rule = "be a name, a Basis, or a dict that holds its name"
        raise TypeError(message(function, "basis", rule, repr(basis)))
    name, arguments = options["name"], {key: value for key, value in options.items() if key != "name"}
    if name not in BASES:
        raise ValueError(unknown_name(function, "basis", name, BASES))
    unknown = sorted(set(arguments) - ({"sigma"} if name == "gaussian" else set()))
    if unknown:
        rule = f"hold only {'name and sigma' if name == 'gaussian' else 'name'} for {name!r}"
        raise ValueError(message(function, "basis", rule, ", ".join(map(repr, unknown))))
    return BASES[name](**arguments)


def check_basis_on_points(function: str, basis: Basis) -> Gaussian:
    """Returns `basis` if it has a meaning on a point set: a Gaussian with its own sigma.

    Raises:
        ValueError: For any other basis, saying why.

    >>> check_basis_on_points("Density", Gaussian(sigma=0.1))
    Gaussian(sigma=0.1)
    """
    if not isinstance(basis, Gaussian):
        remedy = "Unordered points have no cells and no axes to be uniform or triangular over. Use Gaussian(sigma=…)."
        raise ValueError(message(function, "basis", "be Gaussian on Points", basis, remedy))
    if basis.sigma is None:
        remedy = "Unordered points have no spacing to take it from. Give it in the units of the points."
        raise ValueError(message(function, "basis", "have a sigma on Points", basis, remedy))
    return basis
