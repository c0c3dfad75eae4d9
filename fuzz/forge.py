"""Real files to hostile ones whose checksums are right, so that what lies behind the checksums is reached.

In: the bytes of an `.inrv` file, others of its kind, and a generator.  Out: other bytes.
Invariant: nothing but the generator decides, so that a seed names an input.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any
from zlib import crc32

import msgpack

from inrcodec.format import messagepack
from inrcodec.format.container import CHECK, ENTRY, KNOWN, MAGIC, PREFIX
from inrcodec.format.header import DTYPES, FIELDS
from inrcodec.format.sections import CHUNKED, ROW, SHORT, WHOLE

Piece = tuple[str, bytes]

BYTES = (0, 1, 2, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 254, 255)
ENDS = sorted(
    {sign * (1 << bits) + near for bits in (0, 1, 3, 8, 10, 15, 16, 20, 26, 31, 32, 36, 40, 53, 62, 63, 64)
     for near in (-1, 0, 1) for sign in (-1, 1)}
)  # fmt: skip
NUMBERS = (0.5, -0.5, 1e-6, 1e-320, 5e-324, 1e-300, 1e300, 1.7e308, -1.7e308, 2.0**53 + 2, 2.0**-53, 1 / 3)
TEXTS = (
    *("", "zyx", "yx", "xyz", "siren", "av1", "none", "lanczos", "lanczos3", "ct-3d-x4", "mr-2d-x2"),
    *("CT", "PT", "HU", "x" * 64, "x" * 65, "\x1b[2J", "\u00b5", "../../etc/passwd", "a\0b", *sorted(DTYPES)),
)  # fmt: skip
LONGEST = 1 << 17  # bytes of a file, beyond which it would only take longer


def forged(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Another file, one to six changes away."""
    pieces = split(data)
    if not pieces or random.random() < 0.04:
        return bent(data, random, random.choice(others) if others else b"")[:LONGEST]
    for _ in range(1 + min(int(random.expovariate(0.7)), 5)):
        _change(pieces, others, random)
    if random.random() < 0.97:
        sign_chunks(pieces)
    made = joined(pieces)
    if random.random() < 0.03:
        made = _other_prefix(made, random)
    return made[:LONGEST]


def split(data: bytes) -> list[Piece]:
    """The sections that the table names, as far as they are there; none where it is no table."""
    if len(data) < PREFIX.size or not data.startswith(MAGIC):
        return []
    count, pieces = PREFIX.unpack_from(data)[3], []
    start = PREFIX.size + ENTRY.size * count + CHECK.size
    if count > 64 or start > len(data):
        return []
    for k in range(count):
        name, length, _ = ENTRY.unpack_from(data, PREFIX.size + ENTRY.size * k)
        pieces.append((name.decode("latin-1"), data[start : start + length]))
        start += length
    return pieces


def joined(pieces: Sequence[Piece]) -> bytes:
    """A file of any sections, with the checksums that it should have."""
    total = PREFIX.size + ENTRY.size * len(pieces) + CHECK.size + sum(len(body) for _, body in pieces)
    table = PREFIX.pack(MAGIC, 1, 0, len(pieces), total)
    for name, body in pieces:
        table += ENTRY.pack(name.encode("latin-1"), len(body), crc32(body))
    return table + CHECK.pack(crc32(table)) + b"".join(body for _, body in pieces)


def sign_chunks(pieces: list[Piece]) -> None:
    """Make the checksums in the indices those of the chunks that they name."""
    bodies = dict(pieces)
    for k, (name, body) in enumerate(pieces):
        section = next((long for long, index in CHUNKED.items() if index == name), "")
        if section not in bodies or (name == "INDX" and len(bodies[section]) <= WHOLE):
            continue
        rows, start = b"", 0
        for at in range(0, len(body) - ROW.size + 1, ROW.size):
            length, _ = ROW.unpack_from(body, at)
            rows += ROW.pack(length, crc32(bodies[section][start : start + length]))
            start += length
        pieces[k] = name, rows + body[len(rows) :]


