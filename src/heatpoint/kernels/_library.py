"""The library of native CPU kernels: finding, loading and calling it, by its interface as native/heatpoint_native.h states it."""

from __future__ import annotations

import ctypes
import functools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

ABI_VERSION = 3
FOLDER = Path(__file__).resolve().parent
LIBRARIES = ("libheatpoint.so", "libheatpoint.dylib")

# The lowest temperature of a kernel: it divides in float32. native/sampling_call.hpp and native/decoders.cpp refuse lower ones.
COLDEST = 1e-30

InstructionSet = Literal["auto", "portable", "avx2", "avx512"]
INSTRUCTION_SETS: tuple[InstructionSet, ...] = ("auto", "portable", "avx2", "avx512")


class SamplingCall(ctypes.Structure):
    """`struct hp_sampling` of native/heatpoint_native.h, field by field."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("logits", "points", "cloud_of_map", "target", "axis_weight")),
        ("sample_gradient", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in ("loss", "logits_gradient", "target_gradient", "samples")),
        *((name, ctypes.c_int64) for name in ("num_maps", "num_cells", "num_samples", "modulus", "maps_per_group")),
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


class LargestCall(ctypes.Structure):
    """`struct hp_largest`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("maps", "values", "index", "cells")),
        *((name, ctypes.c_int64) for name in ("num_maps", "num_cells", "num_largest")),
        ("lengths", ctypes.c_int64 * 3),
        *((name, ctypes.c_int32) for name in ("ndim", "is_double", "num_threads", "isa")),
    )


class SoftmaxCall(ctypes.Structure):
    """`struct hp_softmax`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("logits", "columns", "cloud_of_map", "row_places", "slope", "constant")),
        *((name, ctypes.c_void_p) for name in ("stats", "gradient")),
        *((name, ctypes.c_int64) for name in ("num_maps", "num_rows", "row_length")),
        ("inverse_temperature", ctypes.c_double),
        *((name, ctypes.c_int32) for name in ("ndim", "num_columns", "num_threads", "isa")),
    )


class NewtonCall(ctypes.Structure):
    """`struct hp_newton`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("maps", "peaks", "taps", "cells", "suffices")),
        ("num_maps", ctypes.c_int64),
        ("lengths", ctypes.c_int64 * 3),
        *((name, ctypes.c_int64) for name in ("num_taps", "curvature_step", "margin")),
        *((name, ctypes.c_double) for name in ("floor", "ceiling", "ridge")),
        ("cyclic", ctypes.c_int32 * 3),
        *((name, ctypes.c_int32) for name in ("ndim", "one_sided_cross", "moves_inwards", "num_threads")),
    )


# What a call is made with -> the function that takes it and the one that tells its size.
CALLS: dict[type[ctypes.Structure], tuple[str, str]] = {
    SamplingCall: ("hp_sampling_argmax", "hp_sampling_size"),
    LargestCall: ("hp_largest_cells", "hp_largest_size"),
    SoftmaxCall: ("hp_softmax_mean", "hp_softmax_size"),
    NewtonCall: ("hp_newton_step", "hp_newton_size"),
}


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
        version = int(handle.hp_abi_version())
        sizes = [_size(handle, measure) for _, measure in CALLS.values()] if version == ABI_VERSION else []
    except (OSError, AttributeError) as problem:
        return Library(None, f"{path.name} cannot be loaded: {problem}. Reinstall heatpoint.")
    expected = [ctypes.sizeof(call) for call in CALLS]
    if sizes != expected:
        return Library(
            None,
            f"{path.name} speaks version {version} of the interface with structures of {sizes} bytes, this heatpoint version "
            f"{ABI_VERSION} with {expected}. Build it again.",
        )
    for call, (function, _) in CALLS.items():
        getattr(handle, function).argtypes = [ctypes.POINTER(call)]
    return Library(handle, "")


def run(call: ctypes.Structure, num_numbers: int) -> None:
    """Makes a call, unless there is nothing to be computed.

    Raises:
        RuntimeError: If there is no library, no memory, no such instruction set, or the call is not one the kernels know.
    """
    found = library()
    if found.handle is None:
        raise RuntimeError(found.reason)
    status = int(getattr(found.handle, CALLS[type(call)][0])(ctypes.byref(call))) if num_numbers else 0
    if status:
        reasons = {1: "it does not know this call", 2: "there is no memory", 3: "there is no such instruction set here"}
        raise RuntimeError(f"a native kernel gave up: {reasons.get(status, status)}")


def address(tensor: Tensor | None) -> int | None:
    """Where a tensor lies in memory."""
    return None if tensor is None else tensor.data_ptr()


def cloud_of_map(clouds: torch.Size, batch: tuple[int, ...]) -> Tensor | None:
    """Which of the clouds (*clouds) each map (*batch) lies on, (*batch); None where there is only one.

    >>> cloud_of_map(torch.Size([2, 1]), (2, 3))
    tensor([[0, 0, 0],
            [1, 1, 1]])
    """
    count = clouds.numel()
    return None if count == 1 else torch.arange(count, device="cpu").view(clouds).expand(batch).contiguous()


def _size(handle: ctypes.CDLL, measure: str) -> int:
    function = getattr(handle, measure)
    function.restype = ctypes.c_int64
    return int(function())
