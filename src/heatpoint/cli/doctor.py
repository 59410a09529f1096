"""`heatpoint doctor`: what this installation can do, and why not where it cannot."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

import tyro

PACKAGES = (
    "torch",
    "numpy",
    "torchvision",
    "lightning",
    "timm",
    "torchmetrics",
    "opencv-python-headless",
    "scipy",
    "plotly",
)


@dataclass(frozen=True)
class DoctorCommand:
    """Say which versions, devices and fast forms of the hot operations there are, and why others are not."""


def run(arguments: Sequence[str]) -> None:
    """Runs the verb."""
    tyro.cli(DoctorCommand, prog="heatpoint doctor", args=list(arguments))
    print("\n".join(report()))


def report() -> list[str]:
    """The lines that the verb prints."""
    import torch

    from heatpoint import __version__, kernels

    lines = [f"heatpoint {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"]
    lines += [f"  {name} {_version(name)}" for name in PACKAGES]
    devices = [f"cpu, {torch.get_num_threads()} threads"]
    devices += [f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count())]
    lines += [f"devices: {'; '.join(devices)}", f"kernels, set to {kernels.current()!r}:"]
    lines += [
        f"  {name}: {f'not available: {reason}' if reason else 'available'}"
        for name, reason in kernels.available().items()
    ]
    root = os.environ.get("HEATPOINT_DATA")
    lines.append(
        f"HEATPOINT_DATA: {root or 'not set'}{'' if not root or os.path.isdir(root) else ', which is no folder'}"
    )
    return lines


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "is not installed"
