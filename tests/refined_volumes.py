"""Volumes to be refined: of any type, and of a real head."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from inrcodec import Volume, io

HEAD = Path(__file__).parent / "data" / "vhf-head.nii.gz"


def some(dtype, shape=(6, 14, 17), seed=0):
    """A ramp with noise that fills a good part of a type."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    found = np.add.outer(np.add.outer(np.arange(shape[0]), np.arange(shape[1])), np.arange(shape[2]))
    found = found * 2.0 + rng.normal(scale=3, size=shape)
    if kind.kind != "u":
        found -= 40
    scale = {1: 1.0, 2: 100.0, 4: 1e7, 8: 1e7}[kind.itemsize] if kind.kind in "iu" else 0.37
    return np.maximum(found * scale, np.iinfo(kind).min if kind.kind in "iu" else -np.inf).astype(kind)


def part_of_a_head():
    volume = io.read(HEAD)
    part = np.ascontiguousarray(volume.array[8:20, 200:296, 200:296])
    return Volume(part, volume.affine, modality="CT", unit="HU")
