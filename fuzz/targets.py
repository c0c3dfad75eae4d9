"""What is fuzzed: each target takes the bytes of an input, and has seeds and a way to change them.

In: bytes.  Out: what the input declares to need, in bytes; or `Wrong`.
Invariant: whatever a user could do with a file of this size is done.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from math import prod
from pathlib import Path
from random import Random
from struct import pack

import numpy as np
import torch  # noqa: F401  a second of processor time, which is no input's
from numpy.typing import NDArray

import inrcodec
from fuzz import forge, networks, node, readers, serving
from fuzz.oracle import Target, Wrong, soon
from inrcodec.entropy import laplace, logistic, mask, padding
from inrcodec.errors import InrvError
from inrcodec.format.limits import costs
from inrcodec.layers.base.av1 import video
from inrcodec.layers.superres import registry
from inrcodec.native.library import SWITCH
from inrcodec.training.latent.tables import tables

ROOT = Path(__file__).parents[1]
VECTORS = ROOT / "spec" / "vectors"
FOUND = Path(__file__).parent / "corpus"  # inputs of earlier findings
VOXELS = 1 << 18  # of a file that is decoded whole
PLAIN = 1 << 12  # of one that is decoded by the plain path too, which is 50 times as slow
WORK = 1 << 27  # multiply-adds of the low-res decode
HELD = 1 << 24  # bytes that any part of a file takes

Mutate = Callable[[bytes, Sequence[bytes], Random], bytes]


@dataclass(frozen=True)
class Kind:
    """A target, inputs to begin with, and how they are changed."""

    run: Target
    seeds: Callable[[], list[bytes]]
    mutate: Mutate = lambda data, others, random: forge.bent(data, random, random.choice(others))


# --- files


@cache
def vectors() -> list[bytes]:
    """The files of the specification, and of earlier findings."""
    files = [*sorted(VECTORS.glob("*/input.inrv")), *of_earlier_findings("file", "javascript", "served-file")]
    return [data for data in (path.read_bytes() for path in files) if len(data) < 1 << 15]


def of_earlier_findings(*targets: str) -> list[Path]:
    """Inputs that something was wrong with once."""
    return sorted(path for path in FOUND.iterdir() if path.stem.rsplit("-", 1)[0] in targets)


def file(data: bytes) -> int:
    """Open, describe, check and decode a file, whole and in parts."""
    opened = inrcodec.open(data)
    header = opened.header
    assert opened.facts and repr(opened) and opened.levels
    work = costs(header)
    model = registry.work_of(header) or 0
    held = work["brick_bytes"] + work["lowres_bytes"]
    declared = held + work["volume_bytes"]
    with suppress(InrvError):
        opened.sections.check()
    if work["multiply_adds"] > WORK or model > WORK or held > HELD:
        return declared
    if prod(header.shape) > VOXELS:
        with suppress(InrvError):
            soon(lambda: opened.read((slice(0, 1), slice(0, 1), slice(0, 1))))
        return declared
    options = {} if model == 0 else {"sr": "lanczos"}
    whole = _decoded(data, threads=1, **options)
    same("threads", whole, _decoded(data, threads=2, **options))
    if prod(header.shape) <= PLAIN:
        os.environ[SWITCH] = "0"
        try:
            same("kernels", whole, _decoded(data, threads=1, **options))
        finally:
            del os.environ[SWITCH]
    if whole is not None:
        box = tuple(slice(n // 3, n // 3 + max(1, n // 2)) for n in header.shape)
        part = inrcodec.open(data).read(box, **options)
        same("box", whole.reshape(header.shape)[box], part)
    with suppress(InrvError):
        soon(opened.verify)
    for number in range(len(opened.levels)):
        with suppress(InrvError):
            soon(lambda number=number: opened.read(None, number))
    if header.has_lowres:
        with suppress(InrvError):
            opened.lowres(threads=1)
    with suppress(InrvError):
        soon(lambda: inrcodec.decode(data, max_bytes=max(1, len(data) * 2 // 3), threads=1, **options))
    return declared


def _decoded(data: bytes, **options: object) -> NDArray[np.generic] | None:
    try:
        return soon(lambda: inrcodec.decode(data, **options))
    except InrvError:
        return None


def same(what: str, first: NDArray[np.generic] | None, second: NDArray[np.generic] | None) -> None:
    if (first is None) != (second is None):
        raise Wrong(f"{what}: one is refused and the other is not")
    if first is not None and second is not None and first.tobytes() != second.tobytes():
        raise Wrong(f"{what}: the voxels differ")


def container(data: bytes) -> int:
    """Table, header and checksums alone, at many times the speed."""
    inrcodec.open(data).sections.check()
    return 0


# --- entropy coders: a few bytes say what is expected, the rest is the stream


def weights(data: bytes) -> int:
    count = 1 + data[0] % 3 if data else 1
    head, stream = data[1 : 1 + 3 * count], data[1 + 3 * count :]
    if len(head) < 3 * count:
        return 0
    counts = [int.from_bytes(head[3 * k : 3 * k + 2], "little") for k in range(count)]
    spreads = [head[3 * k + 2] for k in range(count)]
    _both_ways(lambda: np.concatenate(laplace.decode_weights(stream, counts, spreads)))
    return 4 * sum(counts)


def _weights_seeds() -> list[bytes]:
    rng, seeds = np.random.default_rng(0), []
    for spread, scale, count in ((100, 3, 60), (20, 0.2, 300), (180, 200, 50), (255, 3000, 20), (0, 5, 40)):
        values = np.rint(rng.laplace(scale=scale, size=count)).astype(np.int32)
        stream = laplace.encode_weights([values], [spread])
        seeds.append(b"\0" + pack("<HB", count, spread) + stream)
    return seeds


def steps(data: bytes) -> int:
    """Of latents; the first byte is how many, and which scales they have follows from it."""
    index = np.arange(8 * (data[0] if data else 0), dtype=np.uint16) * 7 % 80

    def decode() -> NDArray[np.generic]:
        reader = logistic.Reader(tables(), data[1:])
        found = reader.get(index.astype(np.uint8))
        reader.finish()
        return found

    _both_ways(decode)
    return 4 * len(index)


def _steps_seeds() -> list[bytes]:
    rng, seeds = np.random.default_rng(0), []
    for count, wide in ((1, 1), (9, 1), (30, 1), (200, 1), (12, 1 << 14)):
        index = (np.arange(8 * count) * 7 % 80).astype(np.uint8)
        writer = logistic.Writer(tables())
        writer.put(np.rint(rng.logistic(scale=wide * np.exp(index / 8 - 3))).astype(np.int32), index)
        seeds.append(bytes([count]) + writer.bytes())
    return seeds


def cells(data: bytes) -> int:
    shape = _shape(data)
    _both_ways(lambda: mask.decode_mask(data[3:], shape))
    return prod(shape)


def bits(data: bytes) -> int:
    shape = _shape(data)
    _both_ways(lambda: np.stack(list(padding.decode_bits(data[3:], shape))))
    return prod(shape)


def _shape(data: bytes) -> tuple[int, int, int]:
    z, y, x = (1 + n % 48 for n in data[:3].ljust(3, b"\0"))
    return z, y, x


def _both_ways(decode: Callable[[], NDArray[np.generic]]) -> None:
    """The compiled and the plain path refuse the same streams, and agree on the others."""
    found: list[NDArray[np.generic] | None] = []
    for switch in ("1", "0"):
        os.environ[SWITCH] = switch
        try:
            found.append(soon(decode))
        except InrvError:
            found.append(None)
        finally:
            del os.environ[SWITCH]
    same("kernels", *found)


def _grids() -> list[NDArray[np.bool_]]:
    rng = np.random.default_rng(0)
    z, y, x = np.ogrid[-1:1:9j, -1:1:20j, -1:1:24j]
    return [z**2 + y**2 + x**2 < 0.8, rng.random((3, 9, 11)) < 0.2, np.ones((2, 5, 40), np.bool_)]


def _grid_seeds(encode: Callable[[NDArray[np.bool_]], bytes]) -> list[bytes]:
    return [bytes(n - 1 for n in grid.shape) + encode(grid) for grid in _grids()]


def av1(data: bytes) -> int:
    shape = _shape(data)
    soon(lambda: video.decode(data[3:], shape))
    return 2 * prod(shape)


def _av1_seeds() -> list[bytes]:
    seeds = []
    for path in sorted(VECTORS.glob("av1*/input.inrv")):
        opened = inrcodec.open(path)
        if opened.header.stream_slices:
            depth, (_, y, x) = opened.header.stream_slices, opened.lowres_shape
            body = opened.sections["AV1S"]
            chunks = opened.sections.chunks("AV1S")
            stream = body[4 : chunks[0].length if chunks else None]
            seeds.append(bytes([depth - 1, y - 1, x - 1]) + stream)
    return seeds


# --- the decoder in JavaScript


def javascript(data: bytes) -> int:
    """What Node decodes is what Python decodes; both refuse the same files."""
    header = None
    with suppress(InrvError):
        header = inrcodec.open(data).header
    if header is not None:
        work = costs(header)
        if prod(header.shape) > VOXELS or work["multiply_adds"] > WORK or work["brick_bytes"] > HELD:
            return 0
        if header.coder == "av1" and not header.refine_steps:
            return 0
        if header.latent_model not in (
            "",
            *(path.stem for path in networks.MODELS),
        ):  # which Python looks up by its name, too
            return 0
    answer = node.decode(data)
    if answer["error"] not in (
        None,
        "InrvError",
        "CorruptFile",
        "UnsupportedFile",
        "LimitExceeded",
        "UsageError",
    ):
        raise Wrong(f"node: {answer['error']}: {answer['message']}")
    whole = _decoded(data, sr="lanczos", threads=1)
    if "a Huffman stream ends elsewhere" in answer["message"]:  # libzstd does not look, where it decodes four
        return 0
    if (whole is None) != (answer["error"] is not None):
        raise Wrong(
            f"node: {answer['error']} {answer['message']}, Python {'refuses' if whole is None else 'decodes'}"
        )
    if whole is not None and header is not None and header.refine_steps and header.dtype != "float16":
        little = np.ascontiguousarray(whole, whole.dtype.newbyteorder("<"))
        if sha256(little.tobytes()).hexdigest() != answer["digest"]:
            raise Wrong("node: the voxels differ")
    return 0


TARGETS: dict[str, Kind] = {
    "container": Kind(container, vectors, forge.forged),
    "file": Kind(file, vectors, forge.forged),
    "weights": Kind(weights, _weights_seeds),
    "steps": Kind(steps, _steps_seeds),
    "mask": Kind(cells, lambda: _grid_seeds(mask.encode_mask)),
    "padding": Kind(bits, lambda: _grid_seeds(padding.encode_bits)),
    "av1": Kind(av1, _av1_seeds),
    "model": Kind(networks.model, networks.seeds, networks.changed),
    "npy": Kind(readers.reader(".npy"), lambda: readers.written(".npy"), readers.words),
    "npz": Kind(readers.reader(".npz"), lambda: readers.written(".npz")),
    "nifti": Kind(readers.reader(".nii"), lambda: readers.written(".nii")),
    "nifti-gzip": Kind(readers.reader(".nii.gz"), lambda: readers.written(".nii.gz"), readers.inside_gzip),
    "nrrd": Kind(readers.reader(".nrrd"), lambda: readers.written(".nrrd"), readers.words),
    "mha": Kind(readers.reader(".mha"), lambda: readers.written(".mha"), readers.words),
    "mhd": Kind(readers.reader(".mhd"), lambda: readers.written(".mhd"), readers.words),
    "dicom": Kind(readers.reader(".dcm"), readers.dicom_seeds, readers.elements),
    "server": Kind(serving.request, serving.requests),
    "served-file": Kind(serving.file, vectors, forge.forged),
    "javascript": Kind(javascript, vectors, forge.forged),
}
