"""One knob's value: taken as it is, or refused with what would be allowed.

In: a name and a value of any type.  Out: the value in its own type.
The one law: every refusal says what is allowed.  Imports neither torch nor numpy.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable
from difflib import get_close_matches
from os import PathLike, fspath
from typing import TypeAlias

from inrcodec.errors import UsageError

Triple: TypeAlias = tuple[int, int, int]

MAX_THREADS = 1024
ENSEMBLES = (1, 2, 4, 8)  # mirror images that a model's result may be averaged over

_MODEL_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DEVICE = re.compile(r"cpu|cuda(:\d{1,3})?")


def require(met: bool, name: str, value: object, allowed: str) -> None:
    if not met:
        raise UsageError(f"{value!r} is not possible, allowed: {allowed}", value=value, option=name)


def integer(name: str, value: object, low: int, high: int) -> int:
    allowed = f"a whole number from {low} to {high}"
    require(not isinstance(value, bool), name, value, allowed)
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # also NumPy's integers, never 4.0 or "4"
    except TypeError:
        number = low - 1
    require(low <= number <= high, name, value, allowed)
    return number


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


def number_from(name: str, value: object, floor: float) -> float:
    if value == floor and not isinstance(value, bool):
        return floor
    return _above(name, value, floor, f"a number from {floor:g} on")


def number_above(name: str, value: object, floor: float) -> float:
    return _above(name, value, floor, f"a number above {floor:g}")


def _above(name: str, value: object, floor: float, allowed: str) -> float:
    require(not isinstance(value, bool | str), name, value, allowed)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    require(math.isfinite(number) and number > floor, name, value, allowed)
    return number


def check_device_name(device: object) -> None:
    named = isinstance(device, str) and _DEVICE.fullmatch(device) is not None
    require(named, "device", device, "'cpu', 'cuda' or 'cuda:N'")


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


def check_model_id(sr: object) -> None:
    named = sr is None or (isinstance(sr, str) and _MODEL_ID.fullmatch(sr) is not None)
    allowed = "'auto', 'lanczos' or the ID of a model in the package (never a path or an address)"
    require(named, "sr", sr, allowed)


def check_ensemble(ensemble: object) -> None:
    known = ensemble is None or (not isinstance(ensemble, bool) and ensemble in ENSEMBLES)
    require(known, "ensemble", ensemble, ", ".join(map(str, ENSEMBLES)))


def checked_id(model: str) -> str:
    """The ID of a model as it is; `UsageError` for what can be none."""
    allowed = "small letters, digits, '.', '_' and '-', at most 64, and not 'auto' or 'lanczos'"
    named = _MODEL_ID.fullmatch(model) is not None and model not in ("auto", "lanczos")
    require(named, "id", model, allowed)
    return model


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """``", did you mean 'tiles'?"``, or nothing; capitals, and "-" for "_", are no mistakes."""
    plain = {name.replace("-", "_"): name for name in known}
    near = get_close_matches(str(word).lower().replace("-", "_"), list(plain), n=1, cutoff=0.6)
    return f", did you mean {plain[near[0]]!r}?" if near else ""
