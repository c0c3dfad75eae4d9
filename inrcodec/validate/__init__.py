"""Checks of option values, and the kinds of values that an option may take.

In: a keyword and a value of any type, or a word of the command line.  Out: the value in its own type.
Invariant: every refusal says what is allowed.  Imports neither torch nor NumPy.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from os import PathLike, fspath
from typing import Any, TypeAlias, TypeVar

from inrcodec.errors import UsageError

Triple: TypeAlias = tuple[int, int, int]
T = TypeVar("T")

MAX_THREADS = 1024
LARGEST = 2**63 - 1  # of a signed 64-bit integer
ENSEMBLES = (1, 2, 4, 8)  # mirror images that a model's result may be averaged over

_BYTES = re.compile(r"(\d{1,19}) ?B?|(\d{1,19}(?:\.\d{1,19})?) ?([kKmMgGtT])([iI]?)B")
_MODEL_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DEVICE = re.compile(r"cpu|cuda(:\d{1,3})?")


# --- one value ------------------------------------------------------------------------------------


def require(met: bool, name: str, value: object, allowed: str) -> None:
    if not met:
        raise UsageError(f"{value!r} is not possible, allowed: {allowed}", value=value, option=name)


def integer(name: str, value: object, low: int, high: int) -> int:
    allowed = f"a whole number from {low} on" if high == LARGEST else f"a whole number from {low} to {high}"
    require(not isinstance(value, bool), name, value, allowed)
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # also NumPy's integers, never 4.0 or "4"
    except TypeError:
        number = low - 1
    require(low <= number <= high, name, value, allowed)
    return number


def byte_count(name: str, value: object) -> int:
    """A number of bytes from 1 on; a word may have a unit. A small b is refused, it would be bits."""
    if isinstance(value, str):
        found = _BYTES.fullmatch(value.strip())
        allowed = "a whole number of bytes, or with a unit, such as 20kB (1,000 each) or 64KiB (1,024 each)"
        require(found is not None, name, value, allowed)
        plain, number, prefix, binary = found.groups()  # type: ignore[union-attr]
        each = (1024 if binary else 1000) ** ("kmgt".index(prefix.lower()) + 1) if prefix else 1
        value = int(Decimal(plain or number) * each)
    return integer(name, value, 1, LARGEST)


def path(name: str, value: object) -> str:
    found = fspath(value) if isinstance(value, str | PathLike) else None
    require(isinstance(found, str) and found != "" and "\0" not in found, name, value, "a path")
    return str(found)


def triple(name: str, value: object, high: int) -> Triple:
    parts = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else ()
    allowed = f"three whole numbers (z, y, x), each from 1 to {high}"
    require(len(parts) == 3, name, value, allowed)
    z, y, x = (integer(name, part, 1, high) for part in parts)
    return z, y, x


def number_above(name: str, value: object, floor: float) -> float:
    found = _float(value)
    require(floor < found < math.inf, name, value, f"a number above {floor:g}")
    return found


def check_device_name(device: object) -> str:
    named = isinstance(device, str) and _DEVICE.fullmatch(device) is not None
    require(named, "device", device, "'cpu', 'cuda' or 'cuda:N'")
    return str(device)


def check_device(device: str) -> str:
    """Return `device` if torch can compute on it here.

    Parameters
    ----------
    device : str
        "cpu", "cuda" or "cuda:N". torch is only imported for the latter two.

    Raises
    ------
    UsageError
        If there is no such device.
    """
    check_device_name(device)
    if device == "cpu":
        return device
    import torch

    index = int(device.partition(":")[2] or 0)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        raise UsageError(
            f"{device!r} is not there: torch {torch.__version__} sees {count} CUDA devices here, use 'cpu'",
            value=device,
            option="device",
        )
    return device


def checked_id(model: str) -> str:
    """The ID of a model as it is; `UsageError` for what cannot be one."""
    allowed = "small letters, digits, '.', '_' and '-', at most 64, and not 'auto' or 'lanczos'"
    named = _MODEL_ID.fullmatch(model) is not None and model not in ("auto", "lanczos")
    require(named, "model", model, allowed)
    return model


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """``", did you mean 'tiles'?"``, or nothing; capitals, and "-" for "_", are no mistakes."""
    plain = {name.replace("-", "_"): name for name in known}
    near = get_close_matches(str(word).lower().replace("-", "_"), list(plain), n=1, cutoff=0.6)
    return f", did you mean {plain[near[0]]!r}?" if near else ""


def _float(value: object) -> float:
    """A number as a float, and NaN for anything else."""
    if isinstance(value, bool | str):
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


# --- kinds of values ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """What values an option takes.

    Attributes
    ----------
    allowed : for help and manual, such as "1 to 16".
    check : of keyword and value; returns the value in its plain type, or raises `UsageError`.
    parse : a word of the command line as a value of Python; what it cannot parse stays a word, for `check`.
    metavar : stands for the value in help.
    is_switch : whether the flag alone says it.
    many : whether the flag takes several values, each of which is parsed.
    """

    allowed: str
    check: Callable[[str, object], Any]
    parse: Callable[[str], object] = str
    metavar: str = ""
    is_switch: bool = False
    many: bool = False


def _parsed(number: Callable[[str], object], word: str) -> object:
    try:
        parts = [number(part) for part in word.split(",")]
    except ValueError:
        return word
    return parts[0] if len(parts) == 1 else tuple(parts)


def parse_ints(word: str) -> object:
    return _parsed(int, word)


def parse_floats(word: str) -> object:
    return _parsed(float, word)


def whole(low: int, high: int, allowed: str = "") -> Kind:
    return Kind(allowed or f"{low:,} to {high:,}", lambda n, v: integer(n, v, low, high), parse_ints, "N")


def number(low: float, high: float = math.inf, *, open_at_low: bool = False) -> Kind:
    """Finite numbers from `low` (or above it) to `high`."""
    to = f" to {high:g}" if high < math.inf else ""
    word = f"above {low:g}{to}" if open_at_low else f"from {low:g}{to or ' on'}"
    allowed = word.removeprefix("from ").replace(" on", " or more")

    def check(name: str, value: object) -> float:
        found = _float(value)
        within = (low < found if open_at_low else low <= found) and found <= high and found < math.inf
        require(within, name, value, f"a number {word}")
        return found

    return Kind(allowed, check, parse_floats, "X")


def choice(values: Iterable[T]) -> Kind:
    known = tuple(values)
    *most, last = map(str, known)
    allowed = f"{', '.join(most)} or {last}"

    def check(name: str, value: object) -> T:
        found = next((v for v in known if v == value and not isinstance(value, bool)), None)
        if found is None:
            hint = did_you_mean(value, map(str, known)) if isinstance(value, str) else ""
            require(False, name, value, f"{allowed}{hint}")
        return found  # type: ignore[return-value]

    return Kind(allowed, check, parse_ints if isinstance(known[0], int) else str)


def triples(high: int, *, most: int | None = None, or_one: bool = False) -> Kind:
    """Whole numbers (z, y, x) of 1 to `high`, with a product of at most `most`; or one for all axes."""

    def check(name: str, value: object) -> int | Triple:
        if or_one and not isinstance(value, Iterable):
            return integer(name, value, 1, high)
        found = triple(name, value, high)
        require(most is None or math.prod(found) <= most, name, found, f"at most {most} {name} in all")
        return found

    allowed = f"1 to {high:,}" + ("" if most is None else ", in all too")
    return Kind(allowed, check, parse_ints, "N|Z,Y,X" if or_one else "Z,Y,X")


def _switch(name: str, value: object) -> bool:
    require(isinstance(value, bool), name, value, "True or False")
    return bool(value)


def _model(name: str, value: object) -> object:
    named = value is None or (isinstance(value, str) and _MODEL_ID.fullmatch(value) is not None)
    require(named, name, value, "'auto', 'lanczos' or the ID of a model (never a path or an address)")
    return value


SWITCH = Kind("", _switch, is_switch=True)
PATH = Kind("", path, metavar="FILE")
DEVICE = Kind("cpu, cuda or cuda:N", lambda _, value: check_device_name(value), metavar="DEVICE")
MODEL = Kind("", _model, metavar="ID")
BYTES = Kind("1 or more", byte_count, parse_ints, "BYTES")
THREADS = whole(1, MAX_THREADS)
ENSEMBLE = choice(ENSEMBLES)
