"""Peak memory of a fresh process, as `python -m benchmarks` measures it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from pages import ROOT


def peak_of(operation: str, form: str) -> float:
    """The peak of one step of loss and gradient, in multiples of the maps."""
    task = {"section": "peak", "operation": operation, "form": form, "size": "full", "peers": {}}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.worker", json.dumps(task)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(json.loads(done.stdout)["multiple"])
