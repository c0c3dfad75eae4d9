"""The facts of a file in plain types.

In: a header and the lengths of the sections.  Out: a dictionary that turns into JSON.
Invariant: all bytes are counted; imports neither torch nor scipy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inrcodec.format import container
from inrcodec.format.header import AV1, LANCZOS, LATENT, SIREN, Header
from inrcodec.format.header_checks import ONE
from inrcodec.volume.affine import plane_of, spacing_of
from inrcodec.volume.description import ALLOCATED, bits_of

PARTS = {
    "HEAD": "header",
    "MASK": "mask",
    "PIDX": "padding",
    "PADM": "padding",
    "SIDX": "special",
    "SPCL": "special",
    "INDX": "base",
    "WGHT": "base",
    "AIDX": "base",
    "AV1S": "base",
    "GIDX": "base",
    "LATG": "base",
    "LIDX": "refinement",
    "LATT": "refinement",
}


def bytes_by_part(lengths: Mapping[str, int], total: int) -> dict[str, int]:
    """Bytes of each part of the file; "container" is what is left: magic, table and checksums."""
    parts = dict.fromkeys(["header", "base", "mask", "padding", "special", "refinement"], 0)
    for name, length in lengths.items():
        if name in PARTS:
            parts[PARTS[name]] += length
    return parts | {"container": total - sum(parts.values())}


def facts(header: Header, lengths: Mapping[str, int], costs: Mapping[str, int | None]) -> dict[str, Any]:
    """Geometry, coding, quality, bytes and costs of a file, in plain types; of a base where it has one."""
    total = container.file_size(lengths)
    voxels = int(np.prod(header.shape))
    psnr_lanczos = header.psnr if header.sr == LANCZOS else header.psnr_lanczos
    bits = bits_of(header.description, ALLOCATED, 8 * np.dtype(header.dtype).itemsize)
    voxel_bytes = voxels * bits // 8
    return {
        "volume": {
            "shape": list(header.shape[3 - header.ndim :]),
            "dtype": header.dtype,
            "modality": header.modality,
            "unit": header.unit,
            "spacing": [round(edge, 9) for edge in spacing_of(header.affine)],
            "plane": plane_of(header.affine, header.description),
            "affine_lps": header.affine.tolist(),
            "rescale": list(header.rescale),
            "slice_slopes": _slopes(header),
            "padding": header.padding,
            "range": [header.low, header.high],
        },
        "codec": (_base(header) if header.has_lowres else {"base": None})
        | {
            "refinement_steps": list(header.refine_steps),
            "refinement_filter": list(header.refine_filter),
            "brick": list(header.bricks.edges),
        },
        "quality": {
            "psnr": header.psnr,
            "psnr_lanczos": psnr_lanczos if header.has_lowres else None,
            "peak": header.peak,
            "max_error": header.max_error,
            "bound": header.bound,
            "digest": header.digest.hex(),
        },
        "cost": dict(costs),
        "encoder": {"version": header.version, "seed": header.seed},
        "bytes": bytes_by_part(lengths, total) | {"file": total},
        "voxel_bytes": voxel_bytes,
        "ratio": voxel_bytes / total,
        "bpv": 8 * total / voxels,
    }


def _base(header: Header) -> dict[str, Any]:
    """How the low-res volume is coded, and how the resolution is brought back."""
    of_coder: dict[str, dict[str, Any]] = {
        SIREN: {
            "tiles": list(header.tiles),
            "layers": header.layers,
            "width": header.width,
            "omega": header.omega,
        },
        AV1: {"streams": header.streams, "flat_codes": list(header.av1_flat)},
        LATENT: {
            "streams": header.streams,
            "model": header.latent_model,
            "model_sha256": header.latent_sha256.hex(),
            "rate": header.latent_rate,
            "ends": list(header.latent_ends),
            "flat": header.latent_flat,
        },
    }
    return {
        "factor": list(header.factor),
        "kernel": header.kernel,
        "companding": _curve(header),
        "wiener": list(header.wiener),
        "base": header.coder,
        **of_coder[header.coder],
        "sr": header.sr,
        "sr_sha256": header.sr_sha256.hex() or None,
        "sr_noise": header.sr_noise,
        "sr_ensemble": header.sr_ensemble,
    }


def _slopes(header: Header) -> list[float] | None:
    """The smallest and the largest slope of a slice, where they have their own."""
    slopes = [slope for slope, _ in header.slice_rescale]
    return [min(slopes), max(slopes)] if slopes else None


def _curve(header: Header) -> list[list[float]]:
    """Nodes of the companding as pairs: a physical value, and the unit value that is coded."""
    (slope, intercept), half = header.rescale, (header.high - header.low) / 2
    units = [node / ONE for node in header.companding]
    return [
        [round((header.low + (linear + 1) * half) * slope + intercept, 3), unit]
        for linear, unit in zip(units[0::2], units[1::2], strict=True)
    ]
