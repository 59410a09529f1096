"""The Triton kernels without a GPU: run by Triton's interpreter, and compiled for a GPU."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from heatpoint.basis import Basis, Gaussian, Triangular, Uniform
from heatpoint.kernels import _replayed, _triton
from heatpoint.kernels._triton_call import LONGEST_AXES, Call
from heatpoint.kernels._triton_launch import run
from heatpoint.support import Grid, Points, Support

HERE = Path(__file__).resolve().parent
PACKAGE = Path(_triton.__file__).resolve().parents[1]
needs_triton = pytest.mark.skipif(
    not _triton.version() or _triton.version() < _triton.OLDEST_TRITON, reason="Triton is not installed, or old"
)
# ptxas keeps a few values in memory even where registers are left; rows that do not fit take hundreds of bytes.
ALLOWED_STACK = 32
GRID, CLOUD = Grid((1, 600), stride=(1, 4)), Points(torch.zeros(1, 2, 600, 3))


def interpreted(marks: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marks]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [*command, *map(str, sorted(HERE.glob("interpreted_triton_*.py")))],
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


class Target:
    """Stands in for the driver of a GPU that is not here; Triton asks it what to compile for."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What is compiled, instead of run, of kernels that are launched."""
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    made: list[Any] = []

    def compile_only(kernel: Any, grid: tuple[int, ...]) -> Any:
        return lambda *given, **options: made.append((kernel, kernel.warmup(*given, grid=grid, **options)))

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(JITFunction, "__getitem__", compile_only)
    before = driver._active
    driver.set_active(Target())
    yield made
    driver._active = before


CASES = [
    (support, formula, temperature, order, is_split)
    for support, formula in (("grid", "paper"), ("grid", "released"), ("cloud", "paper"))
    for temperature in (0.7, 0.1)
    for order in (0, 5)
    for is_split in (False, True)
]
QUICK = [("grid", "released", 0.7, 5, False)]


@needs_triton
@pytest.mark.skipif(sys.platform != "linux", reason="Triton compiles on Linux only")
@pytest.mark.parametrize(
    ("space", "formula", "temperature", "order", "is_split"),
    [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in CASES],
)
@pytest.mark.parametrize("wants", ["loss", *(pytest.param(w, marks=pytest.mark.slow) for w in ("samples", "gradient"))])
def test_compiled_for_a_gpu(
    space: str, formula: Any, temperature: float, order: int, is_split: bool, wants: str, compiled: list[Any]
) -> None:
    # The interpreter takes Python that the compiler does not, so both have to.
    support: Support = GRID if space == "grid" else CLOUD
    basis = Triangular() if space == "grid" else Gaussian(sigma=0.1)
    rows = {"longest_row": 256, "part": 256} if is_split else {}
    call = Call(support, torch.tensor(5), 2, basis, temperature, formula, order, **rows)
    compile_all(call, wants)
    names = [kernel.__name__ for kernel, _ in compiled]
    long = ["part_sums", "joined_parts", *(["part_gradients"] if wants != "samples" else [])]
    assert names == (long if is_split else ["whole_rows"])
    assert_well_compiled(compiled, call)


@needs_triton
@pytest.mark.skipif(sys.platform != "linux", reason="Triton compiles on Linux only")
@pytest.mark.slow
@pytest.mark.parametrize("order", [0, 5])
@pytest.mark.parametrize("formula", ["paper", "released"])
@pytest.mark.parametrize("shape", [(600,), (20, 30), (5, 6, 20)])
@pytest.mark.parametrize("basis", [None, Uniform(), Triangular(), Gaussian()])
def test_every_basis_is_compiled_for_a_gpu(
    basis: Basis | None, shape: tuple[int, ...], formula: Any, order: int, compiled: list[Any]
) -> None:
    call = Call(Grid(shape), torch.tensor(5), 2, basis, 2.0, formula, order)
    compile_all(call, "loss")
    assert_well_compiled(compiled, call)


# Rows as long as are taken whole, and of the released formula the longest axes.
EDGES: list[tuple[str, tuple[int, ...]]] = [
    *(("paper", shape) for shape in ((4096,), (80, 51), (15, 15, 18))),
    *(("released", (LONGEST_AXES[ndim], 5, 2)[:ndim]) for ndim in (1, 2, 3)),
    *(("released", shape) for shape in ((80, 51), (1000, 4), (10, 10, 10), (12, 12, 12))),
]


