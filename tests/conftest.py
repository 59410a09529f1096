"""Shared fixtures: golden numbers and real data, skipped with a reason where they are absent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def value_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks of tensor values are on in tests."""
    monkeypatch.setenv("HEATPOINT_CHECK", "1")


@pytest.fixture
def goldens() -> Callable[[str], dict[str, np.ndarray]]:
    """Loads one file of golden numbers by its name without the ending."""

    def load(name: str) -> dict[str, np.ndarray]:
        path = SHARED / "goldens" / f"{name}.npz"
        if not path.exists():
            pytest.skip("golden numbers are absent: they lie beside the checkout, in shared/goldens")
        with np.load(path) as arrays:
            return dict(arrays)

    return load


@pytest.fixture
def data_root() -> Path:
    """The folder of real data sets: HEATPOINT_DATA, or shared/data beside the checkout."""
    root = Path(os.environ.get("HEATPOINT_DATA") or SHARED / "data")
    if not root.exists():
        pytest.skip("real data is absent: set HEATPOINT_DATA to a folder that holds faces300w, mtfl, …")
    return root


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The files of a finished tiny run; not to be changed. Imported late: tests of the mathematics need no Lightning."""
    from runs import train_tiny

    return train_tiny(tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def model_path(trained_run: Any) -> Path:
    """The best weights of the tiny run."""
    return Path(trained_run.paths["best"])