def bent(data: bytes, random: Random, other: bytes = b"") -> bytes:
    """Bytes with one thing changed, or cut, or spliced with others."""
    size, made = len(data), bytearray(data)
    kind = random.randrange(11) if size else 9
    place = random.randrange(size) if size else 0
    length = min(1 << random.randrange(9), size - place)
    if kind <= 2:
        made[place] ^= 1 << random.randrange(8)
    elif kind == 3:
        made[place] = random.choice(BYTES)
    elif kind == 4:
        width = random.choice((2, 4, 8))
        value = (random.choice(ENDS) % (1 << 8 * width)).to_bytes(width, random.choice(("little", "big")))
        made[place : place + width] = value[: size - place]
    elif kind == 5:
        del made[place : place + length]
    elif kind == 6:
        made[place:place] = made[place : place + length]
    elif kind == 7:
        made[place : place + length] = bytes([random.choice((0, 0, 255, random.randrange(256)))]) * length
    elif kind == 8:
        del made[place:]
    elif kind == 9:
        made[place:place] = random.randbytes(1 + random.randrange(16))
    elif other:
        start = random.randrange(len(other))
        made[place:] = other[start:]
    return bytes(made)


def _change(pieces: list[Piece], others: Sequence[bytes], random: Random) -> None:
    """One thing of the sections, in place."""
    roll = random.random()
    if roll < 0.4 and pieces[0][0] == "HEAD":
        pieces[0] = "HEAD", other_header(pieces[0][1], others, random)
        return
    k = random.randrange(len(pieces))
    name, body = pieces[k]
    spliced = dict(split(random.choice(others))) if others else {}
    if roll < 0.75:
        if name in CHUNKED.values() and random.random() < 0.7:
            body = _other_index(body, name, dict(pieces), random)
        else:
            body = bent(body, random, spliced.get(name, b""))
        pieces[k] = name, body
    elif roll < 0.9:
        _other_chunk(pieces, random, spliced)
    elif roll < 0.92:
        del pieces[k]
        if not pieces:
            pieces.append(("HEAD", b""))
    elif roll < 0.94:
        pieces.insert(random.randrange(len(pieces) + 1), (name, body))
    elif roll < 0.96:
        random.shuffle(pieces)
    elif roll < 0.98:
        pieces[k] = random.choice((*KNOWN, "note", "Xxxx", "\xe9abc", "    ")), body
    elif spliced:
        new = random.choice(sorted(spliced))
        pieces.append((new, spliced[new]))


