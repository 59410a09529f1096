"""Joining what several processes have seen, of which some may have seen nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors


def gather_rows(values: Tensor, group: Any = None) -> list[Tensor]:
    """The rows (n, …) of every process: `dist_sync_fn` of all metrics here, whose states are rows to be concatenated.

    For a process without a sample torchmetrics makes an empty vector of float32, whatever the others hold, and where that
    is of another form, the processes send each other other sizes than they await: it hangs or dies. Here such a process
    takes the others' form first.
    """
    forms: list[Any] = [None] * torch.distributed.get_world_size(group)
    torch.distributed.all_gather_object(forms, (len(values) > 0, values.shape[1:], values.dtype), group=group)
    if not len(values):
        _, rest, dtype = max(forms, key=lambda form: (form[0], len(form[1])))
        values = values.new_zeros((0, *rest), dtype=dtype)
    return list(gather_all_tensors(values, group))
