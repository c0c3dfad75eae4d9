"""Files of the conformance cases in whose making the encoder has no say (see make_vectors)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import inrcodec
from inrcodec.encoder.plan import FROM_VOLUME
from inrcodec.file import InrvFile
from inrcodec.format import container
from inrcodec.format.header import LATENT, Header
from inrcodec.layers import padding, resample
from inrcodec.layers.base import streams
from inrcodec.layers.base.av1 import codec as av1
from inrcodec.layers.base.latent import models, stream
from inrcodec.layers.base.latent.codec import from_unit
from inrcodec.volume.value_range import Range, filled_unit

MODELS = Path(__file__).with_name("models")
Unit = NDArray[np.float64]


def latents_of(name: str) -> dict[str, Any]:
    """Header fields of latents of one of the small models."""
    card = json.loads((MODELS / f"{name}.json").read_text())
    return {"coder": LATENT, "latent_model": card["id"], "latent_sha256": bytes.fromhex(card["sha256"])}


def of_streams(volume: inrcodec.Volume, fields: dict[str, Any]) -> bytes:
    """A file whose low-res volume is AV1 or latents, with these header fields."""
    array, span = volume.array, Range.of(volume)
    header = Header(
        dtype=array.dtype.name,
        axes="zyx"[3 - volume.ndim :],
        low=span.low,
        high=span.high,
        **{name: getattr(volume, name) for name in FROM_VOLUME},
        **fields,
    )

    def rows_at(z: int, rows: slice) -> Unit:
        return filled_unit(array[z, rows], span, volume.padding, volume.rescale[0])

    unit = resample.down(rows_at, header.shape, header.factor)
    sections = padding.encode_all(array, volume.padding, header.bricks)
    sections |= latents(header, unit) if header.coder == LATENT else video(header, unit)
    header = replace(header, digest=InrvFile.from_sections(header, sections).digest())
    return container.pack([("HEAD", header.to_bytes()), *sections.items()])


def video(header: Header, unit: Unit) -> dict[str, bytes]:
    """The sections of AV1."""
    return av1.encode(av1.to_codes(unit, header.companding), header.av1_slices, quality=100, preset=6)


def latents(header: Header, unit: Unit) -> dict[str, bytes]:
    """The sections of latents."""
    model = models.load(header.latent_model, header.latent_sha256)
    values = from_unit(unit, header.latent_ends, header.companding)
    parts = [values[z : z + header.stream_slices] for z in range(0, len(values), header.stream_slices)]
    written = [stream.write_stream(model, header.latent_rate, part)[0] for part in parts]
    return streams.sections_of(stream.SECTION, written)


def with_filter(data: bytes, weights: tuple[int, ...]) -> bytes:
    """A file whose refinement has another filter."""
    header, sections = container.read(data)
    header = replace(header, refine_filter=weights)
    header = replace(header, digest=InrvFile.from_sections(header, sections).digest())
    bodies = ((name, body) for name, body in sections.items() if name != "HEAD")
    return container.pack([("HEAD", header.to_bytes()), *bodies])