def _other_chunk(pieces: list[Piece], random: Random, spliced: dict[str, bytes]) -> None:
    """Another chunk of a section, whose index has its new length."""
    bodies = dict(pieces)
    known = [name for name, index in CHUNKED.items() if name in bodies and index in bodies]
    if not known:
        return
    name = random.choice(known)
    body, rows = bodies[name], bodies[CHUNKED[name]]
    row = SHORT if CHUNKED[name] == "INDX" and len(body) <= WHOLE else ROW
    if len(rows) < row.size:
        return
    number, start = random.randrange(len(rows) // row.size), 0
    for k in range(number):
        start += row.unpack_from(rows, k * row.size)[0]
    length = row.unpack_from(rows, number * row.size)[0]
    chunk = bent(body[start : start + length], random, spliced.get(name, b""))
    at = number * row.size
    rows = rows[:at] + SHORT.pack(len(chunk)) + rows[at + SHORT.size :]
    for k, (found, _) in enumerate(pieces):
        if found == name:
            pieces[k] = name, body[:start] + chunk + body[start + length :]
        elif found == CHUNKED[name]:
            pieces[k] = found, rows


def _other_index(body: bytes, name: str, bodies: dict[str, bytes], random: Random) -> bytes:
    """Lengths that are moved between two rows, swapped, or at an end of what they can be."""
    section = next(long for long, index in CHUNKED.items() if index == name)
    row = SHORT if name == "INDX" and len(bodies.get(section, b"")) <= WHOLE else ROW
    rows = [list(found) for found in row.iter_unpack(body[: len(body) // row.size * row.size])]
    if not rows:
        return bent(body, random)
    a, b = random.choice(rows), random.choice(rows)
    kind = random.randrange(5)
    if kind == 0:
        moved = random.randint(0, a[0])
        a[0], b[0] = a[0] - moved, min(b[0] + moved, (1 << 32) - 1)
    elif kind == 1:
        a[0], b[0] = b[0], a[0]
    elif kind == 2:
        a[0] = random.choice(ENDS) % (1 << 32)
    elif kind == 3:
        rows.append(list(b))
    else:
        rows.pop()
    return b"".join(row.pack(*found) for found in rows)


def other_header(head: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """A header with a field changed, in canonical form most of the time."""
    try:
        tree = msgpack.unpackb(head, strict_map_key=False)
        fields = {(g, k): v for g, part in tree.items() for k, v in part.items()}
    except Exception:  # damaged before
        return bent(head, random)
    if random.random() < 0.05:
        return bent(head, random)
    name = random.choice(sorted(fields, key=str) if fields and random.random() < 0.7 else sorted(FIELDS))
    known = dict(split(random.choice(others))).get("HEAD") if others else None
    if random.random() < 0.08:
        fields.pop(name, None)
    elif known and random.random() < 0.25:
        _take(fields, name, known)
    else:
        fields[name] = _other_value(fields.get(name), FIELDS.get(name, (None, None))[1], random)
    made: dict[str, Any] = {}
    for (group, key), value in sorted(fields.items(), key=str):
        made.setdefault(group, {})[key] = value
    try:
        return messagepack.dumps(made)
    except (ValueError, OverflowError, TypeError):
        try:
            return bytes(msgpack.packb(made))
        except (ValueError, OverflowError, TypeError):
            return head


def _take(fields: dict[tuple[str, str], Any], name: tuple[str, str], head: bytes) -> None:
    """The field, or all of its group, as another file has it."""
    try:
        fields |= {(name[0], k): v for k, v in msgpack.unpackb(head).get(name[0], {}).items()}
    except Exception:
        return


def _other_value(value: Any, kind: Any, random: Random) -> Any:
    """Something else of the same type, most of the time."""
    if random.random() < 0.06:
        return random.choice(
            (None, True, {}, {"a": {"b": [1]}}, [], b"x", float("nan"), float("inf"), "x", 3)
        )
    if isinstance(value, list) or (value is None and kind and kind.name.endswith(("integers", "numbers"))):
        return _other_list(list(value or []), random)
    if isinstance(value, str) or (value is None and kind and kind.name == "text"):
        return random.choice(TEXTS)
    if isinstance(value, bytes):
        return bent(value, random)
    if isinstance(value, dict):
        return {**value, random.choice(TEXTS): random.choice((*TEXTS, *ENDS))}
    return _other_number(value, random)


def _other_number(value: Any, random: Random) -> Any:
    roll = random.random()
    if roll < 0.4 and isinstance(value, int | float):
        return value + random.choice((-2, -1, 1, 2, value, -value))
    if roll < 0.6:
        return random.randrange(40)
    return random.choice(ENDS) if roll < 0.9 else random.choice(NUMBERS)


def _other_list(items: list[Any], random: Random) -> list[Any]:
    kind = random.randrange(8)
    if kind <= 3 and items:
        k = random.randrange(len(items))
        items[k] = _other_number(items[k], random)
    elif kind == 4 and items:
        del items[random.randrange(len(items))]
    elif kind == 5:
        items.insert(random.randrange(len(items) + 1), random.choice(items) if items else random.randrange(4))
    elif kind == 6:
        random.shuffle(items)
    else:
        items = [random.randrange(1, 12) for _ in range(random.choice((0, 1, 2, 3, 3, 3, 6, 12, 14)))]
    return items


def _other_prefix(data: bytes, random: Random) -> bytes:
    """A version, number of sections or length at one of its ends, under a right checksum."""
    magic, major, minor, count, total = PREFIX.unpack_from(data)
    parts = [major, minor, count, total]
    k, sizes = random.randrange(4), (16, 16, 32, 64)
    parts[k] = random.choice((parts[k] + 1, parts[k] - 1, *ENDS)) % (1 << sizes[k])
    end = PREFIX.size + ENTRY.size * count
    table = PREFIX.pack(magic, *parts) + data[PREFIX.size : end]
    return table + CHECK.pack(crc32(table)) + data[end + CHECK.size :]
