"""Write the conformance cases of `vectors/`: a file, its decoded volume, and the tolerance of a decoder.

    python make_vectors.py             write the cases that are missing
    python make_vectors.py NAME ...    write these again

A case is written once and then only ever decoded: a version that decodes it differently has changed the
format. Each is a folder with `input.inrv`; `expected.npz`, with `lanczos` (stored values) and, where the file
has networks, `lowres` (unit values, float64); and `case.json`, with the tolerances.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vector_arrays import blob, cornered, ct, half, image, mr, noisy, padded, special, spiky, texture
from vector_files import MODELS, latents_of, of_streams, with_filter

import inrcodec
from inrcodec.format.header import AV1
from inrcodec.layers.base.companding import curve
from inrcodec.layers.models import OWN
from inrcodec.layers.superres.registry import manifests

VECTORS = Path(__file__).with_name("vectors")
LOWRES_TOLERANCE = 1e-6  # unit values
FLOAT_TOLERANCE = 1e-5  # of the range, for floating-point volumes
SMALL = {"steps": 300, "width": 8, "layers": 2, "sr": "lanczos", "threads": 1, "seed": 1}


@dataclass(frozen=True)
class Case:
    """A volume, the options to encode it with, and what is special about it."""

    about: str
    array: NDArray[Any]
    options: dict[str, Any]
    volume: dict[str, Any] = field(default_factory=dict)
    streams: dict[str, Any] | None = (
        None  # header fields of a file of AV1 or latents; the encoder has no say in it
    )
    filter: tuple[int, ...] = ()  # of the refinement; the encoder has no say in it


def cases() -> dict[str, Case]:
    hounsfield, small = {"modality": "CT"}, latents_of("small-latent")
    return {
        "ct-int16-mask": Case(
            "air is masked", ct((16, 24, 28)), {"factor": 2, "tiles": (1, 1, 1)}, hounsfield
        ),
        "mr-uint8": Case("8 bits", mr(), {"factor": 2, "tiles": (1, 1, 1)}, {"modality": "MR"}),
        "image-2d": Case("one image", image(), {"factor": (1, 2, 2), "tiles": (1, 1, 1)}),
        "padding-mask": Case(
            "voxels outside the scan circle",
            padded(),
            {"factor": 2, "tiles": (1, 1, 1)},
            {**hounsfield, "padding": -2000},
        ),
        "one-tile": Case(
            "four layers, no mask", texture((9, 11, 13)), {"factor": 2, "tiles": (1, 1, 1), "layers": 4}
        ),
        "several-tiles": Case(
            "2 x 2 x 2 tiles and a mask", ct((16, 24, 28)), {"factor": 2, "tiles": (2, 2, 2)}, hounsfield
        ),
        "anisotropic": Case(
            "another factor along each axis, none divides",
            ct((7, 21, 30)),
            {"factor": (1, 2, 4), "tiles": (1, 1, 2)},
            hounsfield,
        ),
        "float32": Case("floating point", texture((10, 16, 16)), {"factor": 2, "tiles": (1, 2, 1)}),
        "constant": Case(
            "nothing but one value", np.full((4, 6, 5), -7, np.int8), {"factor": 2, "tiles": (1, 1, 1)}
        ),
        "companding": Case(
            "a window of values has most of the networks' range",
            ct((16, 24, 28)),
            {"factor": 2, "tiles": (1, 1, 2), "focus": "soft-tissue"},
            hounsfield,
        ),
        "lossless": Case(
            "a refinement without networks; padding",
            padded(),
            {"lossless": True},
            {**hounsfield, "padding": -2000},
        ),
        "bounded-behind-networks": Case(
            "a refinement behind networks, off by 4 at most",
            noisy((11, 40, 37)),
            {"max_error": 4, "base": True, "factor": 2, "tiles": (1, 1, 1)},
            hounsfield,
        ),
        "bricks": Case(
            "a refinement in bricks, the last ones smaller; padding",
            padded(),
            {"lossless": True, "brick": (8, 16, 8)},
            {**hounsfield, "padding": -2000},
        ),
        "bricks-quantised": Case(
            "bricks of one slice at the end, steps by level",
            noisy((9, 33, 30)),
            {"psnr": 50.0, "brick": 8},
            hounsfield,
        ),
        "bricks-thin": Case(
            "the last bricks are too thin for some halvings",
            noisy((9, 9, 17)),
            {"lossless": True, "brick": 8},
            hounsfield,
        ),
        "lossless-float32": Case("the bits of floats", texture((5, 17, 9)), {"lossless": True}),
        "bounded-float32": Case("multiples of a unit", texture((6, 12, 19)), {"max_error": 0.01}),
        "quantised": Case("steps by level", noisy((9, 33, 30)), {"psnr": 50.0}, hounsfield),
        "quantised-filter": Case(
            "a filter with large weights behind bricks, the last of one slice; padding",
            cornered(),
            {"psnr": 44.0, "brick": 8},
            {**hounsfield, "padding": -2000},
            filter=tuple((97 * k + 11) % 160 - 60 for k in range(42)),
        ),
        "scales-of-slices": Case(
            "a slope of its own in each slice, none is predicted from another",
            noisy((9, 26, 28)) + np.int16(1024),
            {"lossless": True},
            {"modality": "PT", "slopes": tuple(0.25 + (7 * z % 9) / 16 for z in range(9))},
        ),
        "rare-values": Case("tokens that nobody expects, and many bits", spiky(), {"lossless": True}),
        "bricks-flat": Case(
            "bricks of whole slices, the last of a single one",
            noisy((17, 14, 15)),
            {"lossless": True, "brick": (8, 16, 16)},
            hounsfield,
        ),
        "bricks-in-plane": Case(
            "bricks that are cut along x alone, behind networks with a mask; a bound",
            noisy((6, 20, 40)),
            {"max_error": 2, "base": True, "brick": (8, 32, 16), "factor": 2, "tiles": (1, 1, 1)},
            hounsfield,
        ),
        "bricks-with-holes": Case(
            "padding in some of the bricks only",
            cornered(),
            {"lossless": True, "brick": 8},
            {**hounsfield, "padding": -2000},
        ),
        "bricks-float16": Case("bits of halves", half((9, 18, 20)), {"lossless": True, "brick": (16, 8, 8)}),
        "special-values": Case(
            "NaN with its bits, infinities and two zeros among multiples of 1",
            special((7, 18, 21)),
            {"lossless": True},
        ),
        "special-in-bricks": Case(
            "voxels that are not finite in some of the bricks, within a bound; padding",
            special((9, 20, 19), "float64"),
            {"max_error": 2, "brick": 8},
            {"padding": 0},
        ),
        "lossless-float64": Case(
            "64 bits of each value in bricks: upper halves by the lattice, lower ones behind; NaN",
            special((9, 11, 13), "float64") + blob((9, 11, 13))[1] / 7,
            {"lossless": True, "brick": 8},
        ),
        "lossless-image": Case("one image, without networks", image(), {"lossless": True}),
        "lossless-int8": Case("8 bits with a sign", (mr() - 128).astype(np.int8), {"lossless": True}),
        "lossless-uint16": Case(
            "16 bits without", (ct((6, 20, 22)) + 1024).astype(np.uint16), {"lossless": True}
        ),
        "lossless-int64": Case(
            "64 bits, around 2^40", noisy((4, 15, 17)).astype(np.int64) * 1000 + 2**40, {"lossless": True}
        ),
        "bounded-uint64": Case(
            "multiples of a step", noisy((4, 15, 17)).astype(np.uint64) + 2**33, {"max_error": 3}
        ),
        "bounded-float64": Case(
            "multiples of a unit, in 64 bits",
            texture((5, 14, 16)).astype(np.float64) * 1e-5,
            {"max_error": 1e-9},
        ),
        "float64": Case(
            "networks of 64-bit values",
            texture((8, 14, 16)).astype(np.float64) * 1e9,
            {"factor": 2, "tiles": (1, 1, 1)},
        ),
        "one-voxel": Case("a single voxel", np.full((1, 1, 1), 5, np.int16), {"lossless": True}),
        "one-row": Case(
            "one voxel along two axes",
            np.arange(77, dtype=np.int16).reshape(1, 1, 77) ** 2,
            {"lossless": True},
        ),
        "falling-slope": Case(
            "values that fall as the stored ones rise, facts about the source",
            ct((8, 16, 18)),
            {"factor": 2, "tiles": (1, 1, 1)},
            {"modality": "CT", "rescale": (-1.0, 24.0), "description": {"bits": 12, "thickness": 2.5}},
        ),
        "many-weights": Case(
            "weights whose chunks have checksums",
            ct((24, 48, 56)),
            {"factor": 1, "tiles": (2, 3, 3), "width": 64, "layers": 3, "steps": 40},
            hounsfield,
        ),
        "model-named": Case(
            "a super-resolution model, which a Lanczos decoder leaves out",
            ct((16, 48, 56)),
            {"factor": 4, "tiles": (1, 1, 1), "sr": "ct-3d-x4", "width": 12},
            hounsfield,
        ),
        "av1": Case(
            "a low-res volume of AV1 in one stream, and its background",
            ct((14, 50, 57)),
            {},
            hounsfield,
            {"coder": AV1, "factor": (2, 2, 2), "av1_flat": (0, 8)},
        ),
        "av1-streams": Case(
            "streams of AV1, the last of one slice; companding",
            ct((19, 24, 70)),
            {},
            hounsfield,
            {
                "coder": AV1,
                "factor": (2, 1, 3),
                "av1_slices": 3,
                "companding": curve(-0.2, 0.3),
                "av1_flat": (0, 4),
            },
        ),
        "av1-padding": Case(
            "AV1 at full resolution, and padding",
            padded(),
            {},
            {**hounsfield, "padding": -2000},
            {"coder": AV1, "factor": (1, 1, 1)},
        ),
        "av1-filter": Case(
            "AV1, and a filter of the full resolution",
            ct((11, 20, 23)),
            {},
            hounsfield,
            {
                "coder": AV1,
                "factor": (1, 2, 2),
                "wiener": (40, -3, 55, -128, 9, 70, -20, 255, -6, 5, 11, -12, 3, 0),
            },
        ),
        "av1-image": Case("one image of AV1", image(), {}, {}, {"coder": AV1, "factor": (1, 2, 2)}),
        "av1-model-named": Case(
            "AV1 and a super-resolution model, which a Lanczos decoder leaves out",
            ct((16, 48, 56)),
            {},
            hounsfield,
            {
                "coder": AV1,
                "factor": (4, 4, 4),
                "av1_flat": (0, 8),
                "sr": "ct-3d-x4",
                "sr_sha256": bytes.fromhex(manifests()["ct-3d-x4"].sha256),
                "sr_window": manifests()["ct-3d-x4"].window,
                "sr_noise": 30,
            },
        ),
        "latent": Case(
            "latents in one stream, and their background",
            ct((14, 50, 57)),
            {},
            hounsfield,
            {
                **small,
                "factor": (2, 2, 2),
                "latent_rate": 40,
                "latent_ends": (-1.024, 0.34),
                "latent_flat": 0.06,
                "background": -0.98,
            },
        ),
        "latent-streams": Case(
            "streams of latents, the last of two slices, with cells across them; companding",
            ct((19, 24, 70)),
            {},
            hounsfield,
            {
                **small,
                "factor": (1, 2, 4),
                "latent_rate": 64,
                "latent_slices": 17,
                "companding": curve(-0.2, 0.3),
                "latent_flat": 0.05,
                "background": -0.99,
            },
        ),
        "latent-finest": Case(
            "latents at full resolution with the smallest step, many bits; padding",
            padded(),
            {},
            {**hounsfield, "padding": -2000},
            {**small, "factor": (1, 1, 1), "latent_ends": (-1.024, 0.34)},
        ),
        "latent-coarsest": Case(
            "latents of an image of falling values, with the largest step, behind a filter",
            image(),
            {},
            {"rescale": (-1.0, 24.0)},
            {
                **small,
                "factor": (1, 2, 2),
                "latent_rate": 127,
                "latent_ends": (0.5, -1.0),
                "wiener": (0, 0, 55, -128, 9, 70, -20, 255, -6, 5, 0, 0, 0, 0),
            },
        ),
        "latent-deep": Case(
            "latents of contexts with residual blocks, before one half or before each, in two streams",
            noisy((19, 30, 44)),
            {},
            hounsfield,
            {
                **latents_of("small-deep"),
                "factor": (1, 2, 2),
                "latent_rate": 50,
                "latent_slices": 16,
                "latent_ends": (-1.024, 0.34),
                "latent_flat": 0.06,
                "background": -0.98,
            },
        ),
        "factor-1": Case(
            "no reduction", mr()[:6, ::2, ::2].astype(np.int32) * 1000, {"factor": 1, "tiles": (1, 1, 1)}
        ),
    }


def write(name: str, case: Case) -> None:
    """Encode a case and store what the package decodes."""
    spacing = (3.0, 0.75, 0.75)[-case.array.ndim :]
    words = dict(case.volume)
    slopes = words.pop("slopes", None)
    more = {name: words.pop(name) for name in ("rescale", "description") if name in words}
    volume = replace(inrcodec.Volume.from_array(case.array, spacing=spacing, **words), **more)
    if slopes is not None:
        volume = replace(volume, slice_rescale=np.stack([slopes, np.zeros(len(slopes))], 1))
    bare = {"lossless", "max_error"} & case.options.keys() and not case.options.get("base")
    if case.streams is not None:
        data = of_streams(volume, case.streams)
    else:
        data = inrcodec.encode(volume, **({} if bare else SMALL) | case.options)
    assert isinstance(data, bytes)
    if case.filter:
        data = with_filter(data, case.filter)
    lanczos = inrcodec.decode_volume(data, sr="lanczos").array
    decoder = inrcodec.open(data)
    header = decoder.header
    arrays = {"lanczos": lanczos}
    if header.has_lowres:
        arrays["lowres"] = decoder.lowres(threads=1)
    span, whole = header.high - header.low, lanczos.dtype.kind in "iu"
    facts = {
        "about": case.about,
        "lowres_tolerance": LOWRES_TOLERANCE,
        "lanczos_tolerance": 0 if header.refine_steps else 1 if whole else FLOAT_TOLERANCE * span,
    }
    folder = VECTORS / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "input.inrv").write_bytes(data)
    np.savez_compressed(folder / "expected.npz", **arrays)
    (folder / "case.json").write_text(json.dumps(facts, indent=2) + "\n")


def main(names: list[str]) -> None:
    os.environ[OWN] = str(MODELS)
    for name, case in cases().items():
        if name in names or not (names or (VECTORS / name).exists()):
            write(name, case)
            print(name)


if __name__ == "__main__":
    main(sys.argv[1:])
