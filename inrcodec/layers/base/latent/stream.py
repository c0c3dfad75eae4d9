"""A stream of the latent grid: network values of some slices to bytes and back.

In: a model, a rate, and values or bytes.  Out: bytes, or integers in quantisation steps.
Invariant: what is read is what the writer saw, which a checksum at the beginning of the stream ensures.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from zlib import crc32

import numpy as np

from inrcodec.entropy.logistic import Reader, Writer
from inrcodec.errors import CorruptFile
from inrcodec.layers.base.latent.integers import FINE, LATENT, Int64
from inrcodec.layers.base.latent.model import EDGE, Model
from inrcodec.layers.base.latent.synthesis import STEP
from inrcodec.parallel import one_blas_thread
from inrcodec.volume.arrays import Bytes, Float, Int32

SECTION = "LATG"
CHECK = Struct("<I")  # CRC-32 of the values of a stream, int32 in raster order, little-endian
WORTH = 0.03  # squared steps that a bit is worth in decisions: more costs a PSNR that more bytes bring


@dataclass(frozen=True, eq=False)
class Decoder:
    """Latents that are read (`model.Coder`)."""

    reader: Reader

    def code(self, mean: Int64, index: Bytes, wanted: Float | None, weights: Float) -> Int64:
        """See `model.Coder.code`."""
        steps = self.reader.get(index.reshape(-1)).astype(np.int64).reshape(mean.shape)
        return mean + (steps << LATENT)


@dataclass(frozen=True, eq=False)
class Encoder:
    """Latents that are decided and written (`model.Coder`).

    A step is the nearest, or the next towards its mean where that saves more bits than its error is worth.
    """

    writer: Writer
    worth: float

    def code(self, mean: Int64, index: Bytes, wanted: Float | None, weights: Float) -> Int64:
        """See `model.Coder.code`."""
        assert wanted is not None
        exact = wanted - mean / (1 << LATENT)
        steps = np.rint(exact).astype(np.int64)
        if self.worth:
            nearer = steps - np.sign(steps)
            error = np.square(exact - nearer) - np.square(exact - steps)
            saved = self._bits(steps, index) - self._bits(nearer, index)
            steps = np.where(saved * self.worth > error * weights, nearer, steps)
        self.writer.put(steps.reshape(-1).astype(np.int32), index.reshape(-1))
        return mean + (steps << LATENT)

    def _bits(self, steps: Int64, index: Bytes) -> Float:
        costs = self.writer.tables.costs(steps.reshape(-1).astype(np.int32), index.reshape(-1))
        return costs.reshape(steps.shape).astype(np.float64)


def write_stream(
    model: Model, rate: int, values: Float, worth: float = WORTH, threads: int = 1
) -> tuple[bytes, Int32]:
    """The stream of some slices, and the integers that it decodes to, (z, y, x).

    Parameters
    ----------
    rate : 0 … 127, from the finest quantisation step to the coarsest.
    values : ndarray, (z, y, x), network values.
    worth : squared steps that a bit is worth where a latent is decided on; 0: the nearest is taken.
    """
    padded = np.pad(values, [(0, -n % EDGE) for n in values.shape], mode="edge")
    encoder = Encoder(Writer(model.tables), worth)
    with one_blas_thread():
        wanted = model.analysis(padded, rate)
        latents = model.latents(values.shape, rate, encoder, wanted, threads)
        integers = model.synthesis(*latents, rate, threads)
    z, y, x = values.shape
    integers = np.ascontiguousarray(integers[:z, :y, :x])
    return CHECK.pack(crc_of(integers)) + encoder.writer.bytes(), integers


def read_stream(model: Model, rate: int, body: bytes, shape: tuple[int, ...], threads: int = 1) -> Int32:
    """The integers of a stream, (z, y, x); raises `CorruptFile`."""
    if len(body) < CHECK.size:
        raise CorruptFile(f"a stream of section {SECTION} has {len(body)} bytes", value=len(body))
    decoder = Decoder(Reader(model.tables, body[CHECK.size :]))
    with one_blas_thread():
        latents = model.latents(shape, rate, decoder, threads=threads)
        decoder.reader.finish()
        integers = model.synthesis(*latents, rate, threads)
    z, y, x = shape
    integers = np.ascontiguousarray(integers[:z, :y, :x])
    if crc_of(integers) != CHECK.unpack_from(body)[0]:
        raise CorruptFile("a stream of latents was decoded to other values than the encoder saw", value=shape)
    return integers


def values_of(model: Model, rate: int, integers: Int32) -> Float:
    """Network values of the integers of a rate."""
    return np.asarray(integers, np.float64) * (int(model.synthesis.steps[rate]) / 2.0 ** (FINE + STEP)) - 1.0


def crc_of(integers: Int32) -> int:
    """Checksum of a stream's integers."""
    return crc32(np.ascontiguousarray(integers, "<i4").data)
