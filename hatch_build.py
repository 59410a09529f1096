"""Hatchling's hook: puts the native kernels into the wheel, or says in one sentence why the wheel does without them."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

KERNELS = Path("src/heatpoint/kernels")


class NativeKernels(BuildHookInterface[Any]):
    """Compiles src/heatpoint/kernels/native, unless HEATPOINT_PURE=1 asks for a wheel for every platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds the library to a wheel; an editable install gets it into the checkout, where it is looked for as well."""
        if self.target_name != "wheel" or os.environ.get("HEATPOINT_PURE") == "1":
            return
        native = runpy.run_path(str(Path(self.root) / KERNELS / "native" / "build.py"))
        is_editable = version == "editable"
        try:
            library = native["build"](Path(self.root) / KERNELS) if is_editable else native["build_apart"]()
        except native["NoCompilerError"] as problem:
            self.app.display_warning(
                f"heatpoint is installed without its native kernels, its torch forms do the same more slowly: {problem}."
            )
            return
        if not is_editable:
            build_data["force_include"][str(library)] = f"heatpoint/kernels/{library.name}"
        # The library knows nothing of Python: one wheel per platform serves every version of it.
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Removes the folder that the library was made in."""
        for source in build_data["force_include"]:
            folder = Path(source).parent
            if folder.name.startswith("heatpoint-"):
                Path(source).unlink(missing_ok=True)
                folder.rmdir()


def _platform() -> str:
    """The tag of this machine itself; which manylinux it would be is for auditwheel to find out."""
    return next(tag.platform for tag in sys_tags() if "linux" not in tag.platform or tag.platform.startswith("linux"))
