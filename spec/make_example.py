"""Write the chapter "Example" of the specification: one complete file, every byte explained.

    python make_example.py            print the chapter
    python make_example.py --write    put it into inrv-1.md

It uses the package to write the file; a test compares the chapter with what this prints.
"""

from __future__ import annotations

import argparse
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import msgpack
import numpy as np

from inrcodec.entropy import laplace
from inrcodec.format import container
from inrcodec.format.header import Header

SPECIFICATION = Path(__file__).with_name("inrv-1.md")
BEGIN, END = "<!-- example -->", "<!-- end of example -->"
Row = tuple[bytes, str]

HEADER = Header(
    shape=(1, 2, 3),
    axes="yx",
    dtype="uint8",
    affine=np.diag([0.5, 0.5, 1.0, 1.0]),
    low=10.0,
    high=90.0,
    layers=1,
    width=1,
    peak=255.0,
    psnr=48.5,
    digest=bytes.fromhex("000102030405060708090a0b0c0d0e0f"),
)
# Tensor, integers, step code: 152 is 2^-5, 192 is 1.
TENSORS = [("W0", [0, 1, 1], 152), ("b0", [0], 152), ("W1", [1], 192), ("b1", [0], 192)]


def stream() -> tuple[bytes, bytes]:
    """Scales and coded integers of the only tile."""
    values = [np.array(integers, dtype=np.int32) for _, integers, _ in TENSORS]
    spreads = [laplace.best_spread(v) for v in values]
    scales = bytes(b for (_, _, step), spread in zip(TENSORS, spreads, strict=True) for b in (step, spread))
    return scales, laplace.encode_weights(values, spreads)


def example() -> bytes:
    """The file."""
    tile = b"".join(stream())
    return container.pack(
        [("HEAD", HEADER.to_bytes()), ("INDX", struct.pack("<I", len(tile))), ("WGHT", tile)]
    )


def rows() -> Iterator[Row]:
    """Bytes of the file in order, with their meaning."""
    data = example()
    yield data[:8], "magic"
    yield data[8:12], "major version 1, minor version 0"
    yield data[12:16], "3 sections"
    yield data[16:24], f"{len(data)} bytes in all"
    position = 24
    for name, body in container.unpack(data).items():
        yield data[position : position + 4], f"section `{name}`"
        yield data[position + 4 : position + 12], f"of {len(body)} bytes"
        yield data[position + 12 : position + 16], "its CRC-32"
        position += 16
    yield data[position : position + 4], "CRC-32 of everything before"
    yield from explained(msgpack.unpackb(HEADER.to_bytes()), "`HEAD`: ")
    scales, weights = stream()
    yield struct.pack("<I", len(scales + weights)), "`INDX`: bytes of the stream of tile 0"
    for i, (name, _, step) in enumerate(TENSORS):
        yield scales[2 * i : 2 * i + 2], f"`WGHT`: {name}, step {step}, spread {scales[2 * i + 1]}"
    yield weights, "the integers " + "; ".join(f"{name}: {', '.join(map(str, v))}" for name, v, _ in TENSORS)


def explained(value: object, prefix: str = "") -> Iterator[Row]:
    """MessagePack of a value, key by key."""
    if not isinstance(value, dict):
        meaning = f"{len(value)} bytes" if isinstance(value, bytes) else f"`{value}`"
        yield msgpack.packb(value), meaning
        return
    yield bytes([0x80 + len(value)]), f"{prefix}map of {len(value)}"
    for key, item in value.items():
        yield msgpack.packb(key), f"`{key}`"
        yield from explained(item)


def chapter() -> str:
    """Text between the markers of the specification."""
    lines = ["", "| offset | bytes | |", "| --- | --- | --- |"]
    position = 0
    for raw, meaning in rows():
        lines.append(f"| {position} | `{raw.hex(' ')}` | {meaning} |")
        position += len(raw)
    x = [-2 / 3, 0.0, 2 / 3]
    y = [-1 / 3, 1 / 3]
    unit = [[np.sin(30 * (b / 32 + a / 32)) for a in x] for b in y]
    lines += [
        "",
        "The image is 2 voxels high and 3 wide, so extent is 3, and the coordinates are 0 along z, −1/3 and",
        "1/3 along y, and −2/3, 0, 2/3 along x. The network is sin(30 (y/32 + x/32)):",
        "",
        "| | unit values | stored |",
        "| --- | --- | --- |",
    ]
    for i, row in enumerate(unit):
        stored = [int(np.rint(10 + (u + 1) * 40)) for u in row]
        lines.append(f"| row {i} | {' '.join(f'{u:.6f}' for u in row)} | {' '.join(map(str, stored))} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description="The worked example of the specification.")
    parser.add_argument("--write", action="store_true", help="insert it into inrv-1.md")
    if not parser.parse_args().write:
        print(chapter())
        return
    text = SPECIFICATION.read_text(encoding="utf-8")
    pattern = re.compile(f"{BEGIN}.*{END}", re.DOTALL)
    SPECIFICATION.write_text(pattern.sub(lambda _: f"{BEGIN}\n{chapter()}\n{END}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
