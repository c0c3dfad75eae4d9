"""Size and shape of the package, read from its source alone.

    python benchmarks/house.py [PACKAGE] [--options ensemble focus] [--most 5]

Prints the number of lines and modules, the modules at the root, the longest files, the longest functions, the
modules that import most of the package, and the files in which the name of an option appears (as a variable,
attribute, argument or string).  Needs neither the package's dependencies nor any other tool.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

HERE = Path(__file__).resolve().parents[1] / "inrcodec"
OPTIONS = ("ensemble", "focus")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """A source file of the package; ``name`` is dotted, ``package.room.module``."""

    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        return self.text.count("\n")

    def functions(self) -> Iterator[tuple[int, str]]:
        """Lines and name of each function, its docstring and decorators included."""
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                yield (node.end_lineno or first) - first + 1, f"{self.name}.{node.name}"

    def imports(self, known: set[str]) -> set[str]:
        """Modules of the package that this one imports anywhere, for types too."""
        package = self.name.partition(".")[0]
        targets = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                targets |= (inner & known) or {node.module}
        return {t for t in targets if t.partition(".")[0] == package and t != self.name}

    def names(self) -> set[str]:
        """Every identifier, and every string that could be one."""
        found = set()
        for node in ast.walk(self.tree):
            match node:
                case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                    found.add(name)
                case ast.keyword(arg=str(name)) | ast.Constant(value=str(name)):
                    found.add(name)
        return found


def modules_of(package: Path) -> list[Module]:
    """All modules of a package, by name."""
    found = []
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package.parent).with_suffix("").parts)
        found.append(Module(name.removesuffix(".__init__"), path))
    return found


def report(package: Path, options: list[str], most: int) -> Iterator[str]:
    """The lines that are printed."""
    modules = modules_of(package)
    known = {m.name for m in modules}
    fans = sorted(((len(m.imports(known)), m.name) for m in modules if m.name != package.name), reverse=True)
    functions = sorted((pair for m in modules for pair in m.functions()), reverse=True)
    root = sorted(m.path.name for m in modules if m.path.parent == package)
    yield f"lines of the package: {sum(m.lines for m in modules)} in {len(modules)} modules"
    yield f"modules at the root: {len(root)} ({', '.join(root)})"
    yield f"largest fan-out: {_ranked(fans, most)}"
    yield f"longest files: {_ranked(sorted(((m.lines, m.name) for m in modules), reverse=True), most)}"
    yield f"longest functions: {_ranked(functions, most)}"
    for option in options:
        files = [m.name for m in modules if option in m.names()]
        yield f"files that name the option {option!r}: {len(files)} ({', '.join(files)})"


def _ranked(pairs: list[tuple[int, str]], most: int) -> str:
    return ", ".join(f"{count} {name}" for count, name in pairs[:most])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("package", type=Path, nargs="?", default=HERE)
    parser.add_argument("--options", nargs="*", default=OPTIONS)
    parser.add_argument("--most", type=int, default=5, help="entries of each ranking (5)")
    args = parser.parse_args()
    for line in report(args.package.resolve(), args.options, args.most):
        print(line)


if __name__ == "__main__":
    main()
