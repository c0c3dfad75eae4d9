"""The house: its rooms, which way imports may run, and how large a room may be.

A room stands above all that it imports. What reads a file needs nothing of what writes one.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import inrcodec

PACKAGE = Path(inrcodec.__file__).parent
# From the roof down: a room imports rooms of a later row, and itself.
STOREYS = (
    ("__main__",),
    ("cli",),
    ("collection",),  # runs the verbs for many sources, on a cluster of `plugins`
    ("dask",),
    ("plugins", "training"),
    ("report",),
    ("api",),
    ("encoder",),
    ("file", "io"),
    ("layers",),
    ("entropy", "format"),
    ("native",),
    ("volume",),
    ("parallel", "progress", "validate"),
    ("errors", "_version"),
)
STOREY = {room: height for height, rooms in enumerate(STOREYS) for room in rooms}
WRITERS = {"encoder", "training", "report", "collection", "cli"}
MODULES = sorted(p.relative_to(PACKAGE.parent).with_suffix("").as_posix() for p in PACKAGE.rglob("*.py"))
LONGEST, WIDEST, ROOMS_AT_ROOT = 400, 12, 9


def room_of(module: str) -> str:
    """The folder or module right below the package; "" is the package's face."""
    return module.removeprefix("inrcodec").lstrip(".").partition(".")[0]


def imports_of(module: str) -> set[str]:
    """Modules of the package that a module imports anywhere, for types too."""
    tree = ast.parse((PACKAGE.parent / f"{module}.py").read_text())
    found = set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.ImportFrom)
            and node.level == 0
            and (node.module or "").startswith("inrcodec")
        ):
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                found.add(inner if inner.replace(".", "/") in names() else str(node.module))
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.startswith("inrcodec")}
    return {name for name in found if name != module.replace("/", ".")}


def names() -> set[str]:
    return {m.removesuffix("/__init__") for m in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_arrows_go_down(module):
    here = room_of(module.replace("/", ".").removesuffix(".__init__"))
    if not here:  # the face hands names of all rooms on
        return
    for target in imports_of(module):
        there = room_of(target)
        assert there == here or not there or STOREY[there] > STOREY[here], f"{module} imports {target}"


def test_every_room_has_a_storey():
    assert {room_of(m.replace("/", ".").removesuffix(".__init__")) for m in MODULES} - {""} <= set(STOREY)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_fits_its_room(module):
    lines = (PACKAGE.parent / f"{module}.py").read_text().count("\n")
    assert lines <= LONGEST, f"{module} has {lines} lines"
    if module != "inrcodec/__init__":
        assert len(imports_of(module)) <= WIDEST, f"{module} imports {sorted(imports_of(module))}"


def test_few_modules_at_the_root():
    assert len(list(PACKAGE.glob("*.py"))) <= ROOMS_AT_ROOT


def test_reading_a_file_imports_nothing_that_writes_one():
    code = (
        "import sys, inrcodec.file\n"
        f"print(sorted(m for m in sys.modules if m.startswith('inrcodec.') and m.split('.')[1] in {WRITERS}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
