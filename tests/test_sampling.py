"""Samples of a map: both formulas against loops and the published code's numbers, their laws, their limits, their memory."""

import functools
import importlib.util
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.autograd import gradcheck

from heatpoint import _draws, _relaxed, sampling
from heatpoint.basis import Gaussian, Triangular, Uniform
from heatpoint.expectation import expected_position
from heatpoint.sampling import Noise, gumbel_max, gumbel_softmax, sampling_argmax
from heatpoint.support import Grid, Points
from oracles_sampling import mixture_cdf, paper_sample, released_sample, softmax, weights_of
from pages import ROOT, code_blocks, page, run_sessions

BATCH = (2, 3)
GRIDS = {
    "1d": Grid((7,), stride=2.5, offset=-1.0),
    "2d": Grid((5, 4), stride=(4.0, 3.0)),
    "3d": Grid((2, 4, 3), stride=(1.0, 0.5, 2.0), offset=0.25),
    "2d_cyclic_x": Grid((5, 4), stride=(4.0, 3.0), cyclic=(0,)),
}
BASES = {"none": None, "uniform": Uniform(), "triangular": Triangular(), "gaussian": Gaussian(sigma=0.7)}
# Points have no axes for the released formula and no cells for the other bases.
COMBINATIONS = [
    *((name, basis, formula) for name in GRIDS for basis in BASES for formula in sampling.FORMULAS),
    ("points", "none", "paper"),
    ("points", "gaussian", "paper"),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def cloud():
    return Points(draw(2, 1, 11, 3, seed=3))


def make_noise(batch, support, basis, formula, num_samples, seed=1, dtype=torch.float64):
    """Random noise in the shapes that the documentation states."""
    source = generator(seed)
    uniform = torch.rand(num_samples, *batch, *support.shape, generator=source, dtype=dtype)
    if basis is None:
        return Noise(uniform)
    make = torch.randn if isinstance(basis, Gaussian) else torch.rand
    tails = [support.shape] * support.ndim if formula == "paper" else [(n,) for n in support.lengths]
    return Noise(uniform, [make(num_samples, *batch, *tail, generator=source, dtype=dtype) for tail in tails])


def oracle(logits, grid, basis, formula, temperature, noise):
    sample = paper_sample if formula == "paper" else released_sample
    num_samples = noise.gumbel_uniform.shape[0]
    name = next(n for n, b in BASES.items() if b == basis)
    result = np.zeros((num_samples, *BATCH, grid.ndim))
    for s, b, k in np.ndindex(num_samples, *BATCH):
        result[s, b, k] = sample(
            logits[b, k].flatten().tolist(),
            noise.gumbel_uniform[s, b, k].flatten().tolist(),
            None if basis is None else [axis[s, b, k].flatten().tolist() for axis in noise.offsets],
            grid.shape,
            grid.strides,
            grid.offsets,
            temperature,
            None if basis is None else name,
            cyclic=grid.cyclic,
            sigma=0.7,
        )
    return torch.from_numpy(result)


@pytest.mark.parametrize("formula", ["paper", "released"])
@pytest.mark.parametrize("basis", BASES.values(), ids=BASES)
@pytest.mark.parametrize("name", GRIDS)
def test_agrees_with_loops(name, basis, formula):
    grid = GRIDS[name]
    logits = 2 * draw(*BATCH, *grid.shape)
    logits[0, 1].view(-1)[2] = -torch.inf
    noise = make_noise(BATCH, grid, basis, formula, 4)
    noise.gumbel_uniform[0, 0, 0].view(-1)[1] = 0.0
    for temperature in (0.3, 1.0, 2.0):
        found = sampling_argmax(logits, grid, basis=basis, temperature=temperature, formula=formula, noise=noise)
        expected = oracle(logits, grid, basis, formula, temperature, noise)
        # Sums of 24 float64 terms of size 10; the direction on the cyclic axis loses two digits more at most.
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("sign_gradient", [False, True])
@pytest.mark.parametrize(("name", "basis", "formula"), COMBINATIONS)
def test_gradient(name, basis, formula, sign_gradient):
    support, basis = cloud() if name == "points" else GRIDS[name], BASES[basis]
    logits = draw(*BATCH, *support.shape).requires_grad_()
    noise = make_noise(BATCH, support, basis, formula, 2)

    def sample(z, is_signed):
        return sampling_argmax(
            z, support, basis=basis, temperature=0.7, formula=formula, noise=noise, sign_gradient=is_signed
        )

    if not sign_gradient:
        assert gradcheck(lambda z: sample(z, False), (logits,))
        return
    plain, signed = sample(logits, False), sample(logits, True)
    assert torch.equal(plain, signed)
    (found,) = torch.autograd.grad(signed.sum(), logits)
    (true,) = torch.autograd.grad(plain.sum(), logits)
    # Adding a constant to all logits of a map moves nothing, under either gradient.
    torch.testing.assert_close(found.flatten(2).sum(-1), torch.zeros(BATCH, dtype=torch.float64), rtol=0, atol=1e-12)
    assert not torch.allclose(found, true)


def test_points_agree_with_loops():
    support, basis = cloud(), Gaussian(sigma=0.4)
    logits = draw(*BATCH, 11)
    noise = make_noise(BATCH, support, basis, "paper", 3)
    found = sampling_argmax(logits, support, basis=basis, temperature=0.5, noise=noise)
    for s, b, k in np.ndindex(3, *BATCH):
        weights = weights_of(logits[b, k].tolist(), noise.gumbel_uniform[s, b, k].tolist(), 0.5, "paper")
        for axis in range(3):
            positions = support.xyz[b, 0, :, axis] + 0.4 * noise.offsets[axis][s, b, k]
            expected = math.fsum(w * p for w, p in zip(weights, positions.tolist(), strict=True))
            assert found[s, b, k, axis].item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("formula", ["paper", "released"])
def test_gumbel_softmax_agrees_with_loops_and_gradcheck(formula):
    grid = GRIDS["2d"]
    logits = draw(*BATCH, *grid.shape)
    noise = make_noise(BATCH, grid, None, formula, 3)
    found = gumbel_softmax(logits, grid, temperature=0.6, formula=formula, noise=noise)
    assert found.shape == (3, *BATCH, 20)
    for s, b, k in np.ndindex(3, *BATCH):
        uniforms = noise.gumbel_uniform[s, b, k].flatten().tolist()
        expected = weights_of(logits[b, k].flatten().tolist(), uniforms, 0.6, formula)
        np.testing.assert_allclose(found[s, b, k].numpy(), expected, rtol=1e-12)
    assert gradcheck(
        lambda z: gumbel_softmax(z, grid, temperature=0.6, formula=formula, noise=noise),
        (logits.requires_grad_(),),
    )


@pytest.mark.parametrize("formula", ["paper", "released"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_uniform_of_0_gives_weight_0_and_one_that_rounded_to_1_stays_finite(formula, dtype):
    grid = GRIDS["2d"]
    logits = draw(*BATCH, *grid.shape).to(dtype).requires_grad_()
    noise = make_noise(BATCH, grid, None, formula, 3, dtype=dtype)
    noise.gumbel_uniform[..., 2, 1] = 0.0
    noise.gumbel_uniform[..., 3, 0] = 1.0
    weights = gumbel_softmax(logits, grid, temperature=0.5, formula=formula, noise=noise)
    assert (weights[..., 2 * 4 + 1] == 0).all()
    weights.square().sum().backward()
    assert weights.isfinite().all()
    assert logits.grad.isfinite().all()


def test_where_every_possible_cell_drew_0_the_noise_is_left_out():
    grid = Grid((4,))
    logits = torch.tensor([-torch.inf, 1.0, -torch.inf, 2.0], requires_grad=True)
    noise = Noise(torch.tensor([[0.9, 0.0, 0.3, 0.0]]))
    for formula in ("paper", "released"):
        weights = gumbel_softmax(logits, grid, formula=formula, noise=noise)
        torch.testing.assert_close(weights[0], logits.softmax(-1))
    assert gumbel_max(logits, grid, noise=noise).tolist() == [3]


def test_fresh_noise_cannot_forbid_the_only_possible_cell(monkeypatch):
    # torch.rand gives an exact 0 once in 2^24 draws: often enough in training to matter.
    monkeypatch.setattr(torch, "rand", lambda *shape, **options: torch.zeros(*shape))
    logits = torch.tensor([-torch.inf, 1.0, -torch.inf])
    for formula in ("paper", "released"):
        assert sampling_argmax(logits, Grid((3,)), basis=None, formula=formula).tolist() == [[1.0]]


# The limits and the places where the two formulas meet


@settings(deadline=None, derandomize=True, max_examples=20)
@given(seed=st.integers(0, 999), name=st.sampled_from(["1d", "2d", "3d"]))
def test_without_offsets_the_formulas_meet_at_temperature_1(seed, name):
    grid = GRIDS[name]
    logits = draw(*BATCH, *grid.shape, seed=seed)
    noise = make_noise(BATCH, grid, None, "paper", 3, seed=seed + 1)
    paper, released = (
        sampling_argmax(logits, grid, basis=None, formula=formula, noise=noise) for formula in ("paper", "released")
    )
    torch.testing.assert_close(paper, released, rtol=1e-12, atol=1e-12)


@settings(deadline=None, derandomize=True, max_examples=20)
@given(seed=st.integers(0, 999), temperature=st.floats(0.2, 5.0))
def test_released_is_the_paper_on_a_re_tempered_map(seed, temperature):
    grid = GRIDS["2d"]
    logits = draw(*BATCH, *grid.shape, seed=seed)
    noise = make_noise(BATCH, grid, None, "paper", 3, seed=seed + 1)
    released = gumbel_softmax(logits, grid, temperature=temperature, formula="released", noise=noise)
    paper = gumbel_softmax(logits * temperature, grid, temperature=temperature, formula="paper", noise=noise)
    torch.testing.assert_close(released, paper, rtol=1e-9, atol=1e-15)


def test_limits_of_high_temperature():
    grid = GRIDS["2d"]
    logits = draw(*BATCH, *grid.shape)
    noise = make_noise(BATCH, grid, None, "paper", 3)
    released = sampling_argmax(logits, grid, basis=None, temperature=1e12, formula="released", noise=noise)
    mean = expected_position(logits.flatten(2).softmax(-1), grid)
    # g is at most 40, so the noise left over is 4e-11 of the logits, times 20 cells of size 15.
    torch.testing.assert_close(released, mean.expand_as(released), rtol=0, atol=1e-8)
    paper = sampling_argmax(logits, grid, basis=None, temperature=1e12, formula="paper", noise=noise)
    middle = grid.cell_centers(dtype=torch.float64).mean(dim=(0, 1))
    torch.testing.assert_close(paper, middle.expand_as(paper), rtol=0, atol=1e-8)


def test_limits_of_low_temperature():
    grid = GRIDS["2d"]
    logits = draw(*BATCH, *grid.shape)
    noise = make_noise(BATCH, grid, None, "paper", 50)
    paper = gumbel_softmax(logits, grid, temperature=1e-9, formula="paper", noise=noise)
    assert torch.equal(paper.argmax(-1), gumbel_max(logits, grid, noise=noise))
    assert (paper.amax(-1) > 1 - 1e-9).all()
    released = gumbel_softmax(logits, grid, temperature=1e-9, formula="released", noise=noise)
    assert torch.equal(released.argmax(-1), noise.gumbel_uniform.flatten(3).argmax(-1))


@pytest.mark.parametrize("formula", ["paper", "released"])
def test_mirroring_map_and_noise_mirrors_the_samples(formula):
    grid = Grid((5, 4), stride=3.0)
    logits = draw(*BATCH, 5, 4)
    noise = make_noise(BATCH, grid, Triangular(), formula, 3)
    along_y = noise.offsets[1].flip(-1) if formula == "paper" else noise.offsets[1]
    mirrored = Noise(noise.gumbel_uniform.flip(-1), [1 - noise.offsets[0].flip(-1), along_y])
    here = sampling_argmax(logits, grid, formula=formula, noise=noise)
    there = sampling_argmax(logits.flip(-1), grid, formula=formula, noise=mirrored)
    torch.testing.assert_close(there[..., 0], 11.0 - here[..., 0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(there[..., 1], here[..., 1], rtol=1e-12, atol=1e-12)


def test_a_basis_given_by_name_dict_or_instance_is_the_same():
    grid = GRIDS["2d"]
    logits = draw(*BATCH, *grid.shape)
    results = [
        sampling_argmax(logits, grid, basis=basis, generator=generator())
        for basis in ("gaussian", {"name": "gaussian", "sigma": 1.0}, Gaussian())
    ]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    wide = sampling_argmax(logits, grid, basis=Gaussian(sigma=2.0), generator=generator())
    bare = sampling_argmax(logits, grid, basis=Gaussian(sigma=1e-9), generator=generator())
    torch.testing.assert_close(wide - bare, 2 * (results[0] - bare), rtol=1e-6, atol=1e-6)


# The law of the samples


def kolmogorov_smirnov(samples, cdf):
    """The p-value under which samples as far from `cdf` as these, or farther, are drawn from it."""
    return stats.kstest(samples, cdf, method="asymp").pvalue


@pytest.mark.parametrize("basis", ["uniform", "triangular", "gaussian"])
def test_paper_samples_follow_the_mixture_as_the_temperature_goes_to_0(basis):
    # One fixed seed; another would fail by chance once in 10^4, where the cdfs differ by 2.2 / √20000 = 1.6e-2. The two highest
    # scores lie within x of each other with a probability below x, so at this temperature a second cell has 1 % of the weight
    # in at most 5e-4 of the samples.
    grid = Grid((6,), stride=3.0, offset=2.0)
    logits = torch.tensor([0.0, 2.0, -1.0, -torch.inf, 1.0, 0.5], dtype=torch.float64)
    samples = sampling_argmax(logits, grid, basis=basis, num_samples=20_000, temperature=1e-4, generator=generator(11))
    weights, centers = softmax(logits.tolist()), [2.0 + 3.0 * i for i in range(6)]
    found = kolmogorov_smirnov(samples[:, 0].numpy(), lambda y: mixture_cdf(y, weights, centers, 3.0, basis))
    assert found > 1e-4
    # The test can tell: at temperature 1 the same samples are far too narrow.
    relaxed = sampling_argmax(logits, grid, basis=basis, num_samples=20_000, generator=generator(11))
    assert kolmogorov_smirnov(relaxed[:, 0].numpy(), lambda y: mixture_cdf(y, weights, centers, 3.0, basis)) < 1e-10


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 4)])
def test_every_coordinate_follows_its_marginal(shape):
    # As above: 2 or 3 comparisons at 1e-4 each.
    grid = Grid(shape, stride=2.0)
    logits = draw(*shape, seed=8)
    samples = sampling_argmax(logits, grid, num_samples=20_000, temperature=1e-4, generator=generator(12))
    marginals = grid.marginals(logits.flatten().softmax(-1).view(shape))
    for axis, marginal in enumerate(m.tolist() for m in marginals):
        centers = grid.axis_centers(axis, dtype=torch.float64).tolist()
        cdf = functools.partial(mixture_cdf, weights=marginal, centers=centers, spacing=2.0, basis="triangular")
        assert kolmogorov_smirnov(samples[:, axis].numpy(), cdf) > 1e-4


def test_gumbel_max_draws_from_the_map():
    # Chi-square over 20 cells less the forbidden one, at 1e-4, one fixed seed.
    grid = GRIDS["2d"]
    logits = draw(*grid.shape, seed=4)
    logits[2, 2] = -torch.inf
    cells = gumbel_max(logits, grid, num_samples=20_000, generator=generator(13))
    counts = torch.bincount(cells, minlength=20)
    assert counts[10] == 0
    possible = torch.arange(20) != 10
    expected = 20_000 * logits.flatten().softmax(-1)
    assert stats.chisquare(counts[possible].numpy(), expected[possible].numpy()).pvalue > 1e-4


def test_gumbel_max_on_batches_and_points():
    cells = gumbel_max(draw(*BATCH, 11), cloud(), num_samples=4, generator=generator())
    assert cells.shape == (4, *BATCH)
    assert cells.dtype == torch.long
    assert torch.equal(cells, gumbel_max(draw(*BATCH, 11), cloud(), num_samples=4, generator=generator()))


# Randomness and memory


def test_same_seed_same_points_and_the_generator_moves_on():
    grid = GRIDS["2d"]
    logits = draw(*BATCH, *grid.shape)
    source = generator(5)
    first = sampling_argmax(logits, grid, num_samples=3, generator=source)
    second = sampling_argmax(logits, grid, num_samples=3, generator=source)
    assert torch.equal(first, sampling_argmax(logits, grid, num_samples=3, generator=generator(5)))
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    assert torch.equal(first, sampling_argmax(logits, grid, num_samples=3))
    assert sampling_argmax(logits, grid).shape == (1, *BATCH, 2)


def test_sampling_argmax_without_offsets_is_the_mean_under_gumbel_softmax():
    grid = GRIDS["3d"]
    logits = draw(*BATCH, *grid.shape)
    points = sampling_argmax(logits, grid, basis=None, num_samples=4, temperature=0.5, generator=generator())
    weights = gumbel_softmax(logits, grid, num_samples=4, temperature=0.5, generator=generator())
    assert torch.equal(points, expected_position(weights, grid))


def saved_for_backward(call):
    """What `call` returns, and the sizes of the storages that autograd keeps for its backward pass, each once."""
    sizes = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = call()
    return result, sizes.values()


@pytest.mark.parametrize("is_recorded", [False, True])
@pytest.mark.parametrize("formula", ["paper", "released"])
@pytest.mark.parametrize("chunk_samples", [1, 3, 7])
def test_low_memory_keeps_nothing_of_size_samples_x_cells_and_changes_no_bit(
    monkeypatch, chunk_samples, formula, is_recorded
):
    grid, num_samples = GRIDS["2d"], 7
    maps = math.prod(BATCH) * grid.num_cells
    monkeypatch.setattr(_draws, "CHUNK_CELLS", chunk_samples * maps)
    noise = make_noise(BATCH, grid, Triangular(), formula, num_samples) if is_recorded else None
    upstream = draw(num_samples, *BATCH, 2, seed=6)
    outcomes = {}
    for memory in ("normal", "low"):
        logits = draw(*BATCH, *grid.shape).requires_grad_()
        source = generator(2)

        def sample(logits=logits, source=source, memory=memory):
            return sampling_argmax(
                logits,
                grid,
                num_samples=num_samples,
                temperature=0.5,
                formula=formula,
                generator=None if is_recorded else source,
                noise=noise,
                memory=memory,
            )

        points, sizes = saved_for_backward(sample)
        points.backward(upstream)
        outcomes[memory] = points.detach(), logits.grad, sizes, torch.rand(4, generator=source)
    normal, low = outcomes["normal"], outcomes["low"]
    assert torch.equal(normal[0], low[0])
    assert torch.equal(normal[1], low[1])
    # The caller's generator stands where it would have stood, so what comes after is the same too.
    assert torch.equal(normal[3], low[3])
    # The meter works: what "normal" keeps is several times S x cells. "low" keeps the maps and their log-softmax only.
    assert sum(normal[2]) > 2 * num_samples * maps
    assert sum(low[2]) <= 2 * maps


def test_low_memory_draws_from_the_default_generator_and_survives_a_second_backward():
    grid = GRIDS["2d"]
    gradients = []
    for memory in ("normal", "low"):
        logits = draw(*BATCH, *grid.shape).requires_grad_()
        torch.manual_seed(3)
        points = sampling_argmax(logits, grid, num_samples=5, memory=memory)
        torch.manual_seed(99)
        first, second = (torch.autograd.grad(points.square().sum(), logits, retain_graph=True)[0] for _ in range(2))
        assert torch.equal(first, second)
        gradients.append(first)
    assert torch.equal(gradients[0], gradients[1])


@pytest.mark.gpu
@pytest.mark.parametrize("formula", ["paper", "released"])
def test_low_memory_on_a_gpu(formula):
    grid, num_samples = Grid((64, 48)), 30
    cells = 16 * 17 * grid.num_cells
    outcomes = {}
    for memory in ("normal", "low"):
        source = torch.Generator("cuda").manual_seed(1)
        logits = torch.randn(16, 17, 64, 48, device="cuda", generator=source).requires_grad_()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        points = sampling_argmax(
            logits, grid, num_samples=num_samples, formula=formula, generator=source, memory=memory
        )
        kept = torch.cuda.memory_allocated() - before
        points.square().sum().backward()
        outcomes[memory] = points.detach(), logits.grad, kept
    assert torch.equal(outcomes["normal"][0], outcomes["low"][0])
    assert outcomes["normal"][2] > 4 * num_samples * cells
    assert outcomes["low"][2] < 3 * 4 * cells
    # Sums by atomic additions (the gather of the triangular basis) may differ in order.
    torch.testing.assert_close(outcomes["normal"][1], outcomes["low"][1], rtol=1e-4, atol=1e-4)


# The degenerate set


@pytest.mark.parametrize("sign_gradient", [False, True])
@pytest.mark.parametrize(
    ("name", "basis", "formula"), [*COMBINATIONS, *(("one_cell", b, f) for b in BASES for f in sampling.FORMULAS)]
)
def test_degenerate_maps_have_finite_values_and_gradients(name, basis, formula, sign_gradient):
    supports = {**GRIDS, "one_cell": Grid((1, 1), stride=2.0), "points": Points(cloud().xyz.float())}
    support, basis = supports[name], BASES[basis]
    cells = support.num_cells
    for temperature in (0.01, 1.0, 5.0):
        for logits in degenerate_logits(cells):
            logits = support.unflatten(logits).expand(*BATCH, *support.shape).clone().requires_grad_()
            found = sampling_argmax(
                logits,
                support,
                basis=basis,
                num_samples=3,
                temperature=temperature,
                formula=formula,
                generator=generator(),
                sign_gradient=sign_gradient,
            )
            found.sum().backward()
            assert found.isfinite().all()
            assert logits.grad.isfinite().all()


def degenerate_logits(cells):
    one_hot = torch.full((cells,), -1e4)
    one_hot[-1] = 1e4
    single = torch.full((cells,), -torch.inf)
    single[0] = 0.0
    return [torch.zeros(cells), one_hot, single, torch.linspace(-1e4, 1e4, cells)]


def test_released_weights_that_all_vanish_leave_the_marginal():
    grid = Grid((5, 4))
    logits = torch.full((5, 4), -torch.inf)
    logits[0, 0] = 0.0
    logits.requires_grad_()
    # Draws of exactly 0 put every triangular position one cell lower, off the only possible cell.
    noise = Noise(
        torch.full((1, 5, 4), 0.5), [torch.tensor([[0.0, 0.5, 0.5, 0.5]]), torch.tensor([[0.0, 0.5, 0.5, 0.5, 0.5]])]
    )
    found = sampling_argmax(logits, grid, formula="released", noise=noise)
    found.sum().backward()
    assert found.tolist() == [[-1.0, -1.0]]
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("memory", ["normal", "low"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_promoted_under_autocast(dtype, memory):
    grid = GRIDS["2d"]
    logits = draw(*BATCH, *grid.shape).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = sampling_argmax(logits, grid, num_samples=3, generator=generator(), memory=memory)
        found.sum().backward()
    expected = sampling_argmax(logits.detach().float(), grid, num_samples=3, generator=generator())
    assert torch.equal(found, expected)
    assert logits.grad.dtype == dtype
    assert logits.grad.isfinite().all()


# The published code's numbers


def golden_call(arrays, dtype, shape, basis):
    """Logits, grid and noise of one golden file; the published code normalises coordinates by the size of the map."""
    logits = torch.from_numpy(arrays["logits"]).to(dtype)
    logits = logits.reshape(logits.shape[0], -1, *shape).requires_grad_()
    grid = Grid(shape, stride=tuple(1 / n for n in shape[::-1]), offset=-0.5)

    def samples_first(array):
        tensor = torch.from_numpy(array).to(dtype)
        return tensor.movedim(2, 0) if "noise_gumbel_u" in arrays else tensor.unsqueeze(0)

    offsets = None
    if basis is not None:
        offsets = [samples_first(arrays[f"noise_{axis}"]) for axis in "xyz"[: len(shape)]]
    if "noise_gumbel_u" in arrays:
        uniform = samples_first(arrays["noise_gumbel_u"]).unflatten(-1, shape)
        temperature = float(arrays["tau"])
    else:
        # No Gumbel noise is the limit of a high temperature: g / 1e30 is lost in any logit's rounding.
        uniform, temperature = torch.full((1, *logits.shape), 0.5, dtype=dtype), 1e30
    return logits, grid, Noise(uniform, offsets), temperature


def released_weights(logits, grid, noise, temperature, basis):
    weights = gumbel_softmax(
        logits, grid, temperature=temperature, formula="released", noise=Noise(noise.gumbel_uniform)
    )
    marginals = grid.marginals(grid.unflatten(weights))
    if basis is None:
        return weights, marginals
    return weights, [
        _relaxed._released_weights(m, noise.offsets[axis], basis, grid, axis) for axis, m in enumerate(marginals)
    ]


def as_golden(tensor, arrays):
    """(S, B, K, …) as the golden files hold it: (B, K, S, …), or without S."""
    return tensor.movedim(0, 2) if "noise_gumbel_u" in arrays else tensor.squeeze(0)


GOLDEN_BASES = {"uni": Uniform(), "tri": Triangular(), "gaussian": Gaussian(), "none": None}
GOLDEN_2D = [
    *[
        f"{basis}_{variant}"
        for basis in ("uni", "tri", "gaussian")
        for variant in ("tau2", "tau05", "tau125", "softmaxnorm")
    ],
    "soft_none",
    "onesample_tri",
    "real_tri",
]


def golden_basis(name):
    return GOLDEN_BASES[next(part for part in name.split("_") if part in GOLDEN_BASES)]


@pytest.mark.parametrize(("dtype", "ending"), [(torch.float64, "_f64"), (torch.float32, "")], ids=["f64", "f32"])
@pytest.mark.parametrize("name", GOLDEN_2D)
def test_published_2d_code(goldens, name, dtype, ending):
    arrays, basis = goldens(f"01_sa2d_{name}"), golden_basis(name)
    shape = arrays["logits"].shape[2:]
    logits, grid, noise, temperature = golden_call(arrays, dtype, shape, basis)
    # float32 as the golden numbers state; float64 likewise, 1e-12.
    value, slope = (1e-12, 1e-12) if ending else (1e-6, 1e-7)
    target = torch.from_numpy(arrays["target_uv"]).to(dtype).unflatten(-1, (-1, 2))
    weight = torch.from_numpy(arrays["target_uv_weight"]).to(dtype).unflatten(-1, (-1, 2))
    for sign_gradient, key in ((True, "grad_logits_clip"), (False, "grad_logits_plain")):
        points = sampling_argmax(
            logits,
            grid,
            basis=basis,
            temperature=temperature,
            formula="released",
            noise=noise,
            sign_gradient=sign_gradient,
        )
        loss = (weight * (points - target).abs()).sum() / (points.shape[0] * points.shape[1])
        (gradient,) = torch.autograd.grad(loss, logits)
        expected = torch.from_numpy(arrays["pred_jts" + ending])
        torch.testing.assert_close(as_golden(points, arrays), expected, rtol=0, atol=value)
        torch.testing.assert_close(loss.item(), arrays["loss" + ending].item(), rtol=value, atol=value)
        torch.testing.assert_close(gradient, torch.from_numpy(arrays[key + ending]), rtol=0, atol=slope)
    evaluated = expected_position(logits.flatten(2).softmax(-1), grid)
    torch.testing.assert_close(evaluated, torch.from_numpy(arrays["eval_pred_jts" + ending]), rtol=0, atol=value)
    if "hm_x" in arrays:
        check_published_weights(arrays, ending, value, *released_weights(logits, grid, noise, temperature, basis))


def check_published_weights(arrays, ending, tolerance, weights, axis_weights):
    for found, axis in zip(axis_weights, "xyz", strict=False):
        expected = torch.from_numpy(arrays[f"hm_{axis}{ending}"])
        torch.testing.assert_close(as_golden(found, arrays), expected, rtol=0, atol=tolerance)
    if "train_maxvals" not in arrays:
        return
    peak = weights.amax(0).unsqueeze(2) if "noise_gumbel_u" in arrays else weights[0].amax(-1, keepdim=True)
    # The published code keeps these in float32 in either run.
    expected = torch.from_numpy(arrays["train_maxvals" + ending])
    torch.testing.assert_close(peak.float(), expected, rtol=1e-6, atol=1e-7)
    if not ending:
        expected = torch.from_numpy(arrays["norm_heatmap"]).flatten(-2)
        torch.testing.assert_close(as_golden(weights, arrays), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("dtype", "ending"), [(torch.float64, "_f64"), (torch.float32, "")], ids=["f64", "f32"])
@pytest.mark.parametrize("name", ["gaussian_tau2", "soft_none", "tri_tau05", "tri_tau2", "uni_tau2"])
def test_published_3d_code(goldens, name, dtype, ending):
    arrays, basis = goldens(f"02_sa3d_{name}"), golden_basis(name)
    shape = (int(arrays["depth_dim"]), *arrays["logits"].shape[2:])
    logits, grid, noise, temperature = golden_call(arrays, dtype, shape, basis)
    value, slope = (1e-12, 1e-12) if ending else (1e-6, 1e-7)
    target = torch.from_numpy(arrays["target_uvd"]).to(dtype).unflatten(-1, (-1, 3))
    weight = torch.from_numpy(arrays["target_uvd_weight"]).to(dtype).unflatten(-1, (-1, 3))
    points = sampling_argmax(logits, grid, basis=basis, temperature=temperature, formula="released", noise=noise)
    loss = 64 * (weight * (points - target).abs()).sum() / (points.shape[0] * weight.sum())
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(
        as_golden(points, arrays), torch.from_numpy(arrays["pred_jts" + ending]), rtol=0, atol=value
    )
    torch.testing.assert_close(loss.item(), arrays["loss" + ending].item(), rtol=5 * value, atol=5 * value)
    # The loss of this code is 64 times the 2D one's mean, and its gradient's rounding with it.
    expected = torch.from_numpy(arrays["grad_logits" + ending]).reshape(logits.shape)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=64 * slope if not ending else slope)
    evaluated = expected_position(logits.flatten(2).softmax(-1), grid)
    torch.testing.assert_close(evaluated, torch.from_numpy(arrays["eval_pred_jts" + ending]), rtol=0, atol=value)
    check_published_weights(arrays, ending, value, *released_weights(logits, grid, noise, temperature, basis))


# The page about sampling


def measurement():
    """docs/measure_sampling_variance.py as a module."""
    path = ROOT / "docs" / "measure_sampling_variance.py"
    spec = importlib.util.spec_from_file_location("measure_sampling_variance", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_variances_on_the_page_are_what_is_measured():
    script, rows = (
        measurement(),
        re.findall(r"^\| ([\d.]+) \|((?: [\d.]+ ± [\d.]+ \|)+)$", page("docs/sampling.md"), re.M),
    )
    assert [float(temperature) for temperature, _ in rows] == list(script.TEMPERATURES)
    for temperature, cells in rows:
        stated = [tuple(map(float, cell)) for cell in re.findall(r"([\d.]+) ± ([\d.]+)", cells)]
        for (formula, basis), (share, error) in zip(script.COLUMNS, stated, strict=True):
            found, spread = script.share_of_variance(formula, basis, float(temperature), num_samples=1000, seed=1)
            # Two independent measurements, 5 standard errors of their difference, and the rounding of the figures:
            # 16 comparisons at 6e-7 each if the errors are normal.
            assert abs(found - share) < 5 * math.hypot(spread, error) + 1e-4


def test_the_sessions_on_the_page_run():
    run_sessions(code_blocks(page("docs/sampling.md"), "python"), {})


def test_the_share_of_exact_draws_on_the_page():
    # The map's variance of 4 cells² per axis, and that of a triangle.
    assert f"{(4 + Triangular().variance) / 4:.3f}" == "1.042"
    assert "have 1.042" in page("docs/sampling.md")


# Errors

MAPS, SMALL = torch.zeros(2, 3, 5, 4), Grid((5, 4))
RIGHT = torch.full((6, 2, 3, 5, 4), 0.5)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: sampling_argmax(MAPS, (5, 4)),
            TypeError,
            "sampling_argmax: grid must be a heatpoint.Grid or heatpoint.Points, got tuple.",
        ),
        (
            lambda: sampling_argmax(MAPS.mT, SMALL),
            ValueError,
            "sampling_argmax: logits must end in the grid's shape (5, 4), got (2, 3, 4, 5). "
            "Check the order of the dimensions: maps are (*batch, *grid.shape), slowest axis first.",
        ),
        (
            lambda: sampling_argmax(MAPS, SMALL, formula="theirs"),
            ValueError,
            "sampling_argmax: formula must be one of paper, released, got 'theirs'.",
        ),
        (
            lambda: sampling_argmax(MAPS, SMALL, memory="lo"),
            ValueError,
            "sampling_argmax: memory must be one of low, normal, got 'lo'. Did you mean low?",
        ),
        (
            lambda: gumbel_softmax(MAPS, SMALL, temperature=0.0),
            ValueError,
            "gumbel_softmax: temperature must be a finite number greater than 0, got 0.0. "
            "It divides; towards 0 the draws become exact (formula 'paper').",
        ),
        (
            lambda: gumbel_max(MAPS, SMALL, num_samples=0),
            ValueError,
            "gumbel_max: num_samples must be at least 1, got 0.",
        ),
        (
            lambda: sampling_argmax(MAPS, SMALL, basis=None, noise=Noise(RIGHT), num_samples=5),
            ValueError,
            "sampling_argmax: num_samples must equal the number of recorded samples 6, got 5. "
            "Leave num_samples out to replay all of them.",
        ),
        (
            lambda: sampling_argmax(MAPS, SMALL, basis=None, noise=Noise(RIGHT[..., :3])),
            ValueError,
            "sampling_argmax: noise.gumbel_uniform must be (num_samples, 2, 3, 5, 4), got (6, 2, 3, 5, 3).",
        ),
        (
            lambda: sampling_argmax(MAPS, SMALL, basis=None, noise=Noise(RIGHT * 3)),
            ValueError,
            "sampling_argmax: noise.gumbel_uniform must lie in [0, 1), got values from 1.5 to 1.5.",
        ),
        (
            lambda: sampling_argmax(MAPS, SMALL, noise=Noise(RIGHT)),
            ValueError,
            "sampling_argmax: noise.offsets must hold one tensor per axis, 2, for a basis, got 0.",
        ),
        (
            lambda: sampling_argmax(MAPS, SMALL, noise=Noise(RIGHT, [RIGHT, RIGHT[..., 0]])),
            ValueError,
            "sampling_argmax: noise.offsets[1] must be (6, 2, 3, 5, 4), got (6, 2, 3, 5).",
        ),
        (
            lambda: sampling_argmax(MAPS, SMALL, formula="released", noise=Noise(RIGHT, [RIGHT, RIGHT])),
            ValueError,
            "sampling_argmax: noise.offsets[0] must be (6, 2, 3, 4), got (6, 2, 3, 5, 4).",
        ),
        (
            lambda: sampling_argmax(torch.zeros(11), Points(torch.zeros(11, 3)), formula="released"),
            ValueError,
            "sampling_argmax: formula must be 'paper' on Points, got 'released'. "
            "Unordered points have no axes to take marginals along.",
        ),
        (
            lambda: sampling_argmax(torch.zeros(11), Points(torch.zeros(11, 3))),
            ValueError,
            "sampling_argmax: basis must be Gaussian on Points, got Triangular(). "
            "Unordered points have no cells and no axes to be uniform or triangular over. Use Gaussian(sigma=…).",
        ),
        (
            lambda: sampling_argmax(torch.full((2, 5, 4), -torch.inf), SMALL),
            ValueError,
            "sampling_argmax: logits must leave at least one cell of every map possible, got a map whose logits are all "
            "−inf. Give such a point weight 0 and any finite map.",
        ),
        (
            lambda: _draws.default_generator(torch.device("meta")),
            ValueError,
            "sampling_argmax: generator must be given on this kind of device, got None. Give it: torch.Generator('meta').",
        ),
    ],
)
def test_error_texts(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"temperature": None},
            TypeError,
            "sampling_argmax: temperature must be a finite number greater than 0, got None",
        ),
        ({"num_samples": 2.5}, ValueError, "sampling_argmax: num_samples must be at least 1, got 2.5"),
        ({"num_samples": "2"}, TypeError, "sampling_argmax: num_samples must be at least 1, got '2'"),
        ({"noise": Noise([0.5])}, TypeError, "sampling_argmax: noise.gumbel_uniform must be a torch.Tensor, got list"),
    ],
)
def test_arguments_of_the_wrong_kind_are_named(options, error, text):
    with pytest.raises(error, match=re.escape(text)):
        sampling_argmax(MAPS, SMALL, **options)
    with pytest.raises(TypeError, match="sampling_argmax: logits must be a torch.Tensor, got ndarray"):
        sampling_argmax(np.zeros(SMALL.shape), SMALL)


def test_numbers_of_numpy_are_numbers():
    points = sampling_argmax(MAPS, SMALL, num_samples=np.int64(3), temperature=np.float32(0.5))
    assert points.shape == (3, *MAPS.shape[: -SMALL.ndim], SMALL.ndim)


def test_an_unknown_basis_is_reported_by_the_function_that_was_called():
    with pytest.raises(ValueError, match="sampling_argmax: basis must be one of"):
        sampling_argmax(MAPS, SMALL, basis="triangle")
