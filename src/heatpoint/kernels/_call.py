"""One call of the native kernel of sampling-argmax, without autograd: tensors handed over to it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from heatpoint._distances import Distance
from heatpoint._relaxed import Formula
from heatpoint.basis import Basis, Gaussian
from heatpoint.kernels._library import INSTRUCTION_SETS, InstructionSet, SamplingCall, address, cloud_of_map, run
from heatpoint.support import Grid, Support

BASES = {"uniform": 1, "triangular": 2, "gaussian": 3}
FORMULAS = {"paper": 0, "released": 1}
DISTANCES: dict[Distance, int] = {"l1": 0, "l2": 1, "smooth_l1": 2, "squared": 3}


@dataclass(frozen=True)
class Law:
    """What is drawn, and from which noise.

    The noise is Philox4x32-7 (native/philox.hpp) with the key `seed` and the counter (quad of cells, sample, map, stream); stream
    0 makes the Gumbel draws, 1 and 2 the basis's offsets, 3 what those of a sample share, which stands in the quad's place there
    (native/sampling_offsets.hpp). Or it is a lattice over the samples (native/noise.hpp). Maps that share their noise have their
    group's number in place of the map's.

    Args:
        seed: 64 bits: a number, or for the kernels that read it where it is a () int64.
        num_samples: S.
        basis: Sub-distribution of a cell, or None.
        temperature: τ.
        formula: "paper" or "released".
        order: 0, or the prime order of the lattices, see `heatpoint._lattice_draws.order_of`.
        maps_per_group: How many neighbouring maps have one noise, of which all groups have as many; not with an order, nor on
            different clouds.
    """

    seed: int | Tensor
    num_samples: int
    basis: Basis | None = None
    temperature: float = 1.0
    formula: Formula = "paper"
    order: int = 0
    maps_per_group: int = 1


@dataclass(frozen=True)
class Sampled:
    """What one call of the kernel returns; None where it was not asked for."""

    loss: Tensor | None
    logits_gradient: Tensor | None
    target_gradient: Tensor | None
    samples: Tensor | None
    num_forbidden: int = 0
    num_undefined: int = 0


def sample(
    logits: Tensor,
    support: Support,
    law: Law,
    *,
    target: Tensor | None = None,
    axis_weight: Tensor | None = None,
    sample_gradient: Tensor | None = None,
    distance: Distance = "l1",
    wants_gradient: bool = False,
    wants_samples: bool = False,
    num_threads: int | None = None,
    instruction_set: InstructionSet = "auto",
) -> Sampled:
    """One call of the kernel: arguments are those of `heatpoint.sampling.sampling_argmax` and of its error.

    Results do not depend on the number of threads.

    Args:
        logits: (*batch, cells) float32 on the CPU, −inf for a forbidden cell.
        support: A Grid without cyclic axes, or Points.
        law: What is drawn.
        target: (*batch, D); with it the loss is made.
        axis_weight: (*batch, D).
        sample_gradient: (S, *batch, D), in place of the distance's slope: the gradient is that of Σ samples · sample_gradient.
        distance: As in `heatpoint.scores.expected_error`.
        wants_gradient: Whether gradients are made, of each map's own loss.
        wants_samples: Whether the points are returned.
        num_threads: None is torch.get_num_threads().
        instruction_set: For tests: which of the forms runs.

    Returns:
        The loss (*batch), its gradients in the shapes of logits and target, samples (S, *batch, D).

    Raises:
        RuntimeError: If there is no library, no memory, or the call is not one the kernel knows.
    """
    batch, ndim = logits.shape[:-1], support.ndim
    logits, per_map = _plain(logits), (*batch, ndim)
    target = None if target is None else _plain(target.expand(per_map))
    axis_weight = None if axis_weight is None else _plain(axis_weight.expand(per_map))
    if sample_gradient is not None:
        sample_gradient = _plain(sample_gradient.expand(law.num_samples, *per_map))
    result = Sampled(
        loss=None if target is None else logits.new_empty(batch),
        logits_gradient=torch.empty_like(logits) if wants_gradient else None,
        target_gradient=torch.empty_like(target) if wants_gradient and target is not None else None,
        samples=logits.new_empty(law.num_samples, *batch, ndim) if wants_samples else None,
    )
    call = SamplingCall(
        logits=logits.data_ptr(),
        target=address(target),
        axis_weight=address(axis_weight),
        sample_gradient=address(sample_gradient),
        loss=address(result.loss),
        logits_gradient=address(result.logits_gradient),
        target_gradient=address(result.target_gradient),
        samples=address(result.samples),
        num_maps=batch.numel(),
        num_cells=logits.shape[-1],
        distance=DISTANCES[distance],
        num_threads=torch.get_num_threads() if num_threads is None else num_threads,
        isa=INSTRUCTION_SETS.index(instruction_set),
    )
    _set_law(call, law)
    kept = _set_support(call, support, tuple(batch))
    run(call, batch.numel())
    del kept
    return replace(result, num_forbidden=int(call.num_forbidden), num_undefined=int(call.num_undefined))


def _set_law(call: SamplingCall, law: Law) -> None:
    call.num_samples = law.num_samples
    call.temperature = law.temperature
    call.sigma = law.basis.scale if isinstance(law.basis, Gaussian) else 1.0
    call.seed = law.seed
    call.modulus = law.order
    call.maps_per_group = law.maps_per_group
    call.basis = 0 if law.basis is None else BASES[law.basis.name]
    call.formula = FORMULAS[law.formula]


def _set_support(call: SamplingCall, support: Support, batch: tuple[int, ...]) -> tuple[Tensor | None, ...]:
    """Returns the tensors to which the call points now: they must outlive it."""
    call.ndim = support.ndim
    for axis in range(3):
        is_axis = isinstance(support, Grid) and axis < support.ndim
        call.lengths[axis] = support.lengths[axis] if isinstance(support, Grid) and is_axis else 1
        call.strides[axis] = support.strides[axis] if isinstance(support, Grid) and is_axis else 1.0
        call.offsets[axis] = support.offsets[axis] if isinstance(support, Grid) and is_axis else 0.0
    if isinstance(support, Grid):
        return ()
    points, clouds = _plain(support.xyz), cloud_of_map(support.xyz.shape[:-2], batch)
    call.points, call.cloud_of_map = address(points), address(clouds)
    return points, clouds


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float32).contiguous()
