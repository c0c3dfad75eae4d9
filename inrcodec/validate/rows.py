"""Tables of options: the row that describes one, and what follows from the rows.

In: a frozen dataclass whose fields carry rows (`row`).  Out: its checks (`check_all`) and the signatures and
docstrings of Python (`lists_keywords`); parsers, ``--help`` and the manual read the same rows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, TypeVar

from inrcodec.errors import UsageError
from inrcodec.validate import Kind, did_you_mean

T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """One row of a table of options.

    Attributes
    ----------
    kind : the values that it takes.
    help : what it is in about 30 characters, lower case, no point at the end.
    detail : what else to know; not in the short help.
    group : heading in the full help and in the manual.
    metavar : stands for the value; by default the kind's.
    unit : of the value.
    otherwise : what holds without it, where the default is None.
    main : whether the short help has it.
    exclusive : at most one option with this word may be given.
    needs : at least one of these options has to be given with it.
    without : another option and the value of it that rule this one out.
    for_networks : whether it has no meaning for a file without a low-res volume.
    for_fit : whether it has no meaning for one without networks.
    name, default, type : keyword, default and annotation of the field, filled in by `table`.
    """

    kind: Kind
    help: str
    group: str
    detail: str = ""
    metavar: str = ""
    unit: str = ""
    otherwise: str = ""
    main: bool = False
    exclusive: str = ""
    needs: tuple[str, ...] = ()
    without: tuple[str, object] | None = None
    for_networks: bool = False
    for_fit: bool = False
    name: str = ""
    default: Any = None
    type: str = ""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def range(self) -> str:
        """Allowed values with their unit, such as "1 to 16" or "above 0 s"."""
        return f"{self.kind.allowed} {self.unit}".strip()

    @property
    def without_it(self) -> str:
        """What holds where the option is not given."""
        if self.default in (None, MISSING, (), "") or self.kind.is_switch:
            return self.otherwise
        return ",".join(map(str, self.default)) if isinstance(self.default, tuple) else str(self.default)

    @property
    def value(self) -> str:
        """What stands for the value in help, such as "N"."""
        return self.metavar or self.kind.metavar

    @property
    def line(self) -> str:
        """Help, detail, range and default as one line."""
        rest = [self.range, f"default: {self.without_it}" if self.without_it else ""]
        more = "; ".join(filter(None, rest))
        text = "; ".join(filter(None, [self.help, self.detail]))
        return f"{text} ({more})" if more else text

    def brief(self, width: int) -> str:
        """As much of the line as fits."""
        ranged = f"{self.help} ({self.range})" if self.range else self.help
        return next((text for text in (self.line, ranged) if len(text) <= width), self.help)


def row(default: Any, kind: Kind, help: str, group: str, **columns: Any) -> Any:
    """A field of a dataclass of options, required if its default is MISSING; columns as for `Option`."""
    return field(default=default, metadata={"option": Option(kind, help, group, **columns)})


def table(options: type) -> Mapping[str, Option]:
    """The rows of a dataclass of options, by name."""
    return MappingProxyType(
        {
            f.name: replace(f.metadata["option"], name=f.name, default=f.default, type=str(f.type))
            for f in fields(options)
            if "option" in f.metadata
        }
    )


def refuse_unknown(names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a keyword that does not exist, with the nearest one that does."""
    known = list(known)
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f", known are {', '.join(known)}"
            raise UsageError(f"unknown option {name!r}{hint}", value=name)


def check_all(options: Any) -> None:
    """Check every field and keep its value in its plain type: the only writes that a frozen object sees."""
    rows = table(type(options))
    for name, option in rows.items():
        value = getattr(options, name)
        if value is not None or option.default is not None:
            object.__setattr__(options, name, option.kind.check(name, value))
    for name, option in rows.items():
        value = getattr(options, name)
        if value == option.default or option.without is None:
            continue
        other, ruled_out = option.without
        if getattr(options, other) == ruled_out:
            words = other if ruled_out is True else f"{other} {ruled_out!r}"
            raise UsageError(
                f"{value!r} has no meaning with {words}, leave one of them out", value=value, option=name
            )


def lists_keywords(*tables: type) -> Callable[[T], T]:
    """Decorate what takes options: its docstring lists those of `tables`, or a class its own.

    They replace the line ``{keywords}`` of the docstring, NumPy style, and ``**keywords`` in the signature of
    a function.
    """

    def decorate(target: T) -> T:
        own = (target,) if isinstance(target, type) else ()
        rows = [option for options in tables or own for option in table(options).values()]
        if not own:
            signature = inspect.signature(target)  # type: ignore[arg-type]
            named = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
            keywords = [
                inspect.Parameter(
                    o.name, inspect.Parameter.KEYWORD_ONLY, default=o.default, annotation=o.type
                )
                for o in rows
            ]
            target.__signature__ = signature.replace(parameters=named + keywords)  # type: ignore[attr-defined]
        if target.__doc__:  # python -OO has none
            described = [f"{o.name} : {o.type}{_default(o)}\n    {_sentence(o)}" for o in rows]
            text = inspect.cleandoc(target.__doc__)  # which Python does itself from 3.13 on
            target.__doc__ = text.replace("{keywords}", "\n".join(described))
        return target

    return decorate


def _default(option: Option) -> str:
    return "" if option.default is MISSING else f", default {option.default!r}"


def _sentence(option: Option) -> str:
    words = "; ".join(filter(None, [option.help, option.detail]))
    more = f" ({option.range})" if option.range else ""
    otherwise = f" Without it: {option.otherwise}." if option.otherwise else ""
    return f"{words[0].upper()}{words[1:]}{more}.{otherwise}"
