"""The sources of the kernels to a library beside them: ``python -m inrcodec.native.build``.

In: a C compiler, found by setuptools.  Out: ``kernels.library``, or nothing.
Invariant: the library holds the checksum of the sources that it was made of.

The library needs nothing of Python, so that one serves all its versions.  Nothing of this package is imported
here, as it is not there yet when it is built.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from zlib import crc32

FOLDER = Path(__file__).parent
LIBRARY = "kernels.library"


def compiled(target: Path = FOLDER / LIBRARY, *flags: str) -> bool:
    """Whether the sources could be compiled to a library; an old one is gone otherwise."""
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    target.unlink(missing_ok=True)
    sources = sorted(FOLDER.glob("*.[ch]"))
    source = crc32(b"".join(path.read_bytes() for path in sources))
    extension = Extension(
        "kernels",
        [str(path) for path in sources if path.suffix == ".c"],
        define_macros=[("SOURCE", f"{source}u")],
        extra_compile_args=["/O2"] if os.name == "nt" else ["-O3", "-g0", "-fvisibility=hidden", *flags],
        extra_link_args=[*flags],
        optional=True,
    )
    with tempfile.TemporaryDirectory() as scratch:
        build = build_ext(Distribution({"ext_modules": [extension]}))
        build.build_lib = build.build_temp = scratch
        build.get_ext_filename = lambda name: LIBRARY
        build.get_export_symbols = lambda extension: []  # the sources say what they export; it is no module
        build.ensure_finalized()
        build.run()
        made = Path(scratch) / LIBRARY
        if made.exists():
            target.write_bytes(made.read_bytes())
    return target.exists()


if __name__ == "__main__":
    raise SystemExit(0 if compiled() else "no C compiler was found")
