"""Compiles the native kernels with the system's C++ compiler into one shared library that depends on neither Python nor torch.

Run as a script it puts the library into the package of a checkout: ``python src/heatpoint/kernels/native/build.py``. The
wheel's build hook uses the same function. Imports nothing of heatpoint, so that it runs before torch is installed.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
LIBRARY = "libheatpoint.dylib" if sys.platform == "darwin" else "libheatpoint.so"

# How the names of folders of `build_apart` begin.
APART = "heatpoint-"

PLAIN = ("sampling.cpp", "decoders.cpp", "newton.cpp")
PER_INSTRUCTION_SET = ("sampling", "decoders")

FLAGS = ["-std=c++17", "-O3", "-fPIC", "-pthread", "-fvisibility=hidden", "-Wall", "-Wextra"]
# No -ffast-math: it makes a finite loss of a map whose cells are all −inf. These two let loops become vectors all the same.
FLAGS += ["-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
# GCC warns of its own intrinsics' headers, and of vectors in signatures that no other object sees.
FLAGS += ["-Wno-maybe-uninitialized", "-Wno-uninitialized", "-Wno-psabi", "-Wno-unknown-warning-option"]

# GCC orders instructions only after registers are given out unless told to: chains of dependent operations then lie one behind
# the other, which costs a quarter of the time.
FLAGS += ["-fschedule-insns", "-Wno-ignored-optimization-argument"]
# Otherwise a loop's time may change with where it happens to begin, when something else does.
FLAGS += ["-falign-loops=64"]

AVX2 = ["-mavx2", "-mfma"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx512vnni", "-mprefer-vector-width=512"]


class NoCompilerError(RuntimeError):
    """No C++ compiler, one that fails, or no room for what it makes; the message says which, in one sentence."""


def build(folder: Path = SOURCES.parent) -> Path:
    """Compiles the library into `folder` and returns its path.

    The compiler is $CXX, else the first of c++, g++ and clang++; $CXXFLAGS are added.

    Raises:
        NoCompilerError: If no compiler is found, it fails, or files cannot be written.
    """
    try:
        return _build(folder)
    except OSError as problem:
        raise NoCompilerError(f"what the compiler makes could not be written: {problem}") from None


def build_apart() -> Path:
    """Compiles the library into a new folder, which the caller removes; none is left where that fails.

    Raises:
        NoCompilerError: As `build` does.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=APART))
    except OSError as problem:
        raise NoCompilerError(f"there is no place for the library: {problem}") from None
    try:
        return build(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _build(folder: Path) -> Path:
    compiler = _compiler()
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    # The linker takes the first of equal functions, so those that every processor understands come first.
    units: list[tuple[str, list[str]]] = [(name, []) for name in PLAIN]
    units += [(f"{name}_portable.cpp", []) for name in PER_INSTRUCTION_SET]
    if is_x86:
        for name in PER_INSTRUCTION_SET:
            units += [(f"{name}_avx2.cpp", AVX2), (f"{name}_avx512.cpp", AVX512)]
    flags = [*FLAGS, *(["-DHP_X86"] if is_x86 else []), *shlex.split(os.environ.get("CXXFLAGS", ""))]
    with tempfile.TemporaryDirectory() as scratch:
        objects = [str(Path(scratch) / f"{name}.o") for name, _ in units]
        commands = [
            [*compiler, *flags, *extra, "-c", str(SOURCES / name), "-o", target]
            for (name, extra), target in zip(units, objects, strict=True)
        ]
        with ThreadPoolExecutor() as pool:
            list(pool.map(_run, commands))
        made = Path(scratch) / LIBRARY
        _run([*compiler, "-shared", "-pthread", *objects, "-o", str(made)])
        # A process that has the old library open keeps it: the new one is moved into place, not written over it.
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f".{LIBRARY}.{os.getpid()}"
        try:
            shutil.copy(made, beside)
            beside.replace(folder / LIBRARY)
        finally:
            beside.unlink(missing_ok=True)
    return folder / LIBRARY


def _compiler() -> list[str]:
    if os.environ.get("CXX"):
        return shlex.split(os.environ["CXX"])
    for name in ("c++", "g++", "clang++"):
        found = shutil.which(name)
        if found:
            return [found]
    raise NoCompilerError("no C++ compiler (c++, g++, clang++, or $CXX) was found")


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as problem:
        raise NoCompilerError(f"{command[0]} could not be run: {problem}") from None
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
        raise NoCompilerError(f"{command[0]} failed: {said}")


if __name__ == "__main__":
    print(build())
