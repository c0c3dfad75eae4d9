"""Lay down golden files: small ones over every feature, which from then on are only ever decoded.

    python tests/golden/make.py            lay down those that are missing
    python tests/golden/make.py --check    say which cases are missing, and write nothing

A case is a file, `NAME.inrv`, and a row of `digests.json`: SHA-256 of the file and, where decoding is exact,
of the decoded voxels.  Where it is not, `NAME.npz` holds the voxels, which others may miss by one unit, or
of floats by 1e-5 of the range.  A file that is there is never written again: a version that decodes it
differently has changed the format.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

import inrcodec
from inrcodec.format.header import DTYPES
from inrcodec.layers.models import OWN

FOLDER = Path(__file__).parent
MODELS = FOLDER.parents[1] / "spec" / "models"  # whose models latents are of: small ones that never change
DIGESTS = FOLDER / "digests.json"
FIT = {"base": "siren", "steps": 120, "width": 8, "layers": 2, "sr": "lanczos", "threads": 1, "seed": 1}
Array = NDArray[Any]
Case = tuple[str, Array, dict[str, Any], dict[str, Any]]  # name, voxels, fields of the volume, options


def scene(z: int = 7, y: int = 18, x: int = 20, noise: float = 6.0) -> NDArray[np.float64]:
    """A body in air, with some noise."""
    axes = (np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in (z, y, x))
    k, j, i = np.meshgrid(*axes, indexing="ij")
    inside = (k / 1.3) ** 2 + (j - 0.1) ** 2 + (1.2 * i) ** 2 < 0.6
    texture = 40 + 300 * np.sin(3 * i + 2 * k) * np.cos(4 * j - k)
    return np.where(inside, texture + np.random.default_rng(1).normal(scale=noise, size=inside.shape), -900.0)


def of_type(name: str) -> Array:
    """The scene in a type."""
    dtype = np.dtype(name)
    values = scene() / (8 if dtype.itemsize == 1 else 1)
    if dtype.kind == "f":
        return (values / 7).astype(dtype)
    return np.rint(values + (120 if dtype.itemsize == 1 else 1024) * (dtype.kind == "u")).astype(dtype)


def ct(*shape: int, noise: float = 6.0) -> NDArray[np.int16]:
    return np.rint(scene(*shape, noise=noise)).astype(np.int16)


def padded() -> NDArray[np.int16]:
    array = ct()
    array[:, :4, :4], array[2:, -3:, -5:] = -2000, -2000
    return array


def special(dtype: str) -> Array:
    array = of_type(dtype)
    array[0, :3, :4], array[-1, -1, -2:], array[3, 3, :2] = np.nan, (np.inf, -np.inf), (0.0, -0.0)
    return array


CT = {"modality": "CT"}
BRICKS = {"cubes": 8, "flat": (8, 16, 16), "columns": (16, 8, 8), "rows": (8, 8, 32), "plates": (16, 16, 32)}


def exact() -> Iterator[Case]:
    """Files whose voxels are the same everywhere."""
    for dtype in DTYPES:
        yield f"lossless-{dtype}", of_type(dtype), {}, {"lossless": True}
        bound = {"f2": 0.5, "f4": 0.05, "f8": 1e-3}.get(np.dtype(dtype).str[1:], 2)
        yield f"bounded-{dtype}", of_type(dtype), {}, {"max_error": bound}
    for name, edges in BRICKS.items():
        yield f"bricks-{name}", ct(9, 20, 24), CT, {"lossless": True, "brick": edges}
        yield f"bricks-{name}-bounded", ct(9, 20, 24), CT, {"max_error": 3, "brick": edges}
    shapes = {"image": (1, 30, 34), "row": (1, 1, 70), "column": (60, 1, 1), "voxel": (1, 1, 1)}
    for name, shape in shapes.items():
        yield f"shape-{name}", ct(*shape), CT, {"lossless": True}
    for name, spacing in {"thick": (8, 1, 1), "long": (1, 1, 5), "even": (1, 1, 1)}.items():
        yield f"axes-{name}", ct(11, 13, 17), {**CT, "spacing": spacing}, {"lossless": True}
    for name, psnr in {"coarse": 35.0, "fine": 55.0}.items():
        yield f"quantised-{name}", ct(), CT, {"psnr": psnr}
    yield "quantised-bricks", ct(9, 20, 24), CT, {"psnr": 45.0, "brick": 8}
    yield "padding", padded(), {**CT, "padding": -2000}, {"lossless": True}
    yield "padding-bricks", padded(), {**CT, "padding": -2000}, {"lossless": True, "brick": 8}
    yield "padding-bounded", padded(), {**CT, "padding": -2000}, {"max_error": 4}
    for dtype in ("float16", "float32", "float64"):
        yield f"special-{dtype}", special(dtype), {}, {"lossless": True}
    yield "special-bricks", special("float32"), {}, {"max_error": 0.1, "brick": 8}
    slopes = tuple(0.5 + (5 * z % 7) / 16 for z in range(7))
    yield "slopes", of_type("uint16"), {"modality": "PT", "slopes": slopes}, {"lossless": True}
    yield "constant", np.full((4, 5, 6), 7, np.uint8), {}, {"lossless": True}
    noise = np.random.default_rng(2).integers(0, 2**32, (5, 16, 17)).astype(np.uint32)
    yield "noise", noise, {}, {"lossless": True}
    yield "unit", ct(), {**CT, "rescale": (-0.5, 10.0)}, {"lossless": True}
    yield "behind-networks", ct(), CT, {**FIT, "max_error": 4, "factor": 2, "tiles": (1, 1, 1)}
    yield "behind-latents", ct(), CT, {"base": "latent", "max_error": 20, "factor": 2}
    yield "behind-av1", ct(16, 64, 64), CT, {"base": "av1", "max_error": 40, "factor": 2}


def approximate() -> Iterator[Case]:
    """Files whose voxels may differ by rounding."""
    factors = {"1": 1, "2": 2, "3": 3, "8": (4, 8, 8), "plane": (1, 2, 2), "mixed": (2, 1, 4)}
    for name, factor in factors.items():
        yield f"networks-factor-{name}", ct(), CT, {**FIT, "factor": factor, "tiles": (1, 1, 1)}
    yield "networks-tiles", ct(16, 24, 28), CT, {**FIT, "factor": 2, "tiles": (2, 2, 2)}
    yield "networks-layers", ct(), CT, {**FIT, "factor": 2, "tiles": (1, 1, 1), "layers": 4}
    yield "networks-focus", ct(), CT, {**FIT, "factor": 2, "tiles": (1, 1, 1), "focus": "lung"}
    yield "networks-padding", padded(), {**CT, "padding": -2000}, {**FIT, "factor": 2, "tiles": (1, 1, 1)}
    yield "networks-float32", of_type("float32"), {}, {**FIT, "factor": 2, "tiles": (1, 1, 1)}
    yield "networks-image", ct(1, 40, 44)[0], CT, {**FIT, "factor": (1, 2, 2), "tiles": (1, 1, 1)}
    for model in ("ct-3d-x2", "ct-3d-x4", "ct-2d-x2", "mr-3d-x2.4.4"):
        about = {"modality": "MR" if model.startswith("mr") else "CT"}
        options = {**FIT, "factor": {"x2": 2, "x4": 4}.get(model.split("-")[-1], (2, 4, 4)), "sr": model}
        options["factor"] = (1, 2, 2) if "2d" in model else options["factor"]
        yield f"model-{model}", ct(12, 24, 28), about, {**options, "tiles": (1, 1, 1)}
    for name, factor in {"2": 2, "plane": (1, 2, 2), "4": 4}.items():
        options = {"base": "av1", "factor": factor, "sr": "lanczos", "size": 1500, "threads": 1}
        yield f"av1-factor-{name}", ct(16, 64, 64, noise=2), CT, options
    yield (
        "av1-model",
        ct(16, 64, 64, noise=2),
        CT,
        {"base": "av1", "factor": 2, "sr": "ct-3d-x2", "size": 2500},
    )
    yield (
        "av1-filter",
        ct(24, 96, 96, noise=3),
        CT,
        {"base": "av1", "factor": 2, "sr": "lanczos", "size": 6000},
    )
    latents = {"base": "latent", "sr": "lanczos", "threads": 1}
    for name, (factor, size) in {"1": (1, 17000), "2": (2, 4000), "plane": ((1, 2, 2), 6500)}.items():
        options = {**latents, "factor": factor, "size": size}
        yield f"latents-factor-{name}", ct(16, 40, 44, noise=2), CT, options
    yield (
        "latents-focus",
        ct(16, 40, 44),
        CT,
        {**latents, "factor": 2, "size": 4000, "focus": "soft-tissue"},
    )
    yield (
        "latents-padding",
        padded(),
        {**CT, "padding": -2000},
        {**latents, "factor": 1, "size": 3000},
    )
    yield "latents-float32", of_type("float32"), {}, {**latents, "factor": (1, 2, 2), "size": 3000}
    yield (
        "latents-model",
        ct(16, 48, 48, noise=2),
        CT,
        {**latents, "factor": 2, "sr": "ct-3d-x2", "size": 4000},
    )
    yield (
        "latents-deep",
        ct(16, 40, 44, noise=2),
        CT,
        {**latents, "factor": 2, "size": 4000, "of": "small-deep"},
    )
    options = {"base": "av1", "factor": 1, "sr": "lanczos", "size": 2000}
    yield "av1-padding", padded(), {**CT, "padding": -2000}, options


def encoded(array: Array, about: dict[str, Any], options: dict[str, Any]) -> bytes:
    """The file of a case."""
    words = dict(about)
    slopes = words.pop("slopes", None)
    rescale = words.pop("rescale", None)
    spacing = words.pop("spacing", (2.0, 1.0, 1.0))[-array.ndim :]
    volume = inrcodec.Volume.from_array(array, spacing=spacing, **words)
    if rescale is not None:
        volume = replace(volume, rescale=rescale)
    if slopes is not None:
        volume = replace(volume, slice_rescale=np.stack([slopes, np.zeros(len(slopes))], 1))
    with only(options.get("of", "small-latent")):
        return inrcodec.encode(volume, **{name: value for name, value in options.items() if name != "of"})


@contextmanager
def only(model: str) -> Iterator[None]:
    """Latents are those of one of the small models."""
    with TemporaryDirectory() as folder:
        for path in MODELS.glob(f"{model}.*"):
            copy(path, folder)
        os.environ[OWN] = folder
        yield
    os.environ[OWN] = str(MODELS)


def voxels_digest(array: Array) -> str:
    """SHA-256 of type, shape and voxels, little-endian."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return sha256(f"{array.dtype} {array.shape}".encode() + little.tobytes()).hexdigest()


def cases() -> Iterator[tuple[bool, Case]]:
    yield from ((True, case) for case in exact())
    yield from ((False, case) for case in approximate())


def main(words: list[str]) -> int:
    """Lay down what is missing."""
    known = json.loads(DIGESTS.read_text()) if DIGESTS.exists() else {}
    missing = 0
    for is_exact, (name, array, about, options) in cases():
        path = FOLDER / f"{name}.inrv"
        if name in known and path.exists():
            continue
        missing += 1
        if "--check" in words:
            print(f"{name} is missing")
            continue
        data = encoded(array, about, options)
        decoded = inrcodec.decode(data, threads=1)
        path.write_bytes(data)
        known[name] = {"file": sha256(data).hexdigest()}
        if is_exact:
            known[name]["voxels"] = voxels_digest(decoded)
        else:
            np.savez_compressed(FOLDER / f"{name}.npz", voxels=decoded)
            known[name]["npz"] = sha256((FOLDER / f"{name}.npz").read_bytes()).hexdigest()
        print(f"{name}: {len(data)} bytes", flush=True)
        DIGESTS.write_text(json.dumps(known, indent=0, sort_keys=True) + "\n")
    return 1 if missing and "--check" in words else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
