"""Canonical MessagePack: plain values to bytes and back.

Invariant: a value has exactly one byte string; what is read is written again and compared.

Canonical form: keys are text, sorted by code point, without duplicates; integers take their shortest form; a
float that is integral and at most 2^53 in magnitude is an integer; other floats are finite float64; no
extension types.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import msgpack  # type: ignore[import-untyped]

from inrcodec.errors import CorruptFile, reason
from inrcodec.format import limits

EXACT = 1 << 53  # integers up to here are exact in float64

# First byte -> bytes of the length (text, bytes, arrays, maps) or of the value (numbers) that follows.
_TEXT_OR_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_ARRAYS = {0xDC: 2, 0xDD: 4}
_MAPS = {0xDE: 2, 0xDF: 4}
_PLAIN = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8}
_PLAIN |= {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}


def dumps(value: Any) -> bytes:
    """Write a value; maps may come in any order.

    Raises
    ------
    ValueError
        A float is not finite, or an integer needs more than 64 bits.

    Examples
    --------
    >>> dumps({"b": 2.0, "a": [1]}).hex()
    '82a1619101a16202'
    """
    packed: bytes = msgpack.packb(_plain(value))
    return packed


def loads(data: bytes) -> Any:
    """Read one canonical value.

    Raises
    ------
    CorruptFile
        Not MessagePack, not canonical, deeper than the format allows, or followed by anything.
    LimitExceeded
        More values than the format allows.
    """
    _scan(data)
    try:
        value = msgpack.unpackb(data, object_pairs_hook=_distinct)
        again = dumps(value)
    except CorruptFile:
        raise
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise CorruptFile(f"header is not MessagePack: {reason(error)}") from error
    if again != data:
        raise CorruptFile(f"header of {len(data)} bytes is not in canonical form", value=len(data))
    return value


def _plain(value: Any) -> Any:
    """Sorted keys, and integers for integral floats."""
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        if not isfinite(value):
            raise ValueError(f"{value} is not finite")
        return int(value) if value.is_integer() and abs(value) <= EXACT else value
    return value


def _distinct(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise CorruptFile(f"header has a duplicate key among {sorted(entries)}")
    if not all(isinstance(key, str) for key in entries):
        raise CorruptFile(f"header has a key that is not text among {list(entries)}")
    return entries


def _scan(data: bytes) -> None:
    """Check depth, lengths and types without building anything, before they cost memory."""
    open_items, position, values = [1], 0, 0
    while open_items:
        if open_items[-1] == 0:
            open_items.pop()
            continue
        open_items[-1] -= 1
        values += 1
        limits.check("number of values in the header", values, limits.VALUES)
        position, items = _step(data, position)
        if items is None:
            continue
        if len(open_items) > limits.DEPTH:
            raise CorruptFile(f"header is nested deeper than {limits.DEPTH}", remedy="do not trust the file")
        if items > len(data) - position:
            raise CorruptFile(f"header claims {items} values in {len(data) - position} bytes", value=items)
        open_items.append(items)
    if position != len(data):
        raise CorruptFile(f"header is followed by {len(data) - position} bytes")


def _step(data: bytes, position: int) -> tuple[int, int | None]:
    """Position behind a value's own bytes, and the number of values inside it (``None`` for a scalar)."""
    first = _number(data, position, 1)
    position += 1
    if first < 0x80 or first >= 0xE0:
        return position, None
    if first < 0x90:
        return position, 2 * (first & 15)
    if first < 0xA0:
        return position, first & 15
    if first < 0xC0:
        return position + (first & 31), None
    if first in _PLAIN:
        return position + _PLAIN[first], None
    for table, values in ((_ARRAYS, 1), (_MAPS, 2), (_TEXT_OR_BYTES, 0)):
        if first in table:
            length = _number(data, position, table[first])
            position += table[first]
            return (position, values * length) if values else (position + length, None)
    raise CorruptFile(f"header has MessagePack type 0x{first:02x}, which is not allowed", value=first)


def _number(data: bytes, position: int, size: int) -> int:
    if position + size > len(data):
        raise CorruptFile(f"header of {len(data)} bytes is cut off", value=len(data))
    return int.from_bytes(data[position : position + size], "big")
