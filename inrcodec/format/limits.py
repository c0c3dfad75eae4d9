"""Ceilings of the format: what a decoder may refuse from the header, before it allocates anything.

In: a header.  Out: nothing, or `LimitExceeded`.
Invariant: plain arithmetic, no array, neither NumPy nor torch.

The same numbers are in the specification's chapter on limits.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from inrcodec.errors import LimitExceeded

if TYPE_CHECKING:
    from inrcodec.format.header import Header

FILE = 1 << 40  # bytes of a file
SECTION = 1 << 28  # bytes of a section that is read whole, or of a chunk of one that is not, decoded too
SECTIONS = 64
HEADER = 1 << 20  # bytes of the header; 65 536 tiles need 0.2 MiB of cuts
VALUES = 1 << 17  # keys and values in the header, maps and arrays included: they cost more than their bytes
DEPTH = 8  # maps and arrays inside each other; version 1.0 uses 3
VOXELS = 1 << 36  # 4 096 x 4 096 x 4 096: who reads all of them has the memory, see `empty`
SLICE = 1 << 26  # voxels of a slice, of which a few are in memory while a volume is decoded
BRICK = 1 << 30  # voxels of a brick whose padding or refinement is decoded
AXIS = 65_535  # voxels along an axis
LOWRES = 1 << 27  # low-res voxels of networks: 512 x 512 x 512 at factor 1, 1 GiB of float64
STREAMED = 1 << 32  # of streams, of which one at a time is decoded: 512 x 512 x 16 384 at factor 1
LOWRES_BYTES = 8  # of each of them, while it is decoded
LATENT_BYTES = 72  # likewise of a stream of latents; 70 were measured under 96 maps, without kernels
STREAM = 1 << 26  # low-res voxels of an AV1 stream, all of which are decoded for any of them
LATENT_STREAM = 1 << 24  # likewise of latents, which take more memory and time
TILES = 65_536
FACTOR = 8  # of the down-sampling, along an axis
LAYERS = 16
WIDTH = 1024
WEIGHTS = 1 << 24  # of all networks together
CELLS = 1 << 20  # of the activity mask: its coder is a plain loop
INTEGERS = 1 << 32  # bytes of a brick's integers, which are all in memory while it is decoded
FIRST = 1 << 12  # voxels of a brick's first lattice, which is one block
CHUNKS = 1 << 22  # of a section: its index has 8 bytes for each
WORK = 1 << 42  # multiply-adds of the low-res decode: a quarter of an hour on one core
SUPERRES_WORK = 1 << 48  # multiply-adds of the super-resolution, ensemble included: hours on one core


def check_header(header: Header, masked: bool = True, padded: bool = False) -> None:
    """Refuse a header that is too large to decode; the work of a model is checked by its card.

    Parameters
    ----------
    header : Header
        Sound in itself (see `Header.from_bytes`).
    masked : bool
        Whether the file has a MASK section.
    padded : bool
        Whether it has a PADM section.

    Raises
    ------
    LimitExceeded
        The quantity, its value and the ceiling are named.
    """
    each, cost = network_weights(header.layers, header.width), costs(header)
    tiles = prod(header.tiles)
    bricks, lowres = header.bricks, prod(header.lowres_shape) if header.has_lowres else 0
    in_bricks = padded or bool(header.refine_steps)
    first = prod(-(-n // 2 ** header.refine_axes.count(k)) for k, n in enumerate(bricks.edges))
    cells = prod(-(-n // c) for n, c in zip(header.lowres_shape, header.cell, strict=True))
    for name, value, ceiling in (
        ("longest axis", max(header.shape), AXIS),
        ("number of voxels", prod(header.shape), VOXELS),
        ("number of voxels of a slice", prod(header.shape[1:]), SLICE),
        ("number of voxels of a brick", prod(bricks.edges) if in_bricks else 0, BRICK),
        ("number of low-res voxels", lowres, STREAMED if header.stream_slices else LOWRES),
        ("number of voxels of a stream", _streamed(header), LATENT_STREAM if header.latent_model else STREAM),
        ("number of tiles", tiles, TILES),
        ("number of hidden layers", header.layers, LAYERS),
        ("width of a layer", header.width, WIDTH),
        ("number of weights", tiles * each, WEIGHTS),
        ("number of multiply-adds", cost["multiply_adds"], WORK),
        ("number of voxels in the first lattice", first if header.refine_steps else 0, FIRST),
        ("number of bytes of the refinement", cost["brick_bytes"], INTEGERS),
        ("number of chunks", max(header.refine_streams, 1) * prod(bricks.counts), CHUNKS),
        ("number of mask cells", cells if masked else 0, CELLS),
    ):
        check(name, value, ceiling)


def costs(header: Header) -> dict[str, int]:
    """What decoding takes, from the header alone: bytes in memory, and multiply-adds of the networks."""
    lowres = prod(header.lowres_shape) if header.has_lowres else 0
    networks = lowres if header.layers else 0
    each = LATENT_BYTES if header.latent_model else LOWRES_BYTES
    return {
        "volume_bytes": prod(header.shape) * _item_bytes(header.dtype),
        "brick_bytes": _integer_bytes(header) * prod(header.bricks.edges),
        "lowres_bytes": networks * LOWRES_BYTES or _streamed(header) * each,
        "multiply_adds": networks * network_weights(header.layers, header.width),
    }


def _streamed(header: Header) -> int:
    """Low-res voxels of a stream."""
    return header.stream_slices * prod(header.lowres_shape[1:])


def _item_bytes(dtype: str) -> int:
    """Of a value of a type that `header_checks` knows; NumPy would have to be imported to be asked."""
    return int(dtype.strip("abcdefghijklmnopqrstuvwxyz")) // 8


def _integer_bytes(header: Header) -> int:
    """Bytes of an integer of the refinement as it is held while it is decoded; 0 without one."""
    if not header.refine_steps:
        return 0
    if header.refine_unit == 0:
        return 4 if header.dtype == "float16" else 8
    return 4 if (header.high - header.low) / header.refine_unit < 1 << 31 else 8


def check(name: str, value: int, ceiling: int, remedy: str = "split the volume") -> None:
    """Refuse ``value`` above ``ceiling``; raises `LimitExceeded`."""
    if value > ceiling:
        raise LimitExceeded(
            f"{name} is {value}, the format allows {ceiling}: {remedy}, or do not trust the file",
            value=value,
        )


def network_weights(layers: int, width: int) -> int:
    """Weights and biases of one network: 3 inputs, ``layers`` hidden layers, 1 output."""
    return 4 * width + (layers - 1) * (width + 1) * width + width + 1
