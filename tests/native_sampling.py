"""What tests of the native sampling kernels share: calls of them, and the torch form in float64 with the same noise.

Where maps share their noise, `sharing` says how: "image" or "batch" as for the public functions, "independent" not at all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from heatpoint import Grid, Points, kernels
from heatpoint.basis import Basis, Gaussian, Triangular, Uniform
from heatpoint.kernels._call import Law, Sampled, sample
from heatpoint.sampling import Noise, sampling_argmax
from heatpoint.scores import expected_error
from heatpoint.support import Support
from native_maps import random_maps
from oracles_native import noise

SEED, SAMPLES = 0x1234_5678_9ABC_DEF0, 5
BASES: dict[str, Basis | None] = {
    "none": None,
    "uniform": Uniform(),
    "triangular": Triangular(),
    "gaussian": Gaussian(sigma=0.7),
}
GRIDS = {
    "1D": Grid((131,), stride=0.5, offset=3),
    "1D of six blocks": Grid((331,)),
    "2D": Grid((13, 37), stride=(4, 2), offset=(1.5, -20)),
    "3D": Grid((5, 7, 11), stride=(1, 2, 3)),
}
# An axis of one cell has offsets as the others have.
THIN = {
    "1x37": Grid((1, 37), stride=(4, 2), offset=(1.5, -20)),
    "5x1": Grid((5, 1), stride=(1, 2)),
    "1x1x11": Grid((1, 1, 11), stride=(1, 2, 3)),
    "3x1x7": Grid((3, 1, 7), stride=(1, 2, 3)),
}
# 4e-6 of the gradient's maximum: a float32 weight has an error of some 4 roundings, 2.4e-7, each of its three factors another,
# and the differences that it weighs are up to 2 diameters, where the maximum is of the order of one quarter.
TOLERANCE = 4e-6
RESULTS = ("loss", "logits_gradient", "target_gradient")


def targets(support: Support, batch: tuple[int, ...]) -> Tensor:
    share = torch.rand(*batch, support.ndim, generator=torch.Generator().manual_seed(8))
    if isinstance(support, Points):
        return share + support.xyz.mean(dim=-2)
    return share * torch.tensor(support.size) + torch.tensor(support.offsets)


def inputs(support: Support, batch: tuple[int, ...], scale: float = 2.0) -> tuple[Tensor, Tensor]:
    """Logits (*batch, cells), and targets."""
    return random_maps(*batch, support.num_cells, scale=scale), targets(support, batch)


def in_double(support: Support) -> Support:
    return Points(support.xyz.double()) if isinstance(support, Points) else support


def group_of(batch: tuple[int, ...], sharing: str) -> int:
    """How many maps share their noise."""
    counts = {"independent": 1, "image": batch[-1] if batch else 1, "batch": torch.Size(batch).numel()}
    return counts[sharing]


def recorded(support: Support, batch: tuple[int, ...], sharing: str, *, formula: str = "paper", **drawn: Any) -> Noise:
    """What maps (*batch, cells) draw, in float64."""
    number, count = torch.Size(batch).numel(), group_of(batch, sharing)
    sizes = {"basis": None, "seed": SEED, "num_samples": SAMPLES, **drawn}
    found = noise(support, (number // count,), per_cell=formula == "paper", **sizes)

    def spread(tensor: Tensor) -> Tensor:
        return tensor.repeat_interleave(count, dim=1).reshape(len(tensor), *batch, *tensor.shape[2:])

    offsets = None if found.offsets is None else [spread(axis) for axis in found.offsets]
    return Noise(spread(found.gumbel_uniform), offsets)


def _divided(options: dict[str, Any], names: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of these names, and the others."""
    return {key: options[key] for key in options if key in names}, {k: options[k] for k in options if k not in names}


