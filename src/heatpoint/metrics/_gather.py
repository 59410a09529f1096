"""What metrics keep of their samples: put together over batches and processes, of which some may have seen nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

from heatpoint._checks import message


def rows_of(metric: Metric, state: Sequence[Tensor] | Tensor) -> Tensor:
    """The rows of a state: a list of batches, or one tensor once processes are joined.

    Raises:
        ValueError: If nothing was added.
    """
    if not len(state) and not isinstance(state, Tensor):
        name, remedy = type(metric).__name__, "Call update with the predictions of a batch before compute."
        raise ValueError(message(f"{name}.compute", "samples", "be added first", "none", remedy))
    rows: Tensor = dim_zero_cat(state)
    return rows


def gather_processes(values: Tensor, group: Any = None) -> list[Tensor]:
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
