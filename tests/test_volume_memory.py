"""What a training step on volumes needs: benchmarks/volume_memory.py in a fresh process."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from pages import ROOT


def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("volume_memory", ROOT / "benchmarks" / "volume_memory.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_benchmark_measures_a_process_of_its_own() -> None:
    found = benchmark().measure(1, 2, 8, 3, "paper", "low")
    assert found["peak"] >= found["before"] > 2**27
    assert found["loss"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("formula", ["paper", "released"])
def test_a_step_on_volumes_of_64_stays_under_6_gigabytes(formula: str) -> None:
    """B = 4, K = 18, 64 x 64 x 64 cells, 10 samples, loss and gradient on the CPU, all of the process."""
    found = benchmark().measure(4, 18, 64, 10, formula, "low")
    assert found is not None
    assert found["peak"] < 6e9
