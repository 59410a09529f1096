"""How one call of sampling-argmax is computed: its arguments, checked, and the form that takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from heatpoint._sampling_arguments import check_choices, checked_basis, shared_draw
from heatpoint.kernels import choose, fused
from heatpoint.kernels._shared_draws import Draw, check_clouds, maps_per_group
from heatpoint.support import Support, check_support


@dataclass(frozen=True, eq=False)
class Plan:
    """A call that is about to be computed.

    Args:
        function: Name of the caller, for error texts.
        support: Grid or Points.
        flat: Logits (*batch, cells).
        shared: What maps share, None where they do not.
        form: The form that takes the call.
        drawn: The arguments of `heatpoint.sampling_argmax` beside logits and grid; the basis is a Basis or None.
    """

    function: str
    support: Support
    flat: Tensor
    shared: Draw | None
    form: str
    drawn: Mapping[str, Any]

    @property
    def is_lattice(self) -> bool:
        """Whether draws are lattices over the samples."""
        return isinstance(self.drawn["noise"], str) and self.drawn["noise"] == "lattice"

    def fused_options(self) -> dict[str, Any]:
        """What a fused form's functions are given beside maps and targets.

        Raises:
            ValueError: If num_samples is below 1, or maps that share their draws lie on different clouds.
        """
        given = {key: self.drawn[key] for key in ("basis", "formula", "temperature", "generator")}
        number = fused.checked_count(self.function, self.drawn["num_samples"])
        if self.shared is not None:
            check_clouds(self.shared)
            given["maps_per_group"] = maps_per_group(self.shared, self.flat.shape[:-1])
        return {"function": self.function, "num_samples": number, "is_lattice": self.is_lattice, **given}


def plan_of(function: str, logits: Tensor, grid: Support, *, weight: Tensor | None = None, **drawn: Any) -> Plan:
    """Checks the arguments of `heatpoint.sampling_argmax` and chooses the form.

    Args:
        function: Name of the caller, for error texts.
        logits: (*batch, *grid.shape).
        grid: Grid or Points.
        weight: What else goes in beside logits and targets: only the torch form makes its gradient.
        drawn: The other arguments of `heatpoint.sampling_argmax`, all of them.

    Raises:
        ValueError: As `heatpoint.sampling_argmax`, or if the form that is set cannot compute the call.
    """
    check_support(function, grid)
    check_choices(function, drawn["temperature"], drawn["formula"], drawn["memory"])
    drawn = {**drawn, "basis": checked_basis(function, drawn["basis"], grid, drawn["formula"])}
    shared = shared_draw(function, logits, grid, **drawn)
    flat = grid.flatten(function, logits)
    form = choose(function, fused.obstacles(flat, grid, shared, weight=weight, **drawn))
    return Plan(function, grid, flat, shared, form, drawn)