@needs_triton
@pytest.mark.skipif(sys.platform != "linux", reason="Triton compiles on Linux only")
@pytest.mark.slow
@pytest.mark.parametrize("order", [0, 5])
@pytest.mark.parametrize("temperature", [2.0, 0.1])
@pytest.mark.parametrize(("formula", "shape"), EDGES)
@pytest.mark.parametrize("basis", [Triangular(), Gaussian()])
def test_registers_suffice(
    basis: Basis, formula: Any, shape: tuple[int, ...], temperature: float, order: int, compiled: list[Any]
) -> None:
    compile_all(Call(Grid(shape), torch.tensor(5), 2, basis, temperature, formula, order), "loss")
    for kernel, made in compiled:
        assert kernel.__name__ == "joined_parts" or stack(made) <= ALLOWED_STACK


def compile_all(call: Call, wants: str) -> None:
    ndim = call.support.ndim
    target, slope = torch.zeros(1, 2, ndim), torch.zeros(2, 1, 2, ndim)
    asked = {"loss": {"target": target}, "samples": {"wants_samples": True}, "gradient": {"sample_gradient": slope}}
    run(call, torch.zeros(1, 2, call.support.num_cells), wants_gradient=wants != "samples", **asked[wants])


def assert_well_compiled(compiled: list[Any], call: Call) -> None:
    for kernel, made in compiled:
        assert made.asm["cubin"]
        # Sums of floats in the order in which programs come would not be the same twice.
        assert not re.search(r"\b(atom|red)\.", made.asm["ptx"])
        if kernel.__name__ == "joined_parts":
            continue
        # All that is done for each sample keeps to one layout: nothing of the size of a tile goes through shared memory.
        _, _, loop = made.asm["ttgir"].partition("scf.for")
        assert loop
        assert not re.search(r"convert_layout .* -> tensor<\d+x2", loop.partition("scf.yield")[0])
        # Philox's products are made for each sample, but those of a lattice before all of them.
        assert ("mulhi" in loop) == (call.order == 0)
        if call.line:
            assert_lines_are_seen_by_all(made.asm["ttgir"])


def stack(made: Any) -> int:
    """Bytes of memory that a thread takes: where registers do not suffice, many."""
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        said = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    return int(re.findall(r"STACK:(\d+)", said)[0])


def assert_lines_are_seen_by_all(code: str) -> None:
    """What some threads of a program write of an axis, others read: between stand barriers, in every sample."""
    steps = re.findall(
        r"gpu\.barrier|ttg\.barrier|tt\.(?:store|load)", code.partition("scf.for")[2].partition("scf.yield")[0]
    )
    order = [step for number, step in enumerate(steps) if not number or steps[number - 1] != step]
    barrier = next(step for step in order if step.endswith("barrier"))
    first = order.index(barrier)
    assert order[first : first + 4] == [barrier, "tt.store", barrier, "tt.load"]


@pytest.mark.slow
def test_draws_are_made_again_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    # Tensors without values know their device: what brings one from elsewhere, or reads one, raises.
    monkeypatch.delenv("HEATPOINT_CHECK")
    with FakeTensorMode():
        seed, logits = (torch.empty(size, dtype=d, device="cuda") for size, d in (((), torch.int64), ((2, 105), None)))
        for basis in (None, Triangular(), Gaussian()):
            for formula, order in (("paper", 0), ("released", 3)):
                law = Call(Grid((5, 7, 3)), seed, 3, basis, formula=formula, order=order).law  # type: ignore[arg-type]
                samples = _replayed.samples("sampling_argmax", logits, Grid((5, 7, 3)), law)
                assert (samples.device.type, samples.shape) == ("cuda", (3, 2, 3))


def test_the_cpu_is_an_obstacle() -> None:
    why = _triton.why_not(torch.zeros(5), support=Grid((5,)), basis=None, formula="paper")
    assert why == "the logits are on cpu"


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


def test_no_kernel_is_imported_before_it_runs() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        code = path.read_text(encoding="utf-8")
        is_of_interest = path.parent.name != "_gpu" and re.search("triton|_gpu", code)
        for node in ast.parse(code).body if is_of_interest else ():
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            wrong += [f"{path}: {name}" for name in names if re.match(r"triton\b|_gpu$|heatpoint\.kernels\._gpu", name)]
    assert wrong == []


@pytest.mark.slow
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
