"""Maps for the tests of the native kernels, and the instruction sets that they run on."""

from __future__ import annotations

import torch
from torch import Tensor

from heatpoint.kernels._library import INSTRUCTION_SETS, library

# Those that the library and this processor share.
PRESENT = INSTRUCTION_SETS[1 : 1 + INSTRUCTION_SETS.index(library().best_instruction_set or "auto")]


def random_maps(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
