"""Builds the kernels with the package where there is a C compiler; without one it is plain Python."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

FOLDER = "inrcodec/native"


class KernelsHook(BuildHookInterface[Any]):
    """Compiles ``inrcodec/native/*.c`` into a library beside them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel or an editable install is put together."""
        spec = spec_from_file_location("build", Path(self.root) / FOLDER / "build.py")
        build = module_from_spec(spec)
        spec.loader.exec_module(build)
        if not build.compiled():
            self.app.display_warning("no C compiler: inrcodec is installed without its compiled kernels")
            return
        build_data["artifacts"].append(f"/{FOLDER}/{build.LIBRARY}")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform()}"


def _platform() -> str:
    """Of this machine; a plain one, as nobody has checked which C libraries are old enough."""
    names = (tag.platform for tag in sys_tags())
    return next(name for name in names if "manylinux" not in name and "musllinux" not in name)
