"""The machine, in the words that stand beside every table."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from benchmarks.peers import revision

ROOT = Path(__file__).resolve().parents[1]


def machine() -> dict[str, str]:
    """What a figure depends on: processor, cores, versions, commit."""
    import torch

    from heatpoint.kernels._library import library

    return {
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "instructions": library().best_instruction_set or "no native kernels",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": revision(str(ROOT)),
    }


def processor() -> str:
    """The processor's name, with family and model where the name says little."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    name = found.get("model name", platform.machine())
    return f"{name} (family {found['cpu family']}, model {found['model']})" if "cpu family" in found else name
