"""The library of native CPU kernels: finding it, loading it, and its interface as native/heatpoint_native.h states it."""

from __future__ import annotations

import ctypes
import functools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ABI_VERSION = 2
FOLDER = Path(__file__).resolve().parent
LIBRARIES = ("libheatpoint.so", "libheatpoint.dylib")

InstructionSet = Literal["auto", "portable", "avx2", "avx512"]
INSTRUCTION_SETS: tuple[InstructionSet, ...] = ("auto", "portable", "avx2", "avx512")


class SamplingCall(ctypes.Structure):
    """`struct hp_sampling` of native/heatpoint_native.h, field by field."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("logits", "points", "cloud_of_map", "target", "axis_weight")),
        ("sample_gradient", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in ("loss", "logits_gradient", "target_gradient", "samples")),
        *((name, ctypes.c_int64) for name in ("num_maps", "num_cells", "num_samples", "modulus")),
        ("lengths", ctypes.c_int64 * 3),
        ("strides", ctypes.c_double * 3),
        ("offsets", ctypes.c_double * 3),
        ("temperature", ctypes.c_double),
        ("sigma", ctypes.c_double),
        ("seed", ctypes.c_uint64),
        *((name, ctypes.c_int32) for name in ("ndim", "basis", "formula", "distance", "num_threads", "isa")),
        ("num_forbidden", ctypes.c_int64),
        ("num_undefined", ctypes.c_int64),
    )


@dataclass(frozen=True)
class Library:
    """The loaded library, or in one sentence why there is none."""

    handle: ctypes.CDLL | None
    reason: str

    @property
    def best_instruction_set(self) -> InstructionSet | None:
        """The widest instruction set that this processor and the library share; None without a library."""
        return None if self.handle is None else INSTRUCTION_SETS[int(self.handle.hp_best_isa())]


@functools.cache
def library() -> Library:
    """The library beside this file, loaded once; that there is none is logged, once, as installers do not show what builds say.

    >>> found = library()
    >>> (found.handle is None) == bool(found.reason)
    True
    """
    found = load(FOLDER)
    if found.handle is None:
        logging.getLogger("heatpoint").warning("%s Until then the torch forms do the same, more slowly.", found.reason)
    return found


def load(folder: Path) -> Library:
    """Loads the library of a folder, and checks that its interface is the one spoken here."""
    path = next((folder / name for name in LIBRARIES if (folder / name).exists()), None)
    if path is None:
        return Library(
            None,
            "heatpoint was installed without its native kernels: there was no C++ compiler. Install one and reinstall, or run "
            "heatpoint/kernels/native/build.py in a checkout.",
        )
    try:
        handle = ctypes.CDLL(str(path))
        handle.hp_sampling_size.restype = ctypes.c_int64
        version, size = int(handle.hp_abi_version()), int(handle.hp_sampling_size())
    except (OSError, AttributeError) as problem:
        return Library(None, f"{path.name} cannot be loaded: {problem}. Reinstall heatpoint.")
    if (version, size) != (ABI_VERSION, ctypes.sizeof(SamplingCall)):
        return Library(
            None,
            f"{path.name} speaks version {version} of the interface ({size} bytes), this heatpoint version {ABI_VERSION} "
            f"({ctypes.sizeof(SamplingCall)} bytes). Build it again.",
        )
    handle.hp_sampling_argmax.argtypes = [ctypes.POINTER(SamplingCall)]
    return Library(handle, "")
