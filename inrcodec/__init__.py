"""inrcodec: CT and MR volumes as small neural networks.

In: arrays, DICOM folders, NIfTI files. Out: `.inrv` bytes, and volumes again. Invariant: a name is imported
when it is first used, so that reading a header never waits for torch.

Examples
--------
>>> import inrcodec
>>> sorted(set(dir(inrcodec)) & {"encode", "decode", "decode_volume", "info", "verify", "Volume"})
['Volume', 'decode', 'decode_volume', 'encode', 'info', 'verify']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from inrcodec._version import __version__

# Public name -> the module that it lives in. Loaded on first use (PEP 562).
_HOMES = {
    "EncodeReport": "encoder.ledger",
    "decode": "api",
    "decode_volume": "api",
    "encode": "api",
    "encode_file": "api",
    "info": "api",
    "open": "api",
    "plan": "api",
    "verify": "api",
    "decode_tree": "collection.tree",
    "encode_tree": "collection.tree",
    "verify_tree": "collection.tree",
    "CorruptFile": "errors",
    "FitFailed": "errors",
    "IncompleteSeries": "errors",
    "InputError": "errors",
    "InrvError": "errors",
    "LimitExceeded": "errors",
    "MissingExtra": "errors",
    "ModelNotFound": "errors",
    "TargetNotReached": "errors",
    "UnsupportedFile": "errors",
    "UsageError": "errors",
    "WriteError": "errors",
    "Box": "volume.box",
    "DecodeOptions": "layers.decode_options",
    "EncodeOptions": "encoder.options",
    "InrvFile": "file",
    "Level": "file",
    "Volume": "volume.volume",
}

if TYPE_CHECKING:
    from inrcodec.api import (
        decode,
        decode_volume,
        encode,
        encode_file,
        info,
        open,
        plan,
        verify,
    )
    from inrcodec.collection.tree import decode_tree, encode_tree, verify_tree
    from inrcodec.encoder.ledger import EncodeReport
    from inrcodec.encoder.options import EncodeOptions
    from inrcodec.errors import (
        CorruptFile,
        FitFailed,
        IncompleteSeries,
        InputError,
        InrvError,
        LimitExceeded,
        MissingExtra,
        ModelNotFound,
        TargetNotReached,
        UnsupportedFile,
        UsageError,
        WriteError,
    )
    from inrcodec.file import InrvFile, Level
    from inrcodec.layers.decode_options import DecodeOptions
    from inrcodec.volume.box import Box
    from inrcodec.volume.volume import Volume

__all__ = [
    "Box",
    "CorruptFile",
    "DecodeOptions",
    "EncodeOptions",
    "EncodeReport",
    "FitFailed",
    "IncompleteSeries",
    "InputError",
    "InrvError",
    "InrvFile",
    "Level",
    "LimitExceeded",
    "MissingExtra",
    "ModelNotFound",
    "TargetNotReached",
    "UnsupportedFile",
    "UsageError",
    "Volume",
    "WriteError",
    "__version__",
    "decode",
    "decode_tree",
    "decode_volume",
    "encode",
    "encode_file",
    "encode_tree",
    "info",
    "open",
    "plan",
    "verify",
    "verify_tree",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))
