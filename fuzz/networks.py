"""Files of models of latents, compressed: networks that fit each other, or a documented error.

In: the bytes of a compressed file.  Out: what it declares to need, in bytes; or `Wrong`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from random import Random

import numpy as np
import zstandard
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fuzz import forge
from fuzz.oracle import Wrong, soon
from fuzz.readers import SCRATCH
from inrcodec.errors import InrvError
from inrcodec.layers.base.latent import models
from inrcodec.layers.base.latent.stream import read_stream, write_stream
from inrcodec.layers.models import OWN, PACKED, packed, unpacked
from inrcodec.native.library import SWITCH

MODELS = sorted((Path(__file__).parents[1] / "spec" / "models").glob("*.safetensors"))
SHAPE = 5, 9, 18
RENAMED = ("0", "1"), ("1", "0"), ("first", "second"), (".", ".0.")
TYPES = "u1", "i2", "u2", "i4", "i8", "f2", "f4"


def seeds() -> list[bytes]:
    """The small models of the specification."""
    return [packed(path.read_bytes()) for path in MODELS]


def model(data: bytes) -> int:
    """Whatever networks are there, what is decoded by them is what the encoder saw, on every path."""
    weights = b""
    with suppress(InrvError):
        weights = unpacked(data)
    digest, before = sha256(weights).digest(), os.environ.get(OWN)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        card = {"kind": models.KIND, "id": "fuzzed", "sha256": digest.hex(), "multiply_adds": 1}
        (Path(folder) / "fuzzed.json").write_text(json.dumps(card))
        (Path(folder) / f"fuzzed{PACKED}").write_bytes(data)
        os.environ[OWN] = folder
        try:
            networks = soon(lambda: models.load("fuzzed", digest))
        finally:
            os.environ.pop(OWN)
            os.environ.update({} if before is None else {OWN: before})
    z, y, x = np.indices(SHAPE)
    with np.errstate(all="ignore"):  # the analysis is floats of any size, and for encoders alone
        stream, seen = write_stream(networks, 60, np.where(x + y < 12, -1.0, np.sin(z / 3 + x / 4)))
    for switch, threads in (("1", 2), ("0", 1)):
        os.environ[SWITCH] = switch
        try:
            found = read_stream(networks, 60, stream, SHAPE, threads=threads)
        except InrvError as error:
            raise Wrong(f"model: what was encoded is refused: {error}") from error
        finally:
            del os.environ[SWITCH]
        if not np.array_equal(found, seen):
            raise Wrong("model: other values than the encoder saw")
    return 4 * len(weights)


def changed(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Another file: its frame is bent, or what it inflates to, or its tensors are others."""
    if random.random() < 0.1:
        return forge.bent(data, random, random.choice(others))
    tensors = _tensors(data) or _tensors(random.choice(others))
    if random.random() < 0.2:
        weights = forge.bent(save(tensors), random)
    else:
        for _ in range(1 + random.randrange(3)):
            _change(tensors, random)
        weights = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    return zstandard.ZstdCompressor(level=1).compress(weights)


def _tensors(data: bytes) -> dict[str, NDArray[np.generic]]:
    """Those of a file; none where it was damaged before."""
    with suppress(InrvError, SafetensorError, LookupError, ValueError, TypeError):
        return load(unpacked(data))
    return {}


def _change(tensors: dict[str, NDArray[np.generic]], random: Random) -> None:
    """A tensor that is gone, has another name, type or shape, is another one's, or has other numbers."""
    name, kind = random.choice(sorted(tensors)), random.randrange(8)
    tensor = tensors[name]
    if kind == 0:
        del tensors[name]
    elif kind == 1:
        tensors[name.replace(*random.choice(RENAMED))] = tensors.pop(name)
    elif kind == 2:
        tensors[name] = tensors[random.choice(sorted(tensors))]
    elif kind == 3:
        with np.errstate(all="ignore"):
            tensors[name] = tensor.astype(random.choice(TYPES))
    elif kind == 4:
        twice = np.repeat(tensor, random.choice((0, 2)), random.randrange(tensor.ndim))
        tensors[name] = random.choice((twice, tensor[1:]))
    else:
        ends = np.iinfo(tensor.dtype if tensor.dtype.kind in "iu" else np.int16)
        first = random.randrange(max(1, tensor.size))
        length = random.choice((1, 1 << random.randrange(16)))
        number = random.choice((ends.min, ends.max, 0, 1, random.randint(ends.min, ends.max)))
        tensors[name] = tensor.copy()
        tensors[name].flat[first : first + length] = number
