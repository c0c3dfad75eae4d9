"""Headers to be read, and headers to be refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np

from inrcodec.errors import CorruptFile, InrvError, LimitExceeded, UnsupportedFile
from inrcodec.format import messagepack
from inrcodec.format.header import Header

PLAIN = Header(
    shape=(8, 20, 24),
    dtype="int16",
    affine=np.eye(4),
    low=-1024.0,
    high=3071.0,
    factor=(2, 4, 4),
    layers=4,
    width=10,
    tiles=(1, 1, 1),
    cuts=(),
)
FULL = replace(
    PLAIN,
    affine=np.array([[0.48, 0, 0.1, -120.5], [0, 0.48, 0, 7], [0, 0, 3, 1e-7], [0, 0, 0, 1]]),
    rescale=(0.5, -1024.0),
    modality="CT",
    unit="HU",
    padding=-2000.0,
    description={"bits": 12, "thickness": 2.5, "photometric": "MONOCHROME2"},
    companding=(-13827, -18432, -10626, -8192),
    background=-0.98,
    cell=(2, 2, 2),
    tiles=(2, 2, 2),
    cuts=(2, 2, 3, 1, 5, 3, 2),
    omega=25.5,
    sr="ct-3d-x4",
    sr_sha256=bytes(range(32)),
    sr_window=(-1024.0, 3071.0),
    sr_noise=23,
    sr_ensemble=8,
    psnr=38.4,
    psnr_lanczos=37.1,
    peak=4095.0,
    max_error=812.0,
    digest=bytes(range(16)),
    version="0.1.0",
    seed=7,
)
SCALES = replace(
    PLAIN,
    slice_rescale=tuple((0.25 + z / 8, 0.0) for z in range(8)),
    refine_axes=(1, 2),
    refine_steps=(1, 1, 1),
    bound=0.0,
)
ALONE = Header(
    shape=(1, 20, 24),
    axes="yx",
    dtype="int16",
    affine=np.eye(4),
    low=0.0,
    high=9.0,
    coder="none",
    refine_axes=(1, 2),
    refine_steps=(1, 1, 1),
    brick=(1, 10, 12),
)
FILTERED = replace(ALONE, refine_filter=tuple(range(-20, 22)))
VIDEO = replace(PLAIN, coder="av1", layers=0, width=0, av1_slices=3, av1_flat=(3, 9))
LATENTS = replace(
    PLAIN,
    coder="latent",
    layers=0,
    width=0,
    background=-1.0,
    latent_model="latent-2",
    latent_sha256=bytes(range(32)),
    latent_rate=127,
    latent_ends=(3.071, -1.024),
    latent_slices=3,
    latent_flat=0.02,
)
HEADERS = {
    "plain": PLAIN,
    "full": FULL,
    "filter of a refinement": FILTERED,
    "scales of slices": SCALES,
    "image without networks": ALONE,
    "AV1": VIDEO,
    "latents": LATENTS,
}


def tree(header: Header = FULL) -> dict[str, Any]:
    return dict(msgpack.unpackb(header.to_bytes()))


def changed(group: str, key: str, value: Any, header: Header = FULL) -> bytes:
    content = tree(header)
    content.setdefault(group, {})[key] = value
    return messagepack.dumps(content)


def refined(**changes: Any) -> bytes:
    """The full header with a refinement, and some of it changed."""
    fields = {"axes": [0, 1, 2], "steps": [1, 1, 1, 1], **changes}
    return messagepack.dumps({**tree(), "refine": {k: v for k, v in fields.items() if v is not None}})


def scaled(*pairs: Any, **changes: Any) -> bytes:
    """A header with other scales of its slices, and more of it changed."""
    return changed("volume", "slice_rescale", list(pairs), replace(SCALES, **changes))


def alone(**groups: Any) -> bytes:
    """The header of a refinement without networks, and some groups of it changed, or left out."""
    return messagepack.dumps({k: v for k, v in {**tree(ALONE), **groups}.items() if v is not None})


def video(**changes: Any) -> bytes:
    """The header of a file of AV1, and some of it changed."""
    return replace(VIDEO, **changes).to_bytes()


def latents(**changes: Any) -> bytes:
    """The header of a file of latents, and some of it changed."""
    return replace(LATENTS, **changes).to_bytes()


HALVES = [0.5, 0] * 7
REFUSED: dict[str, tuple[bytes, type[InrvError]]] = {
    "unknown type": (changed("volume", "dtype", "complex64"), UnsupportedFile),
    "object type": (changed("volume", "dtype", "O"), UnsupportedFile),
    "unknown kernel": (changed("lowres", "kernel", "bicubic"), UnsupportedFile),
    "unknown coder of the low-res volume": (changed("lowres", "coder", "wire"), UnsupportedFile),
    "unknown coder": (changed("net", "method", 0), UnsupportedFile),
    "axes of a later version": (changed("volume", "axes", "tzyx"), UnsupportedFile),
    "axes in another order": (changed("volume", "axes", "xyz"), UnsupportedFile),
    "networks of no low-res volume": (changed("lowres", "coder", "none", SCALES), CorruptFile),
    "model of no low-res volume": (alone(sr={"window": [0, 5]}), CorruptFile),
    "quality of no low-res volume": (alone(quality={"lanczos": 30.5}), CorruptFile),
    "neither low-res volume nor refinement": (alone(refine=None), CorruptFile),
    "low-res volume without a network": (
        messagepack.dumps({**tree(PLAIN), "net": {"width": 4}}),
        CorruptFile,
    ),
    "networks of AV1": (video(layers=2, width=4), CorruptFile),
    "a frequency of AV1": (video(omega=20.0), CorruptFile),
    "a mask's background of AV1": (video(background=-1.0), CorruptFile),
    "a mask's cells of AV1": (video(cell=(2, 2, 2)), CorruptFile),
    "streams of networks": (changed("av1", "slices", 3), CorruptFile),
    "background codes of networks": (changed("av1", "flat", [1, 2]), CorruptFile),
    "streams of no low-res volume": (alone(av1={"slices": 3}), CorruptFile),
    "as many slices in a stream as there are": (video(av1_slices=4), CorruptFile),
    "fewer slices than none in a stream": (video(av1_slices=-1), CorruptFile),
    "background of three codes": (video(av1_flat=(1, 2, 3)), CorruptFile),
    "background codes upside down": (video(av1_flat=(8, 7)), CorruptFile),
    "background codes below 0": (video(av1_flat=(-1, 7)), CorruptFile),
    "background codes beyond 10 bits": (video(av1_flat=(8, 1024)), CorruptFile),
    "networks of latents": (latents(layers=2, width=4), CorruptFile),
    "a mask's cells of latents": (latents(cell=(2, 2, 2)), CorruptFile),
    "background codes of latents": (latents(av1_flat=(3, 9)), CorruptFile),
    "a rate of latents of AV1": (video(latent_rate=5), CorruptFile),
    "a rate of latents of networks": (changed("latent", "rate", 5), CorruptFile),
    "a model of latents of no low-res volume": (alone(latent={"id": "latent-2"}), CorruptFile),
    "latents without a model": (latents(latent_model=""), CorruptFile),
    "latents of a model without a hash": (latents(latent_sha256=b""), CorruptFile),
    "rate of latents beyond 127": (latents(latent_rate=128), CorruptFile),
    "rate of latents below 0": (latents(latent_rate=-1), CorruptFile),
    "ends of latents that are one": (latents(latent_ends=(2.0, 2.0)), CorruptFile),
    "ends of latents that are nearly one": (latents(latent_ends=(1e9, 1e9 + 1)), CorruptFile),
    "ends of latents too far apart": (latents(latent_ends=(-1e308, 1e308)), CorruptFile),
    "three ends of latents": (changed("latent", "ends", [0, 1, 2], LATENTS), CorruptFile),
    "as many slices of latents as there are": (latents(latent_slices=4), CorruptFile),
    "fewer slices of latents than none": (latents(latent_slices=-1), CorruptFile),
    "background without a tolerance": (latents(latent_flat=None), CorruptFile),
    "negative tolerance of background": (latents(latent_flat=-0.1), CorruptFile),
    "tolerance beyond all values": (latents(latent_flat=2.1), CorruptFile),
    "brick of nothing": (changed("volume", "brick", [8, 0, 24]), CorruptFile),
    "brick beyond the volume": (changed("volume", "brick", [9, 20, 12]), CorruptFile),
    "brick that is the volume": (changed("volume", "brick", [8, 20, 24]), CorruptFile),
    "brick without an edge": (changed("volume", "brick", [8, 10]), CorruptFile),
    "brick that no lattice goes through": (changed("volume", "brick", [8, 10, 5], SCALES), CorruptFile),
    "unknown mask coder": (changed("mask", "method", 2), UnsupportedFile),
    "unknown field": (changed("volume", "colour", 1), CorruptFile),
    "unknown group": (messagepack.dumps({**tree(), "extra": {"a": 1}}), CorruptFile),
    "group is no map": (messagepack.dumps({**tree(), "net": 1}), CorruptFile),
    "missing field": (messagepack.dumps({**tree(), "range": {"low": 0}}), CorruptFile),
    "empty group": (messagepack.dumps({**tree(), "extra": {}}), CorruptFile),
    "no map": (messagepack.dumps([1, 2]), CorruptFile),
    "default stated": (changed("volume", "axes", "zyx"), CorruptFile),
    "zero axis": (changed("volume", "shape", [0, 20, 24]), CorruptFile),
    "negative axis": (changed("volume", "shape", [-1, 20, 24]), CorruptFile),
    "two axes": (changed("volume", "shape", [20, 24]), CorruptFile),
    "axis is a float": (changed("volume", "shape", [8.5, 20, 24]), CorruptFile),
    "axis is a bool": (changed("volume", "shape", [True, 20, 24]), CorruptFile),
    "deep image": (changed("volume", "axes", "yx"), CorruptFile),
    "singular affine": (changed("volume", "affine", [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0]), CorruptFile),
    "huge affine": (
        changed("volume", "affine", [1e308, 1e308, 0, 0, 0, 1e308, 0, 0, 0, 0, 1, 0]),
        CorruptFile,
    ),
    "far affine": (changed("volume", "affine", [1, 0, 0, 1.01e12, 0, 1, 0, 0, 0, 0, 1, 0]), CorruptFile),
    "fine affine": (changed("volume", "affine", [1, 0, 0, 0, 0, 9e-13, 0, 0, 0, 0, 1, 0]), CorruptFile),
    "short affine": (changed("volume", "affine", [1] * 11), CorruptFile),
    "axes without steps": (refined(steps=None), CorruptFile),
    "steps for other stages": (refined(steps=[1, 1]), CorruptFile),
    "step 0": (refined(steps=[1, 0, 1, 1]), CorruptFile),
    "step beyond 32 bits": (refined(steps=[1, 1, 1, 2**32 + 1]), CorruptFile),
    "a fourth axis": (refined(axes=[0, 3, 2]), CorruptFile),
    "an axis that has no more halves": (refined(axes=[0] * 5, steps=[1] * 6), CorruptFile),
    "unit of integers": (refined(unit=2), CorruptFile),
    "filter of a promise": (refined(bound=3, filter=[1] * 42), CorruptFile),
    "filter of the bits of floats": (
        replace(FILTERED, dtype="float32", refine_unit=0.0).to_bytes(),
        CorruptFile,
    ),
    "filter without a refinement": (changed("refine", "filter", [1] * 42), CorruptFile),
    "too few weights of a refinement": (refined(bound=None, filter=[1] * 14), CorruptFile),
    "weights of a refinement that do nothing": (refined(bound=None, filter=[0] * 42), CorruptFile),
    "weight of a refinement beyond its range": (refined(bound=None, filter=[256] * 42), CorruptFile),
    "promise without a refinement": (changed("refine", "bound", 3), CorruptFile),
    "negative promise": (refined(bound=-1), CorruptFile),
    "noise beyond all values": (changed("sr", "noise", 4097), CorruptFile),
    "ensemble of three": (changed("sr", "ensemble", 3), CorruptFile),
    "ensemble of no model": (changed("sr", "ensemble", 2, PLAIN), CorruptFile),
    "scales of too few slices": (scaled(*HALVES), CorruptFile),
    "half a scale": (scaled(*HALVES, 0.25), CorruptFile),
    "scales of too many slices": (scaled(*HALVES, 0.25, 0, 0.25, 0), CorruptFile),
    "more scales than any file has": (scaled(*[0.5, 0.25] * 40_000), CorruptFile),
    "a slice of slope 0": (scaled(*HALVES, 0, 0), CorruptFile),
    "a slice of slope text": (scaled(*HALVES, "1", 0), CorruptFile),
    "slices of one scale": (scaled(*HALVES, 0.5, 0), CorruptFile),
    "scales of slices and of all": (scaled(*HALVES, 0.25, 0, rescale=(0.5, 0.0)), CorruptFile),
    "scales of lossy slices": (scaled(*HALVES, 0.25, 0, bound=1.0), CorruptFile),
    "scales without a refinement": (
        scaled(*HALVES, 0.25, 0, refine_axes=(), refine_steps=(), bound=None),
        CorruptFile,
    ),
    "slope 0": (changed("volume", "rescale", [0, 1]), CorruptFile),
    "unprintable text": (changed("volume", "modality", "\x1b[2J"), CorruptFile),
    "text beyond ASCII": (changed("volume", "unit", "µm"), CorruptFile),
    "text of a right-to-left mark": (changed("volume", "about", {"a": "\u200fb"}), CorruptFile),
    "delete character": (changed("volume", "modality", "\x7f"), CorruptFile),
    "long text": (changed("volume", "modality", "x" * 65), CorruptFile),
    "nested description": (changed("volume", "about", {"a": {"b": 1}}), CorruptFile),
    "large description": (changed("volume", "about", {str(i): i for i in range(65)}), CorruptFile),
    "modality of 17 characters": (changed("volume", "modality", "x" * 17), CorruptFile),
    "padding between integers": (changed("volume", "padding", -0.5), CorruptFile),
    "padding beyond the exact integers": (
        changed("volume", "padding", 2**53 + 2, replace(FULL, dtype="int64")),
        CorruptFile,
    ),
    "range beyond the exact integers": (
        changed("range", "high", 2**53 + 2, replace(FULL, dtype="uint64", low=0.0, padding=None)),
        CorruptFile,
    ),
    "padding beyond the type": (changed("volume", "padding", 70_000), CorruptFile),
    "range upside down": (changed("range", "low", 3072), CorruptFile),
    "range beyond the type": (changed("range", "high", 40_000), CorruptFile),
    "factor 0": (changed("lowres", "factor", [0, 1, 1]), CorruptFile),
    "factor 9": (changed("lowres", "factor", [1, 9, 1]), CorruptFile),
    "a coordinate without its node": (changed("lowres", "companding", [0, 0, 5]), CorruptFile),
    "companding that stands still": (changed("lowres", "companding", [0, 5, 9, 5]), CorruptFile),
    "companding that falls": (changed("lowres", "companding", [0, 9, 9, 5]), CorruptFile),
    "companding with two values at once": (changed("lowres", "companding", [0, 5, 0, 9]), CorruptFile),
    "companding at its own end": (changed("lowres", "companding", [0, 32768]), CorruptFile),
    "companding beyond its ends": (changed("lowres", "companding", [-40000, 0]), CorruptFile),
    "companding in fractions": (changed("lowres", "companding", [0.5, 0]), CorruptFile),
    "companding of nine nodes": (changed("lowres", "companding", list(range(18))), CorruptFile),
    "background 2": (changed("mask", "background", 2), CorruptFile),
    "cell 0": (changed("mask", "cell", [0, 1, 1]), CorruptFile),
    "no layers": (changed("net", "layers", 0), CorruptFile),
    "omega 0": (changed("net", "omega", 0), CorruptFile),
    "omega 1001": (changed("net", "omega", 1001), CorruptFile),
    "more tiles than voxels": (changed("net", "tiles", [5, 2, 2]), CorruptFile),
    "a cut too few": (changed("net", "cuts", [2, 2, 3, 1, 5, 3]), CorruptFile),
    "a cut too many": (changed("net", "cuts", [2, 2, 3, 1, 5, 3, 2, 2]), CorruptFile),
    "an empty box": (changed("net", "cuts", [2, 2, 3, 1, 6, 3, 2]), CorruptFile),
    "a cut at 0": (changed("net", "cuts", [0, 2, 3, 1, 5, 3, 2]), CorruptFile),
    "model without hash": (changed("sr", "sha256", b""), CorruptFile),
    "hash of 31 bytes": (changed("sr", "sha256", bytes(31)), CorruptFile),
    "empty window": (changed("sr", "window", [5, 5]), CorruptFile),
    "window upside down": (changed("sr", "window", [5, 4]), CorruptFile),
    "window of almost nothing": (changed("sr", "window", [1000, 1000.0005]), CorruptFile),
    "window of almost nothing at 0": (changed("sr", "window", [0, 1e-310]), CorruptFile),
    "window of everything": (changed("sr", "window", [-1.7e308, 1.7e308]), CorruptFile),
    "window lost in the intercept": (changed("volume", "rescale", [0.5, 1e30]), CorruptFile),
    "window beyond the slope": (changed("volume", "rescale", [1e-306, 0]), CorruptFile),
    "digest of 15 bytes": (changed("quality", "digest", bytes(15)), CorruptFile),
    "negative error": (changed("quality", "max_error", -1), CorruptFile),
    "too long": (bytes(1 << 20) + b"\0", LimitExceeded),
    "a million empty arrays": (bytes.fromhex("dd000ffff0") + b"\x90" * 0xFFFF0, LimitExceeded),
}
FUTURE = {"future": {"a": [1, {"b": 2}]}}
UNFIT_FOR_ANY_MINOR: dict[str, dict[str, Any]] = {
    "default stated": {**FUTURE, "volume": {**tree()["volume"], "axes": "zyx"}},
    "default map stated": {**FUTURE, "mask": {**tree()["mask"], "method": 1}},
    "empty known group": {**FUTURE, "encoder": {}},
    "empty unknown group": {**FUTURE, "extra": {}},
    "group is no map": {"future": [1, {"a": 2}]},
}


def nested(depth: int) -> bytes:
    return b"\x91" * (depth - 1) + b"\x90"


NOT_CANONICAL: dict[str, bytes] = {
    "empty": b"",
    "cut off": FULL.to_bytes()[:-1],
    "followed by a byte": FULL.to_bytes() + b"\0",
    "long integer": bytes.fromhex("81a161cc05"),
    "signed for positive": bytes.fromhex("81a161d105dc"),
    "integral float": bytes.fromhex("81a161cb3ff0000000000000"),
    "minus zero": bytes.fromhex("81a161cb8000000000000000"),
    "float32": bytes.fromhex("81a161ca3fc00000"),
    "not a number": bytes.fromhex("81a161cb7ff8000000000000"),
    "infinite": bytes.fromhex("81a161cb7ff0000000000000"),
    "keys not sorted": bytes.fromhex("82a16201a16101"),
    "key twice": bytes.fromhex("82a16101a16101"),
    "key twice, other values": bytes.fromhex("82a16101a16102"),
    "key is a number": bytes.fromhex("810101"),
    "key is an array": bytes.fromhex("819001"),
    "long text form": bytes.fromhex("81d9016101"),
    "long map form": bytes.fromhex("de0001a16101"),
    "text is no UTF-8": bytes.fromhex("81a161a1ff"),
    "reserved byte": bytes.fromhex("81a161c1"),
    "extension": bytes.fromhex("81a161d40100"),
    "extension of 1 GB": bytes.fromhex("81a161c94000000001"),
    "time stamp": bytes.fromhex("81a161d6ff00000000"),
    "array of 4 G": bytes.fromhex("81a161ddffffffff"),
    "map of 4 G": bytes.fromhex("dfffffffff"),
    "bytes of 4 G": bytes.fromhex("81a161c6ffffffff"),
    "nested 9 deep": nested(9),
    "nested 100 000 deep": nested(100_000),
}


def refined_at(edge: int, **changes: Any) -> Header:
    """A cube with a refinement from 16 x 16 x 16 on."""
    axes = (0, 1, 2) * ((edge - 1).bit_length() - 4)
    header = replace(PLAIN, shape=(edge,) * 3, factor=(8, 8, 8), cell=(2, 2, 2), refine_axes=axes)
    return replace(header, refine_steps=(1,) * (len(axes) + 1), **changes)


BEYOND: dict[str, Callable[[], Header]] = {
    "axis": lambda: replace(PLAIN, shape=(65_536, 1, 1), factor=(1, 1, 1)),
    "voxels": lambda: replace(PLAIN, shape=(65_535, 1025, 1024)),
    "voxels of a slice": lambda: replace(PLAIN, shape=(8, 8193, 8192)),
    "voxels of a brick": lambda: replace(PLAIN, shape=(1025, 1024, 1024), factor=(8, 8, 8), cell=(2, 2, 2)),
    "low-res voxels": lambda: replace(PLAIN, shape=(513, 512, 512), factor=(1, 1, 1)),
    "tiles": lambda: replace(
        PLAIN, shape=(256, 512, 513), factor=(1, 1, 1), tiles=(1, 256, 257), width=1, layers=1
    ),
    "layers": lambda: replace(PLAIN, layers=17),
    "width of a layer": lambda: replace(PLAIN, width=1025),
    "weights": lambda: replace(PLAIN, layers=16, width=1024, tiles=(1, 2, 2)),
    "multiply-adds": lambda: replace(PLAIN, shape=(1024, 1024, 1024), factor=(2, 2, 2), width=128),
    "bytes of the refinement": lambda: refined_at(1024, dtype="float32", refine_unit=0.0),
    "chunks": lambda: replace(
        PLAIN,
        shape=(512, 512, 512),
        factor=(8, 8, 8),
        cell=(2, 2, 2),
        refine_steps=(1,),
        brick=(1, 1, 1),
    ),
    "mask cells": lambda: replace(PLAIN, shape=(128, 128, 128), factor=(1, 1, 1)),
}
