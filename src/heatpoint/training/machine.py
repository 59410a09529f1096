"""How a recipe runs on this machine: nothing of it is part of the recipe."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from heatpoint._checks import check_whole, message, one_of

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")  # All keep coordinates in float32; a lower true precision would not.
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")


@dataclass(frozen=True)
class Machine:
    """Processes, precision and devices."""

    workers: int = 0
    """Processes that prepare samples. 0: the training process itself."""
    precision: str = "32-true"
    """32-true, 16-mixed or bf16-mixed. Coordinates are float32 in each."""
    accelerator: str = "auto"
    """cpu, gpu, mps … auto: the best there is."""
    devices: str = "auto"
    """How many devices, or their indices."""
    strategy: str = "auto"
    """Lightning's strategy: auto, ddp …"""

    @property
    def device(self) -> str:
        """Where to score what was trained: the accelerator, or else the CPU.

        >>> Machine(accelerator="cpu").device
        'cpu'
        """
        if self.accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available():
            first = self.devices.split(",")[0].strip()
            return f"cuda:{first}" if "," in self.devices and first.isdigit() else "cuda"
        return "mps" if self.accelerator == "mps" else "cpu"

    def check(self) -> None:
        """Raises ValueError if a field cannot be as it is anywhere."""
        check_whole("train", "--workers", self.workers, "be at least 0", least=0)
        one_of("train", "--precision", self.precision, PRECISIONS)
        one_of("train", "--accelerator", self.accelerator, ACCELERATORS)


def is_first_process() -> bool:
    """Whether this process is the one of a run that writes files.

    Lightning starts the other processes of a run as the same program, with their number in LOCAL_RANK.
    """
    return int(os.environ.get("LOCAL_RANK", "0")) == 0 and int(os.environ.get("NODE_RANK", "0")) == 0


def check_device(function: str, device: torch.device | str) -> torch.device:
    """The device by name, after a look whether this machine has it.

    Raises:
        ValueError: If it has none of that name.

    >>> check_device("evaluate", "cpu")
    device(type='cpu')
    """
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        remedy = f"{reason}. Leave --device out to use the cpu."
        raise ValueError(message(function, "--device", "be one that this machine has", repr(device), remedy)) from None
    return found
