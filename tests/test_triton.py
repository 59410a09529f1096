"""The Triton kernels without a GPU: run by Triton's interpreter, and compiled for a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from heatpoint.kernels import _triton
from heatpoint.support import Grid

HERE = Path(__file__).resolve().parent
needs_triton = pytest.mark.skipif(not _triton.is_installed(), reason="Triton is not installed")
POINTERS = {"seed_of_call": "*i64", "cloud_of_map": "*i64", "mosts": "*fp64"}
WHOLE = ("num_cells", "num_samples", "num_parts", "length_x", "length_y", "length_z")
REAL = ("exponent", "rest", "scale")
ABSENT = {"cloud_of_map": None, "centers": None, "axis_weight": None}
CHOICES = {
    "D": 3,
    "BASIS": 3,
    "DISTANCE": 1,
    "IS_PAPER": True,
    "IS_GRID": True,
    "IS_WEIGHTED": False,
    "HAS_CLOUDS": False,
    "WANTS_GRADIENT": True,
    "QUADS": 256,
    "PARTS": 64,
}


@needs_triton
def test_interpreted() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "interpreted_triton.py")]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, cwd=HERE.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


@needs_triton
@pytest.mark.skipif(sys.platform != "linux", reason="Triton compiles on Linux only")
@pytest.mark.parametrize("power", [3, 4])
@pytest.mark.parametrize("kernel", ["whole_rows", "part_sums", "joined_parts", "part_gradients"])
def test_compiled_for_a_gpu(kernel: str, power: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The interpreter takes Python that the compiler does not, so both have to.
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from heatpoint.kernels import _triton_kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    function = getattr(_triton_kernels, kernel)
    constants = {
        name: value for name, value in {**CHOICES, **ABSENT, "POWER": power}.items() if name in function.arg_names
    }
    if power != _triton.LOGARITHMIC and "mosts" in function.arg_names:
        constants["mosts"] = None
    signature = {name: "constexpr" if name in constants else _type(name, power) for name in function.arg_names}
    made = compile(
        ASTSource(fn=function, signature=signature, constexprs=constants),
        target=GPUTarget("cuda", 90, 32),
        options={"num_warps": 4, "enable_fp_fusion": True},
    )
    assert made.asm["cubin"]
    # All that is done for each sample keeps to one layout: nothing of the size of a tile goes through shared memory.
    loop = made.asm["ttgir"].partition("scf.for")[2].partition("scf.yield")[0]
    assert loop
    assert "convert_layout" not in loop


def _type(name: str, power: int) -> str:
    if name in REAL or name.startswith(("stride_", "unit_", "middle_")):
        return "fp32"
    if name in ("sums", "slopes") and power == _triton.LOGARITHMIC:
        return "*fp64"
    return "i32" if name in WHOLE else POINTERS.get(name, "*fp32")


def test_the_cpu_is_an_obstacle() -> None:
    found = _triton.obstacle(
        torch.zeros(5), Grid((5,)), basis=None, formula="paper", temperature=1.0, sign_gradient=False
    )
    assert found
    if not _triton.why_not_here():
        assert found == "the logits are on cpu"
