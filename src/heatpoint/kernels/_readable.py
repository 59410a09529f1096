"""Which tensors a kernel can be handed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from heatpoint._checks import is_traced

TRACED = "torch traces or transforms the call"


def unreadable(tensor: Tensor) -> str:
    """Why a kernel cannot take a tensor's numbers from memory, "" if it can.

    It cannot where torch compiles, traces, maps over a dimension or makes derivatives as it goes forward, nor of subclasses,
    which may hold anything. The device is not looked at.

    >>> unreadable(torch.zeros(2))
    ''
    """
    is_own = type(tensor) in (Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
    is_dual = getattr(forward_ad, "_current_level", -1) >= 0
    return "" if is_own and not (is_dual or is_traced()) and _has_numbers(tensor) else TRACED


def _has_numbers(tensor: Tensor) -> bool:
    """False within torch.autograd.grad(is_grads_batched=True), which maps by older means than torch.func."""
    try:
        tensor.data_ptr()
    except RuntimeError:
        return False
    return True
