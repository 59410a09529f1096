"""Gradients of forms that have no second one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Once(torch.autograd.Function):
    """`apply(function, form, gradient, *depends_on)`: the gradient as it is, whose own gradient is an error.

    Made without a graph, it would be a constant to autograd: a penalty on it would have no effect, and nobody would know.
    """

    @staticmethod
    def forward(ctx: Any, function: str, form: str, gradient: Tensor, *depends_on: Tensor) -> Tensor:
        """The gradient."""
        ctx.names = function, form
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *slope: Tensor) -> tuple[Tensor | None, ...]:
        """Raises."""
        function, form = ctx.names
        raise RuntimeError(
            f"{function}: the {form} kernel makes first derivatives only, got a second backward pass. "
            'Use the torch form for it: heatpoint.kernels.use("torch").'
        )
