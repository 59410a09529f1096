"""The public names and their signatures, compared with tests/api_snapshot.txt; and what `import heatpoint` costs.

After a change that is meant, write the snapshot again and read its difference before committing:

    python tests/test_public_api.py --write
"""

from __future__ import annotations

import builtins
import difflib
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import heatpoint

SNAPSHOT = Path(__file__).with_name("api_snapshot.txt")
MODULES = [
    "basis",
    "confidence",
    "density",
    "expectation",
    "frames",
    "localizers",
    "readout",
    "regularizers",
    "rounding",
    "sampling",
    "schedules",
    "scores",
    "support",
]


def _names(module) -> list[str]:
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(listed)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (
            getattr(value, "__module__", None) == module.__name__
            or (name.isupper() and isinstance(value, dict | tuple))
        )
    )


def _signature(value) -> str:
    try:
        # Some versions of Python print a NamedTuple's annotations as what they are made of.
        return re.sub(r"ForwardRef\(('\w+')[^)]*\)", r"\1", str(inspect.signature(value)))
    except (TypeError, ValueError):
        return ""


def _describe(prefix: str, value: object) -> list[str]:
    home = str(getattr(value, "__module__", "")).removeprefix("heatpoint.")
    if home in MODULES and home != prefix.partition(".")[0]:
        return [f"{prefix} is {home}.{value.__name__}"]
    if isinstance(value, dict | tuple):
        return [f"{prefix} = {', '.join(map(str, value))}"]
    if not inspect.isclass(value):
        return [f"{prefix}{_signature(value) if inspect.isroutine(value) else ''}"]
    lines = [f"class {prefix}{_signature(value)}"]
    for name in sorted(n for kind in value.__mro__[:-1] if kind.__module__.startswith("heatpoint") for n in vars(kind)):
        member = inspect.getattr_static(value, name)
        if name.startswith("_") or any(line.startswith(f"    .{name}(") or line == f"    .{name}" for line in lines):
            continue
        routine = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        lines.append(f"    .{name}{_signature(routine) if inspect.isroutine(routine) else ''}")
    return lines


def snapshot() -> str:
    lines = ["heatpoint: " + ", ".join(sorted(heatpoint.__all__))]
    for name in MODULES:
        module = importlib.import_module(f"heatpoint.{name}")
        for public in _names(module):
            lines += _describe(f"{name}.{public}", getattr(module, public))
    return "\n".join(lines) + "\n"


def test_public_names_and_signatures_are_those_of_the_snapshot():
    kept, now = SNAPSHOT.read_text(encoding="utf-8").splitlines(), snapshot().splitlines()
    difference = "\n".join(difflib.unified_diff(kept, now, "tests/api_snapshot.txt", "the package", lineterm="", n=0))
    assert not difference, (
        f"the public face changed; if it is meant: python tests/test_public_api.py --write\n{difference}"
    )


def test_every_public_name_is_there_and_documented():
    for name in heatpoint.__all__:
        assert name in dir(heatpoint)
        if name != "Predictor":
            assert (getattr(heatpoint, name).__doc__ or "").strip(), name
    assert set(MODULES) < set(heatpoint.__all__)


PROBE = """
import os, sys, time, warnings
import numpy, torch
warnings.simplefilter("error")

def state():
    return (
        torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed(), torch.get_rng_state().sum().item(),
        torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision(),
        torch.backends.cudnn.benchmark, list(warnings.filters), dict(os.environ), numpy.geterr(),
        str(numpy.random.get_state()), list(sys.path),
    )

before, loaded = state(), set(sys.modules)
start = time.perf_counter()
import heatpoint
seconds = time.perf_counter() - start
added = {name.partition(".")[0] for name in set(sys.modules) - loaded} - set(sys.stdlib_module_names)
print(seconds)
print(sorted(added - {"heatpoint", "torch", "numpy"}))
print(state() == before)
heatpoint.rounding, heatpoint.readout, heatpoint.scores, heatpoint.regularizers, heatpoint.sampling
heatpoint.confidence, heatpoint.localizers, heatpoint.support, heatpoint.basis, heatpoint.density
print("heatpoint.inference" in sys.modules)
heatpoint.metrics
print("torchmetrics" in sys.modules)
"""


def test_import_is_quick_loads_nothing_else_and_leaves_no_trace():
    # The best of five: the machine may be busy, the import itself is not slower for it.
    runs = []
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, timeout=120)
        seconds, others, untouched, inference, torchmetrics = done.stdout.splitlines()
        assert (others, untouched, inference, torchmetrics, done.stderr) == ("[]", "True", "False", "False", "")
        runs.append(float(seconds))
        if runs[-1] < 0.2:
            break
    assert min(runs) < 0.2


def test_predictor_is_loaded_when_asked_for():
    pytest.importorskip("lightning")
    assert heatpoint.Predictor is importlib.import_module("heatpoint.inference").Predictor


def _without(monkeypatch, missing: str) -> None:
    monkeypatch.delitem(sys.modules, "heatpoint.inference", raising=False)
    real = builtins.__import__

    def guarded(name, *args, **kwargs):
        if name == "heatpoint.inference":
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", guarded)


def test_predictor_without_the_extra_says_what_to_install(monkeypatch):
    _without(monkeypatch, "timm")
    text = (
        r"heatpoint.Predictor needs the package 'timm', which is not installed. Run: pip install 'heatpoint\[train\]'"
    )
    with pytest.raises(ImportError, match=text):
        _ = heatpoint.Predictor


def test_a_fault_of_our_own_is_not_blamed_on_the_extra(monkeypatch):
    _without(monkeypatch, "heatpoint.inference")
    with pytest.raises(ModuleNotFoundError, match="No module named 'heatpoint.inference'"):
        _ = heatpoint.Predictor


def test_metrics_are_there_without_an_import_of_their_own():
    assert heatpoint.metrics is importlib.import_module("heatpoint.metrics")
    assert heatpoint.metrics.functional is importlib.import_module("heatpoint.metrics.functional")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'heatpoint' has no attribute 'Predicto'"):
        _ = heatpoint.Predicto


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    SNAPSHOT.write_text(snapshot(), encoding="utf-8")
