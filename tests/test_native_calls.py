"""The native kernel behind the public functions: what a caller may rely on, whatever form runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from heatpoint import Grid, Points, kernels
from heatpoint.basis import make_basis
from heatpoint.kernels._library import library
from heatpoint.sampling import gumbel_max, sampling_argmax
from heatpoint.scores import energy_score, expected_error
from heatpoint.support import Support
from oracles_native import noise
from peaks import peak_of

pytestmark = pytest.mark.skipif(library().handle is None, reason=library().reason)

GRID = Grid((9, 7), stride=4.0)
Call = Callable[..., Tensor]


@pytest.fixture(autouse=True)
def native() -> Iterator[None]:
    with kernels.use("native"):
        yield


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_maps(*batch: int, grid: Support = GRID) -> Tensor:
    return 2 * torch.randn(*batch, *grid.shape, generator=seeded(1))


def samples(logits: Tensor, **given: Any) -> Tensor:
    return sampling_argmax(logits, GRID, **{"num_samples": 6, **given})


def error(logits: Tensor, **given: Any) -> Tensor:
    target = torch.full((*logits.shape[:-2], 2), 11.0)
    return expected_error(logits, GRID, target, **{"num_samples": 6, **given})


both = pytest.mark.parametrize("call", [samples, error])


@both
def test_checkpointing_replays_the_same_noise(call: Call) -> None:
    logits = some_maps(2, 3).requires_grad_()
    torch.manual_seed(2)
    plain = call(logits)
    torch.manual_seed(2)
    again = checkpoint(call, logits, use_reentrant=False)
    assert torch.equal(plain, again)
    ours, theirs = (torch.autograd.grad(found.square().sum(), logits)[0] for found in (plain, again))
    assert torch.equal(ours, theirs)


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_taken_to_float32(call: Call, dtype: torch.dtype) -> None:
    half = some_maps(2, 3).to(dtype).requires_grad_()
    full = half.detach().float().requires_grad_()
    found = [call(maps, generator=seeded()) for maps in (half, full)]
    assert found[0].dtype == torch.float32
    assert torch.equal(*found)
    gradients = [torch.autograd.grad(f.square().sum(), maps)[0] for f, maps in zip(found, (half, full), strict=True)]
    assert gradients[0].dtype == dtype
    torch.testing.assert_close(gradients[0], gradients[1].to(dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(call(full, generator=seeded()), found[1])


@both
def test_a_seed_says_all_and_a_generator_goes_on(call: Call) -> None:
    logits, generator = some_maps(2, 3), seeded(5)
    first, second = call(logits, generator=generator), call(logits, generator=generator)
    assert torch.equal(first, call(logits, generator=seeded(5)))
    assert not torch.equal(first, second)
    assert not torch.equal(first, call(logits, generator=seeded(6)))
    torch.manual_seed(5)
    assert torch.equal(first, call(logits))
    before = torch.get_rng_state()
    call(logits, generator=generator)
    assert torch.equal(before, torch.get_rng_state())


@both
def test_the_number_of_threads_changes_no_bit(call: Call) -> None:
    logits = some_maps(31, 17).requires_grad_()
    number, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            value = call(logits, generator=seeded(), num_samples=40)
            found.append((value, *torch.autograd.grad(value, logits, torch.ones_like(value))))
    finally:
        torch.set_num_threads(number)
    for one, more in zip(*found, strict=True):
        assert torch.equal(one, more)


def test_errors_name_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    forbidden, broken = some_maps(2, 3), some_maps(2, 3)
    forbidden[1, 2], broken[0, 1, 3, 3] = -torch.inf, torch.nan

    def energy(logits: Tensor) -> Tensor:
        return energy_score(logits, GRID, torch.ones(2, 3, 2), num_samples=3)

    calls = {"sampling_argmax": samples, "expected_error": error, "energy_score": energy}
    for name, call in calls.items():
        with pytest.raises(ValueError, match=f"{name}: logits must leave at least one cell of every map possible"):
            call(forbidden)
        with pytest.raises(ValueError, match=f"{name}: logits must be finite or −inf, got NaN"):
            call(broken)
        with pytest.raises(ValueError, match="num_samples must be at least"):
            expected_error(broken, GRID, torch.ones(2, 3, 2), num_samples=0)
    monkeypatch.setenv("HEATPOINT_CHECK", "0")
    assert error(broken).isnan().nonzero().tolist() == [[0, 1]]
    assert samples(broken).isnan().any(dim=(0, 3)).nonzero().tolist() == [[0, 1]]


@both
def test_temperatures_down_to_the_coldest(call: Call) -> None:
    logits = some_maps(2, 3).requires_grad_()
    for temperature in (1e-30, 1e-3, 1e6):
        value = call(logits, temperature=temperature)
        assert value.isfinite().all()
        assert torch.autograd.grad(value.sum(), logits)[0].isfinite().all()
    with pytest.raises(ValueError, match=r"got 'native': below a temperature of 1e-30 the gradient leaves float32"):
        call(logits, temperature=1e-31)
    with kernels.use("auto"):
        assert call(logits, temperature=1e-31).isfinite().all()


@pytest.mark.parametrize("formula", ["paper", "released"])
def test_cold_samples_are_draws_of_cells(formula: Any) -> None:
    # Of the map itself under the paper's formula, of all possible cells alike under the released one.
    logits = torch.tensor([[0.0, 1.0, -torch.inf], [2.0, 0.5, 0.0]])
    drawn = sampling_argmax(
        logits, Grid((2, 3), offset=0), basis=None, num_samples=20_000, temperature=1e-7, formula=formula,
        generator=seeded(),
    )  # fmt: skip
    cells = (drawn[:, 1] * 3 + drawn[:, 0]).round().long()
    law = logits.flatten().softmax(0) if formula == "paper" else (logits.flatten() > -torch.inf) / 5.0
    counts = torch.bincount(cells, minlength=6)
    assert counts[2] == 0
    assert stats.chisquare(counts[law > 0].numpy(), 20_000 * law[law > 0].double().numpy()).pvalue > 1e-3
    if formula == "paper":
        exact = torch.bincount(gumbel_max(logits, Grid((2, 3)), num_samples=20_000, generator=seeded(1)), minlength=6)
        assert stats.chi2_contingency([counts[law > 0].numpy(), exact[law > 0].numpy()]).pvalue > 1e-3


@both
def test_a_graph_may_be_kept_and_gone_through_again(call: Call) -> None:
    logits = some_maps(2, 3).requires_grad_()
    value = call(logits)
    slope = torch.randn(value.shape, generator=seeded())
    first = torch.autograd.grad(value, logits, slope, retain_graph=True)[0]
    doubled = torch.autograd.grad(value, logits, 2 * slope, retain_graph=True)[0]
    assert torch.equal(doubled, 2 * first)
    assert torch.equal(torch.autograd.grad(value, logits, slope)[0], first)


@both
def test_no_maps_one_sample_and_maps_without_a_batch(call: Call) -> None:
    nothing = torch.zeros(0, 3, 9, 7, requires_grad=True)
    assert call(nothing).numel() == 0
    assert torch.autograd.grad(call(nothing).sum(), nothing)[0].shape == nothing.shape
    one = some_maps().requires_grad_()
    for number in (1, 2, 5):
        value = call(one, num_samples=number, generator=seeded())
        assert value.shape == ((number, 2) if call is samples else ())
        assert torch.autograd.grad(value.sum(), one)[0].isfinite().all()
    assert torch.equal(call(one, num_samples=1, generator=seeded()), call(one, num_samples=1, generator=seeded()))


CLOUD = torch.randn(2048, 3, generator=seeded(4))
SHAPES: dict[str, tuple[tuple[int, ...], Support, Any]] = {
    "bodies": ((2, 3), Grid((64, 48), stride=4.0), "triangular"),
    "volumes": ((2,), Grid((16, 32, 24)), "triangular"),
    "lines": ((2, 19), Grid((128,)), "triangular"),
    "clouds": ((1, 4), Points(CLOUD), {"name": "gaussian", "sigma": 0.05}),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("formula", ["paper", "released"])
@pytest.mark.parametrize("lattice", [False, True])
def test_gradients_are_those_of_float64_with_the_same_noise(shape: str, formula: Any, lattice: bool) -> None:
    batch, support, basis = SHAPES[shape]
    if isinstance(support, Points) and formula == "released":
        return
    logits, target = some_maps(*batch, grid=support), torch.zeros(*batch, support.ndim) + 9
    given: dict[str, Any] = {"basis": basis, "formula": formula, "temperature": 0.8, "num_samples": 7}
    seed = int(torch.empty((), dtype=torch.int64).random_(generator=seeded(3)))
    kept = {"per_cell": formula == "paper", "seed": seed % 2**64, "num_samples": 7, "order": 7 * lattice}
    made = make_basis(basis)
    recorded = noise(support, batch, basis=made, **kept)
    exact_support = Points(CLOUD.double()) if isinstance(support, Points) else support
    slope = torch.randn(7, *batch, support.ndim, generator=seeded(6))

    def gradients(maps: Tensor, on: Support, draws: Callable[[], dict[str, Any]]) -> list[Tensor]:
        maps = maps.clone().requires_grad_()
        loss = expected_error(maps, on, target.to(maps), **given, **draws()).sum()
        points = (sampling_argmax(maps, on, **given, **draws()) * slope.to(maps)).sum()
        return [torch.autograd.grad(value, maps)[0] for value in (loss, points)]

    with kernels.use("torch"):
        exact = gradients(logits.double(), exact_support, lambda: {"noise": recorded})
    kind = "lattice" if lattice else "independent"
    found = gradients(logits, support, lambda: {"noise": kind, "generator": seeded(3)})
    for ours, theirs in zip(found, exact, strict=True):
        assert float((ours - theirs).abs().max() / theirs.abs().max()) < 4e-6


def test_memory_is_twice_the_maps_whatever_the_number_of_samples() -> None:
    """At COCO's size, with ten times its samples: the gradient that is kept, and the one that is returned."""
    assert peak_of("sampling coco-300 2", "native") < 2.2
