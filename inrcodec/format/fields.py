"""Types of header fields: a MessagePack value to a Python value, and back.

In: a value from `messagepack.loads`, or a field of `Header`.  Out: the other.
Invariant: what `parse` returns has the type of the field, so that no other code checks it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from operator import index
from typing import Any, NamedTuple

import numpy as np

from inrcodec.errors import CorruptFile

LONGEST_TEXT = 64
MOST_ENTRIES = 64
MOST_INTEGERS = 1 << 16  # cuts of 65 536 tiles, or scales of 32 768 slices


class Kind(NamedTuple):
    """A type: its name in the specification, and how a field of it is read and written."""

    name: str
    parse: Callable[[Any], Any]
    emit: Callable[[Any], Any]


def _need(condition: bool, value: object, what: str) -> None:
    if not condition:
        shown = f"{len(value)} bytes" if isinstance(value, bytes) else f"{value!r:.80}"
        raise CorruptFile(f"header has {shown} where {what} belongs", value=value)


def _integer(value: Any) -> int:
    _need(type(value) is int, value, "an integer")
    return int(value)


def _number(value: Any) -> float:
    _need(type(value) in (int, float), value, "a number")
    _need(isfinite(value), value, "a finite number")
    return float(value)


def _text(value: Any) -> str:
    _need(isinstance(value, str), value, "text")
    _need(
        len(value) <= LONGEST_TEXT and all(" " <= character <= "~" for character in value),
        value,
        f"printable ASCII of up to {LONGEST_TEXT}",
    )
    return str(value)


def _items(value: Any, count: int | None) -> list[Any]:
    _need(isinstance(value, list), value, "an array")
    _need(len(value) <= MOST_INTEGERS, len(value), "a shorter array")
    _need(count is None or len(value) == count, value, f"an array of {count}")
    return list(value)


def _scalars(value: Any) -> dict[str, int | float | str]:
    _need(isinstance(value, dict) and len(value) <= MOST_ENTRIES, value, "a small map")
    for key, item in value.items():
        _text(key)
        _text(item) if isinstance(item, str) else _number(item)
    return dict(value)


def _emit_scalars(value: Mapping[str, Any]) -> dict[str, Any]:
    plain = {str(k): v.item() if isinstance(v, np.generic) else v for k, v in value.items()}
    return _scalars({k: float(v) if isinstance(v, float) else v for k, v in plain.items()})


def numbers(count: int) -> Kind:
    """A fixed number of floats."""
    return Kind(
        f"{count} numbers",
        lambda value: tuple(_number(item) for item in _items(value, count)),
        lambda value: [float(item) for item in value],
    )


def octets(*lengths: int) -> Kind:
    """Bytes, of one of several lengths."""

    def parse(value: Any) -> bytes:
        _need(isinstance(value, bytes) and len(value) in lengths, value, f"{lengths[-1]} bytes")
        return bytes(value)

    return Kind(f"{lengths[-1]} bytes", parse, bytes)


def integers(count: int | None) -> Kind:
    """Integers, a fixed number or any."""

    def parse(value: Any) -> tuple[int, ...]:
        return tuple(_integer(item) for item in _items(value, count))

    def emit(value: Sequence[Any]) -> list[int]:
        return [index(item) for item in value]

    return Kind("integers" if count is None else f"{count} integers", parse, emit)


def _parse_pairs(value: Any) -> tuple[tuple[float, float], ...]:
    items = [_number(item) for item in _items(value, None)]
    _need(len(items) % 2 == 0, len(items), "an even number of numbers")
    return tuple(zip(items[0::2], items[1::2], strict=True))


def _parse_affine(value: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    rows = np.array([_number(item) for item in _items(value, 12)]).reshape(3, 4)
    return np.vstack([rows, [0.0, 0.0, 0.0, 1.0]])


INTEGER = Kind("integer", _integer, index)
NUMBER = Kind("number", _number, float)
TEXT = Kind("text", _text, lambda value: _text(str(value)))
SCALARS = Kind("map", _scalars, _emit_scalars)
PAIRS = Kind("numbers", _parse_pairs, lambda value: [float(item) for pair in value for item in pair])
AFFINE = Kind(
    "12 numbers", _parse_affine, lambda value: np.asarray(value, dtype=np.float64)[:3].ravel().tolist()
)
