"""How a recipe runs on this machine: nothing of it is part of the recipe."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """Processes, precision and devices."""

    workers: int = 0
    """Processes that prepare images. 0: the training process itself."""
    precision: str = "32-true"
    """Lightning's precision: 32-true, 16-mixed, bf16-mixed …"""
    accelerator: str = "auto"
    """cpu, gpu, mps … auto: the best there is."""
    devices: str = "auto"
    """How many devices, or their indices."""
    strategy: str = "auto"
    """Lightning's strategy: auto, ddp …"""
