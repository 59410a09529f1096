"""The mean position under a softmax, without the map of its weights where a native kernel makes it."""

from __future__ import annotations

from torch import Tensor

from heatpoint._numerics import log_probabilities, probabilities
from heatpoint.expectation import expected_position
from heatpoint.kernels import choose
from heatpoint.kernels._native_softmax import mean_position, why_not_mean
from heatpoint.support import Support


def soft_position(
    function: str, flat: Tensor, support: Support, *, temperature: float = 1.0, sign_gradient: bool = False
) -> Tensor:
    """`expected_position` of softmax(flat / temperature), (*batch, D), for flat maps (*batch, cells), at least float32.

    Raises:
        ValueError: As `heatpoint._numerics.probabilities` does, on behalf of the caller `function`.
    """

    def plain(maps: Tensor) -> Tensor:
        weights = probabilities(function, maps if temperature == 1 else maps / temperature)
        return expected_position(weights, support, sign_gradient=sign_gradient)

    obstacle = why_not_mean(flat, support, temperature=temperature, sign_gradient=sign_gradient)
    if choose(function, {"native": obstacle}) != "native":
        return plain(flat)
    points = mean_position(flat, support, temperature=temperature, plain=plain)
    if bool(points.isnan().any()):
        # Says which maps have no distribution, as the torch form does.
        log_probabilities(function, flat.detach())
    return points
