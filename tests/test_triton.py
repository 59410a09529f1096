"""The Triton kernels without a GPU: run by Triton's interpreter, and compiled for a GPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from heatpoint.kernels import _triton, _triton_call
from heatpoint.support import Grid

HERE = Path(__file__).resolve().parent
needs_triton = pytest.mark.skipif(
    not _triton.version() or _triton.version() < _triton.OLDEST_TRITON, reason="Triton is not installed, or old"
)
D = 2
TYPES: dict[str, Any] = {
    **dict.fromkeys(("num_cells", "num_samples", "num_parts"), "i32"),
    **dict.fromkeys(("strides", "units", "middle"), ("fp32",) * D),
    "lengths": ("i32",) * D,
    "sharpness": ("fp32", "fp32"),
    "scale": "fp32",
    "seed_of_call": "*i64",
    "mosts": "*fp64",
}
ABSENT = ("cloud_of_map", "centers", "axis_weight")
FIXED = {"D": D, "BASIS": 2, "DISTANCE": 1, "QUADS": 256, "PARTS": 64}


def interpreted(marks: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marks]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [*command, str(HERE / "interpreted_triton.py")],
        env=environment,
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


@needs_triton
def test_interpreted() -> None:
    interpreted("not slow")


@needs_triton
@pytest.mark.slow
def test_interpreted_wholly() -> None:
    interpreted("slow")


CASES = [
    (kernel, power, formula, wants)
    for kernel in ("whole.whole_rows", "parts.part_sums", "parts.joined_parts", "parts.part_gradients")
    for power in (_triton_call.GENERAL, _triton_call.LOGARITHMIC)
    for formula in ("paper", "released")
    for wants in ("loss", "samples", "their gradient")
]
QUICK = [
    ("whole.whole_rows", _triton_call.GENERAL, "released", "loss"),
    ("whole.whole_rows", _triton_call.LOGARITHMIC, "paper", "their gradient"),
    ("parts.part_sums", _triton_call.LOGARITHMIC, "paper", "loss"),
    ("parts.joined_parts", _triton_call.GENERAL, "released", "samples"),
    ("parts.part_gradients", _triton_call.GENERAL, "released", "loss"),
]


@needs_triton
@pytest.mark.skipif(sys.platform != "linux", reason="Triton compiles on Linux only")
@pytest.mark.parametrize(
    ("kernel", "power", "formula", "wants"),
    [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in CASES],
)
def test_compiled_for_a_gpu(
    kernel: str, power: int, formula: str, wants: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The interpreter takes Python that the compiler does not, so both have to.
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    made = compiled(kernel, power, formula, wants)
    # All that is done for each sample keeps to one layout: nothing of the size of a tile goes through shared memory.
    loop = made.asm["ttgir"].partition("scf.for")[2].partition("scf.yield")[0]
    assert loop
    assert "convert_layout" not in loop
    # Sums of floats in the order in which programs come would not be the same twice.
    assert not re.search(r"\b(atom|red)\.", made.asm["ptx"])
    if formula == "released" and kernel != "parts.joined_parts":
        # What some threads of a program write of an axis, others read.
        steps = re.findall(r"bar\.sync|(?:st|ld)\.global", made.asm["ptx"].partition("$L__BB0_2:")[2])
        order = [step for number, step in enumerate(steps) if not number or steps[number - 1] != step]
        assert order[:4] == ["bar.sync", "st.global", "bar.sync", "ld.global"]


def compiled(kernel: str, power: int, formula: str, wants: str) -> Any:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from heatpoint.kernels._gpu import parts, whole

    room, name = kernel.split(".")
    function = getattr({"whole": whole, "parts": parts}[room], name)
    is_released = formula == "released"
    constants = {**FIXED, "POWER": power, "IS_PAPER": not is_released, "WEIGHS": is_released}
    constants["LINE"] = 64 * is_released
    absent = {*ABSENT} if wants != "samples" else {*ABSENT, "logits_gradient", "slopes", "sample_gradient"}
    absent |= {"samples", "sample_gradient"} if wants == "loss" else {"target", "loss", "target_gradient"}
    absent |= {"samples"} if wants == "their gradient" else set()
    absent |= set() if is_released else {"lines"}
    types = {**TYPES}
    if power == _triton_call.LOGARITHMIC:
        types |= {"sums": "*fp64", "slopes": "*fp64"}
    else:
        absent.add("mosts")
    if name == "part_gradients":
        absent -= {"logits_gradient", "slopes"}
    constants |= dict.fromkeys(absent)
    constants = {key: value for key, value in constants.items() if key in function.arg_names}
    signature = {key: "constexpr" if key in constants else types.get(key, "*fp32") for key in function.arg_names}
    return compile(
        ASTSource(fn=function, signature=signature, constexprs=constants),
        target=GPUTarget("cuda", 90, 32),
        options={"num_warps": 4, "enable_fp_fusion": True},
    )


def test_the_cpu_is_an_obstacle() -> None:
    found = _triton.obstacle(
        torch.zeros(5), Grid((5,)), basis=None, formula="paper", temperature=1.0, sign_gradient=False
    )
    assert found == "the logits are on cpu"


def test_why_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(_triton, "version", lambda: ())
    assert _triton.why_not_here() == "Triton is not installed; it comes with torch for CUDA"
    monkeypatch.setattr(_triton, "version", lambda: (3, 2))
    assert _triton.why_not_here() == "Triton 3.2 is older than 3.3"
    monkeypatch.setattr(_triton, "version", lambda: _triton.OLDEST_TRITON)
    wanted = "" if torch.cuda.is_available() else "there is no CUDA device"
    if torch.version.hip is None:
        assert _triton.why_not_here() == wanted


def test_nothing_on_the_cpu_imports_triton() -> None:
    program = (
        "import sys, torch; before = 'triton' in sys.modules\n"
        "from heatpoint import Grid, kernels\n"
        "from heatpoint.scores import expected_error\n"
        "kernels.available()\n"
        "maps = torch.zeros(2, 5, requires_grad=True)\n"
        "expected_error(maps, Grid((5,)), torch.ones(2, 1), num_samples=2).sum().backward()\n"
        "assert before or 'triton' not in sys.modules\n"
        "assert not any(name.startswith('heatpoint.kernels._gpu') for name in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
