"""A volume of bricks on a tilted grid, and the files of the specification."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import inrcodec
from inrcodec.file import InrvFile

VECTORS = Path(__file__).parents[1] / "spec" / "vectors"
ALL = slice(None)
ARRAY = np.random.default_rng(0).normal(scale=300, size=(12, 24, 21)).astype(np.int16)
TILTED = np.array([[0.5, 0.1, 0.3, -40], [0, 0.6, -0.8, 25], [0.1, -0.2, 1.9, 7], [0, 0, 0, 1]])


def vector(name: str) -> bytes:
    return (VECTORS / name / "input.inrv").read_bytes()


def bricked() -> bytes:
    """A lossless file of 2 x 2 x 2 bricks with padding, on a tilted grid."""
    array = ARRAY.copy()
    array[:, :9, 18:] = -2000
    volume = inrcodec.Volume(array, TILTED, padding=-2000, description={"kernel": "a", "kernel@7": "b"})
    return inrcodec.encode(volume, lossless=True, brick=(8, 16, 16))


def asked(file: InrvFile, box: tuple[slice, ...]) -> bytes:
    return file.read(box, threads=2).tobytes()