def expected(
    logits: Tensor, support: Support, target: Tensor, sharing: str = "independent", **options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, and gradients with respect to logits and target, of the torch form in float64."""
    batch = tuple(logits.shape[:-1])
    drawn, _ = _divided(options, ("basis", "formula", "seed", "order"))
    _, given = _divided(options, ("seed", "order"))
    given = {"basis": None, **given, "noise": recorded(support, batch, sharing, **drawn)}
    exact, place = logits.double().requires_grad_(), target.double().requires_grad_()
    loss = expected_error(exact.reshape(*batch, *support.shape), in_double(support), place, **given)
    loss.sum().backward()
    assert exact.grad is not None
    assert place.grad is not None
    return loss.detach(), exact.grad, place.grad


def law(batch: tuple[int, ...] = (), sharing: str = "independent", **options: Any) -> Law:
    return Law(**{"seed": SEED, "num_samples": SAMPLES, "maps_per_group": group_of(batch, sharing), **options})


def native(logits: Tensor, support: Support, target: Tensor, sharing: str = "independent", **options: Any) -> Sampled:
    drawn, given = _divided(options, ("basis", "temperature", "formula", "seed", "order"))
    together = law(tuple(logits.shape[:-1]), sharing, **drawn)
    return sample(logits, support, together, target=target, wants_gradient=True, **given)


def results(found: Sampled) -> tuple[Tensor, Tensor, Tensor]:
    assert found.loss is not None
    assert found.logits_gradient is not None
    assert found.target_gradient is not None
    return found.loss, found.logits_gradient, found.target_gradient


def assert_same(got: Sampled, wanted: tuple[Tensor, Tensor, Tensor]) -> None:
    for found, exact in zip(results(got), wanted, strict=True):
        assert float((found - exact).abs().max() / exact.abs().max()) < TOLERANCE


def assert_equal(got: Sampled, wanted: Sampled) -> None:
    for found, other in zip(results(got), results(wanted), strict=True):
        assert torch.equal(found, other)


def assert_samples_and_their_gradient(
    logits: Tensor, support: Support, slope: Tensor, sharing: str, **options: Any
) -> Tensor:
    """The gradient that it compares, of the sum of samples times `slope`."""
    batch = tuple(logits.shape[:-1])
    drawn, _ = _divided(options, ("basis", "formula", "seed"))
    _, given = _divided(options, ("seed",))
    exact = logits.double().requires_grad_()
    draws = recorded(support, batch, sharing, **drawn)
    points = sampling_argmax(exact.reshape(*batch, *support.shape), support, noise=draws, **given)
    (wanted,) = torch.autograd.grad(points, exact, slope.double())
    together = law(batch, sharing, **options)
    got = sample(logits, support, together, sample_gradient=slope, wants_gradient=True, wants_samples=True)
    assert got.loss is None
    assert got.samples is not None
    assert got.logits_gradient is not None
    # Of the largest coordinate: a rounding of 6e-8, and as many of the weights.
    assert float((got.samples - points.detach()).abs().max() / points.detach().abs().max()) < 4e-7
    assert float((got.logits_gradient - wanted).abs().max() / wanted.abs().max()) < TOLERANCE
    return got.logits_gradient


def derivatives(
    support: Support, batch: tuple[int, ...], dtype: torch.dtype, form: str, draws: Noise | str, **options: Any
) -> list[Tensor]:
    """First and second ones of the public functions, of losses that are not linear in the samples."""
    slope, along = random_maps(SAMPLES, *batch, support.ndim, seed=1), random_maps(*batch, *support.shape, seed=2)
    logits = random_maps(*batch, *support.shape).to(dtype).requires_grad_()
    target = targets(support, batch).to(dtype).requires_grad_()
    on = in_double(support) if dtype == torch.float64 else support
    found = []
    for name in ("samples", "error"):
        generator = torch.Generator().manual_seed(0) if isinstance(draws, str) else None
        given: Any = {**options, "num_samples": SAMPLES, "noise": draws, "generator": generator}
        with kernels.use(form):
            if name == "samples":
                value = (sampling_argmax(logits, on, **given) * slope.to(dtype)).square().sum()
            else:
                value = expected_error(logits, on, target, distance="squared", **given).square().sum()
        found.append(torch.autograd.grad(value, logits, retain_graph=True)[0])
        (gradient,) = torch.autograd.grad(value, logits, create_graph=True)
        leaves = (logits,) if name == "samples" else (logits, target)
        found += [gradient, *torch.autograd.grad((gradient * along.to(dtype)).sum(), leaves)]
    return [tensor.detach() for tensor in found]


def assert_derivatives_are_those_of_the_torch_form(
    support: Support, batch: tuple[int, ...], sharing: str, formula: str
) -> None:
    basis = Gaussian(0.1) if isinstance(support, Points) else Triangular()
    options = {"basis": basis, "formula": formula, "temperature": 0.8}
    seed = int(torch.empty((), dtype=torch.int64).random_(generator=torch.Generator().manual_seed(0)))
    draws = recorded(support, batch, sharing, seed=seed % 2**64, basis=basis, formula=formula)
    ours = derivatives(support, batch, torch.float32, "native", sharing, **options)
    wanted = derivatives(support, batch, torch.float64, "torch", draws, **options)
    for found, exact in zip(ours, wanted, strict=True):
        # Derivatives of the torch form in float32, through squares of squares: a few tens of roundings.
        assert float((found - exact).abs().max() / exact.abs().max()) < 2e-5
